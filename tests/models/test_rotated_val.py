"""DOTA's figures of a validation: metrics.json beside files that say the same."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from tests.helpers import dota as plain
from tests.helpers.tasks import QUIET, task_data, tiny_network
from ultralytics import YOLO
from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.labels import ignore_file, judge_ignored, label_file
from ultralytics.data.prepare import prepare_dota
from ultralytics.models.yolo.obb import OBBValidator
from ultralytics.utils.boxes import xyxyxyxy2xywhr

KEYS = {k: v for k, v in QUIET.items() if k in ("workers", "plots", "device", "verbose", "threads")}


def validated(folder, data, detect, **more):
    """Validate a network whose detections `detect(name of the image)` gives, (n, 7) in pixels of the image."""
    names = load_dataset(data).names
    validator = OBBValidator(
        args={**KEYS, "data": str(data), "task": "obb", "project": str(folder), "batch": 2, "save_json": True, **more}
    )
    network = YOLO(str(tiny_network(folder, "obb", len(names)))).model
    network.names = dict(names)
    preprocess = validator.preprocess

    def remembered(batch):
        validator.batch = batch
        return preprocess(batch)

    def postprocess(preds):
        found = []
        for i, file in enumerate(validator.batch["im_file"]):
            rows = torch.tensor(detect(file), dtype=torch.float32).reshape(-1, 7)
            (gain, _), (left, top) = validator.batch["ratio_pad"][i]
            rows[:, :4] = rows[:, :4] * gain + torch.tensor([left, top, 0, 0])
            found.append(rows[rows[:, 4].argsort(descending=True, stable=True)])
        return found

    validator.preprocess, validator.postprocess = remembered, postprocess
    validator(model=network)
    written = json.loads((validator.save_dir / "metrics.json").read_text(encoding="utf-8"))
    return written, validator


def task1(folder, names):
    """Class name → (image, score, corners) of DOTA's files."""
    found = {}
    for name in names:
        lines = (folder / f"Task1_{name.replace(' ', '-')}.txt").read_text().splitlines()
        rows = [line.split() for line in lines]
        found[name] = [
            (image, float(score), np.array(points, float).reshape(4, 2).tolist()) for image, score, *points in rows
        ]
    return found


def figures_of(found, objects):
    """mAP50 and mAP75 of detections and objects by class name, computed plainly."""
    counted = [name for name, images in objects.items() if any(not d for rows in images.values() for _, d in rows)]
    return [
        np.mean([plain.ap(*plain.evaluate(found[name], objects[name], t)) for name in counted]) for t in (0.5, 0.75)
    ]


def guesses(file, seed=0):
    """Detections near what a label file says, and some that are nothing; scores of five decimals."""
    rng = np.random.default_rng([seed, *str(file).encode()[-12:]])
    height, width = cv2.imread(str(file)).shape[:2]
    rows = []
    for line in Path(label_file(str(file))).read_text(encoding="utf-8").splitlines():
        cls, *values = map(float, line.split())
        corners = np.array(values).reshape(1, -1, 2) * (width, height)
        x, y, w, h, angle = xyxyxyxy2xywhr(corners)[0]
        for _ in range(int(rng.integers(1, 3))):
            off = rng.normal(0, 0.07, 4) * (w, h, w, h)
            rows.append([x + off[0], y + off[1], w + off[2], h + off[3], rng.random(), cls, angle])
    rows += [[*rng.uniform(20, min(width, height) - 20, 2), 20, 10, rng.random(), rng.integers(3), 1] for _ in range(4)]
    return np.array(rows).round(5)


def test_real_tiles_have_the_figures_of_their_files(shared, tmp_path, capsys):
    """dota8: four tiles of four images, whose files of whole images hold the detections."""
    folder = shared / "data" / "dota8"
    if not folder.is_dir():
        pytest.skip(f"the eight images of DOTA are not here ({folder})")
    spec = yaml.safe_load((folder / "dota8.yaml").read_text(encoding="utf-8"))
    data = tmp_path / "dota8.yaml"
    keys = {"path": str(folder), "train": "images/train", "val": "images/train", "names": spec["names"]}
    data.write_text(yaml.safe_dump(keys), encoding="utf-8")
    written, validator = validated(tmp_path, data, guesses, imgsz=64)
    names = spec["names"].values()
    objects = {name: {} for name in names}
    for file in sorted((folder / "labels" / "train").iterdir()):
        image, _, place = file.stem.partition("__1024__")
        x, y = (int(v) for v in place.split("___"))
        for line in file.read_text().splitlines():
            cls, *values = line.split()
            corners = np.array(values, float).reshape(-1, 2) * 1024 + (x, y)
            objects[spec["names"][int(cls)]].setdefault(image, []).append((corners.tolist(), False))
    map50, map75 = figures_of(task1(validator.save_dir / "predictions_merged_txt", names), objects)
    figures = written["dota"]
    assert (figures["images"], figures["objects_of"]) == (4, "tiles")
    assert (figures["mAP50"], figures["mAP75"]) == pytest.approx((map50, map75), abs=2e-3)  # corners of 3 decimals
    assert 0.3 < figures["mAP75"] < figures["mAP50"] < 0.95
    assert figures["per_class"] == validator.metrics.dota["per_class"]
    assert sum(row["objects"] for row in figures["per_class"].values() if row) == written["instances"]
    line = f"DOTA's figures of 4 whole images (objects put together of the tiles): mAP50 {figures['mAP50']:.3f}, mAP75"
    assert line in capsys.readouterr().out


def test_tiles_are_measured_by_the_objects_of_whole_images(tmp_path):
    """A ship of 70 pixels, which no tile of 64 shows whole, and difficult objects: what merged detections find of the
    file that DOTA has."""
    text = (
        "10 10 30 10 30 20 10 20 ship 0\n40 30 100 30 100 50 40 50 ship 0\n"  # the second is cut everywhere
        "70 70 90 70 90 90 70 90 plane 1\n20 70 40 70 40 90 20 90 plane 0\n"
    )
    for name, content in (("val/images/P1.png", None), ("val/labelTxt/P1.txt", text), ("train/images/P2.png", None)):
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            cv2.imwrite(str(path), np.full((110, 110, 3), len(name), np.uint8))
        else:
            path.write_text(content, encoding="utf-8")
    (tmp_path / "source/train/labelTxt").mkdir()
    (tmp_path / "source/train/labelTxt/P2.txt").write_text(text, encoding="utf-8")
    data = prepare_dota(tmp_path / "source", tmp_path / "data", crop=64, gap=20)
    tiles = {p.stem for p in (tmp_path / "data/images/val").iterdir()}
    assert tiles == {f"P1__64__{x}___{y}" for x in (0, 44, 46) for y in (0, 44, 46)}

    # Every tile sees what of the image lies in it, the first of two the ship's left part better.
    inside = [(20, 15, 20, 10, 0.9, 1), (30, 80, 20, 20, 0.7, 0), (80, 80, 20, 20, 0.8, 0), (92, 92, 8, 8, 0.6, 0)]

    def detect(file):
        x, y = (int(v) for v in file.rpartition(".")[0].partition("__64__")[2].split("___"))
        rows = [(a - x, b - y, w, h, s, c, 0) for a, b, w, h, s, c in inside if 0 < a - x < 64 and 0 < b - y < 64]
        return np.array(rows).reshape(-1, 7)

    written, validator = validated(tmp_path, data, detect, imgsz=64)
    figures = written["dota"]
    assert (figures["images"], figures["objects_of"]) == (1, "whole")
    # One of two ships; the plane after the difficult one, which is left out, and before what is none.
    assert figures["per_class"]["ship"] == {
        "objects": 2,
        "AP50": 0.5,
        "AP75": 0.5,
        "AP50-95": 0.5,
        "AP50_voc07": 6 / 11,
    }
    assert (figures["per_class"]["plane"]["objects"], figures["per_class"]["plane"]["AP50"]) == (1, 1)
    assert (figures["mAP50"], figures["per_class"]["bridge"]) == (0.75, None)
    assert (written["images"], written["ignored"] > 1) == (9, True), "the reference's figures are of tiles"
    found = task1(validator.save_dir / "predictions_merged_txt", ["plane", "ship"])
    assert len(found["plane"]) == 3
    assert {image for image, *_ in found["plane"]} == {"P1"}


def test_whole_images_with_difficult_objects(tmp_path):
    """Images that are no tiles, with ignore files of corners."""
    data = task_data(tmp_path / "data", "obb", val=6)
    folder = tmp_path / "data" / "ignore" / "val"
    folder.mkdir(parents=True)
    for file in sorted((tmp_path / "data/labels/val").iterdir())[::2]:
        rows = file.read_text().splitlines()
        if len(rows) > 0:  # its last object is a difficult one
            (folder / file.name).write_text(rows[-1] + "\n")
            file.write_text("\n".join(rows[:-1]))

    def found_by(file):
        rows = [line.split() for line in (judge_ignored(ignore_file(file)).text or "").splitlines()]
        boxes = [(cls, xyxyxyxy2xywhr(np.array(values, float).reshape(1, -1, 2) * 64)[0]) for cls, *values in rows]
        difficult = np.array([[*box[:4], 0.95, float(cls), box[4]] for cls, box in boxes]).reshape(-1, 7)
        return np.concatenate([guesses(file), difficult])

    written, validator = validated(tmp_path, data, found_by, imgsz=64)
    objects = {f"c{i}": {} for i in range(3)}
    for kind in ("labels", "ignore"):
        for file in (tmp_path / "data" / kind / "val").iterdir():
            for line in file.read_text().splitlines():
                cls, *values = line.split()
                corners = (np.array(values, float).reshape(-1, 2) * 64).tolist()
                objects[f"c{cls}"].setdefault(file.stem, []).append((corners, kind == "ignore"))
    map50, map75 = figures_of(task1(validator.save_dir / "predictions_txt", objects), objects)
    assert sum(d for images in objects.values() for rows in images.values() for _, d in rows) >= 2
    figures = written["dota"]
    assert (figures["images"], figures["objects_of"]) == (6, "images")
    assert (figures["mAP50"], figures["mAP75"]) == pytest.approx((map50, map75), abs=2e-3)
    assert 0 < figures["mAP75"] < figures["mAP50"] < 1

    again, _ = validated(tmp_path, data, found_by, imgsz=64, coco=False)
    assert "dota" not in again
    one, _ = validated(tmp_path, data, found_by, imgsz=64, single_cls=True)
    assert [k for k, row in one["dota"]["per_class"].items() if row] == ["item"]
    few, _ = validated(tmp_path, data, found_by, imgsz=64, classes=[1])
    assert [k for k, row in few["dota"]["per_class"].items() if row] == ["c1"]


def test_a_long_object_in_a_wide_image_keeps_its_sides(tmp_path):
    """A ship of 80 pixels along an image of 100 by 60: as a turned box its height is more than the image's, and it may
    reach over the edge."""
    folder = tmp_path / "data"
    for split in ("train", "val"):
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
        cv2.imwrite(str(folder / "images" / split / "a.png"), np.full((60, 100, 3), len(split), np.uint8))
        # Two ships: x 10 to 90 and y 20 to 30; x −10 to 60 and y 45 to 55, which is labelled from 0 on.
        (folder / "labels" / split / "a.txt").write_text(
            "0 0.1 0.3333333333 0.9 0.3333333333 0.9 0.5 0.1 0.5\n0 0 0.75 0.6 0.75 0.6 0.9166666667 0 0.9166666667\n"
        )
    keys = {"path": str(folder), "train": "images/train", "val": "images/val", "names": ["ship"], "task": "obb"}
    (folder / "data.yaml").write_text(yaml.safe_dump(keys), encoding="utf-8")
    turn = np.pi / 2
    boxes = [[50, 25, 10, 80, 0.9, 0, turn], [25, 50, 10, 70, 0.8, 0, turn], [-5, 50, 10, 10, 0.1, 0, 0]]
    written, validator = validated(tmp_path, folder / "data.yaml", lambda _: boxes, imgsz=64, save_txt=True)
    rows = json.loads((validator.save_dir / "predictions.json").read_text(encoding="utf-8"))
    assert [row["rbox"] for row in rows] == pytest.approx([pytest.approx([*b[:4], b[6]], abs=0.01) for b in boxes])
    found = task1(validator.save_dir / "predictions_txt", ["ship"])["ship"]
    bounds = [(*np.min(corners, 0), *np.max(corners, 0)) for _, _, corners in found]
    assert bounds[0] == pytest.approx((10, 20, 90, 30), abs=0.01)
    assert bounds[1] == pytest.approx((-10, 45, 60, 55), abs=0.01)
    assert bounds[2] == pytest.approx((-10, 45, 0, 55), abs=0.01), "the centre stays where it is"
    # The first is exact, the second's IoU 60/70: right up to 0.85, of IoUs from 0.5 to 0.95.
    assert written["dota"]["mAP75"] == 1
    assert written["dota"]["mAP50-95"] == pytest.approx((8 * 1 + 2 * 0.5) / 10)
    [text] = (validator.save_dir / "labels").rglob("a.txt")
    first = np.array(text.read_text().splitlines()[0].split()[1:9], float).reshape(4, 2) * (100, 60)
    assert (*first.min(0), *first.max(0)) == pytest.approx((10, 20, 90, 30), abs=0.01)
