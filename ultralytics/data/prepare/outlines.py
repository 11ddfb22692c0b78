"""Outlines of objects: of a mask's pixels, cut to an image, several parts joined to one; and COCO's run lengths.

Coordinates are x and y in pixels, 0 at the image's edge, so that the pixel (0, 0) covers 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ultralytics.data.polygons import Polygons
from ultralytics.utils.boxes import signed_areas
from ultralytics.utils.types import BoolArray, Float64Array, Int64Array

MOST_PARTS = 100  # of an object; the smallest beyond are specks
MOST_REGION_PARTS = 1000  # of a crowd
AT_ONCE = 2**22  # distances between points that are looked at together
SLACK = 0.35  # pixels by which an outline may be simplified: no pixel's centre changes its side


def area_of(points: Float64Array) -> float:
    """Return the area inside a closed outline (k, 2), without sign."""
    return abs(float(signed_areas(points)))


def trace(mask: BoolArray) -> list[Float64Array]:
    """Return the outlines (k, 2) of a mask (h, w), those of holes too.

    They lead through the middles of the pixels' outer edges, so that a straight side lies where the pixels end, and a
    slope is no staircase.

    Pixels that touch at a corner alone are two parts.
    """
    padded = np.pad(np.asarray(mask, bool), 1)
    # An edge begins and ends at corners of pixels and has the object on its right: (x, y) → the step along it.
    steps: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for dx, dy, inside, outside in (
        (1, 0, padded[1:], padded[:-1]), (-1, 0, padded[:-1], padded[1:]),
        (0, 1, padded[:, :-1], padded[:, 1:]), (0, -1, padded[:, 1:], padded[:, :-1]),
    ):  # fmt: skip
        rows, columns = np.nonzero(inside & ~outside)
        # In the frame of `padded`, whose first pixel is one before the image's.
        x = columns + (dx < 0) if dx else columns + 1
        y = rows + 1 if dx else rows + (dy < 0)
        for start in zip((x - 1).tolist(), (y - 1).tolist(), strict=True):
            steps.setdefault(start, []).append((dx, dy))
    found: list[Float64Array] = []
    while steps:
        start = next(iter(steps))
        here, step = start, steps[start][0]
        middles: list[tuple[float, float]] = []
        while here in steps and (choices := steps[here]):
            # Where two outlines touch, each turns towards its own object.
            turn = (-step[1], step[0])
            step = turn if turn in choices else choices[0]
            choices.remove(step)
            if not choices:
                del steps[here]
            middles.append((here[0] + step[0] / 2, here[1] + step[1] / 2))
            here = (here[0] + step[0], here[1] + step[1])
            if here == start:
                break
        found.append(_simplify(np.array(middles)))
    return found


def _simplify(points: Float64Array) -> Float64Array:
    """Return an outline with the fewest points that stay within `SLACK` of it; at least three."""
    fewer = cv2.approxPolyDP(points.astype(np.float32)[:, None], SLACK, True)[:, 0].astype(np.float64)
    return fewer if len(fewer) >= 3 else points


def outline_mask(mask: BoolArray, most: int = MOST_PARTS) -> Float64Array | None:
    """Return the outline (k, 2) of a mask (h, w), its parts, the largest `most` of them, joined; None of an empty
    one."""
    if not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    parts = trace(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    largest = sorted(parts, key=lambda p: -area_of(p))[:most]
    return np.add(join(largest), np.array([columns[0], rows[0]], np.float64))


def one_way_round(points: Float64Array) -> Float64Array:
    """Return an outline in the direction that all parts have, so that the area of parts that are joined is their
    sum."""
    return points if signed_areas(points) >= 0 else points[::-1]


def join(parts: Sequence[Float64Array]) -> Float64Array:
    """Return one outline of several, parts and holes: each is reached from the nearest point of what is joined already,
    by a bridge that is walked there and back, so that it has no width."""
    joined, *others = sorted(parts, key=lambda p: -area_of(p))
    if not others:
        return joined
    points = np.concatenate(others)
    owner = np.repeat(np.arange(len(others)), [len(p) for p in others])
    starts = np.searchsorted(owner, np.arange(len(others)))
    # Of each point of the parts that are not joined yet: how far the nearest one that is, squared, and where it stands.
    far, near = _nearest(points, joined)
    for _ in others:
        # Of bridges of one length, that to the first part, from the first place.
        shortest = np.flatnonzero(far == far.min())
        shortest = shortest[owner[shortest] == owner[shortest[0]]]
        at = int(shortest[near[shortest].argmin()])
        k, i = int(owner[at]), int(near[at])
        part, j = others[k], at - int(starts[k])
        there = np.concatenate([part[j:], part[: j + 1]])
        joined = np.concatenate([joined[: i + 1], there, joined[i:]])
        far[owner == k] = np.inf
        near[near > i] += len(there) + 1
        rest = np.flatnonzero(far < np.inf)
        new_far, new_near = _nearest(points[rest], there)
        new_near += i + 1
        closer = (new_far < far[rest]) | ((new_far == far[rest]) & (new_near < near[rest]))
        far[rest[closer]], near[rest[closer]] = new_far[closer], new_near[closer]
    return joined


def _nearest(points: Float64Array, others: Float64Array) -> tuple[Float64Array, Int64Array]:
    """Return the squared distance (k,) of points (k, 2) to the nearest of others, and which that is, the first of those
    as near."""
    step = max(AT_ONCE // len(others), 1)
    parts = [((points[i : i + step, None] - others[None]) ** 2).sum(-1) for i in range(0, len(points), step)]
    far = [p.min(1) for p in parts]
    return np.concatenate([np.zeros(0), *far]), np.concatenate([np.zeros(0, np.int64), *(p.argmin(1) for p in parts)])


def clip(points: Float64Array, shape: tuple[int, int]) -> Float64Array:
    """Return the part of an outline (k, 2) inside an image of (height, width), see `Polygons.clip`; none where nothing
    is."""
    h, w = shape
    inside: Float64Array = Polygons.of([points]).clip((0, 0), (w, h)).points.astype(np.float64)
    return inside


def decode_rle(counts: object, size: object) -> BoolArray | None:
    """Return the mask (h, w) of COCO's run lengths; None where they are none.

    Args:
        counts: lengths of runs of 0 and 1 in turn, from top to bottom and then from left to right; or their text: of
        each number (from the third on its difference to the one but one before) groups of 5 bits from the lowest, as
        characters from 48, with 32 added where more follow; the highest bit of the last group is the sign.
        size: height and width.
    """
    if not (isinstance(size, list) and len(size) == 2 and all(type(v) is int and 0 < v < 1 << 16 for v in size)):
        return None
    runs = _run_lengths(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(n) is int and n >= 0 for n in runs):
        return None
    if sum(runs) != size[0] * size[1]:
        return None
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(values.reshape(size[1], size[0]).T)


def _run_lengths(text: str) -> list[int] | None:
    runs: list[int] = []
    value = bits = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64 or bits > 60:
            return None
        value |= (group & 31) << bits
        bits += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << bits
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = bits = 0
    return runs if not bits else None
