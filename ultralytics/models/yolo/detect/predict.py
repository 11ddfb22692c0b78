"""Prediction with a detector: its steps in the loop of `engine.predictor`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from ultralytics.cfg.keys import PREDICT_CONF
from ultralytics.data.augment import LetterBox
from ultralytics.engine.predictor import STAGES, BasePredictor
from ultralytics.engine.results import Results
from ultralytics.engine.sources import SourceItem
from ultralytics.engine.sources.memory import images_of
from ultralytics.models.yolo.detect.postprocess import detections, prepared
from ultralytics.models.yolo.detect.tiled import Tiler
from ultralytics.models.yolo.weights import network
from ultralytics.nn.backend import Backend
from ultralytics.utils.boxes import scale_boxes
from ultralytics.utils.ops import Profile, make_divisible
from ultralytics.utils.types import UInt8Array


class DetectionPredictor(BasePredictor):
    """Run a detector over images and videos: `DetectionPredictor(overrides={"imgsz": 320})(source, model)`.

    What is found in an image depends on the image alone: it is padded by its own shape, and a batch holds images that
    are padded to one shape. The keys are those of `predict`; `letterbox` is what fits images into the frame.

    Attributes:
        joins: what is found in passes, tiles or by several networks can be joined.
        rotated: boxes have an angle.
    """

    load_network = staticmethod(network)
    joins = True
    rotated = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.args.conf is None:
            self.args.set("conf", PREDICT_CONF, "predict default")

    def setup_model(self, model: Any, verbose: bool = True) -> None:
        """Take a detector, and letterbox images into its frame; see `BasePredictor.setup_model`."""
        super().setup_model(model, verbose)
        self.letterbox = LetterBox(self.frame, auto=self.model.fixed is None, stride=self.stride)
        self.tiler = None
        if self.args.tiles is not None:
            self.tiler = Tiler(self.model, self.args, self.frame, self.stride, self.suppress)
            self._shape = (1, 3, *self.tiler.box.new_shape)

    def prepared(self, net: Backend) -> Backend:
        """Return a network as the keys of this run ask for it, see `postprocess.prepared`."""
        found: Backend = prepared(net, self.args, self.joins)
        return found

    def settle_threads(self) -> None:
        """Settle the number of threads, of the tiles' network too."""
        super().settle_threads()
        if self.tiler is not None:
            self.tiler.net = self.model

    def fit(self, item: SourceItem, auto: bool = True) -> None:
        """Choose the letterbox of an item: of images that go in at their own size, theirs; `auto`: see `LetterBox`."""
        auto = auto and self.model.fixed is None
        height, width = item.image.shape[:2] if item.as_is else self.frame
        height, width = (make_divisible(n, self.stride) for n in (height, width))
        if ((height, width), auto) != (self.letterbox.new_shape, self.letterbox.auto):
            self.letterbox = LetterBox((height, width), auto=auto, stride=self.stride)

    def detect(self, images: Sequence[UInt8Array]) -> list[Results]:
        """Predict on BGR images of any sizes; see `BasePredictor.detect`."""
        return super().detect(images) if self.tiler is None else [self._in_tiles(image, self.tiler) for image in images]

    def _in_tiles(self, image: UInt8Array, tiler: Tiler) -> Results:
        watch = {stage: Profile(device=self.device) for stage in STAGES}
        with torch.inference_mode():
            found = tiler(image, watch)
        with torch.inference_mode(False):
            result = Results(image, path="", names=self.names, boxes=found.clone())  # which the user may change
        result.speed = {stage: block.t * 1e3 for stage, block in watch.items()}
        return result

    def padded_shape(self, image: UInt8Array) -> tuple[int, int]:
        """Return the (height, width) that an image goes in with."""
        return self.letterbox.padded_shape(image.shape)

    def pre_transform(self, im: Sequence[UInt8Array]) -> list[UInt8Array]:
        """Fit images into the frame."""
        return [self.letterbox(image=i) for i in im]

    def preprocess(self, im: Sequence[UInt8Array]) -> Tensor:
        """Turn BGR images that are padded to one shape into (B, 3, h, w) RGB 0..1 on the device, in the memory layout
        that the model runs fastest with."""
        batch = torch.from_numpy(stacked(self.pre_transform(im), self.model.layout)).to(self.device)
        return batch.to(self.model.dtype, memory_format=self.model.layout).div_(255)

    def postprocess(self, preds: Any, img: Tensor, orig_imgs: Sequence[UInt8Array] | Tensor) -> list[Results]:
        """Turn the model's output into a Results for each image, boxes in its pixels; the images may be a tensor."""
        images = images_of(orig_imgs) if isinstance(orig_imgs, Tensor) else orig_imgs
        return self.as_results(self.suppress(preds), img, images)

    def suppress(self, preds: Any) -> list[Tensor]:
        """Return the detections of each image in the model's output, in pixels of the frame; see `detections`."""
        extras = 0 if self.joins else None
        return detections(preds, self.args, self.model.nc, PREDICT_CONF, rotated=self.rotated, extras=extras)

    def as_results(self, found: Sequence[Tensor], img: Tensor, orig_imgs: Sequence[UInt8Array]) -> list[Results]:
        """Put detections into a Results for each image, boxes in its pixels."""
        results = []
        for image, detected in zip(orig_imgs, found, strict=True):
            with torch.inference_mode(False):
                detected = detected.clone()  # a normal tensor, which the user may change
                detected[:, :4] = scale_boxes(img.shape[2:], detected[:, :4], image.shape[:2])
            results.append(Results(image, path="", names=self.names, boxes=detected))
        return results


def stacked(images: Sequence[UInt8Array], layout: torch.memory_format) -> UInt8Array:
    """Return BGR images (h, w, 3) of one shape as (B, 3, h, w) RGB, which lie in memory by a layout."""
    assert all(image.dtype == np.uint8 for image in images)  # OpenCV would write elsewhere, and say nothing
    height, width = images[0].shape[:2]
    if layout == torch.contiguous_format:
        planes: UInt8Array = np.empty((len(images), 3, height, width), np.uint8)
        for image, (red, green, blue) in zip(images, planes, strict=True):
            cv2.split(image, [blue, green, red])
        return planes
    pixels = np.empty((len(images), height, width, 3), np.uint8)
    for image, place in zip(images, pixels, strict=True):
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=place)
    return np.moveaxis(pixels, 3, 1)
