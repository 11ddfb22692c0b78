"""Detection in large images, tile by tile, the same in validation and prediction.

Memory is bounded by a batch of tiles: nothing of the image's size is made beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from ultralytics.cfg.config import Config
from ultralytics.data.letterbox import LetterBox
from ultralytics.models.yolo.detect.postprocess import merging
from ultralytics.nn.backend import Backend
from ultralytics.utils.boxes import scale_boxes
from ultralytics.utils.fusion import join, join_parts
from ultralytics.utils.log import LOGGER
from ultralytics.utils.ops import make_divisible
from ultralytics.utils.tiling import Tile, grid
from ultralytics.utils.types import UInt8Array

MARGIN = 2  # pixels from a border of a tile within which a box is cut


class View(NamedTuple):
    """A part of an image, and how it goes into the network."""

    tile: Tile
    box: LetterBox


class Tiler:
    """Detects in an image tile by tile: `Tiler(net, args, frame, find)(image, watch)`.

    Each tile goes in at its own size. An image no larger than a tile is fitted into the frame, as without tiles.

    Args:
        net: a network that is ready to run.
        args: tiles, overlap, whole, batch; merge, merge_iou, iou, single_cls, agnostic_nms.
        frame: (height, width) that whole images are fitted into.
        stride: that heights and widths are multiples of.
        find: the network's output → the detections (n, 6) of each image: corners in its pixels, score, class.
    """

    def __init__(
        self, net: Backend, args: Config, frame: tuple[int, int], stride: int, find: Callable[[Any], list[Tensor]]
    ) -> None:
        assert args.tiles is not None
        self.net, self.args, self.side, self.find = net, args, args.tiles, find
        self.whole = LetterBox(frame, auto=net.fixed is None, stride=stride)
        side = make_divisible(self.side, stride)
        self.box = LetterBox(net.fixed or (side, side), auto=net.fixed is None, scaleup=False, stride=stride)
        if net.fixed is not None and min(net.fixed) < self.side:
            height, width = net.fixed
            text = "tiles of %d pixels are made smaller: the exported file takes %d×%d (tiles=%d keeps their pixels)"
            LOGGER.warning(text, self.side, height, width, min(net.fixed))

    def views(self, shape: Sequence[int]) -> list[list[View]]:
        """Return the parts of an image of shape (h, w) that the network sees; those of one list have one size."""
        tiles = grid(shape, self.side, self.args.overlap)
        whole = [View((0, 0, shape[1], shape[0]), self.whole)]
        if len(tiles) == 1:
            return [whole]
        parts = [View(tile, self.box) for tile in tiles]
        return [parts, whole] if self.args.whole else [parts]

    def __call__(
        self, image: UInt8Array, watch: Mapping[str, AbstractContextManager[Any]], rgb: bool = False
    ) -> Tensor:
        """Return the detections (n, 6) in an image, best first: corners in its pixels, score, class.

        Args:
            image: uint8 (H, W, 3), BGR, or RGB with `rgb`.
            watch: what times "preprocess", "inference" and "postprocess".
        """
        found: list[tuple[View, Tensor]] = []
        for views in self._batches(image.shape):
            with watch["preprocess"]:
                images = self._images(image, views, rgb)
            with torch.inference_mode():
                with watch["inference"]:
                    output = self.net(images)
                with watch["postprocess"]:
                    detected = self.find(output)
                    found += [(v, _in_image(d, v, images.shape[2:])) for d, v in zip(detected, views, strict=True)]
        if len(found) == 1:
            return found[0][1]
        with watch["postprocess"]:
            return self._joined(found, image.shape)

    def _joined(self, found: Sequence[tuple[View, Tensor]], shape: Sequence[int]) -> Tensor:
        how, overlap = merging(self.args, "cut")
        agnostic = self.args.single_cls or self.args.agnostic_nms
        boxes = torch.cat([b for _, b in found])
        if how != "cut":
            return join(boxes, how, overlap, agnostic=agnostic)
        tile = np.repeat(np.arange(len(found)), [len(b) for _, b in found])
        cut = torch.cat([_cut(b, v.tile, shape) for v, b in found]).cpu().numpy()
        joined = join_parts(boxes.double().cpu().numpy(), tile, cut, overlap, agnostic)
        return torch.from_numpy(joined).to(boxes.device, boxes.dtype)

    def _batches(self, shape: Sequence[int]) -> Iterator[list[View]]:
        size = self.args.batch
        for views in self.views(shape):
            yield from (views[i : i + size] for i in range(0, len(views), size))

    def _images(self, image: UInt8Array, views: Sequence[View], rgb: bool) -> Tensor:
        """Return parts of an image as (B, 3, h, w) RGB 0..1 on the device."""
        parts = [v.box.render(image[v.tile[1] : v.tile[3], v.tile[0] : v.tile[2]]) for v in views]
        pixels = np.stack(parts if rgb else [cv2.cvtColor(part, cv2.COLOR_BGR2RGB) for part in parts])
        images = torch.from_numpy(pixels).to(self.net.device).permute(0, 3, 1, 2)
        return images.to(self.net.dtype, memory_format=self.net.layout).div_(255)


def _in_image(detected: Tensor, view: View, frame: Sequence[int]) -> Tensor:
    """Return the detections of a part of an image, in pixels of its frame, in those of the image."""
    left, top, right, bottom = view.tile
    shape = bottom - top, right - left
    _, (pad_top, _, pad_left, _), gains = view.box.geometry(shape)
    # The whole image as in a prediction without tiles, whose border is derived from the shapes, as the reference's is.
    exact = None if view.box.scaleup else (gains, (pad_left, pad_top))
    boxes = scale_boxes(frame, detected[:, :4], shape, ratio_pad=exact)
    return torch.cat((boxes + boxes.new_tensor([left, top, left, top]), detected[:, 4:]), 1)


def _cut(boxes: Tensor, tile: Tile, shape: Sequence[int]) -> Tensor:
    """Return which boxes (n, 6) of a tile end at a border of it that lies within the image of shape (h, w)."""
    left, top, right, bottom = tile
    low = boxes.new_tensor([left if left else -MARGIN - 1, top if top else -MARGIN - 1])
    inner = right < shape[1], bottom < shape[0]
    high = boxes.new_tensor([n if i else n + MARGIN + 1 for n, i in zip((right, bottom), inner, strict=True)])
    return (boxes[:, :2] <= low + MARGIN).any(1) | (boxes[:, 2:4] >= high - MARGIN).any(1)
