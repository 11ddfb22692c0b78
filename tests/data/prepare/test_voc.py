import hashlib
import io
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.sources import BOX, XML, annotation, boxes_in, boxes_of, equal_boxes, exif, read, tree
from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.prepare import format as preparing
from ultralytics.data.prepare import prepare_bccd, prepare_voc
from ultralytics.data.prepare.documents import parse_xml
from ultralytics.data.prepare.voc_xml import VocAnnotation, VocObject, decide_one_based
from ultralytics.data.scan import scan
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError, UserError
from ultralytics.utils.images import imread, imwrite


def voc(root, objects, splits):
    """A VOC folder: image name → [(class, xmin, ymin, xmax, ymax, difficult)]; images are 100×50."""
    for name, found in objects.items():
        imwrite(root / "JPEGImages" / f"{name}.jpg", np.zeros((50, 100, 3), np.uint8))
        body = "".join(
            f"<object><name>{c}</name><difficult>{d}</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for c, x1, y1, x2, y2, d in found
        )
        (root / "Annotations").mkdir(parents=True, exist_ok=True)
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{body}</annotation>")
    (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    for split, names in splits.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names))
    return root


def test_boxes_splits_and_classes_are_kept(tmp_path):
    source = voc(
        tmp_path / "voc",
        {"a": [("dog", 1, 1, 100, 50, 0), ("cat", 11, 6, 20, 15, 0)], "b": [("cat", 1, 1, 10, 10, 1)], "c": []},
        {"train": ["a"], "val": ["b 1", "c"]},
    )
    spec = load_dataset(prepare_voc(source, tmp_path / "out"))
    assert spec.names == {0: "cat", 1: "dog"}
    assert list(spec.splits) == ["train", "val"]
    train = scan(spec.split("train"), 2)
    np.testing.assert_allclose(train.bboxes, [[0.5, 0.5, 1, 1], [0.15, 0.2, 0.1, 0.2]], atol=1e-6)
    assert train.cls.tolist() == [1, 0]
    val = scan(spec.split("val"), 2)
    assert len(val) == 2
    assert len(val.cls) == 0  # difficult objects are neither trained on nor counted
    np.testing.assert_allclose(val.ignored(0), [[0, 0.05, 0.1, 0.1, 0.2, 0]], atol=1e-7)
    assert not (tmp_path / "out" / "ignore" / "train").exists()
    prepare_voc(source, tmp_path / "named", ["dog", "cat"])
    assert load_dataset(tmp_path / "named" / "data.yaml").names == {0: "dog", 1: "cat"}


def test_problems_are_named_and_the_rest_goes_on(tmp_path, log):
    source = voc(
        tmp_path / "voc",
        {"a": [("dog", 5, 5, 20, 20, 0), ("dog", "x", 20, 5, 5, 0)], "bad": [("dog", 1, 1, 9, 9, 0)], "v": [], "n": []},
        {"train": ["a", "bad", "gone", "n"], "val": ["v"]},
    )
    (source / "Annotations" / "bad.xml").write_text("\n\n<annotation>\n<object>")
    (source / "Annotations" / "n.xml").unlink()
    prepare_voc(source, tmp_path / "out")
    for words in (
        "bad.xml:4: not valid XML",
        "gone.*: there is no such image, and no annotation",
        "n.xml: there is no such annotation",
        "a.xml: object 2 (dog) has no usable box",
    ):
        assert words in log.text
    assert len(list((tmp_path / "out" / "images" / "train").iterdir())) == 1
    assert (tmp_path / "out" / "problems.txt").read_text().count("\n") == 4


def test_an_image_that_no_annotation_is_for_is_named(tmp_path, log):
    source = voc(tmp_path / "voc", {n: [("dog", 1, 1, 9, 9, 0)] for n in ("a", "b", "bare", "of_c")}, {})
    for name in ("bare", "of_c"):
        (source / "Annotations" / f"{name}.xml").unlink()
    (source / "Annotations" / "c.xml").write_text("<annotation><filename>of_c.jpg</filename></annotation>")
    prepare_voc(source, tmp_path / "out")
    problems = (tmp_path / "out" / "problems.txt").read_text()
    assert "bare.xml: there is no such annotation" in problems
    assert "of_c.xml: there" not in problems  # another annotation's <filename>
    assert "1 image left out" in log.text
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["left_out"] == 1
    prepare_voc(source, tmp_path / "drawn", val=0.5)
    assert "bare.xml" in (tmp_path / "drawn" / "problems.txt").read_text()
    voc(source, {}, {"train": ["a"], "val": ["b"]})  # lists may leave images out
    prepare_voc(source, tmp_path / "listed")
    assert not (tmp_path / "listed" / "problems.txt").exists()


def test_problems_in_an_archive_are_called_by_its_name(tmp_path, log):
    source = voc(
        tmp_path / "voc", {"a": [("dog", 0, 1, 9, 9, 0)], "b": [("", 1, 1, 9, 9, 0)]}, {"trainval": ["a", "b"]}
    )
    archive = shutil.make_archive(str(tmp_path / "my cells"), "zip", tmp_path, "voc")
    prepare_voc(archive, tmp_path / "out")
    line = f"my cells.zip{os.sep}voc{os.sep}Annotations{os.sep}b.xml: object 1 has no name; it is dropped\n"
    assert (tmp_path / "out" / "problems.txt").read_text() == line
    assert f"my cells.zip{os.sep}voc{os.sep}Annotations{os.sep}a.xml: object 1" in log.text  # the note on corners
    (source / "Annotations" / "a.xml").write_text("<annotation></annotation>")
    archive = shutil.make_archive(str(tmp_path / "none"), "zip", tmp_path, "voc")
    with pytest.raises(DatasetError, match=r"none\.zip.voc") as caught:
        prepare_voc(archive, tmp_path / "other")
    assert ".making" not in str(caught.value)
    assert ".making" not in log.text


def test_classes_of_nearly_one_name_are_pointed_out(tmp_path, log):
    source = voc(tmp_path / "voc", {"a": [("RBC", 1, 1, 9, 9, 0)] * 3 + [("rbc ", 1, 1, 9, 9, 0)]}, {"trainval": ["a"]})
    prepare_voc(source, tmp_path / "out")
    assert "the classes 'rbc' (1) and 'RBC' (3) have nearly the same name: is it a slip?" in log.text


def test_one_file_does_not_flood_the_log(tmp_path, log):
    bad = [("dog", 200 + i, 1, 210 + i, 9, 0) for i in range(30)]
    source = voc(
        tmp_path / "voc", {"a": bad, "b": [("dog", 1, 1, 9, 9, 0), ("", 1, 1, 9, 9, 0)]}, {"trainval": ["a", "b"]}
    )
    prepare_voc(source, tmp_path / "out")
    assert log.text.count("a.xml") == 1
    assert "object 1 (dog) lies outside its image; it is dropped (and 29 more like it in this file)" in log.text
    assert "b.xml: object 2 has no name; it is dropped\n" in log.text
    assert (tmp_path / "out" / "problems.txt").read_text().count("\n") == 31


def test_the_slower_of_two_at_once_is_ready_too(tmp_path, monkeypatch, log):
    source = voc(tmp_path / "voc", {"a": [("dog", 1, 1, 9, 9, 0)], "b": []}, {"trainval": ["a", "b"]})
    original, other = preparing.write_dataset, []

    def slow(*args):
        if other:
            prepare_voc(source, tmp_path / "out", **other.pop())
        return original(*args)

    monkeypatch.setattr(preparing, "write_dataset", slow)
    other.append({})
    assert prepare_voc(source, tmp_path / "out") == tmp_path / "out" / "data.yaml"
    assert "is there already" in log.text
    shutil.rmtree(tmp_path / "out")
    other.append({"names": ["dog", "cat"]})
    with pytest.raises(UserError, match="it was made with names="):
        prepare_voc(source, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir() if "making" in p.name] == []


def test_another_or_changed_source_is_noticed(tmp_path, log):
    source = voc(tmp_path / "voc", {"a": [("dog", 1, 1, 9, 9, 0)], "b": []}, {"trainval": ["a", "b"]})
    prepare_voc(source, tmp_path / "out")
    prepare_voc(source, tmp_path / "out")
    assert "is there already" in log.text
    with pytest.raises(UserError, match=r"it was made from another source: .*voc, not .*JPEGImages"):
        prepare_voc(source / "JPEGImages", tmp_path / "out", one_based=True)
    with pytest.raises(UserError, match=r"it was made from another source: .*voc, not the published set"):
        prepare_voc(out=tmp_path / "out", download=True)
    with pytest.raises(MissingFileError, match="there is no such source"):
        prepare_voc(tmp_path / "gone", tmp_path / "out")
    (source / "JPEGImages" / "readme.md").touch()
    prepare_voc(source, tmp_path / "out")
    voc(source, {"b": [("dog", 1, 1, 9, 9, 0)]}, {})
    with pytest.raises(
        UserError, match="the dataset was made from another source, or the source has changed since"
    ) as caught:
        prepare_voc(source, tmp_path / "out")
    assert "choose another out=, or remove it" in str(caught.value)
    manifest = tmp_path / "out" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "fingerprint": ""}))
    prepare_voc(source, tmp_path / "out")  # as earlier versions made it


def test_an_archive_that_changed_is_noticed(tmp_path):
    source = voc(tmp_path / "voc", {"a": [("RBC", 1, 1, 9, 9, 0)]}, {"trainval": ["a"]})
    archive = shutil.make_archive(str(tmp_path / "cells"), "zip", tmp_path, "voc")
    prepare_bccd(archive, tmp_path / "out")
    os.utime(archive, (1, 1))
    prepare_bccd(archive, tmp_path / "out")
    prepare_bccd(source, tmp_path / "out")  # what it was unpacked to cannot be compared
    voc(source, {"a": [("RBC", 1, 1, 9, 8, 0)]}, {})
    shutil.make_archive(str(tmp_path / "cells"), "zip", tmp_path, "voc")
    with pytest.raises(UserError, match="has changed since"):
        prepare_bccd(archive, tmp_path / "out")


def test_what_is_missing_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match="Annotations"):
        prepare_voc(tmp_path / "empty", tmp_path / "out")
    source = voc(tmp_path / "voc", {"a": [("dog", 1, 1, 9, 9, 0)]}, {"train": ["a"]})
    with pytest.raises(DatasetError, match="the val split is missing"):
        prepare_voc(source, tmp_path / "out")
    voc(source, {}, {"val": ["a"]})
    with pytest.raises(ConfigError, match="names lacks dog"):
        prepare_voc(source, tmp_path / "out", ["cat"])
    with pytest.raises(UserError, match="holds something else"):
        prepare_voc(source, source)


def test_blood_cells_keep_their_splits(shared, tmp_path):
    source = shared / "data" / "bccd"
    if not source.is_dir():
        pytest.skip(f"BCCD is not here ({source})")
    spec = load_dataset(prepare_voc(source, tmp_path))
    assert list(spec.names.values()) == ["Platelets", "RBC", "WBC"]
    counts = {s: len(list(p.iterdir())) for s in spec.splits for p in spec.split(s)}
    assert counts == {"train": 205, "val": 87, "test": 72}
    labels = [scan(spec.split(s), 3) for s in spec.splits]
    assert np.bincount(np.concatenate([x.cls for x in labels]).astype(int)).tolist() == [361, 4155, 372]


def test_every_blood_cell_is_where_the_annotation_says(shared, tmp_path):
    source = shared / "data" / "bccd"
    if not source.is_dir():
        pytest.skip(f"BCCD is not here ({source})")
    made = prepare_bccd(source, tmp_path / "out", images="link")
    for split in ("train", "val", "test"):
        names = (source / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
        wanted = [b for b in boxes_in(source, names) if b[2] <= b[4] and b[3] <= b[5]]
        equal_boxes(boxes_of(made.parent, split), wanted)
    assert load_dataset(made).names == load_dataset("bccd.yaml").names
    manifest = json.loads((made.parent / "manifest.json").read_text())
    assert manifest["objects"] == {"Platelets": 361, "RBC": 4155, "WBC": 372}


def single(tmp_path, xml, name="a", suffix=".jpg", image=None, **keys):
    """A set of one image with this annotation, prepared: its label rows and ignore rows, numbers in pixels."""
    source = tmp_path / "voc"
    for folder in ("Annotations", "JPEGImages"):
        (source / folder).mkdir(parents=True, exist_ok=True)
    (source / "Annotations" / f"{name}.xml").write_bytes(xml if isinstance(xml, bytes) else xml.encode())
    picture = source / "JPEGImages" / f"{name}{suffix}"
    if isinstance(image, bytes):
        picture.write_bytes(image)
    else:
        picture.write_bytes(cv2.imencode(suffix.lower(), np.zeros((50, 100, 3), np.uint8))[1].tobytes())
    prepare_voc(source, tmp_path / "out", **keys)
    [written] = (tmp_path / "out" / "images" / "train").iterdir()
    h, w = imread(written).shape[:2]
    result = []
    for kind in ("labels", "ignore"):
        file = tmp_path / "out" / kind / "train" / f"{written.stem}.txt"
        lines = file.read_text().splitlines() if file.exists() else []
        rows = [[float(v) for v in line.split()[1:5]] for line in lines]
        result.append([[r[0] * w, r[1] * h, r[2] * w, r[3] * h] for r in rows])
    return result


def xyxy(row):
    return pytest.approx([row[0] - row[2] / 2, row[1] - row[3] / 2, row[0] + row[2] / 2, row[1] + row[3] / 2], abs=1e-6)


@pytest.mark.parametrize(
    ("objects", "keys", "wanted", "words"),
    [
        ([("a", 1, 1, 9, 9, "")], {}, [0, 0, 9, 9], "corners count from 1"),
        ([("a", 0, 5, 9, 9, "")], {}, [0, 5, 9, 9], "corners count from 0: 1 box with a corner there, such as"),
        ([("a", 0, 5, 9, 9, "")], {"one_based": True}, [0, 4, 9, 9], "1 box reached beyond its image"),
        ([("a", 3, 5, 9, 9, "")], {"one_based": False}, [3, 5, 9, 9], ""),
        ([("a", 3.25, "5.5e0", 9.75, " 9 ", "")], {}, [2.25, 4.5, 9.75, 9], ""),
        ([("a", -20, 5, 130, 9, "")], {}, [0, 4, 100, 9], "1 box reached beyond its image and was cut"),
        ([("a", 9, 8, 3, 5, "")], {}, [2, 4, 9, 8], "object 1 (a) has its corners swapped (9 8 3 5)"),
        ([("a", 3, 5, 9, 9, ""), ("a", 101, 5, 120, 9, "")], {}, [2, 4, 9, 9], "object 2 (a) lies outside its image"),
        ([("a", 3, 5, 9, 9, ""), ("a", "nan", 5, 12, 9, "")], {}, [2, 4, 9, 9], "object 2 (a) has no usable box"),
        ([("a", 3, 5, 9, 9, ""), ("a", "", 5, 12, 9, "")], {}, [2, 4, 9, 9], "object 2 (a) has no usable box"),
        ([("a", 3, 5, 9, 9, ""), ("", 2, 5, 12, 9, "")], {}, [2, 4, 9, 9], "object 2 has no name; it is dropped"),
        ([("a", 3, 5, 9, 9, ""), ("a", 2, 5, 2, 9, "")], {"one_based": False}, [3, 5, 9, 9], "object 2 (a) has no ar"),
        (
            [("a", 3, 5, 9, 9, "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax>"
              "</bndbox></part>")], {}, [2, 4, 9, 9], "",
        ),
        (
            [("a", 3, 5, 9, 9, "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>")], {},
            [0, 0, 2, 2], "object 1 (a) has 2 boxes; the first is taken",
        ),
    ],
)  # fmt: skip
def test_corners_in_the_wild(tmp_path, log, objects, keys, wanted, words):
    [row], ignored = single(tmp_path, annotation(objects), **keys)
    assert xyxy(row) == wanted
    assert not ignored
    assert words in log.text


def test_the_base_of_the_corners_is_decided_for_the_whole_set(tmp_path):
    source = voc(
        tmp_path / "voc",
        {"a": [("dog", 0, 5, 9, 9, 0)], "b": [("dog", 3, 5, 9, 9, 0)]},
        {"train": ["a"], "val": ["b"]},
    )
    prepare_voc(source, tmp_path / "out")
    equal_boxes(boxes_of(tmp_path / "out", "val", zero_based=True), boxes_in(source, ["b"]))


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        (annotation([("a", 3, 5, 9, 9, "")], filename="other.jpg"), "its <filename> is other.jpg; a.jpg"),
        (annotation([("a", 3, 5, 9, 9, "")], size=(640, 480)), "the size is given as 640x480, the image has 100x50"),
        (annotation([("a", 3, 5, 9, 9, "")], size=None), ""),
        (annotation([("a", 3, 5, 9, 9, "")], size=(0, 0)), ""),
        ("\ufeff" + annotation([("a", 3, 5, 9, 9, "")]), ""),
        ("\n\n<?xml version='1.0'?>" + annotation([("a", 3, 5, 9, 9, "")]), ""),
        (annotation([("a", 3, 5, 9, 9, "")]).replace("<annotation>", '<annotation xmlns="urn:x">'), ""),
        (
            re.sub(r"<(/?)", r"<\1v:", annotation([("a", 3, 5, 9, 9, "")])).replace(
                "<v:annotation>", '<v:annotation xmlns:v="urn:x">'
            ),
            "",
        ),
        (("<?xml version='1.0' encoding='UTF-16'?>" + annotation([("猫", 3, 5, 9, 9, "")])).encode("utf-16"), "猫"),
        (("<?xml version='1.0' encoding='gb2312'?>" + annotation([("猫", 3, 5, 9, 9, "")])).encode("gbk"), "猫"),
        (("<?xml version='1.0' encoding='latin-1'?>" + annotation([("é", 3, 5, 9, 9, "")])).encode("latin-1"), "é"),
    ],
)
def test_annotations_in_the_wild(tmp_path, log, xml, words):
    [row], _ = single(tmp_path, xml)
    assert xyxy(row) == [2, 4, 9, 9]
    assert words in log.text
    if not words:
        assert "problems" not in log.text


@pytest.mark.parametrize("difficult", ["<difficult>1</difficult>", "<difficult> 1\n</difficult>"])
def test_difficult_objects_are_ignored_not_lost(tmp_path, difficult):
    [row], [hidden] = single(tmp_path, annotation([("a", 3, 5, 9, 9, ""), ("b", 1, 1, 4, 4, difficult)]))
    assert xyxy(row) == [2, 4, 9, 9]
    assert xyxy(hidden) == [0, 0, 4, 4]
    assert (tmp_path / "out" / "ignore" / "train" / "a.txt").read_text() == "1 0.02 0.04 0.04 0.08\n"


@pytest.mark.parametrize(("name", "suffix"), [("my image 1", ".jpg"), ("a", ".JPG"), ("猫", ".PNG"), ("a.b", ".jpeg")])
def test_names_in_the_wild(tmp_path, name, suffix):
    single(tmp_path, annotation([("a", 3, 5, 9, 9, "")]), name, suffix)
    assert (tmp_path / "out" / "images" / "train" / f"{name}{suffix}").is_file()
    labels = scan(load_dataset(tmp_path / "out" / "data.yaml").split("train"), 1)
    assert len(labels.cls) == 1


def test_a_list_names_images_with_spaces_and_with_suffixes(tmp_path):
    objects = {n: [("dog", 2, 2, 9, 9, 0)] for n in ("my image 1", "b", "c", "d")}
    source = voc(tmp_path / "voc", objects, {"train": ["my image 1", "b  1", "b 1"], "val": ["c.jpg", "d -1"]})
    prepare_voc(source, tmp_path / "out")
    assert [n for n, *_ in boxes_of(tmp_path / "out", "train")] == ["b", "my image 1"]
    assert [n for n, *_ in boxes_of(tmp_path / "out", "val")] == ["c", "d"]


def test_an_image_is_found_by_its_file_name_and_two_of_a_name_are_told(tmp_path, log):
    source = voc(tmp_path / "voc", {n: [("dog", 2, 2, 9, 9, 0)] for n in "abc"}, {"train": ["a", "b"], "val": ["c"]})
    (source / "JPEGImages" / "a.jpg").rename(source / "JPEGImages" / "IMG_1.jpg")
    (source / "Annotations" / "a.xml").write_text(annotation([("dog", 2, 2, 9, 9, "")], filename="x/IMG_1.jpg"))
    (source / "Annotations" / "b.xml").write_text(annotation([("dog", 2, 2, 9, 9, "")], filename="b.png"))
    imwrite(source / "JPEGImages" / "b.png", np.zeros((50, 100, 3), np.uint8))
    prepare_voc(source, tmp_path / "out")
    assert (tmp_path / "out" / "images" / "train" / "b.png").is_file()
    assert "it has no image of its own name; IMG_1.jpg, its <filename>, is taken" in log.text
    assert "b.jpg and b.png have its name; b.png is taken" in log.text


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        (b"", "a.xml: the file is empty"),
        (b" \n", "a.xml: the file is empty"),
        (b"<annotation>\n\xff</annotation>", "a.xml:2: not valid XML"),
        (b"<?xml version='1.0' encoding='klingon'?><annotation/>", "a.xml: not valid XML"),
        (b"<x>" * 5000 + b"</x>" * 5000, "a.xml: not valid XML: elements are nested too deeply"),
        (b"<?xml version='1.0' encoding='gbk'?><!DOCTYPE a><annotation/>", "a.xml: the file declares a document type"),
        (
            b"<!DOCTYPE l [<!ENTITY a 'lol'>"
            + b"".join(b"<!ENTITY %c '%s'>" % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9))
            + b"]><annotation><object><name>&j;</name></object></annotation>",
            "a.xml: the file declares a document type",
        ),
        (
            "<!DOCTYPE l [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><annotation>&a;</annotation>".encode("utf-16"),
            "a.xml: the file declares a document type",
        ),
    ],
    ids=range(8),
)
def test_an_annotation_that_is_not_read_is_named(tmp_path, log, xml, words):
    source = voc(tmp_path / "voc", {n: [("dog", 2, 2, 9, 9, 0)] for n in "abc"}, {"train": ["a", "b"], "val": ["c"]})
    (source / "Annotations" / "a.xml").write_bytes(xml)
    prepare_voc(source, tmp_path / "out")
    assert words in log.text
    assert [p.name for p in (tmp_path / "out" / "images" / "train").iterdir()] == ["b.jpg"]


@settings(max_examples=80)
@given(st.binary(max_size=60) | st.text(alphabet='<>/annotationbject&;![]"=? é', max_size=80).map(str.encode))
def test_no_annotation_crashes(data):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.xml")
        file.write_bytes(data)
        try:
            parse_xml(file)
        except DatasetError as e:
            line = str(e)
        else:
            return
    assert "a.xml" in line
    assert "\n" not in line


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_follow_a_picture_that_is_turned(tmp_path, log, orientation):
    """A box drawn on the stored picture covers the same pixels after the picture is shown upright."""
    stored = np.zeros((40, 60, 3), np.uint8)
    stored[5:15, 10:30] = 255
    file = io.BytesIO()
    tags = Image.Exif()
    tags[0x0112] = orientation
    Image.fromarray(stored).save(file, "JPEG", exif=tags, quality=95)
    # Only a quarter turn shows in the size; where it does not, boxes are those of the picture as it is shown.
    xml = annotation([("a", 11, 6, 30, 15, "")], size=(60, 40))
    [row], _ = single(tmp_path, xml, image=file.getvalue())
    if orientation in (2, 3, 4):
        assert "turned by its EXIF tag" in log.text
        assert xyxy(row) == [10, 5, 30, 15]
        return
    shown = imread(tmp_path / "out" / "images" / "train" / "a.jpg").max(-1) > 128
    ys, xs = np.nonzero(shown)
    assert xyxy(row) == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    assert ("they are turned with it" in log.text) == (orientation > 4)


def test_boxes_on_the_upright_picture_stay(tmp_path, log):
    [row], _ = single(tmp_path, annotation([("a", 11, 6, 30, 15, "")], size=(40, 60)), image=exif(6))
    assert xyxy(row) == [10, 5, 30, 15]
    assert "problems" not in log.text


@pytest.mark.parametrize("keys", [{}, {"val": 0.25, "seed": 1}])
def test_without_lists_all_images_are_used(tmp_path, log, keys):
    source = voc(tmp_path / "voc", {f"{i:02d}": [("dog", 2, 2, 9, 9, 0)] for i in range(12)}, {})
    spec = load_dataset(prepare_voc(source, tmp_path / "out", **keys))
    counts = {s: len(scan(spec.split(s), 1)) for s in ("train", "val")}
    if keys:
        assert counts == {"train": 9, "val": 3}
        assert "drawn of 12 images: 3 as val (seed 1)" in log.text
        shutil.copytree(source, tmp_path / "elsewhere")
        prepare_voc(tmp_path / "elsewhere", tmp_path / "again", **keys)
        prepare_voc(source, tmp_path / "other", val=0.25, seed=2)
        drawn = [sorted(p.name for p in (tmp_path / o / "images" / "val").iterdir()) for o in ("out", "again", "other")]
        assert drawn[0] == drawn[1] != drawn[2]
    else:
        assert counts == {"train": 12, "val": 12}
        assert "the same images are both train and val" in log.text
        assert not (tmp_path / "out" / "images" / "val").exists()


def test_an_image_in_two_splits_is_told_and_kept_in_both(tmp_path, log):
    source = voc(tmp_path / "voc", {n: [("dog", 2, 2, 9, 9, 0)] for n in "ab"}, {"train": ["a", "b"], "val": ["b"]})
    packed = shutil.make_archive(str(tmp_path / "mine"), "tar", tmp_path, "voc")
    for i, either in enumerate((source, packed)):
        spec = load_dataset(prepare_voc(either, tmp_path / f"{i}"))
        assert [len(scan(spec.split(s), 1)) for s in spec.splits] == [2, 1]
    assert "in more than one split: 1 image, such as b" in log.text


def test_trainval_alone_is_told(tmp_path, log):
    source = voc(
        tmp_path / "voc", {n: [("dog", 2, 2, 9, 9, 0)] for n in "abc"}, {"trainval": ["a", "b"], "test": ["c"]}
    )
    spec = load_dataset(prepare_voc(source, tmp_path / "out"))
    assert {s: len(scan(spec.split(s), 1)) for s in spec.splits} == {"train": 2, "val": 2, "test": 1}
    assert "the same images are both train and val" in log.text


def test_an_archive_is_unpacked_and_the_second_time_nothing_is_done(tmp_path, log):
    source = voc(tmp_path / "voc", {n: [("dog", 2, 2, 9, 9, 0)] for n in "ab"}, {"train": ["a"], "val": ["b"]})
    packed = shutil.make_archive(str(tmp_path / "mine"), "zip", tmp_path, "voc")
    shutil.rmtree(source)
    made = prepare_voc(packed, tmp_path / "out")
    assert not [p for p in tmp_path.rglob(".*") if "labels" not in p.name]
    [entry] = json.loads((tmp_path / "out" / "manifest.json").read_text())["sources"]
    assert entry["sha256"] == hashlib.sha256(Path(packed).read_bytes()).hexdigest()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    assert prepare_voc(packed, tmp_path / "out") == made
    assert "is there already" in log.text
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    with pytest.raises(UserError, match="one_based"):
        prepare_voc(packed, tmp_path / "out", one_based=False)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"images": "move"}, "copy or link"),
        ({"one_based": "yes"}, "one_based=yes"),
        ({"val": 1.5}, "val=1.5"),
        ({"val": 0.5}, "has its own val split"),
        ({"names": ["dog", "dog"]}, "names a class twice"),
    ],
)
def test_wrong_values_are_told(tmp_path, keys, words):
    source = voc(tmp_path / "voc", {n: [("dog", 2, 2, 9, 9, 0)] for n in "ab"}, {"train": ["a"], "val": ["b"]})
    with pytest.raises(ConfigError, match=words):
        prepare_voc(source, tmp_path / "out", **keys)
    assert [p.name for p in tmp_path.iterdir()] == ["voc"]


def test_a_full_disk_names_the_copy_and_not_the_source(tmp_path):
    resource = pytest.importorskip("resource")
    source = voc(tmp_path / "voc", {n: [("a", 1, 1, 50, 50, 0)] for n in "xy"}, {"train": ["x"], "val": ["y"]})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))
    try:
        with pytest.raises(UserError, match=r"out/images/train/x\.jpg: could not be written: File too large"):
            prepare_voc(source, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_names_that_are_no_text_are_drawn_and_written(tmp_path):
    """A part of them as val too."""
    root = voc(tmp_path / "s", {f"a{i}": [("cat", 1, 1, 20, 20, 0)] for i in range(4)}, {})
    for kind in ("Annotations", "JPEGImages"):
        for file in list((root / kind).iterdir()):
            try:
                file.rename(file.with_name(os.fsdecode(b"\xff" + os.fsencode(file.name))))
            except OSError:
                pytest.skip("this file system refuses such names")
    made = prepare_voc(root, tmp_path / "out", val=0.3)
    assert [len(scan(load_dataset(made).split(s), 1)) for s in ("train", "val")] == [3, 1]


def test_a_stray_corner_moves_no_other_box(tmp_path, log):
    """Of many boxes at the pictures' edges, those that begin at 0 must be no fewer than those at 1."""
    objects = [("a", 1, 1, 9, 9, ""), ("a", 1, 5, 9, 9, ""), ("a", 0, 5, 9, 9, "")]
    rows, _ = single(tmp_path, annotation(objects))
    assert [xyxy(r) for r in rows] == [[0, 0, 9, 9], [0, 4, 9, 9], [0, 4, 9, 9]]
    assert "corners count from 1, as of 2 boxes; 1 begin at 0, such as" in log.text
    assert "object 3, and are cut by a pixel (one_based=False" in log.text


@pytest.mark.parametrize(("zeros", "one_based"), [(1, True), (2, True), (3, False)])
def test_a_corner_among_thousands_is_a_stray(zeros, one_based):
    """Where no box is known to begin at 1."""
    boxes = [VocObject(i, "a", False, (0.0 if i < zeros else 7.0, 5.0, 9.0, 9.0)) for i in range(3000)]
    decided, [note] = decide_one_based([VocAnnotation("a", Path("a.xml"), objects=boxes)])
    assert decided == one_based
    assert f"{zeros} b" in note


def test_annotations_beside_the_images_of_each_split(tmp_path, log):
    """As Roboflow exports them; two splits may have images of one name."""
    top = tmp_path / "s" / "export"
    for folder, names in (("train", ["a", "b"]), ("valid", ["a"]), ("test", ["c"])):
        for name in names:
            imwrite(top / folder / f"{name}.jpg", np.zeros((50, 100, 3), np.uint8))
            (top / folder / f"{name}.xml").write_text(annotation([(f"{folder}-{name}", 1, 1, 9, 9, "")]))
    imwrite(top / "train" / "bare.jpg", np.zeros((50, 100, 3), np.uint8))
    (top / "train" / "b.xml").rename(top / "train" / "B2.XML")
    (top / "train" / "B2.XML").write_text(annotation([("train-b", 1, 1, 9, 9, "")], filename="b.jpg"))
    (top / "README.txt").touch()
    for source in (top, tmp_path / "s"):
        made = prepare_voc(source, tmp_path / f"out-{source.name}")
        spec = load_dataset(made)
        assert list(spec.names.values()) == ["test-c", "train-a", "train-b", "valid-a"]
        found = {s: [Path(f).name for f in scan(spec.split(s), 4).im_files] for s in spec.splits}
        assert found == {"train": ["B2.jpg", "a.jpg"], "val": ["a.jpg"], "test": ["c.jpg"]}
        assert (made.parent / "images" / "train" / "a.jpg").is_file()
    assert "bare.jpg: it has no annotation" in log.text
    shutil.rmtree(top / "valid")
    with pytest.raises(DatasetError, match="the val split is missing"):
        prepare_voc(top, tmp_path / "o")
    assert prepare_voc(top, tmp_path / "o", val=0.5).is_file()


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (["a.jpg", "a.xml", "b.PNG", "b.xml"], {"train": ["a.jpg", "b.PNG"]}),
        (["images/a.jpg", "annots/a.xml"], {"train": ["a.jpg"]}),
        (["images/a.jpg", "xmls/a.xml", "masks/a.txt"], {"train": ["a.jpg"]}),
        (["my set/pics/a.jpg", "my set/labels xml/a.xml"], {"train": ["a.jpg"]}),
        (["images/train/a.jpg", "images/train/a.xml", "images/val/a.jpg", "images/val/a.xml"],
         {"train": ["a.jpg"], "val": ["a.jpg"]}),
        (["images/train/a.jpg", "annots/train/a.xml", "images/val/b.jpg", "annots/val/b.xml"],
         {"train": ["a.jpg"], "val": ["b.jpg"]}),
        (["pics/a.jpg", "train/a.xml", "pics/b.jpg", "valid/b.xml"], {"train": ["a.jpg"], "val": ["b.jpg"]}),
        (["train/JPEGImages/a.jpg", "train/Annotations/a.xml", "val/JPEGImages/b.jpg", "val/Annotations/b.xml"],
         {"train": ["a.jpg"], "val": ["b.jpg"]}),
        (["Annotations/train/a.xml", "JPEGImages/train/a.jpg", "Annotations/val/a.xml", "JPEGImages/val/a.jpg",
          "SegmentationClass/train/a.png"], {"train": ["a.jpg"], "val": ["a.jpg"]}),
    ],
)  # fmt: skip
def test_folders_of_any_names(tmp_path, files, splits):
    named = {f: XML.format("cell") if f.endswith(".xml") else "" if f.endswith(".txt") else None for f in files}
    source = tree(tmp_path / "s", named)
    found = read(prepare_voc(source, tmp_path / "out"))
    found.pop("val" if "val" not in splits else "", None)
    assert {s: list(listed) for s, listed in found.items()} == splits
    assert all(rows == [("cell", *BOX)] for listed in found.values() for rows in listed.values())
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "s")
    again = read(prepare_voc(packed, tmp_path / "again"))
    assert {s: again[s] for s in splits} == found


def test_what_is_in_folders_of_any_names_and_is_not_used_is_told(tmp_path, log):
    files = {"xmls/a.xml": XML.format("cell"), "imgs/a.jpg": None, "imgs/bare.jpg": None,
             "xmls/gone.xml": XML.format("x"),
             "other/a.xml": XML.format("cell"), "thumbs/b.jpg": None,
             "xmls/0001.xml": XML.format("cell").replace("<object>", "<filename>C:\\s\\shot.jpg</filename><object>"),
             "imgs/shot.jpg": None}  # fmt: skip
    made = prepare_voc(tree(tmp_path / "s", files), tmp_path / "out")
    assert sorted(read(made)["train"]) == ["0001.jpg", "a.jpg"]
    for words in ("bare.jpg: it has no annotation", "gone.xml: there is no image of its name", "is of the same image",
                  "1 image in folders without an annotated image"):  # fmt: skip
        assert words in log.text


def test_several_folders_with_lists_are_not_read_as_one(tmp_path):
    for name in ("one", "two"):
        voc(tmp_path / "s" / name, {"a": [("dog", 1, 1, 9, 9, 0)]}, {"trainval": ["a"]})
    with pytest.raises(DatasetError, match="the source contains several VOC folders: one, two"):
        prepare_voc(tmp_path / "s", tmp_path / "out")


def test_playing_cards(shared, tmp_path):
    """XML beside images in images/train and images/test, of which val is drawn."""
    source = shared / "data" / "cards" / "images"
    if not source.is_dir():
        pytest.skip("there is no ../shared/data/cards")
    made = prepare_voc(source.parent, tmp_path / "out", images="link", val=0.2)
    found = read(made)
    assert {s: len(listed) for s, listed in found.items()} == {"train": 237, "val": 59, "test": 67}
    assert not (made.parent / "problems.txt").exists()
    written = {(s == "test", name): rows for s, listed in found.items() for name, rows in listed.items()}
    total = 0
    for file in source.glob("*/*.xml"):
        tree_ = parse_xml(file)
        name = tree_.findtext("filename")
        rows = written[file.parent.name == "test", name]
        w, h = (float(tree_.findtext(f"size/{k}")) for k in ("width", "height"))
        for item, (cls, x, y, bw, bh) in zip(tree_.findall("object"), rows, strict=True):
            assert item.findtext("name") == cls
            x1, y1, x2, y2 = (float(item.findtext(f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax"))
            np.testing.assert_allclose(
                [x * w, y * h, bw * w, bh * h],
                [(x1 + x2 - 1) / 2, (y1 + y2 - 1) / 2, x2 - x1 + 1, y2 - y1 + 1],
                atol=1e-5,
            )
            total += 1
    assert total == 670
