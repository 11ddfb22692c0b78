"""`YOLO`: one object for training, validating, predicting and looking at a model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from ultralytics.cfg.config import MODE_DEFAULTS, Config, check_classes, get_cfg, without_effect
from ultralytics.cfg.dataset import DatasetSpec, load_dataset
from ultralytics.cfg.paths import data_hint
from ultralytics.data.build import build_dataloader, build_yolo_dataset
from ultralytics.engine.checkpoint import Checkpoint, load_checkpoint, portable, save_checkpoint
from ultralytics.engine.device import select_device
from ultralytics.engine.distributed import join, several_devices
from ultralytics.engine.provenance import provenance
from ultralytics.engine.results import Results
from ultralytics.engine.rundir import new_run_dir
from ultralytics.models.yolo.detect import DetectionPredictor, DetectionTrainer, DetectionValidator
from ultralytics.models.yolo.detect.ranks import train_on_ranks
from ultralytics.models.yolo.detect.train import load_trained
from ultralytics.nn.plugins import load_plugins
from ultralytics.nn.summary import ModelReport, explain
from ultralytics.nn.tasks import DetectionModel
from ultralytics.nn.transfer import TransferReport
from ultralytics.utils.errors import CheckpointError, ConfigError, FinishedRunError, MissingFileError, UserError
from ultralytics.utils.files import user_path
from ultralytics.utils.fonts import checked_font
from ultralytics.utils.log import LOGGER, setup_console
from ultralytics.utils.metrics import DetMetrics
from ultralytics.utils.processes import leave_unguarded
from ultralytics.utils.text import counted


class YOLO:
    """A YOLOv8 detector, with or without attention.

    Args:
        model: a model YAML ("yolov8n-fla.yaml", "cfg/models/yolov8-fla.yaml" with `scale`) or a weights file (.pt, this
        project's or
            the reference's).
        task: "detect", the only task; verbose: print the rows while building; scale: the scale letter, for any YAML.
        plugins: Python files that register modules of the model; nc: class count, for a YAML.

    Attributes:
        model: the DetectionModel; ckpt: the weights file's content or None; overrides: settings remembered from it.
        metrics: of the last validation; trainer, predictor: the last ones used.
    """

    def __init__(
        self,
        model: str | Path = "yolov8n.yaml",
        task: str | None = None,
        verbose: bool = False,
        scale: str | None = None,
        plugins: str | Sequence[str] | None = None,
        nc: int | None = None,
    ) -> None:
        setup_console()
        self.plugins = load_plugins(plugins)
        if task not in (None, "detect"):
            raise ConfigError(f"task={task} is not offered", mend="this project detects: leave task out")
        self.task = "detect"
        self.ckpt: Checkpoint | None = None
        self.overrides: dict[str, Any] = {}
        self.metrics: DetMetrics | None = None
        self.trainer: DetectionTrainer | None = None
        self.predictor: DetectionPredictor | None = None
        self.callbacks: dict[str, list[Callable[..., object]]] = {}
        self.scale = scale
        self._loaded: dict[str, Tensor] | None = None
        self._loaded_share = 1.0
        name = str(model)
        if name.endswith((".yaml", ".yml")):
            self.model = DetectionModel(model, nc=nc, verbose=verbose, scale=scale)
            self.cfg: str | None = name
        elif name.endswith(".pt"):
            if scale is not None:
                raise ConfigError(
                    f"scale={scale} belongs to a model YAML, and {name} has its size", mend="leave it out"
                )
            self.model, self.ckpt = load_trained(model)
            self.cfg = None
            self.overrides = {
                k: self.ckpt.train_args[k] for k in ("imgsz", "data", "single_cls") if k in self.ckpt.train_args
            }
        else:
            raise ConfigError(f"model={name} is neither a model YAML nor a weights file", mend="give a .yaml or a .pt")

    def __call__(self, source: Any = None, stream: bool = False, **kwargs: Any) -> list[Results] | Iterator[Results]:
        """The same as `predict`."""
        return self.predict(source, stream, **kwargs)

    @property
    def names(self) -> dict[int, str]:
        """Class names."""
        return self.model.names

    @property
    def device(self) -> torch.device:
        """Where the model's weights lie."""
        return next(self.model.parameters()).device

    @property
    def ckpt_path(self) -> str | None:
        """The weights file the model came from."""
        return str(self.ckpt.path) if self.ckpt else None

    def info(self, detailed: bool = False, verbose: bool = True, imgsz: int = 640) -> tuple[int, int, int, float]:
        """Log and return layers, parameters, gradients and GFLOPs as the reference counts them; `detailed` lists the
        rows as `explain` does."""
        if detailed:
            for line in self.explain(imgsz).lines():
                LOGGER.info(line)
        totals = self.model.info(imgsz)
        return int(totals["layers"]), int(totals["parameters"]), int(totals["gradients"]), totals["gflops"]

    def explain(self, imgsz: int | tuple[int, int] = 640, batch: int = 1) -> ModelReport:
        """Channels, shapes, parameters and true operations of every row, at a size in pixels or (height, width)."""
        sides = (imgsz,) if isinstance(imgsz, int) else imgsz
        stride = int(self.model.stride.max())
        if any(n < stride or n % stride for n in sides):
            raise ConfigError(f"imgsz={imgsz} must be a multiple of the model's stride", mend=f"multiples of {stride}")
        return explain(self.model, imgsz, batch)

    def load(self, weights: str | Path | Mapping[str, Tensor]) -> YOLO:
        """Copy the tensors that fit from a weights file or state dict into the model;
        training then starts from them."""
        if isinstance(weights, Mapping):
            report: TransferReport = self.model.load(weights)
        else:
            checkpoint = load_checkpoint(weights)
            if len(checkpoint.names) == self.model.nc:
                self.model.names = dict(checkpoint.names)  # before the transfer, which sorts classes by name
            report = self.model.load(checkpoint.weights, checkpoint.spec, checkpoint.names)
        for line in report.lines():
            LOGGER.info(line)
        self._loaded, self._loaded_share = dict(self.model.state_dict()), report.share
        return self

    def save(self, filename: str | Path = "model.pt") -> None:
        """Write the model as a weights file.

        Raises:
            CheckpointError: it is fused, and a fused network's tensors fit no network that is built from its rows.
        """
        if self.model.is_fused():
            raise CheckpointError(
                "a fused model cannot be saved: its batch norms are folded away",
                str(filename),
                "save it before fuse(), or load the weights again",
            )
        before = self.ckpt.state.get("provenance") if self.ckpt else None
        made = {"provenance": provenance(self.device, before=before)}
        content = {"model": portable(self.model.yaml), "names": dict(self.names), "ema": self.model.state_dict()}
        save_checkpoint(user_path(filename), content | made)

    def to(self, device: str | int | torch.device) -> YOLO:
        """Move the model, and let later calls run there unless they name another device."""
        chosen = select_device(device, quiet=True)
        self.model.to(chosen)
        self.overrides["device"] = str(chosen)
        return self

    def _not_offered(self, *_: Any, **__: Any) -> NoReturn:
        """Of the reference; not offered yet.

        Raises:
            UserError: always.
        """
        raise UserError("track, export, tune and benchmark are not offered yet", mend="what is: train, val, predict")

    track = export = tune = benchmark = _not_offered

    def fuse(self) -> YOLO:
        """Fold the batch norms of the model in place, for inference."""
        self.model.fuse()
        return self

    def add_callback(self, event: str, func: Callable[..., object]) -> None:
        """Call `func(trainer)` at an event of training; see `BaseTrainer.add_callback`."""
        self.callbacks.setdefault(event, []).append(func)

    def _config(self, mode: str, given: Mapping[str, Any], source: str = "argument", **defaults: Any) -> Config:
        """Defaults of the mode, then what the weights remember, then what the user gives."""
        cfg = given.get("cfg")
        args = get_cfg(cfg, {k: v for k, v in given.items() if k != "cfg"}, source, mode)
        for key, value in {**self.overrides, **defaults}.items():
            if args.sources.get(key, "default") == "default":
                args.set(key, value, "weights file" if key in self.overrides else f"{mode} default")
        if args.batch < 1:
            raise ConfigError(
                f"batch={args.batch:g} finds a batch to train with", mend=f"give {mode} a number of images"
            )
        for line in without_effect(args, mode):
            LOGGER.warning(line)
        return args

    def train(self, cfg: str | Path | None = None, **kwargs: Any) -> DetMetrics:
        """Train, and go on with the best weights;
        keyword arguments are the keys of `python -m ultralytics train --help`."""
        leave_unguarded()
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
        start = None
        if self._loaded is not None:
            spec, loaded = self.model.yaml, self._loaded
            start = Checkpoint(Path("the loaded weights"), spec, self.names, loaded, share=self._loaded_share)
        elif self.ckpt is not None and not kwargs.get("resume"):
            start = self.ckpt
        names = several_devices(get_cfg(cfg, overrides).device)
        if names:
            return self._train_on(names, cfg, overrides, start)
        try:
            self.trainer = DetectionTrainer(cfg, overrides, weights=start)
        except FinishedRunError as e:
            LOGGER.info("%s", e)
            self._go_on_with(Path(e.folder))
            return DetMetrics(save_dir=Path(e.folder), names=self.names)
        for event, functions in self.callbacks.items():
            for function in functions:
                self.trainer.add_callback(event, function)
        self.metrics = self.trainer.train()
        self.trainer.team.wait()  # until the leader has written what is read now
        self._go_on_with(self.trainer.save_dir)
        assert self.metrics is not None or not self.trainer.args.val
        return (
            self.metrics if self.metrics is not None else DetMetrics(save_dir=self.trainer.save_dir, names=self.names)
        )

    def _train_on(
        self, names: list[str], cfg: str | Path | None, overrides: Mapping[str, Any], start: Checkpoint | None
    ) -> DetMetrics:
        """Train in processes of their own, one per device."""
        if self.callbacks:
            raise ConfigError(
                f"callbacks cannot follow to the processes that device={','.join(names)} starts",
                mend="start your script with torchrun, without device",
            )
        save_dir, self.metrics = train_on_ranks(names, cfg, overrides, start)
        self._go_on_with(save_dir)
        return self.metrics if self.metrics is not None else DetMetrics(save_dir=save_dir, names=self.names)

    def _go_on_with(self, save_dir: Path) -> None:
        """Take a run's weights."""
        found = [p for p in (save_dir / "weights" / n for n in ("best.pt", "last.pt")) if p.exists()]
        if found:
            self.model, self.ckpt = load_trained(found[0])
            self.cfg, self._loaded = None, None
            self.overrides = {k: self.ckpt.train_args[k] for k in ("imgsz", "data", "single_cls")}

    def val(self, **kwargs: Any) -> DetMetrics:
        """Validate on a split of a data set (`data`, `split`);
        returns the metrics and writes them to the run folder. Processes that torchrun has started share the batches."""
        leave_unguarded()
        args = self._config("val", kwargs, kwargs.pop("_source", "argument"))
        team = join()
        device = select_device(team.device_name(args.device))
        team.bind(device)
        if not args.data:
            raise ConfigError("no data set given", mend=data_hint())
        args.font = checked_font(args.font)
        try:
            data = load_dataset(args.data, needs=[args.split])
        except MissingFileError as e:
            if args.sources.get("data") != "weights file":
                raise
            told = "the weights were trained on it; where it has moved, name its new place: data=NEW_PLACE/data.yaml"
            raise MissingFileError(e.what, e.where, told) from None
        check_classes(args.classes, self.model.nc, "the model")
        if args.single_cls:
            data.merge_classes()
        if data.nc > self.model.nc:
            raise ConfigError(
                f"the data set has {counted(data.nc, 'class')} and the model {self.model.nc}", str(args.data)
            )
        self._compare_names(args, data)
        stride = max(int(self.model.stride.max()), 32)
        rect = args.rect_val and (args.rect or args.sources.get("rect", "default") == "default")
        images = data.split(args.split)
        save_dir = team.lead(lambda: new_run_dir(args.project, args.name or "val", args.exist_ok))
        try:
            with team.first():
                dataset = build_yolo_dataset(
                    args, images, args.batch, data, mode="val", rect=rect, stride=stride, cache_dir=save_dir
                )
        except UserError:
            with contextlib.suppress(OSError):  # not empty: an earlier run's, with exist_ok
                save_dir.rmdir()
            raise
        workers, share = team.workers(args.workers), team.share(whole=True)
        loader = build_dataloader(dataset, args.batch, workers, shuffle=False, share=share)
        validator = DetectionValidator(loader, save_dir, args, data, team)
        with contextlib.closing(loader):
            try:
                self.metrics = validator(self.model.to(device), plots=args.plots)
            except UserError:
                with contextlib.suppress(OSError):  # not empty, as above
                    save_dir.rmdir()
                raise
        validator.report()
        LOGGER.info("Results saved to %s", save_dir)
        return self.metrics

    def _compare_names(self, args: Config, data: DatasetSpec) -> None:
        """Say so when the data set's classes are not the model's."""
        for i, name in data.names.items():
            mine = self.names.get(i, str(i))
            if mine not in (name, str(i)) and not args.single_cls:
                told = "WARNING: %s: class %d is %r there and %r in the weights (classes: %d and %d)"
                LOGGER.warning(told, args.data, i, name, mine, len(data.names), len(self.names))
                return

    def predict(self, source: Any = None, stream: bool = False, **kwargs: Any) -> list[Results] | Iterator[Results]:
        """Detect in images or videos; a list of Results, or an iterator with `stream=True`.
        Files are written with `save=True`."""
        origin = kwargs.pop("_source", "argument")
        args = self._config("predict", kwargs, origin, batch=MODE_DEFAULTS["predict"]["batch"], save=False)
        source = args.source if source is None else source
        if source is None:
            raise ConfigError("nothing to predict on", mend="source=an image, a folder, a glob or a video")
        self.predictor = DetectionPredictor(self.model, args)
        results = self.predictor(source)
        return results if stream else list(results)
