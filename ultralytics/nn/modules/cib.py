"""Blocks of YOLOv10 (CIB, PSA). Maps are (B, C, H, W)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name
from torch import Tensor, nn

from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.modules.csp import C2f
from ultralytics.nn.registry import block_like, conv_like, register, repeated_block
from ultralytics.utils.errors import ModelError
from ultralytics.utils.fold import folded


class RepVGGDW(nn.Module):
    """A depth-wise 7×7 and a 3×3 convolution, added up; fusing makes one of both (YOLOv10): (B, ed, H, W) → the
    same."""

    def __init__(self, ed: int) -> None:
        super().__init__()
        self.conv: nn.Module = Conv(ed, ed, 7, 1, 3, g=ed, act=False)
        self.conv1: nn.Module | None = Conv(ed, ed, 3, 1, 1, g=ed, act=False)
        self.dim = ed
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        out: Tensor = self.act(y if self.conv1 is None else y + self.conv1(x))
        return out

    def forward_fuse(self, x: Tensor) -> Tensor:
        """With the one convolution that fusing makes."""
        out: Tensor = self.act(self.conv(x))
        return out

    @torch.no_grad()
    def fuse(self) -> None:
        """Make one convolution of both (inference only); a second call does nothing."""
        if not isinstance(self.conv, Conv) or not isinstance(self.conv1, Conv):
            return
        weight, bias = folded(self.conv.conv.weight, self.conv.bn)
        small, more = folded(self.conv1.conv.weight, self.conv1.bn)
        conv = nn.Conv2d(self.dim, self.dim, 7, 1, 3, groups=self.dim, bias=True)
        conv.weight = nn.Parameter(weight + F.pad(small, (2, 2, 2, 2)), requires_grad=False)
        conv.bias = nn.Parameter(bias + more, requires_grad=False)
        self.conv, self.conv1 = conv, None


@register(block_like)
class CIB(nn.Module):
    """Compact inverted block, depth-wise and 1×1 convolutions in turn (YOLOv10, §3.2), with a large kernel in the
    middle where `lk`: (B, c1, H, W) → (B, c2, H, W)."""

    def __init__(self, c1: int, c2: int, shortcut: bool = True, e: float = 0.5, lk: bool = False) -> None:
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = nn.Sequential(
            Conv(c1, c1, 3, g=c1),
            Conv(c1, 2 * hidden, 1),
            RepVGGDW(2 * hidden) if lk else Conv(2 * hidden, 2 * hidden, 3, g=2 * hidden),
            Conv(2 * hidden, c2, 1),
            Conv(c2, c2, 3, g=c2),
        )
        self.add = shortcut and c1 == c2

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cv1(x)
        return x + out if self.add else out


@register(repeated_block)
class C2fCIB(C2f):
    """C2f with compact inverted blocks: (B, c1, H, W) → (B, c2, H, W)."""

    def __init__(
        self, c1: int, c2: int, n: int = 1, shortcut: bool = False, lk: bool = False, g: int = 1, e: float = 0.5
    ) -> None:
        super().__init__(c1, c2, n, shortcut, g, e)
        self.m = nn.ModuleList(CIB(self.c, self.c, shortcut, e=1.0, lk=lk) for _ in range(n))


class Attention(nn.Module):
    """Softmax attention over a map, with narrow keys and a depth-wise convolution as positions (YOLOv10, §3.2):
    (B, C, H, W) → the same.

    Args:
        attn_ratio: width of a key, of a head's width.
    """

    def __init__(self, dim: int, num_heads: int = 8, attn_ratio: float = 0.5) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise ModelError(f"{num_heads} heads do not divide {dim} channels")
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.key_dim = int(self.head_dim * attn_ratio)
        self.scale = self.key_dim**-0.5
        self.qkv = Conv(dim, dim + 2 * self.key_dim * num_heads, 1, act=False)
        self.proj = Conv(dim, dim, 1, act=False)
        self.pe = Conv(dim, dim, 3, 1, g=dim, act=False)

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        widths = [self.key_dim, self.key_dim, self.head_dim]
        q, k, v = self.qkv(x).reshape(B, self.num_heads, sum(widths), H * W).split(widths, 2)
        weight = ((q.transpose(-2, -1) @ k) * self.scale).softmax(-1)  # (B, h, N, N)
        mixed = (v @ weight.transpose(-2, -1)).reshape(B, C, H, W)
        out: Tensor = self.proj(mixed + self.pe(v.reshape(B, C, H, W)))
        return out


@register(block_like)
class PSA(nn.Module):
    """Partial self-attention: half of the channels attend and go through a feed-forward part (YOLOv10, §3.2);
    (B, C, H, W) → the same.

    Raises:
        ModelError: c1 and c2 differ, or their half is below 64 channels, the width of a head.
    """

    def __init__(self, c1: int, c2: int, e: float = 0.5) -> None:
        super().__init__()
        if c1 != c2:
            raise ModelError(f"it keeps its channels, and is asked to make {c2} of {c1}")
        self.c = int(c1 * e)
        if self.c < 64:
            raise ModelError(f"its heads are 64 wide, and {self.c} channels are too few for one", hint="another scale")
        self.cv1 = Conv(c1, 2 * self.c, 1, 1)
        self.cv2 = Conv(2 * self.c, c1, 1)
        self.attn = Attention(self.c, attn_ratio=0.5, num_heads=self.c // 64)
        self.ffn = nn.Sequential(Conv(self.c, self.c * 2, 1), Conv(self.c * 2, self.c, 1, act=False))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.cv1(x).chunk(2, 1)
        b = b + self.attn(b)
        b = b + self.ffn(b)
        out: Tensor = self.cv2(torch.cat((a, b), 1))
        return out


@register(conv_like)
class SCDown(nn.Module):
    """A 1×1 convolution, then a depth-wise one at a stride (YOLOv10): (B, c1, H, W) → (B, c2, H/s, W/s)."""

    def __init__(self, c1: int, c2: int, k: int, s: int) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c2, 1, 1)
        self.cv2 = Conv(c2, c2, k=k, s=s, g=c2, act=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cv2(self.cv1(x))
        return out
