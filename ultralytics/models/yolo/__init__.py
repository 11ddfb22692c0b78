"""YOLO under the reference's import path."""

from ultralytics.models.yolo.model import YOLO
from ultralytics.utils.lazy import later

__all__ = ["YOLO"]
__getattr__ = later(__name__, {"YOLOWorld": "ultralytics:YOLOWorld"})
