"""The core of linear attentions whose φ acts number by number, as one operation of torch's, for CUDA devices.

Legend: B images, N tokens, C = h·d channels, h heads of width d.

It runs the state kernels of focused linear attention, which has more to do: in two launches forward and two backward.
When it is chosen is decided as there (`ultralytics/nn/ops/fla.py`). The plain twins are `mix` of `ReLULinearAttention`
("relu") and of `MagnitudeAwareLinearAttention` ("magnitude").
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ultralytics.nn.ops import state_size
from ultralytics.nn.ops.fla import eager, position_gradient


@torch.library.custom_op("ultralytics::linear_mix", mutates_args=())
def linear_mix(qkv: Tensor, position: Tensor, heads: int, kind: str) -> tuple[Tensor, Tensor]:
    """Mix tokens as `ReLULinearAttention.mix` or `MagnitudeAwareLinearAttention.mix`, summed in fp32.

    Args:
        qkv: (B, N, 3C), contiguous; fp32, fp16 or bf16.
        position: (N, C) that the keys are moved by, contiguous.
        heads: h.
        kind: "relu" for φ(q)S/ζ with φ = ReLU, "magnitude" for MALA's weights with φ = ELU + 1.

    Returns:
        (B, N, C) in qkv's precision; and for backward, fp32, the state per image: S, s and, for "magnitude", the mean
        of v (B, C·d + C or C·d + 2C).
    """
    from ultralytics.nn.ops import fla_launch  # an optional extra, and its import takes time

    return fla_launch.linear_forward(qkv, position, heads, kind)


@linear_mix.register_fake
def _(qkv: Tensor, position: Tensor, heads: int, kind: str) -> tuple[Tensor, Tensor]:
    B, N, wide = qkv.shape
    return qkv.new_empty(B, N, wide // 3), qkv.new_empty(B, state_size(wide // 3, heads, kind), dtype=torch.float32)


@torch.library.custom_op("ultralytics::linear_mix_backward", mutates_args=())
def linear_mix_backward(grad: Tensor, qkv: Tensor, position: Tensor, state: Tensor, heads: int, kind: str) -> Tensor:
    """The gradient of qkv (B, N, 3C), from that of `linear_mix`'s output (B, N, C). That of `position` is the sum of
    k's over the batch."""
    from ultralytics.nn.ops import fla_launch  # an optional extra, and its import takes time

    return fla_launch.linear_backward(grad.contiguous(), qkv, position, state, heads, kind)


@linear_mix_backward.register_fake
def _(grad: Tensor, qkv: Tensor, position: Tensor, state: Tensor, heads: int, kind: str) -> Tensor:
    return torch.empty_like(qkv)


def _save_for_gradients(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    qkv, position, *ctx.sizes = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(qkv, position, output[1])


def _propagate_gradients(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 4
    qkv, position, state = ctx.saved_tensors
    dqkv = linear_mix_backward(grad, qkv, position, state, *ctx.sizes)
    return dqkv, position_gradient(dqkv, position) if ctx.needs_input_grad[1] else None, None, None


linear_mix.register_autograd(_propagate_gradients, setup_context=_save_for_gradients)


class _Direct(torch.autograd.Function):
    """`linear_mix` without torch's dispatcher for operations of Python, which takes longer than the kernels of a small
    map."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, position: Tensor, heads: int, kind: str) -> Tensor:
        from ultralytics.nn.ops import fla_launch  # an optional extra, and its import takes time

        out, state = fla_launch.linear_forward(qkv, position, heads, kind)
        ctx.sizes = heads, kind
        ctx.save_for_backward(qkv, position, state)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from ultralytics.nn.ops import fla_launch  # an optional extra, and its import takes time

        qkv, position, state = ctx.saved_tensors
        dqkv = fla_launch.linear_backward(grad.contiguous(), qkv, position, state, *ctx.sizes)
        return dqkv, position_gradient(dqkv, position) if ctx.needs_input_grad[1] else None, None, None


def linearly_mixed(qkv: Tensor, position: Tensor, heads: int, kind: str) -> Tensor:
    """`linear_mix` with a table of positions (1, N, C). What watches or compiles operations sees that one; an eager
    step goes past the dispatcher."""
    qkv, position = qkv.contiguous(), position.squeeze(0).contiguous()
    if eager(qkv):
        direct: Tensor = _Direct.apply(qkv, position, heads, kind)  # type: ignore[no-untyped-call]  # torch has no types
        return direct
    out: Tensor = linear_mix(qkv, position, heads, kind)[0]
    return out


@register_flop_formula(torch.ops.ultralytics.linear_mix)
def count_linear(qkv: tuple[int, ...], position: tuple[int, ...], heads: int, kind: str, **_: Any) -> int:
    """FLOPs of the matrix products, 2·MACs, from the shapes: what is counted of the plain twins."""
    C = qkv[2] // 3
    return qkv[0] * qkv[1] * C * 4 * (C // heads)


@register_flop_formula(torch.ops.ultralytics.linear_mix_backward)
def count_linear_backward(
    grad: tuple[int, ...], qkv: tuple[int, ...], position: tuple[int, ...], state: tuple[int, ...], heads: int,
    kind: str, **_: Any
) -> int:  # fmt: skip
    """FLOPs of the gradients: every product has two, of the forward pass's size each."""
    return 2 * count_linear(qkv, position, heads, kind)
