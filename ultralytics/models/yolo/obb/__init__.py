"""Rotated boxes: trainer, validator, predictor."""

from ultralytics.models.yolo.obb.predict import OBBPredictor
from ultralytics.models.yolo.obb.train import OBBTrainer
from ultralytics.models.yolo.obb.val import OBBValidator

__all__ = ["OBBPredictor", "OBBTrainer", "OBBValidator"]
