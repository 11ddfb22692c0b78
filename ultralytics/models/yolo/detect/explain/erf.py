"""Effective receptive fields: which pixels the centre of a map rests on."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ultralytics.engine.sources import Source
from ultralytics.models.yolo.detect.explain.blocks import Block, map_of
from ultralytics.models.yolo.detect.explain.explainer import Explainer, Explanation
from ultralytics.utils.attribution import PARTS, square_shares
from ultralytics.utils.errors import ModelError, UserError
from ultralytics.utils.explain_plots import Field, plot_erf
from ultralytics.utils.log import progress
from ultralytics.utils.text import counted
from ultralytics.utils.types import Float64Array


class ErfExplainer(Explainer):
    """Draw the mean absolute gradient of the centres of maps."""

    @torch.enable_grad()
    def explain(self, images: Source) -> Iterator[Explanation]:
        """Draw the mean absolute gradient of the centres of maps with respect to the images."""
        # All images together are the source: with exist_ok=True the same ones replace their figure.
        together = hashlib.sha256("\0".join(map(os.path.abspath, images.paths)).encode(errors="surrogateescape"))
        owner = None if any(images.in_memory) else f"erf of {together.hexdigest()}"
        name = self.name_outputs([owner], ["erf"])[0]
        sums: dict[str, Float64Array] = {}
        centres: dict[str, tuple[float, float]] = {}
        used: list[str] = []
        most = min(len(images), self.args.max_images)
        for item in progress(images, desc="Explaining", total=most):
            self.predictor.fit(item, auto=False)
            x = self.predictor.preprocess([item.image]).requires_grad_()
            height, width = x.shape[2:]
            for key, (value, cell) in self._centres(x).items():
                if not value.requires_grad:
                    place = key.partition(" ")[0]
                    raise ModelError(f"row {place} passes no gradient to the image", hint="give other rows=")
                gradient = torch.autograd.grad(value, x, retain_graph=True)[0]
                mean = gradient[0].abs().mean(0).cpu().double().numpy()
                if key in sums and sums[key].shape != mean.shape:
                    raise UserError("images of several sizes as tensors have no common centre", item.path)
                sums[key] = sums.get(key, 0) + mean
                (rows, cols), (row, col) = cell
                centres[key] = ((row + 0.5) * height / rows - 0.5, (col + 0.5) * width / cols - 0.5)
            used.append(item.path)
            if len(used) == most:
                break
        arrays: dict[str, npt.NDArray[Any]] = {"parts": np.array(PARTS), "images": np.array(used)}
        fields = []
        for block in self.blocks:
            for when in ("before", "after"):
                key = f"{block.place} {when}"
                if key not in sums:
                    continue
                mean = sums[key] / len(used)
                sides, areas = square_shares(mean, centres[key])
                place = f"{block.place}.{when}"
                arrays |= {place: mean, f"{place}.sides": sides, f"{place}.areas": areas}
                arrays[f"{place}.centre"] = np.array(centres[key])
                fields.append(Field(block.title, when, mean, sides, areas, centres[key]))
                text = ", ".join(f"{p:.0%} in {a:.2%}" for p, a in zip(PARTS, areas, strict=True))
                self.log("%s, %s: %s of the area", block.title, when, text)
        side = "×".join(str(n) for n in dict.fromkeys(fields[0].gradient.shape))
        notes = [
            f"|∂ centre / ∂ pixel|, mean of {counted(len(used), 'image')} at {side}",
            "squares: part of the gradient in part of the area",
        ]
        made = self.write("", name, arrays)
        plot_erf(fields, made.files[0], notes)
        yield made

    def _centres(self, x: Tensor) -> dict[str, tuple[Tensor, tuple[tuple[int, int], tuple[int, int]]]]:
        """Return the sum over channels at each map's centre, its size (H, W) and that place (row, column), by "PLACE
        before" and "PLACE after"."""
        found: dict[str, tuple[Tensor, tuple[tuple[int, int], tuple[int, int]]]] = {}

        def keep(key: str, m: Any) -> None:
            if isinstance(m, Tensor) and m.dim() == 4:  # of a row with several sources there is no map before
                rows, cols = m.shape[2:]
                place = rows // 2, cols // 2
                found.setdefault(key, (m[0, :, place[0], place[1]].sum(), ((rows, cols), place)))

        def enter(block: Block, _: nn.Module, args: Any) -> None:
            keep(f"{block.place} before", args[0] if args else None)

        def leave(block: Block, _: nn.Module, __: Any, out: Any) -> None:
            keep(f"{block.place} after", map_of(out, block))

        with contextlib.ExitStack() as hooks:
            for block in self.blocks:
                hooks.enter_context(block.module.register_forward_pre_hook(partial(enter, block)))
                hooks.enter_context(block.module.register_forward_hook(partial(leave, block)))
            self.model(x)
        return found
