"""Launch the Triton kernels of focused linear attention: block sizes, buffers and grids.

This file and the kernels are imported when they are first needed: Triton is an optional extra, and its import takes
time.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ultralytics.nn.ops import EPS, state_size
from ultralytics.nn.ops import fla_kernels as kernels


@dataclass(frozen=True)
class Blocks:
    """How the kernels are launched.

    Tokens that a program holds at a time, a power of two, 16 or more: `output`, `state` (of keys and of queries),
    `query` for dq, `value` for dv and `key` for dk. `parts`: programs that go through the tokens of an image, about.
    `walks`: programs of the convolution, about; `cells`:
    numbers that each of its threads holds; `apart`: its gradients in two launches. `warps` and `stages` of those with
    products. `precision` of products: "tf32" is finer than what half precision is stored in; "ieee" is fp32's own.
    """

    output: int = 64
    state: int = 64
    query: int = 32
    value: int = 64
    key: int = 32
    parts: int = 1024
    walks: int = 1280
    cells: int = 2
    apart: bool = False
    warps: int = 4
    stages: int = 2
    precision: str = "tf32"

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of a launch. A product and a sum are one step with one rounding, whatever Triton's default."""
        return {"num_warps": self.warps, "num_stages": self.stages, "enable_fp_fusion": True}


WHOLE = 4096  # numbers that a program of the statistics holds
PLAIN = {"num_warps": 4, "num_stages": 1, "enable_fp_fusion": True}  # of kernels without products
# Whether it is fp32, and the widest padded head that a row holds for. Found by compiling (docs/kernels.md): no spills,
# and no more shared memory than any card has.
TABLE: tuple[tuple[bool, int, Blocks], ...] = (
    (False, 32, Blocks()),
    (False, 64, Blocks(state=32)),
    (True, 32, Blocks(state=32, precision="ieee")),
    (True, 64, Blocks(output=32, state=32, value=32, warps=8, precision="ieee")),
)
# Of `linear_mix`: dk in the kernel of dv, and dq in that of the queries' state, take registers.
LINEAR = (
    (False, 32, Blocks()),
    (False, 64, Blocks(state=32, value=32, warps=8)),
    (True, 32, Blocks(state=32, value=32, precision="ieee")),
    (True, 64, Blocks(output=32, state=32, value=16, warps=8, precision="ieee")),
)
TOGETHER = 5  # the widest convolution whose gradients one launch makes: wider ones spill
_FORCED: list[Blocks] = []


def blocks_of(pad: int, single: bool) -> Blocks:
    """The block sizes for heads of a padded width, of fp32 (`single`) or half precision."""
    return _FORCED[-1] if _FORCED else next(b for s, widest, b in TABLE if s == single and pad <= widest)


def linear_blocks_of(pad: int, single: bool) -> Blocks:
    """The same of `linear_mix`, in which `state` also makes dq and `value` dk."""
    return _FORCED[-1] if _FORCED else next(b for s, widest, b in LINEAR if s == single and pad <= widest)


@contextlib.contextmanager
def forced(blocks: Blocks) -> Iterator[None]:
    """Use other block sizes within a `with`: for a search of the best ones."""
    _FORCED.append(blocks)
    try:
        yield
    finally:
        _FORCED.pop()


def padded(width: int) -> int:
    """The width of a head on the chip: a power of two that `tl.dot` takes."""
    return max(16, 1 << (width - 1).bit_length())


@functools.lru_cache(maxsize=256)
def arranged(C: int, heads: int, power: float, blocks: Blocks) -> dict[str, Any]:
    """Return what the kernels with products are compiled for besides their block of tokens."""
    whole = int(power) if power == int(power) else power
    fixed = {"C": C, "D": C // heads, "PAD": padded(C // heads), "P": whole, "EPS": EPS}
    return {**fixed, "PRECISION": blocks.precision, **blocks.options}


@functools.lru_cache(maxsize=256)
def statistics_of(C: int, power: float, blocks: Blocks) -> dict[str, Any]:
    """Return what the kernel of the statistics is compiled for: all channels at once where they fit."""
    chunk = min(1 << (C - 1).bit_length(), 512)
    kept = {k: v for k, v in arranged(C, C, power, blocks).items() if k in ("C", "P", "EPS")}
    return {**kept, "BLOCK": max(WHOLE // chunk, 1), "CHUNK": chunk, **PLAIN}


@functools.lru_cache(maxsize=256)
def walking(C: int, heads: int, K: int, blocks: Blocks) -> dict[str, Any]:
    """Return what the kernel of the convolution is compiled for: neighbours in a warp are neighbours in memory."""
    channels = max(16, min(1 << (C - 1).bit_length(), 32 * blocks.cells))
    rows = 32 * PLAIN["num_warps"] * blocks.cells // channels
    return {"C": C, "D": C // heads, "ROWS": rows, "CHANNELS": channels, "K": K, **PLAIN}


@functools.lru_cache(maxsize=4096)
def split(N: int, times: int, block: int, parts: int) -> tuple[int, int]:
    """Tokens of a part, a multiple of the block, and the number of parts of N tokens, where all of it is done so many
    times. The card plays no role: the same sums, and bits, everywhere."""
    tokens = block * math.ceil(max(N * times / parts, 1) / block)
    return tokens, math.ceil(N / tokens)


def failure(device: str) -> str:
    """Compile and launch a kernel of a few lines; say why it failed, "" if it did not. Nothing waits for its end."""
    try:
        probe = torch.zeros(16, device=device)
        with on_device(probe):
            kernels.probe_kernel[(1,)](probe, SIZE=16)
        return ""
    except Exception as e:  # whatever its compiler, its launcher and the driver raise
        return f"Triton cannot run here ({type(e).__name__}: {str(e).strip().partition(chr(10))[0]})"


def on_device(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Make a tensor's device the current one, where kernels are launched."""
    if not tensor.is_cuda or tensor.device.index == torch.cuda.current_device():
        return contextlib.nullcontext()
    return torch.cuda.device(tensor.device)


def kernel_of(taps: Tensor | None) -> int:
    """The convolution's size k, from its taps (d, k²); 0 for none."""
    return 0 if taps is None else math.isqrt(taps.shape[1])


def added(partial: Tensor) -> Tensor:
    """The sum of parts, (B, parts, …) → (B, …)."""
    return partial.sum(1) if partial.shape[1] > 1 else partial.squeeze(1)


def forward(
    qkv: Tensor,
    position: Tensor,
    sigma: Tensor,
    taps: Tensor | None,
    bias: Tensor | None,
    heads: int,
    width: int,
    power: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """See `ultralytics.nn.ops.fla`."""
    B, N, C = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    blocks = blocks_of(padded(C // heads), qkv.dtype == torch.float32)
    fixed, whole = arranged(C, heads, power, blocks), statistics_of(C, power, blocks)
    out = qkv.new_empty(B, N, C)
    stats = sigma.new_empty(2, 3, B, N)
    tokens, parts = split(N, B * heads, blocks.state, blocks.parts)
    partial = sigma.new_empty(B, parts, C * fixed["D"] + C)
    with on_device(qkv):
        kernels.statistics_kernel[(-(-N // whole["BLOCK"]), B, 2)](qkv, position, sigma, stats, N, **whole)
        kernels.state_kernel[(heads, parts, B)](
            qkv, position, sigma, stats[1], partial, N, tokens, BLOCK=blocks.state, KIND="focused", **fixed
        )
        state = added(partial)
        if taps is not None:
            convolve(qkv[..., 2 * C :], taps, bias, out, None, None, heads, width, blocks)
        tokens, parts = split(N, B * heads, blocks.output, blocks.parts)
        kernels.output_kernel[(heads, parts, B)](
            qkv, sigma, state, stats, out, N, tokens,
            BLOCK=blocks.output, ADD=taps is not None, KIND="focused", **fixed,
        )  # fmt: skip
    return out, state, stats


def convolve(
    x: Tensor,
    taps: Tensor,
    bias: Tensor | None,
    out: Tensor | None,
    v: Tensor | None,
    partial: Tensor | None,
    heads: int,
    width: int,
    blocks: Blocks,
) -> None:
    """Launch `convolution_kernel`: the convolution of v without `partial` or v, its transpose of dO with one of
    them."""
    B, N, C = x.shape
    flip = v is not None
    fixed = walking(C, heads, kernel_of(taps), blocks)
    deep, parts = walk(N // width, B, fixed, blocks)
    kernels.convolution_kernel[(parts, -(-C // fixed["CHANNELS"]), B)](
        x, taps, bias, out, v, partial, N // width, width, deep,
        X_APART=x.stride(1), OUT_APART=0 if out is None else out.stride(1), FLIP=flip, **fixed,
    )  # fmt: skip


def walk(H: int, B: int, fixed: dict[str, Any], blocks: Blocks) -> tuple[int, int]:
    """Rows of a part of the convolution, and the number of parts of H rows."""
    return split(H, B * -(-fixed["C"] // fixed["CHANNELS"]), fixed["ROWS"], blocks.walks)


def backward(
    grad: Tensor,
    qkv: Tensor,
    position: Tensor,
    sigma: Tensor,
    taps: Tensor | None,
    state: Tensor,
    stats: Tensor,
    heads: int,
    width: int,
    power: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """See `ultralytics.nn.ops.fla`."""
    B, N, C = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    blocks = blocks_of(padded(C // heads), qkv.dtype == torch.float32)
    fixed, D = arranged(C, heads, power, blocks), C // heads
    HEADS_PAD = 1 << (heads - 1).bit_length()
    dqkv = torch.empty_like(qkv)
    tokens, parts = split(N, B * heads, blocks.state, blocks.parts)
    partial = sigma.new_empty(B, parts, C * D + C)
    query_tokens, query_parts = split(N, B * heads, blocks.query, blocks.parts)
    value_tokens, value_parts = split(N, B * heads, blocks.value, blocks.parts)
    key_tokens, key_parts = split(N, B * heads, blocks.key, blocks.parts)
    partial_sigma = sigma.new_empty(B * (query_parts + key_parts), C)
    per_head = sigma.new_empty(2, B, heads, N)
    dtaps = sigma.new_empty(0)
    with on_device(qkv):
        kernels.query_state_kernel[(heads, parts, B)](
            grad, qkv, sigma, state, stats, per_head[0], None, partial, N, tokens,
            BLOCK=blocks.state, KIND="focused", **fixed,
        )  # fmt: skip
        dstate = added(partial)
        if taps is not None:
            v, dv = qkv[..., 2 * C :], dqkv[..., 2 * C :]
            K, walked = kernel_of(taps), walking(C, heads, kernel_of(taps), blocks)
            sums = sigma.new_empty(B * walk(N // width, B, walked, blocks)[1], K * K + 1, C)
            if blocks.apart or K > TOGETHER:
                convolve(grad, taps, None, dv, v, None, heads, width, blocks)
                convolve(grad, taps, None, None, v, sums, heads, width, blocks)
            else:
                convolve(grad, taps, None, dv, v, sums, heads, width, blocks)
            dtaps = sums.view(-1, K * K + 1, heads, D).sum((0, 2))
        kernels.value_gradient_kernel[(heads, value_parts, B)](
            qkv, position, sigma, None, dstate, stats[1], per_head[1], dqkv, N, value_tokens,
            BLOCK=blocks.value, ADD=taps is not None, KIND="focused", **fixed,
        )  # fmt: skip
        kernels.query_gradient_kernel[(heads, query_parts, B)](
            grad, qkv, sigma, state, stats, per_head[0], dqkv, partial_sigma, N, query_tokens,
            BLOCK=blocks.query, HEADS_PAD=HEADS_PAD, **fixed,
        )  # fmt: skip
        kernels.key_gradient_kernel[(heads, key_parts, B)](
            qkv, position, sigma, dstate, stats[1], per_head[1], dqkv, partial_sigma[B * query_parts :], N, key_tokens,
            BLOCK=blocks.key, HEADS_PAD=HEADS_PAD, **fixed,
        )  # fmt: skip
        return dqkv, partial_sigma.sum(0), dtaps


def elementwise(qkv: Tensor, heads: int, kind: str) -> tuple[Blocks, dict[str, Any]]:
    """Block sizes of a mixing whose φ acts number by number, and what its kernels are compiled for."""
    C = qkv.shape[2] // 3
    blocks = linear_blocks_of(padded(C // heads), qkv.dtype == torch.float32)
    return blocks, {**arranged(C, heads, 1.0, blocks), "KIND": kind}


def linear_forward(qkv: Tensor, position: Tensor, heads: int, kind: str) -> tuple[Tensor, Tensor]:
    """See `ultralytics.nn.ops.linear`."""
    B, N, C = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    blocks, fixed = elementwise(qkv, heads, kind)
    out = qkv.new_empty(B, N, C)
    tokens, parts = split(N, B * heads, blocks.state, blocks.parts)
    partial = qkv.new_empty(B, parts, state_size(C, heads, kind), dtype=torch.float32)
    with on_device(qkv):
        kernels.state_kernel[(heads, parts, B)](
            qkv, position, None, None, partial, N, tokens, BLOCK=blocks.state, **fixed
        )
        state = added(partial)
        tokens, parts = split(N, B * heads, blocks.output, blocks.parts)
        kernels.output_kernel[(heads, parts, B)](
            qkv, None, state, None, out, N, tokens, BLOCK=blocks.output, ADD=False, **fixed
        )
    return out, state


def linear_backward(grad: Tensor, qkv: Tensor, position: Tensor, state: Tensor, heads: int, kind: str) -> Tensor:
    """See `ultralytics.nn.ops.linear`."""
    B, N = qkv.shape[:2]
    blocks, fixed = elementwise(qkv, heads, kind)
    dqkv = torch.empty_like(qkv)
    tokens, parts = split(N, B * heads, blocks.state, blocks.parts)
    partial = state.new_empty(B, parts, state.shape[1])
    with on_device(qkv):
        kernels.query_state_kernel[(heads, parts, B)](
            grad, qkv, None, state, None, None, dqkv, partial, N, tokens, BLOCK=blocks.state, **fixed
        )
        dstate = added(partial)
        tokens, parts = split(N, B * heads, blocks.value, blocks.parts)
        kernels.value_gradient_kernel[(heads, parts, B)](
            qkv, position, None, state, dstate, None, None, dqkv, N, tokens, BLOCK=blocks.value, ADD=False, **fixed
        )
    return dqkv
