"""The size that an image file's first bytes declare: read in microseconds, and before anything is decoded."""

from __future__ import annotations

import struct
from collections.abc import Callable
from struct import unpack_from

from ultralytics.utils.types import UInt8Array

_CHUNK = 65_536
_LONGEST_DIRECTORY = 4096  # entries of a TIFF's first directory that are looked at
Size = tuple[int, int]


def declared_shape(data: UInt8Array) -> Size | None:
    """Height and width, as stored, that an image's header declares; None when it declares none that can be read."""
    content = data.data
    start = bytes(content[:12])
    reader = next((reader for prefix, reader in _READERS if start.startswith(prefix)), None)
    try:
        return None if reader is None else reader(content)
    except (struct.error, OverflowError, IndexError):  # the file ends within its header
        return None


def _png(data: memoryview) -> Size | None:
    width, height = unpack_from(">II", data, 16)
    return height, width


def _jpeg(data: memoryview) -> Size | None:
    """Read the first frame header's, which is the one that decoders go by."""
    at, end = 2, len(data) - 9
    while at <= end:
        if data[at] != 0xFF:  # decoders skip what is no marker
            rest = bytes(data[at : at + _CHUNK])
            step = rest.find(b"\xff")
            at += len(rest) if step < 0 else step
            continue
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
        elif marker <= 0x01 or 0xD0 <= marker <= 0xD8:  # markers without content
            at += 2
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = unpack_from(">HH", data, at + 5)
            return height, width
        elif marker in (0xD9, 0xDA):  # end, or pixels before any frame header
            return None
        else:
            at += 2 + (data[at + 2] << 8) + data[at + 3]
    return None


def _bmp(data: memoryview) -> Size | None:
    old = unpack_from("<I", data, 14)[0] == 12  # OS/2
    width, height = unpack_from("<HH" if old else "<ii", data, 18)
    return abs(height), abs(width)


def _gif(data: memoryview) -> Size | None:
    width, height = unpack_from("<HH", data, 6)
    return height, width


def _tiff(data: memoryview) -> Size | None:
    """Read the first directory's; later ones are not decoded."""
    order = "<" if data[0] == ord("I") else ">"
    if unpack_from(f"{order}H", data, 2)[0] == 43:  # BigTIFF
        at = unpack_from(f"{order}Q", data, 8)[0]
        count, entry, head, value = unpack_from(f"{order}Q", data, at)[0], 20, 8, 12
    else:
        at = unpack_from(f"{order}I", data, 4)[0]
        count, entry, head, value = unpack_from(f"{order}H", data, at)[0], 12, 2, 8
    found = {}
    for i in range(min(count, _LONGEST_DIRECTORY)):
        place = at + head + entry * i
        tag, kind = unpack_from(f"{order}HH", data, place)
        if tag in (256, 257) and kind in (1, 3, 4, 16):
            form = {1: "B", 3: "H", 4: "I", 16: "Q"}[kind]
            found[tag] = unpack_from(f"{order}{form}", data, place + value)[0]
    return (found[257], found[256]) if len(found) == 2 else None


def _webp(data: memoryview) -> Size | None:
    kind = bytes(data[12:16])
    if kind == b"VP8X":
        low_w, high_w, low_h, high_h = unpack_from("<HBHB", data, 24)
        return 1 + low_h + (high_h << 16), 1 + low_w + (high_w << 16)
    if kind == b"VP8L":
        bits = unpack_from("<I", data, 21)[0]
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    if kind == b"VP8 ":
        width, height = unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    return None


def _jpeg2000(data: memoryview) -> Size | None:
    start = bytes(data[:_CHUNK]).find(b"\xff\x4f\xff\x51")  # the codestream; boxes may go before it
    if start < 0:
        return None
    width, height, left, top = unpack_from(">IIII", data, start + 8)
    return max(height - top, 0), max(width - left, 0)


_READERS: tuple[tuple[bytes, Callable[[memoryview], Size | None]], ...] = (
    (b"\xff\xd8\xff", _jpeg),
    (b"\x89PNG", _png),
    (b"BM", _bmp),
    (b"RIFF", _webp),
    (b"II", _tiff),
    (b"MM", _tiff),
    (b"GIF8", _gif),
    (b"\xff\x4f\xff\x51", _jpeg2000),
    (b"\0\0\0\x0cjP  ", _jpeg2000),
)
