"""A batch norm folded into the convolution before it, for inference."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def folded(
    weight: Tensor, bn: nn.Module, bias: Tensor | None = None, transposed: bool = False, groups: int = 1
) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that a batch norm follows, with its running statistics folded in.

    Args:
        weight, bias, groups: of the convolution; transposed: its weight is (in, out / groups, …), else (out, …).
    """
    assert isinstance(bn, nn.BatchNorm2d)
    assert bn.running_var is not None
    assert bn.running_mean is not None
    gain = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    mean = bn.running_mean if bias is None else bn.running_mean - bias
    if transposed:  # each group's inputs with its own outputs
        parts = weight.view(groups, -1, *weight.shape[1:]) * gain.view(groups, 1, -1, 1, 1)
        return parts.view_as(weight), bn.bias - mean * gain
    return weight * gain.view(-1, 1, 1, 1), bn.bias - mean * gain
