"""What a trial's process does besides training: it stops where the trial has fallen behind, and records.

Whether it stops is settled before it begins: for each epoch the least fitness with which it may go on. So neither the
speed of other trials nor a kill changes the decision.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ultralytics.engine.run.resume import previous_of
from ultralytics.engine.step.stopping import EarlyStopping
from ultralytics.engine.weights.checkpoint import load_newest
from ultralytics.models.yolo.task import task_named
from ultralytics.models.yolo.weights import guess_model_task
from ultralytics.study.plan import Run
from ultralytics.study.record import FINISHED, PRUNED, RunRecord
from ultralytics.utils.log import LOGGER

FIRST = 5  # finished trials before any is pruned
SPARED = 0.25  # part of the epochs at the beginning in which no trial is pruned
Least = Sequence[float | None]  # by epoch; None: the trial goes on whatever it has


def least_fitness(curves: Sequence[Sequence[float]], epochs: int) -> list[float | None]:
    """Return the least of the best fitness so far with which a trial goes on after each epoch: the median of what the
    earlier trials had reached by then (the median stopping rule; Golovin et al., Google Vizier, 2017).

    Args:
        curves: fitness by epoch of the earlier trials that have finished; epochs: of a trial.
    """
    if len(curves) < FIRST:
        return []
    spared = max(int(epochs * SPARED), 1)
    medians = [statistics.median(max(c[: epoch + 1]) for c in curves) for epoch in range(spared, epochs - 1)]
    return [*[None] * spared, *medians]


def pruned_after(curve: Sequence[float], least: Least) -> int | None:
    """Return the number of epochs after which a trial is stopped; None where it is not."""
    best = float("-inf")
    for epoch, (value, needed) in enumerate(zip(curve, least, strict=False)):
        best = max(best, value)
        if needed is not None and best < needed:
            return epoch + 1
    return None


class Pruning(EarlyStopping):
    """The stopping of a run that also ends once its best fitness is below the least.

    Args:
        before: the run's own stopping, which goes on where it was; least: by epoch.
    """

    def __init__(self, before: EarlyStopping, least: Least) -> None:
        super().__init__(before.patience)
        self.best_fitness, self.best_epoch = before.best_fitness, before.best_epoch
        self.least = least

    def __call__(self, epoch: int, fitness: float | None) -> bool:
        """Take an epoch's fitness and return True when it is time to stop."""
        stop = super().__call__(epoch, fitness)
        needed = self.least[epoch] if epoch < len(self.least) else None
        if needed is None or self.best_fitness >= needed:
            return stop
        LOGGER.info(
            "Pruned after epoch %d: the best fitness so far is %.4f, and half of the earlier trials had %.4f by then.",
            epoch + 1, self.best_fitness, needed,
        )  # fmt: skip
        return True


def pruning(least: Least) -> dict[str, list[Callable[[Any], object]]]:
    """Return the callbacks of a trial, by event."""

    def begin(run: Any) -> None:
        run.stopper = Pruning(run.stopper, least)

    return {"on_train_start": [begin]} if least else {}


def record_trial(run: Run, folder: Path, keys: Mapping[str, Any], least: Least) -> RunRecord:
    """Make the record of a trial's run from its folder: figures on val at its best epoch, and its fitness by epoch."""
    last_pt = folder / "weights" / "last.pt"
    state = load_newest(last_pt, previous_of(last_pt)).state
    rows = state["results"]
    task = guess_model_task(last_pt)
    reports = task_named(task).figures
    curve = [reports.fitness(row) for row in rows]
    best = max(range(len(curve)), key=lambda epoch: (curve[epoch], epoch))  # of equal ones the last, as best.pt is
    pruned = pruned_after(curve, least) == len(curve)
    return RunRecord(
        arm=run.arm,
        seed=run.seed,
        state=PRUNED if pruned else FINISHED,
        folder=run.name,
        figures={"fitness": curve[best], **{name: rows[best][column] for name, column in reports.columns.items()}},
        task=task,
        keys=dict(keys),
        curve=curve,
        cost={"epoch_seconds": rows[-1]["time"] / len(rows)},
    )
