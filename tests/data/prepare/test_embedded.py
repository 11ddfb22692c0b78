from pathlib import Path

import cv2
import numpy as np
import pytest

from ultralytics.cfg.dataset import load_dataset
from ultralytics.cfg.paths import CLONE
from ultralytics.data.class_augment import resized_crop
from ultralytics.data.prepare import embedded, prepare_shapes, shapes
from ultralytics.data.prepare.embedded import SETS
from ultralytics.data.prepare.outlines import area_of
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.images import imread


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(embedded, "COUNTS", {"train": 1, "val": 1, "test": 1})
    monkeypatch.setattr(embedded, "OF_A_CLASS", {"train": 2, "val": 1, "test": 1})


def rows_of(made, split="train"):
    spec = load_dataset(made)
    files = sorted((spec.root / "labels" / split).glob("*.txt"))
    return spec, [[list(map(float, line.split())) for line in f.read_text().splitlines()] for f in files]


def test_all_sets_but_the_squeezed_one_share_their_images(tmp_path, few):
    boxes, outlines, points = (prepare_shapes(tmp_path / t, task=t) for t in ("detect", "segment", "pose"))
    for name in ("train/0000.jpg", "val/0000.jpg"):
        pixels = {(made.parent / "images" / name).read_bytes() for made in (boxes, outlines, points)}
        assert len(pixels) == 1
    _, plain = rows_of(boxes)
    spec, posed = rows_of(points)
    assert [[r[:5] for r in rows] for rows in posed] == plain
    assert (spec.kpt_shape, spec.flip_idx, spec.task) == ((5, 3), (0, 3, 2, 1, 4), "pose")
    _, outlined = rows_of(outlines)
    for rows, drawn in zip(outlined, plain, strict=True):
        assert len(rows) <= len(drawn)
        assert all(len(r) >= 7 and len(r) % 2 and min(r[1:]) >= 0 and max(r[1:]) <= 1 for r in rows)


def test_an_outline_is_what_can_be_seen_of_a_shape():
    """Its pixels are those that were painted with it last."""
    for i in range(1):
        image, drawn = shapes.draw((7, i))
        h, w = image.shape[:2]
        seen = embedded._seen(drawn)
        for row, mask in zip(SETS["segment"].rows(drawn, seen, (h, w)), seen, strict=True):
            area = float((mask > 0).mean()) * w * h
            assert row is not None or area < 30
            if row is not None:
                points = np.array(row).reshape(-1, 2) * (w, h)
                filled = np.zeros(mask.shape, np.uint8)
                cv2.fillPoly(filled, [np.round(points * shapes.OVERSAMPLE - 0.5).astype(np.int32)], 255)
                differ = float(((filled > 0) != (mask > 0)).mean()) * w * h
                assert differ <= 0.03 * area + 0.1 * len(points) + 4


def test_points_touch_the_box_and_what_is_hidden_is_told(few):
    marked = []
    for i in range(6):
        image, drawn = shapes.draw((3, i))
        h, w = image.shape[:2]
        for d, row in zip(drawn, SETS["pose"].rows(drawn, embedded._seen(drawn), (h, w)), strict=True):
            points = np.array(row[4:]).reshape(5, 3)
            marked += points[:, 2].tolist()
            (x1, y1), (x2, y2) = d.contours[0].min(0) / (w, h), d.contours[0].max(0) / (w, h)
            for place, axis, edge in ((1, 0, x1), (2, 1, y1), (3, 0, x2), (4, 1, y2)):
                assert points[place, 2] == 0 or points[place, axis] == pytest.approx(edge)
    assert set(marked) == {0, 1, 2}


def test_rotated_boxes_hold_their_shapes_and_lie_in_the_image(tmp_path, few):
    spec, rows = rows_of(prepare_shapes(tmp_path / "o", task="obb"))
    assert spec.task == "obb"
    long = []
    for file, listed in zip(sorted((tmp_path / "o/images/train").glob("*.jpg")), rows, strict=True):
        h, w = imread(file).shape[:2]
        for _, *numbers in listed:
            corners = np.array(numbers).reshape(4, 2) * (w, h)
            assert corners.min() >= 0
            sides = np.hypot(*(np.roll(corners, -1, 0) - corners).T)
            assert area_of(corners) == pytest.approx(sides[0] * sides[1], rel=1e-2)
            long.append(max(sides[:2]) / min(sides[:2]))
    assert np.median(long) > 1.4  # an angle can be seen


def test_folders_of_classes(tmp_path, few):
    made = prepare_shapes(tmp_path / "c", task="classify")
    spec = load_dataset(made)
    assert list(spec.names.values()) == sorted(shapes.NAMES)
    for split, count in embedded.OF_A_CLASS.items():
        assert {p.name: len(list(p.glob("*.jpg"))) for p in (tmp_path / "c" / split).iterdir()} == dict.fromkeys(
            shapes.NAMES, count
        )
    assert prepare_shapes(tmp_path / "c", task="classify") == made  # it is there already
    with pytest.raises(ConfigError, match="task=boxes must be one of detect, segment"):
        prepare_shapes(tmp_path / "d", task="boxes")


@pytest.mark.parametrize("cls", range(len(shapes.NAMES)), ids=shapes.NAMES)
def test_validation_sees_the_whole_of_a_shape_that_is_alone(cls):
    """It looks at the middle square. The shape is what is lighter there, whatever the two colours."""
    for i in range(8):
        image = shapes.draw_one((5, i), cls)
        seen = resized_crop(image, (64, 64))
        assert image.shape[0] == image.shape[1]
        grey = cv2.GaussianBlur(seen.mean(2).astype(np.uint8), (5, 5), 0)
        _, light = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        frame = np.ones_like(light, bool)
        frame[2:-2, 2:-2] = False
        assert light[frame].mean() < 0.2 * 255  # a shape may touch the frame
        assert 0.03 < light.mean() / 255 < 0.7


def test_an_earlier_drawing_is_replaced_and_that_of_another_task_is_not(tmp_path, few, monkeypatch):
    made = prepare_shapes(tmp_path / "c", task="classify")
    before = (tmp_path / "c/train/disc/0000.jpg").read_bytes()
    with pytest.raises(UserError):
        prepare_shapes(tmp_path / "c", task="detect")
    assert made.is_file()
    later = SETS["classify"]._replace(version=SETS["classify"].version + 1)
    monkeypatch.setitem(SETS, "classify", later)
    assert prepare_shapes(tmp_path / "c", task="classify") == made
    assert (tmp_path / "c/train/disc/0000.jpg").read_bytes() != before


@pytest.mark.parametrize("task", SETS)
def test_the_yaml_of_the_tree_says_what_the_drawing_writes(task, tmp_path, few):
    bundled = load_dataset(CLONE / "data" / f"shapes{SETS[task].suffix}.yaml")
    made = load_dataset(prepare_shapes(tmp_path / "x", task=task))
    for key in ("names", "kpt_shape", "flip_idx", "task"):
        assert getattr(bundled, key) == getattr(made, key)
    assert bundled.root.name == f"shapes{SETS[task].suffix}"
    assert [Path(p).relative_to(bundled.root) for p in bundled.splits["val"]] == [
        Path(p).relative_to(made.root) for p in made.splits["val"]
    ]
