"""Images of a split and their labels: found, checked, and kept in flat arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ultralytics.data.cache import KnownShapes
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.files import read_text
from ultralytics.utils.images import IMAGE_SUFFIXES, decode, truncated_jpeg, undecodable
from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.types import Float32Array, Int64Array

MIN_SIDE = 10  # pixels
SHOWN_PROBLEMS = 10


class LabelError(ValueError):
    """A picture or label file that cannot be used; the message names it."""


@dataclass
class LabelSet:
    """The labelled images of a split. Boxes of image i are rows `offsets[i]:offsets[i + 1]`: one array, however many
    images.

    Attributes:
        im_files: n paths; shapes: (n, 2) height and width, pixels, upright.
        offsets: (n + 1,); cls: (M,) class ids; bboxes: (M, 4) centre, width, height in 0..1.
        problems: "file:line: what" for every image or row left out; left_out: number of images left out.
    """

    im_files: list[str]
    shapes: Int64Array
    offsets: Int64Array
    cls: Float32Array
    bboxes: Float32Array
    problems: list[str] = field(default_factory=list)
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.im_files)

    def boxes(self, i: int) -> tuple[Float32Array, Float32Array]:
        """Class ids (m,) and boxes (m, 4) of an image; views."""
        rows = slice(self.offsets[i], self.offsets[i + 1])
        return self.cls[rows], self.bboxes[rows]

    def take(self, order: Sequence[int] | Int64Array) -> LabelSet:
        """The same set, its images in another order or fewer."""
        pieces = [self.boxes(int(i)) for i in order]
        return LabelSet(
            [self.im_files[int(i)] for i in order],
            self.shapes[np.asarray(order, np.int64)],
            np.cumsum([0, *(len(c) for c, _ in pieces)], dtype=np.int64),
            np.concatenate([np.zeros(0, np.float32), *(c for c, _ in pieces)]),
            np.concatenate([np.zeros((0, 4), np.float32), *(b for _, b in pieces)]),
            self.problems,
            self.left_out,
        )

    def keep_classes(self, classes: Sequence[int]) -> LabelSet:
        """The same images with the boxes of some classes only."""
        kept = np.isin(self.cls, np.asarray(classes, np.float32))
        offsets = np.concatenate([[0], np.cumsum(kept)])[self.offsets].astype(np.int64)
        return LabelSet(
            self.im_files, self.shapes, offsets, self.cls[kept], self.bboxes[kept], self.problems, self.left_out
        )


def list_images(paths: Sequence[Path]) -> list[str]:
    """All pictures in folders (and folders below), .txt lists or given singly; sorted.

    Raises:
        DatasetError: there are none.
    """
    found: set[str] = set()
    for path in paths:
        if path.is_dir():
            for folder, _, files in os.walk(path, followlinks=True):
                found.update(os.path.join(folder, f) for f in files if os.path.splitext(f)[1].lower() in IMAGE_SUFFIXES)
        elif path.suffix.lower() == ".txt":
            lines = read_text(path, DatasetError).splitlines()
            found.update(str((path.parent / line.strip()).resolve()) for line in lines if line.strip())
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            found.add(str(path))
    if not found:
        kinds = " ".join(sorted(s[1:] for s in IMAGE_SUFFIXES))
        raise DatasetError("there are no images", ", ".join(map(str, paths)), f"kinds looked for: {kinds}")
    return sorted(found)


def label_file(image: str) -> str:
    """Where an image's labels are: the last folder named images becomes labels, the suffix .txt."""
    stem = os.path.splitext(image)[0]
    images, labels = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"
    return labels.join(stem.rsplit(images, 1)) + ".txt"


def scan(paths: Sequence[Path], nc: int, fraction: float = 1.0, desc: str = "") -> LabelSet:
    """Check every image (decoded in full) and label file of a split.

    An image that cannot be decoded, or whose label file is wrong, is left out and named with file and line. Duplicate
    rows and boxes without area are dropped. An image without a label file is a background.

    Args:
        nc: number of classes; fraction: part of the sorted images to use.

    Raises:
        DatasetError: no images; a class id outside 0..nc−1 (file and line); nothing usable left.
    """
    files = list_images(paths)
    files = files[: max(round(len(files) * fraction), 1)]
    known = KnownShapes(files)
    # Decoding releases the interpreter's lock, so threads use all cores.
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 16)) as pool:
        results = pool.map(lambda file: _check(file, known(file)), files)
        checked = list(progress(results, total=len(files), desc=f"{desc}Checking images"))
    known.keep({file: c.picture for file, c in zip(files, checked, strict=True) if c.picture is not None})
    usable = [(file, c) for file, c in zip(files, checked, strict=True) if c.shape is not None]
    problems = [p for c in checked for p in c.problems]
    for c in checked:
        for line, number in c.classes:
            if number >= nc:
                ids = f"0 to {nc - 1}" if nc > 1 else "0 alone"
                raise DatasetError(
                    f"class id {number} is out of range: the data set has {nc} classes",
                    f"{c.label}:{line}",
                    f"valid: {ids}",
                )
    left_out = len(files) - len(usable)
    _report(desc, len(usable), sum(not len(c.rows) for _, c in usable), left_out, problems)
    if not usable:
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise DatasetError(
            f"none of the {len(files)} images can be used: {problems[0]}{more}", ", ".join(map(str, paths))
        )
    rows = np.concatenate([c.rows for _, c in usable])
    return LabelSet(
        [file for file, _ in usable],
        np.asarray([c.shape for _, c in usable], np.int64),
        np.cumsum([0, *(len(c.rows) for _, c in usable)], dtype=np.int64),
        np.ascontiguousarray(rows[:, 0]),
        np.ascontiguousarray(rows[:, 1:]),
        problems,
        left_out,
    )


@dataclass
class _Checked:
    label: str
    rows: Float32Array  # (m, 5)
    picture: tuple[int, int] | None = None  # None: cannot be used
    shape: tuple[int, int] | None = None  # None: left out
    problems: list[str] = field(default_factory=list)
    classes: list[tuple[int, int]] = field(default_factory=list)  # line and class id


def _check(image: str, known: tuple[int, int] | None = None) -> _Checked:
    """Check an image (unless its shape is known from an earlier run) and its labels."""
    result = _Checked(label_file(image), np.zeros((0, 5), np.float32), known)
    try:
        result.picture = known or _check_picture(image)
        result.rows, result.classes, result.problems = read_labels(result.label)
        result.shape = result.picture
    except LabelError as e:
        result.problems.append(str(e))
    return result


def _check_picture(image: str) -> tuple[int, int]:
    try:
        data = np.fromfile(image, np.uint8)
    except OSError as e:
        raise LabelError(f"{image}: cannot be read: {e.strerror}") from None
    decoded = decode(data)
    if truncated_jpeg(data):
        raise LabelError(f"{image}: the JPEG is cut off before its end")
    if decoded is None:
        raise LabelError(f"{image}: is empty" if not data.size else f"{image}: {undecodable(image)}")
    h, w = decoded.shape[:2]
    if min(h, w) < MIN_SIDE:
        raise LabelError(f"{image}: {w}x{h} pixels, and a side needs {MIN_SIDE}")
    return h, w


def read_labels(path: str) -> tuple[Float32Array, list[tuple[int, int]], list[str]]:
    """Rows of a label file: (m, 5) class, centre, width, height; line and class of each; notes on rows dropped.

    A row is `class x y w h` in 0..1, or a polygon `class x1 y1 x2 y2 x3 y3 …`, which becomes its bounding box. A
    missing file has no rows.

    Raises:
        LabelError: "file:line: what".
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        lines = []
    except (OSError, UnicodeDecodeError) as e:
        raise LabelError(f"{path}: is not readable text: {e}") from None
    rows: list[tuple[float, ...]] = []
    classes: list[tuple[int, int]] = []
    notes: list[str] = []
    seen: set[tuple[float, ...]] = set()
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        row = _parse_row(words, f"{path}:{number}")
        classes.append((number, int(row[0])))
        if row[3] <= 0 or row[4] <= 0:
            notes.append(f"{path}:{number}: the box has no area; the row is dropped")
        elif row in seen:
            notes.append(f"{path}:{number}: the row is a duplicate; it is dropped")
        else:
            seen.add(row)
            rows.append(row)
    return np.asarray(rows, np.float32).reshape(-1, 5), classes, notes


def _parse_row(words: list[str], where: str) -> tuple[float, ...]:
    try:
        cls, *values = [float(w) for w in words]
    except ValueError:
        bad = next(w for w in words if not _is_number(w))
        raise LabelError(f"{where}: {bad!r} is no number") from None
    if not 0 <= cls < 2**31 or cls != int(cls):  # NaN and infinity as well
        raise LabelError(f"{where}: the class id {words[0]} is no integer of 0 or more")
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise LabelError(
            f"{where}: {len(words)} columns; a row has 5 (class x y w h), or a polygon's class and 3 or more points"
        )
    wrong = next((v for v in values if not -_SLACK <= v <= 1 + _SLACK), None)  # NaN is wrong too
    if wrong is not None:
        raise LabelError(
            f"{where}: the coordinate {wrong:g} is outside 0..1; coordinates are parts of the width and height"
        )
    values = [min(max(v, 0.0), 1.0) for v in values]
    if len(values) > 4:
        x1, x2, y1, y2 = min(values[::2]), max(values[::2]), min(values[1::2]), max(values[1::2])
        values = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
    return (cls, *values)


_SLACK = 1e-4  # rounding by the tool that wrote the file


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _report(desc: str, images: int, backgrounds: int, left_out: int, problems: list[str]) -> None:
    LOGGER.info("%s%d images, %d without boxes, %d left out", desc, images, backgrounds, left_out)
    if images and backgrounds == images:
        LOGGER.warning("  no image has a box: is there a labels folder beside the images folder?")
    for problem in problems[:SHOWN_PROBLEMS]:
        LOGGER.warning("  %s", problem)
    if len(problems) > SHOWN_PROBLEMS:
        LOGGER.warning("  … and %d more", len(problems) - SHOWN_PROBLEMS)
