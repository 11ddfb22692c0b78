"""A batch drawn as a grid of images, with what is labelled or was found in them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

import cv2
import numpy as np
import numpy.typing as npt
import torch

from ultralytics.utils.annotate import CAPTIONS, Annotator
from ultralytics.utils.boxes import xywhr2xyxyxyxy
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
    """Draw a batch as a grid of images with their objects and file names. What belongs to an image stays inside it, and
    a class name that would cover another, or hide the image together with others, is left out: the largest boxes come
    first.

    Args:
        batch: img (B, 3, H, W) RGB, uint8 or 0..1; batch_idx, cls, bboxes (xywh, 0..1; or xywhr, rotated), im_file;
            with `conf`, boxes below `conf_thres` are left out, and an image without any says so; with `ignored`,
            `ratio_pad` and `ori_shape`, ignored regions are dashed and grey. With `masks`, a map per image, whose
            numbers are its rows counted from 1, or a mask of 0 and 1 per row, those are drawn; with `keypoints`
            (M, K, 2 or 3), x and y in 0..1, visibility or confidence, those above 0.25.
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


class _More(TypedDict, total=False):
    masks: torch.Tensor  # (M, h, w) of 0 and 1
    keypoints: torch.Tensor  # (M, K, 2 or 3) x and y in 0..1, confidence


class DetectionBatch(_More):
    """The detections of a batch's images, to draw."""

    img: torch.Tensor  # (B, 3, H, W) RGB, uint8 or 0..1
    im_file: list[str]
    batch_idx: torch.Tensor  # (M,) which image of the batch a box belongs to
    cls: torch.Tensor  # (M,)
    conf: torch.Tensor  # (M,)
    bboxes: torch.Tensor  # (M, 4) xywh, centre, 0..1; or (M, 5) xywhr


class _Drawn(Batch, total=False):
    """A batch of labels, or of detections with their scores; what is missing is not drawn."""

    conf: torch.Tensor


@dataclass
class _Shown:
    """An object on its image.

    Attributes:
        box: xyxy, cut to the image, 0..1.
        rotated: (5,) centre and size in 0..1, angle; drawn instead of `box`.
        mask: (h, w) of 0 and others, of the whole image.
        points: (K, 2 or 3) keypoints, x and y in 0..1.
    """

    box: tuple[float, float, float, float]
    label: str
    color: tuple[int, int, int]  # BGR
    dashed: bool = False
    rotated: npt.NDArray[Any] | None = None
    mask: npt.NDArray[Any] | None = None
    points: npt.NDArray[Any] | None = None


def _objects_of(batch: _Drawn, count: int, names: Mapping[int, str], conf_thres: float) -> list[list[_Shown]]:
    """Return what to draw on each image, the largest first."""
    found: list[list[_Shown]] = [[] for _ in range(count)]
    cls = batch["cls"].view(-1).cpu().long().tolist()
    conf = batch["conf"].view(-1).cpu().tolist() if "conf" in batch else None
    images = batch["batch_idx"].view(-1).cpu().long().tolist()
    boxes = batch["bboxes"].cpu().float().numpy()
    boxes = boxes.reshape(-1, 5 if boxes.shape[-1] == 5 else 4)
    points = cast("dict[str, Any]", batch).get("keypoints")
    mask_of = _masks_of(batch, images, count)
    height, width = batch["img"].shape[2:]
    for j, (i, box) in enumerate(zip(images, boxes, strict=True)):
        if i < count and (conf is None or conf[j] >= conf_thres):
            label = names.get(cls[j], str(cls[j])) + ("" if conf is None else f" {conf[j]:.2f}")
            rotated = box if len(box) == 5 else None
            place = _cut_box(*box.tolist()) if rotated is None else _around(box, width, height)
            shown = _Shown(place, label, colors(cls[j], bgr=True), rotated=rotated, mask=mask_of(j))
            shown.points = None if points is None else points[j].detach().cpu().float().numpy()
            found[i].append(shown)
    for i, regions in enumerate(batch.get("ignored", ())[:count]):
        ratio_pad = batch["ratio_pad"][i]
        if len(regions) and ratio_pad is not None:  # None: a mosaic
            framed = _framed(regions[:, 1:5], ratio_pad, batch["ori_shape"][i], batch["img"].shape[2:])
            found[i] += [_Shown(_cut_box(*box), "ignored", _GREY, True) for box in framed.tolist()]
    for listed in found:
        listed.sort(key=lambda o: (o.box[0] - o.box[2]) * (o.box[3] - o.box[1]))
    return found


def _masks_of(batch: _Drawn, images: Sequence[int], count: int) -> Callable[[int], npt.NDArray[Any] | None]:
    """Return what gives the mask of a row, or None: from a map per image, whose numbers are rows of that image counted
    from 1, or from a mask per row."""
    given = cast("dict[str, Any]", batch).get("masks")
    if given is None or not len(given):
        return lambda j: None
    ranks, seen = [], Counter[int]()
    for i in images:
        seen[i] += 1
        ranks.append(seen[i])
    maps = len(given) != len(images)  # `img` may hold the first images alone, and tells nothing
    if not maps and max(seen.values()) > 1:
        maps = int(given.max()) > 1  # as many objects as images
    if maps:
        known = given[:count].detach().cpu().numpy()
        return lambda j: known[images[j]] == ranks[j]
    return lambda j: given[j].detach().cpu().numpy() > 0.5


def _around(box: npt.NDArray[Any], width: int, height: int) -> tuple[float, float, float, float]:
    """Return the upright box around a rotated one (5,), cut to the image; in 0..1."""
    size = np.array([width, height], np.float32)
    corners = (_rotated_corners(box, width, height) / size).clip(0, 1)
    (x1, y1), (x2, y2) = corners.min(0).tolist(), corners.max(0).tolist()
    return x1, y1, x2, y2


def _rotated_corners(box: npt.NDArray[Any], width: int, height: int) -> npt.NDArray[Any]:
    """Return the corners (4, 2) in pixels of a rotated box (5,) in 0..1."""
    return xywhr2xyxyxyxy(box * np.array([width, height, width, height, 1], np.float32))


def _cut_box(cx: float, cy: float, w: float, h: float) -> tuple[float, float, float, float]:
    """Centre, width, height → corners inside the image; all in 0..1."""
    return max(cx - w / 2, 0.0), max(cy - h / 2, 0.0), min(cx + w / 2, 1.0), min(cy + h / 2, 1.0)


def _framed(boxes: Float32Array, ratio_pad: RatioPad, original: tuple[int, int], frame: Sequence[int]) -> Float32Array:
    """Boxes (k, 4) xywh in 0..1 of a file of `original` (h, w) → in 0..1 of the letterboxed frame (H, W)."""
    gains, (left, top) = ratio_pad
    scale = np.array([original[1] * gains[1] / frame[1], original[0] * gains[0] / frame[0]] * 2, np.float32)
    return boxes * scale + np.array([left / frame[1], top / frame[0], 0, 0], np.float32)


def _tile(
    frame: UInt8Array, objects: Sequence[_Shown], text: str, example: str, note: str = "", font: str | None = None
) -> UInt8Array:
    """An image with its objects, a text at its lower edge and a note at its upper one; a small one has thinner lines
    and smaller letters."""
    h, w = frame.shape[:2]
    side = min(h, w)
    size = min(max(round(side * 0.04), 8), 13)
    annotator = Annotator(frame, 1 if side < 200 else 2, size, font, pil=True, example=example)
    masked = [o for o in objects if o.mask is not None]
    if masked:
        annotator.masks((_resized(o.mask, w, h) for o in masked), [o.color for o in masked])
    annotator.draw.rectangle((0, 0, w - 1, h - 1), outline=(255, 255, 255), width=1)
    corners = [(o.box[0] * w, o.box[1] * h, min(o.box[2] * w, w - 1), min(o.box[3] * h, h - 1)) for o in objects]
    for box, shown in zip(corners, objects, strict=True):
        if shown.rotated is None:
            annotator.box(box, shown.color, shown.dashed)
        else:
            annotator.box_label(_rotated_corners(shown.rotated, w, h), color=shown.color, rotated=True)
    for shown in objects:
        if shown.points is not None:
            points = shown.points * np.array([w, h, 1][: shown.points.shape[-1]], np.float32)
            annotator.kpts(points, (h, w), radius=side / 150)
    _write_texts(annotator, text, note, objects, corners)
    return annotator.result()


def _resized(mask: Any, width: int, height: int) -> npt.NDArray[Any]:
    """Return a mask of another size, its edges between pixels."""
    grey = cv2.resize(mask.astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(grey > 127)


def _write_texts(
    annotator: Annotator,
    text: str,
    note: str,
    objects: Sequence[_Shown],
    corners: Sequence[tuple[float, float, float, float]],
) -> None:
    """Write the text of an image, the note, and the names of its objects where there is room."""
    w, h = annotator.im.width, annotator.im.height
    taken: list[tuple[float, ...]] = []
    text = annotator.fit(text, w - 8)
    if text and h >= 4 * annotator.size:
        y = h - annotator.size - 7
        annotator.text((4, y), text)
        taken.append((0, y - 2, 8 + annotator.text_font(text).getlength(text), h))
    note = annotator.fit(note, w - 8)
    if note and h >= 6 * annotator.size:
        annotator.text((4, 4), note)
    written = len(taken)
    for box, shown in zip(corners, objects, strict=True):
        annotator.caption(box, shown.label, shown.color, taken, corners)
        if sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in taken[written:]) > CAPTIONS * w * h:
            break  # more names would hide the image
