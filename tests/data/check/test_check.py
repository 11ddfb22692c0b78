"""What check_data finds in broken data sets, and whether training's own scan agrees."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.tasks import class_folders
from ultralytics.cfg.dataset import load_dataset
from ultralytics.cli import main
from ultralytics.data.check import rules
from ultralytics.data.check.check import check_data
from ultralytics.data.check.dataset import Checked, orphans
from ultralytics.data.check.rules import KINDS
from ultralytics.data.check.splits import Split
from ultralytics.data.class_scan import scan_classes
from ultralytics.data.kinds import form_of
from ultralytics.data.scan import scan
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError
from ultralytics.utils.images import imwrite

ROWS = "0 .5 .5 .4 .4\n1 .3 .3 .2 .2\n"
YAML = "train: images/train\nval: images/val\nnames: [a, b]\n"


@pytest.fixture(autouse=True)
def rows_name_their_rules(monkeypatch):
    """Fail where a rule finds something of a kind whose row in the table names another rule."""

    def watched(rule):
        def found(subject):
            for finding in rule(subject):
                assert KINDS[finding.kind].find is rule, finding
                yield finding

        return found

    finders = {of: tuple(map(watched, found)) for of, found in rules._FINDERS.items()}
    monkeypatch.setattr(rules, "_FINDERS", finders)


def noise(seed, size=(60, 80)):
    """A picture like no other: coarse noise."""
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 255, (8, 10, 3), np.uint8), size[::-1], interpolation=cv2.INTER_CUBIC)


def put(root, name, rows=ROWS, image=None, split="train"):
    """An image, noise unless given, and its label file unless `rows` is None; the image's path."""
    file = root / "images" / split / name
    file.parent.mkdir(parents=True, exist_ok=True)
    image = noise(zlib.crc32(name.encode())) if image is None else image
    if isinstance(image, bytes):
        file.write_bytes(image)
    elif isinstance(image, Image.Image):
        image.save(file)
    else:
        imwrite(file, image)
    if rows is not None:
        label = root / "labels" / split / f"{file.stem}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_bytes(rows if isinstance(rows, bytes) else rows.encode())
    return file


def good(root, yaml=YAML):
    """Three images to train and two to validate with, in which there is nothing to find; the YAML."""
    for i in range(3):
        put(root, f"good{i}.png")
    for i in range(2):
        put(root, f"fine{i}.png", split="val")
    (root / "data.yaml").write_text(yaml)
    return root / "data.yaml"


def jpeg(image, quality=90):
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def png(image):
    return cv2.imencode(".png", image)[1].tobytes()


def huge_png():
    """A PNG whose header promises 40,000 × 40,000 pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def grey():
    return Image.fromarray(cv2.cvtColor(noise(5), cv2.COLOR_BGR2GRAY))


def yaml(text):
    return lambda root: (root / "data.yaml").write_text(text)


def picture(name, image, rows=ROWS):
    return lambda root: put(root, name, rows, image() if callable(image) else image)


def labels(rows):
    return lambda root: put(root, "x.png", rows)


def turned(root):
    image = Image.fromarray(noise(5))
    exif = image.getexif()
    exif[0x0112] = 6
    put(root, "x.jpg")
    image.save(root / "images/train/x.jpg", exif=exif)


def pages(root):
    put(root, "x.tif")
    pair = [Image.fromarray(noise(i)) for i in range(2)]
    pair[0].save(root / "images/train/x.tif", save_all=True, append_images=pair[1:])


def floats(root):
    put(root, "x.tif")
    cv2.imwrite(str(root / "images/train/x.tif"), noise(1).astype(np.float32) / 255)


def link(root, target, name="images/train/x.png"):
    (root / name).symlink_to(target)


def poses(root):
    """Every label is a box and three points in it."""
    for i in range(8):
        put(root, f"pose{i}.png", f"0 .{i + 1} .4 .19 .2 .{i + 1} .41 .{i + 1} .39 .{i + 1} .4\n")
    for name in ("good0", "good1", "good2"):
        (root / f"labels/train/{name}.txt").unlink()


def beside(root):
    """Labels in the folder of the images."""
    put(root, "x.png", None)
    (root / "images/train/x.txt").write_text(ROWS)


def listing(*lines):
    """Training images come from a list: the good ones and these lines."""

    def make(root):
        every = [*(f"images/train/good{i}.png" for i in range(3)), *lines]
        (root / "list.txt").write_text("\n".join(every) + "\n")
        (root / "data.yaml").write_text(YAML.replace("images/train", "list.txt"))
        if "images/train/folder.png" in lines:
            (root / "images/train/folder.png").mkdir()

    return make


def ignored(rows, name="good0.txt"):
    def make(root):
        (root / "ignore/train").mkdir(parents=True)
        (root / f"ignore/train/{name}").write_bytes(rows)

    return make


def copies(*pairs):
    """Images (split, name, content); the labels are those of the good ones."""

    def make(root):
        for split, name, content in pairs:
            put(root, name, image=content, split=split)

    return make


def both(*makers):
    return lambda root: [m(root) for m in makers]


def no_labels(root):
    for file in (root / "labels/train").iterdir():
        file.unlink()


def label_folder(root):
    put(root, "x.png", None)
    (root / "labels/train/x.txt").mkdir()


E, W, N = "error", "warning", "note"
GOOD0 = noise(zlib.crc32(b"good0.png"))
COMPOSED, SPLIT_UP = (unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD"))
LABEL = "labels/train/x.txt"
CASES: list[tuple[str, str, str, str, int, Callable]] = [
    # name, severity, kind, file, line, what is done to the good data set
    ("no val", E, "yaml", "data.yaml", 0, yaml("train: images/train\nnames: [a, b]\n")),
    ("no train value", E, "yaml", "data.yaml", 1, yaml("train:\nval: images/val\nnames: [a, b]\n")),
    ("no names", E, "yaml", "data.yaml", 0, yaml("train: images/train\nval: images/val\n")),
    ("nc and names", E, "yaml", "data.yaml", 4, yaml("nc: 3\n" + YAML)),
    ("no YAML", E, "yaml", "data.yaml", 3, yaml("train: images/train\nval: {a\nnames: [a]\n")),
    ("a list", E, "yaml", "data.yaml", 0, yaml("- train\n")),
    ("a name twice", W, "names", "data.yaml", 3, yaml(YAML.replace("b]", "b, b]"))),
    ("no folder", E, "split-missing", "data.yaml", 2, yaml(YAML.replace("images/val", "images/gone"))),
    ("no test folder", W, "split-missing", "data.yaml", 4, yaml(YAML + "test: images/gone\n")),
    (
        "empty folder",
        E,
        "split-empty",
        "empty",
        0,
        both(lambda r: (r / "empty").mkdir(), yaml(YAML.replace("images/val", "empty"))),
    ),
    (
        "list of no text",
        E,
        "split-empty",
        "list.txt",
        0,
        both(listing(), lambda r: (r / "list.txt").write_bytes(b"\xff\xfe")),
    ),
    (
        "a file in two splits",
        W,
        "leak-file",
        "images/train/good0.png",
        0,
        yaml(YAML.replace("images/val", "[images/val, images/train/good0.png]")),
    ),
    ("one folder for two splits", W, "leak-file", "data.yaml", 2, yaml(YAML.replace("images/val", "images/train"))),
    ("listed twice", W, "listed-twice", "list.txt", 4, listing("./images/train/good1.png")),
    (
        "in two entries",
        W,
        "listed-twice",
        "images/train/good1.png",
        0,
        yaml(YAML.replace("images/train", "[images/train, images/train/good1.png]")),
    ),
    ("twice by a link", W, "listed-twice", "images/train/x.png", 0, lambda r: link(r, "good0.png")),
    ("listed, not there", E, "image-missing", "list.txt", 4, listing("images/train/gone.png")),
    ("listed without suffix", E, "image-missing", "list.txt", 4, listing("images/train/gone")),
    (
        "a folder for a picture",
        E,
        "image-unreadable",
        "images/train/folder.png",
        0,
        listing("images/train/folder.png"),
    ),
    ("a pipe", E, "image-unreadable", "images/train/x.jpg", 0, lambda r: os.mkfifo(r / "images/train/x.jpg")),
    ("a device", E, "image-unreadable", "images/train/x.png", 0, lambda r: link(r, "/dev/zero")),
    ("a pipe for labels", E, "label-unreadable", LABEL, 0, both(labels(None), lambda r: os.mkfifo(r / LABEL))),
    ("a link to the folder above", W, "folder-link", "images/train/up", 0, lambda r: link(r, "..", "images/train/up")),
    ("a link to nowhere", E, "image-link", "images/train/x.png", 0, lambda r: link(r, "gone.png")),
    ("empty file", E, "image-empty", "images/train/x.jpg", 0, picture("x.jpg", b"")),
    ("text", E, "image-undecodable", "images/train/x.jpg", 0, picture("x.jpg", b"<html>404</html>")),
    (
        "JPEG cut off",
        E,
        "image-truncated",
        "images/train/x.jpg",
        0,
        picture("x.jpg", jpeg(noise(9, (200, 200)))[:-900]),
    ),
    ("PNG cut off", E, "image-truncated", "images/train/x.png", 0, picture("x.png", png(noise(9, (200, 200)))[:-15])),
    ("floats", E, "image-float", "images/train/x.tif", 0, floats),
    ("small", E, "image-small", "images/train/x.png", 0, picture("x.png", noise(1, (9, 60)))),
    ("huge", E, "image-huge", "images/train/x.png", 0, picture("x.png", huge_png())),
    (
        "large",
        W,
        "image-large",
        "images/train/x.png",
        0,
        picture("x.png", lambda: np.zeros((5000, 8001, 3), np.uint8)),
    ),
    ("long", N, "image-aspect", "images/train/x.png", 0, picture("x.png", noise(1, (20, 300)))),
    ("wrong suffix", N, "image-suffix", "images/train/x.png", 0, picture("x.png", jpeg(noise(1)))),
    ("grey", N, "image-channels", "images/train/x.png", 0, picture("x.png", grey)),
    (
        "alpha",
        N,
        "image-channels",
        "images/train/x.png",
        0,
        picture("x.png", lambda: Image.fromarray(np.dstack([noise(1), noise(1)[..., 0]]))),
    ),
    (
        "CMYK",
        N,
        "image-channels",
        "images/train/x.jpg",
        0,
        picture("x.jpg", lambda: Image.fromarray(noise(1)).convert("CMYK")),
    ),
    (
        "16 bits",
        N,
        "image-channels",
        "images/train/x.png",
        0,
        picture("x.png", lambda: png(noise(1).astype(np.uint16) * 257)),
    ),
    ("turned", N, "image-exif", "images/train/x.jpg", 0, turned),
    ("pages", N, "image-frames", "images/train/x.tif", 0, pages),
    (
        "another kind",
        N,
        "files-ignored",
        "images/train/x.gif",
        0,
        picture("x.gif", lambda: Image.fromarray(noise(1)).convert("P"), None),
    ),
    (
        "case",
        W,
        "name-collision",
        "images/train/x.png",
        0,
        both(picture("x.png", noise(1)), picture("X.png", noise(2))),
    ),
    (
        "normalisation",
        W,
        "name-collision",
        f"images/train/{COMPOSED}",
        0,
        both(picture(COMPOSED, noise(1)), picture(SPLIT_UP, noise(2))),
    ),
    (
        "one label file",
        W,
        "name-shared-label",
        "images/train/x.png",
        0,
        both(picture("x.png", noise(1)), picture("x.jpg", noise(2))),
    ),
    ("no label file", N, "unlabelled", "images/train", 0, labels(None)),
    ("no label file at all", W, "split-no-boxes", "labels/train", 0, no_labels),
    (
        "no image",
        W,
        "label-orphan",
        "labels/train/gone.txt",
        0,
        lambda r: (r / "labels/train/gone.txt").write_text(ROWS),
    ),
    (
        "label of another case",
        W,
        "label-name",
        "labels/train/X.txt",
        0,
        lambda r: put(r, "x.png", None) and (r / "labels/train/X.txt").write_text(ROWS),
    ),
    ("label of bytes", E, "label-text", LABEL, 2, labels(b"0 .5 .5 .1 .1\n\xff 1\n")),
    ("label is a folder", E, "label-unreadable", LABEL, 0, label_folder),
    ("label link to nowhere", W, "label-link", LABEL, 0, both(labels(None), lambda r: link(r, "gone.txt", LABEL))),
    ("4 columns", E, "label-columns", LABEL, 2, labels("0 .5 .5 .1 .1\n0 .5 .5 .1\n")),
    ("6 columns", E, "label-columns", LABEL, 1, labels("0 .5 .5 .1 .1 .9\n")),
    ("a word", E, "label-number", LABEL, 3, labels("\n\n0 .5 five .1 .1\n")),
    ("class 1.5", E, "label-class", LABEL, 1, labels("1.5 .5 .5 .1 .1\n")),
    ("class -1", E, "label-class", LABEL, 1, labels("-1 .5 .5 .1 .1\n")),
    ("class nc", E, "label-class-range", LABEL, 2, labels("1 .5 .5 .1 .1\n2 .5 .5 .1 .1\n")),
    ("NaN", E, "label-coordinate", LABEL, 1, labels("0 nan .5 .1 .1\n")),
    ("infinity", E, "label-coordinate", LABEL, 1, labels("0 .5 inf .1 .1\n")),
    ("negative", E, "label-coordinate", LABEL, 1, labels("0 -.5 .5 .1 .1\n")),
    ("pixels", E, "label-coordinate", LABEL, 1, labels("0 40 30 20 10\n")),
    ("no area", W, "label-area", LABEL, 2, labels("0 .5 .5 .1 .1\n0 .5 .5 0 .1\n")),
    ("a row twice", W, "label-duplicate", LABEL, 2, labels("0 .5 .5 .1 .1\n0 .5 .5 .1 .1\n")),
    ("over the edge", W, "box-outside", LABEL, 2, labels("0 .5 .5 .1 .1\n0 .9 .5 .4 .1\n")),
    (
        "corners",
        W,
        "split-corners",
        "labels/val/fine0.txt",
        1,
        lambda r: [put(r, f"fine{i}.png", f"0 .1 .1 .3 .3\n0 .6 .6 .9 .{9 - i}\n", split="val") for i in range(2)],
    ),
    ("corners in one file", W, "label-corners", LABEL, 1, labels("0 .1 .1 .3 .3\n0 .6 .6 .9 .9\n")),
    ("one row of corners", W, "label-corners", LABEL, 2, labels("0 .5 .5 .1 .1\n0 .6 .6 .9 .9\n")),
    ("two rows in one line", W, "label-glued", LABEL, 1, labels("0 .26 .39 .31 .470 .7 .7 .1 .1\n")),
    ("poses", W, "label-poses", "labels/train/pose0.txt", 1, poses),
    ("labels beside the images", W, "label-misplaced", "images/train", 0, beside),
    ("polygon over the edge", W, "box-cut", LABEL, 1, labels("0 .5 .2 1.0371 .2 .9 .6\n")),
    ("tiny", N, "box-tiny", LABEL, 1, labels("0 .5 .5 .001 .1\n")),
    ("whole", N, "box-whole", LABEL, 1, labels("0 .5 .5 1 1\n")),
    ("nearly the same box", W, "box-near-duplicate", LABEL, 2, labels("0 .5 .5 .4 .4\n0 .501 .5 .4 .4\n")),
    ("polygon among boxes", N, "label-mixed", LABEL, 2, labels("0 .5 .5 .4 .4\n0 .1 .1 .2 .1 .2 .3\n")),
    ("ignore row", W, "ignore-number", "ignore/train/good0.txt", 2, ignored(b"* .5 .5 .1 .1 crowd\n0 .5 x .1 .1\n")),
    ("ignore bytes", W, "ignore-text", "ignore/train/good0.txt", 1, ignored(b"\xff\n")),
    (
        "ignore file without image",
        W,
        "ignore-orphan",
        "ignore/train/gone.txt",
        0,
        ignored(b"0 .5 .5 .1 .1\n", "gone.txt"),
    ),
    ("class unused", N, "class-unused", "data.yaml", 3, yaml(YAML.replace("b]", "b, c]"))),
    (
        "class not in val",
        W,
        "class-absent",
        "data.yaml",
        3,
        both(labels("2 .5 .5 .1 .1\n"), yaml(YAML.replace("b]", "b, c]"))),
    ),
    ("bytes twice", W, "duplicate-bytes", "images/train/good0.png", 0, copies(("train", "x.png", png(GOOD0)))),
    ("bytes in val", W, "leak-bytes", "images/train/good0.png", 0, copies(("val", "x.png", png(GOOD0)))),
    ("pixels twice", W, "duplicate-pixels", "images/train/good0.png", 0, copies(("train", "x.bmp", GOOD0))),
    ("pixels in val", W, "leak-pixels", "images/train/good0.png", 0, copies(("val", "x.bmp", GOOD0))),
    ("encoded anew", W, "duplicate-near", "images/train/good0.png", 0, copies(("train", "x.jpg", jpeg(GOOD0, 60)))),
    (
        "resized in val",
        W,
        "leak-near",
        "images/train/good0.png",
        0,
        copies(("val", "x.png", cv2.resize(GOOD0, (200, 150)))),
    ),
    ("labelled twice", W, "duplicate-labels", LABEL, 0, lambda r: put(r, "x.png", "1 .2 .2 .2 .2\n", png(GOOD0))),
    ("not listed", N, "label-unlisted", LABEL, 0, both(listing(), labels(ROWS))),
]
SLOW = ("large",)


@pytest.mark.parametrize(
    ("severity", "kind", "file", "line", "make"),
    [pytest.param(*c[1:], id=c[0], marks=[pytest.mark.slow] * (c[0] in SLOW)) for c in CASES],
)
def test_what_is_broken_is_named_and_the_rest_is_usable(severity, kind, file, line, make, tmp_path):
    data = good(tmp_path)
    make(tmp_path)
    report = check_data(data)
    found = [f for f in report.findings if f.kind == kind]
    assert (severity, str(tmp_path / file), line) in [(f.severity, f.path, f.line) for f in found], report.findings
    others = {f.kind for f in report.findings if f.severity == "error"} - {kind}
    assert not others
    json.dumps(report.to_dict())
    agrees_with_training(report, data)


def outcome(call, *args):
    """What a call returns, or None; and the user's error it raises, or ""."""
    try:
        return call(*args), ""
    except DatasetError as e:
        return None, str(e)


def agrees_with_training(report, data):
    """Training's scan keeps what the report counts as usable, or stops with one line that names what it names."""
    spec, error = outcome(load_dataset, data)
    assert "\n" not in error
    if spec is None:
        assert report.count("error")
        return
    for split in ("train", "val"):
        message = [f for f in report.findings if f.severity == "error"]
        labels, error = outcome(lambda split=split: scan(spec.split(split), spec.nc))
        assert "\n" not in error
        if labels is None:
            assert any(f.kind.startswith(("split", "label-class-range")) and f.path in error for f in message), error
            if not any(f.kind.startswith("split") for f in message):
                assert report.splits[split]["usable"] >= 3  # the rest
            continue
        counted = report.splits[split]
        assert (len(labels), len(labels.cls)) == (counted["usable"], counted["boxes"])
        assert labels.left_out == counted["images"] - counted["usable"]
        listed = [f for f in message if "list" in f.path and split == "train"]
        assert (labels.left_out > 0) == any(f"/{split}" in f.path or f in listed for f in message)
        assert len(labels) >= 2


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_a_picture_too_large_to_decode_is_left_out_by_training_as_well(tmp_path, monkeypatch, suffix):
    """One that the decoder would take."""
    monkeypatch.setattr("ultralytics.data.images.MAX_PIXELS", 200 * 300 - 1)
    data = good(tmp_path)
    put(tmp_path, f"x{suffix}", image=noise(9, (200, 300)))
    report = check_data(data)
    assert [(f.kind, Path(f.path).name) for f in report.findings if f.severity == "error"] == [
        ("image-huge", f"x{suffix}")
    ]
    agrees_with_training(report, data)


def test_a_clean_data_set_has_nothing_to_find(tmp_path, toy):
    report = check_data(good(tmp_path))
    assert report.findings == []
    assert report.splits["train"] == {
        "images": 3, "usable": 3, "backgrounds": 0, "unlabelled": 0, "boxes": 6, "ignored": 0,
        "stops": 0, "bytes": sum(f.stat().st_size for f in (tmp_path / "images/train").iterdir()),
    }  # fmt: skip
    assert report.classes["a"]["val"] == {"boxes": 2, "images": 2}
    assert (report.sizes["small"], report.sizes["images"]) == (10, [[80, 60, 5]])
    assert report.timing["images"] == 5
    assert report.timing["ceiling"] > 0


def test_corners_are_one_finding_and_come_first(tmp_path):
    data = good(tmp_path)
    for i in range(40):
        rng = np.random.default_rng(i)
        x1y1 = rng.uniform(0, 0.8, (20, 2))
        rows = np.concatenate([x1y1, x1y1 + rng.uniform(0.05, 0.15, (20, 2))], 1)
        put(tmp_path, f"x{i}.png", "".join(f"0 {a} {b} {c} {d}\n" for a, b, c, d in rows))
    put(tmp_path, "copy.png", image=noise(zlib.crc32(b"fine0.png")))
    report = check_data(data, near=False)
    assert [f.kind for f in report.findings[:2]] == ["split-corners", "leak-bytes"]
    assert not {"label-corners", "box-outside"} & {f.kind for f in report.findings}
    assert "train: its 808 boxes read as corners" in report.findings[0].what


def test_boxes_over_the_edge_are_no_corners(tmp_path):
    """A box over the left or upper edge is always wider than its centre's x."""
    data = good(tmp_path)
    put(tmp_path, "x.png", "0 .05 .05 .2 .2\n0 .5 .5 .1 .1\n")
    put(tmp_path, "y.png", "0 .05 .05 .2 .2\n")
    put(tmp_path, "z.png", "0 .9 .5 .3 .1\n0 .5 .5 1 1\n")
    assert Counter(f.kind for f in check_data(data, near=False).findings if f.severity == "warning") == {
        "box-outside": 3
    }


def test_errors_come_first_and_a_training_that_stops_is_told_in_the_head(tmp_path):
    data = good(tmp_path, YAML.replace("b]", "b, B]"))
    put(tmp_path, "x.png", "2 .5 .5 .2 .2\n4 .5 .5 .1 .1\n")
    put(tmp_path, "copy.png", image=noise(zlib.crc32(b"fine0.png")))
    report = check_data(data, near=False)
    severities = [f.severity for f in report.findings]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert [f.kind for f in report.findings[:2]] == ["label-class-range", "leak-bytes"]
    lines = report.lines()
    assert lines[1].startswith("  train  5 images, but training stops at 1 class id out of range; else 5 usable")
    assert "stops" not in lines[2]
    [slip] = [f for f in report.findings if f.kind == "names"]
    assert slip.what == "'B' (1 box) may be a slip for 'b' (6)"


SQUARE, POINTS = "0 .2 .2 .6 .2 .6 .6 .2 .6\n", "0 .4 .4 .4 .4 .3 .3 2 .5 .5 1\n"
MARKED = [  # task, severity, kind, line, rows of one image beside good ones
    ("segment", W, "label-area", 2, SQUARE + "0 .1 .1 .2 .2 .3 .3\n"),
    ("segment", E, "label-columns", 2, SQUARE + "0 .5 .5 .2 .2\n"),
    ("segment", W, "box-cut", 1, "0 -.05 .2 .6 .2 .6 .6\n"),
    ("segment", N, "polygon-crossing", 2, SQUARE + "0 .1 .1 .5 .5 .5 .1 .1 .6\n"),
    ("obb", N, "polygon-crossing", 1, "0 .2 .2 .6 .2 .2 .6 .6 .6\n"),
    ("obb", N, "corners-skewed", 2, SQUARE + "0 .2 .2 .6 .2 .4 .3 .2 .3\n"),
    ("obb", E, "label-columns", 1, "0 .5 .5 .2 .2\n"),
    ("pose", E, "label-number", 1, POINTS.replace(" 2 ", " 7 ")),
    ("pose", W, "keypoints-astray", 1, POINTS.replace(".3 .3", ".9 .3")),
    ("pose", N, "keypoints-none", 2, POINTS + "0 .8 .8 .2 .2 0 0 0 0 0 0\n"),
    ("pose", W, "keypoints-mirror", 0, POINTS),
]


@pytest.mark.parametrize(("task", "severity", "kind", "line", "rows"), MARKED)
def test_labels_of_other_tasks_are_judged_by_their_rules(tmp_path, task, severity, kind, line, rows):
    good_rows = POINTS if task == "pose" else SQUARE
    for i in range(3):
        put(tmp_path, f"good{i}.png", good_rows)
        put(tmp_path, f"fine{i}.png", good_rows, split="val")
    put(tmp_path, "bad.png", rows)
    yaml = "train: images/train\nval: images/val\nnames: [a]\n" + "kpt_shape: [2, 3]\n" * (task == "pose")
    (tmp_path / "data.yaml").write_text(yaml)
    report = check_data(tmp_path / "data.yaml", near=False, task=task)
    found = [(f.severity, f.kind, f.path, f.line) for f in report.findings]
    place = (tmp_path / "labels" / "train" / "bad.txt", line) if line else (tmp_path / "data.yaml", 4)
    assert (severity, kind, str(place[0]), place[1]) in found
    assert {f.kind for f in report.findings if f.severity == "error"} <= {kind}
    spec = load_dataset(tmp_path / "data.yaml")
    labels = scan(spec.split("train"), 1, 1.0, "", None, None, *form_of(spec, (), task))
    assert (len(labels), len(labels.cls)) == (report.splits["train"]["usable"], report.splits["train"]["boxes"])


FOLDERED = "class-folder", "duplicate-labels", "leak-bytes", "class-absent", "image-undecodable"


@pytest.fixture
def folders(tmp_path):
    """Class folders in which each of FOLDERED is to be found, and nothing else."""
    data = class_folders(tmp_path / "data")
    (data / "train" / "dark" / "bad.png").write_bytes(b"no image")
    shutil.copy(data / "train" / "dark" / "0.png", data / "val" / "dark" / "copy.png")
    shutil.copy(data / "train" / "light" / "0.png", data / "train" / "grey" / "other.png")
    (data / "train" / "light" / "0.txt").write_text("9 9 9\n")  # no label file: nothing reads one here
    shutil.move(data / "val" / "grey", data / "val" / "gray")
    return data


def test_class_folders_are_checked(folders):
    report = check_data(folders, near=False)
    assert {f.kind for f in report.findings} == {*FOLDERED, "duplicate-bytes"}
    places = {(f.kind, Path(f.path).relative_to(folders).as_posix()) for f in report.findings}
    assert places >= {
        *(("class-folder", "train/light/0.txt"), ("class-folder", "val/gray")),
        *(("image-undecodable", "train/dark/bad.png"), ("leak-bytes", "train/dark/0.png")),
        *(("duplicate-labels", "train/light/0.png"), ("class-absent", ".")),
    }
    [twice] = [f.what for f in report.findings if f.kind == "duplicate-labels"]
    assert "one and the same image is in the folder of another class: " in twice
    assert twice.endswith(str(Path("train/grey/other.png")))
    assert [(s["images"], s["usable"]) for s in report.splits.values()] == [(17, 16), (5, 5)]
    assert {name: per["train"]["images"] for name, per in report.classes.items()} == {"dark": 5, "grey": 6, "light": 5}
    labels = scan_classes([folders / "train"], dict(enumerate(["dark", "grey", "light"])))
    assert (len(labels), labels.left_out) == (16, 1), "as a training has them"
    (folders / "data.yaml").write_text("train: train\nval: val\ntask: classify\nnames: [dark, grey, light]\n")
    assert check_data(folders / "data.yaml", near=False).splits == report.splits
    assert check_data(folders, ["val"], near=False).splits == {"val": report.splits["val"]}


def test_class_folders_without_a_split_are_one_finding(tmp_path):
    (tmp_path / "train" / "a").mkdir(parents=True)
    [finding] = check_data(tmp_path).findings
    assert (finding.kind, finding.severity) == ("yaml", "error")
    assert "there is no folder val" in finding.what


def test_the_command_draws_class_folders(folders, capsys, tmp_path):
    assert main(["check-data", f"data={folders}", "near=False", f"out={tmp_path / 'o'}"]) == 1
    out = capsys.readouterr().out
    assert "train  17 images, 16 usable\n" in out
    assert re.search(r"^grey +6 +0$", out, re.MULTILINE)
    assert "box" not in out
    assert (tmp_path / "o" / "check.png").stat().st_size > 5000


def test_every_kind_is_explained_and_tried():
    # Those that a test cannot bring about on any machine.
    hard = {"folder-unreadable", "split-unusable", "ignore-unreadable", "ignore-link"}
    same_code = {k for k in KINDS if k.startswith(("ignore-", "areas-"))} - {
        "ignore-number",
        "ignore-text",
        "ignore-orphan",
    }
    assert {c[2] for c in CASES} | {c[2] for c in MARKED} | {*FOLDERED} == set(KINDS) - hard - same_code
    assert len(CASES) >= 40


def test_each_kind_is_one_row():
    assert len(KINDS) == len(rules.RULES)
    assert {rule.severity for rule in rules.RULES} == {E, W, N}


def test_pixels_for_fractions_are_called_so(tmp_path):
    data = good(tmp_path)
    put(tmp_path, "x.png", "0 40 30 20 10\n")
    [found] = check_data(data).findings
    assert "look like pixels of the 80x60 image" in found.what


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "5", "1: 2\n", "? [1, 2]\n: 3\n", "train: 5\nval: 7\nnames: [a]\n",
        "train: {a: b}\nval: [1, null]\nnames: {x: y}\n",
        "train: [[images/train]]\nval: images/val\nnc: 99999999999\n",
        'train: "\\0"\nval: ["\\0"]\nnames: [a]\n', f"train: {'x' * 5000}\nval: images/val\nnames: [a]\n",
        "train: ~nobody/x\nval: images/val\nnames: [a, b]\n", "train: data.yaml\nval: images/val\nnames: [a, b]\n",
        "train: images/train\nval: images/val\nnames: {0: a, '1': b, -1: c, 99999999999: d}\n",
        "train: images/train\nval: images/val\nnames: !!python/object:os.system [a]\n",
        "path: [1]\ntrain: images/train\nval: images/val\nnames: [a, b]\n",
    ],
)  # fmt: skip
def test_any_yaml_is_judged(tmp_path, text):
    report = check_data(good(tmp_path, text))
    assert report.count("error")
    assert report.lines()
    error = outcome(lambda: [load_dataset(tmp_path / "data.yaml").split(s) for s in ("train", "val")])[1]
    assert error or "data.yaml\n" in text
    assert "\n" not in error


def test_what_follows_a_pictures_end_is_harmless(tmp_path):
    data = good(tmp_path)
    put(tmp_path, "x.png", image=png(noise(1)) + bytes(9000))
    put(tmp_path, "x.jpg", None, image=jpeg(noise(2)) + bytes(3000))
    (tmp_path / "images/train/x.jpg").rename(tmp_path / "images/train/y.jpg")
    report = check_data(data)
    assert [f.kind for f in report.findings] == ["unlabelled"]
    agrees_with_training(report, data)


def test_nothing_usable(tmp_path):
    data = good(tmp_path)
    for file in (tmp_path / "images/val").iterdir():
        file.write_bytes(b"")
    report = check_data(data)
    assert [f.kind for f in report.findings if f.severity == "error"] == [
        "split-unusable", "image-empty", "image-empty",
    ]  # fmt: skip
    assert report.splits["train"]["usable"] == 3


def test_labels_without_image_are_told_in_no_time(tmp_path):
    """However many images and such labels there are."""
    for split in ("train", "val"):
        (tmp_path / "labels" / split).mkdir(parents=True)
        (tmp_path / "images" / split).mkdir(parents=True)
    for i in range(2000):
        (tmp_path / "labels" / "train" / f"{i}.txt").touch()
    (tmp_path / "d.yaml").write_text("train: images/train\nval: images/val\nnames: [a]\n")
    images = {str(tmp_path / "images" / "train" / f"x{i}.jpg"): None for i in range(6000)}
    began = time.process_time()
    splits = {"train": Split("train", images), "val": Split("val")}
    spec = load_dataset(tmp_path / "d.yaml", [])
    found = list(orphans(Checked(spec, "", [], splits, list(splits.values()), False, {}, {})))
    assert time.process_time() - began < 2
    assert [f.kind for f in found] == ["label-orphan"] * 2000


def test_all_splits_are_read_though_one_is_missing(tmp_path):
    data = good(tmp_path, YAML.replace("images/train", "gone"))
    report = check_data(data)
    assert report.splits["val"]["usable"] == 2
    assert report.splits["train"]["images"] == 0


def test_a_group_holds_all_its_copies_and_where_they_are(tmp_path):
    data = good(tmp_path)
    copies(("train", "x.bmp", GOOD0), ("val", "y.png", png(GOOD0)), ("val", "z.jpg", jpeg(GOOD0, 70)))(tmp_path)
    report = check_data(data)
    groups = {g["kind"]: (g["leak"], [Path(f["file"]).name for f in g["files"]]) for g in report.groups}
    assert groups["pixels"] == (True, ["good0.png", "x.bmp", "y.png"])
    assert groups["near"] == (True, ["good0.png", "x.bmp", "y.png", "z.jpg"])
    assert report.findings[0].kind == "leak-pixels"
    assert "near" not in {g["kind"] for g in check_data(data, near=False).groups}
    assert not check_data(data, ["val"]).groups[0]["leak"]


def test_damaged_pictures_crash_nothing(tmp_path):
    """Every kind of picture, cut and scribbled on at many places."""
    rng = np.random.default_rng(0)
    data = good(tmp_path)
    for suffix in (".jpg", ".png", ".bmp", ".tif", ".webp"):
        whole = np.frombuffer(cv2.imencode(suffix, noise(3))[1].tobytes(), np.uint8)
        for i in range(12):
            bad = whole[: rng.integers(1, len(whole))].copy() if i % 3 == 0 else whole.copy()
            bad[rng.integers(0, min(len(bad), 60 if i % 3 == 1 else 10**6), 6)] = rng.integers(0, 255, 6)
            put(tmp_path, f"{suffix[1:]}{i}{suffix}", image=bad.tobytes())
    report = check_data(data)
    assert report.splits["train"]["images"] == 63
    agrees_with_training(report, data)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_any_file_name_can_be_told(tmp_path):
    data = good(tmp_path)
    for name in (b"\xff.png", b"a\nb.png", "图 é.png".encode()):
        with open(os.path.join(os.fsencode(tmp_path), b"images/train", name), "wb") as file:
            file.write(b"no picture")
    report = check_data(data)
    text = "\n".join(report.lines())
    text.encode()
    assert "a\\x0ab.png: cannot be decoded" in text
    assert "\\udcff.png" in text
    assert "图 é.png" in text
    report.write(tmp_path)
    assert (
        len([f for f in json.loads((tmp_path / "report.json").read_text())["findings"] if f["severity"] == "error"])
        == 3
    )
    agrees_with_training(report, data)


number = st.one_of(
    st.floats(0, 1).map(lambda v: f"{v:.3f}"),
    st.sampled_from(["nan", "inf", "-1", "1.00005", "2", "1e400", "0x1", "١", "1_0", "", "-0", "0.5"]),
)
row = st.tuples(st.sampled_from(["0", "1", "1.0", "3", "-1", "x", "*"]), st.lists(number, max_size=9)).map(
    lambda p: " ".join([p[0], *p[1]])
)
content = st.one_of(
    st.lists(row, max_size=6).map(lambda rows: "\n".join(rows).encode()),
    st.lists(st.just("0 .5 .5 .1 .1") | row, max_size=6).map(lambda rows: "\r\n".join(rows).encode()),
    st.text(max_size=60).map(lambda t: t.encode("utf-8", "surrogatepass")),
    st.binary(max_size=60),
)


@settings(max_examples=60)
@given(content)
def test_any_label_text_is_judged_as_training_judges_it(tmp_path_factory, text):
    root = tmp_path_factory.mktemp("d")
    data = good(root)
    put(root, "x.png", text)
    ignored(text)(root)
    report = check_data(data, near=False)
    assert report.splits["train"]["images"] == 4
    stops = any(f.kind == "label-class-range" for f in report.findings)
    fatal = {f.kind for f in report.findings if f.severity == "error" and f.path.endswith("x.txt")}
    lost = bool(fatal - {"label-class-range"})
    assert report.splits["train"]["usable"] == 4 - lost
    lines = text.decode("utf-8", "replace").splitlines()
    assert all(0 <= f.line <= max(len(lines), 3) for f in report.findings)
    labels, error = outcome(scan, load_dataset(data).split("train"), 2)
    if labels is None:
        assert stops
        assert any(f"{f.path}:{f.line}" in error for f in report.findings if f.kind == "label-class-range")
        return
    assert not stops or lost
    assert (len(labels), len(labels.cls)) == (4 - lost, report.splits["train"]["boxes"])


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = good(tmp_path)
    assert main(["check-data", f"data={data}"]) == 0
    assert "0 errors, 0 warnings, 0 notes" in capsys.readouterr().out
    monkeypatch.setattr("ultralytics.data.check.chart.plot_dataset", lambda *_: None)  # drawn once
    for i in range(7):
        put(tmp_path, f"x{i}.png", "0 .5 .5 .1\n")
    assert main(["check-data", f"data={data}", "out=told"]) == 1
    out = capsys.readouterr().out
    assert "labels/train/x0.txt:1: 4 columns" in out
    assert "… and 2 more in told/report.txt" in out
    assert "labels/train/x6.txt" not in out
    assert "labels/train/x6.txt:1: 4 columns" in (tmp_path / "told/report.txt").read_text()
    assert {p.name for p in (tmp_path / "runs/check-data").iterdir()} == {"report.json", "report.txt", "check.png"}
    assert main(["check-data", f"data={data}", "split=val", "near=False", "--json"]) == 0
    message = json.loads(capsys.readouterr().out)
    assert list(message["splits"]) == ["val"]
    assert message == json.loads((tmp_path / "runs/check-data2/report.json").read_text())
    assert main(["check-data", f"data={data}", "split=train,val", "json=True"]) == 1
    assert json.loads(capsys.readouterr().out)["kinds"] == {"label-columns": 7}


def test_a_chart_that_fails_costs_no_report(tmp_path, capsys, monkeypatch):
    def broken():
        raise ImportError("no such library")

    monkeypatch.setattr("ultralytics.utils.charts.load_matplotlib", broken)
    data = good(tmp_path)
    assert main(["check-data", f"data={data}", f"out={tmp_path / 'r'}", "--json"]) == 0
    message = capsys.readouterr()
    assert json.loads(message.out) == json.loads((tmp_path / "r" / "report.json").read_text())
    assert "check.png: ImportError: no such library" in message.err
    assert main(["check-data", f"data={data}", "font=none of these"]) == 2
    assert "font=none of these: no such file" in capsys.readouterr().err


def test_a_report_replaces_nothing_but_a_report(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ultralytics.data.check.chart.plot_dataset", lambda *_: None)
    good(tmp_path)
    command = ["check-data", "data=data.yaml", "out=mine"]
    assert main(command) == 0
    assert main([*command, "split=[train,val]"]) == 0  # a former report
    assert list(json.loads((tmp_path / "mine" / "report.json").read_text())["splits"]) == ["train", "val"]
    for name, text in (("report.txt", "mine"), ("report.json", '{"mine": 1}'), ("report.json", "["), ("x", "")):
        shutil.rmtree(tmp_path / "mine")
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / name).write_text(text)
        capsys.readouterr()
        assert main(command) == 2
        err = capsys.readouterr().err
        assert "mine: the folder contains files that are not of a report (give another out=, or overwrite=True)" in err
        assert (tmp_path / "mine" / name).read_text() == text
        assert len(list((tmp_path / "mine").iterdir())) == 1
    assert main([*command, "overwrite=True"]) == 0
    assert (tmp_path / "mine" / "report.txt").is_file()
    (tmp_path / "runs").write_text("")  # a file in the place of the folder
    for words in (["data=data.yaml"], ["data=data.yaml", "out=runs/x"], ["data=data.yaml", "out=runs"]):
        capsys.readouterr()
        assert main(["check-data", *words]) == 2
        err = capsys.readouterr().err
        assert "out=" in err
        assert "project=" not in err
        assert "name=" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no dataset given"),
        (["data=gone.yaml"], "no such dataset YAML"),
        (["data=data.yaml", "split=vall"], "split=vall"),
        (["data=data.yaml", "near=2"], "near=2"),
        (["data=data.yaml", "spilt=val"], "did you mean 'split'"),
        (["data=data.yaml", "out=data.yaml"], "data.yaml"),
    ],
)
def test_a_wrong_command_is_one_line_and_code_2(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good(tmp_path)
    assert main(["check-data", *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_yaml_that_is_none_is_a_finding_of_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ultralytics.data.check.chart.plot_dataset", lambda *_: None)
    (tmp_path / "bad.yaml").write_text("train: {\n")
    assert main(["check-data", "data=bad.yaml", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["kind"] == "yaml"
    with pytest.raises(MissingFileError):
        check_data("gone.yaml")
    with pytest.raises(ConfigError):
        check_data(good(tmp_path), ["test"])


@pytest.mark.slow
def test_nothing_but_json_is_written_to_standard_output(tmp_path):
    data = good(tmp_path)
    put(tmp_path, "x.jpg", image=jpeg(noise(1))[:300])
    done = subprocess.run(
        [sys.executable, "-m", "ultralytics", "check-data", f"data={data}", "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[3]), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout)["counts"]["error"] == 1
