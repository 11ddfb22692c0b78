"""Reading and writing pictures: any file name, any bit depth, EXIF turned upright."""

from __future__ import annotations

import os
import struct
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from ultralytics.utils.errors import UserError
from ultralytics.utils.types import UInt8Array

# What cannot be decoded is told in our own words, beside which theirs on standard error are noise.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"))
VIDEO_SUFFIXES = frozenset(
    (".asf", ".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".wmv", ".webm")
)


def imread(path: str | Path) -> UInt8Array | None:
    """Decode a picture as BGR uint8 (H, W, 3), turned by its EXIF tag; None when it cannot be read or decoded.

    Grey, 16-bit, palette, transparent and CMYK pictures become 8-bit BGR. The name may hold any characters.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError:
        return None
    return decode(data)


def decode(data: UInt8Array) -> UInt8Array | None:
    """Decode a picture held in memory; see `imread`."""
    if not data.size:
        return None
    try:
        return cv2.imdecode(data, cv2.IMREAD_COLOR)  # type: ignore[return-value]  # None when it is no picture
    except cv2.error:
        return None


def undecodable(source: str | Path | UInt8Array) -> tuple[str, str]:
    """Why `imread` gave nothing for a file, or `decode` for its content: float or undecodable; and in words."""
    try:
        data = source if isinstance(source, np.ndarray) else np.fromfile(source, np.uint8)
        raw = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except (OSError, cv2.error):
        raw = None
    if raw is not None and raw.dtype.kind == "f":
        bits = raw.dtype.itemsize * 8
        return "float", f"is a picture of {bits}-bit floats, which is not supported; convert it to 8 or 16 bits"
    return "undecodable", "cannot be decoded as a picture"


SMALL_FILE = 16_384  # bytes; asking the header of every tiny picture would take longer than decoding it
_READERS = (
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"\x89PNG", PngImagePlugin.PngImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"II", TiffImagePlugin.TiffImageFile),
    (b"MM", TiffImagePlugin.TiffImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
)


def open_header(data: UInt8Array) -> ImageFile | None:
    """A picture in memory with its header read; None when that says nothing that can be read.

    By the kind's own reader, because Pillow's Image.open refuses large pictures that OpenCV reads.
    """
    head = data[:16].tobytes()
    reader = next((reader for start, reader in _READERS if head.startswith(start)), None)
    if reader is None:
        return None
    try:
        return reader(BytesIO(data.data))
    except Exception:  # a damaged header raises whatever its reader happened upon; decoding will tell
        return None


def declared_shape(data: UInt8Array) -> tuple[int, int] | None:
    """Height and width, as stored, that a picture's header declares; None when it cannot be read, or the file is so
    small that no picture in it takes long to decode."""
    if data[:4].tobytes() == b"\x89PNG":
        return struct.unpack(">II", data[20:24].tobytes() + data[16:20].tobytes()) if data.size >= 24 else None
    if data.size < SMALL_FILE:
        return None
    image = open_header(data)
    return None if image is None else (image.size[1], image.size[0])


def truncated_jpeg(data: UInt8Array) -> bool:
    """Whether a JPEG lacks its end marker, so that decoding invents the rest. Padding after the marker is harmless."""
    head = data[:2].tobytes() == b"\xff\xd8"
    return head and b"\xff\xd9" not in data[-4096:].tobytes()


def truncated_png(data: UInt8Array) -> bool:
    """Whether a PNG lacks its last chunk, so that decoding invents the rest. What follows that chunk is harmless."""
    if data[:8].tobytes() != b"\x89PNG\r\n\x1a\n":
        return False
    at = 8
    while at + 12 <= data.size:
        length, kind = struct.unpack(">I4s", data[at : at + 8].tobytes())
        if kind == b"IEND":
            return False
        at += 12 + length
    return True


def imwrite(path: str | Path, image: UInt8Array, quality: int = 95) -> None:
    """Encode a BGR uint8 picture by its suffix and write it; the name may hold any characters.

    Raises:
        UserError: it cannot be written.
    """
    path = Path(path)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix.lower() in (".jpg", ".jpeg") else []
    done, data = cv2.imencode(path.suffix, image, options)
    assert done, path
    write_image(path, data.data)


def write_image(path: Path, data: bytes | memoryview) -> None:
    """Write an encoded picture, whole or not at all; its folder is made.

    Raises:
        UserError: it cannot be written.
    """
    opened = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:  # numpy's own writing does not say what the system said
            opened = True
            file.write(data)
    except OSError as e:
        if opened and path.is_file():
            path.unlink()  # half a picture
        raise UserError(
            f"could not be written: {e.strerror or e}", str(path), "free some space or choose another project="
        ) from None
