"""Validation of a network that finds objects and their keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ultralytics.cfg.dataset import DatasetSpec
from ultralytics.cfg.tasks import labelled
from ultralytics.data.kinds import KINDS, kind_of_dataset
from ultralytics.models.yolo.detect.evaluate import CocoShapes, Pair, pair
from ultralytics.models.yolo.detect.val import DRAWN_BOXES, DetectionValidator
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.matching import kpt_iou, sigmas_of
from ultralytics.utils.metrics import DetMetrics, PoseMetrics
from ultralytics.utils.ops import scale_coords
from ultralytics.utils.types import Batch

AREA = 0.53  # of an object, as a part of its box: the reference's guess


class PoseValidator(DetectionValidator):
    """Run a network over a loader and compute the metrics of its boxes and poses; see `DetectionValidator`."""

    kind: ClassVar[type[DetMetrics]] = PoseMetrics
    joins: ClassVar[bool] = False
    compared: ClassVar[str] = "keypoints"
    annotations: ClassVar[str] = "keypoints"

    @property
    def kpt_shape(self) -> tuple[int, int]:
        """Keypoints of an object, and numbers of each, by the dataset."""
        assert self.data is not None
        return points_of(self.data)

    def sigmas(self) -> Sequence[float]:
        """Return the spreads of the keypoints, for COCO's figures."""
        return sigmas_of(self.kpt_shape).tolist()  # type: ignore[no-any-return]  # floats

    def _read_data(self, net: Any) -> DatasetSpec:
        data = super()._read_data(net)
        shape, own = points_of(data), getattr(net, "kpt_shape", None)
        if own is not None and tuple(own) != shape:
            text = f"the dataset has kpt_shape {list(shape)} and the model {list(own)}"
            raise ConfigError(text, str(self.args.data), "validate on objects of the same keypoints")
        return data

    def compare_one(self, found: Tensor, batch: Batch, i: int) -> Pair:
        """Put an image's detections beside its labels, with the similarities of their poses."""
        made = pair(found[:, :6], batch, i, self.args.single_cls)
        poses, labels = self._poses(found, batch, i), self._labels(batch, i)
        area = (made.targets[:, 2:] - made.targets[:, :2]).prod(1) * AREA
        made = made._replace(overlap=kpt_iou(labels, poses, area, sigmas_of(self.kpt_shape)))
        if self.args.save_txt:
            self._save_txt(made, boxes=made.detected, keypoints=poses)
        if self.keeps_shapes:
            made = made._replace(shapes=CocoShapes(list(poses.double().numpy()), list(labels.double().numpy())))
        return made

    def _poses(self, found: Tensor, batch: Batch, i: int) -> Tensor:
        """Return the poses (n, K, 2 or 3) of detections, in pixels of the original image."""
        poses = found[:, 6:].reshape(len(found), *self.kpt_shape).clone()
        return poses_to_original(poses, batch, i)

    @staticmethod
    def _labels(batch: Batch, i: int) -> Tensor:
        """Return the labelled poses (m, K, 3) of an image, in pixels of the original."""
        height, width = batch["resized_shape"][i]
        poses = batch["keypoints"][batch["batch_idx"].view(-1) == i].cpu().float()
        return poses_to_original(poses * torch.tensor([width, height, 1.0]), batch, i)

    def predicted(self, batch: Batch, preds: list[Any]) -> Any:
        """Return the surest detections of a batch's images, with their poses, as what draws a batch takes them."""
        height, width = batch["img"].shape[2:]
        top = [d[:DRAWN_BOXES] for d in preds]
        poses = torch.cat([d[:, 6:] for d in top]).reshape(-1, *self.kpt_shape).clone()
        poses[..., :2] /= torch.tensor([width, height])
        return {**self._predicted(batch, top), "keypoints": poses}


def points_of(data: DatasetSpec) -> tuple[int, int]:
    """Return the keypoints of an object of a dataset, and the numbers of each.

    Raises:
        ConfigError: its YAML says neither.
    """
    if data.kpt_shape is None:
        text, kind = "there is no kpt_shape", labelled().get(data.task) or kind_of_dataset(data)
        hint = "such as kpt_shape: [17, 3]: keypoints of an object, and numbers of each (3: x, y, visibility)"
        if kind not in ("", "keypoints"):
            text, hint = f"{text}, and the labels are {KINDS[kind][0]}", KINDS[kind][1]
        raise ConfigError(text, str(data.yaml_file), hint)
    return data.kpt_shape


def poses_to_original(poses: Tensor, batch: Batch, i: int) -> Tensor:
    """Return poses (n, K, 2 or 3) of an image's frame in pixels of the original, limited to it; in place."""
    return scale_coords(batch["resized_shape"][i], poses, batch["ori_shape"][i], batch["ratio_pad"][i])
