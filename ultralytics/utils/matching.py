"""Which detection finds which object: the pairs that metrics count, in the reference's conventions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ultralytics.utils.boxes import box_iou
from ultralytics.utils.types import ANY_CLASS

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)


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
