"""What a scan found, remembered from run to run: keyed by names, contents and code, never trusted blindly.

Sizes and times of change say quickly that nothing has changed; where they differ, the content's digest decides. The
file holds plain arrays (no pickle), is written whole or not at all, and may be read by any number of processes.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ultralytics.cfg.paths import PACKAGE
from ultralytics.data.labels import BOXES, FEWEST_POINTS, RowForm
from ultralytics.data.polygons import Polygons
from ultralytics.utils.errors import UserError
from ultralytics.utils.files import open_regular, write_atomically
from ultralytics.utils.types import (
    UNKNOWN_AREA,
    BoolArray,
    Float32Array,
    Float64Array,
    Int32Array,
    Int64Array,
    UInt8Array,
)

Signature = tuple[int, int, int]  # size in bytes, times of change of content and of the file's entry in ns
NO_FILE: Signature = (0, 0, 0)
DIGEST_BYTES = 16
# The files that judge an image and its labels: what is remembered holds as long as they are what they were.
SOURCES = (
    "data/cache/scan.py",
    "data/class_scan.py",
    "data/images.py",
    "data/labels.py",
    "data/polygons.py",
    "data/scan.py",
    "utils/image_header.py",
    "utils/images.py",
)
ABANDONED = 3600  # seconds after which an unfinished file is nobody's


def signature(path: str | None) -> Signature:
    """Return what tells a changed file from an unchanged one without reading it; zeros where there is none.

    The time of change of the entry is the system's own: unlike that of the content it cannot be set back.
    """
    try:
        stat = os.stat(path) if path else None
    except OSError:
        stat = None
    return NO_FILE if stat is None else (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def digest_of(data: UInt8Array) -> bytes:
    """Return the digest of a file's content."""
    return hashlib.blake2b(data.data, digest_size=DIGEST_BYTES).digest()


class Regions(NamedTuple):
    """The ignored regions of an image: rows (k, 6), and their outlines where objects have polygons."""

    rows: Float32Array
    outlines: Polygons | None = None


@dataclass
class ScannedImage:
    """One image as a scan saw it.

    signatures: of the image and its label, ignore and areas files; content: digest of the image file, empty when
    unread; shape: height and width, (0, 0) when it is no image; usable: image and labels are good; rows: (m, 5);
    columns, over: (m,), see `labels.Judged`; ignored: the regions;
    areas: (m,) pixels², None where there are none; problems: (image, label, ignore or areas; line or 0; what);
    segments, keypoints: see `labels.Judged`, single precision.
    """

    signatures: tuple[Signature, ...]
    content: bytes = b""
    shape: tuple[int, int] = (0, 0)
    usable: bool = False
    rows: Float32Array = field(default_factory=lambda: np.zeros((0, 5), np.float32))
    columns: Int32Array = field(default_factory=lambda: np.zeros(0, np.int32))
    over: Float32Array = field(default_factory=lambda: np.zeros(0, np.float32))
    ignored: Regions = field(default_factory=lambda: Regions(np.zeros((0, 6), np.float32)))
    areas: Float64Array | None = None
    problems: list[tuple[str, int, str]] = field(default_factory=list)
    segments: Polygons | None = None
    keypoints: Float32Array | None = None


@dataclass
class Marks:
    """What is known of the M rows of a split, and of its K ignored regions, besides their boxes, in flat arrays."""

    areas: Float64Array  # (M,) UNKNOWN_AREA where there is none; (0,) where none is known
    points: Float32Array  # (P, 2) of polygons
    ends: Int64Array  # (M + 1,) offsets of the rows' points; (0,) where rows have none
    keypoints: Float32Array  # (M, points, 3), none where rows have none
    ignored_points: Float32Array  # (Q, 2) of the regions' outlines
    ignored_ends: Int64Array  # (K + 1,) offsets of the regions' points; (0,) where they are not read

    @classmethod
    def join(cls, seen: Sequence[ScannedImage], form: RowForm) -> Marks:
        """Join those of images. One that cannot be used has neither rows nor these."""
        used = [s for s in seen if len(s.rows)]
        areas = np.zeros(0)
        if any(s.areas is not None for s in used):
            areas = np.concatenate([np.full(len(s.rows), UNKNOWN_AREA) if s.areas is None else s.areas for s in used])
        k = form.keypoints // form.numbers if form.annotations == "keypoints" else 0
        keypoints = np.zeros((sum(len(s.rows) for s in used), k, 3), np.float32)
        if k and used:
            keypoints = np.concatenate([s.keypoints for s in used if s.keypoints is not None])
        none = np.zeros((0, 2), np.float32), np.zeros(0, np.int64)
        rows = regions = none
        if form.annotations in FEWEST_POINTS:
            polygons = Polygons.concatenate([s.segments for s in used if s.segments is not None]).single()
            rows = polygons.points, polygons.offsets
        if form.annotations == "polygons":
            outlines = Polygons.concatenate([_region_outlines(s) for s in seen]).single()
            regions = outlines.points, outlines.offsets
        return cls(areas, *rows, keypoints, *regions)

    @property
    def segments(self) -> Polygons | None:
        """The rows' polygons."""
        return Polygons(self.points, self.ends) if len(self.ends) else None

    @property
    def regions(self) -> Polygons | None:
        """The regions' outlines."""
        return Polygons(self.ignored_points, self.ignored_ends) if len(self.ignored_ends) else None

    def sound(self, m: int, k: int) -> bool:
        """Return True if the arrays fit together, for m rows and k regions."""
        return (
            self.areas.shape in ((m,), (0,))
            and bool(((self.areas > 0) | (self.areas == UNKNOWN_AREA)).all())
            and self.keypoints.ndim == 3
            and self.keypoints.shape[::2] == (m, 3)
            and _sound_points(self.points, self.ends, m, fewest=1)
            and _sound_points(self.ignored_points, self.ignored_ends, k, fewest=0)
            and bool(((self.keypoints[..., :2] >= 0) & (self.keypoints[..., :2] <= 1)).all())
            and bool(np.isin(self.keypoints[..., 2], (0, 1, 2)).all())
        )


def _region_outlines(seen: ScannedImage) -> Polygons:
    """Return the outlines of an image's ignored regions, without points where none was read."""
    none = np.zeros((0, 2), np.float32)
    return seen.ignored.outlines or Polygons.of([none] * len(seen.ignored.rows))


def _sound_points(points: Float32Array, ends: Int64Array, count: int, fewest: int) -> bool:
    """Return True if points (P, 2) in 0..1 and offsets, where there are any, are those of so many polygons, each of
    `fewest` points or more."""
    return (
        points.ndim == 2
        and points.shape[1] == 2
        and ends.shape in ((count + 1,), (0,))
        and (not len(ends) or bool((ends[0] == 0) & (np.diff(ends) >= fewest).all()))
        and (ends[-1] if len(ends) else 0) == len(points)
        and bool(((points >= 0) & (points <= 1)).all())
    )


@dataclass
class Entry:
    """All images of a split, in flat arrays; see `ScannedImage`. problems: (image number, which file, line, what)."""

    signatures: Int64Array  # (n, 4, 3)
    contents: UInt8Array  # (n, DIGEST_BYTES)
    shapes: Int64Array  # (n, 2)
    usable: BoolArray  # (n,)
    offsets: Int64Array  # (n + 1,)
    rows: Float32Array  # (M, 5)
    columns: Int32Array  # (M,)
    over: Float32Array  # (M,)
    ignore_offsets: Int64Array  # (n + 1,)
    ignored: Float32Array  # (K, 6)
    marks: Marks
    problems: list[tuple[int, str, int, str]]

    @classmethod
    def join(cls, seen: Sequence[ScannedImage], form: RowForm = BOXES) -> Entry:
        """Join what was seen to one entry, of rows of this form."""
        contents = b"".join(s.content.ljust(DIGEST_BYTES, b"\0") for s in seen)
        return cls(
            np.array([s.signatures for s in seen], np.int64).reshape(-1, 4, 3),
            np.frombuffer(contents, np.uint8).reshape(-1, DIGEST_BYTES),
            np.array([s.shape for s in seen], np.int64).reshape(-1, 2),
            np.array([s.usable for s in seen], np.bool_),
            np.cumsum([0, *(len(s.rows) for s in seen)], dtype=np.int64),
            np.concatenate([np.zeros((0, 5), np.float32), *(s.rows for s in seen)]),
            np.concatenate([np.zeros(0, np.int32), *(s.columns for s in seen)]),
            np.concatenate([np.zeros(0, np.float32), *(s.over for s in seen)]),
            np.cumsum([0, *(len(s.ignored.rows) for s in seen)], dtype=np.int64),
            np.concatenate([np.zeros((0, 6), np.float32), *(s.ignored.rows for s in seen)]),
            Marks.join(seen, form),
            [(i, *p) for i, s in enumerate(seen) for p in s.problems],
        )

    def image(self, i: int, problems: Sequence[tuple[str, int, str]] = ()) -> ScannedImage:
        """Image i again, with its problems."""
        rows, marks = slice(self.offsets[i], self.offsets[i + 1]), self.marks
        ignored = slice(self.ignore_offsets[i], self.ignore_offsets[i + 1])
        return ScannedImage(
            tuple((int(a), int(b), int(c)) for a, b, c in self.signatures[i]),
            self.contents[i].tobytes(),
            (int(self.shapes[i, 0]), int(self.shapes[i, 1])),
            bool(self.usable[i]),
            self.rows[rows],
            self.columns[rows],
            self.over[rows],
            Regions(self.ignored[ignored], None if (outlines := marks.regions) is None else outlines[ignored]),
            marks.areas[rows] if len(marks.areas[rows]) else None,
            list(problems),
            None if (segments := marks.segments) is None else segments[rows],
            marks.keypoints[rows] if marks.keypoints.shape[1] else None,
        )

    def digest(self, names: str) -> str:
        """SHA-256 of names, contents, labels and areas, in hexadecimal digits."""
        state = hashlib.sha256(os.fsencode(names))
        for array in (self.contents, self.usable, self.offsets, self.rows, self.ignore_offsets, self.ignored):
            state.update(np.ascontiguousarray(array).data)
        marks = self.marks
        more: tuple[npt.NDArray[Any], ...] = (marks.areas, marks.points, marks.ends, marks.keypoints)
        outlines = (marks.ignored_points, marks.ignored_ends) if marks.ignored_points.size else ()
        for part in (*more, *outlines):
            if part.size:  # sets without keep the digest they had
                state.update(np.ascontiguousarray(part).data)
        return state.hexdigest()

    def sound(self, n: int) -> bool:
        """Return True if the arrays fit together, for n images."""
        k, m = len(self.ignored), len(self.rows)
        return (
            self.signatures.shape == (n, 4, 3)
            and self.contents.shape == (n, DIGEST_BYTES)
            and self.shapes.shape == (n, 2)
            and self.usable.shape == (n,)
            and self.rows.shape == (m, 5)
            and self.columns.shape == self.over.shape == (m,)
            and self.ignored.shape == (k, 6)
            and self.marks.sound(m, k)
            and all(
                o.shape == (n + 1,) and o[0] == 0 and o[-1] == count and bool((np.diff(o) >= 0).all())
                for o, count in ((self.offsets, m), (self.ignore_offsets, k))
            )
            and bool((self.rows[:, 0] >= 0).all())
            and bool(((self.rows[:, 1:] >= 0) & (self.rows[:, 1:] <= 1)).all())
            and bool(((self.ignored[:, 1:] >= 0) & (self.ignored[:, 1:] <= 1)).all())
            and bool((self.shapes[self.usable] > 0).all())
            and all(0 <= p[0] < n and p[1] in ("image", "label", "ignore", "areas") for p in self.problems)
        )


_ARRAYS = {
    "signatures": np.int64, "contents": np.uint8, "shapes": np.int64, "usable": np.bool_, "offsets": np.int64,
    "rows": np.float32, "columns": np.int32, "over": np.float32, "ignore_offsets": np.int64, "ignored": np.float32,
}  # fmt: skip
_MARKS = {
    "areas": np.float64, "points": np.float32, "ends": np.int64, "keypoints": np.float32, "ignored_points": np.float32,
    "ignored_ends": np.int64,
}  # fmt: skip


class ScanCache:
    """The memory of a split's scan.

    It lies in a hidden file beside the first path of the split, .NAME.scan.npz; where that cannot be written, in
    `cache_dir`.

    Args:
        files: the images, absolute and sorted.
        paths: where the split's YAML says they are.
        fraction: part of them in use.
        cache_dir: folder to write to instead.
        form: how rows are read.
    """

    def __init__(
        self,
        files: Sequence[str],
        paths: Sequence[Path],
        fraction: float = 1.0,
        cache_dir: Path | None = None,
        form: RowForm = BOXES,
    ) -> None:
        folders = {f.rpartition(os.sep)[0] for f in files}
        try:
            root = os.path.join(os.path.commonpath(folders), "")
        except ValueError:  # several drives
            root = ""
        self.names = "\0".join(f[len(root) :] for f in files)
        places = [Path(os.path.abspath(p)) for p in paths]
        several = [os.path.relpath(p, places[0]) if root else str(p) for p in places[1:]]
        read = form if form.annotations != "boxes" else [form.keypoints] if form.keypoints else []
        options = [several, fraction, *read]
        options_digest = "" if options == [[], 1] else f".{short_digest(json.dumps(options))}"
        name = f".{places[0].name or 'images'}{options_digest}.scan.npz"
        self.places = [places[0].with_name(name) if places[0].name else places[0] / name]
        if cache_dir is not None:
            self.places.append(cache_dir / f".{short_digest(str(places[0]))}{options_digest}.scan.npz")
        self._known: Entry | None = None
        self._numbers: list[int | None] = []  # of this split's images in the entry known
        self._problems: dict[int, list[tuple[str, int, str]]] = {}
        self._now: Int64Array = np.zeros((0, 4, 3), np.int64)

    def load(self, signatures: Int64Array) -> Entry | None:
        """Return what is remembered, when all of it still holds.

        Args:
            signatures: (n, 4, 3) of images, label, ignore and areas files, as they are now.
        """
        self._now = signatures
        for place in self.places:
            found = _read_entry(place)
            if found is None:
                continue
            names, entry = found
            if names == self.names and np.array_equal(entry.signatures, signatures):
                return entry
            if self._known is None:
                self._known = entry
                numbers = {name: i for i, name in enumerate(names.split("\0"))}
                self._numbers = [numbers.get(name) for name in self.names.split("\0")]
                for i, which, line, text in entry.problems:
                    self._problems.setdefault(i, []).append((which, line, text))
        return None

    def recall(self, i: int) -> ScannedImage | None:
        """Image i, when it and its labels are unchanged."""
        known = self.known(i)
        return known if known is not None and np.array_equal(known.signatures, self._now[i]) else None

    def known(self, i: int) -> ScannedImage | None:
        """Image i as it was when it was seen last; its content may have changed."""
        number = self._numbers[i] if self._numbers else None
        if self._known is None or number is None:
            return None
        return self._known.image(number, self._problems.get(number, ()))

    def keep(self, entry: Entry) -> None:
        """Remember an entry. Where nothing can be written, the next scan only takes longer."""
        arrays: dict[str, Any] = {name: getattr(entry, name) for name in _ARRAYS}
        arrays |= {name: getattr(entry.marks, name) for name in _MARKS}
        for name, text in (
            ("names", self.names),
            ("problems", json.dumps(entry.problems)),
            ("code", _digest_code()),
        ):
            arrays[name] = np.frombuffer(os.fsencode(text), np.uint8)
        for place in self.places:
            with contextlib.suppress(OSError, UserError):
                if not place.parent.stat().st_mode & 0o222:  # the superuser is not stopped by it, but it is meant
                    continue
                _remove_abandoned(place)
                write_atomically(place, lambda file: np.savez(file, **arrays))
                return


def _read_entry(place: Path) -> tuple[str, Entry] | None:
    """Read names and entry of a file; None when it is missing, damaged, foreign, or other code wrote it."""
    try:
        with open_regular(place) as file, zipfile.ZipFile(file) as archive:  # arrays as they are: nothing to blow up
            if any(m.compress_type != zipfile.ZIP_STORED or m.file_size > m.compress_size for m in archive.infolist()):
                return None
        with open_regular(place) as file, np.load(file, allow_pickle=False) as data:
            if os.fsdecode(data["code"].tobytes()) != _digest_code():
                return None
            names = os.fsdecode(data["names"].tobytes())
            arrays = {name: data[name] for name in _ARRAYS}
            marks = {name: data[name] for name in _MARKS}
            problems = [(int(i), str(w), int(n), str(t)) for i, w, n, t in json.loads(data["problems"].tobytes())]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, RecursionError):
        return None
    if any(array.dtype != (_ARRAYS | _MARKS)[name] for name, array in (arrays | marks).items()):
        return None
    entry = Entry(**arrays, marks=Marks(**marks), problems=problems)
    return (names, entry) if entry.sound(names.count("\0") + 1) else None


@functools.lru_cache(maxsize=1)
def _digest_code() -> str:
    """Digest what the outcome of a scan depends on besides the data: our code and the decoder's version."""
    state = hashlib.sha256(f"opencv {cv2.__version__}".encode())
    for source in SOURCES:
        state.update((PACKAGE / source).read_bytes())
    return state.hexdigest()


def short_digest(*parts: str | bytes, length: int = 8) -> str:
    """Return the first hexadecimal digits of the parts' SHA-256."""
    state = hashlib.sha256()
    for part in parts:
        state.update(os.fsencode(part))
    return state.hexdigest()[:length]


def _remove_abandoned(place: Path) -> None:
    """Remove what killed processes left of this file."""
    for part in place.parent.glob(f".{place.name}.*"):
        if time.time() - part.stat().st_mtime > ABANDONED:
            part.unlink(missing_ok=True)
