"""What the reference's own tests of a detector try with results, of ours."""

from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ultralytics import YOLO, checks, settings
from ultralytics.utils.images import imread


def test_results_are_moved_written_and_drawn(tiny, toy, tmp_path):
    files = sorted((toy.parent / "images" / "val").iterdir())[:2]
    model = YOLO(tiny)
    results = model(files, imgsz=64, conf=1e-4, max_det=5)
    assert len(results) == 2
    for result, file in zip(results, files, strict=True):
        n = len(result)
        assert 0 < n <= 5
        assert Path(result.path) == file
        assert isinstance(result.cpu().numpy().boxes.xywhn, np.ndarray)
        moved = result.to(device="cpu", dtype=torch.float64)
        assert moved.boxes.data.dtype == torch.float64
        label = tmp_path / "labels" / f"{file.stem}.txt"
        moved.save_txt(txt_file=label, save_conf=True)
        rows = np.loadtxt(label, ndmin=2)
        assert np.allclose(rows[:, 1:5], result.boxes.xywhn, atol=1e-5)
        ids = result.boxes.cls.int().tolist()
        assert rows[:, 0].astype(int).tolist() == ids
        result.save_crop(save_dir=tmp_path / "crops", file_name=file.stem)
        crops = Counter(p.parent.name for p in (tmp_path / "crops").rglob(f"{file.stem}*.jpg"))
        assert crops == Counter(result.names[i] for i in ids)
        assert result.to_csv(decimals=3).count("\n") == len(result.to_json(normalize=True).split('"name"')) == n + 1
        assert result.to_xml().count("<row>") == n
        assert result.plot(pil=True).shape == result.plot(conf=True, boxes=True).shape == result.orig_img.shape
        assert f"path: {str(file)!r}" in str(result)
        assert len(result[0]) == len(result[result.boxes.conf == result.boxes.conf.max()]) == 1
        assert len(result.new()) == 0


def test_any_kind_of_image_gives_the_same(tiny, toy, tmp_path):
    file = sorted((toy.parent / "images" / "val").iterdir())[1]
    model = YOLO(tiny)
    image = imread(file)
    (tmp_path / "list.txt").write_text(f"{file}\n")
    sources = [str(file), file, image, Image.fromarray(image[..., ::-1]), [file], tmp_path / "list.txt"]
    found = [model.predict(s, imgsz=64, conf=1e-4, show=False, stream=False)[0].boxes.data for s in sources]
    assert all(torch.equal(boxes, found[0]) for boxes in found)
    grey = model(image[..., 0], imgsz=64)[0]
    assert grey.orig_shape == image.shape[:2]


def test_a_machine_tells_what_it_is(capsys):
    checks()
    assert "torch" in capsys.readouterr().out
    assert settings["runs_dir"] == "runs"
