"""One image and its labels as the rules see them, and the rules for the image itself."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ultralytics.data.cache.scan import digest_of
from ultralytics.data.check.duplicates import UInt64Array, fingerprint
from ultralytics.data.check.findings import Finding
from ultralytics.data.images import Unusable, judge_image
from ultralytics.data.labels import (
    BOXES,
    Judged,
    RowForm,
    areas_file,
    ignore_file,
    judge_ignored,
    judge_labels,
    label_file,
    parse_labels,
)
from ultralytics.utils.images import open_header, read_image_file
from ultralytics.utils.types import BoolArray, Float64Array, Int32Array, UInt8Array

LARGE_PIXELS = 40_000_000
MAX_ASPECT = 10
OVER, FAR_OVER = 0.02, 0.05  # parts of the image over whose edge a box reaches that is not meant so

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


class Print(NamedTuple):
    """What tells images apart: digests of the file and of the decoded image; see `duplicates.fingerprint`."""

    content: bytes
    pixels: bytes
    hashes: UInt64Array | None
    thumb: UInt8Array | None


@dataclass(slots=True)
class Record:
    """What remains of an image once it has been looked at: some 5 kB."""

    path: str
    shape: tuple[int, int] | None  # height and width, upright; None: it cannot be decoded
    usable: bool  # training would keep it
    rows: Float64Array  # (m, 5) class, centre, width, height: the rows training would keep
    columns: Int32Array  # (m,) how many columns each has
    lines: Int32Array  # (m,) where each stands
    ignored: int  # how many regions are ignored
    labelled: bool  # it has a label file
    size: int  # bytes
    seconds: float  # processor time of decoding
    print: Print | None  # None where it cannot be used
    findings: list[Finding] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The label file."""
        return label_file(self.path)


class Header(NamedTuple):
    """What an image's header says; width and height before it is turned."""

    width: int
    height: int
    mode: str
    frames: int
    orientation: int


class Look:
    """An image and its files, read once for all rules; `form`: how label rows are read, None where there are none.

    Attributes:
        label: the label file; "" where there are none.
        error: why the image cannot be read.
        image: BGR (h, w, 3), or why training cannot use it.
        size: its bytes.
        seconds: processor time of decoding.
        labels, ignored: of their files.
    """

    def __init__(self, path: str, nc: int, form: RowForm | None = BOXES) -> None:
        self.path, self.nc = path, nc
        self.label, self.size, self.seconds = "" if form is None else label_file(path), 0, 0.0
        self.image: UInt8Array | Unusable | None = None
        self.header: Header | None = None
        self.error: OSError | None = None
        self.labels = parse_labels("") if form is None else judge_labels(self.label, *form)
        self.ignored: Judged = judge_ignored(None if form is None else ignore_file(path))
        try:
            data = read_image_file(path)
        except OSError as e:
            self.error = e
            return
        self.size, self.content, self.kind = data.size, digest_of(data), content_kind(data)
        self.header = read_header(data, self.kind)
        began = time.thread_time()
        self.image = judge_image(data)
        self.seconds = time.thread_time() - began

    @cached_property
    def upright(self) -> tuple[int, int] | None:
        """Height and width of an image that can be used."""
        return self.image.shape[:2] if isinstance(self.image, np.ndarray) else None

    @cached_property
    def shape(self) -> tuple[int, int] | None:
        """Height and width, of the header where the image cannot be used."""
        return self.upright or ((self.header.height, self.header.width) if self.header else None)

    @cached_property
    def boxes(self) -> Float64Array:
        """Corners (m, 4) of the boxes, in parts of the image."""
        xy, half = self.labels.rows[:, 1:3], self.labels.rows[:, 3:5] / 2
        return np.concatenate([xy - half, xy + half], 1)

    @cached_property
    def mistaken(self) -> BoolArray:
        """(m,) see `corner_rows`."""
        return corner_rows(self.labels.rows)

    @property
    def other_files(self) -> dict[str, str | None]:
        """The files beside the image, by kind."""
        if not self.label:
            return {}
        return {"label": self.label, "ignore": ignore_file(self.path), "areas": areas_file(self.path)}

    def take_print(self, near: bool) -> Print | None:
        """Take the digests of an image that can be used, and with `near` its fingerprint."""
        if not isinstance(self.image, np.ndarray):
            return None
        digest = hashlib.blake2b(repr(self.image.shape).encode(), digest_size=16)
        digest.update(self.image.data)
        return Print(self.content, digest.digest(), *(fingerprint(self.image) if near else (None, None)))


def corner_rows(rows: Float64Array) -> BoolArray:
    """Tell which rows (m, 5) of a file were written as corners, (m,): as centre and size they reach over the edge, as
    corners they do not."""
    x, y, w, h = rows[:, 1:].T
    sensible = (w > x) & (h > y)
    right, left = np.maximum(x + w / 2, y + h / 2) - 1, np.maximum(w / 2 - x, h / 2 - y)
    over: BoolArray = sensible & (np.maximum(right, left) > OVER)
    if len(rows) > 1 and sensible.all() and 2 * over.sum() >= len(rows):
        return over
    far: BoolArray = sensible & (right > FAR_OVER)  # a box over the left or upper edge always has w > x or h > y
    return far


def content_kind(data: UInt8Array) -> str:
    """Return the kind that a file's first bytes say it is: JPEG, PNG, …; "" when unknown."""
    head = data[:64].tobytes()
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return {b"avif": "AVIF", b"avis": "AVIF"}.get(head[8:12], "HEIF")
    head = head.lstrip() if head[:1].isspace() else head
    return next((kind for start, kind in CONTENTS.items() if head.startswith(start)), "")


def read_header(data: UInt8Array, kind: str) -> Header | None:
    """Read an image's header; None when it says nothing that can be read."""
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
        return Header(image.size[0], image.size[1], mode, frames, orientation)
    except Exception:  # a damaged header raises whatever its reader happened upon; decoding will tell
        return None


def unreadable(look: Look) -> Iterator[Finding]:
    path, e = look.path, look.error
    if e is None:
        return
    if os.path.islink(path) and not os.path.exists(path):
        yield Finding("image-link", path, 0, f"the link leads nowhere: {os.readlink(path)}")
    elif isinstance(e, FileNotFoundError):
        yield Finding("image-missing", path, 0, "there is no such file")
    else:
        yield Finding("image-unreadable", path, 0, f"the file cannot be read: {e.strerror or e}")


def unusable(look: Look) -> Iterator[Finding]:
    if isinstance(look.image, Unusable):
        kind, what = look.image
        if kind == "undecodable":
            what += f"; its content is {look.kind}" if look.kind else "; its content is not a known kind of image"
        yield Finding(f"image-{kind}", look.path, 0, what)


def suffix(look: Look) -> Iterator[Finding]:
    if look.upright and look.kind and os.path.splitext(look.path)[1].lower() not in SUFFIXES.get(look.kind, ()):
        yield Finding("image-suffix", look.path, 0, f"its content is {look.kind}, which is what training reads")


def large(look: Look) -> Iterator[Finding]:
    h, w = look.upright or (0, 0)
    if h * w > LARGE_PIXELS:
        yield Finding("image-large", look.path, 0, f"{w}x{h} pixels, decoded anew in every epoch; make it smaller")


def aspect(look: Look) -> Iterator[Finding]:
    h, w = look.upright or (0, 0)
    if max(h, w) > MAX_ASPECT * min(h, w):
        yield Finding("image-aspect", look.path, 0, f"{w}x{h} pixels: in a square frame most of it is padding")


def channels(look: Look) -> Iterator[Finding]:
    if look.upright and look.header and look.header.mode in _CHANNELS:
        yield Finding("image-channels", look.path, 0, _CHANNELS[look.header.mode])


def turned(look: Look) -> Iterator[Finding]:
    if not look.upright or not look.header or look.header.orientation in (0, 1):
        return
    (h, w), tag = look.upright, look.header.orientation
    what = f"turned by its EXIF tag ({tag}); labels must fit the upright {w}x{h} image"
    if tag >= 5 and (w, h) == (look.header.width, look.header.height) and w != h:
        what = f"its EXIF tag ({tag}) is not followed; labels must fit the {w}x{h} image"
    yield Finding("image-exif", look.path, 0, what)


def frames(look: Look) -> Iterator[Finding]:
    if look.upright and look.header and look.header.frames > 1:  # at least two
        yield Finding("image-frames", look.path, 0, f"{look.header.frames} images in one file; the first is used")
