"""Contracts of the data that moves between rooms: one field, one shape, one unit.

B images, H×W pixels, M objects of the whole batch, m objects of one image.
"""

from __future__ import annotations

from typing import NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt
import torch

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

ANY_CLASS = -1  # class of an ignored region: detections of every class are ignored there
UNKNOWN_AREA = -1.0  # of an object without a mask: the evaluation takes its box's

# ((gain_h, gain_w), (pad_left, pad_top)): resized = original * gain + pad
RatioPad = tuple[tuple[float, float], tuple[float, float]]


class Sampled(TypedDict):
    """What every sample has."""

    img: torch.Tensor  # uint8 (3, H, W) RGB
    cls: torch.Tensor  # float32 (m,)
    bboxes: torch.Tensor  # float32 (m, 4) xywh, centre, 0..1 of the frame H×W
    im_file: str
    index: int  # position in the dataset
    ori_shape: tuple[int, int]  # (h, w) of the file
    resized_shape: tuple[int, int]  # (H, W) of img
    ratio_pad: RatioPad | None  # validation only; None where the frame is a mosaic
    ignored: Float32Array  # (k, 6) of the file: class (-1 for all), xywh in 0..1, 1 for a crowd; training has none
    areas: Float64Array | None  # (m,) of the objects' masks, pixels² of the file, -1 unknown; validation only


class Sample(Sampled, total=False):
    """One image as a dataset returns it."""

    # Of datasets of more than boxes, see `Batch`.
    keypoints: torch.Tensor  # float32 (m, K, 3)
    masks: torch.Tensor  # uint8 or int32 (1, h, w) with overlap_mask, else uint8 (m, h, w)
    plan: object  # with augment_on=gpu a `data.drawing.Plan`, in place of img


class Collated(TypedDict):
    """What every batch has."""

    img: torch.Tensor  # uint8 (B, 3, H, W) RGB; float 0..1 after the trainer's preprocess
    cls: torch.Tensor  # float32 (M,)
    bboxes: torch.Tensor  # float32 (M, 4) xywh, centre, 0..1
    batch_idx: torch.Tensor  # float32 (M,) which image of the batch a box belongs to
    im_file: list[str]
    index: list[int]
    ori_shape: list[tuple[int, int]]
    resized_shape: list[tuple[int, int]]
    ratio_pad: list[RatioPad | None]
    ignored: list[Float32Array]
    areas: list[Float64Array | None]


class Batch(Collated, total=False):
    """Samples collated: what the model, the criterion and the validator get."""

    # The boxes of the fullest image, counted before they went to a GPU, and the `batch_idx` there.
    most: tuple[int, torch.Tensor]
    # With augment_on=gpu until the trainer's preprocess: float64 (B, …), and `img` is uint8 (P, 3), the pixels of all
    # images; see `data.device_drawing`.
    plan: torch.Tensor
    # Of polygons, h, w = H // mask_ratio, W // mask_ratio. With overlap_mask (B, h, w) uint8, int32 where an image has
    # more than 255 objects: 0 where nothing is, i + 1 at the i-th object of the image, smaller ones in front. Without
    # (M, h, w) uint8 of 0 and 1. Of rotated boxes `bboxes` are (M, 5): their centre, width and height in 0..1 and the
    # angle of the width in (0, pi/2].
    masks: torch.Tensor
    keypoints: torch.Tensor  # float32 (M, K, 3): x, y in 0..1; 0 not labelled or out of sight, 1 hidden, 2 visible


class SampleKey(NamedTuple):
    """What a training sampler asks of a dataset: everything random about a sample is a function of it alone.

    So a batch does not depend on the number of workers, and a resumed epoch repeats exactly.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls on a key
    seed: tuple[int, ...]  # entropy of the sample's own generator: (run seed, epoch, position in the epoch)
    partners: tuple[int, ...] = ()  # images that mosaic and mixup may take besides `index`


class Share(NamedTuple):
    """A rank's part of an epoch: its slice of every batch, or with `whole` every `ranks`-th batch; by default all."""

    rank: int = 0
    ranks: int = 1
    whole: bool = False

    def images(self, count: int) -> range:
        """Which of a batch's images are the rank's: the slices differ by one image at most, and are empty for some
        where there are fewer images than ranks (never for rank 0)."""
        if self.whole:
            return range(count)
        return range(-(-self.rank * count // self.ranks), -(-(self.rank + 1) * count // self.ranks))

    def batches(self, count: int) -> range:
        """Which of an epoch's batches the rank loads."""
        return range(self.rank, count, self.ranks) if self.whole else range(count)
