"""The chart of a dataset that check-data writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ultralytics.utils.charts import add_grid, chart, new_figure, tick_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#4363d8", "#f58231", "#3cb44b")  # of the splits
STEP: dict[str, Any] = {"histtype": "step", "linewidth": 1.8}


@chart()
def plot_dataset(
    boxes: Mapping[str, Any],
    per_image: Mapping[str, Any],
    shapes: Mapping[str, Any],
    names: Mapping[int, str],
    save_path: str | Path = "check.png",
    font: str | None = None,
) -> tuple[Figure, Path]:
    """Draw what a dataset is like: boxes per class, their sizes and shapes, boxes per image, image sizes; by split.

    Args:
        boxes: split → (M, 5) class, x, y, width, height, the latter in pixels.
        per_image: split → (n,) number of boxes.
        shapes: split → (n, 2) height and width.
        names: class names.
        save_path: the file.
        font: a font file or the name of an installed one, for class names.
    """
    figure = new_figure((15, 9))
    axes = figure.subplots(2, 3)
    styles: dict[str, dict[str, Any]] = {s: {"color": c, "label": s} for s, c in zip(boxes, COLOURS, strict=False)}
    _draw_classes(axes[0, 0], boxes, names, styles)
    _draw_boxes(axes[0, 1], axes[0, 2], boxes, styles)
    most = max((int(n.max(initial=0)) for n in per_image.values()), default=0)
    for split, style in styles.items():
        axes[1, 0].hist(per_image[split], np.arange(0, most + 2, max(most // 40, 1)) - 0.5, **STEP, **style)
        _draw_sizes(axes[1, 2], shapes[split], style)
    axes[1, 0].set(xlabel="boxes in an image", ylabel="images", title="boxes per image")
    if any(map(len, boxes.values())):
        frames = np.concatenate([np.repeat(shapes[split][:, ::-1], per_image[split], 0) for split in boxes])
        part = np.concatenate(list(boxes.values()))[:, 1:3] / frames
        axes[1, 1].hist2d(part[:, 0], part[:, 1], bins=40, range=[[0, 1], [0, 1]], cmap="Blues")
    axes[1, 1].set(xlabel="x", ylabel="y", title="where box centres lie", xlim=(0, 1), ylim=(1, 0), aspect="equal")
    axes[1, 2].set(xlabel="width", ylabel="height", title="image sizes, pixels")
    _name_sizes(axes[1, 2], np.concatenate([np.zeros((0, 2)), *shapes.values()]))
    for counts_axis in (axes[0, 0].xaxis, axes[0, 1].yaxis, axes[0, 2].yaxis, axes[1, 0].xaxis, axes[1, 0].yaxis):
        counts_axis.get_major_locator().set_params(integer=True)
    for axis in axes.ravel():
        if axis is not axes[1, 1]:
            add_grid(axis)
    if boxes:
        axes[0, 0].legend(fontsize=9, loc="lower right")
    return figure, Path(save_path)


@chart()
def plot_classes(
    boxes: Mapping[str, Any],
    shapes: Mapping[str, Any],
    names: Mapping[int, str],
    save_path: str | Path = "check.png",
    font: str | None = None,
) -> tuple[Figure, Path]:
    """Draw what class folders are like: images per class and their sizes, by split.

    Args:
        boxes: split → (n, 5) class of each image, and what is not read.
        Others: as of `plot_dataset`.
    """
    figure = new_figure((12, 5))
    bars, sizes = figure.subplots(1, 2)
    styles: dict[str, dict[str, Any]] = {s: {"color": c, "label": s} for s, c in zip(boxes, COLOURS, strict=False)}
    _draw_classes(bars, boxes, names, styles, "images")
    for split, style in styles.items():
        _draw_sizes(sizes, shapes[split], style)
    sizes.set(xlabel="width", ylabel="height", title="image sizes, pixels")
    _name_sizes(sizes, np.concatenate([np.zeros((0, 2)), *shapes.values()]))
    bars.xaxis.get_major_locator().set_params(integer=True)
    add_grid(bars)
    add_grid(sizes)
    if boxes:
        bars.legend(fontsize=9, loc="lower right")
    return figure, Path(save_path)


def _draw_sizes(axis: Axes, shapes: Any, style: Mapping[str, Any]) -> None:
    """Draw a dot for each size (n, 2) of images, larger for a commoner one."""
    sizes, count = np.unique(np.asarray(shapes).reshape(-1, 2), axis=0, return_counts=True)
    axis.scatter(sizes[:, 1], sizes[:, 0], 12 + 8 * np.sqrt(count), alpha=0.5, linewidths=0, **style)


def _draw_classes(
    axis: Axes,
    boxes: Mapping[str, Any],
    names: Mapping[int, str],
    styles: Mapping[str, dict[str, Any]],
    what: str = "boxes",
) -> None:
    """Draw a bar for each of the commonest classes and each split."""
    counts = {s: np.bincount(b[b[:, 0] < len(names), 0].astype(int), minlength=len(names)) for s, b in boxes.items()}
    order = np.argsort(-sum(counts.values(), np.zeros(len(names), int)), kind="stable")[:30]
    thick = 0.8 / max(len(boxes), 1)
    for k, split in enumerate(boxes):
        place = np.arange(len(order)) - 0.4 + thick * (k + 0.5)
        bars = axis.barh(place, counts[split][order], thick, **styles[split])
        if len(order) <= 12:
            axis.bar_label(bars, fontsize=7, padding=2)
    axis.set_yticks(range(len(order)), [tick_label(names[int(i)]) for i in order], fontsize=9 if len(order) < 16 else 7)
    axis.invert_yaxis()
    axis.set(title=f"{what} per class" + (f", the first 30 of {len(names)}" if len(names) > 30 else ""))


def _draw_boxes(sizes: Axes, ratios: Axes, boxes: Mapping[str, Any], styles: Mapping[str, dict[str, Any]]) -> None:
    """Draw the distributions of the boxes' sizes and of their shapes."""
    every = np.concatenate([np.zeros((0, 5)), *boxes.values()])
    side = np.sqrt((every[:, 3] * every[:, 4]).clip(1e-2))
    bins: Any = np.geomspace(max(side.min(initial=4), 1), max(side.max(initial=64), 128), 41)
    ratio_bins: Any = np.geomspace(0.1, 10, 41)
    for split, b in boxes.items():
        area, ratio = (b[:, 3] * b[:, 4]).clip(1e-2), b[:, 3] / b[:, 4].clip(1e-9)
        sizes.hist(np.sqrt(area).clip(bins[0], bins[-1]), bins, **STEP, **styles[split])
        ratios.hist(ratio.clip(0.1, 10), ratio_bins, **STEP, **styles[split])
    for bound in (32, 96):
        sizes.axvline(bound, color="#888888", linewidth=0.8, linestyle="--")
    title = "box sizes (COCO: small ¦ medium ¦ large)"
    sizes.set(xscale="log", xlabel="√area, pixels of the image file", ylabel="boxes", title=title)
    ticks = [t for t in (1, 3, 10, 32, 96, 300, 1000, 3000, 10000) if bins[0] <= t <= bins[-1]]
    sizes.set_xticks(ticks, [str(t) for t in ticks])  # matplotlib's own are formulas, which are not parsed here
    sizes.minorticks_off()
    ratios.set(xscale="log", xlabel="width : height", ylabel="boxes", title="box shapes")
    ratios.set_xticks([0.1, 0.2, 0.5, 1, 2, 5, 10], ["1:10", "1:5", "1:2", "1:1", "2:1", "5:1", "10:1"])
    ratios.minorticks_off()


def _name_sizes(axis: Axes, shapes: Any) -> None:
    """Zoom to the sizes (n, 2) height and width, with room around them, and say how common the commonest are."""
    if not len(shapes):
        return
    sizes, count = np.unique(shapes, axis=0, return_counts=True)
    low, high = sizes.min(0), sizes.max(0)
    room = np.maximum(0.2 * (high - low), 0.1 * high)
    axis.set(xlim=(max(low[1] - room[1], 0), high[1] + room[1]), ylim=(max(low[0] - room[0], 0), high[0] + room[0]))
    for i in np.argsort(-count, kind="stable")[:3]:
        if count[i] >= 0.05 * len(shapes):
            h, w = sizes[i]
            text = f"{w:.0f}×{h:.0f}: {100 * count[i] / len(shapes):.0f} %"
            axis.annotate(
                text, (w, h), (0, 9), textcoords="offset points", ha="center", fontsize=8, annotation_clip=False
            )
