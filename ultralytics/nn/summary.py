"""Sizes of a network: layers, parameters, operations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.nn.modules.block import DFL

PROBE = 32  # pixels of the reference's probe


def summarise(model: nn.Module, imgsz: int = 640) -> dict[str, float]:
    """Layers, parameters, gradients (trainable parameters) and GFLOPs, in the reference's convention.

    GFLOPs are 2 × multiply-adds of convolutions and linear layers plus 4 per element and batch norm, measured on a
    32-pixel image and scaled by the area. Matrix products inside attention are not in that convention.
    """
    return {
        "layers": len(list(model.modules())),
        "parameters": sum(p.numel() for p in model.parameters()),
        "gradients": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "gflops": 2 * multiply_adds(model, PROBE) / 1e9 * (imgsz / PROBE) ** 2,
    }


@torch.no_grad()
def multiply_adds(model: nn.Module, size: int) -> float:
    """Multiply-adds of the layers the reference counts, for one size×size image."""
    total = 0.0

    def count(module: nn.Module, inputs: tuple[Any, ...], out: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            kernel = module.kernel_size[0] * module.kernel_size[1]
            total += out.numel() * (module.in_channels // module.groups) * kernel
        elif isinstance(module, nn.Linear):
            total += out.numel() * module.in_features
        elif isinstance(module, nn.BatchNorm2d):
            total += 4 * inputs[0].numel() / (2 if not module.affine else 1)
        elif isinstance(module, DFL):  # its convolution is computed as a product
            total += out.numel() * module.c1

    counted = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, DFL)
    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, counted)]
    training = model.training
    parameter = next(model.parameters())
    try:
        model.eval()
        model(
            torch.zeros(
                1,
                getattr(getattr(model, "spec", None), "ch", 3),
                size,
                size,
                device=parameter.device,
                dtype=parameter.dtype,
            )
        )
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return total
