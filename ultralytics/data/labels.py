"""Images of a split and their labels: found, checked, and kept in flat arrays."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from ultralytics.cfg.paths import program
from ultralytics.data.cache.scan import NO_FILE, Entry, ScanCache, Seen, digest_of, signature
from ultralytics.data.places import misplaced_labels
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.files import read_bytes, read_text, walk_files
from ultralytics.utils.images import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    decode,
    read_image_file,
    too_large,
    truncated_jpeg,
    truncated_png,
    undecodable,
)
from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.text import counted, is_number, one_line
from ultralytics.utils.types import (
    ANY_CLASS,
    UNKNOWN_AREA,
    BoolArray,
    Float32Array,
    Float64Array,
    Int32Array,
    Int64Array,
    UInt8Array,
)

MIN_SIDE = 10  # pixels
SHOWN_PROBLEMS = 10
ROUNDING = 1e-4  # parts of the image by which a coordinate may leave it: the tool that wrote the file has rounded
OVER_EDGE = 0.1  # parts of the image by which a box's centre may leave it, and its sides be longer: the rest is cut off
MAX_LABEL_BYTES = 100_000_000  # of a label or ignore file, some two million rows
MAX_LIST_BYTES = 2**30
BOX_COLUMNS = 5
POSES_HINT = "are they poses? Each is read as a polygon; kpt_shape in the YAML makes boxes of them"
FEWEST_POSES, MOST_POSES = 8, 64  # rows of a split that are looked at
MANY_POLYGONS = 20  # one row in so many is more than slips would be


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


class FileNames(Sequence[str]):
    """Paths in one array of bytes: reading one leaves no trace in the memory that worker processes share.

    (A list of strings counts its readers inside the strings, so every worker ends up with a copy of its own.)
    """

    def __init__(self, names: Sequence[str]) -> None:
        data = os.fsencode("\0".join(names) + "\0") if len(names) else b""
        self._bytes = np.frombuffer(data, np.uint8)
        self._ends = np.flatnonzero(self._bytes == 0)

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self._bytes.nbytes + self._ends.nbytes

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> list[str]: ...
    def __getitem__(self, i: int | slice) -> str | list[str]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        if not -len(self) <= i < len(self):
            raise IndexError(i)
        i %= len(self)
        first = int(self._ends[i - 1]) + 1 if i else 0
        return os.fsdecode(self._bytes[first : self._ends[i]].tobytes())

    def __iter__(self) -> Iterator[str]:
        return iter(os.fsdecode(self._bytes.tobytes()).split("\0")[:-1])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of any sequence that is compared by what it holds


@dataclass
class LabelSet:
    """The labelled images of a split. Boxes of image i are rows `offsets[i]:offsets[i + 1]`: one array, however many
    images.

    Attributes:
        im_files: n paths; shapes: (n, 2) height and width, pixels, upright.
        offsets: (n + 1,); cls: (M,) class ids; bboxes: (M, 4) centre, width, height in 0..1.
        ignore_offsets: (n + 1,); ignore: (K, 6) regions that the evaluator neither rewards nor punishes: class
            (ANY_CLASS for every one), centre, width, height in 0..1, and 1 where it holds a crowd.
        contents: (n, 16) bytes, digests of the image files.
        digest: of names, image contents and labels of the whole split, 64 hexadecimal digits.
        problems: "file:line: what" for every image or row left out; left_out: number of images left out.
        areas: (M,) of the objects' masks, pixels² of the original image, UNKNOWN_AREA for a row without; None where
            none is known.
    """

    im_files: FileNames
    shapes: Int64Array
    offsets: Int64Array
    cls: Float32Array
    bboxes: Float32Array
    ignore_offsets: Int64Array
    ignore: Float32Array
    contents: UInt8Array
    digest: str = ""
    problems: list[str] = field(default_factory=list)
    left_out: int = 0
    areas: Float64Array | None = None

    def __len__(self) -> int:
        return len(self.im_files)

    def boxes(self, i: int) -> tuple[Float32Array, Float32Array]:
        """Class ids (m,) and boxes (m, 4) of an image; views."""
        rows = slice(self.offsets[i], self.offsets[i + 1])
        return self.cls[rows], self.bboxes[rows]

    def ignored(self, i: int) -> Float32Array:
        """Ignored regions (k, 6) of an image; a view."""
        return self.ignore[self.ignore_offsets[i] : self.ignore_offsets[i + 1]]

    def areas_of(self, i: int) -> Float64Array | None:
        """Areas (m,) of an image's objects, see `areas`; a view."""
        return None if self.areas is None else self.areas[self.offsets[i] : self.offsets[i + 1]]

    def take(self, order: Sequence[int] | Int64Array) -> LabelSet:
        """The same set, its images in another order or fewer."""
        order = np.asarray(order, np.int64)
        names = list(self.im_files)
        offsets, rows = _gather(self.offsets, order)
        ignore_offsets, ignored = _gather(self.ignore_offsets, order)
        return LabelSet(
            FileNames([names[i] for i in order]),
            self.shapes[order],
            offsets,
            self.cls[rows],
            self.bboxes[rows],
            ignore_offsets,
            self.ignore[ignored],
            self.contents[order],
            self.digest,
            self.problems,
            self.left_out,
            None if self.areas is None else self.areas[rows],
        )

    def keep_classes(self, classes: Sequence[int]) -> LabelSet:
        """The same images with the boxes of some classes only, and the regions ignored for them."""
        kept = np.isin(self.cls, np.asarray(classes, np.float32))
        kept_ignore = np.isin(self.ignore[:, 0], np.asarray([ANY_CLASS, *classes], np.float32))
        return LabelSet(
            self.im_files,
            self.shapes,
            _kept_offsets(self.offsets, kept),
            self.cls[kept],
            self.bboxes[kept],
            _kept_offsets(self.ignore_offsets, kept_ignore),
            self.ignore[kept_ignore],
            self.contents,
            self.digest,
            self.problems,
            self.left_out,
            None if self.areas is None else self.areas[kept],
        )

    def merge_classes(self) -> None:
        """Make every class id 0."""
        self.cls[:] = 0
        self.ignore[:, 0] = np.minimum(self.ignore[:, 0], 0)


def _gather(offsets: Int64Array, order: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Offsets of the images taken, and the rows that are theirs."""
    counts = np.diff(offsets)[order]
    taken = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    rows = np.repeat(offsets[order] - taken[:-1], counts) + np.arange(taken[-1])
    return taken, rows.astype(np.int64)


def _kept_offsets(offsets: Int64Array, kept: Any) -> Int64Array:
    return np.concatenate([[0], np.cumsum(kept)])[offsets].astype(np.int64)


def list_images(
    paths: Sequence[Path], skipped: list[str] | None = None, followed: list[str] | None = None
) -> list[str]:
    """All pictures in folders (and folders below), .txt lists or given singly; absolute, sorted.

    Args:
        skipped, followed: filled with the links to folders, see `walk_files`.

    Raises:
        DatasetError: there are none.
    """
    found: set[str] = set()
    for path in (Path(os.path.abspath(p)) for p in paths):
        if path.is_dir():
            for folder, files in walk_files(path, skipped=skipped, followed=followed):
                head = os.path.join(folder, "")
                found.update(head + f for f in files if f[f.rfind(".", 1) :].lower() in IMAGE_SUFFIXES)
        elif path.suffix.lower() == ".txt":
            text = read_text(path, DatasetError, MAX_LIST_BYTES)
            if "\0" in text:
                raise DatasetError("it holds zero bytes, so it is no text", str(path), "save it as UTF-8")
            lines = text.splitlines()
            found.update(os.path.normpath(path.parent / line.strip()) for line in lines if line.strip())
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            found.add(str(path))
    if not found:
        kinds = " ".join(sorted(s[1:] for s in IMAGE_SUFFIXES))
        raise DatasetError("there are no images", ", ".join(map(str, paths)), f"kinds looked for: {kinds}")
    return sorted(found)


def label_file(image: str) -> str:
    """Where an image's labels are: the last folder named images becomes labels, the suffix .txt."""
    return _beside_images(image, "labels") or os.path.splitext(image)[0] + ".txt"


def ignore_file(image: str) -> str | None:
    """Where the regions are that evaluation ignores: the last folder named images becomes ignore, the suffix .txt; None
    without such a folder."""
    return _beside_images(image, "ignore")


def areas_file(image: str) -> str | None:
    """Where the areas of an image's objects are: the last folder named images becomes areas, the suffix .txt; None
    without such a folder."""
    return _beside_images(image, "areas")


def _beside_images(image: str, folder: str) -> str | None:
    head, images, tail = image.rpartition(f"{os.sep}images{os.sep}")
    return f"{head}{os.sep}{folder}{os.sep}{os.path.splitext(tail)[0]}.txt" if images else None


def parse_labels(text: str, keypoints: int = 0) -> tuple[Float64Array, list[int], list[Problem]]:
    """Rows of a label file, in the precision they are written with: (m, 5) class, centre, width, height in 0..1; the
    line of each; every problem of the file.

    A row is `class x y w h` in 0..1, or a polygon `class x1 y1 x2 y2 x3 y3 …`, which becomes its bounding box. What of
    a polygon reaches over the image's edge is cut off. The centre of a row's box may lie OVER_EDGE of the image outside
    and its sides be as much longer than the image's; farther is an error.

    Args:
        keypoints: numbers that follow the box in a row of a pose dataset, which then has no polygons; 0 of others.
    """
    parsed = _parse(text, keypoints)
    return parsed.rows, parsed.lines, parsed.problems


class _Parsed(NamedTuple):
    """See `Judged`."""

    rows: Float64Array
    lines: list[int]
    problems: list[Problem]
    columns: Int32Array
    over: Float32Array


def _parse(text: str, keypoints: int) -> _Parsed:
    rows: list[tuple[float, ...]] = []
    numbers: list[int] = []
    columns: list[int] = []
    over: dict[int, float] = {}
    problems: list[Problem] = []
    seen: set[tuple[float, ...]] = set()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        row = _parse_row(words, number, keypoints)
        if isinstance(row, Problem):
            problems.append(row)
            continue
        if isinstance(row, _Cut):
            over[len(rows)], row = row.over, row.row
        if row[3] <= 0 or row[4] <= 0:
            over.pop(len(rows), None)
            problems.append(Problem(number, "area", "the box has no area; the row is dropped", False))
        elif row in seen:
            over.pop(len(rows), None)
            problems.append(Problem(number, "duplicate", "a duplicate of an earlier row; the row is dropped", False))
        else:
            seen.add(row)
            rows.append(row)
            numbers.append(number)
            columns.append(len(words))
    far = np.zeros(len(rows), np.float32)
    far[list(over)] = list(over.values())
    widths = np.full(len(rows), BOX_COLUMNS, np.int32) if keypoints else np.asarray(columns, np.int32)
    return _Parsed(np.asarray(rows, np.float64).reshape(-1, 5), numbers, problems, widths, far)


def parse_ignored(text: str) -> tuple[Float64Array, list[int], list[Problem]]:
    """Rows of an ignore file, in the precision they are written with: (k, 6) class, centre, width, height in 0..1,
    crowd; the line of each; every problem of the file.

    A row is `class x y w h`, an object that counts for nothing, or `class x y w h crowd`, a region of many; a class of
    `*` stands for all of them.
    """
    rows: list[tuple[float, ...]] = []
    numbers: list[int] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        crowd = words[-1] == "crowd" and len(words) > 1
        words = words[:-1] if crowd else words
        everything = words[:1] == ["*"]
        row = _parse_row(["0", *words[1:]] if everything else words, number)
        if isinstance(row, Problem):
            problems.append(row._replace(fatal=False, what=f"{row.what}; the row is dropped"))
            continue
        row = row.row if isinstance(row, _Cut) else row
        if row[3] <= 0 or row[4] <= 0:
            problems.append(Problem(number, "area", "the region has no area; the row is dropped", False))
        else:
            rows.append((ANY_CLASS if everything else row[0], *row[1:], float(crowd)))
            numbers.append(number)
    return np.asarray(rows, np.float64).reshape(-1, 6), numbers, problems


class Judged(NamedTuple):
    """A label or ignore file as training reads it.

    rows, lines, problems: as `parse_labels` and `parse_ignored` give them; text: None where there is no file, or none
    that can be read.
    Of a label file also, of each row: columns: how many it has, and BOX_COLUMNS in a pose dataset; over: how far it
    reached over the image's edge before it was cut, in parts of the image, 0 where it was not.
    """

    rows: Float64Array
    lines: list[int]
    problems: list[Problem]
    text: str | None
    columns: Int32Array = np.zeros(0, np.int32)
    over: Float32Array = np.zeros(0, np.float32)

    @property
    def usable(self) -> bool:
        """Whether training keeps the image."""
        return not any(p.fatal for p in self.problems)


def judge_labels(path: str, keypoints: int = 0) -> Judged:
    """Read a label file; without one the image is a background. `keypoints`: see `parse_labels`."""
    text, problem = _read(path)
    if problem is not None:
        return Judged(np.zeros((0, 5)), [], [problem], None)
    rows, lines, problems, columns, over = _parse(text or "", keypoints)
    return Judged(rows, lines, problems, text, columns, over)


def judge_ignored(path: str | None) -> Judged:
    """Read an ignore file; one that cannot be read is not used, and costs no image."""
    text, problem = _read(path) if path is not None else (None, None)
    if problem is not None:
        unused = problem._replace(fatal=False, what=f"{problem.what}; the file is not used")
        return Judged(np.zeros((0, 6)), [], [unused], None)
    return Judged(*parse_ignored(text or ""), text)


def judge_areas(path: str | None, labels: Judged) -> tuple[Float64Array | None, list[Problem]]:
    """Read the areas of a label file's rows: (m,) pixels², None without a file; and what is wrong with it.

    A line belongs to the same line of the label file, and is a number above 0, or `-` for an object without a mask. A
    file that does not fit its labels is not used.
    """
    text, problem = _read(path) if path is not None else (None, None)
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
            what = f"{word!r} is no area, a number above 0 or -; the file is not used"
            return None, [Problem(number, "number", what, False)]
        areas[i] = float(word)
    return (areas if (areas > 0).any() else None), []


def _read(path: str) -> tuple[str | None, Problem | None]:
    """The text of a file, None where there is none; or why it cannot be read."""
    try:
        data = read_bytes(path, MAX_LABEL_BYTES)
    except FileNotFoundError:
        return None, None
    except OSError as e:
        return None, Problem(0, "unreadable", f"it cannot be read: {e.strerror or e}", True)
    try:
        return data.decode("utf-8-sig"), None
    except UnicodeDecodeError as e:
        line = data[: e.start].count(b"\n") + 1
        return None, Problem(line, "text", f"not UTF-8 text: byte 0x{data[e.start]:02x}", True)


class _Cut(NamedTuple):
    """A row whose box was cut at the image's edge, over which it reached by a part of the image."""

    row: tuple[float, ...]
    over: float


def _parse_row(words: list[str], line: int, keypoints: int = 0) -> tuple[float, ...] | _Cut | Problem:
    try:
        cls, *values = map(float, words)
    except ValueError:
        bad = next(w for w in words if not is_number(w))
        return Problem(line, "number", f"{bad!r} is no number", True)
    if not 0 <= cls < 2**31 or cls != int(cls):  # NaN and infinity as well
        return Problem(line, "class", f"the class id {words[0]} is no integer of 0 or more", True)
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
        return (cls, *values)
    return _at_the_edge(cls, values, line, polygon)


def _bounds(values: list[float]) -> tuple[float, float, float, float]:
    return min(values[::2]), max(values[::2]), min(values[1::2]), max(values[1::2])


def _at_the_edge(cls: float, values: list[float], line: int, polygon: bool) -> tuple[float, ...] | _Cut | Problem:
    """A row with a number outside 0..1: its box is cut at the image's edge, unless it is an error."""
    box, x1, x2, y1, y2 = values, 0.0, 0.0, 0.0, 0.0
    finite = math.isfinite(sum(values))
    if polygon and finite:
        x1, x2, y1, y2 = _bounds(values)
        box = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
    if not finite or min(box[:2]) < -OVER_EDGE or min(box[2:]) < -ROUNDING or max(box) > 1 + OVER_EDGE:
        farthest = max(values, key=lambda v: abs(v - 0.5))
        wrong = next((v for v in values if not -OVER_EDGE <= v <= 1 + OVER_EDGE), farthest)  # NaN as well
        what = f"the coordinate {wrong:g} is outside 0..1; coordinates are parts of the width and height"
        return Problem(line, "coordinate", what, True)
    if not polygon:
        if min(values) >= -ROUNDING and max(values) <= 1 + ROUNDING:
            return (cls, *(min(max(v, 0.0), 1.0) for v in values))
        x, y, w, h = values
        x1, x2, y1, y2 = x - w / 2, x + w / 2, y - h / 2, y + h / 2
    over = max(-x1, x2 - 1, -y1, y2 - 1)
    x1, x2, y1, y2 = (min(max(v, 0.0), 1.0) for v in (x1, x2, y1, y2))
    row = (cls, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
    return _Cut(row, over) if over > ROUNDING else row


def _wrong_columns(words: list[str], keypoints: int) -> str:
    """What is wrong with the number of columns of a row that is no box; "" when nothing is."""
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
    """Which rows of a split are probably several rows in one line: `0 .5 .5 .2 .2` and `0 .7 .7 .1 .1` without the line
    break between them are the nine words of a polygon of four points.

    In a split of polygons nothing can be told. Where most rows are boxes, those of 9, 13, 15, 17, … columns are named,
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
    """The number of columns that the rows of a split have, where they read as poses: all rows have it, and the first
    four numbers are a box that holds all the points behind it; else 0.

    Args:
        files: n images; offsets: (n + 1,) of their rows; columns: (M,) number of columns of each row.
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


def scan(
    paths: Sequence[Path],
    nc: int,
    fraction: float = 1.0,
    desc: str = "",
    cache_dir: Path | None = None,
    yaml_file: Path | None = None,
    keypoints: int = 0,
) -> LabelSet:
    """Check every image (decoded in full) and label file of a split.

    An image that cannot be decoded, or whose label file is wrong, is left out and named with file and line. Duplicate
    rows and boxes without area are dropped. An image without a label file is a background. What was found is remembered
    in a hidden file beside the images' folder, or in `cache_dir` where that folder cannot be written: the next scan
    reads only what is new or changed.

    Args:
        nc: number of classes; fraction: part of the sorted images to use; yaml_file: where all problems can be seen.
        keypoints: see `parse_labels`.

    Raises:
        DatasetError: no images; a class id outside 0..nc−1 (file and line); nothing usable left.
    """
    skipped, followed = list[str](), list[str]()
    files = list_images(paths, skipped, followed)
    files = files[: max(round(len(files) * fraction), 1)]
    memory = ScanCache(files, paths, fraction, cache_dir, keypoints)
    entry = memory.load(_signatures(files))
    if entry is None:
        entry = _check_all(files, memory, desc, keypoints)
        memory.keep(entry)
    labels = _label_set(files, entry, memory.names)
    wrong = np.flatnonzero(labels.cls >= nc)
    if len(wrong):
        image = labels.im_files[int(np.searchsorted(labels.offsets, wrong[0], side="right")) - 1]
        ids = f"0 to {nc - 1}" if nc > 1 else "0 alone"
        line = next((n for row, n in _rows_of(image, keypoints) if row[0] >= nc), 0)
        raise DatasetError(
            f"class id {labels.cls[wrong[0]]:.0f} is out of range: the data set has {counted(nc, 'class')}",
            f"{label_file(image)}:{line}",
            f"valid: {ids}",
        )
    bare = [files[i] for i in np.flatnonzero((entry.signatures[:, 1] == 0).all(1))]
    misplaced = misplaced_labels({f: label_file(f) for f in bare}, len(files))
    advice = [*_advice(files, entry), *map(str, misplaced)]
    if skipped:
        several = f" and {len(skipped) - 1} more" if len(skipped) > 1 else ""
        advice.append(
            f"{skipped[0]}{several}: the link leads to a folder that is read already, or holds it; passed over"
        )
    if followed:
        several = f" and {len(followed) - 1} more" if len(followed) > 1 else ""
        leads = f"the link leads to {os.path.realpath(followed[0])}, outside of the folder of the split"
        advice.append(f"{followed[0]}{several}: {leads}; its images are taken")
    _report(desc, labels, advice, yaml_file, bool(misplaced))
    if not len(labels):
        more = f", and {len(labels.problems) - 1} more" if len(labels.problems) > 1 else ""
        raise DatasetError(
            f"none of the {len(files)} images can be used: {labels.problems[0]}{more}", ", ".join(map(str, paths))
        )
    return labels


def _rows_of(image: str, keypoints: int = 0) -> list[tuple[list[float], int]]:
    """The rows of an image's label file, and the line of each."""
    judged = judge_labels(label_file(image), keypoints)
    return list(zip(judged.rows.tolist(), judged.lines, strict=True))


def _advice(files: Sequence[str], entry: Entry) -> Iterator[str]:
    """What training takes as it is, and may not be meant so; one line of a kind for the whole split."""

    def place(rows: BoolArray) -> str:
        """File and line of the first row, and how many there are."""
        first = int(rows.argmax())
        image = int(np.searchsorted(entry.offsets, first, side="right")) - 1
        lines = judge_labels(label_file(files[image])).lines
        number = first - int(entry.offsets[image])
        line = f":{lines[number]}" if number < len(lines) else ""
        return f"{label_file(files[image])}{line}: {counted(int(rows.sum()), 'row')}"

    glued = glued_rows(entry.columns)
    if glued.any():
        shown = " or ".join(map(str, sorted({int(c) for c in entry.columns[glued]})[:3]))
        boxes = counted(int((entry.columns == BOX_COLUMNS).sum()), "box")
        yield f"{place(glued)} of {shown} columns among {boxes}: several rows in one line? Read as polygons"
    over = entry.over > 0
    if over.any():
        yield f"{place(over)} up to {entry.over.max():.1%} over the edge of the image: cut off there"
    pose = pose_columns(files, entry.offsets, entry.columns)
    if pose:
        told = f"{place(entry.columns == pose)} of {pose} columns, whose first four numbers are a box around the others"
        yield f"{told}: {POSES_HINT}"
    again = _linked_again(files, entry.signatures[:, 0])
    if again:
        copy, first = again[0]
        yield f"{copy}: {counted(len(again), 'image')} more than once in the split by links, this one is {first}"


def _linked_again(files: Sequence[str], signatures: Int64Array) -> list[tuple[str, str]]:
    """Images that are one file with an earlier one of the split (by links to files or folders, hard links too), and
    that one. Only files of one size and the same times, which links share, are looked at on the disk.

    Args:
        signatures: (n, 3), see `signature`.
    """
    _, group, counts = np.unique(signatures, axis=0, return_inverse=True, return_counts=True)
    first: dict[tuple[int, int], str] = {}
    found: list[tuple[str, str]] = []
    # A file's own name comes before the links to it.
    alike = [files[i] for i in np.flatnonzero((counts[group.ravel()] > 1) & signatures.any(1)).tolist()]
    for file in sorted(alike, key=os.path.islink):
        with contextlib.suppress(OSError):
            stat = os.stat(file)
            earlier = first.setdefault((stat.st_dev, stat.st_ino), file)
            if earlier != file:
                found.append((file, earlier))
    return found


def _signatures(files: Sequence[str]) -> Int64Array:
    """(n, 4, 3): size and times of change of every image and its label, ignore and areas files; zeros where there is
    none."""
    beside: dict[str, list[str]] = {}  # folder of images → its folders of the other files, "" where missing
    found: list[int] = []
    for file in files:
        folder, _, name = file.rpartition(os.sep)
        if folder not in beside:
            paths = (path(f"{folder}{os.sep}x.jpg") for path in (label_file, ignore_file, areas_file))
            places = [os.path.dirname(p) if p else "" for p in paths]
            beside[folder] = [p + os.sep if os.path.isdir(p) else "" for p in places]
        stem = os.path.splitext(name)[0]  # a list may name a file without suffix
        found += signature(file)
        for place in beside[folder]:
            found += signature(f"{place}{stem}.txt") if place else NO_FILE
    return np.array(found, np.int64).reshape(-1, 4, 3)


def _check_all(files: Sequence[str], memory: ScanCache, desc: str, keypoints: int) -> Entry:
    """Check what the memory does not know, with all cores: decoding releases the interpreter's lock."""
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 16)) as pool:
        check = partial(_check, keypoints=keypoints)
        results = pool.map(lambda i: memory.recall(i) or check(files[i], memory.known(i)), range(len(files)))
        return Entry.join(list(progress(results, total=len(files), desc=f"{desc}Checking images")))


def _files_of(image: str) -> tuple[str | None, ...]:
    return image, label_file(image), ignore_file(image), areas_file(image)


def _check(image: str, known: Seen | None, keypoints: int) -> Seen:
    """Check an image and its labels. One whose content an earlier run has decoded is not decoded again."""
    seen = Seen(signatures=tuple(signature(p) for p in _files_of(image)))
    try:
        data = read_image_file(image)
    except OSError as e:
        seen.problems.append(("image", 0, f"cannot be read: {e.strerror or e}"))
        return seen
    seen.content = digest_of(data)
    if known is not None and known.content == seen.content and known.shape != (0, 0):
        seen.shape = known.shape
    else:
        judged = judge_picture(data)
        if isinstance(judged, Unusable):
            seen.problems.append(("image", 0, judged.what))
            return seen
        seen.shape = judged.shape[0], judged.shape[1]
    labels, ignored = judge_labels(label_file(image), keypoints), judge_ignored(ignore_file(image))
    fatal = next((p for p in labels.problems if p.fatal), None)
    seen.problems += [("label", p.line, p.what) for p in ([fatal] if fatal else labels.problems)]
    seen.problems += [("ignore", p.line, p.what) for p in ignored.problems]
    seen.usable = labels.usable
    if seen.usable:
        seen.rows, seen.columns, seen.over = labels.rows.astype(np.float32), labels.columns, labels.over
    seen.ignored = ignored.rows.astype(np.float32)
    if seen.usable:
        seen.areas, problems = judge_areas(areas_file(image), labels)
        seen.problems += [("areas", p.line, p.what) for p in problems]
    return seen


class Unusable(NamedTuple):
    """Why training leaves a picture out. kind: empty, huge, truncated, float, undecodable or small; what: in words."""

    kind: str
    what: str


def judge_picture(data: UInt8Array) -> UInt8Array | Unusable:
    """The picture that an image file's content is, upright; or why training cannot use it."""
    unusable = judge_file(data)
    if unusable is not None:
        return unusable
    decoded = decode(data)
    if decoded is None:
        return Unusable(*undecodable(data))
    return judge_shape((decoded.shape[0], decoded.shape[1])) or decoded


def judge_file(data: UInt8Array) -> Unusable | None:
    """Why a picture cannot be used, as far as its file tells undecoded."""
    if not data.size:
        return Unusable("empty", "the file is empty")
    if why := too_large(data, MAX_PIXELS):
        return Unusable("huge", why)
    if truncated_jpeg(data):
        return Unusable("truncated", "the JPEG is cut off before its end")
    if truncated_png(data):
        return Unusable("truncated", "the PNG is cut off before its end")
    return None


def judge_shape(shape: tuple[int, int]) -> Unusable | None:
    """Whether training can use a picture of (height, width), and why not."""
    h, w = shape
    return None if min(h, w) >= MIN_SIDE else Unusable("small", f"{w}x{h} pixels, and a side needs {MIN_SIDE}")


def _label_set(files: Sequence[str], entry: Entry, names: str) -> LabelSet:
    """What was found, in absolute paths, without the images that cannot be used."""
    paths = {"image": lambda f: f, "label": label_file, "ignore": ignore_file, "areas": areas_file}
    problems = []
    for i, what, line, text in entry.problems:
        problems.append(f"{paths[what](files[i])}{f':{line}' if line else ''}: {text}")
    labels = LabelSet(
        FileNames(files),
        entry.shapes,
        entry.offsets,
        np.ascontiguousarray(entry.rows[:, 0]),
        np.ascontiguousarray(entry.rows[:, 1:]),
        entry.ignore_offsets,
        entry.ignored,
        entry.contents,
        entry.digest(names),
        problems,
        int((~entry.usable).sum()),
        entry.areas if len(entry.areas) else None,
    )
    return labels if entry.usable.all() else labels.take(np.flatnonzero(entry.usable))


def _report(
    desc: str, labels: LabelSet, advice: Sequence[str], yaml_file: Path | None, misplaced: bool = False
) -> None:
    backgrounds = int((np.diff(labels.offsets) == 0).sum())
    LOGGER.info(
        "%s%s, %d without boxes, %d left out", desc, counted(len(labels), "image"), backgrounds, labels.left_out
    )
    if len(labels) and backgrounds == len(labels) and not misplaced:  # then the advice says where they lie
        LOGGER.warning("  no image has a box: is there a labels folder beside the images folder?")
    for line in advice:
        LOGGER.warning("  %s", one_line(line))
    for problem in labels.problems[:SHOWN_PROBLEMS]:
        LOGGER.warning("  %s", one_line(problem))
    if len(labels.problems) > SHOWN_PROBLEMS:
        command = program("check-data", f"data={yaml_file}") if yaml_file else ""
        more = len(labels.problems) - SHOWN_PROBLEMS
        LOGGER.warning("  … and %d more%s", more, f"; all of them: {command}" if command else "")
