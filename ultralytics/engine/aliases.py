"""The names by which scripts for the reference know parts of a trainer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from ultralytics.cfg.config import Config
from ultralytics.engine.callbacks import Callback, WithCallbacks
from ultralytics.engine.run.saver import Saver
from ultralytics.engine.run.state import RunState
from ultralytics.engine.step.distill import LOSS_NAME
from ultralytics.engine.step.schedule import Schedule
from ultralytics.engine.step.step import TrainStep
from ultralytics.utils.errors import ConfigError


class Figures(dict[str, float]):
    """Figures of a validation by results.csv column; attributes are those of the metrics object they come from."""

    def __init__(self, figures: Mapping[str, float], source: Any = None) -> None:
        super().__init__(figures)
        self.source = source

    def __getattr__(self, name: str) -> Any:
        if name == "source" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.source, name)


def stands_for(path: str) -> Any:
    """Return a property that reads and sets an attribute of one of the trainer's parts, such as "state.epoch"."""
    owner, _, name = path.rpartition(".")
    find: Callable[[Any], Any] = attrgetter(owner) if owner else lambda trainer: trainer
    return property(lambda self: getattr(find(self), name), lambda self, value: setattr(find(self), name, value))


class Scheduler:
    """The part of a torch scheduler that scripts read. Each step sets its own rate, see `engine.step.schedule`."""

    def __init__(self, step: TrainStep) -> None:
        self._step = step

    @property
    def last_epoch(self) -> int:
        """The epoch at work, from 0."""
        return self._step.state.epoch

    @property
    def base_lrs(self) -> list[float]:
        """Each group's rate before the decay."""
        return [float(g["initial_lr"]) for g in self._step.optimizer.param_groups]

    def get_last_lr(self) -> list[float]:
        """Return each group's rate of the last step."""
        return [float(g["lr"]) for g in self._step.optimizer.param_groups]

    def step(self) -> None:
        """Do nothing: the run's schedule moves by itself."""


class TrainerAliases(WithCallbacks):  # size: these names are the reference's
    """Names of the reference's trainer, and short ones of ours, for what is kept in a part of the run."""

    args: Config
    state: RunState
    step: TrainStep
    saver: Saver
    save_dir: Path
    loss_names: Sequence[str]
    metrics: Figures
    val_loader: Any
    trainset: Any
    testset: Any
    train_loader: Any
    hub_session: None = None  # of the reference's platform
    epoch_loss: Tensor | None = None
    own_lf: Callable[[float], float] | None = None

    # Parts and counters

    model = stands_for("step.loss.model")
    criterion = stands_for("step.loss.criterion")
    batch_loss = stands_for("step.loss.of")
    distillation = stands_for("step.loss.distillation")
    device = stands_for("step.loss.device")
    amp_dtype = stands_for("step.loss.amp_dtype")
    reduce = stands_for("step.loss.reduce")
    optimizer, scaler, ema = (stands_for(f"step.{name}") for name in ("optimizer", "scaler", "ema"))
    guard, schedule, iteration = (stands_for(f"step.{name}") for name in ("guard", "schedule", "iteration"))
    best, last, previous = (stands_for(f"saver.{name}") for name in ("best", "last", "previous"))
    stopper, pace = stands_for("saver.stopper"), stands_for("saver.pace")
    epoch, epochs, start_epoch = (stands_for(f"state.{name}") for name in ("epoch", "epochs", "start_epoch"))
    finished, batches_done, rows = (stands_for(f"state.{name}") for name in ("finished", "batches_done", "rows"))
    fitness, stop, is_best = (stands_for(f"state.{name}") for name in ("fitness", "stop", "is_best"))
    lr_factor, rollbacks, skipped = (stands_for(f"state.{name}") for name in ("lr_factor", "rollbacks", "skipped"))
    images_since, last_opt_step = stands_for("state.images_since"), stands_for("state.last_opt_step")
    inserted, new_tensors = stands_for("state.inserted"), stands_for("state.new_tensors")
    untransferred = stands_for("state.untransferred")
    test_loader, save_period = stands_for("val_loader"), stands_for("args.save_period")

    @property
    def wdir(self) -> Path:
        """Folder of the checkpoints."""
        return self.save_dir / "weights"

    @property
    def loss(self) -> Tensor | None:
        """Return what was differentiated of the last batch."""
        return self.step.last[0]

    @property
    def loss_items(self) -> Tensor | None:
        """The loss parts of the last batch."""
        return self.step.last[1]

    def set_callback(self, event: str, function: Callback) -> None:
        """Call `function(trainer)` at an event instead of what was to be called."""
        self.callbacks.replace(event, function)

    # The run

    @property
    def batch_size(self) -> int:
        """Images of a batch, all processes together."""
        return int(self.args.batch)

    @property
    def csv(self) -> Path:
        """The table of results."""
        return self.save_dir / "results.csv"

    @property
    def resume(self) -> bool:
        """True if the run goes on from a save."""
        return bool(self.args.resume)

    @property
    def amp(self) -> bool:
        """True if it trains in mixed precision."""
        return self.amp_dtype is not None

    @property
    def accumulate(self) -> int:
        """Batches per optimiser step, after the warm-up."""
        return max(round(self.args.nbs / self.args.batch), 1)

    @property
    def epoch_time(self) -> float | None:
        """Seconds of the last epoch; None before its end."""
        times = [0.0, *(row["time"] for row in self.rows)]
        return times[-1] - times[-2] if self.rows else None

    @property
    def train_time_start(self) -> float:
        """When the training began, had it never been interrupted; seconds since 1970."""
        return time.time() - self.state.spent()

    def get_dataset(self) -> tuple[Any, Any]:
        """Return the paths of the training and the validation images."""
        return self.trainset, self.testset

    def read_results_csv(self) -> dict[str, list[float | None]]:
        """Return the table of results by column."""
        columns = list(dict.fromkeys(k for row in self.rows for k in row))
        return {c: [row.get(c) for row in self.rows] for c in columns}

    @property
    def best_fitness(self) -> float | None:
        """Of the epochs so far; None before the first validation."""
        best: float = self.stopper.best_fitness
        return best if best > -float("inf") else None

    @best_fitness.setter
    def best_fitness(self, fitness: float | None) -> None:
        self.stopper.best_fitness = -float("inf") if fitness is None else float(fitness)

    # Losses and learning rates

    @property
    def tloss(self) -> Tensor | None:
        """Mean of the loss parts over the epoch's batches so far, over all of them at its end; None before the first.
        (parts,)."""
        return self.state.loss_mean if self.state.loss_count else self.epoch_loss

    def label_loss_items(self, loss_items: Any = None, prefix: str = "train") -> Any:
        """Return loss parts by column name, such as train/box_loss; the names alone without parts."""
        # A teacher is there in training alone.
        keys = [f"{prefix}/{name}" for name in self.loss_names if prefix == "train" or name != LOSS_NAME]
        return keys if loss_items is None else dict(zip(keys, map(float, loss_items), strict=True))

    def progress_string(self) -> str:
        """Return the head of the table that is printed while training."""
        columns = ("Epoch", "GPU_mem", *self.loss_names, "Instances", "Size", "Data_wait")
        return ("%11s" * len(columns)) % columns

    @property
    def lr(self) -> dict[str, float]:
        """Learning rate of each parameter group, by results.csv column."""
        return {f"lr/pg{i}": g["lr"] for i, g in enumerate(self.optimizer.param_groups)}

    @property
    def lf(self) -> Callable[[float], float] | None:
        """Epoch → multiple of lr0; None before the schedule is made. Another function may be set before the training or
        during it."""
        return self.own_lf or (self.step.schedule.decay if self.step.schedule is not None else None)

    @lf.setter
    def lf(self, function: Callable[[float], float]) -> None:
        self.own_lf = function
        if self.step.schedule is not None:
            self.make_schedule()

    @property
    def scheduler(self) -> Scheduler:
        """Return what scripts ask torch's scheduler for."""
        return Scheduler(self.step)

    @scheduler.setter
    def scheduler(self, scheduler: Any) -> None:
        if not isinstance(scheduler, LambdaLR):
            raise ConfigError(
                f"a {type(scheduler).__name__} cannot replace the run's schedule, which resume repeats to the bit",
                hint="set trainer.lf = a function of the epoch, the multiple of lr0",
            )
        decay: Any = scheduler.lr_lambdas[0]
        self.lf = decay

    def make_schedule(self) -> None:
        """Make `schedule` anew from the arguments."""
        self.schedule = Schedule.of(self.args, self.state.epochs, self.state.batches, self.own_lf)
