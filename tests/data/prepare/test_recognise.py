import json
import re
import shutil

import pytest

from tests.helpers.sources import BOX, COCO, KITTI, READERS, YOURS, labelme, read, tree
from ultralytics.data.prepare import (
    prepare_auto,
    prepare_voc,
    prepare_yolo,
)
from ultralytics.data.prepare.recognise import KINDS, judge_data, judge_rows, recognise
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError

JSONS = {
    "results": [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "score": 0.5}],
    "bdd100k": [{"name": "a.jpg", "labels": [{"category": "car", "box2d": {"x1": 1, "y1": 1, "x2": 2, "y2": 2}}]}],
    "label studio": [{"id": 1, "data": {"image": "a.jpg"}, "annotations": [{"result": []}]}],
    "via": {"a.jpg123": {"filename": "a.jpg", "size": 123, "regions": []}},
    "supervisely": {"size": {"height": 50, "width": 100}, "objects": [{"classTitle": "cell"}], "tags": []},
    "createml": [{"image": "a.jpg", "annotations": [{"label": "cell", "coordinates": {"x": 1, "y": 1}}]}],
    "labelbox": [{"data_row": {"external_id": "a.jpg"}}],
    "cityscapes": {"imgHeight": 50, "imgWidth": 100, "objects": []},
}
TEXTS = {
    "yolo": "0 0.5 0.5 0.1 0.1\n", "kitti": KITTI.format("Car"), "visdrone": "1,2,3,4,1,4,0,0\n",
    "mot": "1,1,10,10,20,20,1,-1,-1,-1\n", "dota": "imagesource:GoogleEarth\ngsd:0.1\n",
    "detections": "0 .5 .5 .1 .1 .9",
    None: "just words\n",
}  # fmt: skip


def test_kinds_of_files():
    assert {k: judge_data(data) for k, data in JSONS.items()} == {k: k for k in JSONS}
    assert judge_data(COCO) == "coco"
    assert judge_data(json.loads(labelme("cell"))) == "labelme"
    assert {judge_data(d) for d in ([], {}, 3, None, "text", [1, 2], [[]], {"a": []})} == {None}
    assert {k: judge_rows(text) for k, text in TEXTS.items()} == {k: k for k in TEXTS}
    assert judge_rows("1 0.1 0.1 0.5 0.1 0.5 0.5\n") == "yolo"
    assert judge_rows("1.0 2.0 3.0 4.0 5.0 6.0 7.0 8.0 plane 0\n") == "dota"
    assert judge_rows("") is None
    assert all(kind.prepare or kind.hint for kind in KINDS.values())


@pytest.mark.parametrize("kind", YOURS)
def test_every_kind_names_every_other_and_its_command(tmp_path, kind):
    source = tree(tmp_path / "s", YOURS[kind])
    assert next(iter(recognise([source]))) == kind
    for other, prepare in READERS.items():
        if other == kind:
            made = prepare(source, tmp_path / "out")
            assert read(made)["train"] == {"a.jpg": [("cell", *BOX)]}
        else:
            with pytest.raises(DatasetError) as caught:
                prepare(source, tmp_path / "other")
            assert f"the source contains {KINDS[kind].what} (" in str(caught.value)
            assert f"not {KINDS[other].what}" in str(caught.value)
            assert f"{kind} source=" in caught.value.hint
    assert read(prepare_auto(source, tmp_path / "auto")) == read(tmp_path / "out" / "data.yaml")


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        *((f"{k.replace(' ', '_')}.json", json.dumps(data), k) for k, data in JSONS.items()),
        ("annotations.xml", "<annotations><image name='a.jpg'/></annotations>", "cvat"),
        ("boxes.xml", "<dataset><images/></dataset>", "dlib"),
        ("train.csv", "filename,xmin,ymin,xmax,ymax,class\n", "csv"),
        ("cells.tfrecord", b"\0\1", "tfrecord"),
        ("train-00000.parquet", b"PAR1", "parquet"),
        ("a.jsonl", "{}\n{}\n", "jsonl"),
        ("lines.json", "{}\n{}\n", "jsonl"),
        ("gt/gt.txt", TEXTS["mot"], "mot"),
    ],
)
def test_what_is_not_read_is_called_what_it_is(tmp_path, name, text, kind):
    source = tree(tmp_path / "s", {"images/a.jpg": None, name: text})
    for prepare in (*READERS.values(), prepare_auto):
        with pytest.raises(DatasetError) as caught:
            prepare(source, tmp_path / "out")
        assert f"the source contains {KINDS[kind].what} (" in str(caught.value), prepare
        assert caught.value.hint == KINDS[kind].hint


def test_an_archive_and_what_lies_beside(tmp_path):
    source = tree(tmp_path / "s", {"README.md": "", "x/a.jpg": None, "x/a.json": labelme("cell")})
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", source)
    with pytest.raises(
        DatasetError, match=r"packed\.zip: the source contains labelme JSON \(a\.json\), not Pascal VOC XML"
    ) as caught:
        prepare_voc(packed, tmp_path / "out")
    assert ".making" not in str(caught.value)
    with pytest.raises(
        DatasetError, match=r"packed\.zip: the source contains labelme JSON \(a\.json\), not YOLO labels"
    ):
        prepare_yolo(packed, tmp_path / "out")
    with pytest.raises(DatasetError, match="this is an archive"):
        prepare_auto(packed, tmp_path / "out")
    with pytest.raises(MissingFileError, match="no annotations of a known kind"):
        prepare_auto(tree(tmp_path / "none", {"a.jpg": None, "README.txt": "hello"}), tmp_path / "out")
    for kind in ("labelme", "voc"):
        one = tree(tmp_path / kind, YOURS[kind]) / ("a.json" if kind == "labelme" else "a.xml")
        for other in READERS.values():  # a file of many is given alone
            with pytest.raises((DatasetError, MissingFileError), match=rf"source={re.escape(str(one.parent))}( |\))"):
                other(one, tmp_path / "out")
    with pytest.raises(ConfigError, match="names lacks cell"):  # what is wrong with a source of the right kind stays
        prepare_voc(tree(tmp_path / "t", YOURS["voc"]), tmp_path / "out", ["dog"])
