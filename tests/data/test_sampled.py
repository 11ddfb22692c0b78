"""Images of a split for an export: those of validation, without a scan."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.sampled import batches, letterboxed, spread
from ultralytics.utils.errors import DatasetError


@pytest.mark.parametrize("frame", [(64, 64), (96, 64), (64, 160)])
def test_they_are_those_of_validation(toy, frame):
    paths = load_dataset(toy).split("val")
    files = spread(paths, 100)
    ours = list(letterboxed(files, frame))
    assert sorted(p.name for p in toy.parent.iterdir()) == ["images", "labels", "toy.yaml"]
    assert not [p for p in (toy.parent / "images").rglob("*") if p.is_file() and p.suffix != ".png"]
    dataset = YOLODataset(paths, imgsz=max(frame), nc=3, frame=frame)
    assert files == list(dataset.im_files)
    for i, image in enumerate(ours):
        assert torch.equal(image, dataset[i]["img"].float() / 255)


def test_they_are_spread_over_the_split_and_always_the_same(tmp_path):
    for i in range(50):
        Path(tmp_path, f"{i:02}.jpg").touch()
    files = [Path(f).stem for f in spread([tmp_path], 5)]
    assert files == ["00", "12", "24", "37", "49"]
    assert len(spread([tmp_path], 300)) == 50
    assert [Path(f).stem for f in spread([tmp_path], 1)] == ["00"]
    with pytest.raises(DatasetError, match="no images"):
        spread([tmp_path / "none"], 5)


def test_batches_are_full_and_unreadable_images_are_left_out(toy):
    files = spread(load_dataset(toy).split("train"), 12)
    Path(files[3]).write_bytes(b"no image")
    Path(files[5]).unlink()
    assert [len(b) for b in batches(files, 4, (64, 64))] == [4, 4]  # 10 can be read
    assert [len(b) for b in batches(files, 1, (64, 64))] == [1] * 10
    (single,) = batches(files[:2], 5, (64, 64))
    assert torch.equal(single[0], single[2])
    assert not list(batches(files[3:4], 5, (64, 64)))
    assert np.ptp(single.numpy()) <= 1
