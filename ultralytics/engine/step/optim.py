"""Optimisers and their parameter groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from ultralytics.cfg.config import OPTIMIZERS
from ultralytics.utils.errors import ConfigError, nearest

_PRODUCTS = (_ConvNd, nn.Linear, nn.Bilinear, nn.Embedding, nn.RNNBase, nn.RNNCellBase)
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm)


@dataclass(frozen=True)
class OptimizerChoice:
    """A resolved optimiser: its name, initial learning rate and momentum (β1 for the Adam family)."""

    name: str
    lr: float
    momentum: float


def choose_optimizer(name: str, lr0: float, momentum: float, nc: int, steps: int) -> OptimizerChoice:
    """Resolve `optimizer=`. With "auto", SGD at lr 0.01 and momentum 0.9 for runs of over 10,000 steps, else AdamW at
    0.002·5/(4 + nc).

    Raises:
        ConfigError: an unknown name.
    """
    if name == "auto":
        return (
            OptimizerChoice("SGD", 0.01, 0.9)
            if steps > 10000
            else OptimizerChoice("AdamW", round(0.002 * 5 / (4 + nc), 6), 0.9)
        )
    for known in OPTIMIZERS:
        if known.lower() == name.lower():
            return OptimizerChoice(known, lr0, momentum)
    raise ConfigError(
        f"optimizer={name} is unknown", hint=nearest(name, OPTIMIZERS) or f"one of {', '.join(OPTIMIZERS)}"
    )


def parameter_groups(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters as (biases, decayed weights, undecayed rest), by what they are and not by what they are
    called.

    - Of layers that multiply (convolutions, linear layers, embeddings, recurrent and bilinear ones): kernels and
    matrices
      are decayed, additive biases are biases.
    - Of normalisations: the offset is a bias, the scale is not decayed.
    - A module's own free parameters: decayed when they are matrices or kernels; not when they are vectors (gates,
      temperatures), nor when its class lists them in `undecayed` (a positional table, the attention's `scale`).
    """
    bias: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    seen: set[int] = set()  # a parameter that two modules share is one parameter
    for module in model.modules():
        layer = isinstance(module, (*_PRODUCTS, *_NORMS))
        offset = getattr(module, "bias", None) if layer else None
        spared = {id(getattr(module, name, None)) for name in getattr(module, "undecayed", ())}
        for parameter in module.parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            if parameter is offset:
                bias.append(parameter)
            elif isinstance(module, _NORMS) or id(parameter) in spared:
                rest.append(parameter)
            elif isinstance(module, _PRODUCTS):
                (decayed if parameter.dim() > 1 else rest).append(parameter)
            else:
                vector = sum(n > 1 for n in parameter.shape) <= 1
                (rest if vector else decayed).append(parameter)
    return bias, decayed, rest


_FUSED = ("SGD", "Adam", "AdamW")  # torch has these as one kernel over all parameters
FORMS = ("fused", "foreach", "capturable")  # of a parameter group: how a step is computed, which goes by the device


def make_optimizer(groups: list[dict[str, Any]], choice: OptimizerChoice) -> torch.optim.Optimizer:
    """The chosen optimiser for parameter groups of `params`, `weight_decay` and `lr`. On a GPU it is the fused one,
    where torch has one: a few kernels, and its step count stays on the device."""
    for group in groups:
        group["initial_lr"] = group["lr"]
    on_gpu = all(p.device.type == "cuda" for group in groups for p in group["params"])
    form: dict[str, Any] = {"fused": True} if on_gpu and choice.name in _FUSED else {}
    if choice.name == "SGD":
        return torch.optim.SGD(groups, lr=choice.lr, momentum=choice.momentum, nesterov=choice.momentum > 0, **form)
    if choice.name == "RMSProp":
        return torch.optim.RMSprop(groups, lr=choice.lr, momentum=choice.momentum)
    cls = getattr(torch.optim, choice.name)
    optimizer: torch.optim.Optimizer = cls(groups, lr=choice.lr, betas=(choice.momentum, 0.999), **form)
    return optimizer


def rates(optimizer: torch.optim.Optimizer, lr0: float) -> list[float]:
    """Each group's initial learning rate as a multiple of the run's; groups of an own optimiser may differ."""
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    return [g["initial_lr"] / lr0 if lr0 and g["initial_lr"] != lr0 else 1.0 for g in optimizer.param_groups]
