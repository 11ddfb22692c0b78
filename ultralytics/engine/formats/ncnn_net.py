"""Loads and runs a network of ncnn's. It imports nothing of this package: a process of its own tries a folder first, as
ncnn trusts what it reads, and a damaged file may end the process."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import numpy as np

PARAM, WEIGHTS = "model.ncnn.param", "model.ncnn.bin"  # the reference's names
INPUT, OUTPUT = "in0", "out"  # pnnx's; outputs are numbered
HALVES = ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage")
MOST = 16 * 2**30  # bytes that a trial may ask for


def load(folder: str, half: bool, threads: int) -> Any:
    """Return an ncnn.Net.

    Args:
        folder: with the two files.
        half: compute in 16 bits, where the processor does so faster.
        threads: to compute with.

    Raises:
        ValueError: the files do not fit each other.
    """
    import ncnn

    net: Any = ncnn.Net()
    net.opt.num_threads, net.opt.use_vulkan_compute = threads, False
    for key in () if half else HALVES:
        setattr(net.opt, f"use_{key}", False)
    if net.load_param(f"{folder}/{PARAM}") or net.load_model(f"{folder}/{WEIGHTS}"):
        raise ValueError(f"{PARAM} and {WEIGHTS} do not fit")
    return net


def compute(net: Any, image: np.ndarray) -> list[np.ndarray]:
    """Return the outputs, in their order, for an image (C, H, W) of fp32.

    Raises:
        ValueError: it fails.
    """
    import ncnn

    names = sorted((n for n in net.output_names() if n[len(OUTPUT) :].isdigit()), key=lambda n: int(n[len(OUTPUT) :]))
    found = []
    with net.create_extractor() as extractor:
        code = extractor.input(INPUT, ncnn.Mat(np.ascontiguousarray(image)).clone())
        for name in names:
            failed, value = extractor.extract(name)
            code = code or failed
            found.append(np.array(value))
    if code or not found:
        raise ValueError(f"code {code}" if code else "no output")
    return found


def trial(folder: str, half: str, *shape: str) -> None:
    """Load a network and run it once on zeros of a shape (C, H, W)."""
    with contextlib.suppress(ImportError):  # Windows has no such limit
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (MOST if hard == resource.RLIM_INFINITY else min(MOST, hard), hard))
    compute(load(folder, half == "True", 1), np.zeros([int(n) for n in shape], np.float32))


if __name__ == "__main__":
    trial(*sys.argv[1:])
