"""Prediction with a classifier: its steps in the loop of `engine.predictor`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ultralytics.data.class_augment import resized_crop
from ultralytics.engine.predictor import BasePredictor
from ultralytics.engine.results import Results
from ultralytics.engine.sources import SourceItem
from ultralytics.engine.sources.memory import images_of
from ultralytics.models.yolo.classify.val import probabilities, settle_keys
from ultralytics.models.yolo.weights import network
from ultralytics.utils.types import UInt8Array


class ClassificationPredictor(BasePredictor):
    """Run a classifier over images and videos: `ClassificationPredictor(overrides={"imgsz": 320})(source, model)`.

    Of each image the middle is looked at: its shorter side becomes imgsz, 224 when unset, with `YOLO` the weights' own.
    The keys are those of `predict`.
    """

    load_network = staticmethod(network)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settle_keys(self.args)
        self._as_is = False  # images go in as they are

    def fit(self, item: SourceItem) -> None:
        """Note whether images go in as they are, as those of a tensor do."""
        self._as_is = item.as_is

    def padded_shape(self, image: UInt8Array) -> tuple[int, int]:
        """Return the (height, width) that an image goes in with."""
        return (image.shape[0], image.shape[1]) if self._as_is else self.frame

    def preprocess(self, im: Sequence[UInt8Array]) -> Tensor:
        """Turn BGR images into (B, 3, h, w) RGB 0..1 on the device."""
        images = [np.ascontiguousarray(image[..., ::-1]) for image in im]
        if not self._as_is:
            images = [resized_crop(image, self.frame, self.args.crop_fraction) for image in images]
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(self.device)
        return batch.to(self.model.dtype, memory_format=self.model.layout).div_(255)

    def postprocess(self, preds: Any, img: Tensor, orig_imgs: Sequence[UInt8Array] | Tensor) -> list[Results]:
        """Put the probabilities (nc,) of each image into a Results; the images may be a tensor."""
        images = images_of(orig_imgs) if isinstance(orig_imgs, Tensor) else orig_imgs
        return self.as_results(self.suppress(preds), img, images)

    def suppress(self, preds: Any) -> Tensor:
        """Return the probabilities (B, nc) in the model's output; nothing is suppressed."""
        return probabilities(preds)

    def as_results(self, found: Tensor, img: Tensor, orig_imgs: Sequence[UInt8Array]) -> list[Results]:
        """Put the probabilities (nc,) of each image into a Results."""
        results = []
        for image, probs in zip(orig_imgs, found, strict=True):
            with torch.inference_mode(False):
                results.append(Results(image, path="", names=self.names, probs=probs.float().clone()))
        return results
