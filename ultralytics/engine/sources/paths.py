"""Names of files: a path, a folder, a glob or a list, as the images and videos that it stands for."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from ultralytics.engine.sources.item import is_video
from ultralytics.utils.errors import DatasetError, MissingFileError
from ultralytics.utils.files import read_text, user_path
from ultralytics.utils.images import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from ultralytics.utils.log import LOGGER

LISTS = (".txt", ".streams")


def is_there(name: str, below: Path | None = None) -> bool:
    """Return True if there is a file or folder of a name."""
    return os.path.lexists(_placed_at(name, below))


def _placed_at(name: str, below: Path | None) -> Path:
    return user_path(name) if below is None else below / user_path(name)


def list_lines(name: str, below: Path | None = None) -> tuple[dict[int, str], Path] | None:
    """Return the lines of a list (.txt, .streams) that say something by their numbers, counted from 1, and its folder;
    None where the name is not that of one.

    Raises:
        DatasetError: it cannot be read, or names another list.
    """
    path = _placed_at(name, below)
    if path.suffix.lower() not in LISTS or not os.path.isfile(path):
        return None
    lines = [line.strip() for line in read_text(path, DatasetError).splitlines()]
    nested = next((line for line in lines if line.lower().endswith(LISTS)), None)
    if nested is not None:  # it could name itself
        raise DatasetError(f"the list contains another list, {nested}", name, "list images, videos or folders")
    return {n: line for n, line in enumerate(lines, 1) if line and not line.startswith("#")}, path.parent


def files_of(name: str, below: Path | None = None) -> list[str]:
    """Return the images and videos that a path stands for, sorted, images first.

    A name is tried as that of a file or folder before it is taken for a glob.

    Args:
        name: of a file or folder, or a glob.
        below: folder of the list that holds the name.

    Raises:
        MissingFileError: no such file.
        DatasetError: it is no image or video, or holds none.
    """
    path = _placed_at(name, below)
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    if os.path.isdir(path):
        try:
            names = sorted(n for n in os.listdir(path) if not n.startswith("."))  # as a glob does
        except OSError as e:
            raise DatasetError(f"the folder cannot be read: {e.strerror or e}", name) from None
        found = _keep_usable(os.path.join(path, n) for n in names)
    elif os.path.isfile(path):
        if path.suffix.lower() not in known:
            raise DatasetError(
                f"{path.suffix or 'no suffix'} is not a kind of image or video", name, " ".join(sorted(known))
            )
        return [str(path)]
    else:
        problem = _why_unusable(str(path)) if os.path.lexists(path) else None
        if problem is not None:
            raise MissingFileError(f"this is {problem}, and a source is a file", str(path.absolute()))
        if not any(c in name for c in "*?["):
            raise MissingFileError(f"no such source; tried {path.absolute()}", name)
        found = _keep_usable(_glob(str(path)))
        if not found:
            raise MissingFileError(f"no image or video matches; tried {path.absolute()}", name)
    if not found:
        inner = _folder_with(path, known) if os.path.isdir(path) else None
        hint = f"{inner} has some: source={inner}" if inner else " ".join(sorted(known))
        raise DatasetError("there are no images or videos in it", name, hint)
    return sorted(found, key=lambda f: (is_video(f), f))


def _folder_with(path: Path, suffixes: Collection[str]) -> Path | None:
    """Return the first folder directly below one that holds files of these suffixes."""
    for folder in sorted(f for f in path.iterdir() if f.is_dir()):
        with suppress(OSError):
            if any(f.suffix.lower() in suffixes for f in folder.iterdir()):
                return folder
    return None


def _keep_usable(files: Iterable[str]) -> list[str]:
    """Return the images and videos among files. Anything with such a suffix that is not a
    file is named and passed over."""
    found = []
    for file in files:
        if os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            problem = _why_unusable(file)
            if problem is None:
                found.append(file)
            else:
                LOGGER.warning("%s: is %s; passed over", file, problem)
    return found


def _why_unusable(file: str) -> str | None:
    """Say what a path is that is no regular file; None for a file. Opening a pipe would wait for a writer forever."""
    try:
        mode = os.stat(file).st_mode
    except OSError as e:
        return "a link to nowhere" if os.path.islink(file) else f"not to be read ({e.strerror or e})"
    if stat.S_ISREG(mode):
        return None
    return "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"


def _glob(pattern: str) -> list[str]:
    """Return what a glob matches, part by part. What is there under the very name of a part is meant by it, and
    brackets are tried as such before they are taken for a choice of letters."""
    path = Path(pattern)
    parts = path.parts[1:] if path.anchor else path.parts
    found = [path.anchor]
    for part in [*parts, "*"] if parts[-1] == "**" else parts:
        found = list(dict.fromkeys(f for folder in found for f in _matches(folder, part)))
    return found


def _matches(folder: str, part: str) -> list[str]:
    """Return the paths in a folder that one part of a glob stands for."""
    if part == "**":
        return _folders_below(folder)
    if os.path.lexists(os.path.join(folder, part)):
        return [os.path.join(folder, part)]
    try:
        names = [n for n in os.listdir(folder or ".") if part.startswith(".") or not n.startswith(".")]
    except OSError:  # no folder, or one that is closed to us
        return []
    matching = fnmatch.filter(names, part.replace("[", "[[]")) or fnmatch.filter(names, part)
    return [os.path.join(folder, n) for n in sorted(matching)]


def _folders_below(top: str) -> list[str]:
    """Return a folder and all below it but the hidden ones, through links too; each real folder once."""
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    for folder, below, _ in os.walk(top or ".", followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            LOGGER.warning("%s: leads to a folder that is read already; passed over", folder)
            below.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        found.append(folder if top else os.path.relpath(folder, "."))
        below[:] = sorted(n for n in below if not n.startswith("."))
    return found
