"""Which device a run uses, and in which precision."""

from __future__ import annotations

import os
import platform
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ultralytics.utils.errors import ConfigError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.memory import keep_memory
from ultralytics.utils.text import counted


def device_names(device: Any) -> list[str]:
    """`device=` as a list of names, such as ["0", "1"] or ["cpu"]; empty when nothing was asked for."""
    listed = list(device) if isinstance(device, list | tuple) else str("" if device is None else device).split(",")
    names = [str(d).strip().strip("[]").lower().removeprefix("cuda:") for d in listed]
    return [n for n in names if n not in ("", "none")]


def select_device(device: str | int | Sequence[int] | torch.device | None, quiet: bool = False) -> torch.device:
    """The torch device for `device=`: None or "" takes the first GPU there is, else the CPU, and says so.

    Raises:
        ConfigError: no such device, or several: one process drives one device (`engine.ranks.launch` starts more).
    """
    if isinstance(device, torch.device):
        return device
    if isinstance(device, list | tuple):
        device = ",".join(str(d) for d in device)
    name = str("" if device is None else device).strip().lower().removeprefix("cuda:")
    if name in ("", "none", "auto", "cuda"):
        chosen = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        if name == "cuda" and chosen.type != "cuda":
            raise ConfigError(
                "device=cuda, but PyTorch sees no GPU", hint="use device=cpu, or install a CUDA build of PyTorch"
            )
    elif name in ("cpu", "mps"):
        if name == "mps" and not torch.backends.mps.is_available():
            raise ConfigError("device=mps, but there is no Apple GPU here", hint="use device=cpu")
        chosen = torch.device(name)
    elif name.isdigit():
        count = torch.cuda.device_count()
        if int(name) >= count:
            have = f"there are {count} GPUs, numbered from 0" if count else "PyTorch sees no GPU"
            raise ConfigError(
                f"device={name}, but {have}", hint="use device=cpu" if not count else f"use device=0 to {count - 1}"
            )
        chosen = torch.device("cuda", int(name))
    elif "," in name:
        raise ConfigError(
            f"device={name} names several devices, and this is one process",
            hint=f"`train` of the command line and of YOLO starts one for each; else device={name.split(',')[0]}",
        )
    else:
        raise ConfigError(f"device={device} is unknown", hint="use cpu, mps or the number of a GPU, such as 0")
    if chosen.type == "cpu":
        keep_memory()
    if not quiet:
        LOGGER.info(describe(chosen, asked=name not in ("", "none", "auto")))
    return chosen


def describe(device: torch.device, asked: bool = False) -> str:
    """One line about the machine: Python, torch and the device."""
    head = f"Python {platform.python_version()}, torch {torch.__version__}"
    if device.type == "cuda":
        p = torch.cuda.get_device_properties(device)
        return f"{head}, GPU {device.index}: {p.name}, {p.total_memory / 2**30:.0f} GiB"
    if device.type == "cpu":
        note = "" if asked else "no GPU found, going on with the "
        return f"{head}, {note}CPU ({counted(torch.get_num_threads(), 'thread')})"
    return f"{head}, {device.type}"


def mixed_precision(device: torch.device, wanted: bool) -> torch.dtype | None:
    """The autocast type for training:
    bf16 where the hardware multiplies it natively (GPU or CPU), fp16 on other GPUs, else None."""
    if not wanted:
        return None
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    if device.type == "cpu" and native_bf16_cpu():
        return torch.bfloat16
    return None


def native_bf16_cpu() -> bool:
    """Return True if the CPU has bf16 dot products (AVX512_BF16 or AMX); emulated ones would be slower than fp32."""
    checks = (getattr(torch.cpu, n, None) for n in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(bool(check()) for check in checks if check is not None)


def seed_everything(seed: int, deterministic: bool) -> None:
    """Seed Python, NumPy and torch, and choose deterministic algorithms."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    # torch would fill every new tensor; results do not depend on what lies in it, as a test with poisoned memory shows.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property of the module
