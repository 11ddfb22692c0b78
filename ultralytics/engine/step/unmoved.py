"""A trial step that leaves a network as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def unmoved(model: nn.Module) -> Iterator[None]:
    """Statistics, gradients, modes and random streams afterwards as before."""
    buffers = [(b, b.clone()) for b in model.buffers()]
    modes = [(m, m.training) for m in model.modules()]
    gradients = [(p, p.grad) for p in model.parameters()]
    for p, _ in gradients:
        p.grad = None
    try:
        with torch.random.fork_rng(sorted({p.device.index for p in model.parameters() if p.is_cuda})):
            yield
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        for p, gradient in gradients:
            p.grad = gradient
        for module, training in modes:
            module.training = training
