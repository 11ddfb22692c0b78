"""Exponential moving average of a model."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import nn

from ultralytics.engine.step.schedule import Schedule
from ultralytics.utils.torch_utils import copy_attr

DECAY, TAU = 0.9999, 2000.0  # the reference's


def window(ema: float | str, schedule: Schedule) -> tuple[float, float]:
    """(decay, tau) of the average by `ema=`.

    Args:
        ema: tau; 0 for no average; "auto": by the length of the run: it settles in a tenth of it, and in the end looks
            back over a tenth of it, but no further than the reference's.
        schedule: of the run, which says how many optimiser steps it has.
    """
    if ema == "auto":
        updates = sum(1 for _ in schedule.steps())
        return min(DECAY, 1 - 10 / max(updates, 20)), min(TAU, updates / 10)
    return DECAY, float(ema)


class ModelEMA:
    """A copy of a model whose floating-point state follows it: v ← d·v + (1 − d)·m, d(u) = decay · (1 − exp(−u / tau)).

    Batch-norm statistics are averaged as well; counters stay.

    Args:
        model: the model to follow; decay, tau: of the formula; updates: u to go on from.

    Attributes:
        ema: the averaged model, in evaluation mode, without gradients.
    """

    def __init__(self, model: nn.Module, decay: float = DECAY, tau: float = TAU, updates: int = 0) -> None:
        self.ema = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay_limit, self.tau, self.updates = decay, tau, updates

    enabled = True  # of the reference's

    def decay(self, updates: int) -> float:
        """d(u); 0 with a tau of 0: no average."""
        if not self.tau:
            return 0.0
        return self.decay_limit * (1 - math.exp(-updates / self.tau))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take one step towards the model."""
        self.updates += 1
        source = model.state_dict()
        state = self.ema.state_dict().items()
        pairs = [(v, source[k].detach()) for k, v in state if v.is_floating_point() or v.is_complex()]
        for same in {v.dtype for v, _ in pairs}:
            averaged = [v for v, _ in pairs if v.dtype == same]
            current = [m for v, m in pairs if v.dtype == same]
            torch._foreach_lerp_(averaged, current, 1 - self.decay(self.updates))

    def update_attr(
        self, model: nn.Module, include: Sequence[str] = (), exclude: Sequence[str] = ("process_group", "reducer")
    ) -> None:
        """Copy a model's attributes: those of `include`, or all but private ones and those of `exclude`."""
        copy_attr(self.ema, model, include, exclude)
