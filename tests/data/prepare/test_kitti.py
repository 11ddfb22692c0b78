import shutil

import numpy as np
import pytest

from tests.helpers.sources import BOX, KITTI, read, there_and_back, tree
from ultralytics.data.prepare import prepare_kitti
from ultralytics.utils.errors import DatasetError, MissingFileError


@pytest.mark.parametrize(
    ("label", "image"),
    [
        ("training/label_2/000000.txt", "training/image_2/000000.png"),
        ("000000.txt", "000000.jpg"),
        ("labels/000000.txt", "images/000000.jpg"),
        ("kitti/my labels/000000.txt", "kitti/pics/000000.jpg"),
    ],
)
def test_the_image_of_a_label_file_is_found(tmp_path, label, image):
    source = tree(tmp_path / "s", {label: KITTI.format("Car"), image: None, "readme.txt": "Car is a car"})
    made = prepare_kitti(source, tmp_path / "out")
    assert list(read(made)["train"].values()) == [[("Car", *BOX)]]
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", source)
    assert read(prepare_kitti(packed, tmp_path / "again")) == read(made)
    assert len({str(rows) for rows in there_and_back(made, tmp_path)}) == 1


def test_rows(tmp_path, log):
    rows = [
        KITTI.format("Car"), KITTI.format("DontCare").replace("0.00 0 -1.57", "-1 -1 -10"),
        KITTI.format("Van").replace("0.00 0", "0.90 3"), KITTI.format("Person sitting"),
        KITTI.format("Tram").rstrip() + " 0.93\n", "\n", "Car 1 2 3\n", "0 0.5 0.5 0.1 0.1\n",
        KITTI.format("Car").replace("30 15", "nan 15"), KITTI.format("Car").replace("30 15", "10 15"),
        KITTI.format("Car").replace("10 5 30 15", "110 5 130 15"), KITTI.format("Van").replace("10 5", "-10 5"),
    ]  # fmt: skip
    source = tree(
        tmp_path / "s",
        {
            "training/label_2/0.txt": "".join(rows),
            "training/image_2/0.png": None,
            "training/image_2/1.png": None,
            "training/image_3/0.png": None,
            "testing/image_2/0.png": None,
        },
    )
    made = prepare_kitti(source, tmp_path / "out")
    found = read(made)["train"]["0.png"]
    assert [r[0] for r in found] == ["Car", "Van", "Person sitting", "Tram", "Van"]
    np.testing.assert_allclose([r[1:] for r in found[:4]], [BOX] * 4)
    np.testing.assert_allclose(found[4][1:], [0.15, 0.2, 0.3, 0.2])
    assert (made.parent / "ignore/train/0.txt").read_text() == "* 0.2 0.2 0.2 0.2 crowd\n"
    for words in ("0.txt:7: a row is a class and 14 numbers", "0.txt:8: a row is", "0.txt:9 (Car): the box is not four",
                  "0.txt:10 (Car): the box has no area", "0.txt:11 (Car): the box lies outside",
                  "1.png: it has no label file", "2 images in folders without a labelled image"):  # fmt: skip
        assert words in (made.parent / "problems.txt").read_text()


def test_splits(tmp_path):
    files = {f"training/label_2/{i}.txt": KITTI.format("Car") for i in range(6)}
    files |= {f"training/image_2/{i}.png": None for i in range(6)}
    source = tree(tmp_path / "s", files)
    made = prepare_kitti(source, tmp_path / "drawn", val=0.5)
    assert {s: len(found) for s, found in read(made).items()} == {"train": 3, "val": 3}
    tree(source, {"ImageSets/train.txt": "0\n1\n2\n", "ImageSets/val.txt": "3\n4\n"})
    made = prepare_kitti(source, tmp_path / "listed")
    assert {s: list(found) for s, found in read(made).items()} == {
        "train": ["0.png", "1.png", "2.png"],
        "val": ["3.png", "4.png"],
    }


def test_what_is_no_kitti_is_told(tmp_path):
    with pytest.raises(MissingFileError, match="no image has a label file"):
        prepare_kitti(tree(tmp_path / "a", {"a.jpg": None}), tmp_path / "out")
    with pytest.raises(DatasetError, match="the source contains YOLO labels"):
        prepare_kitti(tree(tmp_path / "b", {"a.jpg": None, "a.txt": "0 .5 .5 .1 .1"}), tmp_path / "out")
    with pytest.raises(DatasetError, match="no object is left to train on: 1 marked as"):
        prepare_kitti(tree(tmp_path / "c", {"a.jpg": None, "a.txt": KITTI.format("DontCare")}), tmp_path / "out")
