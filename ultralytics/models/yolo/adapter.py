"""The adapter of a weights file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ultralytics.engine.weights.adapter import write_adapter
from ultralytics.models.yolo.weights import load_trained, new_weights_file
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.log import LOGGER


def save_adapter(
    model: str | Path, out: str | Path, rows: int | Sequence[int] | None = None, overwrite: bool = False
) -> Path:
    """Write the tensors of the rows that a run has inserted into its network. The options are those of the command
    `save-adapter`.

    Raises:
        UserError: nothing was inserted, there is no such row, or the file is there already.
    """
    path = new_weights_file(out, overwrite)
    net, checkpoint = load_trained(model)
    inserted = checkpoint.state.get("inserted", [])
    if rows is not None:
        chosen = [rows] if isinstance(rows, int) else list(rows)
        for row in chosen:
            if not isinstance(row, int) or not 0 <= row < len(net.model):
                raise ConfigError(f"rows={rows}: there is no row {row}", str(model), f"0 to {len(net.model) - 1}")
        inserted = [f"model.{row}.{name}" for row in chosen for name, _ in net.model[row].named_parameters()]
    for held in write_adapter(path, net, checkpoint, inserted):
        LOGGER.info("row %d, %s: %d tensors", held.row, held, len(held.tensors))
    return path
