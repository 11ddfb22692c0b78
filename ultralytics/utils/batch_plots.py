"""A batch drawn as a grid of images, with what is labelled or was found in them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, cast

import cv2
import numpy as np
import torch

from ultralytics.utils.annotate import CAPTIONS, Annotator
from ultralytics.utils.boxes import xywhr2xyxyxyxy
from ultralytics.utils.colors import colors
from ultralytics.utils.images import imwrite
from ultralytics.utils.shapes import blend
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
        batch: img (B, 3, H, W) RGB, uint8 or 0..1; batch_idx, cls, bboxes (xywh or, rotated, xywhr; 0..1), im_file;
            with `conf`, boxes below `conf_thres` are left out, and an image without any says so; with `ignored`,
            `ratio_pad` and `ori_shape`, ignored regions are dashed and grey; with `masks` (of each object, or an index
            map of each image) and `keypoints`, these too.
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
    objects_of = _objects_of(drawn, count, names, conf_thres)
    for i, frame in enumerate(frames):
        frame = np.ascontiguousarray(frame)
        tile = cv2.resize(frame, (tile_w, tile_h), interpolation=cv2.INTER_AREA) if gain < 1 else frame
        text = Path(drawn["im_file"][i]).name if captions is None else captions[i]
        line, column = divmod(i, columns)
        y, x = line * (tile_h + gap), column * tile_w + column // group * gap
        note = "" if objects_of[i] or "conf" not in batch else f"no detection above {conf_thres:g}"
        grid[y : y + tile_h, x : x + tile_w] = _tile(tile, objects_of[i], text, example, note, font)  # type: ignore[arg-type]  # uint8 stays uint8
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
    bboxes: torch.Tensor  # (M, 4) xywh, centre, 0..1; rotated (M, 5) xywhr


class _Drawn(Batch, total=False):
    """A batch of labels, or of detections with their scores; what is missing is not drawn."""

    conf: torch.Tensor


class _Object(NamedTuple):
    """What is drawn of an object or region; places in 0..1 of the image."""

    box: tuple[float, float, float, float]  # xyxy
    label: str
    color: tuple[int, int, int]  # BGR
    dashed: bool = False
    corners: Float32Array | None = None  # (4, 2) of a rotated box
    mask: UInt8Array | None = None  # (h, w) of 0 and 1
    keypoints: Float32Array | None = None  # (K, 2 or 3)


def _objects_of(batch: _Drawn, count: int, names: Mapping[int, str], conf_thres: float) -> list[list[_Object]]:
    """Return the objects to draw on each image, the largest first."""
    found: list[list[_Object]] = [[] for _ in range(count)]
    numbers = [0] * len(batch["img"])  # of the next object in its image
    masks, several = _masks_of(batch)
    cls = batch["cls"].view(-1).cpu().long().tolist()
    conf = batch["conf"].view(-1).cpu().tolist() if "conf" in batch else None
    boxes = batch["bboxes"].cpu().float()
    points = batch["keypoints"].cpu().float().numpy() if "keypoints" in batch else None
    frame = batch["img"].shape[2:]
    for j, i in enumerate(batch["batch_idx"].view(-1).cpu().long().tolist()):
        numbers[i] += 1
        if i < count and (conf is None or conf[j] >= conf_thres):
            label = names.get(cls[j], str(cls[j])) + ("" if conf is None else f" {conf[j]:.2f}")
            mask = None if masks is None else (masks[i] == numbers[i] if several else masks[j] > 0).astype(np.uint8)
            corners = _rotated(boxes[j], frame) if boxes.shape[1] == 5 else None
            box = _cut_box(*boxes[j].tolist()) if corners is None else _around(corners)
            one = _Object(box, label, colors(cls[j], bgr=True), False, corners)
            found[i].append(one._replace(mask=mask, keypoints=None if points is None else points[j]))
    for i, regions in enumerate(batch.get("ignored", ())[:count]):
        ratio_pad = batch["ratio_pad"][i]
        if len(regions) and ratio_pad is not None:  # None: a mosaic
            framed = _framed(regions[:, 1:5], ratio_pad, batch["ori_shape"][i], batch["img"].shape[2:])
            found[i] += [_Object(_cut_box(*box), "ignored", _GREY, True) for box in framed.tolist()]
    for listed in found:
        listed.sort(key=lambda o: (o.box[0] - o.box[2]) * (o.box[3] - o.box[1]))
    return found


def _masks_of(batch: Any) -> tuple[Any, bool]:
    """Return the masks of a batch, None without, and whether they are index maps of its images."""
    if "masks" not in batch:
        return None, False
    masks, owners = batch["masks"].cpu().numpy(), batch["batch_idx"].view(-1).cpu().long().tolist()
    images = len(batch["img"])
    if len(masks) != images or len(masks) != len(owners):
        return masks, len(masks) == images
    return masks, bool(masks.max(initial=0) > 1) or owners == list(range(images))  # then both are the same


def _rotated(box: torch.Tensor, frame: Sequence[int]) -> Float32Array:
    """Corners (4, 2) in 0..1 of a rotated box (5,), whose sides are parts of the frame (H, W)."""
    size = box.new_tensor([frame[1], frame[0]])
    corners = xywhr2xyxyxyxy(torch.cat([box[:2] * size, box[2:4] * size, box[4:]])[None])[0] / size
    return corners.numpy()


def _around(corners: Float32Array) -> tuple[float, float, float, float]:
    (x1, y1), (x2, y2) = corners.min(0).clip(0, 1).tolist(), corners.max(0).clip(0, 1).tolist()
    return x1, y1, x2, y2


def _cut_box(cx: float, cy: float, w: float, h: float) -> tuple[float, float, float, float]:
    """Centre, width, height → corners inside the image; all in 0..1."""
    return max(cx - w / 2, 0.0), max(cy - h / 2, 0.0), min(cx + w / 2, 1.0), min(cy + h / 2, 1.0)


def _framed(boxes: Float32Array, ratio_pad: RatioPad, original: tuple[int, int], frame: Sequence[int]) -> Float32Array:
    """Boxes (k, 4) xywh in 0..1 of a file of `original` (h, w) → in 0..1 of the letterboxed frame (H, W)."""
    gains, (left, top) = ratio_pad
    scale = np.array([original[1] * gains[1] / frame[1], original[0] * gains[0] / frame[0]] * 2, np.float32)
    return boxes * scale + np.array([left / frame[1], top / frame[0], 0, 0], np.float32)


def _tile(
    frame: UInt8Array, objects: Sequence[_Object], text: str, example: str, note: str = "", font: str | None = None
) -> UInt8Array:
    """An image with its objects, a text at its lower edge and a note at its upper one; a small one has thinner lines
    and smaller letters."""
    h, w = frame.shape[:2]
    side = min(h, w)
    size = min(max(round(side * 0.04), 8), 13)
    masks = [(o.mask, o.color) for o in objects if o.mask is not None]
    frame = np.array(frame)  # in memory that can be drawn on
    fitted = (cv2.resize(mask, (w, h), interpolation=cv2.INTER_NEAREST) for mask, _ in masks)
    blend(frame, fitted, [color for _, color in masks])
    annotator = Annotator(frame, 1 if side < 200 else 2, size, font, pil=True, example=example)
    annotator.draw.rectangle((0, 0, w - 1, h - 1), outline=(255, 255, 255), width=1)
    taken: list[tuple[float, ...]] = []
    boxes = [(b[0] * w, b[1] * h, min(b[2] * w, w - 1), min(b[3] * h, h - 1)) for b in (o.box for o in objects)]
    for box, one in zip(boxes, objects, strict=True):
        if one.corners is None:
            annotator.box(box, one.color, one.dashed)
        else:
            annotator.box_label((one.corners * (w, h)).tolist(), color=one.color, rotated=True)
        if one.keypoints is not None:
            points = one.keypoints * ([w, h, 1.0][: one.keypoints.shape[1]])
            annotator.kpts(points, (h, w), max(round(side * 0.006), 1))
    text = annotator.fit(text, w - 8)
    if text and h >= 4 * annotator.size:
        y = h - annotator.size - 7
        annotator.text((4, y), text)
        taken.append((0, y - 2, 8 + annotator.text_font(text).getlength(text), h))
    note = annotator.fit(note, w - 8)
    if note and h >= 6 * annotator.size:
        annotator.text((4, 4), note)
    written = len(taken)
    for box, one in zip(boxes, objects, strict=True):
        annotator.caption(box, one.label, one.color, taken, boxes)
        if sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in taken[written:]) > CAPTIONS * w * h:
            break  # more names would hide the image
    return annotator.result()
