"""Everything a run is, as tensors and plain data, and back: what last.pt holds; see docs/checkpoint.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import ultralytics
from ultralytics.engine.run.provenance import without_home
from ultralytics.engine.run.resume import random_state, restore_random_state
from ultralytics.engine.step.ema import DECAY, TAU
from ultralytics.engine.weights.checkpoint import portable
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer


def state_of(trainer: BaseTrainer) -> dict[str, Any]:
    """Everything a run is, as tensors and plain data."""
    pending = {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}
    mine: dict[str, Any] = {"rng": random_state(trainer.device if trainer.team.many else None)}
    ranks: list[dict[str, Any]] = []
    if trainer.team.many:
        mine["images_since"] = trainer.images_since
        if not trainer.team.leads:  # what the entry below is for the leader
            mine["pending_gradients"] = pending
        if trainer.images_since:  # in the middle of an epoch each has statistics of its own
            mine["buffers"] = dict(trainer.model.named_buffers())
        ranks = trainer.team.gather(mine) or []
    return {
        **trainer.describe_model(),
        "ema": trainer.ema.ema.state_dict(),
        "epoch": trainer.finished - 1,
        "fitness": trainer.fitness,
        "best_fitness": trainer.stopper.best_fitness,
        "train_args": portable(trainer.args.to_dict()),
        "asked": trainer.asked,
        "sources": without_home({k: v for k, v in trainer.args.sources.items() if v != "default"}),
        "provenance": trainer.provenance,
        "version": ultralytics.__version__,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "torch": str(torch.__version__),
        "weights": trainer.model.state_dict(),
        "updates": trainer.ema.updates,
        "average": {"decay": trainer.ema.decay_limit, "tau": trainer.ema.tau},
        "new_tensors": trainer.new_tensors,
        "inserted": trainer.inserted,
        "untransferred": trainer.untransferred,
        "optimizer_name": type(trainer.optimizer).__name__,
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "best_epoch": trainer.stopper.best_epoch,
        "last_opt_step": trainer.last_opt_step,
        "pending_gradients": pending,
        "rng": mine["rng"],
        "ranks": ranks,
        "batches_done": trainer.batches_done,
        "batches": len(trainer.train_loader),
        "epochs": trainer.epochs,
        "loss_mean": trainer.loss_mean,
        "loss_count": trainer.loss_count,
        "elapsed": trainer.spent(),
        "pace": trainer.pace.began,
        "over": trainer.over,
        "lr_factor": trainer.lr_factor,
        "rollbacks": trainer.rollbacks,
        "skipped": trainer.skipped,
        "skips_in_a_row": trainer.skips_in_a_row,
        "results": trainer.rows,
    }


def restore(trainer: BaseTrainer, state: dict[str, Any]) -> None:
    """Become the run of a checkpoint's state.

    Raises:
        KeyError, TypeError, ValueError, RuntimeError: it does not fit; see `checkpoint.restoring`.
    """
    trainer.model.load_state_dict(state["weights"])
    trainer.ema.ema.load_state_dict(state["ema"])
    trainer.ema.updates = state["updates"]
    average = state.get("average", {"decay": DECAY, "tau": TAU})
    trainer.ema.decay_limit, trainer.ema.tau = float(average["decay"]), float(average["tau"])
    _restore_optimizer(trainer.optimizer, state["optimizer"])
    trainer.scaler.load_state_dict(state["scaler"])
    trainer.stopper.best_fitness, trainer.stopper.best_epoch = state["best_fitness"], state["best_epoch"]
    if trainer.args.save and trainer.team.lead(trainer.epoch_of_best) != state["best_epoch"]:
        trainer.stopper.best_fitness = -math.inf  # so that the next epoch writes a best.pt
    _restore_rank(trainer, state)
    trainer.fitness = state["fitness"]
    trainer.rows = list(state["results"])
    trainer.elapsed = state.get("elapsed", trainer.rows[-1]["time"] if trainer.rows else 0.0)
    _restore_pace(trainer, state)
    trainer.start_epoch = trainer.finished = state["epoch"] + 1
    _restore_position(trainer, state)
    if trainer.args.time:
        trainer.epochs = state.get("epochs", trainer.epochs)
        trainer.make_schedule()
    trainer.lr_factor, trainer.rollbacks = state.get("lr_factor", 1.0), state.get("rollbacks", 0)
    trainer.skipped, trainer.skips_in_a_row = state.get("skipped", 0), state.get("skips_in_a_row", 0)


def _restore_pace(trainer: BaseTrainer, state: Mapping[str, Any]) -> None:
    """How fast the run began, unless it goes on by other means."""
    before, now = state["train_args"], trainer.args.to_dict()
    same = all(before.get(k) == now[k] for k in ("batch", "imgsz", "threads", "device"))
    if same and state.get("provenance", {}).get("device") == trainer.provenance.get("device"):
        trainer.pace.began = state.get("pace") or trainer.pace.began


_SINGLE = ("step", "mu_product")  # what optimisers keep as one number per parameter; all else has its shape


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """torch's own takes any tensors and settings, and would fail in the first step.

    Raises:
        ValueError, KeyError: they are not those of this optimiser's parameters.
    """
    settings = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, mine in zip(optimizer.param_groups, settings, strict=True):
        for key, value in mine.items():
            theirs = group[key]
            if not isinstance(value, bool | int | float | tuple):  # others depend on torch's version
                continue
            pair = list(theirs) if isinstance(value, tuple) else [theirs]
            if not all(isinstance(v, int | float) for v in pair):
                raise ValueError(f"the optimiser's {key} is {theirs!r}")
    known: set[str] = set()
    for parameter, entries in optimizer.state.items():
        known = known or set(entries)
        if set(entries) != known:
            raise ValueError(
                f"the optimiser's tensors are {sorted(entries)} of one parameter, {sorted(known)} of another"
            )
        for key, value in entries.items():
            if key in _SINGLE:
                fits = isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == 1)
            else:
                fits = value is None or (isinstance(value, Tensor) and value.shape == parameter.shape)
            if not fits:
                shape = tuple(value.shape) if isinstance(value, Tensor) else value
                raise ValueError(f"the optimiser's {key} of a parameter of {tuple(parameter.shape)} is {shape}")


def _restore_rank(trainer: BaseTrainer, state: Mapping[str, Any]) -> None:
    """What each rank had of its own: gradients under way, statistics, random streams. Another number of ranks
    shares what is common: the leader takes the sum of the gradients."""
    ranks: list[dict[str, Any]] = state.get("ranks") or [{"rng": state["rng"]}]
    pending: list[Mapping[str, Tensor]] = [state["pending_gradients"]] if trainer.team.leads else []
    trainer.images_since = 0
    if len(ranks) == trainer.team.size:
        mine = ranks[trainer.team.rank]
        restore_random_state(mine["rng"], trainer.device if trainer.team.many else None)
        trainer.images_since = mine.get("images_since", 0)
        buffers = dict(trainer.model.named_buffers())
        for name, value in mine.get("buffers", {}).items():
            buffers[name].copy_(value)
        if not trainer.team.leads:
            pending = [mine.get("pending_gradients", {})]
    else:
        LOGGER.info("It was written by %s: its sums will be rounded in another order", counted(len(ranks), "process"))
        pending += [r.get("pending_gradients", {}) for r in ranks[1:]] if trainer.team.leads else []
    for name, parameter in trainer.model.named_parameters():
        found = [p[name].to(trainer.device) for p in pending if name in p]
        parameter.grad = sum(found[1:], found[0]) if found else None


def _restore_position(trainer: BaseTrainer, state: Mapping[str, Any]) -> None:
    """Batches done of the epoch, and since the last step; with another number of batches per epoch, as many
    images as before."""
    batches, before = len(trainer.train_loader), state.get("batches", len(trainer.train_loader))
    done = state.get("batches_done", 0)
    gathered = (state["epoch"] + 1) * before + done - 1 - state["last_opt_step"]
    trainer.batches_done = done * batches // before
    trainer.last_opt_step = trainer.finished * batches + trainer.batches_done - 1 - gathered
    trainer.loss_count = state.get("loss_count", 0)
    if "loss_mean" in state:
        if state["loss_mean"].shape != trainer.loss_mean.shape:
            told = f"{tuple(state['loss_mean'].shape)}, and the loss has {len(trainer.loss_mean)} parts"
            raise ValueError(f"loss_mean is {told}")
        trainer.loss_mean = state["loss_mean"].to(trainer.device)
