"""Files a user names: is it one, and is it text?"""

from __future__ import annotations

from pathlib import Path

from ultralytics.utils.errors import MissingFileError, UserError


def user_path(name: str | Path) -> Path:
    """The path a user means, "~" included.

    Raises:
        MissingFileError: "~" or "~someone" has no home folder.
    """
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise MissingFileError("there is no such home folder", str(name)) from None


def missing(kind: str, path: Path, mend: str = "", tried: str = "") -> MissingFileError:
    """The error for a file that is not there; a folder in its place is called one."""
    if path.is_dir():
        return MissingFileError(f"it is a folder, and a {kind} is a file", str(path.absolute()), mend)
    return MissingFileError(f"no such {kind}{tried}", str(path if tried else path.absolute()), mend)


def read_text(path: Path, error: type[UserError]) -> str:
    """The content of a UTF-8 file, without a byte-order mark.

    Raises:
        error: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise error("it is not UTF-8 text", str(path), "save it as UTF-8") from None
    except OSError as e:
        raise error(f"it cannot be read: {e.strerror or e}", str(path)) from None
