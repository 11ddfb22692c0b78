import os
import shutil
import unicodedata

import numpy as np
import pytest

from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.labels import scan
from ultralytics.data.prepare import prepare_coco128, prepare_yolo
from ultralytics.data.prepare.write import draw_parts
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError, UserError
from ultralytics.utils.images import imwrite


def tree(root, files):
    """Images for names ending in .jpg or .png, text files for the others."""
    for name, text in files.items():
        path = root / name
        if path.suffix in (".jpg", ".png"):
            imwrite(path, np.zeros((50, 100, 3), np.uint8))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return root


ROW = "1 0.5 0.5 0.25 0.5\n"


@pytest.mark.parametrize(
    "files",
    [
        {"images/train2017/a.jpg": "", "labels/train2017/a.txt": ROW, "images/val2017/b.jpg": ""},
        {"train/images/a.jpg": "", "train/labels/a.txt": ROW, "valid/images/b.jpg": ""},
        {"set/train/images/a.jpg": "", "set/train/labels/a.txt": ROW, "set/valid/images/b.jpg": ""},
        {
            "data.yaml": "train: ../train/images\nval: ../valid/images\nnames: [x, y]\n",
            "train/images/a.jpg": "", "train/labels/a.txt": ROW, "valid/images/b.jpg": "",
        },
        {
            "data.yaml": "path: /nowhere\ntrain: train\nval: val\nnames: [x, y]\n",
            "images/train/a.jpg": "", "labels/train/a.txt": ROW, "images/val/b.jpg": "",
        },
    ],
)  # fmt: skip
def test_layouts(tmp_path, files):
    source = tree(tmp_path / "s", files)
    names = None if "data.yaml" in files else ["x", "y"]
    spec = load_dataset(prepare_yolo(source, tmp_path / "out", names))
    assert spec.names == {0: "x", 1: "y"}
    assert scan(spec.split("train"), 2).bboxes.tolist() == [[0.5, 0.5, 0.25, 0.5]]
    assert len(scan(spec.split("val"), 2)) == 1
    packed = shutil.make_archive(str(tmp_path / "packed"), "gztar", source)
    assert prepare_yolo(packed, tmp_path / "again", names).read_text() == spec.yaml_file.read_text()
    assert prepare_yolo(spec.yaml_file, tmp_path / "third").read_text() == spec.yaml_file.read_text()


def test_one_split_without_names(tmp_path, told):
    source = tree(
        tmp_path / "s",
        {
            "images/a.jpg": "",
            "labels/a.txt": ROW,
            "images/deep/a.png": "",
            "labels/deep/a.txt": "0 0.1 0.1 0.3 0.1 0.3 0.5\n",
        },
    )
    spec = load_dataset(prepare_yolo(source, tmp_path / "out"))
    assert spec.names == {0: "class_0", 1: "class_1"}
    assert spec.split("train") == spec.split("val")
    assert sorted(scan(spec.split("train"), 2).cls.tolist()) == [0, 1]
    assert "are both train and val" in told.text
    assert "names no classes" in told.text


def test_what_is_ignored_stays_ignored_and_problems_are_named(tmp_path, told):
    files = {
        "images/train/a.jpg": "", "labels/train/a.txt": ROW + "0 0.5 0.5 0 0.1\n" + ROW,
        "ignore/train/a.txt": "* 0.5 0.5 0.25 0.5 crowd\n0 0.5 0.5 0.25 0.5\n0 x\n",
        "images/train/b.jpg": "", "labels/train/b.txt": "0 0.5 1.5 0.1 0.1\n",
        "images/val/c.jpg": "",
    }  # fmt: skip
    source = tree(tmp_path / "s", files)
    (source / "images" / "val" / "bad.jpg").write_text("no picture")
    out = prepare_yolo(source, tmp_path / "out", ["x", "y"]).parent
    assert (out / "labels/train/a.txt").read_text() == ROW
    assert (out / "ignore/train/a.txt").read_text() == "* 0.5 0.5 0.25 0.5 crowd\n0 0.5 0.5 0.25 0.5\n"
    assert not (out / "images/train/b.jpg").exists()
    for words in ("a.txt:2: the box has no area", "a.txt:3: a duplicate of an earlier row; the row is dropped",
                      "b.txt:1: the coordinate 1.5",
                  "bad.jpg: cannot be decoded", "a.txt:3: 'x' is no number"):  # fmt: skip
        assert words in told.text


def test_labels_that_changed_are_noticed(tmp_path):
    files = {"images/train/a.jpg": None, "images/val/b.jpg": None, "labels/train/a.txt": ROW, "labels/val/b.txt": ROW}
    tree(tmp_path / "s", files)
    (tmp_path / "yamls").mkdir()
    yaml = tmp_path / "yamls" / "d.yaml"
    yaml.write_text("path: ../s\ntrain: images/train\nval: images/val\nnames: [x, y]\n")
    made = [(tmp_path / "s", tmp_path / "one"), (yaml, tmp_path / "two")]
    for source, out in made * 2:
        prepare_yolo(source, out)
    (tmp_path / "s" / "labels" / "train" / "a.txt").write_text(ROW * 2)
    for source, out in made:
        with pytest.raises(UserError, match="has changed since"):
            prepare_yolo(source, out)


def test_train_that_is_val_is_warned_of(tmp_path, told):
    imwrite(tmp_path / "s" / "images" / "a.png", np.zeros((40, 60, 3), np.uint8))
    yaml = tmp_path / "s" / "data.yaml"
    yaml.write_text("train: images\nval: images\nnames: [x]\n")
    (tmp_path / "s" / "labels").mkdir()
    (tmp_path / "s" / "labels" / "a.txt").write_text("0 .5 .5 .1 .1")
    prepare_yolo(yaml, tmp_path / "out")
    assert "the same images are both train and val, so the figures of a validation say nothing" in told.text


def test_many_classes_are_told_in_short(tmp_path, told):
    tree(
        tmp_path / "s", {"images/train/a.jpg": None, "images/val/b.jpg": None, "labels/train/a.txt": "70 .5 .5 .1 .1\n"}
    )
    prepare_yolo(tmp_path / "s", tmp_path / "out", [f"thing{i}" for i in range(80)])
    assert "objects: thing70 1, " in told.text
    assert ", … 70 more classes" in told.text


def test_what_does_not_fit_is_told(tmp_path):
    source = tree(tmp_path / "s", {"images/train/a.jpg": "", "labels/train/a.txt": ROW, "images/val/b.jpg": ""})
    with pytest.raises(ConfigError, match=r"a\.txt: class id 1 is out of range: there are 1 names"):
        prepare_yolo(source, tmp_path / "out", ["x"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match="no folder images; tried"):
        prepare_yolo(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(MissingFileError, match="no such source"):
        prepare_yolo(tmp_path / "gone", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_real_labels_are_kept(shared, tmp_path):
    source = shared / "data" / "coco128-val"
    made = prepare_yolo(source, tmp_path / "out", images="link")
    [data] = source.glob("*.yaml")
    before, after = (scan(load_dataset(y).split("val"), 80, cache_dir=tmp_path) for y in (data, made))
    assert before.cls.tobytes() == after.cls.tobytes()
    assert before.bboxes.tobytes() == after.bboxes.tobytes()
    assert load_dataset(made).split("train") == load_dataset(made).split("val")
    assert load_dataset(prepare_coco128(source, tmp_path / "128")).nc == 80


def test_the_draw_depends_on_names_and_seed_alone():
    names = [f"{i}" for i in range(100)]

    def val(listed, part=0.2, seed=0):
        rest, drawn = draw_parts(listed, [part], seed)
        assert sorted(rest + drawn) == list(range(len(listed)))
        return sorted(listed[i] for i in drawn)

    assert len(val(names)) == 20
    assert val(names[::-1]) == val(names) != val(names, seed=1)
    assert val(["a", "b"], 0.01)
    accented = [f"{i}é" for i in range(100)]  # some file systems decompose what was written composed
    decomposed = [unicodedata.normalize("NFD", n) for n in accented]
    assert [unicodedata.normalize("NFC", n) for n in val(decomposed)] == val(accented)
    assert len(val([os.fsdecode(b"\xff%d" % i) for i in range(10)])) == 2
    three = draw_parts(names, [0.2, 0.1], 0)  # a test split takes nothing from val
    assert three[1] == draw_parts(names, [0.2], 0)[1]
    assert [len(part) for part in three] == [70, 20, 10]
    with pytest.raises(DatasetError, match="2 images are too few"):
        draw_parts(["a", "b"], [0.2, 0.2], 0)
