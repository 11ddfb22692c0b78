"""Which rows torch.compile cannot take into one graph: at each the compiled network is cut in two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.nn.rows import row_label, row_name, rows_of


def breaks_so_far() -> Counter[str]:
    """Return the reasons for which torch has cut graphs in this process, and how often."""
    dynamo: Any = torch._dynamo
    return Counter(dynamo.utils.counters["graph_break"])


def broken_rows(model: nn.Module, img: Tensor, own: Callable[[Any], Any]) -> list[str]:
    """Return a line for each row that breaks the graph: which, and why.

    Args:
        model: in the mode to try; statistics and random streams are the caller's to restore.
        img: (B, 3, H, W).
        own: makes a function that torch compiles apart from others.
    """
    given: dict[nn.Module, Any] = {}

    def keep(row: nn.Module, inputs: Any) -> None:
        given[row] = inputs

    handles = [row.register_forward_pre_hook(keep) for row in rows_of(model)]
    try:
        with torch.no_grad():
            model(img)
    finally:
        for handle in handles:
            handle.remove()
    lines = []
    for k, row in enumerate(rows_of(model)):
        before = breaks_so_far()
        attempt: Callable[..., Any] = torch.compile(own(_row), dynamic=False, backend="eager")
        with torch.no_grad():
            attempt(row, *given[row])
        for reason in breaks_so_far() - before:
            where, name = row_label(model, k), f"row {k} ({row_name(model, k)})"
            place = where if name in where else f"{where}: {name}"
            lines.append(f"{place} breaks the graph, which runs in pieces: {reason.strip().splitlines()[0]}")
            break
    return lines or ["the graph breaks outside of the rows, and runs in pieces"]


def _row(row: nn.Module, *inputs: Any) -> Any:
    return row(*inputs)
