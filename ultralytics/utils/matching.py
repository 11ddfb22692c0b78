"""Which detection finds which object: the pairs that metrics count, in the reference's conventions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ultralytics.utils.boxes import box_iou
from ultralytics.utils.types import ANY_CLASS, Float64Array

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
# Spread of the labels of each of a person's 17 points, in parts of the person's size: of COCO's keypoint challenge.
OKS_SIGMA = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000


def unique_pairs(
    labels: npt.NDArray[Any], detections: npt.NDArray[Any], iou: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """One-to-one pairs out of candidate pairs: each detection keeps its best label, then each label its first
    detection.

    Detections come in order of confidence, so a label goes to the most confident of those that chose it.
    """
    order = (-iou).argsort(kind="stable")
    labels, detections = labels[order], detections[order]
    _, first = np.unique(detections, return_index=True)
    labels, detections = labels[first], detections[first]
    _, first = np.unique(labels, return_index=True)
    return labels[first], detections[first]


def match_predictions(
    pred_classes: npt.ArrayLike, true_classes: npt.ArrayLike, iou: npt.ArrayLike, iouv: npt.ArrayLike | None = None
) -> npt.NDArray[np.bool_]:
    """Which detections are true positives at each IoU threshold.

    Args:
        pred_classes: (N,); true_classes: (M,); iou: (M, N); iouv: thresholds, 0.5 to 0.95 by default.

    Returns:
        (N, thresholds).
    """
    predicted, true = np.asarray(pred_classes), np.asarray(true_classes)
    thresholds = IOU_THRESHOLDS if iouv is None else np.asarray(iouv)
    correct = np.zeros((len(predicted), len(thresholds)), dtype=bool)
    overlap = np.asarray(iou) * (true[:, None] == predicted[None])
    # Thresholds as the overlaps' own type, so that an overlap equal to one counts in either precision.
    for i, threshold in enumerate(thresholds.astype(overlap.dtype)):
        labels, detections = np.nonzero(overlap >= threshold)
        if len(labels):
            _, hit = unique_pairs(labels, detections, overlap[labels, detections])
            correct[hit, i] = True
    return correct


def ignored_predictions(
    boxes: Tensor,
    pred_classes: npt.ArrayLike,
    correct: npt.NDArray[np.bool_],
    regions: Tensor,
    iouv: npt.ArrayLike | None = None,
) -> npt.NDArray[np.bool_]:
    """Which detections count neither as true nor as false positives, at each IoU threshold.

    A detection without a label of its own is ignored where it overlaps a region of its class by the threshold: by IoU
    (VOC's difficult objects), or in a crowd by the part of its own area (COCO). A region may take any number of them.

    Args:
        boxes: (N, 4) corners; pred_classes: (N,); correct: (N, thresholds) of `match_predictions`.
        regions: (K, 6) class or ANY_CLASS, corners in the boxes' unit, 1 for a crowd.
        iouv: thresholds, those of `match_predictions` by default.

    Returns:
        (N, thresholds).
    """
    if not len(regions) or not len(boxes):
        return np.zeros_like(correct)
    predicted = torch.as_tensor(np.asarray(pred_classes))
    cls, areas, crowd = regions[:, 0], regions[:, 1:5], regions[:, 5] > 0
    low, high = torch.max(areas[:, None, :2], boxes[None, :, :2]), torch.min(areas[:, None, 2:], boxes[None, :, 2:])
    own = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)
    share = (high - low).clamp(min=0).prod(2) / own.clamp(min=1e-9)
    overlap = torch.where(crowd[:, None], share, box_iou(areas, boxes))
    overlap = overlap * ((cls[:, None] == predicted[None]) | (cls[:, None] == ANY_CLASS))
    best = overlap.max(0).values.numpy()
    thresholds = IOU_THRESHOLDS if iouv is None else np.asarray(iouv)
    return (best[:, None] >= thresholds.astype(best.dtype)) & ~correct


def bbox_ioa(box1: npt.NDArray[Any], box2: npt.NDArray[Any], iou: bool = False, eps: float = 1e-7) -> npt.NDArray[Any]:
    """Return the part of each box of (m, 4) that each of (n, 4) covers, corners → (n, m); with `iou` their overlap."""
    low = np.maximum(box1[:, None, :2], box2[None, :, :2])
    high = np.minimum(box1[:, None, 2:], box2[None, :, 2:])
    inter = (high - low).clip(0).prod(2)
    area = (box2[:, 2:] - box2[:, :2]).prod(1)
    if iou:
        area = area + (box1[:, 2:] - box1[:, :2]).prod(1)[:, None] - inter
    part: npt.NDArray[Any] = inter / (area + eps)
    return part


def mask_iou(mask1: Tensor, mask2: Tensor, eps: float = 1e-7) -> Tensor:
    """Overlap of every pair of masks: (n, pixels) and (m, pixels), 0 or 1 → (n, m) in 0..1."""
    mask1, mask2 = mask1.float(), mask2.float()
    inter = mask1 @ mask2.T
    return inter / (mask1.sum(1)[:, None] + mask2.sum(1)[None] - inter + eps)


def kpt_iou(
    kpt1: Tensor, kpt2: Tensor, area: Tensor, sigma: Sequence[float] | Float64Array, eps: float = 1e-7
) -> Tensor:
    """Object keypoint similarity (COCO) of every pair of poses: (n, K, 3) labels and (m, K, 2 or 3) → (n, m) in 0..1.

    Args:
        kpt1: x, y and visibility; points of visibility 0 do not count, and a pose without others is similar to none.
        area: (n,) of the labelled objects, in the points' unit squared.
        sigma: (K,) spread of each point, in parts of the object's size.
    """
    distance = (kpt1[:, None, :, :2] - kpt2[None, :, :, :2]).square().sum(-1)
    spread = (2 * torch.as_tensor(np.asarray(sigma), dtype=kpt1.dtype, device=kpt1.device)).square()
    seen = (kpt1[..., 2] != 0).to(kpt1.dtype)[:, None]
    error = distance / (spread * (area[:, None, None] + eps) * 2)
    return ((-error).exp() * seen).sum(-1) / (seen.sum(-1) + eps)


def sigmas_of(kpt_shape: Sequence[int]) -> Float64Array:
    """Return the spreads (K,) by which poses of a shape are compared: COCO's of its 17 points, else 1 / K."""
    return OKS_SIGMA if tuple(kpt_shape) == (17, 3) else np.full(kpt_shape[0], 1 / kpt_shape[0])
