import json
import shutil
import tempfile
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.coco import CATEGORIES, box, image, picture, write
from tests.helpers.sources import exif
from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.prepare import prepare_coco
from ultralytics.data.prepare.coco import split_of
from ultralytics.data.scan import scan
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError, UserError


def test_classes_follow_the_ids_of_the_categories(tmp_path, log):
    source = write(tmp_path / "s", [image(1, "a.jpg"), image(2, "b.png")], [box(1, 1), box(2, 1, 7), box(3, 1, 3)])
    spec = load_dataset(prepare_coco(source, tmp_path / "out"))
    assert spec.names == {0: "dog", 1: "cat"}
    assert (tmp_path / "out" / "labels" / "train" / "a.txt").read_text() == (
        "0 0.2 0.2 0.2 0.2\n1 0.2 0.2 0.2 0.2\n0 0.2 0.2 0.2 0.2\n"
    )
    assert (tmp_path / "out" / "labels" / "train" / "b.txt").read_text() == ""
    assert spec.split("val") == spec.split("train")
    assert "are both train and val" in log.text


def test_an_export_with_a_json_beside_the_images_of_each_split(tmp_path, log):
    categories = [
        {"id": 0, "name": "cells", "supercategory": "none"},
        {"id": 1, "name": "RBC", "supercategory": "cells"},
        {"id": 2, "name": "WBC", "supercategory": "cells"},
    ]
    for split in ("train", "valid", "test"):
        folder = tmp_path / "s" / split
        write(folder, [image(0, "a_jpg.rf.0123.jpg")], [box(0, 0, 2)], "_annotations.coco.json", categories, draw=False)
        picture(folder / "a_jpg.rf.0123.jpg")
    (tmp_path / "s" / "README.dataset.txt").write_text("")
    packed = shutil.make_archive(str(tmp_path / "export"), "zip", tmp_path / "s")
    for source in (tmp_path / "s", packed):
        spec = load_dataset(prepare_coco(source, tmp_path / f"out-{Path(source).name}"))
        assert spec.names == {0: "RBC", 1: "WBC"}
        assert {s: scan(spec.split(s), 2).cls.tolist() for s in spec.splits} == {"train": [1], "val": [1], "test": [1]}
    assert "cells is the name of a group of classes" in log.text


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train.json", "val.json"), ["train", "val"]),
        (("val.json", "train.json"), ["train", "val"]),
        (("one.json", "two.json"), ["train", "val"]),
        (("a.json", "b.json", "c.json"), ["train", "val", "test"]),
        (("instances_test.json", "my-train-2.json"), ["train", "test"]),
    ],
)
def test_several_files_are_splits(tmp_path, names, splits):
    files = [write(tmp_path / "s", [image(1, f"{n}.jpg")], [box(1, 1)], n) for n in names]
    made = prepare_coco(files, tmp_path / "out", tmp_path / "s" / "images")
    manifest = json.loads((made.parent / "manifest.json").read_text())
    assert list(manifest["splits"]) == splits
    assert sorted(s["name"] for s in manifest["sources"]) == sorted(names)


def test_numbers_written_as_text_are_numbers(tmp_path):
    entry = {**image(1, "a.jpg"), "width": "100", "height": "50"}
    source = write(tmp_path / "s", [entry], [box(1, 1, bbox=["10", "5", "20.0", "10"])])
    prepare_coco(source, tmp_path / "out")
    assert (tmp_path / "out" / "labels" / "train" / "a.txt").read_text() == "0 0.2 0.2 0.2 0.2\n"


@pytest.mark.parametrize("top", ["/home/me/set", "C:\\set\\images", "https://host/set"])
def test_images_of_one_name_in_two_absolute_folders_stay_two(tmp_path, top):
    gap = "\\" if "\\" in top else "/"
    names = [gap.join([top, "x", "a.jpg"]), gap.join([top, "y", "a.jpg"])]
    source = write(tmp_path / "s", [image(i, n) for i, n in enumerate(names)], [box(1, 0), box(2, 1)], draw=False)
    for folder in ("x", "y"):
        picture(tmp_path / "s" / "images" / folder / "a.jpg")
    prepare_coco(source, tmp_path / "out")
    rows = [p.read_text() for p in sorted((tmp_path / "out" / "labels").rglob("a*.txt"))]
    assert rows == ["0 0.2 0.2 0.2 0.2\n"] * 2


def test_a_file_without_usable_images_says_why(tmp_path):
    source = write(tmp_path / "s", [image(1, "../a.jpg")], [box(1, 1)], draw=False)
    with pytest.raises(
        DatasetError, match=r"the file lists no usable images: '\.\./a\.jpg' leaves the folder of images"
    ):
        prepare_coco(source, tmp_path / "out")


def test_the_split_of_a_file():
    split_by_path = {
        "instances_train2017.json": "train", "x/val.json": "val", "test/instances_default.json": "test",
        "valid/_annotations.coco.json": "val", "train2017/a.json": "train", "x/restraint.json": None,
        "test_of_mine/a.json": None,
    }  # fmt: skip
    assert {f: split_of(Path(f)) for f in split_by_path} == split_by_path


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (box(1, 1, category=9), "annotation 1 (a.jpg): there is no category 9"),
        (box(1, 1, category="3.5"), "there is no category 3.5"),
        (box(1, 9), "annotation 1: there is no image 9"),
        (box(1, 1, bbox=(float("nan"), 1, 2, 3)), "bbox is not four numbers"),
        (box(1, 1, bbox=(1, 1, float("inf"), 3)), "bbox is not four numbers"),
        (box(1, 1, bbox=(1, 1, 10**400, 3)), "bbox is not four numbers"),
        (box(1, 1, bbox=(1, 1, "two", 3)), "bbox is not four numbers"),
        (box(1, 1, bbox=(1, 1, 2)), "bbox is not four numbers"),
        ({"id": 1, "image_id": 1, "category_id": 3}, "bbox is not four numbers"),
        (box(1, 1, bbox=(5, 5, -2, 3)), "the box has no area (-2x3)"),
        (box(1, 1, bbox=(5, 5, 2, 0)), "the box has no area (2x0)"),
        (box(1, 1, bbox=(105, 5, 2, 3)), "the box lies outside its image"),
        (box(1, 1, bbox=(-30, 5, 20, 3)), "the box lies outside its image"),
        ("text", "annotations[0] is not a mapping"),
    ],
)
def test_an_annotation_that_cannot_be_used_is_named_and_dropped(tmp_path, log, entry, words):
    source = write(tmp_path / "s", [image(1, "a.jpg")], [entry, box(2, 1)])
    prepare_coco(source, tmp_path / "out")
    assert words in log.text
    assert "instances_train.json: " in log.text
    assert (tmp_path / "out" / "labels" / "train" / "a.txt").read_text() == "0 0.2 0.2 0.2 0.2\n"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (image(2, "gone.jpg"), "gone.jpg: there is no such image"),
        (image(2, "../secret.jpg"), "'../secret.jpg' leaves the folder of images"),
        (image(2, "x/../../secret.jpg"), "leaves the folder of images"),
        (image(2, "..\\secret.jpg"), "leaves the folder of images"),
        (image(2, "clip.gif"), "clip.gif is not a kind of image"),
        (image(2, f"{'x' * 300}.jpg"), "xxx.jpg: there is no such image"),
        (image(2, "\ud800.jpg"), "\\ud800.jpg: there is no such image"),
        (image(2, "a\0.jpg"), "leaves the folder of images"),
        (image(2, ""), "image 2 has no file_name"),
        (image(2, None), "image 2 has no file_name"),
        (image(2, "bad.jpg"), "bad.jpg: cannot be decoded"),
        (image(1, "b.jpg"), "image id 1 is used twice; b.jpg is left out"),
        (image([2], "b.jpg"), "images[1] has no id"),
        (7, "images[1] is not a mapping"),
    ],
)
def test_an_image_that_cannot_be_used_is_named_and_left_out(tmp_path, log, entry, words):
    source = write(tmp_path / "s", [image(1, "a.jpg"), entry], [box(1, 1), box(2, 2)], draw=False)
    for path in ("images/a.jpg", "images/b.jpg", "secret.jpg"):
        picture(tmp_path / "s" / path)
    (tmp_path / "s" / "images" / "bad.jpg").write_text("no picture")
    prepare_coco(source, tmp_path / "out")
    assert words in log.text
    written = [p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out" / "images").rglob("*.*")]
    assert written == ["images/train/a.jpg"]


def test_names_with_folders_stay_inside_and_apart(tmp_path, log):
    """An absolute name means its file; folders are kept, and one called images does not mislead the labels."""
    names = ["day/a.jpg", "night/a.jpg", "images/b.jpg", "C:\\cam\\c.jpg", "/data/d.jpg", "./e.jpg", "e.png"]
    source = write(
        tmp_path / "s", [image(i, n) for i, n in enumerate(names)], [box(i, i) for i in range(7)], draw=False
    )
    for name in ("day/a.jpg", "night/a.jpg", "images/b.jpg", "c.jpg", "d.jpg", "e.jpg", "e.png"):
        picture(tmp_path / "s" / "images" / name)
    spec = load_dataset(prepare_coco(source, tmp_path / "out", images=[tmp_path / "s" / "images", "link"]))
    labels = scan(spec.split("train"), 2)
    assert len(labels) == len(labels.cls) == 7
    names = sorted(Path(f).relative_to(spec.split("train")[0]).as_posix() for f in labels.im_files)
    assert names == ["b.jpg", "c.jpg", "d.jpg", "day/a.jpg", "e-png.png", "e.jpg", "night/a.jpg"]
    assert "e.png: another image of its split has the name e; it is written as e-png.png" in log.text
    assert (tmp_path / "out/images/train/d.jpg").samefile(tmp_path / "s/images/d.jpg")


def test_other_oddities_are_handled_and_told(tmp_path, log):
    images = [image(1, "a.jpg", width=640), image(2, "a.jpg"), image(3, "b.jpg"), image(4, "turned.jpg")]
    images[3] |= {"width": 60, "height": 40}
    annotations = [box(1, 1), box(1, 2, 7), box(3, 3, bbox=(-5, 5, 20, 10)), box(4, 3, iscrowd=1), box(5, 4)]
    source = write(tmp_path / "s", images, annotations, draw=False)
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path / "s" / "images" / name)
    (tmp_path / "s" / "images" / "turned.jpg").write_bytes(exif(6))
    out = prepare_coco(source, tmp_path / "out").parent
    assert (out / "labels/train/a.txt").read_text() == "0 0.2 0.2 0.2 0.2\n1 0.2 0.2 0.2 0.2\n"
    assert (out / "labels/train/b.txt").read_text() == "0 0.075 0.2 0.15 0.2\n"
    assert (out / "ignore/train/b.txt").read_text() == "0 0.2 0.2 0.2 0.2 crowd\n"
    # Stored 60 wide and 40 high: the box of 20x10 at (10, 5) is 10x20 at (25, 10) of the upright 40x60.
    _, *values = map(float, (out / "labels/train/turned.txt").read_text().split())
    np.testing.assert_allclose(values, [30 / 40, 20 / 60, 10 / 40, 20 / 60], rtol=1e-9)
    for words in (
        "the size is given as 640x50, the image has 100x50", "a.jpg is listed twice; its boxes are taken together",
        "annotation 1: its id is used twice; both are kept", "1 box reached beyond its image",
        "turned.jpg: the boxes were drawn on the image as it is stored",
    ):  # fmt: skip
        assert words in log.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("{}\n{}\n", "the source contains JSON Lines"),
        ('{"images": [', "not valid JSON: it is cut off"),
        ('{"images": null, "annotations": [], "categories": []}', "no list of images"),
        ("{\n\n'", r"train\.json:3: not valid JSON"),
        ("[]", "not an instances file"),
        ('{"images": [], "annotations": []}', "no list of categories"),
        ('{"images": {}, "annotations": [], "categories": []}', "no list of images"),
        ('{"images": [], "annotations": [], "categories": []}', "lists no usable images|names no categories"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', r"categories\[0\] has no id and name"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
            "category 1 is both a and b",
        ),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_instances_is_told_in_one_line(tmp_path, text, words):
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(DatasetError, match=words) as caught:
        prepare_coco(tmp_path / "train.json", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["train.json"]


def test_what_is_missing_or_contradicts_itself_is_told(tmp_path):
    source = write(tmp_path / "s", [image(1, "a.jpg")], [box(1, 1)])
    picture(tmp_path / "other" / "z.jpg")
    cases = [
        (MissingFileError, "no such source", ("gone.json", "out")),
        (MissingFileError, "no such folder of images", (source, "out", "gone")),
        (MissingFileError, r"none of its images was found; tried .*other", (source, "out", tmp_path / "other")),
        (ConfigError, "out is missing", (source,)),
        (ConfigError, "must be a folder, and copy or link", (source, "out", ["copy", "link"])),
        (MissingFileError, "no instances JSON; tried", (tmp_path / "other", "out")),
        (ConfigError, "must be JSON files", ([source, tmp_path / "s"], "out")),
    ]
    for error, words, (first, *rest) in cases:
        rest = [tmp_path / "out", *rest[1:]] if rest else []
        with pytest.raises(error, match=words):
            prepare_coco(first, *rest)
    twice = [write(tmp_path / "s", [image(1, "a.jpg")], [box(1, 1)], n) for n in ("train.json", "train-2.json")]
    with pytest.raises(ConfigError, match="do not tell train, val and test apart"):
        prepare_coco(twice, tmp_path / "out")
    write(tmp_path / "s", [image(1, "a.jpg")], [], "val.json", [{"id": 3, "name": "horse"}])
    with pytest.raises(DatasetError, match="category 3 is horse here and dog in another"):
        prepare_coco([twice[0], tmp_path / "s" / "val.json"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_running_it_again_does_nothing_and_other_options_are_refused(tmp_path, log):
    source = write(tmp_path / "s", [image(1, "a.jpg")], [box(1, 1)])
    made = prepare_coco(source, tmp_path / "out")
    assert prepare_coco(source, tmp_path / "out") == made
    assert "is there already" in log.text
    other = write(tmp_path / "t", [image(1, "a.jpg")], [box(1, 1)])
    with pytest.raises(UserError, match="source"):
        prepare_coco(other, tmp_path / "out")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
keyed = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(0, 3) | json_values,
        "image_id": st.integers(0, 3) | json_values,
        "category_id": st.integers(0, 3) | json_values,
        "file_name": st.sampled_from(["a.jpg", "../a.jpg", "/a.jpg", "images/a.jpg", "a.png", "images"]) | json_values,
        "bbox": st.lists(st.floats() | st.integers(), min_size=3, max_size=5) | json_values,
        "name": st.sampled_from(["dog", "cat"]) | json_values,
        "width": st.integers() | json_values,
        "height": st.integers() | json_values,
        "iscrowd": json_values,
        "any_class": st.integers(0, 2) | json_values,
    },
)


@settings(max_examples=30)
@given(
    st.lists(keyed | json_values, max_size=4), st.lists(keyed | json_values, max_size=4), st.lists(keyed, max_size=2)
)
def test_no_json_crashes_or_writes_outside(tmp_path_factory, images, annotations, categories):
    top = tmp_path_factory.mktemp("coco")
    source = write(
        top / "s",
        [image(1, "a.jpg"), *images],
        [box(1, 1), *annotations],
        categories=[*CATEGORIES, *categories],
        draw=False,
    )
    picture(top / "s" / "images" / "a.jpg")
    line = ""
    try:
        prepare_coco(source, top / "out")
    except UserError as e:
        line = str(e)
    assert "\n" not in line
    assert {p.name for p in top.iterdir()} <= {"s", "out"}


@pytest.mark.slow
def test_a_large_file_takes_a_few_times_its_size(tmp_path):
    """60 MB of JSON, as COCO's train file is 450: what Python needs per annotation, and no copy of it."""
    rows = [box(i, 1 + i % 50, bbox=(i % 50 + 0.25, 5, 20, 10), segmentation=[[0.5] * 40]) for i in range(200_000)]
    source = write(tmp_path / "s", [image(i, f"{i}.jpg") for i in range(1, 51)], rows)
    size = source.stat().st_size
    tracemalloc.start()
    prepare_coco(source, tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * size


@pytest.mark.parametrize(
    "ids", [("1", 1), (1, "1"), ("1", "1"), (1.0, 1), (1, 1.0), (" 1 ", 1), ("x-1", "x-1"), ("1.0", "1.0")]
)
def test_ids_that_are_text_match(tmp_path, ids):
    """As of images, so of categories: numbers, also as text or with a point, and text."""
    here, there = ids
    categories = [{"id": 5, "name": "dog"}, {"id": here, "name": "cat"}]
    marks = [box(1, there, there), box("2", there, "5"), box(3, there, "dog")]
    source = write(tmp_path / "s", [image(here, "a.jpg")], marks, categories=categories)
    made = prepare_coco(source, tmp_path / "out")
    names = load_dataset(made).names
    rows = (made.parent / "labels" / "train" / "a.txt").read_text().split("\n")[:-1]
    assert [names[int(r.split()[0])] for r in rows] == ["cat", "dog", "dog"]
    assert not (made.parent / "problems.txt").exists()


def test_categories_are_in_the_order_of_their_numbers(tmp_path):
    categories = [{"id": i, "name": f"n{i}"} for i in ("10", 9, "b", "a", 2.0)]
    source = write(tmp_path / "s", [image(1, "a.jpg")], [box(1, 1, "10")], categories=categories)
    assert list(load_dataset(prepare_coco(source, tmp_path / "out")).names.values()) == [
        "n2.0",
        "n9",
        "n10",
        "na",
        "nb",
    ]


@pytest.mark.parametrize("crowd", [1, True, "1", 1.0])
def test_all_that_is_crowd_is_no_data_set(tmp_path, crowd):
    source = write(tmp_path / "s", [image(1, "a.jpg")], [box(i, 1, iscrowd=crowd) for i in range(3)])
    with pytest.raises(DatasetError, match=r"no object is left to train on: 3 marked as crowd, .* need iscrowd 0"):
        prepare_coco(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_outline_gives_its_box_where_there_is_none(tmp_path):
    marks = [
        {"id": 1, "image_id": 1, "category_id": 3, "segmentation": [[10, 5, 30, 5, 30, 15], [12, 6, 13, 6, 13, 7]]},
        {"id": 2, "image_id": 1, "category_id": 3, "bbox": [], "segmentation": [[10, 5, 30, 15, 10, 15]]},
        {"id": 3, "image_id": 1, "category_id": 3, "segmentation": {"counts": "x", "size": [50, 100]}},
        {"id": 4, "image_id": 1, "category_id": 3, "segmentation": [[10, 5, 30]]},
        {"id": 5, "image_id": 1, "category_id": 3, "segmentation": [["a", 5, 30, 6, 7, 8]]},
    ]
    made = prepare_coco(write(tmp_path / "s", [image(1, "a.jpg")], marks), tmp_path / "out")
    assert (made.parent / "labels" / "train" / "a.txt").read_text() == "0 0.2 0.2 0.2 0.2\n" * 2
    assert (made.parent / "problems.txt").read_text().count("bbox is not four numbers") == 3


def test_numbers_that_no_program_holds(tmp_path, log):
    data = json.loads(write(tmp_path / "s", [image(1, "a.jpg")], [box(1, 1)]).read_text())
    data["annotations"] += [
        box(2, 1, bbox=[1, 1, "DIGITS", 5]),
        box("DIGITS", 1),
        box(4, "DIGITS"),
        box(5, 1, "DIGITS"),
    ]
    data["images"][0] |= {"width": "DIGITS", "height": "-DIGITS"}
    text = json.dumps(data).replace('"DIGITS"', "9" * 5000).replace('"-DIGITS"', "-" + "9" * 5000)
    (tmp_path / "s" / "train.json").write_text(text)
    made = prepare_coco(tmp_path / "s" / "train.json", tmp_path / "out")
    assert (made.parent / "labels" / "train" / "a.txt").read_text() == "0 0.2 0.2 0.2 0.2\n" * 2
    for words in ("bbox is not four numbers", "there is no image inf", "there is no category inf"):
        assert words in log.text


def test_draws_and_relative_paths(tmp_path, monkeypatch):
    images = [image(i, f"{i}.jpg") for i in range(10)]
    write(tmp_path / "s", images, [box(i, i) for i in range(10)])
    monkeypatch.chdir(tmp_path)
    made = prepare_coco("s/../s/instances_train.json", "out/", "s/images/", val=0.2, test=0.1)
    counts = {s: len(scan(load_dataset(made).split(s), 2)) for s in ("train", "val", "test")}
    assert counts == {"train": 7, "val": 2, "test": 1}
    again = prepare_coco(tmp_path / "s" / "instances_train.json", "out", tmp_path / "s" / "images", val=0.2, test=0.1)
    assert again == made
    with pytest.raises(UserError, match=r"it was made with test=0\.1, not test=None"):
        prepare_coco("s/instances_train.json", "out", "s/images", val=0.2)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    | st.sampled_from([1, 3, "1", "3", 10**400, -1, [10, 5, 20, 10], "a.jpg", "train", [[1, 2, 3, 4, 5, 6]]]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "name", "x", "bbox"]), inner),
    max_leaves=6,
)  # fmt: skip
_PLACES = [(), ("images",), ("annotations",), ("categories",)]
_PLACES += [("images", 0, k) for k in ("id", "file_name", "width", "height")] + [("images", 0)]
_PLACES += [("annotations", 0, k) for k in ("id", "image_id", "category_id", "bbox", "iscrowd", "segmentation")]
_PLACES += [("annotations", 0), ("categories", 0), ("categories", 0, "id"), ("categories", 0, "name")]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(_PLACES), _JSON), min_size=1, max_size=3))
def test_whatever_is_in_a_json_no_traceback(changes):
    data = {
        "images": [image(1, "a.jpg")],
        "annotations": [box(1, 1), box(2, 1)],
        "categories": [dict(c) for c in CATEGORIES],
    }
    for place, value in changes:
        place, at = list(place), data
        try:
            while len(place) > 1:
                at = at[place.pop(0)]
            if place:
                at[place[0]] = value
            else:
                data = value
        except (TypeError, KeyError, IndexError):  # an earlier change took that place away
            continue
    with tempfile.TemporaryDirectory() as folder:
        picture(Path(folder) / "s" / "a.jpg")
        (Path(folder) / "s" / "train.json").write_text(json.dumps(data))
        with suppress(UserError):
            made = prepare_coco(Path(folder) / "s" / "train.json", Path(folder) / "out")
            spec = load_dataset(made)
            assert len(scan(spec.split("train"), spec.nc).cls)  # ready is said of what can be trained on


def test_images_anywhere_below_the_source_and_other_json_beside(tmp_path):
    source = write(
        tmp_path / "s" / "annotations", [image(1, "a.jpg")], [box(1, 1)], "instances_default.json", draw=False
    )
    picture(tmp_path / "s" / "pics" / "default" / "a.jpg")
    for name in ("notes.json", "more.json"):
        (source.parent / name).write_text('{"categories": []}')
    source.rename(source.with_name("result.json"))
    for place, images in ((tmp_path / "s", "copy"), (source.with_name("result.json"), tmp_path / "s" / "pics")):
        made = prepare_coco(place, tmp_path / f"out-{place.name}", images)
        assert (made.parent / "images" / "train" / "a.jpg").is_file()
