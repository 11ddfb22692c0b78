"""Some images of a split as validation sees them, without their labels and without checking the split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ultralytics.data.images import list_images
from ultralytics.data.letterbox import LetterBox, loaded_sizes, resized
from ultralytics.utils.images import imread


def spread(paths: Sequence[Path], most: int) -> list[str]:
    """Return at most so many images of a split's paths, spread evenly over their sorted names.

    Raises:
        DatasetError: there are none.
    """
    files = list_images(paths)
    places = np.linspace(0, len(files) - 1, min(most, len(files))).round()
    return [files[int(i)] for i in places]


def letterboxed(files: Sequence[str], frame: tuple[int, int]) -> Iterator[Tensor]:
    """Yield images as a validation sample has them in a (height, width): (3, H, W) fp32 RGB 0..1. What cannot be read
    is left out."""
    box, side = LetterBox(frame, scaleup=False), max(frame)
    for file in files:
        image = imread(file)
        if image is None:
            continue
        loaded = resized(image, loaded_sizes(np.array([image.shape[:2]]), side)[0])
        rgb = np.ascontiguousarray(cv2.cvtColor(box.render(loaded), cv2.COLOR_BGR2RGB).transpose(2, 0, 1))
        yield torch.from_numpy(rgb).float() / 255


def batches(files: Sequence[str], batch: int, frame: tuple[int, int]) -> Iterator[Tensor]:
    """Yield `letterboxed` images as batches (B, 3, H, W). All are of one size: the last one is left out
    where it is not full, and a single one filled with the same images again."""
    images, found = letterboxed(files, frame), False
    while part := list(islice(images, batch)):
        if len(part) < batch and found:
            return
        found = True
        yield torch.stack(list(islice(cycle(part), batch)))
