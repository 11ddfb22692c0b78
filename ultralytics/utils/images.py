"""Reading and writing images: any file name, any bit depth, EXIF turned upright."""

from __future__ import annotations

import os
import struct
import warnings
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import BmpImagePlugin, Image, ImageOps, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from ultralytics.utils.errors import UserError
from ultralytics.utils.files import not_written, read_bytes
from ultralytics.utils.image_header import declared_shape
from ultralytics.utils.types import UInt8Array

# What cannot be decoded is reported in our own words, beside which theirs on standard error are noise.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

warnings.filterwarnings("ignore", category=UserWarning, module="PIL")

IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"))
VIDEO_SUFFIXES = frozenset(
    (".asf", ".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".wmv", ".webm")
)


MAX_PIXELS = 500_000_000  # an image of more is not decoded: 1.5 GB
MAX_BYTES = 2**31 - 1  # OpenCV's decoder takes no more


def read_image_file(path: str | Path) -> UInt8Array:
    """Return the content of an image's file.

    Raises:
        OSError: it cannot be read, is no regular file, or is longer than can be decoded; `strerror` says which.
    """
    return np.frombuffer(read_bytes(path, MAX_BYTES), np.uint8)


def imread(path: str | Path) -> UInt8Array | None:
    """Decode an image as BGR uint8 (H, W, 3), turned by its EXIF tag; None when it cannot be read or decoded, or has
    more than MAX_PIXELS.

    Grey, 16-bit, palette, transparent and CMYK images become 8-bit BGR. The name may hold any characters.
    """
    try:
        return decode(read_image_file(path))
    except OSError:
        return None


def decode(data: UInt8Array) -> UInt8Array | None:
    """Decode an image held in memory; see `imread`."""
    if not data.size or too_large(data):
        return None
    if data[:2].tobytes() in (b"II", b"MM"):
        # OpenCV darkens the colours of a TIFF by its alpha, and rounds or misreads other colour spaces.
        tiff = open_header(data)
        if tiff is not None and tiff.mode in _TIFF_MODES:
            try:
                return from_pillow(tiff)
            except UserError:
                return None
    try:
        return cv2.imdecode(data, cv2.IMREAD_COLOR)  # type: ignore[return-value]  # None when it is no image
    except cv2.error:
        return None


def too_large(data: UInt8Array, most: int | None = None) -> str:
    """Why an image is too large to decode, as its header tells; "" when it is not.

    Args:
        most: pixels; MAX_PIXELS when None.
    """
    shape = declared_shape(data)
    if shape is None or shape[0] * shape[1] <= (MAX_PIXELS if most is None else most):
        return ""
    return f"{shape[1]}x{shape[0]} pixels: {shape[0] * shape[1] * 3e-9:.1f} GB would be needed for it"


_TIFF_MODES = ("RGBA", "YCbCr", "LAB")


def from_pillow(image: Image.Image) -> UInt8Array:
    """Convert a Pillow image to BGR uint8 (H, W, 3), turned by its EXIF tag: the pixels that `imread` gives for its
    file.

    Raises:
        UserError: the image cannot be decoded, or its mode does not say which value is white (floats, 32-bit integers).
    """
    try:
        image.load()
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
            pixels = (np.asarray(image) >> 8).astype(np.uint8)
        elif image.mode in ("I", "F"):
            kind = "floats" if image.mode == "F" else "32-bit integers"
            raise UserError(
                f"an image of {kind} (mode {image.mode}) does not say which value is white", hint="convert it to 8 bits"
            )
        elif image.mode == "CMYK" and image.format == "JPEG":  # OpenCV's arithmetic, which rounds otherwise
            cmyk = 255 - np.asarray(image).astype(np.int32)
            black = cmyk[..., 3:]
            pixels = (black - ((255 - cmyk[..., :3]) * black >> 8)).astype(np.uint8)
        else:
            pixels = np.asarray(image.convert("RGB"))
        turned = ImageOps.exif_transpose(_with_orientation(Image.fromarray(pixels), image))
    except (OSError, ValueError, SyntaxError) as e:
        raise UserError(f"a Pillow image cannot be decoded: {e}") from None
    pixels = np.asarray(turned)
    order = cv2.COLOR_GRAY2BGR if pixels.ndim == 2 else cv2.COLOR_RGB2BGR
    return cv2.cvtColor(pixels, order)  # type: ignore[return-value]  # uint8 stays uint8


def _with_orientation(pixels: Image.Image, image: Image.Image) -> Image.Image:
    """Give bare pixels the EXIF orientation of the image they come from. XMP may hold one too, which `imread` does not
    know."""
    try:
        if "exif" in image.info:
            exif = Image.Exif()
            exif.load(image.info["exif"])
        elif image.info.keys() & {"xmp", "XML:com.adobe.xmp"}:
            return pixels
        else:
            exif = image.getexif()
        pixels.getexif()[_ORIENTATION] = exif.get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF raises whatever its reader happened upon; it turns nothing
        pixels.getexif().pop(_ORIENTATION, None)
    return pixels


_ORIENTATION = 0x0112


def undecodable(source: str | Path | UInt8Array) -> tuple[str, str]:
    """Why `imread` gave nothing for a file, or `decode` for its content: huge, float or undecodable; and in words."""
    try:
        data = source if isinstance(source, np.ndarray) else read_image_file(source)
        if why := too_large(data):
            return "huge", why
        raw = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except OSError as e:
        return "undecodable", f"cannot be read: {e.strerror or e}"
    except cv2.error:
        raw = None
    if raw is not None and (raw.dtype.kind == "f" or raw.dtype.itemsize > 2):
        kind = "floats" if raw.dtype.kind == "f" else "integers"
        message = (
            f"is an image of {raw.dtype.itemsize * 8}-bit {kind}, which is not supported; convert it to 8 or 16 bits"
        )
        return "float", message
    return "undecodable", "cannot be decoded as an image"


_READERS = (
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"\x89PNG", PngImagePlugin.PngImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"II", TiffImagePlugin.TiffImageFile),
    (b"MM", TiffImagePlugin.TiffImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
)


def open_header(data: UInt8Array) -> ImageFile | None:
    """Return an image in memory with its header read; None when that says nothing that can be read.

    By the kind's own reader, because Pillow's Image.open refuses large images that OpenCV reads.
    """
    head = data[:16].tobytes()
    reader = next((reader for start, reader in _READERS if head.startswith(start)), None)
    if reader is None:
        return None
    try:
        return reader(BytesIO(data.data))
    except Exception:  # a damaged header raises whatever its reader happened upon; decoding will tell
        return None


def truncated_jpeg(data: UInt8Array) -> bool:
    """Return True if a JPEG lacks its end marker: decoding invents the rest. Padding after the marker is harmless."""
    head = data[:2].tobytes() == b"\xff\xd8"
    return head and b"\xff\xd9" not in data[-4096:].tobytes()


def truncated_png(data: UInt8Array) -> bool:
    """Return True if a PNG lacks its last chunk: decoding invents the rest. What follows that chunk is harmless."""
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
    """Encode a BGR uint8 image by its suffix and write it; the name may hold any characters.

    Raises:
        UserError: it cannot be written.
    """
    path = Path(path)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix.lower() in (".jpg", ".jpeg") else []
    if not cv2.haveImageWriter(f"x{path.suffix}"):
        hint = " ".join(s for s in sorted(IMAGE_SUFFIXES) if cv2.haveImageWriter(f"x{s}"))
        raise UserError(f"no image is written with the suffix {path.suffix!r}", str(path), hint)
    done, data = cv2.imencode(path.suffix, image, options)
    assert done, path
    write_image(path, data.data)


def write_image(path: Path, data: bytes | memoryview) -> None:
    """Write an encoded image, whole or not at all; its folder is made.

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
            path.unlink()  # half an image
        raise not_written(e, path, "free some space or choose another project=") from None
