import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

import ultralytics
from tests.helpers.tasks import SHADES, class_folders
from ultralytics.cfg.class_folders import load_class_dataset
from ultralytics.cfg.dataset import load_dataset
from ultralytics.cli import main
from ultralytics.data.class_scan import scan_classes
from ultralytics.data.images import list_images, relative_names
from ultralytics.data.labels import label_file
from ultralytics.data.scan import scan
from ultralytics.data.subset import write as write_module
from ultralytics.data.subset.choice import class_ids
from ultralytics.data.subset.subset import kfold, subset
from ultralytics.data.subset.write import choice_hash
from ultralytics.utils.errors import ConfigError, DatasetError, UserError

NAMES = ["person", "traffic light", "bus", "车"]
PNG = cv2.imencode(".png", np.full((16, 16, 3), 90, np.uint8))[1].tobytes()


@pytest.fixture
def message(caplog, monkeypatch):
    """What is logged."""
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    caplog.set_level("INFO", logger="ultralytics")
    return caplog


def write(root, split, name, rows=(), ignored=(), picture=PNG):
    image = root / "images" / split / name
    for file, text in (
        (image, picture),
        (root / "labels" / split / f"{name[:-4]}.txt", "".join(f"{r}\n" for r in rows).encode()),
        (root / "ignore" / split / f"{name[:-4]}.txt", "".join(f"{r}\n" for r in ignored).encode()),
    ):
        if text or "labels" in file.parts:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text)
    return image


@pytest.fixture
def source(tmp_path):
    """60 train, 20 val and 10 test images of four classes; a tenth without boxes."""
    root = tmp_path / "source"
    draw = random.Random(0)
    for split, n in (("train", 60), ("val", 20), ("test", 10)):
        for i in range(n):
            chosen = draw.choices(range(4), [8, 4, 2, 1], k=draw.randint(1, 4)) if i % 10 else []
            rows = [f"{c} 0.5 0.5 0.{k + 1}00 0.{i + 10}" for k, c in enumerate(chosen)]
            write(root, split, f"{i:03d} é.png" if i % 7 == 0 else f"{i:03d}.png", rows, picture=PNG + bytes([i]))
    spec = {"path": ".", "train": "images/train", "val": "images/val", "test": "images/test", "names": NAMES}
    (root / "all.yaml").write_text(yaml.safe_dump(spec, allow_unicode=True), encoding="utf-8")
    return root / "all.yaml"


def manifest(out):
    return json.loads((out.with_suffix("") / "manifest.json").read_text(encoding="utf-8"))


def labels_of(out, split="train"):
    spec = load_dataset(out)
    return scan(spec.split(split), spec.nc)


def test_classes_are_chosen_in_the_order_given(source, tmp_path):
    out = subset(source, tmp_path / "new" / "traffic.yaml", ["bus", 0, "车"], n=20, val_n=5)
    spec = load_dataset(out)
    assert spec.names == {0: "bus", 1: "person", 2: "车"}
    assert yaml.safe_load(out.read_text(encoding="utf-8"))["path"] == "traffic"
    train = labels_of(out)
    assert len(train) == 20
    assert set(train.cls) <= {0, 1, 2}
    assert all(len(train.boxes(i)[0]) for i in range(20))
    assert len(labels_of(out, "val")) == 5
    message = manifest(out)
    assert message["splits"] == {"train": 20, "val": 5, "test": len(labels_of(out, "test"))}
    assert sum(message["objects"].values()) == sum(len(labels_of(out, s).cls) for s in spec.splits)
    ids = {0: 2, 1: 0, 2: 3}
    for image in train.im_files:
        original = source.parent / "images" / "train" / Path(image).name
        before = [r.split(" ", 1) for r in Path(label_file(str(original))).read_text().splitlines()]
        after = [r.split(" ", 1) for r in Path(label_file(image)).read_text().splitlines()]
        assert [(ids[int(c)], rest) for c, rest in after] == [(int(c), rest) for c, rest in before if c != "1"]


def test_without_numbers_all_that_have_a_class_are_taken(source, tmp_path):
    whole = {s: [i for i, c in enumerate(np.diff(labels_of(source, s).offsets)) if c] for s in ("train", "val", "test")}
    out = subset(source, tmp_path / "all.yaml")
    assert manifest(out)["splits"] == {s: len(w) for s, w in whole.items()}
    buses = subset(source, tmp_path / "buses.yaml", "bus")
    train = labels_of(source)
    assert manifest(buses)["splits"]["train"] == sum(2 in train.boxes(i)[0] for i in range(len(train)))


def test_backgrounds_have_none_of_the_classes(source, tmp_path, message):
    write(source.parent, "train", "x.png", ["3 .5 .5 .1 .1"], ["* .5 .5 .2 .2 crowd"])
    write(source.parent, "train", "y.png", [], ["2 .5 .5 .2 .2"])
    write(source.parent, "train", "z.png", [], ["1 .5 .5 .2 .2"])
    out = subset(source, tmp_path / "b.yaml", ["bus"], n=10, backgrounds=0.4)
    train = labels_of(out)
    empty = [Path(f) for i, f in enumerate(train.im_files) if not len(train.boxes(i)[0])]
    assert (len(train), len(empty)) == (10, 4)
    assert "train: 4 backgrounds drawn, of " in message.text
    for image in empty:
        assert Path(label_file(str(image))).read_text() == ""
        original = source.parent / "images" / "train" / image.name
        assert not any(r.startswith("2 ") for r in Path(label_file(str(original))).read_text().splitlines())
    every = subset(source, tmp_path / "every.yaml", ["bus"], backgrounds=0.8)
    names = {Path(f).name for f in labels_of(every).im_files}
    assert "z.png" in names  # what is ignored there is another class
    assert not names & {"x.png", "y.png"}  # a bus may be in what is ignored


def test_ignored_regions_and_polygons_keep_their_text(tmp_path):
    rows = [
        "0 0.123456789012 0.5 0.25 0.25",
        "1 0.1 0.1 0.9 0.1 0.5 0.9000",
        "2  .5\t.5 1e-1 .1",
        "",
        "2.0 .5 .5 .2 .2",
    ]
    image = write(tmp_path / "s", "train", "a b.png", rows, ["0 .1 .1 .1 .1 crowd", "1 .5 .5 .1 .1", "* .9 .9 .1 .1"])
    write(tmp_path / "s", "val", "a b.png", rows[:2])
    file = tmp_path / "s" / "d.yaml"
    file.write_text("train: images/train\nval: images/val\nnames: [a, b, c]\n")
    out = subset(file, tmp_path / "o.yaml", ["c", "b"])
    made = tmp_path / "o" / "images" / "train" / "a b.png"
    assert os.path.samefile(made, image)
    text = "1 0.1 0.1 0.9 0.1 0.5 0.9000\n0 .5 .5 1e-1 .1\n0 .5 .5 .2 .2\n"
    assert (tmp_path / "o" / "labels" / "train" / "a b.txt").read_text() == text
    assert (tmp_path / "o" / "ignore" / "train" / "a b.txt").read_text() == "1 .5 .5 .1 .1\n* .9 .9 .1 .1\n"
    assert not (tmp_path / "o" / "ignore" / "val").exists()
    message = manifest(out)
    assert message["ignored"] == 2
    digests = message["files"]["train"]["a b.png"]
    assert digests["labels"] == hashlib.sha256(text.encode()).hexdigest()
    assert digests["image"] == hashlib.sha256(PNG).hexdigest()
    assert message["hash"] == choice_hash(message["names"], message["files"], message["folds"])


def test_rows_are_written_as_those_of_their_own_split_are_read(tmp_path):
    """Train has polygons: two in one box, as boxes the same object twice, and a line, which is none; val has boxes."""
    outlines, flat = ["0 0.1 0.1 0.9 0.1 0.5 0.9", "0 0.1 0.9 0.9 0.9 0.5 0.1"], "0 0.2 0.2 0.5 0.5 0.8 0.8"
    for i in range(10):
        write(tmp_path / "s", "train", f"{i}.png", [*outlines, flat])
    write(tmp_path / "s", "val", "a.png", ["0 0.5 0.5 0.2 0.2"])
    file = tmp_path / "s" / "d.yaml"
    file.write_text("train: images/train\nval: images/val\nnames: [a]\n")
    out = subset(file, tmp_path / "o.yaml")
    assert manifest(out)["objects"] == {"a": 21}
    assert (tmp_path / "o" / "labels" / "train" / "0.txt").read_text().splitlines() == outlines
    assert (tmp_path / "o" / "labels" / "val" / "a.txt").read_text() == "0 0.5 0.5 0.2 0.2\n"


def test_images_are_linked_or_copied_and_never_symbolic(source, tmp_path, monkeypatch):
    def inodes(out):
        return {os.stat(f).st_ino for f in labels_of(out).im_files}

    originals = {os.stat(f).st_ino for f in labels_of(source).im_files}
    linked, copied = subset(source, tmp_path / "l.yaml", n=9), subset(source, tmp_path / "c.yaml", n=9, copy=True)
    assert inodes(linked) < originals
    assert not inodes(copied) & originals
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(18, "another disk")))
    unlinked = subset(source, tmp_path / "u.yaml", n=9)
    assert not inodes(unlinked) & originals
    assert len({manifest(o)["hash"] for o in (linked, copied, unlinked)}) == 1
    assert not any(f.is_symlink() for o in "lcu" for f in (tmp_path / o).rglob("*"))


@pytest.mark.parametrize("folds", [None, 3])
def test_equal_seeds_give_equal_hashes_everywhere(source, tmp_path, folds):
    """In another folder, with another number of threads, another process, another order of the file system."""

    def draw(data, out, **more):
        options = {"classes": ["bus", "person"], "n": 15, "backgrounds": 0.2, **more}
        made = kfold(data, out, folds, **options)[0] if folds else subset(data, out, **options)
        return json.loads((made.parent / out.stem / "manifest.json").read_text(encoding="utf-8"))["hash"]

    first = draw(source, tmp_path / "a.yaml", workers=1)
    assert draw(source, tmp_path / "elsewhere" / "b.yaml", workers=7) == first
    moved = tmp_path / "moved" / "far"
    moved.mkdir(parents=True)
    for file in sorted(source.parent.rglob("*"), reverse=True):
        if file.is_file():
            target = moved / file.relative_to(source.parent)
            target = target.with_name(target.name.replace("\u00e9", "e\u0301"))  # as another system composes it
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    assert draw(moved / "all.yaml", tmp_path / "c.yaml") == first
    assert draw(source, tmp_path / "d.yaml", seed=1) != first
    if folds is None:
        words = [f"data={source}", "out=e.yaml", "classes=bus,person", "n=15", "backgrounds=.2", "workers=2"]
        done = subprocess.run(
            [sys.executable, "-m", "ultralytics", "subset", *words],
            cwd=tmp_path,
            env={"PYTHONPATH": str(Path(ultralytics.__file__).parents[1]), "PYTHONHASHSEED": "7"},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"hash {first[:12]}" in done.stdout
        assert json.loads((tmp_path / "e" / "manifest.json").read_text())["hash"] == first
    (source.parent / "labels" / "train" / "001.txt").write_text("2 .5 .5 .3 .3\n0 .5 .5 .2 .2\n")
    everything = {"n": None, "backgrounds": 0.0}
    changed = draw(source, tmp_path / "f.yaml", **everything)
    assert changed != draw(moved / "all.yaml", tmp_path / "g.yaml", **everything)


def test_folds_are_disjoint_and_cover_the_pool(source, tmp_path):
    outs = kfold(source, tmp_path / "k.yaml", 3)
    assert [o.name for o in outs] == ["k-fold0.yaml", "k-fold1.yaml", "k-fold2.yaml"]
    held = []
    for out in outs:
        spec = load_dataset(out)
        train, val = (set(list_images(spec.split(s))) for s in ("train", "val"))
        assert not train & val
        assert len(train | val) == 80
        assert len(list_images(spec.split("test"))) == 10
        assert scan(spec.split("val"), spec.nc).cls.size
        held.append(val)
    assert sorted(map(len, held)) == [26, 27, 27]
    assert len(set.union(*held)) == 80
    assert (tmp_path / "k" / "folds" / "0" / "val.txt").read_text().startswith("../../images/pool/")
    pool = scan([tmp_path / "k" / "images" / "pool"], 4)
    for c in range(4):
        having = {f for i, f in enumerate(pool.im_files) if c in pool.boxes(i)[0]}
        assert max(len(having & h) for h in held) - min(len(having & h) for h in held) <= 3
    shutil.move(tmp_path / "k", tmp_path / "moved" / "k")
    shutil.copy(outs[0], tmp_path / "moved" / "k.yaml")
    assert len(list_images(load_dataset(tmp_path / "moved" / "k.yaml").split("train"))) == 53


def test_folds_of_some_classes_and_images(source, tmp_path):
    outs = kfold(source, tmp_path / "k.yaml", 2, classes=["bus"], n=11, backgrounds=0.2)
    spec = load_dataset(outs[1])
    assert spec.names == {0: "bus"}
    assert [len(list_images(spec.split(s))) for s in ("train", "val")] == [6, 5]
    with pytest.raises(ConfigError, match="kfold=9: there are only 5 images"):
        kfold(source, tmp_path / "few.yaml", 9, n=5)


def test_tiles_of_an_image_are_in_one_fold(tmp_path):
    """They overlap: what is trained on one would be validated on the other. P0 has tiles in train and in val."""
    for image in range(6):
        for x in range(5):
            split = "val" if image > 3 or (image, x) == (0, 4) else "train"
            write(
                tmp_path, split, f"P{image}__64__{44 * x}___0.png", ["0 .5 .5 .1 .1"], picture=PNG + bytes([image, x])
            )
    (tmp_path / "d.yaml").write_text("train: images/train\nval: images/val\nnames: [a]\n")
    for fold in kfold(tmp_path / "d.yaml", tmp_path / "k.yaml", 3):
        train, val = (
            {os.path.basename(f).split("__")[0] for f in list_images(load_dataset(fold).split(s))}
            for s in ("train", "val")
        )
        assert (len(train), len(val), train & val) == (4, 2, set())
        assert len(list_images(load_dataset(fold).split("val"))) == 10
    with pytest.raises(ConfigError, match="kfold=7: the tiles are of only 6 images"):
        kfold(tmp_path / "d.yaml", tmp_path / "few.yaml", 7)


@pytest.mark.parametrize("folds", [0, 2])
def test_the_objects_of_whole_images_are_carried_along(tmp_path, message, folds):
    """With the classes that were chosen, by their new ids; without them DOTA's figures would be of what tiles show."""
    row = "0 .1 .1 .2 .1 .2 .2 .1 .2"
    for image in range(4):
        for x in (0, 44):
            write(
                tmp_path, "train", f"P{image}__64__{x}___0.png", [row, f"1{row[1:]}"], picture=PNG + bytes([image, x])
            )
    write(tmp_path, "val", "Q__64__0___0.png", [row])
    whole = tmp_path / "whole" / "train"
    whole.mkdir(parents=True)
    (whole / "P0.txt").write_text("0 1 2 3 2 3 4 1 4.123456 1\n1 5 6 7 6 7 8 5 8 0\n2 5 6 7 6 7 8 5 8 0\n")
    (whole / "P1.txt").write_text("2 1 2 3 2 3 4 1 4 0\n")
    (whole / "P2.txt").write_text("7 1 2 3 2 3 4 1 4 0\n")  # no class of this dataset
    (tmp_path / "d.yaml").write_text("train: images/train\nval: images/val\nnames: [a, b, c]\n")
    chosen = ["b", "a"]
    if folds:
        kfold(tmp_path / "d.yaml", tmp_path / "k.yaml", folds, chosen)
    else:
        subset(tmp_path / "d.yaml", tmp_path / "k.yaml", chosen)
    made = tmp_path / "k" / "whole" / ("pool/train" if folds else "train")
    found = {f.name: f.read_text() for f in made.iterdir()}
    assert found == {"P0.txt": "1 1 2 3 2 3 4 1 4.123456 1\n0 5 6 7 6 7 8 5 8 0\n", "P1.txt": ""}
    assert message.text.count("class 7 is none of 0 to 2") == 1
    files = json.loads((tmp_path / "k" / "manifest.json").read_text())["files"]["pool" if folds else "train"]
    digests = [of["whole"] for name, of in sorted(files.items()) if "whole" in of]
    assert digests == [hashlib.sha256(found[f"P{i}.txt"].encode()).hexdigest() for i in (0, 0, 1, 1)]


def test_an_image_in_train_and_val_counts_once_in_the_folds(tmp_path):
    for i in range(6):
        write(tmp_path, "all", f"{i}.png", ["0 .5 .5 .1 .1"])
    (tmp_path / "d.yaml").write_text("train: images/all\nval: images/all\nnames: [a]\n")
    outs = kfold(tmp_path / "d.yaml", tmp_path / "k.yaml", 2)
    sets = [set(list_images(load_dataset(outs[0]).split(s))) for s in ("train", "val")]
    assert [len(s) for s in sets] == [3, 3]
    assert not sets[0] & sets[1]


def test_equal_names_of_several_folders_stay_apart(tmp_path):
    for folder in ("a", "b"):
        write(tmp_path, folder, "x/0.png", [f"{'ab'.index(folder)} .5 .5 .1 .1"])
    write(tmp_path, "val", "0.png", ["0 .5 .5 .1 .1"])
    text = "train: [images/a, images/b]\nval: images/val\nnames: [a, b]\n"
    (tmp_path / "d.yaml").write_text(text)
    out = subset(tmp_path / "d.yaml", tmp_path / "o.yaml")
    assert list(manifest(out)["files"]["train"]) == ["a/x/0.png", "b/x/0.png"]
    assert sorted(labels_of(out).cls) == [0, 1]


def test_names_within_a_split(tmp_path):
    def names(*paths):
        return sorted(relative_names([tmp_path / p for p in paths]).values())

    for folder in ("one/images", "two/images", "three"):
        for name in ("0.png", "d/1.png"):
            file = tmp_path / folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(PNG)
    (tmp_path / "list.txt").write_text("three/0.png\nthree/d/1.png\n")
    assert names("three") == names("list.txt") == ["0.png", "d/1.png"]
    assert names("one/images", "two/images") == ["0/0.png", "0/d/1.png", "1/0.png", "1/d/1.png"]
    assert names("three", "one") == ["one/images/0.png", "one/images/d/1.png", "three/0.png", "three/d/1.png"]
    assert names("three", "three/d") == ["three/0.png", "three/d/1.png"]
    assert names("three/0.png", "three/d/1.png") == ["0.png", "d/1.png"]
    (tmp_path / "three" / "\u00e9.png").write_bytes(PNG)
    (tmp_path / "three" / "e\u0301.png").write_bytes(PNG)
    if len(list((tmp_path / "three").iterdir())) == 4:  # some file systems take both names for one
        with pytest.raises(DatasetError, match="after normalization"):
            names("three")


def test_folders_called_images_inside_a_split_keep_their_labels(tmp_path):
    for part in ("x", "y"):
        for split in ("train", "val"):
            write(tmp_path / split / part, ".", "0.png", [f"{'xy'.index(part)} .5 .5 .1 .1"])
    (tmp_path / "d.yaml").write_text("train: train\nval: val\nnames: [a, b]\n")
    out = subset(tmp_path / "d.yaml", tmp_path / "o.yaml")
    assert sorted(labels_of(out).cls) == [0, 1]


def test_what_cannot_be_used_is_left_out_and_named(source, tmp_path, message):
    root = source.parent
    write(root, "train", "cut.png", ["0 .5 .5 .1 .1"], picture=PNG[:40])
    write(root, "train", "word.png", ["0 .5 .5 .1 .1", "0 half .5 .1 .1"])
    write(root, "train", "odd.png", ["0 .5 .5 .1 .1"], ["?? .5 .5 .1 .1", "0 .2 .2 .1 .1"])
    write(root, "train", "twice.png", ["3 .5 .5 .1 .1", "3 .5 .5 .1 .1", "3 .5 .5 0 .1", "3 .6 .5 .1 .1"])
    out = subset(source, tmp_path / "o.yaml")
    made = manifest(out)
    assert made["left_out"] == 2
    assert not {"cut.png", "word.png"} & set(made["files"]["train"])
    assert (tmp_path / "o" / "ignore" / "train" / "odd.txt").read_text() == "0 .2 .2 .1 .1\n"
    for what in ("cut.png", "word.txt:2", "odd.txt:1"):
        assert what in message.text
    assert (tmp_path / "o" / "labels" / "train" / "twice.txt").read_text() == "3 .5 .5 .1 .1\n3 .6 .5 .1 .1\n"


def test_running_it_again_does_nothing_and_another_choice_is_refused(source, tmp_path, message):
    out = tmp_path / "o.yaml"
    subset(source, out, n=10)
    before = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*") if source.parent not in f.parents}
    message.clear()
    assert subset(source, out, n=10) == out
    assert "is there already" in message.text
    assert before == {f: f.stat().st_mtime_ns for f in before}
    with pytest.raises(UserError, match="made with copy=False"):
        subset(source, out, n=10, copy=True)
    with pytest.raises(UserError, match="made with other values of n and seed"):
        subset(source, out, n=11, seed=3)
    with pytest.raises(UserError, match="made with other values of"):
        kfold(source, out, 2, n=10)
    out.unlink()  # as if the process had ended before it wrote the YAML
    assert subset(source, out, n=10).is_file()
    write(source.parent, "train", Path(labels_of(out).im_files[0]).name, ["0 .4 .4 .1 .1"])
    with pytest.raises(UserError, match="source has changed"):
        subset(source, out, n=10)
    shutil.rmtree(out.with_suffix(""))
    with pytest.raises(UserError, match="already exists"):
        subset(source, out, n=10)
    out.unlink()
    out.with_suffix("").mkdir()
    with pytest.raises(UserError, match="is not a subset"):
        subset(source, out, n=10)


def test_classes_that_are_not_drawn_are_one_line(tmp_path, message):
    names = [f"c{i}" for i in range(80)]
    for i in range(80):
        write(tmp_path / "s", "train", f"{i}.png", [f"{i} .5 .5 .1 .1"], picture=PNG + bytes([i]))
    file = tmp_path / "s" / "d.yaml"
    file.write_text(json.dumps({"train": "images/train", "val": "images/train", "names": names}))
    subset(file, tmp_path / "o.yaml", n=3, val_n=80)
    lines = [r.getMessage() for r in message.records if "no image was drawn" in r.getMessage()]
    assert len(lines) == 1
    assert lines[0].endswith("and 65 more")


def test_a_subset_whose_files_are_gone_is_not_there_already(source, tmp_path):
    out = tmp_path / "o.yaml"
    subset(source, out, n=10)
    folder = out.with_suffix("")
    image = next((folder / "images" / "train").iterdir())
    Path(label_file(str(image))).unlink()
    with pytest.raises(UserError, match="1 of its 10 train label files are missing"):
        subset(source, out, n=10)
    image.unlink()
    with pytest.raises(UserError, match="1 of its 10 train images are missing"):
        subset(source, out, n=10)
    shutil.rmtree(folder)
    out.unlink()
    assert subset(source, out, n=10).is_file()

    folds = kfold(source, tmp_path / "k.yaml", 2)
    assert kfold(source, tmp_path / "k.yaml", 2) == folds
    (tmp_path / "k" / "folds" / "1" / "val.txt").unlink()
    with pytest.raises(UserError, match=r"folds/1/val.txt is missing"):
        kfold(source, tmp_path / "k.yaml", 2)


@pytest.mark.parametrize("text", ["[]", "{}", "[" * 100_000, '{"format": 1, "kind": "subset", "options": 3}', "\xff"])
def test_a_manifest_that_is_none_is_told(source, tmp_path, text):
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match="is not a subset"):
        subset(source, tmp_path / "o.yaml", n=10)


def test_nothing_half_made_is_left(source, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(UserError, match=r"could not be written.*out="):
        subset(source, tmp_path / "o.yaml", n=10, copy=True)
    assert {f.name for f in tmp_path.iterdir()} == {"source"}


def test_more_than_there_is_takes_all_and_says_so(source, tmp_path, message):
    out = subset(source, tmp_path / "o.yaml", ["车"], n=1000, backgrounds=0.1)
    assert "all are used" in message.text
    train = labels_of(out)
    having = sum(bool(len(train.boxes(i)[0])) for i in range(len(train)))
    assert len(train) - having == round(having / 9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["pers"]}, "did you mean 'person'"),
        ({"classes": [4]}, "ids are 0 to 3"),
        ({"classes": ["bus", 2]}, "given twice"),
        ({"classes": []}, "names no class"),
        ({"n": 0}, "n=0 must be an integer of 1 or more"),
        ({"n": 2.5}, "n=2.5"),
        ({"val_n": True}, "val_n=True"),
        ({"seed": -1}, "seed=-1"),
        ({"backgrounds": 1.0}, "0 to below 1"),
        ({"workers": 0}, "workers=0"),
        ({"out": "o.txt"}, "must end in .yaml"),
        ({"out": "source/images/train/o.yaml"}, "among the train images"),
        ({"out": "source/all.yaml"}, "already exists"),
        ({"data": "source/gone.yaml"}, "no such dataset YAML"),
        ({"data": "source/two.yaml", "test_n": 3}, "no split 'test'"),
        ({"data": "source/two.yaml", "classes": ["never"]}, "no train image has a box of never"),
    ],
    ids=str,
)
def test_a_wrong_choice_is_one_line_and_leaves_nothing(options, message, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = {"train": "images/train", "val": "images/val", "names": [*NAMES, "never"]}
    (source.parent / "two.yaml").write_text(yaml.safe_dump(spec, allow_unicode=True), encoding="utf-8")
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UserError) as e:
        subset(**{"data": source, "out": "o.yaml", **options})
    assert message in str(e.value)
    assert "\n" not in str(e.value)
    assert {f for f in set(tmp_path.rglob("*")) - before if not f.name.startswith(".")} == set()


def test_names_that_are_no_text(tmp_path):
    """A subset takes any name; a list of images cannot."""
    for i, name in enumerate(["a.png", "b\n.png", os.fsdecode(b"c\xff.png")]):
        try:
            write(tmp_path / "s", "all", name, ["0 .5 .5 .1 .1"], picture=PNG + bytes([i]))
        except OSError:
            pytest.skip("this file system refuses such names")
    file = tmp_path / "s" / "d.yaml"
    file.write_text("train: images/all\nval: images/all\nnames: [a]\n")
    for _ in range(2):
        out = subset(file, tmp_path / "o.yaml")
    assert len(labels_of(out)) == 3
    with pytest.raises(DatasetError, match="cannot be written to a list") as e:
        kfold(file, tmp_path / "k.yaml", 2)
    assert "\n" not in str(e.value)
    str(e.value).encode()


def test_classes_by_name_and_id():
    names = {0: "a", 1: "1", 2: "b", 3: "b"}
    assert class_ids(names, None) == [0, 1, 2, 3]
    assert class_ids(names, ["1", 0]) == [1, 0]
    assert class_ids(names, [3, "2"]) == [3, 2]
    with pytest.raises(ConfigError, match=r"classes \[2, 3\].*give the id"):
        class_ids(names, "b")


def test_real_photographs(shared, tmp_path):
    source = shared / "data" / "coco128-val" / "coco128-val.yaml"
    out = subset(source, tmp_path / "t.yaml", ["car", "person", "traffic light"], n=30, seed=0)
    train = labels_of(out)
    counts = np.bincount(train.cls.astype(int))
    assert len(train) == 30
    assert counts / counts.sum() == pytest.approx(np.array([24, 350, 13]) / 387, abs=0.015)


def overtaken(monkeypatch, other):
    """Let another command begin and end while the next one writes its folder."""
    write_folder = write_module.write_folder

    def late(*args):
        monkeypatch.setattr(write_module, "write_folder", write_folder)
        other()
        write_folder(*args)

    monkeypatch.setattr(write_module, "write_folder", late)


def test_a_subset_that_another_process_makes_meanwhile_is_there(source, tmp_path, message, monkeypatch):
    out = tmp_path / "o.yaml"
    overtaken(monkeypatch, lambda: subset(source, out, n=10))
    assert subset(source, out, n=10) == out
    assert "o is there already: 10 train images" in message.text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o", "o.yaml", "source"]
    overtaken(monkeypatch, lambda: subset(source, tmp_path / "p.yaml", n=11))
    with pytest.raises(UserError, match="made with other values of n"):
        subset(source, tmp_path / "p.yaml", n=10)
    overtaken(monkeypatch, lambda: kfold(source, tmp_path / "k.yaml", 2, n=10))
    folds = kfold(source, tmp_path / "k.yaml", 2, n=10)
    assert [f.is_file() for f in folds] == [True, True]


def test_a_subset_of_a_pose_dataset_is_one(tmp_path):
    root = tmp_path / "source"
    for i in range(3):
        write(root, "train", f"{i}.png", [f"0 .5 .5 .2 .{i + 2} .4 .4 .6 .6"])
    (root / "d.yaml").write_text(
        "train: images/train\nval: images/train\nkpt_shape: [2, 2]\nflip_idx: [1, 0]\nnames: [a]\n"
    )
    spec = load_dataset(subset(root / "d.yaml", tmp_path / "o.yaml"))
    assert (spec.kpt_shape, spec.flip_idx) == ((2, 2), (1, 0))
    labels = scan(spec.split("train"), 1, keypoints=spec.keypoints)
    np.testing.assert_allclose(labels.bboxes[:, 3], [0.2, 0.3, 0.4], rtol=1e-6)


def files_of(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*.png")}


def test_a_subset_of_class_folders_is_one(tmp_path, message):
    data = class_folders(tmp_path / "data", (9, 6, 3), (4, 4, 4))
    (data / "train" / "dark" / "0.png").write_bytes(b"no image")
    out = subset(data, tmp_path / "few.yaml", classes=["light", "dark"], n=6)
    spec = load_class_dataset(out)
    assert (spec.names, spec.task) == ({0: "light", 1: "dark"}, "classify")
    drawn = files_of(tmp_path / "few")
    per_class = Counter(name.rpartition("/")[0] for name in drawn)
    assert per_class == {"train/light": 3, "train/dark": 3, "val/light": 4, "val/dark": 4}  # 8 and 6 can be used
    assert drawn <= files_of(data)
    labels = scan_classes(spec.split("train"), spec.names)
    assert sorted(labels.cls.tolist()) == [0, 0, 0, 1, 1, 1]
    assert load_class_dataset(tmp_path / "few").names == {0: "dark", 1: "light"}, "the folder by itself"
    assert manifest(out)["objects"] == {"light": 3 + 4, "dark": 3 + 4}
    message.clear()
    assert subset(data, out, classes=["light", "dark"], n=6) == out
    assert "is there already" in message.text
    again = subset(data, tmp_path / "other.yaml", classes=["light", "dark"], n=6, copy=True)
    assert manifest(again)["hash"] == manifest(out)["hash"]
    next((tmp_path / "few" / "train").rglob("*.png")).unlink()
    with pytest.raises(UserError, match="1 of its 6 train images are missing"):
        subset(data, out, classes=["light", "dark"], n=6)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"kfold": 2}, "folds are lists of images"),
        ({"backgrounds": 0.1}, "every image has a class"),
        ({"classes": "drak"}, "there is no class 'drak'"),
        ({"test_n": 2}, "there is no split 'test'"),
    ],
)
def test_what_class_folders_cannot_be_made_to_is_one_line(options, text, tmp_path):
    data = class_folders(tmp_path / "data")
    make, k = (kfold, {"k": options.pop("kfold")}) if "kfold" in options else (subset, {})
    with pytest.raises(UserError) as e:
        make(data, tmp_path / "few.yaml", **k, **options)
    assert text in str(e.value)
    assert "\n" not in str(e.value)
    assert not (tmp_path / "few").exists()


def test_a_class_folder_that_links_to_another_is_a_class(tmp_path):
    data = class_folders(tmp_path / "data")
    (data / "train" / "same").symlink_to(data / "train" / "dark", target_is_directory=True)
    out = subset(data, tmp_path / "few.yaml")
    made = {name for name in files_of(tmp_path / "few") if name.startswith("train/")}
    assert {f"train/same/{i}.png" for i in range(5)} < made
    labels = scan_classes([data / "train"], load_class_dataset(out).names)
    assert len(made) == len(labels), "as a training reads them"


def test_a_class_without_images_keeps_its_folder(tmp_path, message):
    """Of several folders the class comes first, and what a split lacks stays a class."""
    for name in ("a", "b"):
        class_folders(tmp_path / name, (2, 0, 1), (1, 0, 1))
    paths = "".join(f"{s}: [a/{s}, b/{s}]\n" for s in ("train", "val"))
    yaml_file = tmp_path / "both.yaml"
    yaml_file.write_text(f"{paths}task: classify\nnames: [{', '.join(SHADES)}]\n")
    out = subset(yaml_file, tmp_path / "few.yaml")
    assert "train: no image is a light" in message.text
    names = {"train/dark/a/0.png", "train/dark/b/0.png", "train/grey/a/0.png", "val/dark/b/0.png"}
    assert (tmp_path / "few" / "train" / "light").is_dir()
    heads = {re.sub("/[01]/", lambda m: "/" + "ab"[int(m[0][1])] + "/", name) for name in files_of(tmp_path / "few")}
    assert names <= heads
    assert len(scan_classes(load_class_dataset(out).split("train"), dict(enumerate(SHADES)))) == 6


NAMELESS = {
    "one of several": ('[dark, light, "a/b", ".."]', "the name of class 2, 'a/b', holds /", 4),
    "above": ('["..", light]', "class 0, '..', begins with a dot", 4),
    "here": ('["."]', "class 0, '.', begins with a dot", 4),
    "empty": ('[dark, ""]', "class 1, '', is empty", 4),
    "absolute": ("\n  - dark\n  - /tmp/dark", "class 1, '/tmp/dark', holds /", 6),
    "hidden": ("\n  0: dark\n  1: .git", "class 1, '.git', begins with a dot, and such folders are hidden", 6),
    "twice": ("\n- dark\n- light\n- dark", "class 2, 'dark', is that of class 0 too", 7),
    "twice in two forms": ('["\u00e9", "e\u0301"]', "is that of class 0 too", 4),
    "too long": (f"[dark, {'x' * 256}]", "is longer than 255 bytes", 4),
}


@pytest.mark.parametrize("case", NAMELESS)
def test_a_class_that_no_folder_can_be_called_is_one_line_with_its_place(case, tmp_path, capsys):
    names, text, line = NAMELESS[case]
    data, out = class_folders(tmp_path / "data"), tmp_path / "new" / "few.yaml"
    yaml_file = data / "data.yaml"
    yaml_file.write_text(f"train: train\nval: val\ntask: classify\nnames: {names}\n")
    before = sorted(tmp_path.rglob("*"))
    assert main(["subset", f"data={yaml_file}", f"out={out}"]) == 2
    [error] = [each for each in capsys.readouterr().err.splitlines() if each.startswith("error")]
    assert f"{yaml_file}, line {line}: the name of class" in error
    assert text in error
    assert error.endswith("(rename the class, or leave it out by classes=)")
    assert sorted(tmp_path.rglob("*")) == before, "nothing is left"


def test_classes_that_are_not_drawn_may_be_called_as_they_like(tmp_path):
    data = class_folders(tmp_path / "data")
    yaml_file = data / "data.yaml"
    yaml_file.write_text('train: train\nval: val\ntask: classify\nnames: [dark, "a/b", light, dark]\n')
    out = subset(yaml_file, tmp_path / "few.yaml", classes=["light"])
    assert files_of(tmp_path / "few") == {f"{s}/light/{i}.png" for s, n in (("train", 5), ("val", 2)) for i in range(n)}
    assert load_class_dataset(out).names == {0: "light"}


def test_names_of_accents_in_two_forms_are_one_folder(tmp_path):
    data = class_folders(tmp_path / "data")
    for split in ("train", "val"):
        (data / split / "dark").rename(data / split / "\u00e9")
    (data / "data.yaml").write_text(
        "train: train\nval: val\ntask: classify\nnames: [light, e\u0301, grey]\n", encoding="utf-8"
    )
    subset(data / "data.yaml", tmp_path / "few.yaml")
    assert sorted(f.name for f in (tmp_path / "few" / "train").iterdir()) == ["grey", "light", "\u00e9"]


def test_a_disk_that_takes_two_classes_for_one_is_one_line(tmp_path, monkeypatch):
    data = class_folders(tmp_path / "data")
    (data / "train" / "Dark").mkdir()
    make = Path.mkdir

    def without_case(path, *args, **keys):
        make(path.with_name("dark") if path.name == "Dark" and "few" in str(path) else path, *args, **keys)

    monkeypatch.setattr(Path, "mkdir", without_case)
    with pytest.raises(DatasetError, match="takes the name of the class 'dark' for that of another class"):
        subset(data, tmp_path / "few.yaml")
    assert [f.name for f in tmp_path.iterdir()] == ["data"]
