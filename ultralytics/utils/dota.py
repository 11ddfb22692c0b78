"""DOTA's own figures for rotated boxes (task 1 of its benchmark, Xia et al. 2018): PASCAL VOC's average precision, by
the IoU of polygons.

The reference's mAP beside them measures overlap by `probiou` and interpolates otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ultralytics.utils.boxes import signed_areas
from ultralytics.utils.coco import CROWD, DIFFICULT
from ultralytics.utils.matching import IOU_THRESHOLDS
from ultralytics.utils.text import unique_names
from ultralytics.utils.types import ANY_CLASS, BoolArray, Float64Array, Int64Array

POINTS = 1 << 20  # of the polygons of pairs that are compared at a time
ROUNDING = 1e-9
FLAT = 1e-12  # pixels: an edge that spans no more has no slope
# The points of VOC 2007 as DOTA's script computes them: rounding makes 0.3, 0.6 and 0.7 of them a little too large.
ELEVEN = np.arange(0, 1.1, 0.1)


class RotatedImage(NamedTuple):
    """A whole image with its detections and objects, in pixels."""

    found: Float64Array  # (n, 7) centre, width, height, score, class, angle
    polygons: Sequence[Float64Array]  # m of (k, 2) corners, three or more
    classes: Float64Array  # (m,) ANY_CLASS for a region that holds for all
    kinds: Int64Array  # (m,) 0, or CROWD or DIFFICULT for one that is ignored


def dota_figures(images: Sequence[RotatedImage], names: Mapping[int, str]) -> dict[str, Any]:
    """DOTA's figures of a split.

    Down the scores of a class over all images, a detection belongs to the object of its image that it overlaps most. If
    by more than the threshold, it is right where it is the first of that object, wrong where it is not, and left out
    where the object is difficult; otherwise it is wrong, unless that part of it lies in a crowd.

    Args:
        images: the images; names: class id → name.

    Returns:
        mAP50, mAP75, mAP50-95 by the area under the largest precision from each recall on, and mAP50_voc07 by eleven
        recalls, each 0..1, means over the classes with objects, or None where there are none; `per_class`: name (see
        `unique_names`) → objects, AP50, AP75, AP50-95, AP50_voc07, or None for a class without objects.
    """
    per_class: dict[str, dict[str, Any] | None] = {}
    for number, name in unique_names(names).items():
        outcome = _outcome(images, number)
        per_class[name] = _class_figures(outcome) if outcome.objects else None
    measured = [row for row in per_class.values() if row is not None]
    keys = ("AP50", "AP75", "AP50-95", "AP50_voc07")
    means = {f"m{k}": float(np.mean([row[k] for row in measured])) if measured else None for k in keys}
    return {**means, "per_class": per_class}


class _Outcome(NamedTuple):
    """What became of a class's n detections, best first."""

    overlap: Float64Array  # (n,) IoU with the object that is overlapped most, 0 where none is by more than half
    object: Int64Array  # (n,) that object's number, over all images
    difficult: BoolArray  # (n,) whether it is difficult
    crowded: Float64Array  # (n,) largest part inside a crowd
    objects: int  # objects that count


def _outcome(images: Sequence[RotatedImage], number: int) -> _Outcome:
    parts: list[Float64Array] = [np.zeros((0, 5))]
    first = objects = 0
    for image in images:
        found = image.found[image.found[:, 5] == number]
        mine = (image.classes == number) | (image.classes == ANY_CLASS)
        single, crowd = np.flatnonzero(mine & (image.kinds != CROWD)), np.flatnonzero(mine & (image.kinds == CROWD))
        difficult = image.kinds[single] == DIFFICULT
        objects += int((~difficult).sum())
        rows = np.zeros((len(found), 5))  # score, overlap, object, difficult, crowded
        boxes = found[:, [0, 1, 2, 3, 6]]
        rows[:, 0] = found[:, 4]
        if len(found) and len(single):
            rows[:, 1], best = _best_overlap(boxes, [image.polygons[i] for i in single.tolist()])
            rows[:, 2], rows[:, 3] = first + best, difficult[best]
        if len(found) and len(crowd):
            rows[:, 4] = _part_inside(boxes, [image.polygons[i] for i in crowd.tolist()])
        parts.append(rows)
        first += len(single)
    rows = np.concatenate(parts)
    rows = rows[np.argsort(-rows[:, 0], kind="stable")]
    return _Outcome(rows[:, 1], rows[:, 2].astype(np.int64), rows[:, 3] > 0, rows[:, 4], objects)


def _class_figures(outcome: _Outcome) -> dict[str, Any]:
    curves = [_curve(outcome, t) for t in IOU_THRESHOLDS.tolist()]
    areas = [area_under(*curve) for curve in curves]
    return {
        "objects": outcome.objects,
        "AP50": areas[0],
        "AP75": areas[5],
        "AP50-95": float(np.mean(areas)),
        "AP50_voc07": eleven_points(*curves[0]),
    }


def _curve(outcome: _Outcome, threshold: float) -> tuple[Float64Array, Float64Array]:
    """Return recall and precision behind each detection that counts."""
    above = outcome.overlap > threshold
    spared = np.where(above, outcome.difficult, outcome.crowded > threshold)
    chosen = np.flatnonzero(above & ~spared)
    right = np.zeros(len(above), np.bool_)
    right[chosen[np.unique(outcome.object[chosen], return_index=True)[1]]] = True
    hits = right[~spared].cumsum()
    return hits / outcome.objects, hits / np.arange(1, len(hits) + 1)


def area_under(recall: Float64Array, precision: Float64Array) -> float:
    """Return VOC's average precision since 2010: the area under the largest precision (n,) from each recall (n,) on."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())


def eleven_points(recall: Float64Array, precision: Float64Array) -> float:
    """Return VOC's average precision of 2007: the mean of the largest precision from 0, 0.1, …, 1 on."""
    return float(sum(precision[recall >= r].max(initial=0.0) for r in ELEVEN) / len(ELEVEN))


# Overlap of polygons


def shared_areas(boxes: Float64Array, polygons: Float64Array) -> Float64Array:
    """Return the area (p,) that each rotated box shares with its polygon, exact but for rounding.

    Seen from the box, the polygon's area is an integral along its edges; what lies outside is left out by limits.

    Args:
        boxes: (p, 5) centre, width, height, angle; polygons: (p, k, 2) simple ones, of any shape and direction.
    """
    x, y, w, h, angle = (column[:, None] for column in boxes.T)
    cos, sin, dx, dy = np.cos(angle), np.sin(angle), polygons[..., 0] - x, polygons[..., 1] - y
    u, v = dx * cos + dy * sin + w / 2, dy * cos - dx * sin + h / 2  # the box is 0..w, 0..h
    run, rise = np.roll(u, -1, 1) - u, np.roll(v, -1, 1) - v
    slope = np.divide(rise, run, out=np.zeros_like(run), where=np.abs(run) > FLAT)
    left, right = u.clip(0, w), (u + run).clip(0, w)  # where each edge begins and ends between the box's sides
    start, end = v + slope * (left - u), v + slope * (right - u)
    climb = end - start
    # An edge crosses 0 and h at these parts of its way; between them its height is linear.
    level = np.stack([-start, h - start])
    met = np.divide(level, climb, out=np.zeros_like(level), where=np.abs(climb) > FLAT).clip(0, 1)
    met.sort(0)
    way = np.stack([np.zeros_like(u), *met, np.ones_like(u)])
    height = (start + way * climb).clip(0, h)
    below = ((height[1:] + height[:-1]) / 2 * np.diff(way, axis=0)).sum(0) * (right - left)
    areas: Float64Array = np.abs(below.sum(1))
    return areas


def padded(polygons: Sequence[Float64Array]) -> Float64Array:
    """Return polygons (k, 2) as one array (m, K, 2): the last point of shorter ones is repeated."""
    longest = max(map(len, polygons))
    return np.stack([np.pad(np.asarray(p, np.float64), ((0, longest - len(p)), (0, 0)), "edge") for p in polygons])


def _meeting(
    boxes: Float64Array, polygons: Float64Array, areas: Float64Array
) -> Iterator[tuple[Int64Array, Int64Array, Float64Array]]:
    """Yield pairs of boxes (n, 5) and polygons (m, K, 2) whose upright frames meet, and how much they may share at
    most: the numbers of both, and areas (p,). The pairs of a time, all of some boxes, have `POINTS` points unless one
    box has more."""
    low, high = polygons.min(1), polygons.max(1)
    cos, sin = np.abs(np.cos(boxes[:, 4])), np.abs(np.sin(boxes[:, 4]))
    w, h = boxes[:, 2], boxes[:, 3]
    reach = np.stack([w * cos + h * sin, w * sin + h * cos], 1) / 2
    step = max(POINTS // (polygons.shape[0] * polygons.shape[1]), 1)
    for start in range(0, len(boxes), step):
        centre, half = boxes[start : start + step, None, :2], reach[start : start + step, None]
        sides = (np.minimum(centre + half, high) - np.maximum(centre - half, low)).clip(0)
        most = np.minimum(sides.prod(2), areas)
        i, j = np.nonzero(most)
        yield i + start, j, most[i, j]


def _best_overlap(boxes: Float64Array, polygons: Sequence[Float64Array]) -> tuple[Float64Array, Int64Array]:
    """Return the largest IoU (n,) of each box with a polygon, and the number (n,) of that polygon; 0 and 0 where it is
    not above the lowest threshold."""
    overlap, best = np.zeros(len(boxes)), np.zeros(len(boxes), np.int64)
    shapes, own = padded(polygons), boxes[:, 2] * boxes[:, 3]
    areas = np.abs(signed_areas(shapes))
    for i, j, most in _meeting(boxes, shapes, areas):
        most = np.minimum(most, own[i])
        enough = most > (IOU_THRESHOLDS[0] - ROUNDING) * (own[i] + areas[j] - most)
        i, j = i[enough], j[enough]
        shared = shared_areas(boxes[i], shapes[j])
        iou = shared / (own[i] + areas[j] - shared)
        order = np.lexsort((j, -iou, i))  # of equal ones the first
        rows, first = np.unique(i[order], return_index=True)
        overlap[rows], best[rows] = iou[order][first], j[order][first]
    low = overlap <= IOU_THRESHOLDS[0]
    overlap[low], best[low] = 0, 0
    return overlap, best


def _part_inside(boxes: Float64Array, polygons: Sequence[Float64Array]) -> Float64Array:
    """Return the largest part (n,) of each box that one of the polygons covers."""
    part, shapes, own = np.zeros(len(boxes)), padded(polygons), boxes[:, 2] * boxes[:, 3]
    for i, j, _ in _meeting(boxes, shapes, np.abs(signed_areas(shapes))):
        np.maximum.at(part, i, shared_areas(boxes[i], shapes[j]) / own[i].clip(ROUNDING))
    return part


SAME_PIECE = 0.5  # part of a piece that another covers, from which on both are of one object


def largest_pieces(polygons: Sequence[Float64Array], boxes: Float64Array, tiles: Int64Array) -> BoolArray:
    """Tell which pieces (m,) of objects, as tiles show them, are not part of a larger one of another tile.

    Args:
        polygons: m pieces (k, 2) of one class, in pixels of the whole image; boxes: (m, 5) the smallest around each.
        tiles: (m,) number of the tile of each.
    """
    shapes = padded(polygons)
    areas, kept = np.abs(signed_areas(shapes)), np.ones(len(polygons), np.bool_)
    rank = np.empty(len(areas), np.int64)
    rank[np.argsort(-areas, kind="stable")] = np.arange(len(areas))
    pairs: list[Int64Array] = [np.zeros((0, 2), np.int64)]
    for i, j, most in _meeting(boxes, shapes, areas):
        smaller = (rank[i] < rank[j]) & (tiles[i] != tiles[j]) & (most >= SAME_PIECE * areas[j])
        i, j = i[smaller], j[smaller]
        covered = shared_areas(boxes[i], shapes[j]) >= SAME_PIECE * areas[j]
        pairs.append(np.stack([i[covered], j[covered]], 1))
    for i, j in sorted(np.concatenate(pairs).tolist(), key=lambda pair: int(rank[pair[0]])):
        kept[j] &= not kept[i]
    return kept
