"""Run directories, and the lock on one."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import weakref
from pathlib import Path
from typing import IO, NamedTuple

from ultralytics.cfg.config import Config
from ultralytics.engine.ranks.lifeline import remember_run
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.files import is_at, lock, read_bytes, user_path
from ultralytics.utils.output_path import make_folder

RUNS = Path("runs")


def project_of(args: Config) -> Path:
    """Return the folder that a run's folder is made in: `project`, by default runs/TASK below the working folder."""
    return user_path(args.project or RUNS / args.task)


def new_run_dir(project: str | Path, name: str, exist_ok: bool = False) -> Path:
    """Make and return `project/name`, `project/name2`, … the first that does not exist; the first itself with
    `exist_ok`."""
    parent = user_path(project)
    for number in range(1, 100_000):
        path = parent / (name if number == 1 else f"{name}{number}")
        try:
            path.mkdir(parents=True, exist_ok=exist_ok)
        except FileExistsError:
            if exist_ok:
                raise ConfigError(
                    "this is a file, so no run can be kept there", str(path), "choose another name="
                ) from None
            continue
        except OSError as e:
            raise UserError(
                f"cannot make the run folder: {e.strerror or e}", str(path), "choose another project="
            ) from None
        return path
    raise ConfigError(f"over 100,000 runs named {name}", str(parent), "choose another name=")


def result_folder(out: str | Path | None, name: str) -> Path:
    """Make and return the folder that a user names; without one a new `runs/NAME`, numbered.

    Raises:
        UserError: it cannot be made.
    """
    if out:
        folder = user_path(out)
        make_folder(folder)
        return folder
    try:
        return new_run_dir(RUNS, name)
    except UserError as e:  # that of run folders names project=
        raise UserError(e.what, e.where, "choose another out=") from None


def named_run_dir(project: str | Path, name: str) -> Path:
    """Make and return `project/name`, or take it as a run that never began has left it.

    Raises:
        ConfigError: it holds files that a run would overwrite.
    """
    path = user_path(project) / name
    results = ("args.yaml", "results.csv", "metrics.json")
    found = [p for p in [*(path / n for n in results), *path.glob("weights/*")] if p.exists()]
    if found:
        reason = f"it holds {found[0].relative_to(path)}, but no run that can go on"
        raise ConfigError(reason, str(path), "choose another name=, or remove it")
    return new_run_dir(project, name, exist_ok=True)


def files_in(folder: Path) -> list[Path]:
    """Return what lies in a run's folder and its weights folder, besides the lock."""
    found = (*(folder / "weights").glob("*"), *folder.iterdir())
    return [p for p in found if p != folder / "weights" and p.name != LOCK_FILE]


def remove_empty_folder(folder: Path, leads: bool) -> None:
    """Leave no folder of a run that never began, unless something besides its lock is in it; by the process that
    `leads` alone."""
    if not leads:
        return
    if not files_in(folder):
        with contextlib.suppress(OSError):  # Windows removes no file that is open
            (folder / LOCK_FILE).unlink()
    for empty in (folder / "weights", folder):
        with contextlib.suppress(OSError):
            empty.rmdir()


def make_run_folder(args: Config, resumed: Path | None, by_name: bool, many: bool) -> Path:
    """Make the folder of a run, or take that of the run that is resumed, and remember it for ranks that torchrun may
    have to start anew; `by_name`: a run of this name goes on, or begins in that very folder."""
    if resumed is not None:
        folder = resumed
    elif by_name and not args.exist_ok:
        folder = named_run_dir(project_of(args), str(args.name))
    else:
        folder = new_run_dir(project_of(args), args.name or "train", args.exist_ok)
    (folder / "weights").mkdir(exist_ok=True)
    if many:
        remember_run(folder)
    return folder


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
            reason = f"cannot be written: {e.strerror or e}"
            raise UserError(reason, str(self.path.parent), "choose another project=") from None

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


class Holder(NamedTuple):
    """Who has locked a run's folder: as its lock names it, and whether it lives; None: it is of another machine."""

    name: str
    alive: bool | None


def read_holder(folder: Path) -> Holder | None:
    """Return who trains in a folder, or was killed while it did; None where nobody does. The lock itself is not
    touched: to try it could hinder a run that begins at this moment."""
    try:
        text = read_bytes(folder / LOCK_FILE, 200).decode("utf-8", "replace").strip()
    except OSError:
        return None
    found = re.fullmatch(r"process (\d{1,9}) on (.*)", text)
    if not found or found[2] != socket.gethostname() or os.name == "nt":  # where asking for a process ends it
        return Holder(text or "a process", None)
    try:
        os.kill(int(found[1]), 0)
    except PermissionError:
        return Holder(text, True)
    except OSError:
        return Holder(text, False)
    return Holder(text, True)


LOCK_FILE = ".lock"
_HELD: weakref.WeakSet[RunLock] = weakref.WeakSet()


def _drop_in_child() -> None:
    """A lock lasts as long as any process has its file open; a forked worker may outlive a killed run by seconds."""
    for held in list(_HELD):
        held._drop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_in_child)
