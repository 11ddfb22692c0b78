"""Pictures of a run: boxes on images, label statistics, curves, confusion matrices.

Charts are drawn on matplotlib's Agg canvas without pyplot, so no display, no global state and no leak.
"""

from __future__ import annotations

import atexit
import csv
import functools
import math
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ultralytics.utils.images import imwrite
from ultralytics.utils.text import one_line
from ultralytics.utils.types import Float32Array, Float64Array, RatioPad, UInt8Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
PALETTE = (
    "#e6194b",
    "#3cb44b",
    "#4363d8",
    "#f58231",
    "#911eb4",
    "#00a3c4",
    "#f032e6",
    "#7a9a01",
    "#c2185b",
    "#008080",
    "#9a6324",
    "#800000",
    "#5c6bc0",
    "#808000",
    "#d4a017",
    "#000075",
    "#546e7a",
    "#2e7d32",
    "#ad1457",
    "#6d4c41",
)
NON_LATIN_FONTS = (
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
)


class Colors:
    """A colour per class id, repeating after twenty."""

    def __init__(self) -> None:
        self.palette = [tuple(int(h[i : i + 2], 16) for i in (1, 3, 5)) for h in PALETTE]
        self.n = len(self.palette)

    def __call__(self, i: int, bgr: bool = False) -> tuple[int, int, int]:
        """RGB, or BGR."""
        r, g, b = self.palette[int(i) % self.n]
        return (b, g, r) if bgr else (r, g, b)


colors = Colors()


@functools.lru_cache(maxsize=32)
def _font(size: int, latin: bool) -> Any:
    if not latin:
        fonts = _matplotlib().font_manager  # only where a name needs it: it lists the system's fonts
        for family in NON_LATIN_FONTS:
            try:
                return ImageFont.truetype(fonts.findfont(family, fallback_to_default=False), size)
            except (ValueError, OSError):
                continue
    return ImageFont.load_default(size)


class Annotator:
    """Draw boxes and names on a picture.

    Args:
        im: BGR uint8 (H, W, 3); copied. line_width: pixels, by the picture's size when None. font_size: pixels.
        example: a name, whose
            letters choose the font.
    """

    def __init__(
        self, im: UInt8Array, line_width: float | None = None, font_size: float | None = None, example: str = "abc"
    ) -> None:
        self.lw = max(int(line_width or round(sum(im.shape[:2]) / 2 * 0.003)), 1 if line_width else 2)
        self.size = int(font_size or max(round(sum(im.shape[:2]) / 2 * 0.035 * 0.55), 11))
        self.example = example
        self.im = Image.fromarray(np.ascontiguousarray(im[..., ::-1]))
        self.draw = ImageDraw.Draw(self.im)

    def text_font(self, text: str) -> Any:
        """The font for a text: built in for Latin letters, a system font for others."""
        return _font(self.size, (text + self.example).isascii())

    def box_label(
        self,
        box: Sequence[float],
        label: str = "",
        color: tuple[int, int, int] = (128, 128, 128),
        txt_color: tuple[int, int, int] = (255, 255, 255),
    ) -> None:
        """A box (xyxy, pixels) with a caption above it, or inside it at the picture's upper edge. Colours are BGR."""
        x1, y1, x2, y2 = (float(v) for v in box)
        rgb = color[::-1]
        self.draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=rgb, width=self.lw)
        if not label:
            return
        label = one_line(label, 100)
        font = self.text_font(label)
        left, _, right, bottom = font.getbbox(label)
        w, h = right - left + 4, bottom + 3
        x = min(max(x1, 0.0), max(self.im.width - w, 0.0))
        y = y1 - h if y1 >= h else y1
        self.draw.rectangle((x, y, x + w, y + h), fill=rgb)
        self.draw.text((x + 2 - left, y + 1), label, fill=txt_color[::-1], font=font)

    def box(self, box: Sequence[float], color: tuple[int, int, int], dashed: bool = False) -> None:
        """The outline of a box (xyxy, pixels). Colour is BGR."""
        x1, y1, x2, y2 = (float(v) for v in box)
        x2, y2 = max(x1, x2), max(y1, y2)
        if not dashed:
            self.draw.rectangle((x1, y1, x2, y2), outline=color[::-1], width=self.lw)
            return
        on, period = 5, 9
        for start, end, fixed, across in ((x1, x2, (y1, y2), True), (y1, y2, (x1, x2), False)):
            for step in range(max(math.ceil((end - start) / period), 1)):
                a = start + step * period
                b = min(a + on, end)
                for other in fixed:
                    line = (a, other, b, other) if across else (other, a, other, b)
                    self.draw.line(line, fill=color[::-1], width=self.lw)

    def caption(
        self,
        box: Sequence[float],
        label: str,
        color: tuple[int, int, int],
        taken: list[tuple[float, ...]],
        boxes: Sequence[Sequence[float]] = (),
    ) -> bool:
        """A caption above its box, else inside or below it, where there is room for it; left out where there is none.

        Args:
            box: xyxy, pixels; color: of the ground, BGR; taken: rectangles to stay clear of, to which the new one is
            added; boxes: all of the picture (its own too), of none of which it covers more than a third.

        Returns:
            Whether it was written.
        """
        label = one_line(label, 100)
        font = self.text_font(label)
        left, _, right, bottom = font.getbbox(label)
        w, h = right - left + 4, bottom + 3
        x = min(max(box[0], 0.0), self.im.width - w)
        corners = np.asarray(boxes, np.float64).reshape(-1, 4)
        for y in (box[1] - h, box[1], box[3] - h, box[3]):
            place = (x, y, x + w, y + h)
            inside = x >= 0 and y >= 0 and y + h <= self.im.height
            if inside and not any(_touch(place, other) for other in taken) and _covered(place, corners) <= 1 / 3:
                taken.append(place)
                self.draw.rectangle(place, fill=color[::-1])
                self.draw.text((x + 2 - left, y + 1), label, fill=(255, 255, 255), font=font)
                return True
        return False

    def fit(self, text: str, width: float) -> str:
        """The text, cut and with "…" at its end where it is wider than `width` pixels; "" where nothing fits."""
        text = one_line(text, 200)
        font = self.text_font(text)
        if font.getlength(text) <= width:
            return text
        while text and font.getlength(f"{text}…") > width:
            text = text[:-1]
        return f"{text}…" if text else ""

    def text(self, xy: tuple[float, float], text: str, txt_color: tuple[int, int, int] = (255, 255, 255)) -> None:
        """Text on a dark ground, its top-left corner at `xy`."""
        text = one_line(text, 200)
        font = self.text_font(text)
        left, top, right, bottom = self.draw.textbbox(xy, text, font=font)
        self.draw.rectangle((left - 2, top - 2, right + 2, bottom + 2), fill=(40, 40, 40))
        self.draw.text(xy, text, fill=txt_color[::-1], font=font)

    def result(self) -> UInt8Array:
        """The picture, BGR uint8."""
        return np.ascontiguousarray(np.asarray(self.im)[..., ::-1])


def _covered(place: Sequence[float], boxes: Float64Array) -> float:
    """The largest part of a box (n, 4) xyxy that a rectangle covers."""
    inner = np.minimum(boxes[:, 2:], place[2:]) - np.maximum(boxes[:, :2], place[:2])
    area = (boxes[:, 2:] - boxes[:, :2]).clip(1).prod(1)
    return float((inner.clip(0).prod(1) / area).max(initial=0))


def _touch(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether two rectangles (xyxy) overlap."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def plot_images(
    batch: Mapping[str, Any],
    fname: str | Path = "images.jpg",
    names: Mapping[int, str] | None = None,
    max_subplots: int = 16,
    max_size: int = 1920,
    conf_thres: float = 0.25,
    columns: int | None = None,
    captions: Sequence[str] | None = None,
    group: int = 1,
) -> None:
    """Draw a batch as a grid of pictures with boxes and file names. What belongs to a picture stays inside it, and a
    class name that would cover another, or hide the picture together with others, is left out: the largest boxes come
    first.

    Args:
        batch: img (B, 3, H, W) RGB, uint8 or 0..1; batch_idx, cls, bboxes (xywh, 0..1), im_file; with `conf`, boxes
        below `conf_thres` are left out, and a picture without any
        says so; with `ignored`, `ratio_pad` and `ori_shape`, ignored regions are dashed and grey.
        fname: .jpg or .png; names: class names; max_subplots: pictures drawn; max_size: longest side of the grid,
        pixels.
        columns: pictures in a row; as many as rows when None. captions: below each picture, its file name when None.
        group: so many pictures in a row belong together; a gap follows them.
    """
    images = batch["img"][:max_subplots].detach().cpu()
    if images.is_floating_point():
        images = (images.float() * 255).round().clamp(0, 255).to(torch.uint8)
    pictures = images.permute(0, 2, 3, 1).numpy()[..., ::-1]
    count, h, w = pictures.shape[:3]
    columns = columns or math.ceil(math.sqrt(count))
    lines = math.ceil(count / columns)
    gap = GAP if group > 1 else 0
    gaps = (columns - 1) // group * gap, (lines - 1) * gap
    gain = min(1.0, (max_size - gaps[0]) / (columns * w), (max_size - gaps[1]) / (lines * h))
    tile_w, tile_h = max(int(w * gain), 1), max(int(h * gain), 1)
    grid = np.full((lines * tile_h + gaps[1], columns * tile_w + gaps[0], 3), 255, np.uint8)
    names = names or {}
    of_picture = _boxes_of(batch, count, names, conf_thres)
    for i, picture in enumerate(pictures):
        picture = np.ascontiguousarray(picture)
        tile = cv2.resize(picture, (tile_w, tile_h), interpolation=cv2.INTER_AREA) if gain < 1 else picture
        text = Path(batch["im_file"][i]).name if captions is None else captions[i]
        line, column = divmod(i, columns)
        y, x = line * (tile_h + gap), column * tile_w + column // group * gap
        note = "" if of_picture[i] or "conf" not in batch else f"no detection above {conf_thres:g}"
        grid[y : y + tile_h, x : x + tile_w] = _tile(tile, of_picture[i], text, "".join(names.values()), note)  # type: ignore[arg-type]  # uint8 stays uint8
    imwrite(fname, grid)


GAP = 8  # pixels between groups of pictures
CAPTIONS = 0.15  # part of a picture that class names may cover
_GREY = (170, 170, 170)
# A box of a picture: xyxy in 0..1, caption, colour (BGR), whether it is dashed.
_Box = tuple[tuple[float, float, float, float], str, tuple[int, int, int], bool]


def _boxes_of(batch: Mapping[str, Any], count: int, names: Mapping[int, str], conf_thres: float) -> list[list[_Box]]:
    """The boxes to draw on each picture, the largest first."""
    found: list[list[_Box]] = [[] for _ in range(count)]
    cls = batch["cls"].view(-1).cpu().long().tolist()
    conf = batch["conf"].view(-1).cpu().tolist() if "conf" in batch else None
    boxes = batch["bboxes"].view(-1, 4).cpu().float().tolist()
    for j, (i, (cx, cy, w, h)) in enumerate(zip(batch["batch_idx"].view(-1).cpu().long().tolist(), boxes, strict=True)):
        if i < count and (conf is None or conf[j] >= conf_thres):
            label = names.get(cls[j], str(cls[j])) + ("" if conf is None else f" {conf[j]:.2f}")
            found[i].append((_cut(cx, cy, w, h), label, colors(cls[j], bgr=True), False))
    for i, regions in enumerate(batch.get("ignored", ())[:count]):
        if len(regions):
            framed = _framed(regions[:, 1:5], batch["ratio_pad"][i], batch["ori_shape"][i], batch["img"].shape[2:])
            found[i] += [(_cut(*box), "ignored", _GREY, True) for box in framed.tolist()]
    for listed in found:
        listed.sort(key=lambda b: (b[0][0] - b[0][2]) * (b[0][3] - b[0][1]))
    return found


def _cut(cx: float, cy: float, w: float, h: float) -> tuple[float, float, float, float]:
    """Centre, width, height → corners inside the picture; all in 0..1."""
    return max(cx - w / 2, 0.0), max(cy - h / 2, 0.0), min(cx + w / 2, 1.0), min(cy + h / 2, 1.0)


def _framed(boxes: Float32Array, ratio_pad: RatioPad, original: tuple[int, int], frame: Sequence[int]) -> Float32Array:
    """Boxes (k, 4) xywh in 0..1 of a file of `original` (h, w) → in 0..1 of the letterboxed frame (H, W)."""
    gains, (left, top) = ratio_pad
    scale = np.array([original[1] * gains[1] / frame[1], original[0] * gains[0] / frame[0]] * 2, np.float32)
    return boxes * scale + np.array([left / frame[1], top / frame[0], 0, 0], np.float32)


def _tile(picture: UInt8Array, boxes: Sequence[_Box], text: str, example: str, note: str = "") -> UInt8Array:
    """A picture with its boxes, a text at its lower edge and a note at its upper one; a small one has thinner lines and
    smaller letters."""
    h, w = picture.shape[:2]
    side = min(h, w)
    annotator = Annotator(picture, 1 if side < 200 else 2, min(max(round(side * 0.04), 8), 13), example)
    annotator.draw.rectangle((0, 0, w - 1, h - 1), outline=(255, 255, 255), width=1)
    taken: list[tuple[float, ...]] = []
    corners = [(b[0] * w, b[1] * h, min(b[2] * w, w - 1), min(b[3] * h, h - 1)) for b, _, _, _ in boxes]
    for box, (_, _, color, dashed) in zip(corners, boxes, strict=True):
        annotator.box(box, color, dashed)
    text = annotator.fit(text, w - 8)
    if text and h >= 4 * annotator.size:
        y = h - annotator.size - 7
        annotator.text((4, y), text)
        taken.append((0, y - 2, 8 + annotator.text_font(text).getlength(text), h))
    note = annotator.fit(note, w - 8)
    if note and h >= 6 * annotator.size:
        annotator.text((4, 4), note)
    written = len(taken)
    for box, (_, label, color, _) in zip(corners, boxes, strict=True):
        annotator.caption(box, label, color, taken, corners)
        if sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in taken[written:]) > CAPTIONS * w * h:
            break  # more names would hide the picture
    return annotator.result()


# Charts


def _matplotlib() -> Any:
    """matplotlib, kept from writing its list of fonts into the home folder: it goes into a folder that ends with the
    process, unless the user has chosen one."""
    if "matplotlib" not in sys.modules and "MPLCONFIGDIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="matplotlib-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["MPLCONFIGDIR"] = folder
        try:
            import matplotlib.font_manager  # matplotlib is heavy
        finally:
            del os.environ["MPLCONFIGDIR"]  # a process that this one starts makes its own
    import matplotlib.font_manager

    return matplotlib


def _figure(size: tuple[float, float]) -> Figure:
    _matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second to import: only when a chart is drawn
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _chart(draw: Callable[P, None]) -> Callable[P, None]:
    """Decorator: draw with a font that has the letters of class names, where the system has one."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> None:
        matplotlib = _matplotlib()
        known = set(matplotlib.font_manager.fontManager.get_font_names())
        families = ["DejaVu Sans", *(f for f in NON_LATIN_FONTS if f in known)]
        # A $ in a name is a $, no formula.
        with matplotlib.rc_context({"font.family": families, "text.parse_math": False}), warnings.catch_warnings():
            # A letter no font has is drawn as a box, and the picture shows it.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            draw(*args, **kwargs)

    return drawn


def _grid(axes: Axes) -> None:
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _tick(name: str) -> str:
    name = one_line(name)
    return name if len(name) <= 18 else f"{name[:17]}…"


@_chart
def plot_labels(boxes: Any, cls: Any, names: Mapping[int, str], save_dir: Path) -> None:
    """labels.jpg: boxes per class, where they lie, how large they are.

    Args:
        boxes: (M, 4) xywh in 0..1; cls: (M,); names: class names; save_dir: where to.
    """
    boxes, cls = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(cls).reshape(-1).astype(int)
    figure = _figure((10, 10))
    axes = figure.subplots(2, 2)
    for axis in axes.ravel():
        axis.set_box_aspect(1)  # one size for all, so that they line up
    counts = np.bincount(cls, minlength=len(names))
    bars = axes[0, 0].bar(range(len(counts)), counts, color=[np.array(colors(i)) / 255 for i in range(len(counts))])
    axes[0, 0].set_ylabel("boxes")
    axes[0, 0].set_title("boxes per class", fontsize=10)
    if len(names) <= 30:
        axes[0, 0].set_xticks(range(len(names)), [_tick(n) for n in names.values()], rotation=90)
        axes[0, 0].bar_label(bars, fontsize=7)
    else:
        axes[0, 0].set_xlabel("class id")
    axes[0, 1].set_title("boxes, centred", fontsize=10)
    for i in np.random.default_rng(0).permutation(len(boxes))[:500]:
        w, h = boxes[i, 2:]
        x, y = [0.5 - w / 2, 0.5 + w / 2], [0.5 - h / 2, 0.5 + h / 2]
        axes[0, 1].plot(
            [x[0], x[1], x[1], x[0], x[0]],
            [y[0], y[0], y[1], y[1], y[0]],
            color=np.array(colors(cls[i])) / 255,
            linewidth=0.5,
        )
    axes[0, 1].set(xlim=(0, 1), ylim=(1, 0))
    for axis, columns, labels, title in (
        (axes[1, 0], (0, 1), ("centre x", "centre y"), "where centres lie, parts of the picture"),
        (axes[1, 1], (2, 3), ("width", "height"), "sizes, parts of the picture"),
    ):
        values = boxes[:, columns]
        # Where all boxes are small, the whole range would be an empty square.
        ends = np.ones(2) if columns[0] == 0 else np.minimum(values.max(0, initial=0.02) * 1.05, 1)
        if len(values):
            axis.hist2d(values[:, 0], values[:, 1], bins=50, range=[[0, ends[0]], [0, ends[1]]], cmap="Blues")
        axis.set(xlabel=labels[0], ylabel=labels[1], xlim=(0, ends[0]), ylim=(0, ends[1]))
        axis.set_title(title, fontsize=10)
    axes[1, 0].invert_yaxis()
    figure.savefig(save_dir / "labels.jpg", dpi=150)


@_chart
def plot_dataset(
    boxes: Mapping[str, Any],
    per_image: Mapping[str, Any],
    shapes: Mapping[str, Any],
    names: Mapping[int, str],
    save_path: str | Path = "check.png",
) -> None:
    """What a data set is like: boxes per class, their sizes and shapes, boxes per image, image sizes; by split.

    Args:
        boxes: split → (M, 5) class, x, y, width, height, the latter in pixels; per_image: split → (n,) number of boxes;
        shapes: split → (n, 2) height and width; names: class names.
    """
    figure = _figure((15, 9))
    axes = figure.subplots(2, 3)
    hues = dict(zip(boxes, ("#4363d8", "#f58231", "#3cb44b"), strict=False))
    every = np.concatenate([np.zeros((0, 5)), *boxes.values()])
    counts = {
        split: np.bincount(b[b[:, 0] < len(names), 0].astype(int), minlength=len(names)) for split, b in boxes.items()
    }
    order = np.argsort(-sum(counts.values(), np.zeros(len(names), int)), kind="stable")[:30]
    thick = 0.8 / max(len(boxes), 1)
    for k, split in enumerate(boxes):
        place = np.arange(len(order)) - 0.4 + thick * (k + 0.5)
        bars = axes[0, 0].barh(place, counts[split][order], thick, color=hues[split], label=split)
        if len(order) <= 12:
            axes[0, 0].bar_label(bars, fontsize=7, padding=2)
    axes[0, 0].set_yticks(
        range(len(order)), [_tick(names[int(i)]) for i in order], fontsize=9 if len(order) < 16 else 7
    )
    axes[0, 0].invert_yaxis()
    axes[0, 0].set(title="boxes per class" + (f", the first 30 of {len(names)}" if len(names) > 30 else ""))
    side = np.sqrt((every[:, 3] * every[:, 4]).clip(1e-2))
    bins = np.geomspace(max(side.min(initial=4), 1), max(side.max(initial=64), 128), 41)
    ratios = np.geomspace(0.1, 10, 41)
    for split, b in boxes.items():
        area, ratio = (b[:, 3] * b[:, 4]).clip(1e-2), b[:, 3] / b[:, 4].clip(1e-9)
        style: dict[str, Any] = {"histtype": "step", "linewidth": 1.8, "color": hues[split], "label": split}
        axes[0, 1].hist(np.sqrt(area).clip(bins[0], bins[-1]), bins, **style)
        axes[0, 2].hist(ratio.clip(0.1, 10), ratios, **style)
        most = max((int(n.max(initial=0)) for n in per_image.values()), default=0)
        axes[1, 0].hist(per_image[split], np.arange(0, most + 2, max(most // 40, 1)) - 0.5, **style)
        sizes, count = np.unique(np.asarray(shapes[split]).reshape(-1, 2), axis=0, return_counts=True)
        dots = 12 + 8 * np.sqrt(count)
        axes[1, 2].scatter(sizes[:, 1], sizes[:, 0], dots, alpha=0.5, color=hues[split], label=split, linewidths=0)
    for bound in (32, 96):
        axes[0, 1].axvline(bound, color="#888888", linewidth=0.8, linestyle="--")
    axes[0, 1].set(
        xscale="log",
        xlabel="√area, pixels of the image file",
        ylabel="boxes",
        title="box sizes (COCO: small ¦ medium ¦ large)",
    )
    ticks = [t for t in (1, 3, 10, 32, 96, 300, 1000, 3000, 10000) if bins[0] <= t <= bins[-1]]
    axes[0, 1].set_xticks(ticks, [str(t) for t in ticks])  # matplotlib's own are formulas, which are not parsed here
    axes[0, 1].minorticks_off()
    axes[0, 2].set(xscale="log", xlabel="width : height", ylabel="boxes", title="box shapes")
    axes[0, 2].set_xticks([0.1, 0.2, 0.5, 1, 2, 5, 10], ["1:10", "1:5", "1:2", "1:1", "2:1", "5:1", "10:1"])
    axes[0, 2].minorticks_off()
    axes[1, 0].set(xlabel="boxes in an image", ylabel="images", title="boxes per image")
    if len(every):
        frames = [np.repeat(shapes[split][:, ::-1], per_image[split], 0) for split in boxes]
        part = every[:, 1:3] / np.concatenate(frames)
        axes[1, 1].hist2d(part[:, 0], part[:, 1], bins=40, range=[[0, 1], [0, 1]], cmap="Blues")
    axes[1, 1].set(xlabel="x", ylabel="y", title="where box centres lie", xlim=(0, 1), ylim=(1, 0), aspect="equal")
    axes[1, 2].set(xlabel="width", ylabel="height", title="image sizes, pixels")
    _name_sizes(axes[1, 2], np.concatenate([np.zeros((0, 2)), *shapes.values()]))
    for axis in axes.ravel():
        if axis is not axes[1, 1]:
            _grid(axis)
    if boxes:
        axes[0, 0].legend(fontsize=9, loc="lower right")
    figure.savefig(save_path, dpi=120)


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


@_chart
def plot_results(file: str | Path, save_dir: Path | None = None) -> None:
    """results.png: every column of results.csv over the epochs.

    Args:
        file: results.csv; save_dir: where to, beside the file when None.
    """
    file = Path(file)
    with file.open(encoding="utf-8") as f:
        rows = [{k.strip(): v.strip() for k, v in row.items()} for row in csv.DictReader(f)]
    order = ["train/box_loss", "train/cls_loss", "train/dfl_loss", "metrics/precision(B)", "metrics/recall(B)"]
    order += ["val/box_loss", "val/cls_loss", "val/dfl_loss", "metrics/mAP50(B)", "metrics/mAP50-95(B)"]
    shown = [c for c in order if rows and c in rows[0]]
    columns = 5 if len(shown) == len(order) else max(min(len(shown), 5), 1)
    figure = _figure((3.0 * columns, 2.8 * max(math.ceil(len(shown) / columns), 1)))
    axes = np.atleast_1d(figure.subplots(max(math.ceil(len(shown) / columns), 1), columns)).ravel()
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    for axis, column in zip(axes, shown, strict=False):
        points = [(int(float(r["epoch"])), float(r[column])) for r in rows if r[column]]
        x, y = [p[0] for p in points], np.array([p[1] for p in points])
        axis.plot(x, y, marker=".", markersize=4, linewidth=1, color="#4363d8", alpha=0.5 if len(x) > 8 else 1.0)
        if len(x) > 8:
            kernel = np.exp(-0.5 * (np.arange(-6, 7) / 2.0) ** 2)
            weight = np.convolve(np.ones_like(y), kernel, "same")
            axis.plot(
                x,
                np.convolve(y, kernel, "same")[: len(y)] / weight[: len(y)],
                linewidth=1.8,
                color="#e6194b",
                label="smoothed",
            )
        axis.set_title(column, fontsize=10)
        axis.xaxis.get_major_locator().set_params(integer=True)
        _grid(axis)
    if len(shown) and len(rows) > 8:
        axes[0].legend(fontsize=8)
    figure.savefig((save_dir or file.parent) / "results.png", dpi=150)


@_chart
def plot_pr_curve(
    px: Any, py: Any, ap: Any, save_path: str | Path = "PR_curve.png", names: Mapping[int, str] | None = None
) -> None:
    """Precision over recall.

    Args:
        px: (1000,) recall; py: per class (1000,) precision; ap: (classes, 10); names: class names by row of `ap`.
    """
    names = names or {}
    figure = _figure((8, 6))
    axes = figure.subplots()
    py, ap = np.stack([np.asarray(p) for p in py], 1) if len(py) else np.zeros((len(px), 0)), np.asarray(ap)
    legend = 0 < len(names) < 21
    for i in range(py.shape[1]):
        axes.plot(
            px,
            py[:, i],
            linewidth=1,
            color=np.array(colors(i)) / 255 if legend else "#b8c0cc",
            label=f"{_tick(list(names.values())[i])} {ap[i, 0]:.3f}" if legend else None,
        )
    if py.shape[1]:
        axes.plot(px, py.mean(1), linewidth=2.5, color="#1f2a44", label=f"all classes {ap[:, 0].mean():.3f} mAP@0.5")
        axes.legend(loc="lower left", fontsize=8)
    axes.set(xlabel="Recall", ylabel="Precision", xlim=(0, 1), ylim=(0, 1.02), title="Precision-Recall curve")
    _grid(axes)
    figure.savefig(save_path, dpi=150)


@_chart
def plot_mc_curve(
    px: Any,
    py: Any,
    save_path: str | Path = "mc_curve.png",
    names: Mapping[int, str] | None = None,
    xlabel: str = "Confidence",
    ylabel: str = "Metric",
) -> None:
    """A metric over confidence.

    Args:
        px: (1000,) confidence; py: (classes, 1000); names: class names by row.
    """
    names = names or {}
    figure = _figure((8, 6))
    axes = figure.subplots()
    py = np.asarray(py)
    legend = 0 < len(names) < 21
    for i, y in enumerate(py):
        axes.plot(
            px,
            y,
            linewidth=1,
            color=np.array(colors(i)) / 255 if legend else "#b8c0cc",
            label=_tick(list(names.values())[i]) if legend else None,
        )
    if len(py):
        mean = py.mean(0)
        axes.plot(
            px,
            mean,
            linewidth=2.5,
            color="#1f2a44",
            label=f"all classes {mean.max():.2f} at {np.asarray(px)[mean.argmax()]:.3f}",
        )
        axes.legend(loc="lower left", fontsize=8)
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(0, 1), ylim=(0, 1.02), title=f"{ylabel}-Confidence curve")
    _grid(axes)
    figure.savefig(save_path, dpi=150)


@_chart
def plot_confusion_matrix(matrix: Any, names: Sequence[str], normalize: bool, save_path: str | Path) -> None:
    """A confusion matrix, predictions down and labels across, background last.

    Args:
        matrix: (nc + 1, nc + 1); names: nc class names; normalize: parts of each column instead of counts.
    """
    values = np.asarray(matrix, np.float64)
    if normalize:
        values = values / np.maximum(values.sum(0, keepdims=True), 1e-9)
    count = len(names)
    side = min(max(6.0, 0.45 * (count + 1) + 3), 16)
    figure = _figure((side + 1, side))
    axes = figure.subplots()
    top = values.max() if values.size and values.max() > 0 else 1.0
    drawn = axes.imshow(np.where(values < 0.005, np.nan, values), cmap="Blues", vmin=0, vmax=top)
    if count < 30:
        for i in range(values.shape[0]):
            for j in range(values.shape[1]):
                if values[i, j] >= 0.005:
                    text = f"{values[i, j]:.2f}" if normalize else f"{int(values[i, j])}"
                    axes.text(
                        j,
                        i,
                        text,
                        ha="center",
                        va="center",
                        fontsize=8,
                        color="white" if values[i, j] > 0.55 * top else "#1f2a44",
                    )
    if count < 100:
        ticks = [*(_tick(n) for n in names), "background"]
        size = 9 if count < 30 else 5
        axes.set_xticks(range(len(ticks)), ticks, rotation=90, fontsize=size)
        axes.set_yticks(range(len(ticks)), ticks, fontsize=size)
    axes.set(xlabel="True", ylabel="Predicted", title="Confusion matrix" + (", per true class" if normalize else ""))
    figure.colorbar(drawn, fraction=0.046, pad=0.03)
    figure.savefig(save_path, dpi=150)
