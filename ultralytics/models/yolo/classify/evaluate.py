"""What is measured of a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ultralytics.utils.classification import TOP, ClassifyMetrics
from ultralytics.utils.confusion import ConfusionMatrix
from ultralytics.utils.types import Float32Array, Int64Array


class Classified(NamedTuple):
    """An image's likeliest classes beside its own."""

    file: str
    likeliest: Int64Array  # (k,) the likeliest first; k is TOP or the number of classes
    scores: Float32Array  # (k,) theirs, 0..1
    true: int


@dataclass
class ClassEvaluator:
    """The reference's figures for classes."""

    names: Mapping[int, str]
    nc: int  # classes of the model
    # likeliest (n, k) and true classes (n,) of the images of a batch, by its number
    seen: dict[int, tuple[Int64Array, Int64Array]] = field(default_factory=dict)
    files: dict[int, list[str]] = field(default_factory=dict)  # of the images of a batch, by its number

    def update(self, number: int, pairs: Sequence[Classified]) -> None:
        """Take a batch's images."""
        self.files[number] = [p.file for p in pairs]
        self.seen[number] = np.stack([p.likeliest for p in pairs]), np.array([p.true for p in pairs], np.int64)

    def merge(self, other: ClassEvaluator) -> None:
        """Take what another rank has seen."""
        self.seen |= other.seen
        self.files |= other.files

    def result(self) -> ClassifyMetrics:
        """Return the figures of all images."""
        metrics = ClassifyMetrics(self.names)
        ordered = [self.seen[n] for n in sorted(self.seen)]
        confusion = ConfusionMatrix(self.nc, task="classify")
        if ordered:
            likeliest, true = (np.concatenate(part) for part in zip(*ordered, strict=True))
            metrics.update(likeliest, true)
            confusion.process_cls_preds([torch.from_numpy(likeliest)], [torch.from_numpy(true)])
        metrics.confusion_matrix = confusion
        return metrics

    def by_image(self) -> dict[str, npt.NDArray[Any]]:
        """Return what the figures are computed of, in the loader's order: files, true and the likeliest classes
        (images,)."""
        ordered = [self.seen[n] for n in sorted(self.seen)]
        none = np.zeros(0, np.int64)
        return {
            "files": np.array([file for n in sorted(self.files) for file in self.files[n]], np.str_),
            "true": np.concatenate([none, *(true for _, true in ordered)]),
            "likeliest": np.concatenate([none, *(likeliest[:, 0] for likeliest, _ in ordered)]),
        }


def width_of(nc: int) -> int:
    """Return how many of the likeliest classes are looked at."""
    return min(nc, TOP)


# Metrics that another process reads


def classes_to_arrays(metrics: ClassifyMetrics) -> dict[str, Any]:
    """Return metrics as arrays that need no pickle."""
    arrays: dict[str, Any] = {"ids": list(metrics.names), "names": np.array(list(metrics.names.values()))}
    arrays |= {k: getattr(metrics, k) for k in ("top1", "top5", "images", "per_class", "nt_per_class")}
    arrays |= {"stages": np.array(list(metrics.speed)), "speed": list(metrics.speed.values())}
    return arrays if metrics.confusion_matrix is None else arrays | {"confusion": metrics.confusion_matrix.matrix}


def classes_from_arrays(save_dir: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> ClassifyMetrics:
    """Return the metrics that `classes_to_arrays` wrote, for a run's folder."""
    metrics = ClassifyMetrics({int(i): str(n) for i, n in zip(arrays["ids"], arrays["names"], strict=True)})
    metrics.save_dir = save_dir
    metrics.top1, metrics.top5, metrics.images = float(arrays["top1"]), float(arrays["top5"]), int(arrays["images"])
    metrics.per_class, metrics.nt_per_class = arrays["per_class"], arrays["nt_per_class"]
    metrics.speed = {str(k): float(v) for k, v in zip(arrays["stages"], arrays["speed"], strict=True)}
    if "confusion" in arrays:
        metrics.confusion_matrix = ConfusionMatrix(len(arrays["confusion"]), task="classify")
        metrics.confusion_matrix.matrix = arrays["confusion"]
    return metrics
