"""Training of a network that finds rotated boxes."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ultralytics.models.yolo.detect.train import DetectionTrainer
from ultralytics.models.yolo.detect.val import DetectionValidator
from ultralytics.models.yolo.obb.val import OBBValidator


class OBBTrainer(DetectionTrainer):
    """Train YOLOv8-obb on a dataset of rotated boxes: `OBBTrainer(overrides={"model": …, "data": …}).train()`."""

    task = "obb"
    validate_with: ClassVar[type[DetectionValidator]] = OBBValidator

    def trial_labels(self, images: int) -> dict[str, Tensor]:
        """As `DetectionTrainer.trial_labels`, the boxes with an angle."""
        labels = super().trial_labels(images)
        return {**labels, "bboxes": torch.nn.functional.pad(labels["bboxes"], (0, 1), value=0.5)}
