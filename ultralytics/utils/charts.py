"""Charts of a run: label statistics, curves, confusion matrices.

They are drawn on matplotlib's Agg canvas without pyplot, so no display, no global state and no leak.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import inspect
import io
import itertools
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from ultralytics.utils.colors import PALETTE, colors
from ultralytics.utils.errors import UserError
from ultralytics.utils.fonts import families, fit_for_type_42, load_matplotlib, quiet, reason
from ultralytics.utils.images import write_image
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted, one_line
from ultralytics.utils.types import Float64Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
DPI = 150
# Lines that the colour-blind can tell apart (Okabe & Ito 2008).
BLOCK_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")


@contextlib.contextmanager
def optional(plot: str | Path) -> Iterator[None]:
    """Guard a plot that a run can do without: whatever prevents it is a warning of one line, and the run goes on.

    Ctrl-C and requests to stop pass.
    """
    try:
        yield
    except Exception as e:
        message = str(e) if isinstance(e, UserError) else f"{plot}: {reason(e)}"
        LOGGER.warning("not drawn: %s", message)


def chart(pdf: bool = False, dpi: int = DPI) -> Callable[[Callable[P, tuple[Figure, Path]]], Callable[P, None]]:
    """Decorator: write the figure that a function draws to the file it names, and with `pdf` as vectors too.

    `dpi` is of the pixels. The function's arguments `names` (class names) and `font` choose fonts. The figure does not
    depend on the settings of the user's matplotlib.
    """

    def decorate(draw: Callable[P, tuple[Figure, Path]]) -> Callable[P, None]:
        signature = inspect.signature(draw)

        @functools.wraps(draw)
        def drawn(*args: P.args, **kwargs: P.kwargs) -> None:
            given = signature.bind(*args, **kwargs).arguments
            names = given.get("names") or ()
            text = "".join(names.values() if isinstance(names, Mapping) else names)
            matplotlib = load_matplotlib()
            with quiet(), matplotlib.rc_context():
                matplotlib.rcdefaults()
                font: str | None = given.get("font")
                matplotlib.rcParams["font.family"] = families(text, font)
                matplotlib.rcParams["text.parse_math"] = False  # a $ in a name is a $, no formula
                matplotlib.rcParams["pdf.fonttype"] = 42 if fit_for_type_42(text, font) else 3
                figure, path = draw(*args, **kwargs)
                for text in figure.findobj(matplotlib.text.Text):
                    if hasattr(text, "set_fontfeatures"):  # matplotlib 3.11: a second font in the PDF, for "fi" alone
                        text.set_fontfeatures(("-liga",))
                _save_figure(figure, path, dpi=dpi)
                if pdf:
                    _save_figure(figure, path.with_suffix(".pdf"), dpi=dpi, metadata={"CreationDate": None})

        return drawn

    return decorate


def _save_figure(figure: Figure, path: Path, *, dpi: int, **options: Any) -> None:
    file = io.BytesIO()
    kind = path.suffix[1:].lower()
    if kind == "png":
        options["pil_kwargs"] = {"compress_level": 4}  # half the time for a few per cent of the size
    figure.savefig(file, format=kind, dpi=dpi, **options)
    write_image(path, file.getbuffer())


def new_figure(size: tuple[float, float], layout: Any = "constrained") -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second to import: only when a chart is drawn
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def axes_at(figure: Figure, place: tuple[float, float, float, float]) -> Axes:
    """Add axes of left, bottom, width, height in inches."""
    wide, high = figure.get_size_inches()
    x, y, w, h = place
    return figure.add_axes((x / wide, y / high, w / wide, h / high))


def add_grid(axes: Axes) -> None:
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _one_panel(width: float, height: float, room: tuple[float, float, float, float]) -> tuple[Figure, Axes]:
    """A figure with one panel of so many inches and room left, below, right of and above it. It is much quicker than
    to let matplotlib measure all texts again and again."""
    left, bottom, right, top = room
    figure = new_figure((left + width + right, bottom + height + top), None)
    return figure, axes_at(figure, (left, bottom, width, height))


def text_inches(texts: Iterable[str], size: float) -> float:
    """Width of the longest of some texts in letters of so many points; an upper bound."""
    ems = (sum(1.15 if unicodedata.east_asian_width(c) in "WF" else 0.6 for c in text) for text in texts)
    return max(ems, default=0.0) * size / 72


def tick_label(name: str) -> str:
    name = one_line(name)
    return name if len(name) <= 18 else f"{name[:17]}…"


@chart()
def plot_labels(
    boxes: Any, cls: Any, names: Mapping[int, str], save_dir: Path, font: str | None = None
) -> tuple[Figure, Path]:
    """labels.jpg: boxes per class, where they lie, how large they are.

    Args:
        boxes: (M, 4) xywh in 0..1; cls: (M,); names: class names; save_dir: where to.
    """
    from matplotlib.collections import LineCollection  # as in new_figure

    boxes, cls = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(cls).reshape(-1).astype(int)
    figure = new_figure((10, 10))
    axes = figure.subplots(2, 2)
    for axis in axes.ravel():
        axis.set_box_aspect(1)  # one size for all, so that they line up
    counts = np.bincount(cls, minlength=len(names))
    axes[0, 0].set(ylabel="boxes", ylim=(0, max(counts.max(initial=0) * 1.08, 1)))
    axes[0, 0].set_title("boxes per class", fontsize=10)
    if len(counts) <= 30:
        bars = axes[0, 0].bar(range(len(counts)), counts, color=[_rgb(i) for i in range(len(counts))])
        ticks = [tick_label(names.get(i, str(i))) for i in range(len(counts))]
        axes[0, 0].set_xticks(range(len(counts)), ticks, rotation=90, fontsize=10 if len(counts) <= 15 else 8)
        axes[0, 0].bar_label(bars, fontsize=8, rotation=0 if len(counts) <= 10 else 90, padding=1)
        axes[0, 0].set_xlim(-0.6, max(len(counts) - 0.4, 0.6))
    else:  # a patch for each of a thousand classes takes seconds
        axes[0, 0].stairs(counts, np.arange(len(counts) + 1) - 0.5, fill=True, color=_rgb(2))
        axes[0, 0].set(xlabel="class id", xlim=(-0.5, len(counts) - 0.5))
    some = np.random.default_rng(0).permutation(len(boxes))[:500]
    half = boxes[some, 2:] / 2
    corners = 0.5 + half[:, None] * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)])
    axes[0, 1].add_collection(LineCollection(list(corners), colors=[_rgb(cls[i]) for i in some], linewidths=0.5))
    axes[0, 1].set(xlim=(0, 1), ylim=(1, 0), xlabel="width", ylabel="height")
    axes[0, 1].set_title(f"{counted(len(some), 'box')}, centred, parts of the image", fontsize=10)
    for axis, columns, labels, title in (
        (axes[1, 0], (0, 1), ("centre x", "centre y"), "where centres lie, parts of the image"),
        (axes[1, 1], (2, 3), ("width", "height"), "sizes, parts of the image"),
    ):
        values = boxes[:, columns]
        # Where all boxes are small, the whole range would be an empty square.
        ends = np.ones(2) if columns[0] == 0 else np.minimum(values.max(0, initial=0.02) * 1.05, 1)
        if len(values):
            axis.hist2d(values[:, 0], values[:, 1], bins=50, range=[[0, ends[0]], [0, ends[1]]], cmap="Blues")
        axis.set(xlabel=labels[0], ylabel=labels[1], xlim=(0, ends[0]), ylim=(0, ends[1]))
        axis.set_title(title, fontsize=10)
    axes[1, 0].invert_yaxis()
    return figure, save_dir / "labels.jpg"


def _rgb(i: int) -> tuple[float, ...]:
    """Return the colour of a class as matplotlib takes it."""
    return tuple(v / 255 for v in colors(i))


def read_results(file: Path) -> list[dict[str, str]]:
    """Return the rows of a results.csv as text by column; a row that was cut short has columns without a value."""
    with file.open(encoding="utf-8") as f:
        return [{k.strip(): (v or "").strip() for k, v in row.items() if k} for row in csv.DictReader(f)]


def over_epochs(rows: Sequence[Mapping[str, str]], column: str) -> tuple[list[int], list[float]]:
    """Return the epochs of `read_results` that have a value in a column, and the values."""
    held = [row for row in rows if row.get("epoch") and row.get(column)]
    return [int(float(row["epoch"])) for row in held], [float(row[column]) for row in held]


def _dress(axis: Any, title: str) -> None:
    """Give a panel over the epochs its title and ticks."""
    axis.set_title(title, fontsize=10)
    axis.tick_params(labelsize=8)
    axis.xaxis.get_major_locator().set_params(integer=True)
    add_grid(axis)


def _result_rows(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the columns of results.csv that are drawn: losses of training, precision and recall of each kind; and
    below them losses of validation and mAP. Of a classifier top-1 is above, top-5 below."""
    losses = [[c for c in names if c.startswith(f"{split}/") and c.endswith("loss")] for split in ("train", "val")]
    metrics = [c for c in names if c.startswith("metrics/")]
    below = [c for c in metrics if "/mAP" in c or c.endswith("top5")]
    return [*losses[0], *(c for c in metrics if c not in below)], [*losses[1], *below]


@chart(pdf=True)
def plot_results(file: str | Path, save_dir: Path | None = None, font: str | None = None) -> tuple[Figure, Path]:
    """results.png and .pdf: every loss and metric of results.csv over the epochs, whatever the task.

    Args:
        file: results.csv; save_dir: where to, beside the file when None.
    """
    file = Path(file)
    rows = read_results(file)
    shown = [line for line in _result_rows(list(rows[0]) if rows else []) if line] or [[]]
    columns, lines = max(len(shown[0]), len(shown[-1]), 1), len(shown)
    wide, high = 3.0 * columns, 2.8 * lines + 0.2
    figure = new_figure((wide, high), None)
    # Inches: a panel is 2.35 wide and 2.25 high, and between two of them is room for numbers and a title.
    figure.subplots_adjust(
        0.6 / wide, 0.45 / high, 1 - 0.1 / wide, 1 - 0.3 / high, wspace=0.65 / 2.35, hspace=0.55 / 2.25
    )
    places = [(line * columns + i, column) for line, names in enumerate(shown) for i, column in enumerate(names)]
    for place, column in places:
        axis = figure.add_subplot(lines, columns, place + 1)
        x, y = over_epochs(rows, column)
        axis.plot(x, y, marker=".", markersize=4, linewidth=1, color="#4363d8", alpha=0.5 if len(x) > 8 else 1.0)
        if len(x) > 8:
            kernel = np.exp(-0.5 * (np.arange(-6, 7) / 2.0) ** 2)
            smooth, weight = (np.convolve(v, kernel, "same")[: len(y)] for v in (y, np.ones(len(y))))
            axis.plot(x, smooth / weight, linewidth=1.8, color="#e6194b", label="smoothed")
        _dress(axis, column)
        if place >= (lines - 1) * columns:
            axis.set_xlabel("epoch")
    if places and len(rows) > 8:
        figure.axes[0].legend(fontsize=8)
    return figure, (save_dir or file.parent) / "results.png"


@chart(pdf=True)
def plot_blocks(file: str | Path, blocks: Mapping[str, str], save_dir: Path | None = None) -> tuple[Figure, Path]:
    """attention.png and .pdf: over the epochs, how much each inserted block changes its map, and its mean |gate|.

    Args:
        file: results.csv; blocks: column prefix → kind of module; save_dir: where to, beside the file when None.
    """
    file = Path(file)
    rows = read_results(file)
    figure = new_figure((7.0, 2.9))
    panels = (("share", "change of the map, ‖y − x‖ / ‖x‖"), ("gate_mean", "mean |gate|"))
    for axis, (column, title) in zip(figure.subplots(1, 2), panels, strict=True):
        for (prefix, kind), colour in zip(blocks.items(), itertools.cycle(BLOCK_COLOURS)):  # as long as the blocks
            key, label = f"{prefix}/{column}", f"{prefix.removeprefix('block/')} {kind}"
            axis.plot(*over_epochs(rows, key), marker=".", linewidth=1.2, color=colour, label=label)
        _dress(axis, title)
        axis.set_xlabel("epoch")
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=8)
    return figure, (save_dir or file.parent) / "attention.png"


@chart(pdf=True)
def plot_pr_curve(
    px: Any,
    py: Any,
    ap: Any,
    save_path: str | Path = "PR_curve.png",
    names: Mapping[int, str] | None = None,
    font: str | None = None,
    of: str = "",
) -> tuple[Figure, Path]:
    """Precision over recall, as .png and .pdf.

    Args:
        px: (1000,) recall; py: per class (1000,) precision; ap: (classes, 10); names: class names by row of `ap`.
        of: what was measured, for the title: Box, Mask or Pose.
    """
    py, ap = np.asarray(py).reshape(-1, len(px)), np.asarray(ap)
    labels = [f"{tick_label(name)} {value:.3f}" for name, value in zip((names or {}).values(), ap[:, 0], strict=False)]
    summary = f"all classes {ap[:, 0].mean():.3f} mAP@0.5" if len(py) else ""
    return _curves(px, py, labels, summary, "Recall", "Precision", _title(of, "Precision-Recall curve")), Path(
        save_path
    )


@chart(pdf=True)
def plot_mc_curve(
    px: Any,
    py: Any,
    save_path: str | Path = "mc_curve.png",
    names: Mapping[int, str] | None = None,
    xlabel: str = "Confidence",
    ylabel: str = "Metric",
    font: str | None = None,
    of: str = "",
) -> tuple[Figure, Path]:
    """A metric over confidence, as .png and .pdf.

    Args:
        px: (1000,) confidence; py: (classes, 1000); names: class names by row.
        of: as of `plot_pr_curve`.
    """
    py = np.asarray(py).reshape(-1, len(px))
    labels = [tick_label(name) for name in (names or {}).values()]
    summary = ""
    if len(py):
        mean = py.mean(0)
        summary = f"all classes {mean.max():.2f} at {np.asarray(px)[mean.argmax()]:.3f}"
    return _curves(px, py, labels, summary, xlabel, ylabel, _title(of, f"{ylabel}-{xlabel} curve")), Path(save_path)


def _title(of: str, what: str) -> str:
    return f"{of}: {what}" if of else what


def _curves(
    px: Any, py: Float64Array, labels: Sequence[str], summary: str, xlabel: str, ylabel: str, title: str
) -> Figure:
    """A curve per class and their mean; the legend lies beside them and covers none. Many classes are grey, unnamed
    and, where a PDF would have a million points, pixels there too."""
    from matplotlib.collections import LineCollection  # as in new_figure

    named = len(py) <= len(PALETTE) and len(labels) == len(py)
    size = 9 if len(py) <= 12 else 8
    side = text_inches([*labels, summary], size) + 0.7 if named and len(py) else 0.15
    figure, axes = _one_panel(6.6, 5.0, (0.7, 0.6 if named else 0.9, side, 0.4))
    drawn: list[Any] = []
    if named:
        drawn = [axes.plot(px, y, linewidth=1.2, color=_rgb(i))[0] for i, y in enumerate(py)]
    else:
        lines = np.stack([np.broadcast_to(px, py.shape), py], 2)
        drawn = [LineCollection(list(lines), linewidths=0.8, colors="#b8c0cc", rasterized=len(py) > 100)]
        labels = [f"each of {len(py)} classes"]
        axes.add_collection(drawn[0])
    if len(py):
        drawn += axes.plot(px, py.mean(0), linewidth=2.5, color="#1f2a44")
        place: dict[str, Any] = (
            {"loc": "upper left", "bbox_to_anchor": (1.015, 1.01)}
            if named
            else {"loc": "upper center", "bbox_to_anchor": (0.5, -0.11), "ncols": 2}
        )
        texts = [*labels, summary]
        legend = axes.legend(drawn, ["…"] * len(drawn), fontsize=size, frameon=False, borderaxespad=0, **place)
        for text, label in zip(legend.get_texts(), texts, strict=True):
            text.set_text(label)  # matplotlib leaves out what is labelled "_…"
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(0, 1), ylim=(0, 1.02), title=title)
    add_grid(axes)
    return figure


@chart(pdf=True)
def plot_confusion_matrix(
    matrix: Any, names: Sequence[str], normalize: bool, save_path: str | Path, font: str | None = None
) -> tuple[Figure, Path]:
    """A confusion matrix, predictions down and labels across, background last where it is, as .png and .pdf.

    Args:
        matrix: (nc + 1, nc + 1), or (nc, nc) without background; names: nc class names.
        normalize: parts of each column instead of counts.
    """
    values = np.asarray(matrix, np.float64)
    if normalize:
        values = values / np.maximum(values.sum(0, keepdims=True), 1e-9)
    count = len(values) - 1
    side = min(max(4.5, 0.42 * (count + 1)), 14)
    size = 10 if count < 12 else 9 if count < 30 else 7 if count < 60 else 6
    labels = [*map(tick_label, names), *["background"][: len(values) - len(names)]] if count < 100 else []
    margin = text_inches(labels, size) + 0.35 if labels else 0.75
    figure, axes = _one_panel(side, side, (margin, margin, 1.0, 0.4))
    top = values.max() if values.size and values.max() > 0 else 1.0
    masked: Any = np.ma  # has no types before numpy 2.3
    shown = masked.masked_less(values, 0.005)
    drawn: Any
    if labels:
        edges = np.arange(count + 2) - 0.5
        drawn = axes.pcolormesh(edges, edges, shown, cmap="Blues", vmin=0, vmax=top)
        axes.set(xlim=edges[[0, -1]], ylim=edges[[-1, 0]], xticks=[], yticks=[])
        near = 0.06 * (count + 1) / side  # inches in cells
        style: dict[str, Any] = {"fontsize": size, "clip_on": False}
        for i, label in enumerate(labels):
            axes.text(-0.5 - near, i, label, ha="right", va="center", **style)
            axes.text(i, count + 0.5 + near, label, ha="center", va="top", rotation=90, **style)
    else:
        drawn = axes.imshow(shown, cmap="Blues", vmin=0, vmax=top, interpolation="nearest")
    if count < 30:
        for edge in edges[1:-1]:
            axes.axhline(edge, color="#e3e7ee", linewidth=0.5)
            axes.axvline(edge, color="#e3e7ee", linewidth=0.5)
        for i, j in zip(*np.nonzero(values >= 0.005), strict=True):
            text = f"{values[i, j]:.2f}" if normalize else f"{int(values[i, j])}"
            hue = "white" if values[i, j] > 0.55 * top else "#1f2a44"
            axes.text(j, i, text, ha="center", va="center", fontsize=10 if count < 8 else 7, color=hue)
    axes.set_title("Confusion matrix" + (", per true class" if normalize else ""))
    axes.set_xlabel("True", labelpad=72 * (margin - 0.25) if labels else 4)
    axes.set_ylabel("Predicted", labelpad=72 * (margin - 0.25) if labels else 4)
    figure.colorbar(drawn, cax=axes_at(figure, (margin + side + 0.15, margin, 0.2, side)))
    return figure, Path(save_path)
