"""Runs a tune: trial by trial, each in a process of its own, several at a time where that is asked for.

Trial n is suggested from the values of the trials up to n − LAG, and from the settings, not the values, of those after:
LAG is the number of trials that may be under way at a time, and is settled when the tune begins. So a suggestion
depends on no process's speed, and on no stop; a trial that is late lets the next one wait.
"""

from __future__ import annotations

import inspect
import json
import os
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ultralytics.cfg.config import KNOBS, get_cfg
from ultralytics.cfg.knob import check_whole
from ultralytics.cfg.paths import find_model_yaml, program
from ultralytics.cfg.values import METRICS, SET_BY_TUNE
from ultralytics.engine.ranks.launch import several_devices
from ultralytics.engine.run.folder import RunLock
from ultralytics.models.yolo.modes import task_for
from ultralytics.models.yolo.task import task_named
from ultralytics.study.job import JOB_FILE, Job
from ultralytics.study.plan import Run
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
from ultralytics.study.tune.options import TuneOptions, read_options
from ultralytics.study.tune.report import PLAN, Trial, best_of, write_results, write_tune_report
from ultralytics.study.tune.space import FIXED, fit_space
from ultralytics.study.tune.suggest import Past, need_optuna, suggest
from ultralytics.study.tune.trial import least_fitness
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.files import missing, user_path, write_text
from ultralytics.utils.log import LOGGER, setup_console
from ultralytics.utils.output_path import make_folder
from ultralytics.utils.processes import ended_in_order
from ultralytics.utils.text import counted
from ultralytics.utils.yaml import read_yaml

LOCK = ".tune.lock"
MOST_FAILED_FIRST = 3  # failed trials, and none that has not, after which a tune stops
ELSEWHERE = "another out=, or remove the folder"
ANEW = "remove that folder and begin anew, once the cause is gone"
OWN = (*SET_BY_TUNE, "seed")  # keys that no trial is given
PATHS = ("model", "data", "pretrained", "teacher", "adapter", "cfg", "plugins", "space")


@dataclass(frozen=True)
class Tuned:
    """What a tune has found."""

    out: Path  # its folder
    values: Mapping[str, Any]  # of the best trial, by key of the space
    value: float  # its metric on val
    trials: Sequence[Trial]  # all that have ended

    @property
    def recipe(self) -> Path:
        """Return the file for `cfg=`."""
        return self.out / "best_hyperparameters.yaml"


def run_tune(
    keys: Mapping[str, Any],
    out: str | Path | None = None,
    trials: int | None = None,
    space: Any = None,
    metric: str | None = None,
    prune: bool | None = None,
    seeds: int | Sequence[int] | None = None,
    sampler: str | None = None,
    devices: Sequence[int | str] | int | str | None = None,
    jobs: int | None = None,
    source: str = "argument",
) -> Tuned:
    """Search the best settings of a training, or go on with a search; its results lie in `out`.

    Args:
        keys: those of `train` for all trials, `cfg` included.
        source: of the keys; the other options are those of the command `tune`.

    Raises:
        UserError: the tune cannot be run, its folder holds another one, or every trial has failed. KeyboardInterrupt,
            EndedError: it was stopped; the trials under way are saved.
    """
    setup_console()
    need_optuna()
    slots = slots_of(devices, jobs)
    own = {"trials": trials, "space": space, "metric": metric, "prune": prune, "seeds": seeds, "sampler": sampler}
    base = base_keys({k: v for k, v in keys.items() if k != "seed"}, source)
    check_whole({"seed": keys.get("seed")}, 0)
    seed = keys.get("seed") or 0
    given = {k: v for k, v in own.items() if v is not None}
    options = read_options(given, file_of=_in_full, seed=seed)
    folder = tune_folder(out, base)
    typed = {k: _in_full(k, v) for k, v in {**keys, **own}.items() if v is not None}
    words = [f"{k}={_option_text(v)}" for k, v in typed.items()]
    words += [f"devices={comma(devices)}"] if devices is not None else []
    words += [f"jobs={jobs}"] if jobs is not None else []
    search = Search(base, options, folder, slots, program("tune", *words, f"out={folder}", anywhere=True))
    with ended_in_order():
        return search.run()


def tune_with(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> Tuned:
    """Run a tune of keyword arguments, options of the tune and keys of `train` together."""
    own = {k: v for k, v in {**defaults, **given}.items() if k in _OPTIONS}
    return run_tune({k: v for k, v in given.items() if k not in own}, **own)


_OPTIONS = [name for name in inspect.signature(run_tune).parameters if name not in ("keys", "source")]


def _option_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, dict | list) else str(value)


def tune_folder(out: str | Path | None, base: Mapping[str, Any]) -> Path:
    """Return the folder of a tune's results."""
    return (user_path(out) if out else Path("runs") / "tune" / Path(str(base.get("model", "tune"))).stem).absolute()


def base_keys(keys: Mapping[str, Any], source: str = "argument") -> dict[str, Any]:
    """Return the keys of all trials, recipe included, as far as they were given; files by their full paths.

    Raises:
        UserError: a key is not possible, or is one that the tune sets itself.
    """
    full = {k: _in_full(k, v) for k, v in keys.items()}
    config = get_cfg(full.pop("cfg", None), {"plots": False, **full}, source)
    given = config.given()
    for key in OWN:
        if key in keys and given.get(key) != KNOBS[key].default:
            hint = FIXED.get(key, "leave it out: trials are compared by their validation")
            raise ConfigError(f"{key}={keys[key]} is not a key of a tune", hint=hint)
    return {k: v for k, v in given.items() if k not in OWN}


def _in_full(key: str, value: Any) -> Any:
    """Return a path that is there in full, as the tune may go on from another folder; any other value as it is."""
    if isinstance(value, list | tuple):
        return [_in_full(key, v) for v in value]
    if key not in PATHS or not isinstance(value, str) or not value:
        return value
    path = user_path(value)
    there = os.path.isfile(path) or (key == "data" and os.path.isdir(path))  # class folders
    return str(path.absolute()) if there else value


class Search:
    """A tune at work.

    Args:
        base: keys of all trials, resolved; options: of the tune; out: its folder; slots: as of `Pool`.
        command: what to type to go on, for messages; start: starts the process of a run.
    """

    title = "Tune"

    def __init__(
        self,
        base: Mapping[str, Any],
        options: TuneOptions,
        out: Path,
        slots: Sequence[str | None] = (None,),
        command: str = "",
        start: Start = start_process,
        propose: Callable[..., dict[str, Any]] = suggest,
    ) -> None:
        space, lines = fit_space(options.space, base, options.default)
        self.options, self.out = replace(options, space=space), out
        for line in lines:
            LOGGER.warning(line)
        before = _read_plan(self.out / PLAN)
        self.lag: int = before.get("lag", len(slots))
        self.base = _keep_threads(dict(base), before, slots)
        self.pool = Pool(self, out, slots, command, start)
        self._propose = propose
        self._values: list[dict[str, Any]] = []  # of the trials that have begun
        self._ended: dict[int, Trial] = {}
        self._handed: set[str] = set()  # names of runs under way

    # Beginning and end

    def run(self) -> Tuned:
        """Run the trials that are left; returns what was found.

        Raises:
            UserError: every trial has failed, or another process works at this tune.
        """
        self.check()
        make_folder(self.out)
        try:
            lock = RunLock(self.out, LOCK)
        except UserError as e:  # that of run folders names other options
            raise type(e)(e.what, e.where, "wait for it, or choose another out=") from None
        try:
            write_text(self.out / PLAN, _plan_text(self._plan()), key="out")
            self._look_back()
            LOGGER.info("Tune: %s, %d of %d trials done, in %s", counted(len(self.options.space), "key"),
                        len(self._trials()), self.options.trials, self.out)  # fmt: skip
            self.pool.run()
            for name, who in self.pool.elsewhere.items():
                raise UserError(f"{name} is left to another process: {who}", str(self.out), "wait for it")
            write_results(self.out, self._plan(), self._trials())
            write_tune_report(self.out)
        finally:
            lock.release()
        return self._tuned()

    def check(self) -> None:
        """Refuse what no trial could run with, and a folder that holds another tune.

        Raises:
            UserError: what is wrong.
        """
        models = self.options.space["model"].choices if "model" in self.options.space else (self.base.get("model"),)
        for model in models:
            if not model:
                raise ConfigError("model is missing", hint="such as model=yolov8n.yaml")
            if str(model).endswith((".yaml", ".yml")):
                find_model_yaml(model)
        for file in (*models, *(self.base.get(key) for key in ("pretrained", "teacher", "adapter"))):
            if isinstance(file, str) and file.endswith(".pt") and not user_path(file).is_file():
                raise missing("weights file", user_path(file))
        for key in ("save", "val"):
            if self.base.get(key) is False:
                raise ConfigError(f"{key}=False is not possible in a tune", hint="trials are compared by val")
        if not self.base.get("data"):
            raise ConfigError("data is missing", hint="such as data=data/mine/data.yaml")
        _check_data(self.base, models, self.options.metric)
        if self.options.prune and several_devices(self.base.get("device")):
            raise ConfigError(
                "prune=True cannot reach the processes of a trial on several devices",
                hint="prune=False; or devices=0,1 gives each trial a GPU of its own",
            )
        before = _read_plan(self.out / PLAN)
        if not before:
            return
        now = self._plan()
        hint = "another out= for another tune, or the settings that this one began with"
        changes = changed(before.get("base", {}), now["base"], what="tune")
        changes = changes or changed(
            {k: v for k, v in before.items() if k not in ("base", "trials")},
            {k: v for k, v in now.items() if k not in ("base", "trials")},
            what="tune",
        )
        if changes:
            raise ConfigError(f"the tune there has {changes}", str(self.out / PLAN), hint)

    def _plan(self) -> dict[str, Any]:
        return {"base": dict(self.base), **self.options.to_data(), "lag": self.lag}

    def _look_back(self) -> None:
        """Take the trials that have begun, with their settings as they were; a failed one on whose failure no
        suggestion rests is tried once more."""
        begun = [n for n in range(self.options.trials) if self._file(n).is_file()]
        for n in range(max(begun, default=-1) + 1):
            trial = _read_trial(self._file(n), self.options.space) if n in begun else None
            self._values.append(dict(trial["values"]) if trial else self._suggest(n))
        for n in range(max(len(self._values) - self.lag, 0), len(self._values)):
            for seed in self.options.seeds:
                record = read_record(self.out / _name(n, seed))
                if record is not None and record.state == FAILED:
                    (self.out / _name(n, seed) / RECORD).unlink()

    def _file(self, n: int) -> Path:
        return self.out / _name(n, self.options.seeds[0]) / JOB_FILE

    def _trials(self) -> list[Trial]:
        """Return those that have ended."""
        return [t for n in range(len(self._values)) if (t := self.outcome(n)) is not None]

    def _tuned(self) -> Tuned:
        trials = self._trials()
        best = best_of(trials)
        if best is None or best.value is None:
            why = f": {trials[0].error}" if trials else ""
            raise UserError(f"no trial of {len(trials)} has finished{why}", str(self.out), ANEW)
        LOGGER.info("best: trial %d, %s %.4f; its settings: %s", best.number, self.options.metric, best.value,
                    ", ".join(f"{k}={v}" for k, v in best.values.items()))  # fmt: skip
        found = Tuned(self.out, best.values, best.value, trials)
        LOGGER.info("train with them: cfg=%s", found.recipe)
        return found

    # The trials

    def outcome(self, n: int) -> Trial | None:
        """Return what has become of a trial; None while runs of it are left."""
        if n not in self._ended:
            records = []
            for seed in self.options.seeds:
                record = read_record(self.out / _name(n, seed))
                if record is None:
                    return None
                records.append(record)
                if record.state != FINISHED:  # the others would not change what it is
                    break
            self._ended[n] = _trial_of(n, self._values[n], records, self.options.metric)
        return self._ended[n]

    def following(self) -> Job | None:
        """Return the next run: of a trial that has begun, or else of a new one."""
        under_way = [n for n in range(len(self._values)) if self.outcome(n) is None]
        for n in under_way:
            seed = next(s for s in self.options.seeds if read_record(self.out / _name(n, s)) is None)
            if _name(n, seed) not in self._handed:
                return self._job(n, seed)
        n = len(self._values)
        if n >= self.options.trials or any(i <= n - self.lag for i in under_way):
            return None
        self._give_up()
        self._values.append(self._suggest(n))
        return self._job(n, self.options.seeds[0])

    def _give_up(self) -> None:
        ended = list(self._ended.values())
        if len(ended) >= MOST_FAILED_FIRST and all(t.state == FAILED for t in ended):
            first = ended[0]
            what = f"the first {len(ended)} trials have all failed; {first.folders[-1]}: {first.error}"
            raise UserError(what, str(self.out), ANEW)

    def _suggest(self, n: int) -> dict[str, Any]:
        """Return the settings of a new trial: first the base's own, then what the sampler makes of those known."""
        if n == 0:
            config = get_cfg(None, dict(self.base))
            own = {key: getattr(config, key) for key in self.options.space}
            wrong = [key for key, axis in self.options.space.items() if not axis.holds(own[key])]
            if not wrong:
                return own
            LOGGER.info("No trial has the settings of the base: %s=%s is not in the space", wrong[0], own[wrong[0]])
        past = [self._past(i, n) for i in range(n)]
        return self._propose(self.options.space, past, self.options.seed, self.options.sampler)

    def _past(self, i: int, n: int) -> Past:
        """Return what the suggestion of trial n may know of trial i."""
        trial = self.outcome(i) if i <= n - self.lag else None
        return Past(self._values[i]) if trial is None else trial.past()

    def _least(self, n: int, seed: int) -> list[float | None]:
        """Return the least fitness by epoch of a run, from the trials that its suggestion could rest on."""
        if not self.options.prune:
            return []
        ended = [self.outcome(i) for i in range(max(n - self.lag + 1, 0))]
        at = list(self.options.seeds).index(seed)
        curves = [t.curves[at] for t in ended if t is not None and t.state == FINISHED]
        return least_fitness(curves, int(self.base.get("epochs", KNOBS["epochs"].default)))

    def _job(self, n: int, seed: int) -> Job:
        name = _name(n, seed)
        file = self.out / name / JOB_FILE
        before = _read_trial(file, self.options.space) if file.is_file() else None
        trial = before or {"values": self._values[n], "least": self._least(n, seed)}
        config = get_cfg(None, {**self.base, **self._values[n], "seed": seed})
        self._handed.add(name)
        return Job(Run(_arm_name(n), seed, config.given("mode", "task"), {}), str(self.out / PLAN), trial=trial)

    # For the pool

    def is_done(self, run: Run) -> bool:
        """Return True if a run has its record."""
        return read_record(self.out / run.name) is not None

    def number(self, run: Run) -> str:
        """Return which trial it is of, and its settings."""
        number = int(run.arm[1:])
        shown = ", ".join(f"{k}={v}" for k, v in self._values[number - 1].items())
        return f"trial {number} of {self.options.trials}: {shown}"

    def left(self, elsewhere: Collection[str]) -> int:
        """Count the runs that are left, as if none were pruned."""
        new = (self.options.trials - len(self._values)) * len(self.options.seeds)
        begun = [n for n in range(len(self._values)) if self.outcome(n) is None]
        return new + sum(read_record(self.out / _name(n, s)) is None for n in begun for s in self.options.seeds)

    def done(self) -> tuple[int, int]:
        """Count the trials that have ended, and all."""
        return len(self._trials()), self.options.trials

    def ended(self, record: RunRecord) -> str:
        """Take in a run, write what there is, and return its figure."""
        self._handed.discard(f"{record.arm}-{record.seed}")
        trials = self._trials()
        write_results(self.out, self._plan(), trials)
        metric = task_named(record.task).figures.title(self.options.metric)
        figure = record.figures.get(self.options.metric)
        after = f" after {counted(len(record.curve), 'epoch')}" if record.state != FINISHED else ""
        best = best_of(trials)
        shown = f" (best: {best.value:.4f}, trial {best.number})" if best is not None else ""
        return "" if figure is None else f"{after}, {metric} {figure:.4f}{shown}"


def _read_plan(file: Path) -> dict[str, Any]:
    """Return what a tune began with; empty where there is no file yet."""
    data = read_yaml(file, ConfigError).data if file.is_file() else {}
    if not isinstance(data, dict):
        raise ConfigError("this is not the plan of a tune", str(file), ELSEWHERE)
    if type(lag := data.get("lag", 1)) is not int or lag < 1:
        raise ConfigError(f"this is not the plan of a tune: lag: {lag}", str(file), ELSEWHERE)
    if not isinstance(base := data.get("base", {}), dict):
        raise ConfigError(f"this is not the plan of a tune: base: {base}", str(file), ELSEWHERE)
    return data


def _read_trial(file: Path, space: Collection[str]) -> Mapping[str, Any]:
    """Return the trial in a run's job file."""
    trial = earlier_job(file).trial
    values = trial.get("values") if isinstance(trial, dict) else None
    if trial is None or not isinstance(values, dict) or set(values) != set(space):
        raise ConfigError("this is not the job of a trial of this tune", str(file), ELSEWHERE)
    if not isinstance(trial.get("least"), list):
        raise ConfigError("this is not the job of a trial: least is not a list", str(file), ELSEWHERE)
    return trial


def _plan_text(plan: Mapping[str, Any]) -> str:
    text = yaml.safe_dump(plan, allow_unicode=True, sort_keys=False, width=120)
    return f"# What this folder's tune began with; the same command goes on with it.\n{text}"


def _check_data(base: Mapping[str, Any], models: Collection[Any], metric: str) -> None:
    """Refuse models of several tasks, a metric that their task does not have, and a dataset that cannot be read.

    Raises:
        UserError: what is wrong.
    """
    tasks = {task_for(get_cfg(None, {**base, "model": model})) for model in models}
    if len(tasks) > 1:
        hint = "models of one task: figures of several cannot be compared"
        raise ConfigError(f"the space has models of the tasks {', '.join(sorted(tasks))}", hint=hint)
    task = task_named(tasks.pop())
    known = task.figures.columns
    if metric != METRICS[0] and metric not in known:
        raise ConfigError(f"metric={metric} is not a figure of the task", hint=f"fitness, {', '.join(known)}")
    task.load_data(base["data"])


def _keep_threads(base: dict[str, Any], before: Mapping[str, Any], slots: Sequence[str | None]) -> dict[str, Any]:
    """The base with a number of threads for all trials on a CPU, as the tune began with."""
    if "threads" in base:
        return base
    threads = fixed_threads(base.get("device"), before.get("base", {}).get("threads"), slots)
    return base if threads is None else {**base, "threads": threads}


def _arm_name(n: int) -> str:
    """Name a trial, the first of which has the number 1."""
    return f"t{n + 1:03d}"


def _name(n: int, seed: int) -> str:
    return f"{_arm_name(n)}-{seed}"


def _trial_of(n: int, values: Mapping[str, Any], records: Sequence[RunRecord], metric: str) -> Trial:
    """Return a trial from the records of its runs, of which the last says how it ended."""
    last = records[-1]
    figures = [r.figures.get(metric) for r in records]
    known = [f for f in figures if f is not None]
    value = statistics.fmean(known) if last.state == FINISHED and known else None
    return Trial(
        number=n + 1,
        values=dict(values),
        state=last.state,
        value=value,
        figures=[dict(r.figures) for r in records],
        curves=[list(r.curve) for r in records],
        folders=[r.folder for r in records],
        error=last.error,
        seconds=sum(r.cost.get("epoch_seconds", 0.0) * len(r.curve) for r in records),
    )
