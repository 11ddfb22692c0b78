"""Training of a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.cfg.class_folders import load_class_dataset
from ultralytics.cfg.dataset import DatasetSpec
from ultralytics.data.class_augment import warn_idle
from ultralytics.data.class_dataset import ClassificationDataset
from ultralytics.engine.hooks import Hooks
from ultralytics.engine.step.distill import Distillation
from ultralytics.models.yolo.classify.val import ClassificationValidator, draw_classes, settle_keys
from ultralytics.models.yolo.detect.train import DetectionTrainer
from ultralytics.utils.types import Batch


class ClassificationTrainer(DetectionTrainer):
    """Train a classifier on class folders: `ClassificationTrainer(overrides={"model": …, "data": …}).train()`."""

    loss_names = ("loss",)
    task = "classify"
    validate_with = ClassificationValidator
    auto_classes = 10  # the reference's rate of optimizer=auto is that of ten classes, however many there are

    def read_inputs(self) -> None:
        """Find the dataset and the font."""
        settle_keys(self.args)
        warn_idle(self.args)
        super().read_inputs()

    def load_data(self, data: str) -> DatasetSpec:
        """Read the dataset: class folders, or a YAML of them."""
        return load_class_dataset(data)

    def set_model_attributes(self) -> None:
        """Tell the model its classes, and with `dropout` the chance of each Dropout."""
        super().set_model_attributes()
        for module in self.model.modules():
            if self.args.dropout and isinstance(module, nn.Dropout):
                module.p = self.args.dropout

    def get_distillation(self) -> Distillation:
        """Refuse: a classifier has no distillation."""
        return Hooks.get_distillation(self)

    def trial_labels(self, images: int) -> dict[str, Tensor]:
        """Return a class for each image."""
        return {"cls": torch.zeros(images, dtype=torch.int64)}

    # Data

    def build_dataset(self, img_path: Any, mode: str = "train", batch: int | None = None) -> Any:
        """Return a split's dataset."""
        return ClassificationDataset(img_path, self.args, mode == "train", mode, self.data.names, self.save_dir)

    # Plots

    def draw_batch(self, batch: Batch, path: Path) -> None:
        """Draw the images with their classes."""
        draw_classes(batch, path, self.data.names, self.args.font)

    def plot_training_labels(self) -> None:
        """Draw nothing."""
