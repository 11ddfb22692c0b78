"""The reference's import path of Model."""

from __future__ import annotations

from ultralytics.utils.doors import door

__getattr__ = door(__name__, {"Model": "ultralytics.models.yolo.model:YOLO"})
