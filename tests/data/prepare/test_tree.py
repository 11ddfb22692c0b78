import time

import pytest

from tests.helpers.sources import tree
from ultralytics.data.prepare.tree import Tree, by_splits, pair, split_of_folders


@pytest.mark.parametrize(
    ("mark", "images", "found"),
    [
        ("a.xml", ["a.jpg"], ["a.jpg"]),
        ("xmls/a.xml", ["images/a.jpg"], ["images/a.jpg"]),
        ("annots/train/a.xml", ["images/train/a.jpg", "images/test/a.jpg"], ["images/train/a.jpg"]),
        ("train/annots/a.xml", ["train/images/a.jpg", "test/images/a.jpg"], ["train/images/a.jpg"]),
        ("x/a.xml", ["x/a.jpg", "y/a.jpg"], ["x/a.jpg"]),
        ("label_2/a.txt", ["image_3/a.png", "image_2/a.png"], ["image_2/a.png"]),
        ("training/label_2/a.txt", ["training/image_2/a.png", "testing/image_2/a.png"], ["training/image_2/a.png"]),
        ("xmls/a.xml", ["one/a.jpg", "two/a.jpg"], ["one/a.jpg", "two/a.jpg"]),
        ("xmls/a.xml", ["b.jpg", "a.b.jpg"], []),
        ("a.b.xml", ["a.jpg", "a.b.jpg"], ["a.b.jpg"]),
    ],
)
def test_the_image_of_an_annotation(mark, images, found):
    assert pair([mark], images) == {mark: found}


def test_splits_by_folders():
    assert split_of_folders("images/train2017/x.jpg") == "train"
    assert split_of_folders("obj_Validation_data/x.jpg") == "val"
    assert split_of_folders("restraint/test.jpg") is None
    assert by_splits(["images/train/a.jpg", "images/train/x/b.jpg", "images/valid/a.jpg"]) == {
        "train": {"images/train/a.jpg": "a.jpg", "images/train/x/b.jpg": "x/b.jpg"},
        "val": {"images/valid/a.jpg": "a.jpg"},
    }
    assert by_splits(["test/a.jpg", "test/b.jpg"]) == {"train": {"test/a.jpg": "a.jpg", "test/b.jpg": "b.jpg"}}
    assert list(by_splits(["i/a.jpg", "i/b.jpg"], {"i/a.jpg": "train/a.xml", "i/b.jpg": "val/b.xml"})) == [
        "train",
        "val",
    ]


def test_what_systems_add_is_no_image(tmp_path):
    top = tree(tmp_path, {"a.jpg": None, "a.xml": "", "__MACOSX/._a.jpg": "", "._a.jpg": "", "x/.b.xml": ""})
    found = Tree.of(top, ".xml")
    assert (found.images, found.marks) == (["a.jpg"], ["a.xml"])


def test_many_folders_of_equal_names_are_paired_in_time():
    marks = [f"ann/{f:03d}/{i:03d}.xml" for f in range(200) for i in range(100)]
    images = [f"img/{f:03d}/{i:03d}.jpg" for f in range(200) for i in range(100)]
    start = time.process_time()
    found = pair(marks, images)
    assert all(v == [k.replace("ann", "img").replace("xml", "jpg")] for k, v in found.items())
    assert time.process_time() - start < 10
