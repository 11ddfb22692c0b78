"""Convolutions of YOLOv8. Maps are (B, C, H, W)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ultralytics.nn.registry import concat, conv_like, register

Size = int | tuple[int, int]  # one number, or one per axis


def autopad(k: Size, p: Size | None = None, d: int = 1) -> Any:
    """Padding that keeps the size at stride 1, for kernel `k` and dilation `d`, unless `p` is given."""
    if p is not None:
        return p
    return (d * (k - 1) + 1) // 2 if isinstance(k, int) else tuple((d * (n - 1) + 1) // 2 for n in k)


@register(conv_like)
class Conv(nn.Module):
    """Convolution without bias, batch norm, activation: (B, c1, H, W) → (B, c2, H/s, W/s)."""

    # One shared instance: `modules()` sees one activation in the whole network, as the reference's layer counts expect.
    default_act: ClassVar[nn.Module] = nn.SiLU(inplace=True)

    def __init__(
        self,
        c1: int,
        c2: int,
        k: Size = 1,
        s: Size = 1,
        p: Size | None = None,
        g: int = 1,
        d: int = 1,
        act: bool | nn.Module = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, autopad(k, p, d), dilation=d, groups=g, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(c2, eps=1e-3, momentum=0.03)
        self.act: nn.Module = self.default_act if act is True else act if isinstance(act, nn.Module) else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out

    @torch.no_grad()
    def fuse(self) -> None:
        """Fold the batch norm's running statistics into the convolution (inference only);
        a second call does nothing."""
        if not isinstance(self.bn, nn.BatchNorm2d):
            return
        conv, bn = self.conv, self.bn
        assert bn.running_var is not None
        assert bn.running_mean is not None
        gain = bn.weight / torch.sqrt(bn.running_var + bn.eps)
        weight = (conv.weight * gain.view(-1, 1, 1, 1)).contiguous(memory_format=torch.channels_last)
        conv.weight = nn.Parameter(weight, requires_grad=False)
        conv.bias = nn.Parameter(bn.bias - bn.running_mean * gain, requires_grad=False)
        self.bn = nn.Identity()


@register(conv_like)
class DWConv(Conv):
    """Depth-wise convolution: as many groups as the two channel counts share."""

    def __init__(self, c1: int, c2: int, k: Size = 1, s: Size = 1, d: int = 1, act: bool | nn.Module = True) -> None:
        super().__init__(c1, c2, k, s, g=math.gcd(c1, c2), d=d, act=act)


@register(concat)
class Concat(nn.Module):
    """Join maps along one dimension (channels by default)."""

    def __init__(self, dimension: int = 1) -> None:
        super().__init__()
        self.d = dimension

    def forward(self, x: list[Tensor]) -> Tensor:
        return torch.cat(x, self.d)
