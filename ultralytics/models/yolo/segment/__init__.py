"""Segmentation: trainer, validator."""

from ultralytics.models.yolo.segment.train import SegmentationTrainer
from ultralytics.models.yolo.segment.val import SegmentationValidator

__all__ = ["SegmentationTrainer", "SegmentationValidator"]
