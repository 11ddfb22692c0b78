"""Prediction of masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ultralytics.engine.results import Results
from ultralytics.models.yolo.detect.predict import DetectionPredictor
from ultralytics.utils.boxes import scale_boxes
from ultralytics.utils.masks import object_masks
from ultralytics.utils.types import UInt8Array


class SegmentationPredictor(DetectionPredictor):
    """Run a segmentation network: `SegmentationPredictor(overrides={"imgsz": 320})(source, model)`.

    Masks are of the letterboxed frame, with `retina_masks` of the image. They are cut by the boxes at that size.
    """

    joins = False

    def suppress(self, preds: Any) -> list[Any]:
        """Return the detections (n, 6 + k) of each image, their coefficients behind the class, and its prototypes."""
        return list(zip(super().suppress(preds), prototypes(preds), strict=True))

    def as_results(self, found: Sequence[Any], img: Tensor, orig_imgs: Sequence[UInt8Array]) -> list[Results]:
        """Put detections and prototypes into a Results for each image: boxes and masks."""
        frame = img.shape[2:]
        results = []
        for image, (detected, proto) in zip(orig_imgs, found, strict=True):
            with torch.inference_mode(False):
                boxes = detected[:, :6].clone()  # a normal tensor, which the user may change
                proto, coefficients = proto.clone(), detected[:, 6:].clone()
                boxes[:, :4] = scale_boxes(frame, boxes[:, :4], image.shape[:2])
                masks = None
                if len(boxes) and self.args.retina_masks:
                    masks = object_masks(proto, coefficients, boxes[:, :4], frame, image.shape[:2])
                elif len(boxes):
                    masks = object_masks(proto, coefficients, detected[:, :4].clone(), frame)
            results.append(Results(image, path="", names=self.names, boxes=boxes, masks=masks))
        return results


def prototypes(preds: Any) -> Tensor:
    """Return the prototypes (B, k, mh, mw) in a segmentation network's output: (y, prototypes) of an exported file, or
    (y, (maps, coefficients, prototypes))."""
    behind = preds[1]
    found: Tensor = behind if isinstance(behind, Tensor) else behind[-1]
    return found
