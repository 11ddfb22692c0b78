"""Blocks of other backbones: PP-HGNetV2 and ResNet. Maps are (B, C, H, W)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name
from torch import Tensor, nn

from ultralytics.nn.modules.conv import Conv, LightConv
from ultralytics.nn.registry import plain_block, register, repeated_plain_block, resnet_layer


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
