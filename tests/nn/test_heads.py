"""Heads: what subclasses call, heads of tutorials, and those of YOLOv10."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.nn.reference import tensors
from ultralytics.nn import modules
from ultralytics.nn.backend import inference_copy
from ultralytics.nn.modules import Detect, v10Detect
from ultralytics.nn.plugins import load_plugins
from ultralytics.nn.registry import detect_head, lookup, register
from ultralytics.nn.summary import explain
from ultralytics.nn.surgery import settle_norms
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ModelError
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.tal import dist2bbox, make_anchors

FILE = Path(__file__).parent / "published" / "heads.py"
HEADS = [
    ("Detect_LSCD", ["nc"]),
    ("Detect_LSCD", ["nc", 32]),
    ("Detect_LSCD", ["nc", {"hidc": 32}]),
    ("Detect_Efficient", ["nc"]),
    ("Detect_ASFF", ["nc"]),
    ("Detect_DyHead", ["nc", 32, 1]),
    ("Detect_DyHead", ["nc"]),
    ("v10Detect", ["nc"]),
]


def rows(name="Detect", args=("nc",), nc=3, levels=(3, 5), plugins=(str(FILE),)):
    stem = [[-1, 1, "Conv", [c, 3, 2]] for c in (16, 16, 32, 64, 64)]
    stem.append([-1, 1, "C2f", [64]])
    return {
        "nc": nc,
        "plugins": list(plugins),
        "scales": {"n": [0.33, 0.5, 1024]},
        "backbone": stem[:5],
        "head": [stem[5], [list(levels), 1, name, list(args)]],
    }


def net(name="Detect", args=("nc",), levels=(3, 5), **more):
    torch.manual_seed(0)
    return DetectionModel(rows(name, args, levels=levels, **more), verbose=False)


def batch():
    return {
        "batch_idx": torch.tensor([0.0, 1.0]),
        "cls": torch.tensor([1.0, 2.0]),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.3, 0.6, 0.3, 0.5]]),
    }


@pytest.mark.parametrize(("name", "args"), HEADS, ids=str)
def test_a_pasted_head_is_recognised_by_what_it_does(name, args):
    model = net(name, args)
    head = model.head
    assert (head.nc, head.nl, model.stride.tolist(), head.i) == (3, 2, [16, 32], 6)
    hidden = [a["hidc"] if isinstance(a, dict) else a for a in args[1:2]]
    if "LSCD" in name:
        assert head.cv3.in_channels == (hidden or [256])[0]
        assert torch.allclose(head.cv3.bias, torch.tensor(math.log(5 / 3 / 40**2)))
    x = torch.rand(2, 3, 64, 96)
    raw = model.train()(x)
    criterion = v8DetectionLoss(head.nc, head.stride, head.reg_max)
    loss, parts = criterion(raw, batch())
    loss.backward()
    assert torch.isfinite(parts).all()
    assert not [k for k, p in model.named_parameters() if p.requires_grad and p.grad is None]
    with torch.no_grad():
        y, maps = model.eval()(x)
        A = 4 * 6 + 2 * 3
        assert y.shape == ((2, A, 6) if name == "v10Detect" else (2, 7, A))
        torch.testing.assert_close(criterion((y, maps), batch())[1], criterion(maps, batch())[1])
        for size in ((64, 64), (96, 64), (64, 96)):  # the grids follow
            image = torch.rand(1, 3, *size)
            alone = inference_copy(model, torch.device("cpu"))(image)
            # Of raw maps: an end-to-end head's order is that of near-equal scores here.
            for ours, theirs in zip(tensors(model(image)[1]), tensors(alone[1]), strict=True):
                torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    assert len(non_max_suppression(y, 0.0, nc=3)) == 2
    assert explain(model, 64).rows[-1].parameters == sum(p.numel() for p in head.parameters())
    again = DetectionModel(model.yaml, verbose=False)
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again.eval()(x)[0], y)


def test_a_head_of_one_level_takes_a_list():
    assert net("Detect_Efficient", levels=(5,)).stride.tolist() == [32]
    assert net("Detect", levels=(5,)).stride.tolist() == [32]


def test_grids_that_a_head_keeps_do_not_outlive_a_move():
    model = net("Detect_LSCD").eval()
    x = torch.rand(1, 3, 64, 64)
    before = model(x)[0]
    assert model.head.shape is not None
    model.double()
    assert model.head.shape is None
    after = model(x.double())[0]
    assert after.dtype == torch.float64
    torch.testing.assert_close(after.float(), before, atol=1e-3, rtol=1e-4)


def test_detect_offers_what_subclasses_call():
    head = net("Detect").head
    assert (head.dynamic, head.export, head.format, head.end2end, head.shape) == (False, False, None, False, None)
    assert head.anchors.numel() == head.strides.numel() == 0
    raw = [torch.randn(2, head.no, 4, 6), torch.randn(2, head.no, 2, 3)]
    anchors, strides = (t.transpose(0, 1) for t in make_anchors(raw, head.stride, 0.5))
    box, score = torch.cat([r.flatten(2) for r in raw], 2).split((64, 3), 1)
    boxes = head.decode_bboxes(head.dfl(box), anchors.unsqueeze(0)) * strides
    torch.testing.assert_close(head._inference(raw), torch.cat((boxes, score.sigmoid()), 1))
    corners = dist2bbox(head.dfl(box), anchors.unsqueeze(0), xywh=False, dim=1)
    head.end2end = True
    torch.testing.assert_close(head.decode_bboxes(head.dfl(box), anchors.unsqueeze(0)), corners)


def test_what_is_no_head_is_told():
    with pytest.raises(ModelError, match=r"row 6 \(C2f\).*the last row must be Detect or another head.*\(nc, …, ch\)"):
        DetectionModel(rows() | {"head": [[-1, 1, "C2f", [64]], [-1, 1, "C2f", [64]]]}, verbose=False)

    @register(detect_head, name="FewMaps")
    class FewMaps(Detect):
        def forward(self, x):
            return [m[:, :-1] for m in super().forward(x)]

    with pytest.raises(ModelError, match=r"row 6 \(FewMaps\).*\[66, 66\] channels, and the loss reads .* = 67"):
        net("FewMaps")

    @register(detect_head, name="OtherBranches")
    class OtherBranches(Detect):
        def __init__(self, nc, ch):
            super().__init__(nc, ch)
            self.cv2 = nn.ModuleList(nn.Identity() for _ in ch)

        def forward(self, x):
            return [torch.zeros(len(m), self.no, *m.shape[2:]) for m in x]

    with pytest.raises(
        ModelError, match=r"row 6 \(OtherBranches\): its bias_init fails: TypeError.*bias_init of its own"
    ):
        net("OtherBranches")
    load_plugins([FILE])
    with pytest.raises(ModelError, match=r"row 6 \(Detect_LSCD\).*ch, the list of channels.*at most 2"):
        net("Detect_LSCD", ["nc", 32, 3])
    with pytest.raises(ModelError, match=r"it has 5 classes, and the model 3"):
        net("Detect_LSCD", [5])


def test_an_end_to_end_head_needs_no_suppression():
    model = settle_norms(net("v10Detect"))
    with torch.no_grad():
        for branch in model.head.one2one_cv3:
            branch[-1].weight *= 20  # scores apart
    y, raw = model(torch.rand(2, 3, 64, 64))
    assert sorted(raw) == ["one2many", "one2one"]
    scores = y[..., 4]
    assert (scores[:, :-1] >= scores[:, 1:]).all()
    threshold = scores[0, 5].item()
    found = non_max_suppression(y, threshold, 0.0, nc=3)
    assert len(found[0]) == 5  # overlaps stay
    torch.testing.assert_close(found[0], y[0, :5])
    torch.testing.assert_close(non_max_suppression((y, raw), threshold)[0], y[0, :5])
    wanted = int(y[0, 0, 5])
    assert set(non_max_suppression(y, 0.0, classes=[wanted], nc=3)[0][:, 5].tolist()) <= {wanted}
    assert len(non_max_suppression(y, 0.0, nc=3, max_det=2)[0]) == 2
    # The best of all pairs of anchor and class, by hand.
    with torch.no_grad():
        flat = model.head.decode(raw["one2one"])
    best = flat[0, 4:].max()
    torch.testing.assert_close(y[0, 0, 4], best)
    at = flat[0, 4:].amax(0).argmax()
    torch.testing.assert_close(y[0, 0, :4], flat[0, :4, at])


def test_the_branch_of_one_anchor_does_not_move_the_network():
    model = net("v10Detect").train()
    raw = model(torch.rand(2, 3, 64, 64))
    sum(m.sum() for m in raw["one2one"]).backward()
    assert all(p.grad is None for p in model.model[:-1].parameters())
    assert all(p.grad is not None for p in model.head.one2one_cv3.parameters())


def test_both_branches_start_alike_and_the_loss_is_their_sum():
    model = net("v10Detect").train()
    head = model.head
    raw = model(torch.rand(2, 3, 64, 64))
    for a, b in zip(tensors(raw["one2many"]), tensors(raw["one2one"]), strict=True):
        torch.testing.assert_close(a, b)
    both = v8DetectionLoss(3, head.stride)(raw, batch())
    many = v8DetectionLoss(3, head.stride, tal_topk=10)(raw["one2many"], batch())
    one = v8DetectionLoss(3, head.stride, tal_topk=1)(raw["one2one"], batch())
    torch.testing.assert_close(both[0], many[0] + one[0])
    torch.testing.assert_close(both[1], many[1] + one[1])


def test_classes_go_over_by_name_in_every_branch():
    old, new = net("v10Detect", nc=3), net("v10Detect", nc=2)
    old.names, new.names = {0: "a", 1: "b", 2: "c"}, {0: "c", 1: "a"}
    new.load(old)
    for branch in ("cv3", "one2one_cv3"):
        ours, theirs = (getattr(m.head, branch)[0][-1].weight for m in (new, old))
        assert torch.equal(ours, theirs[[2, 0]])


@pytest.mark.parametrize("name", ["RTDETRDecoder", "WorldDetect", "C2fAttn"])
def test_modules_of_other_tasks_say_what_to_use(name):
    with pytest.raises(ModelError, match=f"row 6 .*{name} is not offered: .*use"):
        net(name)
    with pytest.raises(ImportError, match=f"{name} is not offered: "):
        getattr(modules, name)


def test_v10detect_is_registered():
    assert lookup("v10Detect") == (v10Detect, detect_head)


def test_strides_of_a_head_are_kept_as_numbers_and_given_as_a_tensor():
    head = Detect(3, (16, 16))
    head.stride = torch.tensor([8.0, 16.0])
    assert head.steps == (8.0, 16.0)
    assert torch.equal(head.stride, torch.tensor([8.0, 16.0]))
    assert copy.deepcopy(head).steps == head.steps


def test_anchors_of_strides_in_a_tensor_do_not_break_a_graph():
    """Heads of the user's own hand their strides on as the reference's do."""

    def strides_of(x, stride):
        return make_anchors([x], stride)[1]

    x, stride = torch.rand(1, 1, 2, 3), torch.tensor([8.0])
    compiled = torch.compile(strides_of, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x, stride), strides_of(x, stride))
