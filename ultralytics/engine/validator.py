"""The reference's import path of BaseValidator."""

from __future__ import annotations

from ultralytics.utils.lazy import later

__getattr__ = later(__name__, {"BaseValidator": "ultralytics.models.yolo.detect.val:DetectionValidator"})
