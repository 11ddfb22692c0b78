"""Boxes and names on images: drawn with Pillow, for every letter there is a font of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from ultralytics.utils.boxes import clip_boxes, xywh2xyxy, xyxy2xywh
from ultralytics.utils.errors import UserError
from ultralytics.utils.files import increment_path
from ultralytics.utils.fonts import Lettering, faces
from ultralytics.utils.images import imwrite
from ultralytics.utils.lazy import no_such_member
from ultralytics.utils.shapes import blend, skeleton
from ultralytics.utils.text import one_line
from ultralytics.utils.types import Float32Array, Float64Array, UInt8Array

_ELSEWHERE = "draw it with OpenCV on result()"
_SOLUTIONS = """circle_label display_analytics display_objects_labels draw_centroid_and_tracks draw_region
draw_specific_points estimate_pose_angle plot_angle_and_count_and_stage plot_distance_and_line queue_counts_display
seg_bbox text_label visioneye dark_colors light_colors kpt_color limb_color skeleton get_txt_color"""
LINES, LETTERS = 0.003, 0.035 * 0.55  # width of lines and size of letters, parts of an image's mean side
LEAST_LETTERS = 11  # pixels
CAPTIONS = 0.15  # part of an image that class names may cover
_REFERENCE_FONTS = ("Arial.ttf", "Arial.Unicode.ttf")  # its defaults, which it would fetch


class Annotator:
    """Draw boxes and names on an image.

    Args:
        im: BGR uint8 (H, W, 3), or a Pillow image.
        line_width: pixels, by the image's size when None.
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
        self.lw = max(int(line_width or round(sum(im.shape[:2]) / 2 * LINES)), 1 if line_width else 2)
        self.size = int(font_size or max(round(sum(im.shape[:2]) / 2 * LETTERS), LEAST_LETTERS))
        self.font, self.example = font, example
        self.pil = True  # how it is drawn
        self.sf = self.size / 32
        self._shown = None if pil else im
        self.fromarray(im)

    __getattr__ = no_such_member(dict.fromkeys(_SOLUTIONS.split(), _ELSEWHERE))

    def text_font(self, text: str) -> Lettering:
        """Return the lettering of a text: built-in letters for Latin ones, installed fonts for others."""
        return Lettering(self.size, faces(text + self.example, self.font))

    def box_label(
        self,
        box: Any,
        label: str = "",
        color: tuple[int, int, int] = (128, 128, 128),
        txt_color: tuple[int, int, int] = (255, 255, 255),
        rotated: bool = False,
    ) -> None:
        """A box (xyxy, pixels) with a caption above it, or inside it at the image's upper edge. Colours are BGR; of a
        rotated box the four corners (4, 2) are given."""
        rgb = color[::-1]
        if rotated:
            x1, y1 = self._quadrangle(box, rgb)
        else:
            x1, y1, x2, y2 = (float(v) for v in box)
            x2, y2 = max(x1, x2), max(y1, y2)
            self.draw.rectangle((x1, y1, x2, y2), outline=rgb, width=self.lw)
            self._show(x1, y1, x2, y2)
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

    def _quadrangle(self, corners: Any, rgb: tuple[int, int, int]) -> tuple[float, float]:
        """Draw a box of four corners (4, 2); return the uppermost."""
        points = [(float(x), float(y)) for x, y in corners]
        self.draw.line([*points, *points[:2]], fill=rgb, width=self.lw, joint="curve")
        x, y = zip(*points, strict=True)
        self._show(min(x), min(y), max(x), max(y))
        return min(points, key=lambda point: point[1])

    def masks(
        self,
        masks: Any,
        colors: Sequence[tuple[int, int, int]],
        im_gpu: Any = None,
        alpha: float = 0.5,
        retina_masks: bool = False,
    ) -> None:
        """Tint what masks cover, and draw their outlines.

        Args:
            masks: (n, H, W) of 0 and others, of the image's size: a tensor, an array, or one after another.
            colors: of each, BGR.
            alpha: part of the colour, 0..1.
            im_gpu, retina_masks: of the reference, without effect.
        """
        image = self.result()
        each = (m.cpu().numpy() if isinstance(m, torch.Tensor) else np.asarray(m) for m in masks)
        blend(image, each, colors, alpha)
        self.fromarray(image)
        self._show(0, 0, self.im.width, self.im.height)

    def kpts(
        self,
        kpts: Any,
        shape: Sequence[int] = (640, 640),
        radius: float = 5,
        kpt_line: bool = True,
        conf_thres: float = 0.25,
        kpt_color: tuple[int, int, int] | None = None,
    ) -> None:
        """The keypoints of an object (K, 2 or 3), see `shapes.skeleton`; colour is BGR."""
        points = kpts.cpu().numpy() if isinstance(kpts, torch.Tensor) else np.asarray(kpts)
        radius, width = max(radius, self.lw + 1), max(self.lw, 2)
        rgb = None if kpt_color is None else kpt_color[::-1]
        skeleton(self.draw, points, shape, radius, width, kpt_line, conf_thres, rgb)
        self._show(0, 0, self.im.width, self.im.height)

    def lines(self, texts: Sequence[str]) -> None:
        """Texts one below another, in the image's top-left corner."""
        x = y = max(round(0.03 * self.im.height), 2)
        for text in texts:
            self.text((x, y), text)
            y += self.size + max(self.size // 3, 4)

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

    def trail(self, points: Float32Array, color: tuple[int, int, int]) -> None:
        """A line through points (k, 2) in pixels, with a dot at the last. Colour is BGR."""
        path = [(float(x), float(y)) for x, y in points]
        if len(path) > 1:
            self.draw.line(path, fill=color[::-1], width=self.lw, joint="curve")
        x, y = path[-1]
        self.draw.ellipse((x - self.lw, y - self.lw, x + self.lw, y + self.lw), fill=color[::-1])
        self._show(*(f(p[k] for p in path) + d * self.lw for f, d in ((min, -1), (max, 1)) for k in (0, 1)))

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
            box: xyxy, pixels.
            label: the text.
            color: of the ground, BGR.
            taken: rectangles to stay clear of, to which the new one is added.
            boxes: all of the image (its own too), of none of which it covers more than a third.

        Returns:
            True if it was written.
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
            if inside and not any(_touch(place, other) for other in taken) and _largest_cover(place, corners) <= 1 / 3:
                taken.append(place)
                self.draw.rectangle(place, fill=color[::-1])
                font.draw(self.draw, (x + 2 - left, y + 1), label, (255, 255, 255))
                return True
        return False

    def fit(self, text: str, width: float) -> str:
        """Return the text, cut and with "…" at its end where it is wider than `width` pixels; "" where nothing fits."""
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
        """Draw on another image, BGR uint8, from now on."""
        self.im = Image.fromarray(np.ascontiguousarray(im[..., ::-1]))
        self.draw = ImageDraw.Draw(self.im)

    def result(self) -> UInt8Array:
        """Return the image, BGR uint8."""
        return np.ascontiguousarray(np.asarray(self.im)[..., ::-1])

    def save(self, filename: str | Path = "image.jpg") -> None:
        """Write the image."""
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


def sizes_for(shape: Sequence[int], boxes: Float32Array) -> tuple[int, int] | None:
    """Return the width of lines and the size of letters, pixels, that go with small boxes on a large image.

    Letters follow the image's size, as an `Annotator`'s do, and are reduced by steps of √2, so that frames of a video
    are mostly drawn alike, until they are a quarter of the boxes.

    Args:
        shape: (h, w) of the image.
        boxes: (n, 4) xyxy, pixels.

    Returns:
        None where the letters of the image's own size are at most half as high as boxes are (the median of √area), and
        on an ordinary image, where they are less than twice the least size.
    """
    letters = sum(shape[:2]) / 2 * LETTERS
    if letters < 2 * LEAST_LETTERS or not len(boxes):
        return None
    side = float(np.median(np.sqrt((boxes[:, 2:4] - boxes[:, :2]).clip(0).prod(1))))
    if letters <= side / 2:
        return None
    while letters > max(side / 4, LEAST_LETTERS):
        letters /= math.sqrt(2)
    letters = max(letters, LEAST_LETTERS)
    return max(round(min(letters * LINES / LETTERS, side / 24)), 1), round(letters)


def _largest_cover(place: Sequence[float], boxes: Float64Array) -> float:
    """Return the largest part of a box (n, 4) xyxy that a rectangle covers."""
    inner = np.minimum(boxes[:, 2:], place[2:]) - np.maximum(boxes[:, :2], place[:2])
    area = (boxes[:, 2:] - boxes[:, :2]).clip(1).prod(1)
    return float((inner.clip(0).prod(1) / area).max(initial=0))


def _touch(a: Sequence[float], b: Sequence[float]) -> bool:
    """Return True if two rectangles (xyxy) overlap."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


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
    """Cut out the part of an image that a box (xyxy, pixels) covers, a little enlarged, and write it to a new file.

    Args:
        xyxy: the box.
        im: BGR uint8 (H, W, 3).
        file: numbered so that it is new, its folders are made.
        gain: how much larger, a factor.
        pad: and then pixels.
        square: as high as wide.
        BGR: return BGR, else RGB.
        save: write it.
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
    """Write the first `n` channels of the first image's maps as an image, and all of them as .npy.

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
