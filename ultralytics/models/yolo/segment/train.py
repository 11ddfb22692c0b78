"""Training of a network that finds objects and their masks."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ultralytics.models.yolo.detect.train import DetectionTrainer
from ultralytics.models.yolo.detect.val import DetectionValidator
from ultralytics.models.yolo.segment.val import SegmentationValidator


class SegmentationTrainer(DetectionTrainer):
    """Train YOLOv8-seg on a dataset of polygons: `SegmentationTrainer(overrides={"model": …, "data": …}).train()`."""

    loss_names = ("box_loss", "seg_loss", "cls_loss", "dfl_loss")
    task = "segment"
    validate_with: ClassVar[type[DetectionValidator]] = SegmentationValidator

    def trial_labels(self, images: int) -> dict[str, Tensor]:
        """As `DetectionTrainer.trial_labels`, with masks."""
        labels = super().trial_labels(images)
        side, n = self.args.imgsz // self.args.mask_ratio, len(labels["cls"])
        if self.args.overlap_mask:
            per_image = n // max(images, 1)
            dtype = torch.uint8 if per_image < 256 else torch.int32
            numbers = torch.arange(side * side) % (per_image + 1)
            return {**labels, "masks": numbers.to(dtype).view(1, side, side).repeat(images, 1, 1)}
        return {**labels, "masks": torch.ones((n, side, side), dtype=torch.uint8)}
