"""Rows that are computed once more in the backward pass, so that what lies within them is not kept until then
(activation checkpointing, Chen et al. 2016)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recomputed(row: nn.Module, source: Any) -> Any:
    """Compute a row of a network under training, keeping its inputs alone for the backward pass.

    Values, gradients, buffers and random streams are those of `row(source)`, to the bit: while the row is computed
    again, dropout draws what it drew, buffers hold what they held, and afterwards they are as before. Hooks on the row
    see the first time only.

    Args:
        row: a module.
        source: a map, or a list of maps.
    """
    if torch.compiler.is_compiling():  # which keeps buffers right by itself
        many = isinstance(source, list)
        maps = source if many else [source]
        return checkpoint(lambda *given: row(list(given) if many else given[0]), *maps, use_reentrant=False)
    plain, own = row.forward, vars(row).get("forward")
    row.forward = lambda given: _checkpointed(row, plain, given)  # within the hooks of its call, which may compute
    try:
        return row(source)
    finally:
        del row.forward
        if own is not None:
            row.forward = own


def _checkpointed(row: nn.Module, forward: Callable[[Any], Any], source: Any) -> Any:
    many = isinstance(source, list)
    buffers = list(row.buffers())
    # In training a batch norm reads none of its buffers.
    read = [b for module in row.modules() if not isinstance(module, _BatchNorm) for b in module.buffers(recurse=False)]
    before: list[Tensor] = []

    @contextlib.contextmanager
    def once() -> Iterator[None]:
        before[:] = [b.clone() for b in read]
        yield

    @contextlib.contextmanager
    def again() -> Iterator[None]:
        after = [b.clone() for b in buffers]
        _write(read, before)
        try:
            yield
        finally:
            _write(buffers, after)

    def compute(*maps: Tensor) -> Any:
        return forward(list(maps) if many else maps[0])

    maps = source if many else [source]
    return checkpoint(compute, *maps, use_reentrant=False, context_fn=lambda: (once(), again()))


@torch.no_grad()
def _write(tensors: list[Tensor], values: list[Tensor]) -> None:
    if tensors:
        torch._foreach_copy_(tensors, values)
