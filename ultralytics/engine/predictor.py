"""The reference's import path of BasePredictor."""

from __future__ import annotations

from ultralytics.utils.doors import door

__getattr__ = door(__name__, {"BasePredictor": "ultralytics.models.yolo.detect.predict:DetectionPredictor"})
