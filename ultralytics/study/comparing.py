"""`compare`: the report of a study for runs that no study has planned."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ultralytics.cfg.config import KNOBS, get_cfg
from ultralytics.cfg.paths import data_hint
from ultralytics.engine.outputs import distinct
from ultralytics.engine.run.folder import result_folder
from ultralytics.engine.weights.checkpoint import Checkpoint, load_checkpoint
from ultralytics.models.yolo.task import task_named
from ultralytics.models.yolo.weights import guess_model_task
from ultralytics.nn.plugins import load_plugins
from ultralytics.study import latency as timing
from ultralytics.study.analysis import Analysis
from ultralytics.study.job import TEST_KEYS, TILED, Witness, cost, evaluator
from ultralytics.study.plan import FREE
from ultralytics.study.record import FINISHED, RECORD, RunRecord, read_record, write_record
from ultralytics.study.report import COMPARED, STUDY, kept_of, write_report
from ultralytics.utils.errors import ConfigError, MissingFileError, UserError, nearest
from ultralytics.utils.files import real_path, user_path, write_json
from ultralytics.utils.log import LOGGER
from ultralytics.utils.output_path import make_folder
from ultralytics.utils.text import safe_name

WEIGHTS = ("weights/best.pt", "best.pt", "weights/last.pt", "last.pt")
TESTED = "test settings"  # the fact of a run that says so
# What makes no arm of its own, beside what no figure depends on.
_NO_ARM = ("seed", "project", "name", "exist_ok", "resume", "mode", "task", *FREE)


@dataclass(frozen=True)
class _Run:
    """A run that was given: its folder, its weights and what they say of its training."""

    folder: Path
    weights: Path
    checkpoint: Checkpoint

    @property
    def seed(self) -> int:
        seed = self.checkpoint.train_args.get("seed", 0)
        return seed if type(seed) is int else 0

    @property
    def keys(self) -> dict[str, Any]:
        """Keys of its configuration that are not at their default."""
        trained = self.checkpoint.train_args
        return {k: v for k, v in trained.items() if k in KNOBS and k not in _NO_ARM and v != KNOBS[k].default}

    @property
    def tiled(self) -> dict[str, Any]:
        """Keys of its validation with the tiles that it was trained with; empty without."""
        trained = self.checkpoint.train_args
        return {k: trained[k] for k in TILED if trained.get(k) is not None} if trained.get("tiles") else {}

    @property
    def configuration(self) -> str:
        """Return what runs of one arm have in common: all but the seed."""
        return json.dumps([self.keys, self.checkpoint.spec], sort_keys=True, default=str)


def compare_runs(
    runs: Sequence[str | Path],
    control: str | Path | None = None,
    out: str | Path | None = None,
    split: str | None = None,
    data: str | None = None,
    plugins: Any = None,
    fair: bool = False,
) -> Analysis:
    """Report on finished runs as on a study: each is validated on one split, and compared with the control.

    The options are those of the command `compare`. Runs that were validated for a report that was made before in OUT
    are not validated again. Raises UserError: a run cannot be read or validated.
    """
    load_plugins(plugins)
    if len(runs) < 2:
        raise ConfigError("runs: there is nothing to compare", hint="at least two folders: runs=[a,b]")
    found = [_open_run(user_path(r)) for r in runs]
    folders = [real_path(r.weights) for r in found]
    twice = next((r for r, f in zip(found, folders, strict=True) if folders.count(f) > 1), None)
    if twice is not None:
        raise ConfigError("this run is given twice", str(twice.folder), "leave one out")
    arms = _arms(found)
    chosen = _control(control, found, arms)
    data = data or found[0].checkpoint.train_args.get("data")
    if not data:
        raise ConfigError("the weights name no dataset", str(found[0].weights), data_hint())
    task = _task(found)
    spec = task_named(task).load_data(str(data))
    split = split or ("test" if "test" in spec.splits else "val")
    spec.split(split)
    folder = result_folder(out, "compare").absolute()
    places = [folder / f"{safe_name(arm)}-{run.seed}" for run, arm in zip(found, arms, strict=True)]
    other = next((f.parent for f in sorted(folder.glob(f"*/{RECORD}")) if f.parent not in places), None)
    if other is not None:
        raise ConfigError("the folder contains a run that is not compared", str(other), "choose another out=")
    records = []
    for run, arm, place in zip(found, arms, places, strict=True):
        record = _read_earlier(place, arm, run, split, str(data))
        if record is None:
            make_folder(place)
            tiles = f" with tiles={run.tiled['tiles']}" if run.tiled else ""
            LOGGER.info("Validating %s on the split %s%s", run.weights, split, tiles)
            record = _validate(run, arm, place, str(data), split, task)
            write_record(place, record)
        records.append(record)
    plan = {"arms": {a: {} for a in dict.fromkeys(arms)}, "control": chosen}
    write_json(folder / STUDY, {"study": plan, COMPARED: True}, key="out")
    timing.measure(folder, records, {a: r.weights for a, r in reversed(list(zip(arms, found, strict=True)))})
    return write_report(folder, fair)


def _task(runs: Sequence[_Run]) -> str:
    """Return the task of all runs.

    Raises:
        ConfigError: they are of several.
    """
    tasks = [guess_model_task(r.weights) for r in runs]
    other = next((i for i, task in enumerate(tasks) if task != tasks[0]), None)
    if other is not None:
        message = f"its task is {tasks[other]}, and that of {runs[0].folder} {tasks[0]}"
        raise ConfigError(message, str(runs[other].folder), "compare runs of one task")
    return tasks[0]


def _open_run(path: Path) -> _Run:
    if path.is_file():
        folder = path.parent.parent if path.parent.name == "weights" else path.parent
        return _Run(folder, path, load_checkpoint(path))
    if not path.is_dir():
        raise MissingFileError("no such run", str(path), "give the folder of a finished run, or its best.pt")
    weights = next((path / name for name in WEIGHTS if (path / name).is_file()), None)
    if weights is None:
        message = "it holds no weights" + (", only figures" if (path / "metrics.json").is_file() else "")
        raise ConfigError(message, str(path), "give the folder of a finished run; it is validated anew, image by image")
    return _Run(path, weights, load_checkpoint(weights))


def _arms(runs: Sequence[_Run]) -> list[str]:
    """Name the arm of each run: those of one configuration belong together, but for a seed that is there twice."""
    groups: dict[tuple[str, int], list[_Run]] = {}
    for run in runs:
        k = 0
        while any(r.seed == run.seed for r in groups.get((run.configuration, k), ())):
            k += 1
        groups.setdefault((run.configuration, k), []).append(run)
    names = []
    for members in groups.values():
        name = real_path(members[0].folder).name
        if len(members) > 1:
            name = re.sub(r"[-_. ]?(seed|s)?[-_. ]?\d+$", "", name) or name
        names.append(safe_name(name))
    names = distinct(names)
    of = {id(r): name for name, members in zip(names, groups.values(), strict=True) for r in members}
    return [of[id(r)] for r in runs]


def _control(given: str | Path | None, runs: Sequence[_Run], arms: Sequence[str]) -> str:
    if given is None:
        return arms[0]
    if str(given) in arms:
        return str(given)
    path = real_path(user_path(given))
    for run, arm in zip(runs, arms, strict=True):
        if path in (real_path(run.folder), real_path(run.weights)):
            return arm
    hint = nearest(str(given), arms) or f"one of the runs, or of the arms {', '.join(dict.fromkeys(arms))}"
    raise ConfigError(f"control: {given} is none of the runs", hint=hint)


def _read_earlier(place: Path, arm: str, run: _Run, split: str, data: str) -> RunRecord | None:
    """Return the record of an earlier call, where it is of these weights on this split."""
    try:
        record = read_record(place)
    except UserError:
        return None
    if record is None or kept_of(place) is None:
        return None
    asked = {"weights": _stamp(run.weights), "test split": split, "data": data, TESTED: run.tiled or None}
    same = all(record.facts.get(k) == v for k, v in asked.items())
    return replace(record, arm=arm) if same else None


def _stamp(weights: Path) -> str:
    status = weights.stat()
    return f"{real_path(weights)}, {status.st_size} bytes, {status.st_mtime_ns}"


def _validate(run: _Run, arm: str, place: Path, data: str, split: str, task: str) -> RunRecord:
    """Validate a run's weights and keep what was seen."""
    trained = run.checkpoint.train_args
    keys: dict[str, Any] = {k: trained[k] for k in ("imgsz", "single_cls") if k in trained} | run.tiled
    args = get_cfg(None, {**keys, **TEST_KEYS, "split": split, "data": data, "model": str(run.weights)}, mode="val")
    make_folder(place / "test")
    witness = Witness(task, place / "test", args)
    witness()
    args = witness.validator.args
    facts = {
        "weights": _stamp(run.weights),
        "data": data,
        "test data": witness.digest,
        "test split": split,
        "imgsz": args.imgsz,
        "epochs planned": trained.get("epochs"),
        "batch": trained.get("batch"),
        "evaluator": evaluator(),
        **({TESTED: run.tiled} if run.tiled else {}),
    }
    measured = witness.figures()
    spent = cost(run.weights, [], args.imgsz)
    return RunRecord(arm, run.seed, FINISHED, place.name, facts=facts, keys=run.keys, cost=spent, task=task, **measured)
