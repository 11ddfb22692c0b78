"""Loss and metrics of a classifier. B images, C classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name
from torch import Tensor

from ultralytics.utils.confusion import ConfusionMatrix
from ultralytics.utils.precision import COLUMN, TaskFigures
from ultralytics.utils.text import unique_names
from ultralytics.utils.types import Batch, Float64Array

TOP = 5  # classes among which the right one may be


class v8ClassificationLoss:  # noqa: N801  # the reference's name
    """Cross entropy of logits (B, C) with the classes `cls` (B,) of a batch: the mean of its images.

    Attributes:
        reduce: a tensor's sum over all processes that share a batch, see `v8DetectionLoss`.
    """

    def __init__(self) -> None:
        self.reduce: Callable[[Tensor], Tensor] = Tensor.clone

    def __call__(self, preds: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss to differentiate and its one part, (1,); of an output in evaluation with `raw_too` too."""
        logits: Tensor = preds[1] if isinstance(preds, list | tuple) else preds
        total = F.cross_entropy(logits.float(), batch["cls"].to(logits.device).long(), reduction="sum")
        images = self.reduce(torch.full((), float(len(logits)), device=logits.device))
        return total / images, (self.reduce(total.detach()) / images)[None]


class ClassifyMetrics:  # size: what a validation reports, under the reference's names
    """Figures of a classifier.

    Args:
        names: class names by id; save_dir: where plots are drawn.

    Attributes:
        top1, top5: part of the images whose class is the likeliest, and among the five likeliest, 0..1.
        per_class: (C,) top1 of each class, NaN where it has no images; nt_per_class: (C,) its images.
        images: how many; speed: milliseconds per image by stage.
        confusion_matrix: counts of [predicted, true] class, or None.
    """

    figures: ClassVar[TaskFigures] = TaskFigures(
        columns={"top1": f"{COLUMN}accuracy_top1", "top5": f"{COLUMN}accuracy_top5"},
        titles={"top1": "top-1 accuracy", "top5": "top-5 accuracy"},
        others={},
        parts=[{f"{COLUMN}accuracy_top1": 0.5, f"{COLUMN}accuracy_top5": 0.5}],
    )

    def __init__(self, names: Mapping[int, str] | None = None, save_dir: Path = Path()) -> None:
        self.names = dict(names or {})
        self.save_dir = save_dir
        self.task = "classify"
        self.speed: dict[str, float] = {"preprocess": 0.0, "inference": 0.0, "loss": 0.0, "postprocess": 0.0}
        self.confusion_matrix: ConfusionMatrix | None = None
        self.update(np.zeros((0, 1), np.int64), np.zeros(0, np.int64))

    def update(self, predicted: npt.NDArray[np.int64], targets: npt.NDArray[np.int64]) -> None:
        """Compute all figures anew.

        Args:
            predicted: (n, k) the likeliest classes of each image, the likeliest first; k is 5 or the number of classes.
            targets: (n,) the right ones.
        """
        right = predicted == targets[:, None]
        self.images = len(targets)
        self.top1 = float(right[:, 0].mean()) if len(targets) else 0.0
        self.top5 = float(right.any(1).mean()) if len(targets) else 0.0
        nc = max(len(self.names), int(targets.max(initial=-1)) + 1)
        self.nt_per_class = np.bincount(targets, minlength=nc)
        hits = np.bincount(targets[right[:, 0]], minlength=nc)
        self.per_class: Float64Array = np.full(nc, np.nan)
        np.divide(hits, self.nt_per_class, out=self.per_class, where=self.nt_per_class > 0)

    def process(self, targets: Sequence[Tensor], pred: Sequence[Tensor]) -> None:
        """Compute all figures anew, of lists of tensors: the reference's name and order of arguments."""
        self.update(torch.cat(list(pred)).long().cpu().numpy(), torch.cat(list(targets)).long().cpu().numpy())

    @property
    def fitness(self) -> float:
        """The mean of top1 and top5: what "best" means."""
        return (self.top1 + self.top5) / 2

    @property
    def by_name(self) -> dict[str, float | None]:
        """Class name (see `unique_names`) → top-1 accuracy; None without images. In the order of the classes' ids."""
        return {
            name: float(self.per_class[number]) if self.nt_per_class[number] else None
            for number, name in unique_names(self.names).items()
        }

    @property
    def keys(self) -> list[str]:
        """Columns of the figures, as in results.csv."""
        return list(self.figures.columns.values())

    @property
    def results_dict(self) -> dict[str, float]:
        """Figures by column, and the fitness."""
        return dict(zip([*self.keys, "fitness"], [self.top1, self.top5, self.fitness], strict=True))

    @property
    def curves(self) -> list[str]:
        """None."""
        return []

    @property
    def curves_results(self) -> list[list[Any]]:
        """None."""
        return []

    def to_dict(self) -> dict[str, Any]:
        """Return the plain data of metrics.json."""
        names = unique_names(self.names, range(len(self.nt_per_class)))
        classes = {
            names[i]: {"id": i, "images": int(n), "top1": None if n == 0 else float(self.per_class[i])}
            for i, n in enumerate(self.nt_per_class)
        }
        return {"results": self.results_dict, "speed": self.speed, "images": self.images, "classes": classes}
