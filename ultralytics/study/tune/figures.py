"""A tune's figures: its trials in order, what each key's values reached, and which keys matter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ultralytics.study.record import FAILED, FINISHED, PRUNED
from ultralytics.study.tune.space import Axis, Space
from ultralytics.utils.charts import BLOCK_COLOURS, add_grid, chart, new_figure, tick_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DONE, LATE, LOST = BLOCK_COLOURS[0], "#999999", BLOCK_COLOURS[1]
COLUMNS = 4  # of panels


class Ended(Protocol):
    """What is drawn of a trial."""

    @property
    def number(self) -> int: ...
    @property
    def values(self) -> Mapping[str, Any]: ...
    @property
    def state(self) -> str: ...
    @property
    def value(self) -> float | None: ...
    @property
    def curves(self) -> Sequence[Sequence[float]]: ...


@chart()
def plot_history(trials: Sequence[Ended], metric: str, path: Path) -> tuple[Figure, Path]:
    """The metric of each trial in their order, and the best so far; pruned and failed ones at the lower edge."""
    from matplotlib.ticker import MaxNLocator  # matplotlib takes a while to import

    figure = new_figure((7.0, 3.6))
    axis = figure.subplots()
    done = [(t.number, t.value) for t in trials if t.value is not None]
    x, y = [n for n, _ in done], [v for _, v in done]
    axis.scatter(x, y, s=22, color=DONE, label=FINISHED, zorder=3)
    axis.step(x, np.maximum.accumulate(y), where="post", color="#000000", linewidth=1.2, label="best so far")
    first = trials[0]
    if first.number == 1 and first.value is not None:
        axis.axhline(first.value, color=LATE, linestyle=(0, (4, 2)), linewidth=1, label="trial 1")
    low = min(y) - 0.06 * max(max(y) - min(y), 1e-3)
    for state, mark, colour in ((PRUNED, "v", LATE), (FAILED, "x", LOST)):
        at = [t.number for t in trials if t.state == state]
        if at:
            axis.scatter(at, [low] * len(at), s=22, marker=mark, color=colour, label=state)
    axis.set(xlabel="trial", ylabel=f"{metric} on val")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(fontsize=8, loc="outside upper center", ncols=5, frameon=False)
    add_grid(axis)
    return figure, path


@chart()
def plot_slices(trials: Sequence[Ended], space: Space, metric: str, path: Path) -> tuple[Figure, Path]:
    """A panel for each key: its value in every finished trial, and what that reached; later trials are darker."""
    columns = min(len(space), COLUMNS)
    rows = math.ceil(len(space) / columns)
    figure = new_figure((2.6 * columns + 0.6, 2.3 * rows + 0.3))
    panels = np.atleast_1d(figure.subplots(rows, columns, sharey=True)).ravel()
    for panel in panels[len(space) :]:
        panel.set_visible(False)
    done = [t for t in trials if t.value is not None]
    best = max(done, key=lambda t: (t.value, -t.number))
    for i, (panel, axis) in enumerate(zip(panels, space.values(), strict=False)):
        shown = {"s": 16, "c": [t.number for t in done], "cmap": "Blues", "vmin": -len(trials) / 2, "vmax": len(trials)}
        shown |= {"edgecolors": DONE, "linewidths": 0.4}
        panel.scatter([_place_of(axis, t.values) for t in done], [t.value for t in done], **shown)
        panel.scatter([_place_of(axis, best.values)], [best.value], s=60, marker="*", color=LOST, zorder=3)
        _set_scale(panel, axis)
        panel.set_title(axis.key, fontsize=9)
        panel.tick_params(labelsize=7)
        add_grid(panel)
        if i % columns == 0:
            panel.set_ylabel(metric, fontsize=8)
    return figure, path


def _place_of(axis: Axis, values: Mapping[str, Any]) -> float:
    value = values[axis.key]
    return float(axis.choices.index(value) if axis.choices else value)


def _set_scale(panel: Axes, axis: Axis) -> None:
    if axis.choices:
        names = [tick_label(Path(str(c)).name or str(c)) for c in axis.choices]
        panel.set_xticks(range(len(names)), names, rotation=30, ha="right")
        panel.set_xlim(-0.5, len(names) - 0.5)
    elif axis.log:
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")  # matplotlib's own are formulas
        panel.xaxis.set_minor_formatter(lambda *_: "")
        panel.set_xlim(axis.low * 0.8, axis.high * 1.25)
    else:
        edge = 0.04 * (axis.high - axis.low)
        panel.set_xlim(axis.low - edge, axis.high + edge)


@chart()
def plot_importance(parts: Mapping[str, float], path: Path) -> tuple[Figure, Path]:
    """The part of each key in the differences between the finished trials, largest on top."""
    order = sorted(parts, key=lambda key: parts[key])
    figure = new_figure((5.5, 0.6 + 0.26 * len(order)))
    axis = figure.subplots()
    axis.barh(order, [parts[key] for key in order], color=DONE, height=0.7)
    axis.set_xlabel("importance (PED-ANOVA)")
    axis.tick_params(labelsize=8)
    add_grid(axis)
    return figure, path
