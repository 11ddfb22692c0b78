"""Folders and what lies below them, whatever links there are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def walk_files(
    top: str | Path,
    onerror: Callable[[OSError], object] | None = None,
    skipped: list[str] | None = None,
    followed: list[str] | None = None,
    hidden: bool = True,
) -> Iterator[tuple[str, list[str]]]:
    """Folders below a folder, itself first, and the names in each that are no folders.

    Links to folders are followed, but each real folder is visited once, by its own path where it has one below `top`. A
    link to a folder that holds the link, or `top`, is not followed.

    Args:
        onerror: is given the error of a folder that cannot be read.
        skipped: filled with the links that are not followed.
        followed: filled with those that are: each leads out of `top`.
        hidden: False passes over what is below `top` and whose name begins with a dot.
    """
    around = real_places(top)
    real_top = around[0]
    seen = {real_top}
    waiting, links = [(os.fspath(top), real_top)], list[tuple[str, str]]()  # path and real path
    while waiting or links:
        if waiting:
            folder, real = waiting.pop()
        else:
            folder, parent = links.pop(0)
            real = os.path.realpath(folder)
            if real in seen or any(is_below(place, real) for place in (parent, *around)):
                if skipped is not None:
                    skipped.append(folder)
                continue
            seen.add(real)
            if followed is not None:
                followed.append(folder)
        files, folders, linked = [], [], []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not hidden and entry.name.startswith("."):
                        continue
                    if not is_folder(entry):
                        files.append(entry.name)
                    elif entry.is_symlink():
                        linked.append(entry.name)
                    else:
                        folders.append(entry.name)
        except OSError as e:
            if onerror is not None:
                onerror(e)
        links += [(os.path.join(folder, name), real) for name in sorted(linked)]
        for name in sorted(folders, reverse=True):
            inner = os.path.join(real, name)
            if inner not in seen:
                seen.add(inner)
                waiting.append((os.path.join(folder, name), inner))
        yield folder, files


def real_places(folder: str | Path) -> tuple[str, str]:
    """Return the real path of a folder, and that of the folder in which it is named: of a link they are apart."""
    return os.path.realpath(folder), os.path.realpath(os.path.dirname(os.path.abspath(folder)))


def is_below(path: str, folder: str) -> bool:
    """Return True if a real path is a folder, or lies in it."""
    return os.path.join(path, "").startswith(os.path.join(folder, ""))


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return True for a folder and for a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False
