"""A bad step traced to a module, and its batch recorded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.engine.safety.guard import BadStepError
from ultralytics.engine.step.step import TrainStep
from ultralytics.nn.rows import row_label
from ultralytics.utils.errors import UserError
from ultralytics.utils.files import write_atomically, write_json
from ultralytics.utils.log import LOGGER
from ultralytics.utils.tensors import is_finite, tensors_in
from ultralytics.utils.types import Batch

MAX_RECORDS = 10  # bad batches that a run keeps on the disk


@dataclass
class Incident:
    """A bad step, found out.

    Attributes:
        kind: loss or gradient; number: the batch's, from 0; batch: on the device.
        module, found: where it turned bad, and what of it; no module where the step is finite when it is repeated.
        losses: loss parts by name; lr: the learning rate; here: it is this rank's.
    """

    kind: str
    epoch: int
    number: int
    batch: Batch
    module: str
    found: str
    losses: dict[str, float]
    lr: float
    here: bool

    @property
    def facts(self) -> dict[str, Any]:
        """Return what its record says, plain data."""
        return {
            "epoch": self.epoch + 1,
            "batch": self.number + 1,
            "kind": self.kind,
            "module": self.module or None,
            "found": self.found,
            "loss": {n: v if math.isfinite(v) else str(v) for n, v in self.losses.items()},
            "lr": self.lr,
            "im_file": [str(f) for f in self.batch["im_file"]],
        }

    def record(self, folder: Path, rank: str, draw: Callable[[Batch, Path], None]) -> Path | None:
        """Write it into a folder; None when it is another rank's, or the folder or the disk is full."""
        if not self.here:
            return None
        name = f"epoch{self.epoch + 1}_batch{self.number + 1}{rank}"
        try:
            return record_batch(folder, name, self.facts, self.batch, lambda path: draw(self.batch, path))
        except (UserError, OSError) as e:
            LOGGER.warning("The bad batch could not be recorded: %s", e)
            return None

    def line(self, recorded: Path | None) -> str:
        """Describe it in one line."""
        files = [Path(f).name for f in self.batch["im_file"]]
        named = ", ".join(files[:4]) + (", …" if len(files) > 4 else "")
        numbers = ", ".join(f"{n} {v:.4g}" for n, v in self.losses.items())
        seen = f"{self.module}: {self.found}" if self.module else self.found
        place = f"in epoch {self.epoch + 1}, batch {self.number + 1}"
        see = f"; see {recorded}" if recorded else ""
        return f"the {self.kind} is not finite {place} ({numbers}; {named}): {seen}{see}"


def find_incident(
    step: TrainStep, bad: BadStepError, batch: Batch, loader: Any, names: Sequence[str], sync_bn: bool
) -> Incident:
    """Repeat the batches that may have made a step bad, until one does again.

    Args:
        step: of the run, at the bad batch.
        bad: how the step failed.
        batch: the one at work, on the device.
        loader: gives the batches again whose gradients had gathered.
        names: of the loss parts.
        sync_bn: batch norms are those of all ranks, which would have to fail in the same place.
    """
    current, many = step.iteration % step.state.batches, step.team.many
    number, suspect = current, batch
    module, found, parts = "", "", torch.zeros(0)
    with set_aside_gradients(step.loss.model):
        for number, suspect in list(suspects(step, bad.kind, batch, loader)):  # the last one looked at is recorded
            if many and sync_bn:
                found = "look for the module without sync_bn"
                break
            module, found, parts = repeat_step(step, suspect, same_draws=number == current)
            if module:
                break
    met = bad.parts if bad.parts is not None and number == current and not many else parts
    losses = {n: float(v) for n, v in zip(names, met.tolist(), strict=False)}
    here = bool(module) or not bool(torch.isfinite(parts).all()) or not many
    lr = step.optimizer.param_groups[-1]["lr"]
    return Incident(bad.kind, step.state.epoch, number, suspect, module, found, losses, lr, here)


def suspects(step: TrainStep, kind: str, batch: Batch, loader: Any) -> Iterator[tuple[int, Batch]]:
    """Yield the batches that may be at fault, with their numbers: of a bad gradient any of those that had gathered."""
    state, current = step.state, step.iteration % step.state.batches
    begun = state.epoch * state.batches
    if kind == "gradient":
        for number in range(max(state.last_opt_step + 1 - begun, 0), current):
            gathered: Batch = loader.batch_at(state.epoch, number)
            step.iteration = begun + number
            gathered.update(step.hooks.preprocess_batch(gathered))
            yield number, gathered
    yield current, batch


def repeat_step(step: TrainStep, batch: Batch, same_draws: bool) -> tuple[str, str, Tensor]:
    """Repeat a batch; return the module that turns bad, what of it, and the loss parts.

    With `same_draws` dropout and its like draw what they drew, for the one batch whose random streams are known.
    """
    parts = torch.zeros(0)

    def loss() -> Tensor:
        nonlocal parts
        value, parts = step.loss.of(batch)
        return value

    step.loss.model.zero_grad()
    with step.guard.repeated() if same_draws else nullcontext():
        module, found = first_bad_module(step.loss.model, loss)
    step.guard.undo()
    return module, found, parts


@contextmanager
def set_aside_gradients(model: nn.Module) -> Iterator[None]:
    """Put a model's gradients aside within the block."""
    pending = [(p, p.grad) for p in model.parameters()]
    for p, _ in pending:
        p.grad = None
    try:
        yield
    finally:
        for p, gradient in pending:
            p.grad = gradient


def first_bad_module(model: nn.Module, step: Callable[[], Tensor]) -> tuple[str, str]:
    """Repeat a step and find where it turns bad: the module, and what of it.

    The module is empty when the step is finite this time; statistics and gradients are the caller's to restore.

    Args:
        model: whose modules are watched.
        step: forward pass and criterion; returns the loss.
    """
    for name, tensor in model.named_parameters():
        if not is_finite(tensor):
            return describe_module(model, name.rpartition(".")[0]), f"its {name.rpartition('.')[2]} is not finite"
    names = {m: n for n, m in model.named_modules() if n}
    outputs, gradients, readers = list[str](), list[tuple[str, str]](), dict[int, str]()
    alive: list[Tensor] = []  # so that no id is used twice

    def enter(module: nn.Module, inputs: Any) -> None:
        for t in tensors_in(inputs):
            readers[id(t)] = names[module]
            alive.append(t)

    def leave(module: nn.Module, _: Any, output: Any) -> None:
        name = names[module]
        for t in tensors_in(output):
            if not is_finite(t):
                outputs.append(name)
            elif t.requires_grad:
                alive.append(t)
                t.register_hook(  # type: ignore[no-untyped-call]  # torch's own
                    lambda g, t=t: None if is_finite(g) else gradients.append((readers.get(id(t), ""), name))
                )

    handles: list[Any] = []
    try:
        for module in names:
            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                owner = name.rpartition(".")[0]
                handles.append(
                    parameter.register_hook(  # type: ignore[no-untyped-call]  # torch's own
                        lambda g, owner=owner: None if is_finite(g) else gradients.append((owner, ""))
                    )
                )
        loss = step()
        if outputs:
            return describe_module(model, outputs[0]), "its output is not finite"
        if not is_finite(loss):
            return "the loss", "it is not finite, though all outputs of the model are"
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
    finally:
        for handle in handles:
            handle.remove()
    if gradients:
        owner, before = gradients[0]
        if owner:
            return describe_module(model, owner), "its gradient is not finite"
        return describe_module(model, before), "the gradient that reaches its output is not finite"
    return "", "the step is finite when it is repeated"


def record_batch(
    folder: Path, name: str, facts: Mapping[str, Any], batch: Batch, draw: Callable[[Path], None]
) -> Path | None:
    """Write NAME.json, NAME.pt (the batch's tensors) and NAME.jpg into a folder; None when it is full of them."""
    folder.mkdir(exist_ok=True)
    if len(list(folder.glob("*.json"))) >= MAX_RECORDS:
        return None
    tensors = {k: v.detach().cpu() for k, v in batch.items() if isinstance(v, Tensor)}
    write_atomically(folder / f"{name}.pt", lambda f: torch.save(tensors, f))
    draw(folder / f"{name}.jpg")
    write_json(folder / f"{name}.json", dict(facts))
    return folder / f"{name}.json"


def describe_module(model: nn.Module, name: str) -> str:
    """Return the row of a module: model.10.cv1.conv → "tiny.yaml, line 24 (cv1.conv)"."""
    parts = name.split(".")
    if len(parts) < 2 or parts[0] != "model" or not parts[1].isdigit():
        return name or "the model"
    inner = ".".join(parts[2:])
    return f"{row_label(model, int(parts[1]))}{f' ({inner})' if inner else ''}"
