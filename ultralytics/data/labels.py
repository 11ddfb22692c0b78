"""Label files and those beside them (ignored regions, areas): where they are, their rows, every problem of them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ultralytics.data.polygons import Polygons
from ultralytics.utils.files import read_bytes
from ultralytics.utils.text import counted, is_number
from ultralytics.utils.types import (
    ANY_CLASS,
    UNKNOWN_AREA,
    BoolArray,
    Float32Array,
    Float64Array,
    Int32Array,
    Int64Array,
)

ROUNDING = 1e-4  # parts of the image by which a coordinate may leave it: the tool that wrote the file has rounded
OVER_EDGE = 0.1  # parts of the image by which a box's centre may leave it, and its sides be longer: the rest is cut off
MAX_LABEL_BYTES = 100_000_000  # of a label or ignore file, some two million rows
BOX_COLUMNS = 5
POSES_HINT = "are they poses? Each is read as a polygon; kpt_shape in the YAML makes boxes of them"
FEWEST_POSES, MOST_POSES = 8, 64  # rows of a split that are looked at
MANY_POLYGONS = 20  # one row in so many is more than slips would be
ANNOTATIONS = ("boxes", "polygons", "keypoints", "corners")  # what a dataset labels objects with
FEWEST_POINTS = {"polygons": 3, "corners": 4}
FLAT = 1e-12  # parts of the image's area: a polygon whose points span no more has them in one line


class RowForm(NamedTuple):
    """How the rows of a dataset's label files are read; the last arguments of `parse_labels`.

    keypoints: numbers that follow the box in a row of a pose dataset, 0 of others; annotations: one of ANNOTATIONS;
    numbers: of each keypoint, 2 or 3.
    """

    keypoints: int = 0
    annotations: str = "boxes"
    numbers: int = 3


BOXES = RowForm()


class Problem(NamedTuple):
    """What is wrong with a row of a label file.

    line: counted from 1, 0 for the whole file; kind: unreadable, text, number, class, columns, coordinate, area or
    duplicate.
    what: in words; fatal: the image is left out of training, otherwise the row alone is dropped.
    """

    line: int
    kind: str
    what: str
    fatal: bool


class Judged(NamedTuple):
    """A label or ignore file as training reads it.

    rows, lines, problems: as `parse_labels` and `parse_ignored` give them; text: None where there is no file, or none
    that can be read.
    Of a label file also, of each row: columns: how many it has, and BOX_COLUMNS in a pose dataset; over: how far it
    reached over the image's edge before it was cut, in parts of the image, 0 where it was not.
    segments: the polygons or corners of the rows, of an ignore file without points where the row is a box; keypoints:
    (m, K, 3) x, y, visibility; None where they are not read; annotations: as what it was read, one of ANNOTATIONS.
    """

    rows: Float64Array
    lines: list[int]
    problems: list[Problem]
    text: str | None
    columns: Int32Array = np.zeros(0, np.int32)
    over: Float32Array = np.zeros(0, np.float32)
    segments: Polygons | None = None
    keypoints: Float64Array | None = None
    annotations: str = "boxes"

    @property
    def usable(self) -> bool:
        """True if training keeps the image."""
        return not any(p.fatal for p in self.problems)


def label_file(image: str) -> str:
    """Return where an image's labels are: the last folder named images becomes labels, the suffix .txt."""
    return _beside_images(image, "labels") or os.path.splitext(image)[0] + ".txt"


def ignore_file(image: str) -> str | None:
    """Return where the regions are that evaluation ignores: the last folder named images becomes ignore, the suffix
    .txt; None without such a folder."""
    return _beside_images(image, "ignore")


def areas_file(image: str) -> str | None:
    """Return where the areas of an image's objects are: the last folder named images becomes areas, the suffix .txt;
    None without such a folder."""
    return _beside_images(image, "areas")


def _beside_images(image: str, folder: str) -> str | None:
    head, images, tail = image.rpartition(f"{os.sep}images{os.sep}")
    return f"{head}{os.sep}{folder}{os.sep}{os.path.splitext(tail)[0]}.txt" if images else None


def parse_labels(text: str, keypoints: int = 0, annotations: str = "boxes", numbers: int = 3) -> Judged:
    """Parse the rows of a label file, in the precision they are written with: (m, 5) class, centre, width, height in
    0..1; the line of each; every problem of the file.

    A row is `class x y w h` in 0..1, or a polygon `class x1 y1 x2 y2 x3 y3 …`, which becomes its bounding box. What of
    a polygon reaches over the image's edge is cut off. The centre of a row's box may lie OVER_EDGE of the image outside
    and its sides be as much longer than the image's; farther is an error.

    Args:
        keypoints: numbers that follow the box in a row of a pose dataset, which then has no polygons; 0 of others.
        annotations: "boxes" reads boxes, from whatever rows there are; with the others a row of another kind is an
            error: "polygons" and "corners" (four or more, of a rotated box) keep the points, "keypoints" those behind
            the box.
        numbers: of each keypoint: x, y and, with 3, how visible it is (0, 1 or 2). With 2, a point at a negative place
            is not labelled, and every other is visible (1).
    """
    form = RowForm(keypoints, annotations, numbers)
    rows: list[tuple[float, ...]] = []
    marks: list[Float64Array] = []
    found: list[int] = []
    columns: list[int] = []
    cut: list[float] = []
    problems: list[Problem] = []
    seen: set[tuple[float, ...]] = set()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        judged = _parse_row(words, number, keypoints) if annotations == "boxes" else _marked_row(words, number, form)
        if isinstance(judged, Problem):
            problems.append(judged)
            continue
        row, over = judged[:2]
        mark: Float64Array | None = judged[2] if len(judged) == 3 else None
        whole = row if mark is None else (*row, *mark.ravel().tolist())
        if row[3] <= 0 or row[4] <= 0:
            problems.append(Problem(number, "area", "the box has no area; the row is dropped", False))
        elif whole in seen:
            problems.append(Problem(number, "duplicate", "a duplicate of an earlier row; the row is dropped", False))
        else:
            seen.add(whole)
            rows.append(row)
            found.append(number)
            columns.append(BOX_COLUMNS if keypoints else len(words))
            cut.append(over)
            if mark is not None:
                marks.append(mark)
    arrays = np.asarray(rows, np.float64).reshape(-1, 5), np.asarray(columns, np.int32), np.asarray(cut, np.float32)
    return Judged(arrays[0], found, problems, text, *arrays[1:], *_marks(marks, form), annotations)


def _marks(marks: list[Float64Array], form: RowForm) -> tuple[Polygons | None, Float64Array | None]:
    """Join the points of a file's rows."""
    if form.annotations in FEWEST_POINTS:
        return Polygons.of(marks), None
    if form.annotations == "keypoints":
        return None, np.asarray(marks, np.float64).reshape(-1, form.keypoints // form.numbers, 3)
    return None, None


def parse_ignored(text: str) -> Judged:
    """Parse the rows of an ignore file, in the precision they are written with: (k, 6) class, centre, width, height in
    0..1, crowd; the line of each; every problem of the file; the outlines of the rows that have one.

    A row is `class x y w h`, an object that counts for nothing, or `class x y w h crowd`, a region of many; a class of
    `*` stands for all of them. In the place of the box may be a polygon, as in a label file: `rows` has the box around
    it.
    """
    rows: list[tuple[float, ...]] = []
    outlines: list[Float64Array] = []
    numbers: list[int] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        crowd = words[-1] == "crowd" and len(words) > 1
        words = words[:-1] if crowd else words
        everything = words[:1] == ["*"]
        judged = _parse_row(["0", *words[1:]] if everything else words, number)
        if isinstance(judged, Problem):
            problems.append(judged._replace(fatal=False, what=f"{judged.what}; the row is dropped"))
            continue
        row, _ = judged
        if row[3] <= 0 or row[4] <= 0:
            problems.append(Problem(number, "area", "the region has no area; the row is dropped", False))
        else:
            rows.append((ANY_CLASS if everything else row[0], *row[1:], float(crowd)))
            numbers.append(number)
            outlines.append(_region_outline(words))
    return Judged(np.asarray(rows, np.float64).reshape(-1, 6), numbers, problems, text, segments=Polygons.of(outlines))


def _region_outline(words: list[str]) -> Float64Array:
    """Return the outline (k, 2) of an ignored region, cut to the image; no point where the row is a box."""
    points = np.zeros((0, 2))
    if len(words) != BOX_COLUMNS:
        points = np.array(words[1:], np.float64).reshape(-1, 2)
        points = Polygons.of([points]).clip((0, 0), (1, 1)).points.astype(np.float64)
    return points if len(points) and not _is_flat(points) else points[:0]


def judge_labels(path: str, keypoints: int = 0, annotations: str = "boxes", numbers: int = 3) -> Judged:
    """Read a label file; without one the image is a background. The other arguments: see `parse_labels`."""
    text, problem = _read_label_text(path)
    if problem is not None:
        return parse_labels("", keypoints, annotations, numbers)._replace(problems=[problem], text=None)
    return parse_labels(text or "", keypoints, annotations, numbers)._replace(text=text)


def judge_ignored(path: str | None) -> Judged:
    """Read an ignore file; one that cannot be read is not used, and costs no image."""
    text, problem = _read_label_text(path) if path is not None else (None, None)
    if problem is not None:
        unused = problem._replace(fatal=False, what=f"{problem.what}; the file is not used")
        return Judged(np.zeros((0, 6)), [], [unused], None)
    return parse_ignored(text or "")._replace(text=text)


def judge_areas(path: str | None, labels: Judged) -> tuple[Float64Array | None, list[Problem]]:
    """Read the areas of a label file's rows: (m,) pixels², None without a file; and what is wrong with it.

    A line belongs to the same line of the label file, and is a number above 0, or `-` for an object without a mask. A
    file that does not fit its labels is not used.
    """
    text, problem = _read_label_text(path) if path is not None else (None, None)
    if problem is not None:
        return None, [problem._replace(fatal=False, what=f"{problem.what}; the file is not used")]
    if text is None or not len(labels.rows):
        return None, []
    lines, wanted = text.splitlines(), len((labels.text or "").splitlines())
    if len(lines) != wanted:
        what = f"{counted(len(lines), 'area')} for {counted(wanted, 'line')} of labels; the file is not used"
        return None, [Problem(0, "columns", what, False)]
    areas = np.full(len(labels.rows), UNKNOWN_AREA)
    for i, number in enumerate(labels.lines):
        word = lines[number - 1].strip()
        if word == "-":
            continue
        if not is_number(word) or not 0 < float(word) < math.inf:
            what = f"{word!r} is not an area, a number above 0 or -; the file is not used"
            return None, [Problem(number, "number", what, False)]
        areas[i] = float(word)
    return (areas if (areas > 0).any() else None), []


def _read_label_text(path: str) -> tuple[str | None, Problem | None]:
    """Read the text of a file, None where there is none, or say why it cannot be read."""
    try:
        data = read_bytes(path, MAX_LABEL_BYTES)
    except FileNotFoundError:
        return None, None
    except OSError as e:
        return None, Problem(0, "unreadable", f"the file cannot be read: {e.strerror or e}", True)
    try:
        return data.decode("utf-8-sig"), None
    except UnicodeDecodeError as e:
        line = data[: e.start].count(b"\n") + 1
        return None, Problem(line, "text", f"not UTF-8 text: byte 0x{data[e.start]:02x}", True)


Row = tuple[tuple[float, ...], float]  # class, box; over how much of the image it reached over the edge and was cut
Marked = tuple[tuple[float, ...], float, Float64Array]  # the same, and the points of the row


def _read_numbers(words: list[str], line: int) -> tuple[float, list[float]] | Problem:
    """Return the class and the numbers behind it."""
    try:
        cls, *values = map(float, words)
    except ValueError:
        bad = next(w for w in words if not is_number(w))
        return Problem(line, "number", f"{bad!r} is not a number", True)
    if not 0 <= cls < 2**31 or cls != int(cls):  # NaN and infinity as well
        return Problem(line, "class", f"the class id {words[0]} must be an integer of 0 or more", True)
    return cls, values


def _parse_row(words: list[str], line: int, keypoints: int = 0) -> Row | Problem:
    read = _read_numbers(words, line)
    if isinstance(read, Problem):
        return read
    cls, values = read
    polygon = len(values) != 4
    if polygon:
        what = _wrong_columns(words, keypoints)
        if what:
            return Problem(line, "columns", what, True)
        if keypoints:
            values, polygon = values[:4], False
    # Most rows pass these two comparisons; which value is wrong is looked for only where one is. NaN is wrong too.
    low, high = min(values), max(values)
    if low >= 0 and high <= 1 and not math.isnan(sum(values)):
        if polygon:
            x1, x2, y1, y2 = _bounds(values)
            values = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
        return (cls, *values), 0.0
    return _at_the_edge(cls, values, line, polygon)


def _bounds(values: list[float]) -> tuple[float, float, float, float]:
    return min(values[::2]), max(values[::2]), min(values[1::2]), max(values[1::2])


def _marked_row(words: list[str], line: int, form: RowForm) -> Marked | Problem:
    """Read a row of a dataset whose annotations are more than boxes."""
    read = _read_numbers(words, line)
    if isinstance(read, Problem):
        return read
    what = _wrong_marks(words, form)
    if what:
        return Problem(line, "columns", what, True)
    return _pose_row(*read, line, form) if form.annotations == "keypoints" else _polygon_row(*read, line)


def _wrong_marks(words: list[str], form: RowForm) -> str:
    """Say what is wrong with the number of columns of such a row; "" when nothing is."""
    n, box = len(words), "a box; " if len(words) == BOX_COLUMNS else ""
    if form.annotations == "keypoints":
        wanted, count = BOX_COLUMNS + form.keypoints, form.keypoints // form.numbers
        each = "x y visibility" if form.numbers == 3 else "x y"
        row = f"kpt_shape [{count}, {form.numbers}] asks for {wanted} (class x y w h, then {each} of each keypoint)"
        return "" if n == wanted else f"{n} columns, {box}{row}"
    fewest = FEWEST_POINTS[form.annotations]
    if n % 2 and n > 2 * fewest:
        return ""
    points = "corners" if form.annotations == "corners" else "points"
    return f"{n} columns, {box}a row has a class and {fewest} or more {points} (x y)"


def _outside(values: list[float] | Float64Array) -> float:
    """Return the first coordinate that is farther outside of the image than OVER_EDGE, or no number; else 0."""
    return next((float(v) for v in values if not -OVER_EDGE <= v <= 1 + OVER_EDGE), 0.0)  # NaN as well


def _wrong_coordinate(value: float, line: int) -> Problem:
    what = f"the coordinate {value:g} is outside 0..1; coordinates are parts of the width and height"
    return Problem(line, "coordinate", what, True)


def _polygon_row(cls: float, values: list[float], line: int) -> Marked | Problem:
    wrong = _outside(values)
    if wrong:
        return _wrong_coordinate(wrong, line)
    points, over = np.array(values).reshape(-1, 2), max(-min(values), max(values) - 1)
    if over > 0:
        points = Polygons.of([points]).clip((0, 0), (1, 1)).points.astype(np.float64)
    if not len(points) or _is_flat(points):
        return Problem(line, "area", "the polygon has no area; the row is dropped", False)
    (x1, y1), (x2, y2) = points.min(0).tolist(), points.max(0).tolist()
    return (cls, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), over if over > ROUNDING else 0.0, points


def _is_flat(points: Float64Array) -> bool:
    """Return True if all points (n, 2) lie in one line."""
    away = points - points[0]
    far = away[(away**2).sum(1).argmax()]
    return bool(np.abs(away[:, 0] * far[1] - away[:, 1] * far[0]).max() <= FLAT)


def _pose_row(cls: float, values: list[float], line: int, form: RowForm) -> Marked | Problem:
    judged = (cls, *values[:4]), 0.0
    if min(values[:4]) < 0 or max(values[:4]) > 1 or math.isnan(sum(values[:4])):
        found = _at_the_edge(cls, values[:4], line, False)
        if isinstance(found, Problem):
            return found
        judged = found
    points = np.array(values[4:]).reshape(-1, form.numbers)
    if form.numbers == 2:
        points = np.concatenate([points, (points >= 0).all(1, keepdims=True)], 1)
    bad = ~np.isin(points[:, 2], (0, 1, 2))
    if bad.any():
        what = f"the visibility {points[bad][0, 2]:g} is not 0, 1 or 2 (not labelled, hidden, visible)"
        return Problem(line, "number", what, True)
    if not np.isfinite(points).all():
        return _wrong_coordinate(float(points[~np.isfinite(points)][0]), line)
    wrong = _outside(points[points[:, 2] > 0, :2].ravel())
    if wrong:
        return _wrong_coordinate(wrong, line)
    over = np.maximum(-points[:, :2], points[:, :2] - 1).max(1)
    beyond = (over > ROUNDING) & (points[:, 2] > 0)  # it is not in the image
    points[beyond, 2] = 0
    points[:, :2] = points[:, :2].clip(0, 1)
    return judged[0], max(judged[1], *over[beyond].tolist(), 0.0), points


def _at_the_edge(cls: float, values: list[float], line: int, polygon: bool) -> Row | Problem:
    """Judge a row with a number outside 0..1: its box is cut at the image's edge, unless it is an error."""
    box, x1, x2, y1, y2 = values, 0.0, 0.0, 0.0, 0.0
    finite = math.isfinite(sum(values))
    if polygon and finite:
        x1, x2, y1, y2 = _bounds(values)
        box = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
    if not finite or min(box[:2]) < -OVER_EDGE or min(box[2:]) < -ROUNDING or max(box) > 1 + OVER_EDGE:
        farthest = max(values, key=lambda v: abs(v - 0.5))
        return _wrong_coordinate(_outside(values) or farthest, line)
    if not polygon:
        if min(values) >= -ROUNDING and max(values) <= 1 + ROUNDING:
            return (cls, *(min(max(v, 0.0), 1.0) for v in values)), 0.0
        x, y, w, h = values
        x1, x2, y1, y2 = x - w / 2, x + w / 2, y - h / 2, y + h / 2
    over = max(-x1, x2 - 1, -y1, y2 - 1)
    x1, x2, y1, y2 = (min(max(v, 0.0), 1.0) for v in (x1, x2, y1, y2))
    row = (cls, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
    return row, over if over > ROUNDING else 0.0


def _wrong_columns(words: list[str], keypoints: int) -> str:
    """Say what is wrong with the number of columns of a row that is no box; "" when nothing is."""
    n = len(words)
    if keypoints:
        wanted = BOX_COLUMNS + keypoints
        return "" if n == wanted else f"{n} columns; a row of this pose dataset (kpt_shape) has 5 or {wanted}"
    if n >= 7 and n % 2:
        return ""
    if n % BOX_COLUMNS == 0 and n > BOX_COLUMNS and all(w.isdecimal() for w in words[::BOX_COLUMNS]):
        return f"{n} columns, which read as {n // BOX_COLUMNS} rows in one line; a row has 5 (class x y w h)"
    what = f"{n} columns; a row has 5 (class x y w h), or a polygon's class and 3 or more points"
    if n > BOX_COLUMNS + 3 and (n - BOX_COLUMNS) % 3 == 0:
        what += "; if these are poses, kpt_shape in the YAML says so"
    return what


def glued_rows(columns: Int32Array) -> BoolArray:
    """Tell which rows of a split are probably several rows in one line: `0 .5 .5 .2 .2` and `0 .7 .7 .1 .1` without the
    line break between them are the nine words of a polygon of four points.

    Of a split of polygons nothing can be said. Where most rows are boxes, those of 9, 13, 15, 17, … columns are named,
    unless many polygons have other numbers of points, and are too many to be slips.

    Args:
        columns: (M,) number of columns of each row of the split.
    """
    polygons = columns > BOX_COLUMNS
    several = polygons & ((columns % 4 == 1) | (columns % BOX_COLUMNS == 0))
    many, n = int(polygons.sum()), len(columns)
    meant = 2 * many >= n or (4 * int(several.sum()) <= 3 * many and MANY_POLYGONS * many > n)
    return np.zeros_like(several) if meant else several


def pose_columns(files: Sequence[str], offsets: Int64Array, columns: Int32Array) -> int:
    """Return the number of columns that the rows of a split have, where they read as poses: all rows have it, and the
    first four numbers are a box that holds all the points behind it; else 0.

    Args:
        files: n images.
        offsets: (n + 1,) of their rows.
        columns: (M,) number of columns of each row.
    """
    # Oriented boxes, which have nine, are often all found where this holds by chance.
    if len(columns) < FEWEST_POSES or columns[0] <= BOX_COLUMNS + 4 or (columns != columns[0]).any():
        return 0
    poses = rows = 0
    for image in np.flatnonzero(np.diff(offsets))[:MOST_POSES]:
        judged = judge_labels(label_file(files[image]))
        lines = (judged.text or "").splitlines()
        for number in judged.lines[:MOST_POSES]:
            rows += 1
            poses += _holds_points([float(w) for w in lines[number - 1].split()[1:]])
    return int(columns[0]) if rows and poses >= 0.9 * rows else 0


def _holds_points(values: list[float]) -> bool:
    """Return True if four numbers are a box in the image that holds the points (x, y) behind it; those at 0, 0 are not
    seen."""
    x, y, w, h = values[:4]
    if max(abs(x - 0.5) + w / 2, abs(y - 0.5) + h / 2) > 0.52:
        return False
    points = [(px, py) for px, py in zip(values[4::2], values[5::2], strict=False) if px or py]
    return all(abs(px - x) <= w / 2 + 0.01 and abs(py - y) <= h / 2 + 0.01 for px, py in points)


def row_numbers(judged: Judged) -> list[list[float]]:
    """Return the numbers behind the class of each row of a label or ignore file that is used, as they are written."""
    lines = (judged.text or "").splitlines()
    return [[float(w) for w in lines[number - 1].split()[1:] if w != "crowd"] for number in judged.lines]
