"""The core of focused linear attention as one operation of torch's, for CUDA devices, and when it is chosen.

Legend: B images, N = H·W tokens, C = h·d channels, h heads of width d, k×k the depth-wise convolution.

`FocusedLinearAttention` computes by plain operations everywhere; where `obstacle` knows none, it calls `focused_mix`
instead, which is the same in five launches. `ULTRALYTICS_FLA` says otherwise: `plain` never, `fused` always, so that
what stands in the way is an error. Its plain twin is `FocusedLinearAttention.mix`.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ultralytics.utils.errors import ModelError

CHOICES = ("auto", "plain", "fused")
WIDEST = 64  # head width that the kernels hold on the chip
LARGEST = 7  # side of the convolution, whose taps they hold one by one
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def _asked() -> str:
    """The choice of the environment."""
    choice = os.environ.get("ULTRALYTICS_FLA", "") or "auto"
    if choice not in CHOICES:
        raise ModelError(f"ULTRALYTICS_FLA={choice} is unknown", hint=f"one of {', '.join(CHOICES)}")
    return choice


@functools.cache
def _unable(kind: str, index: int | None, interpreted: bool) -> str:
    """Say why a device cannot run the kernels, "" if it can. Compiles and runs a small one, since a Triton that is
    there may lack its compiler or fit another driver."""
    if kind != "cuda" and not (kind == "cpu" and interpreted):
        return f"it needs a CUDA device, not {kind}"
    if kind == "cuda" and torch.version.hip:
        return "it is made for NVIDIA's devices"
    if kind == "cuda" and torch.cuda.get_device_capability(index) < (8, 0):
        return f"{torch.cuda.get_device_name(index)} is older than compute capability 8.0"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    from ultralytics.nn.ops.fla_launch import failure  # an optional extra, and its import takes time

    return failure(kind if index is None else f"{kind}:{index}")


def obstacle(kind: str, index: int | None, dtype: torch.dtype, head: int, side: int = 0) -> str:
    """Say why the kernels cannot serve, "" if they can.

    Args:
        kind, index: the device. dtype: of q, k and v. head: channels of a head, d. side: of
            the convolution, k; 0 for none.

    Raises:
        ModelError: `ULTRALYTICS_FLA=fused`, and they cannot. On a machine with a CUDA device, what runs on the CPU (a
            network being built, say) may do without. With Triton's interpreter (`TRITON_INTERPRET=1`), the CPU serves.
    """
    choice = _asked()
    if choice == "plain":
        return "it is switched off"
    asked = choice == "fused"
    reason = _unable(kind, index, asked and os.environ.get("TRITON_INTERPRET") == "1")
    if not reason and dtype not in DTYPES:
        reason = f"it does not know {str(dtype).removeprefix('torch.')}"
    if not reason and head > WIDEST:
        reason = f"a head has {head} channels, more than {WIDEST}"
    if not reason and side > LARGEST:
        reason = f"the convolution is {side}×{side}, larger than {LARGEST}×{LARGEST}"
    if reason and asked and (kind == "cuda" or not torch.cuda.is_available()):
        raise ModelError(f"ULTRALYTICS_FLA=fused asks for fused attention, but {reason}", hint="unset ULTRALYTICS_FLA")
    return reason


# What torch.compiler.assume_constant_result sets, which imports a compiler that a run may never need: seconds.
obstacle._dynamo_marked_constant = True  # type: ignore[attr-defined]  # a function has no such attribute by itself


@torch.library.custom_op("ultralytics::focused_mix", mutates_args=())
def focused_mix(
    qkv: Tensor,
    position: Tensor,
    sigma: Tensor,
    taps: Tensor | None,
    bias: Tensor | None,
    heads: int,
    width: int,
    power: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """linear_attention(φ_p(u_q), φ_p(u_k), v) + DWC(v), as `FocusedLinearAttention.mix`, summed in fp32.

    Args:
        qkv: (B, N, 3C), contiguous; fp32, fp16 or bf16.
        position: (N, C) that the keys are moved by, contiguous.
        sigma: (C) fp32, more than 0, that queries and keys are divided by.
        taps, bias: of the convolution, (d, k²) and (d), contiguous; None for no convolution.
        heads: h. width: W of the map. power: p.

    Returns:
        (B, N, C) in qkv's precision; and for backward, fp32: S and s per image (B, C·d + C), statistics of q's and k's
        tokens (2, 3, B, N).
    """
    from ultralytics.nn.ops import fla_launch  # an optional extra, and its import takes time

    return fla_launch.forward(qkv, position, sigma, taps, bias, heads, width, power)


@focused_mix.register_fake
def _(
    qkv: Tensor,
    position: Tensor,
    sigma: Tensor,
    taps: Tensor | None,
    bias: Tensor | None,
    heads: int,
    width: int,
    power: float,
) -> tuple[Tensor, Tensor, Tensor]:
    B, N, C = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    return qkv.new_empty(B, N, C), sigma.new_empty(B, C * (C // heads) + C), sigma.new_empty(2, 3, B, N)


@torch.library.custom_op("ultralytics::focused_mix_backward", mutates_args=())
def focused_mix_backward(
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
    """Gradients of qkv (B, N, 3C), of sigma (C), and of the convolution (k² + 1, d), its bias last (empty without one),
    from that of `focused_mix`'s output (B, N, C). That of `position` is the sum of k's over the batch."""
    from ultralytics.nn.ops import fla_launch  # an optional extra, and its import takes time

    return fla_launch.backward(grad.contiguous(), qkv, position, sigma, taps, state, stats, heads, width, power)


@focused_mix_backward.register_fake
def _(
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
    dtaps = sigma.new_empty(0) if taps is None else sigma.new_empty(taps.shape[1] + 1, taps.shape[0])
    return torch.empty_like(qkv), torch.empty_like(sigma), dtaps


def _save_for_gradients(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    qkv, position, sigma, taps, _, *ctx.sizes = inputs
    _, state, stats = output
    ctx.mark_non_differentiable(state, stats)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(qkv, position, sigma, taps, state, stats)


def position_gradient(dqkv: Tensor, position: Tensor) -> Tensor:
    """The gradient of the positions (N, C): that of the keys, summed over the batch."""
    C = position.shape[-1]
    return dqkv[..., C : 2 * C].sum(0, dtype=torch.float32).to(position.dtype)


def _propagate_gradients(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 8
    qkv, position, sigma, taps, state, stats = ctx.saved_tensors
    dqkv, dsigma, dtaps = focused_mix_backward(grad, qkv, position, sigma, taps, state, stats, *ctx.sizes)
    dposition = position_gradient(dqkv, position) if ctx.needs_input_grad[1] else None
    convolution: tuple[Tensor | None, Tensor | None] = (None, None)
    if taps is not None:
        own = dtaps[-1].to(taps.dtype) if ctx.needs_input_grad[4] else None
        convolution = dtaps[:-1].t().to(taps.dtype), own
    return dqkv, dposition, dsigma, *convolution, None, None, None


focused_mix.register_autograd(_propagate_gradients, setup_context=_save_for_gradients)


class _Direct(torch.autograd.Function):
    """`focused_mix` from the layer's own parameters, without torch's dispatcher for operations of Python, which takes
    longer than the kernels of a small map."""

    @staticmethod
    def forward(
        ctx: Any,
        qkv: Tensor,
        position: Tensor,
        scale: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        heads: int,
        width: int,
        power: float,
    ) -> Tensor:
        from ultralytics.nn.ops import fla_launch  # an optional extra, and its import takes time

        qkv, sizes = qkv.contiguous(), (heads, width, power)
        table, sigma, taps = prepared(position, scale, weight)
        out, state, stats = fla_launch.forward(qkv, table, sigma, taps, bias, *sizes)
        ctx.sizes, ctx.positions = sizes, position.shape
        ctx.save_for_backward(qkv, table, scale, sigma, weight, taps, state, stats)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from ultralytics.nn.ops import fla_launch  # an optional extra, and its import takes time

        qkv, table, scale, sigma, weight, taps, state, stats = ctx.saved_tensors
        dqkv, dsigma, dtaps = fla_launch.backward(
            grad.contiguous(), qkv, table, sigma, taps, state, stats, *ctx.sizes
        )  # fmt: skip
        dposition = dscale = dweight = dbias = None
        if ctx.needs_input_grad[1]:
            dposition = position_gradient(dqkv, table).view(ctx.positions)
        if ctx.needs_input_grad[2]:
            wide = scale if scale.dtype == torch.float32 else scale.float()
            dscale = torch.ops.aten.softplus_backward(dsigma.view(scale.shape), wide, 1, 20).to(scale.dtype)
        if weight is not None:
            dweight = dtaps[:-1].t().reshape(weight.shape).to(weight.dtype)
            dbias = dtaps[-1].to(weight.dtype) if ctx.needs_input_grad[4] else None
        return dqkv, dposition, dscale, dweight, dbias, None, None, None


def eager(x: Tensor) -> bool:
    """Say whether nothing watches or compiles operations on a tensor."""
    return not torch.compiler.is_compiling() and not torch._C._len_torch_dispatch_stack() and type(x) is Tensor


def prepared(position: Tensor, scale: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Make what `focused_mix` takes, from the table of positions (1, N, C), the scale (1, 1, C) and the convolution's
    weight (d, 1, k, k)."""
    table, sigma = position.squeeze(0).contiguous(), F.softplus(scale.float()).flatten()
    return table, sigma, None if weight is None else weight.flatten(1).contiguous()


def mixed(
    qkv: Tensor,
    position: Tensor,
    scale: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    heads: int,
    width: int,
    power: float,
) -> Tensor:
    """`focused_mix` from a layer's own parameters: position (1, N, C), scale (1, 1, C), weight (d, 1, k, k) and bias
    (d) or None. What watches or compiles operations sees that one; an eager step goes past the dispatcher."""
    if eager(qkv):
        own = (qkv, position, scale, weight, bias)
        direct: Tensor = _Direct.apply(*own, heads, width, power)  # type: ignore[no-untyped-call]  # torch has no types
        return direct
    out: Tensor = focused_mix(qkv.contiguous(), *prepared(position, scale, weight), bias, heads, width, power)[0]
    return out


@register_flop_formula(torch.ops.ultralytics.focused_mix)
def count(
    qkv: tuple[int, ...],
    position: tuple[int, ...],
    sigma: tuple[int, ...],
    taps: tuple[int, ...] | None,
    bias: tuple[int, ...] | None,
    heads: int,
    width: int,
    power: float,
    **_: Any,
) -> int:
    """FLOPs of the matrix products and the convolution, 2·MACs, from the shapes: what is counted of the plain twin."""
    elements = qkv[0] * qkv[1] * qkv[2] // 3
    return elements * (4 * (qkv[2] // 3 // heads) + 2 * (taps[1] if taps else 0))


@register_flop_formula(torch.ops.ultralytics.focused_mix_backward)
def count_backward(
    grad: tuple[int, ...],
    qkv: tuple[int, ...],
    position: tuple[int, ...],
    sigma: tuple[int, ...],
    taps: tuple[int, ...] | None,
    state: tuple[int, ...],
    stats: tuple[int, ...],
    heads: int,
    width: int,
    power: float,
    **_: Any,
) -> int:
    """FLOPs of the gradients: every product has two, of the forward pass's size each."""
    return 2 * count(qkv, position, sigma, taps, None, heads, width, power)
