"""A study's figures, PNG and PDF, for a column of 8.5 cm: letters of 7 points and more, colours that the colour-blind
can tell apart, and a marker or dash of its own for every arm."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ultralytics.engine.outputs import distinct
from ultralytics.models.yolo.task import task_named
from ultralytics.study.analysis import RECALLS, Analysis, Arm
from ultralytics.utils.charts import (
    BLOCK_COLOURS,
    add_grid,
    axes_at,
    chart,
    new_figure,
    optional,
    over_epochs,
    read_results,
)
from ultralytics.utils.output_path import make_folder
from ultralytics.utils.text import counted, one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 8.5 / 2.54  # inches
SIZE = 7  # points
DPI = 300
LETTERS = 20  # of a name, as wide as Latin ones
MOST = 30  # classes in a figure
RANGES = 4  # arms up to which the range of their seeds is drawn too
_COLOURS = tuple(c for c in BLOCK_COLOURS if c != "#000000")  # black is the control
_MARKERS = "osD^vP*X<>hp"
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))


class _Style:
    """How an arm is drawn: the same in every figure."""

    def __init__(self, analysis: Analysis) -> None:
        self._place: dict[str, int] = {}
        for arm in analysis.arms:
            self._place[arm.name] = -1 if arm.name == analysis.control else len(self._place)
        for i, name in enumerate(n for n, place in self._place.items() if place >= 0):
            self._place[name] = i

    def colour(self, arm: Arm) -> str:
        place = self._place[arm.name]
        return "#000000" if place < 0 else _COLOURS[place % len(_COLOURS)]

    def marker(self, arm: Arm) -> str:
        return _MARKERS[(self._place[arm.name] + 1) % len(_MARKERS)]

    def dash(self, arm: Arm) -> Any:
        return _DASHES[max(self._place[arm.name], 0) // len(_COLOURS) % len(_DASHES)]


_OURS = re.compile(r"(arms|pr|training|costs|classes-\d+)\.(png|pdf)")


def draw_all(
    analysis: Analysis, folder: Path, results: Mapping[str, Sequence[Path]], latency: Mapping[str, Mapping[str, Any]]
) -> list[Path]:
    """Draw every figure that there is something for; what cannot be drawn is a warning. Then remove the figures of an
    earlier call that were not drawn anew: of runs that may have been redone since.

    Args:
        folder: is made; results: the results.csv of each arm's runs; latency: of each arm.

    Returns:
        The PNG files that were drawn.
    """
    make_folder(folder)
    drawn: list[Path] = []

    def draw(name: str, plot: Callable[..., None], *what: Any, names: Sequence[str]) -> None:
        path = folder / f"{name}.png"
        with optional(path):
            plot(analysis, *what, path, names=names)
            drawn.append(path)

    arms = [a for a in analysis.arms if a.mean(analysis.metric) is not None]
    names = [a.name for a in arms]
    if arms:
        draw("arms", plot_arms, arms, names=names)
    if any(a.curve is not None for a in arms):
        draw("pr", plot_pr, [a for a in arms if a.curve is not None], names=names)
    column = task_named(analysis.task).figures.column
    with optional(folder / "training.png"):
        curves = {a.name: read_curves(results.get(a.name, ()), column) for a in arms}
        if any(map(len, curves.values())):
            draw("training", plot_training, arms, curves, names=names)
    for i, arm in enumerate(arms):
        if arm.classes and arm.difference is not None:
            # a name of the user's may not be one of a file
            draw(f"classes-{i}", plot_classes, arm, names=[*names, *(c.name for c in arm.classes)])
    timed = {a.name: latency[a.name]["p50_ms"] for a in arms if latency.get(a.name, {}).get("p50_ms") is not None}
    sized = {a.name: a.cost["parameters"] / 1e6 for a in arms if a.cost.get("parameters")}
    if timed or sized:
        draw("costs", plot_costs, arms, timed, sized, names=names)
    new = {name for path in drawn for name in (path.name, path.with_suffix(".pdf").name)}
    for old in [f for f in folder.iterdir() if _OURS.fullmatch(f.name) and f.name not in new]:
        old.unlink(missing_ok=True)
    return sorted(drawn)


def read_curves(files: Sequence[Path], column: str) -> list[list[tuple[int, float]]]:
    """(epoch, figure on val) of a column of each results.csv; files that are missing are passed over."""
    found = [list(zip(*over_epochs(read_results(f), column), strict=True)) for f in files if f.is_file()]
    return [points for points in found if points]


def short(name: str, longest: int = LETTERS) -> str:
    """A name in one line and, where it is long, without its middle: names of arms often differ at their end alone."""
    name = one_line(name)
    if sum(map(_letters, name)) <= longest:
        return name
    head, tail = "", ""
    for i in range(len(name)):
        more = head + name[i], name[-1 - i] + tail
        if sum(map(_letters, more[0] + tail)) >= longest:
            break
        head = more[0]
        if sum(map(_letters, head + more[1])) >= longest:
            break
        tail = more[1]
    return f"{head}…{tail}"


def _letters(letter: str) -> int:
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _shorts(names: Sequence[str]) -> list[str]:
    """Short names, numbered where two would look alike."""
    return distinct(map(short, names))


def _add_panel(figure: Figure, box: tuple[float, float, float, float]) -> Axes:
    """Add a panel of (left, bottom, width, height) inches."""
    axes = axes_at(figure, box)
    axes.tick_params(labelsize=SIZE, length=2, pad=2)
    add_grid(axes)
    return axes


def _few_ticks(axis: Any, most: int, integer: bool = False) -> None:
    from matplotlib.ticker import MaxNLocator  # as in utils.charts: only where a figure is drawn

    axis.set_major_locator(MaxNLocator(most, integer=integer))


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Name the rows of a panel, the first on top."""
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), _shorts(names), fontsize=SIZE)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def _widest(figure: Figure, names: Sequence[str]) -> float:
    """Inches of the longest name as it is drawn."""
    texts = [figure.text(0, 0, n, fontsize=SIZE) for n in _shorts(names)]
    width = max((t.get_window_extent().width for t in texts), default=0.0) / figure.dpi
    for text in texts:
        text.remove()
    return float(width)


def _legend(figure: Figure, handles: Sequence[Any], names: Sequence[str], top: float) -> None:
    """Two columns of names below the panels, which end at `top` inches."""
    _, high = figure.get_size_inches()
    legend = figure.legend(
        handles, ["…"] * len(names), loc="upper center", bbox_to_anchor=(0.5, top / high), ncols=2, fontsize=SIZE,
        frameon=False, borderaxespad=0, labelspacing=0.35, columnspacing=0.8, handlelength=1.7,
        handletextpad=0.4,
    )  # fmt: skip
    for text, name in zip(legend.get_texts(), _shorts(names), strict=True):
        text.set_text(name)  # matplotlib leaves out what is labelled "_…"


def _legend_height(count: int) -> float:
    return 0.155 * -(-count // 2) + 0.08


@chart(pdf=True, dpi=DPI)
def plot_arms(analysis: Analysis, arms: Sequence[Arm], path: Path, names: Sequence[str]) -> tuple[Figure, Path]:
    """The figure of each seed (dots, joined by seed) with the mean (bar), and the differences with their intervals."""
    style = _Style(analysis)
    differ = any(a.difference is not None for a in arms)
    high = 0.24 * len(arms) + 0.1
    figure = new_figure((WIDTH, high + 0.62), None)
    left = _widest(figure, [a.name for a in arms]) + 0.1
    room = WIDTH - left - 0.12
    first = (room - 0.16) * 0.5 if differ else room
    axes = _add_panel(figure, (left, 0.38, first, high))
    of_seed: dict[int, list[tuple[float, int]]] = {}
    for y, arm in enumerate(arms):
        for seed, value in zip(arm.seeds, arm.figures.get(analysis.metric, ()), strict=False):
            if value is not None:
                of_seed.setdefault(seed, []).append((value, y))
                axes.plot(value, y, marker="o", markersize=3, color=style.colour(arm), alpha=0.75, linewidth=0)
        mean = arm.mean(analysis.metric)
        if mean is not None:
            axes.plot([mean, mean], [y - 0.34, y + 0.34], color=style.colour(arm), linewidth=1.6, zorder=3)
    for points in of_seed.values():
        axes.plot([p[0] for p in points], [p[1] for p in points], color="#9aa3b2", linewidth=0.5, zorder=1)
    _name_rows(axes, [a.name for a in arms])
    _few_ticks(axes.xaxis, 3 if differ else 6)
    axes.set_xlabel(analysis.metric, fontsize=SIZE, labelpad=2)
    if differ:
        axes = _add_panel(figure, (left + first + 0.16, 0.38, first, high))
        axes.axvline(0, color="#666666", linewidth=0.8)
        for y, arm in enumerate(arms):
            d = arm.difference
            if d is None:
                continue
            axes.plot([d.low, d.high], [y, y], color=style.colour(arm), linewidth=1.4, solid_capstyle="butt")
            face = style.colour(arm) if arm.shown else "white"
            axes.plot(d.mean, y, marker="o", markersize=4, color=style.colour(arm), markerfacecolor=face)
        axes.set_ylim(len(arms) - 0.5, -0.5)
        axes.set_yticks([])
        _few_ticks(axes.xaxis, 3)
        axes.set_xlabel("difference, 95 % CI", fontsize=SIZE, labelpad=2)
    return figure, path


@chart(pdf=True, dpi=DPI)
def plot_pr(analysis: Analysis, arms: Sequence[Arm], path: Path, names: Sequence[str]) -> tuple[Figure, Path]:
    """Precision over recall at IoU 0.5, mean over classes and seeds, of every arm."""
    style = _Style(analysis)
    below = _legend_height(len(arms))
    figure = new_figure((WIDTH, 2.2 + 0.5 + below), None)
    axes = _add_panel(figure, (0.42, 0.4 + below, WIDTH - 0.54, 2.2))
    handles = [
        axes.plot(RECALLS, a.curve, color=style.colour(a), linestyle=style.dash(a), linewidth=1.1)[0]
        for a in arms
        if a.curve is not None
    ]
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.set_xlabel("recall", fontsize=SIZE, labelpad=2)
    axes.set_ylabel("precision at IoU 0.5", fontsize=SIZE, labelpad=2)
    _legend(figure, handles, [a.name for a in arms], below)
    return figure, path


@chart(pdf=True, dpi=DPI)
def plot_training(
    analysis: Analysis,
    arms: Sequence[Arm],
    curves: Mapping[str, Sequence[Sequence[tuple[int, float]]]],
    path: Path,
    names: Sequence[str],
) -> tuple[Figure, Path]:
    """The figure on val over the epochs: the mean over the seeds and, of a few arms, their range."""
    style = _Style(analysis)
    drawn = [a for a in arms if curves.get(a.name)]
    below = _legend_height(len(drawn))
    figure = new_figure((WIDTH, 2.0 + 0.5 + below), None)
    axes = _add_panel(figure, (0.46, 0.4 + below, WIDTH - 0.58, 2.0))
    handles = []
    for arm in drawn:
        by_epoch: dict[int, list[float]] = {}
        for run in curves[arm.name]:
            for epoch, value in run:
                by_epoch.setdefault(epoch, []).append(value)
        epochs = sorted(by_epoch)
        values = [by_epoch[e] for e in epochs]
        colour = style.colour(arm)
        if len(drawn) <= RANGES:
            low, high = [min(v) for v in values], [max(v) for v in values]
            axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
        mark: dict[str, Any] = {"marker": style.marker(arm), "markersize": 3} if len(epochs) == 1 else {}
        means = [float(np.mean(v)) for v in values]
        handles += axes.plot(epochs, means, color=colour, linestyle=style.dash(arm), linewidth=1.1, **mark)
    _few_ticks(axes.xaxis, 6, integer=True)
    axes.set_xlabel("epoch", fontsize=SIZE, labelpad=2)
    axes.set_ylabel(f"{analysis.metric} on val", fontsize=SIZE, labelpad=2)
    _legend(figure, handles, [a.name for a in drawn], below)
    return figure, path


@chart(pdf=True, dpi=DPI)
def plot_classes(analysis: Analysis, arm: Arm, path: Path, names: Sequence[str]) -> tuple[Figure, Path]:
    """The difference of each class's AP with its interval; of many classes those with the largest differences."""
    style = _Style(analysis)
    shown = sorted(arm.classes, key=lambda c: -abs(c.difference.mean))[:MOST]
    shown = sorted(shown, key=lambda c: -c.difference.mean)
    high = 0.16 * len(shown) + 0.12
    figure = new_figure((WIDTH, high + 0.72), None)
    left = _widest(figure, [c.name for c in shown]) + 0.1
    axes = _add_panel(figure, (left, 0.4, WIDTH - left - 0.12, high))
    axes.axvline(0, color="#666666", linewidth=0.8)
    colour = style.colour(arm)
    for y, c in enumerate(shown):
        d = c.difference
        axes.plot([d.low, d.high], [y, y], color=colour, linewidth=1.2, solid_capstyle="butt")
        face = colour if d.verdict in ("gains", "costs") else "white"
        axes.plot(d.mean, y, marker="o", markersize=3.5, color=colour, markerfacecolor=face)
    _name_rows(axes, [c.name for c in shown])
    _few_ticks(axes.xaxis, 5)
    axes.set_xlabel(f"difference of {analysis.metric}, 95 % interval", fontsize=SIZE, labelpad=2)
    more = f"the {len(shown)} largest of {counted(len(arm.classes), 'class')}" if len(arm.classes) > len(shown) else ""
    label = f"{short(arm.name, 26)} − {short(str(analysis.control), 26)}"
    figure.text(
        0.5, 1 - 0.05 / (high + 0.72), label + (f"\n{more}" if more else ""), fontsize=SIZE, ha="center", va="top"
    )
    return figure, path


@chart(pdf=True, dpi=DPI)
def plot_costs(
    analysis: Analysis,
    arms: Sequence[Arm],
    timed: Mapping[str, float],
    sized: Mapping[str, float],
    path: Path,
    names: Sequence[str],
) -> tuple[Figure, Path]:
    """The figure against latency and against parameters; the bars are a standard deviation over the seeds."""
    style, metric = _Style(analysis), analysis.metric
    drawn = [a for a in arms if a.name in timed or a.name in sized]
    panels = [(x, label) for x, label in ((timed, "latency p50, ms"), (sized, "parameters, M")) if x]
    below = _legend_height(len(drawn))
    figure = new_figure((WIDTH, 1.5 + 0.5 + below), None)
    wide = (WIDTH - 0.58 - 0.16 * (len(panels) - 1)) / len(panels)
    handles: dict[str, Any] = {}
    drawn_on = []
    for k, (x, label) in enumerate(panels):
        axes = _add_panel(figure, (0.46 + k * (wide + 0.16), 0.4 + below, wide, 1.5))
        for arm in drawn:
            if arm.name in x:
                line = axes.errorbar(
                    x[arm.name], arm.mean(metric) or 0.0, arm.deviation(metric), marker=style.marker(arm), markersize=4,
                    color=style.colour(arm), linewidth=0, elinewidth=0.8, alpha=0.9,
                )  # fmt: skip
                handles[arm.name] = line.lines[0]
        drawn_on.append(axes)
        axes.margins(x=0.15)
        _few_ticks(axes.xaxis, 4)
        axes.set_xlabel(label, fontsize=SIZE, labelpad=2)
        if k:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel(analysis.metric, fontsize=SIZE, labelpad=2)
    limits = [axes.get_ylim() for axes in drawn_on]
    for axes in drawn_on:
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    _legend(figure, [handles[a.name] for a in drawn], [a.name for a in drawn], below)
    return figure, path
