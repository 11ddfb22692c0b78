"""The tasks, and what each is made of."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ultralytics.cfg.paths import find_model_yaml
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
from ultralytics.utils.errors import ModelError
from ultralytics.utils.metrics import DetMetrics
from ultralytics.utils.yaml import read_yaml


@dataclass(frozen=True)
class Task:
    """All that tells one task from another."""

    network: type[nn.Module]  # built from a model YAML; it brings the loss (`init_criterion`)
    head: type[nn.Module]  # the last row of its networks, by which they are known
    trainer: type[BaseTrainer]  # brings the labels (`get_dataloader`, `trial_labels`) and their plots
    validator: type[BaseValidator]  # brings `postprocess`, the evaluators and their plots
    predictor: type[BasePredictor]  # brings `postprocess`, which makes Results
    explainer: type[DetectionExplainer]  # draws what an output rests on
    metrics: type[Metrics]  # of a validation: what its first evaluator gives


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


def task_of(head: str) -> str:
    """Return the task that a head is of, by the name of its class; one of the user's own detects."""
    name = head.rpartition(".")[2]
    return next((key for key, task in TASKS.items() if task.head.__name__ == name), "detect")


def head_of(model: str) -> str:
    """Return the module of the last row of a model YAML; "" where it has none: building it says what is wrong."""
    data = read_yaml(find_model_yaml(model)[0], ModelError).data
    rows = data.get("head") if isinstance(data, dict) else None
    last = rows[-1] if isinstance(rows, list) and rows else None
    return str(last[2]) if isinstance(last, list) and len(last) > 2 else ""
