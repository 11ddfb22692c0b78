import json
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.sources import COCO, exif, tree
from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.kinds import form_of
from ultralytics.data.labels import parse_ignored
from ultralytics.data.prepare import export_coco, prepare_coco, prepare_yolo
from ultralytics.data.prepare import names as published
from ultralytics.data.prepare.coco_shapes import flip_of
from ultralytics.data.scan import scan
from ultralytics.utils.errors import ConfigError, DatasetError
from ultralytics.utils.images import imwrite
from ultralytics.utils.masks import filled


def coco(top, *annotations, image=None, **more):
    """A JSON of one image with these annotations, each of category 1, and its folder."""
    listed = [{"id": i, "image_id": 1, "category_id": 1, **a} for i, a in enumerate(annotations, 1)]
    document = COCO | {"annotations": listed} | more
    if image is not None:
        document["images"] = [{"id": 1, "file_name": "a.jpg", "width": 60, "height": 40}]
    return tree(top, {"a.jpg": image, "train.json": json.dumps(document)}) / "train.json"


def rows(folder, kind="labels"):
    file = folder / kind / "train" / "a.txt"
    return file.read_text().splitlines() if file.is_file() else []


SQUARE = [10, 5, 30, 5, 30, 15, 10, 15]


def test_polygons_stay_and_areas_too(tmp_path):
    file = coco(tmp_path / "s", {"segmentation": [SQUARE], "bbox": [10, 5, 20, 10], "area": 150.5})
    spec = load_dataset(prepare_coco(file, tmp_path / "o", task="segment"))
    assert spec.task == "segment"
    assert rows(tmp_path / "o") == ["0 0.1 0.1 0.3 0.1 0.3 0.3 0.1 0.3"]
    assert rows(tmp_path / "o", "areas") == ["150.5"]
    prepare_coco(file, tmp_path / "b")
    assert rows(tmp_path / "b") == ["0 0.2 0.2 0.2 0.2"]


def test_parts_are_joined_and_cut_to_the_image(tmp_path):
    parts = [SQUARE, [90, 20, 90, 40, 110, 40, 110, 20]]
    file = coco(tmp_path / "s", {"segmentation": parts, "bbox": [10, 5, 100, 35]})
    prepare_coco(file, tmp_path / "o", task="segment")
    [row] = rows(tmp_path / "o")
    points = np.array(row.split()[1:], float).reshape(-1, 2)
    assert len(points) == 4 + 4 + 2
    assert points.max(0).tolist() == [1, 0.8]
    assert float(rows(tmp_path / "o", "areas")[0]) == 20 * 10 + 20 * 20


@pytest.mark.parametrize("crowd", [0, 1])
def test_run_lengths_become_outlines(tmp_path, crowd):
    counts = [50 * 10 + 5, *[10, 40] * 19, 10, 50 * 70 + 35]  # columns 10 to 30, rows 5 to 15
    rle = {"segmentation": {"counts": counts, "size": [50, 100]}, "bbox": [10, 5, 20, 10], "iscrowd": crowd}
    file = coco(tmp_path / "s", {"segmentation": [SQUARE], "bbox": [10, 5, 20, 10]}, rle)
    prepare_coco(file, tmp_path / "o", task="segment")
    row = (rows(tmp_path / "o", "ignore") if crowd else rows(tmp_path / "o")[1:])[0].removesuffix(" crowd")
    points = np.array(row.split()[1:], float).reshape(-1, 2) * (100, 50)
    assert points.min(0).tolist() == [10, 5]
    assert points.max(0).tolist() == [30, 15]


def test_a_crowd_keeps_its_region(tmp_path):
    """Two parts, one with a hole, from the JSON through the files of every task and back to a JSON."""
    mask = np.zeros((50, 100), np.uint8)
    mask[5:25, 10:40] = 1
    mask[10:15, 20:30] = 0
    mask[30:31, 60:90] = 1
    counts = np.diff(np.flatnonzero(np.diff(mask.T.ravel(), prepend=0, append=0)), prepend=0).tolist()
    counts.append(mask.size - sum(counts))
    rle = {"segmentation": {"counts": counts, "size": [50, 100]}, "bbox": [10, 5, 80, 26], "iscrowd": 1}
    file = coco(tmp_path / "s", {"segmentation": [SQUARE], "bbox": [10, 5, 20, 10]}, rle)
    data = prepare_coco(file, tmp_path / "o", task="segment")

    def region(folder):
        [outline] = parse_ignored("\n".join(rows(folder, "ignore"))).segments[0:1].scale((100, 50)).points[None]
        return filled(outline, 50, 100)

    assert region(tmp_path / "o").tolist() == mask.tolist()
    images = tmp_path / "o/images/train"
    again = prepare_coco(export_coco(data, tmp_path / "o.json", "train"), tmp_path / "p", images, task="segment")
    assert region(tmp_path / "p").tolist() == mask.tolist()
    prepare_yolo(again, tmp_path / "q", task="segment")
    assert region(tmp_path / "q").tolist() == mask.tolist()
    prepare_yolo(again, tmp_path / "r")
    prepare_coco(file, tmp_path / "b")
    assert rows(tmp_path / "r", "ignore") == rows(tmp_path / "b", "ignore") == ["0 0.5 0.36 0.8 0.52 crowd"]


@pytest.mark.parametrize("points", [17, 4])
def test_a_crowd_of_poses_is_a_box(tmp_path, points):
    """Its row has no points, which an ignore file does not have: with them it read as a polygon, or was dropped."""
    marks = [{"bbox": [10, 5, 20, 10], "keypoints": [20, 10, 2] * points}]
    marks.append({"bbox": [10, 5, 20, 10], "keypoints": [0] * 3 * points, "iscrowd": 1})
    kinds = [{"id": 1, "name": "person", "keypoints": [f"p{i}" for i in range(points)]}]
    prepare_coco(coco(tmp_path / "s", *marks, categories=kinds), tmp_path / "o", task="pose")
    assert rows(tmp_path / "o", "ignore") == ["0 0.2 0.2 0.2 0.2 crowd"]


def test_objects_without_an_outline_are_ignored_and_named(tmp_path):
    bad = [
        {"bbox": [10, 5, 20, 10]},
        {"bbox": [10, 5, 20, 10], "segmentation": [[1, 2, 3]]},
        {"bbox": [10, 5, 20, 10], "segmentation": [["x"] * 6]},
        {"bbox": [10, 5, 20, 10], "segmentation": {"counts": [1, 2], "size": [50, 100]}},
        {"bbox": [10, 5, 20, 10], "segmentation": {"counts": "zz", "size": [7, 7]}},
        {"bbox": [10, 5, 20, 10], "segmentation": 3},
        {"segmentation": []},
    ]
    file = coco(tmp_path / "s", {"segmentation": [SQUARE]}, *bad)
    prepare_coco(file, tmp_path / "o", task="segment")
    assert len(rows(tmp_path / "o")) == 1
    assert rows(tmp_path / "o", "ignore") == ["0 0.2 0.2 0.2 0.2"] * 6
    problems = (tmp_path / "o" / "problems.txt").read_text().splitlines()
    assert len(problems) == len(bad)
    assert all("train.json: annotation" in p for p in problems)


def test_a_turned_image_turns_its_outlines_and_points(tmp_path):
    marks = {"segmentation": [[0, 0, 20, 0, 20, 10, 0, 10]], "bbox": [0, 0, 20, 10], "keypoints": [20, 10, 2]}
    kinds = [{"id": 1, "name": "cell", "keypoints": ["tip"]}]
    file = coco(tmp_path / "s", marks, image=exif(6), categories=kinds)
    prepare_coco(file, tmp_path / "o", task="segment")
    assert sorted(np.array(rows(tmp_path / "o")[0].split()[1:], float).reshape(-1, 2).tolist()) == [
        pytest.approx(p) for p in ([0.75, 0], [0.75, 1 / 3], [1, 0], [1, 1 / 3])
    ]
    prepare_coco(file, tmp_path / "p", task="pose")
    assert rows(tmp_path / "p") == ["0 0.875 0.1666666667 0.25 0.3333333333 0.75 0.3333333333 2"]


def test_keypoints_and_which_mirror_one_another(tmp_path):
    kinds = [{"id": 1, "name": "person", "keypoints": ["nose", "left_eye", "right_eye"]}]
    file = coco(
        tmp_path / "s",
        {"bbox": [10, 5, 20, 10], "keypoints": [20, 10, 2, 15, 5, 1, 0, 0, 0]},
        {"bbox": [10, 5, 20, 20], "num_keypoints": 0},
        {"bbox": [10, 5, 20, 30], "keypoints": [120, 10, 2, 15, 5, 7, 1, None, 2]},
        categories=kinds,
    )
    spec = load_dataset(prepare_coco(file, tmp_path / "o", task="pose"))
    assert (spec.kpt_shape, spec.flip_idx) == ((3, 3), (0, 2, 1))
    box = ["0 0.2 0.2 0.2 0.2", "0 0.2 0.3 0.2 0.4", "0 0.2 0.4 0.2 0.6"]
    points = ["0.2 0.2 2 0.15 0.1 1 0 0 0", "0 0 0 0 0 0 0 0 0", "0 0 0 0.15 0.1 2 0 0 0"]
    assert rows(tmp_path / "o") == [f"{b} {p}" for b, p in zip(box, points, strict=True)]
    out = export_coco(tmp_path / "o" / "data.yaml", tmp_path / "o.json", "train")
    marks = json.loads(out.read_text())["annotations"]
    assert [a["num_keypoints"] for a in marks] == [2, 0, 1]
    assert marks[0]["keypoints"] == [20, 10, 2, 15, 5, 1, 0, 0, 0]
    again = load_dataset(prepare_coco(out, tmp_path / "p", tmp_path / "o/images/train", task="pose"))
    assert (again.kpt_shape, again.flip_idx) == (spec.kpt_shape, spec.flip_idx)
    assert rows(tmp_path / "p") == rows(tmp_path / "o")


@pytest.mark.parametrize(
    ("task", "more", "good", "bad"),
    [
        ("segment", "", "0 .1 .1 .5 .1 .5 .5", "0 .5 .5 .2 .2"),
        ("obb", "", "0 .1 .1 .5 .1 .5 .5 .1 .5", "0 .1 .1 .5 .1 .5 .5"),
        ("pose", "kpt_shape: [1, 3]\n", "0 .5 .5 .2 .2 .5 .5 2", "0 .5 .5 .2 .2 .5 .5 7"),
        ("detect", "", "0 .5 .5 .2 .2", "0 .1 .1"),
    ],
)
def test_what_is_exported_is_what_a_training_has(tmp_path, task, more, good, bad):
    """An image with a row that the dataset's task cannot have is left out, as the scan leaves it out."""
    for name, row in (("1", good), ("2", f"{good}\n{bad}")):
        for kind in ("images", "labels"):
            (tmp_path / kind / "val").mkdir(parents=True, exist_ok=True)
        imwrite(tmp_path / "images" / "val" / f"{name}.png", np.zeros((20, 20, 3), np.uint8))
        (tmp_path / "labels" / "val" / f"{name}.txt").write_text(row)
    data = tmp_path / "data.yaml"
    data.write_text(f"val: images/val\ntask: {task}\n{more}names: [a]\n")
    document = json.loads(export_coco(data, tmp_path / "o.json").read_text())
    assert [i["file_name"] for i in document["images"]] == ["1.png"]
    assert len(document["annotations"]) == 1
    spec = load_dataset(data, needs=["val"])
    assert [Path(f).name for f in scan(spec.split("val"), 1, 1.0, "", None, None, *form_of(spec)).im_files] == ["1.png"]


def test_what_no_pose_dataset_can_be_made_of_is_one_line(tmp_path):
    file = coco(tmp_path / "s", {"bbox": [10, 5, 20, 10]})
    with pytest.raises(DatasetError, match="it has no keypoints"):
        prepare_coco(file, tmp_path / "o", task="pose")
    with pytest.raises(ConfigError, match="task=dance must be one of"):
        prepare_coco(file, tmp_path / "o", task="dance")
    kinds = [{"id": i, "name": f"k{i}", "keypoints": ["a"] * i} for i in (1, 2)]
    file = coco(tmp_path / "t", {"bbox": [10, 5, 20, 10]}, categories=kinds)
    with pytest.raises(DatasetError, match="different keypoints"):
        prepare_coco(file, tmp_path / "o", task="pose")


def test_outlines_become_rotated_boxes(tmp_path):
    star = [50, 10, 60, 20, 50, 30, 40, 20, 45, 15]  # five points of a turned square
    file = coco(tmp_path / "s", {"segmentation": [star]}, {"bbox": [10, 5, 20, 10]})
    prepare_coco(file, tmp_path / "o", task="obb")
    turned, upright = (np.array(r.split()[1:], float).reshape(-1, 2) * (100, 50) for r in rows(tmp_path / "o"))
    np.testing.assert_allclose(sorted(turned.tolist()), [[40, 20], [50, 10], [50, 30], [60, 20]], atol=1e-3)
    assert sorted(upright.tolist()) == [[10, 5], [10, 15], [30, 5], [30, 15]]


def test_left_and_right_are_found_in_names():
    assert flip_of(published.COCO_POINTS) == [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    assert flip_of(["tail", "LeftEar", "RightEar"]) == [0, 2, 1]
    assert flip_of(["l_hand", "r_hand"]) == [1, 0]
    assert flip_of(["a", "b"]) is None
    assert flip_of(["left", "nose"]) is None
