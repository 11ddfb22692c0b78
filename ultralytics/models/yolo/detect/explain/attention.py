"""The weights of attention for some pixels, and the rank of the map that they make."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ultralytics.engine.sources import Source, SourceItem
from ultralytics.models.yolo.detect.explain.blocks import Block
from ultralytics.models.yolo.detect.explain.explainer import Explainer, Explanation
from ultralytics.nn.modules.attention import MapAttention
from ultralytics.utils.attribution import numerical_rank, singular_values
from ultralytics.utils.boxes import scale_boxes
from ultralytics.utils.errors import ConfigError, ModelError
from ultralytics.utils.explain_plots import WeightPanel, plot_attention
from ultralytics.utils.log import progress
from ultralytics.utils.text import counted, one_line
from ultralytics.utils.types import Float64Array

BEST = 3  # boxes, the centres of which are looked at where no points are given
RANKED = 1600  # tokens up to which all singular values of softmax weights are computed: seconds per head, cubic


class AttentionExplainer(Explainer):
    """Draw the weights of every block for some pixels."""

    @torch.no_grad()
    def explain(self, images: Source) -> Iterator[Explanation]:
        """Draw the weights of every block for some pixels, and the rank of the whole map."""
        self._check_heads()
        stems = [Path(p).stem for p in images.paths]
        paths = [None if m else p for m, p in zip(images.in_memory, images.paths, strict=True)]
        names = self.name_outputs(paths, stems)
        for item in progress(images, desc="Explaining"):
            given, points, captions = self._watched(item)
            h, w = item.image.shape[:2]
            (new_h, new_w), (top, bottom, left, right), _ = self.predictor.letterbox.geometry((h, w))
            frame = (new_h + top + bottom, new_w + left + right)
            gain_y, gain_x = new_h / h, new_w / w
            arrays: dict[str, npt.NDArray[Any]] = {"points": np.array(points)}
            panels, branches = [], []
            for block in self.blocks:
                x = given[block.place]
                mixer = copy.deepcopy(block.mixer).cpu()  # not every device has fp64
                rows, cols = x.shape[2:]
                at = [
                    (
                        min(int((py * gain_y + top) * rows / frame[0]), rows - 1),
                        min(int((px * gain_x + left) * cols / frame[1]), cols - 1),
                    )
                    for px, py in points
                ]
                q, k, _ = block.mixer.project(x)
                q, k = q.cpu().double(), k.cpu().double()
                tokens = torch.tensor([r * cols + c for r, c in at])
                weights = mixer.weights(q[:, tokens], k)[0].reshape(mixer.num_heads, len(at), rows, cols).cpu().numpy()
                values, rank = _rank(mixer, q, k)
                place = block.place
                arrays |= {f"{place}.weights": weights, f"{place}.tokens": np.array(at), f"{place}.rank": rank}
                arrays[f"{place}.singular"] = values
                panels += self._panels(block, weights, rank)
                if mixer.besides:
                    branches.append(mixer.besides)
                self.log("%s: %s: %s", item.label, block.title, _ranks(rank, rows * cols))
            border = (-left / gain_x, -top / gain_y, (frame[1] - left) / gain_x, (frame[0] - top) / gain_y)
            notes = ["weight × tokens; 1: as much as in an even mixture"]
            notes += [f"not part of the weights: {b}" for b in dict.fromkeys(branches)]
            made = self.write(item.path, names[item.index], arrays)
            plot_attention(item.image, panels, points, border, captions, made.files[0], notes, self.args.font)
            self.log("%s: %s → %s", item.label, counted(len(points), "point"), made.files[0])
            yield made

    def _check_heads(self) -> None:
        heads = self.args.heads
        for n in heads if isinstance(heads, list) else [heads] if isinstance(heads, int) else []:
            for block in self.blocks:
                if n >= block.mixer.num_heads:
                    text = f"{block.title} has heads 0 to {block.mixer.num_heads - 1}"
                    raise ConfigError(f"heads={heads}: there is no head {n}", hint=text)

    def _panels(self, block: Block, weights: Float64Array, rank: npt.NDArray[Any]) -> list[WeightPanel]:
        """Return a panel for each of the chosen heads, or for their mean."""
        heads, tokens = self.args.heads, weights.shape[2] * weights.shape[3]
        if heads is None:
            title = f"{block.title}, {_ranks(rank, tokens)}, mean of heads"
            return [WeightPanel(title, weights.mean(0) * tokens)]
        numbers = range(len(weights)) if heads == "all" else heads if isinstance(heads, list) else [int(heads)]
        return [
            WeightPanel(f"{block.title}, head {n}, {_ranks(rank[n : n + 1], tokens)}", weights[n] * tokens)
            for n in numbers
        ]

    def _watched(self, item: SourceItem) -> tuple[dict[str, Tensor], list[list[float]], list[str]]:
        """Return what each block's attention is given, by the block's place, the points to look at, and their
        captions."""
        given: dict[str, Tensor] = {}

        def watch(place: str, _: nn.Module, args: Any) -> None:
            given.setdefault(place, args[0])

        self.predictor.fit(item)
        with contextlib.ExitStack() as hooks:
            for block in self.blocks:
                hooks.enter_context(block.mixer.register_forward_pre_hook(partial(watch, block.place)))
            x = self.predictor.preprocess([item.image])
            kept = self.detections(self.model(x))
        h, w = item.image.shape[:2]
        if self.args.points is not None:
            for px, py in self.args.points:
                if px >= w or py >= h:
                    raise ConfigError(f"points: ({px:g}, {py:g}) lies outside the image of {w}×{h}", item.path)
            points = self.args.points
            return given, points, [f"({px:g}, {py:g})" for px, py in points]
        boxes = scale_boxes(x.shape[2:], kept[:BEST, :4].clone(), (h, w)).cpu()
        points = [[float(a + c) / 2, float(b + d) / 2] for a, b, c, d in boxes.tolist()] or [[w / 2, h / 2]]
        points = [[min(px, w - 1), min(py, h - 1)] for px, py in points]
        names = [one_line(self.model.names.get(int(c), str(int(c))), 12) for c in kept[:BEST, 5].tolist()]
        return given, points, names or ["centre"]


def _rank(mixer: MapAttention, q: Tensor, k: Tensor) -> tuple[Float64Array, npt.NDArray[np.int64]]:
    """Return singular values (h, r) of the weights of all tokens, and their numerical rank (h,), in fp64; −1 and no
    values where it would take too long."""
    tokens = k.shape[1]
    try:
        values = singular_values(*mixer.factors(q, k))[0]
    except ModelError:
        if tokens > RANKED:
            return np.zeros((mixer.num_heads, 0)), np.full(mixer.num_heads, -1)
        values = singular_values(mixer.weights(q, k))[0]
    return values.cpu().numpy(), numerical_rank(values, tokens).cpu().numpy()


def _ranks(rank: npt.NDArray[np.int64], tokens: int) -> str:
    """Say the ranks of heads."""
    low, high = int(rank.min()), int(rank.max())
    if low < 0:
        return f"rank not computed ({tokens} tokens)"
    return f"rank {low if low == high else f'{low}-{high}'} of {tokens}"
