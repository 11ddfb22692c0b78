"""Blocks of YOLOv8. Maps are (B, C, H, W)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ultralytics.nn.modules.conv import Conv, Size
from ultralytics.nn.registry import block_like, register, repeated_block
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
