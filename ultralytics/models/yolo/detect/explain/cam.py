"""Class activation maps: where in an image the scores of the kept boxes come from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ultralytics.cfg.values import id_list
from ultralytics.engine.sources import Source, SourceItem
from ultralytics.models.yolo.detect.explain.blocks import Block, head_sources, map_of
from ultralytics.models.yolo.detect.explain.explainer import Explainer, Explanation
from ultralytics.utils.attribution import laid_out, layer_cam
from ultralytics.utils.boxes import scale_boxes
from ultralytics.utils.errors import ModelError
from ultralytics.utils.explain_plots import plot_cam
from ultralytics.utils.log import progress
from ultralytics.utils.text import counted, one_line
from ultralytics.utils.types import Float64Array, UInt8Array


class CamExplainer(Explainer):
    """Draw LayerCAM of the boxes that are kept."""

    @torch.enable_grad()
    def explain(self, images: Source) -> Iterator[Explanation]:
        """LayerCAM of the kept boxes, one for an image, or for each class that is asked for."""
        args = self.args
        classes = id_list(args.classes)
        groups: list[int | None] = [None] if classes is None else list(dict.fromkeys(classes))
        paths = [None if m else p for m, p in zip(images.in_memory, images.paths, strict=True) for _ in groups]
        several = len(groups) > 1
        stems = [Path(p).stem + (f"_{c}" if several else "") for p in images.paths for c in groups]
        names = self.name_outputs(paths, stems)
        for item in progress(images, desc="Explaining"):
            heats, boxes = self._heat(item, groups)
            for k, (group, (heat, levels)) in enumerate(zip(groups, heats, strict=True)):
                stem = names[item.index * len(groups) + k]
                mine = boxes if group is None else boxes[boxes[:, 5] == group]
                name = "" if group is None else f"class {one_line(self.model.names[group], 40)}"
                shown = {
                    int(c): self.model.names.get(int(c), str(int(c)))
                    for c in {*mine[:, 5], *([] if group is None else [group])}
                }
                arrays = {"heat": heat.astype(np.float32), "boxes": mine} | levels
                made = self.write(item.path, stem, arrays, (".png",))
                plot_cam(item.image, heat, mine, shown, made.files[0], name, args.font)
                words = f"{name}, " if name else ""
                self.log("%s: %s%s → %s", item.label, words, counted(len(mine), "box"), made.files[0])
                yield made

    def _heat(
        self, item: SourceItem, groups: list[int | None]
    ) -> tuple[list[tuple[Float64Array, dict[str, npt.NDArray[Any]]]], Float64Array]:
        """Return the map (h, w) of each class, or of all boxes (None), and what it is made of; then the boxes (n, 6) in
        pixels of the image."""
        self.predictor.fit(item)
        with self._leaves() as leaves:
            x = self.predictor.preprocess([item.image])
            kept = self.detections(self.model(x))
        if len(kept) and not kept.requires_grad:
            kind = type(self.model.head).__name__
            raise ModelError(
                f"the head {kind} passes no gradient from its scores to its maps", hint="kind=erf takes it"
            )
        frame = (int(x.shape[2]), int(x.shape[3]))
        # A class logit moves by 1 / (s (1 − s)) as its score moves by 1; so heads may decode as they like.
        score = kept[:, 4]
        slope = 1 / (score * (1 - score)).detach().clamp(min=1e-6)
        found = []
        for group in groups:
            chosen = score * slope if group is None else (score * slope)[kept[:, 5] == group]
            maps = list(leaves.values())
            gradients: list[Tensor | None] = [None] * len(maps)
            if len(chosen):
                gradients = list(torch.autograd.grad(chosen.sum(), maps, retain_graph=True, allow_unused=True))
            if len(chosen) and all(g is None for g in gradients):
                raise ModelError("no score depends on these rows", hint="leave rows= out for the maps the head reads")
            cams = [
                torch.zeros(m.shape[2:]) if g is None else layer_cam(m.detach()[0], g[0]).cpu()
                for m, g in zip(maps, gradients, strict=True)
            ]
            levels = {f"map{name}": cam.numpy() for name, cam in zip(leaves, cams, strict=True)}
            found.append((self._on_image(laid_out(cams, frame), item.image), levels))
        boxes = kept.detach().clone()
        boxes[:, :4] = scale_boxes(frame, boxes[:, :4], item.image.shape[:2])
        return found, boxes.cpu().double().numpy()

    @contextlib.contextmanager
    def _leaves(self) -> Iterator[dict[str, Tensor]]:
        """Yield the maps for which gradients are wanted, by the number of their row, filled while the model runs: those
        that the head reads, each by itself, or the outputs of the chosen rows, with all that follows of them."""
        found: dict[str, Tensor] = {}

        def held(name: str, x: Tensor, apart: bool) -> Tensor:
            found[name] = x if x.requires_grad and not apart else x.detach().requires_grad_()
            return found[name].clone()  # which what follows may change in place

        def enter(_: nn.Module, given: Any) -> Any:
            sources = [str(n) for n in head_sources(self.model)]
            maps = [held(n, m, True) for n, m in zip(sources, given[0], strict=True)]
            return (maps, *given[1:])

        def leave(block: Block, _: nn.Module, __: Any, out: Any) -> Tensor:
            return held(block.place, map_of(out, block), False)

        with contextlib.ExitStack() as hooks:
            for block in self.blocks:
                hooks.enter_context(block.module.register_forward_hook(partial(leave, block)))
            if not self.blocks:
                hooks.enter_context(self.model.head.register_forward_pre_hook(enter))
            yield found

    def _on_image(self, values: Tensor, image: UInt8Array) -> Float64Array:
        """Turn a map of the frame into one of the image: without borders, at the image's size."""
        (h, w), (top, _, left, _), _ = self.predictor.letterbox.geometry(image.shape)
        inner = np.ascontiguousarray(values[top : top + h, left : left + w].double().numpy())
        out: Float64Array = cv2.resize(inner, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]  # float64 stays float64
        return out
