"""What is labelled in an image, one row per object: the file that knows the kinds of annotation.

Label sets, augmentation, samples and batches move `Instances` as a whole. Another kind (polygons, keypoints, angles)
is a field here, and what each method does to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ultralytics.utils.types import BoolArray, Float32Array, Float64Array

FloatArray = npt.NDArray[np.floating]
Pair = FloatArray | Sequence[float]  # of x and y: (2,), or one for each row (m, 2)
MIN_SIDE, MIN_SHARE, MAX_ASPECT = 2, 0.1, 100  # of a box worth keeping: pixels, part of its area, long to short side


@dataclass(slots=True)
class Instances:
    """The objects of an image: labelled, in parts of the image, or placed in a frame, in pixels."""

    cls: Float32Array  # (m,) class ids
    bboxes: FloatArray  # (m, 4) labelled: centre, width, height in 0..1; placed: corners x1, y1, x2, y2

    def __len__(self) -> int:
        return len(self.cls)

    def keep(self, rows: Any) -> Instances:
        """Take the rows that a slice, a mask (m,) or numbers choose."""
        return Instances(*(getattr(self, field)[rows] for field in FIELDS))

    @staticmethod
    def concatenate(parts: Sequence[Instances]) -> Instances:
        """Join the objects of several images, which are placed in one frame."""
        return Instances(*(np.concatenate([getattr(p, field) for p in parts]) for field in FIELDS))

    # Labelled → placed

    def place(self, size: Pair, corner: Pair) -> Instances:
        """Place labelled objects on a canvas.

        Args:
            size: width and height of the image there, pixels.
            corner: x and y of its upper left corner.
        """
        boxes, size = self.bboxes.astype(np.float64), np.asarray(size)
        centre, half = boxes[:, :2] * size + corner, boxes[:, 2:] * size / 2
        return replace(self, bboxes=np.concatenate([centre - half, centre + half], 1))

    def in_pixels(self, width: int, height: int) -> Instances:
        """Place labelled objects in their own image, in single precision as the evaluation has them."""
        boxes = np.empty_like(self.bboxes)
        boxes[:, :2] = (self.bboxes[:, :2] - self.bboxes[:, 2:] / 2) * (width, height)
        boxes[:, 2:] = (self.bboxes[:, :2] + self.bboxes[:, 2:] / 2) * (width, height)
        return replace(self, bboxes=boxes)

    # In a frame

    def scale(self, gain: Pair) -> Instances:
        """Multiply x and y."""
        return replace(self, bboxes=self.bboxes * _twice(np.asarray(gain, self.bboxes.dtype)))

    def shift(self, by: Pair) -> Instances:
        """Add to x and y."""
        return replace(self, bboxes=self.bboxes + _twice(np.asarray(by, self.bboxes.dtype)))

    def clip(self, low: Pair, high: Pair) -> Instances:
        """Cut objects to a rectangle from `low` to `high`."""
        return replace(self, bboxes=np.clip(self.bboxes, _twice(np.asarray(low)), _twice(np.asarray(high))))

    def warp(self, matrix: Float64Array) -> Instances:
        """Apply a matrix (3, 3) to the points (x, y, 1); a box becomes the upright box around its corners."""
        corners = np.ones((len(self), 4, 3))
        corners[:, :, :2] = self.bboxes[:, [0, 1, 2, 3, 0, 3, 2, 1]].reshape(-1, 4, 2)
        moved = corners @ matrix.T
        points = moved[:, :, :2] / moved[:, :, 2:]
        return replace(self, bboxes=np.concatenate([points.min(1), points.max(1)], 1))

    def flip(self, size: int, axis: int) -> Instances:
        """Mirror along x (axis 0) or y (axis 1) in a frame of that width or height."""
        boxes = self.bboxes.copy()
        boxes[:, axis], boxes[:, axis + 2] = size - self.bboxes[:, axis + 2], size - self.bboxes[:, axis]
        return replace(self, bboxes=boxes)

    def worth_keeping(self, before: Instances, gain: float) -> BoolArray:
        """Tell which objects (m,) enough is left of, after a transform that scales by `gain` and a cut to the frame."""
        old, new = before.bboxes[:, 2:] - before.bboxes[:, :2], self.bboxes[:, 2:] - self.bboxes[:, :2]
        w, h = new[:, 0], new[:, 1]
        aspect = np.maximum(w / (h + 1e-16), h / (w + 1e-16))
        share = w * h / (old[:, 0] * old[:, 1] * gain**2 + 1e-16)
        return (w > MIN_SIDE) & (h > MIN_SIDE) & (share > MIN_SHARE) & (aspect < MAX_ASPECT) & (old > 0).all(1)

    # Placed → labelled

    def label(self, size: Pair, corner: Pair) -> Instances:
        """Return placed objects as they are labelled in a part of the frame; the way back of `place`.

        Args:
            size: width and height of the part, pixels.
            corner: x and y of its upper left corner.
        """
        low, high = ((corners - np.asarray(corner)) / size for corners in (self.bboxes[:, :2], self.bboxes[:, 2:]))
        return replace(self, bboxes=np.concatenate([(low + high) / 2, high - low], 1).astype(np.float32))

    def tensors(self, width: int, height: int) -> dict[str, torch.Tensor]:
        """Return placed objects as they are labelled, in parts of the frame: a float32 tensor of each field."""
        boxes = np.empty((len(self), 4), np.float32)
        boxes[:, :2] = (self.bboxes[:, :2] + self.bboxes[:, 2:]) / 2 / (width, height)
        boxes[:, 2:] = (self.bboxes[:, 2:] - self.bboxes[:, :2]) / (width, height)
        labelled = replace(self, bboxes=boxes)
        return {f: torch.from_numpy(np.ascontiguousarray(getattr(labelled, f), np.float32)) for f in FIELDS}


FIELDS = tuple(f.name for f in fields(Instances))  # each is a tensor of a sample, and joined in a batch


def _twice(pair: FloatArray) -> FloatArray:
    """Repeat x, y for both corners of a box."""
    return np.concatenate([pair, pair], -1)
