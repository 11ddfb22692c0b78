"""What a network learns of the objects of a frame: tensors of a sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from ultralytics.data.instances import Instances
from ultralytics.data.masks import index_map, polygon_masks
from ultralytics.data.polygons import Polygons
from ultralytics.utils.types import Int64Array

OBJECTS = ("cls", "bboxes", "keypoints", "masks")  # tensors of a sample, as far as it has them; joined in a batch
Drawn = tuple[dict[str, torch.Tensor], Int64Array | None]


class Targets(NamedTuple):
    """Makes tensors of placed objects.

    Attributes:
        annotations: what the dataset labels, a key of `KINDS`.
        overlap: the masks of an image are one index map; otherwise there is a mask for each object.
        ratio: pixels of the frame, along each side, that are one of the mask.
    """

    annotations: str = "boxes"
    overlap: bool = True
    ratio: int = 4

    def __call__(self, placed: Instances, height: int, width: int) -> Drawn:
        """Return the tensors of objects in a frame, and the order (m,) that they are in, None for the objects' own."""
        return KINDS[self.annotations](self, placed, height, width)


LABELLED = Targets()  # of boxes, which are what is labelled


def _as_labelled(_: Targets, placed: Instances, height: int, width: int) -> Drawn:
    return placed.tensors(width, height), None


def _masks(how: Targets, placed: Instances, height: int, width: int) -> Drawn:
    outlines = _outlines_of(placed)
    if not how.overlap:
        masks = polygon_masks(outlines, height, width, how.ratio)
        return {**placed.tensors(width, height), "masks": torch.from_numpy(masks)}, None
    index, order = index_map(outlines, height, width, how.ratio)
    return {**placed.keep(order).tensors(width, height), "masks": torch.from_numpy(index)[None]}, order


def _rotated_boxes(_: Targets, placed: Instances, height: int, width: int) -> Drawn:
    boxes = _outlines_of(placed).rectangles()
    boxes[:, :4] /= (width, height, width, height)
    return {**placed.tensors(width, height), "bboxes": torch.from_numpy(boxes.astype(np.float32))}, None


def _outlines_of(placed: Instances) -> Polygons:
    assert placed.segments is not None
    return placed.segments


KINDS: dict[str, Callable[[Targets, Instances, int, int], Drawn]] = {
    "boxes": _as_labelled,
    "polygons": _masks,
    "keypoints": _as_labelled,
    "corners": _rotated_boxes,
}
