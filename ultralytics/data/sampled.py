"""Some images of a split as a network sees them, without their labels and without checking the split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle, islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ultralytics.cfg.dataset import DatasetSpec
from ultralytics.data.class_augment import resized_crop
from ultralytics.data.class_images import split_images
from ultralytics.data.images import list_images
from ultralytics.data.letterbox import LetterBox, loaded_sizes, resized
from ultralytics.utils.images import imread
from ultralytics.utils.types import UInt8Array

Fit = Callable[[UInt8Array, tuple[int, int], float], UInt8Array]


def letterboxed(image: UInt8Array, frame: tuple[int, int], crop_fraction: float = 1.0) -> UInt8Array:
    """Return an image (h, w, 3) as a validation of boxes has it in a (height, width); `crop_fraction` means nothing."""
    loaded = resized(image, loaded_sizes(np.array([image.shape[:2]]), max(frame))[0])
    return LetterBox(frame, scaleup=False).render(loaded)


class TaskImages(NamedTuple):
    """How a task finds the images of a split, and sees them. listed: gives the files, sorted; fit: makes an image
    (h, w, 3) one of a frame (height, width), by a `crop_fraction`."""

    listed: Callable[[DatasetSpec, str], list[str]]
    fit: Fit


def listed(data: DatasetSpec, split: str) -> list[str]:
    """Return the images of a split of images and labels, sorted.

    Raises:
        DatasetError: there are none.
    """
    return list_images(data.split(split))


OF_BOXES, OF_CLASSES = TaskImages(listed, letterboxed), TaskImages(split_images, resized_crop)


def spread(files: Sequence[str], most: int) -> list[str]:
    """Return at most so many of the files, spread evenly over them."""
    places = np.linspace(0, len(files) - 1, min(most, len(files))).round()
    return [files[int(i)] for i in places]


def batches(
    files: Sequence[str], batch: int, frame: tuple[int, int], fit: Fit = letterboxed, crop_fraction: float = 1.0
) -> Iterator[Tensor]:
    """Yield images as a validation has them, in batches (B, 3, H, W) fp32 RGB 0..1. What cannot be read is left out.
    All are of one size: the last one is left out where it is not full, and a single one filled with the same images
    again.

    Args:
        files: the images; batch: how many at a time; frame: (height, width).
        fit, crop_fraction: see `TaskImages`.
    """
    read = (image for file in files if (image := imread(file)) is not None)
    images = map(partial(_tensor_of, frame=frame, fit=fit, crop_fraction=crop_fraction), read)
    found = False
    while part := list(islice(images, batch)):
        if len(part) < batch and found:
            return
        found = True
        yield torch.stack(list(islice(cycle(part), batch)))


def _tensor_of(image: UInt8Array, frame: tuple[int, int], fit: Fit, crop_fraction: float) -> Tensor:
    """Fit a BGR image into a frame: (3, H, W) fp32 RGB 0..1."""
    fitted = fit(np.ascontiguousarray(image[..., ::-1]), frame, crop_fraction)
    fitted = np.ascontiguousarray(fitted.transpose(2, 0, 1))
    return torch.from_numpy(fitted).float() / 255
