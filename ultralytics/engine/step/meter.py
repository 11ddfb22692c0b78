"""Whether an inserted block does anything: its gate, and how much it changes the map it is given."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.engine.step.rates import GATE

LEARNED, BEGUN = 0.10, 0.03  # shares of the map from which on a block counts as learned, and as begun


def judge_share(share: float) -> str:
    """Say what a block has learned, by the share by which it changes its map."""
    if share >= LEARNED:
        return "the block has learned"
    if share >= BEGUN:
        return "the block has learned little; give it more optimiser steps"
    return "the block has hardly learned, so the figures are those of the network without it"


class Meter:
    """Measures the gated blocks of a model, y = x + gate ⊙ A(x), where it is evaluated.

    Args:
        model: whose modules with a parameter of their own called `gate` are measured.

    Attributes:
        blocks: column prefix → kind of module; such as {"block/10": "FLABlock"}, by the row and the place in it.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = {
            f"block/{name.removeprefix('model.')}": module
            for name, module in model.named_modules()
            if isinstance(module._parameters.get(GATE), Tensor)
        }
        self.blocks = {prefix: type(module).__name__ for prefix, module in self._modules.items()}
        self._shares: dict[str, Tensor] = {}

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Measure the first batch that the model, or a copy that is made of it meanwhile, is given."""
        self._shares = {}
        handles = [m.register_forward_hook(self._hook(prefix)) for prefix, m in self._modules.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, prefix: str) -> Callable[[nn.Module, Any, Any], None]:
        shares = self._shares  # a function is not copied with the module it is attached to

        def measure(_: nn.Module, given: Any, out: Any) -> None:
            x = given[0] if given else None
            x = x[0] if isinstance(x, list | tuple) and x else x  # of a block that adds: the map it adds to
            if prefix not in shares and isinstance(x, Tensor) and isinstance(out, Tensor) and x.shape == out.shape:
                size = torch.linalg.vector_norm(x.float())
                change = torch.linalg.vector_norm(out.float() - x.float())
                shares[prefix] = (change / size.clamp(min=1e-12)).detach()  # read when the pass is over

        return measure

    @torch.no_grad()
    def row(self) -> dict[str, float]:
        """Return what the last epoch left, by column of results.csv: BLOCK/gate_mean and BLOCK/gate_max of |gate|, and
        BLOCK/share = ‖y − x‖ / ‖x‖ over the first validation batch, where there was one."""
        found: dict[str, float] = {}
        for prefix, module in self._modules.items():
            gate = module._parameters[GATE].detach().float().abs()
            found |= {f"{prefix}/gate_mean": float(gate.mean()), f"{prefix}/gate_max": float(gate.max())}
            if prefix in self._shares:
                found[f"{prefix}/share"] = float(self._shares[prefix])
        return found

    def verdict(self, rows: Sequence[Mapping[str, float]]) -> list[str]:
        """A sentence per block on whether the block has learned, by the last row of results.csv."""
        lines = []
        for prefix, kind in self.blocks.items() if rows else ():
            share = rows[-1].get(f"{prefix}/share")
            if share is None:
                continue
            text = judge_share(share)
            gates = "mean |gate| {:.3g}, largest {:.3g}".format(
                rows[-1][f"{prefix}/gate_mean"], rows[-1][f"{prefix}/gate_max"]
            )
            row, _, place = prefix.removeprefix("block/").partition(".")
            where = f"row {row} ({kind}{f', {place}' if place else ''})"
            lines.append(f"{where} changes its map by {share:.1%} ({gates}): {text}")
        return lines
