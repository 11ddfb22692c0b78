"""Launch the Triton kernels of focused linear attention: block sizes, buffers and grids.

This file and the kernels are imported when they are first needed: Triton is an optional extra, and its import takes
time.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ultralytics.nn.modules.attention import EPS
from ultralytics.nn.ops import fla_kernels as kernels


@dataclass(frozen=True)
class Blocks:
    """How the kernels are launched.

    Tokens that a program holds at a time, a power of two, 16 or more: `output`, `query`, `key`, and `state` and `taps`
    for those that go through many. `chunk`: channels that statistics are made of at a time. `parts`: programs that sums
    over tokens are made by, about. `precision` of products: "tf32" is finer than what half precision is stored in;
    "ieee" is fp32's own, "tf32x3" as good as that by three products of tf32.
    """

    output: int = 64
    query: int = 64
    key: int = 64
    state: int = 64
    taps: int = 64
    chunk: int = 64
    parts: int = 1024
    warps: int = 4
    stages: int = 2
    precision: str = "tf32"

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of a launch. A product and a sum are one step with one rounding, whatever Triton's default."""
        return {"num_warps": self.warps, "num_stages": self.stages, "enable_fp_fusion": True}


# Whether it is fp32, and the widest padded head that a row holds for. Found by compiling (docs/gpu.md): nothing spills.
TABLE: tuple[tuple[bool, int, Blocks], ...] = (
    (False, 32, Blocks()),
    (False, 64, Blocks(query=32, key=32)),
    (True, 32, Blocks(key=16, precision="ieee")),
    (True, 64, Blocks(output=32, query=16, key=32, state=32, warps=8, precision="tf32x3")),
)
_FORCED: list[Blocks] = []


def blocks_of(pad: int, single: bool) -> Blocks:
    """The block sizes for heads of a padded width, of fp32 (`single`) or half precision."""
    return _FORCED[-1] if _FORCED else next(b for s, widest, b in TABLE if s == single and pad <= widest)


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


def arranged(qkv: Tensor, heads: int, power: float) -> tuple[Blocks, dict[str, Any]]:
    """The block sizes, and what the kernels are compiled for besides."""
    C = qkv.shape[-1] // 3
    pad = padded(C // heads)
    blocks = blocks_of(pad, qkv.dtype == torch.float32)
    whole = int(power) if power == int(power) else power
    return blocks, {"C": C, "D": C // heads, "PAD": pad, "P": whole, "EPS": EPS, "PRECISION": blocks.precision}


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
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()


def kernel_of(taps: Tensor | None) -> int:
    """The convolution's size k, from its taps (k², d); 0 for none."""
    return 0 if taps is None else math.isqrt(taps.shape[0])


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
    blocks, fixed = arranged(qkv, heads, power)
    tiles = math.ceil(N / blocks.output)
    # Of few and small maps each head is a program's own: the statistics are made h times then, and nobody waits.
    groups, together = (heads, 1) if B * tiles * heads <= blocks.parts else (1, heads)
    out = qkv.new_empty(B, N, C)
    stats = torch.empty(2, 3, B, N, device=qkv.device, dtype=torch.float32)
    chunked = {k: fixed[k] for k in ("C", "P", "EPS")} | {"BLOCK": blocks.output, "CHUNK": blocks.chunk}
    with on_device(qkv):
        kernels.key_statistics_kernel[(tiles, B)](qkv, position, sigma, stats[1], N, **chunked, **blocks.options)
        state = _state(qkv[..., C:], position, qkv[..., 2 * C :], sigma, stats[1], None, fixed, blocks)
        kernels.output_kernel[(tiles, B, groups)](
            qkv, sigma, taps, bias, state, stats[0], out, N, N // width, width, together,
            **fixed | chunked, K=kernel_of(taps), **blocks.options,
        )  # fmt: skip
    return out, state, stats


def _state(
    x: Tensor,
    position: Tensor | None,
    y: Tensor,
    sigma: Tensor,
    stats: Tensor,
    weights: Tensor | None,
    fixed: dict[str, Any],
    blocks: Blocks,
) -> Tensor:
    """Σ φ(x)ᵀ (w ⊙ y) and Σ w' φ(x) of every image, (B, C·d + C): see `state_kernel`."""
    B, N, C, D = x.shape[0], x.shape[1], fixed["C"], fixed["D"]
    tokens, parts = split(N, B * C // D, blocks.state, blocks.parts)
    partial = torch.empty(B, parts, C * D + C, device=x.device, dtype=torch.float32)
    kernels.state_kernel[(C // D, parts, B)](
        x, position, y, sigma, stats, weights, partial, N, tokens,
        APART=y.stride(1), **fixed, BLOCK=blocks.state, **blocks.options,
    )  # fmt: skip
    return partial.sum(1) if parts > 1 else partial.squeeze(1)


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
    blocks, fixed = arranged(qkv, heads, power)
    D, K = fixed["D"], kernel_of(taps)
    query_tiles, key_tiles = math.ceil(N / blocks.query), math.ceil(N / blocks.key)
    wide: dict[str, Any] = {"device": qkv.device, "dtype": torch.float32}
    dqkv = torch.empty_like(qkv)
    weights = torch.empty(B, heads, 2, N, **wide)
    partial_sigma = torch.empty(B * (query_tiles + key_tiles), C, **wide)
    with on_device(qkv):
        kernels.query_gradient_kernel[(query_tiles, B)](
            grad, qkv, sigma, state, stats[0], weights, dqkv, partial_sigma, N,
            **fixed, BLOCK=blocks.query, **blocks.options,
        )  # fmt: skip
        dstate = _state(qkv, None, grad, sigma, stats[0], weights, fixed, blocks)
        kernels.key_gradient_kernel[(key_tiles, B)](
            grad, qkv, position, sigma, taps, dstate, stats[1], dqkv, partial_sigma[B * query_tiles :],
            N, N // width, width, **fixed, BLOCK=blocks.key, K=K, **blocks.options,
        )  # fmt: skip
        dsigma = partial_sigma.sum(0)
        if not K:
            return dqkv, dsigma, sigma.new_empty(0)
        tokens, parts = split(N, B * heads, blocks.taps, blocks.parts)
        partial = torch.empty(B * heads * parts, K * K + 1, D, **wide)
        kernels.taps_gradient_kernel[(heads, parts, B)](
            grad, qkv, partial, N, N // width, width, tokens,
            C=C, D=D, PAD=fixed["PAD"], BLOCK=blocks.taps, K=K, **blocks.options,
        )  # fmt: skip
        return dqkv, dsigma, partial.sum(0)
