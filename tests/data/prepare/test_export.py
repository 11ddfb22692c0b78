import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.helpers.tasks import class_folders
from ultralytics.cfg.dataset import load_dataset
from ultralytics.cli import main
from ultralytics.data.prepare import export_coco, names, prepare_bccd, prepare_coco
from ultralytics.data.scan import scan
from ultralytics.utils.errors import ConfigError, DatasetError, UserError
from ultralytics.utils.images import imwrite


def dataset(root, images, classes=("a", "b", "c")):
    """name → (height, width, label text, ignore text); the dataset's YAML, all of it val."""
    for name, (h, w, labels, ignored) in images.items():
        imwrite(root / "images" / "val" / name, np.zeros((h, w, 3), np.uint8))
        for kind, text in (("labels", labels), ("ignore", ignored)):
            if text is not None:
                file = (root / kind / "val" / name).with_suffix(".txt")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
    file = root / "data.yaml"
    file.write_text(json.dumps({"train": "images/val", "val": "images/val", "names": list(classes)}))
    return file


def again(data, top):
    """Exported and prepared again: the labels before and after."""
    out = export_coco(data, top / "val.json")
    made = prepare_coco(out, top / "again", [data.parent / "images" / "val", "link"])
    return [scan(load_dataset(y).split("val"), load_dataset(y).nc) for y in (data, made)]


def assert_equal(before, after):
    assert [Path(f).name for f in before.im_files] == [Path(f).name for f in after.im_files]
    assert before.cls.tobytes() == after.cls.tobytes()
    assert before.bboxes.tobytes() == after.bboxes.tobytes()
    for i in range(len(before)):
        assert before.ignored(i).tobytes() == after.ignored(i).tobytes()


@st.composite
def inside(draw):
    """A box inside the picture, in the precision of some tool."""
    w, h = (draw(st.floats(1e-4, 1)) for _ in range(2))
    x, y = (draw(st.floats(side / 2, 1 - side / 2)) for side in (w, h))
    text = draw(st.sampled_from(["{:.6f}", "{:.10g}", "{!r}", "{:.4f}"]))
    values = [text.format(v) for v in (x, y, w, h)]
    return " ".join(values)


def in_ten_digits(box):
    """As it is written; rows that are equal then are one."""
    return " ".join(f"{float(v):.10g}" for v in box.split())


@settings(max_examples=20)
@given(
    st.lists(
        st.tuples(
            st.integers(10, 60), st.integers(10, 60),
            st.lists(st.tuples(st.integers(0, 2), inside()), max_size=6),
            st.lists(st.tuples(st.sampled_from("012*"), inside(), st.sampled_from(["", " crowd"])), max_size=4),
        ),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_the_way_there_and_back_keeps_every_bit(images):
    assume(any(rows for _, _, rows, _ in images))
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        described = {
            f"{i}.bmp": (
                h, w, "".join(f"{c} {b}\n" for c, b in {(c, in_ten_digits(b)): (c, b) for c, b in rows}.values()),
                "".join(f"{c} {b}{crowd}\n" for c, b, crowd in ignored) or None,
            )
            for i, (h, w, rows, ignored) in enumerate(images)
        }  # fmt: skip
        assert_equal(*again(dataset(top / "s", described), top))


def test_real_labels_keep_every_bit(shared, tmp_path):
    made = prepare_bccd(shared / "data" / "bccd", tmp_path / "bccd", images="link")
    assert_equal(*again(made, tmp_path))


def test_coco_labels_keep_every_bit(shared, tmp_path):
    source = shared / "data" / "coco128-val"
    [data] = source.glob("*.yaml")
    out = export_coco(data, tmp_path / "val.json")
    made = prepare_coco(out, tmp_path / "again", source / "images" / "val2017")
    before, after = (scan(load_dataset(y).split("val"), 80, cache_dir=tmp_path) for y in (data, made))
    assert_equal(before, after)
    document = json.loads(out.read_text())
    assert [c["id"] for c in document["categories"]] == list(names.COCO_IDS)
    assert [i["id"] for i in document["images"]] == [int(Path(f).stem) for f in before.im_files]


def test_what_is_written(tmp_path):
    ignored = "1 0.5 0.5 0.2 0.4\n2 0.5 0.5 0.4 0.4 crowd\n* 0.25 0.5 0.5 1 crowd\n* 0.25 0.5 0.5 0.5\n"
    images = {
        "x/12.bmp": (50, 100, "1 0.5 0.5 0.25 0.5\n0 0.1 0.1 0.3 0.1 0.3 0.5\n", ignored),
        "x/b.bmp": (50, 100, "", None),
    }
    document = json.loads(export_coco(dataset(tmp_path / "s", images), tmp_path / "o.json").read_text())
    assert document["images"] == [
        {"id": 1, "file_name": "x/12.bmp", "width": 100, "height": 50},
        {"id": 2, "file_name": "x/b.bmp", "width": 100, "height": 50},
    ]
    assert document["categories"] == [{"id": i, "name": n} for i, n in enumerate("abc")]
    first, polygon, difficult, crowd, *regions = document["annotations"]
    assert first == {
        "id": 1, "image_id": 1, "category_id": 1, "bbox": [37.5, 12.5, 25, 25], "area": 625, "iscrowd": 0
    }  # fmt: skip
    np.testing.assert_allclose(polygon["bbox"], [10, 5, 20, 20], rtol=1e-12)
    assert (difficult["iscrowd"], difficult["difficult"], difficult["category_id"]) == (1, 1, 1)
    assert (crowd["iscrowd"], "difficult" in crowd, crowd["category_id"]) == (1, False, 2)
    assert [(r["category_id"], r["any_class"], r.get("difficult", 0)) for r in regions] == [
        *((c, 1, 0) for c in range(3)), *((c, 2, 1) for c in range(3))
    ]  # fmt: skip
    assert all(r["iscrowd"] == 1 for r in regions)


def test_numbers_are_names_where_these_are_numbers(tmp_path):
    images = {f"{n}.bmp": (20, 20, "", None) for n in ("000000000042", "7")}
    document = json.loads(export_coco(dataset(tmp_path / "s", images), tmp_path / "o.json").read_text())
    assert [i["id"] for i in document["images"]] == [42, 7]
    images = {f"{n}.bmp": (20, 20, "", None) for n in ("042", "42")}
    document = json.loads(export_coco(dataset(tmp_path / "t", images), tmp_path / "p.json").read_text())
    assert [i["id"] for i in document["images"]] == [1, 2]


def test_what_cannot_be_exported_is_told(tmp_path, log):
    images = {"a.bmp": (20, 20, "9 0.5 0.5 0.1 0.1\n", None), "b.bmp": (20, 20, "0 x 0.5 0.1 0.1\n", None)}
    data = dataset(tmp_path / "s", images)
    with pytest.raises(DatasetError, match=r"a\.txt: class id 9 is out of range"):
        export_coco(data, tmp_path / "o.json")
    assert not (tmp_path / "o.json").exists()
    (tmp_path / "s" / "labels" / "val" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (tmp_path / "s" / "images" / "val" / "c.jpg").write_text("no picture")
    document = json.loads(export_coco(data, tmp_path / "o.json").read_text())
    assert len(document["images"]) == 1
    assert "b.txt:1: 'x' is not a number" in log.text
    assert "c.jpg: cannot be decoded" in log.text
    with pytest.raises(ConfigError, match="already exists"):
        export_coco(data, tmp_path / "o.json")
    export_coco(data, tmp_path / "o.json", overwrite=True)
    with pytest.raises(ConfigError, match="folder does not exist"):
        export_coco(data, tmp_path / "gone" / "o.json")
    with pytest.raises(UserError, match="no split 'test'"):
        export_coco(data, tmp_path / "p.json", "test")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o.json", "s"]


def test_class_folders_have_no_instances(tmp_path):
    data = class_folders(tmp_path / "data")
    yaml = tmp_path / "data.yaml"
    yaml.write_text("path: data\ntrain: train\nval: val\ntask: classify\nnames: [dark, grey, light]\n")
    for source in (data, yaml):
        with pytest.raises(ConfigError, match="in class folders nothing has a place"):
            export_coco(source, tmp_path / "o.json")
    assert not (tmp_path / "o.json").exists()


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset(tmp_path / "s", {"a.bmp": (20, 20, "0 0.5 0.5 0.1 0.1\n", None)})
    assert main(["export-coco", "data=s/data.yaml", "out=o.json"]) == 0
    assert "written: o.json" in capsys.readouterr().out
    assert main(["prepare", "coco", "source=[o.json]", "images=[s/images/val,link]", "out=again"]) == 0
    assert "ready: data=again/data.yaml" in capsys.readouterr().out
    for words, message in (
        (["data=s/data.yaml"], "out is missing"),
        (["out=p.json"], "data is missing"),
        (["data=s/data.yaml", "out=o.json"], "already exists"),
        (["data=s/data.yaml", "out=p.json", "spilt=val"], "did you mean 'split'"),
    ):
        assert main(["export-coco", *words]) == 2
        assert message in capsys.readouterr().err
    assert main(["export-coco", "--help"]) == 0
    assert "overwrite" in capsys.readouterr().out


def test_numbers_between_two_floats_do_not_slip(tmp_path):
    """Written with 17 digits, a width may lie so near the middle of two float32 that ten digits are the other one."""
    step = float(np.spacing(np.float32(0.3)))
    middle = float(np.float32(0.3)) + step / 2
    slip = next(v for k in range(1, 2000) if (v := middle + k * 1e-13) and np.float32(v) != np.float32(f"{v:.10g}"))
    images = {"a.bmp": (33, 47, f"0 0.5 0.5 {slip!r} {slip!r}\n", None)}
    assert_equal(*again(dataset(tmp_path / "s", images), tmp_path))


def test_a_name_that_is_no_text_is_left_out_and_named(tmp_path, log):
    rows = "0 0.5 0.5 0.5 0.5\n"
    file = dataset(tmp_path / os.fsdecode(b"d\xff"), {"a.jpg": (20, 30, rows, None)})
    odd = file.parent / "images" / "val" / os.fsdecode(b"b\xff.jpg")
    try:
        odd.write_bytes((odd.parent / "a.jpg").read_bytes())
    except OSError:
        pytest.skip("this file system refuses such names")
    out = export_coco(file, tmp_path / "v.json")
    assert [i["file_name"] for i in json.loads(out.read_text(encoding="utf-8"))["images"]] == ["a.jpg"]
    assert "b\\udcff.jpg: its name is not text" in log.text
    assert main(["export-coco", f"data={file}", f"out={tmp_path / 'w.json'}"]) == 0


def test_every_box_is_exported_to_a_millionth_of_a_pixel(tmp_path):
    """Ignored ones too, and those half-way between two float32."""
    rng = np.random.default_rng(0)
    boxes = [[*rng.uniform(0.4, 0.6, 2), *rng.uniform(0.1, 0.3, 2)] for _ in range(40)]
    half = 0.5 + (2 * rng.integers(0, 10**6, 40) + 1) * 2.0**-25
    for box, value, shift in zip(boxes, half, (1e-12, -1e-12) * 20, strict=True):
        box[0] = value + shift
    rows = "".join("0 " + " ".join(f"{v:.17g}" for v in box) + "\n" for box in boxes)
    data = dataset(tmp_path / "d", {"a.png": (2000, 3000, rows, rows)})
    out = export_coco(data, tmp_path / "v.json")
    found = [a["bbox"] for a in json.loads(out.read_text())["annotations"]]
    x, y, w, h = (np.array(boxes) * (3000, 2000, 3000, 2000)).T
    wanted = np.stack([x - w / 2, y - h / 2, w, h], 1)
    np.testing.assert_allclose(found, np.concatenate([wanted, wanted]), rtol=0, atol=1e-6)
    assert_equal(*again(data, tmp_path))
