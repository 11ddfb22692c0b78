"""Blocks of YOLOv3 to YOLOv8, and detection's integral over bins. Maps are (B, C, H, W)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ultralytics.nn.modules.conv import Conv, DWConv, GhostConv, RepConv, Size
from ultralytics.nn.modules.transformer import TransformerBlock
from ultralytics.nn.registry import block_like, conv_like, register, repeated_block
from ultralytics.utils.errors import ModelError


class DFL(nn.Module):
    """Distribution focal loss' integral: the mean of a softmax over `c1` bins (Generalized Focal Loss, eq. 6).

    The bins' values sit in a frozen convolution, so that state dicts keep the key `dfl.conv.weight`.
    """

    def __init__(self, c1: int = 16) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c1, 1, 1, bias=False).requires_grad_(False)
        self.conv.weight.data[:] = torch.arange(c1, dtype=torch.float).view(1, c1, 1, 1)
        self.c1 = c1

    def forward(self, x: Tensor) -> Tensor:
        """(B, 4·c1, A) logits → (B, 4, A) distances in bins."""
        B, _, A = x.shape
        bins = x.view(B, 4, self.c1, A).softmax(2)
        return torch.einsum("bkca,c->bka", bins, self.conv.weight.view(-1).to(bins.dtype))


@register(block_like)
class Bottleneck(nn.Module):
    """Two convolutions with a residual where the channels agree: (B, c1, H, W) → (B, c2, H, W)."""

    def __init__(
        self, c1: int, c2: int, shortcut: bool = True, g: int = 1, k: tuple[Size, Size] = (3, 3), e: float = 0.5
    ) -> None:
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, hidden, k[0], 1)
        self.cv2 = Conv(hidden, c2, k[1], 1, g=g)
        self.add = shortcut and c1 == c2

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cv2(self.cv1(x))
        return x + out if self.add else out


@register(repeated_block)
class C2f(nn.Module):
    """CSP block with `n` bottlenecks whose outputs are all kept: (B, c1, H, W) → (B, c2, H, W)."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = False, g: int = 1, e: float = 0.5) -> None:
        super().__init__()
        self.c = int(c2 * e)
        self.cv1 = Conv(c1, 2 * self.c, 1, 1)
        self.cv2 = Conv((2 + n) * self.c, c2, 1)
        self.m = nn.ModuleList(Bottleneck(self.c, self.c, shortcut, g, k=(3, 3), e=1.0) for _ in range(n))

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the maps that are joined: both halves of the first convolution, then each bottleneck's output."""
        maps = list(self.cv1(x).chunk(2, 1))
        for block in self.m:
            maps.append(block(maps[-1]))
        return maps

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cv2(torch.cat(self.maps(x), 1))
        return out


@register(block_like)
class SPPF(nn.Module):
    """Spatial pyramid pooling by three poolings in a row: (B, c1, H, W) → (B, c2, H, W)."""

    def __init__(self, c1: int, c2: int, k: int = 5) -> None:
        super().__init__()
        if type(k) is not int or k < 1 or k % 2 == 0:
            raise ModelError(f"its pooling kernel must be odd, not {k}: an even one changes the map's size")
        hidden = c1 // 2
        self.cv1 = Conv(c1, hidden, 1, 1)
        self.cv2 = Conv(hidden * 4, c2, 1, 1)
        self.m = nn.MaxPool2d(k, stride=1, padding=k // 2)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.cv1(x)]
        for _ in range(3):
            maps.append(self.m(maps[-1]))
        out: Tensor = self.cv2(torch.cat(maps, 1))
        return out


@register(block_like)
class SPP(nn.Module):
    """Spatial pyramid pooling with kernels side by side (YOLOv3-SPP): (B, c1, H, W) → (B, c2, H, W)."""

    def __init__(self, c1: int, c2: int, k: Sequence[int] = (5, 9, 13)) -> None:
        super().__init__()
        if not isinstance(k, Sequence) or not all(type(n) is int and n % 2 == 1 for n in k):
            raise ModelError(f"its pooling kernels are a list of odd numbers, not {k!r}")
        hidden = c1 // 2
        self.cv1 = Conv(c1, hidden, 1, 1)
        self.cv2 = Conv(hidden * (len(k) + 1), c2, 1, 1)
        self.m = nn.ModuleList(nn.MaxPool2d(n, stride=1, padding=n // 2) for n in k)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cv1(x)
        out: Tensor = self.cv2(torch.cat([x, *(pool(x) for pool in self.m)], 1))
        return out


@register(repeated_block)
class C1(nn.Module):
    """One branch of `n` 3×3 convolutions with a residual: (B, c1, H, W) → (B, c2, H, W)."""

    def __init__(self, c1: int, c2: int, n: int = 1) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c2, 1, 1)
        self.m = nn.Sequential(*(Conv(c2, c2, 3) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv1(x)
        out: Tensor = self.m(y) + y
        return out


@register(repeated_block)
class C2(nn.Module):
    """CSP block of two convolutions: one half through `n` bottlenecks, both joined: (B, c1, H, W) → (B, c2, H, W)."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5) -> None:
        super().__init__()
        self.c = int(c2 * e)
        self.cv1 = Conv(c1, 2 * self.c, 1, 1)
        self.cv2 = Conv(2 * self.c, c2, 1)
        self.m = nn.Sequential(*(Bottleneck(self.c, self.c, shortcut, g, k=(3, 3), e=1.0) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.cv1(x).chunk(2, 1)
        out: Tensor = self.cv2(torch.cat((self.m(a), b), 1))
        return out


@register(repeated_block)
class C3(nn.Module):
    """CSP block of three convolutions (YOLOv5): (B, c1, H, W) → (B, c2, H, W). Relatives differ in `blocks` alone."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5) -> None:
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, hidden, 1, 1)
        self.cv2 = Conv(c1, hidden, 1, 1)
        self.cv3 = Conv(2 * hidden, c2, 1)
        self.m = self.blocks(hidden, n, shortcut, g)

    def blocks(self, c: int, n: int, shortcut: bool, g: int) -> nn.Module:
        """Build one of the branches: (B, c, H, W) → the same."""
        return nn.Sequential(*(Bottleneck(c, c, shortcut, g, k=((1, 1), (3, 3)), e=1.0) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))
        return out


@register(repeated_block)
class C3x(C3):
    """C3 with kernels of 1×3 and 3×1."""

    def blocks(self, c: int, n: int, shortcut: bool, g: int) -> nn.Module:
        self.c_ = c
        return nn.Sequential(*(Bottleneck(c, c, shortcut, g, k=((1, 3), (3, 1)), e=1.0) for _ in range(n)))


@register(repeated_block)
class C3TR(C3):
    """C3 with a transformer of `n` layers in the place of the bottlenecks."""

    def blocks(self, c: int, n: int, shortcut: bool, g: int) -> nn.Module:
        return TransformerBlock(c, c, 4, n)


@register(repeated_block)
class C3Ghost(C3):
    """C3 with ghost bottlenecks."""

    def blocks(self, c: int, n: int, shortcut: bool, g: int) -> nn.Module:
        return nn.Sequential(*(GhostBottleneck(c, c) for _ in range(n)))


@register(repeated_block)
class RepC3(nn.Module):
    """Two 1×1 convolutions, `n` re-parametrised ones behind the first, added up: (B, c1, H, W) → (B, c2, H, W)."""

    def __init__(self, c1: int, c2: int, n: int = 3, e: float = 1.0) -> None:
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, c2, 1, 1)
        self.cv2 = Conv(c1, c2, 1, 1)
        self.m = nn.Sequential(*(RepConv(hidden, hidden) for _ in range(n)))
        self.cv3 = Conv(hidden, c2, 1, 1) if hidden != c2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cv3(self.m(self.cv1(x)) + self.cv2(x))
        return out


@register(conv_like)
class GhostBottleneck(nn.Module):
    """Two ghost convolutions with a residual, at stride 2 a depth-wise one between them (GhostNet, §3.2):
    (B, c1, H, W) → (B, c2, H/s, W/s)."""

    def __init__(self, c1: int, c2: int, k: Size = 3, s: int = 1) -> None:
        super().__init__()
        hidden = c2 // 2
        self.conv = nn.Sequential(
            GhostConv(c1, hidden, 1, 1),
            DWConv(hidden, hidden, k, s, act=False) if s == 2 else nn.Identity(),
            GhostConv(hidden, c2, 1, 1, act=False),
        )
        down = (DWConv(c1, c1, k, s, act=False), Conv(c1, c2, 1, 1, act=False)) if s == 2 else ()
        self.shortcut = nn.Sequential(*down) if down else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x) + self.shortcut(x)
        return out


@register(repeated_block)
class BottleneckCSP(nn.Module):
    """CSP bottleneck with plain convolutions beside it and one batch norm for both (CSPNet, 2019):
    (B, c1, H, W) → (B, c2, H, W)."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5) -> None:
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, hidden, 1, 1)
        self.cv2 = nn.Conv2d(c1, hidden, 1, 1, bias=False)
        self.cv3 = nn.Conv2d(hidden, hidden, 1, 1, bias=False)
        self.cv4 = Conv(2 * hidden, c2, 1, 1)
        self.bn = nn.BatchNorm2d(2 * hidden, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU()
        self.m = nn.Sequential(*(Bottleneck(hidden, hidden, shortcut, g, e=1.0) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat((self.cv3(self.m(self.cv1(x))), self.cv2(x)), 1)
        out: Tensor = self.cv4(self.act(self.bn(both)))
        return out


class Proto(nn.Module):
    """Mask prototypes of YOLACT: (B, c1, H, W) → (B, c2, 2H, 2W)."""

    def __init__(self, c1: int, c_: int = 256, c2: int = 32) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c_, k=3)
        self.upsample = nn.ConvTranspose2d(c_, c_, 2, 2, 0, bias=True)
        self.cv2 = Conv(c_, c_, k=3)
        self.cv3 = Conv(c_, c2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cv3(self.cv2(self.upsample(self.cv1(x))))
        return out
