"""Rules for what is labelled besides boxes: polygons, corners, keypoints. One finding of a kind for a file."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ultralytics.data.check.findings import Finding
from ultralytics.data.check.images import Look
from ultralytics.data.instances import FloatArray
from ultralytics.utils.types import Float64Array

MOST_POINTS = 400  # of a polygon that is looked at: each edge is compared with each
SKEWED = 0.8  # part of its rectangle that an oriented box fills
ASTRAY = 0.25  # parts of a box's sides by which a keypoint may lie outside of it


def _one(kind: str, look: Look, chosen: npt.ArrayLike, what: str) -> Iterator[Finding]:
    """Name the first of the rows (m,), and how many there are."""
    rows = np.asarray(chosen, np.bool_)
    if rows.any():
        more = f" (one of {rows.sum()} in the file)" if rows.sum() > 1 else ""
        yield Finding(kind, look.label, look.labels.lines[int(rows.argmax())], f"{what}{more}")


def crossing(look: Look) -> Iterator[Finding]:
    segments = look.labels.segments
    if segments is not None:
        corners = look.labels.annotations == "corners"
        rows = np.array([_crosses(segments.one(i)) for i in range(len(segments))], np.bool_)
        what = "the corners are not in the order of going around; their rectangle is the same" if corners else ""
        yield from _one("polygon-crossing", look, rows, what or "the outline crosses itself: its mask may have holes")


def _crosses(points: FloatArray) -> bool:
    """Return True if two edges of a polygon cross, touching not counted."""
    n = len(points)
    if n < 4 or n > MOST_POINTS:
        return False
    ends = np.roll(points, -1, 0)

    def side(a: FloatArray, b: FloatArray, c: FloatArray) -> Float64Array:
        along, to = (b - a)[:, None], c[None] - a[:, None]
        sides: Float64Array = along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0]
        return sides

    apart = side(points, ends, points) * side(points, ends, ends) < -1e-16
    return bool((apart & apart.T).any())


def skewed(look: Look) -> Iterator[Finding]:
    segments = look.labels.segments
    if segments is None or look.labels.annotations != "corners" or not len(segments):
        return
    placed = segments.scale(np.array((look.shape or (1, 1))[::-1], np.float64))
    full = placed.rectangles()[:, 2:4].prod(1)
    crossed = np.array([_crosses(placed.one(i)) for i in range(len(placed))], np.bool_)
    rows = (placed.areas() < SKEWED * full) & ~crossed & (look.labels.over == 0)
    yield from _one("corners-skewed", look, rows, "the corners are not a rectangle: the smallest around them is read")


def invisible(look: Look) -> Iterator[Finding]:
    keypoints = look.labels.keypoints
    if keypoints is not None:
        none = (keypoints[..., 2] == 0).all(1)
        yield from _one("keypoints-none", look, none, "an object without a keypoint in sight")


def astray(look: Look) -> Iterator[Finding]:
    keypoints = look.labels.keypoints
    if keypoints is not None:
        reach = ASTRAY * look.labels.rows[:, None, 3:]
        low, high = look.boxes[:, None, :2] - reach, look.boxes[:, None, 2:] + reach
        out = ((keypoints[..., :2] < low) | (keypoints[..., :2] > high)).any(2) & (keypoints[..., 2] > 0)
        yield from _one("keypoints-astray", look, out.any(1), "a keypoint lies far outside of its object's box")
