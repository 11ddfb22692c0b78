"""Detection metrics, in the reference's conventions: matching, average precision, confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ultralytics.utils.boxes import bbox_iou, box_iou
from ultralytics.utils.lazy import later
from ultralytics.utils.log import LOGGER
from ultralytics.utils.types import ANY_CLASS

__all__ = [
    "ConfusionMatrix",
    "DetMetrics",
    "Metric",
    "ap_per_class",
    "bbox_ioa",
    "bbox_iou",
    "box_iou",
    "compute_ap",
    "match_predictions",
    "smooth",
    "smooth_BCE",
]

_BOXES = "this project detects boxes: DetMetrics"
__getattr__ = later(
    __name__,
    {name: f"ultralytics.utils.charts:{name}" for name in ("plot_mc_curve", "plot_pr_curve")},
    {
        **dict.fromkeys(("ClassifyMetrics", "OBBMetrics", "PoseMetrics", "SegmentMetrics"), _BOXES),
        **dict.fromkeys(("batch_probiou", "probiou", "kpt_iou", "mask_iou", "OKS_SIGMA"), "box_iou compares boxes"),
    },
)
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
CURVE_POINTS = 1000
F64 = npt.NDArray[np.float64]
Plotted = Callable[..., None] | None


def unique_pairs(
    labels: npt.NDArray[Any], detections: npt.NDArray[Any], iou: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """One-to-one pairs out of candidate pairs: each detection keeps its best label, then each label its first
    detection.

    Detections come in order of confidence, so a label goes to the most confident of those that chose it.
    """
    order = (-iou).argsort(kind="stable")
    labels, detections = labels[order], detections[order]
    _, first = np.unique(detections, return_index=True)
    labels, detections = labels[first], detections[first]
    _, first = np.unique(labels, return_index=True)
    return labels[first], detections[first]


def match_predictions(
    pred_classes: npt.ArrayLike, true_classes: npt.ArrayLike, iou: npt.ArrayLike, iouv: npt.ArrayLike | None = None
) -> npt.NDArray[np.bool_]:
    """Which detections are true positives at each IoU threshold.

    Args:
        pred_classes: (N,); true_classes: (M,); iou: (M, N); iouv: thresholds, 0.5 to 0.95 by default.

    Returns:
        (N, thresholds).
    """
    predicted, true = np.asarray(pred_classes), np.asarray(true_classes)
    thresholds = IOU_THRESHOLDS if iouv is None else np.asarray(iouv)
    correct = np.zeros((len(predicted), len(thresholds)), dtype=bool)
    overlap = np.asarray(iou) * (true[:, None] == predicted[None])
    # Thresholds as the overlaps' own type, so that an overlap equal to one counts in either precision.
    for i, threshold in enumerate(thresholds.astype(overlap.dtype)):
        labels, detections = np.nonzero(overlap >= threshold)
        if len(labels):
            _, hit = unique_pairs(labels, detections, overlap[labels, detections])
            correct[hit, i] = True
    return correct


def ignored_predictions(
    boxes: Tensor,
    pred_classes: npt.ArrayLike,
    correct: npt.NDArray[np.bool_],
    regions: Tensor,
    iouv: npt.ArrayLike | None = None,
) -> npt.NDArray[np.bool_]:
    """Which detections count neither as true nor as false positives, at each IoU threshold.

    A detection without a label of its own is ignored where it overlaps a region of its class by the threshold: by IoU
    (VOC's difficult objects), or in a crowd by the part of its own area (COCO). A region may take any number of them.

    Args:
        boxes: (N, 4) corners; pred_classes: (N,); correct: (N, thresholds) of `match_predictions`.
        regions: (K, 6) class or ANY_CLASS, corners in the boxes' unit, 1 for a crowd.
        iouv: thresholds, those of `match_predictions` by default.

    Returns:
        (N, thresholds).
    """
    if not len(regions) or not len(boxes):
        return np.zeros_like(correct)
    predicted = torch.as_tensor(np.asarray(pred_classes))
    cls, areas, crowd = regions[:, 0], regions[:, 1:5], regions[:, 5] > 0
    low, high = torch.max(areas[:, None, :2], boxes[None, :, :2]), torch.min(areas[:, None, 2:], boxes[None, :, 2:])
    own = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)
    share = (high - low).clamp(min=0).prod(2) / own.clamp(min=1e-9)
    overlap = torch.where(crowd[:, None], share, box_iou(areas, boxes))
    overlap = overlap * ((cls[:, None] == predicted[None]) | (cls[:, None] == ANY_CLASS))
    best = overlap.max(0).values.numpy()
    thresholds = IOU_THRESHOLDS if iouv is None else np.asarray(iouv)
    return (best[:, None] >= thresholds.astype(best.dtype)) & ~correct


def bbox_ioa(box1: npt.NDArray[Any], box2: npt.NDArray[Any], iou: bool = False, eps: float = 1e-7) -> npt.NDArray[Any]:
    """The part of each box of (m, 4) that each of (n, 4) covers, corners → (n, m); with `iou` their overlap."""
    low = np.maximum(box1[:, None, :2], box2[None, :, :2])
    high = np.minimum(box1[:, None, 2:], box2[None, :, 2:])
    inter = (high - low).clip(0).prod(2)
    area = (box2[:, 2:] - box2[:, :2]).prod(1)
    if iou:
        area = area + (box1[:, 2:] - box1[:, :2]).prod(1)[:, None] - inter
    part: npt.NDArray[Any] = inter / (area + eps)
    return part


def smooth_BCE(eps: float = 0.1) -> tuple[float, float]:  # noqa: N802  # the reference's name
    """Targets of a positive and a negative with smoothed labels."""
    return 1.0 - 0.5 * eps, 0.5 * eps


def smooth(y: F64, f: float = 0.05) -> F64:
    """Box filter over a fraction `f` of the samples (an odd number), the ends held."""
    n = round(len(y) * f * 2) // 2 + 1
    padding = np.ones(n // 2)
    return np.convolve(np.concatenate((padding * y[0], y, padding * y[-1])), np.ones(n) / n, mode="valid")


def compute_ap(recall: F64, precision: F64) -> tuple[float, F64, F64]:
    """Average precision at 101 recall points, with the precision envelope and the recalls it belongs to."""
    r = np.concatenate(([0.0], recall, [1.0]))
    p = np.concatenate(([1.0], precision, [0.0]))
    envelope = np.flip(np.maximum.accumulate(np.flip(p)))
    x = np.linspace(0, 1, 101)
    y = np.interp(x, r, envelope)
    area = float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum())
    return area, envelope, r


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
) -> tuple[F64, F64, F64, F64, F64, F64, npt.NDArray[np.int_], F64, F64, F64, F64, F64]:
    """Average precision and curves of every class that has labels.

    Args:
        tp: (n, thresholds) bool; conf, pred_cls: (n,); target_cls: (m,).
        plot: draw the curves into save_dir; names: class names for them.
        ignored: (n, thresholds); these detections are taken as if they had not been made.

    Returns:
        tp, fp, p, r, f1 at the confidence of the best mean F1 (classes,); ap (classes, thresholds); the classes;
        p, r, f1 curves (classes, 1000) over confidence; the confidences (1000,); precision over recall at IoU 0.5
        (classes, 1000).
    """
    order = np.argsort(-conf, kind="stable")
    tp, conf, pred_cls = tp[order].astype(float), conf[order].astype(float), pred_cls[order]
    counted = None if ignored is None or not ignored.any() else ~ignored[order]
    classes, labels = np.unique(target_cls, return_counts=True)
    nc = len(classes)
    x = np.linspace(0, 1, CURVE_POINTS, dtype=np.float64)
    ap = np.zeros((nc, tp.shape[1]))
    p_curve, r_curve = np.zeros((nc, CURVE_POINTS)), np.zeros((nc, CURVE_POINTS))
    precision_at_recall = np.zeros((nc, CURVE_POINTS))
    for i, c in enumerate(classes):
        mine = np.flatnonzero(pred_cls == c)
        if not len(mine):
            continue
        own_tp, own_conf = tp[mine].T, conf[mine]  # rows of thresholds
        own_counted = None if counted is None else counted[mine].T
        for j, column in enumerate(own_tp):
            chosen_conf, chosen = own_conf, column
            if own_counted is not None and not own_counted[j].all():
                chosen_conf, chosen = own_conf[own_counted[j]], column[own_counted[j]]
            if not len(chosen):
                continue
            hits = chosen.cumsum()
            recall = hits / (labels[i] + eps)
            precision = hits / np.arange(1, len(hits) + 1)
            ap[i, j], envelope, r = compute_ap(recall, precision)
            if j == 0:
                r_curve[i] = np.interp(-x, -chosen_conf, recall, left=0)
                p_curve[i] = np.interp(-x, -chosen_conf, precision, left=1)
                precision_at_recall[i] = np.interp(x, r, envelope)
    f1_curve = 2 * p_curve * r_curve / (p_curve + r_curve + eps)
    if plot:
        curves = x, precision_at_recall, p_curve, r_curve, f1_curve
        _plot_curves(*curves, ap, classes, names or {}, save_dir, prefix, on_plot)
    best = int(smooth(f1_curve.mean(0), 0.1).argmax()) if nc else 0
    p, r, f1 = p_curve[:, best], r_curve[:, best], f1_curve[:, best]
    true_positives = (r * labels).round()
    false_positives = (true_positives / (p + eps) - true_positives).round()
    return (
        true_positives,
        false_positives,
        p,
        r,
        f1,
        ap,
        classes.astype(int),
        p_curve,
        r_curve,
        f1_curve,
        x,
        precision_at_recall,
    )


def _plot_curves(
    x: F64,
    pr: F64,
    p: F64,
    r: F64,
    f1: F64,
    ap: F64,
    classes: Any,
    names: Mapping[int, str],
    save_dir: Path,
    prefix: str = "",
    on_plot: Plotted = None,
    font: str | None = None,
) -> None:
    """Draw the curves; one that cannot be drawn is a warning."""
    from ultralytics.utils.charts import optional, plot_mc_curve, plot_pr_curve  # PIL and OpenCV: for drawing alone

    shown = {i: names.get(int(c), str(int(c))) for i, c in enumerate(classes)}
    for name, curve, label in (("PR", pr, ""), ("F1", f1, "F1"), ("P", p, "Precision"), ("R", r, "Recall")):
        path = save_dir / f"{prefix}{name}_curve.png"
        with optional(path):
            if label:
                plot_mc_curve(x, curve, path, shown, ylabel=label, font=font)
            else:
                plot_pr_curve(x, curve, ap, path, shown, font)
            if on_plot is not None:
                on_plot(path)


class Metric:
    """Figures of one kind of box: per class (those with labels, in `ap_class_index`'s order) and their means."""

    def __init__(self) -> None:
        self.p: F64 = np.zeros(0)
        self.r: F64 = np.zeros(0)
        self.f1: F64 = np.zeros(0)
        self.all_ap: F64 = np.zeros((0, len(IOU_THRESHOLDS)))
        self.ap_class_index: npt.NDArray[np.int_] = np.zeros(0, dtype=int)
        self.nc = 0
        self.p_curve = self.r_curve = self.f1_curve = self.prec_values = np.zeros((0, CURVE_POINTS))
        self.px: F64 = np.linspace(0, 1, CURVE_POINTS, dtype=np.float64)

    @property
    def ap50(self) -> F64:
        """Average precision at IoU 0.5, per class."""
        return self.all_ap[:, 0]

    @property
    def ap(self) -> F64:
        """Average precision over IoU 0.5 to 0.95, per class."""
        mean: F64 = self.all_ap.mean(1)
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
    def maps(self) -> F64:
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
        return 0.1 * self.map50 + 0.9 * self.map

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
        (
            self.p,
            self.r,
            self.f1,
            self.all_ap,
            self.ap_class_index,
            self.p_curve,
            self.r_curve,
            self.f1_curve,
            self.px,
            self.prec_values,
        ) = results


def _mean(values: F64) -> float:
    return float(values.mean()) if values.size else 0.0


class DetMetrics:
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
        See `ap_per_class` for the arguments."""
        results = ap_per_class(tp, conf, pred_cls, target_cls, ignored=ignored)[2:]
        self.box.nc = len(self.names)
        self.box.update(results)
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
        b = self.box
        curves = b.px, b.prec_values, b.p_curve, b.r_curve, b.f1_curve
        _plot_curves(*curves, b.all_ap, b.ap_class_index, self.names, self.save_dir, on_plot=self.on_plot, font=font)

    @property
    def keys(self) -> list[str]:
        """Names of the mean results, as in results.csv."""
        return ["metrics/precision(B)", "metrics/recall(B)", "metrics/mAP50(B)", "metrics/mAP50-95(B)"]

    def mean_results(self) -> list[float]:
        """Mean precision, mean recall, mAP50, mAP50-95."""
        return self.box.mean_results()

    def class_result(self, i: int) -> tuple[float, float, float, float]:
        """Precision, recall, AP50, AP50-95 of the i-th class with labels."""
        return self.box.class_result(i)

    @property
    def maps(self) -> F64:
        """mAP50-95 for every class id."""
        return self.box.maps

    @property
    def fitness(self) -> float:
        """0.1·mAP50 + 0.9·mAP50-95."""
        return self.box.fitness()

    @property
    def ap_class_index(self) -> npt.NDArray[np.int_]:
        """Ids of the classes that have labels."""
        return self.box.ap_class_index

    @property
    def results_dict(self) -> dict[str, float]:
        """Mean results and fitness by name."""
        return dict(zip([*self.keys, "fitness"], [*self.mean_results(), self.fitness], strict=True))

    @property
    def curves(self) -> list[str]:
        """Names of the curves."""
        return ["Precision-Recall(B)", "F1-Confidence(B)", "Precision-Confidence(B)", "Recall-Confidence(B)"]

    @property
    def curves_results(self) -> list[list[Any]]:
        """For each curve: x, y per class, and the names of both axes."""
        return self.box.curves_results

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


class ConfusionMatrix:
    """Counts of [predicted, true] class, the last row and column being background.

    Args:
        nc: classes; conf: lowest score counted; iou_thres: overlap that makes a pair, whatever the classes.

    Attributes:
        matrix: (nc + 1, nc + 1).
    """

    def __init__(self, nc: int, conf: float = 0.25, iou_thres: float = 0.45, task: str = "detect") -> None:
        self.task, self.nc, self.conf, self.iou_thres = task, nc, conf, iou_thres
        self.matrix: F64 = np.zeros((nc + 1, nc + 1))

    def process_batch(
        self, detections: Tensor | None, gt_bboxes: Tensor, gt_cls: Tensor, ignored: Tensor | None = None
    ) -> None:
        """Count one image: detections (n, 6), true boxes (m, 4) corners and classes (m,). Either may be empty.

        `ignored` (n,): detections that are not held against the model where they match nothing.
        """
        if detections is None:
            detections = torch.zeros((0, 6))
        kept = detections[:, 4] > self.conf
        spared = np.zeros(len(detections), np.bool_) if ignored is None else ignored.numpy()
        detections, spared = detections[kept], spared[kept.numpy()]
        predicted, true = detections[:, 5].int().numpy(), gt_cls.view(-1).int().numpy()
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

    def tp_fp(self) -> tuple[F64, F64]:
        """True and false positives per class."""
        tp = self.matrix.diagonal()
        return tp[:-1], (self.matrix.sum(1) - tp)[:-1]

    def plot(
        self,
        normalize: bool = True,
        save_dir: Path | str = "",
        names: Sequence[str] = (),
        on_plot: Plotted = None,
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
            used = self.matrix.sum(0) + self.matrix.sum(1) > 0
            shown = [i for i in range(self.nc) if used[i] or i < (len(names) or self.nc)]
            labels = [names[i] if i < len(names) else str(i) for i in shown]
            rows = [*shown, self.nc]
            plot_confusion_matrix(self.matrix[np.ix_(rows, rows)], labels, normalize, path, font)
            if on_plot is not None:
                on_plot(path)
