"""Rotated objects of whole images, where a dataset may hold tiles of them.

`prepare dota` keeps them in whole/SPLIT/IMAGE.txt, a row for each: class id, four corners in pixels of the image, and 1
for a difficult one, else 0. Without such a file they are put together of what the tiles show.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ultralytics.data.labels import Judged, ignore_file, judge_ignored, judge_labels, label_file, row_numbers
from ultralytics.data.labelset import LabelSet
from ultralytics.data.polygons import Polygons
from ultralytics.utils.coco import CROWD, DIFFICULT
from ultralytics.utils.dota import largest_pieces
from ultralytics.utils.errors import UserError
from ultralytics.utils.files import read_text
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import is_number
from ultralytics.utils.types import ANY_CLASS, BoolArray, Float64Array, Int64Array

TILE = re.compile(r"(.+?)__\d+(?:\.\d+)?__(-?\d+)___(-?\d+)")  # IMAGE__SIZE__X___Y, as `prepare dota` names tiles
COLUMNS = 10  # of a row of whole/


class Objects(NamedTuple):
    """Objects of an image, in its pixels."""

    polygons: list[Float64Array]  # m of (k, 2)
    classes: Float64Array  # (m,) ANY_CLASS for a region that holds for all
    kinds: Int64Array  # (m,) 0, or CROWD or DIFFICULT for one that is ignored

    def keep(self, rows: BoolArray) -> Objects:
        """Return those of a mask (m,)."""
        return Objects([self.polygons[i] for i in np.flatnonzero(rows)], self.classes[rows], self.kinds[rows])


class WholeImages(NamedTuple):
    """The objects of whole images."""

    objects: dict[str, Objects]  # path of the image without suffix → its objects
    # where they are from: "images" that are whole themselves, "whole" (files of the whole images) or "tiles"
    source: str


def place_of(stem: str) -> tuple[str, int, int]:
    """Return the image that a tile is of, and x and y of its corner there; what is no tile is an image at 0, 0.

    Args:
        stem: name or path without suffix.
    """
    tile = TILE.fullmatch(stem)
    return (tile[1], int(tile[2]), int(tile[3])) if tile else (stem, 0, 0)


def by_image(stems: Sequence[str]) -> list[list[int]]:
    """Return the numbers of names without suffix, those of an image and its tiles as one group: neighbours overlap, and
    what training saw of one may not be validated on the other. Names that are no tiles stay apart, equal ones too."""
    images = [place_of(stem)[0] for stem in stems]
    tiled = {image for image, stem in zip(images, stems, strict=True) if image != stem}
    groups: dict[str | int, list[int]] = {}
    for i, image in enumerate(images):
        groups.setdefault(image if image in tiled else i, []).append(i)
    return list(groups.values())


def whole_file(stem: str) -> str | None:
    """Return where the objects of a whole image are: the last folder named images becomes whole, the suffix .txt; None
    without such a folder.

    Args:
        stem: path of the image without suffix, as `place_of` returns it.
    """
    head, images, tail = stem.rpartition(f"{os.sep}images{os.sep}")
    return f"{head}{os.sep}whole{os.sep}{tail}.txt" if images else None


def whole_rows(stem: str, nc: int) -> list[tuple[int, list[float], bool]] | None:
    """Return the objects of a whole image: class, four corners in pixels, and whether it is difficult; None where it
    has no file, or none that can be used, which is a warning.

    Args:
        stem: as of `whole_file`; nc: number of classes.
    """
    found = _read_whole(whole_file(stem), nc)
    if found is None:
        return None
    rows = zip(found.classes.tolist(), found.polygons, found.kinds.tolist(), strict=True)
    return [(int(c), corners.ravel().tolist(), kind == DIFFICULT) for c, corners, kind in rows]


def whole_text(rows: Iterable[tuple[int, Sequence[float], bool]]) -> str:
    """Return the text of a file of such rows, with ten significant digits: a pixel of an image 10,000 wide keeps six
    decimals."""
    return "".join(f"{c} {' '.join(f'{v:.10g}' for v in corners)} {difficult:d}\n" for c, corners, difficult in rows)


def whole_images(
    labels: LabelSet, files: Sequence[str], nc: int, classes: Sequence[int] | None = None, single_cls: bool = False
) -> WholeImages:
    """Put together the objects of whole images. Warn where whole/ lacks some of them, or seems older than the labels.

    Args:
        labels: of the split; files: the images of it that count; nc: number of classes in the label files.
        classes: of objects that count, all when None; single_cls: they become one. As `labels` were made with.
    """
    numbers = {file: i for i, file in enumerate(labels.im_files)}
    parts: dict[str, list[tuple[int, int, int]]] = {}  # image → number, x and y of what shows it
    for file in files:
        image, x, y = place_of(os.path.splitext(file)[0])
        parts.setdefault(image, []).append((numbers[file], x, y))
    whole = {os.path.splitext(file)[0] for file in files}
    found: dict[str, Objects] = {}
    sources = set()
    lacking, edited = [], []
    for image, shown in parts.items():
        path = None if image in whole else whole_file(image)
        known = _read_whole(path, nc)
        sources.add("images" if image in whole else "tiles" if known is None else "whole")
        if image not in whole and not (path and os.path.lexists(path)):
            lacking.append(image)
        if known is not None:
            if not single_cls and any(np.setdiff1d(labels.labelled(i).cls, known.classes).size for i, *_ in shown):
                edited.append(str(path))
            windows = [(x, y, x + w, y + h) for i, x, y in shown for h, w in [labels.shapes[i].tolist()]]
            known = known.keep(_in_windows(known.polygons, windows))
        else:
            known = _join_pieces([_labelled(labels, i, x, y, image not in whole) for i, x, y in shown])
        found[image] = _of_classes(known, classes, single_cls)
    if edited:
        what = "tiles are labelled with classes that this file lacks; if you edited the labels, remove whole/"
        LOGGER.warning("%s%s: %s", edited[0], f" and {len(edited) - 1} more" if edited[1:] else "", what)
    if lacking and "whole" in sources:
        what = "whole/ lacks %d of %d images, such as %s: their objects are put together of the tiles"
        LOGGER.warning(what, len(lacking), len(parts), os.path.basename(lacking[0]))
    return WholeImages(found, next((s for s in ("tiles", "whole") if s in sources), "images"))


def _of_classes(objects: Objects, classes: Sequence[int] | None, single_cls: bool) -> Objects:
    """Return objects as a dataset with these keys has them."""
    if classes is not None:
        objects = objects.keep(np.isin(objects.classes, [ANY_CLASS, *classes]))
    return objects._replace(classes=np.minimum(objects.classes, 0)) if single_cls else objects


def _labelled(labels: LabelSet, i: int, left: int, top: int, tile: bool) -> Objects:
    """Return what is labelled in an image of a split, and what is ignored there, moved to where the image lies. Objects
    that reach over a tile's edge are whole where its files have them so; those of other images are cut there."""
    marked, size, image = labels.labelled(i), labels.shapes[i][::-1], labels.im_files[i]
    assert marked.segments is not None, "rotated boxes"
    if tile:
        judged = judge_labels(label_file(image), annotations="corners")
        polygons, classes = _as_written(judged), judged.rows[:, 0]
    else:
        polygons = [marked.segments.one(k).astype(np.float64) for k in range(len(marked.segments))]
        classes = marked.cls.astype(np.float64)
    kinds = np.zeros(len(polygons), np.int64)
    if len(labels.ignored(i)):  # their corners are in the file alone
        judged = judge_ignored(ignore_file(image))
        regions = _as_written(judged)
        inside = Polygons.of(regions).clip((0, 0), (1, 1))
        polygons += regions if tile else [inside.one(k).astype(np.float64) for k in range(len(inside))]
        classes = np.concatenate([classes, judged.rows[:, 0]])
        kinds = np.concatenate([kinds, np.where(judged.rows[:, 5] > 0, CROWD, DIFFICULT)])
    found = Objects([p * size + (left, top) for p in polygons], classes, kinds)
    return found.keep(np.array([len(p) > 2 for p in polygons], np.bool_))


def _as_written(judged: Judged) -> list[Float64Array]:
    """Return the polygons of rows as their file has them, in parts of the image; of a box its corners."""
    polygons = []
    for numbers, (_, x, y, w, h, *_) in zip(row_numbers(judged), judged.rows.tolist(), strict=True):
        points = np.array(numbers).reshape(-1, 2)
        upright = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2 + (x, y)
        polygons.append(upright if len(points) == 2 else points)
    return polygons


def _join_pieces(parts: Sequence[Objects]) -> Objects:
    """Put together what tiles show: of the pieces of one object the largest is kept."""
    if len(parts) == 1:
        return parts[0]
    polygons = [p for part in parts for p in part.polygons]
    classes, kinds = np.concatenate([p.classes for p in parts]), np.concatenate([p.kinds for p in parts])
    tiles = np.repeat(np.arange(len(parts)), [len(p.polygons) for p in parts])
    every = Objects(polygons, classes, kinds)
    kept = np.zeros(len(polygons), np.bool_)
    for cls, kind in set(zip(classes.tolist(), kinds.tolist(), strict=True)):
        same = (classes == cls) & (kinds == kind)
        pieces = every.keep(same).polygons
        kept[same] = largest_pieces(pieces, Polygons.of(pieces).rectangles(), tiles[same])
    return every.keep(kept)


def _in_windows(polygons: Sequence[Float64Array], windows: Sequence[tuple[int, int, int, int]]) -> BoolArray:
    """Tell which polygons (m,) have their middle in one of the windows (left, top, right, bottom)."""
    middles = np.array([(p.min(0) + p.max(0)) / 2 for p in polygons]).reshape(-1, 1, 2)
    corners = np.array(windows, np.float64)
    inside = np.all((middles >= corners[:, :2]) & (middles <= corners[:, 2:]), 2)
    found: BoolArray = np.any(inside, 1)
    return found


def _read_whole(file: str | None, nc: int) -> Objects | None:
    """Read the objects of a whole image; None where there is no such file, or none that can be used, which is a
    warning."""
    if file is None or not os.path.lexists(file):
        return None
    try:
        text = read_text(Path(file), UserError)
    except UserError as e:
        LOGGER.warning("%s; the objects are taken from the tiles", e)
        return None
    lines = {number: line.split() for number, line in enumerate(text.splitlines(), 1) if line.strip()}
    for number, words in lines.items():
        if len(words) != COLUMNS or not all(is_number(w) and math.isfinite(float(w)) for w in words):
            LOGGER.warning(
                "%s:%d: a row has a class, 4 corners and a 0 or 1; the objects are taken from the tiles", file, number
            )
            return None
        if float(words[0]) not in range(nc):
            what = "%s:%d: class %.80s is none of 0 to %d; the objects are taken from the tiles"
            LOGGER.warning(what, file, number, words[0], nc - 1)
            return None
    rows = np.array(list(lines.values()), np.float64).reshape(-1, COLUMNS)
    return Objects(
        list(rows[:, 1:9].reshape(-1, 4, 2)), rows[:, 0], np.where(rows[:, 9] > 0, DIFFICULT, 0).astype(np.int64)
    )
