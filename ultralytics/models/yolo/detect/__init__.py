"""Detection: trainer, validator, predictor, exporter, explainer."""

from ultralytics.models.yolo.detect.explain import DetectionExplainer, Explanation
from ultralytics.models.yolo.detect.export import DetectionExporter
from ultralytics.models.yolo.detect.predict import DetectionPredictor
from ultralytics.models.yolo.detect.train import DetectionTrainer
from ultralytics.models.yolo.detect.val import DetectionValidator

__all__ = [
    "DetectionExplainer",
    "DetectionExporter",
    "DetectionPredictor",
    "DetectionTrainer",
    "DetectionValidator",
    "Explanation",
]
