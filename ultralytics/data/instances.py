"""What is labelled in an image, one row per object: the file that knows the kinds of annotation.

Label sets, augmentation, samples and batches move `Instances` as a whole. A kind is a field here, and what each
method does to it. Of objects with polygons the boxes are those around the polygons, before and after every method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from ultralytics.data.polygons import FloatArray as FloatArray
from ultralytics.data.polygons import Pair, Polygons, warp_points
from ultralytics.utils.types import BoolArray, Float32Array, Float64Array

MIN_SIDE, MIN_SHARE, MAX_ASPECT = 2, 0.1, 100  # of a box worth keeping: pixels, part of its area, long to short side
MIN_SHARE_CUT = 0.01  # of an object whose polygon was cut: what is left of it is known


@dataclass(slots=True)
class Instances:
    """The objects of an image: labelled, in parts of the image, or placed in a frame, in pixels."""

    cls: Float32Array  # (m,) class ids
    bboxes: FloatArray  # (m, 4) labelled: centre, width, height in 0..1; placed: corners x1, y1, x2, y2
    segments: Polygons | None = None  # m outlines or corners of rotated boxes; labelled: in 0..1
    # (m, K, 3) x, y, and 0: not labelled or out of sight, 1: hidden, 2: visible; labelled: x, y in 0..1
    keypoints: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.cls)

    def keep(self, rows: Any) -> Instances:
        """Take the rows that a slice, a mask (m,) or numbers choose."""
        values: dict[str, Any] = {field: getattr(self, field) for field in FIELDS}
        kept: dict[str, Any] = {field: None if value is None else value[rows] for field, value in values.items()}
        return Instances(**kept)

    @staticmethod
    def concatenate(parts: Sequence[Instances]) -> Instances:
        """Join the objects of several images, which are placed in one frame."""
        return Instances(*(_join_field([getattr(p, field) for p in parts]) for field in FIELDS))

    def _with_marks(
        self,
        bboxes: FloatArray,
        polygons: Callable[[Polygons], Polygons],
        points: Callable[[FloatArray], FloatArray],
    ) -> Instances:
        """Return the objects with other boxes, and what two functions make of polygons and of x and y (m, K, 2)."""
        if self.segments is None and self.keypoints is None:
            return replace(self, bboxes=bboxes)
        keypoints = self.keypoints
        if keypoints is not None:
            xy = points(keypoints[..., :2])
            keypoints = np.concatenate([xy, keypoints[..., 2:].astype(xy.dtype)], -1)
        return Instances(self.cls, bboxes, self.segments and polygons(self.segments), keypoints)

    # Labelled → placed

    def place(self, size: Pair, corner: Pair) -> Instances:
        """Place labelled objects on a canvas.

        Args:
            size: width and height of the image there, pixels.
            corner: x and y of its upper left corner.
        """
        boxes, size = self.bboxes.astype(np.float64), np.asarray(size)
        centre, half = boxes[:, :2] * size + corner, boxes[:, 2:] * size / 2
        return self._with_marks(
            np.concatenate([centre - half, centre + half], 1),
            lambda p: p.moved(p.points.astype(np.float64) * p.each(size) + p.each(corner)),
            lambda xy: xy * _each(size) + _each(corner),
        )

    def in_pixels(self, width: int, height: int) -> Instances:
        """Place labelled objects in their own image, in single precision as the evaluation has them."""
        boxes = np.empty_like(self.bboxes)
        boxes[:, :2] = (self.bboxes[:, :2] - self.bboxes[:, 2:] / 2) * (width, height)
        boxes[:, 2:] = (self.bboxes[:, :2] + self.bboxes[:, 2:] / 2) * (width, height)
        size = np.array((width, height), np.float32)
        return self._with_marks(boxes, lambda p: p.scale(size), lambda xy: xy * size)

    # In a frame

    def scale(self, gain: Pair) -> Instances:
        """Multiply x and y."""
        gain = np.asarray(gain, self.bboxes.dtype)
        return self._with_marks(self.bboxes * _twice(gain), lambda p: p.scale(gain), lambda xy: xy * _each(gain))

    def shift(self, by: Pair) -> Instances:
        """Add to x and y."""
        by = np.asarray(by, self.bboxes.dtype)
        return self._with_marks(self.bboxes + _twice(by), lambda p: p.shift(by), lambda xy: xy + _each(by))

    def clip(self, low: Pair, high: Pair) -> Instances:
        """Cut objects to a rectangle from `low` to `high`. A keypoint outside of it is out of sight."""
        low, high = np.asarray(low), np.asarray(high)
        bboxes: FloatArray = np.clip(self.bboxes, _twice(low), _twice(high))
        segments = self.segments
        if segments is not None:
            cut = segments.clip(low, high)
            if cut is not segments:
                segments, bboxes = cut, cut.bounds()
        keypoints = self.keypoints
        if keypoints is not None:
            inside = ((keypoints[..., :2] >= _each(low)) & (keypoints[..., :2] <= _each(high))).all(-1)
            keypoints = keypoints.copy()
            keypoints[..., :2] = keypoints[..., :2].clip(_each(low), _each(high))
            keypoints[..., 2] *= inside
        return Instances(self.cls, bboxes, segments, keypoints)

    def warp(self, matrix: Float64Array) -> Instances:
        """Apply a matrix (3, 3) to the points (x, y, 1); a box becomes the upright box around its corners, or around
        the polygon."""
        if self.segments is not None:
            segments = self.segments.warp(matrix)
            return self._with_marks(segments.bounds(), lambda _: segments, lambda xy: warp_points(xy, matrix))
        corners = np.ones((len(self), 4, 3))
        corners[:, :, :2] = self.bboxes[:, [0, 1, 2, 3, 0, 3, 2, 1]].reshape(-1, 4, 2)
        moved = corners @ matrix.T
        points = moved[:, :, :2] / moved[:, :, 2:]
        bboxes = np.concatenate([points.min(1), points.max(1)], 1)
        return self._with_marks(bboxes, lambda p: p, lambda xy: warp_points(xy, matrix))

    def flip(self, size: int, axis: int, order: Sequence[int] | None = None) -> Instances:
        """Mirror along x (axis 0) or y (axis 1) in a frame of that width or height.

        Args:
            order: (K,) of which keypoint each is the mirror image, such as the left eye of the right one; None where
                the mirrored object is none of the kind, as for axis 1.
        """
        boxes = self.bboxes.copy()
        boxes[:, axis], boxes[:, axis + 2] = size - self.bboxes[:, axis + 2], size - self.bboxes[:, axis]
        keypoints = self.keypoints
        if keypoints is not None:
            keypoints = keypoints.copy() if order is None else keypoints[:, list(order)]
            keypoints[..., axis] = size - keypoints[..., axis]
        return Instances(self.cls, boxes, self.segments and self.segments.flip(size, axis), keypoints)

    def worth_keeping(self, before: Instances, gain: float) -> BoolArray:
        """Tell which objects (m,) enough is left of, after a transform that scales by `gain` and a cut to the frame."""
        old, new = before.bboxes[:, 2:] - before.bboxes[:, :2], self.bboxes[:, 2:] - self.bboxes[:, :2]
        w, h = new[:, 0], new[:, 1]
        aspect = np.maximum(w / (h + 1e-16), h / (w + 1e-16))
        share = w * h / (old[:, 0] * old[:, 1] * gain**2 + 1e-16)
        least = MIN_SHARE if self.segments is None else MIN_SHARE_CUT
        return (w > MIN_SIDE) & (h > MIN_SIDE) & (share > least) & (aspect < MAX_ASPECT) & (old > 0).all(1)

    # Placed → labelled

    def label(self, size: Pair, corner: Pair) -> Instances:
        """Return placed objects as they are labelled in a part of the frame; the way back of `place`.

        Args:
            size: width and height of the part, pixels.
            corner: x and y of its upper left corner.
        """
        corner = np.asarray(corner)
        low, high = ((corners - corner) / size for corners in (self.bboxes[:, :2], self.bboxes[:, 2:]))
        return self._with_marks(
            np.concatenate([(low + high) / 2, high - low], 1).astype(np.float32),
            lambda p: p.moved(((p.points - p.each(corner)) / p.each(size)).astype(np.float32)),
            lambda xy: ((xy - _each(corner)) / _each(size)).astype(np.float32),
        )

    def tensors(self, width: int, height: int) -> dict[str, torch.Tensor]:
        """Return placed objects as they are labelled, in parts of the frame: a float32 tensor of each field, except
        polygons, which `data/targets.py` draws."""
        boxes = np.empty((len(self), 4), np.float32)
        boxes[:, :2] = (self.bboxes[:, :2] + self.bboxes[:, 2:]) / 2 / (width, height)
        boxes[:, 2:] = (self.bboxes[:, 2:] - self.bboxes[:, :2]) / (width, height)
        arrays: dict[str, FloatArray] = {"cls": self.cls, "bboxes": boxes}
        if self.keypoints is not None:
            arrays["keypoints"] = self.keypoints / (width, height, 1)
        return {f: torch.from_numpy(np.ascontiguousarray(array, np.float32)) for f, array in arrays.items()}


FIELDS = tuple(f.name for f in fields(Instances))


def _join_field(values: Sequence[Any]) -> Any:
    """Join a field of several images."""
    if values[0] is None:
        return None
    return Polygons.concatenate(values) if isinstance(values[0], Polygons) else np.concatenate(values)


def _each(pair: Pair) -> FloatArray:
    """Let x and y of each object (m, 2) meet its keypoints (m, K, 2)."""
    pair = np.asarray(pair)
    return pair if pair.ndim == 1 else pair[:, None]


def _twice(pair: FloatArray) -> FloatArray:
    """Repeat x, y for both corners of a box."""
    return np.concatenate([pair, pair], -1)
