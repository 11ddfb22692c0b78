"""The reference's import path of BasePredictor."""

from __future__ import annotations

from ultralytics.utils.lazy import later

__getattr__ = later(__name__, {"BasePredictor": "ultralytics.models.yolo.detect.predict:DetectionPredictor"})
