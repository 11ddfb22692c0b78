"""Areas of masks: kept by `prepare coco`, read by the scan, used by COCO's figures, written back by `export-coco`."""

import json

import numpy as np
import pytest
import torch

from tests.helpers.coco import CATEGORIES, box, image, summarised, write
from ultralytics.cfg.dataset import load_dataset
from ultralytics.cli import main
from ultralytics.data.check.check import check_data
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.labels import areas_file, judge_areas, judge_labels
from ultralytics.data.prepare import export_coco, prepare_coco
from ultralytics.data.scan import scan
from ultralytics.models.yolo.detect.evaluate import SeenEvaluator, pair
from ultralytics.utils.boxes import xywh2xyxy
from ultralytics.utils.coco import FIGURES, coco_figures
from ultralytics.utils.images import imwrite

SIDE = 240


def masks(seed, images=5):
    """Images of a JSON, and annotations with polygons (triangles: half of their boxes' area) and crowds of run lengths;
    some areas lie on a border of sizes."""
    rng = np.random.default_rng(seed)
    listed, annotations = [], []
    for i in range(1, images + 1):
        listed.append({"id": i, "file_name": f"{i:012d}.png", "width": SIDE, "height": SIDE})
        for _ in range(rng.integers(0, 9)):
            w, h = rng.integers(20, 180, 2).tolist()
            x, y = (int(rng.integers(0, SIDE - v + 1)) for v in (w, h))
            area = rng.choice([w * h / 2, w * h * 0.9, 1024.0, 1023.9999999, 9216.0, 9216.00001, float(w * h)])
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": i, "category_id": int(rng.choice([3, 7])),
                    "bbox": [x, y, w, h], "area": float(area), "iscrowd": int(rng.random() < 0.15),
                    "segmentation": [[x, y, x + w, y, x, y + h]],
                }
            )  # fmt: skip
            if annotations[-1]["iscrowd"]:
                annotations[-1]["segmentation"] = {"size": [SIDE, SIDE], "counts": [x * SIDE, SIDE * w, SIDE * 2]}
    return listed, annotations


def prepared(folder, listed, annotations):
    for entry in listed:
        imwrite(folder / "s" / "images" / entry["file_name"], np.zeros((SIDE, SIDE, 3), np.uint8))
    source = write(folder / "s", listed, annotations, draw=False)
    return source, prepare_coco(source, folder / "out")


def looked_at(data, seed, imgsz=160, classes=None):
    """What an evaluation of made-up detections near the labels has seen."""
    spec = load_dataset(data)
    dataset = YOLODataset(spec.split("val"), imgsz=imgsz, augment=False, nc=spec.nc, classes=classes)
    rng, evaluator = np.random.default_rng(seed), SeenEvaluator()
    for i in range(len(dataset)):
        batch = YOLODataset.collate_fn([dataset[i]])
        boxes = batch["bboxes"].repeat(2, 1) * imgsz + torch.from_numpy(rng.normal(0, 4, (2 * len(batch["cls"]), 4)))
        found = torch.cat([xywh2xyxy(boxes), torch.rand(len(boxes), 1), batch["cls"].view(-1, 1).repeat(2, 1)], 1)
        evaluator.update(i, [pair(found.float(), batch, 0)])
    return spec, evaluator.result()


@pytest.mark.parametrize("seed", range(4))
def test_figures_by_size_are_pycocotools_of_the_original(tmp_path, seed):
    torch.manual_seed(seed)
    listed, annotations = masks(seed)
    source, data = prepared(tmp_path, listed, annotations)
    spec, seen = looked_at(data, seed)
    figures = coco_figures(seen, spec.names)
    figures.pop("per_class")
    ids = {"dog": 3, "cat": 7}
    results = [
        {"image_id": i, "category_id": ids[spec.names[int(c)]], "bbox": [x, y, w, h], "score": score}
        for i, s in enumerate(seen, 1)
        for x, y, w, h, score, c in s.found.tolist()
    ]
    stats = summarised(json.loads(source.read_text()), results).stats.tolist()
    expected = {k: None if v < 0 else v for k, v in zip(FIGURES, stats, strict=True)}
    assert figures == pytest.approx(expected, abs=1e-9)
    boxes = coco_figures([s._replace(areas=None) for s in seen], spec.names)
    assert any(boxes[k] != figures[k] for k in ("AP_S", "AP_M", "AP_L"))


def test_they_are_written_back(tmp_path):
    listed, annotations = masks(1)
    _, data = prepared(tmp_path, listed, annotations)
    written = json.loads(export_coco(data, tmp_path / "o.json").read_text())["annotations"]
    assert [a["area"] for a in written if not a["iscrowd"]] == pytest.approx(
        [a["area"] for a in annotations if not a["iscrowd"]], rel=1e-6
    )
    images = tmp_path / "out" / "images" / "train"
    again = prepare_coco(tmp_path / "o.json", tmp_path / "again", images=images)
    for file in (tmp_path / "out" / "areas" / "train").iterdir():
        twin = tmp_path / "again" / "areas" / "train" / file.name
        first, second = (np.array([float(v) for v in f.read_text().split() if v != "-"]) for f in (file, twin))
        assert set(first) <= set(second)
    assert again.is_file()


def test_areas_follow_their_rows(tmp_path):
    """Rows that are dropped, classes that are not chosen, and another order of the images."""
    shape = {"area": 150.0}
    rows = [
        box(1, 1, 3, (10, 5, 20, 10), area=111.0), box(2, 1, 3, (10, 5, 20, 10), area=999.0),  # a duplicate
        box(3, 1, 7, (10, 5, 20, 10), area=122.0), box(4, 1, 3, (30, 5, 20, 10)), box(5, 2, 7, (1, 1, 20, 20), **shape),
    ]  # fmt: skip
    source = write(tmp_path / "s", [image(1, "a.jpg"), image(2, "b.png"), image(3, "c.png")], rows)
    data = prepare_coco(source, tmp_path / "out")
    areas = tmp_path / "out" / "areas" / "train"
    assert (areas / "a.txt").read_text() == "111.0\n999.0\n122.0\n-\n"
    assert not (areas / "c.txt").exists()
    labels = scan(load_dataset(data).split("train"), 2)
    assert labels.areas.tolist() == [111, 122, -1, 150]
    assert scan(load_dataset(data).split("train"), 2).areas.tolist() == labels.areas.tolist()  # remembered
    assert labels.take([1, 0]).areas.tolist() == [150, 111, 122, -1]
    assert labels.keep_classes([1]).areas.tolist() == [122, 150]
    before = labels.digest
    (areas / "b.txt").write_text("160.0\n")
    changed = scan(load_dataset(data).split("train"), 2)
    assert changed.areas.tolist() == [111, 122, -1, 160]
    assert changed.digest != before
    (areas / "a.txt").write_text("1\n2\n")
    labels = scan(load_dataset(data).split("train"), 2)
    assert labels.areas.tolist() == [-1, -1, -1, 160]
    assert "2 areas for 4 lines of labels; the file is not used" in "".join(labels.problems)
    assert labels.left_out == 0
    (areas / "gone.txt").write_text("1\n")
    found = {(f.kind, f.path) for f in check_data(data, near=False).findings}
    assert {("areas-columns", str(areas / "a.txt")), ("areas-orphan", str(areas / "gone.txt"))} <= found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1\nx\n", "'x' is not an area"),
        ("1\n-1\n", "'-1' is not an area"),
        ("1\nnan\n", "'nan' is not an area"),
        ("1\ninf\n", "'inf' is not an area"),
        ("1\n", "1 area for 2 lines"),
        ("", "0 areas for 2 lines"),
        (b"\xff\n1\n", "not UTF-8"),
    ],
)
def test_a_file_that_does_not_fit_is_not_used(tmp_path, text, reason):
    for kind, content in (("labels", "0 .5 .5 .1 .1\n0 .2 .2 .1 .1\n"), ("areas", text)):
        (tmp_path / kind).mkdir()
        content = content if isinstance(content, bytes) else content.encode()
        (tmp_path / kind / "a.txt").write_bytes(content)
    labels = judge_labels(str(tmp_path / "labels" / "a.txt"))
    areas, [problem] = judge_areas(areas_file(str(tmp_path / "images" / "a.jpg")), labels)
    assert areas is None
    assert reason in problem.what
    assert not problem.fatal


def test_sets_without_areas_have_none(tmp_path):
    rows = [box(1, 1, area=200.0), box(2, 1, 7, area=0), box(3, 1, 7, (1, 1, 5, 5), area="big")]
    data = prepare_coco(write(tmp_path / "s", [image(1, "a.jpg")], rows, categories=CATEGORIES), tmp_path / "out")
    assert not (tmp_path / "out" / "areas").exists()
    assert scan(load_dataset(data).split("train"), 2).areas is None


def test_subsets_and_prepared_copies_keep_them(tmp_path):
    rows = [box(1, 1, 3, area=111.0), box(2, 1, 7, (1, 1, 20, 20), area=122.0), box(3, 2, 7, (1, 1, 20, 20))]
    data = prepare_coco(write(tmp_path / "s", [image(1, "a.jpg"), image(2, "b.png")], rows), tmp_path / "out")
    assert main(["subset", f"data={data}", "classes=cat", "copy=True", f"out={tmp_path / 'cats.yaml'}"]) == 0
    assert {f.read_text() for f in tmp_path.glob("cats/areas/*/*.txt")} == {"122.0\n"}  # b has none
    assert main(["prepare", "yolo", f"source={tmp_path / 'out'}", f"out={tmp_path / 'twin'}"]) == 0
    assert {f.read_text() for f in tmp_path.glob("twin/areas/*/a.txt")} == {"111.0\n122.0\n"}
