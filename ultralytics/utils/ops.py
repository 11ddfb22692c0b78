"""Boxes, suppression and the like under the reference's import path."""

from __future__ import annotations

import contextlib
import math
import re
import time
from collections.abc import Sequence
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ultralytics.utils import boxes as unchanged
from ultralytics.utils.boxes import (
    ltwh2xywh,
    ltwh2xyxy,
    regularize_rboxes,
    xywh2ltwh,
    xywh2xyxy,
    xywhn2xyxy,
    xywhr2xyxyxyxy,
    xyxy2ltwh,
    xyxy2xywh,
    xyxy2xywhn,
    xyxyxyxy2xywhr,
)
from ultralytics.utils.lazy import later
from ultralytics.utils.masks import crop_mask, masks2segments, process_mask, process_mask_native, scale_masks
from ultralytics.utils.nms import nms_rotated, non_max_suppression
from ultralytics.utils.types import UInt8Array

__all__ = [
    "clip_boxes", "crop_mask", "ltwh2xywh", "ltwh2xyxy", "make_divisible", "masks2segments", "nms_rotated",
    "non_max_suppression", "process_mask", "process_mask_native", "regularize_rboxes", "scale_boxes", "scale_masks",
    "xywh2ltwh", "xywh2xyxy", "xywhn2xyxy", "xywhr2xyxyxyxy", "xyxy2ltwh", "xyxy2xywh", "xyxy2xywhn",
    "xyxyxyxy2xywhr",
]  # fmt: skip
__getattr__ = later(
    __name__,
    {"LOGGER": "ultralytics.utils.log:LOGGER"},
)
Points = TypeVar("Points", Tensor, npt.NDArray[Any])


def make_divisible(x: float, divisor: int | Tensor = 8) -> int:
    """Return the smallest multiple of `divisor`, of a tensor its largest number, that is not below `x`."""
    step = int(divisor.max()) if isinstance(divisor, Tensor) else divisor
    return math.ceil(x / step) * step


class Profile(contextlib.ContextDecorator):
    """Time blocks: `t` seconds in all, `dt` the last; with a GPU, once it has done what it was given.

    Args:
        t: seconds to begin with; device: of the work.
    """

    def __init__(self, t: float = 0.0, device: torch.device | None = None) -> None:
        self.t, self.dt, self.start, self.device = t, 0.0, 0.0, device
        self.cuda = device is not None and str(device).startswith("cuda")

    def __enter__(self) -> Profile:
        self.start = self.time()
        return self

    def __exit__(self, *_: object) -> None:
        self.dt = self.time() - self.start
        self.t += self.dt

    def __str__(self) -> str:
        return f"{self.t:.6f} s"

    def time(self) -> float:
        """Seconds of a clock."""
        if self.cuda:
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def clip_boxes(boxes: Points, shape: Sequence[float]) -> Points:
    """Boxes (…, 4 or more), corners first, limited to a frame of shape (h, w); in place, as in the reference."""
    boxes[..., :4] = unchanged.clip_boxes(boxes[..., :4], shape)
    return boxes


def scale_boxes(
    img1_shape: Sequence[int],
    boxes: Points,
    img0_shape: Sequence[int],
    ratio_pad: Any = None,
    padding: bool = True,
    xywh: bool = False,
) -> Points:
    """Boxes (…, 4 or more) of a letterboxed frame → boxes of the original image, clipped to it; in place, as in the
    reference. The arguments are those of `utils.boxes.scale_boxes`."""
    boxes[..., :4] = unchanged.scale_boxes(img1_shape, boxes[..., :4], img0_shape, ratio_pad, padding, xywh)
    return boxes


def clip_coords(coords: Points, shape: Sequence[float]) -> Points:
    """Points (…, 2) x, y and more limited to a frame of shape (h, w); in place, as in the reference."""
    for i, most in ((0, shape[1]), (1, shape[0])):
        coords[..., i] = coords[..., i].clip(0, most)
    return coords


def scale_coords(
    img1_shape: Sequence[int],
    coords: Points,
    img0_shape: Sequence[int],
    ratio_pad: Any = None,
    normalize: bool = False,
    padding: bool = True,
) -> Points:
    """Points (…, 2) of a letterboxed frame → points of the original image, in 0..1 with `normalize`; in place.

    Args:
        img1_shape: (H, W) of the frame; img0_shape: (h, w) of the original; ratio_pad: ((gain, …), (left, top)) when
        known; padding: the frame is padded.
    """
    if ratio_pad is None:
        gain = min(img1_shape[0] / img0_shape[0], img1_shape[1] / img0_shape[1])
        pad = ((img1_shape[1] - img0_shape[1] * gain) / 2, (img1_shape[0] - img0_shape[0] * gain) / 2)
    else:
        gain, pad = ratio_pad[0][0], ratio_pad[1]
    for i in (0, 1):
        coords[..., i] = (coords[..., i] - (pad[i] if padding else 0)) / gain
    clip_coords(coords, img0_shape)
    if normalize:
        for i, size in ((0, img0_shape[1]), (1, img0_shape[0])):
            coords[..., i] = coords[..., i] / size
    return coords


def scale_image(masks: npt.NDArray[Any], im0_shape: Sequence[int], ratio_pad: Any = None) -> npt.NDArray[Any]:
    """Maps (H, W) or (H, W, n) of a letterboxed frame → maps of the original image's size."""
    h, w = masks.shape[:2]
    if (h, w) == tuple(im0_shape[:2]):
        return masks
    if ratio_pad is None:
        gain = min(h / im0_shape[0], w / im0_shape[1])
        left, top = (w - im0_shape[1] * gain) / 2, (h - im0_shape[0] * gain) / 2
    else:
        left, top = ratio_pad[1]
    inner = masks[int(top) : int(h - top), int(left) : int(w - left)]
    resized = cv2.resize(inner, (im0_shape[1], im0_shape[0]))
    return resized[:, :, None] if resized.ndim == 2 else resized


def segment2box(segment: npt.NDArray[Any], width: float = 640, height: float = 640) -> npt.NDArray[Any]:
    """Return the box (4,) xyxy of those points (n, 2) of a polygon that lie in a frame; zeros without any."""
    x, y = segment.T
    inside = (x >= 0) & (y >= 0) & (x <= width) & (y <= height)
    x, y = x[inside], y[inside]
    if not len(x):
        return np.zeros(4, segment.dtype)
    return np.array([x.min(), y.min(), x.max(), y.max()], segment.dtype)


def segments2boxes(segments: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return the boxes (n, 4) xywh of polygons (k, 2)."""
    corners = [[*points.min(0), *points.max(0)] for points in segments]
    return xyxy2xywh(np.array(corners))


def resample_segments(segments: list[npt.NDArray[Any]], n: int = 1000) -> list[npt.NDArray[Any]]:
    """Polygons (k, 2) as `n` points each, evenly spread over their closed outline's corners; the list is changed."""
    for i, points in enumerate(segments):
        closed = np.concatenate((points, points[:1]))
        at = np.linspace(0, len(closed) - 1, n)
        known = np.arange(len(closed))
        segments[i] = np.stack([np.interp(at, known, closed[:, k]) for k in (0, 1)], 1).astype(np.float32)
    return segments


def convert_torch2numpy_batch(batch: Tensor) -> UInt8Array:
    """Images (B, C, H, W) in 0..1 → uint8 (B, H, W, C)."""
    images: UInt8Array = (batch.permute(0, 2, 3, 1).contiguous() * 255).clamp(0, 255).to(torch.uint8).cpu().numpy()
    return images


def clean_str(s: str) -> str:
    """Return a text with "_" for what paths and addresses read as something else."""
    return re.sub("[|@#!¡·$€%&()=?¿^*;:,¨´><+]", "_", s)
