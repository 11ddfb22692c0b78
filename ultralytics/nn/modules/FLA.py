"""Focused Linear Attention (Han et al., "FLatten Transformer", ICCV 2023, arXiv 2308.00442), after a tutorial's module
for YOLOv8, and the blocks that bring it into a network.

Legend: B images, C channels, H×W map, N = H·W tokens, h heads of width d = C/h, p the focusing factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name
from einops import repeat
from torch import Tensor, nn

from ultralytics.nn.modules.attention import (
    AttentionBlock,
    ChannelNorm,
    FusibleAttention,
    linear_attention,
    normalised,
)
from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.modules.csp import C2f
from ultralytics.nn.ops import EPS
from ultralytics.nn.ops.fla import mixed
from ultralytics.nn.registry import attention_like, register, repeated_block, same_width
from ultralytics.utils.errors import ModelError
from ultralytics.utils.log import LOGGER


def focus(u: Tensor, p: float) -> Tensor:
    """Return the focusing function φ_p(u) = u^p · ‖u‖ / ‖u^p‖ (paper, eq. 5-6), norms over the last dimension.

    φ is unchanged when its argument is scaled by the token's maximum before the power and back afterwards; that keeps
    u^p finite for every p. Needs u > 0.
    """
    if p == 1:
        return u
    peak = u.detach().amax(-1, keepdim=True)
    t = u / peak
    powered = t * t * t if p == 3 else t.pow(p)
    norm, powered_norm = (torch.linalg.vector_norm(x, dim=-1, keepdim=True) for x in (t, powered))
    out: Tensor = powered * (peak * norm / powered_norm)
    return out


@register(attention_like)
class FocusedLinearAttention(FusibleAttention):
    """Focused linear attention over a map: (B, C, H, W) → (B, C, H, W), any H and W, in fp32, bf16 or fp16.

        q, k, v = Linear(tokens);  k ← k + position;  u = (ReLU(·) + 1e-6) / softplus(scale) for q and k
        out = Linear( linear_attention(φ_p(u_q), φ_p(u_k), v) + DWC(v) )          (paper, eq. 5-6, 10, 12)

    φ_p takes its norms over all C channels, before the heads are split. DWC is a depth-wise k×k convolution whose
    d-channel kernel all heads share; it restores the rank that linear attention lacks (paper, eq. 9, 11). There is no
    residual: the layer replaces the map it is given. φ and the attention are computed in fp32 (fp64 for fp64 input),
    whatever the input's type or autocast. On CUDA devices the part between the projections is one fused operation where
    that can serve (`nn/ops/fla.py`); `mix` is its plain twin.

    Args:
        dim: channels C.
        window_size: rows and columns of the positional table.
        num_heads: heads; must divide dim.
        qkv_bias: whether the first projection has a bias.
        qk_scale, attn_drop: accepted from YAMLs of the tutorial, where they did nothing either; a message says so.
        proj_drop: dropout after the last projection, 0..1.
        focusing_factor: p, 1..32.
        kernel_size: odd size of the depth-wise convolution; 0 leaves it out.

    Raises:
        ModelError: heads that do not divide dim (the valid counts are named), or an argument out of its range.
    """

    undecayed: ClassVar[tuple[str, ...]] = ("positional_encoding", "scale")
    kind: ClassVar[str] = "focused"
    defining: ClassVar[tuple[str, ...]] = (*FusibleAttention.defining, "features", "convolve")

    def __init__(
        self,
        dim: int,
        window_size: Sequence[int] = (20, 20),
        num_heads: int = 8,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        focusing_factor: float = 3,
        kernel_size: int = 5,
    ) -> None:
        super().__init__(dim, window_size, num_heads, qkv_bias, proj_drop)
        for key, value in (("attn_drop", attn_drop), ("focusing_factor", focusing_factor), ("qk_scale", qk_scale or 1)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ModelError(f"{key} must be a number, not {value!r}")
        if not 0 <= attn_drop <= 1:
            raise ModelError(f"attn_drop must lie in 0..1, not {attn_drop}")
        if not 1 <= focusing_factor <= 32:
            raise ModelError(f"focusing_factor must lie in 1..32, not {focusing_factor}")
        if type(kernel_size) is not int or kernel_size < 0 or (kernel_size and kernel_size % 2 == 0):
            raise ModelError(f"kernel_size must be odd, or 0 for no convolution, not {kernel_size}")
        if qk_scale is not None or attn_drop:
            LOGGER.warning(
                "FocusedLinearAttention: qk_scale and attn_drop have no meaning in linear attention and are ignored"
            )
        self.focusing_factor = focusing_factor
        head = dim // num_heads
        self.dwc = nn.Conv2d(head, head, kernel_size, padding=kernel_size // 2, groups=head) if kernel_size else None
        self.besides = f"the depth-wise {kernel_size}×{kernel_size} branch" if kernel_size else ""
        self.scale = nn.Parameter(torch.zeros(1, 1, dim))

    def fused(self, qkv: Tensor, position: Tensor, size: tuple[int, int]) -> Tensor:
        weight, bias = (None, None) if self.dwc is None else (self.dwc.weight, self.dwc.bias)
        return mixed(qkv, position, self.scale, weight, bias, self.num_heads, size[1], float(self.focusing_factor))

    def convolution_side(self) -> int:
        return 0 if self.dwc is None else int(self.dwc.kernel_size[0])

    def mix(self, q: Tensor, k: Tensor, v: Tensor, size: tuple[int, int]) -> Tensor:
        with torch.autocast(v.device.type, enabled=False):
            features = self.features(q, k)
            out = self.merge(linear_attention(*(self.heads(t) for t in (*features, v.to(k.dtype))))).to(v.dtype)
        return out if self.dwc is None else out + self.convolve(v, size)

    def features(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """φ_p(u_q) and φ_p(u_k), (B, ·, C), in k's precision."""
        sigma = F.softplus(self.scale.to(k.dtype))
        phi_q, phi_k = (focus((F.relu(u.to(k.dtype)) + EPS) / sigma, self.focusing_factor) for u in (q, k))
        return phi_q, phi_k

    def factors(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(k.device.type, enabled=False):
            phi_q, phi_k = (self.heads(t) for t in self.features(q, k))
            return normalised(phi_q, phi_k)

    def convolve(self, v: Tensor, size: tuple[int, int]) -> Tensor:
        """DWC(v), (B, N, C). Every head is convolved with the same kernel: one depth-wise convolution over all C
        channels with the kernel repeated."""
        assert self.dwc is not None
        assert self.dwc.bias is not None
        h = self.num_heads
        v_map = v.transpose(1, 2).reshape(-1, self.dim, *size)
        weight, bias = repeat(self.dwc.weight, "d 1 y x -> (h d) 1 y x", h=h), repeat(self.dwc.bias, "d -> (h d)", h=h)
        return F.conv2d(v_map, weight, bias, padding=self.dwc.padding, groups=self.dim).flatten(2).transpose(1, 2)


@register(same_width)
class FLABlock(AttentionBlock):
    """Focused linear attention to insert anywhere: y = x + gate ⊙ FocusedLinearAttention(norm(x)), (B, C, H, W) → the
    same.

    At insertion the gate is zero and the network's output what it was, to the bit. Its ablations are arguments:
    `{focusing_factor: 1}` does not focus, `{kernel_size: 0}` has no depth-wise convolution.

    Args: as `AttentionBlock`, and as options those of `FocusedLinearAttention`.
    """

    mixing = FocusedLinearAttention


@register(same_width)
class FLALayer(nn.Module):
    """A layer of focused linear attention with its feed-forward part, for rows of its own: (B, C, H, W) → the same.

        y = x + FocusedLinearAttention(norm(x)),   out = y + BN(Conv1×1(SiLU(BN(Conv1×1(y)))))

    It has no gate: it is meant for a branch that comes into the network by a `GatedAdd`. A second gate in front of that
    would wait for the first one to open. The feed-forward part is YOLOv12's (Tian et al. 2025): convolutions with batch
    norm, and narrow.

    Args:
        dim: channels C; the row before gives them.
        num_heads, window_size: as in `FLABlock`.
        ratio: channels between the two convolutions as a multiple of C, more than 0.
        options: further arguments of `FocusedLinearAttention`.
    """

    options_of = FocusedLinearAttention

    def __init__(
        self, dim: int, num_heads: int = 8, window_size: Sequence[int] = (20, 20), ratio: float = 1.5, **options: Any
    ) -> None:
        super().__init__()
        if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio <= 16:
            raise ModelError(f"ratio must be a number above 0 and up to 16, not {ratio!r}")
        middle = max(int(dim * ratio), 1)
        self.norm = ChannelNorm(dim)
        self.attn = FocusedLinearAttention(dim, window_size=window_size, num_heads=num_heads, **options)
        self.ffn = nn.Sequential(Conv(dim, middle, 1), Conv(middle, dim, 1, act=False))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm(x)).to(x.dtype)
        out: Tensor = x + self.ffn(x)
        return out


class MatchedConvolution(nn.Sequential):
    """Two 3×3 convolutions with as many parameters as a FocusedLinearAttention: (B, C, H, W) → (B, C, H, W).

        A(x) = Conv2d(SiLU(BN(Conv2d(x, C → n))), n → C)

    The last one is linear with a bias, as the last projection of attention. The middle width n is the one with which
    9·C·n + 2·n + 9·n·C + C comes nearest to the attention's count, the positional table included, which at n = 64
    channels is more than half of it. A step of n is 18·C + 2 parameters: from 64 channels on the two differ by at most
    1.4 %, and by less the wider the map. Operations are not matched: the table costs none, a kernel costs some at every
    place.

    Args: those of the `FocusedLinearAttention` whose parameters are counted.
    """

    options_of = FocusedLinearAttention

    def __init__(self, dim: int, **options: Any) -> None:
        with torch.device("meta"):  # counted, not made
            count = sum(p.numel() for p in FocusedLinearAttention(dim, **options).parameters())
        middle = max(round((count - dim) / (18 * dim + 2)), 1)
        super().__init__(Conv(dim, middle, 3), nn.Conv2d(middle, dim, 3, padding=1))


@register(same_width)
class ConvBlock(AttentionBlock):
    """Plain convolutions in FLABlock's frame with FLABlock's number of parameters: y = x + gate ⊙
    MatchedConvolution(norm(x)), (B, C, H, W) → the same. The control that tells what attention gains from what more
    parameters gain.

    Args: those of the FLABlock that it is compared with; they decide its number of parameters.
    """

    mixing = MatchedConvolution


@register(repeated_block)
class C2f_FLA(C2f):
    """C2f whose last bottleneck is followed by an FLABlock: (B, c1, H, W) → (B, c2, H, W).

    The tensors of a plain C2f keep their names and shapes, and the block's gate starts at zero: with a C2f's weights it
    computes what the C2f computed.

    Args: as `C2f`, and as `options` those of `FLABlock`.
    """

    options_of = FLABlock

    def __init__(
        self, c1: int, c2: int, n: int = 1, shortcut: bool = False, g: int = 1, e: float = 0.5, **options: Any
    ) -> None:
        super().__init__(c1, c2, n, shortcut, g, e)
        self.attn = FLABlock(self.c, **options)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the maps of C2f, the last one attended."""
        maps = super().maps(x)
        return [*maps[:-1], self.attn(maps[-1])]
