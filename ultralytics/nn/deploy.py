"""A network as what an exported file holds: images in, tensors out, nothing that depends on their size."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.nn.backend import inference_copy

LARGEST = 8192  # the side in pixels and the number of images that a dynamic file is checked up to


class Deployed(nn.Module):
    """A fused copy of a network on the CPU, in evaluation, whose head gives one tensor; it has no Python left to run.

    Args:
        model: it is copied, not changed.
        finish: a module behind it, which takes the head's output: suppression.

    Attributes:
        every_row: give the outputs of all rows that are one tensor instead, to find the row at which two differ.
    """

    network: Any
    every_row = False

    def __init__(self, model: nn.Module, finish: nn.Module | None = None) -> None:
        super().__init__()
        copied: Any = inference_copy(model, torch.device("cpu"))
        copied.names_rows = False
        copied.model[-1].export = True
        self.network = copied
        self.finish = finish
        self.stride = int(copied.stride.max())
        self.eval()

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Compute the output (B, 4 + nc, A), or what `finish` makes of it, for images (B, 3, H, W), RGB 0..1."""
        if self.every_row:
            return tuple(self._rows(images).values())
        y: Tensor = self.network(images)
        return y if self.finish is None else self.finish(y)

    def _rows(self, images: Tensor) -> dict[int, Tensor]:
        found: dict[int, Tensor] = {}

        def keep(row: Any, _: Any, out: Any) -> None:
            if isinstance(out, Tensor):
                found[row.i] = out

        hooks = [row.register_forward_hook(keep) for row in self.network.model]
        try:
            self.network(images)
        finally:
            for hook in hooks:
                hook.remove()
        return found

    def rows(self, images: Tensor) -> list[tuple[str, Tensor]]:
        """Return what `every_row` gives for images, each with the row's place in its YAML."""
        spec = self.network.spec.rows
        return [(spec[i].where or f"row {i} ({spec[i].module})", out) for i, out in self._rows(images).items()]


def program(module: Deployed, images: Tensor, dynamic: bool) -> torch.export.ExportedProgram:
    """Return the operations of a network as torch.export records them.

    Args:
        module: what is recorded.
        images: an example; with `dynamic` no side of it may be special: see `example`.
        dynamic: leave the number of images, and heights and widths that are multiples of the stride, free.
    """
    free: Any = None
    if dynamic:
        step, most = module.stride, LARGEST
        sides = {i: step * torch.export.Dim(name, min=1, max=most // step) for i, name in ((2, "height"), (3, "width"))}
        free = ({0: torch.export.Dim("batch", min=1, max=most), **sides},)
    with torch.no_grad():
        return torch.export.export(module, (images,), dynamic_shapes=free)


def default_layout(module: Deployed) -> Deployed:
    """Return a copy whose weights lie in torch's default layout, for converters that take no other."""
    copied: Any = copy.deepcopy(module)
    found: Deployed = copied.to(memory_format=torch.contiguous_format)
    return found


def example(shape: tuple[int, int, int, int], dynamic: bool, stride: int) -> Tensor:
    """Return images to record a network with: of a dynamic one two, as of one image torch.export takes the number for
    granted, and of two different sides."""
    batch, channels, height, width = shape
    if dynamic:
        batch, width = max(batch, 2), width + stride if width == height else width
    return torch.rand(batch, channels, height, width, generator=torch.Generator().manual_seed(0))
