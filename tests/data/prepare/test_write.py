import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.sources import READERS, YOURS, annotation, read, tree
from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.images import nfc
from ultralytics.data.labels import label_file
from ultralytics.data.prepare import prepare_coco, prepare_visdrone, prepare_voc, prepare_yolo
from ultralytics.data.prepare.annotated import Annotated, Converted
from ultralytics.data.prepare.boxes import from_corners, from_pixels
from ultralytics.data.prepare.divide import Options, divide
from ultralytics.data.prepare.format import existing
from ultralytics.data.prepare.write import write_dataset
from ultralytics.data.scan import scan
from ultralytics.utils.errors import DatasetError, MissingFileError, UserError
from ultralytics.utils.images import imwrite


def images(folder, names):
    for name in names:
        imwrite(folder / name, np.zeros((20, 20, 3), np.uint8))
    return [Annotated(name, folder / name, [("a", (0.5, 0.5, 0.25, 0.25))]) for name in names]


@pytest.mark.parametrize("links", [True, False])
def test_images_are_linked_where_the_file_system_can(tmp_path, monkeypatch, links):
    def refuse(*_):
        raise OSError("another file system")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    listed = images(tmp_path / "s", ["a.png", "b.png"])
    (tmp_path / "out").mkdir()
    written = write_dataset(tmp_path / "out", Converted({"train": listed[:1], "val": listed[1:]}, ["a"]), "link")
    assert written.images == {"train": 1, "val": 1}
    copy = tmp_path / "out" / "images" / "train" / "a.png"
    assert copy.samefile(tmp_path / "s" / "a.png") == links
    assert copy.read_bytes() == (tmp_path / "s" / "a.png").read_bytes()


def test_every_image_has_a_label_file_of_its_own_on_any_file_system(tmp_path):
    names = ["a.png", "A.bmp", "a-bmp.png", "x/a.png", "images/a.tif", "x/images/a.bmp", "\u00e9.png", "E\u0301.tif"]
    listed = images(tmp_path / "s", names)
    (tmp_path / "out").mkdir()
    written = write_dataset(tmp_path / "out", Converted({"train": listed}, ["a"], {"train": "train", "val": "train"}))
    found = [p.relative_to(tmp_path / "out") for p in (tmp_path / "out" / "images").rglob("*.*")]
    labels = {label_file(str(tmp_path / "out" / p)) for p in found}
    assert len(found) == len({nfc(str(p.with_suffix("")).lower()) for p in found}) == len(labels) == len(names)
    assert all(os.path.isfile(f) for f in labels)
    assert len(written.problems) == 5
    assert all("another image of its split has the name" in p for p in written.problems)


def test_a_split_without_a_usable_image_is_an_error(tmp_path):
    listed = images(tmp_path / "s", ["a.png"])
    lost = Annotated("b.png", problems=["b.png: cannot be decoded"])
    with pytest.raises(DatasetError, match=r"the val split has no image that can be used: b\.png: cannot be decoded"):
        write_dataset(tmp_path, Converted({"train": listed, "val": [lost]}, ["a"]))


def test_boxes_are_cut_to_the_picture():
    assert from_corners((-5, 5, 15, 25), (20, 10)) == ((0.5, 0.625, 1.0, 0.75), True)
    assert from_corners((0, 0, 10, 20), (20, 10)) == ((0.5, 0.5, 1.0, 1.0), False)
    nan, inf = float("nan"), float("inf")
    for corners in ((nan, 0, 1, 1), (0, 0, nan, 1), (5, 5, 5, 6), (11, 0, 12, 1), (-3, 0, 0, 1), (5, 5, 4, 6)):
        assert from_corners(corners, (20, 10))[0] is None
    assert from_pixels(-inf, 0, inf, 5, (20, 10))[0] is None
    assert from_pixels(nan, 0, 5, 5, (20, 10))[0] is None
    assert from_pixels(0, 0, 0, 5, (20, 10))[0] is None
    assert from_pixels(-0.0009, 0, 5, 5, (20, 10)) == ((2.4991 / 10, 0.125, 0.5, 0.25), False)  # rounding
    box, cut = from_pixels(-0.1, 0, 5.1, 5, (20, 10))
    assert cut
    assert box == pytest.approx((0.25, 0.125, 0.5, 0.25))


def damaged(folder):
    """Pictures cut off near their end, whose headers are whole, and one too small; name → what is said of it."""
    reasons = {"jpg": "the JPEG is cut off before its end", "png": "the PNG is cut off before its end"}
    for suffix in reasons:
        imwrite(folder / f"cut.{suffix}", np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8))
        data = (folder / f"cut.{suffix}").read_bytes()
        (folder / f"cut.{suffix}").write_bytes(data[: len(data) * 9 // 10])
        (folder / f"cut.{suffix}").rename(folder / f"cut{suffix}.{suffix}")
    imwrite(folder / "small.png", np.zeros((9, 40, 3), np.uint8))
    (folder / "empty.jpg").write_bytes(b"")
    imwrite(folder / "fine.jpg", np.zeros((60, 80, 3), np.uint8))
    small = "40x9 pixels, and a side needs 10"
    return {
        "cutjpg.jpg": reasons["jpg"],
        "cutpng.png": reasons["png"],
        "small.png": small,
        "empty.jpg": "the file is empty",
    }


@pytest.mark.parametrize("kind", ["yolo", "voc", "coco", "visdrone"])
def test_what_training_would_leave_out_is_left_out_and_named(tmp_path, log, kind):
    """With one judgement, and the same words."""
    source = tmp_path / "VisDrone2019-DET-val"
    folder = source / ("JPEGImages" if kind == "voc" else "images")
    problems = damaged(folder)
    names = [*problems, "fine.jpg"]
    beside = {
        "yolo": ("labels", ".txt", "0 .5 .5 .1 .1"),
        "visdrone": ("annotations", ".txt", "1,1,5,5,1,1,0,0"),
        "voc": ("Annotations", ".xml", annotation([("cat", 1, 1, 9, 9, "")], (80, 60))),
    }
    if kind == "coco":
        listed = [{"id": i, "file_name": n, "width": 80, "height": 60} for i, n in enumerate(names)]
        marks = [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 9, 9]} for i in range(len(names))]
        data = {"images": listed, "annotations": marks, "categories": [{"id": 1, "name": "cat"}]}
        (source / "a.json").write_text(json.dumps(data))
        made = prepare_coco(source / "a.json", tmp_path / "out")
    else:
        place, suffix, text = beside[kind]
        (source / place).mkdir()
        for name in names:
            (source / place / name).with_suffix(suffix).write_text(text)
        prepare = {"yolo": prepare_yolo, "voc": prepare_voc, "visdrone": prepare_visdrone}[kind]
        made = prepare(source, tmp_path / "out")
    spec = load_dataset(made)
    for split in spec.splits:
        assert [Path(f).name for f in scan(spec.split(split), spec.nc).im_files] == ["fine.jpg"]
    text = (made.parent / "problems.txt").read_text()
    for name, what in problems.items():
        assert f"{name}: {what}" in text
    assert json.loads((made.parent / "manifest.json").read_text())["left_out"] == 4


def test_names_that_could_not_be_read_back_are_escaped(tmp_path):
    listed = images(tmp_path / "s", ["a.png"])
    listed[0].objects = [("a\tb", (0.5, 0.5, 0.25, 0.25))]
    (tmp_path / "out").mkdir()
    write_dataset(tmp_path / "out", Converted({"train": listed}, ["a\tb"], {"train": "train", "val": "train"}))
    assert load_dataset(tmp_path / "out" / "data.yaml").names == {0: "a\\x09b"}


def test_a_split_without_objects_is_told(tmp_path):
    listed = images(tmp_path / "s", ["a.png", "b.png"])
    listed[1].objects = []
    (tmp_path / "out").mkdir()
    converted = Converted({"train": listed[:1], "val": listed[1:]}, ["a"])
    write_dataset(tmp_path / "out", converted)
    assert converted.notes == ["the val split has no object"]


@pytest.mark.parametrize(
    ("splits", "draw", "counts"),
    [
        ({"train": 10}, Options(), {"train": 10}),
        ({"train": 10}, Options(val=0.2), {"train": 8, "val": 2}),
        ({"val": 10}, Options(val=0.2, test=0.3), {"train": 5, "val": 2, "test": 3}),
        ({"test": 10}, Options(val=0.2), {"train": 8, "val": 2}),
        ({"train": 10, "test": 3}, Options(val=0.2), {"train": 8, "val": 2, "test": 3}),
        ({"train": 10, "val": 3}, Options(val=0, test=0.1), {"train": 9, "val": 3, "test": 1}),
        ({"train": 10, "test": 3}, Options(), {"train": 10, "test": 3}),
    ],
)
def test_splits_are_drawn_from_train_or_the_only_split(splits, draw, counts):
    def listed(split, n):
        return [Annotated(f"{split}{i}.jpg", Path(f"{split}{i}.jpg")) for i in range(n)]

    converted = Converted({s: [*listed(s, n), Annotated("lost.jpg")] for s, n in splits.items()}, ["a"])
    divide(converted, draw)
    usable = {s: [a for a in found if a.image] for s, found in converted.splits.items()}
    assert {s: len(found) for s, found in usable.items()} == counts
    assert sum(a.image is None for found in converted.splits.values() for a in found) == len(splits)
    names = [a.name for found in usable.values() for a in found]
    assert len(set(names)) == sum(splits.values())
    if splits == {"train": 10, "test": 3} and not draw.parts():
        assert converted.used == {"train": "train", "val": "test", "test": "test"}


@pytest.mark.parametrize(
    ("splits", "draw", "words"),
    [
        (["train", "val"], Options(val=0.2), "its own val split"),
        (["train", "test"], Options(val=0.2, test=0.2), "its own test split"),
        (["train"], Options(val=0.6, test=0.3), "2 images are too few"),
    ],
)
def test_splits_that_cannot_be_drawn(splits, draw, words):
    converted = Converted({s: [Annotated(f"{i}.jpg", Path(f"{i}.jpg")) for i in range(2)] for s in splits}, ["a"])
    with pytest.raises(UserError, match=words):
        divide(converted, draw)


def test_a_source_may_be_written_in_any_way(tmp_path, monkeypatch):
    """Relative, with a slash at the end, as "." and by "~": the same as its absolute path, for every kind."""
    home = tmp_path / "home"
    for kind, files in YOURS.items():
        source = tree(home / kind / "images", files)
        whole = read(READERS[kind](source, tmp_path / f"{kind}-whole"))
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("USERPROFILE", str(home))
        monkeypatch.chdir(source)
        for i, given in enumerate([".", "./", "../images", "~/" + kind + "/images/"]):
            assert read(READERS[kind](given, f"~/out-{kind}-{i}/")) == whole
            assert (home / f"out-{kind}-{i}" / "data.yaml").is_file()
            assert READERS[kind](source, home / f"out-{kind}-{i}")  # it is there already


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in the file system")
def test_a_pipe_is_no_source(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MissingFileError, match="this is a device or a pipe, and a source is a file or a folder"):
        existing(tmp_path / "pipe")
