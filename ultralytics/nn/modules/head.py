"""The detection head. B images, A anchors of all levels, R = reg_max bins per side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ultralytics.nn.modules.block import DFL
from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.registry import detect_head, register
from ultralytics.utils.tal import dist2bbox, make_anchors


@register(detect_head)
class Detect(nn.Module):
    """YOLOv8's anchor-free, decoupled head.

    In training it returns the raw maps, a list of (B, 4·R + nc, h, w); in evaluation `(y, raw)` with y (B, 4 + nc, A):
    boxes as centre, width and height in input pixels, then class scores 0..1. With `export` only y.

    Args:
        nc: classes.
        ch: channels of each source map, finest first.
    """

    export = False
    class_branch: ClassVar[str] = "cv3"  # its tensors' shapes follow nc

    def __init__(self, nc: int = 80, ch: Sequence[int] = ()) -> None:
        super().__init__()
        self.nc = nc
        self.nl = len(ch)
        self.reg_max = 16
        self.no = nc + 4 * self.reg_max
        self.stride = torch.zeros(self.nl)
        c2 = max(16, ch[0] // 4, 4 * self.reg_max)
        c3 = max(ch[0], min(nc, 100))
        self.cv2 = nn.ModuleList(
            nn.Sequential(Conv(c, c2, 3), Conv(c2, c2, 3), nn.Conv2d(c2, 4 * self.reg_max, 1)) for c in ch
        )
        self.cv3 = nn.ModuleList(nn.Sequential(Conv(c, c3, 3), Conv(c3, c3, 3), nn.Conv2d(c3, nc, 1)) for c in ch)
        self.dfl = DFL(self.reg_max)

    def forward(self, x: list[Tensor]) -> list[Tensor] | Tensor | tuple[Tensor, list[Tensor]]:
        raw = [torch.cat((box(m), score(m)), 1) for m, box, score in zip(x, self.cv2, self.cv3, strict=True)]
        if self.training:
            return raw
        y = self.decode(raw)
        return y if self.export else (y, raw)

    def decode(self, raw: list[Tensor]) -> Tensor:
        """Raw maps → (B, 4 + nc, A), in fp32 at least: half types cannot hold a pixel position in a large image."""
        flat = torch.cat([m.flatten(2) for m in raw], 2)
        flat = flat.to(torch.promote_types(flat.dtype, torch.float32))
        anchors, strides = make_anchors([m.to(flat.dtype) for m in raw], self.stride)
        box, score = flat.tensor_split([4 * self.reg_max], 1)
        boxes = dist2bbox(self.dfl(box), anchors.t().unsqueeze(0), xywh=True, dim=1) * strides.t()
        return torch.cat((boxes, score.sigmoid()), 1)

    @torch.no_grad()
    def bias_init(self) -> None:
        """Start the class scores at the odds of 5 objects in a 640-pixel image. Needs the strides."""
        for box, score, stride in zip(self.cv2, self.cv3, self.stride.tolist(), strict=True):
            box[-1].bias.fill_(1.0)  # type: ignore[index]  # a convolution, by construction
            score[-1].bias[: self.nc] = math.log(5 / self.nc / (640 / stride) ** 2)  # type: ignore[index]  # a convolution, by construction
