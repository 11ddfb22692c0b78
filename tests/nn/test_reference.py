"""Modules and networks of the reference: equal state dicts, and with equal weights equal outputs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.nn.reference import CASES, MODELS, case_of, digest, figures, file_of, image, maps, run, seed, tensors
from ultralytics.cfg.model import load_model_spec
from ultralytics.nn import modules
from ultralytics.nn.tasks import DetectionModel, parse_model

RECORDED = json.loads((Path(__file__).parent / "reference.json").read_text(encoding="utf-8"))
# What takes a second or more.
LARGE = {"yolov3", "yolov3-spp", "yolov3-tiny", "yolov9e", "yolov10x"}


def same(found, wanted):
    """Figures agree to single precision's rounding."""
    assert [f[0] for f in found] == [w[0] for w in wanted]
    np.testing.assert_allclose([f[1:] for f in found], [w[1:] for w in wanted], rtol=1e-4, atol=1e-5)


def alike(one, other):
    for a, b in zip(tensors(one), tensors(other), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda i: f"{i}-{CASES[i][0]}")
def test_a_module_is_the_references(number):
    name, args, shapes = CASES[number]
    wanted = RECORDED["modules"][number]
    module = case_of(modules, name, args)
    assert wanted["name"] == name
    assert digest(module) == {k: wanted[k] for k in ("tensors", "parameters", "state")}
    same(figures(run(module, shapes)), wanted["out"])


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda i: f"{i}-{CASES[i][0]}")
def test_a_fused_module_gives_the_same(number):
    name, args, shapes = CASES[number]
    module = case_of(modules, name, args)
    before = run(module, shapes)
    net = DetectionModel.fuse(module)
    assert not any(isinstance(m, modules.Conv) and isinstance(m.bn, nn.BatchNorm2d) for m in net.modules())
    assert not any(isinstance(m, modules.RepConv) and hasattr(m, "conv1") for m in net.modules())
    alike(run(net, shapes), before)
    DetectionModel.fuse(net)  # a second time
    alike(run(net, shapes), before)


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda i: f"{i}-{CASES[i][0]}")
def test_every_parameter_learns(number):
    name, args, shapes = CASES[number]
    module = case_of(modules, name, args).train()
    if not any(True for _ in module.parameters()):
        return
    sum(t.square().sum() for t in tensors(module(maps(shapes)))).backward()
    missed = [k for k, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert not missed


def slow_if(slow, *value):
    return pytest.param(*value, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize(
    ("name", "letter"),
    [
        slow_if(letter != (letters or [""])[0] or name in LARGE, name, letter)
        for name, (letters, _) in MODELS.items()
        for letter in letters or [""]
    ],
)
def test_a_networks_state_dict_is_the_references(name, letter):
    wanted = RECORDED["models"][f"{name} {letter}".strip()]
    net = nn.Module()
    with torch.device("meta"):
        net.model = parse_model(load_model_spec(file_of(name, letter)))[0]
    assert digest(net) == {k: wanted[k] for k in ("tensors", "parameters", "state")}


@pytest.mark.parametrize(
    "name",
    [slow_if(name in LARGE, name) for name, (_, size) in MODELS.items() if size],
)
def test_a_networks_output_is_the_references(name):
    letters, size = MODELS[name]
    wanted = RECORDED["models"][f"{name} {letters[:1]}".strip()]
    net = DetectionModel(file_of(name, letters[:1]), verbose=False)
    assert net.stride.tolist() == wanted["stride"]
    seed(net).eval()
    with torch.no_grad():
        out = net(image(size))
        same(figures(out), wanted["out"])
        parameters, count = wanted["fused"]
        fused = net.fuse()
        assert sum(p.numel() for p in fused.parameters()) == parameters
        assert len(fused.state_dict()) == count
        assert fused.is_fused()
        # An end-to-end head's order is that of near-equal scores.
        alike(fused(image(size)) if "v10" not in name else fused(image(size))[1], out if "v10" not in name else out[1])
