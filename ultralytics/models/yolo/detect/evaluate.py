"""What is measured of detections: the reference's figures for boxes, masks and poses, and what COCO's need."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ultralytics.utils.boxes import box_iou, scale_boxes, xywh2xyxy
from ultralytics.utils.coco import CROWD, DIFFICULT, Seen
from ultralytics.utils.metrics import (
    FIGURES,
    IOU_THRESHOLDS,
    ConfusionMatrix,
    DetMetrics,
    ignored_predictions,
    match_predictions,
)
from ultralytics.utils.types import ANY_CLASS, UNKNOWN_AREA, Batch, Float64Array

STATS = ("tp", "conf", "pred_cls", "target_cls", "ignored")


class CocoShapes(NamedTuple):
    """Masks or poses of an image's detections and objects, as COCO's format has them, in pixels of the original."""

    found: Sequence[Any]  # of the detections
    truths: Sequence[Any]  # of the objects
    regions: Sequence[Any] = ()  # of what is ignored: None where that is its box
    # corners (m, 4) and classes (m,) of the objects, where they are in another order than those of the pair
    corners: Tensor | None = None
    classes: Tensor | None = None


class Pair(NamedTuple):
    """An image's detections beside its labels, in pixels of the original image."""

    file: str  # of the image
    shape: tuple[int, int]  # its (height, width)
    detected: Tensor  # (n, 6) corners, score, class
    targets: Tensor  # (m, 4) corners of the objects
    classes: Tensor  # (m,) of the objects
    regions: Tensor  # (k, 6) ignored ones: class or ANY_CLASS, corners, 1 for a crowd
    areas: Float64Array | None  # (m,) of the objects' masks; None where none has one
    # (m, n) overlap of the objects with the detections in what the task is about besides boxes: masks or poses
    overlap: Tensor | None = None
    shapes: CocoShapes | None = None  # for COCO's figures
    uncut: Tensor | None = None  # (n, 7) rotated detections as they are, where `detected` has them limited by the image


def pair(detected: Tensor, batch: Batch, i: int, single_cls: bool = False) -> Pair:
    """Put the detections (n, 6) of a batch's image, in pixels of its frame, beside its labels.

    Args:
        detected: on the CPU; left as it is.
        batch: the labels.
        i: number of the image in it.
        single_cls: take all detections for one class.
    """
    frame, original, ratio_pad = batch["resized_shape"][i], batch["ori_shape"][i], batch["ratio_pad"][i]
    (height, width), mine = frame, batch["batch_idx"].view(-1) == i
    targets = xywh2xyxy(batch["bboxes"][mine].cpu().float()) * torch.tensor([width, height, width, height])
    detected = detected.clone()
    if single_cls:
        detected[:, 5] = 0
    detected[:, :4] = scale_boxes(frame, detected[:, :4], original, ratio_pad=ratio_pad)
    return pair_with(detected, scale_boxes(frame, targets, original, ratio_pad=ratio_pad), batch, i)


def pair_with(detected: Tensor, targets: Tensor, batch: Batch, i: int) -> Pair:
    """Put detections and objects of a batch's image together, both in pixels of the original."""
    original = batch["ori_shape"][i]
    regions = torch.tensor(batch["ignored"][i])
    regions[:, 1:5] = xywh2xyxy(regions[:, 1:5]) * torch.tensor([*original[::-1], *original[::-1]])
    return Pair(
        batch["im_file"][i],
        original,
        detected,
        targets,
        batch["cls"].view(-1)[batch["batch_idx"].view(-1) == i].cpu(),
        regions,
        batch["areas"][i] if "areas" in batch else None,
    )


@dataclass
class BoxEvaluator:
    """The reference's figures for boxes, and for what else a task measures of them."""

    names: Mapping[int, str]  # class names by id
    nc: int  # classes of the model
    confusion: ConfusionMatrix | None = None  # of the images so far; None: not counted
    kind: type[DetMetrics] = DetMetrics  # of the task
    # arrays of `columns`, by the batch's number
    stats: dict[int, dict[str, npt.NDArray[Any]]] = field(default_factory=dict)
    # images, regions: how many, the latter ignored ones
    images: int = 0
    regions: int = 0
    per_class: npt.NDArray[np.int64] = field(init=False)  # (nc,) images with labels of each class
    # of each image its file, detections and objects, by the batch's number
    counts: dict[int, list[tuple[str, int, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.per_class = np.zeros(self.nc, np.int64)

    def update(self, number: int, pairs: Sequence[Pair]) -> None:
        """Match the detections of a batch's images with their labels."""
        found = [self._match(p) for p in pairs]
        self.stats[number] = {k: np.concatenate([f[k] for f in found]) for k in self.columns}
        self.counts[number] = [(p.file, len(p.detected), len(p.targets)) for p in pairs]
        self.images += len(pairs)
        for p in pairs:
            self.regions += len(p.regions)
            self.per_class += np.bincount(np.unique(p.classes.long().numpy()), minlength=self.nc)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the arrays: STATS, and the hits of what else is measured."""
        others = [end for _, end in self.kind.kinds.values() if end]
        return (*STATS, *(word + end for end in others for word in ("tp", "ignored")))

    def overlap(self, p: Pair) -> Tensor:
        """Return the overlap of boxes, (objects, detections)."""
        return box_iou(p.targets, p.detected[:, :4])

    def corners(self, p: Pair) -> Tensor:
        """Return the corners (n, 4) of the detections, which regions are compared with."""
        return p.detected[:, :4]

    def _match(self, p: Pair) -> dict[str, npt.NDArray[Any]]:
        boxes, classes, targets = self.corners(p), p.detected[:, 5].numpy(), p.classes.numpy()
        found = {"conf": p.detected[:, 4].numpy(), "pred_cls": classes, "target_cls": targets}
        for _, end in self.kind.kinds.values():
            overlap = p.overlap if end else self.overlap(p)
            assert overlap is not None
            tp = match_predictions(classes, targets, overlap.numpy())
            found |= {f"tp{end}": tp, f"ignored{end}": ignored_predictions(boxes, classes, tp, p.regions)}
        if self.confusion is not None:
            regions = p.regions.clone()
            regions[:, 0] = ANY_CLASS  # a pair is a pair whatever the classes
            free = np.zeros((len(boxes), 1), np.bool_)
            spared = ignored_predictions(boxes, classes, free, regions, [self.confusion.iou_thres])
            self.confusion.process_batch(p.detected, p.targets, p.classes, torch.from_numpy(spared[:, 0]))
        return found

    def merge(self, other: BoxEvaluator) -> None:
        """Take what another rank has seen."""
        self.stats |= other.stats
        self.counts |= other.counts
        self.images += other.images
        self.regions += other.regions
        self.per_class = self.per_class + other.per_class
        if self.confusion is not None and other.confusion is not None:
            self.confusion.matrix = self.confusion.matrix + other.confusion.matrix

    def result(self) -> DetMetrics:
        """Return the metrics of all images, as if they had been seen in the loader's order."""
        metrics = self.kind(names=self.names)
        metrics.process(**self._joined())
        metrics.images, metrics.ignored, metrics.nt_per_image = self.images, self.regions, self.per_class
        metrics.confusion_matrix = self.confusion
        return metrics

    def _joined(self) -> dict[str, npt.NDArray[Any]]:
        wide = np.zeros((0, len(IOU_THRESHOLDS)), np.bool_)
        empty = {k: wide if k.startswith(("tp", "ignored")) else np.zeros(0, np.float32) for k in self.columns}
        ordered = [self.stats[n] for n in sorted(self.stats)] or [empty]
        return {k: np.concatenate([s[k] for s in ordered]) for k in self.columns}

    def by_image(self) -> dict[str, npt.NDArray[Any]]:
        """Return what the figures are computed of, in the loader's order, so that they can be computed anew for some
        of the images.

        Returns:
            files (images,); found, objects (images,) how many each has; of the detections conf, cls (n,), correct and
            ignored (n, thresholds), by what the task is about; target_cls (m,) of the objects.
        """
        counts = [count for n in sorted(self.counts) for count in self.counts[n]]
        files, found, objects = zip(*counts, strict=True) if counts else ((), (), ())
        arrays, end = self._joined(), list(self.kind.kinds.values())[-1][1]
        return {
            "files": np.array(files, np.str_),
            "found": np.array(found, np.int64),
            "objects": np.array(objects, np.int64),
            "conf": arrays["conf"],
            "cls": arrays["pred_cls"],
            "correct": arrays[f"tp{end}"],
            "ignored": arrays[f"ignored{end}"],
            "target_cls": arrays["target_cls"],
        }


@dataclass
class SeenEvaluator:
    """What COCO's figures and an analysis need."""

    seen: dict[int, list[Seen]] = field(default_factory=dict)  # images, by the batch's number

    def update(self, number: int, pairs: Sequence[Pair]) -> None:
        """Take a batch's images."""
        self.seen[number] = [self.as_seen(p) for p in pairs]

    def as_seen(self, p: Pair) -> Seen:
        """Return an image as it is kept."""
        return _as_seen(p)

    def merge(self, other: SeenEvaluator) -> None:
        """Take what another rank has seen."""
        self.seen |= other.seen

    def result(self) -> list[Seen]:
        """Return the images in the loader's order."""
        return [s for n in sorted(self.seen) for s in self.seen[n]]


def _as_seen(p: Pair) -> Seen:
    """Return an image as COCO's figures take it: corners become a corner and a size."""
    shapes = p.shapes
    targets, classes = p.targets, p.classes
    if shapes is not None and shapes.corners is not None and shapes.classes is not None:
        targets, classes = shapes.corners, shapes.classes
    found, objects, ignored = (t.double().numpy().copy() for t in (p.detected[:, :6], targets, p.regions))
    for corners in (found[:, :4], objects, ignored[:, 1:5]):
        corners[:, 2:] -= corners[:, :2]
    known = np.column_stack([objects, classes.double().numpy(), np.zeros(len(objects))])
    kinds = np.where(ignored[:, 5] > 0, CROWD, DIFFICULT)
    spared = np.column_stack([ignored[:, 1:5], ignored[:, 0], kinds])
    areas = None if p.areas is None else np.concatenate([p.areas, np.full(len(ignored), UNKNOWN_AREA)])
    both = () if shapes is None else (shapes.found, [*shapes.truths, *shapes.regions])
    return Seen(p.file, p.shape, found, np.concatenate([known, spared]), areas, *both)


# Metrics that another process reads


def to_arrays(metrics: DetMetrics) -> dict[str, Any]:
    """Return metrics as arrays that need no pickle."""
    parts = metrics.parts.items()
    arrays: dict[str, Any] = {f"{kind.lower()}_{k}": getattr(part, k) for kind, part in parts for k in FIGURES}
    arrays |= {"per_class": metrics.nt_per_class, "per_image": metrics.nt_per_image, "images": metrics.images}
    arrays |= {"ids": list(metrics.names), "names": np.array(list(metrics.names.values()))}
    arrays |= {"ignored": metrics.ignored}
    arrays |= {"coco": np.array(json.dumps(metrics.coco)), "dota": np.array(json.dumps(metrics.dota))}
    arrays |= {"stages": np.array(list(metrics.speed)), "speed": list(metrics.speed.values())}
    if metrics.confusion_matrix is not None:
        arrays |= {"confusion": metrics.confusion_matrix.matrix, "confusion_conf": metrics.confusion_matrix.conf}
    return arrays


def from_arrays(
    save_dir: Path, arrays: Mapping[str, npt.NDArray[Any]], kind: type[DetMetrics] = DetMetrics
) -> DetMetrics:
    """Return the metrics that `to_arrays` wrote, for a run's folder; `kind`: of the task."""
    names = {int(i): str(n) for i, n in zip(arrays["ids"], arrays["names"], strict=True)}
    metrics = kind(save_dir=save_dir, names=names)
    for name, part in metrics.parts.items():
        part.update([arrays[f"{name.lower()}_{k}"] for k in FIGURES])
    metrics.nt_per_class, metrics.nt_per_image = arrays["per_class"], arrays["per_image"]
    metrics.images, metrics.ignored = int(arrays["images"]), int(arrays["ignored"])
    metrics.coco, metrics.dota = (json.loads(str(arrays[k])) for k in ("coco", "dota"))
    metrics.speed = {str(k): float(v) for k, v in zip(arrays["stages"], arrays["speed"], strict=True)}
    if "confusion" in arrays:
        metrics.confusion_matrix = ConfusionMatrix(len(names), conf=float(arrays["confusion_conf"]))
        metrics.confusion_matrix.matrix = arrays["confusion"]
    return metrics
