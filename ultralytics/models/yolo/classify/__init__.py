"""Classification: trainer, validator, predictor, exporter."""

from ultralytics.models.yolo.classify.export import ClassificationExporter
from ultralytics.models.yolo.classify.predict import ClassificationPredictor
from ultralytics.models.yolo.classify.train import ClassificationTrainer
from ultralytics.models.yolo.classify.val import ClassificationValidator

__all__ = ["ClassificationExporter", "ClassificationPredictor", "ClassificationTrainer", "ClassificationValidator"]
