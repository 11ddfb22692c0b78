"""What a step moves, as entries of a checkpoint, and back: weights, average, optimizer, gradients, random streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ultralytics.engine.step.ema import DECAY, TAU
from ultralytics.engine.step.optim import FORMS
from ultralytics.engine.step.step import TrainStep
from ultralytics.utils.log import LOGGER
from ultralytics.utils.rng import random_state, restore_random_state
from ultralytics.utils.text import counted


def parts_of(step: TrainStep) -> dict[str, Any]:
    """Return the entries; all ranks call it together, and the leader's are those of the run."""
    model, team = step.loss.model, step.team
    pending = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    mine: dict[str, Any] = {"rng": random_state(step.loss.device if team.many else None)}
    ranks: list[dict[str, Any]] = []
    if team.many:
        mine["images_since"] = step.state.images_since
        if not team.leads:  # what the entry below is for the leader
            mine["pending_gradients"] = pending
        if step.state.images_since:  # in the middle of an epoch each has statistics of its own
            mine["buffers"] = dict(model.named_buffers())
        ranks = team.gather(mine) or []
    return {
        "ema": step.ema.ema.state_dict(),
        "updates": step.ema.updates,
        "average": {"decay": step.ema.decay_limit, "tau": step.ema.tau},
        "weights": model.state_dict(),
        "optimizer_name": type(step.optimizer).__name__,
        "optimizer": step.optimizer.state_dict(),
        "scaler": step.scaler.state_dict(),
        "pending_gradients": pending,
        "rng": mine["rng"],
        "ranks": ranks,
    }


def restore_parts(step: TrainStep, state: Mapping[str, Any]) -> None:
    """Take the entries of a checkpoint.

    Raises:
        KeyError, TypeError, ValueError, RuntimeError: they do not fit.
    """
    step.loss.model.load_state_dict(state["weights"])
    step.ema.ema.load_state_dict(state["ema"])
    step.ema.updates = state["updates"]
    average = state.get("average", {"decay": DECAY, "tau": TAU})
    step.ema.decay_limit, step.ema.tau = float(average["decay"]), float(average["tau"])
    _restore_optimizer(step.optimizer, state["optimizer"])
    step.scaler.load_state_dict(state["scaler"])
    _restore_rank(step, state)


_SINGLE = ("step", "mu_product")  # what optimisers keep as one number per parameter; all else has its shape


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load an optimizer's state and check it: torch takes any tensors and settings, and would fail in the first step.

    Raises:
        ValueError, KeyError: they are not those of this optimiser's parameters.
    """
    settings = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    groups = state["param_groups"]
    if len(groups) == len(settings):  # else torch says so
        forms = [{k: mine[k] for k in FORMS if k in mine} for mine in settings]  # the file may be another device's
        groups = [{**theirs, **form} for theirs, form in zip(groups, forms, strict=True)]
    optimizer.load_state_dict({**state, "param_groups": groups})
    for group, mine in zip(optimizer.param_groups, settings, strict=True):
        for key, value in mine.items():
            theirs = group[key]
            if not isinstance(value, bool | int | float | tuple):  # others depend on torch's version
                continue
            pair = list(theirs) if isinstance(value, tuple) else [theirs]
            if not all(isinstance(v, int | float) for v in pair):
                raise ValueError(f"the optimizer's {key} is {theirs!r}")
    known: set[str] = set()
    for parameter, entries in optimizer.state.items():
        known = known or set(entries)
        if set(entries) != known:
            raise ValueError(
                f"the optimizer's tensors are {sorted(entries)} of one parameter, {sorted(known)} of another"
            )
        for key, value in entries.items():
            if key in _SINGLE:
                fits = isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == 1)
            else:
                fits = value is None or (isinstance(value, Tensor) and value.shape == parameter.shape)
            if not fits:
                shape = tuple(value.shape) if isinstance(value, Tensor) else value
                raise ValueError(f"the optimizer's {key} of a parameter of {tuple(parameter.shape)} is {shape}")


def _restore_rank(step: TrainStep, state: Mapping[str, Any]) -> None:
    """Restore what each rank had of its own: gradients under way, statistics, random streams.

    Another number of ranks shares what is common: the leader takes the sum of the gradients.
    """
    model, team, device = step.loss.model, step.team, step.loss.device
    ranks: list[dict[str, Any]] = state.get("ranks") or [{"rng": state["rng"]}]
    pending: list[Mapping[str, Tensor]] = [state["pending_gradients"]] if team.leads else []
    step.state.images_since = 0
    if len(ranks) == team.size:
        mine = ranks[team.rank]
        restore_random_state(mine["rng"], device if team.many else None)
        step.state.images_since = mine.get("images_since", 0)
        buffers = dict(model.named_buffers())
        for name, value in mine.get("buffers", {}).items():
            buffers[name].copy_(value)
        if not team.leads:
            pending = [mine.get("pending_gradients", {})]
    else:
        LOGGER.info("It was written by %s: its sums will be rounded in another order", counted(len(ranks), "process"))
        pending += [r.get("pending_gradients", {}) for r in ranks[1:]] if team.leads else []
    for name, parameter in model.named_parameters():
        found = [p[name].to(device) for p in pending if name in p]
        parameter.grad = sum(found[1:], found[0]) if found else None
