"""Tiles of large images as the samples of a training: small objects are learned at the size that they are found at.

The tiles are those of a prediction (`utils.tiling.grid`), and so are the images beside them: with `whole`, an image
that is larger than a tile is a sample of its own too, fitted into the frame, as in the fine-tuning of SAHI (Akyon et
al., arXiv:2202.06934).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ultralytics.cfg.config import is_given
from ultralytics.cfg.keys import Config
from ultralytics.data.instances import Instances
from ultralytics.data.labelset import FileNames, LabelSet
from ultralytics.data.letterbox import resized
from ultralytics.utils.errors import ConfigError, DatasetError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.ops import make_divisible
from ultralytics.utils.text import counted
from ultralytics.utils.tiling import grid
from ultralytics.utils.types import BoolArray, Int64Array, UInt8Array

STRIDE = 32  # that sides of a network's input are multiples of, at least


class Tiling(NamedTuple):
    """How images are cut.

    Attributes:
        side, overlap: of the tiles, see `utils.tiling.grid`.
        visible: least part of an object's area that a tile must show for the object to be labelled there.
        background: part of the tiles without objects that is kept.
        whole: large images are samples as a whole too.
        seed: of the choice among tiles without objects.
    """

    side: int
    overlap: float = 0.2
    visible: float = 0.1
    background: float = 1.0
    whole: bool = True
    seed: int = 0

    @classmethod
    def of(cls, args: Config) -> Tiling | None:
        """Return how a training's keys ask for it; None without `tiles`.

        Raises:
            ConfigError: they ask for rectangles too.
        """
        if args.tiles is None:
            return None
        if args.rect:
            raise ConfigError(f"rect=True and tiles={args.tiles}: tiles are of one size", hint="leave out rect")
        return cls(args.tiles, args.overlap, args.tile_visible, args.tile_background, args.whole, args.seed)


@dataclass(frozen=True)
class TileSet:
    """The samples of a split that is cut: tiles, and whole images.

    Attributes:
        images: the split.
        labels: of the n samples, as if each were an image of its own.
        image: (n,) number of the image that each is of.
        places: (n, 4) left, top, right, bottom in it, pixels.
    """

    images: LabelSet
    labels: LabelSet
    image: Int64Array
    places: Int64Array

    @property
    def is_part(self) -> BoolArray:
        """(n,) True for tiles, False for whole images."""
        parts: BoolArray = (self.labels.shapes != self.images.shapes[self.image]).any(1)
        return parts


def settle_tiles(args: Config) -> None:
    """Let `imgsz` of a training be the side of its tiles, which the network is to see at their own size.

    Raises:
        ConfigError: another `imgsz` is given, or rectangles are.
    """
    how = Tiling.of(args)
    if how is None:
        return
    side = make_divisible(how.side, STRIDE)
    if is_given(args, "imgsz") and make_divisible(args.imgsz, STRIDE) != side:
        text = f"imgsz={args.imgsz} and tiles={args.tiles}: tiles are trained on at their own size"
        raise ConfigError(text, hint=f"leave out imgsz, or give tiles={args.imgsz}")
    if make_divisible(args.imgsz, STRIDE) != side:
        args.set("imgsz", side, "auto")


def cut_images(images: LabelSet, how: Tiling, desc: str = "") -> TileSet:
    """Cut the images of a split into tiles.

    An object is labelled in every tile that shows enough of it, its box cut off at the tile's border. An image that is
    no larger than a tile remains whole.

    Args:
        desc: put before messages.

    Raises:
        DatasetError: no sample is left.
    """
    image, places, counts = list[int](), list[tuple[int, ...]](), list[int]()
    objects, lost = list[Instances](), 0
    for i, (height, width) in enumerate(images.shapes.tolist()):
        labelled, tiles = images.labelled(i), grid((height, width), how.side, how.overlap)
        cut = len(tiles) > 1
        if cut:
            tile, row, inside = _visible(labelled, (height, width), np.array(tiles, np.int64), how.visible)
            objects.append(inside)
            counts += np.bincount(tile, minlength=len(tiles)).tolist()
            lost += 0 if how.whole else len(labelled) - len(np.unique(row))
            places += tiles
        if not cut or how.whole:
            objects.append(labelled)
            counts.append(len(labelled))
            places.append((0, 0, width, height))
        image += [i] * (len(places) - len(image))
    tiles_of = TileSet(images, images, np.array(image, np.int64), np.array(places, np.int64).reshape(-1, 4))
    every = _labels_of(tiles_of, Instances.concatenate(objects), np.array(counts, np.int64))
    kept = _chosen(every.is_part & (np.diff(every.labels.offsets) == 0), how)
    if not kept.any():
        raise DatasetError(
            f"{desc}no tile has an object, and tile_background={how.background:g} keeps no other", hint="whole=True"
        )
    _report_tiles(every, kept, lost, how, desc)
    if kept.all():
        return every
    numbers = np.flatnonzero(kept)
    return replace(every, labels=every.labels.take(numbers), image=every.image[numbers], places=every.places[numbers])


def _visible(
    labelled: Instances, shape: Sequence[int], tiles: Int64Array, share: float
) -> tuple[Int64Array, Int64Array, Instances]:
    """Return for all objects that tiles (t, 4) show, tile by tile: the number of the tile, that of the object, and what
    is labelled there, in parts of the tile."""
    placed = labelled.place((shape[1], shape[0]), (0, 0))
    boxes = placed.bboxes
    low = np.maximum(boxes[None, :, :2], tiles[:, None, :2])
    high = np.minimum(boxes[None, :, 2:], tiles[:, None, 2:])
    area = (high - low).clip(0).prod(2)
    least = share * (boxes[:, 2:] - boxes[:, :2]).prod(1) if placed.segments is None else 0
    tile, row = np.nonzero((area > 0) & (area >= least))
    corner, end = tiles[tile, :2].astype(np.float64), tiles[tile, 2:].astype(np.float64)
    inside = placed.keep(row).clip(corner, end)
    if placed.segments is not None and inside.segments is not None:  # a tile in a polygon's box may show nothing of it
        shown = inside.segments.areas()
        seen = (shown > 0) & (shown >= share * placed.segments.areas()[row])
        tile, row, inside, corner, end = tile[seen], row[seen], inside.keep(seen), corner[seen], end[seen]
    return tile, row, inside.label(end - corner, corner)


def _labels_of(tiles: TileSet, objects: Instances, counts: Int64Array) -> TileSet:
    """Return the set with its labels: `counts` (n,) objects of each sample in turn."""
    n, names = len(counts), list(tiles.images.im_files)
    labels = replace(
        tiles.images,
        im_files=FileNames([names[i] for i in tiles.image]),
        shapes=(tiles.places[:, 2:] - tiles.places[:, :2])[:, ::-1],
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        instances=objects,
        ignore_offsets=np.zeros(n + 1, np.int64),  # of evaluations, which see whole images
        ignore=tiles.images.ignore[:0],
        ignore_outlines=None,
        contents=tiles.images.contents[tiles.image],
        areas=None,
    )
    return replace(tiles, labels=labels)


def _chosen(empty: BoolArray, how: Tiling) -> BoolArray:
    """Return which samples are kept: all but a part of the tiles that are empty, by the seed alone."""
    numbers = np.flatnonzero(empty)
    dropped = np.random.default_rng(how.seed).permutation(numbers)[round(how.background * len(numbers)) :]
    kept = np.ones(len(empty), np.bool_)
    kept[dropped] = False
    return kept


def _report_tiles(tiles: TileSet, kept: BoolArray, lost: int, how: Tiling, desc: str) -> None:
    parts = tiles.is_part
    if not parts.any():
        LOGGER.warning("%stiles=%d has no effect: no image is larger than a tile", desc, how.side)
        return
    empty = int((parts & (np.diff(tiles.labels.offsets) == 0)).sum())
    left_out = int((~kept).sum())
    LOGGER.info(
        "%s%s of %d pixels from %s, %d without objects (%d left out), and %s; %s, labelled %s",
        desc,
        counted(int(parts.sum()), "tile"),
        how.side,
        counted(len(np.unique(tiles.image[parts])), "image"),
        empty,
        left_out,
        counted(int((~parts).sum()), "whole image"),
        counted(len(tiles.images.cls), "object"),
        counted(len(tiles.labels.cls), "time"),
    )
    if lost:
        text = "%s%s in no sample: no tile shows %g of the area (whole=True, or a larger overlap)"
        LOGGER.warning(text, desc, counted(lost, "object"), how.visible)


class TileImages:
    """The pixels of samples: `TileImages(load, tiles, sizes)(number)`.

    Args:
        load: number of an image → the image as it is in its file.
        tiles: the samples.
        sizes: (n, 2) height and width that each sample is given.
    """

    def __init__(self, load: Callable[[int], UInt8Array], tiles: TileSet, sizes: Int64Array) -> None:
        self.load, self.tiles, self.sizes = load, tiles, sizes

    def __call__(self, number: int) -> UInt8Array:
        """Return the sample, BGR (h, w, 3), in memory of its own: the whole image does not stay because of it."""
        left, top, right, bottom = self.tiles.places[number]
        image = self.load(int(self.tiles.image[number]))
        part = image[top:bottom, left:right]
        made = resized(part, self.sizes[number])
        return np.array(made) if made is part else made
