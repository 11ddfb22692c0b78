"""Polygons of different lengths in flat arrays: taken, joined, moved and cut as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ultralytics.utils.boxes import xyxyxyxy2xywhr
from ultralytics.utils.types import Float64Array, Int64Array

FloatArray = npt.NDArray[np.floating]
Pair = FloatArray | Sequence[float]  # of x and y: (2,), or one for each polygon (m, 2)


@dataclass(slots=True)
class Polygons:
    """m polygons, in the unit of whoever holds them; a polygon may have no points, after it was cut."""

    points: FloatArray  # (P, 2) x, y: those of polygon i are `points[offsets[i]:offsets[i + 1]]`
    offsets: Int64Array  # (m + 1,)

    @classmethod
    def of(cls, polygons: Sequence[FloatArray]) -> Polygons:
        """Join arrays (n, 2) of points."""
        offsets = np.cumsum([0, *map(len, polygons)], dtype=np.int64)
        points = np.concatenate(polygons) if len(polygons) else np.zeros((0, 2), np.float32)
        return cls(points.reshape(-1, 2), offsets)

    @staticmethod
    def concatenate(parts: Sequence[Polygons]) -> Polygons:
        """Join several sets."""
        counts = np.concatenate([np.zeros(0, np.int64), *(p.counts for p in parts)])
        points = [p.points for p in parts] or [np.zeros((0, 2), np.float32)]
        return Polygons(np.concatenate(points), np.cumsum([0, *counts], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> Int64Array:
        """(m,) points of each."""
        return np.diff(self.offsets)

    def one(self, i: int) -> FloatArray:
        """Return the points (n, 2) of a polygon; a view."""
        return self.points[self.offsets[i] : self.offsets[i + 1]]

    def __getitem__(self, rows: Any) -> Polygons:
        """Take the polygons that a slice (a view), a mask (m,) or numbers choose."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                ends = self.offsets[start : max(stop, start) + 1]
                return Polygons(self.points[ends[0] : ends[-1]], ends - ends[0])
            rows = np.arange(start, stop, step)
        rows = np.asarray(rows)
        numbers = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows.astype(np.int64)
        offsets, taken = gather(self.offsets, numbers)
        return Polygons(self.points[taken], offsets)

    def each(self, pair: Pair) -> FloatArray:
        """Return x and y for every point: of one pair (2,), or of a pair for each polygon (m, 2)."""
        pair = np.asarray(pair)
        return pair if pair.ndim == 1 else np.repeat(pair, self.counts, 0)

    def moved(self, points: FloatArray) -> Polygons:
        """Return the same polygons with other points (P, 2)."""
        return Polygons(points, self.offsets)

    def single(self) -> Polygons:
        """Return them in single precision."""
        return self.moved(self.points.astype(np.float32))

    def scale(self, gain: Pair) -> Polygons:
        """Multiply x and y."""
        return self.moved(self.points * self.each(np.asarray(gain, self.points.dtype)))

    def shift(self, by: Pair) -> Polygons:
        """Add to x and y."""
        return self.moved(self.points + self.each(np.asarray(by, self.points.dtype)))

    def flip(self, size: float, axis: int) -> Polygons:
        """Mirror along x (axis 0) or y (axis 1) in a frame of that width or height."""
        points = self.points.copy()
        points[:, axis] = size - points[:, axis]
        return self.moved(points)

    def warp(self, matrix: Float64Array) -> Polygons:
        """Apply a matrix (3, 3) to the points (x, y, 1)."""
        return self.moved(warp_points(self.points, matrix))

    def clip(self, low: Pair, high: Pair) -> Polygons:
        """Cut to a rectangle from `low` to `high`, each edge where it crosses the border (Sutherland and Hodgman,
        1974). A polygon that falls apart stays one: its parts are joined along the border."""
        m = len(self)
        low, high = (np.broadcast_to(np.asarray(p, np.float64), (m, 2)) for p in (low, high))
        cut = self
        for axis in (0, 1):
            cut = cut._cut(axis, 1.0, low[:, axis])._cut(axis, -1.0, high[:, axis])
        return cut

    def _cut(self, axis: int, sign: float, limits: Float64Array) -> Polygons:
        """Keep what of each polygon lies above (sign 1) or below (-1) a limit (m,) along an axis."""
        counts = self.counts
        limit = np.repeat(limits, counts)
        depth = sign * (self.points[:, axis] - limit)
        inside = depth >= 0
        if inside.all():
            return self
        after = np.arange(1, len(depth) + 1)
        some = counts > 0
        after[self.offsets[1:][some] - 1] = self.offsets[:-1][some]
        crossing = inside != inside[after]
        here, there = self.points[crossing], self.points[after[crossing]]
        part = depth[crossing] / (depth[crossing] - depth[after[crossing]])
        met = here + part[:, None] * (there - here)
        met[:, axis] = limit[crossing]
        places = np.concatenate([[0], np.cumsum(inside.astype(np.int64) + crossing)])
        points = np.empty((places[-1], 2), self.points.dtype)
        points[places[:-1][inside]] = self.points[inside]
        points[places[:-1][crossing] + inside[crossing]] = met
        return Polygons(points, places[self.offsets])

    def bounds(self) -> FloatArray:
        """Return the upright box (m, 4) x1, y1, x2, y2 around each; zeros around one without points."""
        boxes = np.zeros((len(self), 4), self.points.dtype)
        some = self.counts > 0
        if some.any():
            starts = self.offsets[:-1][some]  # those without points have none between two starts
            boxes[some, :2] = np.minimum.reduceat(self.points, starts)
            boxes[some, 2:] = np.maximum.reduceat(self.points, starts)
        return boxes

    def areas(self) -> Float64Array:
        """Return the area (m,) of each; of one that crosses itself, of what it goes around once more in one sense."""
        counts = self.counts
        some = counts > 0
        after = np.arange(1, len(self.points) + 1)
        after[self.offsets[1:][some] - 1] = self.offsets[:-1][some]
        first = np.repeat(self.points[self.offsets[:-1][some]], counts[some], 0)
        (x1, y1), (x2, y2) = (self.points - first).T, (self.points[after] - first).T
        areas = np.zeros(len(self))
        if some.any():
            areas[some] = np.abs(np.add.reduceat((x1 * y2 - x2 * y1).astype(np.float64), self.offsets[:-1][some])) / 2
        return areas

    def rectangles(self) -> Float64Array:
        """Return the smallest rotated rectangle (m, 5) around each: centre, width, height, angle of the width in
        (0, pi/2]; zeros around one without points."""
        boxes = np.zeros((len(self), 5))
        for i in np.flatnonzero(self.counts):
            points = self.one(int(i))
            origin = points.mean(0)  # near it, OpenCV's single precision does for small objects too
            boxes[i] = xyxyxyxy2xywhr((points - origin)[None])[0]
            boxes[i, :2] += origin
        return boxes


def gather(offsets: Int64Array, order: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return the offsets of the groups taken, and the rows that are theirs."""
    counts = np.diff(offsets)[order]
    taken = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    rows = np.repeat(offsets[order] - taken[:-1], counts) + np.arange(taken[-1])
    return taken, rows.astype(np.int64)


def warp_points(points: FloatArray, matrix: Float64Array) -> Float64Array:
    """Apply a matrix (3, 3) to points (…, 2)."""
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    warped: Float64Array = moved[..., :2] / moved[..., 2:]
    return warped
