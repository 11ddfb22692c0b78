"""Masks of polygons, at the resolution that a network learns them with."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from ultralytics.data.polygons import FloatArray, Polygons
from ultralytics.utils.types import Int32Array, Int64Array, UInt8Array

MOST_IN_BYTES = 255  # objects that an index map of bytes can tell apart


def polygon_masks(polygons: Polygons, height: int, width: int, ratio: int = 1) -> UInt8Array:
    """Draw each polygon (in pixels of a frame) as a mask of its own.

    Args:
        ratio: pixels of the frame, along each side, that are one of the mask.

    Returns:
        (m, height // ratio, width // ratio), 1 inside a polygon and 0 outside.
    """
    masks = np.zeros((len(polygons), height // ratio, width // ratio), np.uint8)
    for mask, (left, top, part) in zip(masks, _drawn(polygons, height, width, ratio), strict=True):
        mask[top : top + part.shape[0], left : left + part.shape[1]] = part
    return masks


def index_map(
    polygons: Polygons, height: int, width: int, ratio: int = 1
) -> tuple[UInt8Array | Int32Array, Int64Array]:
    """Draw all polygons (in pixels of a frame) in one map, smaller objects in front of larger ones.

    Returns:
        The map (height // ratio, width // ratio): 0 where there is nothing, i + 1 at the i-th object of the order; and
        the order (m,) of the objects, the largest first.
    """
    kind: npt.DTypeLike = np.uint8 if len(polygons) <= MOST_IN_BYTES else np.int32
    drawn = np.zeros((height // ratio, width // ratio), kind)
    parts = list(_drawn(polygons, height, width, ratio))
    areas = np.array([cv2.countNonZero(part) if part.size else 0 for _, _, part in parts], np.int64)
    order = np.argsort(-areas, kind="stable")
    for number, i in enumerate(order, 1):
        left, top, part = parts[i]
        drawn[top : top + part.shape[0], left : left + part.shape[1]][part > 0] = number
    return drawn, order


def _drawn(polygons: Polygons, height: int, width: int, ratio: int) -> Iterator[tuple[int, int, UInt8Array]]:
    """Yield of each polygon the place (left, top) in its mask of the part that holds it, and the part.

    A polygon is filled at the frame's resolution, in the pixels that its points lie in, and scaled down. Only the part
    around it is drawn, which gives what the whole would.
    """
    whole = height % ratio != 0 or width % ratio != 0  # pixels of the mask are then no blocks of the frame's
    for i in range(len(polygons)):
        corners = polygons.one(i).astype(np.int32)
        left, top, right, bottom = (0, 0, width, height) if whole else _part_around(corners, height, width, ratio)
        if right <= left or bottom <= top or not len(corners):
            yield 0, 0, np.zeros((0, 0), np.uint8)
            continue
        part = np.zeros((bottom - top, right - left), np.uint8)
        cv2.fillPoly(part, [corners - np.array((left, top), np.int32)], 1)
        if ratio > 1:
            size = (width // ratio, height // ratio) if whole else (part.shape[1] // ratio, part.shape[0] // ratio)
            part = cv2.resize(part, size)  # type: ignore[assignment]  # uint8 stays uint8
        yield left // ratio, top // ratio, part


def _part_around(corners: Int32Array, height: int, width: int, ratio: int) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of the part of a frame that holds points, in whole pixels of the mask."""
    if not len(corners):
        return 0, 0, 0, 0
    (left, top), (right, bottom) = corners.min(0).clip(0), corners.max(0) + 1
    end_x, end_y = min(-(-int(right) // ratio) * ratio, width), min(-(-int(bottom) // ratio) * ratio, height)
    return int(left) // ratio * ratio, int(top) // ratio * ratio, end_x, end_y


def filled_mask(outlines: list[FloatArray], height: int, width: int) -> UInt8Array:
    """Draw polygons (in pixels of a frame), each filled, as one mask (height, width) of 0 and 1."""
    mask = np.zeros((height, width), np.uint8)
    for outline in outlines:  # one call would leave out what two of them cover
        cv2.fillPoly(mask, [outline.astype(np.int32)], 1)
    return mask
