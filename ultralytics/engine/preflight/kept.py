"""What a forward pass keeps for the backward pass, by row, and the rows to compute again instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.engine.step.unmoved import unmoved
from ultralytics.nn.rows import rows_of
from ultralytics.utils.errors import ConfigError

SHARE = 0.5  # of what is kept: rows that `checkpoint_rows=auto` computes again hold as much


def kept_by_row(model: nn.Module, forward: Callable[[], object]) -> dict[int | None, int]:
    """Return the bytes that a forward pass keeps for a backward pass, besides weights and their copies in another
    precision, by the row that was at work when they were first kept; None: outside of the rows.

    Args:
        model: of rows.
        forward: the pass; gradients are on.
    """
    own = {t.untyped_storage().data_ptr() for t in tensors_of(model)}
    shapes = {t.shape for t in model.parameters() if t.dim() > 1}
    kept: dict[int, tuple[int | None, int]] = {}
    at: list[int | None] = [None]

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and tensor.shape not in shapes:
            kept.setdefault(storage.data_ptr(), (at[-1], storage.nbytes()))
        return tensor

    handles = []
    for k, row in enumerate(rows_of(model)):
        handles.append(row.register_forward_pre_hook(lambda _, __, k=k: at.append(k)))
        handles.append(row.register_forward_hook(lambda _, __, ___: at.__delitem__(-1)))
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            outputs = forward()  # noqa: F841  # what is kept lives as long as they do: no address is used twice
    finally:
        for handle in handles:
            handle.remove()
    found: dict[int | None, int] = {}
    for place, size in kept.values():
        found[place] = found.get(place, 0) + size
    return found


def tensors_of(model: nn.Module) -> Iterator[Tensor]:
    """Yield parameters and buffers."""
    yield from model.parameters()
    yield from model.buffers()


def rows_to_recompute(model: nn.Module, wanted: Any, forward: Callable[[], object]) -> frozenset[int]:
    """Return the rows that `checkpoint_rows=` means.

    Args:
        model: of rows.
        wanted: numbers; "all"; "auto": the rows that keep the most, together SHARE of all.
        forward: a pass in training, to see what they keep; the model is left as it is.

    Raises:
        ConfigError: there is no such row.
    """
    count = len(rows_of(model))
    if wanted == "all":
        return frozenset(range(count))
    if wanted != "auto":
        for k in (k for k in wanted if k >= count):
            raise ConfigError(f"checkpoint_rows names row {k}, and the model has rows 0 to {count - 1}")
        return frozenset(wanted)
    with unmoved(model):
        model.train()
        kept = kept_by_row(model, forward)
    rows = sorted((k for k in kept if k is not None), key=lambda k: (-kept[k], k))
    chosen: list[int] = []
    while rows and sum(kept[k] for k in chosen) < SHARE * sum(kept.values()):
        chosen.append(rows.pop(0))
    return frozenset(chosen)
