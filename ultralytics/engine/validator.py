"""The reference's import path of BaseValidator."""

from __future__ import annotations

from ultralytics.utils.doors import door

__getattr__ = door(__name__, {"BaseValidator": "ultralytics.models.yolo.detect.val:DetectionValidator"})
