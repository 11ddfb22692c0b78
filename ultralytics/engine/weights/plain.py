"""Copies of plain data out of a weights file, in bounds."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ultralytics.engine.weights.inert import InertRecord, Name

MAX_DEPTH = 50
MAX_VALUES = 2_000_000  # a value that is shared counts at each of its places
MAX_TEXT = 64 * 2**20  # characters, counted likewise


class NotPlainError(ValueError):
    """Data that is no tree of plain values: what is in the way."""


def plain(value: Any) -> Any:
    """Copy numbers, text, lists, mappings and tensors as a tree: what a file uses in several places is copied, and
    the limits of this module hold for the whole.

    Raises:
        NotPlainError: another kind of value, or too much of it.
    """
    return _Copy().of(value, 0)


class _Copy:
    def __init__(self) -> None:
        self.values, self.text = 0, 0

    def of(self, value: Any, depth: int) -> Any:
        self.values += 1
        self.text += len(value) if isinstance(value, str | bytes) else 0
        if self.values > MAX_VALUES or self.text > MAX_TEXT:
            raise NotPlainError("more data than a model needs")
        if depth > MAX_DEPTH:
            raise NotPlainError(f"data nested more than {MAX_DEPTH} deep")
        if value is None or isinstance(value, str | bytes | int | float | Tensor):
            return value
        if isinstance(value, dict):
            self.text += sum(len(k) for k in value if isinstance(k, str))
            return {k: self.of(v, depth + 1) for k, v in value.items()}
        if isinstance(value, list | tuple | set):
            items = [self.of(v, depth + 1) for v in value]
            return items if isinstance(value, list) else type(value)(items)
        raise NotPlainError(value.path if isinstance(value, InertRecord | Name) else type(value).__name__)
