"""No weights file runs code, whatever command it is given to: one line, exit code 2, in bounded time and memory."""

import copy
import math
import random
import sys

import pytest
import torch

from tests.helpers.hostile import hostile
from tests.helpers.watching import check, watched
from ultralytics.cfg.config import get_cfg
from ultralytics.engine.weights.checkpoint import save_checkpoint
from ultralytics.models.yolo.weights import load_trained
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import UserError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits and memory are read as on Linux")


def test_no_file_runs_code(tmp_path, toy):
    """All kinds of calls and a part of the rest; and what sound files name is not run either."""
    canary = tmp_path / "canary"
    files = hostile(tmp_path, canary)
    assert len(files) > 150
    quick = {k: p for i, (k, p) in enumerate(files.items()) if k.startswith("calls") or i % 4 == 0}
    quick = {k: p for k, p in quick.items() if "five million" not in k and "deep" not in k and "bomb" not in k}
    sound = {f"sound{nested}": naming(tmp_path, toy, nested) for nested in (False, True)}
    only = {k: ["python"] for k in quick if not k.startswith("fields")}
    rows = watched(tmp_path, quick | sound, [["python"], ["train", "resume=FILE"]], only)
    check([row for row in rows if row["file"] not in sound], canary)
    named = [(row["file"], row["code"], row["events"], row["err"]) for row in rows if row["file"] in sound]
    assert [code for _, code, _, _ in named] == [0, 0, 2, 2], named  # the optimiser's state is not this network's
    assert not any(events for _, _, events, _ in named), named
    assert "does not fit the run" in named[-1][-1]


def places(value, path=()):
    """Every place in nested data, as keys from the top."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*path, key)
        yield from places(part, (*path, key))


def test_any_value_in_any_place_is_a_model_or_one_line(tmp_path):
    """Rows, names, scales and arguments of an own file, one of them replaced by something else."""
    rng = random.Random(0)
    rows = {**DetectionModel("yolov8n-fla.yaml", nc=2, verbose=False).yaml, "scales": {"n": [0.1, 0.06, 64]}}
    model = DetectionModel(rows, verbose=False)
    data = {"model": model.yaml, "names": {0: "a", 1: "b"}, "train_args": {"imgsz": 64}}
    values = [None, True, -1, 0, 10**30, 1.5, math.nan, math.inf, "x", "nn.Conv2d", [], {}, [[0]], {"k": -1}, [None, 2]]
    cases = [(("model", "head", 0, 3, 1), 0)]  # a scale factor of 0
    found = list(places(data))
    cases += [(rng.choice(found), rng.choice(values)) for _ in range(40)]
    for path, value in cases:
        changed = copy.deepcopy(data)
        inner = changed
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        save_checkpoint(tmp_path / "a.pt", {**changed, "ema": model.state_dict()})
        try:
            load_trained(tmp_path / "a.pt")
        except UserError as e:
            message = str(e)
        else:
            message = ""
        assert "\n" not in message, (path, value)


@pytest.mark.slow
def test_no_file_runs_code_in_any_command(tmp_path, toy, tiny):
    canary = tmp_path / "canary"
    (tmp_path / "files").mkdir()
    base = [
        f"data={toy}",
        "imgsz=64",
        "batch=4",
        "workers=0",
        "device=cpu",
        f"project={tmp_path / 'runs'}",
        "plots=False",
    ]
    edited = ["module=FLABlock", f"out={tmp_path / 'new.yaml'}"]
    commands = [
        ["train", "model=FILE", *base, "epochs=1"],
        ["train", "pretrained=FILE", f"model={tiny}", *base, "epochs=1"],
        ["train", "resume=FILE"],
        ["check", "model=FILE", *base],
        ["check", "pretrained=FILE", f"model={tiny}", *base],
        ["val", "model=FILE", *base],
        ["predict", "model=FILE", f"source={toy.parent / 'images' / 'val'}", f"project={tmp_path / 'runs'}"],
        ["info", "model=FILE"],
        ["info", "model=FILE", "--json"],
        ["insert", "model=FILE", "after=3", *edited],
        ["replace", "model=FILE", "rows=3", *edited],
        ["remove", "model=FILE", "rows=3", edited[1]],
        ["python"],
        ["load", str(tiny)],
    ]  # fmt: skip
    check(watched(tmp_path, hostile(tmp_path / "files", canary), commands), canary)


def naming(folder, toy, nested):
    """A sound checkpoint of a run that names a plugin, and with `nested` a recipe that names one. A data set's archive
    could bring both files along."""
    plugin, recipe = folder / "evil.py", folder / "evil.yaml"
    plugin.write_text(f"open({str(folder / 'canary')!r}, 'w')\n")
    recipe.write_text(f"plugins: [{plugin}]\n")
    model = DetectionModel("yolov8n.yaml", nc=3, verbose=False)
    spec = {**model.yaml, "plugins": [str(plugin)], "yaml_file": str(folder / "x.yaml")}
    args = {"plugins": [str(plugin)], "epochs": 2, "plots": False, "data": str(toy)} | (
        {"cfg": str(recipe)} if nested else {}
    )
    state = {
        "model": spec,
        "names": dict(enumerate(("red", "绿", "blue"))),
        "ema": model.state_dict(),
        "train_args": args,
    }
    state |= {"format": "ultralytics-fla", "format_version": 1, "weights": model.state_dict(), "epoch": 0}
    state |= {"optimizer": {"state": {}, "param_groups": []}, "optimizer_name": "AdamW"}
    state |= {"asked": {"plugins": [str(plugin)], "cfg": str(recipe)}}
    file = folder / f"run{nested}" / "weights" / "last.pt"
    file.parent.mkdir(parents=True)
    torch.save(state, file)
    get_cfg(None, {"plugins": [str(plugin)], "data": str(toy)}).save_yaml(file.parent.parent / "args.yaml")
    return file
