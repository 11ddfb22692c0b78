"""Training on several devices from one process: ranks are started, and what they leave is read back."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ultralytics.engine.ranks.launch import launch
from ultralytics.engine.ranks.lifeline import leave_with_agent
from ultralytics.engine.ranks.team import join, leave
from ultralytics.engine.weights.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ultralytics.models.yolo.task import TASKS
from ultralytics.utils.errors import FinishedRunError
from ultralytics.utils.files import write_atomically

JOB = "train-as-rank"  # the command of a rank; no user types it


def train_on_ranks(
    names: list[str],
    cfg: str | Path | None,
    overrides: Mapping[str, Any],
    weights: Checkpoint | None = None,
    source: str = "argument",
    task: str = "detect",
) -> tuple[Path, Any]:
    """Train on several devices of this machine, one process each.

    Args:
        names: the devices, as in `overrides`.
        cfg, overrides, weights, source: as the task's trainer takes them.
        task: a key of TASKS.

    Returns:
        The run's folder and the task's metrics; None where the run was not validated.

    Raises:
        UserError, LostRankError: see `engine.ranks.launch.launch`.
    """
    with tempfile.TemporaryDirectory(prefix="job_") as folder:
        job, report = Path(folder) / "job.json", Path(folder) / "report.npz"
        start = ""
        if weights is not None:
            start = str(weights.path)
            if not weights.path.is_file():  # put together in memory
                start = str(Path(folder) / "start.pt")
                content = {"model": weights.spec, "names": weights.names, "ema": weights.weights}
                save_checkpoint(Path(start), content)
        plain = {
            "task": task,
            "cfg": None if cfg is None else str(cfg),
            "overrides": dict(overrides),
            "source": source,
            "weights": start,
            "share": 1.0 if weights is None else weights.share,
            "report": str(report),
            "command": sys.argv[1:] if source == "command line" else [],
        }
        job.write_text(json.dumps(plain, default=str), encoding="utf-8")
        launch(names, [JOB, str(job)], Path(folder))
        return _read_report(report)


def train_as_rank(path: str | Path) -> None:
    """Train as one of the processes that `train_on_ranks` starts."""
    # The folder is the launching process's to remove; where that was killed, its ranks do it.
    leave_with_agent(partial(shutil.rmtree, Path(path).parent, ignore_errors=True))
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    weights = load_checkpoint(job["weights"]) if job["weights"] else None
    if weights is not None:
        weights.share = job["share"]
    try:
        made: Any = TASKS[job["task"]].trainer
        trainer = made(job["cfg"], job["overrides"], weights=weights, source=job["source"])
    except FinishedRunError as e:
        if join().leads:
            _write_report(Path(job["report"]), Path(e.folder), job["task"], None)
        raise
    trainer.command = job["command"]  # what the user typed, and not what started this process
    trainer.train()
    if trainer.team.leads:
        _write_report(Path(job["report"]), trainer.save_dir, job["task"], trainer.metrics.source)
    leave(trainer.team)


def _write_report(path: Path, save_dir: Path, task: str, metrics: Any) -> None:
    arrays: dict[str, Any] = {} if metrics is None else TASKS[task].to_arrays(metrics)
    arrays |= {"save_dir": str(save_dir.absolute()), "task": task, "validated": metrics is not None}
    write_atomically(path, lambda f: np.savez(f, **arrays))


def _read_report(path: Path) -> tuple[Path, Any]:
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    save_dir = Path(str(arrays["save_dir"]))
    if not arrays["validated"]:
        return save_dir, None
    return save_dir, TASKS[str(arrays["task"])].from_arrays(save_dir, arrays)
