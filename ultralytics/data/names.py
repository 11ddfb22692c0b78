"""What images of a split are called, whatever folder they lie in."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePath

from ultralytics.data.images import list_images
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.text import is_text


def relative_names(paths: Sequence[Path]) -> dict[str, str]:
    """Name the images of a split, path → name: its path below its folder, or below the folder that holds all images of
    its list. Several folders or lists go before it by name, or by number where names are equal.

    Raises:
        DatasetError: there are no images, or two of one name.
    """
    singles = [p for p in paths if not p.is_dir() and p.suffix.lower() != ".txt"]
    groups = [[p] for p in paths if p not in singles] + ([singles] if singles else [])
    heads = [g[0].parent.name if g is singles else g[0].stem if g[0].is_file() else g[0].name for g in groups]
    if len({nfc(h).casefold() for h in heads}) < len(heads) or any(h in ("", "images", "labels") for h in heads):
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
                    f"this has the same name as {owner[name]} after Unicode normalization", file, "rename one of them"
                )
            names[file], owner[name] = name, file
    return names


def listable(name: str) -> bool:
    """Return True if a .txt list of images can hold a name: one line of UTF-8."""
    return name.splitlines() == [name.strip()] and is_text(name)


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
