"""Datasets and loaders from a configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ultralytics.cfg.config import Config
from ultralytics.cfg.dataset import DatasetSpec
from ultralytics.data.cache.images import available_memory
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.tiles import Tiling
from ultralytics.data.workers import FEW_HANDLES, HANDLES, NoWorkersError, Room, Workers
from ultralytics.utils.lazy import later
from ultralytics.utils.log import LOGGER
from ultralytics.utils.processes import leave_unguarded, spare_handles
from ultralytics.utils.text import counted
from ultralytics.utils.threads import cores
from ultralytics.utils.types import Batch, Int64Array, SampleKey, Share

# Where a sample's partners come from: the whole split when it is small, else the batches that the same worker has just
# loaded.
_UTILS = ("IMG_FORMATS", "PIN_MEMORY", "VID_FORMATS")
__getattr__ = later(
    __name__,
    {
        "LOADERS": "ultralytics.data.loaders:LOADERS",
        "load_inference_source": "ultralytics.data.loaders:load_inference_source",
        **{name: f"ultralytics.data.utils:{name}" for name in _UTILS},
    },
    {
        "InfiniteDataLoader": "build_dataloader(dataset, batch, workers) loads batches",
        "build_grounding": "classes are those of the training: build_yolo_dataset",
        "check_source": "load_inference_source(source) says what a source is",
        "seed_worker": "a sample is a function of its seed: workers need none",
    },
)
WHOLE_SPLIT = 512  # images
PARTNER_IMAGES = 128
WORKER_CYCLE = 8  # batches this far apart go to one worker, be there 1, 2, 4 or 8
AHEAD = 4  # batches that a worker may have made before they are asked for
SPARE_HANDLES = 20  # files that are left for all else: images, checkpoints, fonts


def build_yolo_dataset(
    cfg: Config,
    img_path: str | Path | Sequence[str | Path],
    batch: int,
    data: DatasetSpec | Mapping[str, Any],
    mode: str = "train",
    rect: bool = False,
    stride: int = 32,
    cache_dir: Path | None = None,
    prefix: str = "",
    frame: tuple[int, int] | None = None,
    native: bool = False,
    annotations: str = "boxes",
) -> YOLODataset:
    """Build the dataset of a split: augmented in mode "train", letterboxed otherwise.

    Args:
        cfg: imgsz, cache, single_cls, classes, fraction, overlap_mask, mask_ratio and the augmentation's keys; in mode
            "train" those of tiles.
        data: what the YAML says, or the mapping that `check_det_dataset` makes of it.
        batch, rect, stride, cache_dir, frame, native: see `YOLODataset`; the stride is the model's.
        prefix: what messages call the split; the mode when empty.
        annotations: what the labels are, see `YOLODataset`.
    """
    training = mode == "train"
    spec = DatasetSpec.of(data)
    paths = [img_path] if isinstance(img_path, str | Path) else img_path
    return YOLODataset(
        [Path(path) for path in paths],
        imgsz=-(-cfg.imgsz // stride) * stride if frame is None else max(frame),
        nc=spec.label_nc,
        augment=training,
        hyp=cfg,
        rect=rect,
        batch_size=batch,
        stride=stride,
        pad=0.0 if training else 0.5,
        cache=cfg.cache,
        single_cls=cfg.single_cls,
        classes=cfg.classes,
        fraction=cfg.fraction if training else 1.0,
        prefix=f"{prefix or mode}: ",
        cache_dir=cache_dir,
        yaml_file=spec.yaml_file,
        annotations=annotations,
        kpt_shape=spec.kpt_shape,
        flip_idx=spec.flip_idx,
        overlap_mask=cfg.overlap_mask,
        mask_ratio=cfg.mask_ratio,
        frame=frame,
        native=native,
        tiles=Tiling.of(cfg) if training else None,
    )


class EpochSampler:
    """Batches of an epoch as lists of SampleKey: order, seeds and partners are functions of (seed, epoch) alone.

    Args:
        dataset: the dataset.
        batch: images per batch (the last may be smaller).
        shuffle: a new order every epoch.
        seed: of the run.
        share: the part of a rank. Its keys are those of the whole batch, so a rank loads exactly what a single process
            would have at its places.

    Attributes:
        epoch: whose batches come.
        start: the first batch that comes: those before it are not even drawn.
    """

    def __init__(
        self,
        dataset: YOLODataset,
        batch: int,
        shuffle: bool,
        seed: int,
        share: Share = Share(),  # noqa: B008  # frozen
    ) -> None:
        self.dataset, self.batch, self.shuffle, self.seed = dataset, batch, shuffle, seed
        self.epoch = self.start = 0
        self.share = share
        self._drawn: tuple[int, Int64Array] | None = None  # the order of an epoch

    @property
    def batches(self) -> int:
        """Batches of an epoch, whoever loads them."""
        return math.ceil(len(self.dataset) / self.batch)

    def __len__(self) -> int:
        return len(self.share.batches(self.batches))

    def own(self, number: int) -> range:
        """Return the places of a batch whose images are this rank's; empty where it only lends a hand with one that is
        another's."""
        return self.share.images(min(self.batch, len(self.dataset) - number * self.batch))

    def keys(self, number: int) -> list[SampleKey]:
        """Return what the epoch's batch of that number is made of, here."""
        order, size = self._order(), self.batch
        partners: tuple[int, ...] = ()
        if self.dataset.uses_partners:
            if len(order) <= WHOLE_SPLIT:
                near = range(-(-len(order) // size))
            else:
                near = range(number, max(number - WORKER_CYCLE * max(PARTNER_IMAGES // size, 1), -1), -WORKER_CYCLE)
            partners = tuple(int(i) for k in near for i in order[k * size : (k + 1) * size])
        # Every rank takes part in every step, if need be with an image that does not count.
        places = self.own(number) or range(1)
        return [
            SampleKey(int(order[p]), (self.seed, self.epoch, p), partners)
            for p in range(number * size + places.start, number * size + places.stop)
        ]

    def _order(self) -> Int64Array:
        if self._drawn is None or self._drawn[0] != self.epoch:
            order = np.arange(len(self.dataset))
            if self.shuffle:
                np.random.default_rng((self.seed, self.epoch)).shuffle(order)
            self._drawn = self.epoch, order
        return self._drawn[1]

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for number in self.share.batches(self.batches)[self.start :]:
            yield self.keys(number)


class Loader:
    """Batches of a dataset, loaded by worker processes that live as long as it does.

    A batch is the same for any number of workers. `set_epoch` chooses the order; iterate anew for every epoch. Where
    workers cannot be started, one message says why and batches are made in this process.

    Attributes:
        batch_size: images of a batch.
        num_workers: processes.
        start_method: how they start (fork, spawn, forkserver; None: as Python does).
        attend: is called every half second while no batch comes, with the seconds waited; it may raise.
    """

    def __init__(
        self,
        dataset: YOLODataset,
        batch: int,
        workers: int,
        shuffle: bool,
        seed: int,
        share: Share = Share(),  # noqa: B008  # frozen
    ) -> None:
        self.dataset, self.batch_size = dataset, batch
        self.sampler = EpochSampler(dataset, batch, shuffle, seed, share)
        self.num_workers = min(workers, cores(), len(self.sampler))
        self.start_method: str | None = None
        self.attend: Callable[[float], object] = id
        self._workers: Workers | None = None

    def _start(self) -> Workers:
        """Start the workers, as many as this machine has memory and file handles for.

        Raises:
            NoWorkersError: not even one.
        """
        share = self.sampler.share
        handles = spare_handles()
        count = min(self.num_workers, max(handles - SPARE_HANDLES, 0) // HANDLES)
        if not count:
            raise NoWorkersError(f"only {handles} more files can be opened", hint=FEW_HANDLES)
        # Ranks of one machine share its memory; how many of them are on others is not asked.
        memory, size = available_memory() // 2 // share.ranks, self.largest_batch()
        ahead = min(max(memory // (size * count), 1), AHEAD)
        count = min(count, max(memory // size, 1))
        if (count, ahead) != (self.num_workers, AHEAD):
            LOGGER.warning(
                "%s%d workers (workers=%d) load %s ahead each instead of %d: %d more files can be opened, "
                "and %.1f GB of memory are free for batches of %.0f MB",
                self.dataset.prefix,
                count,
                self.num_workers,
                counted(ahead, "batch"),
                AHEAD,
                handles,
                memory / 1e9,
                size / 1e6,
            )
        self.num_workers = count
        make = _Maker(self.dataset, self.sampler)
        rank = share.rank if share.ranks > 1 else None
        pin = torch.cuda.is_available()
        return Workers(make, count, ahead, self.start_method, self._attend, pin, rank)

    def _attend(self, waited: float) -> None:
        self.attend(waited)

    def largest_batch(self) -> int:
        """Return the bytes of the largest batch of images."""
        side, sides = self.dataset.imgsz, self.dataset.rectangles
        sides = self.dataset.sizes if self.dataset.native else sides
        pixels = side * side if sides is None else int(sides.prod(1).max())
        if self.dataset.planned and self.dataset.augmentation is not None:
            pixels = self.dataset.augmentation.most_pixels(pixels)
        return 3 * pixels * max(len(self.sampler.own(0)), 1)

    def __len__(self) -> int:
        return len(self.sampler)

    @property
    def numbers(self) -> range:
        """The place in the epoch of each batch that comes."""
        return self.sampler.share.batches(self.sampler.batches)

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers at work."""
        return [] if self._workers is None else self._workers.pids

    def own(self, number: int) -> int:
        """Count the images of an epoch's batch that count here; 0 where a rank has none of its own in it."""
        return len(self.sampler.own(number))

    def __iter__(self) -> Iterator[Batch]:
        epoch, closed = self.sampler.epoch, self.dataset.mosaic_closed
        tasks = [_Task(epoch, closed, number) for number in self.numbers[self.sampler.start :]]
        done = 0
        if self.num_workers:
            try:
                self._workers = self._workers or self._start()
                for batch in self._workers.batches(tasks):
                    done += 1
                    yield batch
            except NoWorkersError as e:
                if str(e) not in _TOLD:
                    LOGGER.warning("No loader workers, batches are made in this process (workers=0): %s", e)
                _TOLD.add(str(e))
                self.close()
                self.num_workers = 0
            except GeneratorExit:
                raise
            except BaseException:
                self.close()  # now, and not when the garbage collector finds the error's traceback
                raise
        for task in tasks[done:]:
            yield self.batch_at(task.epoch, task.number)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch whose order and augmentation the next iteration gives, and its first batch."""
        self.sampler.epoch, self.sampler.start = epoch, start

    def batch_at(self, epoch: int, number: int) -> Batch:
        """Make one batch here and now, as an iteration of that epoch gives it.

        Raises:
            UserError: an image can no longer be read.
        """
        before = self.sampler.epoch
        try:
            return _Maker(self.dataset, self.sampler)(_Task(epoch, self.dataset.mosaic_closed, number))
        finally:
            self.sampler.epoch = before

    def close(self) -> None:
        """End the workers now; the next iteration starts new ones."""
        if self._workers is not None:
            self._workers.close()
        self._workers = None

    def close_mosaic(self, closed: bool = True) -> None:
        """Stop mosaic and mixup from the next iteration on, or with `closed=False` start both again."""
        self.dataset.close_mosaic(closed)


_TOLD: set[str] = set()  # why there were no workers; once is enough


class _Task(NamedTuple):
    """A batch to make."""

    epoch: int
    closed: bool  # mosaic and mixup are off
    number: int  # in the epoch


class _Maker:
    """Makes batches of a dataset; workers have a copy of it, and learn from each task what it depends on."""

    def __init__(self, dataset: YOLODataset, sampler: EpochSampler) -> None:
        self.dataset, self.sampler = dataset, sampler

    def __call__(self, task: _Task, room: Room | None = None) -> Batch:
        self.dataset.close_mosaic(task.closed)
        self.sampler.epoch = task.epoch
        return self.dataset.collate_fn([self.dataset[key] for key in self.sampler.keys(task.number)], room)


def build_dataloader(
    dataset: YOLODataset,
    batch: int,
    workers: int,
    shuffle: bool = True,
    rank: int = -1,
    seed: int = 0,
    share: Share = Share(),  # noqa: B008  # frozen
) -> Loader:
    """Build a loader with at most one worker process per core.

    Args:
        batch: images per batch, the last may be smaller.
        workers: processes, 0 loads in this one.
        shuffle: not with rectangles.
        rank: of the reference, `share` is here.
        seed: of the run.
        share: the part of the epoch that is loaded here.
    """
    leave_unguarded()
    return Loader(dataset, min(batch, len(dataset)), workers, shuffle and not dataset.rect, seed, share)
