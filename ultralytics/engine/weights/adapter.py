"""Adapters: the tensors of the rows that were inserted into a network, as a file of their own.

A block that was trained once can so be put into any later network of the same width. A file holds plain tensors with a
checksum, what each row is, and where it comes from; it is written and read as checkpoints are, see docs/checkpoint.md.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import ultralytics
from ultralytics.engine.weights.checkpoint import ADAPTER, FORMAT_VERSION, Checkpoint, read_own, save_checkpoint
from ultralytics.utils.errors import CheckpointError, ConfigError
from ultralytics.utils.files import user_path
from ultralytics.utils.log import LOGGER

_ROW_KEY = re.compile(r"model\.(\d+)\.(.+)")


@dataclass
class AdapterRow:
    """A row of an adapter."""

    row: int  # its number in the network it comes from
    module: str  # its kind
    channels: list[int]  # of each of its sources
    tensors: dict[str, Tensor]  # by their name within the row

    def __str__(self) -> str:
        return f"{self.module} at {', '.join(map(str, self.channels))} channels"


def inserted_rows(model: Any, inserted: Collection[str], state: Mapping[str, Tensor] | None = None) -> list[AdapterRow]:
    """Return the inserted rows of a network, in order.

    Args:
        model: a DetectionModel; inserted: names of the parameters that no pretrained weights had. Statistics of the
            modules they belong to come along. state: the tensors, the model's own when None.
    """
    owners = {name.rpartition(".")[0] for name in inserted}
    found: dict[int, dict[str, Tensor]] = {}
    for name, tensor in (model.state_dict() if state is None else state).items():
        match = _ROW_KEY.fullmatch(name)
        if match and name.rpartition(".")[0] in owners:
            found.setdefault(int(match[1]), {})[match[2]] = tensor
    rows = model.spec.rows
    return [AdapterRow(i, rows[i].module, list(model.model[i].channels_read), found[i]) for i in sorted(found)]


def write_adapter(path: Path, model: Any, source: Checkpoint, inserted: Collection[str]) -> list[AdapterRow]:
    """Write the inserted rows of a checkpoint.

    Args:
        model: its network; inserted: as in `inserted_rows`.

    Raises:
        ConfigError: nothing was inserted. UserError: the file cannot be written.
    """
    rows = inserted_rows(model, inserted, source.weights)
    if not rows:
        raise ConfigError(
            "the file names no inserted rows: it was trained without pretrained=, or by earlier code",
            str(source.path),
            "name the rows, such as rows=[10]",
        )
    data = {
        "format": ADAPTER,
        "format_version": FORMAT_VERSION,
        "rows": [
            {**vars(r), "tensors": {k: t.detach().cpu().contiguous() for k, t in r.tensors.items()}} for r in rows
        ],
        "provenance": source.state.get("provenance", {}),
        "version": ultralytics.__version__,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    save_checkpoint(path, data, key="out")
    return rows


def read_adapter(path: str | Path) -> list[AdapterRow]:
    """Return the rows of an adapter file.

    Raises:
        MissingFileError, CheckpointError: with the path and the reason.
    """
    path = user_path(path)
    data = read_own(path, "adapter file")
    if not isinstance(data, dict) or data.get("format") != ADAPTER:
        raise CheckpointError(
            "no adapter", str(path), "`python -m ultralytics save-adapter model=best.pt out=FILE` writes one"
        )
    rows = data.get("rows")
    if not isinstance(rows, list) or not rows or not all(map(_is_row, rows)):
        raise CheckpointError("damaged: its rows are not what they should be", str(path), "use an earlier copy")
    return [AdapterRow(**row) for row in rows]


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or set(row) != {"row", "module", "channels", "tensors"}:
        return False
    tensors = row["tensors"]
    return (
        type(row["row"]) is int
        and isinstance(row["module"], str)
        and isinstance(row["channels"], list)
        and all(type(c) is int for c in row["channels"])
        and isinstance(tensors, dict)
        and all(isinstance(k, str) and isinstance(t, Tensor) for k, t in tensors.items())
    )


@torch.no_grad()
def fill(
    model: nn.Module, adapter: list[AdapterRow], inserted: Collection[str], path: str
) -> tuple[set[str], list[str]]:
    """Put an adapter's tensors into the inserted rows of a network: in order, each row of the file into the first row
    of its kind and shapes that is still free.

    Args:
        inserted: as in `inserted_rows`; path: of the file, for messages.

    Returns:
        Names of the tensors that were filled, and a report.

    Raises:
        ConfigError: no row of the file fits; where widths are the reason, they are named.
    """
    free = inserted_rows(model, inserted)
    filled: set[str] = set()
    lines: list[str] = []
    for row in adapter:
        place = next((f for f in free if f.module == row.module and _tensor_shapes(f) == _tensor_shapes(row)), None)
        if place is None:
            lines.append(f"  row {row.row} of the file, {row}: no new row here is like it")
            continue
        free.remove(place)
        for name, tensor in place.tensors.items():
            tensor.copy_(row.tensors[name])
        filled |= {f"model.{place.row}.{name}" for name in place.tensors}
        lines.append(f"  row {row.row} of the file → row {place.row}, {place}: {len(place.tensors)} tensors")
    if not filled:
        theirs = ", ".join(map(str, adapter))
        ours = ", ".join(map(str, free)) or "none"
        raise ConfigError(
            f"no row of the adapter fits: it holds {theirs}; new here: {ours}",
            path,
            "rows must be of the same kind and width, beside pretrained weights that do not have them",
        )
    lines += [f"  row {f.row} here, {f}: not in the file, left as initialised" for f in free]
    return filled, [f"Adapter {path}: {len(filled)} tensors", *lines]


def _tensor_shapes(row: AdapterRow) -> dict[str, tuple[int, ...]]:
    return {name: tuple(t.shape) for name, t in row.tensors.items()}


def freeze_all_but(model: nn.Module, names: Collection[str]) -> list[nn.Module]:
    """Freeze what pretrained weights gave; returns the modules to keep in evaluation mode, where nothing of theirs is
    trained.

    Args:
        names: the parameters to train.

    Raises:
        ConfigError: there are none.
    """
    if not names:
        raise ConfigError(
            "train_only=new, and nothing is new: all tensors came from the pretrained weights, or none did",
            hint="insert a block, and start from weights without it: model=NEW.yaml pretrained=WEIGHTS.pt",
        )
    kept = set(names)
    total = trained = 0
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and name in kept)
        total, trained = total + 1, trained + parameter.requires_grad
    message = "Frozen: %d of %d tensors; the %d that did not come whole from the pretrained weights are trained"
    LOGGER.info(message, total - trained, total, trained)
    rows: Any = model.model
    still: list[nn.Module] = []
    for name, module in model.named_modules():
        held = [*module.parameters(), *module.buffers()]
        # The head itself stays in training: in evaluation it decodes its maps.
        if held and name and module is not rows[-1] and not any(n.startswith(f"{name}.") for n in kept):
            still.append(module)
    return still
