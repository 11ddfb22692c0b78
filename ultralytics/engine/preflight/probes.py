"""The shapes a run will meet: what the preflight tries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PROBE_IMAGES = 2  # enough for batch norm, and a few seconds on a CPU


@dataclass(frozen=True)
class Probe:
    """One trial.

    Attributes:
        name: what of the run it stands for; batch: images; size: (height, width) in pixels; train: forward and backward
        in training mode, else forward in evaluation mode.
        avoid: the setting under which the run does not meet it; required: whether the run meets it at all: otherwise a
        failure is a warning.
    """

    name: str
    batch: int
    size: tuple[int, int]
    train: bool
    avoid: str = ""
    required: bool = True

    def __str__(self) -> str:
        return f"{times(self.size)} ({self.name})"


def probes(
    imgsz: int,
    stride: int,
    batch: int,
    images: int,
    multi_scale: bool,
    val_shapes: Sequence[tuple[int, int]],
    train_shapes: Sequence[tuple[int, int]] = (),
) -> list[Probe]:
    """List the shapes of a run, each once, the training size first.

    Args:
        imgsz: of the run; rounded up to the stride; stride: the model's largest; batch: images per step; images: of the
        training split.
        val_shapes, train_shapes: (height, width) of the batches; train_shapes only where they are rectangles
        (`rect=True`). Without val_shapes nothing is validated.
    """
    batch = min(batch, images)
    few = min(batch, PROBE_IMAGES)
    side = math.ceil(imgsz / stride) * stride
    frames = [(int(h), int(w)) for h, w in train_shapes] or [(side, side)]
    base = max(frames, key=math.prod)
    found = [Probe("training size", few, base, True)]
    for which, size in zip(("tallest", "widest"), _extremes(frames), strict=True):
        found.append(Probe(f"{which} training rectangle", few, size, True, "rect=False"))
    smallest = base
    if multi_scale:
        sizes = [rescaled(frame, s, stride) for frame in frames for s in multi_scale_sizes(side, stride)]
        smallest = min(sizes, key=math.prod)
        for which, size in (("smallest", smallest), ("largest", max(sizes, key=math.prod))):
            found.append(Probe(f"{which} size of multi_scale", few, size, True, "multi_scale=False"))
    if images % batch:
        rest = images % batch
        avoid = "multi_scale=False" if multi_scale else ""
        found.append(Probe("last batch of an epoch", min(rest, PROBE_IMAGES), smallest, True, avoid))
        if rest > PROBE_IMAGES:  # its true number, on a map that costs little
            tiny = min(2 * stride, side)
            found.append(Probe("last batch of an epoch", rest, (tiny, tiny), True))
    shapes = [(int(h), int(w)) for h, w in val_shapes]
    for which, size in zip(("tallest", "widest"), _extremes(shapes), strict=False):
        one = len(set(shapes)) == 1
        name = "validation size" if one else f"{which} validation rectangle"
        avoid = "rect_val=False" if size != (side, side) else ""
        found.append(Probe(name, PROBE_IMAGES, size, False, avoid))
    if side > stride and all(
        h == w for h, w in (*frames, *shapes)
    ):  # prediction meets them even where the run does not
        low = math.ceil(0.6 * side / stride) * stride
        if low < side:
            found.append(Probe("a rectangle, as in prediction", 1, (low, side), False, required=False))
    # In evaluation and with one image: a 1×1 map of one image is nothing a batch norm could train on.
    found.append(Probe("a single stride", 1, (stride, stride), False, required=False))
    unique: dict[tuple[Any, ...], Probe] = {}
    for probe in found:
        unique.setdefault((probe.batch, probe.size, probe.train), probe)
    return list(unique.values())


def _extremes(shapes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the tallest and the widest shape, the larger of equals; nothing of nothing."""
    if not shapes:
        return []
    return [max(shapes, key=lambda s: (s[k] / s[1 - k], math.prod(s))) for k in (0, 1)]


def multi_scale_sizes(imgsz: int, stride: int) -> range:
    """Every longest side that `BaseTrainer.rescale` draws."""
    last = int(imgsz * 1.5) + stride - 1
    return range(max(imgsz // 2 // stride * stride, stride), last // stride * stride + 1, stride)


def rescaled(shape: tuple[int, int], size: int, stride: int) -> tuple[int, int]:
    """Return a batch's shape when its longest side becomes `size`, each side rounded up to the stride."""
    factor = size / max(shape)
    h, w = (n if factor == 1 else math.ceil(n * factor / stride) * stride for n in shape)
    return h, w


def times(shape: Sequence[int]) -> str:
    """(384, 640) → "384×640"."""
    return "×".join(map(str, shape))
