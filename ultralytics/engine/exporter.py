"""Export: a network in a file of another runtime's, compared with it before the file is kept."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics import __version__
from ultralytics.cfg.config import Config, as_mapping, get_cfg
from ultralytics.engine.callbacks import Callback, Callbacks, WithCallbacks
from ultralytics.engine.formats.format import Format, Job, needed
from ultralytics.engine.formats.metadata import Metadata
from ultralytics.engine.formats.parity import Trial, beyond, compared, first_row, shapes
from ultralytics.engine.formats.table import format_named
from ultralytics.nn.deploy import Deployed
from ultralytics.utils.errors import ConfigError, ExportError
from ultralytics.utils.files import file_size, not_written
from ultralytics.utils.lazy import later
from ultralytics.utils.log import LOGGER
from ultralytics.utils.ops import make_divisible

_NAMES = ("IOSDetectModel", "gd_outputs", "try_export")
__getattr__ = later(
    __name__,
    {"TASK2DATA": "ultralytics.cfg.reference:TASK2DATA"},
    dict.fromkeys(_NAMES, "`export` writes and checks files of each format"),
)
TORCH_1_13 = True
ABILITIES = ("dynamic", "half", "int8", "nms")  # keys that not every format offers


class Exporter(WithCallbacks):
    """Write a network in another runtime's format: `Exporter(overrides={"format": "onnx"})(model=network)`.

    A task has `finish`, `compare` and `tolerances`.

    Args:
        cfg: a Config or a YAML of keys.
        overrides: keys on top of it.
        _callbacks: functions by event.
    """

    def __init__(
        self,
        cfg: Config | str | Path | Mapping[str, Any] | None = None,
        overrides: Config | Mapping[str, Any] | None = None,
        _callbacks: Mapping[str, list[Callback]] | None = None,
    ) -> None:
        given = overrides if isinstance(overrides, Config) else get_cfg(cfg, as_mapping(overrides), mode="export")
        self.args = given
        self.callbacks = _callbacks if isinstance(_callbacks, Callbacks) else Callbacks(_callbacks)
        self.file: Path | None = None

    def __call__(
        self,
        model: Any = None,
        stem: Path | None = None,
        images: Callable[[int, int, int], Iterable[tuple[str, Tensor]]] | None = None,
        calibration: Callable[[], Iterable[Tensor]] | None = None,
    ) -> Path:
        """Write, compare, and keep the file.

        Args:
            model: a network; it is copied, not changed.
            stem: where the file goes, without the format's ending; None: the name of the network's YAML.
            images: gives real images of a number, a height and a width, and what they are called.
            calibration: see `Job`.

        Returns:
            The file, or the folder where the format is one.

        Raises:
            UserError: the format does not offer what is asked for or its packages are not installed; the network
            cannot be written; the file computes something else.
        """
        args = self.args
        chosen = format_named(args.format)
        self._check(chosen)
        self.run_callbacks("on_export_start")
        needed(chosen.packages, f"format={chosen.name}")
        self.begin(model)
        began = time.perf_counter()
        network = Deployed(model, self.finish(model))
        shape = (args.batch, network.network.spec.ch, *self._frame(network.stride))
        job = Job(network, args, shape, self._metadata(model, shape), calibration=calibration)
        stem = stem or Path(Path(model.spec.yaml_file).stem or "model")
        path = chosen.place(stem, args)
        if not path.absolute().parent.is_dir():
            raise ConfigError("the output folder does not exist", str(path.absolute().parent), "make it first")
        with _unfinished(path) as new:
            _write(chosen, job, new)
            trials = self._trials(job, images)
            self._compare(chosen, job, new, trials)
            _put(new, path)
        self.file = path
        seconds = time.perf_counter() - began
        LOGGER.info("%s: %.1f MB, in %.0f s, saved to %s", chosen.title, file_size(path), seconds, path)
        self.accompany(path, job.metadata)
        self.run_callbacks("on_export_end")
        return path

    # What a task replaces

    def begin(self, model: Any) -> None:  # most tasks have nothing to do here
        """Check and fetch what is wanted besides the file, before anything that takes long."""

    def accompany(self, path: Path, metadata: Metadata) -> None:  # as above
        """Write what is wanted besides the file, which lies in its place."""

    def finish(self, model: nn.Module) -> nn.Module | None:
        """Return the module that comes behind the network with `nms`."""
        return None

    def compare(self, ours: Tensor, theirs: Tensor) -> dict[str, float]:
        """Return the differences of two outputs, by name."""
        raise NotImplementedError  # each task has its own

    def tolerances(self) -> dict[str, float]:
        """Return the largest differences that are rounding, by the same names."""
        raise NotImplementedError  # each task has its own

    # The stages

    def _check(self, chosen: Format) -> None:
        """Check that the format offers what is asked for."""
        for key in ABILITIES:
            if getattr(self.args, key) and key not in chosen.able:
                able = [k for k in ABILITIES if k in chosen.able]
                hint = f"{chosen.title} offers {', '.join(able)}" if able else "leave it out"
                raise ConfigError(f"{key}=True is not offered with format={chosen.name}", hint=hint)
        if self.args.batch > 1 and "batch" not in chosen.able:
            raise ConfigError(f"format={chosen.name} takes one image at a time", hint="batch=1")
        if self.args.half and self.args.int8:
            raise ConfigError("half=True and int8=True exclude each other", hint="give one of them")

    def _frame(self, stride: int) -> tuple[int, int]:
        """Return height and width, multiples of the stride."""
        height, width = (make_divisible(n, stride) for n in self.args.frame)
        if (height, width) != tuple(self.args.frame):
            LOGGER.warning("imgsz is rounded up to %d×%d, multiples of the stride %d", height, width, stride)
        return height, width

    def _metadata(self, model: Any, shape: Sequence[int]) -> Metadata:
        args = self.args
        keys = ("dynamic", "half", "int8", "nms", *(("conf", "iou", "max_det") if args.nms else ()))
        trained = f" trained on {args.data}" if args.data else ""
        return Metadata(
            names=dict(model.names),
            stride=int(model.stride.max()),
            task=args.task,
            batch=shape[0],
            imgsz=list(shape[2:]),
            args={k: getattr(args, k) for k in keys},
            description=f"{Path(model.spec.yaml_file).stem or 'YOLOv8'} model{trained}",
            author="ultralytics-fla",
            date=datetime.now().isoformat(timespec="seconds"),
            version=__version__,
            docs="docs/export.md",
        )

    def _trials(self, job: Job, images: Callable[[int, int, int], Iterable[tuple[str, Tensor]]] | None) -> list[Trial]:
        """Return what to compare on: noise at every size, and real images where there are some."""
        generator = torch.Generator().manual_seed(0)
        found = []
        for batch, height, width in shapes(job):
            found.append(Trial("noise", torch.rand(batch, job.shape[1], height, width, generator=generator)))
            for what, real in images(batch, height, width) if images is not None else ():
                found.append(Trial(what, real))
        return found

    def _compare(self, chosen: Format, job: Job, path: Path, trials: Sequence[Trial]) -> None:
        """Compare the file with the network.

        Raises:
            ExportError: they differ by more than rounding.
        """
        file = chosen.open(path)
        lines = compared(job.network, file, trials, self.compare)
        LOGGER.info("%s against the network, largest differences:", chosen.title)
        for line in lines:
            LOGGER.info("  %s", line)
        if job.args.int8:
            return
        wrong = beyond(lines, self.tolerances())
        if wrong:
            worst = next(line for line in lines if beyond([line], self.tolerances()))
            row = first_row(chosen, job, path.parent, worst.trial)
            raise ExportError(f"the file computes something else and is not kept: {'; '.join(wrong)}; {row}")


def _write(chosen: Format, job: Job, path: Path) -> None:
    try:
        chosen.write(job, path)
    except OSError as e:
        raise not_written(e, path) from None


@contextlib.contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """Give a place beside a path under its name, in a folder of its own that is removed in the end."""
    folder = path.absolute().with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        folder.mkdir()
    except OSError as e:
        raise not_written(e, path) from None
    try:
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(new: Path, path: Path) -> None:
    """Move a file or folder to its place, and what was there away."""
    try:
        if path.is_dir():
            os.replace(path, new.with_name("before"))
        os.replace(new, path)
    except OSError as e:
        raise not_written(e, path) from None
