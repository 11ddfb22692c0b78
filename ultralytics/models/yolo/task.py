"""The tasks, and what each is made of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt
from torch import nn

from ultralytics.cfg.class_folders import load_class_dataset, load_labelled_dataset
from ultralytics.cfg.config import Config
from ultralytics.cfg.dataset import DatasetSpec
from ultralytics.data.sampled import OF_BOXES, OF_CLASSES, TaskImages
from ultralytics.engine.exporter import Exporter
from ultralytics.engine.predictor import BasePredictor
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.engine.validator import BaseValidator
from ultralytics.models.yolo.classify import (
    ClassificationExporter,
    ClassificationPredictor,
    ClassificationTrainer,
    ClassificationValidator,
)
from ultralytics.models.yolo.classify.evaluate import classes_from_arrays, classes_to_arrays
from ultralytics.models.yolo.detect import (
    DetectionExplainer,
    DetectionExporter,
    DetectionPredictor,
    DetectionTrainer,
    DetectionValidator,
    Explanation,
)
from ultralytics.models.yolo.detect.evaluate import from_arrays, to_arrays
from ultralytics.models.yolo.obb import OBBPredictor, OBBTrainer, OBBValidator
from ultralytics.models.yolo.pose import PosePredictor, PoseTrainer, PoseValidator
from ultralytics.models.yolo.segment import SegmentationPredictor, SegmentationTrainer, SegmentationValidator
from ultralytics.nn.modules import OBB, Classify, Detect, Pose, Segment
from ultralytics.nn.tasks import DetectionModel, network_of
from ultralytics.utils.classification import ClassifyMetrics
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.metrics import DetMetrics, OBBMetrics, PoseMetrics, SegmentMetrics
from ultralytics.utils.precision import TaskFigures


class TaskExplainer(Protocol):
    """Draws what an output is based on."""

    def __call__(self, source: Any, model: Any = None) -> list[Explanation]:
        """Explain each image of a source."""

    def stream(self, source: Any, model: Any = None) -> Iterator[Explanation]:
        """Explain a source image by image."""


@dataclass(frozen=True)
class Task:
    """Everything that distinguishes a task from others."""

    head: type[nn.Module]  # the last row of its networks, by which they are recognized
    trainer: type[BaseTrainer]  # provides the labels (`get_dataloader`, `trial_labels`) and their plots
    validator: type[BaseValidator]  # provides `postprocess`, the evaluators and their plots
    predictor: type[BasePredictor]  # provides `postprocess`, which makes Results
    exporter: type[Exporter]  # provides `finish` and `comparison`
    explainer: Callable[[Config], TaskExplainer] | None  # draws what an output is based on; None: it has none yet
    to_arrays: Callable[[Any], dict[str, Any]]  # the metrics of a validation as arrays for another process
    from_arrays: Callable[[Path, Mapping[str, npt.NDArray[Any]]], Any]  # and back
    metrics: type[Any] = DetMetrics  # what a validation gives: of a folder (`save_dir`) and classes (`names`)
    load_data: Callable[..., DatasetSpec] = load_labelled_dataset  # reads `data`, which must have some splits (`needs`)
    sampled: TaskImages = OF_BOXES  # how exports and benchmarks find images of `data`, and see them
    follows: bool = True  # `track` has objects to follow

    @property
    def network(self) -> type[DetectionModel]:
        """The class built from a model YAML with this head; it provides the loss (`init_criterion`)."""
        return network_of(self.head.__name__)

    @property
    def figures(self) -> TaskFigures:
        """Return what its validation says, and the figure that networks are compared by."""
        found: TaskFigures = self.metrics.figures
        return found


TASKS = {
    "detect": Task(
        head=Detect,
        trainer=DetectionTrainer,
        validator=DetectionValidator,
        predictor=DetectionPredictor,
        exporter=DetectionExporter,
        explainer=DetectionExplainer,
        to_arrays=to_arrays,
        from_arrays=from_arrays,
    ),
    "segment": Task(
        head=Segment,
        trainer=SegmentationTrainer,
        validator=SegmentationValidator,
        predictor=SegmentationPredictor,
        exporter=DetectionExporter,
        explainer=None,
        to_arrays=to_arrays,
        from_arrays=partial(from_arrays, kind=SegmentMetrics),
        metrics=SegmentMetrics,
    ),
    "pose": Task(
        head=Pose,
        trainer=PoseTrainer,
        validator=PoseValidator,
        predictor=PosePredictor,
        exporter=DetectionExporter,
        explainer=None,
        to_arrays=to_arrays,
        from_arrays=partial(from_arrays, kind=PoseMetrics),
        metrics=PoseMetrics,
    ),
    "obb": Task(
        head=OBB,
        trainer=OBBTrainer,
        validator=OBBValidator,
        predictor=OBBPredictor,
        exporter=DetectionExporter,
        explainer=None,
        to_arrays=to_arrays,
        from_arrays=partial(from_arrays, kind=OBBMetrics),
        metrics=OBBMetrics,
    ),
    "classify": Task(
        head=Classify,
        trainer=ClassificationTrainer,
        validator=ClassificationValidator,
        predictor=ClassificationPredictor,
        exporter=ClassificationExporter,
        explainer=None,
        to_arrays=classes_to_arrays,
        from_arrays=classes_from_arrays,
        metrics=ClassifyMetrics,
        load_data=load_class_dataset,
        sampled=OF_CLASSES,
        follows=False,
    ),
}


def task_named(name: str) -> Task:
    """Return an entry of TASKS.

    Raises:
        ConfigError: there is no such task; those there are, are named.
    """
    if name not in TASKS:
        raise ConfigError(f"task={name} is not offered", hint=f"tasks: {', '.join(TASKS)}")
    return TASKS[name]


def part_of(task: str, what: str) -> Any:
    """Return a part of a task that it may lack.

    Raises:
        ConfigError: it does.
    """
    part = getattr(task_named(task), what)
    if not part:
        verb = {"explainer": "explain", "follows": "track"}[what]
        able = ", ".join(name for name, each in TASKS.items() if getattr(each, what))
        raise ConfigError(f"{verb} is not offered for task={task}", hint=f"it is for {able}")
    return part


def checked_task(asked: str | None, found: str, model: str) -> str:
    """Return the task of a model, which is the one that is asked for.

    Raises:
        ConfigError: it is another.
    """
    task_named(asked or found)
    if asked not in (None, found):
        raise ConfigError(f"task={asked} contradicts the model, which is for task={found}", model, f"task={found}")
    return found


def task_of(head: str) -> str:
    """Return the task that a head is of, by the name of its class; one of the user's own detects."""
    name = head.rpartition(".")[2]
    return next((key for key, task in TASKS.items() if task.head.__name__ == name), "detect")


def figures_in(columns: Collection[str]) -> TaskFigures | None:
    """Return the figures of the task whose results.csv has these columns; None where they are of none."""
    found = [t.figures for t in TASKS.values() if set(t.figures.decisive) <= set(columns)]
    return max(found, key=lambda f: len(f.decisive), default=None)
