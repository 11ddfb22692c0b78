"""Runs a study: every run in a process of its own, several at a time where that is asked for.

A run's folder says all there is to know, so a study that was stopped, however, goes on by the same command, and several
processes, on one machine or on several that share a disk, can work at one study: each run is locked by who works at it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from ultralytics.cfg.knob import check_whole
from ultralytics.cfg.paths import PACKAGE, program
from ultralytics.engine.run.folder import RunLock
from ultralytics.engine.run.provenance import provenance
from ultralytics.engine.safety.threads import cores
from ultralytics.study.fairness import differences
from ultralytics.study.job import JOB, JOB_FILE, Job, failed
from ultralytics.study.latency import measure
from ultralytics.study.plan import FREE, Run, Study, read_study
from ultralytics.study.record import FAILED, FINISHED, RECORD, TIMES, RunRecord, read_record, write_record
from ultralytics.study.report import write_report
from ultralytics.utils import events
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.files import read_json, stamp, user_path, write_json, write_text
from ultralytics.utils.log import LOGGER, setup_console
from ultralytics.utils.processes import ended_in_order
from ultralytics.utils.text import counted, duration
from ultralytics.utils.yaml import read_yaml

LOCK = ".study.lock"
PLAN, RESULTS, LOG, CALLS = "study.yaml", "study.json", "train.log", "calls.json"
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


def run_study(
    cfg: str | Path,
    out: str | Path | None = None,
    devices: Sequence[int | str] | int | str | None = None,
    jobs: int | None = None,
    fair: bool = True,
) -> list[RunRecord]:
    """Run a study (see `study.plan`), or go on with one; its results lie in `out`. The options are those of the command
    `study`; on a CPU, runs at a time share the cores.

    Returns:
        The records of all runs that have finished or failed, in the order of the study.

    Raises:
        UserError: the study cannot be run, or a run's folder holds another one. A run that fails is no error: it is
            in the records. KeyboardInterrupt, EndedError: it was stopped; the runs under way are saved.
    """
    setup_console()
    study = read_study(cfg)
    folder = study_folder(study, out)
    slots = _slots(devices, jobs)
    study = _with_threads(study, folder, slots)
    words = [f"cfg={study.file.absolute()}", f"out={folder}"]
    words += [f"devices={_comma(devices)}"] if devices is not None else []
    words += [f"jobs={jobs}"] if jobs is not None else []
    words += [] if fair else ["fair=False"]
    runner = Runner(study, folder, slots, program("study", *words, anywhere=True))
    with ended_in_order():
        runner.check()
        _note(folder)
        runner.run()
    return finish(study, folder, fair)


def study_folder(study: Study, out: str | Path | None) -> Path:
    """Return the folder of a study's results."""
    return (user_path(out) if out else Path("runs") / "study" / study.name).absolute()


def _note(folder: Path) -> None:
    """Write into calls.json what the study is run with, by which command and when; earlier calls stay in it."""
    make_folder(folder)
    file = folder / CALLS
    before = None
    if file.is_file():
        with contextlib.suppress(ConfigError):  # damaged, and no result
            before = read_json(file, ConfigError, "there is no record in the file", "")
    command = sys.argv[1:] if sys.argv[1:2] == ["study"] else []
    write_json(file, provenance(torch.device("cpu"), command=command, before=before), key="out")


def make_folder(folder: Path) -> None:
    """Make a folder for results.

    Raises:
        UserError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UserError(f"cannot make it: {e.strerror or e}", str(folder), "choose another out=") from None


def _comma(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _slots(devices: Any, jobs: int | None) -> list[str | None]:
    """Return the device of each run that may be under way at a time; None: the run's own."""
    names: list[str | None] = [w.strip() for w in _comma(devices).split(",")] if devices is not None else [None]
    if not all(n is None or n.isdecimal() or n in ("cpu", "mps") for n in names) or len(set(names)) < len(names):
        raise ConfigError(f"devices={_comma(devices)} must be numbers of GPUs, each once", hint="such as devices=0,1")
    check_whole({"jobs": jobs}, 1)
    count = len(names) if jobs is None else jobs
    return [names[i % len(names)] for i in range(count)]


def _with_threads(study: Study, folder: Path, slots: Sequence[str | None]) -> Study:
    """The study with a number of threads for all its runs on a CPU. Each by itself might choose another, and sums that
    are rounded otherwise are a difference between arms. A study that goes on keeps its number, whatever `jobs` is."""
    device = slots[0] if slots[0] is not None else study.base.get("device")
    on_cpu = device == "cpu" or (device in (None, "auto") and not torch.cuda.is_available())
    given = "threads" in study.base or all("threads" in keys for keys in study.arms.values())
    if given or not on_cpu:
        return study
    begun = folder / PLAN
    before = read_yaml(begun, ConfigError).data if begun.is_file() else None
    base = before.get("base") if isinstance(before, dict) else None
    kept = base.get("threads") if isinstance(base, dict) else None
    threads = kept or max(min(torch.get_num_threads(), cores()) // len(slots), 1)
    return replace(study, base={**study.base, "threads": threads})


class Runner:
    """Works at a study's runs until none is left for it.

    Args:
        study: what to run; out: its folder; slots: the device of each run that may be under way at a time.
        command: what to type to go on, for messages; start: starts the process of a run.
    """

    def __init__(
        self,
        study: Study,
        out: Path,
        slots: Sequence[str | None] = (None,),
        command: str = "",
        start: Start = start_process,
    ) -> None:
        self.study, self.out, self.command, self._start = study, out, command, start
        self.runs = study.runs()
        self._free = list(slots)
        self._slots = len(slots)
        self._working: list[_Working] = []
        self._spent: list[float] = []  # seconds of runs that were done here
        self._elsewhere: dict[str, str] = {}  # runs that other processes work at, and by whom
        # Failed ones are tried once more, unless another process has just done so.
        self._failed_before = {r.name: stamp(self.folder(r) / RECORD) for r in self.runs}

    def folder(self, run: Run) -> Path:
        """Of a run."""
        return self.out / run.name

    def check(self) -> None:
        """Compare every run with what its folder holds.

        Raises:
            ConfigError: a run there has another configuration; the keys are named.
        """
        for run in self.runs:
            file = self.folder(run) / JOB_FILE
            if not file.is_file():
                continue
            hint = "another out=, or remove the folder"
            try:
                before = Job.from_dict(read_json(file, ConfigError, "this is not a job of a study", hint)).run
            except (KeyError, TypeError) as e:
                message = f"this is not a job of a study: {type(e).__name__}: {e}"
                raise ConfigError(message, str(file), hint) from None
            changes = _changed(before.keys, run.keys) or _changed(before.test, run.test, "test: ")
            if changes:
                hint = "another out= for another study, or remove this folder to run it anew"
                raise ConfigError(f"the run there has {changes}", str(self.folder(run)), hint)

    def run(self) -> None:
        """Run what is not finished; returns when nothing is left for this process.

        Raises:
            KeyboardInterrupt, EndedError: a stop was asked for; the runs under way are saved.
        """
        self.check()
        make_folder(self.out)
        write_text(self.out / PLAN, self.study.yaml_text(), key="out")
        done = sum(self._is_done(r) for r in self.runs)
        parts = [counted(len(self.study.arms), "arm"), counted(len(self.study.seeds), "seed")]
        LOGGER.info("Study %s: %s, %d of %d runs done, in %s", self.study.name, " and ".join(parts), done,
                    len(self.runs), self.out)  # fmt: skip
        waiting = [r for r in self.runs if not self._is_done(r)]
        try:
            while waiting or self._working:
                while waiting and self._free:
                    self._take(waiting.pop(0))
                self._look()
                if self._working:
                    time.sleep(PAUSE)
        except (KeyboardInterrupt, SystemExit):  # such as EndedError
            self._stop()
            raise
        except BaseException:
            self._end()
            raise
        for name, who in self._elsewhere.items():
            if not self._is_done(next(r for r in self.runs if r.name == name)):
                LOGGER.info("%s is left to another process: %s", name, who)

    def _is_done(self, run: Run) -> bool:
        """Return True if a run has finished, or failed since this process began."""
        record = read_record(self.folder(run))
        if record is None or record.state == FINISHED:
            return record is not None
        return stamp(self.folder(run) / RECORD) != self._failed_before[run.name]

    def _take(self, run: Run) -> None:
        """Start a run, unless another process works at it or has done it."""
        folder = self.folder(run)
        make_folder(folder)
        try:
            lock = RunLock(folder, LOCK)
        except ConfigError as e:
            self._elsewhere[run.name] = e.what
            return
        if self._is_done(run):
            lock.release()
            return
        device = self._free.pop(0)
        keys = dict(run.keys)
        if device is not None:
            keys["device"] = device
        elif self._slots > 1:
            keys["workers"] = min(int(keys.get("workers", 8)), max(cores() // self._slots, 1))
        try:
            (folder / RECORD).unlink(missing_ok=True)
            begun = (folder / "args.yaml").is_file()
            job = Job(replace(run, keys=keys), str(self.study.file))
            write_json(folder / JOB_FILE, job.to_dict(), key="out")
            process = self._start(folder / JOB_FILE, device)
        except BaseException:
            lock.release()
            raise
        self._working.append(_Working(run, process, lock, device, time.monotonic()))
        number = self.runs.index(run) + 1
        place = "" if device is None else f" on device {device}"
        LOGGER.info(
            "%s %s (run %d of %d)%s", "goes on:" if begun else "begins: ", run.name, number, len(self.runs), place
        )

    def _look(self) -> None:
        """Take in the runs whose processes have ended."""
        for w in list(self._working):
            code = w.process.poll()
            if code is None:
                continue
            self._working.remove(w)
            self._free.append(w.device)
            folder = self.folder(w.run)
            record = read_record(folder)
            if record is None:  # it could not tell any more
                record = failed(w.run, _exit_reason(code))
                write_record(folder, record)
            w.lock.release()
            self._spent.append(time.monotonic() - w.since)
            self._tell(record)

    def _tell(self, record: RunRecord) -> None:
        name = f"{record.arm}-{record.seed}"
        done = sum(self._is_done(r) for r in self.runs)
        events.emit("progress", task="Study", done=done, total=len(self.runs), run=name, state=record.state)
        if record.state == FAILED:
            LOGGER.error("failed:   %s: %s%s", name, record.error, self._left())
            return
        figure = record.figures.get("mAP50-95")
        shown = "" if figure is None else f", mAP50-95 {figure:.4f}"
        LOGGER.info("finished: %s%s in %s%s", name, shown, duration(self._spent[-1]), self._left())

    def _left(self) -> str:
        """Say how many runs are left, and about how long they take."""
        left = sum(not self._is_done(r) and r.name not in self._elsewhere for r in self.runs)
        if not left:
            return ""
        seconds = sum(self._spent) / len(self._spent) * left / self._slots
        return f"; {counted(left, 'run')} left, about {duration(seconds)}"

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


def _changed(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> str:
    """Return the keys that differ, and how; "" where none does that matters."""
    keys = [k for k in dict.fromkeys([*before, *now]) if k not in FREE and before.get(k) != now.get(k)]
    return ", ".join(f"{prefix}{k}={before.get(k)}, and the study says {now.get(k)}" for k in keys)


def _exit_reason(code: int) -> str:
    """Say how a process ended that left no record."""
    if code == -getattr(signal, "SIGKILL", 9):
        return f"its process was killed (no memory left?); {LOG} holds what it said"
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}; {LOG} holds what it said"
    return f"its process ended with exit code {code}; {LOG} holds what it said"


def collect(study: Study, out: Path) -> dict[str, Any]:
    """Return the content of study.json: the study, its records in the study's order, and apart from them what another
    run of the same study would not have, its times."""
    found = [read_record(out / f"{arm}-{seed}") for seed in study.seeds for arm in study.arms]
    records = [r for r in found if r is not None]
    plain, times = [], dict[str, dict[str, float]]()
    for record in records:
        cost = {k: v for k, v in record.cost.items() if not k.endswith(TIMES)}
        plain.append(replace(record, cost=cost).to_dict())
        times[f"{record.arm}-{record.seed}"] = {k: v for k, v in record.cost.items() if k.endswith(TIMES)}
    unequal = differences(records, study.control, study.declared)
    return {"study": study.to_dict(), "records": plain, "differences": unequal, "times": times}


def finish(study: Study, out: Path, fair: bool) -> list[RunRecord]:
    """Write study.json and, of what has finished, the report; returns the records."""
    data = collect(study, out)
    write_json(out / RESULTS, data, key="out")
    records = [RunRecord.from_dict(r) for r in data["records"]]
    if any(r.state == FINISHED for r in records):
        measure(out, records)
        write_report(out, fair)
    return records


def complaint(records: Sequence[RunRecord]) -> UserError | None:
    """Return the error of a study in which runs have failed: which, and why the first one did."""
    lost = [r for r in records if r.state == FAILED]
    if not lost:
        return None
    names = ", ".join(f"{r.arm}-{r.seed}" for r in lost)
    message = f"{counted(len(lost), 'run')} of {len(records)} failed: {names}"
    return UserError(f"{message}; {lost[0].arm}-{lost[0].seed}: {lost[0].error}", hint="the same command tries again")
