import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import papers
from ultralytics.utils.boxes import (
    batch_probiou,
    bbox_iou,
    box_covariance,
    box_iou,
    clip_boxes,
    probiou,
    regularize_rboxes,
    scale_boxes,
    xywh2xyxy,
    xywhn2xyxy,
    xywhr2xyxyxyxy,
    xyxy2xywh,
    xyxy2xywhn,
    xyxyxyxy2xywhr,
)


@pytest.mark.parametrize("kind", ["iou", "giou", "diou", "ciou"])
def test_elementwise_overlaps_equal_the_references(fixtures, kind):
    z = np.load(fixtures / "iou.npz")
    a, b = torch.from_numpy(z["box1_xyxy"]), torch.from_numpy(z["box2_xyxy"])
    flag = {} if kind == "iou" else {f"{kind[0].upper()}IoU": True}
    np.testing.assert_allclose(bbox_iou(a, b, xywh=False, **flag).numpy(), z[kind], atol=1e-6)


def test_pairwise_overlaps_equal_the_references(fixtures):
    z = np.load(fixtures / "iou.npz")
    a, b = torch.from_numpy(z["box1_xyxy"])[:40], torch.from_numpy(z["box2_xyxy"])[:50]
    np.testing.assert_allclose(box_iou(a, b).numpy(), z["pairwise"], atol=1e-7)


def test_rescaled_boxes_equal_the_references(fixtures):
    z = np.load(fixtures / "letterbox.npz")
    for i in range(7):
        out = scale_boxes(tuple(z[f"shape{i}"]), torch.from_numpy(z[f"boxes{i}"]), z[f"in{i}"].shape[:2])
        np.testing.assert_allclose(out.numpy(), z[f"rescaled{i}"], atol=1e-4)


PAIRS = [
    ((0.0, 0, 4, 2), (1.0, 0, 4, 4)),
    ((10.0, 10, 30, 50), (25.0, 20, 65, 40)),
    ((0.0, 0, 1, 1), (5.0, 7, 9, 8)),  # apart
    ((3.0, 4, 8, 9), (3.0, 4, 8, 9)),
]


@pytest.mark.parametrize("kind", ["iou", "giou", "diou", "ciou"])
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_overlaps_are_the_papers(kind, a, b):
    flag = {} if kind == "iou" else {f"{kind[0].upper()}IoU": True}
    want = getattr(papers, kind)(a, b)
    corners = torch.tensor([a, b])
    assert float(bbox_iou(*corners, xywh=False, **flag)) == pytest.approx(want, abs=1e-6)
    assert float(bbox_iou(*xyxy2xywh(corners), **flag)) == pytest.approx(want, abs=1e-6)
    assert float(box_iou(corners[:1], corners[1:])) == pytest.approx(papers.iou(a, b), abs=1e-6)


def test_the_overlaps_of_a_pair_worked_out_by_hand():
    """(0, 0, 4, 2) and (1, 0, 4, 4): IoU 6/14; 16 − 14 of the 4 × 4 around both is neither's; ρ² = 1.25, c² = 32; what
    CIoU takes off besides, α v, is 0.0115260."""
    a, b = torch.tensor(PAIRS[0])
    for flag, want in (({}, 0), ({"GIoU": True}, 2 / 16), ({"DIoU": True}, 1.25 / 32)):
        assert float(bbox_iou(a, b, xywh=False, **flag)) == pytest.approx(6 / 14 - want, abs=1e-6)
    assert float(bbox_iou(a, b, xywh=False, CIoU=True)) == pytest.approx(6 / 14 - 1.25 / 32 - 0.0115260, abs=1e-6)


def test_rescaled_boxes_worked_out_by_hand():
    """A 100 × 51 image in a 320 × 320 frame: 3.2 times as large, 163 high, with borders of 78 and 79."""
    box = torch.tensor([[32.0, 78 + 32, 64, 78 + 64]])
    for out in (scale_boxes((320, 320), box, (51, 100)), scale_boxes((320, 320), box.numpy(), (51, 100))):
        np.testing.assert_allclose(out, [[10, 10, 20, 20]], atol=1e-5)
    half = torch.tensor([[10.0, 79, 20, 89]])  # of a border of 159 the smaller half, 79, is above, or on the left
    np.testing.assert_allclose(scale_boxes((320, 320), half, (161, 320)), [[10, 0, 20, 10]], atol=1e-5)
    half = scale_boxes((320, 320), half[:, [1, 0, 3, 2]], (320, 161))
    np.testing.assert_allclose(half, [[0, 10, 10, 20]], atol=1e-5)
    sized = scale_boxes((320, 320), torch.tensor([[32.0, 78 + 32, 32, 32]]), (51, 100), xywh=True)
    np.testing.assert_allclose(sized, [[10, 10, 10, 10]], atol=1e-5)


corner = st.floats(0, 500)
boxes = st.lists(st.tuples(corner, corner, st.floats(0.5, 200), st.floats(0.5, 200)), min_size=1, max_size=20)


@given(boxes)
def test_corner_and_centre_forms_are_inverse(rows):
    x = torch.tensor(rows, dtype=torch.float64)
    torch.testing.assert_close(xyxy2xywh(xywh2xyxy(x)), x)
    n = xyxy2xywhn(xywh2xyxy(x), w=640, h=480)
    torch.testing.assert_close(xywhn2xyxy(n, w=640, h=480), xywh2xyxy(x))
    np.testing.assert_allclose(xywh2xyxy(x.numpy()), xywh2xyxy(x).numpy())


@given(boxes)
def test_overlap_is_symmetric_bounded_and_one_with_itself(rows):
    x = xywh2xyxy(torch.tensor(rows))
    iou = box_iou(x, x)
    assert ((iou >= 0) & (iou <= 1)).all()
    torch.testing.assert_close(iou, iou.T)
    torch.testing.assert_close(iou.diagonal(), torch.ones(len(x)), atol=1e-3, rtol=0)


def test_clipping_gives_a_new_array_inside_the_frame():
    x = torch.tensor([[-5.0, -5.0, 700.0, 500.0]])
    assert clip_boxes(x, (480, 640)).tolist() == [[0, 0, 640, 480]]
    assert x[0, 0] == -5


def test_rotated_overlaps_equal_the_references(fixtures):
    """But for its rounding: boxes that are equal with their sides swapped differ by 1e-4 there, and not here."""
    z = {k: torch.from_numpy(v) for k, v in np.load(fixtures / "obb_geometry.npz").items()}
    one, other = z["box1"], z["box2"]
    for found, wanted in (
        (probiou(one, other), z["probiou"]),
        (probiou(one, other, CIoU=True), z["probiou_ciou"]),
        (batch_probiou(one[:30], other[:40]), z["pairwise"]),
    ):
        error = (found - wanted).abs()
        assert error.max() < 2e-4
        assert (error > 2e-5).float().mean() < 0.01
    torch.testing.assert_close(torch.stack(box_covariance(one), -1), z["covariance"])
    torch.testing.assert_close(batch_probiou(one[:30].numpy(), other[:40].numpy()), batch_probiou(one[:30], other[:40]))


def test_rotated_geometry_equals_the_references(fixtures):
    z = {k: torch.from_numpy(v) for k, v in np.load(fixtures / "obb_geometry.npz").items()}
    corners = xywhr2xyxyxyxy(z["box1"])
    torch.testing.assert_close(corners, z["corners"], atol=1e-3, rtol=0)
    back = xyxyxyxy2xywhr(corners.flatten(1))
    torch.testing.assert_close(back, z["back_opencv4"], atol=1e-3, rtol=0)
    assert torch.cdist(xywhr2xyxyxyxy(back), z["back_corners"]).amin(2).max() < 1e-2  # whichever corner is the first
    torch.testing.assert_close(regularize_rboxes(z["box1"]), z["regular"])


def test_a_rotated_overlap_worked_out_by_hand():
    """Boxes 6×2 and 2×6 at one place: variances 3 and ⅓ each way round, so Σ₁ + Σ₂ is 10/3 along both and the
    Bhattacharyya distance ½ ln((10/3)² / 4). Turned by 90°, the second is the first. A thin box equals itself."""
    lying, standing = (torch.tensor([5.0, 5, *size, 0]) for size in ((6, 2), (2, 6)))
    distance = math.log((10 / 3) ** 2 / 4) / 2
    assert float(probiou(lying, standing)) == pytest.approx(1 - math.sqrt(1 - math.exp(-distance)), abs=1e-6)
    turned = standing + torch.tensor([0, 0, 0, 0, math.pi / 2])
    assert (
        float(probiou(lying, turned))
        == pytest.approx(float(probiou(lying, lying)), abs=1e-5)
        == pytest.approx(0.9995, abs=1e-4)
    )
    thin = torch.tensor([300.0, 200, 1000, 1, math.pi / 5])
    assert float(probiou(thin, thin)) == pytest.approx(0.9995, abs=1e-4)


@given(
    st.lists(st.tuples(*[st.floats(-50, 50)] * 2, *[st.floats(0.5, 80)] * 2, st.floats(-7, 7)), min_size=1, max_size=8)
)
def test_corners_and_back_are_one_rectangle_with_an_angle_in_the_first_quarter(rows):
    given_boxes = torch.tensor(rows, dtype=torch.float64)
    found = xyxyxyxy2xywhr(xywhr2xyxyxyxy(given_boxes).flatten(1))
    assert ((found[:, 4] > 0) & (found[:, 4] <= math.pi / 2 + 1e-9)).all()
    areas = found[:, 2:4].prod(1)
    torch.testing.assert_close(areas, given_boxes[:, 2:4].prod(1), rtol=2e-3, atol=2e-2)
    torch.testing.assert_close(found[:, :2], given_boxes[:, :2], rtol=1e-3, atol=2e-2)
    regular = regularize_rboxes(given_boxes)
    assert ((regular[:, 2] >= regular[:, 3]) & (regular[:, 4] >= 0) & (regular[:, 4] <= math.pi)).all()
    torch.testing.assert_close(probiou(regular, given_boxes), probiou(given_boxes, given_boxes), atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("size", "degrees"),
    [((4, 2), -90.0), ((2, 4), -0.0), ((4, 2), 90.0), ((2, 4), 0.0), ((4, 2), -270.0), ((2, 4), 180.0)],
)
def test_the_angle_convention_does_not_follow_opencvs_version(monkeypatch, size, degrees):
    """4.5.1 and later give (0, 90°], 5 and those before [−90°, 0); a segment of two points any angle."""
    monkeypatch.setattr("ultralytics.utils.boxes.cv2.minAreaRect", lambda points: ((1.0, 2.0), size, degrees))
    found = xyxyxyxy2xywhr(np.zeros((1, 8)))
    np.testing.assert_allclose(found, [[1, 2, 4, 2, math.pi / 2]])
