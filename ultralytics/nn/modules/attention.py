"""Attention over maps: what every mixing operation shares, the mixing operations to compare, and the block that puts
one of them into a network without changing what the network computes.

Legend: B images, C channels, H×W map, N = H·W tokens, h heads of width d = C/h.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name
from einops import rearrange
from torch import Tensor, nn

from ultralytics.nn.ops import EPS
from ultralytics.nn.ops.fla import obstacle
from ultralytics.nn.ops.linear import linearly_mixed
from ultralytics.nn.registry import gated_sum, register, same_width
from ultralytics.utils.errors import ModelError


def exporting() -> bool:
    """Return True while a network is traced into a file, which can hold plain operations alone."""
    return torch.compiler.is_exporting() or bool(torch._C._get_tracing_state())


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """out_i = Σ_j (q_i·k_j) v_j / (Σ_j q_i·k_j + ε) in O(N·d²) (FLatten Transformer, eq. 4). q, k ≥ 0; all (B, h, N,
    d).

    Sums over tokens are means here: the quotient is the same, and its terms do not grow with N.
    """
    N = k.shape[-2]
    state = k.transpose(-2, -1) @ (v / N)  # (B, h, d, d)
    weight = (q * k.mean(-2, keepdim=True)).sum(-1, keepdim=True) + EPS / N  # (B, h, N, 1)
    return (q @ state) / weight


def normalised(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """The weights that `linear_attention` gives v, as factors: q_i / (Σ_j q_i·k_j + ε) and k_j, both (B, h, ·, d)."""
    return q / ((q * k.sum(-2, keepdim=True)).sum(-1, keepdim=True) + EPS), k


def interpolation_matrix(n_out: int, n_in: int, like: Tensor) -> Tensor:
    """(n_out, n_in): linear interpolation of n_in samples at n_out equally spread places; the identity when they are
    equal.

    A matrix product has a deterministic gradient on every device, which the bilinear kernels do not.
    """
    centre = (torch.arange(n_out, device=like.device, dtype=like.dtype) + 0.5) * (n_in / n_out) - 0.5
    place = torch.arange(n_in, device=like.device, dtype=like.dtype)
    return (1 - (centre.clamp(0, n_in - 1).unsqueeze(1) - place).abs()).clamp(min=0)


class MapAttention(nn.Module, ABC):
    """Attention over a map: (B, C, H, W) → (B, C, H, W), any H and W, in fp32, bf16 or fp16. A subclass says how
    tokens mix.

        q, k, v = Linear(tokens);  k ← k + position;  out = Linear(mix(q, k, v))

    Positions are a table over a `window_size` grid, zero at the start, interpolated to H×W and used as it is at the
    window's size. There is no residual: the layer replaces the map it is given; `AttentionBlock` adds one.

    Args:
        dim: channels C.
        window_size: rows and columns of the positional table.
        num_heads: heads; must divide dim.
        qkv_bias: whether the first projection has a bias.
        proj_drop: dropout after the last projection, 0..1.

    Raises:
        ModelError: heads that do not divide dim (the valid counts are named), or an argument out of its range.
    """

    undecayed: ClassVar[tuple[str, ...]] = ("positional_encoding",)  # own parameters that weight decay leaves alone
    besides: str = ""  # what `mix` adds to the weighted sum of v, in words

    def __init__(
        self,
        dim: int,
        window_size: Sequence[int] = (20, 20),
        num_heads: int = 8,
        qkv_bias: bool = True,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        if type(num_heads) is not int or num_heads < 1 or dim % num_heads:
            valid = [n for n in range(1, dim + 1) if dim % n == 0]
            raise ModelError(
                f"{num_heads} heads do not divide {dim} channels", hint=f"valid counts: {', '.join(map(str, valid))}"
            )
        if (
            not isinstance(window_size, Sequence)
            or len(window_size) != 2
            or not all(isinstance(n, int) and n >= 1 for n in window_size)
        ):
            raise ModelError(f"window_size must be [rows, columns], both 1 or more, not {window_size}")
        if not isinstance(qkv_bias, bool | int):
            raise ModelError(f"qkv_bias must be True or False, not {qkv_bias!r}")
        if isinstance(proj_drop, bool) or not isinstance(proj_drop, int | float):
            raise ModelError(f"proj_drop must be a number, not {proj_drop!r}")
        if not 0 <= proj_drop <= 1:
            raise ModelError(f"proj_drop must lie in 0..1, not {proj_drop}")
        self.dim, self.num_heads, self.window_size = dim, num_heads, (int(window_size[0]), int(window_size[1]))
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        self.positional_encoding = nn.Parameter(torch.zeros(1, self.window_size[0] * self.window_size[1], dim))

    @abstractmethod
    def mix(self, q: Tensor, k: Tensor, v: Tensor, size: tuple[int, int]) -> Tensor:
        """Mix the tokens of a map.

        Args:
            q, v: (B, N, C) as projected, in the layer's precision.
            k: (B, N, C) with positions, in fp32 at least.
            size: (H, W).

        Returns:
            (B, N, C), finite, in v's precision.
        """

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        # Of a single image `rearrange` gives the first axis another stride, and kernels then round otherwise.
        attended = self.attend(self.qkv(x.flatten(2).transpose(1, 2)), (H, W))
        mixed: Tensor = self.proj_drop(self.proj(self.modulate(attended, x)))
        return mixed.transpose(1, 2).reshape(B, C, H, W)

    def attend(self, qkv: Tensor, size: tuple[int, int]) -> Tensor:
        """Mix the tokens of a map, from q, k and v side by side, (B, N, 3C): (B, N, C)."""
        return self.mix(*self.divide(qkv, size), size)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v (B, N, C) of a map (B, C, H, W), k with positions: what `mix` takes."""
        return self.divide(self.qkv(x.flatten(2).transpose(1, 2)), (x.shape[2], x.shape[3]))

    def divide(self, qkv: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """q, k with positions, and v, each (B, N, C), of what lies side by side, (B, N, 3C)."""
        q, k, v = qkv.chunk(3, -1)
        with torch.autocast(qkv.device.type, enabled=False):
            wide = torch.promote_types(k.dtype, torch.float32)
            return q, k.to(wide) + self.positions(*size).to(wide), v

    def factors(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights of a linear attention as a product of two narrow matrices, in k's precision.

        Args:
            q: (B, n, C), of all tokens or of some; k: (B, N, C) with positions, of all.

        Returns:
            left (B, h, n, r) and right (B, h, N, r) with weights = left rightᵀ, so that their rank is at most r.

        Raises:
            ModelError: this attention is not linear.
        """
        raise ModelError(f"{type(self).__name__} does not have its weights as two factors")

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        """a_ij, how much token j adds to token i: mix_i = Σ_j a_ij v_j, but for what `besides` names. Each row sums to
        1, but for ε.

        Args: as `factors`, of which a linear attention gives the product.

        Returns:
            (B, h, n, N), in k's precision.

        Raises:
            ModelError: the class does not offer it.
        """
        if not self.offers_weights():
            raise ModelError(
                f"{type(self).__name__} does not offer its weights",
                hint="a class with a mix of its own brings weights(q, k), or factors(q, k) where it is linear",
            )
        left, right = self.factors(q, k)
        return left @ right.transpose(-2, -1)

    @classmethod
    def offers_weights(cls) -> bool:
        """Return True if the class that defines `mix` defines its weights too: inherited ones are of another mixing."""
        for kind in cls.__mro__:
            own = vars(kind)
            if "mix" in own or "weights" in own or "factors" in own:
                return kind is not MapAttention and ("weights" in own or "factors" in own)
        return False

    def modulate(self, mixed: Tensor, x: Tensor) -> Tensor:
        """Change what was mixed, before the last projection: not at all, unless a subclass says so.

        Args:
            mixed: (B, N, C), what `mix` returned; x: (B, C, H, W), the layer's input.
        """
        return mixed

    def heads(self, tokens: Tensor) -> Tensor:
        """(B, N, C) → (B, h, N, d)."""
        return rearrange(tokens, "b n (h d) -> b h n d", h=self.num_heads)

    @staticmethod
    def merge(heads: Tensor) -> Tensor:
        """(B, h, N, d) → (B, N, C)."""
        return rearrange(heads, "b h n d -> b n (h d)")

    def positions(self, H: int, W: int) -> Tensor:
        """Return the positional table on an H×W grid, (1, N, C):
        bilinear between the window's cells, itself at the window's size."""
        rows, cols = self.window_size
        # A shape test would tie an exported network to one size; interpolation to the window's own is the identity.
        if not exporting() and (rows, cols) == (H, W):
            return self.positional_encoding
        table = rearrange(self.positional_encoding, "1 (r c) d -> r c d", r=rows, c=cols)
        # The table's own sides: a trace divides a number by a side through its reciprocal, which rounds otherwise.
        along_y, along_x = (interpolation_matrix(out, n, table) for out, n in zip((H, W), table.shape[:2], strict=True))
        grid = torch.einsum("yr,xc,rcd->yxd", along_y, along_x, table)
        return rearrange(grid, "y x d -> 1 (y x) d")


class SoftmaxAttention(MapAttention):
    """Softmax attention: mix = softmax(q kᵀ / √d) v per head (Attention Is All You Need, eq. 1), O(N²·d).

    Computed by torch's `scaled_dot_product_attention`, which never holds the N×N matrix where a fused kernel exists.
    """

    def mix(self, q: Tensor, k: Tensor, v: Tensor, size: tuple[int, int]) -> Tensor:
        # Fused CUDA kernels accumulate half precision in fp32; elsewhere q kᵀ itself would be rounded to it.
        dtype = v.dtype if v.is_cuda else k.dtype
        with torch.autocast(v.device.type, enabled=False):
            q, k, wide_v = (self.heads(t.to(dtype)) for t in (q, k, v))
            return self.merge(F.scaled_dot_product_attention(q, k, wide_v)).to(v.dtype)

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        with torch.autocast(k.device.type, enabled=False):
            q, k = self.heads(q.to(k.dtype)), self.heads(k)
            weights: Tensor = (q @ k.transpose(-2, -1) / k.shape[-1] ** 0.5).softmax(-1)
            return weights


class FusibleAttention(MapAttention):
    """A linear attention whose part between the projections is one operation on CUDA devices that can serve it
    (`nn/ops/fla.py`), with `mix` as its plain twin everywhere else. A class with an operation of its own names it in
    `kind`; a subclass that overrides what `defining` lists is computed as it says.
    """

    kind: ClassVar[str]  # the operation: "focused", or what `linear_mix` knows
    defining: ClassVar[tuple[str, ...]] = ("mix", "divide", "heads", "merge")
    own: ClassVar[bool] = True  # whether what the operation computes is what the class says

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        home = next((c for c in cls.__mro__ if "kind" in vars(c)), cls)
        cls.own = all(getattr(cls, name) is getattr(home, name) for name in cls.defining)

    def attend(self, qkv: Tensor, size: tuple[int, int]) -> Tensor:
        if not self.fusible(qkv):
            return super().attend(qkv, size)
        if size == self.window_size:  # the table itself
            position = self.positions(*size)
        else:
            with torch.autocast(qkv.device.type, enabled=False):
                position = self.positions(*size)
        return self.fused(qkv, position, size)

    def fused(self, qkv: Tensor, position: Tensor, size: tuple[int, int]) -> Tensor:
        """Return what `mix` returns, (B, N, C), by the operation: of q, k and v side by side (B, N, 3C) and the table
        of positions (1, N, C)."""
        return linearly_mixed(qkv, position, self.num_heads, self.kind)

    def fusible(self, qkv: Tensor) -> bool:
        """Return True if the operation computes what `mix` would: nothing of it is overridden, and device, precision
        and size are among those it knows."""
        if exporting():  # before anything is asked of a size that is to stay free
            return False
        small = 0 < qkv.shape[1] * self.dim * 3 < 2**31  # places within an image are counted in 32 bits
        if not self.own or not small or not qkv.shape[0]:
            return False
        head, side = self.dim // self.num_heads, self.convolution_side()
        return not obstacle(qkv.device.type, qkv.device.index, qkv.dtype, head, side)

    def convolution_side(self) -> int:
        """Return the side k of the convolution that the operation makes too, 0 for none."""
        return 0


class ReLULinearAttention(FusibleAttention):
    """ReLU linear attention: mix_i = Σ_j (r_i·s_j) v_j / (Σ_j r_i·s_j + ε) with r = ReLU(q), s = ReLU(k), O(N·d²)
    (EfficientViT, ICCV 2023, eq. 2): linear attention with nothing added."""

    kind: ClassVar[str] = "relu"

    def mix(self, q: Tensor, k: Tensor, v: Tensor, size: tuple[int, int]) -> Tensor:
        with torch.autocast(v.device.type, enabled=False):
            q, k, wide_v = (self.heads(t) for t in (F.relu(q.to(k.dtype)), F.relu(k), v.to(k.dtype)))
            return self.merge(linear_attention(q, k, wide_v)).to(v.dtype)

    def factors(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(k.device.type, enabled=False):
            return normalised(self.heads(F.relu(q.to(k.dtype))), self.heads(F.relu(k)))


class MagnitudeAwareLinearAttention(FusibleAttention):
    """MALA (Fan et al., "Rectifying Magnitude Neglect in Linear Attention", ICCV 2025, arXiv 2507.00698), O(N·d²).

        a_ij = β_i s_ij − γ_i,  s_ij = φ(q_i)·φ(k_j) / (N √d),  φ = ELU + 1
        β_i = 1 + 1/Σ_m s_im,   γ_i = Σ_m s_im / N,   so that Σ_j a_ij = 1;   mix_i = Σ_j a_ij v_j

    In linear attention the length of a query cancels, in focused linear attention too, since φ_p is homogeneous. Here
    it sharpens the weights, as in softmax attention. Of the linear attentions that correct this, MALA is the one that
    changes the
    weights alone: PolaFormer (ICLR 2025) learns powers and coefficients of its own, and InLine (NeurIPS 2024) brings
    a local attention with it, so that either would differ from its neighbours here in more than the mixing.
    """

    kind: ClassVar[str] = "magnitude"

    def mix(self, q: Tensor, k: Tensor, v: Tensor, size: tuple[int, int]) -> Tensor:
        with torch.autocast(v.device.type, enabled=False):
            q, k, wide_v = (self.heads(t) for t in (F.elu(q.to(k.dtype)) + 1, F.elu(k) + 1, v.to(k.dtype)))
            N, d = k.shape[-2:]
            q = q / d**0.5
            z = (q * k.mean(-2, keepdim=True)).sum(-1, keepdim=True)  # Σ_m s_im, (B, h, N, 1)
            state = k.transpose(-2, -1) @ (wide_v / N)  # (B, h, d, d)
            out = (1 + 1 / (z + EPS)) * (q @ state) - z * wide_v.mean(-2, keepdim=True)
            return self.merge(out).to(v.dtype)

    def factors(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(k.device.type, enabled=False):
            q, k = self.heads(F.elu(q.to(k.dtype)) + 1), self.heads(F.elu(k) + 1)
            N, d = k.shape[-2:]
            q = q / d**0.5
            z = (q * k.mean(-2, keepdim=True)).sum(-1, keepdim=True)
            # −γ_i is one more column, times 1 of every token: the rank is at most d + 1.
            left = torch.cat(((1 + 1 / (z + EPS)) * q / N, -z / N), -1)
            return left, F.pad(k, (0, 1), value=1.0)


class RankAugmentedLinearAttention(MapAttention):
    """RALA (Fan et al., "Breaking the Low-Rank Dilemma of Linear Attention", CVPR 2025, arXiv 2411.07635), O(N·d²).

        κ = ELU + 1,   q̄ = Σ_i κ(q_i) / N,   α_j = N · softmax_j(q̄·κ(k_j) / √d), so that Σ_j α_j = N
        mix_i = κ(q_i) Σ_j α_j κ(k_j)ᵀ v_j / (κ(q_i)·Σ_j α_j κ(k_j) + ε),   out = Linear(φ(x) ⊙ mix)

    The sum over keys and values has a low rank, since all tokens come into it alike; weights by a global query q̄ let
    those that matter stand out, which raises it. The output is gated by channels: φ is a linear map of the token, as in
    the authors' code, and raises the rank of the output. φ has C² + C parameters more than the layer's siblings have.
    The paper's rotary positions and its depth-wise convolution on v are left out, so that positions and the rest are
    those of the siblings.

    Args: as `MapAttention`.
    """

    def __init__(
        self,
        dim: int,
        window_size: Sequence[int] = (20, 20),
        num_heads: int = 8,
        qkv_bias: bool = True,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__(dim, window_size, num_heads, qkv_bias, proj_drop)
        self.phi = nn.Linear(dim, dim)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, size: tuple[int, int]) -> Tensor:
        with torch.autocast(v.device.type, enabled=False):
            q, k, wide_v = (self.heads(t) for t in (F.elu(q.to(k.dtype)) + 1, F.elu(k) + 1, v.to(k.dtype)))
            N, d = k.shape[-2:]
            alpha = N * ((q.mean(-2, keepdim=True) * k).sum(-1, keepdim=True) / d**0.5).softmax(-2)  # (B, h, N, 1)
            return self.merge(linear_attention(q, alpha * k, wide_v)).to(v.dtype)

    def modulate(self, mixed: Tensor, x: Tensor) -> Tensor:
        out: Tensor = mixed * self.phi(x.flatten(2).transpose(1, 2))
        return out


def layer_norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """Return norm(x) in x's precision, from sums in fp32 at least.

    In 16 bits torch adds up the gradients of weight and bias in 16 bits on a CPU: of 100,000 rows they are wrong by
    half. A GPU's kernel adds up in fp32 by itself, but autocast would copy the whole map to fp32 and back.
    """
    if x.dtype not in (torch.float16, torch.bfloat16) or exporting():
        return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    inner = torch.float32 if x.device.type == "cpu" else x.dtype
    with torch.autocast(x.device.type, enabled=False):
        own = norm.weight.to(inner), norm.bias.to(inner)
        return F.layer_norm(x.to(inner), norm.normalized_shape, *own, norm.eps).to(x.dtype)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each place of a map (Ba et al. 2016): (B, C, H, W) → the same."""

    def forward(self, x: Tensor) -> Tensor:
        return rearrange(layer_norm(self, rearrange(x, "b c h w -> b h w c")), "b h w c -> b c h w")


def gated(x: Tensor, gate: Tensor, change: Tensor) -> Tensor:
    """Return x + gate ⊙ change, both (B, C, H, W), in x's precision. The gate (C) is rounded to the precision of
    `change`, as autocast rounds weights: of its own fp32 it would make the product, and the gradients, fp32 maps."""
    return x + (gate.to(change.dtype).view(1, -1, 1, 1) * change).to(x.dtype)


class AttentionBlock(nn.Module):
    """The frame in which mixing operations are compared: (B, C, H, W) → (B, C, H, W), any H and W.

        y = x + gate ⊙ A(norm(x))

    `norm` normalises over the channels of each place, `gate` is a number per channel that starts at zero: LayerScale
    (Touvron et al. 2021) in the spirit of ReZero (Bachlechner et al. 2020). So an inserted block passes its input on
    unchanged, to the bit: a pretrained network computes what it computed, and the block comes in as far as training
    opens its gate. Subclasses name A, `mixing`, and differ in nothing else; A is a `MapAttention`, or a module of the
    same arguments and maps that stands in its place as a control.

    Args:
        dim: channels C; the row before gives them.
        num_heads: heads; must divide C.
        window_size: rows and columns of the positional table.
        options: what the mixing operation takes besides.
    """

    mixing: ClassVar[type[nn.Module]]
    undecayed: ClassVar[tuple[str, ...]] = ("gate",)

    def __init__(self, dim: int, num_heads: int = 8, window_size: Sequence[int] = (20, 20), **options: Any) -> None:
        super().__init__()
        self.norm = ChannelNorm(dim)
        self.attn = self.mixing(dim, window_size=window_size, num_heads=num_heads, **options)
        self.gate = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        return gated(x, self.gate, self.attn(self.norm(x)))


@register(same_width)
class PSABlock(AttentionBlock):
    """Softmax attention in the shared frame: y = x + gate ⊙ SoftmaxAttention(norm(x)). The control in the place of the
    PSA of YOLOv10 (Wang et al. 2024, §3.2), whose split, narrow keys, convolutional positions and feed-forward part it
    leaves out, so that it differs from FLABlock in the mixing alone."""

    mixing = SoftmaxAttention


@register(same_width)
class ReLULinearBlock(AttentionBlock):
    """ReLU linear attention in the shared frame: y = x + gate ⊙ ReLULinearAttention(norm(x))."""

    mixing = ReLULinearAttention


@register(same_width)
class MALABlock(AttentionBlock):
    """Magnitude-aware linear attention in the shared frame: y = x + gate ⊙ MagnitudeAwareLinearAttention(norm(x))."""

    mixing = MagnitudeAwareLinearAttention


@register(same_width)
class RALABlock(AttentionBlock):
    """Rank-augmented linear attention in the shared frame: y = x + gate ⊙ RankAugmentedLinearAttention(norm(x))."""

    mixing = RankAugmentedLinearAttention


@register(gated_sum)
class GatedAdd(nn.Module):
    """Bring what was mixed elsewhere into a map: [x, z], both (B, C, H, W) → y = x + gate ⊙ z, (B, C, H, W).

    `gate` is a number per channel that starts at zero, as in `AttentionBlock`: at the start x is passed on unchanged,
    to the bit.

    Args:
        dim: channels C.
    """

    undecayed: ClassVar[tuple[str, ...]] = ("gate",)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(dim))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        x, z = maps
        return gated(x, self.gate, z)
