"""The loop of every validation: of an epoch, of the best weights, of `val`. A task fills in the steps.

A rank evaluates whole batches, as one process forms them. What it has seen goes to the leader, which puts it in the
loader's order: so the figures do not depend on the number of ranks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ultralytics.cfg.class_folders import load_labelled_dataset
from ultralytics.cfg.config import Config, check_classes, keys_of
from ultralytics.cfg.dataset import DatasetSpec
from ultralytics.cfg.paths import data_hint, weights_hint
from ultralytics.engine.callbacks import Callback, Callbacks, WithCallbacks
from ultralytics.engine.ranks.device import select_device
from ultralytics.engine.ranks.team import Team, join
from ultralytics.engine.run.folder import new_run_dir, project_of
from ultralytics.engine.safety import threads
from ultralytics.engine.safety.pace import Pace
from ultralytics.engine.step.loss import Criterion
from ultralytics.nn.backend import Backend, backend_of, frame_of
from ultralytics.utils import events
from ultralytics.utils.errors import ConfigError, MissingFileError, UserError
from ultralytics.utils.files import write_json
from ultralytics.utils.fonts import checked_font
from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.memory import release_memory
from ultralytics.utils.ops import make_divisible
from ultralytics.utils.output_path import make_folder
from ultralytics.utils.stopwatch import Stopwatch
from ultralytics.utils.tensors import count_most
from ultralytics.utils.text import counted
from ultralytics.utils.threads import kept_threads
from ultralytics.utils.types import Batch

STAGES = ("preprocess", "inference", "loss", "postprocess")
PLOTTED_BATCHES = 3
PLOTTED_IMAGES = 16  # of a batch
TRIAL_BATCHES = 4  # from so many on it is worth a trial with how many threads they take least

E = TypeVar("E", bound="Evaluator[Any, Any]")
Pair = TypeVar("Pair", contravariant=True)  # an image's predictions beside its labels
Found = TypeVar("Found", covariant=True)


class Evaluator(Protocol[Pair, Found]):
    """What is measured of a split. It is sent from rank to rank, so it holds plain data alone."""

    def update(self, number: int, pairs: Sequence[Pair]) -> None:
        """Take the images of the batch at a place in the loader."""

    def merge(self: E, other: E) -> None:
        """Take what another rank has seen: other batches."""

    def result(self) -> Found:
        """Return the figures, the same in whatever order the batches came."""


class Metrics(Protocol):
    """Figures of a validation: what the first evaluator of a task gives."""

    save_dir: Path  # where its curves are drawn
    speed: dict[str, float]  # milliseconds per image by stage

    @property
    def keys(self) -> list[str]:
        """Return the columns of the figures."""

    @property
    def results_dict(self) -> dict[str, float]:
        """Return figures by column, `fitness` among them."""

    def to_dict(self) -> dict[str, Any]:
        """Return the plain data of metrics.json."""


@dataclass
class Pass:
    """What a rank has seen of a split in one validation."""

    evaluators: list[Evaluator[Any, Any]]  # of the task
    loss: dict[int, Tensor] = field(default_factory=dict)  # parts, by the batch's place in the loader
    # images to draw and what was predicted for them, by the same
    shown: dict[int, tuple[Batch, list[Tensor]]] = field(default_factory=dict)
    images: int = 0  # how many
    elapsed: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))  # seconds by stage

    def merge(self, other: Pass) -> None:
        """Take what another rank has seen."""
        for mine, theirs in zip(self.evaluators, other.evaluators, strict=True):
            mine.merge(theirs)
        self.loss |= other.loss
        self.shown |= other.shown
        self.images += other.images
        self.elapsed = {k: seconds + other.elapsed[k] for k, seconds in self.elapsed.items()}

    def mean_loss(self) -> Tensor | None:
        """Return the loss parts, added up in the loader's order; None without a criterion."""
        ordered = [self.loss[n] for n in sorted(self.loss)]
        return sum(ordered[1:], ordered[0]) / len(ordered) if ordered else None


class BaseValidator(WithCallbacks):  # size: the reference's names, which scripts read and subclasses replace
    """Run a model over a loader and compute its figures: `Validator(args={"model": …, "data": …})()`.

    A task has `load_network`, `get_dataloader`, `get_evaluators`, `postprocess`, `compare`, and what it prints and
    draws.

    Args:
        dataloader: batches of `utils.types.Batch`, whose images letterbox the originals; None: those of `args.data`.
        save_dir: where plots, labels and metrics.json go, made where it is missing; a new run folder when None.
        args: the keys of `val`; `pbar` is of the reference, and not used.
        team: the ranks that share the loader's batches; all get the leader's figures.

    Attributes:
        metrics: figures.
        loss: mean loss parts when a criterion was given.
        training: True if it validates a training's epoch.
        batch_i: number of the batch at work.
        frame: (height, width) of the only images that the model takes; None: it takes any.
        current: what this rank has seen in the validation at work or the last one, on the leader all ranks.
    """

    metrics: Metrics
    annotations: ClassVar[str] = "boxes"  # what a dataset's labels hold, see `data.scan.scan`

    def __init__(
        self,
        dataloader: Any = None,
        save_dir: str | Path | None = None,
        pbar: Any = None,
        args: Config | Mapping[str, Any] | None = None,
        _callbacks: Mapping[str, list[Callback]] | None = None,
        data: DatasetSpec | None = None,
        team: Team | None = None,
    ) -> None:
        self.team = team or Team()
        self.dataloader, self.pbar, self.data = dataloader, pbar, data
        self.args = keys_of(None, args, "val")
        self.callbacks = Callbacks.of(_callbacks)
        self.save_dir = Path(save_dir) if save_dir else Path()
        self._placed = bool(save_dir)
        self.names = dict(data.names) if data else {}
        self.nc = len(self.names)
        self.loss: Tensor | None = None
        self.training = True
        self.batch_i: int | None = None
        self.device: torch.device | None = None
        self.dtype = torch.float32
        self.layout = torch.contiguous_format  # of images
        self.plots: dict[str, Any] = {}
        self.stride = 32
        self.frame: tuple[int, int] | None = None
        self.current: Pass | None = None

    def __call__(self, trainer: Any = None, model: Any = None) -> dict[str, float]:
        """Validate a trainer's averaged model, or a model by itself.

        Args:
            trainer: of the run whose epoch it is.
            model: a network, a Backend, or the path of a weights file or YAML; `args.model` when None.

        Returns:
            Figures by results.csv column, `fitness` among them.
        """
        self.training = trainer is not None
        if trainer is not None:
            criterion = trainer.validation_criterion()
            self.evaluate(trainer.ema.ema, criterion, autocast=trainer.validation_dtype)
            return self.get_stats() | ({} if self.loss is None else trainer.label_loss_items(self.loss, prefix="val"))
        model = self.args.model if model is None else model
        if model is None:
            raise ConfigError("no model given", hint=weights_hint())
        net = self.load_network(model) if isinstance(model, str | Path) else model
        if self._placed:
            make_folder(self.save_dir, "project")
        if self.dataloader is None:
            self._validate_split(net)
        else:
            self.evaluate(net, plots=self.args.plots)
            self.report()
        return self.get_stats()

    # On a dataset's split

    def _validate_split(self, net: Any) -> None:
        """Make the loader of `args.split`, evaluate, and report into a run folder."""
        args = self.args
        self.team = team = join()
        device = select_device(team.device_name(args.device))
        team.bind(device)
        self.data = data = self._read_data(net)
        args.font = checked_font(args.font)
        self.stride = max(int(torch.as_tensor(net.stride).max()), 32)
        self.frame = None if getattr(net, "fixed", None) is None else frame_of(net, args)
        images = data.split(args.split)
        if not self._placed:
            self.save_dir = team.lead(lambda: new_run_dir(project_of(args), args.name or "val", args.exist_ok))
        self.names = dict(data.names)
        try:
            loader = self.get_dataloader(images, args.batch)
            with contextlib.closing(loader):
                self.dataloader = loader
                placed = net.to(device) if isinstance(net, nn.Module) else backend_of(net, device, args.half)
                self.evaluate(placed, plots=args.plots)
        except UserError:
            if not self._placed:
                with contextlib.suppress(OSError):  # not empty: an earlier run's, with exist_ok
                    self.save_dir.rmdir()
            raise
        finally:
            self.dataloader = None
            release_memory()
        self.report()
        if team.leads and events.heard():
            events.emit("metrics", weights=self.args.model, figures=getattr(self.metrics, "results_dict", {}))
        if not self._placed:
            LOGGER.info("Results saved to %s", self.save_dir)

    def _read_data(self, net: Any) -> DatasetSpec:
        """Find the dataset, whose classes must be the model's; where they bear other names, say so.

        Raises:
            UserError: it is not there, or has classes that the model does not have.
        """
        args = self.args
        if not args.data:
            raise ConfigError("no dataset given", hint=data_hint())
        try:
            data = self.load_data(args.data, args.split)
        except MissingFileError as e:
            if args.sources.get("data") != "weights file":
                raise
            hint = "the weights were trained on it; where it has moved, name its new place: data=NEW_PLACE/data.yaml"
            raise MissingFileError(e.what, e.where, hint) from None
        check_classes(args.classes, net.nc, "the model")
        if args.single_cls:
            data.merge_classes()
        if data.nc > net.nc:
            raise ConfigError(f"the dataset has {counted(data.nc, 'class')} and the model {net.nc}", str(args.data))
        for i, name in data.names.items():
            known = net.names.get(i, str(i))
            if known not in (name, str(i)) and not args.single_cls:
                text = "%s: class %d is %r there and %r in the weights (classes: %d and %d)"
                LOGGER.warning(text, args.data, i, name, known, len(data.names), len(net.names))
                break
        return data

    # The loop

    @torch.inference_mode()
    @kept_threads()
    def evaluate(
        self,
        model: Any,
        criterion: Criterion | None = None,
        plots: bool = False,
        autocast: torch.dtype | None = None,
    ) -> Any:
        """Evaluate a model on the loader; it is copied and fused, not changed.

        Args:
            model: a network, or a Backend.
            criterion: also compute the mean validation loss.
            plots: keep what `draw` needs.
            autocast: precision of the forward pass on a GPU; None for the weights' own.

        Returns:
            The metrics: what the first evaluator gives.
        """
        net, team = self._open(model), self.team
        pace = Pace("batch", "other processes slow it down", "the images come late: more workers=, or cache=ram")
        self.current = None
        self.run_callbacks("on_val_start")
        self.init_metrics(net)
        self.current = seen = Pass(self.get_evaluators(net, plots, criterion is None))
        watch = {stage: Stopwatch(net.device) for stage in STAGES}
        total = len(self.dataloader)
        numbers = getattr(self.dataloader, "numbers", range(total))
        bar = progress(self.dataloader, desc=self.get_desc(), label="Validating", total=total)
        pace.rest()
        for number, batch in zip(numbers, bar, strict=True):
            pace.arrived()
            self.batch_i = number
            self.run_callbacks("on_val_batch_start")
            predictions, shape = self.evaluate_batch(batch, net, watch, criterion, autocast)
            if plots and number < PLOTTED_BATCHES:
                seen.shown[number] = _to_draw(batch, predictions)
            self.run_callbacks("on_val_batch_end")
            pace.stepped(shape[0] * shape[2] * shape[3])
        bar.close()
        seen.loss = {k: v.cpu() for k, v in seen.loss.items()}
        seen.elapsed = {stage: block.seconds() for stage, block in watch.items()}
        parts = team.gather(seen) or [seen]
        for part in parts[1:]:
            parts[0].merge(part)
        self.current = parts[0]
        self.metrics, self.loss = team.lead(self._summarise)
        self.run_callbacks("on_val_end")
        return self.metrics

    def evaluate_batch(
        self,
        batch: Batch,
        net: Backend,
        watch: Mapping[str, Stopwatch],
        criterion: Criterion | None,
        autocast: torch.dtype | None,
    ) -> tuple[list[Tensor], torch.Size]:
        """Evaluate a batch; return its predictions, and the shape of its images."""
        seen = self.current
        assert seen is not None
        assert self.batch_i is not None
        with watch["preprocess"]:
            ready = self.preprocess(batch.copy())
        with watch["inference"], torch.autocast(net.device.type, dtype=autocast, enabled=autocast is not None):
            outputs = net(ready["img"])
        with watch["loss"]:
            if criterion is not None:
                seen.loss[self.batch_i] = criterion(self.raw(outputs), _labels_on(net.device, batch))[1]
        with watch["postprocess"]:
            predictions = self.postprocess(outputs)
        self.update_metrics(predictions, ready)
        seen.images += len(ready["img"])
        return predictions, ready["img"].shape

    def _open(self, model: nn.Module | Backend) -> Backend:
        """Take a model to its device, and settle the number of threads; in training they are settled."""
        args = self.args
        device = None if args.device is None or self.team.many else select_device(args.device, quiet=True)
        net = self.prepared(backend_of(model, device, args.half))
        self.device, self.dtype, self.layout = net.device, net.dtype, net.layout
        threads.settle(args, net.device, lambda most: self._try_threads(net, most))
        found: Backend = threads.given_to(net)
        return found

    def _try_threads(self, net: Backend, most: int) -> threads.Choice | None:
        """Find the number of threads for a validation that is worth a trial."""
        if self.team.many or len(self.dataloader) < TRIAL_BATCHES or not isinstance(net, nn.Module):
            return None
        side = make_divisible(self.args.imgsz, net.stride)
        return threads.try_inference(net, (min(self.args.batch, TRIAL_BATCHES), 3, side, side), most)

    def _summarise(self) -> tuple[Metrics, Tensor | None]:
        """Return the metrics and the mean loss of what all ranks have seen."""
        seen = self.current
        assert seen is not None
        metrics: Metrics = seen.evaluators[0].result() if seen.evaluators else self.metrics
        metrics.save_dir = self.save_dir
        metrics.speed = {k: v / max(seen.images, 1) * 1e3 for k, v in seen.elapsed.items()}
        return metrics, seen.mean_loss()

    # The steps, which a task or a subclass replaces

    def load_data(self, data: str, split: str) -> DatasetSpec:
        """Read a dataset, which must have a split."""
        return load_labelled_dataset(data, [split])

    def load_network(self, model: str | Path) -> Any:
        """Return the network of a weights file or YAML."""
        raise NotImplementedError  # each task has its own

    def get_dataloader(self, dataset_path: Any, batch_size: int) -> Any:
        """Return the batches of a split's paths."""
        raise NotImplementedError  # each task has its own

    def prepared(self, net: Backend) -> Backend:
        """Return what runs for a network that is ready: itself, or as this run asks for it."""
        return net

    def init_metrics(self, model: Any) -> None:
        """Begin with no image seen; the model is a Backend."""
        self.nc = model.nc

    def get_evaluators(self, model: Backend, plots: bool, final: bool) -> list[Evaluator[Any, Any]]:
        """Return what measures the split, what gives the metrics first.

        Args:
            model: what is evaluated.
            plots: also measure what is drawn.
            final: also measure what is reported at the end; not while a run trains.
        """
        return []

    def get_desc(self) -> str:
        """Return the head of the table."""
        return ""

    def preprocess(self, batch: Batch) -> Batch:
        """Move a batch's images to the device: 0..1, laid out as the network. Labels stay where they are."""
        img = batch["img"].to(self.device, non_blocking=True)
        ready = img.to(self.dtype, memory_format=self.layout)
        batch["img"] = ready if img.is_floating_point() else ready / 255
        return batch

    def raw(self, outputs: Any) -> Any:
        """Return what the criterion reads of the model's output in evaluation."""
        return outputs[1]

    def postprocess(self, preds: Any) -> list[Tensor]:
        """Turn the model's output into the predictions of each image."""
        raise NotImplementedError  # each task has its own

    def compare(self, preds: list[Tensor], batch: Batch) -> list[Any]:
        """Put each image's predictions beside its labels, for the evaluators."""
        raise NotImplementedError  # each task has its own

    def update_metrics(self, preds: list[Tensor], batch: Batch) -> None:
        """Take a batch's predictions."""
        assert self.current is not None
        assert self.batch_i is not None
        pairs = self.compare(preds, batch)
        for evaluator in self.current.evaluators:
            evaluator.update(self.batch_i, pairs)

    def summary_row(self) -> str:
        """Return the row of the table that is of all classes."""
        return ""

    def print_results(self) -> None:
        """Print the table."""

    def report_figures(self) -> None:
        """Report what goes beyond the metrics, once they are saved."""

    def draw_results(self) -> None:
        """Draw the curves of the metrics."""

    def draw_batch(self, number: int, batch: Batch, preds: list[Tensor]) -> None:
        """Draw the labels and the predictions of a batch's first images."""

    # What is left of it

    @property
    def seen(self) -> int | None:
        """Images seen; None before the first validation."""
        return None if self.current is None else self.current.images

    @property
    def speed(self) -> dict[str, float]:
        """Milliseconds per image of each stage."""
        return self.metrics.speed

    @property
    def metric_keys(self) -> list[str]:
        """Columns of the figures."""
        return self.metrics.keys

    def get_stats(self) -> dict[str, float]:
        """Return figures by column."""
        return {k: float(v) for k, v in self.metrics.results_dict.items()}

    def report(self) -> None:
        """Print the table, write metrics.json and, last, draw what `plots` asked for: nothing of it can cost the
        metrics."""
        self.print_results()
        if self.team.leads:
            self.save_metrics()
            self.report_figures()
            self.draw()

    def draw(self) -> None:
        """Draw the figures and the first batches of an evaluation with `plots`; what cannot be drawn is a warning."""
        self.draw_results()
        shown = {} if self.current is None else self.current.shown
        for number in sorted(shown):
            self.draw_batch(number, *shown[number])
        shown.clear()

    def save_metrics(self) -> None:
        """Write metrics.json."""
        write_json(self.save_dir / "metrics.json", self.metrics.to_dict())


def _labels_on(device: torch.device, batch: Batch) -> Batch:
    """Return a batch of its label tensors alone, on a device."""
    tensors = {k: v for k, v in batch.items() if isinstance(v, Tensor) and k != "img"}
    labels: Any = {k: v.to(device, non_blocking=True) for k, v in tensors.items()}
    most = count_most(batch["batch_idx"]) if "batch_idx" in batch else None
    if most is not None:
        labels["most"] = most, labels["batch_idx"]
    return labels  # type: ignore[no-any-return]  # the part of a Batch that a criterion reads


def _to_draw(batch: Batch, preds: list[Tensor]) -> tuple[Batch, list[Tensor]]:
    """Return the images of a batch that a plot has room for, their labels, and their predictions."""
    kept: Any = dict(batch)
    kept["img"] = batch["img"][:PLOTTED_IMAGES].clone()  # what a rank sends holds these alone
    return kept, [p.cpu() for p in preds]
