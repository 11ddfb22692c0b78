"""Tensors in nested values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def is_finite(tensor: Tensor) -> bool:
    """Return True if no number of a tensor is NaN or infinite; waits for the device."""
    return not (tensor.is_floating_point() or tensor.is_complex()) or bool(torch.isfinite(tensor).all())


def tensors_in(value: Any) -> Sequence[Tensor]:
    """Return the tensors of nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in tensors_in(v)] if isinstance(value, list | tuple) else []
