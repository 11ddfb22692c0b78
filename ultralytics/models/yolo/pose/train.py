"""Training of a network that finds objects and their keypoints."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ultralytics.data.augment import mirror_chance
from ultralytics.models.yolo.detect.train import DetectionTrainer
from ultralytics.models.yolo.detect.val import DetectionValidator
from ultralytics.models.yolo.pose.val import PoseValidator, points_of


class PoseTrainer(DetectionTrainer):
    """Train YOLOv8-pose on a dataset of keypoints: `PoseTrainer(overrides={"model": …, "data": …}).train()`."""

    loss_names = ("box_loss", "pose_loss", "kobj_loss", "cls_loss", "dfl_loss")
    task = "pose"
    validate_with: ClassVar[type[DetectionValidator]] = PoseValidator

    def read_inputs(self) -> None:
        """Find the dataset and the font; write down where no image can be mirrored."""
        super().read_inputs()
        points_of(self.data)
        chance = mirror_chance(self.args.fliplr, "keypoints", self.data.flip_idx, self.data.yaml_file)
        if chance != self.args.fliplr:
            self.args.set("fliplr", chance, "auto")

    def shape_of_labels(self) -> dict[str, Any]:
        """Return kpt_shape."""
        return {"kpt_shape": points_of(self.data)}

    def trial_labels(self, images: int) -> dict[str, Tensor]:
        """As `DetectionTrainer.trial_labels`, with keypoints."""
        labels = super().trial_labels(images)
        points = torch.tensor([0.5, 0.5, 2.0]).repeat(len(labels["cls"]), points_of(self.data)[0], 1)
        return {**labels, "keypoints": points}
