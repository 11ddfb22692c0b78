"""Images of a split: which there are, and which training can use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ultralytics.utils.errors import DatasetError
from ultralytics.utils.files import read_text, walk_files
from ultralytics.utils.images import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    decode,
    too_large,
    truncated_jpeg,
    truncated_png,
    undecodable,
)
from ultralytics.utils.types import UInt8Array

MIN_SIDE = 10  # pixels
MAX_LIST_BYTES = 2**30


def list_images(
    paths: Sequence[Path], skipped: list[str] | None = None, followed: list[str] | None = None
) -> list[str]:
    """List all images in folders (and folders below), .txt lists or given singly; absolute, sorted.

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
                raise DatasetError("the file contains zero bytes, so it is not text", str(path), "save it as UTF-8")
            lines = text.splitlines()
            found.update(os.path.normpath(path.parent / line.strip()) for line in lines if line.strip())
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            found.add(str(path))
    if not found:
        kinds = " ".join(sorted(s[1:] for s in IMAGE_SUFFIXES))
        raise DatasetError("there are no images", ", ".join(map(str, paths)), f"kinds looked for: {kinds}")
    return sorted(found)


class Unusable(NamedTuple):
    """Why training leaves an image out. kind: empty, huge, truncated, float, undecodable or small; what: in words."""

    kind: str
    what: str


def judge_image(data: UInt8Array) -> UInt8Array | Unusable:
    """Decode the content of an image file, upright, or say why training cannot use it."""
    unusable = judge_file(data)
    if unusable is not None:
        return unusable
    decoded = decode(data)
    if decoded is None:
        return Unusable(*undecodable(data))
    return judge_shape((decoded.shape[0], decoded.shape[1])) or decoded


def judge_file(data: UInt8Array) -> Unusable | None:
    """Say why an image cannot be used, as far as its file shows without decoding it."""
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
    """Say why training cannot use an image of (height, width); None where it can."""
    h, w = shape
    return None if min(h, w) >= MIN_SIDE else Unusable("small", f"{w}x{h} pixels, and a side needs {MIN_SIDE}")
