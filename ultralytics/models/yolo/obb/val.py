"""Validation of a network that finds rotated boxes."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ultralytics.cfg.values import id_list
from ultralytics.data.labelset import LabelSet
from ultralytics.data.whole import whole_images
from ultralytics.engine.validator import Evaluator
from ultralytics.models.yolo.detect.evaluate import BoxEvaluator, Pair, SeenEvaluator, pair_with
from ultralytics.models.yolo.detect.val import DRAWN_BOXES, DetectionValidator
from ultralytics.models.yolo.obb.written import merged, rotated, write_rotated
from ultralytics.nn.backend import Backend
from ultralytics.utils.boxes import batch_probiou, xywhr2xyxyxyxy
from ultralytics.utils.coco import Seen
from ultralytics.utils.dota import RotatedImage, dota_figures
from ultralytics.utils.log import LOGGER
from ultralytics.utils.metrics import DetMetrics, OBBMetrics
from ultralytics.utils.text import counted
from ultralytics.utils.types import Batch

SHOWN_FIGURES = ("mAP50", "mAP75", "mAP50-95", "mAP50_voc07")  # of DOTA's, in the log


class RotatedEvaluator(BoxEvaluator):
    """The reference's figures for rotated boxes: their overlap is `probiou`."""

    def overlap(self, p: Pair) -> Tensor:
        """Return the overlap of boxes, (objects, detections)."""
        return batch_probiou(p.targets, rotated(p.detected))

    def corners(self, p: Pair) -> Tensor:
        """Return the corners (n, 4) of the upright boxes around the detections."""
        return around(rotated(p.detected))


class RotatedSeen(SeenEvaluator):
    """Keeps detections (n, 7) as they are, beyond the image's edges too, without labels."""

    def as_seen(self, p: Pair) -> Seen:
        """Return an image's detections."""
        assert p.uncut is not None, "rotated boxes"
        return Seen(p.file, p.shape, p.uncut.double().numpy(), np.zeros((0, 6)))


class OBBValidator(DetectionValidator):
    """Run a network over a loader and compute the metrics of its rotated boxes; see `DetectionValidator`."""

    kind: ClassVar[type[DetMetrics]] = OBBMetrics
    annotations: ClassVar[str] = "corners"
    joins: ClassVar[bool] = False
    rotated: ClassVar[bool] = True
    measure: ClassVar[type[BoxEvaluator]] = RotatedEvaluator
    labels: LabelSet | None = None  # of a last validation, for DOTA's figures

    def compare_one(self, found: Tensor, batch: Batch, i: int) -> Pair:
        """Put an image's detections beside its labels, cut as the reference cuts them and uncut."""
        found = found.clone()
        if self.args.single_cls:
            found[:, 5] = 0
        found[:, :4] = boxes_to_original(found[:, :4], batch, i)
        limited = torch.cat([as_reference(found[:, :4], batch, i), found[:, 4:]], 1)
        height, width = batch["resized_shape"][i]
        targets = batch["bboxes"][batch["batch_idx"].view(-1) == i].cpu().float()
        placed = boxes_to_original(targets[:, :4] * torch.tensor([width, height, width, height]), batch, i)
        objects = torch.cat([as_reference(placed, batch, i), targets[:, 4:]], 1)
        made = pair_with(limited, objects, batch, i)._replace(uncut=found)
        if self.args.save_txt:
            self._save_txt(made, obb=torch.cat([rotated(found), found[:, 4:6]], 1))
        return made

    def predicted(self, batch: Batch, preds: list[Tensor]) -> Any:
        """Return the surest detections of a batch's images as what draws a batch takes them."""
        height, width = batch["img"].shape[2:]
        top = [d[:DRAWN_BOXES] for d in preds]
        drawn = self._predicted(batch, top)
        boxes = rotated(torch.cat(top))
        return {**drawn, "bboxes": boxes / torch.tensor([width, height, width, height, 1])}

    def get_evaluators(self, model: Backend, plots: bool, final: bool) -> list[Evaluator[Any, Any]]:
        """Return what measures the boxes, and what keeps them for DOTA's figures and predictions.json."""
        evaluators = super().get_evaluators(model, plots, final)[:1]
        if not final or not (self.args.coco or self.args.save_json):
            return evaluators
        labels = getattr(getattr(self.dataloader, "dataset", None), "labels", None)
        self.labels = labels if isinstance(labels, LabelSet) else None
        return [*evaluators, RotatedSeen()]

    def report_figures(self) -> None:
        """Report DOTA's figures, which replace COCO's, and write predictions.json and Task1 files; the
        analysis is of upright boxes."""
        if self.args.analyse:
            LOGGER.warning("analyse=True has no effect on rotated boxes: it is of upright ones")
        if self.args.save_json:
            write_rotated(self.seen_images(), self.metrics.names, self.save_dir)
        if self.args.coco:
            self.report_dota()

    def report_dota(self) -> None:
        """Add DOTA's figures of whole images to the log and to metrics.json."""
        seen, labels, self.labels = self.seen_images(), self.labels, None
        if not seen or labels is None:
            return
        nc = self.data.label_nc if self.data is not None else len(self.metrics.names)
        whole = whole_images(labels, [s.file for s in seen], nc, id_list(self.args.classes), self.args.single_cls)
        found = merged((os.path.splitext(s.file)[0], torch.from_numpy(s.found)) for s in seen)
        images = [RotatedImage(found[image].numpy(), *objects) for image, objects in whole.objects.items()]
        figures = dota_figures(images, self.metrics.names)
        words = [f"{k} {figures[k]:.3f}" for k in SHOWN_FIGURES if figures[k] is not None]
        tiles = f" of {counted(len(images), 'whole image')}" if whole.source != "images" else ""
        tiles += " (objects put together of the tiles)" if whole.source == "tiles" else ""
        LOGGER.info("DOTA's figures%s: %s", tiles, ", ".join(words) or "there are no objects")
        self.metrics.dota = {"images": len(images), "objects_of": whole.source, **figures}
        self.save_metrics()


def around(boxes: Tensor) -> Tensor:
    """Return the corners (n, 4) of the upright boxes around rotated ones (n, 5)."""
    corners = xywhr2xyxyxyxy(boxes)
    return torch.cat([corners.amin(1), corners.amax(1)], 1)


def boxes_to_original(boxes: Tensor, batch: Batch, i: int) -> Tensor:
    """Return centre and size (n, 4) of rotated boxes in an image's frame in pixels of the original. A box that leaves
    the image keeps its size: cut, it would be another one."""
    ratio_pad = batch["ratio_pad"][i]
    assert ratio_pad is not None
    (gain, _), (left, top) = ratio_pad
    placed: Tensor = (boxes - torch.tensor([left, top, 0, 0], dtype=boxes.dtype)) / gain
    return placed


def as_reference(boxes: Tensor, batch: Batch, i: int) -> Tensor:
    """Return centre and size (n, 4), in pixels of the original, as the reference's mAP takes them: centre and own width
    limited by the image's width, and likewise for the height."""
    height, width = batch["ori_shape"][i]
    return boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height], dtype=boxes.dtype))
