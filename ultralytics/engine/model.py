"""The reference's import path of Model."""

from __future__ import annotations

from ultralytics.utils.lazy import later

__getattr__ = later(__name__, {"Model": "ultralytics.models.yolo.model:YOLO"})
