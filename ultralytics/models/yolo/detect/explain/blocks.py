"""Which parts of a network an explanation looks at."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from ultralytics.nn.modules.attention import AttentionBlock, MapAttention
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ConfigError, ModelError
from ultralytics.utils.log import LOGGER


class Block(NamedTuple):
    """A part of the network to look at: its place, such as "10" or "12.attn", its kind, and the module."""

    place: str
    kind: str
    module: nn.Module

    @property
    def title(self) -> str:
        """As messages and figures call it."""
        return f"row {self.place} {self.kind}"

    @property
    def mixer(self) -> MapAttention:
        """The attention in it."""
        found = self.module.attn if isinstance(self.module, AttentionBlock) else self.module
        assert isinstance(found, MapAttention)
        return found


def attention_blocks(model: DetectionModel) -> list[Block]:
    """Return the attention over maps in a network: blocks, and layers that stand in no block."""
    found: list[Block] = []
    for name, module in model.model.named_modules():
        inside = any(name.startswith(f"{b.place}.") for b in found)
        if isinstance(module, AttentionBlock | MapAttention) and not inside:
            found.append(Block(name, type(module).__name__, module))
    return found


def chosen_blocks(model: DetectionModel, kind: str, requested: Any) -> list[Block]:
    """Return the parts to look at: the rows of these numbers or names; with None those that the kind looks at by
    itself, of which kind cam has none: it means the maps that the head reads.

    Raises:
        ConfigError, ModelError: there is no such row, or none with weights to show.
    """
    rows = None
    if requested is not None:
        rows = [_find_row(model, n) for n in (requested if isinstance(requested, list) else [requested])]
    if kind == "attention":
        return _with_weights(model, rows)
    if rows is not None or kind == "cam":
        return rows or []
    blocks = attention_blocks(model)
    inside = {b.place.partition(".")[0] for b in blocks}
    # A row whose module brings no channel rule is a class of the user's own that was measured.
    layers: Any = model.model[:-1]
    pasted = [str(i) for i, layer in enumerate(layers) if layer.built.inferred]
    found = blocks + [_find_row(model, n) for n in pasted if n not in inside]
    # Of a plain network the maps that its head reads.
    return found or [_find_row(model, n % len(model.model)) for n in head_sources(model)]


def head_sources(model: DetectionModel) -> list[int]:
    """Return the numbers of the rows that the head reads."""
    return list(model.spec.rows[-1].sources)


def _with_weights(model: DetectionModel, rows: list[Block] | None) -> list[Block]:
    """Return the blocks, all or those within rows, of which the weights can be shown.

    Raises:
        ConfigError, ModelError: there is none.
    """
    blocks = attention_blocks(model)
    if not blocks:
        raise ModelError(
            "the model has no attention over maps whose weights could be shown",
            hint="kind=cam and kind=erf take any model",
        )
    for row in rows or []:
        if not any(f"{b.place}.".startswith(f"{row.place}.") for b in blocks):
            known = f"there is some in {', '.join(b.title for b in blocks)}"
            raise ConfigError(f"rows: {row.title} has no attention over a map", hint=known)
    chosen = [b for b in blocks if rows is None or any(f"{b.place}.".startswith(f"{row.place}.") for row in rows)]
    offered = [b for b in chosen if b.mixer.offers_weights()]
    for block in chosen:
        if block not in offered:
            reason = f"{block.title}: {type(block.mixer).__name__} does not offer its weights"
            if not offered or rows is not None:
                raise ModelError(reason, hint="kind=erf takes any row")
            LOGGER.warning("%s; left out", reason)
    return offered


def _find_row(model: DetectionModel, named: int | str) -> Block:
    """Return a row by its number or name.

    Raises:
        ConfigError: there is none, or it is the head.
    """
    rows = model.spec.rows
    names = {row.name: i for i, row in enumerate(rows) if row.name}
    number = names.get(named, -1) if isinstance(named, str) else named
    if isinstance(named, str) and number < 0 and named.isdecimal():
        number = int(named)
    if not 0 <= number < len(rows):
        known = f"the model has rows 0 to {len(rows) - 1}" + (f", named {', '.join(names)}" if names else "")
        raise ConfigError(f"rows: there is no row {named}", hint=known)
    if number == len(rows) - 1:
        raise ConfigError(f"rows: row {number} is the head, which gives no map", hint="give the rows it reads")
    return Block(str(number), rows[number].module.rpartition(".")[2], model.model[number])


def map_of(out: Any, block: Block) -> Tensor:
    """Return the map that a row gives.

    Raises:
        ModelError: it gives something else.
    """
    if not isinstance(out, Tensor) or out.dim() != 4:
        raise ModelError(f"{block.title} gives no map", hint="give other rows=")
    return out
