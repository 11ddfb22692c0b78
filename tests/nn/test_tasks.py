import copy
import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim, export

from ultralytics.cfg.model import load_model_spec
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.nn import registry
from ultralytics.nn.backend import inference_copy
from ultralytics.nn.modules import Detect
from ultralytics.nn.registry import conv_like, register
from ultralytics.nn.tasks import DetectionModel, parse_model
from ultralytics.utils.errors import ModelError

V8 = "yolov8n.yaml"


def rows_of_sizes():
    return ["n", "s", "m", "l", "x"]


@pytest.mark.parametrize("scale", ["n", "s"])
def test_sizes_equal_the_references(fixtures, scale):
    for row in json.loads((fixtures / "model_sizes.json").read_text())["rows"]:
        if row["scale"] == scale:
            check_size(row)


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["m", "l", "x"])
def test_large_sizes_equal_the_references(fixtures, scale):
    for row in json.loads((fixtures / "model_sizes.json").read_text())["rows"]:
        if row["scale"] == scale:
            check_size(row)


def check_size(row):
    model = DetectionModel(f"yolov8{row['scale']}.yaml", nc=row["nc"], verbose=False)
    info = model.info()
    assert info["layers"] == row["layers"]
    assert info["parameters"] == row["params"]
    assert info["gradients"] == row["trainable"]
    assert info["gflops"] == pytest.approx(row["gflops_reference_convention"], abs=1e-6)
    assert len(model.state_dict()) == row["state_dict_entries"]
    np.testing.assert_allclose([float(c[-1].bias[0]) for c in model.head.cv3], row["cls_bias"], atol=1e-4)
    assert model.stride.tolist() == row["strides"]


def test_state_dict_keys_and_shapes_equal_the_references(fixtures):
    want = json.loads((fixtures / "model_sizes.json").read_text())["yolov8n_state_dict"]
    have = {k: list(v.shape) for k, v in DetectionModel(V8, nc=80, verbose=False).state_dict().items()}
    assert have == {k: list(v) for k, v in want.items()}


@pytest.mark.parametrize(
    ("scale", "layers", "parameters", "gflops"), [("n", 225, 3_157_200, 8.9), ("s", 225, 11_166_560, 28.8)]
)
def test_published_networks_have_their_published_size(scale, layers, parameters, gflops):
    """As ultralytics prints it: "YOLOv8n summary: 225 layers, 3157200 parameters, 3157184 gradients, 8.9 GFLOPs"."""
    model = DetectionModel(f"yolov8{scale}.yaml", nc=80, verbose=False)
    info = model.info()
    assert (info["layers"], info["parameters"], info["gradients"]) == (layers, parameters, parameters - 16)
    assert round(info["gflops"], 1) == gflops
    assert model.stride.tolist() == [8, 16, 32]
    # The odds of 5 objects in a 640-pixel image at each stride; the box branch begins at 1.
    want = [math.log(5 / 80 / (640 / s) ** 2) for s in (8, 16, 32)]
    assert [c[-1].bias[0].item() for c in model.head.cv3] == pytest.approx(want)
    assert all((c[-1].bias == 1).all() for c in model.head.cv2)
    state = model.state_dict()
    assert len(state) == 355
    assert {"model.0.conv.weight", "model.2.m.0.cv1.bn.running_mean", "model.22.cv3.2.2.bias"} <= state.keys()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.03)}


@pytest.mark.parametrize(
    ("nc", "finest", "box", "score"), [(80, 64, 64, 80), (80, 192, 64, 192), (80, 320, 80, 320), (365, 64, 64, 100)]
)
def test_widths_of_the_heads_branches(nc, finest, box, score):
    """Boxes: a quarter of the finest map, at least 64, four times 16 bins. Scores: the finest map, at least the classes
    or 100."""
    with torch.device("meta"):
        head = Detect(nc, (finest, 2 * finest, 2 * finest))
    assert (head.cv2[0][0].conv.out_channels, head.cv3[0][0].conv.out_channels) == (box, score)


def test_a_head_decodes_its_maps_to_pixels():
    """Levels of 2 × 2 and 1 × 1 at strides 8 and 16, all distances in bin 2: boxes of four cells about their anchor."""
    model = DetectionModel(V8, nc=3, verbose=False)
    head = model.head
    head.stride = torch.tensor([8.0, 16.0])
    raw = [torch.full((1, 67, n, n), -50.0) for n in (2, 1)]
    for level in raw:
        level[:, 2:64:16] = 50
        level[:, 64:] = torch.tensor([0.0, math.log(3), -math.log(3)]).view(1, 3, 1, 1)  # scores ½, ¾ and ¼
    y = head.decode(raw)[0]
    assert y[:4].t().tolist() == [[4, 4, 32, 32], [12, 4, 32, 32], [4, 12, 32, 32], [12, 12, 32, 32], [8, 8, 64, 64]]
    torch.testing.assert_close(y[4:], torch.tensor([0.5, 0.75, 0.25]).view(3, 1).expand(3, 5))


def test_the_tutorials_network_has_its_size():
    model = DetectionModel("yolov8n-fla.yaml", nc=1, verbose=False)
    assert sum(p.numel() for p in model.parameters()) == 3_377_699
    assert type(model.model[10]).__name__ == "FocusedLinearAttention"
    assert model.model[-1].f == [16, 19, 22]


@pytest.fixture
def two_threads():
    """The reference's numbers were taken with two: another number adds in another order, some 1e-3 pixels apart."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_forward_with_real_weights_equals_the_references(shared, fixtures):
    checkpoint = load_checkpoint(shared / "weights" / "yolov8n.pt")
    model = DetectionModel(checkpoint.spec, verbose=False)
    report = model.load(checkpoint.weights)
    assert (len(report.loaded), len(report.new)) == (355, 0)
    model.eval()
    z = np.load(fixtures / "forward.npz")
    images = sorted(k[5:] for k in z if k.startswith("image"))
    assert images
    for j in images:
        rgb = torch.from_numpy(z[f"image{j}"][..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            y, raw = model(rgb)
            fused = inference_copy(model, torch.device("cpu"))(rgb)[0]
        got, want = y[0, :, z[f"columns{j}"]].numpy(), z[f"y{j}"]
        np.testing.assert_allclose(got[:4], want[:4], atol=1e-4, rtol=1e-5)  # a CPU without AVX512 rounds otherwise
        np.testing.assert_allclose(got[4:], want[4:], atol=1e-5)
        torch.testing.assert_close(fused[:, 4:], y[:, 4:], atol=1e-4, rtol=1e-3)
        assert len(raw) == 3


SIZES = [(256, 256), (384, 640), (640, 352)]


# Maps of 8×8, 6×10 and 10×7 cells at the coarsest stride.
@pytest.mark.parametrize("size", [(256, 256), (192, 320), (320, 224)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_tutorials_network_runs_at_any_size(size, dtype):
    check_runs("n", size, dtype, 1)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [*SIZES, (640, 640), (1088, 1920)])
@pytest.mark.parametrize("scale", rows_of_sizes())
def test_the_tutorials_network_runs_at_every_scale_and_size(scale, size, dtype, batch):
    check_runs(scale, size, dtype, batch)


def check_runs(scale, size, dtype, batch):
    torch.manual_seed(0)
    model = DetectionModel(f"yolov8{scale}-fla.yaml", nc=3, verbose=False).eval().to(dtype)
    with torch.inference_mode():
        y, raw = model(torch.rand(batch, 3, *size, dtype=dtype))
    anchors = sum(size[0] // s * (size[1] // s) for s in (8, 16, 32))
    assert y.shape == (batch, 7, anchors)
    assert torch.isfinite(y).all()
    assert [tuple(m.shape) for m in raw] == [(batch, 67, size[0] // s, size[1] // s) for s in (8, 16, 32)]


@pytest.mark.parametrize("scale", rows_of_sizes())
def test_both_yamls_build_at_every_scale(scale):
    for name in ("yolov8", "yolov8-fla"):
        by_name = load_model_spec(f"{name.replace('8', '8' + scale, 1)}.yaml", nc=1)
        by_key = load_model_spec(f"{name}.yaml", scale, nc=1)
        assert (by_name.scale, by_name.rows) == (scale, by_key.rows)
        assert (by_name.depth, by_name.width, by_name.max_channels) == (by_key.depth, by_key.width, by_key.max_channels)
    assert DetectionModel(by_key, verbose=False).yaml["scale"] == scale


def test_train_mode_gives_the_maps_and_the_strides_leave_no_trace():
    model = DetectionModel(V8, nc=3, verbose=False).train()
    maps = model(torch.rand(2, 3, 64, 96))
    assert [tuple(m.shape) for m in maps] == [(2, 67, 8, 12), (2, 67, 4, 6), (2, 67, 2, 3)]
    fresh = DetectionModel(V8, nc=3, verbose=False)
    norm = next(m for m in fresh.modules() if isinstance(m, nn.BatchNorm2d))
    assert int(norm.num_batches_tracked) == 0
    assert torch.equal(norm.running_var, torch.ones_like(norm.running_var))


@pytest.mark.parametrize("nc", [1, 64, 128, 256, 365])
def test_a_class_count_does_not_change_the_widths(nc):
    model = DetectionModel(V8, nc=nc, verbose=False)
    assert model.model[0].conv.out_channels == 16
    assert model.model[1].conv.out_channels == 32
    assert model(torch.zeros(1, 3, 64, 64))[0].shape == (1, 64 + nc, 8, 8)


def test_fusing_changes_nothing_but_the_speed_and_copies_first():
    torch.manual_seed(0)
    model = DetectionModel("yolov8n-fla.yaml", nc=2, verbose=False).eval()
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.uniform_(-0.1, 0.1)
            m.running_var.uniform_(0.5, 1.5)
    before = copy.deepcopy(model.state_dict())
    x = torch.rand(1, 3, 96, 64)
    with torch.inference_mode():
        want = model(x)[0]
        got = inference_copy(model, torch.device("cpu"))(x)[0]
    torch.testing.assert_close(got, want, atol=1e-3, rtol=1e-3)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_transfer_to_other_classes_reports_what_did_not_fit():
    source = DetectionModel(V8, nc=80, verbose=False)
    target = DetectionModel(V8, nc=3, verbose=False)
    report = target.load(source.state_dict())
    assert len(report.loaded) == 319
    assert len(report.mismatched) == 36
    assert any("319" in line for line in report.lines())


def spec(head, backbone=None):
    backbone = backbone or [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [32, 3, 2]], [-1, 1, "Conv", [64, 3, 2]]]
    return {"nc": 2, "backbone": backbone, "head": head}


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ([[[-1, 9], 1, "Concat", [1]]], "row 3.*9"),
        ([[[-1, 1], 1, "Concat", [1]]], "row 3.*different size"),
        ([[[2], 1, "Detect", ["nc"]], [[2], 1, "Detect", ["nc"]]], "row 3.*the last row"),
        ([[[-1, 2], 1, "Concat", [7]]], "row 3.*dimension 1, not 7"),
        ([[-1, 1, "Konv", [64, 3, 1]]], "row 3.*Konv.*Conv"),
        ([[-1, 1, "FocusedLinearAttention", [64, [20, 20], 7]]], "row 3.*7 heads.*valid counts"),
        ([[-1, 1, "Conv", ["many"]]], "row 3.*output channels"),
        ([[-1, 1, "Conv", [64, 3, 1, None, 7]]], "row 3"),
    ],
)
def test_a_wrong_row_is_named_with_the_mend(head, message):
    with pytest.raises(ModelError, match=message):
        parse_model(spec(head))


def test_keyword_arguments_reach_the_channel_rule():
    layers, _ = parse_model(spec([[-1, 1, "Conv", [64, {"k": 3, "s": 2}]], [[-1, 2], 1, "Concat", [1]]][:1]))
    assert layers(torch.zeros(1, 3, 64, 64)).shape[-1] == 4
    with pytest.raises(ModelError, match=r"row 4.*different size: row 3 .*stride 16, row 2 .*stride 8"):
        parse_model(spec([[-1, 1, "Conv", [64, {"k": 3, "s": 2}]], [[-1, 2], 1, "Concat", [1]]]))


def test_a_users_module_needs_no_edit_of_the_tree():
    @register(conv_like)
    class Doubling(nn.Module):
        def __init__(self, c1, c2):
            super().__init__()
            self.conv = nn.Conv2d(c1, c2, 1)

        def forward(self, x):
            return self.conv(x) * 2

    layers, save = parse_model(spec([[-1, 1, "Doubling", [24]]]))
    assert layers(torch.zeros(1, 3, 32, 32)).shape == (1, 24, 4, 4)
    assert save == []


@pytest.mark.parametrize("source", [-1, [-1], 2])
def test_a_head_of_one_level_reads_a_list_however_it_is_written(source):
    model = DetectionModel(spec([[source, 1, "Detect", ["nc"]]]), verbose=False)
    assert model.stride.tolist() == [8]
    y, raw = model.eval()(torch.zeros(1, 3, 64, 32))
    assert y.shape == (1, 6, 32)
    assert [m.shape[-2:] for m in raw] == [(8, 4)]


def test_a_concat_of_one_map_passes_it_on():
    layers, _ = parse_model(spec([[-1, 1, "Concat", [1]], [1, 1, "Concat", []]]))
    assert layers[3]([torch.ones(1, 64, 2, 2)]).shape == (1, 64, 2, 2)
    assert layers[4].f == [1]


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        ("nn.Conv2d()", "not an activation"),
        ("nn.MultiheadAttention()", "not an activation"),
        ("relu", "not of the form"),
    ],
)
def test_an_activation_that_is_none_is_told(activation, message):
    with pytest.raises(ModelError, match=message):
        parse_model(spec([[[-1], 1, "Detect", ["nc"]]]) | {"activation": activation})


def test_a_module_that_fails_on_a_map_is_told_in_one_line():
    with pytest.raises(ModelError, match="does not pass through"):
        DetectionModel(spec([[[-1, 2], 1, "Concat", [{"dimension": 7}]], [-1, 1, "Detect", ["nc"]]]), verbose=False)


def test_half_precision_on_a_cpu_is_said_not_to_happen(caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    model = DetectionModel(spec([[[2], 1, "Detect", ["nc"]]]), verbose=False)
    copied = inference_copy(model, torch.device("cpu"), half=True)
    assert next(copied.parameters()).dtype == torch.float32
    assert "half=True needs a GPU" in caplog.text


def test_what_a_rule_says_of_a_row_decides_how_it_is_fed(monkeypatch):
    """No module's name is asked: a list where the rule says so, and one stride where it says so."""
    monkeypatch.setattr(registry, "_MODULES", dict(registry._MODULES))

    class Resizes(nn.Module):
        def forward(self, x):
            return torch.cat([nn.functional.adaptive_avg_pool2d(m, x[0].shape[2:]) for m in x], 1)

    class Stacks(Resizes):
        pass

    registry.register(registry.concat)(Resizes)
    registry.register(registry.concat_of_one_stride)(Stacks)
    rows = [[-1, 1, "Conv", [64, 3, 2]], [-1, 1, "Conv", [64, 3, 2]]]
    layers, _ = parse_model(spec([*rows, [[-1, 0], 1, "Resizes", []], [-1, 1, "Stacks", []]]))
    assert layers[-1].f == [-1]
    assert layers[-2].f == [-1, 0]
    with pytest.raises(ModelError, match="different size"):
        parse_model(spec([*rows, [[-1, 0], 1, "Stacks", []]]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolov8n-fla.yaml", "yolov8n-fla-p345.yaml"])
def test_a_network_is_exported_with_any_batch_height_and_width(name):
    torch.manual_seed(0)
    model = DetectionModel(name, verbose=False).eval()
    b, h, w = Dim("b", min=1, max=64), Dim("h", min=1, max=64), Dim("w", min=1, max=64)
    dynamic = ({0: b, 2: 32 * h, 3: 32 * w},)
    exported = export(model, (torch.rand(2, 3, 64, 96),), dynamic_shapes=dynamic, strict=False).module()
    for shape in ((1, 3, 64, 64), (3, 3, 128, 64), (1, 3, 640, 640)):  # the last meets the window of a 20×20 map
        x = torch.rand(shape)
        with torch.no_grad():
            assert torch.equal(exported(x)[0], model(x)[0])
    assert torch._dynamo.explain(model)(torch.rand(1, 3, 64, 64)).graph_break_count == 0
