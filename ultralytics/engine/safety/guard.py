"""Losses and gradients that are not finite: noticed, traced to a module, recorded.

A look at a value waits for the device. On a CPU that costs nothing, and every step is looked at. Elsewhere a flag on
the device gathers what happens, it is read where the trainer waits anyway, and a run that turns out spoilt is repeated
from its last save with a look at every step.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.nn.rows import row_label
from ultralytics.utils.files import write_atomically, write_json

MAX_SKIPS = 10  # batches one after another
MAX_ROLLBACKS = 3
ROLLBACK_FACTOR = 0.5  # of the learning rate, each time
MAX_RECORDS = 10  # bad batches that a run keeps on the disk
MIN_SCALE = 2.0**-10  # of fp16's loss; below it, it is the gradient that is not finite, not its scaling


class BadStepError(Exception):
    """A step whose loss ("loss") or gradient ("gradient") is not finite; nothing of it has reached the weights.
    `parts`: those of its loss, where they are known."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind
        self.parts: Tensor | None = None


class Guard:
    """Looks after the steps of a run.

    Attributes:
        careful: look at every step at once, and undo a bad one; otherwise only note it.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.careful = device.type == "cpu"
        self._buffers = [b for b in model.buffers() if b.numel()]
        self._kept = [b.clone() for b in self._buffers]
        self._flag = torch.zeros((), dtype=torch.bool, device=device)
        self._device = device
        self._random: list[Tensor] = []

    def remember(self) -> None:
        """Before a forward pass: keep the statistics that it will move, and where the random streams are."""
        torch._foreach_copy_(self._kept, self._buffers)
        if self.careful:
            self._random = self._streams()

    def _streams(self) -> list[Tensor]:
        gpu = [torch.cuda.get_rng_state(self._device)] if self._device.type == "cuda" else []
        return [torch.get_rng_state(), *gpu]

    @contextlib.contextmanager
    def repeated(self) -> Iterator[None]:
        """Within it the random streams are those of the step; afterwards as before."""
        now = self._streams()
        self._continue(self._random or now)
        try:
            yield
        finally:
            self._continue(now)

    def _continue(self, streams: Sequence[Tensor]) -> None:
        torch.set_rng_state(streams[0])
        for state in streams[1:]:
            torch.cuda.set_rng_state(state, self._device)

    @torch.no_grad()
    def undo(self) -> None:
        """Put the statistics back."""
        torch._foreach_copy_(self._buffers, self._kept)

    def check(self, value: Tensor, kind: str) -> None:
        """Look at a loss or at the norm of the gradients.

        Raises:
            BadStepError: it is not finite, and the guard is careful.
        """
        if not self.careful:
            self._flag.logical_or_(~torch.isfinite(value.detach()).all())
        elif not math.isfinite(value.item()):
            raise BadStepError(kind)

    def spoilt(self) -> bool:
        """Whether anything bad has been noted; waits for the device."""
        return bool(self._flag)

    def reset(self) -> None:
        """Forget what was noted."""
        self._flag.zero_()


def first_bad_module(model: nn.Module, step: Callable[[], Tensor]) -> tuple[str, str]:
    """Repeat a step and find where it turns bad: the module, and what of it. The module is empty when the step is
    finite this time; statistics and gradients are the caller's to restore.

    Args:
        model: whose modules are watched; step: forward pass and criterion; returns the loss.
    """
    for name, tensor in model.named_parameters():
        if not _finite(tensor):
            return _described(model, name.rpartition(".")[0]), f"its {name.rpartition('.')[2]} is not finite"
    names = {m: n for n, m in model.named_modules() if n}
    outputs: list[str] = []
    gradients: list[tuple[str, str]] = []
    readers: dict[int, str] = {}
    alive: list[Tensor] = []  # so that no id is used twice

    def enter(module: nn.Module, inputs: Any) -> None:
        for t in _tensors(inputs):
            readers[id(t)] = names[module]
            alive.append(t)

    def leave(module: nn.Module, _: Any, output: Any) -> None:
        name = names[module]
        for t in _tensors(output):
            if not _finite(t):
                outputs.append(name)
            elif t.requires_grad:
                alive.append(t)
                t.register_hook(lambda g, t=t: None if _finite(g) else gradients.append((readers.get(id(t), ""), name)))  # type: ignore[no-untyped-call, misc, unused-ignore]

    handles: list[Any] = []
    try:
        for module in names:
            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                owner = name.rpartition(".")[0]
                handles.append(
                    parameter.register_hook(  # type: ignore[no-untyped-call]  # torch's own
                        lambda g, owner=owner: None if _finite(g) else gradients.append((owner, ""))
                    )
                )
        loss = step()
        if outputs:
            return _described(model, outputs[0]), "its output is not finite"
        if not _finite(loss):
            return "the loss", "it is not finite, though all outputs of the model are"
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
    finally:
        for handle in handles:
            handle.remove()
    if gradients:
        owner, before = gradients[0]
        if owner:
            return _described(model, owner), "its gradient is not finite"
        return _described(model, before), "the gradient that reaches its output is not finite"
    return "", "the step is finite when it is repeated"


def record_batch(
    folder: Path, name: str, told: Mapping[str, Any], batch: Mapping[str, Any], draw: Callable[[Path], None]
) -> Path | None:
    """Write NAME.json, NAME.pt (the batch's tensors) and NAME.jpg into a folder; None when it is full of them."""
    folder.mkdir(exist_ok=True)
    if len(list(folder.glob("*.json"))) >= MAX_RECORDS:
        return None
    tensors = {k: v.detach().cpu() for k, v in batch.items() if isinstance(v, Tensor)}
    write_atomically(folder / f"{name}.pt", lambda f: torch.save(tensors, f))
    draw(folder / f"{name}.jpg")
    write_json(folder / f"{name}.json", dict(told))
    return folder / f"{name}.json"


def _described(model: nn.Module, name: str) -> str:
    """model.10.cv1.conv → "tiny.yaml, line 24 (cv1.conv)"."""
    parts = name.split(".")
    if len(parts) < 2 or parts[0] != "model" or not parts[1].isdigit():
        return name or "the model"
    inner = ".".join(parts[2:])
    return f"{row_label(model, int(parts[1]))}{f' ({inner})' if inner else ''}"


def _finite(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex()) or bool(torch.isfinite(tensor).all())


def _tensors(value: Any) -> Sequence[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in _tensors(v)] if isinstance(value, list | tuple) else []
