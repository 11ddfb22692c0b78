"""Class folders have one walk: what training reads is what check-data, show, subset, exports and prepare see."""

import ntpath
import os
import shutil
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ultralytics.cfg.class_folders import load_class_dataset
from ultralytics.cfg.config import get_cfg
from ultralytics.data import class_images
from ultralytics.data import show as showing
from ultralytics.data.check.check import check_data
from ultralytics.data.class_dataset import ClassificationDataset
from ultralytics.data.class_images import PassedOver, image_names, list_classes
from ultralytics.data.class_scan import scan_classes
from ultralytics.data.prepare.classify import images_by_class
from ultralytics.data.subset.subset import subset
from ultralytics.models.yolo.task import TASKS
from ultralytics.utils.errors import DatasetError

BASE = {"train/ant/a0.png", "train/ant/a1.png", "train/bee/b0.png", "val/ant/v0.png", "val/bee/v1.png"}
# What may be found in a good dataset too, and says nothing of what is read.
USUAL = {"class-absent", "class-unused", "image-suffix"}


def image(path):
    """Write an image that no other path has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(list(str(path).encode())).integers(0, 256, (16, 16, 3), np.uint8)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "data"
    for name in BASE:
        image(root / name)
    image(tmp_path / "outside" / "o.png")
    return root


def link(root, name, target):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).symlink_to(target)


def linked_val(root):
    shutil.rmtree(root / "val" / "bee")
    link(root, "val/bee", "../train/bee")


def through_outside(root):
    link(root, "train/ant/out", "../../../outside")
    link(root, "../outside/back", root / "train")
    link(root, "../outside/up", root)


def back_by_a_class(root):
    link(root, "train/cow", "../../outside")
    for name, target in (("split", "train"), ("data", "."), ("ants", "train/ant")):
        link(root, f"../outside/{name}", root / target)


def back_by_a_split(root):
    elsewhere(root)
    for name, target in (("all", "."), ("train", "train")):
        link(root, f"../other/{name}", root / target)


def hidden(root):
    for name in ("ant/.h.png", "ant/.png", "ant/.deep/x.png", "ant/deep/.checkpoints/x.png", ".cache/x.png", "._l.png"):
        image(root / "train" / name)
    (root / "train" / "ant" / ".DS_Store").write_text("x")
    link(root, "train/.more", "ant")
    link(root, "train/ant/.more", "../bee")


def texts(root):
    for name in ("ant/notes.txt", "ant/deep/noname", "bee/x.gif", "bee/y.GIF", "bee/png"):
        (root / "train" / name).parent.mkdir(exist_ok=True)
        (root / "train" / name).write_text("x")


def suffixes(root):
    for name in ("A.PNG", "b.JpG", "c.Jpeg", "d.WEBP"):
        image(root / "train" / "ant" / name)


def elsewhere(root):
    shutil.move(root / "val", root.parent / "other")
    link(root, "val", "../other")


def accents(root):
    image(root / "train" / "\u00e9" / "e.png")
    image(root / "val" / "e\u0301" / "e.png")


def reads(*more, less=(), split="train"):
    return BASE - set(less) | {f"{split}/{name}" for name in more}


# What is there beside BASE; the images that are read; those of them that cannot be used; kinds of findings beside USUAL
CASES = {
    "nothing else": (lambda r: None, BASE, (), ()),
    "a class folder is a link": (lambda r: link(r, "train/cow", "../../outside"), reads("cow/o.png"), (), ()),
    "a class folder is a link to another": (
        lambda r: link(r, "train/cow", "ant"), reads("cow/a0.png", "cow/a1.png"), (), ("listed-twice",),
    ),
    "links to one class folder of outside": (
        lambda r: [link(r, f"train/{name}", "../../outside") for name in ("cow", "dog")],
        reads("cow/o.png", "dog/o.png"), (), ("listed-twice",),
    ),
    "a link in a class folder leads to another class": (
        lambda r: link(r, "train/ant/more", "../bee"), reads("ant/more/b0.png"), (), ("listed-twice",),
    ),
    "a link in a class folder leads out": (
        lambda r: link(r, "train/ant/more", "../../../outside"), reads("ant/more/o.png"), (), (),
    ),
    "two links in a class folder lead to one": (
        lambda r: [link(r, f"train/ant/{n}", "../../../outside") for n in "xy"],
        reads("ant/x/o.png"), (), ("folder-link",),
    ),
    "a class of val is a link to train's": (linked_val, reads("bee/b0.png", less=["val/bee/v1.png"], split="val"), (),
                                            ("leak-file",)),
    "a split is a link": (elsewhere, BASE, (), ()),
    "a link leads to the split": (lambda r: link(r, "train/loop", "."), BASE, (), ("folder-link",)),
    "a link leads to the dataset": (lambda r: link(r, "train/loop", "../../data"), BASE, (), ("folder-link",)),
    "links in a class folder lead to it and above": (
        lambda r: [link(r, f"train/ant/{n}", t) for n, t in (("self", "."), ("up", ".."), ("top", "../.."))],
        BASE, (), ("folder-link",),
    ),
    "a link leads back through a folder outside": (through_outside, reads("ant/out/o.png"), (), ("folder-link",)),
    "a linked class folder leads back to its split": (
        back_by_a_class, reads("cow/o.png", "cow/ants/a0.png", "cow/ants/a1.png"), (),
        ("folder-link", "listed-twice"),
    ),
    "a linked split leads back to its dataset": (back_by_a_split, BASE, (), ("folder-link", "class-folder")),
    "class folders lead to each other": (
        lambda r: [link(r, "train/ant/more", "../bee"), link(r, "train/bee/more", "../ant")],
        reads("ant/more/b0.png", "bee/more/a0.png", "bee/more/a1.png"), (), ("folder-link", "listed-twice"),
    ),
    "a link leads to itself": (lambda r: link(r, "train/cow", "cow"), BASE, (), ("folder-link",)),
    "two links lead to one another": (
        lambda r: [link(r, "train/cow", "dog"), link(r, "train/dog", "cow")], BASE, (), ("folder-link",),
    ),
    "a link in a class folder leads to itself": (
        lambda r: link(r, "train/ant/cow", "cow"), BASE, (), ("folder-link",),
    ),
    "a class folder is a link that leads nowhere": (
        lambda r: link(r, "train/cow", "gone"), BASE, (), ("folder-link",),
    ),
    "a link in a class folder leads nowhere": (
        lambda r: link(r, "train/ant/cow", "gone"), BASE, (), ("folder-link",),
    ),
    "an image is a link that leads nowhere": (
        lambda r: link(r, "train/ant/x.png", "gone.png"), reads("ant/x.png"), ("train/ant/x.png",), ("image-link",),
    ),
    "an image is a link that leads to itself": (
        lambda r: link(r, "train/ant/x.png", "x.png"), reads("ant/x.png"), ("train/ant/x.png",), ("image-link",),
    ),
    "an image is a link": (lambda r: link(r, "train/ant/x.png", "../../../outside/o.png"), reads("ant/x.png"), (), ()),
    "an image is a link to one of another class": (
        lambda r: link(r, "train/ant/x.png", "../bee/b0.png"), reads("ant/x.png"), (), ("listed-twice",),
    ),
    "an image is a link to one of val": (
        lambda r: link(r, "train/ant/x.png", "../../val/ant/v0.png"), reads("ant/x.png"), (), ("leak-file",),
    ),
    "hidden files and folders": (hidden, BASE, (), ()),
    "files of other kinds": (texts, BASE, (), ("class-folder",)),
    "suffixes in capitals": (suffixes, reads("ant/A.PNG", "ant/b.JpG", "ant/c.Jpeg", "ant/d.WEBP"), (), ()),
    "a class without images": (lambda r: (r / "train" / "cow").mkdir(), BASE, (), ()),
    "folders below": (lambda r: image(r / "train/ant/deep/er/x.png"), reads("ant/deep/er/x.png"), (), ()),
    "a folder below is called as a class": (lambda r: image(r / "train/ant/bee/x.png"), reads("ant/bee/x.png"), (), ()),
    "a folder is called as an image": (lambda r: image(r / "train/ant/x.png/y.png"), reads("ant/x.png/y.png"), (), ()),
    "a class is called as an image": (lambda r: image(r / "train/x.png/y.png"), reads("x.png/y.png"), (), ()),
    "an image in no class folder": (lambda r: image(r / "train/x.png"), BASE, (), ("class-folder",)),
    "a class that train lacks": (lambda r: image(r / "val/cow/x.png"), BASE, (), ("class-folder",)),
    "a class that train writes otherwise": (lambda r: image(r / "val/Ant/x.png"), BASE, (), ("class-folder",)),
    "accents in two forms": (accents, BASE | {"train/\u00e9/e.png", "val/e\u0301/e.png"}, (), ()),
    "an image is no image": (
        lambda r: (r / "train/ant/x.png").write_text("no"), reads("ant/x.png"), ("train/ant/x.png",),
        ("image-undecodable",),
    ),
    "an image is empty": (
        lambda r: (r / "train/ant/x.png").touch(), reads("ant/x.png"), ("train/ant/x.png",), ("image-empty",),
    ),
    "an image is a pipe": (
        lambda r: os.mkfifo(r / "train/ant/x.png"), reads("ant/x.png"), ("train/ant/x.png",), ("image-unreadable",),
    ),
}  # fmt: skip


def below(root, files):
    return {Path(f).relative_to(root).as_posix() for f in files}


@pytest.fixture
def shown(monkeypatch):
    """The images of the sheets that are drawn."""
    found = []

    def plot(batch, file, *_, **__):
        found.append(batch["im_file"][::2])
        Path(file).write_bytes(b"x")

    monkeypatch.setattr(showing, "plot_images", plot)
    return found


@pytest.mark.skipif(os.name == "nt", reason="links and pipes need rights there")
@pytest.mark.parametrize("case", CASES)
def test_every_reader_sees_what_training_reads(case, data, shown, tmp_path):
    build, read, unusable, kinds = CASES[case]
    build(data)
    spec = load_class_dataset(data)
    used = read - set(unusable)
    report = check_data(data, near=False)
    assert {f.kind for f in report.findings} - USUAL == set(kinds)
    by_class = images_by_class(data)
    subset(data, tmp_path / "few.yaml")
    made = below(tmp_path / "few", [f for f in (tmp_path / "few").rglob("*") if f.is_file()]) - {"manifest.json"}
    for split in ("train", "val"):
        here, usable = ({f for f in names if f.startswith(f"{split}/")} for names in (read, used))
        class_of = {f: f.split("/")[1].replace("e\u0301", "\u00e9") for f in here}

        labels = scan_classes(spec.split(split), spec.names)
        assert below(data, labels.im_files) == usable
        assert len(labels) + labels.left_out == len(here)
        for file, number in zip(labels.im_files, labels.cls.astype(int).tolist(), strict=True):
            assert spec.names[number] == class_of[Path(file).relative_to(data).as_posix()]
        trained = ClassificationDataset(spec.split(split), get_cfg(overrides={"imgsz": 32}), True, names=spec.names)
        assert list(trained.im_files) == list(labels.im_files)

        counts = report.splits[split]
        assert (counts["images"], counts["usable"]) == (len(here), len(usable)), "check-data"
        for name in spec.names.values():
            wanted = sum(class_of[f] == name for f in usable)
            assert report.classes[name][split]["images"] == wanted, "check-data"

        showing.show(data, split, n=64, imgsz=32, out=tmp_path / f"{split}.png")
        assert below(data, shown[-1]) == usable

        assert {f for f in made if f.startswith(f"{split}/")} == {f.replace("e\u0301", "\u00e9") for f in usable}

        listed = TASKS["classify"].sampled.listed(spec, split)
        assert below(data, listed) == here, "exports and benchmarks"
        assert listed == sorted(listed)

        if by_class:  # nothing where images lie in no class folder
            found = {f: name for name, files in by_class[split].items() for f in below(data, files)}
            known = set(spec.names.values()) | {"e\u0301"}
            assert {f for f, name in found.items() if name in known} == here, "prepare"
        else:
            assert case == "an image in no class folder"


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (PassedOver(files=["x.txt"]), "1 file in class folders is not an image, passed over"),
        (PassedOver(files=["x.txt", "y.txt"]), "2 files in class folders are not images, passed over"),
        (PassedOver(links=["x"]), "1 link that leads to a folder that is read already, or holds it, passed over"),
        (
            PassedOver(links=["x", "y"]),
            "2 links that lead to folders that are read already, or hold them, passed over",
        ),
    ],
)
def test_what_is_passed_over_is_a_sentence(passed, text):
    assert [odd.what for odd in passed.report()] == [text]


def test_what_is_passed_over_is_a_line_each(data):
    texts(data)
    link(data, "train/loop", ".")
    for name in ("x", "y"):
        link(data, f"train/{name}", "gone")
        link(data, f"train/bee/{name}", "gone")
    link(data, "train/ant/self", ".")
    link(data, "train/x.png", "gone")
    image(data / "train" / "l.png")
    image(data / "train" / "cow" / "x.png")
    odd = list_classes([data / "train"], {0: "ant", 1: "bee"}).odd
    assert [(o.kind, Path(o.place).relative_to(data / "train").as_posix(), o.what) for o in odd] == [
        ("class-folder", "cow", "no class is called that; 1 image passed over"),
        ("class-folder", "l.png", "1 image in no class folder, passed over"),
        ("folder-link", "loop", "the link leads to a folder that holds it: it is no class, and passed over"),
        ("folder-link", "x", "3 links that lead nowhere, passed over"),
        ("class-folder", "ant/deep/noname", "3 files in class folders are not images, passed over"),
        ("class-folder", "bee/x.gif", "2 .gif files passed over: images of this kind are not read"),
        ("folder-link", "bee/x", "2 links that lead nowhere, passed over"),
        ("folder-link", "ant/self", "1 link that leads to a folder that is read already, or holds it, passed over"),
    ]


def test_a_folder_that_cannot_be_read_is_told(data, monkeypatch):
    image(data / "train/ant/deep/x.png")
    closed, scandir = str(data / "train" / "ant" / "deep"), os.scandir

    def refusing(path):
        if os.fspath(path) == closed:
            raise PermissionError(13, "Permission denied", closed)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = list_classes([data / "train"], {0: "ant", 1: "bee"})
    assert [(o.kind, o.place) for o in found.odd] == [("folder-unreadable", closed)]
    assert len(found.classes()) == 3
    [finding] = [f for f in check_data(data, near=False).findings if f.kind == "folder-unreadable"]
    assert (finding.path, finding.severity) == (closed, "error")


def test_an_image_that_several_folders_of_a_split_hold_counts_once(data):
    """The same folder twice, and one that lies in the other."""
    file = data / "data.yaml"
    names = "val: val\ntask: classify\nnames: [ant, bee]\n"
    image(data / "train/ant/bee/x.png")
    for train, wanted in (("[train, train/../train]", 4), ("[train, train/ant]", 4), ("[train/ant, train]", 4)):
        file.write_text(f"train: {train}\n{names}")
        spec = load_class_dataset(file)
        labels = scan_classes(spec.split("train"), spec.names)
        assert len(labels) == len(set(labels.im_files)) == wanted
        report = check_data(file, near=False)
        assert report.splits["train"]["images"] == wanted
        assert "listed-twice" in {f.kind for f in report.findings}
    # In train/ant, its bee/ is a class folder; in train it is a part of ant.
    paths = [data / "train" / "ant", data / "train"]
    classes = list_classes(paths, spec.names).classes()
    assert {Path(f).name: number for f, number in classes.items()} == {
        "a0.png": 0,
        "a1.png": 0,
        "b0.png": 1,
        "x.png": 1,
    }
    assert sorted(image_names(paths, classes, spec.names).values()) == [
        "ant/train/a0.png", "ant/train/a1.png", "bee/ant/x.png", "bee/train/b0.png",
    ]  # fmt: skip


def test_images_of_one_name_are_one_line(data):
    for name in ("\u00e9.png", "e\u0301.png"):
        image(data / "train" / "ant" / name)
    if len(list((data / "train" / "ant").iterdir())) < 4:
        pytest.skip("the file system takes both for one name")
    names = {0: "ant", 1: "bee"}
    classes = list_classes([data / "train"], names).classes()
    with pytest.raises(DatasetError, match="after normalization"):
        image_names([data / "train"], classes, names)


# Folders of train beside train/ itself; the classes; an image more; what it is called, and what
# comes behind the class of those of train/.
NESTED = {
    "a folder in another": (["train", "train/more"], "ant, bee", "more/ant/z.png", "ant/more/z.png", "train"),
    "it comes first": (["train/more", "train"], "ant, bee", "more/ant/z.png", "ant/more/z.png", "train"),
    "a class is called like it": (
        ["train", "train/more"], "ant, bee, more", "more/ant/z.png", "more/train/ant/z.png", "train",
    ),
    "it is called so and comes first": (
        ["train/more", "train"], "ant, bee, more", "more/ant/z.png", "ant/more/z.png", "train",
    ),
    "a class in it is called like it": (
        ["train", "train/more"], "ant, bee, more", "more/more/z.png", "more/train/more/z.png", "train",
    ),
    "a folder in a class": (["train", "train/ant"], "ant, bee", "ant/bee/z.png", "ant/train/bee/z.png", "train"),
    "a hidden one in a class": (["train", "train/ant/.x"], "ant, bee", "ant/.x/ant/z.png", "ant/1/z.png", "0"),
    "one beside it": (["train", "far"], "ant, bee", "../far/ant/z.png", "ant/far/z.png", "train"),
    "a hidden one beside it": (["train", ".far"], "ant, bee", "../.far/ant/z.png", "ant/1/z.png", "0"),
}  # fmt: skip


@pytest.mark.parametrize("case", NESTED)
def test_an_image_of_several_folders_is_called_by_that_which_gave_its_class(case, data, monkeypatch, tmp_path):
    folders, classes, file, name, head = NESTED[case]
    image(data / "train" / file)
    source = data / "data.yaml"
    source.write_text(f"train: [{', '.join(folders)}]\nval: val\ntask: classify\nnames: [{classes}]\n")
    out = subset(source, tmp_path / "few.yaml")
    made = below(tmp_path / "few" / "train", (tmp_path / "few" / "train").rglob("*.png"))
    assert {name, f"ant/{head}/a0.png"} < made
    assert len(made) == 4
    spec = load_class_dataset(out)
    found = list_classes(spec.split("train"), spec.names)
    assert {f"{spec.names[c]}/{Path(f).name}" for f, c in found.classes().items()} == {
        *("ant/a0.png", "ant/a1.png", "bee/b0.png", f"{name.split('/')[0]}/z.png"),
    }
    assert not found.odd
    captions = []

    def plot(_, file, *__, **keys):
        captions.extend(keys["captions"][::2])
        Path(file).write_bytes(b"x")

    monkeypatch.setattr(showing, "plot_images", plot)
    showing.show(source, n=64, imgsz=32, out=tmp_path / "train.png")
    assert set(captions) == made


def test_folders_of_a_split_may_be_on_several_drives(monkeypatch):
    monkeypatch.setattr(class_images, "os", SimpleNamespace(path=ntpath))
    monkeypatch.setattr(class_images, "PurePath", PureWindowsPath)
    paths = [PureWindowsPath(p) for p in ("D:\\far", "C:\\data\\train")]
    classes = {"C:\\data\\train\\ant\\deep\\a.png": 0, "D:\\far\\bee\\b.png": 1}
    assert list(image_names(paths, classes, {0: "ant", 1: "bee"}).values()) == [
        "ant/train/deep/a.png", "bee/far/b.png",
    ]  # fmt: skip


def test_a_split_without_images_of_its_classes_is_said_by_check_data_too(data):
    shutil.move(data / "val" / "ant", data / "val" / "cow")
    shutil.rmtree(data / "val" / "bee")
    spec = load_class_dataset(data)
    with pytest.raises(DatasetError, match="the class folders hold no images"):
        scan_classes(spec.split("val"), spec.names)
    with pytest.raises(DatasetError, match="the class folders hold no images"):
        TASKS["classify"].sampled.listed(spec, "val")
    found = {(f.kind, f.severity) for f in check_data(data, near=False).findings}
    assert {("split-empty", "error"), ("class-folder", "warning")} <= found


def test_two_classes_of_one_file_are_said(data):
    link(data, "train/ant/x.png", "../bee/b0.png")
    [twice] = [f.what for f in check_data(data, near=False).findings if f.kind == "listed-twice"]
    assert twice.endswith(", in the folder of another class")
