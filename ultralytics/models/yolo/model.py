"""`YOLO`: one object for training, validating, predicting and looking at a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.cfg.config import MODE_DEFAULTS
from ultralytics.cfg.tracker import load_tracker
from ultralytics.engine.callbacks import Callback, Callbacks
from ultralytics.engine.formats.table import format_of, open_exported
from ultralytics.engine.predictor import BasePredictor, wanted_source
from ultralytics.engine.ranks.device import select_device
from ultralytics.engine.results import Results
from ultralytics.engine.run.provenance import provenance
from ultralytics.engine.tracking import Tracking
from ultralytics.engine.weights.checkpoint import Checkpoint, load_checkpoint, portable, save_checkpoint
from ultralytics.models.yolo.benchmark import measure
from ultralytics.models.yolo.detect import DetectionPredictor, DetectionTrainer, DetectionValidator, Explanation
from ultralytics.models.yolo.exporting import real_images
from ultralytics.models.yolo.modes import settings, train
from ultralytics.models.yolo.task import TASKS, Task, TaskExplainer, checked_task, part_of, task_of
from ultralytics.models.yolo.weights import head_of, listed, load_trained, reopened
from ultralytics.nn.plugins import load_plugins
from ultralytics.nn.several import EnsembleBackend
from ultralytics.nn.summary import ModelReport, explain
from ultralytics.nn.tasks import DetectionModel
from ultralytics.nn.transfer import TransferReport
from ultralytics.utils.errors import CheckpointError, ConfigError, FinishedRunError, UserError
from ultralytics.utils.files import user_path
from ultralytics.utils.lazy import resolve
from ultralytics.utils.log import LOGGER, setup_console
from ultralytics.utils.metrics import DetMetrics
from ultralytics.utils.processes import leave_unguarded

REMEMBERED = ("imgsz", "data", "single_cls", "crop_fraction")  # keys of a training that go on to hold


class YOLO(nn.Module):  # size: the reference's names, most of them a line or two
    """A YOLOv8 detector, with or without attention.

    As in the reference it is a torch module around `model`: `parameters`, `state_dict`, `half`, `cpu` and the like are
    torch's.

    Args:
        model: a model YAML ("yolov8n-fla.yaml", "cfg/models/yolov8-fla.yaml" with `scale`), a weights file (.pt, this
            project's or the reference's), or an exported file ("best.onnx"), which can validate and predict; of
            several of the latter two, as a list, an ensemble, which can as well.
        task: a key of TASKS, the model's own.
        verbose: print the rows while building.
        scale: the scale letter, for any YAML.
        plugins: Python files that register modules of the model.
        nc: class count, for a YAML.

    Attributes:
        model: the network, or what runs an exported file or an ensemble.
        ckpt: the weights file's content or None.
        overrides: settings remembered from it.
        metrics: of the last validation.
        trainer, predictor: the last ones used.
        callbacks: functions by event.
        model_name, ckpt_path, cfg: the file it was made from, as weights, as a YAML.
    """

    session: None = None  # of the reference's platform
    model: Any  # a DetectionModel; of an exported file a Backend

    def __init__(
        self,
        model: str | Path | Sequence[str | Path] = "yolov8n.yaml",
        task: str | None = None,
        verbose: bool = False,
        scale: str | None = None,
        plugins: str | Sequence[str] | None = None,
        nc: int | None = None,
    ) -> None:
        super().__init__()
        setup_console()
        self.plugins = load_plugins(plugins)
        self.ckpt: Checkpoint | None = None
        files = listed(model)
        name = self.model_name = files[0] if len(files) == 1 else f"[{','.join(files)}]"
        for key, value in (("scale", scale), ("nc", nc)):
            if value is not None and not name.endswith((".yaml", ".yml")):
                raise ConfigError(f"{key}={value} belongs to a model YAML, and {name} is not one", hint="leave it out")
        self.overrides: dict[str, Any] = {"model": name}
        self.metrics: DetMetrics | None = None
        self.trainer: DetectionTrainer | None = None
        self.predictor: BasePredictor | None = None
        self._tracking: Tracking | None = None  # of the last `track`
        self.callbacks = Callbacks()
        self.callbacks.take(self.plugins)
        self.scale = scale
        self._share: float | None = None  # of the tensors that `load` has found a place for; None: nothing is loaded
        self.cfg: str | None = None
        if len(files) > 1:
            first = YOLO(files[0], task)
            self.task: str = first.task
            self.model = EnsembleBackend([first.model, *(YOLO(file, self.task).model for file in files[1:])])
            self._opened_for = torch.device("cpu")
            self.overrides |= {k: v for k, v in first.overrides.items() if k != "model"}
            if self.model.fixed is not None:
                self.overrides["imgsz"] = list(self.model.fixed)
        elif name.endswith((".yaml", ".yml")):
            self.task = checked_task(task, task_of(head_of(name)), name)
            self.model = self._task.network(name, nc=nc, verbose=verbose, scale=scale)
            self.cfg = name
        elif name.endswith(".pt"):
            self.model, self.ckpt = load_trained(name)
            self.task = checked_task(task, task_of(self.model.spec.rows[-1].module), name)
            self._remember()
        elif format_of(name) is not None:
            self.model = open_exported(name)
            self._opened_for = torch.device("cpu")
            self.task = checked_task(task, self.model.metadata.task, name)
            fixed = self.model.fixed
            self.overrides["imgsz"] = self.model.metadata.imgsz if fixed is None else list(fixed)
        else:
            raise ConfigError(f"model={name} is neither a YAML nor weights", hint="give a .yaml, .pt or exported file")
        self.overrides["task"] = self.task

    def __call__(self, source: Any = None, stream: bool = False, **kwargs: Any) -> list[Results] | Iterator[Results]:
        """The same as `predict`."""
        return self.predict(source, stream, **kwargs)

    @property
    def names(self) -> dict[int, str]:
        """Class names."""
        found: dict[int, str] = self.model.names
        return found

    @staticmethod
    def is_hub_model(model: str) -> bool:
        """Return False: nothing here speaks with the reference's platform."""
        return False

    @staticmethod
    def is_triton_model(model: str) -> bool:
        """Return False: nothing here speaks with a model server."""
        return False

    @property
    def transforms(self) -> None:
        """Of the reference's classifiers; None."""
        return None

    @property
    def task_map(self) -> dict[str, dict[str, type]]:
        """The classes of each task."""
        parts = {"model": "network", "trainer": "trainer", "validator": "validator", "predictor": "predictor"}
        return {name: {k: getattr(task, v) for k, v in parts.items()} for name, task in TASKS.items()}

    @property
    def _task(self) -> Task:
        return TASKS[self.task]

    @property
    def device(self) -> torch.device:
        """The device of the model's weights."""
        found: torch.device = next(self.model.parameters()).device if self._is_network else self.model.device
        return found

    @property
    def _is_network(self) -> bool:
        return isinstance(self.model, nn.Module)

    def _network(self, what: str) -> DetectionModel:
        """Return the network.

        Raises:
            UserError: it is in an exported file, and WHAT needs the weights.
        """
        if not self._is_network:
            several = isinstance(self.model, EnsembleBackend)
            kind, hint = (
                ("an ensemble", "give one .pt") if several else ("an exported file", "give the .pt it was made from")
            )
            raise UserError(f"{what} needs a network, and this is {kind}", self.model_name, hint)
        found: DetectionModel = self.model
        return found

    @property
    def ckpt_path(self) -> str | None:
        """The weights file the model came from."""
        return str(self.ckpt.path) if self.ckpt else None

    def info(
        self, detailed: bool = False, verbose: bool = True, imgsz: int | None = None
    ) -> tuple[int, int, int, float]:
        """Log and return layers, parameters, gradients and GFLOPs as the reference counts them; `detailed` lists the
        rows as `report` does."""
        imgsz = imgsz or self._network("info").imgsz
        if detailed and verbose:
            for line in self.report(imgsz).lines():
                LOGGER.info(line)
        totals = self.model.info(verbose=verbose, imgsz=imgsz)
        return int(totals["layers"]), int(totals["parameters"]), int(totals["gradients"]), totals["gflops"]

    def report(self, imgsz: int | tuple[int, int] | None = None, batch: int = 1) -> ModelReport:
        """Channels, shapes, parameters and true operations of every row, at a size in pixels or (height, width)."""
        imgsz = imgsz or self._network("report").imgsz
        sides = (imgsz,) if isinstance(imgsz, int) else imgsz
        stride = int(self._network("report").stride.max())
        if any(n < stride or n % stride for n in sides):
            raise ConfigError(f"imgsz={imgsz} must be a multiple of the model's stride", hint=f"multiples of {stride}")
        return explain(self.model, imgsz, batch)

    def load(self, weights: str | Path | Mapping[str, Tensor]) -> YOLO:
        """Copy the tensors that fit from a weights file or state dict into the model;
        training then starts from them."""
        self._network("load")
        if isinstance(weights, Mapping):
            report: TransferReport = self.model.load(weights)
        else:
            checkpoint = load_checkpoint(weights)
            if len(checkpoint.names) == self.model.nc:
                self.model.names = dict(checkpoint.names)  # before the transfer, which sorts classes by name
            report = self.model.load(checkpoint.weights, checkpoint.spec, checkpoint.names)
        for line in report.lines():
            LOGGER.info(line)
        self._share = report.share
        return self

    def save(self, filename: str | Path = "model.pt") -> None:
        """Write the model as a weights file.

        Raises:
            CheckpointError: it is fused, and a fused network's tensors fit no network that is built from its rows.
        """
        if self._network("save").is_fused():
            raise CheckpointError(
                "a fused model cannot be saved: its batch norms are folded away",
                str(filename),
                "save it before fuse(), or load the weights again",
            )
        before = self.ckpt.state.get("provenance") if self.ckpt else None
        made = {"provenance": provenance(self.device, before=before)}
        content = {"model": portable(self.model.yaml), "names": dict(self.names), "ema": self.model.state_dict()}
        save_checkpoint(user_path(filename), content | made, key="filename")

    def to(  # type: ignore[override]  # torch's own is overloaded
        self, device: Any = None, *args: Any, **kwargs: Any
    ) -> YOLO:
        """Move the model, and let later calls run there unless they name another device; a type or further arguments
        are torch's."""
        self._network("to")
        if args or kwargs or device is None or isinstance(device, torch.dtype | Tensor):
            super().to(*(() if device is None else (device,)), *args, **kwargs)
            return self
        chosen = select_device(device, quiet=True)
        self.model.to(chosen)
        self.overrides["device"] = str(chosen)
        return self

    def eval(self) -> YOLO:
        """Put the model into evaluation mode."""
        self._network("eval").eval()
        return self

    @torch.no_grad()
    def reset_weights(self) -> YOLO:
        """Draw the model's weights anew, and let what was frozen be trained."""
        fresh = type(self._network("reset_weights"))(self.model.spec, verbose=False)
        self.model.load_state_dict(fresh.state_dict())
        for mine, theirs in zip(self.model.parameters(), fresh.parameters(), strict=True):
            mine.requires_grad = theirs.requires_grad
        self._share = 1.0
        return self

    def tune(self, use_ray: bool = False, iterations: int = 10, space: Any = None, **kwargs: Any) -> Any:
        """Search the best settings for training this model's file; returns a `study.tune.search.Tuned`.

        Args:
            iterations: trials; space: a YAML's name, or a mapping: key → [low, high], [low, high, "log"] or choices.
            use_ray: must be False; kwargs: options of the command `tune`, and keys of `train`.
        """
        leave_unguarded()
        if use_ray:
            raise ConfigError("use_ray=True: trials are not run by Ray", hint="leave it out: Optuna searches")
        if not (file := self.cfg or self.ckpt_path) or self._share is not None:
            raise ConfigError("tune trains a file, and this model is changed", hint="tune(pretrained=FILE)")
        if self.callbacks.loose:
            raise ConfigError("callbacks cannot follow to the processes of trials", hint="plugins=[FILE.py] can")
        keys = {k: v for k, v in self.overrides.items() if k in ("data", "device")} | {"model": str(file)}
        keys |= {k: v for k, v in (("model_scale", self.scale), ("plugins", self.plugins)) if v}
        search = resolve("ultralytics.study.tune.search:tune_with")
        return search({**keys, **kwargs}, {"trials": iterations, "space": space})

    def fuse(self) -> YOLO:
        """Fold the batch norms of the model in place, for inference."""
        self._network("fuse").fuse()
        return self

    # Callbacks

    def add_callback(self, event: str, func: Callback) -> None:
        """Call a function at an event of training, validation or prediction, with the trainer, validator or predictor;
        `engine.callbacks.EVENTS` lists the events.

        Raises:
            ConfigError: there is no such event.
        """
        self.callbacks.add(event, func)

    def clear_callback(self, event: str) -> None:
        """Forget the functions of an event."""
        self.callbacks.drop(event)

    def reset_callbacks(self) -> None:
        """Forget the functions of all events but those of the plugins."""
        self.callbacks = Callbacks()
        self.callbacks.take(self.plugins)

    def train(  # type: ignore[override]  # of a torch module it is a switch, of the reference's YOLO the training
        self, trainer: type[DetectionTrainer] | str | Path | None = None, **kwargs: Any
    ) -> DetMetrics:
        """Train, and go on with the best weights; keyword arguments are the keys of `python -m ultralytics train
        --help`.

        Args:
            trainer: a class of one's own, below DetectionTrainer.
        """
        leave_unguarded()
        self._network("train")
        cfg = kwargs.pop("cfg", None)
        if isinstance(trainer, str | Path):  # a YAML of keys, the first argument before `trainer` was
            trainer, cfg = None, cfg or trainer
        resume = kwargs.get("resume")
        begins = not resume or resume == "auto"  # else the run brings its own model and data
        remembered = ("data", "device") if begins else ("device",)
        overrides = {k: v for k, v in self.overrides.items() if k in remembered} | dict(kwargs)
        if begins or (resume is True and self.ckpt_path):
            overrides.setdefault("model", self.cfg or self.ckpt_path)
        if self.scale and "scale" not in overrides:
            overrides["model_scale"] = self.scale
        if self.plugins:
            overrides.setdefault("plugins", self.plugins)
        start = None if kwargs.get("resume") else self.ckpt
        if self._share is not None:
            tensors = dict(self.model.state_dict())
            start = Checkpoint(Path("the loaded weights"), self.model.yaml, self.names, tensors, share=self._share)
        try:
            choice: dict[str, Any] = {"weights": start, "kind": trainer, "callbacks": self.callbacks, "task": self.task}
            trained = train(cfg, overrides, begun=self._take_trainer, **choice)
        except FinishedRunError as e:
            LOGGER.info("%s", e)
            self._go_on_with(Path(e.folder))
            return self._task.metrics(save_dir=Path(e.folder), names=self.names)  # type: ignore[no-any-return]  # the task's
        self.metrics = trained.metrics
        if trained.trainer is not None:
            trained.trainer.team.wait()  # until the leader has written what is read now
            assert self.metrics is not None or not trained.trainer.args.val
        self._go_on_with(trained.save_dir)
        return self.metrics or self._task.metrics(save_dir=trained.save_dir, names=self.names)

    def _take_trainer(self, made: Any) -> None:
        self.trainer = made

    def _go_on_with(self, save_dir: Path) -> None:
        """Take a run's weights."""
        found = [p for p in (save_dir / "weights" / n for n in ("best.pt", "last.pt")) if p.exists()]
        if found:
            self.model, self.ckpt = load_trained(found[0])
            self.cfg, self._share = None, None
            self._remember()

    def _remember(self) -> None:
        """Take the settings that a weights file brings."""
        assert self.ckpt is not None
        given = {k: v for k, v in self.ckpt.train_args.items() if k in REMEMBERED}
        self.overrides = {"model": str(self.ckpt.path), "task": self.task, **given}
        self.model.args = dict(self.ckpt.train_args)

    def val(self, validator: type[DetectionValidator] | None = None, **kwargs: Any) -> DetMetrics:
        """Validate on a split of a dataset (`data`, `split`);
        returns the metrics and writes them to the run folder. Processes that torchrun has started share the batches.

        Args:
            validator: a class of one's own, below DetectionValidator.
        """
        leave_unguarded()
        args = settings("val", kwargs, self.overrides, kwargs.pop("_source", "argument"))
        made: Any = (validator or self._task.validator)(args=args, _callbacks=self.callbacks)
        made(model=self._on(args.device))
        metrics: DetMetrics = made.metrics
        self.metrics = metrics
        return metrics

    def predict(
        self,
        source: Any = None,
        stream: bool = False,
        predictor: type[DetectionPredictor] | None = None,
        **kwargs: Any,
    ) -> list[Results] | Iterator[Results]:
        """Detect in images or videos; a list of Results, or an iterator with `stream=True`.
        Files are written with `save=True`.

        Args:
            predictor: a class of one's own, below DetectionPredictor.
        """
        origin = kwargs.pop("_source", "argument")
        batch = MODE_DEFAULTS["predict"]["batch"]
        args = settings("predict", kwargs, self.overrides, origin, batch=batch, save=False)
        source = wanted_source(source, args)
        self.predictor = (predictor or self._task.predictor)(overrides=args, _callbacks=self.callbacks)
        self.predictor.setup_model(self._on(args.device))
        return self.predictor(source, stream=stream)

    def embed(self, source: Any = None, stream: bool = False, **kwargs: Any) -> list[Tensor] | Iterator[Tensor]:
        """Return a vector (D,) for each image or frame: the averaged maps of the rows `embed=[…]`, by default of the
        last row before the head."""
        kwargs.setdefault("embed", [len(self._network("embed").model) - 2])
        found: Any = self.predict(source, stream, **kwargs)
        return found  # type: ignore[no-any-return]  # predict's type is that of detections

    def track(
        self,
        source: Any = None,
        stream: bool = False,
        persist: bool = False,
        predictor: type[DetectionPredictor] | None = None,
        **kwargs: Any,
    ) -> list[Results] | Iterator[Results]:
        """Detect in videos, or in images as frames, and follow the objects: `predict`, with ids in `result.boxes.id`.

        Args:
            persist: go on with the tracks of the last call, as where a loop gives one frame after another.
            predictor: a class of one's own, below DetectionPredictor.
        """
        part_of(self.task, "follows")
        defaults = MODE_DEFAULTS["track"]
        args = settings("track", kwargs, self.overrides, kwargs.pop("_source", "argument"), save=False, **defaults)
        if args.conf is None:
            args.set("conf", defaults["conf"], "track default")
        source = wanted_source(source, args)
        tracking = Tracking(load_tracker(args.tracker), args.trails, self._tracking if persist else None)
        self.predictor = (predictor or self._task.predictor)(overrides=args, _callbacks=self.callbacks)
        self.predictor.tracking = self._tracking = tracking
        self.predictor.setup_model(self._on(args.device))
        return self.predictor(source, stream=stream)

    def _on(self, device: Any) -> Any:
        """Return the model; exported files opened for a device, where their runtimes can."""
        if not self._is_network:
            chosen = select_device(device, quiet=True)
            if chosen != self._opened_for:
                self.model, self._opened_for = reopened(self.model, chosen), chosen
        return self.model

    def export(self, **kwargs: Any) -> str:
        """Write the network in another runtime's format beside its weights, compared with it; returns the path.
        Keyword arguments are the keys of `python -m ultralytics export --help`.

        Raises:
            UserError: it cannot be written, or computes something else.
        """
        network = self._network("export")
        args = settings("export", kwargs, self.overrides, kwargs.pop("_source", "argument"), batch=1)
        made: Any = self._task.exporter(overrides=args, _callbacks=self.callbacks)
        stem = Path(self.ckpt.path).with_suffix("") if self.ckpt else None
        return str(made(network, stem=stem, **real_images(args, self._task)))

    def benchmark(self, **kwargs: Any) -> dict[str, Any]:
        """Export the network, and measure its files in turns: size, mAP (with `data`), times from the image to its
        boxes, memory; prints a table and returns the figures. Keyword arguments are the options of
        `python -m ultralytics benchmark --help`; `verbose` is the reference's word for `strict`.

        Raises:
            UserError: nothing could be measured; with `strict`, a format could not be.
        """
        leave_unguarded()
        kwargs["strict"] = bool(kwargs.pop("verbose", kwargs.get("strict", False)))
        return measure(self, **kwargs)

    def explain(
        self, source: Any = None, kind: str | None = None, stream: bool = False, **kwargs: Any
    ) -> list[Explanation] | Iterator[Explanation]:
        """Draw what the detector's output rests on, and return the arrays too; keyword arguments are the keys of
        `python -m ultralytics explain --help`. `report` tells channels, shapes and operations of the rows.

        Args:
            source: images as in `predict`; no videos.
            kind: "cam", "attention" or "erf".
            stream: return an iterator, which keeps nothing of the images that are done.
        """
        self._network("explain")
        if isinstance(source, int | tuple) and not isinstance(source, bool):
            raise ConfigError(f"explain({source!r}) names no image", hint="source=an image; rows: report(imgsz)")
        kwargs |= {} if kind is None else {"kind": kind}
        args = settings("explain", kwargs, self.overrides, kwargs.pop("_source", "argument"))
        source = args.source if source is None else source
        if source is None:
            raise ConfigError("nothing to explain", hint="source=an image, a folder or a glob")
        explainer: TaskExplainer = part_of(self.task, "explainer")(args)
        return explainer.stream(source, self.model) if stream else explainer(source, self.model)
