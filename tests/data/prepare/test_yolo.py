import os
import shutil
import unicodedata

import numpy as np
import pytest

from tests.helpers.sources import BOX, XML, labelme, read, tree
from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.prepare import prepare_coco128, prepare_yolo
from ultralytics.data.prepare.divide import draw_parts
from ultralytics.data.scan import scan
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError, UserError
from ultralytics.utils.images import imwrite

ROW = "1 0.5 0.5 0.25 0.5\n"


@pytest.mark.parametrize(
    "files",
    [
        {"images/train2017/a.jpg": None, "labels/train2017/a.txt": ROW, "images/val2017/b.jpg": None},
        {"train/images/a.jpg": None, "train/labels/a.txt": ROW, "valid/images/b.jpg": None},
        {"set/train/images/a.jpg": None, "set/train/labels/a.txt": ROW, "set/valid/images/b.jpg": None},
        {
            "data.yaml": "train: ../train/images\nval: ../valid/images\nnames: [x, y]\n",
            "train/images/a.jpg": None, "train/labels/a.txt": ROW, "valid/images/b.jpg": None,
        },
        {
            "data.yaml": "path: /nowhere\ntrain: train\nval: val\nnames: [x, y]\n",
            "images/train/a.jpg": None, "labels/train/a.txt": ROW, "images/val/b.jpg": None,
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


def test_one_split_without_names(tmp_path, log):
    source = tree(
        tmp_path / "s",
        {
            "images/a.jpg": None,
            "labels/a.txt": ROW,
            "images/deep/a.png": None,
            "labels/deep/a.txt": "0 0.1 0.1 0.3 0.1 0.3 0.5\n",
        },
    )
    spec = load_dataset(prepare_yolo(source, tmp_path / "out"))
    assert spec.names == {0: "class_0", 1: "class_1"}
    assert spec.split("train") == spec.split("val")
    assert sorted(scan(spec.split("train"), 2).cls.tolist()) == [0, 1]
    assert "are both train and val" in log.text
    assert "names no classes" in log.text


def test_what_is_ignored_stays_ignored_and_problems_are_named(tmp_path, log):
    files = {
        "images/train/a.jpg": None, "labels/train/a.txt": ROW + "0 0.5 0.5 0 0.1\n" + ROW,
        "ignore/train/a.txt": "* 0.5 0.5 0.25 0.5 crowd\n0 0.5 0.5 0.25 0.5\n0 x\n",
        "images/train/b.jpg": None, "labels/train/b.txt": "0 0.5 1.5 0.1 0.1\n",
        "images/val/c.jpg": None,
    }  # fmt: skip
    source = tree(tmp_path / "s", files)
    (source / "images" / "val" / "bad.jpg").write_text("no picture")
    out = prepare_yolo(source, tmp_path / "out", ["x", "y"]).parent
    assert (out / "labels/train/a.txt").read_text() == ROW
    assert (out / "ignore/train/a.txt").read_text() == "* 0.5 0.5 0.25 0.5 crowd\n0 0.5 0.5 0.25 0.5\n"
    assert not (out / "images/train/b.jpg").exists()
    for words in ("a.txt:2: the box has no area", "a.txt:3: a duplicate of an earlier row; the row is dropped",
                      "b.txt:1: the coordinate 1.5",
                  "bad.jpg: cannot be decoded", "a.txt:3: 'x' is not a number"):  # fmt: skip
        assert words in log.text


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


def test_train_that_is_val_is_warned_of(tmp_path, log):
    imwrite(tmp_path / "s" / "images" / "a.png", np.zeros((40, 60, 3), np.uint8))
    yaml = tmp_path / "s" / "data.yaml"
    yaml.write_text("train: images\nval: images\nnames: [x]\n")
    (tmp_path / "s" / "labels").mkdir()
    (tmp_path / "s" / "labels" / "a.txt").write_text("0 .5 .5 .1 .1")
    prepare_yolo(yaml, tmp_path / "out")
    assert "the same images are both train and val, so the figures of a validation say nothing" in log.text


def test_many_classes_are_told_in_short(tmp_path, log):
    tree(
        tmp_path / "s", {"images/train/a.jpg": None, "images/val/b.jpg": None, "labels/train/a.txt": "70 .5 .5 .1 .1\n"}
    )
    prepare_yolo(tmp_path / "s", tmp_path / "out", [f"thing{i}" for i in range(80)])
    assert "objects: thing70 1, " in log.text
    assert ", … 70 more classes" in log.text


def test_what_does_not_fit_is_told(tmp_path):
    source = tree(tmp_path / "s", {"images/train/a.jpg": None, "labels/train/a.txt": ROW, "images/val/b.jpg": None})
    with pytest.raises(ConfigError, match=r"a\.txt: class id 1 is out of range: names= has 1 class"):
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


def test_coco128_drawn_otherwise_is_not_taken_for_this_one(tmp_path):
    source = tree(tmp_path / "s", {f"images/train2017/{i}.jpg": None for i in range(4)})
    tree(source, {f"labels/train2017/{i}.txt": ROW for i in range(4)})
    prepare_coco128(source, tmp_path / "out", val=0.25)
    assert prepare_coco128(source, tmp_path / "out", val=0.25) == tmp_path / "out" / "data.yaml"
    with pytest.raises(UserError, match=r"it was made with val=0.25, not val=0.5"):
        prepare_coco128(source, tmp_path / "out", val=0.5)


def test_tiles_of_another_tool_are_drawn_by_their_image(tmp_path, caplog):
    caplog.set_level("INFO")
    names = [f"P{image}__64__{x}___0" for image in range(5) for x in (0, 44, 88)]
    tree(tmp_path / "s", {f"images/train/{n}.jpg": None for n in names} | {"images/train/a.jpg": None})
    tree(tmp_path / "s", {f"labels/train/{n}.txt": ROW for n in [*names, "a"]})
    made = prepare_yolo(tmp_path / "s", tmp_path / "out", ["x", "y"], val=0.34)
    drawn = {s: sorted(p.stem.split("__")[0] for p in (made.parent / "images" / s).iterdir()) for s in ("train", "val")}
    assert not set(drawn["train"]) & set(drawn["val"])
    assert (len(set(drawn["train"])), len(set(drawn["val"]))) == (4, 2)
    tiles = len(drawn["val"])
    assert f"drawn of 6 images (16 tiles): 2 ({tiles} tiles) as val (seed 0)" in caplog.text


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


LABEL = "0 0.2 0.2 0.2 0.2\n"
DARKNET = "classes = 1\ntrain  = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\nbackup = backup/\n"


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        # LabelImg and the like: all in one folder
        ({"a.jpg": None, "a.txt": LABEL, "classes.txt": "cell\n", "b.png": None}, {"train": ["a.jpg", "b.png"]}),
        ({"photos/a.jpg": None, "txt/a.txt": LABEL, "txt/classes.txt": "cell\n"}, {"train": ["a.jpg"]}),
        ({"train/a.jpg": None, "train/a.txt": LABEL, "valid/a.jpg": None, "valid/a.txt": LABEL, "classes.txt": "cell"},
         {"train": ["a.jpg"], "val": ["a.jpg"]}),
        # label files beside the images in folders called images
        ({"images/train/a.jpg": None, "images/train/a.txt": LABEL, "images/val/b.jpg": None, "images/val/b.txt": LABEL,
          "obj.names": "cell"}, {"train": ["a.jpg"], "val": ["b.jpg"]}),
        ({"images/a.jpg": None, "annotations/a.txt": LABEL, "classes.txt": "cell"}, {"train": ["a.jpg"]}),
        # Label Studio
        ({"images/x-a.jpg": None, "labels/x-a.txt": LABEL, "classes.txt": "cell",
          "notes.json": '{"categories": [{"id": 0, "name": "cell"}]}'}, {"train": ["x-a.jpg"]}),
        # CVAT YOLO 1.1, darknet with paths of another machine
        ({"obj.data": DARKNET, "obj.names": "cell\n", "train.txt": "data/obj_train_data/a.jpg\n",
          "obj_train_data/a.jpg": None, "obj_train_data/a.txt": LABEL}, {"train": ["a.jpg"]}),
        ({"obj.data": DARKNET, "obj.names": "cell\n", "train.txt": "data/obj_train_data/in/a.jpg\n",
          "valid.txt": "data/obj_valid_data/in/a.jpg\n", "obj_train_data/in/a.jpg": None,
          "obj_train_data/in/a.txt": LABEL, "obj_valid_data/in/a.jpg": None, "obj_valid_data/in/a.txt": LABEL},
         {"train": ["a.jpg"], "val": ["a.jpg"]}),
        ({"data/obj.data": DARKNET, "data/obj.names": "cell\n", "data/train.txt": "/home/me/darknet/data/obj/a.jpg\n\n",
          "data/obj/a.jpg": None, "data/obj/a.txt": LABEL}, {"train": ["a.jpg"]}),
        # a data.yaml that says the names alone, or no val
        ({"data.yaml": "names: [cell]\nnc: 1\n", "a.jpg": None, "a.txt": LABEL}, {"train": ["a.jpg"]}),
        ({"data.yaml": "train: images\nnames: [cell]\n", "images/a.jpg": None, "labels/a.txt": LABEL},
         {"train": ["a.jpg"]}),
        ({"data.yaml": "train: /elsewhere\nnames: [cell]\n", "train/images/a.jpg": None, "train/labels/a.txt": LABEL},
         {"train": ["a.jpg"]}),
        ({"c.yaml": "services: {}\n", "classes.txt": "cell", "a.jpg": None, "a.txt": LABEL}, {"train": ["a.jpg"]}),
    ],
)  # fmt: skip
def test_what_tools_write(tmp_path, files, splits):
    source = tree(tmp_path / "s", files)
    found = read(prepare_yolo(source, tmp_path / "out"))
    found.pop("val" if "val" not in splits else "", None)
    assert {s: list(listed) for s, listed in found.items()} == splits
    assert found["train"][splits["train"][0]] == [("cell", *BOX)]
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "s")
    again = read(prepare_yolo(packed, tmp_path / "again"))
    assert {s: again[s] for s in splits} == found


def test_a_yaml_without_val(tmp_path):
    files = {f"images/{i}.jpg": None for i in range(5)} | {f"labels/{i}.txt": LABEL for i in range(5)}
    source = tree(tmp_path / "s", files | {"data.yaml": "train: images\nnames: [cell]\n"})
    for given in (source, source / "data.yaml"):
        made = prepare_yolo(given, tmp_path / f"out-{given.name}", val=0.2, test=0.2, seed=1)
        assert {s: len(found) for s, found in read(made).items()} == {"train": 3, "val": 1, "test": 1}
    assert read(made) == read(tmp_path / "out-s" / "data.yaml")
    (source / "data.yaml").write_text("train: nowhere\nnames: [cell]\n")
    with pytest.raises(DatasetError, match="the train images are missing; tried"):
        prepare_yolo(source / "data.yaml", tmp_path / "o")
    (source / "data.yaml").write_text("names: [cell]\n")
    with pytest.raises(DatasetError, match="neither train nor val"):
        prepare_yolo(source / "data.yaml", tmp_path / "o")
    (source / "data.yaml").write_text("names: [cell]\nnc: 2\ntrain: images\n")
    with pytest.raises(DatasetError, match="nc is 2, but there"):
        prepare_yolo(source, tmp_path / "o")


def test_a_list_without_its_images_is_told(tmp_path):
    files = {"obj.data": DARKNET, "obj.names": "cell", "train.txt": "data/obj_train_data/a.jpg\n",
             "obj_train_data/a.txt": LABEL}  # fmt: skip
    with pytest.raises(
        MissingFileError, match=r"there is no image data/obj_train_data/a\.jpg .export it with its images"
    ):
        prepare_yolo(tree(tmp_path / "s", files), tmp_path / "out")


def test_what_is_missing_is_told_as_it_is(tmp_path):
    source = tree(tmp_path / "s", {"images/a.jpg": None, "images/b.jpg": None})
    with pytest.raises(
        MissingFileError, match=r"none of its 2 images has a label file; a\.txt was looked for in .*labels"
    ):
        prepare_yolo(source, tmp_path / "out")
    tree(source, {"labels/a.txt": LABEL, "labels/classes.txt": "cell"})
    made = prepare_yolo(source / "images", tmp_path / "out")  # the labels and the names are beside that folder
    assert read(made)["train"] == {"a.jpg": [("cell", *BOX)], "b.jpg": []}


def test_names_given_afterwards_rename_the_classes(tmp_path, log):
    source = tree(tmp_path / "s", {"a.jpg": None, "a.txt": LABEL + "1 0.5 0.5 0.1 0.1\n", "b.jpg": None})
    made = prepare_yolo(source, tmp_path / "out")
    assert "the same command with names=[first,second] renames them" in log.text
    before = (made.parent / "manifest.json").read_text()
    assert prepare_yolo(source, tmp_path / "out", ["dog", "cell"]) == made
    assert [r[0] for r in read(made)["train"]["a.jpg"]] == ["dog", "cell"]
    assert '"dog": 1' in (made.parent / "manifest.json").read_text() != before
    assert prepare_yolo(source, tmp_path / "out", ["dog", "cell"]) == made
    for names, words in ((["dog"], "made with names"), (["cell", "dog"], "made with names"), (None, "made with names")):
        with pytest.raises(UserError, match=words):
            prepare_yolo(source, tmp_path / "out", names)
    assert "class_" not in (made.parent / "data.yaml").read_text()
    (source / "a.txt").write_text(LABEL)
    with pytest.raises(UserError, match="has changed"):
        prepare_yolo(source, tmp_path / "out", ["dog", "cell"])


@pytest.mark.parametrize("file", [{"classes.txt": "dog\n"}, {"data.yaml": "names: [dog]\n"}])
def test_names_that_replace_those_of_the_source_are_not_said_to_be_its_own(tmp_path, log, file):
    source = tree(tmp_path / "s", {"a.jpg": None, "a.txt": LABEL, **file})
    prepare_yolo(source, tmp_path / "out", ["cell"])
    assert "the class names are those of names=, not those of " in log.text
    assert "(dog)" in log.text
    log.clear()
    prepare_yolo(source, tmp_path / "same", ["dog"])
    assert "not those of" not in log.text


def test_nobody_is_told_to_remove_the_source(tmp_path):
    source = tree(tmp_path / "s", {"a.jpg": None, "a.txt": LABEL})
    with pytest.raises(UserError, match="something else than a prepared dataset") as error:
        prepare_yolo(source, source)
    assert "remove" not in error.value.hint


def test_too_few_names_are_told_with_the_label_file(tmp_path):
    source = tree(tmp_path / "s", {"a.jpg": None, "a.txt": "1 0.5 0.5 0.1 0.1\n", "classes.txt": "cell\n"})
    with pytest.raises(ConfigError, match=r"a\.txt: class id 1 is out of range: the source names 1 class"):
        prepare_yolo(source, tmp_path / "out")
    assert read(prepare_yolo(source, tmp_path / "out", ["dog", "cell"]))["train"]["a.jpg"][0][0] == "cell"


def test_no_object_is_never_ready(tmp_path):
    source = tree(tmp_path / "s", {"images/a.jpg": None, "labels/a.txt": "0 0.5 1.5 0.1 0.1\n", "images/b.jpg": None})
    with pytest.raises(DatasetError, match=r"no object could be read: .*a\.txt:1: the coordinate 1\.5"):
        prepare_yolo(source, tmp_path / "out", ["dog"])
    (source / "labels" / "a.txt").write_text("")
    with pytest.raises(DatasetError, match="no object could be read: the labels hold none"):
        prepare_yolo(source, tmp_path / "out", ["dog"])
    assert not (tmp_path / "out").exists()


def test_own_splits_are_not_drawn_over(tmp_path):
    files = {f"{s}/images/{i}.jpg": None for s in ("train", "val") for i in range(4)}
    files |= {f"{s}/labels/{i}.txt": LABEL for s in ("train", "val") for i in range(4)}
    source = tree(tmp_path / "s", files)
    with pytest.raises(ConfigError, match=r"the source has its own val split .leave val= out"):
        prepare_yolo(source, tmp_path / "out", val=0.5)
    made = prepare_yolo(source, tmp_path / "out", test=0.5)
    assert {s: len(found) for s, found in read(made).items()} == {"train": 2, "val": 4, "test": 2}
    for wrong in ({"val": 1}, {"val": -0.1}, {"test": float("nan")}, {"val": 0.5, "test": 0.5}):
        with pytest.raises(ConfigError):
            prepare_yolo(source, tmp_path / "o", **wrong)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.parametrize("place", ["x", "images"])
def test_pipes_and_circles_of_links_are_passed_over(tmp_path, place):
    """Also where images and label files are looked for by the names of folders."""
    labels = "x" if place == "x" else "labels"
    source = tree(tmp_path / "s", {f"{place}/a.jpg": None, f"{labels}/a.txt": LABEL, "classes.txt": "cell"})
    for name in ("b.jpg", "b.txt", "obj.names", "c.json", "d.xml"):
        os.mkfifo(source / place / name)
    for name in ("data.yaml", "obj.data", "more.zip", "notes.json"):
        os.mkfifo(source / name)
    (source / place / "up").symlink_to(source)
    (source / place / "here").symlink_to(".")
    (source / "again").symlink_to(source / place)
    (source / "gone").symlink_to(source / "nowhere")
    made = prepare_yolo(source, tmp_path / "out")
    assert read(made)["train"] == {"a.jpg": [("cell", *BOX)]}
    problems = (made.parent / "problems.txt").read_text()
    assert "b.jpg: it is a pipe, a socket or a device; it is passed over" in problems
    assert "here: it leads to a folder that is read already, or holds it; it is read once" in problems
    with pytest.raises(MissingFileError, match="a device or a pipe"):
        prepare_yolo(source / "data.yaml", tmp_path / "other")


@pytest.mark.parametrize("folder", ["", "images/train/"])
def test_images_with_annotations_of_another_kind_are_no_backgrounds(folder, tmp_path, log):
    files = {f"{folder}{name}.jpg": None for name in "abcdef"}
    labels = folder.replace("images", "labels")
    files |= {f"{labels}a.txt": ROW, f"{labels}b.txt": ROW, f"{folder}c.xml": XML.format("x"), f"{labels}d.xml": "<"}
    files |= {f"{folder}e.json": labelme("x"), f"{folder}f.json": "{}"}
    made = prepare_yolo(tree(tmp_path / "s", files), tmp_path / "out", ["x", "y"])
    assert {n[0]: len(rows) for n, rows in read(made)["train"].items()} == {"a": 1, "b": 1, "f": 0}
    assert "2 images have XML annotations and no label file: left out; `prepare voc` reads them" in log.text
    assert "1 image has labelme's JSON and no label file: left out; `prepare labelme` reads them" in log.text
    problems = (made.parent / "problems.txt").read_text()
    for name in "cde":
        assert f"{name}.jpg: it has no label file, but " in problems


def test_the_objects_of_whole_images_are_carried_along(tmp_path, caplog):
    row, tiles = "0 .1 .1 .2 .1 .2 .2 .1 .2\n", [f"P__64__{x}___0" for x in (0, 44)]
    files = {f"images/train/{t}.png": None for t in tiles} | {f"labels/train/{t}.txt": row for t in tiles}
    files |= {"images/val/Q__64__0___0.png": None, "labels/val/Q__64__0___0.txt": row}
    files |= {"whole/train/P.txt": "1 5 6 7 6 7 8 5 8.25 1\n0 1 2 3 2 3 4 1 4 0\n", "whole/val/Q.txt": row}
    prepare_yolo(tree(tmp_path / "s", files), tmp_path / "o", ["a", "b"])
    found = {f.relative_to(tmp_path / "o").as_posix(): f.read_text() for f in (tmp_path / "o" / "whole").rglob("*.txt")}
    assert found == {"whole/train/P.txt": files["whole/train/P.txt"]}
    assert "Q.txt:1: a row has a class" in caplog.text
