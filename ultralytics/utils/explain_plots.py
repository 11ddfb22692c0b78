"""Figures that explain a network, as wide as a column of 8.5 cm, in letters of 7 points and more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from ultralytics.utils.annotate import CAPTIONS, Annotator
from ultralytics.utils.attribution import PARTS
from ultralytics.utils.charts import axes_at, chart, new_figure, text_inches
from ultralytics.utils.colors import colors
from ultralytics.utils.types import Float64Array, UInt8Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 8.5 / 2.54  # inches
PRINT_DPI = 300
POINTS = 7  # of letters
COLOURS = "viridis"  # even for all kinds of colour vision, from dark to light in grey, and never grey itself
COLUMNS = 3  # panels beside each other
EDGE, BAR, NUMBERS = 0.05, 0.08, 0.34  # inches: margin, colour bar, room for its numbers
EVEN = 0.02  # values that differ by less, as a part of them, look alike
HOT = 0.2  # part of the largest value from which on no name may hide a map
LINE = 0.135  # inches that a line of text takes


@dataclass(frozen=True)
class WeightPanel:
    """The weights with which a block mixes the tokens, for some pixels."""

    title: str  # one line
    maps: Float64Array  # (P, H, W), per pixel, times the number of tokens, so that 1 is an even mixture


class Field(NamedTuple):
    """An effective receptive field."""

    # title, when: of which map, "before" or "after" a block
    title: str
    when: str
    gradient: Float64Array  # (H, W)
    # sides, areas: of the squares that hold `PARTS` of it
    sides: Float64Array
    areas: Float64Array
    centre: tuple[float, float]  # (y, x)


def _over_image(image: UInt8Array, heat: Float64Array) -> Any:
    """A map of values in 0..1 over an image, (H, W, 3) RGB in 0..1: the image is grey and dimmed, so that what is light
    is hot in grey print too."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float64)[..., None] / 255
    ground = 0.12 + 0.6 * grey
    alpha = 0.85 * np.sqrt(heat.clip(0, 1))[..., None]
    return (1 - alpha) * ground + alpha * _colour_map()(heat)[..., :3]


def _colour_map() -> Any:
    from matplotlib import colormaps  # as in charts.new_figure

    return colormaps[COLOURS]


def _fitted(image: UInt8Array, width: int) -> UInt8Array:
    """Return an image at a width in pixels."""
    h, w = image.shape[:2]
    size = width, max(round(h * width / w), 1)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if width < w else cv2.INTER_LINEAR)  # type: ignore[return-value]  # uint8 stays uint8


def _panel_size(shape: Sequence[int], width: float, highest: float) -> tuple[float, float]:
    """Width and height in inches of a panel for an image (h, w) in a room."""
    high = width * shape[0] / shape[1]
    return (width, high) if high <= highest else (highest * shape[1] / shape[0], highest)


def _bar(
    figure: Figure, place: tuple[float, float, float, float], drawn: Any, ticks: Sequence[float], labels: Sequence[str]
) -> None:
    """A colour bar at x, y, width, height in inches, and numbers beside it, no higher and no lower than itself."""
    axis = axes_at(figure, place)
    bar = figure.colorbar(drawn, cax=axis)
    bar.outline.set_linewidth(0.5)
    bar.set_ticks(ticks, labels=labels)
    axis.tick_params(labelsize=POINTS, length=2, width=0.5, pad=1.5)
    texts = axis.get_yticklabels()
    if len(texts) > 1:
        texts[0].set_verticalalignment("bottom")
        texts[-1].set_verticalalignment("top")


def _cut_text(text: str, width: float) -> str:
    """Return a text that takes so many inches at most, with "…" at its end where something is left out."""
    if text_inches([text], POINTS) <= width:
        return text
    while text and text_inches([f"{text}…"], POINTS) > width:
        text = text[:-1]
    return f"{text}…"


def _wrapped(texts: Sequence[str]) -> list[str]:
    """Texts in lines that are no wider than the figure; a word that is, is cut."""
    lines: list[str] = []
    for text in texts:
        lines.append("")
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and text_inches([longer], POINTS) > WIDTH - 2 * EDGE:
                lines.append(word)
            else:
                lines[-1] = longer
    return [_cut_text(line, WIDTH - 2 * EDGE) for line in lines]


def _write_lines(figure: Figure, lines: Sequence[str], top: float) -> None:
    """Lines at the left edge, from so many inches above the bottom downwards."""
    wide, high = figure.get_size_inches()
    for k, line in enumerate(lines):
        figure.text(EDGE / wide, (top - (k + 1) * LINE) / high, line, fontsize=POINTS, va="bottom")


def _add_image_panel(figure: Figure, place: tuple[float, float, float, float]) -> Axes:
    """Add a panel without ticks at x, y, width, height in inches."""
    axes = axes_at(figure, place)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_linewidth(0.4)
    return axes


def _scale(low: float, high: float) -> Any:
    from matplotlib.cm import ScalarMappable  # as in charts.new_figure
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(low, high if high > low else low + 1), COLOURS)


@chart(dpi=PRINT_DPI)
def plot_cam(
    image: UInt8Array,
    heat: Float64Array,
    boxes: Any,
    names: Mapping[int, str],
    save_path: str | Path,
    title: str = "",
    font: str | None = None,
) -> tuple[Figure, Path]:
    """A class activation map over its image, the boxes on top, as .png.

    Args:
        image: BGR (H, W, 3); heat: (H, W), 0 or more; boxes: (n, 6) corners in pixels, score, class; names: class names
        by id; title: one line above; font: see `Annotator`.
    """
    numbers = 0.25
    room = WIDTH - 3 * EDGE - BAR - numbers
    wide, high = _panel_size(image.shape, room, 1.6 * room)
    above = LINE + EDGE if title else EDGE
    figure = new_figure((wide + WIDTH - room, high + EDGE + above), None)
    gain = round(wide * PRINT_DPI) / image.shape[1]
    shown = _fitted(image, round(wide * PRINT_DPI))
    top = float(heat.max(initial=0))
    relative = cv2.resize(heat / top if top > 0 else heat, shown.shape[1::-1])
    rgb = (_over_image(shown, np.asarray(relative, np.float64)) * 255).round().astype(np.uint8)
    size = math.ceil(POINTS * PRINT_DPI / 72)
    annotator = Annotator(np.ascontiguousarray(rgb[..., ::-1]), 2, size, font, example="".join(names.values()))
    rows = np.asarray(boxes, np.float64).reshape(-1, 6)
    corners = rows[:, :4] * gain
    for box, cls in zip(corners, rows[:, 5], strict=True):
        annotator.box(box, colors(int(cls), bgr=True))
    taken = _hot_places(np.asarray(relative))
    before = len(taken)
    for box, cls in zip(corners, rows[:, 5], strict=True):
        annotator.caption(box, names.get(int(cls), str(int(cls))), colors(int(cls), bgr=True), taken, corners)
        if sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in taken[before:]) > CAPTIONS * shown.shape[0] * shown.shape[1]:
            break  # more names would hide the image
    if not len(rows):
        annotator.text((8, 8), "no detection")
    axes = _add_image_panel(figure, (EDGE, EDGE, wide, high))
    axes.imshow(annotator.result()[..., ::-1], interpolation="none", aspect="auto")
    if title:
        axes.set_title(title, fontsize=POINTS, pad=2, loc="left")
    _bar(figure, (2 * EDGE + wide, EDGE, BAR, high), _scale(0, 1), [0, 0.5, 1], ["0", "0.5", "1"])
    return figure, Path(save_path)


def _hot_places(heat: Any) -> list[tuple[float, ...]]:
    """Rectangles (xyxy) around the parts of a map in 0..1 that are to be seen."""
    _, _, found, _ = cv2.connectedComponentsWithStats((heat > HOT).astype(np.uint8))
    return [(x, y, x + w, y + h) for x, y, w, h, _ in found[1:].tolist()]  # the first is the ground


@chart(pdf=True, dpi=PRINT_DPI)
def plot_attention(
    image: UInt8Array,
    panels: Sequence[WeightPanel],
    points: Sequence[Sequence[float]],
    place: tuple[float, float, float, float],
    names: Sequence[str],
    save_path: str | Path,
    notes: Sequence[str] = (),
    font: str | None = None,
) -> tuple[Figure, Path]:
    """The weights of attention for some pixels over the image, as .png and .pdf.

    Args:
        image: BGR (H, W, 3); panels: a group of panels each; points: (P, 2) x and y in its pixels;
        place: left, top, right and bottom of the maps' frame in pixels of the image, borders included;
        names: a caption per pixel; notes: lines below.
    """
    count = len(points)
    columns = 2 if count == 4 else min(count, COLUMNS)
    lines = math.ceil(count / columns)
    gap = 0.05
    room = (WIDTH - 2 * EDGE - BAR - NUMBERS - (columns - 1) * gap) / columns
    wide, high = _panel_size(image.shape, room, 1.6 * room)
    # A narrow image gets no more room than its caption needs.
    names = [_cut_text(name, room) for name in names]
    pitch = min(max(wide, text_inches(names, POINTS)), room) + gap
    block = 0.06 + lines * (high + LINE)  # a caption below each panel, and room; titles come on top
    titles = [_wrapped([panel.title]) for panel in panels]
    notes = _wrapped(notes)
    below = len(notes) * LINE + EDGE
    total = len(panels) * block + sum(map(len, titles)) * LINE + below + EDGE
    figure = new_figure((WIDTH, total), None)
    h, w = image.shape[:2]
    lower = total - EDGE  # of what is drawn so far
    for panel, title in zip(panels, titles, strict=True):
        low, top = _scale_ends(panel.maps)
        _write_lines(figure, title, lower)
        upper = lower - len(title) * LINE - 0.03
        lower -= len(title) * LINE + block
        for j, (point, values) in enumerate(zip(points, panel.maps, strict=True)):
            line, column = divmod(j, columns)
            x = EDGE + column * pitch + (pitch - gap - wide) / 2
            y = upper - (line + 1) * high - line * LINE
            axes = _add_image_panel(figure, (x, y, wide, high))
            relative = (values - low) / (top - low) if top > low else np.zeros_like(values)
            shown = _fitted(image, max(round(wide * PRINT_DPI), 1))
            heat = _sampled(relative, place, (h, w), shown.shape[:2])
            axes.imshow(_over_image(shown, heat), extent=(0, w, h, 0), interpolation="none", aspect="auto")
            for colour, thick, size in (("black", 2.0, 7), ("white", 1.0, 6)):
                axes.plot(*point, marker="+", color=colour, markersize=size, markeredgewidth=thick, clip_on=False)
            axes.set(xlim=(0, w), ylim=(h, 0))
            axes.set_xlabel(names[j], fontsize=POINTS, labelpad=1.5)
        middle = upper - lines * high - (lines - 1) * LINE
        ticks = [low, (low + top) / 2, top] if top > low else [low]
        right = 2 * EDGE + columns * pitch - gap
        bar = (right, middle, BAR, upper - middle)
        _bar(figure, bar, _scale(low, top), ticks, [_format_number(t, top, top - low) for t in ticks])
    _write_lines(figure, notes, below)
    return figure, Path(save_path)


def _scale_ends(values: Float64Array) -> tuple[float, float]:
    """Return the ends of a scale for values; what differs by less than `EVEN` is not blown up."""
    low, top = float(values.min()), float(values.max())
    middle = (low + top) / 2
    half = max((top - low) / 2, EVEN / 2 * abs(middle))
    return middle - half, middle + half


def _format_number(value: float, largest: float, spread: float) -> str:
    """Return a number at a colour bar from `largest - spread` to `largest`, short."""
    if abs(value) < largest / 1000:
        return "0"
    digits = 3 if spread < 0.2 * largest else 1 if abs(value) < 0.01 else 2
    return f"{value:.{digits}g}" if abs(value) < 100 else f"{value:.0f}"


def _sampled(
    values: Float64Array, place: tuple[float, float, float, float], shape: tuple[int, int], size: Sequence[int]
) -> Float64Array:
    """Return the cells of a map as pixels (h, w) of an image: each pixel has the value of the cell that it lies in.

    Args:
        values: (H, W); place: the map's frame in pixels of the image; shape: (h, w) of that; size: (h, w) to give.
    """
    left, top, right, bottom = place
    y = ((np.arange(size[0]) + 0.5) * shape[0] / size[0] - top) / (bottom - top) * values.shape[0]
    x = ((np.arange(size[1]) + 0.5) * shape[1] / size[1] - left) / (right - left) * values.shape[1]
    rows, cols = (np.clip(np.floor(v).astype(int), 0, n - 1) for v, n in zip((y, x), values.shape, strict=True))
    found: Float64Array = values[rows[:, None], cols[None]]
    return found


def _format_share(area: float) -> str:
    """Return a part of an area in two digits or so."""
    return f"{area:.{0 if area >= 0.0995 else 1 if area >= 0.00995 else 2}%}"


DECADES = 4  # powers of ten of a gradient that are distinguished


@chart(pdf=True, dpi=PRINT_DPI)
def plot_erf(
    fields: Sequence[Field],
    save_path: str | Path,
    notes: Sequence[str] = (),
) -> tuple[Figure, Path]:
    """Effective receptive fields, log-scaled, as .png and .pdf.

    Args:
        fields: a panel each, two beside each other; notes: lines below.
    """
    # What is before a block stands on the left, and what is after it on the right.
    paired = any(f.when == "before" for f in fields)
    places: list[int] = []
    for f in fields:
        free = places[-1] + 1 if places else 0
        places.append(free + (free % 2 != (f.when == "after")) if paired else free)
    gap = 0.1
    room = (WIDTH - 2 * EDGE - BAR - NUMBERS - gap) / 2
    lines = places[-1] // 2 + 1
    high = room * max(f[2].shape[0] / f[2].shape[1] for f in fields)
    text = 2.5 * LINE  # parts and areas, in two lines, and a gap
    block = 2 * LINE + high + text
    notes = _wrapped(notes)
    below = len(notes) * LINE + EDGE
    total = lines * block + below
    figure = new_figure((WIDTH, total), None)
    for k, (title, when, gradient, sides, areas, centre) in zip(places, fields, strict=True):
        line, column = divmod(k, 2)
        x, y = EDGE + column * (room + gap), total - line * block - 2 * LINE - high
        axes = _add_image_panel(figure, (x, y, room, high))
        top = float(gradient.max(initial=0))
        with np.errstate(divide="ignore"):
            values = np.log10(gradient / top) if top > 0 else np.full(gradient.shape, -np.inf)
        h, w = gradient.shape
        axes.imshow(values.clip(-DECADES, 0), cmap=COLOURS, vmin=-DECADES, vmax=0, extent=(0, w, h, 0), aspect="auto")
        for side in sides[np.isfinite(sides)]:
            near, far = np.array(centre) + 0.5 - side / 2, np.array(centre) + 0.5 + side / 2
            corners = (near[1], far[1], far[1], near[1], near[1]), (near[0], near[0], far[0], far[0], near[0])
            axes.plot(*corners, color="black", linewidth=1.2)
            axes.plot(*corners, color="white", linewidth=0.6)
        axes.set(xlim=(0, w), ylim=(h, 0))
        shown = [_cut_text(title, room), when] if not paired else [when]
        axes.set_title("\n".join(t for t in shown if t), fontsize=POINTS, pad=2, linespacing=1.1)
        if paired and (column == 0 or k - 1 not in places):
            _write_lines(figure, [_cut_text(title, WIDTH - 2 * EDGE)], total - line * block)
        parts = [f"{part:.0%} in {_format_share(area)}" for part, area in zip(PARTS, areas, strict=True)]
        rows = "\n".join("  ".join(parts[i : i + 2]) for i in range(0, len(parts), 2))
        axes.set_xlabel(rows, fontsize=POINTS, labelpad=2, linespacing=1.1)
        if column == 1 or k + 1 not in places:
            ticks = range(-DECADES, 1)
            labels = [f"1e{t}" if t else "1" for t in ticks]
            _bar(figure, (x + room + EDGE, y, BAR, high), axes.images[0], ticks, labels)
    _write_lines(figure, notes, below)
    return figure, Path(save_path)
