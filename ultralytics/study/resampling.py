"""The figures of a validation on resampled test images.

A figure such as mAP is no mean over images, so its spread over images cannot be read off a table: it is computed anew
for sets of images that are drawn with repetition. Here an image that was drawn twice is one with the weight 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ultralytics.utils.types import BoolArray, Float64Array

RECALLS = np.linspace(0, 1, 101)
CHUNK = 64  # resamples at a time: memory for detections × CHUNK numbers


@dataclass(frozen=True)
class Detections:
    """What an evaluation found on a split, detection by detection.

    Attributes:
        conf, cls, image: (n,) score, class and number of the image of each detection.
        correct, ignored: (n, thresholds) as `match_predictions` and `ignored_predictions` give them.
        target_cls, target_image: (m,) of the objects; images: in the split.
    """

    conf: Float64Array
    cls: npt.NDArray[np.int64]
    image: npt.NDArray[np.int64]
    correct: BoolArray
    ignored: BoolArray
    target_cls: npt.NDArray[np.int64]
    target_image: npt.NDArray[np.int64]
    images: int

    def mean_ap(self, weights: Float64Array) -> Float64Array:
        """mAP over the IoU thresholds and the classes, by the reference's convention.

        The classes are those of the whole split: one that a resample has no object of is left out of its mean.

        Args:
            weights: (R, images) how often each image counts, in each of R resamples.

        Returns:
            (R,), 0..1.
        """
        return np.concatenate([self._mean_ap(weights[i : i + CHUNK]) for i in range(0, len(weights), CHUNK)])

    def _mean_ap(self, weights: Float64Array) -> Float64Array:
        order = np.argsort(-self.conf, kind="stable")
        total = np.zeros(len(weights))
        classes = np.zeros(len(weights))
        for c in np.unique(self.target_cls):
            objects = weights[:, self.target_image[self.target_cls == c]].sum(1)
            mine = order[self.cls[order] == c]
            of_image = weights[:, self.image[mine]]
            seen = np.cumsum(of_image, 1)
            ap = np.zeros(len(weights))
            for j in range(self.correct.shape[1] if len(mine) else 0):
                correct, ignored = self.correct[mine, j], self.ignored[mine, j]
                if ignored.any():
                    kept = of_image[:, ~ignored]
                    ap += _average_precision(correct[~ignored], kept, np.cumsum(kept, 1), objects)
                else:
                    ap += _average_precision(correct, of_image, seen, objects)
            there = objects > 0
            total += np.where(there, ap / self.correct.shape[1], 0)
            classes += there
        return total / np.maximum(classes, 1)


def _average_precision(
    correct: BoolArray, weights: Float64Array, seen: Float64Array, objects: Float64Array
) -> Float64Array:
    """`utils.metrics.compute_ap` for many weights of the same detections at once.

    Recall changes at correct detections alone, so the curve is built of two points for each: just before it, and at it.

    Args:
        correct: (n,) in the order of falling scores; weights, seen: (R, n), and their running sums; objects: (R,)
            weight of all objects.

    Returns:
        (R,).
    """
    at = np.flatnonzero(correct)
    if not len(at):
        return np.zeros(len(weights))
    w = weights[:, at]
    hits = np.cumsum(w, 1)
    before = seen[:, at] - w
    zero, one = np.zeros((len(w), 1)), np.ones((len(w), 1))
    recall = hits / np.maximum(objects, 1e-16)[:, None]
    r = np.hstack([zero, np.repeat(recall, 2, 1), one])  # 0, r1, r1, r2, r2, …, rk, rk, 1
    p = np.empty_like(r)
    p[:, 0:-1:2] = np.hstack(
        [_quotient(hits - w, before), _quotient(hits[:, -1:], seen[:, -1:])]
    )  # before a hit, and in the end
    p[:, 1:-1:2] = _quotient(hits, seen[:, at])
    p[:, -1] = 0
    envelope = np.maximum.accumulate(p[:, ::-1], 1)[:, ::-1]
    # One search for all rows: row i lies in [2i, 2i + 1].
    shift = 2.0 * np.arange(len(r))[:, None]
    place = np.searchsorted((r + shift).ravel(), (RECALLS + shift).ravel(), side="right").reshape(len(r), -1)
    left = (place - 1 - np.arange(len(r))[:, None] * r.shape[1]).clip(0, r.shape[1] - 2)
    x0, x1 = np.take_along_axis(r, left, 1), np.take_along_axis(r, left + 1, 1)
    y0, y1 = np.take_along_axis(envelope, left, 1), np.take_along_axis(envelope, left + 1, 1)
    wide = x1 > x0
    part = np.where(wide, (RECALLS - x0) / np.where(wide, x1 - x0, 1), 1.0)
    y: Float64Array = y0 + (y1 - y0) * part.clip(0, 1)
    area: Float64Array = ((y[:, 1:] + y[:, :-1]) / 2 * np.diff(RECALLS)).sum(1)
    return np.where(seen[:, -1] > 0, area, 0.0)  # no detection counts


def _quotient(hits: Float64Array, seen: Float64Array) -> Float64Array:
    """Precision; 1 where nothing of any weight was seen yet."""
    return np.where(seen > 0, hits / np.maximum(seen, 1e-300), 1.0)


def draw(images: int, resamples: int, rng: np.random.Generator) -> Float64Array:
    """(resamples, images) weights of images drawn with repetition."""
    return rng.multinomial(images, np.full(images, 1 / images), resamples).astype(np.float64)
