"""Run directories, and the lock on one."""

from __future__ import annotations

import contextlib
import os
import socket
import weakref
from pathlib import Path
from typing import IO

from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.files import is_at, lock, user_path

DEFAULT_PROJECT = Path("runs") / "detect"


def new_run_dir(project: str | Path | None, name: str, exist_ok: bool = False) -> Path:
    """Make and return `project/name`, `project/name2`, … the first that does not exist; the first itself with
    `exist_ok`.

    `project` defaults to runs/detect below the working folder.
    """
    parent = user_path(project or DEFAULT_PROJECT)
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


def named_run_dir(project: str | Path | None, name: str) -> Path:
    """Make and return `project/name`, or take it as a run that never began has left it.

    Raises:
        ConfigError: it holds files that a run would overwrite.
    """
    path = user_path(project or DEFAULT_PROJECT) / name
    results = ("args.yaml", "results.csv", "metrics.json")
    found = [p for p in [*(path / n for n in results), *path.glob("weights/*")] if p.exists()]
    if found:
        told = f"it holds {found[0].relative_to(path)}, but no run that can go on"
        raise ConfigError(told, str(path), "choose another name=, or remove it")
    return new_run_dir(project, name, exist_ok=True)


class RunLock:
    """A run folder for one process at a time.

    The system lets go of the lock when its process ends, however it ends: a lock file that a killed run left behind
    hinders nobody. Worker processes do not hold it. Where the system has no such locks, nothing is locked.

    Args:
        folder: of the run; a hidden file is made in it.
        name: of that file; locks of other names hold at the same time.

    Raises:
        ConfigError: another process, or another trainer of this one, holds it.
    """

    def __init__(self, folder: Path, name: str = "") -> None:
        self.path = folder / (name or LOCK_FILE)
        self._file: IO[bytes] | None = None
        while self._file is None:
            file = self._open()
            taken = lock(file)
            if taken is False:
                holder = file.read(200).decode("utf-8", "replace").strip() or "another process"
                file.close()
                raise ConfigError(
                    f"{holder} is training in this folder", str(folder), "wait for it, or choose another name="
                )
            if taken is None or is_at(file, self.path):
                self._file = file
            else:
                file.close()  # its holder removed it between our two steps
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a name in it
            self._file.truncate(0)
            self._file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
            self._file.flush()
        _HELD.add(self)

    def _open(self) -> IO[bytes]:
        try:
            return open(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        except OSError as e:
            told = f"cannot be written: {e.strerror or e}"
            raise UserError(told, str(self.path.parent), "choose another project=") from None

    def release(self) -> None:
        """Let the folder go."""
        if self._file is not None:
            ours = is_at(self._file, self.path)
            if os.name == "nt":  # where a file that is open cannot be removed
                self._drop()
            if ours:
                with contextlib.suppress(OSError):
                    self.path.unlink()
            self._drop()

    def _drop(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


LOCK_FILE = ".lock"
_HELD: weakref.WeakSet[RunLock] = weakref.WeakSet()


def _drop_in_child() -> None:
    """A lock lasts as long as any process has its file open; a forked worker may outlive a killed run by seconds."""
    for held in list(_HELD):
        held._drop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_in_child)
