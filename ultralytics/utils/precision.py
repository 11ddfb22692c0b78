"""Average precision, in the reference's conventions, and the figures of one kind of detection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from ultralytics.utils.matching import IOU_THRESHOLDS
from ultralytics.utils.types import Float64Array

CURVE_POINTS = 1000


def smooth(y: Float64Array, f: float = 0.05) -> Float64Array:
    """Box filter over a fraction `f` of the samples (an odd number), the ends held."""
    n = round(len(y) * f * 2) // 2 + 1
    padding = np.ones(n // 2)
    return np.convolve(np.concatenate((padding * y[0], y, padding * y[-1])), np.ones(n) / n, mode="valid")


def compute_ap(recall: Float64Array, precision: Float64Array) -> tuple[float, Float64Array, Float64Array]:
    """Average precision at 101 recall points, with the precision envelope and the recalls it belongs to."""
    r = np.concatenate(([0.0], recall, [1.0]))
    p = np.concatenate(([1.0], precision, [0.0]))
    envelope = np.flip(np.maximum.accumulate(np.flip(p)))
    x = np.linspace(0, 1, 101)
    y = np.interp(x, r, envelope)
    area = float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum())
    return area, envelope, r


@dataclass(eq=False)
class ApResult:
    """Average precision and curves of the classes that have labels, a row for each."""

    # tp, fp, p, r, f1: (classes,) at the confidence of the best mean F1
    tp: Float64Array
    fp: Float64Array
    p: Float64Array
    r: Float64Array
    f1: Float64Array
    all_ap: Float64Array  # (classes, thresholds)
    ap_class_index: npt.NDArray[np.int_]  # (classes,) ids
    # p_curve, r_curve, f1_curve: (classes, 1000) over confidence
    p_curve: Float64Array
    r_curve: Float64Array
    f1_curve: Float64Array
    px: Float64Array  # (1000,) the confidences
    prec_values: Float64Array  # (classes, 1000) precision at IoU 0.5 over recall, which is `px` too


FIGURES = tuple(f.name for f in fields(ApResult))[2:]  # what `Metric.update` takes


def average_precision(
    tp: npt.NDArray[Any],
    conf: npt.NDArray[Any],
    pred_cls: npt.NDArray[Any],
    target_cls: npt.NDArray[Any],
    ignored: npt.NDArray[np.bool_] | None = None,
    eps: float = 1e-16,
) -> ApResult:
    """Compute average precision and curves of every class that has labels.

    Args:
        tp: (n, thresholds) bool.
        conf: (n,) scores.
        pred_cls: (n,) class ids.
        target_cls: (m,) class ids of the labels.
        ignored: (n, thresholds); these detections are taken as if they had not been made.
        eps: keeps quotients finite.
    """
    order = np.argsort(-conf, kind="stable")
    tp, conf, pred_cls = tp[order].astype(float), conf[order].astype(float), pred_cls[order]
    counted = None if ignored is None or not ignored.any() else ~ignored[order]
    classes, labels = np.unique(target_cls, return_counts=True)
    nc = len(classes)
    x = np.linspace(0, 1, CURVE_POINTS, dtype=np.float64)
    ap = np.zeros((nc, tp.shape[1]))
    p_curve, r_curve, precision_at_recall = (np.zeros((nc, CURVE_POINTS)) for _ in range(3))
    for i, c in enumerate(classes):
        of_class = np.flatnonzero(pred_cls == c)
        class_conf, class_counted = conf[of_class], None if counted is None else counted[of_class].T
        for j, hit in enumerate(tp[of_class].T):
            chosen = slice(None) if class_counted is None else class_counted[j]
            chosen_conf, hits = class_conf[chosen], hit[chosen].cumsum()
            if not len(hits):
                continue
            recall = hits / (labels[i] + eps)
            precision = hits / np.arange(1, len(hits) + 1)
            ap[i, j], envelope, r = compute_ap(recall, precision)
            if j == 0:
                r_curve[i] = np.interp(-x, -chosen_conf, recall, left=0)
                p_curve[i] = np.interp(-x, -chosen_conf, precision, left=1)
                precision_at_recall[i] = np.interp(x, r, envelope)
    f1_curve = 2 * p_curve * r_curve / (p_curve + r_curve + eps)
    best = int(smooth(f1_curve.mean(0), 0.1).argmax()) if nc else 0
    p, r, f1 = p_curve[:, best], r_curve[:, best], f1_curve[:, best]
    tp = (r * labels).round()
    fp = (tp / (p + eps) - tp).round()
    return ApResult(tp, fp, p, r, f1, ap, classes.astype(int), p_curve, r_curve, f1_curve, x, precision_at_recall)


FITNESS = {"mAP50": 0.1, "mAP50-95": 0.9}  # weights of the figures of boxes, masks or poses in what "best" means
COLUMN = "metrics/"  # how the columns of figures begin in results.csv


def fitness_of(map50: float, map: float) -> float:
    """Return 0.1·mAP50 + 0.9·mAP50-95."""
    return FITNESS["mAP50"] * map50 + FITNESS["mAP50-95"] * map


@dataclass(frozen=True)
class TaskFigures:
    """What the validation of a task says: the one place that names the figure that networks are compared by, and what
    "best" means.

    Attributes:
        columns: name of a figure → its column of results.csv. Of what the task is about; the first is what networks
            are compared by.
        titles: name of a figure → as a reader sees it, of those whose name does not say of what they are.
        others: title → column of figures that it reports besides: of boxes, where it is about masks or poses.
        parts: the fitness is the sum of these: two columns with a weight each.
    """

    columns: Mapping[str, str]
    titles: Mapping[str, str]
    others: Mapping[str, str]
    parts: Sequence[Mapping[str, float]]

    @property
    def main(self) -> str:
        """Name of the figure that networks are compared by."""
        return next(iter(self.columns))

    @property
    def first(self) -> dict[str, str]:
        """Title → column of the figure that networks are compared by, and of the one that is shown beside it."""
        return {self.title(name): self.columns[name] for name in list(self.columns)[:2]}

    @property
    def metric(self) -> str:
        """The same as a reader sees it."""
        return self.title(self.main)

    @property
    def column(self) -> str:
        """Column of the figure that networks are compared by."""
        return self.columns[self.main]

    def title(self, name: str) -> str:
        """Return the name of a figure as a reader sees it."""
        return self.titles.get(name, name)

    @property
    def shown(self) -> dict[str, str]:
        """Title → column of every figure."""
        return {self.title(name): column for name, column in self.columns.items()} | dict(self.others)

    def fitness(self, row: Mapping[str, float]) -> float:
        """Return what "best" means, of the figures by column: the same to the bit as `fitness` of the metrics."""
        total = 0.0
        for part in self.parts:
            (one, first), (other, second) = part.items()
            total = total + (first * row[one] + second * row[other])
        return total


def figures_in_boxes(kinds: Mapping[str, str], of: str = "") -> TaskFigures:
    """Return the figures of a task that measures average precision.

    Args:
        kinds: what is measured → its letter in columns; the last is what the task is about.
        of: what the task is about, for readers: "mask" or "pose"; empty where it is boxes as everyone knows them.
    """
    names = ("mAP50-95", "mAP50", "precision", "recall")
    *others, letter = kinds.values()
    return TaskFigures(
        columns={name: f"{COLUMN}{name}({letter})" for name in names},
        titles={name: f"{of} {name}" for name in names} if of else {},
        others={f"box {name}": f"{COLUMN}{name}({other})" for other in others for name in names},
        parts=[{f"{COLUMN}{name}({each})": weight for name, weight in FITNESS.items()} for each in kinds.values()],
    )


def names_of(columns: Iterable[str]) -> dict[str, str]:
    """Return column → name for a reader: without "metrics/" and, where all figures are of boxes, without "(B)"."""
    names = {c: c.removeprefix(COLUMN) for c in columns}
    several = any("(" in name and not name.endswith("(B)") for name in names.values())
    return names if several else {c: name.removesuffix("(B)") for c, name in names.items()}


class Metric(ApResult):
    """Figures of one kind of box: per class (those with labels, in `ap_class_index`'s order) and their means."""

    def __init__(self) -> None:
        nothing = np.zeros(0)
        super().__init__(**vars(average_precision(np.zeros((0, len(IOU_THRESHOLDS))), nothing, nothing, nothing)))
        self.nc = 0

    @property
    def ap50(self) -> Float64Array:
        """Average precision at IoU 0.5, per class."""
        return self.all_ap[:, 0]

    @property
    def ap(self) -> Float64Array:
        """Average precision over IoU 0.5 to 0.95, per class."""
        mean: Float64Array = self.all_ap.mean(1)
        return mean

    @property
    def mp(self) -> float:
        """Mean precision."""
        return _mean(self.p)

    @property
    def mr(self) -> float:
        """Mean recall."""
        return _mean(self.r)

    @property
    def map50(self) -> float:
        """mAP at IoU 0.5."""
        return _mean(self.ap50)

    @property
    def map75(self) -> float:
        """mAP at IoU 0.75."""
        return _mean(self.all_ap[:, 5])

    @property
    def map(self) -> float:
        """mAP over IoU 0.5 to 0.95."""
        return _mean(self.all_ap)

    @property
    def maps(self) -> Float64Array:
        """mAP over IoU 0.5 to 0.95 for every class id, the mean where a class has no labels."""
        maps = np.full(self.nc, self.map)
        maps[self.ap_class_index] = self.ap
        return maps

    def mean_results(self) -> list[float]:
        """Mean precision, mean recall, mAP50, mAP50-95."""
        return [self.mp, self.mr, self.map50, self.map]

    def class_result(self, i: int) -> tuple[float, float, float, float]:
        """Precision, recall, AP50, AP50-95 of the i-th class with labels."""
        return float(self.p[i]), float(self.r[i]), float(self.ap50[i]), float(self.ap[i])

    def fitness(self) -> float:
        """0.1·mAP50 + 0.9·mAP50-95: what "best" means."""
        return fitness_of(self.map50, self.map)

    @property
    def curves(self) -> list[str]:
        """No names: `DetMetrics.curves` has them."""
        return []

    @property
    def curves_results(self) -> list[list[Any]]:
        """For each curve: x, y per class, and the names of both axes."""
        return [
            [self.px, self.prec_values, "Recall", "Precision"],
            [self.px, self.f1_curve, "Confidence", "F1"],
            [self.px, self.p_curve, "Confidence", "Precision"],
            [self.px, self.r_curve, "Confidence", "Recall"],
        ]

    def update(self, results: Sequence[Any]) -> None:
        """Take what `ap_per_class` returns, from its third entry on."""
        vars(self).update(zip(FIGURES, results, strict=True))


def _mean(values: Float64Array) -> float:
    return float(values.mean()) if values.size else 0.0
