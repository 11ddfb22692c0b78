"""Learning rates by what a parameter is to the run: transferred, new, or the gate of a new block.

A block that is inserted into a pretrained network starts from nothing while all around it is trained, and its gate from
zero. At the rate that suits the pretrained tensors a short run ends before the block has begun; so new tensors learn at
multiples of it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import nn

from ultralytics.cfg.config import Config
from ultralytics.engine.step.optim import OptimizerChoice, make_optimizer, parameter_groups
from ultralytics.engine.step.schedule import Schedule

GATE = "gate"  # the name of a block's gate, as in AttentionBlock
AUTO_NEW, AUTO_GATE = 10.0, 50.0  # with optimisers of Adam's family, where a step's size does not follow the gradient's
OPEN = 0.1  # a gate that can go no further leaves a block with less of the map than counts as learned
ADAMS = ("Adam", "AdamW", "Adamax", "NAdam", "RAdam")


@dataclass(frozen=True)
class Group:
    """A parameter group of the optimiser.

    Attributes:
        kind: bias, weight (decayed) or other; role: transferred, new or gate; factor: multiple of the learning rate.
        names: of its parameters.
    """

    kind: str
    role: str
    factor: float
    names: tuple[str, ...]


def role_of(name: str, new: Collection[str]) -> str:
    """Return what a parameter is to the run, by its name and the names of the new ones."""
    if name not in new:
        return "transferred"
    return "gate" if name.rpartition(".")[2] == GATE else "new"


def settle_rates(args: Config, optimizer: str, new: Collection[str]) -> None:
    """Turn `lr_new=auto` and `lr_gate=auto` into numbers, where there are new tensors.

    Args:
        optimizer: its name; new: names of the new parameters.
    """
    if not new:
        return
    adam = optimizer in ADAMS
    for key, value in (("lr_new", AUTO_NEW), ("lr_gate", AUTO_GATE)):
        if getattr(args, key) is None:
            args.set(key, value if adam else 1.0, "auto")


def build_groups(
    model: nn.Module, choice: OptimizerChoice, weight_decay: float, args: Config, new: Collection[str]
) -> tuple[torch.optim.Optimizer, list[Group]]:
    """The optimiser, and what each of its parameter groups is.

    Without new tensors there are the reference's three: biases, decayed weights, the undecayed rest. With some there
    are as many for each role, as far as they hold parameters. The first group is that of the biases that were trained
    before: they alone warm up from `warmup_bias_lr`.

    Args:
        args: its `lr_transferred`, `lr_new` and `lr_gate` are the factors; new: names of the new parameters.
    """
    names = {id(p): n for n, p in model.named_parameters()}
    factors = {"transferred": args.lr_transferred, "new": args.lr_new or 1.0, "gate": args.lr_gate or 1.0}
    groups: list[Group] = []
    settings = []
    split = dict(zip(("bias", "weight", "other"), parameter_groups(model), strict=True))
    for role, factor in factors.items():
        for kind, parameters in split.items():
            mine = [p for p in parameters if role_of(names[id(p)], new) == role]
            if not mine and role != "transferred":
                continue
            groups.append(Group(kind, role, factor, tuple(names[id(p)] for p in mine)))
            settings.append(
                {"params": mine, "weight_decay": weight_decay if kind == "weight" else 0.0, "lr": choice.lr * factor}
            )
    return make_optimizer(settings, choice), groups


def reach(schedule: Schedule, factor: float) -> float:
    """Return how far a parameter can move over a whole run with an optimizer of Adam's family.

    A step is at most about as long as the learning rate (Kingma & Ba 2015, §2.1).
    """
    return factor * sum(schedule.at(i, i // schedule.batches).lr for i in schedule.steps())


def describe(groups: Collection[Group]) -> list[str]:
    """A line for each role but a single one, and for one with another factor than 1."""
    roles = {g.role: g.factor for g in groups}
    if len(roles) == 1 and set(roles.values()) == {1.0}:
        return []
    counts = {r: sum(len(g.names) for g in groups if g.role == r) for r in roles}
    words = {"transferred": "transferred", "new": "new", "gate": "gates of new blocks"}
    return [f"learning rate x {factor:g}: {counts[r]} {words[r]}" for r, factor in roles.items() if counts[r]]
