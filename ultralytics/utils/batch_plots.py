"""A batch drawn as a grid of images, with what is labelled or was found in them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict, cast

import cv2
import numpy as np
import torch

from ultralytics.utils.annotate import CAPTIONS, Annotator
from ultralytics.utils.colors import colors
from ultralytics.utils.images import imwrite
from ultralytics.utils.types import Batch, Float32Array, RatioPad, UInt8Array


def plot_images(
    batch: Batch | DetectionBatch,
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
    """Draw a batch as a grid of images with boxes and file names. What belongs to an image stays inside it, and a class
    name that would cover another, or hide the image together with others, is left out: the largest boxes come first.

    Args:
        batch: img (B, 3, H, W) RGB, uint8 or 0..1; batch_idx, cls, bboxes (xywh, 0..1), im_file; with `conf`, boxes
            below `conf_thres` are left out, and an image without any says so; with `ignored`, `ratio_pad` and
            `ori_shape`, ignored regions are dashed and grey.
        fname: .jpg or .png.
        names: class names.
        max_subplots: images drawn.
        max_size: longest side of the grid, pixels.
        conf_thres: lowest score drawn.
        columns: images in a row; as many as rows when None.
        captions: below each image, its file name when None.
        group: so many images in a row belong together; a gap follows them.
        font: see `Annotator`.
    """
    drawn = cast("_Drawn", batch)
    images = drawn["img"][:max_subplots].detach().cpu()
    if images.is_floating_point():
        images = (images.float() * 255).round().clamp(0, 255).to(torch.uint8)
    frames = images.permute(0, 2, 3, 1).numpy()[..., ::-1]
    count, h, w = frames.shape[:3]
    columns = columns or math.ceil(math.sqrt(count))
    lines = math.ceil(count / columns)
    gap = GAP if group > 1 else 0
    gaps = (columns - 1) // group * gap, (lines - 1) * gap
    gain = min(1.0, (max_size - gaps[0]) / (columns * w), (max_size - gaps[1]) / (lines * h))
    tile_w, tile_h = max(int(w * gain), 1), max(int(h * gain), 1)
    grid = np.full((lines * tile_h + gaps[1], columns * tile_w + gaps[0], 3), 255, np.uint8)
    names = names or {}
    example = "".join(names.values())
    boxes_of = _boxes_of(drawn, count, names, conf_thres)
    for i, frame in enumerate(frames):
        frame = np.ascontiguousarray(frame)
        tile = cv2.resize(frame, (tile_w, tile_h), interpolation=cv2.INTER_AREA) if gain < 1 else frame
        text = Path(drawn["im_file"][i]).name if captions is None else captions[i]
        line, column = divmod(i, columns)
        y, x = line * (tile_h + gap), column * tile_w + column // group * gap
        note = "" if boxes_of[i] or "conf" not in batch else f"no detection above {conf_thres:g}"
        grid[y : y + tile_h, x : x + tile_w] = _tile(tile, boxes_of[i], text, example, note, font)  # type: ignore[arg-type]  # uint8 stays uint8
    imwrite(fname, grid)


GAP = 8  # pixels between groups of images
_GREY = (170, 170, 170)


class DetectionBatch(TypedDict):
    """The detections of a batch's images, to draw."""

    img: torch.Tensor  # (B, 3, H, W) RGB, uint8 or 0..1
    im_file: list[str]
    batch_idx: torch.Tensor  # (M,) which image of the batch a box belongs to
    cls: torch.Tensor  # (M,)
    conf: torch.Tensor  # (M,)
    bboxes: torch.Tensor  # (M, 4) xywh, centre, 0..1


class _Drawn(Batch, total=False):
    """A batch of labels, or of detections with their scores; what is missing is not drawn."""

    conf: torch.Tensor


# A box of an image: xyxy in 0..1, caption, colour (BGR), True if it is dashed.
_Box = tuple[tuple[float, float, float, float], str, tuple[int, int, int], bool]


def _boxes_of(batch: _Drawn, count: int, names: Mapping[int, str], conf_thres: float) -> list[list[_Box]]:
    """Return the boxes to draw on each image, the largest first."""
    found: list[list[_Box]] = [[] for _ in range(count)]
    cls = batch["cls"].view(-1).cpu().long().tolist()
    conf = batch["conf"].view(-1).cpu().tolist() if "conf" in batch else None
    boxes = batch["bboxes"].view(-1, 4).cpu().float().tolist()
    for j, (i, (cx, cy, w, h)) in enumerate(zip(batch["batch_idx"].view(-1).cpu().long().tolist(), boxes, strict=True)):
        if i < count and (conf is None or conf[j] >= conf_thres):
            label = names.get(cls[j], str(cls[j])) + ("" if conf is None else f" {conf[j]:.2f}")
            found[i].append((_cut_box(cx, cy, w, h), label, colors(cls[j], bgr=True), False))
    for i, regions in enumerate(batch.get("ignored", ())[:count]):
        ratio_pad = batch["ratio_pad"][i]
        if len(regions) and ratio_pad is not None:  # None: a mosaic
            framed = _framed(regions[:, 1:5], ratio_pad, batch["ori_shape"][i], batch["img"].shape[2:])
            found[i] += [(_cut_box(*box), "ignored", _GREY, True) for box in framed.tolist()]
    for listed in found:
        listed.sort(key=lambda b: (b[0][0] - b[0][2]) * (b[0][3] - b[0][1]))
    return found


def _cut_box(cx: float, cy: float, w: float, h: float) -> tuple[float, float, float, float]:
    """Centre, width, height → corners inside the image; all in 0..1."""
    return max(cx - w / 2, 0.0), max(cy - h / 2, 0.0), min(cx + w / 2, 1.0), min(cy + h / 2, 1.0)


def _framed(boxes: Float32Array, ratio_pad: RatioPad, original: tuple[int, int], frame: Sequence[int]) -> Float32Array:
    """Boxes (k, 4) xywh in 0..1 of a file of `original` (h, w) → in 0..1 of the letterboxed frame (H, W)."""
    gains, (left, top) = ratio_pad
    scale = np.array([original[1] * gains[1] / frame[1], original[0] * gains[0] / frame[0]] * 2, np.float32)
    return boxes * scale + np.array([left / frame[1], top / frame[0], 0, 0], np.float32)


def _tile(
    frame: UInt8Array, boxes: Sequence[_Box], text: str, example: str, note: str = "", font: str | None = None
) -> UInt8Array:
    """An image with its boxes, a text at its lower edge and a note at its upper one; a small one has thinner lines and
    smaller letters."""
    h, w = frame.shape[:2]
    side = min(h, w)
    size = min(max(round(side * 0.04), 8), 13)
    annotator = Annotator(frame, 1 if side < 200 else 2, size, font, pil=True, example=example)
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
            break  # more names would hide the image
    return annotator.result()
