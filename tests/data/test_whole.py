"""Objects of whole images, of files or of what tiles show."""

import os
import re

import numpy as np
import pytest

from tests.helpers.sources import tree
from ultralytics.data.scan import scan
from ultralytics.data.whole import by_image, place_of, whole_file, whole_images
from ultralytics.utils.coco import CROWD, DIFFICULT
from ultralytics.utils.types import ANY_CLASS

FIRST, SECOND = "P1__100__0___0", "P1__100__80___0"  # tiles of 100x50 pixels that share 20 columns
SHIP = "0 0.1 0.2 0.3 0.2 0.3 0.4 0.1 0.4"  # 10 to 30, 10 to 20
CUT = "0 0.8 0.2 1 0.2 1 0.4 0.8 0.4"  # of the first: 80 to 100
FULL = "0 0 0.2 0.25 0.2 0.25 0.4 0 0.4"  # the same object, of the second: 80 to 105


def labelled(folder, files):
    """The labels of images in images/val, and their paths."""
    tree(folder, files)
    images = sorted(str(p) for p in (folder / "images/val").iterdir())
    return scan([folder / "images/val"], 3, annotations="corners"), images


def bounds(objects):
    return [(*p.min(0).round(3).tolist(), *p.max(0).round(3).tolist()) for p in objects.polygons]


def test_a_name_says_where_a_tile_lies():
    assert place_of("P1__1024__824___0") == ("P1", 824, 0)
    assert place_of("a__b__512.0__-3___7") == ("a__b", -3, 7)
    assert place_of("P1__1024__824") == ("P1__1024__824", 0, 0)
    path = os.path.join("d", "images", "val", "n", "P1")
    assert whole_file(path) == os.path.join("d", "whole", "val", "n", "P1.txt")
    assert whole_file("P1") is None


def test_tiles_are_grouped_by_their_image():
    names = ["a", "n/P1__100__0___0", "P1__100__0___0", "a", "n/P1__200.0__80___-9", "P1", "b"]
    assert by_image(names) == [[0], [1, 4], [2, 5], [3], [6]]


def test_an_image_that_is_no_tile_has_its_own_labels(tmp_path):
    files = {
        "images/val/a.png": None,
        "labels/val/a.txt": SHIP,
        # A difficult one with its corners, one over the edge, one as a box; a crowd of any class.
        "ignore/val/a.txt": "1 0.5 0.2 0.6 0.4 0.5 0.6 0.4 0.4\n2 0.9 0.5 1.05 0.5 1.05 1 0.9 1\n"
        "1 0.5 0.5 0.2 0.2\n* 0.5 0.5 1 1 crowd\n",
        "whole/val/a.txt": "2 0 0 9 0 9 9 0 9 0\n",  # of tiles alone
        "images/val/b.png": None,
    }
    labels, images = labelled(tmp_path, files)
    found = whole_images(labels, images, 3)
    a, b = (found.objects[os.path.splitext(i)[0]] for i in images)
    assert found.source == "images"
    assert bounds(a) == [(10, 10, 30, 20), (40, 10, 60, 30), (90, 25, 100, 50), (40, 20, 60, 30), (0, 0, 100, 50)]
    assert a.polygons[1] == pytest.approx(np.array([[50, 10], [60, 20], [50, 30], [40, 20]])), "its corners"
    assert a.classes.tolist() == [0, 1, 2, 1, ANY_CLASS]
    assert a.kinds.tolist() == [0, *[DIFFICULT] * 3, CROWD]
    assert (b.polygons, len(b.classes)) == ([], 0)
    only = whole_images(labels, images[:1], 3, [1]).objects
    [of_class] = only.values()
    assert of_class.classes.tolist() == [1, 1, ANY_CLASS]
    [merged] = whole_images(labels, images[:1], 3, single_cls=True).objects.values()
    assert merged.classes.tolist() == [0, 0, 0, 0, ANY_CLASS]


@pytest.fixture
def tiles():
    return {
        f"images/val/{FIRST}.png": None,
        f"labels/val/{FIRST}.txt": f"{SHIP}\n{CUT}\n",
        f"images/val/{SECOND}.png": None,
        f"labels/val/{SECOND}.txt": f"{FULL}\n1{FULL[1:]}\n",
    }


def test_what_tiles_show_of_an_object_is_one(tmp_path, tiles):
    labels, images = labelled(tmp_path, tiles)
    found = whole_images(labels, images, 3)
    [objects] = found.objects.values()
    assert found.source == "tiles"
    assert bounds(objects) == [(10, 10, 30, 20), (80, 10, 105, 20), (80, 10, 105, 20)]
    assert objects.classes.tolist() == [0, 0, 1], "another class is another object"


def test_an_object_over_a_tiles_edge_is_as_it_is_written(tmp_path, tiles):
    """The reference's tool does not cut objects at a tile's edge. Training does, and whole images have them whole."""
    tiles[f"labels/val/{FIRST}.txt"] = f"{SHIP}\n0 0.8 0.2 1.05 0.2 1.05 0.4 0.8 0.4\n1 0.9 0.5 1.1 0.5 1.1 1 0.9 1\n"
    tiles[f"ignore/val/{SECOND}.txt"] = "2 -0.05 0.5 0.1 0.5 0.1 1 -0.05 1\n"
    labels, images = labelled(tmp_path, tiles)
    [objects] = whole_images(labels, images, 3).objects.values()
    assert bounds(objects) == [
        (10, 10, 30, 20),
        (80, 10, 105, 20),
        (90, 25, 110, 50),
        (80, 10, 105, 20),
        (75, 25, 90, 50),
    ]
    assert objects.classes.tolist() == [0, 0, 1, 1, 2]
    assert objects.kinds.tolist() == [0, 0, 0, 0, DIFFICULT]


def test_the_file_of_the_whole_image_counts(tmp_path, tiles):
    rows = "0 10 10 30 10 30 20 10 20 0\n0 80 10 130 10 130 20 80 20 1\n2 300 10 330 10 330 20 300 20 0\n"
    labels, images = labelled(tmp_path, tiles | {"whole/val/P1.txt": rows})
    found = whole_images(labels, images, 3)
    [objects] = found.objects.values()
    assert found.source == "whole"
    assert bounds(objects) == [(10, 10, 30, 20), (80, 10, 130, 20)], "the last lies in none of these tiles"
    assert objects.kinds.tolist() == [0, DIFFICULT]
    [fewer] = whole_images(labels, images[:1], 3).objects.values()
    assert bounds(fewer) == [(10, 10, 30, 20)]
    [none] = whole_images(labels, images, 3, [1]).objects.values()
    assert none.polygons == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("0 1 2 3\n", r"P1\.txt:1: a row has"),
        ("0 1 1 2 1 2 2 1 x 0\n", ":1: a row has"),
        ("0 1 1 2 1 2 2 1 nan 0\n", ":1: a row has"),
        ("3 1 1 2 1 2 2 1 2 0\n", ":1: class 3 is none of 0 to 2"),
        ("0 1 1 2 1 2 2 1 2 0\n-1 1 1 2 1 2 2 1 2 0\n", ":2: class -1 is none"),
        ("0 1 1 2 1 2 2 1 2 0\n\n\n \n-1 1 1 2 1 2 2 1 2 0\n", ":5: class -1 is none"),
        ("\n0 1 2 3\n", r"P1\.txt:2: a row has"),
        ("0.5 1 1 2 1 2 2 1 2 0\n", "class 0.5 is none"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_a_damaged_file_is_a_warning(tmp_path, tiles, caplog, text, what):
    labels, images = labelled(tmp_path, tiles | {"whole/val/P1.txt": text})
    assert whole_images(labels, images, 3).source == "tiles"
    [record] = [r for r in caplog.records if "taken from the tiles" in r.getMessage()]
    assert re.search(what, record.getMessage())


def test_an_empty_file_says_that_there_is_nothing(tmp_path, tiles):
    labels, images = labelled(tmp_path, tiles | {"whole/val/P1.txt": ""})
    [objects] = whole_images(labels, images, 3).objects.values()
    assert objects.polygons == []


def test_labels_that_were_edited_are_a_warning(tmp_path, tiles, caplog):
    """A class that only the tiles have: whole/ is of earlier labels."""
    row = "0 80 10 130 10 130 20 80 20 0\n"
    labels, images = labelled(tmp_path / "a", tiles | {"whole/val/P1.txt": row})
    assert whole_images(labels, images, 3).source == "whole"
    [record] = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert re.search(r"P1\.txt: .*classes that this file lacks; .*remove whole/", record)
    caplog.clear()
    whole_images(labels, images, 3, single_cls=True)
    labels, images = labelled(tmp_path / "b", tiles | {"whole/val/P1.txt": f"{row}1{row[1:]}2{row[1:]}"})
    whole_images(labels, images, 3)
    assert not [r for r in caplog.records if r.levelname == "WARNING"], "the file may have more"


def test_files_that_whole_lacks_are_one_warning(tmp_path, tiles, caplog):
    for name in ("P2", "P3"):
        tiles |= {f"images/val/{name}__100__0___0.png": None, f"labels/val/{name}__100__0___0.txt": SHIP}
    labels, images = labelled(tmp_path / "none", tiles)
    assert whole_images(labels, images, 3).source == "tiles"
    assert not [r for r in caplog.records if r.levelname == "WARNING"], "tiles of another tool"
    rows = "0 10 10 30 10 30 20 10 20 0\n1 80 10 130 10 130 20 80 20 1\n"
    labels, images = labelled(tmp_path / "some", tiles | {"whole/val/P1.txt": rows})
    assert whole_images(labels, images, 3).source == "tiles"
    [record] = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert record.startswith("whole/ lacks 2 of 3 images, such as P2: their objects are put together of the tiles")
