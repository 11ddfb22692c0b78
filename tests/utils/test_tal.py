import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import papers
from ultralytics.utils import tal
from ultralytics.utils.boxes import xywhr2xyxyxyxy
from ultralytics.utils.tal import (
    RotatedTaskAlignedAssigner,
    TaskAlignedAssigner,
    bbox2dist,
    dist2bbox,
    dist2rbox,
    make_anchors,
)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("fixture", "kind"), [("assigner", TaskAlignedAssigner), ("assigner_rotated", RotatedTaskAlignedAssigner)]
)
def test_assigner_equals_the_reference(fixtures, monkeypatch, fixture, kind, whole):
    monkeypatch.setattr(tal, "masked", lambda device: whole)
    z = np.load(fixtures / f"{fixture}.npz")

    def t(k):
        return torch.from_numpy(z[k])

    assigner = kind(topk=10, num_classes=t("pred_scores").shape[-1], alpha=0.5, beta=6.0)
    if "inside" in z:
        real = t("mask_gt").squeeze(-1)
        assert torch.equal(assigner.inside(t("anchor_points"), t("gt_boxes"))[real], t("inside")[real])
    out = assigner(*(t(k) for k in ("pred_scores", "pred_boxes", "anchor_points", "gt_labels", "gt_boxes", "mask_gt")))
    for name, value in zip(
        ("target_labels", "target_boxes", "target_scores", "fg_mask", "target_gt_idx"), out, strict=True
    ):
        if name == "target_scores":
            torch.testing.assert_close(value.double(), t(name).double(), atol=1e-5, rtol=0)
        else:
            assert torch.equal(value.double(), t(name).double()), name


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("topk", "alpha", "beta"), [(10, 0.5, 6.0), (1, 0.5, 6.0), (6, 1.0, 6.0), (4, 1.0, 2.0)])
def test_the_assignment_is_the_papers(topk, alpha, beta, seed):
    """Two objects that share a corner, predictions about as wide as they are, so that anchors are contested."""
    g = torch.Generator().manual_seed(seed)
    points = [(4.0 + 8 * x, 4.0 + 8 * y) for y in range(8) for x in range(8)]
    truths, labels = [(5.0, 6.0, 43.0, 35.0), (22.0, 12.0, 61.0, 58.0)], [1, 0]
    sides = 4 + 32 * torch.rand(64, 4, generator=g)
    boxes = torch.cat((torch.tensor(points) - sides[:, :2], torch.tensor(points) + sides[:, 2:]), 1)
    scores = torch.rand(64, 3, generator=g)
    want = papers.assigned(scores.tolist(), boxes.tolist(), points, labels, truths, topk, alpha, beta)
    _, taken, target, chosen, index = TaskAlignedAssigner(topk, 3, alpha, beta)(
        scores[None], boxes[None], torch.tensor(points), torch.tensor([[[1], [0]]]), torch.tensor([truths]),
        torch.ones(1, 2, 1),
    )  # fmt: skip
    assert chosen[0].nonzero().flatten().tolist() == sorted(want)
    for anchor, (truth, score) in want.items():
        assert index[0, anchor] == truth
        assert taken[0, anchor].tolist() == list(truths[truth])
        assert target[0, anchor].tolist() == pytest.approx([score * (c == labels[truth]) for c in range(3)], rel=1e-4)
    assert float(target.sum()) == pytest.approx(sum(s for _, s in want.values()), rel=1e-4)


def test_the_alignment_of_an_anchor_worked_out_by_hand():
    """Scores 0.25 and 0.81 for (0, 0, 4, 2) and the object itself, (1, 0, 4, 4): t = √s · CIoU⁶.

    CIoU = 6/14 − 1.25/32 − α v = 0.377983 (worked out in test_loss.py), so t = 0.5 · 0.377983⁶ = 0.00145815 of 0.9. The
    best anchor gets the object's best overlap, 1, and the other 0.00145815 / 0.9.
    """
    _, _, target, chosen, _ = TaskAlignedAssigner(10, 1, 0.5, 6.0)(
        torch.tensor([[[0.25], [0.81], [0.9]]]),
        torch.tensor([[[0.0, 0, 4, 2], [1, 0, 4, 4], [1, 0, 4, 4]]]),
        torch.tensor([[2.0, 1.0], [3.0, 2.0], [0.5, 2.0]]),  # the third is outside
        torch.zeros(1, 1, 1),
        torch.tensor([[[1.0, 0, 4, 4]]]),
        torch.ones(1, 1, 1),
    )
    assert chosen.tolist() == [[True, True, False]]
    assert target.flatten().tolist() == pytest.approx([0.00145815 / 0.9, 1, 0], rel=1e-4)


def test_anchors_and_distances_worked_out_by_hand():
    points, strides = make_anchors([torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 1)], [8, 16])
    assert points.tolist() == [[0.5, 0.5], [1.5, 0.5], [0.5, 0.5]]
    assert strides.tolist() == [[8], [8], [16]]
    sides = torch.tensor([[1.0, 2.0, 3.0, 6.0]])
    assert dist2bbox(sides, torch.tensor([[10.0, 20.0]]), xywh=False).tolist() == [[9, 18, 13, 26]]
    assert dist2bbox(sides, torch.tensor([[10.0, 20.0]])).tolist() == [[11, 22, 4, 8]]
    inverse = bbox2dist(torch.tensor([[10.0, 20.0]]), torch.tensor([[9.0, 18, 13, 26]]), 5)
    assert inverse.flatten().tolist() == pytest.approx([1, 2, 3, 4.99])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 12), st.integers(1, 5), st.integers(0, 10_000))
def test_anchors_with_a_score_lie_inside_the_box_they_are_given(boxes, nc, seed):
    g = torch.Generator().manual_seed(seed)
    grid = (
        torch.stack(torch.meshgrid(torch.arange(16), torch.arange(16), indexing="xy"), -1).view(-1, 2).float() * 8 + 4
    )
    scores = torch.rand(1, 256, nc, generator=g)
    corner = torch.rand(1, 256, 2, generator=g) * 100
    predicted = torch.cat([corner, corner + 20], -1)
    low = torch.rand(1, boxes, 2, generator=g) * 90
    truth = torch.cat([low, low + 1 + torch.rand(1, boxes, 2, generator=g) * 60], -1)
    labels = torch.randint(0, nc, (1, boxes, 1), generator=g)
    _, target_boxes, target_scores, fg, index = TaskAlignedAssigner(10, nc)(
        scores, predicted, grid, labels, truth, torch.ones(1, boxes, 1, dtype=torch.bool)
    )
    assert torch.isfinite(target_scores).all()
    assert (target_scores[~fg] == 0).all()
    if boxes:
        scored = target_scores[0].sum(-1) > 0  # of the foreground: one that overlaps no box at all has score 0
        mine = truth[0, index[0][scored]]
        inside = (grid[scored] > mine[:, :2]).all(1) & (grid[scored] < mine[:, 2:]).all(1)
        assert inside.all()
        assert torch.equal(target_boxes[0][fg[0]], truth[0, index[0][fg[0]]])


@settings(max_examples=25, deadline=None)
@given(
    images=st.integers(1, 3),
    boxes=st.integers(0, 9),
    nc=st.integers(1, 5),
    topk=st.sampled_from([1, 10]),
    pairs=st.sampled_from([1, 1000, 10**6]),
    seed=st.integers(0, 10_000),
)
def test_all_pairs_and_the_inner_ones_are_assigned_alike(images, boxes, nc, topk, pairs, seed):
    g = torch.Generator().manual_seed(seed)
    x, y = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="xy")
    grid = torch.stack((x, y), -1).view(-1, 2).float() * 8 + 4
    scores = torch.rand(images, 64, nc, generator=g)
    corner = torch.rand(images, 64, 2, generator=g) * 60
    predicted = torch.cat([corner, corner + 20 * torch.rand(images, 64, 2, generator=g)], -1)
    low = torch.rand(images, boxes, 2, generator=g) * 50
    truth = torch.cat([low, low + 60 * torch.rand(images, boxes, 2, generator=g) ** 2], -1)
    labels = torch.randint(0, nc, (images, boxes, 1), generator=g).float()
    real = torch.rand(images, boxes, 1, generator=g) < 0.8
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tal, "PAIRS", pairs)
        for whole in (False, True):
            patch.setattr(tal, "masked", lambda device, whole=whole: whole)
            found.append(TaskAlignedAssigner(topk, nc)(scores, predicted, grid, labels, truth * real, real))
    for some, every in zip(*found, strict=True):
        torch.testing.assert_close(every, some, rtol=1e-6, atol=1e-7)


def test_a_gpu_compares_a_bounded_number_of_pairs(monkeypatch):
    seen = []
    monkeypatch.setattr(tal, "masked", lambda device: True)
    monkeypatch.setattr(tal, "PAIRS", 2 * 100 * 3)
    compare = TaskAlignedAssigner.alignment
    monkeypatch.setattr(
        TaskAlignedAssigner,
        "alignment",
        lambda self, score, *of: seen.append(score.numel()) or compare(self, score, *of),
    )
    boxes = torch.rand(2, 8, 4).sort(-1).values
    points, mask = torch.rand(100, 2), torch.ones(2, 8, 1)
    TaskAlignedAssigner(10, 2)(
        torch.rand(2, 100, 2), torch.rand(2, 100, 4).sort(-1).values, points, torch.zeros(2, 8, 1), boxes, mask
    )
    assert seen == [600, 600, 400]


def test_a_rotated_box_holds_the_anchors_within_its_sides():
    """A box 8 × 2 turned by 45° about (8, 8): (10, 10) lies in it, (10, 6) does not, and a corner just does."""
    box = torch.tensor([8.0, 8, 8, 2, torch.pi / 4])
    centre, corner = box[:2], xywhr2xyxyxyxy(box)[0]
    points = torch.stack([torch.tensor([10.0, 10]), torch.tensor([10.0, 6]), 0.999 * corner + 0.001 * centre])
    inside = RotatedTaskAlignedAssigner().inside(points, box.view(1, 1, 5))
    assert inside.flatten().tolist() == [True, False, True]


def test_distances_of_a_rotated_box_worked_out_by_hand():
    """1 to the left, 3 to the right, 2 up and down, turned by 90°: the centre is 1 further along the box, downwards."""
    found = dist2rbox(torch.tensor([[1.0, 2, 3, 2]]), torch.tensor([[torch.pi / 2]]), torch.tensor([[5.0, 7]]))
    torch.testing.assert_close(found, torch.tensor([[5.0, 8, 4, 4]]))
