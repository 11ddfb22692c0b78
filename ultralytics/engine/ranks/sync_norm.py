"""Batch norm over all ranks."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ultralytics.engine.ranks.collective import exchange


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        total = x.clone()
        exchange(dist.all_reduce, total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].contiguous().clone()
        exchange(dist.all_reduce, total, group=ctx.group)
        return total, None


class SyncBatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics in training are those of all ranks' images; torch's own needs a GPU."""

    group: Any = None

    def forward(self, input: Tensor) -> Tensor:  # torch's name
        """(B, C, H, W) → the same."""
        if not self.training:
            return super().forward(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        count = x.new_full((1,), float(x.numel() // x.shape[1]))
        total = _SumOverRanks.apply(torch.cat([x.sum((0, 2, 3)), count]), self.group)  # type: ignore[no-untyped-call]
        n, mean = total[-1].detach(), total[:-1] / total[-1].detach()
        centred = x - mean.view(1, -1, 1, 1)
        var = _SumOverRanks.apply(centred.square().sum((0, 2, 3)), self.group) / n  # type: ignore[no-untyped-call]
        if self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                assert self.momentum is not None
                self.running_mean.lerp_(mean.detach(), self.momentum)
                self.running_var.lerp_(var.detach() * (n / (n - 1).clamp(min=1)), self.momentum)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked += 1
        y = centred * (var + self.eps).rsqrt().view(1, -1, 1, 1)
        if self.affine:
            y = y * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return cast(Tensor, y.to(input.dtype))


def synchronise_norms(model: nn.Module, group: Any) -> int:
    """Let the batch norms of a model see the images of all ranks of a group; return how many there are.

    Parameters, buffers and their names stay.
    """
    if next(model.parameters()).device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model, group)  # type: ignore[no-untyped-call]  # torch's own
        return sum(isinstance(m, nn.SyncBatchNorm) for m in model.modules())
    count = 0
    for m in model.modules():
        if type(m) is nn.BatchNorm2d:
            m.__class__ = SyncBatchNorm  # the same object, so optimiser, freezing and hooks keep theirs
            cast(SyncBatchNorm, m).group = group
            count += 1
    return count


def moving_statistics(model: nn.Module) -> list[Tensor]:
    """Return running means and variances that this rank's own images move."""
    return [
        b
        for m in model.modules()
        if isinstance(m, _BatchNorm) and not isinstance(m, nn.SyncBatchNorm | SyncBatchNorm) and m.training
        for b in (m.running_mean, m.running_var)
        if b is not None
    ]
