"""Training of a detector."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from ultralytics.cfg.class_folders import load_labelled_dataset
from ultralytics.cfg.config import check_classes
from ultralytics.cfg.dataset import DatasetSpec
from ultralytics.cfg.model import ModelSpec, load_model_spec
from ultralytics.cfg.paths import MODEL_HINT, data_hint
from ultralytics.data.build import build_dataloader, build_yolo_dataset
from ultralytics.data.scan import scan
from ultralytics.data.tiles import Tiling, cut_images, settle_tiles
from ultralytics.engine.aliases import Figures
from ultralytics.engine.run.resume import check_names, resume_command
from ultralytics.engine.safety.interrupt import Watched
from ultralytics.engine.setup import load_split
from ultralytics.engine.step.distill import Distillation, gain_of
from ultralytics.engine.step.loss import Criterion
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.engine.validator import BaseValidator
from ultralytics.engine.weights.adapter import fill, read_adapter
from ultralytics.engine.weights.checkpoint import Checkpoint, digest_of, load_checkpoint, portable
from ultralytics.models.yolo.detect.val import DetectionValidator
from ultralytics.models.yolo.weights import load_trained, naming_plugins
from ultralytics.nn.modules.head import raw_maps
from ultralytics.nn.plugins import load_plugins
from ultralytics.nn.tasks import DetectionModel, network_of
from ultralytics.utils.errors import CheckpointError, ConfigError, MissingFileError, UserError
from ultralytics.utils.fonts import checked_font
from ultralytics.utils.log import LOGGER
from ultralytics.utils.plotting import optional, plot_blocks, plot_images, plot_labels, plot_results
from ultralytics.utils.types import Batch

MOSAIC_IMAGES = 4
EXPECTED_TRANSFER = 0.9  # a smaller part of a file's tensors than this is worth a warning


class DetectionTrainer(BaseTrainer):  # size: the methods are the reference's, which scripts override
    """Train YOLOv8, with or without attention, on a YOLO-format dataset:
    `DetectionTrainer(overrides={"model": …, "data": …}).train()`."""

    loss_names: Sequence[str] = ("box_loss", "cls_loss", "dfl_loss")
    task = "detect"
    validate_with: ClassVar[type[BaseValidator]] = DetectionValidator

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loss_names = type(self).loss_names
        self._boxes: int | None = None
        self._origin: Checkpoint | None = None

    def read_inputs(self) -> None:
        """Find the dataset and the font."""
        settle_tiles(self.args)
        if not self.args.data:
            raise ConfigError("no dataset given", hint=data_hint())
        try:
            self.data: DatasetSpec = self.load_data(self.args.data)
            for split in ("train", "val"):
                self.data.split(split)
        except UserError as e:
            raise self._moved(e) from None
        self.trainset, self.testset = self.data.split("train"), self.data.split("val")
        # Remembered in full, so that the run can be resumed and its weights validated from any folder.
        self.args.set("data", str(self.data.yaml_file), self.args.sources.get("data", "argument"))
        if self.args.font is not None:
            self.args.set("font", checked_font(self.args.font), self.args.sources.get("font", "argument"))
        check_classes(self.args.classes, self.data.nc, "the dataset")
        if self.args.single_cls:
            self.data.merge_classes()
        if self.resumed is not None:
            check_names(self.resumed.names, self.data.names, str(self.data.yaml_file), self.resumed.path)

    def load_data(self, data: str) -> DatasetSpec:
        """Read the dataset, which must have the splits train and val."""
        return load_labelled_dataset(data)

    def _moved(self, error: UserError) -> UserError:
        """The error for data that cannot be read; where a resumed run's data have gone, how to name their new place."""
        data = getattr(self, "data", None)
        paths = [] if data is None else [p for entries in data.splits.values() for p in entries]
        gone = isinstance(error, MissingFileError) or any(not os.path.exists(p) for p in paths)
        if self.resumption is None or "data" in self.resumption.changed or not gone:
            return error
        command = resume_command(self.resumption.folder, self.args.plugins)
        hint = f"where the dataset has moved, name its new place: {command} data=NEW_PLACE/data.yaml"
        return type(error)(error.what, error.where, hint)

    # Model

    def setup_model(self) -> None:
        """Build the model for the dataset's classes, with pretrained weights in it."""
        cfg, weights = self.model_source()
        own = type(self).get_model is not DetectionTrainer.get_model
        if own and self.args.model_scale and self.resumed is None:
            cfg = load_model_spec(cfg, self.args.model_scale)  # which one's own get_model knows nothing of
        self.model = self.get_model(cfg, weights, self.args.verbose)

    def model_source(self) -> tuple[Any, Checkpoint | None]:
        """Return what the model is built from, and the weights it starts with; a resumed run's come with its state."""
        args = self.args
        if self.resumed is not None:
            return self.resumed.spec, None
        source = self.checkpoint
        if source is None and str(args.model or "").endswith(".pt"):
            source = load_checkpoint(str(args.model))
        if source is None and not args.model:
            raise ConfigError("no model given", hint=MODEL_HINT)
        cfg = source.spec if source is not None else args.model
        self._origin = source
        if isinstance(args.pretrained, str):
            source = load_checkpoint(args.pretrained)
        return cfg, source if args.pretrained else None

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool | None = None) -> DetectionModel:
        """Build the model for the dataset's classes and transfer pretrained weights.

        Args:
            cfg: a model YAML or its content, the run's own when None; weights: a Checkpoint, or a model.
            verbose: print the rows while building.
        """
        args = self.args
        if cfg is None:
            cfg, weights = self.model_source()
        origin = self.resumed or self._origin
        with contextlib.nullcontext() if origin is None else naming_plugins(origin):
            scale = None if self.resumed is not None or isinstance(cfg, ModelSpec) else args.model_scale
            loud = args.verbose if verbose is None else verbose
            model = self.build(cfg, self.data.nc, loud, scale)
        if self.resumed is not None:
            return model
        if origin is None and model.spec.written_nc not in (None, model.nc) and self.team.leads:
            LOGGER.info("nc: %d → %d, by the data", model.spec.written_nc, model.nc)
        # Those that the model's YAML names too: a checkpoint does not bring them, so the command to go on must.
        args.plugins = list(dict.fromkeys([*(args.plugins or []), *load_plugins(model.yaml.get("plugins"))])) or None
        model.names = dict(self.data.names)
        if isinstance(weights, Checkpoint):
            self._transfer(model, weights)
        elif weights is not None:
            for line in model.load(weights).lines():
                LOGGER.info(line)
        elif args.min_transfer:
            raise ConfigError(
                f"min_transfer={args.min_transfer:g}, but there are no weights to start from",
                hint="pretrained=WEIGHTS.pt",
            )
        if args.adapter:
            filled, lines = fill(model, read_adapter(args.adapter), self.inserted, args.adapter)
            self.new_tensors = [name for name in self.new_tensors if name not in filled]
            self.files["adapter"] = {"file": Path(args.adapter).name, "digest": digest_of(args.adapter)}
            for line in lines:
                LOGGER.info(line)
        return model

    def build(self, cfg: Any, nc: int, verbose: bool, scale: str | None) -> DetectionModel:
        """Build the network of a YAML or its content, for `nc` classes and what else the dataset says.

        Raises:
            ConfigError: it is a network of another task.
        """
        spec = load_model_spec(cfg, scale)
        kind = network_of(spec)
        if kind.task != self.args.task:
            text = f"task={self.args.task} contradicts the model, which is for task={kind.task}"
            raise ConfigError(text, spec.yaml_file or str(self.args.model), f"task={kind.task}")
        return kind(spec, nc=nc, verbose=verbose, **self.shape_of_labels())

    def shape_of_labels(self) -> dict[str, Any]:
        """Return what the dataset says of the network besides its classes, as arguments of its class."""
        return {}

    def set_model_attributes(self) -> None:
        """Tell the model its classes and the run's settings, by which its loss is weighed."""
        self.model.names = dict(self.data.names)
        self.model.args = self.args

    def _transfer(self, model: DetectionModel, source: Checkpoint) -> None:
        """Let the pretrained weights follow their layers; too little is an error or, unless asked for, a warning.

        Raises:
            CheckpointError: less than `min_transfer` of what could go over found its place.
        """
        LOGGER.info("Pretrained weights: %s", source.path)
        report = model.load(source.weights, source.spec, source.names, by_name=self.args.transfer == "name")
        for line in report.lines():
            LOGGER.info(line)
        parameters = {name for name, _ in model.named_parameters()}
        if report.loaded:
            self.inserted = [name for name in report.new if name in parameters]
            self.new_tensors = self.inserted
            self.untransferred = [name for name in model.state_dict() if name in parameters - set(report.loaded)]
        share = report.share * source.share
        text = f"{share:.0%} of the pretrained tensors found their place"
        if share < self.args.min_transfer:
            raise CheckpointError(
                f"{text}, less than min_transfer={self.args.min_transfer:g}",
                str(source.path),
                "the report above names the rows; take weights of this network, or a lower min_transfer",
            )
        if share < EXPECTED_TRANSFER:
            LOGGER.warning("%s: only %s; min_transfer=0.9 would stop here", source.path, text)

    def get_criterion(self) -> Criterion:
        """Return the model's criterion: the detection loss with the run's gains, unless the model overrides it."""
        criterion: Any = getattr(self.model, "criterion", None) or self.model.init_criterion()
        if hasattr(criterion, "reduce"):
            criterion.reduce = self.reduce
        elif self.team.many:
            LOGGER.warning("the model's own loss is normalised by each process for itself: it has no `reduce`")
        return cast(Criterion, criterion)

    def get_distillation(self) -> Distillation:
        """Return the network of `teacher=`, compared at the maps that enter the head, or by its class logits.

        Raises:
            ConfigError: its head reads other strides, or its classes are others where logits are compared.
        """
        args = self.args
        teacher, checkpoint = load_trained(str(args.teacher), self.device)
        path = str(checkpoint.path)
        strides = [[float(s) for s in net.stride] for net in (self.model, teacher)]
        if strides[0] != strides[1]:
            text = " and ".join(", ".join(f"{s:g}" for s in found) for found in strides)
            raise ConfigError(f"the teacher reads other strides: {text}", path, "a teacher of the same strides")
        if args.distill == "logits" and checkpoint.names != dict(self.data.names):
            raise ConfigError(
                f"distill=logits needs a teacher of the dataset's classes, and its {teacher.nc} are others",
                path,
                "distill=feature or distill=cwd, which compare maps, or a teacher trained on these classes",
            )

        def head(net: Any) -> Any:
            return net.model[-1]

        def logits(net: Any, outputs: Any) -> list[Tensor]:
            return [m[:, -head(net).nc :] for m in raw_maps(outputs)[0]]

        self.files["teacher"] = {"file": checkpoint.path.name, "digest": digest_of(checkpoint.path)}
        args.set("teacher", str(checkpoint.path.absolute()), args.sources.get("teacher", "argument"))
        gain = gain_of(args.distill, args.distill_gain)
        LOGGER.info("Teacher: %s, %s classes, distill=%s, gain %g", path, teacher.nc, args.distill, gain)
        channels = list(zip(head(self.model).channels_read, head(teacher).channels_read, strict=True))
        made = Distillation(teacher, head, logits, channels, args.distill, gain, self.reduce)
        made.projectors.to(self.device)
        return made

    def loss_is_the_models(self) -> bool:
        """Return True if the model has a `loss` of its own."""
        return getattr(type(self.model), "loss", DetectionModel.loss) is not DetectionModel.loss

    def describe_model(self) -> dict[str, Any]:
        """Spec and names."""
        return {"model": portable(self.model.yaml), "names": dict(self.data.names)}

    def describe_data(self) -> dict[str, Any]:
        """Return number and digest of each split's images."""
        loaders = {"train": self.train_loader, "val": self.val_loader}
        sets = {split: loader.dataset.labels for split, loader in loaders.items() if loader is not None}
        found: dict[str, Any] = {
            split: {"images": len(labels), "digest": labels.digest} for split, labels in sets.items()
        }
        tiles = getattr(self.train_loader.dataset, "tiles", None)
        if tiles is not None:
            found["train"] |= {"images": len(tiles.images), "samples": len(tiles.labels)}
        return found

    def trial_labels(self, images: int) -> dict[str, Tensor]:
        """Every image a mosaic of four with the most boxes that an image of the dataset has."""
        per_image = MOSAIC_IMAGES * max(self._most_boxes(), 1)
        n = images * per_image
        return {
            "batch_idx": torch.arange(images).repeat_interleave(per_image).float(),
            "cls": torch.zeros(n),
            "bboxes": torch.tensor([0.5, 0.5, 0.2, 0.2]).repeat(n, 1),
        }

    def _most_boxes(self) -> int:
        if self._boxes is None:
            args = self.args
            kind, (_, numbers) = self.validate_with.annotations, self.data.kpt_shape or (0, 3)
            form: dict[str, Any] = {"keypoints": self.data.keypoints, "annotations": kind, "numbers": numbers}
            labels = scan(self.data.split("train"), self.data.label_nc, args.fraction, **form)
            how = Tiling.of(args)
            labels = labels if how is None else cut_images(labels, how).labels
            self._boxes = max((len(labels.boxes(i)[0]) for i in range(len(labels))), default=0)
        return self._boxes

    # Data

    def build_dataset(self, img_path: Any, mode: str = "train", batch: int | None = None) -> Any:
        """Return a split's dataset: rectangles at validation unless `rect_val=False`, in training with `rect`. With
        `tiles` samples of training are tiles, and those of validation whole images, which the validator cuts."""
        args = self.args
        native = args.tiles is not None and mode != "train"
        return build_yolo_dataset(
            args,
            img_path,
            int(batch or args.batch),
            self.data,
            mode=mode,
            rect=args.rect if mode == "train" else args.rect_val and not native,
            stride=self.stride,
            cache_dir=self.save_dir,
            native=native,
            annotations=self.validate_with.annotations,
        )

    def get_dataloader(self, dataset_path: Any, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        """Return batches of a split's paths."""
        args = self.args
        training = mode == "train"
        with self.team.first():  # checks the images, and keeps what it found for the others
            dataset = self.build_dataset(dataset_path, mode, batch_size)
        if getattr(dataset, "native", False):
            batch_size = 1  # of any sizes; `batch` is of tiles
        share = self.team.share(whole=not training)
        workers = self.team.workers(args.workers)
        loader = build_dataloader(dataset, batch_size, workers, shuffle=training, seed=args.seed, share=share)
        loader.attend = self.attend
        return loader

    # Validation

    def get_validator(self) -> BaseValidator:
        """Return what validates the run."""
        self.loss_names = type(self).loss_names
        return self.validate_with(self.val_loader, save_dir=self.save_dir, args=self.args, _callbacks=self.callbacks)

    def _validator(self) -> BaseValidator:
        """The validator, made ready for this run."""
        if self.val_loader is None:
            self.val_loader = load_split(self, "val", self.team)
        validator: BaseValidator = self.validator
        validator.team, validator.data, validator.names = self.team, self.data, dict(self.data.names)
        validator.callbacks, validator.stride = self.callbacks, self.stride
        # Ranks validate different numbers of batches: they look for signals together, after the last.
        validator.dataloader = self.val_loader if self.team.many else Watched(self.val_loader, self.interrupts)
        return validator

    def validate(self) -> tuple[dict[str, float], float]:
        """Validate the averaged model."""
        validator = self._validator()
        assert self.meter is not None
        with self.meter.watching():
            figures = dict(validator(self))
        fitness = float(figures.pop("fitness"))
        metrics = validator.metrics
        self.metrics = Figures(figures, metrics)
        LOGGER.info("%s", validator.summary_row())
        return figures, fitness

    def final_eval(self) -> None:
        """Validate best.pt with all plots, and report."""
        validator = self._validator()
        best = self.team.lead(lambda: load_checkpoint(self.best))
        LOGGER.info("Validating %s", best.path)
        model: Any = copy.deepcopy(self.ema.ema)
        model.load_state_dict(best.weights)
        validator.training = False
        metrics = validator.evaluate(model, plots=self.args.plots, autocast=self.validation_dtype)
        self.metrics = Figures({k: float(v) for k, v in metrics.results_dict.items() if k != "fitness"}, metrics)
        validator.report()

    @property
    def validation_dtype(self) -> torch.dtype | None:
        """Precision of a validation's forward pass; None for the weights' own."""
        return self.amp_dtype if self.device.type == "cuda" else None

    def validation_criterion(self) -> Criterion:
        """Return the criterion for whole batches, which are validated by one rank each: their loss is nobody else's."""
        criterion: Any = copy.copy(self.criterion)
        if hasattr(criterion, "reduce"):
            criterion.reduce = torch.Tensor.clone
        return cast(Criterion, criterion)

    # Plots

    def draw_batch(self, batch: Batch, path: Path) -> None:
        """Draw the images with their boxes."""
        with optional(path):
            plot_images(batch, path, self.data.names, font=self.args.font)

    def plot_training_labels(self) -> None:
        """Draw labels.jpg."""
        with optional(self.save_dir / "labels.jpg"):
            labels = self.train_loader.dataset.labels
            plot_labels(labels.bboxes, labels.cls, self.data.names, self.save_dir, self.args.font)

    def plot_metrics(self) -> None:
        """Draw results.png and .pdf."""
        if self.args.plots and self.team.leads:
            with optional(self.save_dir / "results.png"):
                plot_results(self.save_dir / "results.csv", self.save_dir, self.args.font)
            if self.meter is not None and self.meter.blocks:
                with optional(self.save_dir / "attention.png"):
                    plot_blocks(self.save_dir / "results.csv", self.meter.blocks, self.save_dir)
