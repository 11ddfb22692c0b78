"""Rows of label files as numbers: what stands behind a class and is more than a box."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ultralytics.data.labels import BOX_COLUMNS
from ultralytics.data.prepare.boxes import Box
from ultralytics.data.prepare.outlines import area_of, clip
from ultralytics.utils.types import Float64Array

CORNERS = 4


def outline_of(numbers: Sequence[float]) -> Float64Array | None:
    """Return the outline (k, 2) of a row in 0..1, cut to the image; None where the row is a box, or nothing is left."""
    if len(numbers) < BOX_COLUMNS:
        return None
    points = clip(np.array(numbers, np.float64).reshape(-1, 2), (1, 1))
    return points if len(points) > 2 and area_of(points) > 0 else None


def corners_of_box(box: Box) -> list[float]:
    """Return the four corners of an upright box, as x, y, x, y, …, from the upper left clockwise."""
    x, y, w, h = box
    x1, y1, x2, y2 = max(x - w / 2, 0.0), max(y - h / 2, 0.0), min(x + w / 2, 1.0), min(y + h / 2, 1.0)
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def as_corners(points: Float64Array, shape: tuple[int, int]) -> list[float]:
    """Return the corners of a rotated box for an outline (k, 2) in pixels, as x, y, … in 0..1 of an image of (height,
    width): its own where it has four, else those of the smallest rectangle around it, cut to the image."""
    if len(points) != CORNERS:
        points = cv2.boxPoints(cv2.minAreaRect(points.astype(np.float32))).astype(np.float64)
        points = clip(points, shape)
    found: list[float] = (points / (shape[1], shape[0])).ravel().tolist()
    return found


def pose_numbers(numbers: Sequence[float], box: Box, kpt_shape: tuple[int, int]) -> tuple[list[float], str]:
    """Return the box and the points of a pose's row, none of them marked where the row is a box; and what is wrong with
    them. Points outside the image count as not marked."""
    count, each = kpt_shape
    found: list[float] = [*box]
    points = np.array(numbers[4:] or [0.0] * (count * each), np.float64).reshape(count, each)
    strange = 0
    for x, y, *seen in points.tolist():
        if each == 2:
            found += [x, y] if 0 <= x <= 1 and 0 <= y <= 1 else [-1.0, -1.0]
            continue
        strange += seen[0] not in (0, 1, 2)
        marked = seen[0] > 0 and 0 <= x <= 1 and 0 <= y <= 1
        found += [x, y, 1.0 if seen[0] == 1 else 2.0] if marked else [0.0, 0.0, 0.0]
    what = "visibilities other than 0, 1 and 2: above 0 they count as 2, others as 0"
    return found, f"{strange} {what}" if strange else ""
