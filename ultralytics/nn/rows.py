"""The rows of a network as messages name them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn


def rows_of(model: nn.Module) -> Sequence[nn.Module]:
    """Return the rows, `model.model`."""
    return list(model.model)  # type: ignore[arg-type]  # a Sequential


def row_name(model: nn.Module, k: int) -> str:
    """Return a row's module as its YAML names it, or else its class."""
    specs = getattr(getattr(model, "spec", None), "rows", ())
    return str(specs[k].module) if k < len(specs) else type(rows_of(model)[k]).__name__


def row_label(model: nn.Module, k: int | None) -> str:
    """Say where a row is: file and line where they are known, its number and module."""
    if k is None:
        return "outside of the rows"
    specs = getattr(getattr(model, "spec", None), "rows", ())
    where = str(specs[k].where) if k < len(specs) else ""
    return where or f"row {getattr(rows_of(model)[k], 'i', k)} ({row_name(model, k)})"


def trainable(model: nn.Module) -> Iterator[tuple[int, str, nn.Parameter]]:
    """Yield row, name and tensor of every parameter that is to be trained."""
    for k, row in enumerate(rows_of(model)):
        for name, parameter in row.named_parameters():
            if parameter.requires_grad:
                yield k, name, parameter
