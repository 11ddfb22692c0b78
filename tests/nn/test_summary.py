import json

import pytest
import torch
import yaml
from torch import nn

from ultralytics.cfg.model import ModelSpec
from ultralytics.cfg.surgery import insert_rows
from ultralytics.nn.modules import Conv
from ultralytics.nn.registry import register, same_width
from ultralytics.nn.summary import explain, summarise
from ultralytics.nn.tasks import DetectionModel

SIZES = [(640, 640), (384, 640), (1088, 320)]


def inserted(after, module, scale="n"):
    spec = ModelSpec.from_dict(yaml.safe_load(insert_rows("yolov8.yaml", after, module)), scale)
    return DetectionModel(spec, nc=3, verbose=False)


def attention_flops(N, C, d, k):
    """Projections, core and depth-wise convolution of focused linear attention."""
    return 8 * N * C * C + 4 * N * C * d + 2 * k * k * N * C


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_attention_is_counted_to_the_last_flop_at_the_true_size(size, batch):
    row = explain(DetectionModel("yolov8n-fla.yaml", nc=80, verbose=False), size, batch).rows[10]
    N = size[0] // 32 * (size[1] // 32)
    assert row.flops == batch * attention_flops(N, 256, 256 // 8, 5)
    assert row.macs * 2 == row.flops
    assert row.shapes == [[batch, 256, size[0] // 32, size[1] // 32]]


@pytest.mark.parametrize(
    ("module", "core"),
    [
        ("FLABlock(4, kernel_size=3)", lambda N, C: 4 * N * C * (C // 4) + 2 * 9 * N * C),
        ("FLABlock(8, kernel_size=0)", lambda N, C: 4 * N * C * (C // 8)),
        ("ReLULinearBlock(8)", lambda N, C: 4 * N * C * (C // 8)),
        ("MALABlock(8)", lambda N, C: 4 * N * C * (C // 8)),
        ("PSABlock(8)", lambda N, C: 4 * N * N * C),
        ("RALABlock(8)", lambda N, C: 4 * N * C * (C // 8) + 2 * N * C * C),
    ],
)
def test_every_mixing_operation_is_counted(module, core):
    row = explain(inserted(15, module), (96, 160)).rows[16]
    N, C = 12 * 20, 64
    assert row.flops == 8 * N * C * C + core(N, C)


def test_an_identity_costs_nothing():
    plain = explain(DetectionModel("yolov8n.yaml", nc=3, verbose=False), 320)
    report = explain(inserted(9, "nn.Identity"), 320)
    assert report.flops == plain.flops
    assert report.flops_fused == plain.flops_fused
    assert report.parameters == plain.parameters
    assert report.rows[10].flops == 0


def test_a_convolution_by_hand():
    model = DetectionModel("yolov8n.yaml", nc=3, verbose=False)
    report = explain(model, (64, 96))
    products, norm = 16 * 32 * 48 * 3 * 9, 16 * 32 * 48
    first = report.rows[0]
    assert first.macs == products + norm  # unfused: the batch norm multiplies and adds once per element
    assert (first.requested, first.scaled, first.channels, first.stride) == (64, 16, 16, 2)
    folded = sum(m.bn.num_features for m in model.modules() if isinstance(m, Conv))
    assert report.parameters - report.parameters_fused == folded  # weight and bias of a norm become one bias
    assert report.macs_fused < report.macs
    assert report.flops == sum(r.flops for r in report.rows)
    assert sum(r.share for r in report.rows) == pytest.approx(1)


def test_channels_are_told_as_requested_scaled_and_actual():
    report = explain(DetectionModel("yolov8m-fla.yaml", nc=3, verbose=False), 64)
    sppf, attention, head = report.rows[9], report.rows[10], report.rows[23]
    assert (sppf.requested, sppf.scaled, sppf.channels) == (1024, 576, 576)
    assert (attention.requested, attention.scaled, attention.channels) == (256, None, 576)
    assert len(head.shapes) == 3
    assert "1024 → 576 → 576" in "\n".join(report.lines())


def test_products_of_parameters_alone_do_not_count_and_a_plugins_products_do():
    @register(same_width)
    class Projector(nn.Module):
        def __init__(self, c1):
            super().__init__()
            self.a, self.b = (nn.Parameter(torch.eye(c1)) for _ in range(2))

        def forward(self, x):
            return torch.einsum("bchw,cd->bdhw", x, self.a @ self.b)

    row = explain(inserted(9, "Projector"), 64).rows[10]
    assert row.flops == 2 * 2 * 2 * 256 * 256


def test_products_inside_torchs_own_attention_count():
    @register(same_width)
    class Torchs(nn.Module):
        def __init__(self, c1):
            super().__init__()
            self.attn = nn.MultiheadAttention(c1, 4, batch_first=True)
            self.row = nn.Parameter(torch.ones(c1))

        def forward(self, x):
            tokens = x.flatten(2).transpose(1, 2)
            out = self.attn(tokens, tokens, tokens, need_weights=False)[0]
            gain = (out[0] @ self.row).sigmoid().view(1, 1, *x.shape[2:])
            return out.transpose(1, 2).view_as(x) * gain

    row = explain(inserted(15, "Torchs"), (64, 96)).rows[16]
    N, C = 8 * 12, 64
    assert row.flops == 8 * N * C * C + 4 * N * N * C + 2 * N * C
    assert torch.backends.mha.get_fastpath_enabled()


def test_looking_leaves_the_model_alone():
    model = DetectionModel("yolov8n-fla.yaml", nc=3, verbose=False).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    explain(model, 64)
    assert model.training
    assert not model.is_fused()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_report_is_plain_data_and_a_table():
    report = explain(inserted([4, 15], "FLABlock"), (64, 96), 2)
    assert json.loads(json.dumps(report.to_dict()))["rows"][5]["module"] == "FLABlock"
    lines = report.lines()
    assert lines[0].split()[:5] == ["#", "name", "from", "n", "module"]
    assert any("c2f4_flablock" in line and "Concat" in line for line in lines)
    assert "MACs" in lines[-2]
    assert "GFLOPs" in lines[-2]


@pytest.mark.parametrize(
    ("name", "layers", "gflops"),
    [
        ("yolov6n.yaml", 195, 13.026),
        ("yolov9t.yaml", 917, 8.481),
        ("yolov10n.yaml", 385, 8.738),
    ],
)
def test_other_families_are_counted_as_the_reference_counts(name, layers, gflops):
    totals = summarise(DetectionModel(name, verbose=False))
    assert totals["layers"] == layers
    assert totals["gflops"] == pytest.approx(gflops, abs=2e-3)


def test_branches_that_fusing_joins_are_counted_once():
    data = {"nc": 2, "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "RepConv", [8]]]}
    model = DetectionModel({**data, "head": [[[-1], 1, "Detect", ["nc"]]]}, verbose=False)
    plain = DetectionModel(
        {"nc": 2, "backbone": [data["backbone"][0], [-1, 1, "Conv", [8, 3]]], "head": [[[-1], 1, "Detect", ["nc"]]]},
        verbose=False,
    )
    one, other = explain(model, 64), explain(plain, 64)
    assert one.rows[1].macs == 32 * 32 * 8 * (8 * 9 + 8 + 2)  # both branches, and the norm of each
    assert one.macs_fused == other.macs_fused
    assert one.parameters_fused == other.parameters_fused
