"""A network as what an exported file holds: images in, tensors out, nothing that depends on their size."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.nn.backend import inference_copy
from ultralytics.nn.rows import row_label
from ultralytics.utils.ops import make_divisible
from ultralytics.utils.text import first_line

LARGEST = 8192  # the side in pixels and the number of images that a dynamic file is checked up to


class Deployed(nn.Module):
    """A fused copy of a network on the CPU, in evaluation, whose head gives tensors alone; no Python is left to run.

    Args:
        model: it is copied, not changed.

    Attributes:
        every_row: give the outputs of all rows that are one tensor instead, to find the row at which two differ.
    """

    network: Any
    every_row = False

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        copied: Any = inference_copy(model, torch.device("cpu"))
        copied.model[-1].export = True
        self.network = copied
        self.stride = int(copied.stride.max())
        self.eval()

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Compute the output (B, 4 + nc, A), or (B, n, 6) of an end-to-end head, for images (B, 3, H, W), RGB 0..1; of
        a head whose anchors share something two tensors, that the second (`AnchorHead`)."""
        if self.every_row:
            return tuple(self._rows(images).values())
        out = self.network(images)
        # A pasted head may not know `export`, and then gives what the loss reads besides; a row that is last meanwhile
        # may give several maps.
        outputs = isinstance(out, tuple) and all(isinstance(part, Tensor) for part in out)
        if isinstance(out, tuple) and not outputs and not isinstance(self.network.model[-1], _Passes):
            out = out[0]
        found: Tensor | tuple[Tensor, ...] = out
        return found

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
        """Return what `every_row` gives for images, each with the row's place in its YAML and module."""
        return [(row_label(self.network, i), out) for i, out in self._rows(images).items()]

    @contextlib.contextmanager
    def shortened(self, last: int) -> Iterator[None]:
        """Compute no row behind row `last` meanwhile, and give its output."""
        rows = self.network.model
        self.network.model = nn.Sequential(*rows[: last + 1], _Passes(last + 1))
        try:
            yield
        finally:
            self.network.model = rows


class _Passes(nn.Module):
    """Stands for the rows that are left out, the head's attributes included."""

    f, contiguous = -1, False
    nc = reg_max = stride = 0

    def __init__(self, i: int) -> None:
        super().__init__()
        self.i = i

    def forward(self, x: Any) -> Any:
        return x


class TiedError(Exception):
    """A program that was to take images of any size takes one size alone."""


def program(module: Any, images: Tensor, dynamic: bool) -> torch.export.ExportedProgram:
    """Return the operations of a network as torch.export records them.

    Args:
        module: what is recorded: it has a stride.
        images: an example; with `dynamic` no side of it may be special: see `example`.
        dynamic: leave the number of images, and heights and widths that are multiples of the stride, free.

    Raises:
        TiedError: a number that was computed from the example's size is part of the program.
        Exception: of torch's, of many kinds: an operation cannot be recorded.
    """
    free: Any = None
    if dynamic:
        step, most = module.stride, LARGEST
        sides = {i: step * torch.export.Dim(name, min=1, max=most // step) for i, name in ((2, "height"), (3, "width"))}
        free = ({0: torch.export.Dim("batch", min=1, max=most), **sides},)
    with torch.no_grad():
        recorded = torch.export.export(module, (images,), dynamic_shapes=free)
    if dynamic:
        _check_free(recorded, images, module.stride)
    return recorded


def _check_free(recorded: torch.export.ExportedProgram, images: Tensor, stride: int) -> None:
    """Check that a program takes other sizes: torch.export takes what follows from the example's size for granted, and
    says so in conditions that only its own module checks; a file of it would compute something else.

    Raises:
        TiedError: it does not.
    """
    holds: Any = getattr(recorded.module(), "_guards_fn", None)
    if holds is None:
        return  # of another version of torch: the comparison of the file finds it
    for batch, height, width in sizes(int(images.shape[2]), int(images.shape[3]), stride):
        try:
            holds(torch.empty(batch, images.shape[1], height, width, device="meta"))
        except AssertionError as e:
            raise TiedError(first_line(e).removeprefix("Guard failed: ")) from None


def sizes(height: int, width: int, stride: int) -> list[tuple[int, int, int]]:
    """Return four (B, H, W) to check a dynamic network at, around its typical size."""
    part = [make_divisible(int(n * share), stride) for n, share in ((height, 0.6), (width, 0.55), (height, 1.2))]
    return [(1, height, width), (3, part[0], width), (2, height, part[1]), (1, part[2], part[1])]


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
