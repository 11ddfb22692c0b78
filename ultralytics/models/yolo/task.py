"""The tasks, and what each is made of."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ultralytics.cfg.model import ModelSpec
from ultralytics.engine.predictor import BasePredictor
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.engine.validator import BaseValidator, Metrics
from ultralytics.models.yolo.detect import (
    DetectionExplainer,
    DetectionPredictor,
    DetectionTrainer,
    DetectionValidator,
)
from ultralytics.nn.modules import Detect
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.metrics import DetMetrics


@dataclass(frozen=True)
class Task:
    """All that tells one task from another.

    Attributes:
        network: built from a model YAML; it brings the loss (`init_criterion`).
        head: the last row of its networks, by which they are known.
        trainer: brings the labels (`get_dataloader`, `trial_labels`) and their plots.
        validator: brings `postprocess`, the evaluators and their plots.
        predictor: brings `postprocess`, which makes Results.
        explainer: draws what an output rests on.
        metrics: of a validation: what its first evaluator gives.
    """

    network: type[nn.Module]
    head: type[nn.Module]
    trainer: type[BaseTrainer]
    validator: type[BaseValidator]
    predictor: type[BasePredictor]
    explainer: type[DetectionExplainer]
    metrics: type[Metrics]


TASKS = {
    "detect": Task(
        network=DetectionModel,
        head=Detect,
        trainer=DetectionTrainer,
        validator=DetectionValidator,
        predictor=DetectionPredictor,
        explainer=DetectionExplainer,
        metrics=DetMetrics,
    )
}


def task_of(spec: ModelSpec) -> str:
    """Return the task of a model, by the name of its head; a head of the user's own detects."""
    head = spec.rows[-1].module.rpartition(".")[2]
    return next((name for name, task in TASKS.items() if task.head.__name__ == head), "detect")
