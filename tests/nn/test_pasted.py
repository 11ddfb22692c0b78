"""Classes without `@register`, as a reader of a tutorial brings them."""

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

import ultralytics.nn.tasks
from tests.helpers.networks import KEEPING, PUBLISHED, WIDENING
from ultralytics.nn.backend import inference_copy
from ultralytics.nn.building import Bounded
from ultralytics.nn.modules import C3
from ultralytics.nn.pasted import Measured, measure
from ultralytics.nn.plugins import load_plugins
from ultralytics.nn.registry import lookup, register, same_width
from ultralytics.nn.summary import explain
from ultralytics.nn.tasks import DetectionModel, parse_model
from ultralytics.utils.errors import ModelError

FILES = [PUBLISHED / f"{name}.py" for name in ("channel", "spatial", "convs", "swin")]
SCALES = {"n": [0.33, 0.25, 1024], "m": [0.67, 0.75, 768], "x": [1.0, 1.25, 512]}
C1 = {"n": 256, "m": 576, "x": 640}


@pytest.fixture(autouse=True)
def _published():
    load_plugins(FILES)


def rows(*more, scale="n", width=1024):
    stem = [[-1, 1, "Conv", [c, 3, 2]] for c in (64, 128, 256, 512, width)]
    return {
        "nc": 2,
        "scales": SCALES,
        "scale": scale,
        "backbone": [*stem, *more],
        "head": [[[-1], 1, "Detect", ["nc"]]],
    }


def built(*more, **how):
    """The layers after the stem, without the head."""
    return parse_model(rows(*more, **how))[0][5:-1]


@pytest.mark.parametrize("args", [[], [1024], [256]], ids=str)
@pytest.mark.parametrize("name", KEEPING)
def test_attention_works_at_the_maps_width_whatever_the_row_says(name, args):
    for scale in ("n", "m") if args == [256] else ("n",):
        [layer] = built([-1, 1, name, args], scale=scale)
        assert (layer.built.channels, layer.built.stride) == (C1[scale], 1)
        plain = type(layer)(*([C1[scale]] if name not in NO_WIDTH else []), *([C1[scale]] if name in TWO else []))
        assert [p.shape for p in layer.parameters()] == [p.shape for p in plain.parameters()]
        assert layer.built.inferred.startswith(f"{name}(")


NO_WIDTH = ("ECAKernel", "SimAM", "SpatialGroupEnhance", "TripletAttention")
TWO = ("CoordAtt", "GAM_Attention")


@pytest.mark.parametrize("name", WIDENING)
def test_outgoing_channels_are_scaled(name):
    for scale, c2 in (("n", 128), ("m", 384)):
        [layer] = built([-1, 1, name, [512]], scale=scale)
        assert (layer.built.channels, layer.built.scaled, layer.built.stride) == (c2, c2, 1)
        [layer] = built([-1, 1, name, []], scale=scale)
        assert layer.built.channels == C1[scale]


class PartialBlock(nn.Module):
    """A partial convolution and a pointwise one (Chen et al. 2023); its outgoing channels are called `dim`."""

    def __init__(self, inc, dim, n_div=4):
        super().__init__()
        self.fit, self.part = nn.Conv2d(inc, dim, 1), nn.Conv2d(dim // n_div, dim // n_div, 3, padding=1)

    def forward(self, x):
        x = self.fit(x)
        n = self.part.in_channels
        return x + torch.cat((self.part(x[:, :n]), x[:, n:]), 1)


class Unnamed(nn.Module):
    """Arguments that say nothing."""

    def __init__(self, *args, **kwargs):
        super().__init__()
        self.conv = nn.Conv2d(args[0], args[1], args[2], padding=args[2] // 2, **kwargs)

    def forward(self, x):
        return self.conv(x)


class C3Star(C3):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


@pytest.fixture
def brought():
    """The classes of this file, as those of a plugin."""
    ultralytics.nn.registry.offer(sys.modules[__name__])


@pytest.mark.usefixtures("brought")
@pytest.mark.parametrize("args", [[512, 3], [256, 3], [32, 3]], ids=str)
@pytest.mark.parametrize("name", ["PartialBlock", "Unnamed"])
def test_a_second_number_that_comes_out_is_the_outgoing_channels_whatever_its_name(name, args):
    for scale, width in (("n", 0.25), ("m", 0.75)):
        if name == "PartialBlock":
            args = [args[0]]
        [layer] = built([-1, 1, name, args], scale=scale)
        c2 = int(args[0] * width)
        assert (layer.built.channels, layer.built.scaled, layer.built.args[:2]) == (c2, c2, [C1[scale], c2])


@pytest.mark.usefixtures("brought")
def test_what_hands_its_arguments_on_is_read_as_what_takes_them():
    [layer] = built([-1, 3, "C3Star", [512, True]], scale="x")
    assert layer.built.inferred.startswith("C3Star(c1=640, c2=640, n=3, shortcut=True)")
    assert len(layer.m) == 3


def test_repeats_go_inside_where_the_constructor_takes_them():
    [inside] = built([-1, 3, "C3Ghost", [1024, True]], scale="x")
    assert len(inside.m) == 3
    [stacked] = built([-1, 3, "SEAttention", []], scale="x")
    assert isinstance(stacked, nn.Sequential)
    assert len(stacked) == 3


@pytest.mark.parametrize(
    ("row", "channels", "stride"),
    [
        ([-1, 1, "DySample", []], 256, 0.5),
        ([-1, 1, "DySample", [1024, 4]], 256, 0.25),
        ([-1, 1, "CARAFE", [3, 5]], 256, 0.5),
        ([-1, 1, "SPDConv", [512]], 128, 2),
        ([-1, 1, "space_to_depth", [1]], 1024, 2),
        ([-1, 1, "GhostConv", [512, 3, 2]], 128, 2),
        ([[-1, 4], 1, "BiFPN_Concat2", [1]], 512, 1),
        ([[-1, 4], 1, "BiFPN_Concat2", []], 512, 1),
    ],
    ids=lambda v: v[2] if isinstance(v, list) else None,
)
def test_channels_and_stride_are_measured(row, channels, stride):
    [layer] = built(row)
    assert (layer.built.channels, layer.built.stride) == (channels, stride)


def test_a_measured_stride_lets_a_concat_follow():
    layers = built([-1, 1, "CARAFE", []], [[-1, 3], 1, "Concat", [1]])
    assert layers[1].built.channels == 256 + 128


def test_options_are_told_from_widths():
    for args, reduction in (([16], 16), ([8], 8), ([1024, 4], 4), ([256, 32], 32), ([{"reduction": 3}], 3)):
        [layer] = built([-1, 1, "SEAttention", args])
        assert layer.fc[0].out_features == 256 // reduction, args
    assert built([-1, 1, "LSKA", [11]])[0].h1.kernel_size == (1, 5)
    assert built([-1, 1, "SimAM", ["1e-5"]])[0].e_lambda == 1e-5  # YAML reads 1e-5 as text


def test_two_readings_are_told_with_the_line_that_decides():
    message = (
        r"row 5 \(SEAttention\): its first argument 3 can be .*SEAttention\(channel=256, reduction=3\) "
        r"\(@register\(same_width\)\) or SEAttention\(channel=256\) \(@register\(attention_like\)\).*\{reduction: 3\}"
    )
    with pytest.raises(ModelError, match=message) as caught:
        built([-1, 1, "SEAttention", [3]])
    assert "\n" not in str(caught.value)


def test_no_reading_is_told_with_each_reason():
    with pytest.raises(ModelError, match=r"row 5 \(LSKA\): no reading.*KeyError.*it takes \(dim, k_size=7\)"):
        built([-1, 1, "LSKA", [1024, 9]])


class Stages(nn.Module):
    def forward(self, x):
        return [x, x]


class Lazy(nn.Module):
    def __init__(self, c2):
        super().__init__()
        self.conv = nn.LazyConv2d(c2, 1)

    def forward(self, x):
        return self.conv(x)


class Deformed(nn.Module):
    """Uses an operator of torchvision's without importing it, as code does that was written where it had been."""

    def forward(self, x):
        return torch.ops.torchvision.mine(x)


def a_backbone():
    """As `fasternet_t0()` of a tutorial."""
    return Stages()


class HiddenFirst(nn.Module):
    def __init__(self, inp, hidden_dim, oup):
        super().__init__()
        self.convs = nn.Sequential(nn.Conv2d(inp, hidden_dim, 1), nn.Conv2d(hidden_dim, oup, 1))

    def forward(self, x):
        return self.convs(x)


@pytest.mark.usefixtures("brought")
def test_what_no_row_can_be_is_told():
    with pytest.raises(ModelError, match=r"row 5 \(a_backbone\): a_backbone is a function .*a row for each of its"):
        built([-1, 1, "a_backbone", []])
    [layer] = built([-1, 1, "HiddenFirst", [64, 96]])
    assert layer.built.inferred.endswith("at the map's width; 96 channels come out")
    for name, message in (("Stages", "a backbone of several maps becomes a row for each"), ("Lazy", "open until the")):
        with pytest.raises(ModelError, match=message) as caught:
            built([-1, 1, name, []] if name == "Stages" else [-1, 1, name, [64]])
        assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("brought")
def test_operators_of_torchvision_are_there_when_they_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the file is written twice within a second
    file = tmp_path / "torchvision.py"
    file.write_text("raise RuntimeError('other torch')\n", encoding="utf-8")
    with pytest.raises(ModelError, match="torchvision, which cannot be imported: RuntimeError: other torch"):
        built([-1, 1, "Deformed", []])
    file.write_text("import torch\ntorch.ops.torchvision.mine = torch.relu\n", encoding="utf-8")
    try:
        assert built([-1, 1, "Deformed", []])[0].built.channels == 256
    finally:
        sys.modules.pop("torchvision", None)
        vars(torch.ops.torchvision).pop("mine", None)


def test_a_pasted_and_imported_class_is_found(monkeypatch):
    class Pasted(nn.Module):
        def __init__(self, dim):
            super().__init__()
            self.conv = nn.Conv2d(dim, dim, 1)

        def forward(self, x):
            return self.conv(x)

    for where in (ultralytics.nn.tasks, sys.modules["ultralytics.nn.modules"]):
        monkeypatch.setattr(where, "PastedAtRunTime", Pasted, raising=False)
        assert built([-1, 1, "PastedAtRunTime", [1024]])[0].conv.in_channels == 256
        monkeypatch.undo()
        load_plugins(FILES)
    with pytest.raises(ModelError, match=r"unknown module 'PastedAtRunTime'.*import it in ultralytics/nn/tasks\.py"):
        built([-1, 1, "PastedAtRunTime", []])


def test_a_pasted_file_that_nothing_imports_is_named(monkeypatch, tmp_path):
    (tmp_path / "modules" / "att").mkdir(parents=True)
    (tmp_path / "modules" / "att" / "Mine.py").write_text("class MyAtt(nn.Module):\n    pass\n", encoding="utf-8")
    monkeypatch.setattr("ultralytics.nn.registry.__file__", str(tmp_path / "registry.py"))
    with pytest.raises(
        ModelError, match=r"Mine\.py, which nothing imports: .*from ultralytics.nn.modules.att.Mine import"
    ):
        lookup("MyAtt")


def test_a_near_name_does_not_hide_how_to_bring_ones_own():
    with pytest.raises(ModelError, match=r"did you mean 'SEAttention'.*\?; a class of your own: .*plugins="):
        built([-1, 1, "SEAtention", []])
    with pytest.raises(ModelError, match=r"unknown module 'C4'.*plugins="):
        built([-1, 1, "C4", []])


def test_arguments_taken_for_something_else_are_named():
    """As a width in the place of a reduction: an attention without weights would train in silence."""

    @register(same_width, name="RegisteredSE")
    class Registered(lookup("SEAttention")[0]):
        pass

    with pytest.raises(
        ModelError, match=r"row 5 \(RegisteredSE\): its parameter fc\.0\.weight has no elements.*channel"
    ):
        built([-1, 1, "RegisteredSE", [1024]])

    @register(same_width, name="WideECA")
    class Wide(nn.Module):
        def __init__(self, c1, k=3):
            super().__init__()
            self.conv = nn.Conv1d(1, 1, k, padding=k // 2)

        def forward(self, x):
            return x * self.conv(x.mean((2, 3)).unsqueeze(1)).sigmoid().transpose(1, 2).unsqueeze(-1)

    with pytest.raises(ModelError, match="a kernel of 517"):
        built([-1, 1, "WideECA", [517]])


def test_a_rules_stride_is_checked_at_its_own_row(caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)

    @register(same_width, name="RegisteredUp")
    class Up(lookup("CARAFE")[0]):
        pass

    layers = built([-1, 1, "RegisteredUp", []], [[-1, 3], 1, "Concat", [1]])
    assert layers[0].built.stride == 0.5
    assert (
        "row 5 (RegisteredUp): its channel rule says that the map's size is multiplied by 1, and it is by 2"
        in caplog.text
    )


def test_weights_of_five_dimensions_are_left_as_they_are():
    model = DetectionModel(rows([-1, 1, "CondConv", [256]], [[-1, 4], 1, "ScaleSequence", [256]]), verbose=False)
    copied = inference_copy(model, torch.device("cpu"))
    assert copied.model[0].conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert copied.model[5].weight.is_contiguous()
    x = torch.rand(1, 3, 64, 96)
    torch.testing.assert_close(copied(x)[0], model.eval()(x)[0], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["ShuffleAttention", "SpatialGroupEnhance", "DySample"])
def test_what_views_its_map_is_handed_contiguous_ones(name):
    """Convolutions hand on channels-last maps, which such code cannot view; inside it, too, maps stay contiguous."""
    follow = [[-1, 1, "Conv", [512, 3, 2]]] if name == "DySample" else []
    model = DetectionModel(rows([-1, 1, name, []], *follow), verbose=False)
    assert model.model[5].contiguous
    assert not model.model[4].contiguous
    model.to(memory_format=torch.channels_last)
    x = torch.rand(2, 3, 64, 96).to(memory_format=torch.channels_last)
    out = model.train()(x)
    sum(m.sum() for m in out).backward()
    assert all(p.grad is not None for p in model.model[5].parameters())
    alone = DetectionModel(rows([-1, 1, name, []], *follow), verbose=False)
    alone.load_state_dict(model.state_dict())
    torch.testing.assert_close(model.eval()(x)[0], alone.eval()(x.contiguous())[0], atol=1e-4, rtol=1e-4)


def test_measuring_leaves_weights_statistics_and_random_numbers():
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout(0.5)).train()
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    state = torch.get_rng_state()
    assert measure(layer, [8], [8.0]).channels == 8
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())
    assert layer.training
    assert layer[0].weight.is_contiguous()


class Everywhere(nn.Module):
    """Attention of every cell to every other."""

    def forward(self, x):
        cells = x.flatten(2)
        return (cells @ (cells.transpose(1, 2) @ cells).softmax(-1)).view_as(x)


def test_a_trial_does_not_fill_the_memory():
    """16,384 cells at 256 pixels and stride 2: a gigabyte an image, and forty at 640. Small images pass."""
    assert measure(Everywhere(), [1], [2.0]) == Measured(1, 1.0)
    with pytest.raises(MemoryError, match="1,600 elements"), Bounded(1599):
        Everywhere()(torch.rand(1, 1, 4, 10))


def test_inference_draws_what_a_registered_class_draws():
    """Trying readings does not move the random numbers: weights are those of the class built once."""
    torch.manual_seed(3)
    first = built([-1, 1, "SEAttention", [1024]])[0].fc[0].weight
    torch.manual_seed(3)
    parse_model({**rows(), "head": [[[-1], 1, "Detect", ["nc"]]]})
    torch.manual_seed(3)
    stem = [
        lookup("Conv")[0](*a)
        for a in ((3, 16, 3, 2), (16, 32, 3, 2), (32, 64, 3, 2), (64, 128, 3, 2), (128, 256, 3, 2))
    ]
    assert len(stem) == 5
    assert torch.equal(lookup("SEAttention")[0](256).fc[0].weight, first)


def test_a_size_that_a_module_does_not_take_costs_the_figure_alone(caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    caplog.set_level("INFO", "ultralytics")
    model = DetectionModel(rows([-1, 1, "BiLevelRoutingAttention", []]), verbose=True)  # 7 windows: not at 32 pixels
    assert "GFLOPs" in caplog.text
    assert model.info()["gflops"] > 0  # at 640 pixels
    report = explain(model, 640)
    assert report.rows[5].inferred.startswith("BiLevelRoutingAttention(dim=256)")
    assert "row 5 (BiLevelRoutingAttention) is read as" in "\n".join(report.lines())
    with pytest.raises(ModelError, match=r"row 5 \(BiLevelRoutingAttention\): it takes no image of 64×64 pixels"):
        explain(model, 64)


def test_a_plugin_imports_the_files_beside_it(tmp_path):
    for folder, factor in (("a", 2), ("b", 3)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "helper.py").write_text(f"FACTOR = {factor}\n", encoding="utf-8")
        (tmp_path / folder / "relative.py").write_text(f"FACTOR = {10 * factor}\n", encoding="utf-8")
        source = (
            "from torch import nn\nfrom helper import FACTOR\nfrom .relative import FACTOR as OTHER\n"
            f"class Neighbour{folder.upper()}(nn.Identity):\n    factor = FACTOR + OTHER\n"
        )
        (tmp_path / folder / "plugin.py").write_text(source, encoding="utf-8")
        load_plugins([tmp_path / folder / "plugin.py"])
        assert lookup(f"Neighbour{folder.upper()}")[0].factor == 11 * factor
    assert "helper" not in sys.modules
    assert str(tmp_path / "a") not in sys.path


def test_of_two_plugins_with_one_name_the_later_counts():
    for k in (1, 2):
        module = ModuleType(f"plugin{k}")
        module.TwiceThere = type("TwiceThere", (nn.Identity,), {"number": k})
        ultralytics.nn.registry.offer(module)
    assert lookup("TwiceThere")[0].number == 2


class OnlyChannels(nn.Module):
    """What takes nothing else."""

    def __init__(self, c1, c2):
        super().__init__()
        self.cv = nn.Conv2d(c1, c2, 1)

    def forward(self, x):
        return self.cv(x)


@pytest.mark.usefixtures("brought")
def test_too_many_arguments_are_said_once_and_without_self():
    with pytest.raises(ModelError, match=r"OnlyChannels\(c1=.*\): too many positional arguments; ") as caught:
        built([-1, 1, "OnlyChannels", [64, 64]])
    assert "cannot be built as" not in str(caught.value)
    assert caught.value.hint == "it takes (c1, c2), of which the row before gives the first"
    [layer] = built([-1, 1, "OnlyChannels", [64]])
    assert layer.built.channels == 16
