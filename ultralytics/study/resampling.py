"""The figures of a validation on resampled test images.

A figure such as mAP is no mean over images, so its spread over images cannot be read off a table: it is computed anew
for sets of images that are drawn with repetition. Here an image that was drawn twice is one with the weight 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ultralytics.utils.boxes import box_iou, ltwh2xyxy
from ultralytics.utils.coco import CROWD, Seen
from ultralytics.utils.matching import IOU_THRESHOLDS, ignored_predictions, match_predictions
from ultralytics.utils.metrics import compute_ap
from ultralytics.utils.types import BoolArray, Float64Array

RECALLS = np.linspace(0, 1, 101)
NUMBERS = 500_000  # in memory at a time: detections of a class × resamples


class MeasuredSplit(Protocol):
    """What an evaluation found on a split, so far as the figures of some of its images can be computed anew."""

    @property
    def target_cls(self) -> npt.NDArray[np.int64]:
        """Classes of the objects, or of the images where they have one each."""

    @property
    def classes(self) -> npt.NDArray[np.int64]:
        """(C,) ids of the classes that the split has objects of, rising."""

    def by_class(self, weights: Float64Array) -> Float64Array:
        """Return the figure (R, C) of each class for weights (R, images) of the images; nan without an object of it."""

    def overall(self, weights: Float64Array, by_class: Float64Array) -> Float64Array:
        """Return the figure (R,) that is compared, of the same weights and of what `by_class` gave for them."""

    def precision_over_recall(self, recalls: Float64Array) -> Float64Array | None:
        """Return the curve that is drawn of it, if there is one."""


def measured_of(kept: Mapping[str, npt.NDArray[Any]]) -> MeasuredSplit:
    """Return what an evaluator kept of each image (`by_image`), to be measured anew.

    Raises:
        KeyError: it is no such mapping.
    """
    return Detections.from_images(kept) if "correct" in kept else Answers.from_images(kept)


@dataclass(frozen=True)
class Answers:
    """What a classifier said of each image of a split.

    Attributes:
        target_cls: (images,) the right class; correct: (images,) whether it is the likeliest; images: in the split.
    """

    target_cls: npt.NDArray[np.int64]
    correct: BoolArray
    images: int

    @classmethod
    def from_images(cls, kept: Mapping[str, npt.NDArray[Any]]) -> Answers:
        """Read what a `ClassEvaluator` kept."""
        return cls(kept["true"], kept["likeliest"] == kept["true"], len(kept["files"]))

    @property
    def classes(self) -> npt.NDArray[np.int64]:
        """(C,) ids of the classes that the split has images of, rising."""
        return np.unique(self.target_cls)

    def by_class(self, weights: Float64Array) -> Float64Array:
        """Return the part of each class's images that is right, (R, C) of weights (R, images)."""
        mine = (self.target_cls[:, None] == self.classes[None]).astype(np.float64)
        known = weights @ mine
        right = weights @ (mine * self.correct[:, None])
        part: Float64Array = np.divide(right, known, out=np.full_like(known, np.nan), where=known > 0)
        return part

    def overall(self, weights: Float64Array, by_class: Float64Array) -> Float64Array:
        """Return the part of all images that is right, (R,)."""
        return np.asarray(weights @ self.correct / np.maximum(weights.sum(1), 1e-300))

    def precision_over_recall(self, recalls: Float64Array) -> None:
        """There is none: every image gets a class."""


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

    @classmethod
    def from_seen(cls, seen: Sequence[Seen]) -> Detections:
        """Match what an evaluation has seen by the reference's rules, in the precision it was matched in there: the
        figures are those that the evaluation reported. Image i is the i-th of `seen`."""
        parts = [_match_image(s) for s in seen]
        wide = np.zeros((0, len(IOU_THRESHOLDS)), np.bool_)
        found = np.concatenate([np.zeros((0, 6)), *(s.found for s in seen)])
        objects = [s.truths[s.truths[:, 5] == 0, 4] for s in seen]
        return cls(
            conf=found[:, 4],
            cls=found[:, 5].astype(np.int64),
            image=np.repeat(np.arange(len(seen)), [len(s.found) for s in seen]).astype(np.int64),
            correct=np.concatenate([wide, *(correct for correct, _ in parts)]),
            ignored=np.concatenate([wide, *(ignored for _, ignored in parts)]),
            target_cls=np.concatenate([np.zeros(0), *objects]).astype(np.int64),
            target_image=np.repeat(np.arange(len(seen)), [len(o) for o in objects]).astype(np.int64),
            images=len(seen),
        )

    @classmethod
    def from_images(cls, kept: Mapping[str, npt.NDArray[Any]]) -> Detections:
        """Read what a `BoxEvaluator` kept: already matched, by what the task is about (masks, poses, rotated boxes)."""
        numbers = np.arange(len(kept["files"]), dtype=np.int64)
        return cls(
            conf=kept["conf"].astype(np.float64),
            cls=kept["cls"].astype(np.int64),
            image=np.repeat(numbers, kept["found"]),
            correct=kept["correct"],
            ignored=kept["ignored"],
            target_cls=kept["target_cls"].astype(np.int64),
            target_image=np.repeat(numbers, kept["objects"]),
            images=len(numbers),
        )

    @property
    def classes(self) -> npt.NDArray[np.int64]:
        """(C,) ids of the classes that the split has objects of, rising."""
        return np.unique(self.target_cls)

    def overall(self, weights: Float64Array, by_class: Float64Array) -> Float64Array:
        """Return the mAP, (R,)."""
        return mean_over_classes(by_class)

    def by_class(self, weights: Float64Array) -> Float64Array:
        """AP of each of `classes`, mean over the IoU thresholds, by the reference's convention.

        Args:
            weights: (R, images) how often each image counts, in each of R resamples.

        Returns:
            (R, C), 0..1; nan where a resample has no object of the class.
        """
        order = np.argsort(-self.conf, kind="stable")
        out = np.full((len(weights), len(self.classes)), np.nan)
        for k, c in enumerate(self.classes):
            targets = self.target_image[self.target_cls == c]
            mine = order[self.cls[order] == c]
            step = max(NUMBERS // max(len(mine), len(RECALLS)), 1)
            for i in range(0, len(weights), step):
                some = weights[i : i + step]
                objects = some[:, targets].sum(1)
                ap = self._ap(mine, some[:, self.image[mine]], objects)
                out[i : i + step, k] = np.where(objects > 0, ap, np.nan)
        return out

    def _ap(self, mine: npt.NDArray[np.int64], of_image: Float64Array, objects: Float64Array) -> Float64Array:
        """(R,) mean AP over the thresholds of a class's detections, in the order of falling scores, each of the weight
        (R, n) of its image."""
        ap: Float64Array = np.zeros(len(of_image))
        seen = np.cumsum(of_image, 1)
        for j in range(self.correct.shape[1] if len(mine) else 0):
            correct, ignored = self.correct[mine, j], self.ignored[mine, j]
            if ignored.any():
                kept = of_image[:, ~ignored]
                ap += _average_precision(correct[~ignored], kept, np.cumsum(kept, 1), objects)
            else:
                ap += _average_precision(correct, of_image, seen, objects)
        ap /= self.correct.shape[1]
        return ap

    def precision_over_recall(self, recalls: Float64Array) -> Float64Array:
        """Precision at IoU 0.5 over recall, mean over the classes, as the reference draws it.

        Args:
            recalls: (n,) rising, 0..1.

        Returns:
            (n,), 0..1.
        """
        total = np.zeros(len(recalls))
        for c in self.classes:
            mine = np.flatnonzero(self.cls == c)
            mine = mine[np.argsort(-self.conf[mine], kind="stable")]
            correct = self.correct[mine, 0][~self.ignored[mine, 0]]
            if len(correct):
                hits = correct.cumsum().astype(np.float64)
                recall = hits / (self.target_cls == c).sum()
                _, envelope, r = compute_ap(recall, hits / np.arange(1, len(hits) + 1))
                total += np.interp(recalls, r, envelope)
        return total / max(len(self.classes), 1)


def mean_over_classes(ap: Float64Array) -> Float64Array:
    """(R, C) of `Detections.by_class` → (R,) mAP: the mean over classes that a resample has; 0 for none."""
    known = ~np.isnan(ap)
    return np.asarray(np.where(known, ap, 0).sum(1) / np.maximum(known.sum(1), 1))


def _match_image(seen: Seen) -> tuple[BoolArray, BoolArray]:
    """(n, thresholds) which detections of an image are correct, and which are ignored."""
    found = torch.from_numpy(_with_corners(seen.found)).float()
    truths = torch.from_numpy(_with_corners(seen.truths)).float()
    objects, regions = truths[seen.truths[:, 5] == 0], truths[seen.truths[:, 5] > 0]
    cls = found[:, 5].numpy()
    correct = match_predictions(cls, objects[:, 4].numpy(), box_iou(objects[:, :4], found[:, :4]).numpy())
    spared = torch.cat([regions[:, 4:5], regions[:, :4], (regions[:, 5:6] == CROWD).float()], 1)
    return correct, ignored_predictions(found[:, :4], cls, correct, spared)


def _with_corners(rows: Float64Array) -> Float64Array:
    """Rows that begin with x, y, width, height, with the corners instead."""
    rows = rows.astype(np.float64, copy=True)
    rows[:, :4] = ltwh2xyxy(rows[:, :4])
    return rows


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
