"""Run directories and files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ultralytics.utils.errors import ConfigError, UserError


def new_run_dir(project: str | Path | None, name: str, exist_ok: bool = False) -> Path:
    """Make and return `project/name`, `project/name2`, … the first that does not exist; the first itself with
    `exist_ok`.

    `project` defaults to runs/detect below the working folder.
    """
    parent = Path(project) if project else Path("runs") / "detect"
    for number in range(1, 100_000):
        path = parent / (name if number == 1 else f"{name}{number}")
        try:
            path.mkdir(parents=True, exist_ok=exist_ok)
        except FileExistsError:
            if exist_ok:
                raise ConfigError(
                    "it is a file, so no run can be kept there", str(path), "choose another name="
                ) from None
            continue
        except OSError as e:
            raise UserError(
                f"cannot make the run folder: {e.strerror or e}", str(path), "choose another project="
            ) from None
        return path
    raise ConfigError(f"over 100,000 runs named {name}", str(parent), "choose another name=")


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file through a temporary neighbour that is synced and renamed; on any failure the old file stays.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    made = False
    try:
        with open(temporary, "xb") as file:  # unlike tempfile's, with the permissions the user's umask gives
            made = True
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as e:
        if made:
            temporary.unlink(missing_ok=True)
        failed = _os_error(e)
        if failed is not None and isinstance(e, Exception):
            kept = "; the file that was there before is untouched" if path.exists() else ""
            raise UserError(
                f"could not be written: {failed.strerror or failed}{kept}",
                str(path),
                "free some space or choose another project=",
            ) from e
        raise


def remove_unfinished(folder: Path) -> None:
    """Remove what `write_atomically` left in a folder when its process was killed."""
    for file in folder.glob(".*"):
        if _UNFINISHED.fullmatch(file.name) and file.is_file():
            file.unlink(missing_ok=True)


_UNFINISHED = re.compile(r"\..+\.(pt|csv|json)\.[a-z0-9_]{8}")


def _os_error(error: BaseException | None) -> OSError | None:
    """The system's error behind an exception: torch reports a failed write as a RuntimeError about positions."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def write_json(path: Path, data: Any) -> None:
    """Write plain data as indented JSON, atomically."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    write_atomically(path, lambda f: f.write(text.encode()))
