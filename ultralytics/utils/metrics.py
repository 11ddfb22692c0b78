"""Metrics in the reference's conventions: average precision of boxes, masks and poses, and what is reported of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ultralytics.utils.boxes import batch_probiou, bbox_iou, box_iou, probiou
from ultralytics.utils.confusion import ConfusionMatrix
from ultralytics.utils.lazy import later
from ultralytics.utils.matching import (
    IOU_THRESHOLDS,
    OKS_SIGMA,
    bbox_ioa,
    ignored_predictions,
    kpt_iou,
    mask_iou,
    match_predictions,
)
from ultralytics.utils.precision import FIGURES as FIGURES  # where its users look for it
from ultralytics.utils.precision import (
    ApResult,
    Metric,
    TaskFigures,
    average_precision,
    compute_ap,
    figures_in_boxes,
    fitness_of,
    smooth,
)
from ultralytics.utils.text import unique_names
from ultralytics.utils.types import Float64Array

__all__ = [
    "IOU_THRESHOLDS", "OKS_SIGMA", "ConfusionMatrix", "DetMetrics", "Metric", "OBBMetrics", "PoseMetrics",
    "SegmentMetrics", "ap_per_class", "average_precision", "batch_probiou", "bbox_ioa", "bbox_iou", "box_iou",
    "compute_ap", "fitness_of", "ignored_predictions", "kpt_iou", "mask_iou", "match_predictions", "probiou",
    "smooth", "smooth_BCE",
]  # fmt: skip

__getattr__ = later(
    __name__,
    {
        **{name: f"ultralytics.utils.charts:{name}" for name in ("plot_mc_curve", "plot_pr_curve")},
        "ClassifyMetrics": "ultralytics.utils.classification:ClassifyMetrics",
    },
)
CURVES, CURVES_FILE = 100, "curves.json"  # classes whose curves are kept, and where
Plotted = Callable[..., None] | None


def smooth_BCE(eps: float = 0.1) -> tuple[float, float]:  # noqa: N802  # the reference's name
    """Targets of a positive and a negative with smoothed labels."""
    return 1.0 - 0.5 * eps, 0.5 * eps


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
    """Draw precision over recall, and F1, precision and recall over confidence; a failure is a warning.

    File names and titles begin with `prefix`.
    """
    from ultralytics.utils.charts import optional, plot_mc_curve, plot_pr_curve  # slow to import: for drawing alone

    names = unique_names(names, result.ap_class_index)
    shown = {i: names[int(c)] for i, c in enumerate(result.ap_class_index)}
    curves = ("PR", result.prec_values, ""), ("F1", result.f1_curve, "F1"), ("P", result.p_curve, "Precision")
    for name, curve, label in (*curves, ("R", result.r_curve, "Recall")):
        path = save_dir / f"{prefix}{name}_curve.png"
        with optional(path):
            if label:
                plot_mc_curve(result.px, curve, path, shown, ylabel=label, font=font, of=prefix)
            else:
                plot_pr_curve(result.px, curve, result.all_ap, path, shown, font, prefix)
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

    names = unique_names(names, result.ap_class_index)
    classes = [
        {"name": names[int(c)], "AP50": round(float(result.all_ap[i, 0]), 4)}
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


class DetMetrics:  # size: what a validation reports, under the reference's names
    """Metrics of a validation.

    Args:
        save_dir: where curves are drawn; plot: draw them; on_plot: called with each file; names: class names by id.

    Attributes:
        parts: a Metric of each thing that is measured; box: that of boxes.
        speed: milliseconds per image by stage; images: images seen.
        nt_per_class, nt_per_image: labels, and images with labels, of each class id.
        ignored: regions that the evaluation ignored (difficult objects, crowds).
        coco: COCO's own figures, see `utils.coco`; None where they were not computed; dota: those of rotated boxes, see
            `utils.dota`; analysis: see `utils.analysis`.
    """

    task: ClassVar[str] = "detect"
    # What is measured: its name in tables and files of curves, its letter in columns, and that of its arrays of hits.
    kinds: ClassVar[Mapping[str, tuple[str, str]]] = {"Box": ("B", "")}
    figures: ClassVar[TaskFigures] = figures_in_boxes({"Box": "B"})

    def __init__(
        self,
        save_dir: Path = Path(),
        plot: bool = False,
        on_plot: Plotted = None,
        names: Mapping[int, str] | None = None,
    ) -> None:
        self.save_dir, self.plot, self.on_plot, self.names = save_dir, plot, on_plot, dict(names or {})
        self.parts = {kind: Metric() for kind in self.kinds}
        for part in self.parts.values():
            part.nc = len(self.names)
        self.speed: dict[str, float] = {"preprocess": 0.0, "inference": 0.0, "loss": 0.0, "postprocess": 0.0}
        self.images = 0
        self.nt_per_class: npt.NDArray[np.int_] = np.zeros(len(self.names), dtype=int)
        self.nt_per_image: npt.NDArray[np.int_] = np.zeros(len(self.names), dtype=int)
        self.ignored = 0
        self.coco: dict[str, Any] | None = None
        self.dota: dict[str, Any] | None = None
        self.analysis: dict[str, Any] | None = None
        self.confusion_matrix: ConfusionMatrix | None = None

    @property
    def box(self) -> Metric:
        """Figures of boxes."""
        return self.parts["Box"]

    @property
    def main(self) -> Metric:
        """Figures of what the task is about: the last of `parts`."""
        return list(self.parts.values())[-1]

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
        self._process({"Box": (tp, ignored)}, conf, pred_cls, target_cls)

    def _process(
        self,
        hits: Mapping[str, tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]],
        conf: npt.NDArray[Any],
        pred_cls: npt.NDArray[Any],
        target_cls: npt.NDArray[Any],
    ) -> None:
        for kind, (tp, ignored) in hits.items():
            found = average_precision(tp, conf, pred_cls, target_cls, ignored)
            vars(self.parts[kind]).update(vars(found), nc=len(self.names))
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
        for kind, part in self.parts.items():
            prefix = kind if len(self.parts) > 1 else ""
            draw_curves(part, self.names, self.save_dir, prefix, on_plot=self.on_plot, font=font)

    @property
    def keys(self) -> list[str]:
        """Names of the mean results, as in results.csv."""
        figures = ("metrics/precision", "metrics/recall", "metrics/mAP50", "metrics/mAP50-95")
        return [f"{figure}({letter})" for letter, _ in self.kinds.values() for figure in figures]

    def mean_results(self) -> list[float]:
        """Mean precision, mean recall, mAP50 and mAP50-95 of each of `parts`."""
        return [figure for part in self.parts.values() for figure in part.mean_results()]

    def class_result(self, i: int) -> tuple[float, ...]:
        """Precision, recall, AP50, AP50-95 of the i-th class with labels, of each of `parts`."""
        return tuple(figure for part in self.parts.values() for figure in part.class_result(i))

    @property
    def maps(self) -> Float64Array:
        """mAP over IoU 0.5 to 0.95 for every class id, summed over `parts`; see `Metric.maps`."""
        maps: Float64Array = np.sum([part.maps for part in self.parts.values()], 0)
        return maps

    @property
    def by_name(self) -> dict[str, float | None]:
        """Class name (see `unique_names`) → mAP50-95 of what the task is about; None without labels. In the order of
        the classes' ids."""
        found = dict(zip(map(int, self.main.ap_class_index), map(float, self.main.ap), strict=True))
        return {name: found.get(number) for number, name in unique_names(self.names).items()}

    @property
    def ap_class_index(self) -> npt.NDArray[np.int_]:
        """Ids of the classes with labels."""
        return self.box.ap_class_index

    @property
    def fitness(self) -> float:
        """0.1·mAP50 + 0.9·mAP50-95, summed over `parts`."""
        return sum(part.fitness() for part in self.parts.values())

    @property
    def results_dict(self) -> dict[str, float]:
        """Mean results and fitness by name."""
        return dict(zip([*self.keys, "fitness"], [*self.mean_results(), self.fitness], strict=True))

    @property
    def curves(self) -> list[str]:
        """Names of the curves."""
        words = ("Precision-Recall", "F1-Confidence", "Precision-Confidence", "Recall-Confidence")
        return [f"{word}({letter})" for letter, _ in self.kinds.values() for word in words]

    @property
    def curves_results(self) -> list[list[Any]]:
        """The curves, see `Metric.curves_results`, in the order of their names."""
        return [curve for part in self.parts.values() for curve in part.curves_results]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for metrics.json: figures of boxes and, by their names, those of the other parts."""
        b = self.box
        others = {kind.lower(): self._part_figures(part) for kind, part in self.parts.items() if part is not b}
        return {
            "images": self.images,
            "instances": int(self.nt_per_class.sum()),
            "ignored": self.ignored,
            **self._part_figures(b, fitness=self.fitness),
            **others,
            **({"coco": self.coco} if self.coco is not None else {}),
            **({"dota": self.dota} if self.dota is not None else {}),
            **({"analysis": self.analysis} if self.analysis is not None else {}),
        }

    def _part_figures(self, b: Metric, fitness: float | None = None) -> dict[str, Any]:
        names = unique_names(self.names, b.ap_class_index)
        classes = {
            names[int(c)]: {
                "id": int(c),
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
        means = {"precision": b.mp, "recall": b.mr, "mAP50": b.map50, "mAP75": b.map75, "mAP50-95": b.map}
        if fitness is None:
            return means | {"classes": classes}
        return {
            **means,
            "fitness": fitness,
            "convention": "the reference's: 101-point AP, precision and recall at the best mean F1",
            "speed_ms_per_image": dict(self.speed),
            "classes": classes,
        }


class SegmentMetrics(DetMetrics):
    """Metrics of boxes and masks: (B), (M)."""

    task: ClassVar[str] = "segment"
    kinds: ClassVar[Mapping[str, tuple[str, str]]] = {"Box": ("B", ""), "Mask": ("M", "_m")}
    figures: ClassVar[TaskFigures] = figures_in_boxes({"Box": "B", "Mask": "M"}, "mask")

    def process(  # type: ignore[override]  # the reference's order of arguments
        self,
        tp: npt.NDArray[Any],
        tp_m: npt.NDArray[Any],
        conf: npt.NDArray[Any],
        pred_cls: npt.NDArray[Any],
        target_cls: npt.NDArray[Any],
        ignored: npt.NDArray[np.bool_] | None = None,
        ignored_m: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Compute all figures anew, of boxes (`tp`) and masks (`tp_m`); see `DetMetrics.process`."""
        self._process({"Box": (tp, ignored), "Mask": (tp_m, ignored_m)}, conf, pred_cls, target_cls)

    @property
    def seg(self) -> Metric:
        """Figures of masks."""
        return self.parts["Mask"]


class PoseMetrics(DetMetrics):
    """Metrics of boxes and poses: (B), (P)."""

    task: ClassVar[str] = "pose"
    kinds: ClassVar[Mapping[str, tuple[str, str]]] = {"Box": ("B", ""), "Pose": ("P", "_p")}
    figures: ClassVar[TaskFigures] = figures_in_boxes({"Box": "B", "Pose": "P"}, "pose")

    def process(  # type: ignore[override]  # the reference's order of arguments
        self,
        tp: npt.NDArray[Any],
        tp_p: npt.NDArray[Any],
        conf: npt.NDArray[Any],
        pred_cls: npt.NDArray[Any],
        target_cls: npt.NDArray[Any],
        ignored: npt.NDArray[np.bool_] | None = None,
        ignored_p: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Compute all figures anew, of boxes (`tp`) and poses (`tp_p`); see `DetMetrics.process`."""
        self._process({"Box": (tp, ignored), "Pose": (tp_p, ignored_p)}, conf, pred_cls, target_cls)

    @property
    def pose(self) -> Metric:
        """Figures of poses."""
        return self.parts["Pose"]


class OBBMetrics(DetMetrics):
    """Metrics of oriented boxes, whose overlap is `probiou`: (B)."""

    task: ClassVar[str] = "obb"
    figures: ClassVar[TaskFigures] = figures_in_boxes({"Box": "B"}, "obb")
