"""A small network exported by the exporter, in a format."""

from pathlib import Path

import torch

from tests.helpers.networks import write_net
from ultralytics import YOLO
from ultralytics.models.yolo.detect.export import DetectionExporter


def small_model(folder: Path) -> torch.nn.Module:
    """A network of four rows with class names, in evaluation."""
    torch.manual_seed(0)
    model = YOLO(str(write_net(folder))).model
    model.names = {0: "red", 1: "绿", 2: "blue"}
    return model.eval()


def exported(model: torch.nn.Module, folder: Path, **keys) -> Path:
    """Export it, one image of 64×96 unless keys say otherwise."""
    overrides = {"imgsz": [64, 96], "batch": 1, **keys}
    return DetectionExporter(overrides=overrides)(model=model, stem=folder / "net")
