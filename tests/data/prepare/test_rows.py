import pytest

from tests.helpers.sources import tree
from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.prepare import export_coco, prepare_coco, prepare_yolo
from ultralytics.utils.errors import ConfigError, DatasetError


def rows(folder, kind="labels"):
    file = folder / kind / "train" / "a.txt"
    return file.read_text().splitlines() if file.is_file() else []


def yolo(top, text, yaml="names: [a]"):
    text_of = {"data.yaml": f"train: images/train\nval: images/train\n{yaml}\n", "labels/train/a.txt": text}
    return tree(top, {"images/train/a.jpg": None, **text_of})


POLYGON = "0 0.1 0.1 0.3 0.1 0.2 0.3"


def test_outlines_stay_and_boxes_among_them_are_ignored(tmp_path):
    source = yolo(tmp_path / "s", f"{POLYGON}\n0 0.5 0.5 0.2 0.2\n0 0.9 0.9 1.05 0.9 1.05 1 0.9 1\n")
    prepare_yolo(source, tmp_path / "o", task="segment")
    assert rows(tmp_path / "o") == [POLYGON, "0 0.9 0.9 1 0.9 1 1 0.9 1"]
    assert rows(tmp_path / "o", "ignore") == ["0 0.5 0.5 0.2 0.2"]
    assert "a.txt:2: it is a box, without outline" in (tmp_path / "o" / "problems.txt").read_text()
    with pytest.raises(DatasetError, match="without outline"):
        prepare_yolo(yolo(tmp_path / "t", "0 0.5 0.5 0.2 0.2\n"), tmp_path / "p", task="segment")


def test_rotated_boxes_are_corners(tmp_path):
    source = yolo(tmp_path / "s", "0 0.5 0.2 0.6 0.4 0.5 0.6 0.4 0.4\n0 0.5 0.5 0.2 0.2\n")
    prepare_yolo(source, tmp_path / "o", task="obb")
    assert rows(tmp_path / "o") == ["0 0.5 0.2 0.6 0.4 0.5 0.6 0.4 0.4", "0 0.4 0.4 0.6 0.4 0.6 0.6 0.4 0.6"]


def test_poses_need_their_shape_and_stay(tmp_path):
    pose = "0 0.5 0.5 0.2 0.2 0.4 0.4 2 1.2 0.5 1"
    source = yolo(tmp_path / "s", f"{pose}\n0 0.6 0.6 0.2 0.2\n", "kpt_shape: [2, 3]\nflip_idx: [1, 0]\nnames: [a]")
    spec = load_dataset(prepare_yolo(source, tmp_path / "o", task="pose"))
    assert (spec.kpt_shape, spec.flip_idx) == ((2, 3), (1, 0))
    assert rows(tmp_path / "o") == ["0 0.5 0.5 0.2 0.2 0.4 0.4 2 0 0 0", "0 0.6 0.6 0.2 0.2 0 0 0 0 0 0"]
    with pytest.raises(DatasetError, match="no YAML of the source says kpt_shape"):
        prepare_yolo(yolo(tmp_path / "t", f"{POLYGON}\n"), tmp_path / "p", task="pose")
    with pytest.raises(ConfigError, match="it was made with task"):
        raise_taken(source, tmp_path / "o")


def raise_taken(source, out):
    """The same source for another task is another dataset."""
    try:
        prepare_yolo(source, out)
    except Exception as e:
        raise ConfigError(str(e)) from None


@pytest.mark.parametrize(("name", "task"), [("coco8-seg", "segment"), ("coco8-pose", "pose"), ("dota8", "obb")])
def test_labels_go_to_coco_and_back_to_the_letter(name, task, tmp_path, shared):
    source = shared / "data" / name
    if not source.is_dir():
        pytest.skip(f"{source} is not there")
    made = prepare_yolo(source, tmp_path / "o", task=task)
    out = export_coco(made, tmp_path / "one.json", "val")
    prepare_coco(out, tmp_path / "p", tmp_path / "o" / "images" / "val", task=task)
    before, after = (
        {f.name: f.read_text() for f in (tmp_path / place).iterdir()} for place in ("o/labels/val", "p/labels/train")
    )
    assert before == after
    assert all(before.values())
