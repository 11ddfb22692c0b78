import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from ultralytics import YOLO
from ultralytics.cfg.surgery import insert_rows
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.models.yolo.weights import load_trained
from ultralytics.nn import registry
from ultralytics.nn.plugins import load_plugins
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import MissingFileError, ModelError

CLONE = Path(__file__).resolve().parents[2]
SOURCE = """\
import torch
from torch import nn
from ultralytics.nn.registry import register, same_width

@register(same_width)
class {name}(nn.Module):
    def __init__(self, c1, k=3):
        super().__init__()
        self.conv = nn.Conv2d(c1, c1, k, padding=k // 2, groups=c1)

    def forward(self, x):
        return x + self.conv(x)
"""


def plugin(folder, name):
    file = folder / f"{name.lower()}.py"
    file.write_text(SOURCE.format(name=name), encoding="utf-8")
    return file


def with_plugin(folder, name, model="yolov8.yaml"):
    """A model YAML that names the plugin, and uses it."""
    text = f"plugins: [{name.lower()}.py]\n" + insert_rows(model, 9, f"{name}(5)")
    file = folder / f"{name}.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_yaml_brings_its_plugin_from_beside_it(tmp_path, monkeypatch):
    plugin(tmp_path, "BesideIt")
    file = with_plugin(tmp_path, "BesideIt")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    model = DetectionModel(file, nc=2, verbose=False, scale="n")
    assert type(model.model[10]).__name__ == "BesideIt"
    assert model.model[10].conv.kernel_size == (5, 5)
    assert model.load(DetectionModel("yolov8n.yaml", nc=2, verbose=False)).share == 1


def test_a_plugin_runs_once_and_two_of_one_name_do_not_meet(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        file = tmp_path / folder / "same.py"
        file.write_text(SOURCE.format(name=f"Same{folder.upper()}"), encoding="utf-8")
        assert load_plugins([file, file]) == [str(file), str(file)]
    before = len(sys.modules)
    load_plugins([tmp_path / "a" / "same.py"])
    assert len(sys.modules) == before


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nowhere_to_be_found\n", r"line 1: the plugin fails: ModuleNotFoundError.*nowhere"),
        ("x = 1\nx = 1 / 0\n", r"line 2: the plugin fails: ZeroDivisionError"),
        ("def f(:\n", r"line 1: the plugin fails: SyntaxError"),
        (SOURCE.format(name="Conv"), r"module name 'Conv' is taken"),
    ],
)
def test_a_plugin_that_fails_is_named_with_its_line(tmp_path, source, message):
    file = tmp_path / "bad.py"
    file.write_text(source, encoding="utf-8")
    with pytest.raises(ModelError, match=message) as caught:
        load_plugins([file])
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=message):  # and again: it is not taken for loaded
        load_plugins([file])


def test_a_plugin_that_is_not_there(tmp_path):
    with pytest.raises(MissingFileError, match=r"gone\.py: no such plugin file"):
        load_plugins([tmp_path / "gone.py"])


@pytest.mark.slow
def test_a_weights_file_never_runs_what_it_names(tmp_path, tiny, toy):
    """Its plugins are reported, and only those that the user names are run."""
    mine = plugin(tmp_path, "Trained")
    file = with_plugin(tmp_path, "Trained", tiny)
    keys = {"epochs": 1, "imgsz": 64, "batch": 4, "workers": 0, "plots": False, "device": "cpu", "verbose": False}
    trainer = DetectionTrainer(
        overrides={"model": str(file), "data": str(toy), "project": str(tmp_path / "runs"), **keys}
    )
    trainer.train()
    assert load_checkpoint(trainer.best).plugins == [str(mine)]
    assert "plugins" not in load_checkpoint(trainer.best).spec
    canary = tmp_path / "canary"
    mine.write_text(f"open({str(canary)!r}, 'w')\n" + mine.read_text(encoding="utf-8"), encoding="utf-8")
    command = [sys.executable, "-m", "ultralytics", "info", f"model={trainer.best}", "imgsz=64"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CLONE, check=False)
    assert done.returncode == 2
    assert re.search(r"error: .*unknown module 'Trained'.*plugins=\[.*trained\.py\]", done.stderr)
    assert not canary.exists()
    done = subprocess.run([*command, f"plugins=[{mine}]"], capture_output=True, text=True, cwd=CLONE, check=False)
    assert done.returncode == 0, done.stderr
    assert canary.exists()
    load_trained(trainer.best)


@pytest.mark.slow
def test_the_same_command_goes_on_with_the_plugins_of_its_yaml(tmp_path, tiny, toy, monkeypatch):
    """`resume=auto` in a process that has not loaded them; by its folder alone the user has to name them."""
    plugin(tmp_path, "GoesOn")
    keys = {"epochs": 2, "imgsz": 32, "batch": 4, "workers": 0, "plots": False, "device": "cpu", "verbose": False,
            "data": str(toy), "project": str(tmp_path / "runs"), "name": "x", "resume": "auto"}  # fmt: skip
    keys |= {"model": str(with_plugin(tmp_path, "GoesOn", tiny)), "preflight": False}

    def stop(trainer):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        DetectionTrainer(overrides=keys, _callbacks={"on_fit_epoch_end": [stop]}).train()
    monkeypatch.setattr(registry, "_OFFERED", [])
    monkeypatch.delitem(registry._MODULES, "GoesOn")
    for name in [n for n in sys.modules if n.startswith("ultralytics_plugin_goeson")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModelError, match=r"unknown module 'GoesOn'.*plugins=\[.*goeson\.py\]"):
        DetectionTrainer(overrides={"resume": str(tmp_path / "runs" / "x")}).train()
    trainer = DetectionTrainer(overrides=keys)
    trainer.train()
    assert trainer.args.plugins == [str(tmp_path / "goeson.py")]
    assert len(trainer.csv.read_text(encoding="utf-8").splitlines()) == 3


@pytest.mark.slow
def test_the_documented_example_works_under_torchrun(tmp_path):
    """The complete example of docs/model-yaml.md, as a user would copy it."""
    text = (CLONE / "docs" / "model-yaml.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", text, re.DOTALL))
    assert set(blocks) == {"my_attention.py", "yolov8-mine.yaml"}
    assert len(blocks["my_attention.py"].splitlines()) <= 32
    for name, content in blocks.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert yaml.safe_load(blocks["yolov8-mine.yaml"])["plugins"] == ["my_attention.py"]
    model = YOLO(tmp_path / "yolov8-mine.yaml", scale="n").model
    assert model(torch.zeros(1, 3, 64, 96))[0].shape[0] == 1
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "ultralytics"]
    words = ["info", f"model={tmp_path / 'yolov8-mine.yaml'}", "imgsz=64", "scale=n"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, cwd=CLONE, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("MACs, ") >= 2
