"""Box helpers and suppression under the reference's import path."""

import math

from ultralytics.utils.boxes import clip_boxes, scale_boxes, xywh2xyxy, xywhn2xyxy, xyxy2xywh, xyxy2xywhn
from ultralytics.utils.nms import non_max_suppression

__all__ = [
    "clip_boxes",
    "make_divisible",
    "non_max_suppression",
    "scale_boxes",
    "xywh2xyxy",
    "xywhn2xyxy",
    "xyxy2xywh",
    "xyxy2xywhn",
]


def make_divisible(x: float, divisor: int = 8) -> int:
    """The smallest multiple of `divisor` that is not below `x`."""
    return math.ceil(x / divisor) * divisor
