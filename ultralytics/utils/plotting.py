"""Pictures of a run: boxes on images, label statistics, curves, confusion matrices.

Charts are drawn on matplotlib's Agg canvas without pyplot, so no display, no global state and no leak.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import inspect
import io
import itertools
import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from ultralytics.utils.boxes import clip_boxes, xywh2xyxy, xyxy2xywh
from ultralytics.utils.errors import UserError
from ultralytics.utils.files import increment_path
from ultralytics.utils.fonts import Lettering, faces, families, fit_for_type_42, load_matplotlib, quiet, reason
from ultralytics.utils.images import imwrite, write_image
from ultralytics.utils.lazy import later, no_such_member
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted, one_line
from ultralytics.utils.types import Float32Array, Float64Array, RatioPad, UInt8Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__getattr__ = later(
    __name__,
    {"pil_version": "PIL:__version__"},
    {
        "output_to_rotated_target": "rotated boxes are not offered: output_to_target takes upright ones",
        "plot_tune_results": "run train with several values and compare their results.csv",
        "plt_color_scatter": "matplotlib's scatter(x, y, c=density) draws it",
    },
)
P = ParamSpec("P")
DPI = 150
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
# Lines that the colour-blind can tell apart (Okabe & Ito 2008).
_BLOCK_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")


class Colors:
    """A colour per class id, repeating after twenty."""

    def __init__(self) -> None:
        self.palette = [self.hex2rgb(h) for h in PALETTE]
        self.n = len(self.palette)

    @staticmethod
    def hex2rgb(h: str) -> tuple[int, int, int]:
        """ "#FF8000" as (255, 128, 0)."""
        r, g, b = (int(h[i : i + 2], 16) for i in (1, 3, 5))
        return r, g, b

    def __call__(self, i: int, bgr: bool = False) -> tuple[int, int, int]:
        """RGB, or BGR."""
        r, g, b = self.palette[int(i) % self.n]
        return (b, g, r) if bgr else (r, g, b)


colors = Colors()


_ELSEWHERE = "draw it with OpenCV on result()"
_SOLUTIONS = """circle_label display_analytics display_objects_labels draw_centroid_and_tracks draw_region
draw_specific_points estimate_pose_angle plot_angle_and_count_and_stage plot_distance_and_line queue_counts_display
seg_bbox text_label visioneye masks kpts dark_colors light_colors kpt_color limb_color skeleton get_txt_color"""
_REFERENCE_FONTS = ("Arial.ttf", "Arial.Unicode.ttf")  # its defaults, which it would fetch


class Annotator:
    """Draw boxes and names on a picture.

    Args:
        im: BGR uint8 (H, W, 3), or a Pillow image. line_width: pixels, by the picture's size when None.
        font_size: pixels.
        font: a font file, or the name of an installed one, to prefer; letters it lacks are taken from others.
        pil: draw on a copy, which `result` gives; else an array that can be written to shows what `box_label`, `text`
        and `rectangle` draw at once, as in the reference.
        example: all names that are written, joined; together with the text their letters choose the fonts.

    Raises:
        ConfigError: there is no such font.
    """

    def __init__(
        self,
        im: UInt8Array | Image.Image,
        line_width: float | None = None,
        font_size: float | None = None,
        font: str | None = None,
        pil: bool = False,
        example: str = "abc",
    ) -> None:
        if isinstance(im, Image.Image):
            im, pil = np.asarray(im.convert("RGB"))[..., ::-1], True  # BGR
        font = None if font in _REFERENCE_FONTS else font
        self.lw = max(int(line_width or round(sum(im.shape[:2]) / 2 * 0.003)), 1 if line_width else 2)
        self.size = int(font_size or max(round(sum(im.shape[:2]) / 2 * 0.035 * 0.55), 11))
        self.font, self.example = font, example
        self.pil = True  # how it is drawn
        self.sf = self.size / 32
        self._shown = None if pil else im
        self.fromarray(im)

    __getattr__ = no_such_member(dict.fromkeys(_SOLUTIONS.split(), _ELSEWHERE))

    def text_font(self, text: str) -> Lettering:
        """How a text is written: built-in letters for Latin ones, installed fonts for others."""
        return Lettering(self.size, faces(text + self.example, self.font))

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
        self._show(x1, y1, max(x1, x2), max(y1, y2))
        if not label:
            return
        label = one_line(label, 100)
        font = self.text_font(label)
        left, _, right, bottom = font.getbbox(label)
        w, h = right - left + 4, bottom + 3
        x = min(max(x1, 0.0), max(self.im.width - w, 0.0))
        y = y1 - h if y1 >= h else y1
        self.draw.rectangle((x, y, x + w, y + h), fill=rgb)
        font.draw(self.draw, (x + 2 - left, y + 1), label, txt_color[::-1])
        self._show(x, y, x + w, y + h)

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
                font.draw(self.draw, (x + 2 - left, y + 1), label, (255, 255, 255))
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
        left, top, right, bottom = font.getbbox(text)
        x, y = xy
        ground = x + left - 2, y + top - 2, x + right + 2, y + bottom + 2
        self.draw.rectangle(ground, fill=(40, 40, 40))
        font.draw(self.draw, xy, text, txt_color[::-1])
        self._show(*ground)

    def rectangle(self, xy: Any, fill: Any = None, outline: Any = None, width: int = 1) -> None:
        """A rectangle (xyxy, pixels) as Pillow draws it; colours are RGB."""
        self.draw.rectangle(xy, fill, outline, width)
        self._show(*np.asarray(xy, float).ravel())

    def _show(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """Copy a part of what is drawn to the array that the user handed over."""
        if self._shown is None or not self._shown.flags.writeable:
            return
        height, width = self._shown.shape[:2]
        left, top = max(math.floor(x1) - self.lw, 0), max(math.floor(y1) - self.lw, 0)
        right, bottom = min(math.ceil(x2) + self.lw + 1, width), min(math.ceil(y2) + self.lw + 1, height)
        if left < right and top < bottom:
            part = np.asarray(self.im.crop((left, top, right, bottom)))
            self._shown[top:bottom, left:right] = part[..., ::-1]

    def fromarray(self, im: UInt8Array) -> None:
        """Draw on another picture, BGR uint8, from now on."""
        self.im = Image.fromarray(np.ascontiguousarray(im[..., ::-1]))
        self.draw = ImageDraw.Draw(self.im)

    def result(self) -> UInt8Array:
        """The picture, BGR uint8."""
        return np.ascontiguousarray(np.asarray(self.im)[..., ::-1])

    def save(self, filename: str | Path = "image.jpg") -> None:
        """Write the picture."""
        imwrite(filename, self.result())

    def show(self, title: str | None = None) -> None:
        """Not offered.

        Raises:
            UserError: always.
        """
        raise UserError("Annotator.show is not offered", hint="save(filename), and look at it")

    @staticmethod
    def get_bbox_dimension(bbox: Sequence[float]) -> tuple[float, float, float]:
        """Width, height and area of a box (xyxy)."""
        width, height = bbox[2] - bbox[0], bbox[3] - bbox[1]
        return width, height, width * height


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
    font: str | None = None,
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
        group: so many pictures in a row belong together; a gap follows them. font: see `Annotator`.
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
    example = "".join(names.values())
    of_picture = _boxes_of(batch, count, names, conf_thres)
    for i, picture in enumerate(pictures):
        picture = np.ascontiguousarray(picture)
        tile = cv2.resize(picture, (tile_w, tile_h), interpolation=cv2.INTER_AREA) if gain < 1 else picture
        text = Path(batch["im_file"][i]).name if captions is None else captions[i]
        line, column = divmod(i, columns)
        y, x = line * (tile_h + gap), column * tile_w + column // group * gap
        note = "" if of_picture[i] or "conf" not in batch else f"no detection above {conf_thres:g}"
        grid[y : y + tile_h, x : x + tile_w] = _tile(tile, of_picture[i], text, example, note, font)  # type: ignore[arg-type]  # uint8 stays uint8
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
        if len(regions) and batch["ratio_pad"][i] is not None:  # None: a mosaic
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


def _tile(
    picture: UInt8Array, boxes: Sequence[_Box], text: str, example: str, note: str = "", font: str | None = None
) -> UInt8Array:
    """A picture with its boxes, a text at its lower edge and a note at its upper one; a small one has thinner lines and
    smaller letters."""
    h, w = picture.shape[:2]
    side = min(h, w)
    size = min(max(round(side * 0.04), 8), 13)
    annotator = Annotator(picture, 1 if side < 200 else 2, size, font, pil=True, example=example)
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


@contextlib.contextmanager
def optional(picture: str | Path) -> Iterator[None]:
    """For a picture that a run can do without: whatever prevents it is a warning of one line, and the run goes on.

    Ctrl-C and requests to stop pass.
    """
    try:
        yield
    except Exception as e:
        told = str(e) if isinstance(e, UserError) else f"{picture}: {reason(e)}"
        LOGGER.warning("WARNING: not drawn: %s", told)


def _chart(pdf: bool = False, dpi: int = DPI) -> Callable[[Callable[P, tuple[Figure, Path]]], Callable[P, None]]:
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
                _save(figure, path, dpi=dpi)
                if pdf:
                    _save(figure, path.with_suffix(".pdf"), dpi=dpi, metadata={"CreationDate": None})

        return drawn

    return decorate


def _save(figure: Figure, path: Path, *, dpi: int, **options: Any) -> None:
    file = io.BytesIO()
    kind = path.suffix[1:].lower()
    if kind == "png":
        options["pil_kwargs"] = {"compress_level": 4}  # half the time for a few per cent of the size
    figure.savefig(file, format=kind, dpi=dpi, **options)
    write_image(path, file.getbuffer())


def _figure(size: tuple[float, float], layout: Any = "constrained") -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second to import: only when a chart is drawn
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _grid(axes: Axes) -> None:
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _square(width: float, height: float, room: tuple[float, float, float, float]) -> tuple[Figure, Axes]:
    """A figure with one panel of so many inches and room left, below, right of and above it. It is much quicker than
    to let matplotlib measure all texts again and again."""
    left, bottom, right, top = room
    wide, high = left + width + right, bottom + height + top
    figure = _figure((wide, high), None)
    return figure, figure.add_axes((left / wide, bottom / high, width / wide, height / high))


def _inches(texts: Iterable[str], size: float) -> float:
    """Width of the longest of some texts in letters of so many points; an upper bound."""
    ems = (sum(1.15 if unicodedata.east_asian_width(c) in "WF" else 0.6 for c in text) for text in texts)
    return max(ems, default=0.0) * size / 72


def _tick(name: str) -> str:
    name = one_line(name)
    return name if len(name) <= 18 else f"{name[:17]}…"


@_chart()
def plot_labels(
    boxes: Any, cls: Any, names: Mapping[int, str], save_dir: Path, font: str | None = None
) -> tuple[Figure, Path]:
    """labels.jpg: boxes per class, where they lie, how large they are.

    Args:
        boxes: (M, 4) xywh in 0..1; cls: (M,); names: class names; save_dir: where to.
    """
    from matplotlib.collections import LineCollection  # as in _figure

    boxes, cls = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(cls).reshape(-1).astype(int)
    figure = _figure((10, 10))
    axes = figure.subplots(2, 2)
    for axis in axes.ravel():
        axis.set_box_aspect(1)  # one size for all, so that they line up
    counts = np.bincount(cls, minlength=len(names))
    axes[0, 0].set(ylabel="boxes", ylim=(0, max(counts.max(initial=0) * 1.08, 1)))
    axes[0, 0].set_title("boxes per class", fontsize=10)
    if len(counts) <= 30:
        bars = axes[0, 0].bar(range(len(counts)), counts, color=[_rgb(i) for i in range(len(counts))])
        ticks = [_tick(names.get(i, str(i))) for i in range(len(counts))]
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
    """The colour of a class as matplotlib takes it."""
    return tuple(v / 255 for v in colors(i))


@_chart()
def plot_dataset(
    boxes: Mapping[str, Any],
    per_image: Mapping[str, Any],
    shapes: Mapping[str, Any],
    names: Mapping[int, str],
    save_path: str | Path = "check.png",
    font: str | None = None,
) -> tuple[Figure, Path]:
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
    for counts_axis in (axes[0, 0].xaxis, axes[0, 1].yaxis, axes[0, 2].yaxis, axes[1, 0].xaxis, axes[1, 0].yaxis):
        counts_axis.get_major_locator().set_params(integer=True)
    for axis in axes.ravel():
        if axis is not axes[1, 1]:
            _grid(axis)
    if boxes:
        axes[0, 0].legend(fontsize=9, loc="lower right")
    return figure, Path(save_path)


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


@_chart(pdf=True)
def plot_results(file: str | Path, save_dir: Path | None = None, font: str | None = None) -> tuple[Figure, Path]:
    """results.png and .pdf: every column of results.csv over the epochs.

    Args:
        file: results.csv; save_dir: where to, beside the file when None.
    """
    file = Path(file)
    with file.open(encoding="utf-8") as f:
        # A row that was cut short has columns without a value.
        rows = [{k.strip(): (v or "").strip() for k, v in row.items() if k} for row in csv.DictReader(f)]
    order = ["train/box_loss", "train/cls_loss", "train/dfl_loss", "metrics/precision(B)", "metrics/recall(B)"]
    order += ["val/box_loss", "val/cls_loss", "val/dfl_loss", "metrics/mAP50(B)", "metrics/mAP50-95(B)"]
    shown = [c for c in order if rows and c in rows[0]]
    columns = 5 if len(shown) == len(order) else max(min(len(shown), 5), 1)
    lines = max(math.ceil(len(shown) / columns), 1)
    wide, high = 3.0 * columns, 2.8 * lines + 0.2
    figure = _figure((wide, high), None)
    axes = np.atleast_1d(figure.subplots(lines, columns)).ravel()
    # Inches: a panel is 2.35 wide and 2.25 high, and between two of them is room for numbers and a title.
    figure.subplots_adjust(
        0.6 / wide, 0.45 / high, 1 - 0.1 / wide, 1 - 0.3 / high, wspace=0.65 / 2.35, hspace=0.55 / 2.25
    )
    for axis in axes[max(len(shown), 1) :]:
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
        axis.tick_params(labelsize=8)
        axis.xaxis.get_major_locator().set_params(integer=True)
        _grid(axis)
    for axis in axes[: len(shown)][-columns:]:
        axis.set_xlabel("epoch")
    if len(shown) and len(rows) > 8:
        axes[0].legend(fontsize=8)
    return figure, (save_dir or file.parent) / "results.png"


@_chart(pdf=True)
def plot_blocks(file: str | Path, blocks: Mapping[str, str], save_dir: Path | None = None) -> tuple[Figure, Path]:
    """attention.png and .pdf: over the epochs, how much each inserted block changes its map, and its mean |gate|.

    Args:
        file: results.csv; blocks: column prefix → kind of module; save_dir: where to, beside the file when None.
    """
    file = Path(file)
    with file.open(encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    figure = _figure((7.0, 2.9))
    panels = (("share", "change of the map, ‖y − x‖ / ‖x‖"), ("gate_mean", "mean |gate|"))
    for axis, (column, title) in zip(figure.subplots(1, 2), panels, strict=True):
        for (prefix, kind), colour in zip(blocks.items(), itertools.cycle(_BLOCK_COLOURS)):  # as long as the blocks
            key, label = f"{prefix}/{column}", f"{prefix.removeprefix('block/')} {kind}"
            points = [(int(float(r["epoch"])), float(r[key])) for r in rows if r.get(key)]
            x, y = [p[0] for p in points], [p[1] for p in points]
            axis.plot(x, y, marker=".", linewidth=1.2, color=colour, label=label)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("epoch")
        axis.set_ylim(bottom=0)
        axis.tick_params(labelsize=8)
        axis.xaxis.get_major_locator().set_params(integer=True)
        _grid(axis)
        axis.legend(fontsize=8)
    return figure, (save_dir or file.parent) / "attention.png"


@_chart(pdf=True)
def plot_pr_curve(
    px: Any,
    py: Any,
    ap: Any,
    save_path: str | Path = "PR_curve.png",
    names: Mapping[int, str] | None = None,
    font: str | None = None,
) -> tuple[Figure, Path]:
    """Precision over recall, as .png and .pdf.

    Args:
        px: (1000,) recall; py: per class (1000,) precision; ap: (classes, 10); names: class names by row of `ap`.
    """
    py, ap = np.asarray(py).reshape(-1, len(px)), np.asarray(ap)
    labels = [f"{_tick(name)} {value:.3f}" for name, value in zip((names or {}).values(), ap[:, 0], strict=False)]
    told = f"all classes {ap[:, 0].mean():.3f} mAP@0.5" if len(py) else ""
    return _curves(px, py, labels, told, "Recall", "Precision", "Precision-Recall curve"), Path(save_path)


@_chart(pdf=True)
def plot_mc_curve(
    px: Any,
    py: Any,
    save_path: str | Path = "mc_curve.png",
    names: Mapping[int, str] | None = None,
    xlabel: str = "Confidence",
    ylabel: str = "Metric",
    font: str | None = None,
) -> tuple[Figure, Path]:
    """A metric over confidence, as .png and .pdf.

    Args:
        px: (1000,) confidence; py: (classes, 1000); names: class names by row.
    """
    py = np.asarray(py).reshape(-1, len(px))
    labels = [_tick(name) for name in (names or {}).values()]
    told = ""
    if len(py):
        mean = py.mean(0)
        told = f"all classes {mean.max():.2f} at {np.asarray(px)[mean.argmax()]:.3f}"
    return _curves(px, py, labels, told, xlabel, ylabel, f"{ylabel}-{xlabel} curve"), Path(save_path)


def _curves(
    px: Any, py: Float64Array, labels: Sequence[str], told: str, xlabel: str, ylabel: str, title: str
) -> Figure:
    """A curve per class and their mean; the legend lies beside them and covers none. Many classes are grey, unnamed
    and, where a PDF would have a million points, pixels there too."""
    from matplotlib.collections import LineCollection  # as in _figure

    named = len(py) <= len(PALETTE) and len(labels) == len(py)
    size = 9 if len(py) <= 12 else 8
    side = _inches([*labels, told], size) + 0.7 if named and len(py) else 0.15
    figure, axes = _square(6.6, 5.0, (0.7, 0.6 if named else 0.9, side, 0.4))
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
        texts = [*labels, told]
        legend = axes.legend(drawn, ["…"] * len(drawn), fontsize=size, frameon=False, borderaxespad=0, **place)
        for text, label in zip(legend.get_texts(), texts, strict=True):
            text.set_text(label)  # matplotlib leaves out what is labelled "_…"
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(0, 1), ylim=(0, 1.02), title=title)
    _grid(axes)
    return figure


@_chart(pdf=True)
def plot_confusion_matrix(
    matrix: Any, names: Sequence[str], normalize: bool, save_path: str | Path, font: str | None = None
) -> tuple[Figure, Path]:
    """A confusion matrix, predictions down and labels across, background last, as .png and .pdf.

    Args:
        matrix: (nc + 1, nc + 1); names: nc class names; normalize: parts of each column instead of counts.
    """
    values = np.asarray(matrix, np.float64)
    if normalize:
        values = values / np.maximum(values.sum(0, keepdims=True), 1e-9)
    count = len(values) - 1
    side = min(max(4.5, 0.42 * (count + 1)), 14)
    size = 10 if count < 12 else 9 if count < 30 else 7 if count < 60 else 6
    labels = [*map(_tick, names), "background"] if count < 100 else []
    margin = _inches(labels, size) + 0.35 if labels else 0.75
    figure, axes = _square(side, side, (margin, margin, 1.0, 0.4))
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
    wide, high = figure.get_size_inches()
    figure.colorbar(drawn, cax=figure.add_axes((1 - 0.85 / wide, margin / high, 0.2 / wide, side / high)))
    return figure, Path(save_path)


def save_one_box(
    xyxy: Any,
    im: UInt8Array,
    file: str | Path = "im.jpg",
    gain: float = 1.02,
    pad: float = 10,
    square: bool = False,
    BGR: bool = False,
    save: bool = True,
) -> UInt8Array:
    """The part of an image that a box (xyxy, pixels) covers, a little enlarged; it is written to a new file.

    Args:
        im: BGR uint8 (H, W, 3); file: numbered so that it is new, its folders are made; gain, pad: how much larger,
        a factor, then pixels; square: as high as wide; BGR: return BGR, else RGB; save: write it.
    """
    box = torch.as_tensor(xyxy).reshape(-1, 4).float()
    x, y, w, h = xyxy2xywh(box)[0].tolist()
    w, h = (max(w, h),) * 2 if square else (w, h)
    w, h = w * gain + pad, h * gain + pad
    corners = clip_boxes(xywh2xyxy(torch.tensor([[x, y, w, h]])).long(), im.shape)[0].tolist()
    crop = im[corners[1] : corners[3], corners[0] : corners[2], :: 1 if BGR else -1]
    if save:
        target = increment_path(Path(file)).with_suffix(".jpg")
        target.parent.mkdir(parents=True, exist_ok=True)
        imwrite(target, np.ascontiguousarray(crop if BGR else crop[..., ::-1]))
    return crop


def output_to_target(
    output: Sequence[Any], max_det: int = 300
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Detections of a batch, (n, 6) for each image, as image numbers, classes, boxes (xywh, pixels) and scores."""
    parts = [
        torch.cat([torch.full((len(found[:max_det]), 1), float(i)), found[:max_det].cpu().float()], 1)
        for i, found in enumerate(output)
    ]
    rows = torch.cat(parts) if parts else torch.zeros(0, 7)
    return rows[:, 0].numpy(), rows[:, 6].numpy(), xyxy2xywh(rows[:, 1:5]).numpy(), rows[:, 5].numpy()


def feature_visualization(
    x: Any, module_type: str, stage: int, n: int = 32, save_dir: str | Path = "runs/detect/exp"
) -> None:
    """Write the first `n` channels of the first image's maps as a picture, and all of them as .npy.

    Args:
        x: (B, C, H, W); maps of 1×1 and what a head gives are left out. module_type, stage: of the row, for the name.
    """
    if "Detect" in module_type or not isinstance(x, torch.Tensor) or x.ndim != 4 or min(x.shape[2:]) < 2:
        return
    maps = x[0].detach().float().cpu()
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    grey = ((maps - low) / (high - low).clamp(min=1e-12) * 255).byte()[:n].numpy()
    columns = min(8, len(grey))
    grey = np.pad(grey, ((0, -len(grey) % columns), (0, 2), (0, 2)), constant_values=255)
    grid = np.concatenate([np.concatenate(list(line), 1) for line in grey.reshape(-1, columns, *grey.shape[1:])], 0)
    folder = Path(save_dir)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"stage{stage}_{module_type.split('.')[-1]}_features"
    imwrite(folder / f"{name}.png", cv2.applyColorMap(grid, cv2.COLORMAP_VIRIDIS))  # type: ignore[arg-type]  # uint8
    np.save(folder / f"{name}.npy", maps.numpy())
