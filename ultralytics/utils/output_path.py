"""Checks of an output path, before the work starts, and folders for results."""

from __future__ import annotations

import os
from pathlib import Path

from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import not_written, user_path


def target_file(out: str | Path, overwrite: bool = True, kind: str = "a file", needs_folder: bool = True) -> Path:
    """Return the path of a file to write, before the work that it is the result of.

    Args:
        out: as the user gave it; overwrite: an earlier file may be replaced.
        kind: what it is, for the hint; needs_folder: its folder must be there.

    Raises:
        ConfigError: a folder has the name, or a file that may not be replaced, or its folder is missing or
            a file.
    """
    path = user_path(out)
    if path.is_dir():
        raise ConfigError("this is a folder", str(path), f"give the name of {kind} in it")
    if path.exists() and not overwrite:
        raise ConfigError("the file already exists", str(path), "give another out=, or overwrite=True")
    _check_folders(path.absolute().parent, "out")
    if needs_folder and not path.absolute().parent.is_dir():
        raise ConfigError("the output folder does not exist", str(path.absolute()), "make it first")
    return path


def make_folder(folder: Path, key: str = "out") -> None:
    """Make a folder for results where it is missing.

    Args:
        folder: with those above it; key: what a user sets to write elsewhere.

    Raises:
        UserError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        _check_folders(folder.absolute(), key)
        raise not_written(e, folder, f"free some space or choose another {key}=") from None


def _check_folders(folder: Path, key: str) -> None:
    """Raise ConfigError where a file has the place of a folder, or of one above it."""
    there = next(p for p in (folder, *folder.parents) if os.path.exists(p))
    if not there.is_dir():
        raise ConfigError("this is a file, not a folder", str(there), f"choose another {key}=")
