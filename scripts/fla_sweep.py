"""Time the kernels of focused linear attention one by one on a card, for each way of launching them: a JSON line each.

    bash scripts/fla_sweep.sh [seconds=30 images=32 side=40 channels=256 heads=8 dtype=bf16 kind=focused]

kind=relu and kind=magnitude time the kernels of ReLU linear attention and of MALA, beside their plain twins.
A line has the microseconds of every kernel (`us`), and of the operation forward and backward with the sums between its
kernels (`forward_us`, `backward_us`), all on the card alone: the queue is filled before, and no launch is waited for.
The first line has the least that a kernel can take: its bytes over the bandwidth of a copy, measured here. What is
fastest goes into TABLE of ultralytics/nn/ops/fla_launch.py; a line's `change` is what differs from it.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
from typing import Any

import torch

from ultralytics.nn.modules import MagnitudeAwareLinearAttention, ReLULinearAttention
from ultralytics.nn.ops.fla import focused_mix, obstacle
from ultralytics.nn.ops.linear import linear_mix
from ultralytics.utils.console import say

# What is tried, most telling first.
CHANGES: tuple[dict[str, int], ...] = (
    {},
    {"state": 32, "query": 64, "key": 64, "output": 32, "value": 32, "walks": 2560},
    {"parts": 512, "walks": 640},
    {"apart": True},
    {"warps": 2, "state": 32, "output": 32, "value": 32},
    {"stages": 3},
    {"stages": 1},
    {"state": 128, "output": 128, "parts": 2048},
    {"cells": 4, "apart": True},
    {"warps": 8, "state": 128, "query": 64, "key": 64, "output": 128, "value": 128},
    {"query": 16, "key": 16, "parts": 4096},
)
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
TWINS = {"relu": ReLULinearAttention, "magnitude": MagnitudeAwareLinearAttention}
# What the kernels move, in numbers of B·N·C; forward and backward the least that any design must.
MOVED = {"forward": 5, "backward": 9, "statistics": 2, "state": 2, "convolution": 2, "output": 3, "query_state": 2}
MOVED |= {"convolution_gradient": 3, "value_gradient": 4, "query_gradient": 3, "key_gradient": 3}
LINEAR_MOVED = {"forward": 4, "backward": 7, "state": 2, "output": 2, "query_state": 3, "value_gradient": 4}
ROUNDS = 12


class Timed:
    """A kernel that notes how long each of its launches takes on the card."""

    def __init__(self, kernel: Any, name: str, taken: list[tuple[str, Any, Any]]) -> None:
        self.kernel, self.name, self.taken = kernel, name, taken

    def __getitem__(self, grid: Any) -> Any:
        def launch(*args: Any, **kwargs: Any) -> None:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            self.kernel[grid](*args, **kwargs)
            end.record()
            self.taken.append((self.name, begin, end))

        return launch


def problem(images: int, side: int, channels: int, heads: int, dtype: str, kind: str) -> tuple[list[Any], Any]:
    """Inputs of four layers that take turns, so that no cache holds them, and a gradient."""
    torch.manual_seed(0)
    card = {"device": "cuda"}
    given = []
    for _ in range(4):
        qkv = torch.randn(images, side * side, 3 * channels, dtype=DTYPES[dtype], **card).requires_grad_()
        position = torch.randn(side * side, channels, **card).mul(0.1).requires_grad_()
        sigma, d = torch.rand(channels, **card).add(0.2).requires_grad_(), channels // heads
        taps, bias = torch.randn(d, 25, **card).requires_grad_(), torch.randn(d, **card).requires_grad_()
        focused = (qkv, position, sigma, taps, bias, heads, side, 3.0)
        given.append((qkv, position, heads, kind) if kind in TWINS else focused)
    return given, torch.randn(images, side * side, channels, dtype=DTYPES[dtype], **card)


def twin(qkv: torch.Tensor, position: torch.Tensor, heads: int, kind: str) -> tuple[torch.Tensor]:
    """`linear_mix` by plain operations."""
    q, k, v = qkv.chunk(3, -1)
    with torch.device("meta"):  # its parameters play no role
        layer = TWINS[kind](position.shape[-1], num_heads=heads)
    return (layer.mix(q, k.float() + position, v, (k.shape[1], 1)),)


def measure(mix: Any, given: list[Any], grad: Any) -> dict[str, Any]:
    """Median microseconds by kernel, and of forward and backward."""
    from ultralytics.nn.ops import fla_kernels as kernels  # needs Triton

    names = [n for n in vars(kernels) if n.endswith("_kernel") and n != "probe_kernel"]
    own = {n: getattr(kernels, n) for n in names}

    def once(i: int) -> list[Any]:
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(3)]
        torch.cuda._sleep(8_000_000)
        inputs = given[i % len(given)]
        marks[0].record()
        out = mix(*inputs)[0]
        marks[1].record()
        torch.autograd.grad(out, [t for t in inputs if isinstance(t, torch.Tensor)], grad)
        marks[2].record()
        torch.cuda.synchronize()
        return marks

    started = time.perf_counter()
    once(0)
    compiling = time.perf_counter() - started
    rounds = [once(i) for i in range(ROUNDS)]
    whole = {
        f"{name}_us": 1e3 * statistics.median(m[i].elapsed_time(m[i + 1]) for m in rounds)
        for i, name in enumerate(("forward", "backward"))
    }
    taken: list[tuple[str, Any, Any]] = []
    try:
        for name, kernel in own.items():
            setattr(kernels, name, Timed(kernel, name, taken))
        for i in range(ROUNDS):
            once(i)
    finally:
        for name, kernel in own.items():
            setattr(kernels, name, kernel)
    by_kernel: dict[str, list[float]] = {}
    per_round = len(taken) // ROUNDS
    for i, (name, begin, end) in enumerate(taken):
        earlier = [n for n, _, _ in taken[i - i % per_round : i]].count(name)  # of the convolution: its gradients
        key = name.removesuffix("_kernel") + ("", "_gradient", "_taps")[earlier]
        by_kernel.setdefault(key, []).append(1e3 * begin.elapsed_time(end))
    us = {name: round(statistics.median(values), 1) for name, values in by_kernel.items()}
    return {**{k: round(v, 1) for k, v in whole.items()}, "us": us, "first_s": round(compiling, 1)}


def bandwidth() -> float:
    """Bytes per second that a copy reads and writes."""
    a, b = (torch.empty(512 << 20, dtype=torch.uint8, device="cuda") for _ in range(2))
    taken = []
    for _ in range(6):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        b.copy_(a)
        end.record()
        torch.cuda.synchronize()
        taken.append(begin.elapsed_time(end))
    return 2 * a.numel() / statistics.median(taken) * 1e3


def main(words: list[str]) -> int:
    """Try every change as long as there is time."""
    options: dict[str, Any] = {"seconds": 30, "images": 32, "side": 40, "channels": 256, "heads": 8, "dtype": "bf16"}
    options["kind"] = "focused"
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in options:
            say(f"error: {word!r} is not an option; there are {', '.join(options)}", error=True)
            return 2
        options[key] = value if key in ("dtype", "kind") else int(value)
    kind = options["kind"]
    if kind != "focused" and kind not in TWINS:
        say(f"error: there is no kind={kind}; there are focused, {', '.join(TWINS)}", error=True)
        return 2
    until = time.monotonic() + options.pop("seconds")
    if not torch.cuda.is_available():
        say("error: there is no CUDA device", error=True)
        return 2
    head = options["channels"] // options["heads"]
    reason = obstacle("cuda", torch.cuda.current_device(), DTYPES[options["dtype"]], head)
    if reason:
        say(f"error: {reason}", error=True)
        return 2
    from ultralytics.nn.ops.fla_launch import blocks_of, forced, linear_blocks_of, padded  # needs Triton

    speed = bandwidth()
    once = options["images"] * options["side"] ** 2 * options["channels"] * DTYPES[options["dtype"]].itemsize
    moved = LINEAR_MOVED if kind in TWINS else MOVED
    floor = {name: round(times * once / speed * 1e6, 1) for name, times in moved.items()}
    name = torch.cuda.get_device_name()
    say(
        json.dumps({"what": "fla_floor", "card": name, "tb_per_second": round(speed / 1e12, 2), "us": floor, **options})
    )
    given, grad = problem(**options)
    default = (linear_blocks_of if kind in TWINS else blocks_of)(padded(head), options["dtype"] == "fp32")
    if kind in TWINS:
        say(json.dumps({"what": "fla_plain", **measure(twin, given, grad), **options}))
    for change in CHANGES:
        if time.monotonic() > until:
            break
        row: dict[str, Any] = {"what": "fla_sweep", "change": change, **options}
        try:
            with forced(dataclasses.replace(default, **change)):
                row |= measure(linear_mix if kind in TWINS else focused_mix, given, grad)
        except Exception as e:  # one that does not fit must not hide the others
            row["error"] = f"{type(e).__name__}: {e}"[:300]
        say(json.dumps(row))
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
