from pathlib import Path

import numpy as np
import pytest

from tests.helpers.sources import tree
from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.prepare import prepare_auto, prepare_dota
from ultralytics.data.prepare.annotated import Annotated, class_order
from ultralytics.data.prepare.dota import _name_classes, windows
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError
from ultralytics.utils.images import imread

HEAD = "imagesource:GoogleEarth\ngsd:0.1\n"
PLANE = "10 5 30 5 30 15 10 15 plane 0\n"


def labels(folder, split="train", kind="labels"):
    return {f.stem: f.read_text().splitlines() for f in sorted((folder / kind / split).glob("*.txt"))}


def test_whole_images_keep_their_corners_in_dotas_order_of_classes(tmp_path):
    text = HEAD + PLANE + "50 10 60 20 50 30 40 20 large-vehicle 0\n70 10 90 10 90 20 70 20 ship 1\n"
    tree(tmp_path / "s", {"train/images/a.png": None, "train/labelTxt/a.txt": text})
    spec = load_dataset(prepare_dota(tmp_path / "s", tmp_path / "o", crop=0))
    assert (spec.nc, spec.names[9], spec.task) == (15, "large vehicle", "obb")
    rows = labels(tmp_path / "o")["a"]
    assert rows == ["0 0.1 0.1 0.3 0.1 0.3 0.3 0.1 0.3", "9 0.5 0.2 0.6 0.4 0.5 0.6 0.4 0.4"]
    assert labels(tmp_path / "o", kind="ignore")["a"] == ["1 0.7 0.2 0.9 0.2 0.9 0.4 0.7 0.4"]


def test_tiles_are_named_by_their_place_and_keep_what_is_mostly_inside(tmp_path):
    text = HEAD + PLANE + "38 20 48 20 48 30 38 30 ship 0\n"  # 60 % of the ship in the first tile
    tree(tmp_path / "s", {"images/a.png": None, "labelTxt/a.txt": text})
    prepare_dota(tmp_path / "s", tmp_path / "o", crop=44, gap=10)
    found = labels(tmp_path / "o")
    assert set(found) == {f"a__44__{x}___{y}" for x in (0, 34, 56) for y in (0, 6)}
    assert found["a__44__0___0"] == ["0 0.2272727273 0.1136363636 0.6818181818 0.1136363636 0.6818181818 "
                                     "0.3409090909 0.2272727273 0.3409090909"]  # fmt: skip
    assert [r.split()[0] for r in found["a__44__34___6"]] == ["1"]
    assert found["a__44__56___0"] == []
    assert imread(tmp_path / "o/images/train/a__44__56___6.jpg").shape == (44, 44, 3)


def test_tiles_keep_the_objects_of_their_whole_image(tmp_path):
    """In pixels, difficult ones too, also what no tile shows enough of, or lies over the edge."""
    text = HEAD + PLANE + "38 20.5 48 20.5 48 30 38 30 ship 1\n-4 0 96 0 96 50 -4 50 large-vehicle 0\n"
    files = {"val/images/a.png": None, "val/labelTxt/a.txt": text}
    files |= {"train/images/sub/b.png": None, "train/labelTxt/sub/b.txt": PLANE}
    files |= {"train/images/c.png": None, "train/labelTxt/c.txt": HEAD}
    tree(tmp_path / "s", files)
    prepare_dota(tmp_path / "s", tmp_path / "o", crop=44, gap=10)
    whole = {
        p.relative_to(tmp_path / "o/whole").as_posix(): p.read_text() for p in (tmp_path / "o/whole").rglob("*.txt")
    }
    assert whole.pop("train/c.txt") == "", "no object is something that is known"
    assert whole == {
        "val/a.txt": "0 10 5 30 5 30 15 10 15 0\n1 38 20.5 48 20.5 48 30 38 30 1\n9 -4 0 96 0 96 50 -4 50 0\n",
        "train/sub/b.txt": "0 10 5 30 5 30 15 10 15 0\n",
    }
    assert not any(row.startswith("9") for rows in labels(tmp_path / "o", "val").values() for row in rows)
    prepare_dota(tmp_path / "s", tmp_path / "w", crop=0)
    assert not (tmp_path / "w/whole").exists(), "their labels are those of whole images"


BOX = "10 5 30 5 30 15 10 15"


@pytest.mark.parametrize(
    ("found", "given", "names"),
    [
        (["plane", "small-vehicle"], None, {0: "plane", 10: "small vehicle"}),  # all are DOTA's
        (["helipad", "small vehicle"], None, {17: "helipad", 10: "small vehicle"}),
        (["box-car", "small-vehicle"], None, {0: "box-car", 1: "small-vehicle"}),  # not all: as they are
        (["t-34", "t 34"], None, {0: "t 34", 1: "t-34"}),
        (["box-car", "small-vehicle"], ["small vehicle", "box-car"], {0: "small vehicle", 1: "box-car"}),
        (["plane", "small-vehicle"], ["small-vehicle", "plane"], {0: "small-vehicle", 1: "plane"}),
    ],
)
def test_only_dotas_names_get_blanks_for_hyphens(tmp_path, found, given, names):
    text = "".join(f"{BOX} {name} {i}\n" for i, name in enumerate(found))  # the second is difficult
    tree(tmp_path / "s", {"images/a.png": None, "labelTxt/a.txt": text})
    for crop in (0, 128):
        out = tmp_path / f"o{crop}"
        spec = load_dataset(prepare_dota(tmp_path / "s", out, names=given, crop=crop, gap=0))
        assert {i: spec.names[i] for i in names} == names
        ids = {name: i for i, name in spec.names.items()}
        ids |= {name.replace(" ", "-"): i for name, i in ids.items() if name.replace(" ", "-") not in ids}
        stem = next(iter(labels(out)))
        assert [r.split()[0] for r in labels(out)[stem]] == [str(ids[found[0]])]
        assert [r.split()[0] for r in labels(out, kind="ignore")[stem]] == [str(ids[found[1]])]
    assert [r.split()[0] for r in labels(out, kind="whole")["a"]] == [str(ids[name]) for name in found]


def test_a_cut_object_ends_at_the_edge(tmp_path):
    tree(tmp_path / "s", {"images/a.png": None, "labelTxt/a.txt": "-2 5 8 5 8 15 -2 15 plane 0\n"})
    prepare_dota(tmp_path / "s", tmp_path / "o")
    [row] = labels(tmp_path / "o")["a__1024__0___0"]
    points = np.array(row.split()[1:], float).reshape(-1, 2)
    assert points.min(0).tolist() == [0, 0.1]
    assert len(points) >= 4


def test_windows_reach_the_edge_and_a_small_image_is_one():
    assert windows((1500, 2000), 1024, 200) == [(0, 0), (0, 476), (824, 0), (824, 476), (976, 0), (976, 476)]
    assert windows((50, 100), 1024, 200) == [(0, 0)]
    assert windows((1024, 1024), 1024, 200) == [(0, 0)]


def test_several_rates_make_tiles_of_several_sizes(tmp_path):
    tree(tmp_path / "s", {"images/a.png": None, "labelTxt/a.txt": PLANE})
    prepare_dota(tmp_path / "s", tmp_path / "o", crop=60, gap=0, rates=["0.5", 1])
    assert {name.split("__")[1] for name in labels(tmp_path / "o")} == {"60", "120"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3\n", r"a\.txt:1: a row is eight numbers"),
        ("1 1 1 1 1 1 1 1 plane 0\n", "the box has no area"),
        ("1e999 1 2 1 2 2 1 2 plane 0\n", "the box has no area"),
        ("x 1 2 1 2 2 1 2 plane 0\n", "eight numbers"),
    ],
)
def test_wrong_rows_are_one_line_and_leave_nothing(tmp_path, text, message):
    tree(tmp_path / "s", {"images/a.png": None, "labelTxt/a.txt": text})
    with pytest.raises(DatasetError, match=message) as caught:
        prepare_dota(tmp_path / "s", tmp_path / "o")
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("row", ["0 .1 .1 .5 .1 .5 .5 .1 .5", "0 .1 .1 .5 .1 .5 .5 .3 .6 .1 .5"])
def test_labels_of_another_format_are_not_taken_for_classes(tmp_path, row):
    """Of YOLO's corners and polygons the ninth number would be a class."""
    tree(tmp_path / "s", {"images/a.png": None, "labels/a.txt": f"{row}\n"})
    with pytest.raises(DatasetError, match=r"contains YOLO labels \(a\.txt\), not DOTA labels"):
        prepare_dota(tmp_path / "s", tmp_path / "o")
    (tmp_path / "s" / "labels" / "a.txt").write_text("1 1 20 1 20 20 1 20 7 0\n")
    made = prepare_dota(tmp_path / "s", tmp_path / "o", crop=0)
    assert load_dataset(made).names == {0: "7"}, "a whole number may be a class"


def test_tiles_that_overlap_wholly_are_refused(tmp_path):
    tree(tmp_path / "s", {"images/a.png": None, "labelTxt/a.txt": PLANE})
    with pytest.raises(ConfigError, match=r"gap=63 and crop=64 are both 32 pixels at the rate 1\.95"):
        prepare_dota(tmp_path / "s", tmp_path / "o", crop=64, gap=63, rates=[1.95])
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_rates_that_make_equal_tiles_make_them_once(tmp_path):
    tree(tmp_path / "s", {"images/a.png": None, "labelTxt/a.txt": PLANE})
    prepare_dota(tmp_path / "s", tmp_path / "o", crop=60, gap=20, rates=[1, 1.0, 0.9999])
    once = tmp_path / "once"
    prepare_dota(tmp_path / "s", once, crop=60, gap=20)
    assert sorted(labels(tmp_path / "o")) == sorted(labels(once))


def test_wrong_options_and_an_empty_source(tmp_path):
    tree(tmp_path / "s", {"images/a.png": None})
    for given in ({"gap": 1024}, {"rates": [0]}, {"rates": ["x"]}, {"crop": 8}, {"task": "pose"}):
        with pytest.raises(ConfigError):
            prepare_dota(tmp_path / "s", tmp_path / "o", **given)
    with pytest.raises(MissingFileError, match="no image has a label file"):
        prepare_dota(tmp_path / "s", tmp_path / "o")


def test_auto_reads_it(tmp_path):
    tree(tmp_path / "s", {"images/a.png": None, "labelTxt/a.txt": HEAD + PLANE})
    assert load_dataset(prepare_auto(tmp_path / "s", tmp_path / "o")).task == "obb"


def test_the_tiles_of_an_image_are_drawn_together(tmp_path):
    """They overlap: what is trained on one would be validated on the other."""
    files = {f"images/{n}.png": None for n in "abcdef"} | {f"labelTxt/{n}.txt": HEAD + PLANE for n in "abcdef"}
    tree(tmp_path / "s", files)
    prepare_dota(tmp_path / "s", tmp_path / "o", crop=44, gap=10, val=0.3, test=0.2)
    splits = {s: [f.split("__")[0] for f in labels(tmp_path / "o", s)] for s in ("train", "val", "test")}
    assert {s: len(set(found)) for s, found in splits.items()} == {"train": 3, "val": 2, "test": 1}
    assert all(len(found) == 6 * len(set(found)) for found in splits.values())


def test_what_a_whole_image_shows_is_walked_once():
    """An image of thousands of tiles and of objects."""

    class Counting(list):
        walks = 0

        def __iter__(self):
            self.walks += 1
            return super().__iter__()

    whole = Counting([("large-vehicle", [0.0] * 8, False)])
    tiles = [Annotated(f"P1__64__{x}___0.jpg", whole=whole) for x in range(100)]
    names = _name_classes(tiles, None)
    assert class_order(tiles, names, Path("s"))[:2] == ["plane", "ship"]
    assert [row[0] for row in list.__iter__(whole)] == ["large vehicle"]
    assert whole.walks <= 3
