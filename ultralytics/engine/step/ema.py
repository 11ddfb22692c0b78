"""Exponential moving average of a model."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.engine.step.schedule import Schedule
from ultralytics.utils.torch_utils import copy_attr

DECAY, TAU = 0.9999, 2000.0  # the reference's
_Place = tuple[Mapping[str, Any], str, Any]  # what holds a module or a tensor, under which name, and what it held


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
        self._model: nn.Module | None = None
        self._pairs: list[tuple[list[Tensor], list[Tensor]]] = []
        self._places: list[_Place] = []

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
        known = model is self._model and self._places
        if not known or any(held.get(name) is not value for held, name, value in self._places):
            self._pair_up(model)
        for averaged, current in self._pairs:
            torch._foreach_lerp_(averaged, current, 1 - self.decay(self.updates))

    def _pair_up(self, model: nn.Module) -> None:
        """Find what follows what, once for as long as both models hold the same modules and tensors: to make two state
        dicts for every step takes longer than the average itself."""
        source, state = model.state_dict(keep_vars=True), self.ema.state_dict(keep_vars=True)
        pairs = [(v, source[k]) for k, v in state.items() if v.is_floating_point() or v.is_complex()]
        same = [[p for p in pairs if p[0].dtype == kind] for kind in {v.dtype for v, _ in pairs}]
        self._pairs = [([v for v, _ in group], [m for _, m in group]) for group in same]
        self._model = model
        places = [*_places(self.ema), *_places(model)]
        known = {id(value) for _, _, value in places}
        made = any(id(t) not in known for pair in pairs for t in pair)  # by a module's own `state_dict`: each time anew
        self._places = [] if made else [(vars(self), "ema", self.ema), *places]

    def update_attr(
        self, model: nn.Module, include: Sequence[str] = (), exclude: Sequence[str] = ("process_group", "reducer")
    ) -> None:
        """Copy a model's attributes: those of `include`, or all but private ones and those of `exclude`."""
        copy_attr(self.ema, model, include, exclude)


def _places(model: nn.Module) -> Iterator[_Place]:
    """Yield where a model holds its modules, parameters and buffers."""
    for module in model.modules():
        for held in (module._modules, module._parameters, module._buffers):
            for name, value in held.items():
                yield held, name, value
