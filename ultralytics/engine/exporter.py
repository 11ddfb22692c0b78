"""Export: a network in a file of another runtime's, compared with it before the file is kept."""

from __future__ import annotations

import contextlib
import copy
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ultralytics import __version__
from ultralytics.cfg.config import Config, keys_of
from ultralytics.engine.callbacks import Callback, Callbacks, WithCallbacks
from ultralytics.engine.formats.failure import output_tensors, refusal
from ultralytics.engine.formats.format import OUTPUT, SHARED, Finish, Format, Job, needed
from ultralytics.engine.formats.metadata import SUPPRESSION, Metadata
from ultralytics.engine.formats.parity import Comparison, Trial, beyond, compared, first_row, shapes
from ultralytics.engine.formats.table import format_named
from ultralytics.nn.backend import Backend, TorchBackend
from ultralytics.nn.deploy import Deployed
from ultralytics.utils.errors import ConfigError, ExportError
from ultralytics.utils.files import file_size, not_written, put_in_place
from ultralytics.utils.lazy import later
from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.ops import make_divisible

_NAMES = ("IOSDetectModel", "gd_outputs", "try_export")
__getattr__ = later(
    __name__,
    {"TASK2DATA": "ultralytics.cfg.reference:TASK2DATA"},
    dict.fromkeys(_NAMES, "`export` writes and checks files of each format"),
)
TORCH_1_13 = True
ROUNDINGS = 4  # differences of this many times the network's own rounding are rounding too
ABILITIES = ("dynamic", "half", "int8", "nms")  # keys that not every format offers
COLOURS = 3  # channels of an image that is read from a file
ACCEPTED = 0.02  # by so much int8 may lower a figure without a warning
RealImages = Callable[[int, int, int], Iterable[tuple[str, Tensor]]]  # a number, a height, a width → what they are
Images = Callable[[int, int, int], Iterable[Tensor]]


class Exporter(WithCallbacks):
    """Write a network in another runtime's format: `Exporter(overrides={"format": "onnx"})(model=network)`.

    A task has `finish` and `comparison`.

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
        self.args = keys_of(cfg, overrides, "export")
        self.callbacks = Callbacks.of(_callbacks)
        self.file: Path | None = None

    def __call__(
        self,
        model: Any = None,
        stem: Path | None = None,
        images: RealImages | None = None,
        calibration: Images | None = None,
        accuracy: Callable[[Backend], dict[str, float]] | None = None,
    ) -> Path:
        """Write, compare, and keep the file.

        Args:
            model: a network; it is copied, not changed.
            stem: where the file goes, without the format's ending; None: the name of the network's YAML.
            images: gives real images of a number, a height and a width, and what they are called.
            calibration: gives what int8 measures ranges on: batches (B, 3, H, W) fp32 0..1, of a number, a height and a
                width.
            accuracy: gives figures of a network or file by name; larger ones are better.

        Returns:
            The file, or the folder where the format is one.

        Raises:
            UserError: the format does not offer what is asked for or its packages are not installed; the network
            cannot be written; the file computes something else.
        """
        args = self.args
        chosen = format_named(args.format)
        self.check(chosen, model.spec.ch)
        if args.int8 and calibration is None:
            raise self._no_images()
        self.run_callbacks("on_export_start")
        self.begin(model)
        began = time.perf_counter()
        finish = self.finish(model)
        network = Deployed(model)
        shape = (args.batch, network.network.spec.ch, *self._frame(network.stride))
        job = Job(network, args, shape, self._metadata(model, shape, finish), _names_of(network, shape), finish)
        if calibration is not None:
            job = replace(job, calibration=partial(calibration, shape[0], *shape[2:]))
        path = self._place(chosen, stem or Path(Path(model.spec.yaml_file).stem or "model"))
        stages = progress(total=2 + args.int8, desc=f"{chosen.title}: writing", leave=False)
        with _unfinished(path) as new, stages:
            _write_file(chosen, job, new)
            _next_stage(stages, f"{chosen.title}: comparing")
            trials = self._trials(job, images)
            self._compare(chosen, job, new, trials)
            _next_stage(stages, f"{chosen.title}: measuring" if args.int8 else chosen.title)
            if args.int8 and accuracy is not None:
                self._measure(chosen, job, new, TorchBackend(model, torch.device("cpu")), accuracy)
            put_in_place(new, path)
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

    def finish(self, model: Any) -> Finish | None:
        """Return what comes behind the network with `nms`.

        Raises:
            ConfigError: nothing can.
        """
        return None

    def comparison(self, finish: Finish | None) -> Comparison:
        """Return how a file is compared with the network; `finish` is what comes behind the network in it."""
        raise NotImplementedError  # each task has its own

    # The stages

    def check(self, chosen: Format, channels: int = COLOURS) -> None:
        """Check that the format offers what is asked for, and that its packages are there, before anything is written.

        Args:
            channels: of the images that the network takes.

        Raises:
            UserError: it does not, or they are not.
        """
        for key in ABILITIES:
            if getattr(self.args, key) and key not in chosen.able:
                able = [k for k in ABILITIES if k in chosen.able]
                hint = f"{chosen.title} offers {', '.join(able)}" if able else "leave it out"
                raise ConfigError(f"{key}=True is not offered with format={chosen.name}", hint=hint)
        if self.args.batch > 1 and "batch" not in chosen.able:
            raise ConfigError(f"format={chosen.name} takes one image at a time", hint="batch=1")
        if self.args.half and self.args.int8:
            raise ConfigError("half=True and int8=True exclude each other", hint="give one of them")
        if channels != COLOURS and "channels" not in chosen.able:
            what = f"format={chosen.name} takes images of {COLOURS} channels, and the network's have {channels}"
            raise ConfigError(what, hint="format=onnx takes any number")
        if channels != COLOURS and self.args.int8:
            what = f"int8=True measures ranges on images of {COLOURS} channels, and the network's have {channels}"
            raise ConfigError(what, hint="int8=False")
        needed(chosen.packages, f"format={chosen.name}", chosen.install)
        for key in (k for k in chosen.extras if getattr(self.args, k)):
            needed(chosen.extras[key], f"{key}=True with format={chosen.name}", f"{chosen.install}; or {key}=False")
        if not chosen.lacks():
            needed(chosen.reads, f"comparing {chosen.title} with the network", chosen.install)
        elif not chosen.anywhere:
            raise ExportError(f"{chosen.title} is written on the machine that runs it: this needs {chosen.lacks()}")

    def _place(self, chosen: Format, stem: Path) -> Path:
        """Return where the file goes; say so where an earlier one, perhaps of other keys, is there.

        Raises:
            ConfigError: its folder does not exist.
        """
        path = chosen.place(stem, self.args)
        if not path.absolute().parent.is_dir():
            raise ConfigError("the output folder does not exist", str(path.absolute().parent), "make it first")
        if path.exists():
            named = "format and int8" if "int8" in chosen.able else "format"
            text = "%s is there already, and will be replaced when the new file agrees with the network: of the keys "
            LOGGER.info(text + "its name says %s alone (rename it now to keep both)", path, named)
        return path

    def _no_images(self) -> ConfigError:
        data = self.args.data
        trained = f"; {data}, which the weights were trained on, is not there" if data else ""
        return ConfigError(f"int8=True needs images, on which ranges are measured{trained}", hint="data=DATASET.yaml")

    def _frame(self, stride: int) -> tuple[int, int]:
        """Return height and width, multiples of the stride."""
        height, width = (make_divisible(n, stride) for n in self.args.frame)
        if (height, width) != tuple(self.args.frame):
            LOGGER.warning("imgsz is rounded up to %d×%d, multiples of the stride %d", height, width, stride)
        return height, width

    def _metadata(self, model: Any, shape: Sequence[int], finish: Finish | None) -> Metadata:
        args = self.args
        how = {k: getattr(args, k) for k in ("dynamic", "half", "int8")} | {"nms": finish is not None}
        how |= {k: getattr(args, k) for k in (SUPPRESSION if finish is not None else ())}
        head: dict[str, Any] = {"end2end": True} if getattr(model, "end2end", False) else {}
        head |= _more_of(model)
        trained = f" trained on {args.data}" if args.data else ""
        return Metadata(
            names=dict(model.names),
            stride=int(model.stride.max()),
            task=args.task,
            batch=shape[0],
            imgsz=list(shape[2:]),
            args=how | head,
            description=f"{Path(model.spec.yaml_file).stem or 'YOLOv8'} model{trained}",
            author="ultralytics-fla",
            date=datetime.now().isoformat(timespec="seconds"),
            version=__version__,
            docs="docs/export.md",
        )

    def _trials(self, job: Job, images: RealImages | None) -> list[Trial]:
        """Return what to compare on: noise at every size, and real images where there are some."""
        generator = torch.Generator().manual_seed(0)
        found = []
        for batch, height, width in shapes(job):
            noise = torch.randint(256, (batch, job.shape[1], height, width), generator=generator)
            found.append(Trial("noise", noise / 255))  # bytes, as of an image: some formats take nothing else
            if images is not None and job.shape[1] == COLOURS:
                found += [Trial(what, real) for what, real in images(batch, height, width)]
        return found

    def _compare(self, chosen: Format, job: Job, path: Path, trials: Sequence[Trial]) -> None:
        """Compare the file with the network.

        Raises:
            ExportError: they differ by more than rounding.
        """
        if chosen.lacks():
            LOGGER.warning("%s is not compared with the network: opening it needs %s", chosen.title, chosen.lacks())
            return
        file = chosen.open(path)
        how = self.comparison(job.finish)
        lines = compared(job.network, file, trials, how)
        LOGGER.info("%s against the network, largest differences:", chosen.title)
        for line in lines:
            LOGGER.info("  %s", line)
        if job.args.int8 and not any(line.failure for line in lines):
            return
        wrong = beyond(lines, how.tolerances)
        if wrong:
            worst = next(line for line in lines if beyond([line], how.tolerances))
            rounding = _rounding(job, worst.trial, how)
            if rounding and not beyond(
                lines, {k: max(v, ROUNDINGS * rounding.get(k, 0.0)) for k, v in how.tolerances.items()}
            ):
                words = ", ".join(f"{k} by {v:.2g}" for k, v in rounding.items())
                LOGGER.warning(
                    "%s; the network's own rounding changes %s, so the file is kept", "; ".join(wrong), words
                )
                return
            row = first_row(chosen, job, path.parent, worst.trial)
            hint = "dynamic=False, if one size will do" if job.args.dynamic else ""
            what = f"the file computes something else and is not kept: {'; '.join(wrong)}; {row}"
            raise ExportError(what, hint=hint)

    def _measure(
        self,
        chosen: Format,
        job: Job,
        path: Path,
        network: TorchBackend,
        accuracy: Callable[[Backend], dict[str, float]],
    ) -> None:
        """Say what int8 costs, and let the file say it too."""
        file = chosen.open(path)
        network.fixed = file.fixed  # both see the same images
        before, after = accuracy(network), accuracy(file)
        data = Path(self.args.data or "").name
        LOGGER.info("Accuracy on %s, in fp32 and in int8:", data)
        for name, value in before.items():
            LOGGER.info("  %-10s %.4f  %.4f", name, value, after[name])
        name = max(before, key=lambda k: before[k] - after[k])
        if not before[name] - after[name] <= ACCEPTED:
            LOGGER.warning(
                "int8 costs %.3f of %s: more images in data=, or another format's int8, may do better",
                before[name] - after[name],
                name,
            )
        figures = {"data": data, "fp32": before, "int8": after}
        chosen.describe(path, replace(job.metadata, args=job.metadata.args | {"accuracy": figures}))


def _rounding(job: Job, trial: Trial, how: Comparison) -> dict[str, float]:
    """Return how far fp32 is from fp64 in the network itself: where sums cancel, no file can be nearer. Nothing of a
    file in fp16, or where the network does not compute in fp64."""
    if job.args.half:
        return {}
    try:
        with torch.inference_mode():
            exact = copy.deepcopy(job.network).double()(trial.images.double())
            return how.outputs(exact.float(), job.network(trial.images))
    except Exception:  # of a pasted module that names a type
        return {}


def extra_of(model: Any) -> int:
    """Return how many numbers a network's head gives behind an anchor's scores."""
    return int(getattr(model.head, "extra", 0))


def _more_of(model: Any) -> dict[str, Any]:
    """Return what a file says of the numbers behind the scores."""
    points = getattr(model, "kpt_shape", None)
    found: dict[str, Any] = {"extra": extra_of(model)} if extra_of(model) else {}
    return found | ({"kpt_shape": list(points)} if points else {})


@torch.inference_mode()
def _names_of(network: Deployed, shape: Sequence[int]) -> tuple[str, ...]:
    """Return the names of what a network gives."""
    if not extra_of(network.network):
        return (OUTPUT,)
    return (OUTPUT, SHARED)[: len(list(output_tensors(network(torch.zeros(*shape)))))]


def _next_stage(bar: Any, name: str) -> None:
    bar.set_description(name)
    bar.update()


def _write_file(chosen: Format, job: Job, path: Path) -> None:
    try:
        chosen.write(job, path)
    except OSError as e:
        raise not_written(e, path) from None
    except MemoryError:
        raise
    except Exception as e:  # of torch and of the format's packages, of many kinds
        raise refusal(chosen, job, path.parent, e) from None


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
