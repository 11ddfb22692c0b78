"""Blocks of YOLOv9 (ELAN, reversible branches). Maps are (B, C, H, W)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name
from torch import Tensor, nn

from ultralytics.nn.modules.conv import Conv, RepConv, Size
from ultralytics.nn.modules.csp import C3, Bottleneck
from ultralytics.nn.registry import block_like, chosen_sum, halving, register, several_maps


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
        return reduce(torch.add, [*resized, last])  # a stack would be summed over what ncnn takes for its batch
