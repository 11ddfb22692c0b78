"""Which detection is which object: costs of pairs, and the assignment of least cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from ultralytics.trackers.basetrack import STrack, boxes_of, corners_of
from ultralytics.utils.types import Float32Array, Float64Array

EPS = 1e-7
Pairs = npt.NDArray[np.intp]
FloatArray = TypeVar("FloatArray", Float32Array, Float64Array)


def linear_assignment(cost: npt.NDArray[Any], thresh: float) -> tuple[Pairs, Pairs, Pairs]:
    """Choose pairs so that the sum of (cost - thresh) over them is least: a pair above the limit is never chosen, and
    one below it may be given up for better ones of others.

    Args:
        cost: (n, m).
        thresh: the largest cost of a pair.

    Returns:
        Pairs (k, 2); rows, and columns that are in none.
    """
    gain = np.minimum(np.asarray(cost, np.float64) - thresh, 0.0)  # a pair of 0 counts as not chosen
    rows, columns = linear_sum_assignment(gain)
    chosen = gain[rows, columns] < 0
    rows, columns = rows[chosen], columns[chosen]
    left, free = (np.ones(n, bool) for n in cost.shape)
    left[rows] = free[columns] = False
    return np.stack([rows, columns], 1), np.flatnonzero(left), np.flatnonzero(free)


def iou_distance(atracks: Sequence[STrack], btracks: Sequence[STrack]) -> Float32Array:
    """Return 1 - IoU (n, m) of tracks of one kind; of rotated boxes, 1 - their probabilistic IoU."""
    if not len(atracks) or not len(btracks):
        return np.zeros((len(atracks), len(btracks)), np.float32)
    if atracks[0].angle is not None:
        return 1 - _probiou(boxes_of(atracks).astype(np.float32), boxes_of(btracks).astype(np.float32))
    return 1 - iou_of(corners_of(atracks).astype(np.float32), corners_of(btracks).astype(np.float32))


def fuse_score(cost: Float32Array, detections: Sequence[STrack]) -> Float32Array:
    """Return 1 - similarity × score, of a cost (n, m) that is 1 - similarity and of m detections."""
    if not cost.size:
        return cost
    return 1 - (1 - cost) * np.array([d.score for d in detections], np.float32)


def iou_of(box1: FloatArray, box2: FloatArray, eps: float = EPS) -> FloatArray:
    """Return the IoU (n, m) of boxes xyxy (n, 4) and (m, 4), in their type; `eps` is added to the union."""
    low = np.maximum(box1[:, None, :2], box2[None, :, :2])
    high = np.minimum(box1[:, None, 2:], box2[None, :, 2:])
    inter = (high - low).clip(0).prod(2)
    area1, area2 = ((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (box1, box2))
    result: FloatArray = inter / (area1[:, None] + area2 - inter + inter.dtype.type(eps))
    return result


def _probiou(box1: Float32Array, box2: Float32Array) -> Float32Array:
    """Similarity (n, m) of rotated boxes (n, 5) and (m, 5) xywhr, r in radians: one less the Hellinger distance of the
    normal distributions that the boxes stand for (Llerena et al. 2021, equations 4 to 8). `utils.boxes.batch_probiou`
    is the same of tensors: trackers are of numpy alone, and a test compares the two."""
    x1, y1, a1, b1, c1 = (v[:, None] for v in _normal(box1))
    x2, y2, a2, b2, c2 = _normal(box2)
    a, b, c, dx, dy = a1 + a2, b1 + b2, c1 + c2, x1 - x2, y1 - y2
    det = a * b - c * c
    shift = (a * dy**2 + b * dx**2) / (det + EPS) * 0.25 - c * dx * dy / (det + EPS) * 0.5
    own = np.sqrt((a1 * b1 - c1 * c1).clip(0) * (a2 * b2 - c2 * c2).clip(0))
    spread = np.log(det / (4 * own + EPS) + EPS) * 0.5
    distance = (shift + spread).clip(EPS, 100)
    result: Float32Array = 1 - np.sqrt(1 - np.exp(-distance) + np.float32(EPS))
    return result


def _normal(box: Float32Array) -> tuple[Float32Array, ...]:
    """Centre (n,), (n,) and covariance a, b, c of the normal distribution of a rotated box."""
    x, y, w, h, r = box.T
    major, minor = w**2 / 12, h**2 / 12
    cos, sin = np.cos(r), np.sin(r)
    return x, y, major * cos**2 + minor * sin**2, major * sin**2 + minor * cos**2, (major - minor) * cos * sin
