"""Validation of a network that finds objects and their masks."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ultralytics.models.yolo.detect.evaluate import CocoShapes, Pair, pair
from ultralytics.models.yolo.detect.val import DRAWN_BOXES, DetectionValidator
from ultralytics.models.yolo.segment.evaluate import contested, encoded, label_masks, overlap_of, region_masks
from ultralytics.models.yolo.segment.predict import prototypes
from ultralytics.utils.masks import object_masks, object_parts, process_mask
from ultralytics.utils.metrics import DetMetrics, SegmentMetrics
from ultralytics.utils.types import Batch


class Masked(NamedTuple):
    """What a network finds in an image."""

    detected: Tensor  # (n, 6 + k) corners in pixels of the frame, score, class, coefficients
    protos: Tensor  # (k, h, w)

    def cpu(self) -> Masked:
        """Return what is drawn of it, on the CPU."""
        return Masked(self.detected[:DRAWN_BOXES].cpu(), self.protos.cpu())


class SegmentationValidator(DetectionValidator):
    """Run a network over a loader and compute the metrics of its boxes and masks; see `DetectionValidator`.

    Masks are compared at the size of the prototypes, as in the reference. What `coco`, `save_json` and `save_txt` ask
    for is of the images' size, and changes no other figure.
    """

    kind: ClassVar[type[DetMetrics]] = SegmentMetrics
    joins: ClassVar[bool] = False
    compared: ClassVar[str] = "segm"
    annotations: ClassVar[str] = "polygons"

    def postprocess(self, preds: Any) -> list[Any]:
        """Turn the model's output into the detections and prototypes of each image."""
        return [Masked(*found) for found in zip(super().postprocess(preds), prototypes(preds), strict=True)]

    def compare(self, preds: list[Any], batch: Batch) -> list[Pair]:
        """Put each image's detections beside its labels, with the overlaps of their masks."""
        return [self.compare_one(found, batch, i) for i, found in enumerate(preds)]

    def compare_one(self, found: Masked, batch: Batch, i: int) -> Pair:
        """Put an image's detections beside its labels, with the overlaps of their masks."""
        made = pair(found.detected[:, :6].cpu(), batch, i, self.args.single_cls)
        mine = batch["batch_idx"].view(-1) == i
        labels = label_masks(batch["masks"], mine, i, self.args.overlap_mask).to(found.protos.device)
        frame = batch["resized_shape"][i]
        overlap = overlap_of(found.detected, found.protos, frame, made, batch["bboxes"][mine], labels)
        made = made._replace(overlap=overlap.cpu())
        if self.args.save_txt:
            masks = object_masks(*self._native(found, made, batch, i, torch.arange(len(found.detected))))
            self._save_txt(made, boxes=made.detected, masks=masks.cpu())
        if not self.keeps_shapes:
            return made
        areas = self.dataloader.dataset.labels.areas_of(int(batch["index"][i]))  # in the order of the outlines
        return made._replace(shapes=self._shapes(found, made, batch, i), areas=areas)

    @staticmethod
    def _native(found: Masked, made: Pair, batch: Batch, i: int, rows: Tensor) -> tuple[Any, ...]:
        """Return what `object_masks` makes the masks of some detections of, in pixels of the original image."""
        device = found.protos.device
        coefficients, boxes = found.detected[rows.to(device), 6:], made.detected[rows, :4].to(device)
        return found.protos, coefficients, boxes, batch["resized_shape"][i], made.shape, batch["ratio_pad"][i]

    def _shapes(self, found: Masked, made: Pair, batch: Batch, i: int) -> CocoShapes:
        """Return the masks of an image's detections and objects, in its pixels: of all detections where they are
        written, else of those whose masks can matter."""
        split, number = self.dataloader.dataset.labels, int(batch["index"][i])
        labels, regions = split.labelled(number), region_masks(split.outlines_of(number), made.shape)
        height, width = made.shape
        size = np.array([width, height])
        outlines = [(labels.segments.one(k) * size).ravel().tolist() for k in range(len(labels))]
        boxes = labels.bboxes * np.tile(size, 2)
        corners = torch.from_numpy(
            np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
        )
        classes = torch.from_numpy(labels.cls)
        if self.args.save_json:
            rows = torch.arange(len(found.detected))
        else:
            detected = made.detected[:, :4].double()
            # Besides objects, what is ignored: a detection in it that has no mask would be a mistake.
            places = torch.cat([corners, made.regions[:, 1:5].double()])
            kinds = torch.cat([classes, made.regions[:, 0].to(classes.dtype)])
            rows = contested(detected, made.detected[:, 5], places, kinds).nonzero().view(-1)
        empty = encoded([(0, 0, np.zeros((0, 0), bool))], height, width)[0]
        kept = [empty] * len(found.detected)
        parts = object_parts(*self._native(found, made, batch, i, rows))
        for row, rle in zip(rows.tolist(), encoded(parts, height, width), strict=True):
            kept[row] = rle
        truths = [[outline] if len(outline) >= 6 else empty for outline in outlines]
        return CocoShapes(kept, truths, regions, corners, classes)

    def predicted(self, batch: Batch, preds: list[Any]) -> Any:
        """Return the surest detections of a batch's images, with their masks, as what draws a batch takes them."""
        masks = [process_mask(p.protos, p.detected[:, 6:], p.detected[:, :4], batch["img"].shape[2:]) for p in preds]
        return {**self._predicted(batch, [p.detected for p in preds]), "masks": torch.cat(masks)}
