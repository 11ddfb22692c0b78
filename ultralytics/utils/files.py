"""Files a user names: is it one, and is it text? And files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from ultralytics.utils.errors import MissingFileError, UserError


def user_path(name: str | Path) -> Path:
    """Return the path a user means, "~" included.

    Raises:
        MissingFileError: "~" or "~someone" has no home folder.
    """
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise MissingFileError("there is no such home folder", str(name)) from None


def real_path(path: str | Path) -> Path:
    """The path without links. A link that leads to itself stays as it is; `Path.resolve` raises before Python 3.13."""
    return Path(os.path.realpath(path))


def missing(kind: str, path: Path, hint: str = "") -> MissingFileError:
    """Return the error for a file that is not there; a folder or a device in its place is called one."""
    if path.is_dir():
        return MissingFileError(f"this is a folder, and a {kind} is a file", str(path.absolute()), hint)
    if path.exists():
        return MissingFileError(f"this is a device or a pipe, and a {kind} is a file", str(path.absolute()), hint)
    return MissingFileError(f"no such {kind}", str(path.absolute()), hint)


def open_regular(path: str | Path) -> IO[bytes]:
    """Open a file to read its bytes. A pipe, socket or device is refused, not waited for.

    Raises:
        OSError: it cannot be read, or is no regular file; `strerror` says which.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        kind = "pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
        raise OSError(errno.EINVAL, f"it is a {kind}, not a file", str(path))
    # Some files of /proc are regular and would be waited for.
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))


def read_bytes(path: str | Path, longest: int | None = None) -> bytes:
    """The content of a regular file: as many bytes as its entry says, so what has no end (/proc) is not read forever.

    Args:
        longest: bytes it may have.

    Raises:
        OSError: as `open_regular`, or it is longer.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if longest is not None and size > longest:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, and more than {longest:,} are not read", str(path))
        return file.read(size) or b""


def read_text(path: Path, error: type[UserError], longest: int | None = None) -> str:
    """Return the content of a UTF-8 file, without a byte-order mark; line breaks become \\n.

    Args:
        longest: bytes it may have.

    Raises:
        error: it cannot be read, is no regular file, is longer, or is not UTF-8.
    """
    try:
        text = read_bytes(path, longest).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise error("the file is not UTF-8 text", str(path), "save it as UTF-8") from None
    except OSError as e:
        if e.errno == errno.EFBIG and longest is not None:
            raise error(f"the file has more than {longest:,} bytes", str(path), "is it the right file?") from None
        raise error(f"the file cannot be read: {e.strerror or e}", str(path)) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path, error: type[UserError], what: str, hint: str) -> dict[str, Any]:
    """Return the mapping in a JSON file.

    Raises:
        error: it cannot be read, is no JSON, or no mapping, of which WHAT is the message.
    """
    text = read_text(path, error)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise error(f"not valid JSON: {e}", str(path), hint) from None
    if not isinstance(data, dict):
        raise error(what, str(path), hint)
    return data


class Checksums:
    """Size, SHA-256 and (unless left out) MD5 of what is given to `update`."""

    def __init__(self, md5: bool = True) -> None:
        self.size = 0
        self.sha256 = hashlib.sha256()
        self.md5 = hashlib.md5(usedforsecurity=False) if md5 else None

    @classmethod
    def of(cls, path: str | Path, md5: bool = True) -> Checksums:
        """Those of a file.

        Raises:
            OSError: it cannot be read.
        """
        result = cls(md5)
        with open_regular(path) as file:
            result.read(file)
        return result

    def update(self, data: bytes) -> None:
        """Take in more."""
        self.size += len(data)
        self.sha256.update(data)
        if self.md5 is not None:
            self.md5.update(data)

    def read(self, file: IO[bytes], took: Callable[[int], object] = lambda _: None) -> None:
        """Take in the rest of an open file; `took` is called with the bytes of each part."""
        while data := file.read(1 << 20):
            self.update(data)
            took(len(data))

    @property
    def hexdigests(self) -> dict[str, str]:
        """sha256 and md5, in hexadecimal digits."""
        md5 = {} if self.md5 is None else {"md5": self.md5.hexdigest()}
        return {"sha256": self.sha256.hexdigest(), **md5}


def not_written(e: OSError, path: str | Path, hint: str = "free some space or choose another out=") -> UserError:
    """Return the user's error for the system's; `path` is what was written where the system names nothing."""
    return UserError(f"could not be written: {e.strerror or e}", str(e.filename2 or e.filename or path), hint)


def write_atomically(
    path: Path, write: Callable[[IO[bytes]], object], key: str = "project", previous: Path | None = None
) -> None:
    """Write a file through a temporary neighbour that is synced and renamed; on any failure the old file stays.

    Args:
        path: the file; write: is given the open neighbour; key: what a user sets to write elsewhere.
        previous: where the old file is kept. At every instant a whole file lies at `path` (at `previous`, where the
        file system has no hard links).

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
        if previous is not None and path.exists():
            _keep(path, previous)
        _rename_over(temporary, path)
    except BaseException as e:
        if made:
            temporary.unlink(missing_ok=True)
        failed = _os_error(e)
        if failed is not None and isinstance(e, Exception):
            kept = "; the file that was there before is untouched" if path.exists() else ""
            raise UserError(
                f"could not be written: {failed.strerror or failed}{kept}",
                str(path),
                f"free some space or choose another {key}=",
            ) from e
        raise
    _sync_folder(path.parent)


def _rename_over(temporary: Path, path: Path) -> None:
    """Rename a file over another. Windows refuses while someone reads that one, such as the page of a run: wait."""
    for pause in (0.05, 0.1, 0.2, 0.4, 0.8) if _READERS_HINDER else ():
        try:
            os.replace(temporary, path)
            return
        except PermissionError:
            time.sleep(pause)
    os.replace(temporary, path)


_READERS_HINDER = os.name == "nt"


def put_in_place(new: Path, path: Path) -> None:
    """Move a file or folder to its place, and what was there away: back again, where that fails.

    Args:
        new: in a folder of its own on the same disk, in which an earlier folder is left.

    Raises:
        UserError: the folder cannot be written.
    """
    before = new.with_name("before")
    try:
        if path.is_dir():
            os.replace(path, before)
        try:
            os.replace(new, path)
        except BaseException:
            if before.exists():
                os.replace(before, path)
            raise
    except OSError as e:
        raise not_written(e, path) from None


def _keep(path: Path, previous: Path) -> None:
    """Give the file a second name in place of what had it; where that is not possible, the other name alone."""
    linked = previous.with_name(f".{previous.name}.{secrets.token_hex(4)}")
    try:
        os.link(path, linked)
    except OSError:
        os.replace(path, previous)
        return
    try:
        os.replace(linked, previous)
    finally:
        linked.unlink(missing_ok=True)  # nothing is left of it where the rename went well


def _sync_folder(folder: Path) -> None:
    """Let a rename outlast a loss of power, where the system can."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def remove_unfinished(folder: Path) -> None:
    """Remove what `write_atomically` left in a folder when its process was killed."""
    for file in folder.glob(".*"):
        if _UNFINISHED.fullmatch(file.name) and file.is_file():
            file.unlink(missing_ok=True)


_UNFINISHED = re.compile(r"\..+\.(pt|csv|json|npz|yaml)\.[a-z0-9_]{8}")


def _os_error(error: BaseException | None) -> OSError | None:
    """Return the system's error behind an exception: torch reports a failed write as a RuntimeError about positions."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def write_text(path: Path, text: str, key: str = "project") -> None:
    """Write UTF-8 text, as `write_atomically` does."""
    write_atomically(path, lambda f: f.write(text.encode()), key)


def write_json(path: Path, data: Any, key: str = "project") -> None:
    """Write plain data as indented JSON, as `write_atomically` does."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False), key)


def lock(file: IO[bytes], wait: bool = False) -> bool | None:
    """Take an open file's lock for this process, until the file is closed or the process ends.

    Args:
        file: an open file; wait: until another process lets it go.

    Returns:
        True: taken; False: another process holds it; None: there are no such locks here (some network drives).
    """
    try:
        import fcntl  # Windows has none
    except ImportError:
        return _lock_range(file, wait)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _lock_range(file: IO[bytes], wait: bool) -> bool | None:
    """`lock` by Windows' means: one byte far behind the content, because a locked byte cannot be read by others."""
    try:
        import msvcrt  # Windows alone has it
    except ImportError:
        return None
    locking: Any = getattr(msvcrt, "locking", None)
    before = file.tell()
    while True:
        try:
            file.seek(_LOCKED)
            locking(file.fileno(), getattr(msvcrt, "LK_NBLCK", 2), 1)
            return True
        except OSError as e:
            if e.errno not in (errno.EACCES, errno.EDEADLK, errno.EAGAIN):
                return None
            if not wait:
                return False
            time.sleep(_AGAIN)
        finally:
            file.seek(before)


_LOCKED = 2**30  # which byte
_AGAIN = 0.1  # seconds between two tries


def is_at(file: IO[bytes] | int, path: Path) -> bool:
    """Return True if an open file is the one at the path: another process may have renamed or removed it."""
    try:
        return os.path.samestat(os.fstat(file if isinstance(file, int) else file.fileno()), path.lstat())
    except OSError:
        return False


def stamp(path: Path) -> tuple[int, ...] | None:
    """Return what differs once a file was replaced or written to; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


# What scripts written for the reference import.


class WorkingDirectory(contextlib.ContextDecorator):
    """Another working folder for a block or a function."""

    def __init__(self, new_dir: str | Path) -> None:
        self.dir, self.cwd = new_dir, Path.cwd()

    def __enter__(self) -> None:
        self.cwd = Path.cwd()
        os.chdir(self.dir)

    def __exit__(self, *_: object) -> None:
        os.chdir(self.cwd)


@contextlib.contextmanager
def spaces_in_path(path: str | Path) -> Iterator[str | Path]:
    """A copy of a file or folder under a path without spaces, copied back when the block ends."""
    if " " not in str(path):
        yield path
        return
    original = Path(path)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / original.name.replace(" ", "_")
        if original.is_dir():
            shutil.copytree(original, copy)
        elif original.is_file():
            shutil.copy2(original, copy)
        yield copy
        if copy.is_dir():
            shutil.copytree(copy, original, dirs_exist_ok=True)
        elif copy.exists():
            shutil.copy2(copy, original)


def increment_path(path: str | Path, exist_ok: bool = False, sep: str = "", mkdir: bool = False) -> Path:
    """Return a path that is not there yet: runs/exp, runs/exp2, runs/exp3, …; a file's number stands before its suffix.

    Args:
        exist_ok: take it where it is there; sep: between name and number; mkdir: make the folder.
    """
    path = Path(path)
    if path.exists() and not exist_ok:
        stem, suffix = (path.with_suffix(""), path.suffix) if path.is_file() else (path, "")
        path = next(p for n in range(2, 10**6) if not os.path.lexists(p := Path(f"{stem}{sep}{n}{suffix}")))
    if mkdir:
        path.mkdir(parents=True, exist_ok=True)
    return path


def file_age(path: str | Path = __file__) -> int:
    """Whole days since a file was changed."""
    return int((time.time() - Path(path).stat().st_mtime) // 86400)


def file_date(path: str | Path = __file__) -> str:
    """Return the day a file was changed, such as 2024-9-5."""
    day = time.localtime(Path(path).stat().st_mtime)
    return f"{day.tm_year}-{day.tm_mon}-{day.tm_mday}"


def file_size(path: str | Path) -> float:
    """MiB of a file, or of all files of a folder; 0 where there is none."""
    path = Path(path)
    files = [path] if path.is_file() else [f for f in path.glob("**/*") if f.is_file()] if path.is_dir() else []
    return sum(f.stat().st_size for f in files) / 2**20


def get_latest_run(search_dir: str | Path = ".") -> str:
    """Return the newest last*.pt below a folder, "" without any."""
    found = list(Path(search_dir).glob("**/last*.pt"))
    return str(max(found, key=lambda p: p.stat().st_mtime)) if found else ""


def update_models(
    model_names: Sequence[str] = ("yolov8n.pt",), source_dir: str | Path = ".", update_names: bool = False
) -> NoReturn:
    """Not offered: weights of either kind are read as they are.

    Raises:
        UserError: always.
    """
    raise UserError("update_models is not offered", hint="load weights as they are: YOLO(file)")
