"""Files of rotated detections."""

import numpy as np
import pytest
import torch

from ultralytics.models.yolo.obb.written import merged, write_rotated
from ultralytics.utils.coco import Seen


def detections(*rows):
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 7)


def test_what_tiles_show_of_one_object_is_one_detection():
    found = merged(
        [
            ("P1__1024__0___0", detections((900, 100, 60, 20, 0.8, 0, 0.3), (30, 40, 60, 20, 0.5, 0, 0.3))),
            ("P1__1024__824___0", detections((76.5, 100, 60, 20, 0.9, 0, 0.3), (76.5, 100, 60, 20, 0.7, 1, 0.3))),
            ("whole", detections((5, 6, 7, 8, 0.4, 0, 0))),
        ]
    )
    assert list(found) == ["P1", "whole"]
    rows = sorted(found["P1"].tolist())
    assert [row[:2] for row in rows] == [[30, 40], [900.5, 100], [900.5, 100]]
    assert [(row[4], row[5]) for row in rows[1:]] == [(0.7, 1), (0.9, 0)]  # the surest; another class stays
    assert found["whole"].tolist() == [[5, 6, 7, 8, 0.4, 0, 0]]


def test_images_of_one_name_lose_no_detection(tmp_path, caplog):
    def of(file, x):
        return Seen(file, (32, 32), np.array([[x, 10, 4, 2, 0.5, 0, 0.0]]), np.zeros((0, 6)))

    files = ("a/x.png", "b/x.png", "b/x.jpg", "b/P1__8__0___0.png", "a/P1__8__0___0.png", "b/P1__8__8___0.png")
    with caplog.at_level("WARNING"):
        write_rotated([of(file, 10 * i + 10) for i, file in enumerate(files)], {0: "a"}, tmp_path)
    assert "3 images are called x, and Task1 files" in caplog.text
    for folder, image in (("predictions_txt", "P1__8__0___0"), ("predictions_merged_txt", "P1")):
        lines = [row.split() for row in (tmp_path / folder / "Task1_a.txt").read_text().splitlines()]
        assert sorted(float(row[2]) for row in lines if row[0] == "x") == [12, 22, 32]
        assert {float(row[2]) for row in lines if row[0] == image} >= {42, 52}
    # The detections of two images at one place are of two objects, those of two files of one image are of one.
    same = [of(file, 10) for file in ("a/y.png", "b/y.png", "c/y.png", "c/y.jpg", "c/P1__8__0___0.png")]
    write_rotated(same, {0: "a"}, tmp_path)
    lines = (tmp_path / "predictions_merged_txt" / "Task1_a.txt").read_text().splitlines()
    assert len([row for row in lines if row.startswith("y ")]) == 3


@pytest.mark.parametrize("stem", ["plain", "P1__1024__824___0"])
def test_the_name_of_a_class_is_no_path(tmp_path, stem):
    names = {0: "car/van", 1: "car_van", 2: "small vehicle"}
    found = np.array([[10, 10, 4, 2, 0.5, 0, 0.0], [20, 10, 4, 2, 0.25, 2, 0.0]])
    write_rotated([Seen(f"{stem}.png", (32, 32), found, np.zeros((0, 6)))], names, tmp_path)
    files = sorted((tmp_path / "predictions_txt").iterdir())
    assert len(files) == 3
    text = {f.name: f.read_text() for f in files}
    assert text["Task1_small-vehicle.txt"].startswith(f"{stem} 0.25000 22.000 11.000 22.000 9.000")
    whole = tmp_path / "predictions_merged_txt" / "Task1_small-vehicle.txt"
    assert whole.exists() == (stem != "plain")
    if whole.exists():
        assert whole.read_text().startswith("P1 0.25000 846.000 11.000")
