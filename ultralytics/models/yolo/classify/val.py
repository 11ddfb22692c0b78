"""Validation of a classifier: its steps in the loop of `engine.validator`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ultralytics.cfg.class_folders import load_class_dataset
from ultralytics.cfg.config import Config
from ultralytics.cfg.dataset import DatasetSpec
from ultralytics.data.build import build_dataloader
from ultralytics.data.class_augment import settle_size
from ultralytics.data.class_dataset import ClassificationDataset
from ultralytics.engine.outputs import LABELS, label_stems
from ultralytics.engine.results import class_rows, write_rows
from ultralytics.engine.validator import BaseValidator, Evaluator
from ultralytics.models.yolo.classify.evaluate import ClassEvaluator, Classified, width_of
from ultralytics.models.yolo.weights import network
from ultralytics.nn.backend import Backend, TorchBackend
from ultralytics.nn.several import Several
from ultralytics.utils.classification import ClassifyMetrics
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.ops import make_divisible
from ultralytics.utils.plotting import optional, plot_images
from ultralytics.utils.stopwatch import speed_line
from ultralytics.utils.types import Batch

STEP = 32  # pixels; sides are multiples of it
# keys of detection that would change what is classified
FOREIGN = ("single_cls", "classes", "tiles", "augment")


def settle_keys(args: Config) -> None:
    """Give a run of a classifier its image size where none is given, and refuse what it cannot do.

    Raises:
        ConfigError: naming a key of detection.
    """
    settle_size(args)
    for key in FOREIGN:
        if getattr(args, key) not in (None, False):
            raise ConfigError(
                f"{key}={getattr(args, key)} is for boxes, and a classifier has none", hint="leave it out"
            )


class ClassificationValidator(BaseValidator):
    """Run a classifier over a loader: `ClassificationValidator(args={"model": …, "data": …})()`.

    Args: as `BaseValidator`. Of `args` imgsz (224 when unset), crop_fraction, plots, font, save_txt, half, verbose.
    """

    metrics: ClassifyMetrics
    load_network = staticmethod(network)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settle_keys(self.args)
        self.metrics = ClassifyMetrics(self.names)
        self._known: dict[int, str] = {}  # classes of the model
        self._stems: dict[str, str] = {}  # image file → stem of its label file

    # Data

    def load_data(self, data: str, split: str) -> DatasetSpec:
        """Read a dataset. Where the model knows all of its classes by their names, ids are the model's."""
        spec = load_class_dataset(data, [split])
        if set(spec.names.values()) <= set(self._known.values()):
            spec.names, spec.nc = dict(self._known), len(self._known)
        return spec

    def _read_data(self, net: Any) -> DatasetSpec:
        self._known = dict(net.names)
        return super()._read_data(net)

    def build_dataset(self, img_path: Any, mode: str = "val", batch: int | None = None) -> ClassificationDataset:
        """Return the dataset of a split's paths."""
        side = make_divisible(self.args.imgsz, STEP)
        return ClassificationDataset(
            img_path, self.args, False, mode, self.names, self.save_dir, self.frame or (side, side)
        )

    def get_dataloader(self, dataset_path: Any, batch_size: int) -> Any:
        """Return the batches of a split's paths."""
        team = self.team
        with team.first():
            dataset: Any = self.build_dataset(dataset_path)
        workers, share = team.workers(self.args.workers), team.share(whole=True)
        return build_dataloader(dataset, batch_size, workers, shuffle=False, share=share)

    # The steps of the loop

    def prepared(self, net: Backend) -> Backend:
        """Return a network that gives its logits too while a run trains: the loss is theirs."""
        if self.training and isinstance(net, TorchBackend):
            net.model.head.raw_too = True
        return net

    def get_evaluators(self, model: Backend, plots: bool, final: bool) -> list[Evaluator[Any, Any]]:
        """Return what measures the classes."""
        if self.args.save_txt and final:
            self._stems = label_stems(self.save_dir, self.dataloader.dataset.labels.im_files)
        return [ClassEvaluator(self.names or model.names, model.nc)]

    def get_desc(self) -> str:
        """Return the head of the table."""
        return ("%22s" + "%11s" * 3) % ("Class", "Images", "top1_acc", "top5_acc")

    def postprocess(self, preds: Any) -> list[Tensor]:
        """Return the probabilities (nc,) of each image; of several networks their mean."""
        return list(probabilities(preds).unbind(0))

    def compare(self, preds: list[Tensor], batch: Batch) -> list[Classified]:
        """Put each image's likeliest classes beside its own; with `save_txt`, write them."""
        scores, likeliest = torch.stack(preds).float().cpu().sort(dim=1, descending=True, stable=True)
        width = width_of(scores.shape[1])
        rows = zip(
            batch["im_file"],
            likeliest[:, :width].numpy(),
            scores[:, :width].numpy(),
            batch["cls"].tolist(),
            strict=True,
        )
        found = [Classified(file, np.array(ids), np.array(values), int(true)) for file, ids, values, true in rows]
        if self._stems:
            for each in found:
                self._save_txt(each)
        return found

    def _save_txt(self, image: Classified) -> None:
        names = self.metrics.names or self.names
        found = [names.get(int(c), str(c)) for c in image.likeliest]
        text = class_rows(zip(found, image.scores.tolist(), strict=True))
        write_rows(self.save_dir / LABELS / f"{self._stems[image.file]}.txt", text)

    # The report

    def summary_row(self) -> str:
        """Return the row of the table that is of all classes."""
        m = self.metrics
        return ("%22s" + "%11i" + "%11.3g" * 2) % ("all", m.images, m.top1, m.top5)

    def print_results(self) -> None:
        """Print the table: all classes, then each class when there are several and `verbose`."""
        m = self.metrics
        LOGGER.info(self.get_desc())
        LOGGER.info(self.summary_row())
        if self.args.verbose and len(m.names) > 1:
            for i in np.flatnonzero(m.nt_per_class):
                name = m.names.get(int(i), str(i))
                LOGGER.info("%s", ("%22s" + "%11i" + "%11.3g") % (name[:22], m.nt_per_class[i], m.per_class[i]))
        LOGGER.info("%s", speed_line(m.speed))

    def draw_results(self) -> None:
        """Draw confusion matrices."""
        confusion = self.metrics.confusion_matrix
        if confusion is None or not self.args.plots:
            return
        for normalize in (True, False):
            confusion.plot(normalize, self.save_dir, tuple(self.metrics.names.values()), font=self.args.font)

    def draw_batch(self, number: int, batch: Batch, preds: list[Tensor]) -> None:
        """Draw a batch's first images with their classes, and with what was found."""
        names = self.metrics.names
        draw_classes(batch, self.save_dir / f"val_batch{number}_labels.jpg", names, self.args.font)
        found = [f"{names.get(int(p.argmax()), '')} {float(p.max()):.2f}" for p in preds]
        draw_classes(batch, self.save_dir / f"val_batch{number}_pred.jpg", names, self.args.font, found)


def probabilities(outputs: Any) -> Tensor:
    """Return the probabilities (B, nc) in a network's output in evaluation; of several networks the mean."""
    if isinstance(outputs, Several):
        return torch.stack([probabilities(each) for each in outputs.outputs]).mean(0)
    found: Tensor = outputs[0] if isinstance(outputs, list | tuple) else outputs
    return found


def draw_classes(
    batch: Batch, path: Path, names: dict[int, str], font: str | None = None, captions: list[str] | None = None
) -> None:
    """Draw the images of a batch, a caption below each: its class where none are given."""
    with optional(path):
        if captions is None:
            captions = [names.get(int(c), str(int(c))) for c in batch["cls"]]
        none: Any = {"batch_idx": torch.zeros(0), "cls": torch.zeros(0), "bboxes": torch.zeros(0, 4)}
        shown: Any = {"img": batch["img"], "im_file": batch["im_file"], **none}
        plot_images(shown, path, names, captions=captions, font=font)
