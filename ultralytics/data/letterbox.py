"""Fit an image into a frame, keeping its proportions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from ultralytics.utils.types import Float64Array, Int64Array, UInt8Array

FILL = 114  # grey of pixels outside every image


class LetterBox:
    """Fit an image into a frame, keeping its proportions, with grey borders.

    Args:
        new_shape: (height, width) of the frame.
        auto: the smallest border that makes the sides multiples of `stride`, instead of the whole frame.
        scaleFill: stretch to the frame instead of keeping proportions.
        scaleup: enlarge images smaller than the frame as well.
        center: borders on both sides; otherwise only right and below.
        stride: see `auto`.
    """

    def __init__(
        self,
        new_shape: tuple[int, int] | int = (640, 640),
        auto: bool = False,
        scaleFill: bool = False,  # the reference's name
        scaleup: bool = True,
        center: bool = True,
        stride: int = 32,
    ) -> None:
        self.new_shape = (
            (new_shape, new_shape) if isinstance(new_shape, int) else (int(new_shape[0]), int(new_shape[1]))
        )
        self.scaleFill = scaleFill  # for scripts that know it
        self.auto, self.scale_fill, self.scaleup, self.center, self.stride = auto, scaleFill, scaleup, center, stride

    def geometry(self, shape: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int, int, int], tuple[float, float]]:
        """Fit an image of (h, w). Return its new (h, w); the borders top, bottom, left, right; the gains of height and
        width."""
        (h, w), (frame_h, frame_w) = shape[:2], self.new_shape
        r = min(frame_h / h, frame_w / w)
        if not self.scaleup:
            r = min(r, 1.0)
        gains = (r, r)
        new_w, new_h = max(round(w * r), 1), max(round(h * r), 1)
        dw: float = frame_w - new_w
        dh: float = frame_h - new_h
        if self.auto:
            dw, dh = dw % self.stride, dh % self.stride
        elif self.scale_fill:
            dw = dh = 0
            new_w, new_h, gains = frame_w, frame_h, (frame_h / h, frame_w / w)
        if self.center:
            dw, dh = dw / 2, dh / 2
        top, left = (round(dh - 0.1), round(dw - 0.1)) if self.center else (0, 0)
        return (new_h, new_w), (top, round(dh + 0.1), left, round(dw + 0.1)), gains

    def padded_shape(self, shape: Sequence[int]) -> tuple[int, int]:
        """Return (height, width) of the frame that an image of (h, w) gets, its borders included."""
        (h, w), (top, bottom, left, right), _ = self.geometry(shape)
        return h + top + bottom, w + left + right

    def __call__(self, labels: dict[str, Any] | None = None, image: UInt8Array | None = None) -> Any:
        """Letterbox `image` and return it; or `labels["img"]` with `labels["bboxes"]` (xyxy, pixels) following, and
        return the mapping.

        With labels, `labels["ratio_pad"]` becomes ((gain_h, gain_w), (left, top)). A `rect_shape` among them replaces
        the frame.
        """
        if labels is None:
            assert image is not None, "give an image or labels"
            return self.render(image)
        if labels.get("rect_shape") is not None:
            return LetterBox(
                labels.pop("rect_shape"), self.auto, self.scale_fill, self.scaleup, self.center, self.stride
            )(labels)
        image = labels["img"] if image is None else image
        _, (top, _, left, _), (gain_h, gain_w) = self.geometry(image.shape)
        labels["img"] = self.render(image)
        labels["resized_shape"] = labels["img"].shape[:2]
        earlier = labels.get("ratio_pad", ((1.0, 1.0), (0, 0)))[0]
        labels["ratio_pad"] = ((earlier[0] * gain_h, earlier[1] * gain_w), (left, top))
        if "bboxes" in labels:
            # Where the image really lies: the border in whole pixels.
            gain, shift = (np.array(pair * 2, np.float32) for pair in ((gain_w, gain_h), (left, top)))
            labels["bboxes"] = labels["bboxes"] * gain + shift
        return labels

    def render(self, image: UInt8Array) -> UInt8Array:
        """Draw the image in its frame."""
        (h, w), (top, bottom, left, right), _ = self.geometry(image.shape)
        if not any((top, bottom, left, right)):
            return image if image.shape[:2] == (h, w) else _resize(image, (h, w))
        frame = np.full((h + top + bottom, w + left + right, image.shape[2]), FILL, np.uint8)
        place = frame[top : top + h, left : left + w]
        if image.shape[:2] == (h, w):
            place[...] = image
        else:
            cv2.resize(image, (w, h), dst=place, interpolation=cv2.INTER_LINEAR)
        return frame


def _resize(image: UInt8Array, shape: tuple[int, int]) -> UInt8Array:
    return cv2.resize(image, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]  # uint8 stays uint8


def loaded_sizes(shapes: Int64Array, imgsz: int) -> Int64Array:
    """Return the (n, 2) heights and widths to which images of these are loaded: the longer side becomes `imgsz`."""
    scaled: Float64Array = np.ceil(shapes * (imgsz / shapes.max(1, keepdims=True)))
    return np.minimum(scaled, imgsz).astype(np.int64)


def resized(image: UInt8Array, size: Sequence[int] | Int64Array) -> UInt8Array:
    """Resize an image to a height and width."""
    h, w = (int(n) for n in size)
    if image.shape[:2] == (h, w):
        return image
    return cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]  # uint8 stays uint8
