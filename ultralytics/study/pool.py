"""Runs in processes of their own, so many at a time: what studies and tunes have in common.

A run's folder says all there is to know, so work that was stopped, however, goes on by the same command, and several
processes can share it: each run is locked by who works at it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from ultralytics.cfg.config import KNOBS
from ultralytics.cfg.knob import check_whole
from ultralytics.cfg.paths import PACKAGE
from ultralytics.engine.run.folder import RunLock
from ultralytics.engine.safety.threads import cores
from ultralytics.study.job import JOB, JOB_FILE, Job, failed
from ultralytics.study.plan import FREE, Run
from ultralytics.study.record import FAILED, RECORD, RunRecord, read_record, write_record
from ultralytics.utils import events
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.files import read_json, write_json
from ultralytics.utils.log import LOGGER
from ultralytics.utils.output_path import make_folder
from ultralytics.utils.processes import signal_name
from ultralytics.utils.text import counted, duration

LOCK = ".study.lock"
LOG = "train.log"
PAUSE = 0.2  # seconds between two looks at the processes
PATIENCE = 120.0  # seconds that a run has to save after a stop was asked for


class Process(Protocol):
    """What the runner needs of a run's process; `subprocess.Popen` is one."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit code once it has ended, below 0 by a signal."""

    def terminate(self) -> None:
        """Ask it to save and leave."""

    def kill(self) -> None:
        """End it at once."""


Start = Callable[[Path, str | None], Process]


def start_process(file: Path, device: str | None) -> Process:
    """Start a run's process in its folder's train.log.

    Args:
        file: its job; device: the one it is bound to, for messages of other programs; None for the run's own.
    """
    words = [sys.executable, str(PACKAGE), JOB, str(file), str(os.getpid())]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with open(file.with_name(LOG), "ab") as log:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C is this process's to pass on, once
        )


@dataclass
class _Working:
    """A run under way."""

    run: Run
    process: Process
    lock: RunLock
    device: str | None
    since: float


class Work(Protocol):
    """What there is to run, in its order."""

    title: str  # of its progress

    def following(self) -> Job | None:
        """Return a run to begin now; None where none can begin yet, or none is left."""

    def is_done(self, run: Run) -> bool:
        """Return True if a run needs no process any more."""

    def number(self, run: Run) -> str:
        """Return which of how many it is, "run 3 of 12"."""

    def left(self, elsewhere: Collection[str]) -> int:
        """Count the runs that are not done, those under way included; without those that others work at, by name."""

    def ended(self, record: RunRecord) -> str:
        """Take what has become of a run; returns what to say of one that has not failed."""

    def done(self) -> tuple[int, int]:
        """Return how many are done, and of how many: runs, or trials."""


class Pool:
    """Works at runs until none is left for it.

    Args:
        work: what to run; out: the folder of their folders; slots: the device of each run that may be under way at a
            time.
        command: what to type to go on, for messages; start: starts the process of a run.
    """

    def __init__(
        self, work: Work, out: Path, slots: Sequence[str | None], command: str = "", start: Start = start_process
    ) -> None:
        self.work, self.out, self.command, self._start = work, out, command, start
        self._free = list(slots)
        self._slots = len(slots)
        self._working: list[_Working] = []
        self._spent: list[float] = []  # seconds of runs that were done here
        self._since = 0.0  # when it began to run
        self.elsewhere: dict[str, str] = {}  # runs that other processes work at, and by whom

    def run(self) -> None:
        """Run what is not done; returns when nothing is left for this process.

        Raises:
            KeyboardInterrupt, EndedError: a stop was asked for; the runs under way are saved.
        """
        self._since = time.monotonic()
        try:
            while True:
                while self._free and (job := self.work.following()) is not None:
                    self._take(job)
                if not self._working:
                    return
                self._look()
                if self._working:
                    time.sleep(PAUSE)
        except (KeyboardInterrupt, SystemExit):  # such as EndedError
            self._stop()
            raise
        except BaseException:
            self._end()
            raise

    def _take(self, job: Job) -> None:
        """Start a run, unless another process works at it or has done it."""
        run = job.run
        folder = self.out / run.name
        make_folder(folder)
        try:
            lock = RunLock(folder, LOCK)
        except ConfigError as e:
            self.elsewhere[run.name] = e.what
            return
        except UserError as e:  # that of run folders names project=
            raise UserError(e.what, e.where, "free some space or choose another out=") from None
        if self.work.is_done(run):
            lock.release()
            return
        device = self._free.pop(0)
        keys = dict(run.keys)
        if device is not None:
            keys["device"] = device
        elif self._slots > 1:
            keys["workers"] = min(int(keys.get("workers", KNOBS["workers"].default)), max(cores() // self._slots, 1))
        try:
            (folder / RECORD).unlink(missing_ok=True)
            begun = (folder / "args.yaml").is_file()
            write_json(folder / JOB_FILE, replace(job, run=replace(run, keys=keys)).to_dict(), key="out")
            process = self._start(folder / JOB_FILE, device)
        except BaseException:
            lock.release()
            raise
        self._working.append(_Working(run, process, lock, device, time.monotonic()))
        place = "" if device is None else f" on device {device}"
        LOGGER.info("%s %s (%s)%s", "goes on:" if begun else "begins: ", run.name, self.work.number(run), place)

    def _look(self) -> None:
        """Take in the runs whose processes have ended."""
        for w in list(self._working):
            code = w.process.poll()
            if code is None:
                continue
            self._working.remove(w)
            self._free.append(w.device)
            folder = self.out / w.run.name
            record = read_record(folder)
            if record is None:  # it could not tell any more
                record = failed(w.run, _exit_reason(code))
                write_record(folder, record)
            w.lock.release()
            self._spent.append(time.monotonic() - w.since)
            self._tell(record)

    def _tell(self, record: RunRecord) -> None:
        name, shown = f"{record.arm}-{record.seed}", self.work.ended(record)
        done, total = self.work.done()
        events.emit("progress", task=self.work.title, done=done, total=total, run=name, state=record.state,
                    elapsed=time.monotonic() - self._since, left=self._seconds_left())  # fmt: skip
        if record.state == FAILED:
            LOGGER.error("failed:   %s: %s%s", name, record.error, self._left())
            return
        LOGGER.info("%-9s %s%s in %s%s", f"{record.state}:", name, shown, duration(self._spent[-1]), self._left())

    def _left(self) -> str:
        """Say how many runs are left, and about how long they take."""
        left = self.work.left(self.elsewhere)
        if not left:
            return ""
        return f"; {counted(left, 'run')} left, about {duration(self._seconds_left())}"

    def _seconds_left(self) -> float:
        """Guess the time of the runs that are left, from that of those done here."""
        return sum(self._spent) / len(self._spent) * self.work.left(self.elsewhere) / self._slots

    def _stop(self) -> None:
        """Let the runs under way save, and tell how to go on; a further Ctrl-C ends them at once."""
        if self._working:
            LOGGER.info("Stopping: the runs under way are saved (Ctrl-C once more: at once, without saving)")
        for w in self._working:
            w.process.terminate()
        until = time.monotonic() + PATIENCE
        try:
            while any(w.process.poll() is None for w in self._working) and time.monotonic() < until:
                time.sleep(PAUSE)
        except KeyboardInterrupt:
            pass
        finally:
            self._end()
        LOGGER.info("Go on with: %s", self.command)

    def _end(self) -> None:
        for w in self._working:
            if w.process.poll() is None:
                w.process.kill()
            w.lock.release()
        self._working.clear()


def _exit_reason(code: int) -> str:
    """Say how a process ended that left no record."""
    if code == -getattr(signal, "SIGKILL", 9):
        return f"its process was killed (no memory left?); {LOG} holds what it said"
    if code < 0:
        return f"its process was ended by {signal_name(-code)}; {LOG} holds what it said"
    return f"its process ended with exit code {code}; {LOG} holds what it said"


def comma(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def slots_of(devices: Any, jobs: int | None) -> list[str | None]:
    """Return the device of each run that may be under way at a time; None: the run's own."""
    names: list[str | None] = [w.strip() for w in comma(devices).split(",")] if devices is not None else [None]
    if not all(n is None or n.isdecimal() or n in ("cpu", "mps") for n in names) or len(set(names)) < len(names):
        raise ConfigError(f"devices={comma(devices)} must be numbers of GPUs, each once", hint="such as devices=0,1")
    check_whole({"jobs": jobs}, 1)
    count = len(names) if jobs is None else jobs
    return [names[i % len(names)] for i in range(count)]


def fixed_threads(device: Any, kept: Any, slots: Sequence[str | None]) -> int | None:
    """Return a number of threads for all runs on a CPU. Each by itself might choose another, and sums that are rounded
    otherwise are a difference between runs. None where they are on another device.

    Args:
        device: the key of the runs; kept: the number that the work began with; slots: as of `Pool`.
    """
    device = slots[0] if slots[0] is not None else device
    if device != "cpu" and (device not in (None, "auto") or torch.cuda.is_available()):
        return None
    return kept or max(min(torch.get_num_threads(), cores()) // len(slots), 1)


def earlier_job(file: Path) -> Job:
    """Read the job in a run's folder.

    Raises:
        ConfigError: it is none.
    """
    hint = "another out=, or remove the folder"
    try:
        job = Job.from_dict(read_json(file, ConfigError, "this is not a job of a study", hint))
        if not (isinstance(job.run.keys, dict) and isinstance(job.run.test, dict)):
            raise TypeError("keys or test is not a mapping")
        return job
    except (KeyError, TypeError) as e:
        message = f"this is not a job of a study: {type(e).__name__}: {e}"
        raise ConfigError(message, str(file), hint) from None


def changed(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "", what: str = "study") -> str:
    """Return the keys that differ, and how; "" where none does that matters."""
    keys = [k for k in dict.fromkeys([*before, *now]) if k not in FREE and before.get(k) != now.get(k)]
    return ", ".join(f"{prefix}{k}={before.get(k)}, and the {what} says {now.get(k)}" for k in keys)
