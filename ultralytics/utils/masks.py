"""Masks of objects: from prototypes and coefficients to masks, from masks to outlines.

Shapes: n objects, k prototypes of (mh, mw), frames of (H, W): what the network saw, images of (h, w).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # torch's custom

from ultralytics.utils.boxes import letterboxed
from ultralytics.utils.types import Float32Array, RatioPad, UInt8Array

AT_ONCE = 2**26  # values of masks that a GPU interpolates at a time
Part = tuple[int, int, npt.NDArray[Any]]  # left, top, and the pixels (0 or 1) of a mask from there on; all others are 0


def crop_mask(masks: Tensor, boxes: Tensor) -> Tensor:
    """Masks (n, h, w) with zeros outside of their boxes (n, 4), corners in pixels of the masks.

    A pixel in row r and column c stays if x1 ≤ c < x2 and y1 ≤ r < y2.
    """
    return masks * _inside(boxes, masks.shape[1], masks.shape[2])


def _inside(boxes: Tensor, h: int, w: int) -> Tensor:
    """(n, h, w) which pixels lie in which box."""
    x1, y1, x2, y2 = boxes[:, :4, None, None].unbind(1)
    row = torch.arange(h, device=boxes.device, dtype=boxes.dtype)[None, :, None]
    column = torch.arange(w, device=boxes.device, dtype=boxes.dtype)[None, None, :]
    return ((row >= y1) & (row < y2)) & ((column >= x1) & (column < x2))


def _corners(boxes: Tensor, h: int, w: int) -> list[list[int]]:
    """The first and, behind it, the last pixel in each box: x1, y1, x2, y2, as `_inside` has them."""
    known = boxes[:, :4].masked_fill(boxes[:, :4].isnan().any(1, keepdim=True), 0)  # no pixel lies in one that is NaN
    corners: list[list[int]] = known.ceil().clamp(min=0).minimum(torch.tensor([w, h] * 2)).long().tolist()
    return corners


def process_mask(
    protos: Tensor, masks_in: Tensor, bboxes: Tensor, shape: Sequence[int], upsample: bool = False
) -> Tensor:
    """Masks of objects as the reference makes them: cut by their boxes among the prototypes' pixels.

    Args:
        protos: (k, mh, mw); masks_in: (n, k) coefficients.
        bboxes: (n, 4) corners in pixels of the frame.
        shape: (H, W) of the frame.
        upsample: to the frame's size, bilinearly.

    Returns:
        (n, mh, mw), with `upsample` (n, H, W), of 0 and 1, float.
    """
    logits = _logits(protos, masks_in)
    scale = [logits.shape[2] / shape[1], logits.shape[1] / shape[0]] * 2
    boxes = bboxes.float() * bboxes.new_tensor(scale, dtype=torch.float32)
    if not upsample and logits.device.type == "cpu":
        masks = torch.zeros(logits.shape)  # memory that nothing is written to costs nothing
        for mask, of_object, (x1, y1, x2, y2) in zip(masks, logits, _corners(boxes, *logits.shape[1:]), strict=True):
            mask[y1:y2, x1:x2] = of_object[y1:y2, x1:x2] > 0
        return masks
    masks = crop_mask(logits, boxes)
    if upsample and len(masks):
        masks = F.interpolate(masks[None], tuple(int(n) for n in shape), mode="bilinear", align_corners=False)[0]
    elif upsample:
        masks = masks.new_zeros((0, int(shape[0]), int(shape[1])))
    return (masks > 0).float()


def process_mask_native(protos: Tensor, masks_in: Tensor, bboxes: Tensor, shape: Sequence[int]) -> Tensor:
    """Masks (n, h, w) of 0 and 1 in pixels of the image, as the reference makes them; see `object_masks`.

    Args:
        protos: (k, mh, mw); masks_in: (n, k) coefficients.
        bboxes: (n, 4) corners in pixels of the image.
        shape: (h, w) of the image.
    """
    logits = scale_masks(_logits(protos, masks_in)[None], shape)[0]
    return ((logits > 0) & _inside(bboxes.float(), *logits.shape[1:])).float()


def scale_masks(masks: Tensor, shape: Sequence[int], padding: bool = True) -> Tensor:
    """Maps (B, n, H, W) of a letterboxed frame → maps of the image's size (h, w), bilinearly, as the reference does:
    the padding is cut off by whole pixels.

    Args:
        padding: the frame is padded on both sides; else at the right and below.
    """
    mh, mw = masks.shape[2:]
    h, w = int(shape[0]), int(shape[1])
    gain = min(mh / h, mw / w)
    left, top = mw - w * gain, mh - h * gain
    if padding:
        left, top = left / 2, top / 2
    y1, x1 = (int(top), int(left)) if padding else (0, 0)
    inner = masks[..., y1 : int(mh - top), x1 : int(mw - left)]
    if not masks.shape[1]:
        return masks.new_zeros((*masks.shape[:2], h, w))
    return F.interpolate(inner, (h, w), mode="bilinear", align_corners=False)


def _logits(protos: Tensor, coefficients: Tensor) -> Tensor:
    """(n, mh, mw) in fp32: half precision would move edges."""
    k, mh, mw = protos.shape
    return (coefficients.float() @ protos.float().reshape(k, -1)).view(-1, mh, mw)


def object_masks(
    protos: Tensor,
    coefficients: Tensor,
    boxes: Tensor,
    frame: Sequence[int],
    image: Sequence[int] | None = None,
    ratio_pad: RatioPad | None = None,
) -> Tensor:
    """Masks of 0 and 1, float, of objects at full precision of place: every pixel asks the prototypes bilinearly at its
    own place, and masks are cut by the boxes at the size they come in.

    The reference cuts by a box among the prototypes' pixels, four times as large, and cuts padding off by whole ones.

    Args:
        protos: (k, mh, mw); coefficients: (n, k).
        boxes: (n, 4) corners, in pixels of the result.
        frame: (H, W) that the prototypes cover.
        image: (h, w) of the image that was letterboxed into the frame; None: the result is of the frame.
        ratio_pad: how it was; None: as large as it fits, in the middle.

    Returns:
        (n, H, W), or (n, h, w) of the image.
    """
    logits, rows, columns = _grid_of(protos, coefficients, frame, image, ratio_pad)
    if logits.device.type != "cpu":
        return _all_at_once(logits, boxes.float(), rows, columns)
    masks = torch.zeros((len(logits), rows.size, columns.size))
    for mask, (x, y, part) in zip(masks, _one_by_one(logits, boxes.float(), rows, columns), strict=True):
        mask[y : y + part.shape[0], x : x + part.shape[1]] = part
    return masks


def object_parts(
    protos: Tensor,
    coefficients: Tensor,
    boxes: Tensor,
    frame: Sequence[int],
    image: Sequence[int] | None = None,
    ratio_pad: RatioPad | None = None,
) -> list[Part]:
    """The masks of `object_masks`, of each only what lies in its box, on the CPU: a fraction of their memory."""
    logits, rows, columns = _grid_of(protos, coefficients, frame, image, ratio_pad)
    if logits.device.type == "cpu":
        return [(x, y, part.numpy()) for x, y, part in _one_by_one(logits, boxes.float(), rows, columns)]
    masks = _all_at_once(logits, boxes.float(), rows, columns).bool().cpu().numpy()
    corners = _corners(boxes.float(), rows.size, columns.size)
    return [
        (x1, y1, mask[y1 : max(y1, y2), x1 : max(x1, x2)])
        for mask, (x1, y1, x2, y2) in zip(masks, corners, strict=True)
    ]


def _grid_of(
    protos: Tensor,
    coefficients: Tensor,
    frame: Sequence[int],
    image: Sequence[int] | None,
    ratio_pad: RatioPad | None,
) -> tuple[Tensor, _Places, _Places]:
    """The logits (n, mh, mw) of masks, and where the rows and columns of the result lie among theirs."""
    height, width = (int(v) for v in (frame if image is None else image)[:2])
    gain, left, top = 1.0, 0.0, 0.0
    if ratio_pad is not None:
        gain, (left, top) = ratio_pad[0][0], ratio_pad[1]
    elif image is not None:
        gain, (left, top) = letterboxed(frame, (height, width))
    logits = _logits(protos, coefficients)
    rows = _Places(height, gain, top, frame[0], logits.shape[1], logits.device)
    columns = _Places(width, gain, left, frame[1], logits.shape[2], logits.device)
    return logits, rows, columns


def _one_by_one(logits: Tensor, boxes: Tensor, rows: _Places, columns: _Places) -> Iterator[tuple[int, int, Tensor]]:
    """Interpolate what lies in the boxes alone: left, top and the pixels of each."""
    for of_object, (x1, y1, x2, y2) in zip(logits, _corners(boxes, rows.size, columns.size), strict=True):
        if x1 < x2 and y1 < y2:
            yield x1, y1, columns.along(rows.along(of_object, 0, y1, y2), 1, x1, x2) > 0
        else:
            yield 0, 0, torch.zeros((0, 0), dtype=torch.bool)


def _all_at_once(logits: Tensor, boxes: Tensor, rows: _Places, columns: _Places) -> Tensor:
    """The same in few steps, for a GPU, which one object after another would keep waiting."""
    masks = torch.zeros((len(logits), rows.size, columns.size), device=logits.device)
    step = max(AT_ONCE // max(rows.size * columns.size, 1), 1)
    for i in range(0, len(logits), step):
        found = columns.along(rows.along(logits[i : i + step], 1), 2) > 0
        masks[i : i + step] = found & _inside(boxes[i : i + step], rows.size, columns.size)
    return masks


class _Places:
    """Where the pixels of one axis of the result lie among those of the prototypes.

    Args:
        size: pixels of the result.
        gain: how much larger they are in the frame; pad: pixels of the frame before the first.
        frame: pixels of the frame; known: of the prototypes.
    """

    def __init__(self, size: int, gain: float, pad: float, frame: int, known: int, device: torch.device) -> None:
        at = torch.arange(size, dtype=torch.float64).add_(0.5).mul_(gain).add_(pad).mul_(known / frame).sub_(0.5)
        at = at.clamp_(0, known - 1)
        low = at.floor()
        self.size = size
        self.part = (at - low).float().to(device)
        self.low = low.long().to(device)
        self.high = (low + 1).clamp_(max=known - 1).long().to(device)

    def along(self, maps: Tensor, axis: int, start: int = 0, stop: int | None = None) -> Tensor:
        """Interpolate along an axis at the pixels from `start` to `stop`."""
        low, high, part = self.low[start:stop], self.high[start:stop], self.part[start:stop]
        part = part.view([-1 if i == axis else 1 for i in range(maps.ndim)])
        return torch.lerp(maps.index_select(axis, low), maps.index_select(axis, high), part)


def filled(outline: npt.NDArray[np.floating], height: int, width: int) -> UInt8Array:
    """Return the mask (height, width) of 0 and 1 of an outline (k, 2) in pixels: 1 where a pixel's centre is inside.

    What the outline goes around in one sense and then in the other, a hole, is outside; bridges, walked there and back,
    have no width.
    """
    left, top, part = filled_part(outline, height, width)
    mask = np.zeros((height, width), np.uint8)
    mask[top : top + part.shape[0], left : left + part.shape[1]] = part
    return mask


def filled_part(outline: npt.NDArray[np.floating], height: int, width: int) -> Part:
    """Return the mask of `filled`, but only the rows and columns that the outline spans: a fraction of its memory."""
    ends = np.asarray(outline, np.float64)
    after = np.roll(ends, -1, 0)
    falls = after[:, 1] < ends[:, 1]  # both ways along a bridge are computed alike, from the upper end
    upper, lower = np.where(falls[:, None], after, ends), np.where(falls[:, None], ends, after)
    first, last = (np.ceil(y - 0.5).clip(0, height).astype(np.int64) for y in (upper[:, 1], lower[:, 1]))
    edge = np.repeat(np.arange(len(ends)), last - first)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(last - first) - last, last - first)
    slope = (lower[edge, 0] - upper[edge, 0]) / (lower[edge, 1] - upper[edge, 1])
    crossing = upper[edge, 0] + (row + 0.5 - upper[edge, 1]) * slope
    column = np.ceil(crossing - 0.5).clip(0, width).astype(np.int64)
    if not len(edge):
        return 0, 0, np.zeros((0, 0), np.uint8)
    top, left = int(row.min()), int(column.min())
    turns = np.zeros((int(row.max()) + 1 - top, int(column.max()) + 1 - left), np.int32)
    np.add.at(turns, (row - top, column - left), np.where(falls[edge], -1, 1))
    # All is outside from the last crossing on.
    return left, top, (np.cumsum(turns, 1, out=turns)[:, :-1] != 0).astype(np.uint8)


def masks2segments(masks: Any, strategy: str = "largest") -> list[Float32Array]:
    """Outlines (m, 2) of masks (n, h, w), x and y in pixels of the masks; (0, 2) of an empty one. Holes are filled.

    Args:
        masks: of 0 and 1; a tensor or an array.
        strategy: of a mask in several parts. "largest": the part whose outline has most points, as in the reference;
            "concat": the points of all, one part after another; "all": one polygon through all parts, which bridges of
            no width connect, so that filling it gives them back.
    """
    array = masks.detach().cpu().numpy() if isinstance(masks, Tensor) else np.asarray(masks)
    segments = []
    for mask in array:
        parts = outlines(mask)
        if not parts:
            found = np.zeros((0, 2), np.int32)
        elif strategy == "concat":
            found = np.concatenate(parts)
        elif strategy == "largest":
            found = max(parts, key=len)
        elif strategy == "all":
            found = _bridged(parts)
        else:
            raise ValueError(f"strategy is largest, concat or all, not {strategy}")
        segments.append(found.astype(np.float32))
    return segments


def outlines(mask: npt.NDArray[Any]) -> list[npt.NDArray[np.int32]]:
    """Return the outer outlines (m, 2) of the parts of a mask (h, w), in the order of OpenCV."""
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return []
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(0))
    y, x = int(rows[0]), int(columns[0])  # what is empty around it costs nothing
    inner = np.ascontiguousarray(mask[y : rows[-1] + 1, x : columns[-1] + 1].astype(np.uint8))
    found, _ = cv2.findContours(inner, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(x, y))
    return [np.asarray(c, np.int32).reshape(-1, 2) for c in found]


def _bridged(parts: list[npt.NDArray[np.int32]]) -> npt.NDArray[np.int32]:
    """Return one polygon through all parts: from the largest, a bridge to each other one and back by the same way."""
    first, *others = sorted(parts, key=cv2.contourArea, reverse=True)
    inserted: dict[int, list[npt.NDArray[np.int32]]] = {}
    for part in others:
        apart = ((first[:, None, :].astype(np.float32) - part[None, :, :]) ** 2).sum(-1)
        i, j = divmod(int(apart.argmin()), len(part))
        inserted.setdefault(i, []).append(np.concatenate([part[j:], part[: j + 1], first[i : i + 1]]))
    pieces, start = [], 0
    for i in sorted(inserted):
        pieces += [first[start : i + 1], *inserted[i]]
        start = i + 1
    return np.concatenate([*pieces, first[start:]])
