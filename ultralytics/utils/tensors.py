"""Tensors in nested values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def is_finite(tensor: Tensor) -> bool:
    """Return True if no number of a tensor is NaN or infinite; waits for the device."""
    return not (tensor.is_floating_point() or tensor.is_complex()) or bool(torch.isfinite(tensor).all())


class Readback:
    """Reads a tensor that a device is still computing, without waiting for it: what was sent arrives later.

    One copy is under way at a time, into page-locked memory; meanwhile nothing else is sent.
    """

    def __init__(self) -> None:
        self._host: Tensor | None = None
        self._sent: torch.cuda.Event | None = None
        self._values: list[Any] | None = None

    def send(self, tensor: Tensor) -> None:
        """Let a tensor (n,) follow, as it is now."""
        if tensor.device.type != "cuda":
            self._values = tensor.tolist()
        elif self._sent is None:
            if self._host is None:
                self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor.detach(), non_blocking=True)
            self._sent = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch's own
            self._sent.record(torch.cuda.current_stream(tensor.device))

    def latest(self) -> list[Any] | None:
        """Return the values that have arrived last; None before the first."""
        if self._host is not None and self._sent is not None:
            if self._sent.query():  # type: ignore[no-untyped-call]  # torch's own
                self._values, self._sent = self._host.tolist(), None
        return self._values

    def forget(self) -> None:
        """Drop what has arrived and what is under way."""
        self._values = self._sent = self._host = None


def tensors_in(value: Any) -> Sequence[Tensor]:
    """Return the tensors of nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in tensors_in(v)] if isinstance(value, list | tuple) else []
