"""Bytes that all processes of a user on one machine share: workers, ranks, and other runs on the same data.

They lie in a file in memory (/dev/shm) whose name says what is in it. Everyone who uses it holds a shared lock, which
the system releases even when a process is killed; whoever fills it holds the lock alone; the last one removes it, and
what a killed run left behind is used again or removed by the next one. Where there is no such place, or no room in it,
the bytes are this process's own and its forked workers'.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
import weakref
from pathlib import Path

import numpy as np

from ultralytics.utils.types import UInt8Array

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # tells that there are no locks, so that nothing is shared

FOLDER = Path("/dev/shm")
_HEAD = 64  # bytes before the content; the first says whether the content is whole
_WHOLE = 1


class SharedBytes:
    """Writable bytes under a name.

    Args:
        key: says what the bytes are: equal keys, equal bytes; size: how many.

    Attributes:
        array: (size,) uint8; fresh: nobody has filled them yet: fill them and call `finish`.
    """

    def __init__(self, key: str, size: int) -> None:
        self.key, self.size = key, size
        self.fresh = True
        self._file: int | None = None
        self._map: mmap.mmap | None = None
        if fcntl is not None and FOLDER.is_dir():
            with contextlib.suppress(OSError):  # no room, or the place is not ours to write
                self._share()
        if self._map is None:
            self._map = mmap.mmap(-1, _HEAD + max(size, 1))
        self.array: UInt8Array = np.frombuffer(self._map, np.uint8, size, _HEAD)

    @property
    def path(self) -> Path:
        """The file of this name."""
        return FOLDER / f"ultralytics-{os.getuid()}-{self.key}"

    def finish(self) -> None:
        """The bytes are filled: let the others use them."""
        assert self._map is not None
        self._map[0] = _WHOLE
        self.fresh = False
        self.array.flags.writeable = False
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_SH)

    def _share(self) -> None:
        _remove_abandoned(keep=self.path)
        total = _HEAD + max(self.size, 1)
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                about = os.fstat(file)
                if about.st_uid != os.getuid() or not stat.S_ISREG(about.st_mode):
                    raise OSError("not ours")
                fcntl.flock(file, fcntl.LOCK_SH)  # waits for whoever is filling it
                if not _still_there(file, self.path):
                    os.close(file)
                    continue
                if _is_whole(file, total):
                    self.fresh = False
                else:
                    fcntl.flock(file, fcntl.LOCK_UN)
                    fcntl.flock(file, fcntl.LOCK_EX)
                    if not _still_there(file, self.path) or _is_whole(file, total):
                        os.close(file)  # another one was quicker
                        continue
                    try:
                        os.ftruncate(file, 0)
                        os.posix_fallocate(file, 0, total)  # a full /dev/shm is told here, not by a signal later
                    except OSError:
                        self.path.unlink(missing_ok=True)
                        raise
                self._map = mmap.mmap(file, total)
            except BaseException:
                os.close(file)
                raise
            self._file = file
            weakref.finalize(self, _release, file, self.path, os.getpid())
            return

    def __enter__(self) -> SharedBytes:
        return self

    def __exit__(self, *_: object) -> None:
        """Give the name up, if filling it went wrong."""
        if self.fresh and self._file is not None:
            self.path.unlink(missing_ok=True)


def _is_whole(file: int, size: int) -> bool:
    """Whether an open file has been filled, with so many bytes."""
    return os.fstat(file).st_size == size and os.pread(file, 1, 0) == bytes([_WHOLE])


def _still_there(file: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except OSError:
        return False


def _release(file: int, path: Path, process: int) -> None:
    """Remove the file if nobody else uses it. Forked workers, which share our lock, leave that to us."""
    if os.getpid() != process:
        return
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _still_there(file, path):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        os.close(file)


def _remove_abandoned(keep: Path) -> None:
    """Remove the files of this user that no process uses."""
    for path in FOLDER.glob(f"ultralytics-{os.getuid()}-*"):
        if path == keep:
            continue
        with contextlib.suppress(OSError):
            file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            _release(file, path, os.getpid())
