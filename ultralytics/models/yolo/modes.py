"""What both front doors, `YOLO` and the command line, go through: the keys of a mode, and where a training runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ultralytics.cfg.config import Config, get_cfg, without_effect
from ultralytics.engine.callbacks import Callbacks
from ultralytics.engine.ranks.launch import several_devices
from ultralytics.engine.run.resume import find_last
from ultralytics.engine.weights.checkpoint import Checkpoint
from ultralytics.models.yolo.ranks import train_on_ranks
from ultralytics.models.yolo.task import task_named
from ultralytics.models.yolo.weights import guess_model_task
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.log import LOGGER


class Trained(NamedTuple):
    """A training that has ended."""

    save_dir: Path  # the run's folder
    metrics: Any  # of its last validation; None without one
    trainer: Any  # None where other processes trained


def train(
    cfg: str | Path | None,
    overrides: Mapping[str, Any],
    source: str = "argument",
    weights: Checkpoint | None = None,
    kind: type[Any] | None = None,
    callbacks: Callbacks | None = None,
    begun: Callable[[Any], object] = lambda _: None,
    task: str | None = None,
) -> Trained:
    """Train here, or in a process for each of several devices.

    Args:
        cfg, overrides, source, weights: as of `BaseTrainer`.
        kind: a trainer instead of the task's; as callbacks, it cannot follow to other processes.
        begun: called with the trainer before it trains.
        task: a key of TASKS; None: that of the keys or, where they leave it open, of the model.

    Raises:
        UserError: what keeps the run from beginning or going on; FinishedRunError: nothing is left to do.
    """
    args = get_cfg(cfg, overrides, source)
    task = task or task_for(args)
    trainer = task_named(task).trainer
    if task != args.task:
        overrides = {**overrides, "task": task}
    names = several_devices(args.device)
    if names:
        for what, given in (("callbacks", callbacks and callbacks.loose), ("a trainer", kind is not None)):
            if given:
                raise ConfigError(
                    f"{what} cannot follow to the processes that device={','.join(names)} starts",
                    hint="callbacks can: in a file, plugins=[FILE.py]; or start it with torchrun, without device",
                )
        return Trained(*train_on_ranks(names, cfg, overrides, weights, source, task), None)
    parts: dict[str, Any] = {"cfg": cfg, "overrides": overrides, "_callbacks": callbacks, "weights": weights}
    made: Any = trainer(**parts, source=source) if kind is None else kind(**parts)
    begun(made)
    metrics = made.train()
    return Trained(made.save_dir, metrics, made)


def task_for(args: Config) -> str:
    """Return the task that keys ask for; where they leave it open, that of the resumed run or of the model."""
    if not args.is_default("task"):
        return args.task
    model = str(args.model or "")
    try:
        if args.resume and args.resume != "auto":
            begun = find_last(args).parent.parent / "args.yaml"
            return get_cfg(begun).task if begun.is_file() else args.task
        return guess_model_task(model) if model.endswith((".yaml", ".yml", ".pt")) else args.task
    except UserError:  # the trainer says what is wrong
        return args.task


def settings(
    mode: str, given: Mapping[str, Any], remembered: Mapping[str, Any], source: str = "argument", **defaults: Any
) -> Config:
    """Return the keys of a mode that does not train: its defaults, what the weights remember, what the user gives."""
    args = get_cfg(given.get("cfg"), {k: v for k, v in given.items() if k != "cfg"}, source, mode)
    for key, value in {**remembered, **defaults}.items():
        if args.is_default(key):
            args.set(key, value, "weights file" if key in remembered else f"{mode} default")
    if args.batch < 1:
        raise ConfigError(f"batch={args.batch:g} finds a batch to train with", hint=f"give {mode} a number of images")
    for line in without_effect(args, mode):
        LOGGER.warning(line)
    return args
