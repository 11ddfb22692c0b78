"""Runs a study: every run in a process of its own, several at a time where that is asked for.

A run's folder says all there is to know, so a study that was stopped, however, goes on by the same command, and several
processes, on one machine or on several that share a disk, can work at one study: each run is locked by who works at it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ultralytics.cfg.paths import program
from ultralytics.engine.run.provenance import provenance
from ultralytics.models.yolo.task import task_named
from ultralytics.models.yolo.weights import guess_model_task
from ultralytics.nn.plugins import load_plugins
from ultralytics.study.fairness import differences
from ultralytics.study.job import JOB_FILE, TEST_KEYS, Job
from ultralytics.study.latency import measure
from ultralytics.study.plan import Run, Study, read_study
from ultralytics.study.pool import (
    Pool,
    Start,
    changed,
    comma,
    earlier_job,
    fixed_threads,
    slots_of,
    start_process,
)
from ultralytics.study.record import FAILED, FINISHED, RECORD, RunRecord, read_record
from ultralytics.study.report import TABLES, is_written, plain_records, write_held_report, writing
from ultralytics.study.tune.arms import tune_arms, tuning_fact
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.files import read_json, stamp, user_path, write_json, write_text
from ultralytics.utils.log import LOGGER, setup_console
from ultralytics.utils.output_path import make_folder
from ultralytics.utils.processes import ended_in_order
from ultralytics.utils.text import counted
from ultralytics.utils.yaml import read_yaml

PLAN, RESULTS, CALLS = "study.yaml", "study.json", "calls.json"


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
    check_data(study, unfinished_arms(study, folder))
    slots = slots_of(devices, jobs)
    study = _with_threads(study, folder, slots)
    words = [f"cfg={study.file.absolute()}", f"out={folder}"]
    words += [f"devices={comma(devices)}"] if devices is not None else []
    words += [f"jobs={jobs}"] if jobs is not None else []
    words += [] if fair else ["fair=False"]
    command = program("study", *words, anywhere=True)
    with ended_in_order():
        if study.tune is not None:
            make_folder(folder)
            write_text(folder / PLAN, study.yaml_text(), key="out")
            study = tune_arms(study, folder, slots, command)
        runner = Runner(study, folder, slots, command)
        runner.check()
        _note(folder)
        runner.run()
    return finish(study, folder, fair)


def study_folder(study: Study, out: str | Path | None) -> Path:
    """Return the folder of a study's results."""
    return (user_path(out) if out else Path("runs") / "study" / study.name).absolute()


def unfinished_arms(study: Study, folder: Path) -> list[str]:
    """Return the arms of which a run has not finished in a study's folder."""

    def finished(arm: str, seed: int) -> bool:
        record = read_record(folder / f"{arm}-{seed}")
        return record is not None and record.state == FINISHED

    return [arm for arm in study.arms if not all(finished(arm, seed) for seed in study.seeds)]


def check_data(study: Study, arms: Collection[str]) -> None:
    """Read the dataset of each of these arms and find the images of train, of val and of its test.

    Raises:
        UserError: a dataset cannot be used; the arm is named.
    """
    for arm in arms:
        run = study.run(arm, study.seeds[0])
        tested = run.test.get("data", run.keys["data"])
        needs = {run.keys["data"]: ["train", "val"]}
        needs.setdefault(tested, []).append(run.test.get("split", TEST_KEYS["split"]))
        try:
            load_data = task_named(guess_model_task(run.keys["model"])).load_data
            for data, splits in needs.items():
                spec = load_data(data, needs=[s for s in ("train", "val") if s in splits])
                for split in dict.fromkeys(s if s in spec.splits else "val" for s in splits):
                    spec.split(split)
        except UserError as e:
            raise type(e)(f"the data of the arm {arm!r}: {e.what}", e.where, e.hint) from None


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


def _with_threads(study: Study, folder: Path, slots: Sequence[str | None]) -> Study:
    """The study with a number of threads for all its runs on a CPU, but for arms whose recipe has one. A study that
    goes on keeps its number, whatever `jobs` is."""
    lacking = [arm for arm in study.arms if "threads" not in study.run(arm, study.seeds[0]).keys]
    if not lacking:
        return study
    begun = folder / PLAN
    before = read_yaml(begun, ConfigError).data if begun.is_file() else None
    own = before.get("arms") if isinstance(before, dict) else None
    places = [before.get("base")] if isinstance(before, dict) else []
    places += [own.get(arm) for arm in lacking] if isinstance(own, dict) else []
    kept = next((p["threads"] for p in places if isinstance(p, dict) and "threads" in p), None)
    threads = fixed_threads(study.base.get("device"), kept, slots)
    if threads is None:
        return study
    if len(lacking) == len(study.arms):
        return replace(study, base={**study.base, "threads": threads})
    given = {arm: {"threads": threads} for arm in lacking}
    return replace(study, arms={arm: {**keys, **given.get(arm, {})} for arm, keys in study.arms.items()})


class Runner:
    """Works at a study's runs until none is left for it.

    Args:
        study: what to run; out: its folder; slots: the device of each run that may be under way at a time.
        command: what to type to go on, for messages; start: starts the process of a run.
    """

    title = "Study"

    def __init__(
        self,
        study: Study,
        out: Path,
        slots: Sequence[str | None] = (None,),
        command: str = "",
        start: Start = start_process,
    ) -> None:
        self.study, self.out = study, out
        self.runs = study.runs()
        self.pool = Pool(self, out, slots, command, start)
        self._waiting: list[Run] = []
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
            before = earlier_job(file).run
            changes = changed(before.keys, run.keys) or changed(before.test, run.test, "test: ")
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
        self._waiting = [r for r in self.runs if not self.is_done(r)]
        parts = [counted(len(self.study.arms), "arm"), counted(len(self.study.seeds), "seed")]
        LOGGER.info("Study %s: %s, %d of %d runs done, in %s", self.study.name, " and ".join(parts),
                    len(self.runs) - len(self._waiting), len(self.runs), self.out)  # fmt: skip
        self.pool.run()
        for name, who in self.pool.elsewhere.items():
            if not self.is_done(next(r for r in self.runs if r.name == name)):
                LOGGER.info("%s is left to another process: %s", name, who)

    def following(self) -> Job | None:
        """Return the next run."""
        if not self._waiting:
            return None
        run, tuned = self._waiting.pop(0), self.study.tuned
        facts = {"tuning": tuning_fact(tuned[run.arm], str((self.study.tune or {})["metric"]))} if tuned else {}
        return Job(run, str(self.study.file), facts)

    def is_done(self, run: Run) -> bool:
        """Return True if a run has finished, or failed since this process began."""
        record = read_record(self.folder(run))
        if record is None or record.state == FINISHED:
            return record is not None
        return stamp(self.folder(run) / RECORD) != self._failed_before[run.name]

    def number(self, run: Run) -> str:
        """Return which run of the study it is."""
        return f"run {self.runs.index(run) + 1} of {len(self.runs)}"

    def left(self, elsewhere: Collection[str]) -> int:
        """Count the runs that are left for this process."""
        return sum(not self.is_done(r) and r.name not in elsewhere for r in self.runs)

    def ended(self, record: RunRecord) -> str:
        """Return a run's figure, for the message."""
        metric = task_named(record.task).figures.metric
        figure = record.figures.get(metric)
        return "" if figure is None else f", {metric} {figure:.4f}"

    def done(self) -> tuple[int, int]:
        """Count the runs that are done, and all."""
        return sum(map(self.is_done, self.runs)), len(self.runs)


def collect(study: Study, out: Path) -> dict[str, Any]:
    """Return the content of study.json: the study, its records in the study's order, and apart from them what another
    run of the same study would not have, its times."""
    found = [read_record(out / f"{arm}-{seed}") for seed in study.seeds for arm in study.arms]
    records = [r for r in found if r is not None]
    plain, times = plain_records(records)
    unequal = differences(records, study.control, study.declared)
    data = {"study": study.to_dict(), "records": plain, "differences": unequal, "times": times}
    return data | ({"tuned": dict(study.tuned)} if study.tuned else {})


def finish(study: Study, out: Path, fair: bool) -> list[RunRecord]:
    """Write study.json and, of what has finished, the report; returns the records. Of processes that end at once, one
    writes, and the others go by that where it holds what they know."""
    with writing(out) as waited:
        data = collect(study, out)
        records = [RunRecord.from_dict(r) for r in data["records"]]
        if waited and is_written(out, data["records"], fair):
            LOGGER.info("report   %s, which another process has written", out / TABLES[0])
            return records
        write_json(out / RESULTS, data, key="out")
        if any(r.state == FINISHED for r in records):
            runs = [study.run(arm, study.seeds[0]) for arm in study.arms]
            measure(out, records, plugins=lambda: load_plugins([file for run in runs for file in run.plugins]))
            write_held_report(out, fair)
    return records


def complaint(records: Sequence[RunRecord]) -> UserError | None:
    """Return the error of a study in which runs have failed: which, and why the first one did."""
    lost = [r for r in records if r.state == FAILED]
    if not lost:
        return None
    names = ", ".join(f"{r.arm}-{r.seed}" for r in lost)
    message = f"{counted(len(lost), 'run')} of {len(records)} failed: {names}"
    return UserError(f"{message}; {lost[0].arm}-{lost[0].seed}: {lost[0].error}", hint="the same command tries again")
