"""Rotated boxes: trainer, validator."""

from ultralytics.models.yolo.obb.train import OBBTrainer
from ultralytics.models.yolo.obb.val import OBBValidator

__all__ = ["OBBTrainer", "OBBValidator"]
