"""Bytes that all processes of a user on one machine share: workers, ranks, and other runs on the same data.

They lie in a file in memory (/dev/shm) whose name says what is in it. Everyone who uses it holds a shared lock, which
the system releases even when a process is killed; whoever fills it holds the lock alone; the last one removes it, and
what a killed run left behind is used again or removed by the next one. Where there is no such place, or no room in it,
the bytes are this process's own and its workers'.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
import weakref
from multiprocessing import reduction
from multiprocessing.context import get_spawning_popen
from pathlib import Path
from typing import Any

import numpy as np

from ultralytics.utils.files import is_at
from ultralytics.utils.types import UInt8Array

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows: there are no locks, so nothing is shared
    fcntl = None

FOLDER = Path("/dev/shm")
SPARE = 2**28  # bytes of the place, or a quarter of it where that is less, that are left to other programs
_HEAD = 64  # bytes before the content; the first says whether the content is whole
_WHOLE = 1


class SharedBytes:
    """Writable bytes under a name.

    Args:
        key: says what the bytes are: equal keys, equal bytes.
        size: how many.

    Attributes:
        array: (size,) uint8.
        fresh: nobody has filled them yet: fill them and call `finish`.
        alone: why other runs and ranks cannot share them; "" where they can.

    Raises:
        OSError: there is no memory left for them.
    """

    def __init__(self, key: str, size: int) -> None:
        self.key, self.size = key, size
        self.fresh = True
        self.alone = ""
        self._file: int | None = None
        self._map = self._shared() or self._own()
        self.array: UInt8Array = np.frombuffer(self._map, np.uint8, size, _HEAD)

    def _shared(self) -> mmap.mmap | None:
        """Map the bytes in the place for all; return None, and say why in `alone`, where that cannot be."""
        if fcntl is None:
            self.alone = "this system shares no memory"
        elif not FOLDER.is_dir():
            self.alone = f"there is no {FOLDER}"
        else:
            try:
                return self._share()
            except OSError as e:
                self.alone = f"{FOLDER}: {e.strerror or e}"
        return None

    def _own(self) -> mmap.mmap:
        """Memory without a name, where the system has it: workers that are not forked can be given its handle."""
        total = _HEAD + max(self.size, 1)
        try:
            self._file = os.memfd_create("ultralytics", os.MFD_CLOEXEC)
            weakref.finalize(self, _close, self._file, os.getpid())
            os.posix_fallocate(self._file, 0, total)
            return mmap.mmap(self._file, total)
        except (OSError, AttributeError):
            self._file = None
            return mmap.mmap(-1, total)

    def for_workers(self) -> SharedBytes | None:
        """These bytes, if they can go to a worker process that is being started by `spawn` or `forkserver`."""
        return None if self._file is None or get_spawning_popen() is None else self

    def __getstate__(self) -> dict[str, Any]:
        assert self._file is not None
        return {"key": self.key, "size": self.size, "alone": self.alone, "file": reduction.DupFd(self._file)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.key, self.size, self.alone, self.fresh = state["key"], state["size"], state["alone"], False
        file = state["file"].detach()
        self._file = None  # the lock is the run's
        self._map = mmap.mmap(file, _HEAD + max(self.size, 1), access=mmap.ACCESS_READ)
        os.close(file)
        self.array = np.frombuffer(self._map, np.uint8, self.size, _HEAD)

    @property
    def path(self) -> Path:
        """The file of this name."""
        return FOLDER / f"ultralytics-{os.getuid()}-{self.key}"

    def finish(self) -> None:
        """Let the others use the bytes, which are filled now."""
        self._map[0] = _WHOLE
        self.fresh = False
        self.array.flags.writeable = False
        if self._file is not None and not self.alone:
            fcntl.flock(self._file, fcntl.LOCK_SH)

    def _share(self) -> mmap.mmap:
        _remove_abandoned(keep=self.path)
        total = _HEAD + max(self.size, 1)
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                about = os.fstat(file)
                if about.st_uid != os.getuid() or not stat.S_ISREG(about.st_mode):
                    raise OSError("not ours")
                fcntl.flock(file, fcntl.LOCK_SH)  # waits for whoever is filling it
                if not is_at(file, self.path):
                    os.close(file)
                    continue
                if _is_whole(file, total):
                    self.fresh = False
                else:
                    fcntl.flock(file, fcntl.LOCK_UN)
                    fcntl.flock(file, fcntl.LOCK_EX)
                    if not is_at(file, self.path) or _is_whole(file, total):
                        os.close(file)  # another one was quicker
                        continue
                    try:
                        os.ftruncate(file, 0)
                        _leave_room(total)
                        os.posix_fallocate(file, 0, total)  # a full /dev/shm is an error here, not a signal later
                    except OSError:
                        self.path.unlink(missing_ok=True)
                        raise
                shared = mmap.mmap(file, total)
            except BaseException:
                os.close(file)
                raise
            self._file = file
            weakref.finalize(self, _release, file, self.path, os.getpid())
            return shared

    def __enter__(self) -> SharedBytes:
        return self

    def __exit__(self, *_: object) -> None:
        """Give the name up, if filling it went wrong."""
        if self.fresh and self._file is not None and not self.alone:
            self.path.unlink(missing_ok=True)


def _leave_room(size: int) -> None:
    """Make sure that something is left of the place when so many bytes are taken.

    Raises:
        OSError: it is not.
    """
    place = os.statvfs(FOLDER)
    whole, free = place.f_blocks * place.f_frsize, place.f_bavail * place.f_frsize
    if whole and free - size < min(whole // 4, SPARE):  # a size of 0: no limit
        text = f"{free / 1e6:.1f} of {whole / 1e6:.1f} MB are free, too few for {size / 1e6:.1f} (Docker: --shm-size=)"
        raise OSError(errno.ENOSPC, text)


def _close(file: int, process: int) -> None:
    if os.getpid() == process:
        with contextlib.suppress(OSError):
            os.close(file)


def _is_whole(file: int, size: int) -> bool:
    """Return True if an open file has been filled, with so many bytes."""
    return os.fstat(file).st_size == size and os.pread(file, 1, 0) == bytes([_WHOLE])


def _release(file: int, path: Path, process: int) -> None:
    """Remove the file if nobody else uses it. Forked workers, which share our lock, leave that to us."""
    if os.getpid() != process:
        return
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_at(file, path):
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
