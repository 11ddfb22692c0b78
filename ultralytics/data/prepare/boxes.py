"""An image's size and which way up it is, and boxes cut to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from ultralytics.data.images import Unusable, judge_file, judge_image, judge_shape
from ultralytics.data.labels import ROUNDING
from ultralytics.utils.images import open_header, read_image_file

Box = tuple[float, float, float, float]  # centre x, centre y, width, height in 0..1 of the upright image
Corners = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels, 0 at the image's edge


class Header(NamedTuple):
    """Height and width of an image as it is shown and as it is stored, and its EXIF orientation (1 to 8)."""

    shape: tuple[int, int]
    stored: tuple[int, int]
    orientation: int


def look(path: str | Path) -> Header | str:
    """Return an image's size; or why training would leave it out. Only images that may be turned are decoded in
    full."""
    if os.path.exists(path) and not os.path.isfile(path):
        return "is a pipe, a socket or a device"  # reading it might wait forever
    try:
        data = read_image_file(path)
    except OSError as e:
        return f"cannot be read: {e.strerror or e}"
    unusable = judge_file(data)
    if unusable is not None:
        return unusable.what
    stored: tuple[int, int] | None = None
    orientation, plain = 1, False
    try:
        image = open_header(data)
        if image is not None:
            stored = (image.height, image.width)
            orientation = int(image.getexif().get(0x0112, 1))
            plain = image.format in ("JPEG", "MPO")
    except Exception:  # Pillow raises what a damaged file makes its parsers raise; decoding decides
        stored = None
    if stored is not None and plain and orientation == 1:
        unusable = judge_shape(stored)
        return unusable.what if unusable else Header(stored, stored, 1)
    decoded = judge_image(data)
    if isinstance(decoded, Unusable):
        return decoded.what
    shape = (decoded.shape[0], decoded.shape[1])
    return Header(shape, stored or shape, orientation if orientation in range(1, 9) else 1)


def annotated_upright(header: Header, declared: tuple[float, float] | None) -> tuple[bool, str]:
    """Return True if boxes were drawn on the upright image, by the (height, width) an annotation declares; and a note
    when that is not what the file says."""
    shown, stored = (declared in (None, size) for size in (header.shape, header.stored))
    if shown:
        if header.orientation != 1 and header.shape == header.stored:
            return True, (
                f"the image is turned by its EXIF tag ({header.orientation}) and its size does not tell whether the "
                "boxes are; they are read on the image as it is shown"
            )
        return True, ""
    if stored:
        return False, "the boxes were drawn on the image as it is stored; they are turned with it"
    assert declared is not None
    h, w = header.shape
    return True, f"the size is given as {declared[1]:g}x{declared[0]:g}, the image has {w}x{h}; the image decides"


def turned(corners: Corners, header: Header) -> Corners:
    """Return corners on the stored image, moved to where its EXIF tag shows them."""
    (ax, ay), (bx, by) = turned_point(*corners[:2], header), turned_point(*corners[2:], header)
    return min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)


def turned_point(x: float, y: float, header: Header) -> tuple[float, float]:
    """Return a point on the stored image, moved to where its EXIF tag shows it."""
    h, w = header.stored
    return {
        2: (w - x, y),
        3: (w - x, h - y),
        4: (x, h - y),
        5: (y, x),
        6: (h - y, x),
        7: (h - y, w - x),
        8: (y, w - x),
    }.get(header.orientation, (x, y))


def from_corners(corners: Corners, shape: tuple[int, int]) -> tuple[Box | None, bool]:
    """Return a box cut to an image of (height, width), None when nothing of it is inside (or a corner is NaN); and
    whether any of it was cut off."""
    h, w = shape
    x1, y1, x2, y2 = max(corners[0], 0.0), max(corners[1], 0.0), min(corners[2], float(w)), min(corners[3], float(h))
    cut = (x1, y1, x2, y2) != tuple(corners)
    if not (x2 > x1 and y2 > y1):  # NaN as well
        return None, cut
    return ((x1 + x2) / 2 / w, (y1 + y2) / 2 / h, (x2 - x1) / w, (y2 - y1) / h), cut


def outside(x1: float, y1: float, x2: float, y2: float) -> str:
    """Return why nothing of a box with these corners is inside its image."""
    return "lies outside its image" if x2 > x1 and y2 > y1 else "has no area"


def from_pixels(x: float, y: float, w: float, h: float, shape: tuple[int, int]) -> tuple[Box | None, bool]:
    """Return a box given by a corner and its size, as `from_corners`. One that leaves the image by no more than
    rounding is kept as it is, so that its numbers survive."""
    height, width = shape
    if not (w > 0 and h > 0):
        return None, False
    over = max(-x / width, -y / height, (x + w) / width - 1, (y + h) / height - 1)
    if over > ROUNDING or over != over:
        return from_corners((x, y, x + w, y + h), shape)
    return ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height), False
