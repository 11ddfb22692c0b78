"""Images and charts of what `utils.analysis` finds: the worst mistakes of each kind, errors, sizes and calibration."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ultralytics.utils.analysis import KINDS, Mistake, mistakes, span, worst
from ultralytics.utils.annotate import Annotator
from ultralytics.utils.charts import add_grid, chart, new_figure, optional
from ultralytics.utils.coco import Seen
from ultralytics.utils.files import write_json
from ultralytics.utils.images import imread, imwrite
from ultralytics.utils.text import one_line
from ultralytics.utils.types import UInt8Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TILE = 300  # pixels, of a crop's sides
COLUMNS = 4
LETTERS = 15  # pixels
LINE = 21
GAP = 10
CONTEXT = 0.6  # of the boxes' longer side, around them
LEAST = 64  # pixels of the original, across a crop
WRONG, TRUE = (0, 94, 213), (178, 114, 0)  # BGR; Okabe and Ito's vermilion and blue, which the colour-blind tell apart
INK, FAINT = (30, 30, 30), (110, 110, 110)
COLUMN = 3.35  # inches, 8.5 cm: of a paper with two
FIRST, SECOND = "#0072b2", "#d55e00"


def draw_analysis(
    figures: Mapping[str, Any],
    seen: Sequence[Seen],
    names: Mapping[int, str],
    folder: Path,
    most: int,
    font: str | None = None,
) -> None:
    """Draw charts and the gallery into a folder; what cannot be drawn is a warning.

    Args:
        figures: what `analyse` gives; seen: the images it was given; names: class id → name.
        most: images of each kind of mistake, 0 for no gallery.
    """
    for draw, name in ((plot_errors, "errors"), (plot_sizes, "sizes"), (plot_calibration, "calibration")):
        path = folder / f"analysis_{name}.png"
        with optional(path):
            draw(figures, path)
    if not most:
        return
    chosen = worst(mistakes(seen), most)
    with optional(folder / "gallery.json"):
        write_json(folder / "gallery.json", {k: [_mistake_row(m, seen, names) for m in v] for k, v in chosen.items()})
    for kind, found in chosen.items():
        path = folder / f"gallery_{kind}.jpg"
        with optional(path):
            imwrite(path, sheet(kind, found, seen, names, font), quality=90)


def _mistake_row(m: Mistake, seen: Sequence[Seen], names: Mapping[int, str]) -> dict[str, Any]:
    """Return a mistake for gallery.json; boxes are x, y, width, height in pixels."""
    return {
        "file": seen[m.image].file,
        "score": m.score,
        "class": None if m.cls is None else names[m.cls],
        "box": m.box and [round(v, 2) for v in m.box],
        "true_class": None if m.truth_cls is None else names[m.truth_cls],
        "true_box": m.truth and [round(v, 2) for v in m.truth],
        "iou": m.iou,
    }


def sheet(
    kind: str, found: Sequence[Mistake], seen: Sequence[Seen], names: Mapping[int, str], font: str | None = None
) -> UInt8Array:
    """Draw the crops of some mistakes of one kind, BGR: detections in vermilion, objects in blue and dashed."""
    columns = min(COLUMNS, len(found))
    rows = math.ceil(len(found) / columns)
    high = TILE + 3 * LINE
    head = 2 * LINE + GAP
    wide = columns * (TILE + GAP) + GAP
    canvas = np.full((head + rows * (high + GAP), wide, 3), 255, np.uint8)
    for number, m in enumerate(found):
        y, x = head + number // columns * (high + GAP), GAP + number % columns * (TILE + GAP)
        canvas[y : y + TILE, x : x + TILE] = _crop(m, seen[m.image])
    example = "".join(names.values())
    annotator = Annotator(canvas, 1, LETTERS, font, example=example)
    _write_text(annotator, (GAP, GAP), f"{kind}: {KINDS[kind]}", INK, wide - 2 * GAP)
    x = GAP
    for label, colour in (("detection", WRONG), ("object (dashed)", TRUE)):
        if any((m.box if colour is WRONG else m.truth) is not None for m in found):
            annotator.draw.rectangle((x, GAP + LINE + 4, x + 12, GAP + LINE + 12), fill=colour[::-1])
            _write_text(annotator, (x + 18, GAP + LINE), label, FAINT, wide)
            x += 40 + int(annotator.text_font(label).getlength(label))
    for number, m in enumerate(found):
        y, x = head + number // columns * (high + GAP) + TILE, GAP + number % columns * (TILE + GAP)
        for i, (text, colour) in enumerate(_caption(m, seen, names)):
            _write_text(annotator, (x, y + 3 + i * LINE), text, colour, TILE)
    return annotator.result()


def _caption(m: Mistake, seen: Sequence[Seen], names: Mapping[int, str]) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Lines below a crop, and their colours."""
    if m.cls is not None:
        yield f"{names[m.cls]} {m.score:.2f}", WRONG
    if m.truth is not None and m.truth_cls is not None:
        size = f"{m.truth[2]:.0f}x{m.truth[3]:.0f} px" if m.iou is None else f"IoU {m.iou:.2f}"
        yield f"{names[m.truth_cls]}, {size}", TRUE
    elif m.cls is not None:
        yield "no object", FAINT
    yield os.path.basename(seen[m.image].file), FAINT


def _write_text(
    annotator: Annotator, xy: tuple[int, int], text: str, colour: tuple[int, int, int], room: float
) -> None:
    """A text, cut to its room, in pixels."""
    text = annotator.fit(one_line(text, 200), room)
    annotator.text_font(text).draw(annotator.draw, xy, text, colour[::-1])


def _crop(m: Mistake, s: Seen) -> UInt8Array:
    """Cut a square of the image around a mistake's boxes, enlarged or reduced to TILE; grey outside the image."""
    image = imread(s.file)
    if image is None:
        return np.full((TILE, TILE, 3), 200, np.uint8)
    boxes = [np.array([b[0], b[1], b[0] + b[2], b[1] + b[3]]) for b in (m.box, m.truth) if b is not None]
    low, high = np.min([b[:2] for b in boxes], 0), np.max([b[2:] for b in boxes], 0)
    side = max(float((high - low).max()) * (1 + CONTEXT), LEAST)
    side = min(side, float(max(image.shape[:2])))
    side = max(side, float((high - low).max()) + 4)
    corner = (low + high) / 2 - side / 2
    limits = np.array(image.shape[1::-1], float)
    corner = np.where(limits >= side, np.clip(corner, 0, np.maximum(limits - side, 0)), (limits - side) / 2)
    scale = TILE / side
    move = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]])
    x1, y1 = np.floor(np.maximum(corner, 0)).astype(int)  # a part, which INTER_AREA can reduce
    x2, y2 = np.ceil(np.minimum(corner + side, limits)).astype(int)
    part = image[y1:y2, x1:x2]
    if scale < 1:
        size = max(round(part.shape[1] * scale), 1), max(round(part.shape[0] * scale), 1)
        part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]  # uint8 stays uint8
        shift = np.array([[1, 0, (x1 - corner[0]) * scale], [0, 1, (y1 - corner[1]) * scale]])
    else:
        shift = np.array([[scale, 0, (x1 - corner[0]) * scale], [0, scale, (y1 - corner[1]) * scale]])
    tile = cv2.warpAffine(part, shift, (TILE, TILE), flags=cv2.INTER_LINEAR, borderValue=(235, 235, 235))
    annotator = Annotator(tile, 2, pil=True)  # type: ignore[arg-type]  # uint8 stays uint8
    for box, colour, dashed in ((m.truth, TRUE, True), (m.box, WRONG, False)):
        if box is not None:
            corners = np.array([[box[0], box[1], 1], [box[0] + box[2], box[1] + box[3], 1]]) @ move.T
            x1, y1, x2, y2 = corners.ravel().clip(1, TILE - 2).tolist()
            # On a white border, so that it is seen on every ground.
            annotator.draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=(255, 255, 255), width=4)
            annotator.box((x1, y1, x2, y2), colour, dashed)
    return annotator.result()


@chart(pdf=True)
def plot_errors(figures: Mapping[str, Any], path: Path) -> tuple[Figure, Path]:
    """Bars of what AP50 would gain without each kind of error, with their counts; .png and .pdf."""
    figure = new_figure((COLUMN, 2.2))
    axes = figure.subplots()
    kinds = list(KINDS)
    gains = [figures["errors"][k]["dAP"] or 0.0 for k in kinds]
    notes = [f"{gain:.3f} ({figures['errors'][kind]['count']})" for kind, gain in zip(kinds, gains, strict=True)]
    _bars(axes, range(len(kinds)), gains, kinds, notes, [FIRST] * len(kinds))
    axes.set_xlabel("gain of AP50 without it (count)", fontsize=8)
    return figure, path


@chart(pdf=True)
def plot_sizes(figures: Mapping[str, Any], path: Path) -> tuple[Figure, Path]:
    """AP of COCO's sizes, and over the set's own; .png and .pdf."""
    buckets = figures["sizes"]
    figure = new_figure((COLUMN, 2.6))
    axes = figure.subplots()
    own = [b["name"].startswith("Q") for b in buckets]
    places = [i + 0.6 * o for i, o in enumerate(own)]  # a gap between COCO's buckets and the set's own
    labels = [f"{b['name']}  {span(b)}" for b in buckets]
    values = [b["AP"] or 0.0 for b in buckets]
    notes = [("none" if b["AP"] is None else f"{b['AP']:.3f}") + f" ({b['objects']})" for b in buckets]
    _bars(axes, places, values, labels, notes, [SECOND if o else FIRST for o in own])
    axes.set_xlabel("AP (objects) by √area, pixels", fontsize=8)
    return figure, path


def _bars(
    axes: Axes,
    places: Sequence[float],
    values: Sequence[float],
    labels: Sequence[str],
    notes: Sequence[str],
    colours: Sequence[str],
) -> None:
    """Bars from top to bottom, a label before and a note behind each."""
    axes.barh(places, values, color=colours, height=0.7)
    for place, value, note in zip(places, values, notes, strict=True):
        axes.annotate(note, (value, place), (3, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_yticks(places, labels, fontsize=8)
    axes.set(xlim=(0, max([*values, 0.01]) * 1.5), ylim=(max([*places, 0]) + 0.5, -0.5))
    axes.tick_params(axis="x", labelsize=7)
    axes.set_axisbelow(True)
    add_grid(axes)


@chart(pdf=True)
def plot_calibration(figures: Mapping[str, Any], path: Path) -> tuple[Figure, Path]:
    """Precision over score, above the number of detections; .png and .pdf."""
    calibration = figures["calibration"]
    bins = calibration["bins"]
    figure = new_figure((COLUMN, 3.2))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="#555555", linestyle="--", linewidth=1, label="calibrated")
    filled = [b for b in bins if b["count"]]
    upper.plot(
        [b["score"] for b in filled], [b["precision"] for b in filled], marker="o", markersize=4, color=FIRST,
        linewidth=1.2, label="measured",
    )  # fmt: skip
    upper.set(xlim=(0, 1), ylim=(0, 1.02))
    upper.set_ylabel("precision at IoU 0.5", fontsize=8)
    if calibration["ece"] is not None:
        upper.set_title(f"ECE {calibration['ece']:.3f}, {calibration['detections']} detections", fontsize=8)
    upper.legend(fontsize=7, loc="upper left", frameon=False)
    lower.bar([(b["low"] + b["high"]) / 2 for b in bins], [b["count"] for b in bins], width=0.08, color=FIRST)
    if filled:
        lower.set_yscale("log")
        lower.set_ylim(bottom=0.7)  # one detection is seen
        lower.yaxis.set_major_formatter(lambda value, _: f"{value:g}")  # no formula, which are not set
        lower.minorticks_off()
    lower.set_ylabel("count", fontsize=8)
    lower.set_xlabel("score", fontsize=8)
    for axes in (upper, lower):
        axes.tick_params(labelsize=7)
        axes.set_axisbelow(True)
        add_grid(axes)
    return figure, path
