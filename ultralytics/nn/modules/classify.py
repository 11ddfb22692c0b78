"""The head that names the class of a whole image. B images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.registry import Built, Row, register
from ultralytics.utils.errors import ModelError

FEATURES = 1280  # channels that are pooled, at every scale


def classify_head(row: Row) -> Built:
    """`[nc, …]`: (c1, nc, …), c1 the channels of all sources together."""
    if any(row.maps):
        raise ModelError("its source gives several maps, which CBFuse alone can read")
    if not row.args and "nc" not in row.kwargs:
        raise ModelError("its first argument is the number of classes", hint="write [nc]")
    return Built([sum(row.channels), *row.args], 0, one_stride=True)


@register(classify_head)
class Classify(nn.Module):
    """YOLOv8's classification head: a convolution, the mean over the map, and a linear layer.

    In training it returns logits (B, nc), in evaluation probabilities (B, nc), which add up to 1; with `raw_too` and
    without `export` both, `(probabilities, logits)`. Several maps of one size are joined by their channels first.

    Args:
        c1: channels that come in.
        nc: classes.
        k, s, p, g: kernel, stride, padding and groups of the convolution.
    """

    export = False
    raw_too = False  # of a validation, whose loss is that of logits
    whole_image = True  # it gives no boxes: there is nothing to place in the image
    class_branch: ClassVar[tuple[str, ...]] = ("linear",)  # its tensors' shapes follow nc

    def __init__(self, c1: int, nc: int, k: int = 1, s: int = 1, p: int | None = None, g: int = 1) -> None:
        super().__init__()
        self.nc = nc
        self.conv = Conv(c1, FEATURES, k, s, p, g)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.0)
        self.linear = nn.Linear(FEATURES, nc)

    @property
    def stride(self) -> Tensor:
        """Return (1,): images of any size are taken."""
        return torch.ones(1)

    def forward(self, x: Tensor | Sequence[Tensor]) -> Tensor | tuple[Tensor, Tensor]:
        joined = x if isinstance(x, Tensor) else torch.cat(list(x), 1)
        logits: Tensor = self.linear(self.drop(self.pool(self.conv(joined)).flatten(1)))
        if self.training:
            return logits
        y = logits.float().softmax(1).to(logits.dtype)
        return (y, logits) if self.raw_too and not self.export else y
