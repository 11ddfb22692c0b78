"""Blocks of YOLOv8 and its relatives (YOLOv3 to v10, PP-HGNet, ResNet). Maps are (B, C, H, W)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name
from torch import Tensor, nn

from ultralytics.nn.modules.conv import Conv, DWConv, GhostConv, LightConv, RepConv, Size
from ultralytics.nn.modules.transformer import TransformerBlock
from ultralytics.nn.registry import (
    block_like,
    chosen_sum,
    conv_like,
    halving,
    plain_block,
    register,
    repeated_block,
    repeated_plain_block,
    resnet_layer,
    several_maps,
)
from ultralytics.utils.errors import ModelError
from ultralytics.utils.fold import folded


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
        """The maps that are joined: both halves of the first convolution, then each bottleneck's output."""
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
        """What one of the branches goes through: (B, c, H, W) → the same."""
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


@register(plain_block)
class HGStem(nn.Module):
    """The stem of PP-HGNetV2: (B, c1, H, W) → (B, c2, H/4, W/4)."""

    def __init__(self, c1: int, cm: int, c2: int) -> None:
        super().__init__()
        self.stem1 = Conv(c1, cm, 3, 2, act=nn.ReLU())
        self.stem2a = Conv(cm, cm // 2, 2, 1, 0, act=nn.ReLU())
        self.stem2b = Conv(cm // 2, cm, 2, 1, 0, act=nn.ReLU())
        self.stem3 = Conv(cm * 2, cm, 3, 2, act=nn.ReLU())
        self.stem4 = Conv(cm, c2, 1, 1, act=nn.ReLU())
        self.pool = nn.MaxPool2d(kernel_size=2, stride=1, padding=0, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(self.stem1(x), (0, 1, 0, 1))
        y = self.stem2b(F.pad(self.stem2a(x), (0, 1, 0, 1)))
        out: Tensor = self.stem4(self.stem3(torch.cat((self.pool(x), y), 1)))
        return out


@register(repeated_plain_block)
class HGBlock(nn.Module):
    """`n` convolutions whose outputs are all kept and squeezed (PP-HGNetV2): (B, c1, H, W) → (B, c2, H, W)."""

    def __init__(
        self,
        c1: int,
        cm: int,
        c2: int,
        k: int = 3,
        n: int = 6,
        lightconv: bool = False,
        shortcut: bool = False,
        act: bool | nn.Module | None = None,
    ) -> None:
        super().__init__()
        act = nn.ReLU() if act is None else act
        block = LightConv if lightconv else Conv
        self.m = nn.ModuleList(block(c1 if i == 0 else cm, cm, k=k, act=act) for i in range(n))
        self.sc = Conv(c1 + n * cm, c2 // 2, 1, 1, act=act)
        self.ec = Conv(c2 // 2, c2, 1, 1, act=act)
        self.add = shortcut and c1 == c2

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for block in self.m:
            maps.append(block(maps[-1]))
        out: Tensor = self.ec(self.sc(torch.cat(maps, 1)))
        return x + out if self.add else out


class ResNetBlock(nn.Module):
    """Bottleneck of ResNet (CVPR 2016, fig. 5): (B, c1, H, W) → (B, e·c2, H/s, W/s)."""

    def __init__(self, c1: int, c2: int, s: int = 1, e: int = 4) -> None:
        super().__init__()
        c3 = e * c2
        self.cv1 = Conv(c1, c2, k=1, s=1, act=True)
        self.cv2 = Conv(c2, c2, k=3, s=s, p=1, act=True)
        self.cv3 = Conv(c2, c3, k=1, act=False)
        plain = s == 1 and c1 == c3
        self.shortcut = nn.Identity() if plain else nn.Sequential(Conv(c1, c3, k=1, s=s, act=False))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.cv3(self.cv2(self.cv1(x))) + self.shortcut(x))


@register(resnet_layer)
class ResNetLayer(nn.Module):
    """`n` bottlenecks of ResNet, the first at stride `s`; or with `is_first` its stem, (B, c2, H/4, W/4)."""

    def __init__(self, c1: int, c2: int, s: int = 1, is_first: bool = False, n: int = 1, e: int = 4) -> None:
        super().__init__()
        self.is_first = is_first
        if is_first:
            pool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
            self.layer = nn.Sequential(Conv(c1, c2, k=7, s=2, p=3, act=True), pool)
        else:
            rest = (ResNetBlock(e * c2, c2, 1, e=e) for _ in range(n - 1))
            self.layer = nn.Sequential(ResNetBlock(c1, c2, s, e=e), *rest)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


class RepBottleneck(Bottleneck):
    """Bottleneck that begins with a re-parametrised convolution."""

    def __init__(
        self, c1: int, c2: int, shortcut: bool = True, g: int = 1, k: tuple[Size, Size] = (3, 3), e: float = 0.5
    ) -> None:
        super().__init__(c1, c2, shortcut, g, k, e)
        assert isinstance(k[0], int)
        self.cv1 = RepConv(c1, int(c2 * e), k[0], 1)  # type: ignore[assignment]  # in the place of the plain one


class RepCSP(C3):
    """C3 with bottlenecks that begin with a re-parametrised convolution."""

    def blocks(self, c: int, n: int, shortcut: bool, g: int) -> nn.Module:
        return nn.Sequential(*(RepBottleneck(c, c, shortcut, g, e=1.0) for _ in range(n)))


@register(block_like)
class RepNCSPELAN4(nn.Module):
    """ELAN of two CSP stages (YOLOv9, ECCV 2024): (B, c1, H, W) → (B, c2, H, W)."""

    def __init__(self, c1: int, c2: int, c3: int, c4: int, n: int = 1) -> None:
        super().__init__()
        self.c = c3 // 2
        self.cv1 = Conv(c1, c3, 1, 1)
        self.cv2 = self.stage(c3 // 2, c4, n)
        self.cv3 = self.stage(c4, c4, n)
        self.cv4 = Conv(c3 + 2 * c4, c2, 1, 1)

    def stage(self, c1: int, c2: int, n: int) -> nn.Module:
        """(B, c1, H, W) → (B, c2, H, W)."""
        return nn.Sequential(RepCSP(c1, c2, n), Conv(c2, c2, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        maps = list(self.cv1(x).chunk(2, 1))
        for stage in (self.cv2, self.cv3):
            maps.append(stage(maps[-1]))
        out: Tensor = self.cv4(torch.cat(maps, 1))
        return out


@register(block_like)
class ELAN1(RepNCSPELAN4):
    """ELAN of two plain convolutions: (B, c1, H, W) → (B, c2, H, W)."""

    def __init__(self, c1: int, c2: int, c3: int, c4: int) -> None:
        super().__init__(c1, c2, c3, c4)

    def stage(self, c1: int, c2: int, n: int) -> nn.Module:
        return Conv(c1, c2, 3, 1)


@register(halving)
class AConv(nn.Module):
    """Averages over 2×2, then a 3×3 convolution at stride 2 (YOLOv9): (B, c1, H, W) → (B, c2, H/2, W/2)."""

    def __init__(self, c1: int, c2: int) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c2, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cv1(F.avg_pool2d(x, 2, 1, 0, False, True))
        return out


@register(halving)
class ADown(nn.Module):
    """Averages over 2×2, then one half convolved at stride 2, the other pooled (YOLOv9):
    (B, c1, H, W) → (B, c2, H/2, W/2)."""

    def __init__(self, c1: int, c2: int) -> None:
        super().__init__()
        self.c = c2 // 2
        self.cv1 = Conv(c1 // 2, self.c, 3, 2, 1)
        self.cv2 = Conv(c1 // 2, self.c, 1, 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        a, b = F.avg_pool2d(x, 2, 1, 0, False, True).chunk(2, 1)
        return torch.cat((self.cv1(a), self.cv2(F.max_pool2d(b, 3, 2, 1))), 1)


@register(block_like)
class SPPELAN(nn.Module):
    """Three poolings in a row, all kept (YOLOv9): (B, c1, H, W) → (B, c2, H, W)."""

    def __init__(self, c1: int, c2: int, c3: int, k: int = 5) -> None:
        super().__init__()
        self.c = c3
        self.cv1 = Conv(c1, c3, 1, 1)
        self.cv2, self.cv3, self.cv4 = (nn.MaxPool2d(k, stride=1, padding=k // 2) for _ in range(3))
        self.cv5 = Conv(4 * c3, c2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.cv1(x)]
        for pool in (self.cv2, self.cv3, self.cv4):
            maps.append(pool(maps[-1]))
        out: Tensor = self.cv5(torch.cat(maps, 1))
        return out


@register(several_maps)
class CBLinear(nn.Module):
    """One convolution whose output is taken apart into maps of `c2s` channels (YOLOv9): (B, c1, H, W) → a tuple."""

    def __init__(self, c1: int, c2s: Sequence[int], k: int = 1, s: int = 1, p: int | None = None, g: int = 1) -> None:
        super().__init__()
        self.c2s = list(c2s)
        self.conv = nn.Conv2d(c1, sum(c2s), k, s, k // 2 if p is None else p, groups=g, bias=True)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        out: tuple[Tensor, ...] = self.conv(x).split(self.c2s, 1)
        return out


@register(chosen_sum)
class CBFuse(nn.Module):
    """The sum of the last map and of map `idx[i]` of every other source, resized to it (YOLOv9)."""

    def __init__(self, idx: Sequence[int]) -> None:
        super().__init__()
        self.idx = list(idx)

    def forward(self, xs: list[Tensor | tuple[Tensor, ...]]) -> Tensor:
        last = xs[-1]
        assert isinstance(last, Tensor)
        chosen = (x if isinstance(x, Tensor) else x[i] for x, i in zip(xs, self.idx, strict=False))
        resized = [F.interpolate(x, size=last.shape[2:], mode="nearest") for x in chosen]
        return torch.stack([*resized, last]).sum(0)


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
