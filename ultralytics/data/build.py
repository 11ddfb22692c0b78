"""Data sets and loaders from a configuration."""

from __future__ import annotations

import gc
import math
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from ultralytics.cfg.config import Config
from ultralytics.cfg.dataset import DatasetSpec
from ultralytics.data.dataset import YOLODataset
from ultralytics.utils.errors import UserError
from ultralytics.utils.processes import leave_with
from ultralytics.utils.types import Batch, SampleKey, Share

# Where a sample's partners come from: the whole split when it is small, else the batches that the same worker has just
# loaded.
WHOLE_SPLIT = 512  # images
PARTNER_IMAGES = 128
ALONE = 5.0  # seconds between two looks at whether the run is still there
WORKER_CYCLE = 8  # batches this far apart go to one worker, be there 1, 2, 4 or 8
GRACE = 20  # seconds that a worker lives on after SIGTERM


def build_yolo_dataset(
    cfg: Config,
    img_path: Sequence[Path],
    batch: int,
    data: DatasetSpec,
    mode: str = "train",
    rect: bool = False,
    stride: int = 32,
    cache_dir: Path | None = None,
    prefix: str = "",
) -> YOLODataset:
    """The data set of a split: augmented in mode "train", letterboxed otherwise.

    Args:
        cfg: imgsz, cache, single_cls, classes, fraction and the augmentation's keys; img_path: the split's paths.
        batch: images that share a rectangle; rect: rectangular batches; stride: of the model.
        cache_dir: folder for what the scan remembers where the data cannot be written to.
        prefix: what messages call the split; the mode when empty.
    """
    training = mode == "train"
    return YOLODataset(
        img_path,
        imgsz=-(-cfg.imgsz // stride) * stride,
        nc=data.label_nc,
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
        yaml_file=data.yaml_file,
        keypoints=data.keypoints,
    )


class EpochSampler:
    """Batches of an epoch as lists of SampleKey: order, seeds and partners are functions of (seed, epoch) alone.

    Args:
        dataset: the data set; batch: images per batch (the last may be smaller); shuffle: a new order every epoch;
        seed: of the run; share: the part of a rank. Its keys are those of the whole batch, so a rank loads exactly what
            a single process would have at its places.

    Attributes:
        epoch: whose batches come; start: the first batch that comes: those before it are not even drawn.
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

    @property
    def batches(self) -> int:
        """Batches of an epoch, whoever loads them."""
        return math.ceil(len(self.dataset) / self.batch)

    def __len__(self) -> int:
        return len(self.share.batches(self.batches))

    def own(self, number: int) -> range:
        """Which images of a batch are this rank's; empty where it only lends a hand with one that is another's."""
        return self.share.images(min(self.batch, len(self.dataset) - number * self.batch))

    def __iter__(self) -> Iterator[list[SampleKey]]:
        n, size = len(self.dataset), self.batch
        order = np.arange(n)
        if self.shuffle:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        mixes = self.dataset.uses_partners
        everything = tuple(order.tolist()) if mixes and n <= WHOLE_SPLIT else ()
        for b in self.share.batches(self.batches)[self.start :]:
            partners = everything
            if mixes and not everything:
                near = range(b, max(b - WORKER_CYCLE * max(PARTNER_IMAGES // size, 1), -1), -WORKER_CYCLE)
                partners = tuple(int(i) for k in near for i in order[k * size : (k + 1) * size])
            # Every rank takes part in every step, if need be with an image that does not count.
            places = self.own(b) or range(1)
            yield [
                SampleKey(int(order[p]), (self.seed, self.epoch, p), partners)
                for p in range(b * size + places.start, b * size + places.stop)
            ]


class Loader:
    """Batches of a data set, loaded by worker processes that live as long as it does.

    A batch is the same for any number of workers. `set_epoch` chooses the order; iterate anew for every epoch.
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
        self.dataset = dataset
        self.sampler = EpochSampler(dataset, batch, shuffle, seed, share)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
        self.num_workers = min(workers, cores, len(self.sampler))
        self._loader = self._start()

    def _start(self) -> DataLoader[Any]:
        """A loader whose workers start with its first iteration."""
        return DataLoader(
            _Guarded(self.dataset),  # type: ignore[arg-type]  # a sequence keyed by SampleKey
            batch_sampler=self.sampler,
            num_workers=self.num_workers,
            collate_fn=_collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
            worker_init_fn=partial(_start_worker, os.getpid()) if self.num_workers else None,
            prefetch_factor=4 if self.num_workers else None,
            generator=torch.Generator(),  # samples need none, and the run's own must not depend on who draws from it
        )

    def __len__(self) -> int:
        return len(self.sampler)

    @property
    def numbers(self) -> range:
        """The place in the epoch of each batch that comes."""
        return self.sampler.share.batches(self.sampler.batches)

    def own(self, number: int) -> int:
        """How many images of an epoch's batch count here; 0 where a rank has none of its own in it."""
        return len(self.sampler.own(number))

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._loader:
            if isinstance(batch, UserError):
                # Let go of the workers now. Left to the garbage collector, which may find them only together with the
                # error's traceback, they would lose their queues before they are told to stop, and be waited for.
                self._loader = self._start()
                raise batch
            yield batch

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch whose order and augmentation the next iteration gives, and its first batch."""
        self.sampler.epoch, self.sampler.start = epoch, start

    def batch_at(self, epoch: int, number: int) -> Batch:
        """One batch, made here and now, as an iteration of that epoch gives it.

        Raises:
            UserError: an image can no longer be read.
        """
        epoch_before, start_before = self.sampler.epoch, self.sampler.start
        self.set_epoch(epoch, number)
        keys = next(iter(self.sampler))
        self.set_epoch(epoch_before, start_before)
        batch = _collate([self.dataset[key] for key in keys])
        assert not isinstance(batch, UserError)
        return batch  # type: ignore[no-any-return]  # as _collate makes it

    def close(self) -> None:
        """End the workers now; the next iteration starts new ones."""
        iterator = getattr(self._loader, "_iterator", None)
        if iterator is not None and self.num_workers:
            iterator._shutdown_workers()  # a frame of a traceback may hold the iterator, so dropping it is not enough
        self._loader = self._start()

    def close_mosaic(self, closed: bool = True) -> None:
        """No mosaic or mixup from the next iteration on, or with `closed=False` both again;
        workers learn it from the keys, which name no partners any more."""
        self.dataset.close_mosaic(closed)


def build_dataloader(
    dataset: YOLODataset,
    batch: int,
    workers: int,
    shuffle: bool = True,
    seed: int = 0,
    share: Share = Share(),  # noqa: B008  # frozen
) -> Loader:
    """A loader with at most one worker process per core.

    Args:
        batch: images per batch, the last may be smaller; workers: processes, 0 loads in this one; shuffle: not with
        rectangles; seed: of the run; share: the part of the epoch that is loaded here.
    """
    return Loader(dataset, min(batch, len(dataset)), workers, shuffle and not dataset.rect, seed, share)


class _Guarded:
    """Hands a user's error over as a value:
    an exception raised in a worker would arrive wrapped in that worker's traceback."""

    def __init__(self, dataset: YOLODataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: SampleKey) -> Any:
        try:
            return self.dataset[key]
        except UserError as e:
            return e


def _collate(samples: list[Any]) -> Any:
    return next((s for s in samples if isinstance(s, UserError)), None) or YOLODataset.collate_fn(samples)


def _start_worker(run: int, _: int) -> None:
    """Make a process a worker of the process `run`."""
    # torch's own watch begins with whoever is the parent when the worker is ready: one whose run is killed before that
    # would wait for ever.
    leave_with(run, ALONE)
    # A signal to the whole group means the run, which goes on to the end of its batch and then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave_soon)
    gc.freeze()  # a collection would write to every object that came from the run, and so make copies of their pages
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def _leave_soon(*_: object) -> None:
    """SIGTERM in a worker: time for the run to finish its batch, and an end even if it does not."""
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(GRACE)
    else:
        sys.exit(0)
