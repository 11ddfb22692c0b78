"""Mirrored copies of an image's objects, pasted into it (Simple Copy-Paste, arXiv:2012.07177, within one image)."""

from __future__ import annotations

import cv2
import numpy as np

from ultralytics.data.instances import Instances
from ultralytics.data.masks import filled_mask
from ultralytics.utils.types import Float64Array, Int64Array, UInt8Array

MOST_COVERED = 0.3  # part of any object's box that a copy's box may cover


def copy_paste(
    objects: Instances, frame: tuple[int, int], p: float, rng: np.random.Generator
) -> tuple[Instances, UInt8Array | None]:
    """Choose a part `p` of the objects whose mirrored copies cover little of what is there.

    Args:
        objects: with polygons, in pixels.
        frame: (height, width) of the image.

    Returns:
        The objects, and behind them the copies; what to `paste`, None where there is nothing.
    """
    outlines = objects.segments
    if outlines is None or not len(objects):
        return objects, None
    height, width = frame
    mirrored = objects.flip(width, 0)
    free = np.flatnonzero((_covered(objects, mirrored) < MOST_COVERED).all(1))
    count = round(p * len(free))
    if not count:
        return objects, None
    chosen: Int64Array = np.sort(rng.choice(free, count, replace=False))
    mask = filled_mask([outlines.one(int(i)) for i in chosen], height, width)
    return Instances.concatenate([objects, mirrored.keep(chosen)]), mask


def paste(image: UInt8Array, mask: UInt8Array) -> None:
    """Draw the mirror image of what `mask` (height, width) shows of an image (height, width, 3) into it."""
    cv2.copyTo(cv2.flip(image, 1), cv2.flip(mask, 1), image)


def _covered(objects: Instances, copies: Instances) -> Float64Array:
    """Return which part of each object's box each copy's covers: (copies, objects)."""
    there, new = objects.bboxes[None], copies.bboxes[:, None]
    low, high = np.maximum(new[..., :2], there[..., :2]), np.minimum(new[..., 2:], there[..., 2:])
    area = (there[..., 2:] - there[..., :2]).prod(-1)
    covered: Float64Array = (high - low).clip(0).prod(-1) / (area + 1e-7)
    return covered
