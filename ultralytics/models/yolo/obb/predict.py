"""Prediction of rotated boxes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ultralytics.engine.results import Results
from ultralytics.models.yolo.detect.predict import DetectionPredictor
from ultralytics.utils.boxes import letterboxed, regularize_rboxes
from ultralytics.utils.types import UInt8Array


class OBBPredictor(DetectionPredictor):
    """Run a network that finds rotated boxes: `OBBPredictor(overrides={"imgsz": 320})(source, model)`."""

    joins = False
    rotated = True

    def as_results(self, found: Sequence[Tensor], img: Tensor, orig_imgs: Sequence[UInt8Array]) -> list[Results]:
        """Put detections into a Results for each image: rotated boxes in its pixels, the longer side as width and the
        angle in [0, π). A box that leaves the image keeps its size: cut, it would be another one."""
        results = []
        for image, detected in zip(orig_imgs, found, strict=True):
            gain, pads = letterboxed(img.shape[2:], image.shape[:2])
            with torch.inference_mode(False):
                detected = detected.clone()  # a normal tensor, which the user may change
                boxes = regularize_rboxes(torch.cat([detected[:, :4], detected[:, 6:7]], 1))
                boxes[:, :2] -= boxes.new_tensor(pads)
                boxes[:, :4] /= gain
                rows = torch.cat([boxes, detected[:, 4:6]], 1)
            results.append(Results(image, path="", names=self.names, obb=rows))
        return results
