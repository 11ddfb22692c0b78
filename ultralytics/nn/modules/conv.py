"""Convolutions of YOLOv8 and its relatives, and the attention of CBAM. Maps are (B, C, H, W)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ultralytics.nn.registry import concat_of_one_stride, conv_like, focus_like, register, transposed
from ultralytics.utils.errors import ModelError
from ultralytics.utils.fold import folded

Size = int | tuple[int, int]  # one number, or one per axis


def autopad(k: Size, p: Size | None = None, d: int = 1) -> Any:
    """Padding that keeps the size at stride 1, for kernel `k` and dilation `d`, unless `p` is given."""
    if p is not None:
        return p
    return (d * (k - 1) + 1) // 2 if isinstance(k, int) else tuple((d * (n - 1) + 1) // 2 for n in k)


def _activation(act: bool | nn.Module, default: nn.Module) -> nn.Module:
    """Choose the default one for True, a module as it is, none for anything else."""
    return default if act is True else act if isinstance(act, nn.Module) else nn.Identity()


@register(conv_like)
class Conv(nn.Module):
    """Convolution without bias, batch norm, activation: (B, c1, H, W) → (B, c2, H/s, W/s)."""

    # One shared instance: `modules()` sees one activation in the whole network, as the reference's layer counts expect.
    # Not in place: autograd would copy what it overwrites.
    default_act: ClassVar[nn.Module] = nn.SiLU()

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
        self.act = _activation(act, self.default_act)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out

    def forward_fuse(self, x: Tensor) -> Tensor:
        """Convolution and activation without the batch norm, as subclasses written for the reference call it."""
        out: Tensor = self.act(self.conv(x))
        return out

    @torch.no_grad()
    def fuse(self) -> None:
        """Fold the batch norm's running statistics into the convolution (inference only);
        a second call does nothing."""
        if not isinstance(self.bn, nn.BatchNorm2d):
            return
        weight, bias = folded(self.conv.weight, self.bn)
        self.conv.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), requires_grad=False)
        self.conv.bias = nn.Parameter(bias, requires_grad=False)
        self.bn = nn.Identity()


@register(conv_like)
class Conv2(Conv):
    """A k×k convolution with a 1×1 one beside it; fusing makes one of both: (B, c1, H, W) → (B, c2, H/s, W/s)."""

    def __init__(
        self,
        c1: int,
        c2: int,
        k: Size = 3,
        s: Size = 1,
        p: Size | None = None,
        g: int = 1,
        d: int = 1,
        act: bool | nn.Module = True,
    ) -> None:
        super().__init__(c1, c2, k, s, p, g=g, d=d, act=act)
        self.cv2: nn.Module | None = nn.Conv2d(c1, c2, 1, s, autopad(1, p, d), groups=g, dilation=d, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        out: Tensor = self.act(self.bn(y if self.cv2 is None else y + self.cv2(x)))
        return out

    @torch.no_grad()
    def fuse_convs(self) -> None:
        """Add the 1×1 kernel to the middle of the other; a second call does nothing."""
        if self.cv2 is not None:
            h, w = (n // 2 for n in self.conv.weight.shape[2:])
            point = self.cv2.weight
            assert isinstance(point, Tensor)
            self.conv.weight.data[:, :, h : h + 1, w : w + 1] += point
            self.cv2 = None

    def fuse(self) -> None:
        """Make one convolution of both and the batch norm."""
        self.fuse_convs()
        super().fuse()


@register(conv_like)
class DWConv(Conv):
    """Depth-wise convolution: as many groups as the two channel counts share."""

    def __init__(self, c1: int, c2: int, k: Size = 1, s: Size = 1, d: int = 1, act: bool | nn.Module = True) -> None:
        super().__init__(c1, c2, k, s, g=math.gcd(c1, c2), d=d, act=act)


@register(conv_like)
class LightConv(nn.Module):
    """A 1×1 convolution without activation, then a depth-wise k×k one (PP-HGNetV2): (B, c1, H, W) → (B, c2, H, W)."""

    def __init__(self, c1: int, c2: int, k: Size = 1, act: bool | nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = Conv(c1, c2, 1, act=False)
        self.conv2 = DWConv(c2, c2, k, act=nn.ReLU() if act is None else act)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(self.conv1(x))
        return out


@register(transposed)
class DWConvTranspose2d(nn.ConvTranspose2d):
    """Depth-wise transposed convolution, `p1` and `p2` its padding and output padding."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, p1: int = 0, p2: int = 0) -> None:
        super().__init__(c1, c2, k, s, p1, p2, groups=math.gcd(c1, c2))


@register(transposed)
class ConvTranspose(nn.Module):
    """Transposed convolution, batch norm (with a bias instead where `bn` is False), activation:
    (B, c1, H, W) → (B, c2, s·H, s·W) for k = s."""

    default_act: ClassVar[nn.Module] = nn.SiLU()  # its own, as the reference's layer counts expect

    def __init__(
        self, c1: int, c2: int, k: int = 2, s: int = 2, p: int = 0, bn: bool = True, act: bool | nn.Module = True
    ) -> None:
        super().__init__()
        self.conv_transpose = nn.ConvTranspose2d(c1, c2, k, s, p, bias=not bn)
        self.bn: nn.Module = nn.BatchNorm2d(c2, eps=1e-3, momentum=0.03) if bn else nn.Identity()
        self.act = _activation(act, self.default_act)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.bn(self.conv_transpose(x)))
        return out

    def forward_fuse(self, x: Tensor) -> Tensor:
        """Without the batch norm."""
        out: Tensor = self.act(self.conv_transpose(x))
        return out

    @torch.no_grad()
    def fuse(self) -> None:
        """Fold the batch norm into the convolution (inference only); a second call does nothing."""
        if not isinstance(self.bn, nn.BatchNorm2d):
            return
        conv = self.conv_transpose
        weight, bias = folded(conv.weight, self.bn, conv.bias, transposed=True)
        conv.weight = nn.Parameter(weight, requires_grad=False)
        conv.bias = nn.Parameter(bias, requires_grad=False)
        self.bn = nn.Identity()


@register(focus_like)
class Focus(nn.Module):
    """Every second pixel of both axes side by side as channels, then a convolution (YOLOv5):
    (B, c1, H, W) → (B, c2, H/2s, W/2s)."""

    def __init__(
        self,
        c1: int,
        c2: int,
        k: Size = 1,
        s: Size = 1,
        p: Size | None = None,
        g: int = 1,
        act: bool | nn.Module = True,
    ) -> None:
        super().__init__()
        self.conv = Conv(c1 * 4, c2, k, s, p, g, act=act)

    def forward(self, x: Tensor) -> Tensor:
        quarters = [x[..., dy::2, dx::2] for dx in (0, 1) for dy in (0, 1)]
        out: Tensor = self.conv(torch.cat(quarters, 1))
        return out


@register(conv_like)
class GhostConv(nn.Module):
    """Half of the channels by a k×k convolution, the other half from those by a cheap depth-wise 5×5 one (GhostNet,
    CVPR 2020, §3.1): (B, c1, H, W) → (B, c2, H/s, W/s)."""

    def __init__(self, c1: int, c2: int, k: Size = 1, s: Size = 1, g: int = 1, act: bool | nn.Module = True) -> None:
        super().__init__()
        hidden = c2 // 2
        self.cv1 = Conv(c1, hidden, k, s, None, g, act=act)
        self.cv2 = Conv(hidden, hidden, 5, 1, None, hidden, act=act)

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv1(x)
        return torch.cat((y, self.cv2(y)), 1)


@register(conv_like)
class RepConv(nn.Module):
    """A 3×3 and a 1×1 convolution, and with `bn` the map itself, each with a batch norm, added up; fusing makes one
    3×3 convolution of them (RepVGG, CVPR 2021, §3.3): (B, c1, H, W) → (B, c2, H/s, W/s)."""

    default_act: ClassVar[nn.Module] = nn.SiLU()  # its own, as the reference's layer counts expect

    def __init__(
        self,
        c1: int,
        c2: int,
        k: int = 3,
        s: int = 1,
        p: int = 1,
        g: int = 1,
        d: int = 1,
        act: bool | nn.Module = True,
        bn: bool = False,
        deploy: bool = False,  # as in the reference without effect: `fuse` makes the one convolution
    ) -> None:
        super().__init__()
        if k != 3 or p != 1:
            raise ModelError(f"its kernel is 3 with a padding of 1, not {k} with {p}")
        self.g, self.c1, self.c2 = g, c1, c2
        self.act = _activation(act, self.default_act)
        self.bn = nn.BatchNorm2d(c1, eps=1e-3, momentum=0.03) if bn and c2 == c1 and s == 1 else None
        self.conv1 = Conv(c1, c2, k, s, p=p, g=g, act=False)
        self.conv2 = Conv(c1, c2, 1, s, p=p - k // 2, g=g, act=False)

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "conv"):
            return self.forward_fuse(x)
        y = self.conv1(x) + self.conv2(x)
        out: Tensor = self.act(y if self.bn is None else y + self.bn(x))
        return out

    def forward_fuse(self, x: Tensor) -> Tensor:
        """With the one convolution that fusing makes."""
        out: Tensor = self.act(self.conv(x))
        return out

    @torch.no_grad()
    def get_equivalent_kernel_bias(self) -> tuple[Tensor, Tensor]:
        """Kernel (c2, c1/g, 3, 3) and bias (c2,) that give the sum of the branches."""
        kernel, bias = folded(self.conv1.conv.weight, self.conv1.bn)
        point, more = folded(self.conv2.conv.weight, self.conv2.bn)
        kernel[:, :, 1:2, 1:2] += point
        bias = bias + more
        if self.bn is not None:
            per = self.c1 // self.g
            same = torch.zeros_like(kernel)
            rows = torch.arange(self.c1, device=kernel.device)
            same[rows, rows % per, 1, 1] = 1
            same, more = folded(same, self.bn)
            kernel, bias = kernel + same, bias + more
        return kernel, bias

    @torch.no_grad()
    def fuse_convs(self) -> None:
        """Make one convolution of the branches (inference only); a second call does nothing."""
        if hasattr(self, "conv"):
            return
        kernel, bias = self.get_equivalent_kernel_bias()
        old = self.conv1.conv
        self.conv = nn.Conv2d(self.c1, self.c2, 3, old.stride[0], 1, groups=self.g, bias=True)
        self.conv.weight = nn.Parameter(kernel.contiguous(memory_format=torch.channels_last), requires_grad=False)
        self.conv.bias = nn.Parameter(bias, requires_grad=False)
        for name in ("conv1", "conv2", "bn"):
            delattr(self, name)

    def fuse(self) -> None:
        """As `fuse_convs`."""
        self.fuse_convs()


class ChannelAttention(nn.Module):
    """x · σ(W · mean(x) + b): one number per channel; (B, C, H, W) → the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Conv2d(channels, channels, 1, 1, 0, bias=True)
        self.act = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x * self.act(self.fc(self.pool(x)))
        return out


class SpatialAttention(nn.Module):
    """x · σ(conv[mean over channels, largest channel]): one number per place (CBAM, ECCV 2018, eq. 3);
    (B, C, H, W) → the same.

    Args:
        kernel_size: 3 or 7.
    """

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        if kernel_size not in (3, 7):
            raise ModelError(f"its kernel is 3 or 7, not {kernel_size}")
        self.cv1 = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.act = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), 1)
        out: Tensor = x * self.act(self.cv1(both))
        return out


class CBAM(nn.Module):
    """Channel attention, then spatial attention (CBAM, ECCV 2018): (B, C, H, W) → the same."""

    def __init__(self, c1: int, kernel_size: int = 7) -> None:
        super().__init__()
        self.channel_attention = ChannelAttention(c1)
        self.spatial_attention = SpatialAttention(kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.spatial_attention(self.channel_attention(x))
        return out


@register(concat_of_one_stride)
class Concat(nn.Module):
    """Join maps along one dimension (channels by default)."""

    def __init__(self, dimension: int = 1) -> None:
        super().__init__()
        self.d = dimension

    def forward(self, x: list[Tensor]) -> Tensor:
        return torch.cat(x, self.d)
