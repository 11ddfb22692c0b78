"""Modules and networks of the reference: equal state dicts, and with equal weights equal outputs."""

import copy
import inspect
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from tests.nn.reference import CASES, MODELS, case_of, digest, figures, file_of, image, maps, run, seed, tensors
from ultralytics.cfg.model import load_model_spec
from ultralytics.nn import modules, registry
from ultralytics.nn.tasks import DetectionModel, parse_model
from ultralytics.utils.errors import ModelError

RECORDED = json.loads((Path(__file__).parent / "reference.json").read_text(encoding="utf-8"))
# What is left to the slow tests: what takes a second or more, and what differs from the others in a level alone.
LARGE = {"yolov3", "yolov3-spp", "yolov3-tiny", "yolov9e", "yolov10x"}


RUN = [name for name, (_, size) in MODELS.items() if size]


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
        slow_if(letter != (letters or [""])[0] or name in LARGE or "-" in name, name, letter)
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
    [slow_if(name in LARGE or name.endswith("p6") or name == "yolov8-ghost-p2", name) for name in RUN],
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


SIGNATURES = {
    "CBAM": "(c1, kernel_size=7)",
    "Conv": "(c1, c2, k=1, s=1, p=None, g=1, d=1, act=True)",
    "Conv2": "(c1, c2, k=3, s=1, p=None, g=1, d=1, act=True)",
    "ConvTranspose": "(c1, c2, k=2, s=2, p=0, bn=True, act=True)",
    "DWConv": "(c1, c2, k=1, s=1, d=1, act=True)",
    "DWConvTranspose2d": "(c1, c2, k=1, s=1, p1=0, p2=0)",
    "Focus": "(c1, c2, k=1, s=1, p=None, g=1, act=True)",
    "GhostConv": "(c1, c2, k=1, s=1, g=1, act=True)",
    "RepConv": "(c1, c2, k=3, s=1, p=1, g=1, d=1, act=True, bn=False, deploy=False)",
    "Bottleneck": "(c1, c2, shortcut=True, g=1, k=(3, 3), e=0.5)",
    "C1": "(c1, c2, n=1)",
    "C2": "(c1, c2, n=1, shortcut=True, g=1, e=0.5)",
    "C2f": "(c1, c2, n=1, shortcut=False, g=1, e=0.5)",
    "C2fCIB": "(c1, c2, n=1, shortcut=False, lk=False, g=1, e=0.5)",
    "C3": "(c1, c2, n=1, shortcut=True, g=1, e=0.5)",
    "RepC3": "(c1, c2, n=3, e=1.0)",
    "HGBlock": "(c1, cm, c2, k=3, n=6, lightconv=False, shortcut=False, act=None)",
    "ResNetLayer": "(c1, c2, s=1, is_first=False, n=1, e=4)",
    "RepNCSPELAN4": "(c1, c2, c3, c4, n=1)",
    "SPPELAN": "(c1, c2, c3, k=5)",
    "CBLinear": "(c1, c2s, k=1, s=1, p=None, g=1)",
    "CIB": "(c1, c2, shortcut=True, e=0.5, lk=False)",
    "Attention": "(dim, num_heads=8, attn_ratio=0.5)",
    "AIFI": "(c1, cm=2048, num_heads=8, dropout=0, act=None, normalize_before=False)",
    "TransformerBlock": "(c1, c2, num_heads, num_layers)",
    "Detect": "(nc=80, ch=())",
    "v10Detect": "(nc=80, ch=())",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_constructors_take_the_references_arguments(name):
    found = inspect.signature(getattr(modules, name)).parameters.values()
    message = ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in found)
    assert f"({message})" == SIGNATURES[name]


# Rows of rare modules, what they are built as, outgoing channels and stride.
ROWS = [
    ([-1, 1, "Focus", [64, 3]], (32, 16, 3), 16, 2),
    ([-1, 1, "ConvTranspose", [64]], (32, 16), 16, 0.5),
    ([-1, 1, "ConvTranspose", [64, 4, 2, 1]], (32, 16, 4, 2, 1), 16, 0.5),
    ([-1, 1, "nn.ConvTranspose2d", [64, 2, 2, 0]], (32, 16, 2, 2, 0), 16, 0.5),
    ([-1, 1, "nn.ConvTranspose2d", [64, 3, 2, 1, 1]], (32, 16, 3, 2, 1, 1), 16, 0.5),
    ([-1, 1, "nn.ConvTranspose2d", [64, 3]], (32, 16, 3), 16, None),  # a border more: no factor
    ([-1, 1, "DWConvTranspose2d", [64, 2, 2]], (32, 16, 2, 2), 16, 0.5),
    ([-1, 1, "nn.MaxPool2d", [2, 2]], (2, 2), 32, 2),
    ([-1, 1, "nn.PixelShuffle", [1]], (1,), 32, 1),
    ([-1, 1, "ADown", [64]], (32, 16), 16, 2),
    ([-1, 1, "SCDown", [64, 3, 2]], (32, 16, 3, 2), 16, 2),
    ([-1, 1, "PSA", [1024]], None, None, None),
    ([-1, 1, "GhostBottleneck", [64, 3, 2]], (32, 16, 3, 2), 16, 2),
    ([-1, 1, "HGStem", [8, 24]], (32, 8, 24), 24, 4),
    ([-1, 6, "HGBlock", [8, 24, 5, True]], (32, 8, 24, 5, 2, True), 24, 1),
    ([-1, 6, "HGBlock", [8, 24]], (32, 8, 24, 3, 2), 24, 1),
    ([-1, 1, "ResNetLayer", [32, 16, 1, True, 1]], (32, 16, 1, True, 1), 16, 4),
    ([-1, 1, "ResNetLayer", [32, 16, 2, False, 2]], (32, 16, 2, False, 2), 64, 2),
    ([-1, 1, "AIFI", [64, 4]], (32, 64, 4), 32, 1),
    ([-1, 1, "CBAM", []], (32,), 32, 1),
    ([-1, 1, "CBAM", [1024]], (32,), 32, 1),
    ([-1, 1, "CBAM", [1024, 3]], (32, 3), 32, 1),
    ([-1, 1, "CBAM", [7]], (32, 7), 32, 1),
    ([-1, 1, "SpatialAttention", [3]], (3,), 32, 1),
    ([-1, 1, "ChannelAttention", [1024]], (32,), 32, 1),
    ([-1, 1, "RepConv", [64, 3, 2]], (32, 16, 3, 2), 16, 2),
    ([-1, 1, "LayerNorm2d", []], (32,), 32, 1),
    ([-1, 1, "Attention", [1024, 4]], (32, 4), 32, 1),
    ([-1, 1, "TransformerBlock", [64, 4, 1]], (32, 16, 4, 1), 16, 1),
    ([-1, 1, "Conv", [64, "(3, 1)", 2]], (32, 16, (3, 1), 2), 16, 2),
]


def parsed(*more):
    data = {
        "nc": 2,
        "scales": {"n": [0.33, 0.25, 1024]},
        "backbone": [*([-1, 1, "Conv", [c, 3, 2]] for c in (64, 64, 128)), *more],
        "head": [[[-1], 1, "Detect", ["nc"]]],
    }
    return parse_model(data)[0][3:-1]


@pytest.mark.parametrize(("row", "args", "channels", "stride"), ROWS, ids=lambda v: v[2] if type(v) is list else "")
def test_rows_are_built_as_the_references_parser_builds_them(row, args, channels, stride):
    if row[2] == "PSA":
        with pytest.raises(ModelError, match=r"row 3 \(PSA\).*it keeps its channels.*256 of 32"):
            parsed(row)
        return
    [layer] = parsed(row)
    assert (tuple(layer.built.args), layer.built.channels, layer.built.stride) == (args, channels, stride)
    assert layer(torch.zeros(2, 32, 16, 16)).shape[1] == channels


def test_maps_of_cblinear_are_chosen_by_cbfuse():
    layers = parsed(
        [-1, 1, "CBLinear", [[8, 16]]],
        [2, 1, "Conv", [64, 3, 2]],
        [-1, 1, "CBLinear", [[8, 16, 24]]],
        [2, 1, "Conv", [64, 3, 1]],
        [[3, 5, -1], 1, "CBFuse", [[1, 1]]],
        [-1, 1, "Conv", [64, 3, 2]],
    )
    assert [layer.built.maps for layer in layers] == [[8, 16], [], [8, 16, 24], [], [], []]
    assert (layers[4].built.channels, layers[4].strides_read) == (16, [8, 16, 8])
    assert layers[5].strides_read == [8]
    first = [[-1, 1, "CBLinear", [[8, 16]]], [2, 1, "Conv", [64]]]
    for wrong, message in [
        ([[3, -1], 1, "CBFuse", [[2]]], "source 0 gives 2 maps, and 2 names none"),
        ([[3, -1], 1, "CBFuse", [[0]]], "map 0 of source 0 has 8 channels, and the last one 16"),
        ([[3, -1], 1, "CBFuse", [[0, 1]]], "a list of 1 numbers"),
        ([3, 1, "Conv", [64]], "its source gives 2 maps, which CBFuse alone can read"),
        ([-1, 1, "CBLinear", [64]], "the list of channel counts"),
        ([-1, 1, "HGStem", [8]], "two channel counts"),
        ([-1, 1, "ResNetLayer", [64, 16]], "c1 is 16 here"),
        ([-1, 1, "SPP", [64, 4]], "a list, each a whole number"),
        ([-1, 1, "RepConv", [64, 5]], "its kernel is 3"),
    ]:
        with pytest.raises(ModelError, match=message):
            parsed(*first, wrong)


def test_every_rule_is_in_the_docs():
    docs = (Path(__file__).parents[2] / "docs" / "model-yaml.md").read_text(encoding="utf-8")
    rules = [n for n, f in vars(registry).items() if inspect.isfunction(f) and f.__annotations__.get("row") == "Row"]
    rules = [n for n in rules if not n.startswith("_")]
    assert len(rules) > 10
    assert [n for n in rules if f"| `{n}` |" not in docs] == []


def test_every_module_is_in_the_docs():
    docs = (Path(__file__).parents[2] / "docs" / "model-yaml.md").read_text(encoding="utf-8")
    assert [n for n in {name for name, *_ in CASES} if f"`{n}`" not in docs] == ["RepVGGDW"]  # a part of CIB


def test_copies_of_yolov8s_rows_in_a_plugin_are_helpers():
    class Conv(nn.Identity):
        pass

    class GhostConv(nn.Module):
        def __init__(self, c1, c2):
            super().__init__()
            self.conv = nn.Conv2d(c1, c2, 1)

        def forward(self, x):
            return self.conv(x)

    module = ModuleType("helpers")
    module.Conv, module.GhostConv, module.SPPF = Conv, GhostConv, modules.SPPF
    registry.offer(module)
    try:
        assert registry.lookup("Conv")[0] is modules.Conv
        assert registry.lookup("SPPF") == (modules.SPPF, registry.block_like)
        assert registry.lookup("GhostConv") == (GhostConv, None)
        [layer] = parsed([-1, 1, "GhostConv", [64]])
        assert layer.conv.out_channels == 16
    finally:
        registry._OFFERED.remove(module)
    assert registry.lookup("GhostConv")[0] is modules.GhostConv


def test_a_registered_class_may_take_a_name_of_ours_but_not_of_yolov8s_rows():
    own = registry.lookup("C3x")
    try:
        mine = registry.register(registry.block_like, name="C3x")(type("Mine", (nn.Identity,), {}))
        assert registry.lookup("C3x") == (mine, registry.block_like)
    finally:
        registry._MODULES["C3x"] = own
    with pytest.raises(ModelError, match="'C2f' is taken"):
        registry.register(registry.block_like, name="C2f")(type("Mine", (nn.Identity,), {}))


@pytest.mark.parametrize("name", ["yolov8n-ghost.yaml", "yolov10n.yaml"])
def test_a_copy_of_a_network_is_fused_and_the_network_is_not(name):
    net = DetectionModel(name, verbose=False)
    copied = copy.deepcopy(net).fuse()
    assert copied.is_fused()
    assert not net.is_fused()


def test_pasted_batch_norms_are_set_as_the_reference_sets_them():
    class Pasted(nn.Module):
        def __init__(self, dim):
            super().__init__()
            self.bn = nn.BatchNorm2d(dim)

        def forward(self, x):
            return self.bn(x)

    module = ModuleType("with_norm")
    module.WithNorm = Pasted
    registry.offer(module)
    rows = [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "WithNorm", []]]
    net = DetectionModel({"nc": 2, "backbone": rows, "head": [[[-1], 1, "Detect", ["nc"]]]}, verbose=False)
    registry._OFFERED.remove(module)
    assert (net.model[1].bn.eps, net.model[1].bn.momentum) == (1e-3, 0.03)
