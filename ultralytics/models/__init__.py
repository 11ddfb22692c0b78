"""The models under the reference's import path."""

from ultralytics.models.yolo.model import YOLO

__all__ = ["YOLO"]
