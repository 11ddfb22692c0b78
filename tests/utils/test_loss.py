import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import papers
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import loss as losses
from ultralytics.utils import tal
from ultralytics.utils.loss import BboxLoss, FocalLoss, VarifocalLoss, known_most, v8DetectionLoss
from ultralytics.utils.tal import make_anchors
from ultralytics.utils.tensors import count_most


@pytest.mark.parametrize("case", "abc")
def test_loss_and_gradients_equal_the_references(fixtures, case):
    z = np.load(fixtures / f"loss_{case}.npz")
    maps = [torch.from_numpy(z[f"feat{i}"]).requires_grad_() for i in range(3)]
    criterion = v8DetectionLoss(int(z["nc"]), [8, 16, 32])
    total, items = criterion(maps, {k: torch.from_numpy(z[k]) for k in ("batch_idx", "cls", "bboxes")})
    np.testing.assert_allclose(items.numpy(), z["items"], rtol=1e-5)
    np.testing.assert_allclose(float(total.detach()), float(z["total"]), rtol=1e-5)
    total.backward()
    for i, m in enumerate(maps):
        want = z[f"grad{i}"]
        np.testing.assert_allclose(m.grad.numpy(), want, atol=1e-5 * np.abs(want).max(), rtol=1e-5)


def test_the_losses_of_a_box_are_the_papers():
    """A box (0, 0, 4, 2) of weight 0.5 whose object is (1, 0, 4, 4), worked out by hand.

    Overlap 6, union 8 + 12 − 6 = 14; centres (2, 1) and (2.5, 2), ρ² = 0.25 + 1; the smallest box around both is 4 × 4,
    c² = 32; v = 4/π² (atan 2 − atan ¾)², and atan 2 − atan ¾ = atan ½. The anchor (2.25, 1.5) is 1.25, 1.5, 1.75 and
    2.5 from the sides; its bins have the probabilities 0.1, 0.2, 0.3 and 0.4 on each. Another anchor is background.
    """
    v = 4 / math.pi**2 * math.atan(1 / 2) ** 2
    ciou = 6 / 14 - 1.25 / 32 - v * v / (1 - 6 / 14 + v)
    assert ciou == pytest.approx(0.377983, abs=1e-6)
    near = [0.75 * math.log(0.2) + 0.25 * math.log(0.3), 0.5 * math.log(0.2) + 0.5 * math.log(0.3)]
    near += [0.25 * math.log(0.2) + 0.75 * math.log(0.3), 0.5 * math.log(0.3) + 0.5 * math.log(0.4)]
    bins = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().repeat(4) + 5  # softmax does not see the 5
    box, dfl = BboxLoss(4)(
        torch.stack((bins, torch.zeros(16)))[None],
        torch.tensor([[[0.0, 0, 4, 2], [0, 0, 9, 9]]]),
        torch.tensor([[2.25, 1.5], [0.0, 0.0]]),
        torch.tensor([[[1.0, 0, 4, 4], [0, 0, 1, 1]]]),
        torch.tensor([[[0.0, 0.5], [0, 0]]]),
        torch.tensor(2.0),
        torch.tensor([[True, False]]),
    )
    assert float(box) == pytest.approx(0.5 * (1 - ciou) / 2, rel=1e-5)
    assert float(dfl) == pytest.approx(0.5 * -sum(near) / 4 / 2, rel=1e-5)


OBJECTS = [(0, (2.0, 3.0, 44.0, 37.0)), (2, (20.0, 12.0, 60.0, 50.0)), (2, (9.0, 40.0, 30.0, 63.0))]


def by_the_papers(outputs, bins, topk):
    """The parts of the loss of one image (1, 4·bins + C, h, w) a level, with the weights and gains of YOLOv8."""
    logits, sides, points, strides = [], [], [], []
    for stride, level in zip((8, 16), outputs, strict=True):
        for y in range(level.shape[2]):
            for x in range(level.shape[3]):
                numbers = level[0, :, y, x].tolist()
                sides.append([numbers[i * bins : (i + 1) * bins] for i in range(4)])
                logits.append(numbers[4 * bins :])
                points.append((x + 0.5, y + 0.5))
                strides.append(stride)
    return papers.detection_loss(
        logits, sides, points, strides, *zip(*OBJECTS, strict=True), gains=(7.5, 0.5, 1.5), topk=topk, alpha=0.5, beta=6
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_whole_loss_is_the_papers(seed):
    """Two levels, three classes, six bins; each object holds more anchors than it may take."""
    g = torch.Generator().manual_seed(seed)
    one, many = ([torch.randn(1, 4 * 6 + 3, s, s, generator=g, dtype=torch.float64) for s in (8, 4)] for _ in range(2))
    rows = [[0, c, (x1 + x2) / 128, (y1 + y2) / 128, (x2 - x1) / 64, (y2 - y1) / 64] for c, (x1, y1, x2, y2) in OBJECTS]
    criterion = v8DetectionLoss(3, [8, 16], reg_max=6)
    total, parts = criterion(many, labels(*rows))
    want = by_the_papers(many, 6, topk=10)
    assert parts.tolist() == pytest.approx(want, rel=1e-5)
    assert float(total) == pytest.approx(sum(want), rel=1e-5)
    _, parts = criterion({"one2many": many, "one2one": one}, labels(*rows))
    assert parts.tolist() == pytest.approx(
        [a + b for a, b in zip(want, by_the_papers(one, 6, 1), strict=True)], rel=1e-5
    )
    # Of two equal images: the same mean per object, and twice the sum to differentiate.
    twice = [[1, *row[1:]] for row in rows]
    total, parts = criterion([m.repeat(2, 1, 1, 1) for m in many], labels(*rows, *twice))
    assert parts.tolist() == pytest.approx(want, rel=1e-5)
    assert float(total) == pytest.approx(2 * sum(want), rel=1e-5)


def test_focal_losses_are_the_papers():
    """A positive and a negative at logit 1, p = 1 / (1 + e⁻¹): α = ¼, γ = 1.5 (Lin et al. 2017); α = ¾, γ = 2, the
    positive's target 0.8 (Zhang et al. 2021)."""
    p = 1 / (1 + math.exp(-1))
    x, label = torch.ones(1, 2), torch.tensor([[1.0, 0.0]])
    want = -0.25 * (1 - p) ** 1.5 * math.log(p) - 0.75 * p**1.5 * math.log(1 - p)
    assert float(FocalLoss()(x, label)) == pytest.approx(want / 2, rel=1e-5)
    positive, negative = -0.8 * (0.8 * math.log(p) + 0.2 * math.log(1 - p)), -0.75 * p**2 * math.log(1 - p)
    assert float(VarifocalLoss()(x, label * 0.8, label)) == pytest.approx((positive + negative) / 2, rel=1e-5)


def maps(nc, batch=2, size=64):
    g = torch.Generator().manual_seed(0)
    return [torch.randn(batch, 64 + nc, size // s, size // s, generator=g).requires_grad_() for s in (8, 16, 32)]


def labels(*rows):
    rows = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return {"batch_idx": rows[:, 0], "cls": rows[:, 1], "bboxes": rows[:, 2:]}


@pytest.mark.parametrize("nc", [1, 3, 64, 365])
@pytest.mark.parametrize(
    "rows",
    [
        [],
        [[0, 0, 0.5, 0.5, 0.4, 0.4]],  # the second image has none
        [[0, 0, 0.5, 0.5, 1 / 64, 1 / 64], [1, 0, 0.2, 0.2, 0.3, 0.1]],  # one pixel
        [[0, 0, 0.0, 0.0, 0.0, 0.0]],  # a box without area is no object
        [[0, 0, 0.5, 0.5, 1.0, 1.0], [0, 0, 0.5, 0.5, 1.0, 1.0]],
    ],
)
def test_unusual_labels_give_finite_losses_and_gradients(nc, rows):
    outputs = maps(nc)
    total, items = v8DetectionLoss(nc, torch.tensor([8.0, 16.0, 32.0]))(outputs, labels(*rows))
    total.backward()
    assert torch.isfinite(items).all()
    assert all(torch.isfinite(m.grad).all() for m in outputs)


def test_loss_of_half_precision_maps_is_computed_wide():
    outputs = [m.detach().bfloat16() for m in maps(3)]
    _, items = v8DetectionLoss(3, [8, 16, 32])(outputs, labels([0, 1, 0.5, 0.5, 0.4, 0.4]))
    assert items.dtype == torch.float32


def test_gains_scale_their_part():
    batch = labels([0, 0, 0.5, 0.5, 0.4, 0.4])
    outputs = [m.detach() for m in maps(1)]
    one = v8DetectionLoss(1, [8, 16, 32])(outputs, batch)[1]
    two = v8DetectionLoss(1, [8, 16, 32], box=15.0, cls=0.5, dfl=3.0)(outputs, batch)[1]
    torch.testing.assert_close(two, one * torch.tensor([2.0, 1.0, 2.0]))


class OfAScript(v8DetectionLoss):
    """A loss computed anew from the parts that such scripts use, as they are called there."""

    def __call__(self, preds, batch):
        feats = preds[1] if isinstance(preds, tuple) else preds
        count = feats[0].shape[0]
        rows = torch.cat([m.view(count, self.no, -1) for m in feats], 2).permute(0, 2, 1).contiguous()
        dist, scores = rows.split((4 * self.reg_max, self.nc), 2)
        sides = torch.tensor(feats[0].shape[2:], device=self.device, dtype=scores.dtype) * self.stride[0]
        points, steps = make_anchors(feats, self.stride, 0.5)
        columns = batch["batch_idx"].view(-1, 1), batch["cls"].view(-1, 1), batch["bboxes"]
        targets = self.preprocess(torch.cat(columns, 1).to(self.device), count, scale_tensor=sides[[1, 0, 1, 0]])
        labels, boxes = targets.split((1, 4), 2)
        mask = boxes.sum(2, keepdim=True).gt_(0)
        found = self.bbox_decode(points, dist)
        known = scores.detach().sigmoid(), (found.detach() * steps).type(boxes.dtype), points * steps
        _, wanted, aimed, chosen, _ = self.assigner(*known, labels, boxes, mask)
        total = max(aimed.sum(), 1)
        loss = torch.zeros(3, device=self.device)
        loss[1] = self.bce(scores, aimed.to(scores.dtype)).sum() / total
        wanted /= steps
        loss[0], loss[2] = self.bbox_loss(dist, found, points, wanted, aimed, total, chosen)
        assert self.use_dfl
        assert self.proj.tolist() == list(range(self.reg_max))
        loss *= torch.tensor([self.hyp.box, self.hyp.cls, self.hyp.dfl])
        return loss.sum() * count, loss.detach()


def test_a_loss_of_a_scripts_own_finds_the_parts_it_uses(tiny):
    torch.manual_seed(0)
    model = DetectionModel(str(tiny), nc=3, verbose=False)
    model.args = {"box": 5.0, "cls": 2.0}
    batch = {
        "batch_idx": torch.tensor([0.0, 2.0, 2.0]),
        "cls": torch.tensor([[1.0], [0.0], [2.0]]),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.3, 0.3, 0.2, 0.3], [0.7, 0.6, 0.5, 0.2]]),
    }
    maps = [m.contiguous(memory_format=torch.channels_last) for m in model.train()(torch.rand(3, 3, 64, 96))]
    ours, parts = v8DetectionLoss(model)(maps, batch)
    own, own_parts = OfAScript(model)(maps, batch)
    torch.testing.assert_close(own, ours)
    torch.testing.assert_close(own_parts, parts)
    assert v8DetectionLoss(model).hyp.dfl == 1.5
    assert v8DetectionLoss(3, [8, 16]).stride.tolist() == [8, 16]


def of_form(whole, criterion, outputs, batch):
    """Return loss, parts and gradients as a GPU computes them, or as a CPU."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (losses, tal):
            patch.setattr(module, "masked", lambda device: whole)
        total, parts = criterion(outputs, batch)
        return [total, parts, *torch.autograd.grad(total, outputs)]


@settings(max_examples=20, deadline=None)
@given(boxes=st.integers(0, 30), nc=st.sampled_from([1, 7]), bins=st.sampled_from([1, 16]), seed=st.integers(0, 10_000))
def test_masked_and_picked_losses_and_gradients_are_equal(boxes, nc, bins, seed):
    g = torch.Generator().manual_seed(seed)
    outputs = [torch.randn(3, 4 * bins + nc, 64 // s, 96 // s, generator=g) * 2 for s in (8, 16, 32)]
    outputs = [m.requires_grad_() for m in outputs]
    batch = {
        "batch_idx": torch.randint(0, 3, (boxes,), generator=g).float(),
        "cls": torch.randint(0, nc, (boxes,), generator=g).float(),
        "bboxes": torch.rand(boxes, 4, generator=g),
    }
    criterion = v8DetectionLoss(nc, [8, 16, 32], reg_max=bins)
    some, every = (of_form(whole, criterion, outputs, batch) for whole in (False, True))
    for a, b in zip(some, every, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=2e-6 * max(float(a.detach().abs().max()), 1))


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.integers(0, 3), max_size=20), more=st.integers(0, 3), known=st.booleans())
def test_targets_hold_the_boxes_of_each_image_in_their_order(rows, more, known):
    batch_idx, cls = torch.tensor(rows, dtype=torch.float32), torch.arange(len(rows)).float()
    bboxes = torch.linspace(0.1, 0.4, 4 * len(rows)).view(-1, 4)
    most = count_most(batch_idx)
    assert most == max((rows.count(i) for i in range(4)), default=0)
    padded = most + more if known else None
    labels, boxes, mask = v8DetectionLoss.targets(batch_idx, cls, bboxes, 4, torch.full((4,), 64.0), padded)
    assert mask.shape[1] == (most + more if known and rows else most)
    for i in range(4):
        mine = [n for n, image in enumerate(rows) if image == i]
        assert labels[i, :, 0][mask[i, :, 0]].tolist() == mine
        half = bboxes[mine, 2:] * 32
        want = torch.cat((bboxes[mine, :2] * 64 - half, bboxes[mine, :2] * 64 + half), 1)
        torch.testing.assert_close(boxes[i][: len(mine)], want)
        assert not boxes[i][len(mine) :].any()


def test_a_count_of_boxes_holds_for_the_labels_that_were_counted():
    batch = labels([0, 0, 0.5, 0.5, 0.2, 0.2], [0, 0, 0.5, 0.5, 0.2, 0.2])
    assert known_most(batch) is None
    batch["most"] = 2, batch["batch_idx"]
    assert known_most(batch) == 2
    batch["batch_idx"] = torch.cat([batch["batch_idx"], torch.zeros(1)])  # a script adds a box
    assert known_most(batch) is None


def test_one_criterion_validates_and_trains():
    criterion, batch = v8DetectionLoss(3, [8, 16, 32]), labels([0, 1, 0.5, 0.5, 0.4, 0.4])
    with torch.inference_mode():
        criterion([m.detach() for m in maps(3)], batch)
    for size in (64, 96, 64):
        criterion(maps(3, size=size), batch)[0].backward()


@pytest.mark.gpu
def test_a_gpu_finds_the_loss_and_gradients_of_a_cpu_by_deterministic_operations():
    g, found = torch.Generator().manual_seed(0), []
    batch = {
        "batch_idx": torch.arange(2).repeat_interleave(20).float(),
        "cls": torch.randint(0, 3, (40,), generator=g).float(),
        "bboxes": torch.rand(40, 4, generator=g) * 0.5 + 0.2,
    }
    on, warn_only = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        for device in ("cpu", "cuda", "cuda"):
            outputs = [m.detach().to(device).requires_grad_() for m in maps(3)]
            criterion = v8DetectionLoss(3, [8, 16, 32])
            total, parts = criterion(outputs, {k: v.to(device) for k, v in batch.items()})
            found.append([t.cpu() for t in (total.detach(), parts, *torch.autograd.grad(total, outputs))])
    finally:
        torch.use_deterministic_algorithms(on, warn_only=warn_only)
    for on_cpu, once, again in zip(*found, strict=True):
        torch.testing.assert_close(once, on_cpu, rtol=1e-3, atol=1e-4 * max(float(on_cpu.abs().max()), 1))
        assert torch.equal(once, again)
