"""Real images for an export: to compare the file on, to measure ranges for int8, and to say what int8 costs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from ultralytics.cfg.config import Config
from ultralytics.cfg.dataset import DatasetSpec
from ultralytics.data.sampled import batches, spread
from ultralytics.models.yolo.modes import settings
from ultralytics.models.yolo.task import Task
from ultralytics.nn.backend import Backend
from ultralytics.utils.errors import DatasetError, UserError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted

CALIBRATED = 300  # images, at most, on which ranges are measured
COMPARED = 16  # images, at most, from which those to compare on are taken
BATCH = 8  # images of a validation


def real_images(args: Config, task: Task) -> dict[str, Any]:
    """Return the arguments of an `Exporter` that need a dataset: that of `data`, which may be the one the weights were
    trained on. There are none where it is not there; it is an error if the user names it and int8 needs it.

    Args:
        args: keys of the export.
        task: of the network.
    """
    if not args.data:
        return {}
    remembered = args.sources.get("data") == "weights file"
    try:
        split = _Split(args, task, *_find(args.data, task))
    except UserError as e:
        if args.int8 and not remembered:
            raise
        if not remembered:
            LOGGER.warning("the file is compared on noise alone: %s", e)
        return {}
    if not args.int8:
        return {"images": split.images}
    return {"images": split.images, "calibration": split.calibration, "accuracy": split.accuracy_of()}


def _find(data: str, task: Task) -> tuple[DatasetSpec, str]:
    """Return a dataset and the split whose images are taken: val, or train where there is no val."""
    spec = task.load_data(data, needs=[])
    split = "val" if "val" in spec.splits else "train"
    spec.split(split)
    return spec, split


@dataclass(frozen=True)
class _Split:
    """A split of a dataset."""

    args: Config
    task: Task
    data: DatasetSpec
    name: str

    def _files(self, most: int) -> Sequence[str]:
        return spread(self.task.sampled.listed(self.data, self.name), most)

    def _batches(self, files: Sequence[str], batch: int, frame: tuple[int, int]) -> Iterator[Tensor]:
        """Yield the images as the task's validation sees them."""
        return batches(files, batch, frame, self.task.sampled.fit, self.args.crop_fraction)

    def images(self, batch: int, height: int, width: int) -> Iterator[tuple[str, Tensor]]:
        """Yield a batch to compare on, and what it is; none if the images cannot be read."""
        with contextlib.suppress(UserError, OSError):
            for found in self._batches(self._files(COMPARED)[:batch], batch, (height, width)):
                yield f"images of {self.data.yaml_file.name}", found

    def calibration(self, batch: int, height: int, width: int) -> Iterator[Tensor]:
        """Yield the images on which ranges are measured, in batches.

        Raises:
            DatasetError: none can be read.
        """
        files, found = self._files(CALIBRATED), False
        LOGGER.info("Measuring ranges on %s of %s, %s", counted(len(files), "image"), self.data.yaml_file, self.name)
        for images in self._batches(files, batch, (height, width)):
            found = True
            yield images
        if not found:
            raise DatasetError(f"no image of the split {self.name} can be read", str(self.data.yaml_file))

    def accuracy_of(self) -> Callable[[Backend], dict[str, float]]:
        """Return what validates a network or file on the split."""
        given = {"data": str(self.data.yaml_file), "split": self.name, "imgsz": max(self.args.frame), "batch": BATCH}
        if self.args.nms and self.args.conf is not None:
            given["conf"] = self.args.conf  # as the file has it: else conf would count as a cost of int8
        quiet = {"plots": False, "verbose": False, "workers": 0}
        kept = {key: getattr(self.args, key) for key in ("single_cls", "task", "crop_fraction")}

        def accuracy(model: Backend) -> dict[str, float]:
            args = settings("val", given | quiet, kept, "export")
            with TemporaryDirectory() as folder, _warnings_only():
                made: Any = self.task.validator(args=args, save_dir=Path(folder))
                figures = made(model=model)
            return {name: figures[column] for name, column in reversed(self.task.figures.first.items())}

        return accuracy


@contextlib.contextmanager
def _warnings_only() -> Iterator[None]:
    level = LOGGER.level
    LOGGER.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        LOGGER.setLevel(level)
