"""Tensors in nested values."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name
from torch import Tensor

GREY = 0.447  # of pixels outside a scaled image, as in the reference


def is_finite(tensor: Tensor) -> bool:
    """Return True if no number of a tensor is NaN or infinite; waits for the device."""
    return not (tensor.is_floating_point() or tensor.is_complex()) or bool(torch.isfinite(tensor).all())


def layout(device: torch.device) -> torch.memory_format:
    """Return how maps and kernels lie in a device's memory: channels last, but for GPUs under Windows, where
    convolutions were seen to take three times as long with it (elsewhere they are faster)."""
    windows = device.type == "cuda" and sys.platform == "win32"
    return torch.contiguous_format if windows else torch.channels_last


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
        sent: Any = self._sent
        if self._host is not None and sent is not None and sent.query():
            self._values, self._sent = self._host.tolist(), None
        return self._values

    def forget(self) -> None:
        """Drop what has arrived and what is under way."""
        self._values = self._sent = self._host = None


def count_most(numbers: Tensor) -> int | None:
    """Return how often the commonest of numbers from 0 occurs, such as the boxes of the fullest image by the image of
    each box; None where they lie on a GPU, which the host would have to wait for."""
    if numbers.device.type != "cpu":
        return None
    return int(np.bincount(numbers.view(-1).numpy().astype(np.int64), minlength=1).max())


def tensors_in(value: Any) -> Sequence[Tensor]:
    """Return the tensors of nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in tensors_in(v)] if isinstance(value, list | tuple) else []


def scaled(images: Tensor, ratio: float, stride: int | None = None) -> Tensor:
    """Return images (B, 3, h, w) scaled by a ratio, and padded right and below with grey: to multiples of a stride, or
    to their size where it is None."""
    if ratio == 1.0:
        return images
    h, w = images.shape[2:]
    size = int(h * ratio), int(w * ratio)
    images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
    if stride is not None:
        h, w = (math.ceil(n * ratio / stride) * stride for n in (h, w))
    return F.pad(images, [0, w - size[1], 0, h - size[0]], value=GREY)
