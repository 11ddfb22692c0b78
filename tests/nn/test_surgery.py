"""An insertion anywhere leaves the network as it was: its output to the bit, and every tensor."""

import pytest
import torch
import yaml

from ultralytics.cfg.model import ModelSpec, load_model_spec
from ultralytics.cfg.surgery import insert_rows, replace_rows
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.nn.plugins import load_plugins
from ultralytics.nn.surgery import check_edit, settle_norms
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ModelError

ROWS = range(22)


def edited(text, scale, alone=False):
    """The network of a text; `alone`: of one scale, where the others are not what a test is about."""
    data = yaml.safe_load(text)
    if alone:
        data["scales"] = {scale: data["scales"][scale]}
    return ModelSpec.from_dict(data, scale)


def check_insertion(base, scale, row, size=(384, 640)):
    new = DetectionModel(edited(insert_rows("yolov8.yaml", row, "FLABlock"), scale), nc=base.nc, verbose=False).eval()
    report = new.load(base)
    assert report.share == 1
    assert len(report.loaded) == len(base.state_dict())
    assert {n.split(".")[1] for n in report.new} == {str(row + 1)}
    assert not report.unused
    assert not report.mismatched
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(row))
    with torch.inference_mode():
        (want, want_raw), (got, got_raw) = base(x), new(x)
    assert torch.equal(got, want)
    assert all(torch.equal(a, b) for a, b in zip(got_raw, want_raw, strict=True))


@pytest.fixture(scope="module")
def nano():
    torch.manual_seed(0)
    return settle_norms(DetectionModel("yolov8n.yaml", nc=3, verbose=False))


def test_the_probe_would_see_a_difference(nano):
    """Every row's output matters to the last bit, else equality would say nothing."""
    x = torch.rand(1, 3, 96, 160)
    want = nano(x)[0]
    for i in range(22):

        def nudge(_, __, out):
            return out * 1.001

        handle = nano.model[i].register_forward_hook(nudge)
        assert not torch.equal(nano(x)[0], want), i
        handle.remove()
    assert torch.equal(nano(x)[0], want)


@pytest.mark.parametrize("row", ROWS)
def test_an_insertion_after_any_row_changes_nothing(nano, row):
    check_insertion(nano, "n", row, (96, 160))


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["s", "m", "l", "x"])
def test_an_insertion_after_any_row_changes_nothing_at_any_scale(scale):
    torch.manual_seed(0)
    base = settle_norms(DetectionModel("yolov8.yaml", nc=80, verbose=False, scale=scale))
    for row in ROWS:
        check_insertion(base, scale, row)


@pytest.mark.slow
def test_an_insertion_after_any_row_changes_nothing_with_real_weights(shared):
    checkpoint = load_checkpoint(shared / "weights" / "yolov8n.pt")
    base = DetectionModel(checkpoint.spec, verbose=False).eval()
    base.load(checkpoint.weights)
    for row in ROWS:
        check_insertion(base, "n", row)


PLACEMENTS = [
    *(f"fla-{name}" for name in ("sppf", "p3", "p4", "p5", "p345", "c2f-backbone", "c2f-neck", "amd")),
    "conv-sppf",
    "conv-p345",
    "psa",
]


@pytest.mark.parametrize("name", PLACEMENTS)
def test_bundled_placements_compute_what_yolov8_computes(nano, name):
    model = DetectionModel(f"yolov8n-{name}.yaml", nc=3, verbose=False).eval()
    report = model.load(nano)
    assert report.share == 1
    x = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(model(x)[0], nano(x)[0])


@pytest.mark.slow
@pytest.mark.parametrize("scale", "smlx")
def test_the_placement_of_seven_places_computes_what_yolov8_computes_at_every_scale(scale):
    plain = DetectionModel("yolov8.yaml", nc=3, verbose=False, scale=scale).eval()
    model = DetectionModel("yolov8-fla-amd.yaml", nc=3, verbose=False, scale=scale).eval()
    report = model.load(plain)
    assert report.share == 1
    assert report.moved == {10: 11, 11: 12, 12: 25} | {i: i + 14 for i in (13, 14, 15)} | {
        i: i + 15 for i in (16, 17, 18)
    } | {i: i + 16 for i in (19, 20, 21)} | {22: 39}
    assert sum(n.endswith("gate") for n in report.new) == 7
    for size in ((64, 96), (160, 64)):
        x = torch.rand(1, 3, *size)
        with torch.inference_mode():
            assert torch.equal(model(x)[0], plain(x)[0])


def test_an_edit_is_described():
    before = load_model_spec("yolov8n.yaml")
    notes = check_edit(before, edited(insert_rows("yolov8.yaml", [15, 18, 21], "FLABlock"), "n"))
    assert notes[0] == (
        "the head reads 64 channels at stride 8, 128 channels at stride 16, 256 channels at stride 32, as before"
    )
    assert "355 of 355" in notes[1]
    assert "to the bit" in notes[2]
    changed = check_edit(before, edited(insert_rows("yolov8.yaml", 9, "FocusedLinearAttention(256)"), "n", alone=True))
    assert "something else than before" in changed[2]
    emptied = check_edit(before, edited(replace_rows("yolov8.yaml", 9, "nn.Identity()"), "n", alone=True))
    assert "343 of 343" in emptied[1]
    assert "something else than before" in emptied[2]


@pytest.mark.parametrize(
    ("row", "module", "message"),
    [
        (15, "Conv(256, 3, 2)", "stride"),  # halves what the head reads at P3, or joins maps of two sizes
        (15, "Conv(512, 1)", "head would read|128 channels"),
        (21, "Conv(512, 1)", "head would read.*it read"),
    ],
)
def test_an_edit_that_the_head_would_feel_is_refused(row, module, message):
    with pytest.raises(ModelError, match=message):
        check_edit(load_model_spec("yolov8n.yaml"), edited(insert_rows("yolov8.yaml", row, module), "n"))


def test_an_edit_that_fails_at_another_scale_is_refused():
    """5 heads divide the 80 and 640 channels of x, not the 64 of n."""
    with pytest.raises(ModelError, match="5 heads do not divide"):
        check_edit(load_model_spec("yolov8x.yaml"), edited(insert_rows("yolov8.yaml", 9, "FLABlock(num_heads=5)"), "x"))


def test_the_head_is_compared_at_every_scale():
    """768·0.75 is what P5 has at m; at n it would be 192 channels instead of 256."""
    with pytest.raises(ModelError, match="192 channels at stride 32 at scale n"):
        check_edit(load_model_spec("yolov8m.yaml"), edited(insert_rows("yolov8.yaml", 21, "Conv(768, 1)"), "m"))


def test_a_replacement_keeps_every_tensor(nano):
    model = DetectionModel(edited(replace_rows("yolov8.yaml", [2, 4, 6, 8], "C2f_FLA"), "n"), nc=3, verbose=False)
    assert model.load(nano).share == 1


def test_a_module_that_reads_numbers_of_its_maps_can_be_inserted(tmp_path):
    """Shapes alone do not do: it is tried on numbers."""
    (tmp_path / "reads.py").write_text(
        "from torch import nn\n\n\nclass ReadsMean(nn.Module):\n"
        "    def __init__(self, c):\n        super().__init__()\n        self.conv = nn.Conv2d(c, c, 1)\n\n"
        "    def forward(self, x):\n        return self.conv(x) * (2.0 if x.mean().item() > 0 else 1.0)\n",
        encoding="utf-8",
    )
    load_plugins([tmp_path / "reads.py"])
    before = load_model_spec("yolov8.yaml", "n")
    lines = check_edit(before, edited(insert_rows("yolov8.yaml", 9, "ReadsMean"), "n", alone=True))
    assert lines[0].endswith("as before")
