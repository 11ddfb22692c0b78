"""What COCO's JSON marks besides boxes: outlines (polygons, run lengths) and points of poses."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ultralytics.data.prepare.boxes import Box, Corners, Header, from_corners, from_pixels, turned, turned_point
from ultralytics.data.prepare.documents import as_key, as_number, is_finite
from ultralytics.data.prepare.outlines import (
    MOST_PARTS,
    MOST_REGION_PARTS,
    area_of,
    clip,
    decode_rle,
    join,
    one_way_round,
    outline_mask,
)
from ultralytics.data.prepare.rows import as_corners, corners_of_box
from ultralytics.utils.coco import SIZE_BORDERS
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.types import Float64Array

MOST_POINTS = 1000  # of a pose
OUTLINED = ("polygons", "corners")  # labels that are made of outlines


class Read(NamedTuple):
    """What an annotation marks.

    fitted: its box, as `from_corners` gives it, None where it has none; numbers: what is written in the place of the
    box, None for the box; area: pixels², None for the box's; ignored: it lacks what the labels need; wrong: what is
    wrong with it.
    """

    fitted: tuple[Box | None, bool] | None
    numbers: list[float] | None = None
    area: float | None = None
    ignored: bool = False
    wrong: str = ""


def read_shape(item: Mapping[str, Any], labels: str, points: int, header: Header, upright: bool) -> Read:
    """Read what the labels need of an annotation; `points` is the number of those of a pose."""
    box, wrong = box_of(item)
    sides = box[2] * box[3] if box else 0.0
    why, ignored = "", False
    if labels in OUTLINED:
        outline, inside, why = read_outline(item, header, upright)
        if outline is not None:
            numbers = in_parts(outline, header.shape) if labels == "polygons" else as_corners(outline, header.shape)
            area = inside if as_number(item.get("area")) is None else own_area(item, sides)
            return Read(from_corners(bounds_of(outline), header.shape), numbers, area)
        ignored = labels == "polygons"
        why += "; it is ignored" if ignored else "; its box is taken"
    if box is None:
        return Read(None, wrong=wrong)
    x, y, w, h = box
    fitted = from_pixels(x, y, w, h, header.shape)
    if not upright:
        fitted = from_corners(turned((x, y, x + w, y + h), header), header.shape)
    shape: list[float] | None = None
    if labels == "keypoints" and fitted[0] is not None and not is_crowd(item):
        marked, why = read_points(item, points, header, upright)
        shape = [*fitted[0], *marked]
    if labels == "corners" and fitted[0] is not None:
        shape = corners_of_box(fitted[0])
    return Read(fitted, shape, own_area(item, sides), ignored, why)


def is_crowd(item: Mapping[str, Any]) -> bool:
    """Return True for an annotation of a region that holds many objects."""
    return item.get("iscrowd") is True or as_key(item.get("iscrowd")) == 1


def compact_outline(item: dict[str, Any]) -> dict[str, Any]:
    """Keep the polygons of an annotation as arrays: as lists of numbers they take four times the memory."""
    parts = item.get("segmentation")
    if isinstance(parts, list) and parts and "image_id" in item:
        item["segmentation"] = [
            np.array(part, np.float64) if isinstance(part, list) and all(map(is_finite, part)) else None
            for part in (parts if isinstance(parts[0], list) else [parts])
        ]
    return item


def read_outline(item: Mapping[str, Any], header: Header, upright: bool) -> tuple[Float64Array | None, float, str]:
    """Return the outline (k, 2) of an annotation, in pixels of the image as it is shown and cut to it, several parts
    joined; and its area, of all parts, before it was cut. Where there is none, None, 0 and why."""
    found = item.get("segmentation")
    shape = header.shape if upright else header.stored
    if isinstance(found, dict):
        size = found.get("size")
        if size != list(shape):
            return None, 0.0, f"its run lengths are of a size of {size!s:.40}, the image has {list(shape)}"
        mask = decode_rle(found.get("counts"), size)
        if mask is None:
            return None, 0.0, "its run lengths are not valid"
        outline = outline_mask(mask, MOST_REGION_PARTS if is_crowd(item) else MOST_PARTS)
        parts, area = [] if outline is None else [outline], float(mask.sum())
    else:
        listed = found if isinstance(found, list) else []
        parts = [p.reshape(-1, 2) for p in listed if isinstance(p, np.ndarray) and len(p) >= 6 and not len(p) % 2]
        area = sum(map(area_of, parts))
    kept = [clip(p if upright else turned_points(p, header), header.shape) for p in parts]
    kept = [p for p in kept if len(p) >= 3 and area_of(p) > 0]
    if not kept:
        return None, 0.0, "it has no outline" if not parts else "its outline lies outside its image or has no area"
    return (join([one_way_round(p) for p in kept]) if len(kept) > 1 else kept[0]), area, ""


def turned_points(points: Float64Array, header: Header) -> Float64Array:
    """Return points (k, 2) on the stored image, moved to where its EXIF tag shows them."""
    return np.array([turned_point(x, y, header) for x, y in points.tolist()])


def bounds_of(points: Float64Array) -> Corners:
    """Return the corners of the box around points."""
    (x1, y1), (x2, y2) = points.min(0).tolist(), points.max(0).tolist()
    return x1, y1, x2, y2


def in_parts(points: Float64Array, shape: tuple[int, int]) -> list[float]:
    """Return points in pixels as x, y, x, y, … in 0..1 of an image of (height, width)."""
    found: list[float] = (points / (shape[1], shape[0])).ravel().tolist()
    return found


def read_points(item: Mapping[str, Any], count: int, header: Header, upright: bool) -> tuple[list[float], str]:
    """Return x and y in 0..1 and visibility (2 seen, 1 hidden, 0 not marked) of each of `count` points; all 0 where the
    annotation has none; and what is wrong with them. Points outside the image count as not marked."""
    h, w = header.shape
    listed = item.get("keypoints")
    if not listed:
        return [0.0] * (3 * count), ""
    if not isinstance(listed, list) or len(listed) != 3 * count:
        found = f"{len(listed)} numbers" if isinstance(listed, list) else "no list"
        return [0.0] * (3 * count), f"keypoints is {found} instead of {3 * count}; they count as not marked"
    points: list[float] = []
    unread = 0
    for i in range(count):
        x, y, v = (as_number(n) for n in listed[3 * i : 3 * i + 3])
        unread += x is None or y is None or v is None
        if x is None or y is None or not v or v < 0:
            points += [0.0, 0.0, 0.0]
            continue
        if not upright:
            x, y = turned_point(x, y, header)
        inside = 0 <= x <= w and 0 <= y <= h
        points += [x / w, y / h, 1.0 if v == 1 else 2.0] if inside else [0.0, 0.0, 0.0]
    return points, f"{unread} of its keypoints are not three numbers; they count as not marked" if unread else ""


def pose_keys(categories: Sequence[Mapping[str, Any]], annotations: Sequence[Any], where: str) -> dict[str, Any]:
    """Return kpt_shape and, where the names of the points tell it, flip_idx.

    Raises:
        DatasetError: there are no points, or categories have different ones.
    """
    named = [c["keypoints"] for c in categories if isinstance(c.get("keypoints"), list) and c["keypoints"]]
    if any(len(n) != len(named[0]) or list(map(str, n)) != list(map(str, named[0])) for n in named):
        raise DatasetError("its categories have different keypoints", where, "a pose dataset has one set of points")
    lengths = {len(a["keypoints"]) for a in annotations if isinstance(a.get("keypoints"), list) and a["keypoints"]}
    if not named and len(lengths) > 1:
        raise DatasetError("its annotations have different numbers of keypoints", where, "name them in its categories")
    count = len(named[0]) if named else next(iter(lengths), 0) // 3
    if not count:
        raise DatasetError("it has no keypoints", where, "task=pose reads a person_keypoints JSON, or one like it")
    if count > MOST_POINTS:
        raise DatasetError(f"{count} keypoints are too many", where, f"at most {MOST_POINTS}")
    keys: dict[str, Any] = {"kpt_shape": [count, 3]}
    mirrored = flip_of(list(map(str, named[0]))) if named else None
    return keys | ({"flip_idx": mirrored} if mirrored else {})


_SIDES = (("left", "right"), ("l", "r"))


def flip_of(names: Sequence[str]) -> list[int] | None:
    """Return for each point the one in its place in a mirrored image, by left and right (or l and r) in their names;
    None where no name has such a word, or one lacks its other side."""
    words = [tuple(re.findall(r"[a-z]+|\d+", re.sub(r"([a-z])([A-Z])", r"\1 \2", n).lower())) for n in names]
    for pair in _SIDES:
        other = {pair[0]: pair[1], pair[1]: pair[0]}
        turned = [tuple(other.get(w, w) for w in ws) for ws in words]
        if turned != words:
            found = [words.index(t) if t in words else -1 for t in turned]
            return found if sorted(found) == list(range(len(names))) else None
    return None


def box_of(item: Mapping[str, Any]) -> tuple[tuple[float, float, float, float] | None, str]:
    """Return the box of an annotation, x, y, width and height in pixels; or None and what is wrong with it."""
    pixels = item.get("bbox")
    numbers = [*map(as_number, pixels)] if isinstance(pixels, list) else []
    if len(numbers) != 4 or None in numbers:
        return None, "bbox is not four numbers"
    x, y, w, h = (n or 0.0 for n in numbers)
    return ((x, y, w, h), "") if w > 0 and h > 0 else (None, f"the box has no area ({w:g}x{h:g})")


def own_area(item: Mapping[str, Any], box: float) -> float | None:
    """Return the area an annotation has of its own; None where it is missing, or its box's. Near COCO's borders between
    sizes it is kept in any case: a box read back from its label may lie on the other side."""
    area: Any = item.get("area")
    if not is_finite(area) or not area > 0:
        return None
    near = any(math.isclose(area, border, rel_tol=1e-3) for border in SIZE_BORDERS)
    return float(area) if near or not math.isclose(area, box, rel_tol=1e-9) else None
