"""The confusion matrix of a detector or classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ultralytics.utils.boxes import batch_probiou, box_iou
from ultralytics.utils.log import LOGGER
from ultralytics.utils.matching import unique_pairs
from ultralytics.utils.types import Float64Array


class ConfusionMatrix:
    """Counts of [predicted, true] class, the last row and column being background; with task="classify" there is none.

    Args:
        nc: classes; conf: lowest score counted; iou_thres: overlap that makes a pair, whatever the classes.

    Attributes:
        matrix: (nc + 1, nc + 1); of a classifier (nc, nc).
    """

    def __init__(self, nc: int, conf: float = 0.25, iou_thres: float = 0.45, task: str = "detect") -> None:
        self.task, self.nc, self.conf, self.iou_thres = task, nc, conf, iou_thres
        side = nc if task == "classify" else nc + 1
        self.matrix: Float64Array = np.zeros((side, side))

    def process_cls_preds(self, preds: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Count images by their likeliest class: preds (n, k), the likeliest first, and true classes (n,), of each
        batch."""
        for predicted, true in zip(preds, targets, strict=True):
            np.add.at(self.matrix, (predicted[:, 0].int().cpu().numpy(), true.view(-1).int().cpu().numpy()), 1)

    def process_batch(
        self, detections: Tensor | None, gt_bboxes: Tensor, gt_cls: Tensor, ignored: Tensor | None = None
    ) -> None:
        """Count one image: detections (n, 6), true boxes (m, 4) corners and classes (m,); or rotated boxes, detections
        (n, 7) with the angle last, and (m, 5). Either may be empty.

        `ignored` (n,): detections that are not held against the model where they match nothing.
        """
        if detections is None:
            detections = torch.zeros((0, 6))
        kept = detections[:, 4] > self.conf
        spared = np.zeros(len(detections), np.bool_) if ignored is None else ignored.numpy()
        detections, spared = detections[kept], spared[kept.numpy()]
        predicted, true = detections[:, 5].int().numpy(), gt_cls.view(-1).int().numpy()
        if gt_bboxes.shape[1] == 5:
            iou = batch_probiou(gt_bboxes, torch.cat([detections[:, :4], detections[:, 6:7]], 1)).numpy()
        else:
            iou = box_iou(gt_bboxes, detections[:, :4]).numpy()
        labels, found = np.nonzero(iou > self.iou_thres)
        if len(labels):
            labels, found = unique_pairs(labels, found, iou[labels, found])
        np.add.at(self.matrix, (predicted[found], true[labels]), 1)
        alone = np.delete(np.arange(len(predicted)), found)
        np.add.at(self.matrix[:, self.nc], predicted[alone[~spared[alone]]], 1)
        np.add.at(self.matrix[self.nc], np.delete(true, labels), 1)

    def print(self) -> None:
        """Log the counts, a line for each predicted class."""
        for row in self.matrix:
            LOGGER.info("%s", " ".join(f"{value:g}" for value in row))

    def tp_fp(self) -> tuple[Float64Array, Float64Array]:
        """True and false positives per class."""
        tp = self.matrix.diagonal()
        return tp[: self.nc], (self.matrix.sum(1) - tp)[: self.nc]

    def plot(
        self,
        normalize: bool = True,
        save_dir: Path | str = "",
        names: Sequence[str] = (),
        on_plot: Callable[..., None] | None = None,
        font: str | None = None,
    ) -> None:
        """Draw confusion_matrix.png and .pdf, or with `normalize` confusion_matrix_normalized, whose columns add up
        to 1; where that is not possible, say so.

        Args:
            names: of the classes; further ones of the model are shown where they have counts, and all without names.
            font: a font file or the name of an installed one.
        """
        from ultralytics.utils.charts import optional, plot_confusion_matrix  # as above

        path = Path(save_dir) / f"confusion_matrix{'_normalized' if normalize else ''}.png"
        with optional(path):
            nc = self.nc
            used = self.matrix.sum(0) + self.matrix.sum(1) > 0
            shown = [i for i in range(nc) if used[i] or i < (len(names) or nc)]
            labels = [names[i] if i < len(names) else str(i) for i in shown]
            rows = [*shown, *range(nc, len(self.matrix))]
            plot_confusion_matrix(self.matrix[np.ix_(rows, rows)], labels, normalize, path, font)
            if on_plot is not None:
                on_plot(path)
