"""Images of a split: which there are, which training can use, and what they are called, whatever folder they are in."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from ultralytics.utils.errors import DatasetError
from ultralytics.utils.files import read_text
from ultralytics.utils.images import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    decode,
    too_large,
    truncated_jpeg,
    truncated_png,
    undecodable,
)
from ultralytics.utils.text import is_text, name_key
from ultralytics.utils.types import UInt8Array
from ultralytics.utils.walk import walk_files

MIN_SIDE = 10  # pixels
# Images, but none that training looks for.
OTHER_IMAGES = frozenset(
    (".avif", ".dng", ".exr", ".gif", ".hdr", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".npy", ".pgm", ".ppm", ".psd")
) - IMAGE_SUFFIXES  # fmt: skip
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


def relative_names(paths: Sequence[Path]) -> dict[str, str]:
    """Name the images of a split, path → name: its path below its folder, or below the folder that holds all images of
    its list. Several folders or lists go before it by name, or by number where names are equal.

    Raises:
        DatasetError: there are no images, or two of one name.
    """
    singles = [p for p in paths if not p.is_dir() and p.suffix.lower() != ".txt"]
    groups = [[p] for p in paths if p not in singles] + ([singles] if singles else [])
    heads = [g[0].parent.name if g is singles else g[0].stem if g[0].is_file() else g[0].name for g in groups]
    if len(set(map(name_key, heads))) < len(heads) or any(h in ("", "images", "labels") for h in heads):
        heads = [str(i) for i in range(len(groups))]
    names: dict[str, str] = {}
    owner: dict[str, str] = {}
    for head, group in zip(heads, groups, strict=True):
        files = [f for f in list_images(group) if f not in names]
        if not files:
            continue
        if group[0].is_dir():
            base = str(group[0])
        else:
            try:
                base = os.path.commonpath([os.path.dirname(f) for f in files])
            except ValueError:
                raise DatasetError("the images are on several drives", str(group[0]), "copy them to one") from None
        for file in files:
            name = nfc(PurePath(os.path.relpath(file, base)).as_posix())
            if len(groups) > 1:
                name = f"{nfc(head)}/{name}"
            if name in owner:
                raise DatasetError(
                    f"the name equals that of {owner[name]} after normalization", file, "rename one of them"
                )
            names[file], owner[name] = name, file
    return names


def listable(name: str) -> bool:
    """Return True if a .txt list of images can hold a name: one line of UTF-8."""
    return name.splitlines() == [name.strip()] and is_text(name)


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
