"""A split as a sequence of samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from ultralytics.cfg.values import id_list
from ultralytics.data.augment import Augmentation, letterboxed_sample
from ultralytics.data.cache.images import Loader, RecentImages, cached
from ultralytics.data.drawing import Labelled, Plan
from ultralytics.data.labelset import FileNames, LabelSet
from ultralytics.data.letterbox import loaded_sizes, resized
from ultralytics.data.packing import pack
from ultralytics.data.scan import scan
from ultralytics.data.targets import OBJECTS, Targets
from ultralytics.data.tiles import TileImages, TileSet, Tiling, cut_images
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.images import imread
from ultralytics.utils.lazy import later
from ultralytics.utils.types import Batch, Float32Array, Int64Array, Sample, SampleKey, UInt8Array

_SEMANTIC = "masks are of objects, as label rows say: YOLODataset"
__getattr__ = later(
    __name__,
    {
        "HELP_URL": "ultralytics.data.utils:HELP_URL",
        "ClassificationDataset": "ultralytics.data.class_dataset:ClassificationDataset",
    },
    {
        "SemanticDataset": _SEMANTIC,
        **dict.fromkeys(
            ("GroundingDataset", "YOLOMultiModalDataset"), "classes are those of the training: YOLODataset"
        ),
        "YOLOConcatDataset": "a dataset YAML may list several folders: train: [a, b]",
        "DATASET_CACHE_VERSION": "what a scan remembers is kept by contents and code",
    },
)
TORCHVISION_0_18 = True
# What a batch lists image by image.
PER_IMAGE = ("im_file", "index", "ori_shape", "resized_shape", "ratio_pad", "ignored", "areas")


class YOLODataset:
    """Images and labelled objects of a split.

    Args:
        img_path: folders, lists or images of the split, or labels already checked.
        imgsz: longer side of a loaded image, pixels.
        nc: number of classes.
        augment: draw training samples; otherwise letterboxed ones.
        hyp: ranges of the augmentation (`cfg.config.Config`).
        rect: sort by aspect ratio and give each batch its own rectangle; `batch_size` images share one.
        stride, pad: of the rectangles: sides are multiples of `stride`, with `pad` strides to spare.
        cache, single_cls, classes, fraction: as the keys of a run.
        prefix: put before messages.
        cache_dir: folder for what the scan remembers where the data cannot be written to.
        yaml_file: of the dataset, for messages.
        annotations: what is labelled, see `labels.ANNOTATIONS`; of labels already checked: what they were read as.
        kpt_shape: keypoints of an object, and the numbers of each in a label row; None unless it is a pose dataset.
        flip_idx: for each keypoint, which of them it is in the mirrored object; without it no image of a pose dataset
            is mirrored.
        overlap_mask, mask_ratio: as the keys of a run.
        frame: (height, width) that validation samples are letterboxed into; `imgsz` squared when None.
        native: validation samples are whole images as they are in their files, each of its own size.
        tiles: the samples are tiles of the images, cut like this.

    Attributes:
        labels: the LabelSet of the samples.
        tiles: where in the images they are; None where they are the images.
        rectangles: (number of batches, 2) height and width with `rect`.
        mosaic_closed: mosaic and mixup are off.
    """

    def __init__(
        self,
        img_path: Sequence[Path] | LabelSet,
        imgsz: int = 640,
        nc: int = 80,
        augment: bool = False,
        hyp: Any = None,
        rect: bool = False,
        batch_size: int = 16,
        stride: int = 32,
        pad: float = 0.5,
        cache: bool | str = False,
        single_cls: bool = False,
        classes: int | Sequence[int] | None = None,
        fraction: float = 1.0,
        prefix: str = "",
        cache_dir: Path | None = None,
        yaml_file: Path | None = None,
        annotations: str = "boxes",
        kpt_shape: tuple[int, int] | None = None,
        flip_idx: Sequence[int] | None = None,
        overlap_mask: bool = True,
        mask_ratio: int = 4,
        frame: tuple[int, int] | None = None,
        native: bool = False,
        tiles: Tiling | None = None,
    ) -> None:
        self.imgsz, self.prefix = imgsz, prefix
        if isinstance(img_path, LabelSet):
            labels = img_path
        else:
            points, numbers = kpt_shape or (0, 3)
            read = points * numbers, annotations, numbers
            labels = scan(img_path, nc, fraction, prefix, cache_dir, yaml_file, *read)
        self.targets = Targets(annotations, overlap_mask, mask_ratio)
        if (ids := id_list(classes)) is not None:
            labels = labels.keep_classes(ids)
        if single_cls:
            labels.merge_classes()
        self.frame = None if native else frame or (imgsz, imgsz)
        self.rectangles: Int64Array | None = None
        self.tiles: TileSet | None = None
        if tiles is not None:
            assert not rect
            assert not native
            self.tiles = cut_images(labels, tiles, prefix)
            labels = self.tiles.labels
        if rect:
            labels, self.rectangles = _rectangles(labels, imgsz, min(batch_size, len(labels)), stride, pad)
        self.labels = labels
        self.batch_size = batch_size
        self.augmentation = Augmentation(hyp, imgsz, self.targets, flip_idx) if augment else None
        self.mosaic_closed = False
        self.sizes: Int64Array = labels.shapes.astype(np.int64) if native else loaded_sizes(labels.shapes, imgsz)
        kind = _AS_IT_IS if native else f"{imgsz} linear 1"
        if self.tiles is None:
            load = cached(partial(_decode_image, labels, self.sizes), cache, labels, self.sizes, kind, prefix)
        else:
            load = self._tile_loader(self.tiles, cache)
        self._image = RecentImages(load) if augment else load

    def __len__(self) -> int:
        return len(self.im_files)

    @property
    def im_files(self) -> FileNames:
        """Paths of the samples' images."""
        return self.labels.im_files

    @property
    def augment(self) -> bool:
        """True if samples are those of training."""
        return self.augmentation is not None

    @property
    def planned(self) -> bool:
        """True if samples are plans, which the device of the run draws."""
        return self.augmentation is not None and self.augmentation.planned

    @property
    def native(self) -> bool:
        """True if samples are whole images as they are in their files."""
        return self.frame is None

    @property
    def rect(self) -> bool:
        """True if batches have their own rectangles."""
        return self.rectangles is not None

    @property
    def uses_partners(self) -> bool:
        """True if samples mix several images, or paste objects."""
        a = self.augmentation
        if a is None or self.rect or self.mosaic_closed:
            return False
        return bool(a.mosaic_p or a.mixup_p or a.copy_paste_p)

    @property
    def ni(self) -> int:
        """Number of samples."""
        return len(self)

    def close_mosaic(self, closed: Any = True, hyp: Any = None) -> None:
        """Draw samples of single images from now on, or with `closed=False` mixed ones again; settings, which scripts
        for the reference hand over here, close it."""
        self.mosaic_closed = bool(closed)

    def _tile_loader(self, tiles: TileSet, cache: bool | str) -> Loader:
        """Return what loads a sample by its number: a tile at its own size. Whole images are what is cached."""
        self.sizes[tiles.is_part] = self.labels.shapes[tiles.is_part]
        images = tiles.images
        decode = partial(_decode_image, images, images.shapes)
        load = cached(decode, cache, images, images.shapes, _AS_IT_IS, self.prefix, parts=True)
        return TileImages(load, tiles, self.sizes)

    def labelled(self, index: int) -> Labelled:
        """Load an image, its longer side `imgsz`, and its objects."""
        return Labelled(self._image(index), self.labels.labelled(index))

    def __getitem__(self, key: int | SampleKey) -> Sample:
        """Draw a sample. A plain index draws with a generator seeded by it, and takes partners from the whole split."""
        if not isinstance(key, SampleKey):
            key = SampleKey(int(key), (0, 0, int(key)), tuple(range(len(self))) if self.uses_partners else ())
        index = key.index
        h, w = self.sizes[index] if self.frame is None else self.frame
        if self.rectangles is not None:
            h, w = self.rectangles[index // min(self.batch_size, len(self))]
        frame = int(h), int(w)
        ratio_pad, order = None, None
        if self.augmentation is not None:
            rng = np.random.Generator(np.random.PCG64(key.seed))
            rectangle = frame if self.rect else None
            plan = self.augmentation.plan(index, key.partners, self.labelled, rng, bool(key.partners), rectangle)
            tensors = self.augmentation.sample(plan)
        else:
            source = self.labelled(index)
            loaded = source.image.shape
            original = self.labels.shapes[index]
            gain = float(loaded[0] / original[0]), float(loaded[1] / original[1])
            (tensors, order), ratio_pad = letterboxed_sample(source, frame, gain, self.targets)
        shape = tensors["plan"].frame if "plan" in tensors else tuple(tensors["img"].shape[1:])
        areas = self.labels.areas_of(index) if ratio_pad is not None else None
        drawn = {
            **tensors,
            "im_file": self.im_files[index],
            "index": index,
            "ori_shape": (int(self.labels.shapes[index, 0]), int(self.labels.shapes[index, 1])),
            "resized_shape": shape,
            "ratio_pad": ratio_pad,
            "ignored": self.labels.ignored(index) if ratio_pad is not None else _NOTHING_IGNORED,
            "areas": areas if areas is None or order is None else areas[order],
        }
        return cast(Sample, drawn)

    @staticmethod
    def collate_fn(samples: list[Sample], room: Callable[[int], torch.Tensor] | None = None) -> Batch:
        """Collate samples of one size to a batch; its images stay channels-last in memory: in what `room` gives, which
        is asked for a uint8 tensor of so many bytes. Plans become what `packing.pack` makes of them."""
        if "plan" in samples[0]:
            images = dict(zip(("img", "plan"), pack([cast(Plan, s["plan"]) for s in samples], room), strict=True))
        else:
            frames = [s["img"].permute(1, 2, 0) for s in samples]
            shape = (len(frames), *frames[0].shape)
            stacked = torch.stack(frames, out=None if room is None else room(math.prod(shape)).view(shape))
            images = {"img": stacked.permute(0, 3, 1, 2)}
        batch = {
            **images,
            **{key: torch.cat([s[key] for s in samples]) for key in OBJECTS if key in samples[0]},  # type: ignore[literal-required]  # keys
            "batch_idx": torch.cat([torch.full((len(s["cls"]),), float(i)) for i, s in enumerate(samples)]),
            **{key: [s[key] for s in samples] for key in PER_IMAGE},  # type: ignore[literal-required]  # of Sample
        }
        return cast(Batch, batch)


def _decode_image(labels: LabelSet, sizes: Int64Array, index: int) -> UInt8Array:
    """Decode an image of a set, and give it its height and width of `sizes` (n, 2)."""
    file = labels.im_files[index]
    image = imread(file)
    if image is None:
        raise DatasetError("the image can no longer be read", file, "the image was readable when the run started")
    if image.shape[:2] != tuple(labels.shapes[index]):
        raise DatasetError("the image is not the one the run began with", file, "start again")
    return resized(image, sizes[index])


_AS_IT_IS = "as it is"  # of a cache's key: nothing is resized
_NOTHING_IGNORED: Float32Array = np.zeros((0, 6), np.float32)


def _rectangles(labels: LabelSet, imgsz: int, batch: int, stride: int, pad: float) -> tuple[LabelSet, Int64Array]:
    """Sort the images by height/width, and the (height, width) that holds each batch of them."""
    ratios = labels.shapes[:, 0] / labels.shapes[:, 1]
    order = ratios.argsort()  # equal ratios in the order of the reference, whose padding of a batch depends on it
    ratios = ratios[order]
    shapes = []
    for first in range(0, len(order), batch):
        low, high = ratios[first : first + batch].min(), ratios[first : first + batch].max()
        shapes.append((high, 1.0) if high < 1 else (1.0, 1 / low) if low > 1 else (1.0, 1.0))
    rectangles = np.ceil(np.array(shapes) * imgsz / stride + pad).astype(np.int64) * stride
    return labels.take(order), rectangles
