"""Training of a detector."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ultralytics.cfg.config import check_classes
from ultralytics.cfg.dataset import DatasetSpec, load_dataset
from ultralytics.cfg.paths import MODEL_HINT, data_hint
from ultralytics.data.build import build_dataloader, build_yolo_dataset
from ultralytics.data.labels import scan
from ultralytics.engine.checkpoint import Checkpoint, load_checkpoint, portable
from ultralytics.engine.interrupt import Watched
from ultralytics.engine.resume import check_names, resume_command
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.yolo.detect.val import DetectionValidator
from ultralytics.nn.plugins import load_plugins
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import CheckpointError, ConfigError, MissingFileError, ModelError, UserError
from ultralytics.utils.fonts import checked_font
from ultralytics.utils.log import LOGGER
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.plotting import optional, plot_blocks, plot_images, plot_labels, plot_results

MOSAIC_IMAGES = 4
EXPECTED_TRANSFER = 0.9  # a smaller part of a file's tensors than this is worth a warning


class DetectionTrainer(BaseTrainer):
    """Train YOLOv8, with or without attention, on a YOLO-format data set:
    `DetectionTrainer(overrides={"model": …, "data": …}).train()`."""

    loss_names = ("box_loss", "cls_loss", "dfl_loss")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loss_names = type(self).loss_names
        self.validator: DetectionValidator | None = None
        self._boxes: int | None = None

    def read_inputs(self) -> None:
        """Find the data set and the font."""
        if not self.args.data:
            raise ConfigError("no data set given", mend=data_hint())
        try:
            self.data: DatasetSpec = load_dataset(self.args.data)
            for split in ("train", "val"):
                self.data.split(split)
        except UserError as e:
            raise self._moved(e) from None
        # Remembered in full, so that the run can be resumed and its weights validated from any folder.
        self.args.set("data", str(self.data.yaml_file), self.args.sources.get("data", "argument"))
        if self.args.font is not None:
            self.args.set("font", checked_font(self.args.font), self.args.sources.get("font", "argument"))
        check_classes(self.args.classes, self.data.nc, "the data set")
        if self.args.single_cls:
            self.data.merge_classes()
        if self.resumed is not None:
            check_names(self.resumed.names, self.data.names, str(self.data.yaml_file), self.resumed.path)

    def _moved(self, error: UserError) -> UserError:
        """The error for data that cannot be read; where a resumed run's data have gone, how to name their new place."""
        data = getattr(self, "data", None)
        paths = [] if data is None else [p for entries in data.splits.values() for p in entries]
        gone = isinstance(error, MissingFileError) or any(not os.path.exists(p) for p in paths)
        if self.resumption is None or "data" in self.resumption.changed or not gone:
            return error
        command = resume_command(self.resumption.folder, self.args.plugins)
        mend = f"where the data set has moved, name its new place: {command} data=NEW_PLACE/data.yaml"
        return type(error)(error.what, error.where, mend)

    # Model

    def get_model(self) -> DetectionModel:
        """Build the model for the data set's classes and transfer pretrained weights."""
        args = self.args
        if self.resumed is not None:
            return model_of(self.resumed, nc=self.data.nc)
        source = self.checkpoint
        if source is None and str(args.model or "").endswith(".pt"):
            source = load_checkpoint(str(args.model))
        if source is not None:
            model = model_of(source, nc=self.data.nc, verbose=args.verbose, scale=args.model_scale)
        else:
            if not args.model:
                raise ConfigError("no model given", mend=MODEL_HINT)
            model = DetectionModel(args.model, nc=self.data.nc, verbose=args.verbose, scale=args.model_scale)
            if model.spec.written_nc not in (None, model.nc) and self.team.leads:
                LOGGER.info("nc: %d → %d, by the data", model.spec.written_nc, model.nc)
        # Those that the model's YAML names too: a checkpoint does not bring them, so the command to go on must.
        args.plugins = list(dict.fromkeys([*(args.plugins or []), *load_plugins(model.yaml.get("plugins"))])) or None
        if isinstance(args.pretrained, str):
            source = load_checkpoint(args.pretrained)
        elif not args.pretrained:
            source = None
        model.names = dict(self.data.names)
        if source is not None:
            self._transfer(model, source)
        elif args.min_transfer:
            raise ConfigError(
                f"min_transfer={args.min_transfer:g}, but there are no weights to start from",
                mend="pretrained=WEIGHTS.pt",
            )
        return model

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
        self.new_tensors = [name for name in report.new if name in parameters] if report.loaded else []
        share = report.share * source.share
        told = f"{share:.0%} of the pretrained tensors found their place"
        if share < self.args.min_transfer:
            raise CheckpointError(
                f"{told}, less than min_transfer={self.args.min_transfer:g}",
                str(source.path),
                "the report above names the rows; take weights of this network, or a lower min_transfer",
            )
        if share < EXPECTED_TRANSFER:
            LOGGER.warning("%s: only %s; min_transfer=0.9 would stop here", source.path, told)

    def get_criterion(self) -> Callable[[Any, Mapping[str, Any]], tuple[Tensor, Tensor]]:
        """The detection loss with the run's gains."""
        args, head = self.args, self.model.head
        return v8DetectionLoss(head.nc, head.stride, head.reg_max, args.box, args.cls, args.dfl, reduce=self.reduce)

    def describe_model(self) -> dict[str, Any]:
        """Spec and names."""
        return {"model": portable(self.model.yaml), "names": dict(self.data.names)}

    def describe_data(self) -> dict[str, Any]:
        """Number and digest of each split's images."""
        loaders = {"train": self.train_loader, "val": self.val_loader}
        sets = {split: loader.dataset.labels for split, loader in loaders.items() if loader is not None}
        return {split: {"images": len(labels), "digest": labels.digest} for split, labels in sets.items()}

    def trial_labels(self, images: int) -> dict[str, Tensor]:
        """Every image a mosaic of four with the most boxes that an image of the data set has."""
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
            labels = scan(self.data.split("train"), self.data.label_nc, args.fraction, keypoints=self.data.keypoints)
            self._boxes = max((len(labels.boxes(i)[0]) for i in range(len(labels))), default=0)
        return self._boxes

    # Data

    def get_dataloader(self, split: str, batch: int) -> Any:
        """Batches of a split: rectangular at validation unless `rect_val=False`, in training with `rect`."""
        args = self.args
        training = split == "train"
        with self.team.first():  # checks the pictures, and keeps what it found for the others
            dataset = build_yolo_dataset(
                args,
                self.data.split(split),
                batch,
                self.data,
                mode=split,
                rect=args.rect if training else args.rect_val,
                stride=self.stride,
                cache_dir=self.save_dir,
            )
        if training and args.plots and self.team.leads:
            with optional(self.save_dir / "labels.jpg"):
                labels = dataset.labels
                plot_labels(labels.bboxes, labels.cls, self.data.names, self.save_dir, args.font)
        share = self.team.share(whole=not training)
        workers = self.team.workers(args.workers)
        loader = build_dataloader(dataset, batch, workers, shuffle=training, seed=args.seed, share=share)
        loader.attend = self.attend
        return loader

    # Validation

    def validate(self, final: bool = False) -> tuple[dict[str, float], float]:
        """Validate the averaged model, or at the end best.pt with all plots."""
        if self.val_loader is None:
            self.val_loader = self.get_dataloader("val", self.args.batch * 2)
        if self.validator is None:
            # Ranks validate different numbers of batches: they look for signals together, after the last.
            loader = self.val_loader if self.team.many else Watched(self.val_loader, self.interrupts)
            self.validator = DetectionValidator(loader, self.save_dir, self.args, self.data, self.team)
        model: Any = self.ema.ema
        if final:
            best = self.team.lead(lambda: load_checkpoint(self.best))
            LOGGER.info("Validating %s", best.path)
            model = model_of(best)
            model.load_state_dict(best.weights)
            model = model.to(self.device)
        amp = self.amp_dtype if self.device.type == "cuda" else None
        # Whole batches are validated by one rank each, so their loss is nobody else's.
        args, head = self.args, self.model.head
        criterion = v8DetectionLoss(head.nc, head.stride, head.reg_max, args.box, args.cls, args.dfl)
        with contextlib.nullcontext() if final else self.meter.watching():
            metrics = self.validator(model, None if final else criterion, plots=final and args.plots, autocast=amp)
        self.metrics = metrics
        if final:
            self.validator.report()
        else:
            m = metrics.mean_results()
            LOGGER.info(
                ("%22s" + "%11i" * 2 + "%11.3g" * 4) % ("all", metrics.images, int(metrics.nt_per_class.sum()), *m)
            )
        figures = {k: float(v) for k, v in metrics.results_dict.items() if k != "fitness"}
        if self.validator.loss is not None:
            figures |= {f"val/{n}": v for n, v in zip(self.loss_names, self.validator.loss.tolist(), strict=True)}
        return figures, float(metrics.fitness)

    # Pictures

    def draw_batch(self, batch: Mapping[str, Any], path: Path) -> None:
        """The images with their boxes."""
        with optional(path):
            plot_images(batch, path, self.data.names, font=self.args.font)

    def plot_run(self) -> None:
        """results.png and .pdf."""
        if self.args.plots and self.team.leads:
            with optional(self.save_dir / "results.png"):
                plot_results(self.save_dir / "results.csv", self.save_dir, self.args.font)
            if self.meter.blocks:
                with optional(self.save_dir / "attention.png"):
                    plot_blocks(self.save_dir / "results.csv", self.meter.blocks, self.save_dir)


def model_of(
    checkpoint: Checkpoint, nc: int | None = None, verbose: bool = False, scale: str | None = None
) -> DetectionModel:
    """The network of a weights file, without its weights.

    Raises:
        ModelError: it cannot be built; where the file was trained with plugins that are not loaded, they are named.
    """
    try:
        return DetectionModel(checkpoint.spec, nc=nc, verbose=verbose, scale=scale)
    except ModelError as e:
        if checkpoint.plugins and "unknown module" in e.what:
            files = ",".join(dict.fromkeys(checkpoint.plugins))
            told = f"it was trained with plugins; if you trust them: plugins=[{files}]"
            raise ModelError(e.what, str(checkpoint.path), told) from None
        raise


def load_trained(path: str | Path, device: torch.device | None = None) -> tuple[DetectionModel, Checkpoint]:
    """The model of a weights file, ready to evaluate, and the file's content.

    Raises:
        CheckpointError: a file of this project that does not fill its network; one of the reference's only gets a
            warning.
    """
    checkpoint = load_checkpoint(path)
    model = model_of(checkpoint)
    report = model.load(checkpoint.weights, checkpoint.spec)
    strangers = len(report.mismatched) + len(report.new) + len(report.unused) + len(report.other_classes)
    if strangers and checkpoint.source == "own":
        raise CheckpointError(
            f"its tensors are not those of its network: {len(report.loaded)} of {len(model.state_dict())} fit",
            str(path),
            "it was saved fused or by other code; use an earlier copy",
        )
    if report.mismatched or report.new:
        for line in report.lines():
            LOGGER.warning(line)
    model.names = checkpoint.names or model.names
    return model.to(device) if device is not None else model, checkpoint
