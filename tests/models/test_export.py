"""Weights written for ultralytics 8.2.103: the layout, and what cannot go."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import write_toy
from ultralytics import REFERENCE_VERSION, YOLO
from ultralytics.cli import main
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.engine.weights.inert import InertRecord, read_inert
from ultralytics.models.yolo.export import KNOWN, export_weights
from ultralytics.nn.tasks import NETWORKS, DetectionModel
from ultralytics.utils.errors import UserError

HEADS = {"Segment": "seg", "Pose": "pose", "OBB": "obb", "Classify": "cls"}
NET = """
nc: 3
scales: {n: [0.33, 0.0625, 128]}
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 3, C2f, [128, True]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 1, SPPF, [128, 5]]
head:
  - [-1, 1, nn.Upsample, [None, 2, nearest]]
  - [[-1, 2], 1, Concat, [1]]
  - [-1, 1, C2f, [64]]
  - [-1, 1, DWConv, [64, 3, 2]]
  - [[7, 8], 1, Detect, [nc]]
"""


@pytest.fixture
def weights(tmp_path):
    """A weights file with other statistics than a fresh network's."""
    file = tmp_path / "net.yaml"
    file.write_text(NET, encoding="utf-8")
    torch.manual_seed(0)
    yolo = YOLO(str(file))
    yolo.model.train()(torch.rand(4, 3, 64, 64))
    yolo.model.names = {0: "red", 1: "绿", 2: "blue"}
    yolo.save(tmp_path / "own.pt")
    return tmp_path / "own.pt"


def records(value):
    """Every InertRecord in it."""
    if isinstance(value, InertRecord):
        yield value
        yield from records(value.state)
    elif isinstance(value, dict):
        for v in value.values():
            yield from records(v)


# Keys of a checkpoint of the reference's after a run, but for its licence; read from one of its files.
KEYS = {
    *("date", "version", "epoch", "best_fitness", "model", "ema", "updates", "optimizer", "train_args"),
    *("train_metrics", "train_results"),
}
MODULE = {
    *("training", "_parameters", "_buffers", "_non_persistent_buffers_set", "_modules", "_backward_hooks"),
    *("_forward_hooks", "_forward_pre_hooks", "_state_dict_hooks", "_load_state_dict_pre_hooks"),
}


def test_the_layout_is_the_references(weights, tmp_path):
    out = export_weights(weights, tmp_path / "theirs.pt")
    data = read_inert(out)
    assert set(data) == KEYS
    assert (data["version"], data["epoch"], data["train_args"]["task"]) == (REFERENCE_VERSION, -1, "detect")
    model = data["model"]
    assert model.path == "ultralytics.nn.tasks.DetectionModel"
    own = ("yaml", "save", "names", "inplace", "end2end", "stride", "nc", "args", "criterion")
    assert set(own) <= set(model.state)
    assert model.get("names") == {0: "red", 1: "绿", 2: "blue"}
    assert model.get("stride").tolist() == [4.0, 8.0]
    assert (model.get("yaml")["ch"], model.get("yaml")["nc"]) == (3, 3)
    found = {r.path for r in records(model)}
    assert {p for p in found if not p.startswith("torch.nn.modules.")} == {"ultralytics.nn.tasks.DetectionModel"} | {
        f"ultralytics.nn.modules.{p}"
        for p in ("conv.Conv", "conv.DWConv", "conv.Concat", "block.C2f", "block.Bottleneck", "block.SPPF", "block.DFL")
    } | {"ultralytics.nn.modules.head.Detect"}
    for record in records(model):
        assert set(record.state) >= MODULE
        assert record.get("training") is False
        assert not any(record.get(k) for k in MODULE if "hooks" in k)
    rows = list(model.get("_modules")["model"].get("_modules").values())
    assert [(r.get("i"), r.get("f")) for r in rows] == [
        *((0, -1), (1, -1), (2, -1), (3, -1), (4, -1), (5, -1), (6, [-1, 2]), (7, -1), (8, -1), (9, [7, 8])),
    ]
    head = rows[-1]
    assert [head.get(k) for k in ("nc", "nl", "reg_max", "no")] == [3, 2, 16, 67]
    assert len({id(r) for r in records(model) if r.path.endswith("SiLU")}) == 1  # one that is shared stays one


@pytest.mark.parametrize("half", [True, False])
def test_what_is_read_back_is_what_was_written(weights, tmp_path, half):
    out = export_weights(weights, tmp_path / "theirs.pt", half=half)
    own, theirs = load_checkpoint(weights), load_checkpoint(out)
    assert theirs.source == "reference"
    assert theirs.names == own.names
    assert set(own.weights) == set(theirs.weights)
    for name, tensor in own.weights.items():
        rounded = tensor.half().float() if half and tensor.is_floating_point() else tensor
        assert torch.equal(theirs.weights[name], rounded), name
    x = torch.rand(1, 3, 64, 96)
    a, b = YOLO(str(weights)), YOLO(str(out))
    if half:
        a.model.load_state_dict(theirs.weights)
    assert torch.equal(a.model.eval()(x)[0], b.model.eval()(x)[0])


CLASSIFIER = """
nc: 3
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, C2f, [16, True]]
  - [-1, 1, ResNetLayer, [16, 8, 2, False, 2]]
head:
  - [-1, 1, Classify, [nc]]
"""


def test_a_classifier_has_the_layout_of_the_references(tmp_path):
    """Its head is the reference's; of its network the reference keeps no number of classes, and BN stays as it is."""
    (tmp_path / "cls.yaml").write_text(CLASSIFIER, encoding="utf-8")
    torch.manual_seed(0)
    yolo = YOLO(str(tmp_path / "cls.yaml"))
    yolo.model.names = {0: "a", 1: "b", 2: "c"}
    yolo.save(tmp_path / "own.pt")
    out = export_weights(tmp_path / "own.pt", tmp_path / "theirs.pt", half=False)
    model = read_inert(out)["model"]
    assert model.path == "ultralytics.nn.tasks.ClassificationModel"
    assert {"yaml", "save", "names", "stride", "args", "task"} <= set(model.state)
    assert not {"nc", "inplace", "end2end", "kpt_shape"} & set(model.state)
    assert (model.get("stride").tolist(), model.get("task"), model.get("save")) == ([1.0], "classify", [])
    head = list(model.get("_modules")["model"].get("_modules").values())[-1]
    assert (head.path, head.get("i"), head.get("f")) == ("ultralytics.nn.modules.head.Classify", 3, [-1])
    assert list(head.get("_modules")) == ["conv", "pool", "drop", "linear"]
    assert {r.get("eps") for r in records(model) if r.path.endswith("BatchNorm2d")} == {1e-5}
    again = YOLO(str(out))
    x = torch.rand(2, 3, 40, 64)
    assert (again.task, again.names) == ("classify", yolo.model.names)
    assert torch.equal(again.model.eval()(x), yolo.model.eval()(x))


def test_every_module_of_the_table_is_of_ours_or_not_there():
    """An attribute of the table that our instances lack would be missed when such a network is written."""
    nets = [DetectionModel("yolov8n.yaml", nc=3, verbose=False)]
    nets += [NETWORKS[head](f"yolov8n-{name}.yaml", nc=3, verbose=False) for head, name in HEADS.items()]
    known = {f"{type(m).__module__}.{type(m).__qualname__}" for m in (net.model[-1] for net in nets)}
    assert known <= set(KNOWN), "every head can go"
    for module in (m for net in nets for m in net.modules()):
        path = f"{type(module).__module__}.{type(module).__qualname__}"
        assert all(hasattr(module, name) for name in KNOWN.get(path, ())), path


def test_what_cannot_go_is_one_line(weights, tmp_path, tiny, capsys):
    YOLO(str(tiny)).save(tmp_path / "fla.pt")

    def message(*words):
        assert main(["export-weights", *words]) == 2
        line = capsys.readouterr().err.strip()
        assert "\n" not in line
        return line

    out = f"out={tmp_path / 'x.pt'}"
    assert "row 10 (FocusedLinearAttention)" in message(f"model={tmp_path / 'fla.pt'}", out)
    assert "format=onnx is not offered" in message(f"model={weights}", out, "format=onnx")
    assert "is not a weights file (give it the ending .pt)" in message(f"model={weights}", f"out={tmp_path / 'x.onnx'}")
    assert "already exists (give another out=, or overwrite=True" in message(f"model={weights}", f"out={weights}")
    (tmp_path / "file").touch()
    assert "choose another out=" in message(f"model={weights}", f"out={tmp_path / 'file' / 'x.pt'}")
    assert "out is missing" in message(f"model={weights}")
    assert not (tmp_path / "x.pt").exists()
    assert main(["export-weights", f"model={weights}", out, "format=ultralytics"]) == 0
    assert (tmp_path / "x.pt").stat().st_size > 10_000


def test_a_full_disk_names_the_option_that_was_given(weights, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ultralytics.utils.files.os.fsync", full)
    out = tmp_path / "out"
    assert main(["export-weights", f"model={weights}", f"out={out / 'x.pt'}"]) == 2
    assert "choose another out=" in capsys.readouterr().err
    with pytest.raises(UserError, match="choose another filename="):
        YOLO(str(weights)).save(out / "y.pt")
    assert main(["save-adapter", f"model={weights}", f"out={out / 'z.pt'}", "rows=[4]"]) == 2
    assert "choose another out=" in capsys.readouterr().err
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("rows", ["abc", "1.5", "[]", "[a]", "true", "[4,true]"])
def test_what_are_not_row_numbers_is_said(rows, tmp_path, capsys):
    assert main(["save-adapter", "model=gone.pt", f"out={tmp_path / 'z.pt'}", f"rows={rows}"]) == 2
    assert "must be row numbers (such as rows=[10,16])" in capsys.readouterr().err


SCRIPT = """
import sys, torch
from ultralytics import YOLO
weights, images, data, out = sys.argv[1:]
yolo = YOLO(weights)
x = torch.load(images)
y = yolo.model.eval()(x)[0]
metrics = yolo.val(data=data, imgsz=64, batch=2, workers=0, device="cpu", plots=False, verbose=False)
found = yolo.predict(x[0].permute(1, 2, 0).mul(255).byte().numpy(), imgsz=64, conf=0.001)
script = yolo.export(format="torchscript", imgsz=64)
torch.save({"y": y.detach(), "names": yolo.names, "n": len(found), "script": script}, out)
"""


@pytest.mark.slow
def test_the_reference_loads_it_and_computes_the_same(weights, tmp_path):
    """Set ULTRALYTICS_REFERENCE to the Python of an environment with ultralytics 8.2.103."""
    python = os.environ.get("ULTRALYTICS_REFERENCE", "")
    if not Path(python).is_file():
        pytest.skip("ULTRALYTICS_REFERENCE names no Python with ultralytics 8.2.103")
    out = export_weights(weights, tmp_path / "theirs.pt")
    x = torch.rand(2, 3, 64, 64)
    torch.save(x, tmp_path / "x.pt")
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    names = {"PYTHONPATH": "", "YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": str(tmp_path / "config")}
    words = [python, "script.py", str(out), "x.pt", str(write_toy(tmp_path)), "y.pt"]
    subprocess.run(words, cwd=tmp_path, env={**os.environ, **names}, check=True, timeout=300, stdout=sys.stderr)
    theirs = torch.load(tmp_path / "y.pt", weights_only=True)
    ours = YOLO(str(out))
    with torch.no_grad():
        y = ours.model.eval()(x)[0]
    assert (y - theirs["y"]).abs().max() <= 1e-6 * y.abs().max()
    assert theirs["names"] == ours.names
    assert (tmp_path / theirs["script"]).is_file()
