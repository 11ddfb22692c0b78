"""Detection metrics, in the reference's conventions: average precision and what is reported of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ultralytics.utils.boxes import bbox_iou, box_iou
from ultralytics.utils.confusion import ConfusionMatrix
from ultralytics.utils.lazy import later
from ultralytics.utils.matching import IOU_THRESHOLDS, bbox_ioa, ignored_predictions, match_predictions
from ultralytics.utils.types import Float64Array

__all__ = [
    "IOU_THRESHOLDS", "ConfusionMatrix", "DetMetrics", "Metric", "ap_per_class", "bbox_ioa", "bbox_iou", "box_iou",
    "compute_ap", "ignored_predictions", "match_predictions", "smooth", "smooth_BCE",
]  # fmt: skip

_BOXES = "this project detects boxes: DetMetrics"
__getattr__ = later(
    __name__,
    {
        **{name: f"ultralytics.utils.charts:{name}" for name in ("plot_mc_curve", "plot_pr_curve")},
        "ClassifyMetrics": "ultralytics.utils.classification:ClassifyMetrics",
    },
    {
        **dict.fromkeys(("OBBMetrics", "PoseMetrics", "SegmentMetrics"), _BOXES),
        **dict.fromkeys(("batch_probiou", "probiou", "kpt_iou", "mask_iou", "OKS_SIGMA"), "box_iou compares boxes"),
    },
)
CURVE_POINTS = 1000
CURVES, CURVES_FILE = 100, "curves.json"  # classes whose curves are kept, and where
Plotted = Callable[..., None] | None


def smooth_BCE(eps: float = 0.1) -> tuple[float, float]:  # noqa: N802  # the reference's name
    """Targets of a positive and a negative with smoothed labels."""
    return 1.0 - 0.5 * eps, 0.5 * eps


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


def ap_per_class(
    tp: npt.NDArray[Any],
    conf: npt.NDArray[Any],
    pred_cls: npt.NDArray[Any],
    target_cls: npt.NDArray[Any],
    plot: bool = False,
    on_plot: Plotted = None,
    save_dir: Path = Path(),
    names: Mapping[int, str] | None = None,
    eps: float = 1e-16,
    prefix: str = "",
    ignored: npt.NDArray[np.bool_] | None = None,
) -> tuple[Any, ...]:
    """Return `average_precision`'s figures as the reference does, in the order of `ApResult`'s fields; with `plot` draw
    the curves into `save_dir`."""
    result = average_precision(tp, conf, pred_cls, target_cls, ignored, eps)
    if plot:
        draw_curves(result, names or {}, save_dir, prefix, on_plot)
    return tuple(vars(result).values())


def draw_curves(
    result: ApResult,
    names: Mapping[int, str],
    save_dir: Path,
    prefix: str = "",
    on_plot: Plotted = None,
    font: str | None = None,
) -> None:
    """Draw precision over recall, and F1, precision and recall over confidence; a failure is a warning."""
    from ultralytics.utils.charts import optional, plot_mc_curve, plot_pr_curve  # slow to import: for drawing alone

    shown = {i: names.get(int(c), str(int(c))) for i, c in enumerate(result.ap_class_index)}
    curves = ("PR", result.prec_values, ""), ("F1", result.f1_curve, "F1"), ("P", result.p_curve, "Precision")
    for name, curve, label in (*curves, ("R", result.r_curve, "Recall")):
        path = save_dir / f"{prefix}{name}_curve.png"
        with optional(path):
            if label:
                plot_mc_curve(result.px, curve, path, shown, ylabel=label, font=font)
            else:
                plot_pr_curve(result.px, curve, result.all_ap, path, shown, font)
            if on_plot is not None:
                on_plot(path)


def curve_numbers(
    result: ApResult, names: Mapping[int, str], confusion: ConfusionMatrix | None = None
) -> dict[str, Any]:
    """Return what the curves and the confusion matrix show, as plain data for curves.json.

    Args:
        result: the figures; names: class id → name; confusion: the counts, or None.

    Returns:
        x: (101,) recall, or confidence; classes: a mapping per class with labels: name, AP50, and over x `precision`
        (at IoU 0.5, over recall), `f1`, `p` and `r` (over confidence); of more than `CURVES` classes the first; mean:
        the same of all classes. confusion: labels (background is the last), counts as [predicted, true, count], conf.
    """
    at = np.linspace(0, len(result.px) - 1, 101).round().astype(int)
    kinds = {"precision": result.prec_values, "f1": result.f1_curve, "p": result.p_curve, "r": result.r_curve}

    def rounded(values: Float64Array) -> list[float]:
        return [round(v, 4) for v in values[at].tolist()]

    classes = [
        {"name": names.get(int(c), str(int(c))), "AP50": round(float(result.all_ap[i, 0]), 4)}
        | {kind: rounded(curves[i]) for kind, curves in kinds.items()}
        for i, c in enumerate(result.ap_class_index[:CURVES])
    ]
    found: dict[str, Any] = {"x": rounded(result.px), "classes": classes}
    found["mean"] = {kind: rounded(c.mean(0)) for kind, c in kinds.items()} if len(result.ap_class_index) else {}
    if confusion is not None:
        rows, columns = (place.tolist() for place in np.nonzero(confusion.matrix))
        counts = [[i, j, int(confusion.matrix[i, j])] for i, j in zip(rows, columns, strict=True)]
        labels = [*(names.get(i, str(i)) for i in range(confusion.nc)), "background"]
        found["confusion"] = {"labels": labels, "counts": counts, "conf": confusion.conf}
    return found


def fitness_of(map50: float, map: float) -> float:
    """Return 0.1·mAP50 + 0.9·mAP50-95."""
    return 0.1 * map50 + 0.9 * map


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


class DetMetrics:  # size: what a validation reports, under the reference's names
    """Metrics of a validation.

    Args:
        save_dir: where curves are drawn; plot: draw them; on_plot: called with each file; names: class names by id.

    Attributes:
        box: a Metric; speed: milliseconds per image by stage; images: images seen.
        nt_per_class, nt_per_image: labels, and images with labels, of each class id.
        ignored: regions that the evaluation ignored (difficult objects, crowds).
        coco: COCO's own figures, see `utils.coco`; None where they were not computed; analysis: see `utils.analysis`.
    """

    def __init__(
        self,
        save_dir: Path = Path(),
        plot: bool = False,
        on_plot: Plotted = None,
        names: Mapping[int, str] | None = None,
    ) -> None:
        self.save_dir, self.plot, self.on_plot, self.names = save_dir, plot, on_plot, dict(names or {})
        self.box = Metric()
        self.box.nc = len(self.names)
        self.speed: dict[str, float] = {"preprocess": 0.0, "inference": 0.0, "loss": 0.0, "postprocess": 0.0}
        self.task = "detect"
        self.images = 0
        self.nt_per_class: npt.NDArray[np.int_] = np.zeros(len(self.names), dtype=int)
        self.nt_per_image: npt.NDArray[np.int_] = np.zeros(len(self.names), dtype=int)
        self.ignored = 0
        self.coco: dict[str, Any] | None = None
        self.analysis: dict[str, Any] | None = None
        self.confusion_matrix: ConfusionMatrix | None = None

    def process(
        self,
        tp: npt.NDArray[Any],
        conf: npt.NDArray[Any],
        pred_cls: npt.NDArray[Any],
        target_cls: npt.NDArray[Any],
        ignored: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Compute all figures anew; without a true positive they are zero, never those of an earlier call.
        See `average_precision` for the arguments."""
        vars(self.box).update(vars(average_precision(tp, conf, pred_cls, target_cls, ignored)), nc=len(self.names))
        if len(target_cls):
            self.nt_per_class = np.bincount(target_cls.astype(int), minlength=len(self.names))
        else:
            self.nt_per_class = np.zeros(len(self.names), dtype=int)
        if self.plot:
            self.plot_curves()

    def plot_curves(self, font: str | None = None) -> None:
        """Draw precision over recall, and F1, precision and recall over confidence, into `save_dir` (PNG and PDF).

        Args:
            font: a font file, or the name of an installed one, for class names.
        """
        draw_curves(self.box, self.names, self.save_dir, on_plot=self.on_plot, font=font)

    @property
    def keys(self) -> list[str]:
        """Names of the mean results, as in results.csv."""
        return ["metrics/precision(B)", "metrics/recall(B)", "metrics/mAP50(B)", "metrics/mAP50-95(B)"]

    # Figures of `box`, by their names there
    mean_results, class_result = (property(attrgetter(f"box.{name}")) for name in ("mean_results", "class_result"))
    maps, ap_class_index = property(attrgetter("box.maps")), property(attrgetter("box.ap_class_index"))
    curves_results = property(attrgetter("box.curves_results"))

    @property
    def fitness(self) -> float:
        """0.1·mAP50 + 0.9·mAP50-95."""
        return self.box.fitness()

    @property
    def results_dict(self) -> dict[str, float]:
        """Mean results and fitness by name."""
        return dict(zip([*self.keys, "fitness"], [*self.mean_results(), self.fitness], strict=True))

    @property
    def curves(self) -> list[str]:
        """Names of the curves."""
        return ["Precision-Recall(B)", "F1-Confidence(B)", "Precision-Confidence(B)", "Recall-Confidence(B)"]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for metrics.json."""
        b = self.box
        classes = {
            self.names.get(int(c), str(int(c))): {
                "images": int(self.nt_per_image[c]),
                "instances": int(self.nt_per_class[c]),
                "precision": float(b.p[i]),
                "recall": float(b.r[i]),
                "f1": float(b.f1[i]),
                "mAP50": float(b.ap50[i]),
                "mAP75": float(b.all_ap[i, 5]),
                "mAP50-95": float(b.ap[i]),
            }
            for i, c in enumerate(b.ap_class_index)
        }
        return {
            "images": self.images,
            "instances": int(self.nt_per_class.sum()),
            "ignored": self.ignored,
            "precision": b.mp,
            "recall": b.mr,
            "mAP50": b.map50,
            "mAP75": b.map75,
            "mAP50-95": b.map,
            "fitness": self.fitness,
            "convention": "the reference's: 101-point AP, precision and recall at the best mean F1",
            "speed_ms_per_image": dict(self.speed),
            "classes": classes,
            **({"coco": self.coco} if self.coco is not None else {}),
            **({"analysis": self.analysis} if self.analysis is not None else {}),
        }
