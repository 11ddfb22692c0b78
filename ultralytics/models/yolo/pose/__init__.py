"""Poses: trainer, validator."""

from ultralytics.models.yolo.pose.train import PoseTrainer
from ultralytics.models.yolo.pose.val import PoseValidator

__all__ = ["PoseTrainer", "PoseValidator"]
