import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.utils.boxes import (
    bbox_iou,
    box_iou,
    clip_boxes,
    scale_boxes,
    xywh2xyxy,
    xywhn2xyxy,
    xyxy2xywh,
    xyxy2xywhn,
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
