"""What an exported file holds: every registered module, and the networks that no module stands for, at sizes that the
recording has not seen."""

import pytest
import torch
from torch import nn

from tests.helpers.networks import settled, write_net
from ultralytics.engine.formats.onnx import quiet
from ultralytics.nn import registry
from ultralytics.nn.deploy import Deployed, TiedError, example, program
from ultralytics.nn.modules.attention import MapAttention
from ultralytics.nn.tasks import DetectionModel

C = 32  # channels of the maps that modules are tried with
SHAPES = [(1, 20, 20), (3, 12, 20), (1, 20, 8), (2, 8, 36)]  # of maps; the first meets the positional tables' window
# Arguments of each registered module; None: a head, which is tried in a network.
MODULES = {
    "AConv": (C, 48),
    "ADown": (C, 48),
    "AIFI": (C, 64, 4),
    "Bottleneck": (C, C),
    "BottleneckCSP": (C, 48, 1),
    "C1": (C, 48, 1),
    "C2": (C, 48, 1),
    "C2f": (C, 48, 1, True),
    "C2fCIB": (C, 48, 1, True, True),
    "C2f_FLA": (C, 48, 1),
    "C3": (C, 48, 1),
    "C3Ghost": (C, 48, 1),
    "C3TR": (C, 64, 1),
    "C3x": (C, 48, 1),
    "CBFuse": ([0],),
    "CBLinear": (C, [8, 16]),
    "CIB": (C, C, True, 0.5, True),
    "Classify": (C, 5),
    "Concat": (1,),
    "Conv": (C, 48, 3, 2),
    "Conv2": (C, 48, 3),
    "ConvBlock": (C,),
    "ConvTranspose": (C, 48),
    "DWConv": (C, C, 3),
    "DWConvTranspose2d": (C, C, 2, 2),
    "Detect": None,
    "ELAN1": (C, 48, 32, 16),
    "FLABlock": (C, 4),
    "FLALayer": (C, 4),
    "Focus": (C, 48),
    "FocusedLinearAttention": (C, [20, 20], 4),
    "GatedAdd": (C,),
    "GhostBottleneck": (C, C, 3, 2),
    "GhostConv": (C, 48),
    "HGBlock": (C, 16, 48, 3, 2),
    "HGStem": (C, 16, 48),
    "LightConv": (C, 48, 3),
    "MALABlock": (C, 4),
    "OBB": None,
    "PSA": (128, 128),
    "PSABlock": (C, 4),
    "Pose": None,
    "RALABlock": (C, 4),
    "ReLULinearBlock": (C, 4),
    "RepC3": (C, 48, 2),
    "RepConv": (C, 48),
    "RepNCSPELAN4": (C, 48, 32, 16, 1),
    "ResNetLayer": (C, 16, 2, False, 1),
    "SCDown": (C, 48, 3, 2),
    "SPP": (C, 48),
    "SPPELAN": (C, 48, 16),
    "SPPF": (C, 48),
    "Segment": None,
    "v10Detect": None,
}
# Options that change what is computed.
OPTIONS = [
    ("FLABlock", {"focusing_factor": 1}),
    ("FLABlock", {"focusing_factor": 2.5, "kernel_size": 0}),
    ("FLABlock", {"window_size": [5, 9], "kernel_size": 3, "qkv_bias": False}),
    ("MALABlock", {"window_size": [12, 20]}),
    ("AIFI", {"normalize_before": True}),
    ("C2f_FLA", {"num_heads": 2, "window_size": [8, 36]}),
]
OF_TWO = ("CBFuse", "Concat", "GatedAdd")


@pytest.fixture(autouse=True)
def _quiet():
    """Torch reports every step of a recording to whoever reads its log, as pytest does, which takes its time."""
    with quiet():
        yield


class Alone(nn.Module):
    """A module by itself; one of several maps gets the map and one made of it."""

    stride = 4

    def __init__(self, name, args, **options):
        super().__init__()
        torch.manual_seed(0)
        self.module, self.two = registry.lookup(name)[0](*args, **options), name in OF_TWO
        self.channels = args[0] if isinstance(args[0], int) and args[0] > 1 else C
        for parameter in self.parameters():  # gates, tables and scales too
            parameter.data = 0.2 * torch.randn(parameter.shape)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1)
        self.eval()

    def forward(self, x):
        return self.module([x, x.square()] if self.two else x)


def flat(value):
    return list(value) if isinstance(value, list | tuple) else [value]


def check(module):
    """Record it with any size, as torch.export and as a trace, and compare with what it computes itself."""
    images = torch.rand(2, module.channels, 16, 20)
    files = {"program": program(module, images, dynamic=True).module()}
    with torch.no_grad():
        files["trace"] = torch.jit.trace(module, images, check_trace=False)
        for shape in SHAPES:
            x = torch.rand(shape[0], module.channels, *shape[1:])
            expected = flat(module(x))
            for name, file in files.items():
                for ours, theirs in zip(expected, flat(file(x)), strict=True):
                    torch.testing.assert_close(
                        theirs, ours, atol=1e-5, rtol=1e-5, msg=lambda m, name=name, shape=shape: f"{name} {shape}: {m}"
                    )


def test_every_registered_module_is_tried():
    ours = [n for n in registry.registered() if registry.lookup(n)[0].__module__.startswith("ultralytics.nn.modules.")]
    assert set(ours) == set(MODULES)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, args in MODULES.items() if args])
def test_a_module_is_recorded_with_any_size(name):
    check(Alone(name, MODULES[name]))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_an_option_is_recorded_with_any_size(name, options):
    args = MODULES[name][:1] if name != "C2f_FLA" else MODULES[name]
    check(Alone(name, args, **options))


def test_half_precision_keeps_normaliser_and_state_in_fp32():
    """In fp16 the sums over tokens and the powers of φ would overflow: what lies between the projections is fp32."""
    module = Alone("FLABlock", MODULES["FLABlock"]).half()
    recorded = program(module, torch.rand(2, C, 16, 20).half(), dynamic=True)
    graphs = [m.graph for m in recorded.graph_module.modules() if isinstance(m, torch.fx.GraphModule)]
    calls = [n for graph in graphs for n in graph.nodes if str(n.target).startswith("aten.")]
    kinds = {
        word: {n.meta["val"].dtype for n in calls if str(n.target).startswith(f"aten.{word}.")}
        for word in ("matmul", "mean", "linear")
    }
    assert kinds == {"matmul": {torch.float32}, "mean": {torch.float32}, "linear": {torch.float16}}
    [out] = [n for n in recorded.graph.nodes if n.op == "output"]
    assert out.args[0][0].meta["val"].dtype == torch.float16


def test_a_number_of_the_examples_size_in_the_graph_is_an_error():
    class Pools(nn.Module):
        """Keeps the size of its windows, which follows from the map's."""

        stride = 4

        def forward(self, x):
            return nn.functional.avg_pool2d(x, (x.shape[2] // 7, x.shape[3] // 7), ceil_mode=True)

    with pytest.raises(TiedError, match=r"size\(\)\[[23]\]"):
        program(Pools(), torch.rand(2, 3, 64, 96), dynamic=True)
    program(Pools(), torch.rand(2, 3, 64, 96), dynamic=False)


def v10(folder):
    file = write_net(folder)
    file.write_text(file.read_text(encoding="utf-8").replace("Detect", "v10Detect"), encoding="utf-8")
    return settled(DetectionModel(str(file), verbose=False))


@pytest.mark.slow
def test_an_end_to_end_head_gives_as_many_rows_at_every_size(tmp_path):
    """At 64 pixels there are fewer anchors than max_det: more classes of them follow."""
    model = v10(tmp_path)
    deployed = Deployed(model)
    assert deployed.network.model[-1].max_det == 300
    images = example((1, 3, 160, 160), True, deployed.stride)
    files = [program(deployed, images, True).module()]
    with torch.no_grad():
        files.append(torch.jit.trace(deployed, images, check_trace=False))
        for shape in ((1, 3, 64, 64), (3, 3, 64, 160), (1, 3, 320, 256)):
            x = torch.rand(shape)
            eager = model(x)[0]
            assert (eager.shape[1] < 300) == (shape[2] == 64)
            for found in (deployed(x), *(file(x) for file in files)):
                assert found.shape == (shape[0], 300, 6)
                torch.testing.assert_close(found[:, : eager.shape[1]], eager, atol=1e-3, rtol=1e-5)
                assert (found[..., 4].diff() <= 0).all()
                assert found[:, eager.shape[1] :, 4].any() == (eager.shape[1] < 300)


def test_every_mixing_computes_at_a_size_besides_its_window_what_it_computes_in_eager():
    """The shape test of `positions` is left out of a graph; so its interpolation must be exact at the window's size."""
    for name in ("FocusedLinearAttention",):
        attention = Alone(name, MODULES[name]).module
        assert isinstance(attention, MapAttention)
        with torch.no_grad():
            traced = torch.jit.trace_module(attention, {"forward": torch.rand(2, C, 20, 20)}, check_trace=False)
            for size in ((20, 20), (12, 20)):  # recorded at the window's size
                x = torch.rand(1, C, *size)
                torch.testing.assert_close(traced(x), attention(x), atol=1e-6, rtol=1e-6)


def test_a_head_that_does_not_know_of_export_gives_its_boxes(tmp_path):
    deployed = Deployed(settled(DetectionModel(str(write_net(tmp_path)), verbose=False)))
    head = deployed.network.model[-1]
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = deployed(images)
        head.export = False
        assert torch.equal(deployed(images), expected)
