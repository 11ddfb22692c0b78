import base64
import io
import json
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.sources import BOX, labelme, read, there_and_back, tree
from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.prepare import prepare_labelme
from ultralytics.data.prepare.labelme import corners_of
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError, UserError
from ultralytics.utils.masks import filled


def shape(label="cell", points=((10, 5), (30, 15)), kind="rectangle", **more):
    return {"label": label, "points": [list(p) for p in points], "shape_type": kind, **more}


@pytest.mark.parametrize(
    "files",
    [
        {"a.jpg": None, "a.json": labelme("cell", "dog")},
        {"imgs/a.png": None, "json files/a.json": labelme("cell", "dog", imagePath="..\\imgs\\a.png")},
        {"deep/imgs/a.JPG": None, "deep/ann/a.json": labelme("cell", "dog", imagePath="C:\\Users\\me\\a.JPG")},
        {"imgs/shot.jpg": None, "ann/001.json": labelme("cell", "dog", imagePath="../imgs/shot.jpg")},
        {"imgs/shot.jpg": None, "ann/001.json": labelme("cell", "dog", imagePath="/home/me/shot.jpg")},
    ],
)  # fmt: skip
def test_the_image_of_a_json_is_found(tmp_path, files):
    made = prepare_labelme(tree(tmp_path / "s", files), tmp_path / "out")
    [rows] = read(made)["train"].values()
    assert [r[0] for r in rows] == ["cell", "dog"]
    np.testing.assert_allclose([r[1:] for r in rows], [BOX, BOX])
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "s")
    assert read(prepare_labelme(packed, tmp_path / "again")) == read(made)
    assert len({str(rows) for rows in there_and_back(made, tmp_path)}) == 1


def test_an_image_that_is_missing_is_taken_out_of_its_json(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (50, 100, 3), np.uint8)
    data = base64.b64encode(cv2.imencode(".png", image)[1].tobytes()).decode()
    files = {
        "train/a.json": labelme("cell", imageData=data),
        "val/b.json": labelme("cell", imageData=f"data:image/png;base64,{data}"),
        "val/c.json": labelme("cell", imageData="no image"),
        "val/d.json": labelme("cell", imagePath="../../secret.jpg"),
    }
    tree(tmp_path, {"secret.jpg": None})
    made = prepare_labelme(tree(tmp_path / "s", files), tmp_path / "out")
    assert {s: list(found) for s, found in read(made).items()} == {"train": ["a.png"], "val": ["b.png"]}
    np.testing.assert_array_equal(cv2.imread(str(made.parent / "images/train/a.png")), image)
    problems = (made.parent / "problems.txt").read_text()
    assert "c.json: its image is not there, and its imageData is not an image" in problems
    assert "d.json: its image is not there, and it does not hold it" in problems
    assert not (made.parent / ".unpacked").exists()


@pytest.mark.parametrize(
    ("given", "corners"),
    [
        (shape(points=((30, 15), (10, 5))), (10, 5, 30, 15)),
        (shape(points=((10, 15), (30, 5))), (10, 5, 30, 15)),
        (shape(points=((10, 9), (20, 5), (30, 8), (12, 15)), kind="polygon"), (10, 5, 30, 15)),
        (shape(points=((20, 10), (23, 14)), kind="circle"), (15, 5, 25, 15)),
        (shape(kind="mask"), (10, 5, 30, 15)),
        ({"points": [[10, 5], [30, 15], [20, 10]]}, (10, 5, 30, 15)),
    ],
)
def test_the_box_around_a_shape(given, corners):
    assert corners_of(given) == (corners, "")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (shape(points=((10, 5),), kind="point"), "is a point"),
        (shape(points=((10, 5), (30, 15)), kind="points"), "is points, which have no area"),
        (shape(kind="line"), "is a line, which has no area; it is dropped"),
        (shape(kind="linestrip"), "is a line, which has no area; it is dropped"),
        (shape(points=((10, 5),), kind="polygon"), "is a point"),
        (shape(points=((10, 5),), kind="circle"), "is a circle without"),
        (shape(points=()), "has no points"),
        (shape() | {"points": None}, "has no points"),
        (shape() | {"points": {"x": 1}}, "has no points"),
        (shape() | {"points": [[1, 2, 3], [1, 2]]}, "has a point that is not two numbers"),
        (shape() | {"points": [[1, float("nan")], [1, 2]]}, "has a point that is not two numbers"),
        (shape() | {"points": [["one", 2], [1, 2]]}, "has a point that is not two numbers"),
        (shape() | {"points": [7]}, "has a point that is not two numbers"),
    ],
)
def test_a_shape_without_a_box_is_named(tmp_path, log, given, why):
    tree(tmp_path / "s", {"a.jpg": None, "a.json": labelme("dog", given)})
    made = prepare_labelme(tmp_path / "s", tmp_path / "out")
    assert [r[0] for r in read(made)["train"]["a.jpg"]] == ["dog"]
    assert f"a.json: shapes[1] (cell) {why}" in log.text


def test_groups_difficult_and_ignored(tmp_path):
    shapes = [
        shape("car", ((0, 0), (10, 10)), "polygon", group_id=1), shape("car", ((20, 20), (30, 30)), group_id=1),
        shape("car", ((40, 0), (50, 10)), group_id=2), shape("bus", ((60, 0), (70, 10)), group_id=1),
        shape("car", ((80, 0), (90, 10)), flags={"difficult": True}),
        shape("bus", ((80, 20), (90, 30)), difficult=True),
        shape("__ignore__", ((0, 40), (100, 60))),
        shape("car", ((95, 0), (120, 10))),
        shape("car", ((120, 0), (130, 10))),
    ]  # fmt: skip
    made = prepare_labelme(tree(tmp_path / "s", {"a.jpg": None, "a.json": labelme(*shapes)}), tmp_path / "out")
    rows = read(made)["train"]["a.jpg"]
    assert [r[0] for r in rows] == ["car", "car", "bus", "car"]
    np.testing.assert_allclose(rows[0][1:], [0.15, 0.3, 0.3, 0.6])
    np.testing.assert_allclose(rows[3][1:], [0.975, 0.1, 0.05, 0.2])  # cut
    ignored = (made.parent / "ignore/train/a.txt").read_text().splitlines()
    assert [line.split()[0] for line in ignored] == ["1", "0", "*"]
    assert ignored[2].endswith("crowd")
    assert "lies outside" in (made.parent / "problems.txt").read_text()


def test_splits_classes_and_files_of_other_kinds(tmp_path, log):
    files = {f"{i}.jpg": None for i in range(10)} | {f"{i}.json": labelme("ab"[i % 2]) for i in range(9)}
    tree(tmp_path / "s", files | {"coco.json": json.dumps({"images": []}), "broken.json": "{", "masks/0.png": None})
    made = prepare_labelme(tmp_path / "s", tmp_path / "out", ["b", "a"], val=0.2, test=0.1, seed=3)
    found = read(made)
    assert {s: len(listed) for s, listed in found.items()} == {"train": 6, "val": 2, "test": 1}
    assert found["train"] | found["val"] | found["test"] == {f"{i}.jpg": [("ab"[i % 2], *BOX)] for i in range(9)}
    for words in (
        "9.jpg: it has no JSON", "coco.json: it is not JSON of labelme", "broken.json:1: not valid JSON",
        "1 image in folders without an annotated image", "drawn of 9 images: 2 as val and 1 as test (seed 3)",
    ):  # fmt: skip
        assert words in log.text
    with pytest.raises(ConfigError, match="names lacks b"):
        prepare_labelme(tmp_path / "s", tmp_path / "other", ["a"])
    with pytest.raises(MissingFileError, match="no JSON file"):
        prepare_labelme(tree(tmp_path / "none", {"a.jpg": None}), tmp_path / "other")
    with pytest.raises(DatasetError, match="no object could be read"):
        prepare_labelme(tree(tmp_path / "bare", {"a.jpg": None, "a.json": labelme()}), tmp_path / "other")
    assert not (tmp_path / "other").exists()


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["shapes", "label", "points", "shape_type", "group_id", "flags", "imagePath", "imageData",
                        "imageHeight", "difficult", "whole"]), _VALUES)  # fmt: skip
def test_whatever_is_in_a_json_no_traceback(key, value):
    data = json.loads(labelme("dog", "cell"))
    if key in data:
        data[key] = value
    elif key == "whole":
        data = value
    else:
        data["shapes"][0][key] = value
    with tempfile.TemporaryDirectory() as folder:
        top = tree(Path(folder) / "s", {"a.jpg": None, "a.json": json.dumps(data)})
        with suppress(UserError):
            assert read(prepare_labelme(top, Path(folder) / "out"))["train"]["a.jpg"]


def marked(label, points, kind="polygon", group=None, **flags):
    return {"label": label, "points": points, "shape_type": kind, "group_id": group, "flags": flags}


def rows_of(top, task, *shapes, **more):
    source = tree(top / "s", {"a.jpg": None, "a.json": labelme(*shapes)})
    made = prepare_labelme(source, top / task, task=task, **more)
    return load_dataset(made), (top / task / "labels/train/a.txt").read_text().splitlines()


def test_outlines_of_shapes_stay(tmp_path):
    shapes = [marked("cell", [[10, 5], [30, 5], [20, 15]]), marked("cell", [[50, 5], [70, 15]], "rectangle")]
    spec, rows = rows_of(tmp_path, "segment", *shapes, marked("cell", [[80, 25], [90, 25]], "circle"))
    assert spec.task == "segment"
    assert rows[:2] == ["0 0.1 0.1 0.3 0.1 0.2 0.3", "0 0.5 0.1 0.7 0.1 0.7 0.3 0.5 0.3"]
    assert len(rows[2].split()) == 1 + 2 * 64
    _, rows = rows_of(tmp_path, "obb", marked("cell", [[50, 10], [60, 20], [50, 30], [40, 20]], "rotation"))
    assert rows == ["0 0.5 0.2 0.6 0.4 0.5 0.6 0.4 0.4"]


def test_points_with_the_group_of_a_shape_are_its_keypoints(tmp_path):
    shapes = [
        marked("cat", [[10, 5], [30, 15]], "rectangle", 1), marked("cat", [[50, 5], [70, 15]], "rectangle", 2),
        marked("left_ear", [[10, 5]], "point", 1), marked("right_ear", [[30, 5]], "point", 1, occluded=True),
        marked("right_ear", [[60, 10]], "point", 2), marked("right_ear", [[1, 1]], "point", 7),
    ]  # fmt: skip
    spec, rows = rows_of(tmp_path, "pose", *shapes)
    assert (spec.kpt_shape, spec.flip_idx) == ((2, 3), (1, 0))
    assert rows == ["0 0.2 0.2 0.2 0.2 0.1 0.1 2 0.3 0.1 1", "0 0.6 0.2 0.2 0.2 0 0 0 0.6 0.2 2"]
    assert "has no object with its group_id" in (tmp_path / "pose/problems.txt").read_text()
    with pytest.raises(DatasetError, match="no shape is a point"):
        rows_of(tmp_path / "t", "pose", shapes[0])
    with pytest.raises(ConfigError, match="no effect with task=segment"):
        rows_of(tmp_path / "u", "segment", shapes[0], keypoints=["a"])


def bitmap(pixels, kind=".png"):
    return base64.b64encode(cv2.imencode(kind, np.asarray(pixels, np.uint8))[1].tobytes()).decode()


@pytest.mark.parametrize(("value", "mode"), [(1, "L"), (255, "L"), (255, "LA"), (255, "RGB"), (255, "RGBA")])
def test_masks_are_read(tmp_path, value, mode):
    """An L of three by four pixels at 20, 30: its points are the first pixel and the last. Alpha is everywhere."""
    pixels = np.zeros((5, 6), np.uint8)
    pixels[0:4, 0] = pixels[3, 0:3] = value
    Image.fromarray(pixels).convert(mode).save(file := io.BytesIO(), "PNG")
    assert Image.open(file).mode == mode
    coded = base64.b64encode(file.getvalue()).decode()
    mask = shape(points=((20, 30), (25, 34)), kind="mask", mask=coded)
    source = tree(tmp_path / "s", {"a.jpg": None, "a.json": labelme(mask)})
    prepare_labelme(source, tmp_path / "o", task="segment")
    [row] = (tmp_path / "o/labels/train/a.txt").read_text().splitlines()
    outline = np.array(row.split()[1:], float).reshape(-1, 2) * (100, 50)
    drawn = np.zeros((50, 100), np.uint8)
    drawn[30:34, 20] = drawn[33, 20:23] = 1
    assert filled(outline, 50, 100).tolist() == drawn.tolist()
    [[cls, *box]] = read(prepare_labelme(source, tmp_path / "b"))["train"]["a.jpg"]
    assert cls == "cell"
    np.testing.assert_allclose(box, [0.215, 0.64, 0.03, 0.08])


@pytest.mark.parametrize(
    ("mask", "why"),
    [
        ("no base64!", "is damaged: it is not base64"),
        (bitmap(np.ones((4, 4)))[:-1], "is damaged: it is not base64"),
        (bitmap(np.ones((4, 4)))[:64], "is damaged: its PNG cannot be decoded"),
        (bitmap(np.ones((4, 4)), ".jpg"), "is not a PNG"),
        ("", "is not a PNG"),
        (7, "is not a PNG"),
        (bitmap(np.ones((60, 100))), "of 100x60 pixels, more than its image has"),
        (bitmap(np.zeros((4, 4))), "without a pixel"),
    ],
)
def test_a_mask_that_is_none_is_named(tmp_path, mask, why):
    bad = shape(points=((20, 30), (23, 33)), kind="mask", mask=mask)
    made = prepare_labelme(tree(tmp_path / "s", {"a.jpg": None, "a.json": labelme("dog", bad)}), tmp_path / "out")
    assert [r[0] for r in read(made)["train"]["a.jpg"]] == ["dog"]
    [problem] = (made.parent / "problems.txt").read_text().splitlines()
    assert "a.json: shapes[1] (cell) has a mask" in problem
    assert f"{why}; it is dropped" in problem
