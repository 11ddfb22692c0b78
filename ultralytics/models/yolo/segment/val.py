"""Validation of a network that finds objects and their masks."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ultralytics.models.yolo.detect.evaluate import Pair, Shapes, pair
from ultralytics.models.yolo.detect.val import DRAWN_BOXES, DetectionValidator
from ultralytics.models.yolo.segment.evaluate import contested, encoded, label_masks, overlap_of, prototypes_of
from ultralytics.utils.masks import object_masks
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
    annotations: ClassVar[str] = "polygons"

    def postprocess(self, preds: Any) -> list[Any]:
        """Turn the model's output into the detections and prototypes of each image."""
        return [Masked(*found) for found in zip(super().postprocess(preds), prototypes_of(preds), strict=True)]

    def compare(self, preds: list[Any], batch: Batch) -> list[Pair]:
        """Put each image's detections beside its labels, with the overlaps of their masks."""
        return [self._pair(found, batch, i) for i, found in enumerate(preds)]

    def _pair(self, found: Masked, batch: Batch, i: int) -> Pair:
        made = pair(found.detected[:, :6].cpu(), batch, i, self.args.single_cls)
        mine = batch["batch_idx"].view(-1) == i
        labels = label_masks(batch["masks"], mine, i, self.args.overlap_mask).to(found.protos.device)
        frame = batch["resized_shape"][i]
        overlap = overlap_of(found.detected, found.protos, frame, made, batch["bboxes"][mine], labels)
        made = made._replace(overlap=overlap.cpu())
        return made._replace(shapes=self._shapes(found, made, batch, i)) if self.keeps_shapes else made

    def _shapes(self, found: Masked, made: Pair, batch: Batch, i: int) -> Shapes:
        """Return the masks of an image's detections and objects, in its pixels: of all detections where they are
        written, else of those whose masks can matter."""
        labels = self.dataloader.dataset.labels.labelled(int(batch["index"][i]))
        height, width = made.shape
        size = np.array([width, height])
        outlines = [(labels.segments.one(k) * size).ravel().tolist() for k in range(len(labels))]
        boxes = labels.bboxes * np.tile(size, 2)
        corners = torch.from_numpy(
            np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
        )
        classes = torch.from_numpy(labels.cls)
        if self.args.save_json or self.args.save_txt:
            wanted = torch.ones(len(found.detected), dtype=torch.bool)
        else:
            wanted = contested(made.detected[:, :4].double(), made.detected[:, 5], corners, classes)
        chosen, device = wanted.nonzero().view(-1), found.protos.device
        masks = object_masks(
            found.protos,
            found.detected[chosen.to(device), 6:],
            made.detected[chosen, :4].to(device),
            batch["resized_shape"][i],
            made.shape,
        )
        if self.args.save_txt:
            self._save_outlines(made, masks)
        rles = encoded(masks)
        empty = encoded(torch.zeros((1, height, width)))[0]
        kept = [empty] * len(wanted)
        for number, rle in zip(chosen.tolist(), rles, strict=True):
            kept[number] = rle
        truths = [[outline] if len(outline) >= 6 else empty for outline in outlines]
        return Shapes("segm", kept, truths, corners, classes)
