"""The random streams of a process, saved and put back."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ultralytics.utils.log import LOGGER


def torch_streams(device: torch.device) -> list[Tensor]:
    """Return the states of torch's generators that a step on a device draws from."""
    gpu = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *gpu]


def restore_torch_streams(streams: Sequence[Tensor], device: torch.device) -> None:
    """Put torch's generators where `torch_streams` found them."""
    torch.set_rng_state(streams[0])
    for state in streams[1:]:
        torch.cuda.set_rng_state(state, device)


def random_state(device: torch.device | None = None) -> dict[str, Any]:
    """The generators of Python, NumPy, torch and its GPUs (of one `device`), as tensors and plain data."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # type: ignore[misc, unused-ignore]
    return {
        "torch": torch.get_rng_state(),
        "cuda": _cuda_states(device),
        "python": {"version": version, "words": torch.tensor(words), "gauss": gauss},
        "numpy": {
            "kind": str(kind),
            "keys": torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "cached": float(cached),
        },
    }


def _cuda_states(device: torch.device | None) -> list[torch.Tensor]:
    if not torch.cuda.is_available() or (device is not None and device.type != "cuda"):
        return []
    # A rank keeps away from the GPUs of others: to ask for their state would start them.
    return torch.cuda.get_rng_state_all() if device is None else [torch.cuda.get_rng_state(device)]


def restore_random_state(state: Mapping[str, Any], device: torch.device | None = None) -> None:
    """Put the generators where they were; those that an older file does not hold stay."""
    torch.set_rng_state(state["torch"])
    if device is not None and device.type == "cuda" and len(state["cuda"]) == 1:
        torch.cuda.set_rng_state(state["cuda"][0], device)
    elif device is None and torch.cuda.is_available() and state["cuda"]:
        if len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])
        else:
            LOGGER.warning("The run had %d GPUs: their random streams begin anew", len(state["cuda"]))
    if "python" in state:
        p = state["python"]
        random.setstate((p["version"], tuple(p["words"].tolist()), p["gauss"]))
    if "numpy" in state:
        n = state["numpy"]
        keys = n["keys"].numpy().astype(np.uint32)
        np.random.set_state((n["kind"], keys, n["position"], n["has_gauss"], n["cached"]))
