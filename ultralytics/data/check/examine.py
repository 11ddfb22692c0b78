"""One picture and its labels, looked at closely: what training would stumble over, and what is worth knowing."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ultralytics.data.cache.scan import digest_of
from ultralytics.data.check.duplicates import UInt64Array, fingerprint
from ultralytics.data.images import Unusable, judge_picture
from ultralytics.data.labels import (
    BOX_COLUMNS,
    areas_file,
    ignore_file,
    judge_areas,
    judge_ignored,
    judge_labels,
    label_file,
)
from ultralytics.utils.images import open_header, read_image_file
from ultralytics.utils.text import counted
from ultralytics.utils.types import Float64Array, Int32Array, UInt8Array

ERROR, WARNING, NOTE = "error", "warning", "note"
LARGE_PIXELS = 40_000_000
MAX_ASPECT = 10
TINY = 2.0  # pixels at IMGSZ
IMGSZ = 640
OVER, FAR_OVER = 0.02, 0.05  # parts of the picture over whose edge a box reaches that is not meant so
SAME_BOX = 0.95  # IoU

CONTENTS = {
    b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF",
    b"II+\0": "TIFF", b"MM\0+": "TIFF", b"GIF8": "GIF", b"%PDF": "PDF", b"<": "HTML or XML", b"{": "JSON",
    b"PK\x03\x04": "ZIP", b"\x1f\x8b": "GZIP", b"version https://git-lfs": "Git LFS pointer",
}  # fmt: skip
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".mpo"), "PNG": (".png",), "BMP": (".bmp",), "TIFF": (".tif", ".tiff"), "WebP": (".webp",)
}  # fmt: skip
_CHANNELS = {
    "L": "grey: it gets three equal channels", "1": "black and white: it gets three equal channels",
    "LA": "grey with transparency: the transparency is dropped", "PA": "with transparency: it is dropped",
    "RGBA": "with transparency: it is dropped, and hidden colours show", "CMYK": "CMYK: it is converted to RGB",
    "I;16": "16 bits deep: the upper 8 bits are used", "I": "16 bits deep: the upper 8 bits are used",
}  # fmt: skip


class Finding(NamedTuple):
    """One thing found. `path` is a file or folder; `line` is 0 where the whole of it is meant."""

    severity: str
    kind: str
    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}" if self.line else f"{self.path}: {self.what}"


@dataclass(slots=True)
class Record:
    """What remains of a picture once it has been looked at: some 5 kB.

    Attributes:
        shape: height and width, upright; None: it cannot be decoded.
        usable: training would keep it.
        rows: (m, 5) class, centre, width, height: the rows training would keep; columns, lines: (m,) how many columns
        each has, and where it stands; labelled: it has a label file.
        size: bytes; seconds: processor time of decoding.
        content, pixels: digests of the file and of the decoded picture; hashes, thumb: see `duplicates.fingerprint`.
    """

    path: str
    label: str
    shape: tuple[int, int] | None = None
    usable: bool = False
    rows: Float64Array = field(default_factory=lambda: np.zeros((0, 5)))
    columns: Int32Array = field(default_factory=lambda: np.zeros(0, np.int32))
    lines: Int32Array = field(default_factory=lambda: np.zeros(0, np.int32))
    ignored: int = 0
    labelled: bool = False
    size: int = 0
    seconds: float = 0.0
    content: bytes = b""
    pixels: bytes = b""
    hashes: UInt64Array | None = None
    thumb: UInt8Array | None = None
    findings: list[Finding] = field(default_factory=list)


def examine(path: str, nc: int, near: bool = True, keypoints: int = 0) -> Record:
    """Look at a picture, its label file and its ignore file.

    Args:
        nc: number of classes; near: take the fingerprint that near-duplicates are found by; keypoints: see
        `labels.parse_labels`.
    """
    record = Record(path, label_file(path))
    add = record.findings
    try:
        data = read_image_file(path)
    except OSError as e:
        add.append(_unreadable(path, e))
        data = None
    if data is not None:
        record.size = data.size
        record.content = digest_of(data)
        add += _picture(record, data, near)
    lost = any(f.severity == ERROR for f in add)
    add += _labels(record, nc, keypoints)
    # A class out of range stops the whole training, which then keeps nothing: here the rest is still counted.
    record.usable = not lost and not any(f.severity == ERROR and f.kind != "label-class-range" for f in add)
    add += _ignored(record)
    add += _areas(record, keypoints)
    return record


def _unreadable(path: str, e: OSError) -> Finding:
    if os.path.islink(path) and not os.path.exists(path):
        return Finding(ERROR, "picture-link", path, 0, f"the link leads nowhere: {os.readlink(path)}")
    if isinstance(e, FileNotFoundError):
        return Finding(ERROR, "picture-missing", path, 0, "there is no such file")
    return Finding(ERROR, "picture-unreadable", path, 0, f"it cannot be read: {e.strerror or e}")


def content_kind(data: UInt8Array) -> str:
    """What a file's first bytes say it is: JPEG, PNG, …; "" when unknown."""
    head = data[:64].tobytes()
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return {b"avif": "AVIF", b"avis": "AVIF"}.get(head[8:12], "HEIF")
    head = head.lstrip() if head[:1].isspace() else head
    return next((kind for start, kind in CONTENTS.items() if head.startswith(start)), "")


class _Header(NamedTuple):
    width: int
    height: int
    mode: str
    frames: int
    orientation: int


def _header(data: UInt8Array, kind: str) -> _Header | None:
    """What a picture's header says; None when it says nothing that can be read."""
    image = open_header(data)
    if image is None:
        return None
    try:
        frames = max(int(getattr(image, "n_frames", 1)), 2 if "mpoffset" in image.info else 1)
        deep = kind == "PNG" and data[24:25].tobytes() == b"\x10"
        mode = "I;16" if deep or image.mode.startswith("I;16") else str(image.mode)
        if mode == "P" and "transparency" in image.info:
            mode = "PA"
        # Asking a PNG without such a tag would decode it.
        exif = image.getexif() if "exif" in image.info or kind == "TIFF" else {}
        orientation = int(exif.get(0x0112, 1))
        return _Header(image.size[0], image.size[1], mode, frames, orientation)
    except Exception:  # a damaged header raises whatever its reader happened upon; decoding will tell
        return None


def _picture(record: Record, data: UInt8Array, near: bool) -> Iterator[Finding]:
    path = record.path
    kind = content_kind(data)
    header = _header(data, kind)
    began = time.thread_time()
    image = judge_picture(data)
    record.seconds = time.thread_time() - began
    if isinstance(image, Unusable):
        what = image.what
        if image.kind == "undecodable":
            what += f"; its content is {kind}" if kind else "; its content is no known kind of picture"
        yield Finding(ERROR, f"picture-{image.kind}", path, 0, what)
        record.shape = (header.height, header.width) if header else None
        return
    h, w = image.shape[:2]
    record.shape = h, w
    suffix = os.path.splitext(path)[1].lower()
    if kind and suffix not in SUFFIXES.get(kind, ()):
        yield Finding(NOTE, "picture-suffix", path, 0, f"its content is {kind}, which is what training reads")
    if h * w > LARGE_PIXELS:
        yield Finding(
            WARNING, "picture-large", path, 0, f"{w}x{h} pixels, decoded anew in every epoch; make it smaller"
        )
    if max(h, w) > MAX_ASPECT * min(h, w):
        yield Finding(NOTE, "picture-aspect", path, 0, f"{w}x{h} pixels: in a square frame most of it is padding")
    if header:
        if header.mode in _CHANNELS:
            yield Finding(NOTE, "picture-channels", path, 0, _CHANNELS[header.mode])
        if header.orientation not in (0, 1):
            what = f"turned by its EXIF tag ({header.orientation}); labels must fit the upright {w}x{h} picture"
            if header.orientation >= 5 and (w, h) == (header.width, header.height) and w != h:
                what = f"its EXIF tag ({header.orientation}) is not followed; labels must fit the {w}x{h} picture"
            yield Finding(NOTE, "picture-exif", path, 0, what)
        if header.frames > 1:
            yield Finding(
                NOTE, "picture-frames", path, 0, f"{header.frames} pictures in one file; the first is used"
            )  # at least two
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(image.data)
    record.pixels = digest.digest()
    if near:
        record.hashes, record.thumb = fingerprint(image)


def _dead_link(path: str, kind: str) -> Iterator[Finding]:
    if os.path.islink(path) and not os.path.exists(path):
        yield Finding(WARNING, f"{kind}-link", path, 0, f"the link leads nowhere: {os.readlink(path)}")


def _labels(record: Record, nc: int, keypoints: int) -> Iterator[Finding]:
    path = record.label
    rows, numbers, problems, text, columns, over = judge_labels(path, keypoints)
    dead = list(_dead_link(path, "label"))
    yield from dead
    record.labelled = text is not None or bool(dead or problems)
    lines = (text or "").splitlines()
    for p in problems:
        what = p.what
        if p.kind == "coordinate" and record.shape and _in_pixels(lines[p.line - 1], record.shape):
            h, w = record.shape
            what += f"; these look like pixels of the {w}x{h} image: divide by its width and height"
        end = "the image is left out" if p.fatal else "the row is dropped"
        told = what if end in what else f"{what}; {end}"
        yield Finding(ERROR if p.fatal else WARNING, f"label-{p.kind}", path, p.line, told)
    valid = f"0 to {nc - 1}" if nc > 1 else "0 alone"
    for (cls, *_), line in zip(rows.tolist(), numbers, strict=True):
        if cls >= nc:
            has = f"the data set has {counted(nc, 'class')} (valid: {valid})"
            what = f"class id {int(cls)} is out of range: {has}; training stops"
            yield Finding(ERROR, "label-class-range", path, line, what)
    for i in np.flatnonzero(over):
        what = f"the row reaches {over[i]:.1%} of the image over its edge, and is cut off there"
        yield Finding(WARNING, "box-cut", path, numbers[i], what)
    many = columns > BOX_COLUMNS
    if many.any() and not many.all():
        line = numbers[int((many != many[0]).argmax())]
        what = "polygons and boxes in one file: each polygon becomes its bounding box"
        yield Finding(NOTE, "label-mixed", path, line, what)
    yield from _boxes(record, rows, numbers)
    keep = rows[:, 0] < nc
    record.rows, record.columns, record.lines = rows[keep], columns[keep], np.asarray(numbers, np.int32)[keep]


def _in_pixels(line: str, shape: tuple[int, int]) -> bool:
    """Whether a row's coordinates would make sense as pixels."""
    try:
        values = [float(w) for w in line.split()[1:]]
    except ValueError:
        return False
    inside = all(0 <= v <= shape[1] for v in values[::2]) and all(0 <= v <= shape[0] for v in values[1::2])
    return inside and sum(v > 1.5 for v in values) >= len(values) / 2


def _boxes(record: Record, rows: Float64Array, numbers: list[int]) -> Iterator[Finding]:
    """Advice on the boxes that training would take as they are."""
    path = record.label
    xy, wh = rows[:, 1:3], rows[:, 3:5]
    corners = np.concatenate([xy - wh / 2, xy + wh / 2], 1)
    h, w = record.shape or (IMGSZ, IMGSZ)
    out = np.maximum(-corners[:, :2], corners[:, 2:] - 1).clip(0) * (w, h)
    mistaken = corner_rows(rows)
    if mistaken.any():
        first = numbers[int(mistaken.argmax())]
        which = f"the row reads sensibly only as corners, x1 y1 x2 y2 (one of {len(rows)})"
        if mistaken.sum() > 1:
            which = f"{mistaken.sum()} of {len(rows)} rows read sensibly only as corners, x1 y1 x2 y2"
        yield Finding(WARNING, "label-corners", path, first, f"{which}: a row is centre and size")
    for i in np.flatnonzero((out.max(1, initial=0) > 1) & ~mistaken):
        what = f"the box reaches {out[i].max():.0f} pixels over the image's edge"
        yield Finding(WARNING, "box-outside", path, numbers[i], what)
    for i in np.flatnonzero((wh > 0.995).all(1)):
        yield Finding(NOTE, "box-whole", path, numbers[i], "the box covers the whole image")
    side = (wh * (w, h)).min(1, initial=np.inf) * IMGSZ / max(w, h)
    tiny = np.flatnonzero(side < TINY)
    if len(tiny):  # some sets have them by the thousand
        what = f"boxes under {TINY:g} pixels at imgsz={IMGSZ}: {len(tiny)}, the least {side.min():.1f}"
        yield Finding(NOTE, "box-tiny", path, numbers[tiny[0]], what)
    for first, second, iou in _same_boxes(rows[:, 0], corners):
        what = f"nearly the box of line {numbers[first]}: their IoU is {iou:.3f}"
        yield Finding(WARNING, "box-near-duplicate", path, numbers[second], what)


def corner_rows(rows: Float64Array) -> Any:
    """Which rows (m, 5) of a file were written as corners, (m,) bool: as centre and size they reach over the edge, as
    corners they do not."""
    x, y, w, h = rows[:, 1:].T
    sensible = (w > x) & (h > y)
    right, left = np.maximum(x + w / 2, y + h / 2) - 1, np.maximum(w / 2 - x, h / 2 - y)
    over = sensible & (np.maximum(right, left) > OVER)
    if len(rows) > 1 and sensible.all() and 2 * over.sum() >= len(rows):
        return over
    return sensible & (right > FAR_OVER)  # a box over the left or upper edge always has w > x or h > y


def _same_boxes(cls: Float64Array, corners: Any) -> Iterator[tuple[int, int, float]]:
    """Boxes of one class that nearly coincide: the earlier row, the later one, their IoU."""
    area = (corners[:, 2:] - corners[:, :2]).prod(1)
    order = np.argsort(area, kind="stable")
    cls, corners, area = cls[order], corners[order], area[order]
    for j in range(1, len(cls)):
        start = int(np.searchsorted(area[:j], SAME_BOX * area[j]))  # smaller ones cannot be that near
        if start == j:
            continue
        near = slice(start, j)
        inner = np.minimum(corners[near, 2:], corners[j, 2:]) - np.maximum(corners[near, :2], corners[j, :2])
        both = inner.clip(0).prod(1)
        iou = np.where(cls[near] == cls[j], both / np.maximum(area[near] + area[j] - both, 1e-12), 0)
        if iou.max() > SAME_BOX:
            i, k = sorted((int(order[start + int(iou.argmax())]), int(order[j])))
            yield i, k, float(iou.max())


def _ignored(record: Record) -> Iterator[Finding]:
    path = ignore_file(record.path)
    if path is None:
        return
    yield from _dead_link(path, "ignore")
    judged = judge_ignored(path)
    record.ignored = len(judged.rows)
    for p in judged.problems:
        yield Finding(ERROR if p.fatal else WARNING, f"ignore-{p.kind}", path, p.line, p.what)


def _areas(record: Record, keypoints: int) -> Iterator[Finding]:
    path = areas_file(record.path)
    if path is None or not os.path.lexists(path):
        return
    yield from _dead_link(path, "areas")
    for p in judge_areas(path, judge_labels(record.label, keypoints))[1]:
        yield Finding(WARNING, f"areas-{p.kind}", path, p.line, p.what)
