"""A split of class folders as a sequence of samples."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ultralytics.cfg.class_folders import class_name, folders_of_classes
from ultralytics.cfg.config import Config
from ultralytics.data.cache.images import cached
from ultralytics.data.class_augment import ClassAugmentation, resized_crop
from ultralytics.data.class_scan import scan_classes
from ultralytics.data.labelset import FileNames, LabelSet
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.images import imread
from ultralytics.utils.log import LOGGER
from ultralytics.utils.types import Int64Array, SampleKey, UInt8Array

PER_IMAGE = ("im_file", "index", "ori_shape")


class ClassificationDataset:
    """Images of a split, and the class of each.

    Args:
        root: folders of class folders, or labels already checked.
        args: imgsz, cache, fraction, crop_fraction, and the ranges of the augmentation (`cfg.config.Config`).
        augment: draw training samples; otherwise the middle of each image.
        prefix: put before messages.
        names: class names by id; the folders' own when None.
        cache_dir: folder for what the scan remembers where the data cannot be written to.
        frame: (height, width) of a validation's samples; `imgsz` squared when None.

    Attributes:
        labels: the LabelSet of the samples, an object for each.
        The others are what `data.build.Loader` asks of a dataset: nothing is mixed, and all samples are of one size.
    """

    rectangles: Int64Array | None = None
    tiles = None
    rect = native = uses_partners = planned = False
    mosaic_closed = True

    def __init__(
        self,
        root: str | Path | Sequence[str | Path] | LabelSet,
        args: Config,
        augment: bool = False,
        prefix: str = "",
        names: Mapping[int, str] | None = None,
        cache_dir: Path | None = None,
        frame: tuple[int, int] | None = None,
    ) -> None:
        self.frame = frame or (args.imgsz, args.imgsz)
        self.imgsz, self.augment, self.prefix = max(self.frame), augment, f"{prefix}: " if prefix else ""
        if isinstance(root, LabelSet):
            labels = root
        else:
            paths = [Path(p) for p in ([root] if isinstance(root, str | Path) else root)]
            if names is None:
                names = dict(enumerate(map(class_name, folders_of_classes(paths[0]))))
            labels = scan_classes(paths, names, args.fraction if augment else 1.0, self.prefix, cache_dir)
        self.labels = labels
        self.crop_fraction = args.crop_fraction
        self.augmentation = ClassAugmentation(args, self.imgsz) if augment else None
        if augment and args.augment_on == "gpu":
            LOGGER.warning("augment_on=gpu has no effect: class folders are augmented on the CPU")
        self.sizes: Int64Array = labels.shapes.astype(np.int64)
        decode = partial(_decode_image, labels)
        self._image = cached(decode, args.cache, labels, self.sizes, "as it is", self.prefix)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def im_files(self) -> FileNames:
        """Paths of the images."""
        return self.labels.im_files

    def close_mosaic(self, closed: Any = True, hyp: Any = None) -> None:
        """Do nothing: there is no mosaic."""

    def __getitem__(self, key: int | SampleKey) -> dict[str, Any]:
        """Draw a sample: `img` uint8 (3, s, s) RGB, `cls` int64 (). A plain index draws with a generator seeded by it.

        What is drawn is a function of the key alone.
        """
        if not isinstance(key, SampleKey):
            key = SampleKey(int(key), (0, 0, int(key)))
        index = key.index
        image = np.ascontiguousarray(self._image(index)[..., ::-1])
        if self.augmentation is None:
            pixels = resized_crop(image, self.frame, self.crop_fraction)
        else:
            pixels = self.augmentation(image, np.random.Generator(np.random.PCG64(key.seed)))
        height, width = self.labels.shapes[index]
        return {
            "img": torch.from_numpy(np.array(pixels)).permute(2, 0, 1),
            "cls": torch.tensor(int(self.labels.cls[index])),
            "im_file": self.im_files[index],
            "index": index,
            "ori_shape": (int(height), int(width)),
        }

    @staticmethod
    def collate_fn(
        samples: Sequence[Mapping[str, Any]], room: Callable[[int], torch.Tensor] | None = None
    ) -> dict[str, Any]:
        """Collate samples to a batch: `img` uint8 (B, 3, s, s), channels-last in memory, in what `room` gives; `cls`
        int64 (B,)."""
        frames = [s["img"].permute(1, 2, 0) for s in samples]
        shape = (len(frames), *frames[0].shape)
        stacked = torch.stack(frames, out=None if room is None else room(math.prod(shape)).view(shape))
        return {
            "img": stacked.permute(0, 3, 1, 2),
            "cls": torch.stack([s["cls"] for s in samples]),
            **{key: [s[key] for s in samples] for key in PER_IMAGE},
        }


def _decode_image(labels: LabelSet, index: int) -> UInt8Array:
    """Decode an image of a set, BGR."""
    file = labels.im_files[index]
    image = imread(file)
    if image is None:
        raise DatasetError("the image can no longer be read", file, "the image was readable when the run started")
    if image.shape[:2] != tuple(labels.shapes[index]):
        raise DatasetError("the image is not the one the run began with", os.fspath(file), "start again")
    return image
