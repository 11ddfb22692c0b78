"""The parts of a result: boxes, masks, keypoints, rotated boxes and probabilities of one image."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ultralytics.utils.boxes import xywhr2xyxyxyxy, xyxy2xywh
from ultralytics.utils.helpers import SimpleClass
from ultralytics.utils.masks import masks2segments
from ultralytics.utils.ops import scale_coords
from ultralytics.utils.types import Float32Array

VISIBLE = 0.5  # confidence from which a keypoint counts as seen
TOP = 5  # most likely classes that are named


class Movable(SimpleClass):
    """Something with tensors or arrays: they may lie elsewhere or be of another type."""

    def _moved(self: M, move: Callable[[Any], Any]) -> M:
        """Return the same with its tensors moved."""
        raise NotImplementedError

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """Return the same on another device or of another type."""
        return self._moved(lambda data: torch.as_tensor(data).to(*args, **kwargs))

    def cpu(self: M) -> M:
        """Return the same in main memory."""
        return self._moved(lambda data: data.cpu() if isinstance(data, Tensor) else data)

    def cuda(self: M) -> M:
        """Return the same on the GPU."""
        return self.to("cuda")

    def numpy(self: M) -> M:
        """Return the same as an array."""
        return self._moved(lambda data: data.cpu().numpy() if isinstance(data, Tensor) else data)


class BaseTensor(Movable):
    """Predictions of one image, a row for each object.

    Args:
        data: a tensor or an array.
        orig_shape: (height, width) of the image.
    """

    def __init__(self, data: Any, orig_shape: tuple[int, int]) -> None:
        self.data, self.orig_shape = data, orig_shape

    def __len__(self) -> int:
        return len(self.data)

    def _moved(self: P, move: Callable[[Any], Any]) -> P:
        return type(self)(move(self.data), self.orig_shape)

    def __getitem__(self: P, index: Any) -> P:
        return self._moved(lambda data: data[index])

    @property
    def shape(self) -> Any:
        """Shape of the data."""
        return self.data.shape

    def _like(self, values: list[Any]) -> Any:
        """Return numbers as the data are: a tensor or an array."""
        return self.data.new_tensor(values) if isinstance(self.data, Tensor) else np.array(values, self.data.dtype)

    def _size(self) -> Any:
        """(2,) width and height of the image."""
        return self._like([*self.orig_shape[::-1]])


M = TypeVar("M", bound=Movable)
P = TypeVar("P", bound=BaseTensor)


class _Rows(BaseTensor):
    """Objects as rows: their place, the id of a track if there is one, score, class."""

    columns: tuple[int, int]  # without and with ids

    def __init__(self, boxes: Any, orig_shape: tuple[int, int]) -> None:
        if boxes.ndim == 1:
            boxes = boxes[None, :]
        few, many = self.columns
        width = boxes.shape[-1]
        assert width in self.columns, f"boxes need {few} columns, or {many} with ids, not {width}"
        super().__init__(boxes, orig_shape)
        self.is_track = width == many

    @property
    def conf(self) -> Any:
        """(n,) scores, 0..1."""
        return self.data[:, -2]

    @property
    def cls(self) -> Any:
        """(n,) class ids."""
        return self.data[:, -1]

    @property
    def id(self) -> Any:
        """(n,) ids of tracks; None without them."""
        return self.data[:, -3] if self.is_track else None


class Boxes(_Rows):
    """Detected boxes of one image.

    Args:
        boxes: (n, 6) x1, y1, x2, y2 in pixels, score, class; or (n, 7), as a tracker has them, with an id before the
            score; a tensor or an array.
        orig_shape: (height, width) of the image.

    Attributes:
        is_track: True if they have ids.
    """

    columns = (6, 7)

    @property
    def xyxy(self) -> Any:
        """(n, 4) corners, pixels."""
        return self.data[:, :4]

    @property
    def xywh(self) -> Any:
        """(n, 4) centre, width and height, pixels."""
        return xyxy2xywh(self.xyxy)

    @property
    def xyxyn(self) -> Any:
        """(n, 4) corners in 0..1."""
        return self.xyxy / self._like([*self.orig_shape[::-1]] * 2)

    @property
    def xywhn(self) -> Any:
        """(n, 4) centre, width and height in 0..1."""
        return self.xywh / self._like([*self.orig_shape[::-1]] * 2)


class OBB(_Rows):
    """Rotated boxes of one image.

    Args:
        boxes: (n, 7) centre, width and height in pixels, angle in radians, score, class; or (n, 8) with an id before
            the score; a tensor or an array.
        orig_shape: (height, width) of the image.

    Attributes:
        is_track: True if they have ids.
    """

    columns = (7, 8)

    @property
    def xywhr(self) -> Any:
        """(n, 5) centre, width, height in pixels, angle in radians, clockwise on the screen."""
        return self.data[:, :5]

    @property
    def xyxyxyxy(self) -> Any:
        """(n, 4, 2) corners, pixels."""
        return xywhr2xyxyxyxy(self.xywhr)

    @property
    def xyxyxyxyn(self) -> Any:
        """(n, 4, 2) corners in 0..1; those of a box that leaves the image are outside."""
        return self.xyxyxyxy / self._size()

    @property
    def xyxy(self) -> Any:
        """(n, 4) corners of the upright boxes around them, pixels."""
        corners = self.xyxyxyxy
        if isinstance(corners, Tensor):
            return torch.cat([corners.amin(1), corners.amax(1)], -1)
        return np.concatenate([corners.min(1), corners.max(1)], -1)


class Masks(BaseTensor):
    """Masks of the objects of one image.

    Args:
        masks: (n, h, w) of 0 and 1, or (h, w) of one object; a tensor or an array. They are of the letterboxed frame,
            or of the image with `retina_masks`.
        orig_shape: (height, width) of the image.
    """

    def __init__(self, masks: Any, orig_shape: tuple[int, int]) -> None:
        super().__init__(masks[None] if masks.ndim == 2 else masks, orig_shape)

    @functools.cached_property
    def _outlines(self) -> list[Float32Array]:
        shape = self.data.shape[1:]
        return [scale_coords(shape, outline, self.orig_shape) for outline in masks2segments(self.data, "all")]

    @property
    def xy(self) -> list[Float32Array]:
        """The outline of each object, (m, 2) x and y in pixels of the image; (0, 2) where the mask is empty.

        The parts of an object in several are one polygon: bridges of no width lead from the largest to each other
        part and back, so that filling it gives all of them. Holes are filled.
        """
        return [outline.copy() for outline in self._outlines]

    @property
    def xyn(self) -> list[Float32Array]:
        """The outlines in 0..1."""
        size = np.array(self.orig_shape[::-1], np.float32)
        return [outline / size for outline in self._outlines]


class Keypoints(BaseTensor):
    """Keypoints of the objects of one image.

    Args:
        keypoints: (n, K, 2) x and y in pixels, or (n, K, 3) with confidences, or (K, 2 or 3) of one object; a tensor
            or an array, which is not changed.
        orig_shape: (height, width) of the image.

    Attributes:
        data: x and y of a point whose confidence is below 0.5 are 0, as in the reference.
        has_visible: True if there are confidences.
    """

    def __init__(self, keypoints: Any, orig_shape: tuple[int, int]) -> None:
        if keypoints.ndim == 2:
            keypoints = keypoints[None][: len(keypoints)]  # none of no points
        self.has_visible = keypoints.shape[-1] == 3
        if self.has_visible:
            hidden = keypoints[..., 2] < VISIBLE
            if bool(hidden.any()):
                keypoints = keypoints.clone() if isinstance(keypoints, Tensor) else keypoints.copy()
                keypoints[..., :2][hidden] = 0
        super().__init__(keypoints, orig_shape)

    @property
    def xy(self) -> Any:
        """(n, K, 2) x and y, pixels."""
        return self.data[..., :2]

    @property
    def xyn(self) -> Any:
        """(n, K, 2) x and y in 0..1."""
        return self.xy / self._size()

    @property
    def conf(self) -> Any:
        """(n, K) confidences, 0..1; None without them."""
        return self.data[..., 2] if self.has_visible else None


class Probs(BaseTensor):
    """Probabilities of the classes of one image.

    Args:
        probs: (nc,) in 0..1; a tensor or an array.
        orig_shape: not needed; the reference's.
    """

    def __init__(self, probs: Any, orig_shape: tuple[int, int] | None = None) -> None:
        super().__init__(probs, orig_shape)  # type: ignore[arg-type]  # the one part that needs no size

    @property
    def top1(self) -> int:
        """The most likely class."""
        return int(self.data.argmax())

    @property
    def top5(self) -> list[int]:
        """The five most likely classes, or all there are, best first."""
        data = self.data.cpu().float().numpy() if isinstance(self.data, Tensor) else self.data
        found: list[int] = np.argsort(-data, kind="stable")[:TOP].tolist()
        return found

    @property
    def top1conf(self) -> Any:
        """Probability of the most likely class."""
        return self.data[self.top1]

    @property
    def top5conf(self) -> Any:
        """(5,) probabilities of the most likely classes."""
        return self.data[self.top5]
