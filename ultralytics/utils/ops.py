"""Box helpers and suppression under the reference's import path."""

from ultralytics.utils.boxes import clip_boxes, scale_boxes, xywh2xyxy, xywhn2xyxy, xyxy2xywh, xyxy2xywhn
from ultralytics.utils.nms import non_max_suppression

__all__ = ["clip_boxes", "non_max_suppression", "scale_boxes", "xywh2xyxy", "xywhn2xyxy", "xyxy2xywh", "xyxy2xywhn"]
