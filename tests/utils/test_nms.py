import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.utils import nms
from ultralytics.utils.boxes import box_iou
from ultralytics.utils.nms import greedy_nms, non_max_suppression

CASES = {
    "val": {"conf_thres": 0.001, "iou_thres": 0.7, "multi_label": True, "max_det": 300},
    "predict": {"conf_thres": 0.25, "iou_thres": 0.7},
    "agnostic": {"conf_thres": 0.1, "iou_thres": 0.45, "agnostic": True},
    "classes": {"conf_thres": 0.1, "iou_thres": 0.6, "classes": [1, 4]},
    "few": {"conf_thres": 0.05, "iou_thres": 0.5, "multi_label": True, "max_det": 7},
}


@pytest.mark.parametrize("case", CASES)
def test_equals_the_reference(fixtures, case):
    z = np.load(fixtures / "nms.npz")
    prediction = torch.from_numpy(z["prediction"])
    before = prediction.clone()
    for i, out in enumerate(non_max_suppression(prediction, **CASES[case])):
        np.testing.assert_allclose(out.numpy(), z[f"{case}_{i}"], atol=1e-4)
    assert torch.equal(prediction, before), "the input is not changed"


TASKS = {
    "val": {"conf_thres": 0.001, "iou_thres": 0.7, "multi_label": True, "max_det": 60},
    "predict": {"conf_thres": 0.25, "iou_thres": 0.7},
    "agnostic": {"conf_thres": 0.1, "iou_thres": 0.45, "agnostic": True},
    "classes": {"conf_thres": 0.1, "iou_thres": 0.6, "classes": [0, 2]},
}


def in_one_order(rows):
    """Rows of one score in one order: the reference's is that of an unstable sort."""
    return np.array(sorted(map(tuple, np.asarray(rows).tolist()), key=lambda row: (-row[4], *row)))


@pytest.mark.parametrize("case", TASKS)
@pytest.mark.parametrize("task", ["seg", "pose"])
def test_what_lies_behind_the_scores_comes_along_as_in_the_reference(fixtures, task, case):
    z = np.load(fixtures / f"nms_{task}.npz")
    prediction = torch.from_numpy(z["prediction"])
    if f"{case}_0" not in z:
        pytest.skip("of several classes")
    for i, out in enumerate(non_max_suppression(prediction, nc=int(z["nc"]), **TASKS[case])):
        np.testing.assert_allclose(in_one_order(out), in_one_order(z[f"{case}_{i}"]), atol=1e-3)


def fast(boxes, scores, iou_threshold, max_keep=None, labels=None):
    """The reference's rule class by class, in the place of ours."""
    kept = []
    for c in [None] if labels is None else labels.unique():
        mine = torch.arange(len(boxes)) if c is None else (labels == c).nonzero()[:, 0]
        kept.append(mine[nms.nms_rotated(boxes[mine], scores[mine], iou_threshold)])
    index = torch.cat(kept) if kept else torch.zeros(0, dtype=torch.long)
    return index[scores[index].argsort(descending=True, stable=True)][:max_keep]


@pytest.mark.parametrize("case", TASKS)
def test_rotated_boxes_are_the_references_under_its_rule(fixtures, case, monkeypatch):
    """Greedy suppression, which is exact, keeps all of those and more."""
    z = np.load(fixtures / "nms_rotated.npz")
    prediction = torch.from_numpy(z["prediction"])
    greedy = non_max_suppression(prediction, nc=int(z["nc"]), rotated=True, **{**TASKS[case], "max_det": 500})
    monkeypatch.setattr(nms, "greedy_nms", fast)
    for i, out in enumerate(non_max_suppression(prediction, nc=int(z["nc"]), rotated=True, **TASKS[case])):
        np.testing.assert_allclose(in_one_order(out), in_one_order(z[f"{case}_{i}"]), atol=1e-3)
        assert {tuple(row) for row in out.tolist()} <= {tuple(row) for row in greedy[i].tolist()}


def test_the_references_rule_for_rotated_boxes(fixtures):
    z = np.load(fixtures / "nms_rotated_raw.npz")
    boxes, scores = torch.from_numpy(z["boxes"]), torch.from_numpy(z["scores"])
    for threshold in (45, 20):
        assert nms.nms_rotated(boxes, scores, threshold / 100).tolist() == z[f"keep_{threshold}"].tolist()
    assert nms.nms_rotated(boxes[:0], scores[:0]).tolist() == []


def test_the_angle_is_the_first_number_behind_the_scores():
    """Of a head with more numbers at each anchor, `OBB [nc, 2]`."""
    y = torch.zeros(1, 4 + 1 + 2, 3)
    y[0, :, 0] = torch.tensor([50, 50, 100, 8, 0.9, 0.0, 7])
    y[0, :, 1] = torch.tensor([50, 50, 100, 8, 0.8, math.pi / 2, 7])  # lies across the first
    y[0, :, 2] = torch.tensor([50, 51, 100, 8, 0.7, 0.0, -7])
    [found] = non_max_suppression(y, nc=1, rotated=True, extras=2)
    assert found[:, 4:].tolist() == [pytest.approx([0.9, 0, 0, 7]), pytest.approx([0.8, 0, math.pi / 2, 7])]


def test_a_rotated_box_that_is_gone_suppresses_nothing():
    """A row of ships side by side: the second overlaps the first and goes, the third overlaps the second alone."""
    ships = torch.tensor([[x, 50.0, 60, 30, 0.5] for x in (40.0, 52, 64)])
    scores = torch.tensor([0.9, 0.8, 0.7])
    overlap = nms.batch_probiou(ships, ships)
    assert overlap[0, 1] > 0.5 > overlap[0, 2]
    assert greedy_nms(ships, scores, 0.5).tolist() == [0, 2]
    assert nms.nms_rotated(ships, scores, 0.5).tolist() == [0]
    y = torch.cat([ships[:, :4], scores[:, None], ships[:, 4:]], 1).t()[None]
    found = non_max_suppression(y, iou_thres=0.5, rotated=True)[0]
    torch.testing.assert_close(found, torch.stack([torch.tensor([*ships[i, :4], scores[i], 0, 0.5]) for i in (0, 2)]))
    y[0, -1, 2] = torch.nan
    assert len(non_max_suppression(y, iou_thres=0.5, rotated=True)[0]) == 1


def test_an_output_for_six_anchors_is_no_list_of_detections():
    y = torch.zeros(1, 4 + 2 + 3, 6)
    y[0, :6, 2] = torch.tensor([20.0, 20, 10, 10, 0.2, 0.9])
    y[0, 6:, 2] = torch.tensor([1.0, 2, 3])
    found = non_max_suppression(y, nc=2, extras=3)[0]
    assert found.tolist() == [pytest.approx([15, 15, 25, 25, 0.9, 1, 1, 2, 3])]


def predicted(*rows):
    """Rows of (x1, y1, x2, y2, scores …) as a model's output (1, 4 + nc, A)."""
    rows = torch.tensor(rows)
    low, high = rows[:, :2], rows[:, 2:4]
    return torch.cat(((low + high) / 2, high - low, rows[:, 4:]), 1).t()[None]


def test_suppression_worked_out_by_hand():
    """Boxes of one corner and 10 wide, so that heights are overlaps: h / 10 with the first."""
    heights = {10: 0.9, 6: 0.8, 5: 0.7, 4.75: 0.6, 4.5: 0.5, 4: 0.26, 3: 0.25}
    y = predicted(*((0, 0, 10, h, s) for h, s in heights.items()), (50, 0, 60, 9, 0.25))  # the last is elsewhere
    # By default scores over 0.25 count, and an overlap over 0.45 is too much: 4.5 / 10 is not over it. It then is what
    # suppresses 4 (4 / 4.5).
    assert non_max_suppression(y)[0][:, [3, 4, 5]].flatten().tolist() == pytest.approx([10, 0.9, 0, 4.5, 0.5, 0])
    # An overlap equal to the threshold is allowed: 5 / 10, which then suppresses what is smaller.
    assert non_max_suppression(y, iou_thres=0.5)[0][:, 3].tolist() == pytest.approx([10, 5])
    assert non_max_suppression(y, 0.65, 0.99)[0][:, 3].tolist() == pytest.approx([10, 6, 5])
    assert non_max_suppression(y, 0.2, 0.99, max_det=2)[0][:, 3].tolist() == pytest.approx([10, 6])
    assert non_max_suppression(y, 0.2, 0.5, max_nms=2)[0][:, 3].tolist() == pytest.approx([10])  # 5 is not considered
    assert non_max_suppression(y)[0][0, :4].tolist() == pytest.approx([0, 0, 10, 10])


def test_classes_of_a_box_worked_out_by_hand():
    y = predicted((0, 0, 10, 10, 0.9, 0.8, 0.1), (0, 0, 10, 9, 0.3, 0.7, 0.2))
    assert non_max_suppression(y)[0][:, 4:].flatten().tolist() == pytest.approx([0.9, 0, 0.7, 1])
    assert non_max_suppression(y, agnostic=True)[0][:, 5].tolist() == [0]
    assert non_max_suppression(y, classes=1)[0][:, 4:].flatten().tolist() == pytest.approx([0.7, 1])
    every = non_max_suppression(y, multi_label=True)[0]  # the second's classes are those of the first, and overlap it
    assert every[:, 4:].flatten().tolist() == pytest.approx([0.9, 0, 0.8, 1])


def test_by_default_an_image_has_at_most_300_detections():
    rows = [(20 * i, 0, 20 * i + 10, 10, 0.9) for i in range(310)]
    assert len(non_max_suppression(predicted(*rows))[0]) == 300


def one_by_one(boxes, scores, iou):
    """Greedy suppression as its definition says it."""
    order, kept = scores.argsort(descending=True, stable=True).tolist(), []
    for i in order:
        if all(float(box_iou(boxes[i : i + 1], boxes[k : k + 1])) <= iou for k in kept):
            kept.append(i)
    return kept


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 60), st.floats(0.1, 0.9), st.integers(0, 10_000))
def test_greedy_suppression_equals_its_definition(n, iou, seed):
    g = torch.Generator().manual_seed(seed)
    centre, size = torch.rand(n, 2, generator=g) * 60, torch.rand(n, 2, generator=g) * 40 + 1
    boxes = torch.cat([centre, centre + size], 1)
    scores = torch.rand(n, generator=g)
    assert greedy_nms(boxes, scores, iou).tolist() == one_by_one(boxes, scores, iou)


def test_nothing_above_the_threshold_gives_empty_rows():
    out = non_max_suppression(torch.zeros(2, 6, 21), 0.25)
    assert [tuple(o.shape) for o in out] == [(0, 6), (0, 6)]


def test_every_image_is_finished_however_many_candidates():
    y = torch.rand(2, 5, 8400, generator=torch.Generator().manual_seed(0))
    y[:, :4] *= 600
    out = non_max_suppression(y, 0.001, 0.7, max_det=300)
    assert [len(o) for o in out] == [300, 300]


def test_arguments_stand_in_the_references_order():
    y = torch.rand(1, 7, 300, generator=torch.Generator().manual_seed(0))
    y[:, :4] *= 100
    by_name = non_max_suppression(y, 0.5, 0.7, multi_label=True, max_det=20, nc=2, max_nms=100, max_wh=500)
    by_place = non_max_suppression(y, 0.5, 0.7, None, False, True, (), 20, 2, 0.05, 100, 500, True, False)
    assert torch.equal(by_name[0], by_place[0])
    with pytest.raises(ValueError, match="not offered"):
        non_max_suppression(y, labels=[y])


def one_class_as_the_last_of(classes, dtype, n=400, seed=1):
    """Predictions of n boxes of one class, alone and as the last of many classes."""
    g = torch.Generator().manual_seed(seed)
    boxes = torch.cat([torch.rand(2, n, generator=g) * 640, torch.rand(2, n, generator=g) * 24 + 6])
    scores = torch.rand(n, generator=g) * 0.7 + 0.3
    alone = torch.cat([boxes, scores[None]])[None].to(dtype)
    many = torch.cat([alone[:, :4], torch.zeros(1, classes - 1, n, dtype=dtype), alone[:, 4:]], 1)
    return alone, many


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("classes", [2, 80, 1203, 10_000])
def test_a_class_is_suppressed_alike_whatever_its_number(classes, dtype):
    alone, many = (non_max_suppression(y, 0.25, 0.5, max_det=5000)[0] for y in one_class_as_the_last_of(classes, dtype))
    assert torch.equal(alone[:, :5], many[:, :5])
    assert set(many[:, 5].tolist()) == {classes - 1}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("x", "side"), [(100, 20), (100, 600), (30_000, 900)])
def test_identical_boxes_of_a_class_are_one(dtype, x, side):
    y = torch.zeros(1, 84, 3, dtype=dtype)
    y[0, :2], y[0, 2:4] = x, side
    y[0, 83, :2], y[0, 4, 2] = torch.tensor([0.9, 0.8], dtype=dtype), 0.7
    assert non_max_suppression(y, 0.25, 0.5)[0][:, 5].tolist() == [79, 0]
    assert non_max_suppression(y, 0.25, 0.5, agnostic=True)[0][:, 5].tolist() == [79]
    corners = torch.tensor([[0.0, 0, side, side]] * 2).to(dtype)
    assert greedy_nms(corners, torch.tensor([0.5, 0.6]), 0.5).tolist() == [1]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 60), st.integers(1, 5), st.floats(0.1, 0.9), st.integers(0, 10_000))
def test_classes_are_suppressed_apart(n, classes, iou, seed):
    g = torch.Generator().manual_seed(seed)
    centre, size = torch.rand(n, 2, generator=g) * 60, torch.rand(n, 2, generator=g) * 40 + 1
    boxes, scores = torch.cat([centre, centre + size], 1), torch.rand(n, generator=g)
    labels = torch.randint(classes, (n,), generator=g)
    wanted = []
    for c in range(classes):
        mine = (labels == c).nonzero()[:, 0]
        wanted += mine[one_by_one(boxes[mine], scores[mine], iou)].tolist()
    assert sorted(greedy_nms(boxes, scores, iou, labels=labels).tolist()) == sorted(wanted)


def test_what_is_not_finite_is_left_out():
    y = torch.zeros(1, 6, 4)
    y[0, 2:4], y[0, 4] = 10, 0.9
    y[0, 0] = torch.tensor([5, torch.nan, torch.inf, 500])
    y[0, 4, 3] = torch.nan
    assert non_max_suppression(y)[0][:, 0].tolist() == [0]


@settings(max_examples=40, deadline=None)
@given(
    images=st.integers(1, 4),
    anchors=st.integers(1, 60),
    nc=st.integers(1, 4),
    keys=st.sampled_from([*CASES.values(), {"conf_thres": 0.3, "max_nms": 9}, {"max_det": 1}]),
    chunk=st.sampled_from([1, 7, 1024]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    extras=st.integers(0, 3),
    seed=st.integers(0, 10_000),
)
def test_all_images_at_once_are_the_images_one_by_one(images, anchors, nc, keys, chunk, dtype, extras, seed):
    g = torch.Generator().manual_seed(seed)
    y = torch.rand(images, 4 + nc + extras, anchors, generator=g)
    y[:, :2] *= 60
    y[:, 2:4] *= 40
    y[:, 4:] = (y[:, 4:] * 8).round() / 8  # many of one score
    y[:, : 4 + nc][torch.rand(images, 4 + nc, anchors, generator=g) < 0.01] = float("nan")
    y = y.to(dtype)
    given = {"conf_thres": 0.25, "iou_thres": 0.45, "max_det": 300, "max_nms": 30000, "agnostic": False, **keys}
    wanted = torch.tensor(given["classes"]) if "classes" in given else None
    several = given.get("multi_label", False) and nc > 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nms, "CHUNK", chunk)
        one_by_one = non_max_suppression(y, **given, nc=nc, extras=extras)
        at_once = nms._of_all(
            y,
            nc,
            given["conf_thres"],
            given["iou_thres"],
            wanted,
            given["agnostic"],
            several,
            given["max_det"],
            given["max_nms"],
        )
    assert len(one_by_one) == len(at_once)
    assert all(torch.equal(a, b) for a, b in zip(one_by_one, at_once, strict=True))


def test_a_batch_compares_a_bounded_number_of_pairs(monkeypatch):
    seen, compare = [], nms._overlap
    monkeypatch.setattr(nms, "PAIRS", 2 * 9**2)
    monkeypatch.setattr(nms, "_overlap", lambda a, b: seen.append((a.shape[-2], b.shape[-2])) or compare(a, b))
    boxes = torch.rand(2, 20, 4).sort(-1).values
    nms.greedy_nms_of_all(boxes, torch.ones(2, 20, dtype=torch.bool), 2.0, 30)
    assert seen == [(9, 9), (30, 9), (9, 9), (30, 2), (2, 2)]


def test_suppression_of_all_images_takes_boxes_with_gradients():
    """An explanation differentiates what is kept."""
    boxes = torch.tensor([[[0.0, 0, 4, 4], [0, 0, 4, 3.9], [9, 9, 12, 12]]], requires_grad=True)
    kept, count = nms.greedy_nms_of_all(boxes, torch.ones(1, 3, dtype=torch.bool), 0.5, 3)
    assert count.tolist() == [2]
    assert kept[0, :2].tolist() == [0, 2]


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_a_gpu_finds_the_detections_of_a_cpu(case):
    y = torch.rand(3, 10, 500, generator=torch.Generator().manual_seed(0))
    y[:, :4] *= 100
    for on_cpu, on_gpu in zip(*(non_max_suppression(y.to(d), **CASES[case]) for d in ("cpu", "cuda")), strict=True):
        torch.testing.assert_close(on_gpu.cpu(), on_cpu)
