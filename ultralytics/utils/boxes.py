"""Boxes: formats, clipping, scaling between frames, overlap. The last dimension holds the four coordinates, of rotated
boxes five: centre, width, height, and the angle in radians by which the box is turned about its centre, from x to y."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Boxes = TypeVar("Boxes", Tensor, npt.NDArray[np.floating])
Points = TypeVar("Points", Tensor, npt.NDArray[Any])
FARTHEST = 100.0  # Bhattacharyya distance: beyond it boxes count as equally far apart


def _join(parts: Sequence[Boxes], like: Boxes) -> Boxes:
    if isinstance(like, Tensor):
        return torch.cat(list(parts), -1)
    return np.concatenate(list(parts), -1)


def signed_areas(polygons: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the areas (…) inside polygons (…, k, 2), below 0 of those that go round the other way."""
    x, y = np.moveaxis(polygons - polygons[..., :1, :], -1, 0)
    areas: npt.NDArray[np.float64] = (x * np.roll(y, -1, -1) - y * np.roll(x, -1, -1)).sum(-1) / 2
    return areas


def xyxy2xywh(x: Boxes) -> Boxes:
    """Corners → centre, width, height."""
    return _join(((x[..., :2] + x[..., 2:]) / 2, x[..., 2:] - x[..., :2]), x)


def xywh2xyxy(x: Boxes) -> Boxes:
    """Centre, width, height → corners."""
    half = x[..., 2:] / 2
    return _join((x[..., :2] - half, x[..., :2] + half), x)


def xywhn2xyxy(x: Boxes, w: float = 640, h: float = 640, padw: float = 0, padh: float = 0) -> Boxes:
    """Centre, width, height in 0..1 of a w×h frame → corners in pixels, shifted by the pads."""
    y = xywh2xyxy(x)
    return _join((y[..., 0:1] * w + padw, y[..., 1:2] * h + padh, y[..., 2:3] * w + padw, y[..., 3:4] * h + padh), x)


def xyxy2xywhn(x: Boxes, w: float = 640, h: float = 640, clip: bool = False, eps: float = 0.0) -> Boxes:
    """Corners in pixels of a w×h frame → centre, width, height in 0..1;
    `clip` first limits them to the frame less `eps`."""
    if clip:
        x = clip_boxes(x, (h - eps, w - eps))
    y = xyxy2xywh(x)
    return _join((y[..., 0:1] / w, y[..., 1:2] / h, y[..., 2:3] / w, y[..., 3:4] / h), x)


def xyxy2ltwh(x: Boxes) -> Boxes:
    """Corners → left, top, width, height."""
    return _join((x[..., :2], x[..., 2:] - x[..., :2]), x)


def ltwh2xyxy(x: Boxes) -> Boxes:
    """Left, top, width, height → corners."""
    return _join((x[..., :2], x[..., :2] + x[..., 2:]), x)


def xywh2ltwh(x: Boxes) -> Boxes:
    """Centre, width, height → left, top, width, height."""
    return _join((x[..., :2] - x[..., 2:] / 2, x[..., 2:]), x)


def ltwh2xywh(x: Boxes) -> Boxes:
    """Left, top, width, height → centre, width, height."""
    return _join((x[..., :2] + x[..., 2:] / 2, x[..., 2:]), x)


def clip_boxes(boxes: Boxes, shape: Sequence[float]) -> Boxes:
    """Corners limited to a frame of shape (h, w); a new array."""
    h, w = shape[:2]
    if isinstance(boxes, Tensor):
        limit = torch.tensor([w, h, w, h], dtype=boxes.dtype, device=boxes.device)
        return boxes.clamp(min=0).minimum(limit)
    return boxes.clip(0, np.array([w, h, w, h], dtype=boxes.dtype))


def letterboxed(frame: Sequence[int], image: Sequence[int]) -> tuple[float, tuple[int, int]]:
    """Return where an image of shape (h, w) lies in a letterboxed frame of shape (H, W): the gain, and the (left, top)
    padding in pixels."""
    gain = min(frame[0] / image[0], frame[1] / image[1])
    return gain, (round((frame[1] - image[1] * gain) / 2 - 0.1), round((frame[0] - image[0] * gain) / 2 - 0.1))


def scale_boxes(
    img1_shape: Sequence[int],
    boxes: Boxes,
    img0_shape: Sequence[int],
    ratio_pad: tuple[tuple[float, float], tuple[float, float]] | None = None,
    padding: bool = True,
    xywh: bool = False,
) -> Boxes:
    """Boxes of a letterboxed frame → boxes of the original image, clipped to it.

    Args:
        img1_shape: (H, W) of the frame; img0_shape: (h, w) of the original.
        ratio_pad: ((gain_h, gain_w), (left, top)) when known; otherwise derived from the shapes.
        padding: the frame is padded; xywh: boxes are top-left, width, height.
    """
    if ratio_pad is None:
        gain, (pad_x, pad_y) = letterboxed(img1_shape, img0_shape)
    else:
        gain = ratio_pad[0][0]
        pad_x, pad_y = ratio_pad[1]  # type: ignore[assignment]  # numbers or tensors
    if padding:
        offset = [pad_x, pad_y, 0, 0] if xywh else [pad_x, pad_y, pad_x, pad_y]
        if isinstance(boxes, Tensor):
            boxes = boxes - torch.tensor(offset, dtype=boxes.dtype, device=boxes.device)
        else:
            boxes = boxes - np.array(offset, dtype=boxes.dtype)
    return clip_boxes(boxes / gain, img0_shape)


def box_iou(box1: Tensor, box2: Tensor, eps: float = 1e-7) -> Tensor:
    """Overlap of every pair: (N, 4) and (M, 4) corners → (N, M) in 0..1."""
    a1, a2 = box1.float().unsqueeze(1).chunk(2, 2)
    b1, b2 = box2.float().unsqueeze(0).chunk(2, 2)
    inter = (a2.minimum(b2) - a1.maximum(b1)).clamp(min=0).prod(2)
    return inter / ((a2 - a1).prod(2) + (b2 - b1).prod(2) - inter + eps)


def bbox_iou(
    box1: Tensor,
    box2: Tensor,
    xywh: bool = True,
    GIoU: bool = False,
    DIoU: bool = False,
    CIoU: bool = False,
    eps: float = 1e-7,
) -> Tensor:
    """Overlap of boxes pair by pair, with broadcasting: (…, 4) and (…, 4) → (…, 1).

    Args:
        xywh: centre, width, height instead of corners.
        GIoU, DIoU, CIoU: the generalised (CVPR 2019), distance or complete (AAAI 2020) variant instead of the plain
        ratio.
        eps: guards divisions.
    """
    if xywh:
        (x1, y1, w1, h1), (x2, y2, w2, h2) = box1.chunk(4, -1), box2.chunk(4, -1)
        left1, right1, top1, bottom1 = x1 - w1 / 2, x1 + w1 / 2, y1 - h1 / 2, y1 + h1 / 2
        left2, right2, top2, bottom2 = x2 - w2 / 2, x2 + w2 / 2, y2 - h2 / 2, y2 + h2 / 2
    else:
        left1, top1, right1, bottom1 = box1.chunk(4, -1)
        left2, top2, right2, bottom2 = box2.chunk(4, -1)
        w1, h1 = right1 - left1, bottom1 - top1 + eps
        w2, h2 = right2 - left2, bottom2 - top2 + eps
    inter = (right1.minimum(right2) - left1.maximum(left2)).clamp(min=0) * (
        bottom1.minimum(bottom2) - top1.maximum(top2)
    ).clamp(min=0)
    union = w1 * h1 + w2 * h2 - inter + eps
    iou = inter / union
    if not (GIoU or DIoU or CIoU):
        return iou
    width = right1.maximum(right2) - left1.minimum(left2)  # of the smallest enclosing box
    height = bottom1.maximum(bottom2) - top1.minimum(top2)
    if GIoU:
        enclosing = width * height + eps
        return iou - (enclosing - union) / enclosing
    diagonal = width.pow(2) + height.pow(2) + eps
    distance = ((left2 + right2 - left1 - right1).pow(2) + (top2 + bottom2 - top1 - bottom1).pow(2)) / 4
    if DIoU:
        return iou - distance / diagonal
    v = (4 / math.pi**2) * ((w2 / h2).atan() - (w1 / h1).atan()).pow(2)
    with torch.no_grad():
        alpha = v / (v - iou + (1 + eps))
    return iou - (distance / diagonal + v * alpha)


def xywhr2xyxyxyxy(x: Points) -> Points:
    """Rotated boxes (…, 5) → corners (…, 4, 2)."""
    library: Any = torch if isinstance(x, Tensor) else np
    centre, w, h, angle = x[..., :2], x[..., 2:3], x[..., 3:4], x[..., 4:5]
    cos, sin = library.cos(angle), library.sin(angle)
    along = library.concatenate([w / 2 * cos, w / 2 * sin], -1)
    across = library.concatenate([-h / 2 * sin, h / 2 * cos], -1)
    corners = [centre + along + across, centre + along - across, centre - along - across, centre - along + across]
    return library.stack(corners, -2)  # type: ignore[no-any-return]  # of the same library


def xyxyxyxy2xywhr(x: Points) -> Points:
    """Corners or outlines (n, 2·points) or (n, points, 2) → the smallest rotated boxes (n, 5), with angles in (0, π/2].

    OpenCV's angles and what it calls width differ from version to version; here they are those of OpenCV 4, which
    YOLOv8's published networks were trained with.
    """
    outlines = (x.cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)).reshape(len(x), -1, 2)
    boxes = []
    for outline in outlines:
        (cx, cy), (w, h), degrees = cv2.minAreaRect(outline.astype(np.float32))
        quarters = math.ceil(degrees / 90) - 1
        w, h = (h, w) if quarters % 2 else (w, h)
        boxes.append([cx, cy, w, h, math.radians(degrees - 90 * quarters)])
    found = np.asarray(boxes).reshape(-1, 5)
    if isinstance(x, Tensor):
        return torch.tensor(found, device=x.device, dtype=x.dtype)
    return found


def regularize_rboxes(rboxes: Tensor) -> Tensor:
    """Rotated boxes (…, 5) with the longer side as width and an angle in [0, π)."""
    x, y, w, h, angle = rboxes.unbind(-1)
    lies = w > h
    turned = torch.where(lies, angle, angle + math.pi / 2) % math.pi
    return torch.stack([x, y, torch.where(lies, w, h), torch.where(lies, h, w), turned], -1)


def box_covariance(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotated boxes (…, 5) as normal distributions: variances along x and y and the covariance, (…) each; those of
    points spread evenly over the box."""
    w, h, angle = boxes[..., 2:].unbind(-1)
    a, b, cos, sin = w.square() / 12, h.square() / 12, angle.cos(), angle.sin()
    return a * cos.square() + b * sin.square(), a * sin.square() + b * cos.square(), (a - b) * cos * sin


def _bhattacharyya_overlap(box1: Tensor, box2: Tensor, eps: float) -> Tensor:
    """Overlap (…) of rotated boxes (…, 5) as `probiou`, with broadcasting.

    The determinant of Σ₁ + Σ₂ comes from sides and the angle between the boxes: as A·B − C² it would be the difference
    of two large numbers, and a thin box would differ from itself.
    """
    a1, b1, c1 = box_covariance(box1)
    a2, b2, c2 = box_covariance(box2)
    (w1, h1, r1), (w2, h2, r2) = box1[..., 2:].unbind(-1), box2[..., 2:].unbind(-1)
    long1, short1, long2, short2 = (side.square() / 12 for side in (w1, h1, w2, h2))
    det1, det2, turn = long1 * short1, long2 * short2, (r1 - r2).sin().square()
    det = det1 + det2 + turn * (long1 * long2 + short1 * short2) + (1 - turn) * (long1 * short2 + short1 * long2)
    dx, dy = (box2[..., :2] - box1[..., :2]).unbind(-1)
    moved = ((a1 + a2) * dy.square() + (b1 + b2) * dx.square() - 2 * (c1 + c2) * dx * dy) / (det + eps) / 4
    spread = (det / (w1 * h1 * w2 * h2 / 36 + eps) + eps).log() / 2
    distance = (moved + spread).clamp(eps, FARTHEST)
    return 1 - (1 - (-distance).exp() + eps).sqrt()


def probiou(box1: Tensor, box2: Tensor, CIoU: bool = False, eps: float = 1e-7) -> Tensor:
    """Overlap of rotated boxes pair by pair, with broadcasting: (…, 5) and (…, 5) → (…, 1) in 0..1.

    It is 1 less the Hellinger distance of the boxes as normal distributions (ProbIoU, Llerena et al. 2021, eq. 4): of
    equal boxes 0.9995, and the same for a square however it is turned.

    Args:
        CIoU: less the aspect term of the complete IoU (AAAI 2020, eq. 8).
        eps: guards divisions and roots.
    """
    box1, box2 = box1.float(), box2.float()
    iou = _bhattacharyya_overlap(box1, box2, eps).unsqueeze(-1)
    if not CIoU:
        return iou
    (w1, h1), (w2, h2) = box1[..., 2:4].chunk(2, -1), box2[..., 2:4].chunk(2, -1)
    v = (4 / math.pi**2) * ((w2 / h2).atan() - (w1 / h1).atan()).pow(2)
    with torch.no_grad():
        alpha = v / (v - iou + (1 + eps))
    return iou - v * alpha


def batch_probiou(box1: Points, box2: Points, eps: float = 1e-7) -> Tensor:
    """Overlap of every pair of rotated boxes, see `probiou`: (N, 5) and (M, 5) → (N, M)."""
    one, other = (torch.as_tensor(boxes).float() for boxes in (box1, box2))
    return _bhattacharyya_overlap(one.unsqueeze(1), other.unsqueeze(0), eps)
