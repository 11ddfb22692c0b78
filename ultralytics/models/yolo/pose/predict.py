"""Prediction of keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ultralytics.engine.results import Results
from ultralytics.models.yolo.detect.predict import DetectionPredictor
from ultralytics.utils.boxes import letterboxed, scale_boxes
from ultralytics.utils.ops import scale_coords
from ultralytics.utils.types import UInt8Array


class PosePredictor(DetectionPredictor):
    """Run a network that finds keypoints: `PosePredictor(overrides={"imgsz": 320})(source, model)`."""

    joins = False

    def as_results(self, found: Sequence[Tensor], img: Tensor, orig_imgs: Sequence[UInt8Array]) -> list[Results]:
        """Put detections into a Results for each image: boxes and keypoints, in its pixels and cut to it."""
        results, frame = [], img.shape[2:]
        for image, detected in zip(orig_imgs, found, strict=True):
            shape = image.shape[:2]
            gain, pads = letterboxed(frame, shape)
            with torch.inference_mode(False):
                boxes, points = detected[:, :6].clone(), detected[:, 6:].clone()  # which the user may change
                boxes[:, :4] = scale_boxes(frame, boxes[:, :4], shape)
                points = points.view(-1, *self.points(points.shape[1]))
                points = scale_coords(frame, points, shape, ((gain,), pads))
            results.append(Results(image, path="", names=self.names, boxes=boxes, keypoints=points))
        return results

    def points(self, numbers: int) -> tuple[int, int]:
        """Return the keypoints of an object and the numbers of each, from the numbers of all."""
        return keypoint_shape(self.model, numbers)


def keypoint_shape(net: Any, numbers: int) -> tuple[int, int]:
    """Return (K, 2 or 3) of a network, or of a file by what it says of itself; where neither says it, by how many
    numbers there are in all: threes if they can be.

    Args:
        net: a Backend.
        numbers: of the keypoints of an object.
    """
    shape = getattr(net, "kpt_shape", None)
    if shape is not None and shape[0] * shape[1] == numbers:
        return int(shape[0]), int(shape[1])
    each = 3 if numbers % 3 == 0 else 2
    return numbers // each, each
