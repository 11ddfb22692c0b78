"""What a task supplies to the training loop, and what scripts override."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name
from torch import Tensor, nn

from ultralytics.cfg.config import Config
from ultralytics.data.device_drawing import draw
from ultralytics.engine.aliases import TrainerAliases
from ultralytics.engine.preflight.probes import rescaled
from ultralytics.engine.step.distill import Distillation
from ultralytics.engine.step.loss import Criterion
from ultralytics.engine.step.optim import choose_optimizer
from ultralytics.engine.step.rates import Group, build_groups, describe, settle_rates
from ultralytics.engine.weights.checkpoint import Checkpoint
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.tensors import count_most, layout
from ultralytics.utils.types import Batch


class Hooks(TrainerAliases, ABC):  # size: the methods are what the reference's scripts override, one by one
    """The interface between the training loop and a task.

    Attributes:
        checkpoint: weights to start from that were read before; stride: the largest of the model's, in pixels.
        trainset, testset: paths of the splits; train_loader, val_loader: their batches.
        validator: of `get_validator`; loss_names: of the loss parts.
        groups: what each parameter group is to the run; frozen: modules that are not trained.
    """

    loss_names: Sequence[str] = ()
    auto_classes: int | None = None  # by which optimizer=auto chooses its rate; None: the model's
    task = ""  # a key of the table of tasks; "": that of the configuration

    def __init__(self) -> None:
        self.checkpoint: Checkpoint | None = None
        self.stride = 32
        self.trainset: Any = None
        self.testset: Any = None
        self.train_loader: Any = None
        self.val_loader: Any = None
        self.validator: Any = None
        self.groups: list[Group] = []
        self.frozen: list[nn.Module] = []
        self.files: dict[str, Any] = {}  # what the run's record says of weights that it reads besides its own

    def read_inputs(self) -> None:  # a task may need nothing
        """Read and check what the run is about, before its folder is made."""

    @abstractmethod
    def setup_model(self) -> None:
        """Make `model`, the model to train: with `stride`, on the CPU, pretrained weights in it."""

    def set_model_attributes(self) -> None:  # a task may need nothing
        """Set on the model what it is trained for."""

    @abstractmethod
    def get_dataloader(self, dataset_path: Any, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        """Return a loader with `set_epoch`, `batch_at`, `close`, `len`, `dataset` and `own`: the images of a batch
        that are this rank's. While it waits for a batch it should call `attend` now and then."""

    @abstractmethod
    def get_validator(self) -> Any:
        """Return what `validate` uses."""

    @abstractmethod
    def get_criterion(self) -> Criterion:
        """Return the function of outputs and batch: the loss to differentiate and its named parts."""

    def get_distillation(self) -> Distillation:
        """Return what `teacher=` adds to the loss.

        Raises:
            ConfigError: the task has none, or the teacher does not fit.
        """
        raise ConfigError("this trainer has no distillation", hint="leave out teacher=")

    def loss_is_the_models(self) -> bool:
        """Return True if the model has a way of its own from a batch to its loss."""
        return False

    @abstractmethod
    def validate(self) -> tuple[dict[str, float], float]:
        """Validate the averaged model; return its figures by results.csv column, and the fitness."""

    @abstractmethod
    def final_eval(self) -> None:
        """Validate best.pt, and report."""

    @abstractmethod
    def describe_model(self) -> dict[str, Any]:
        """Return the entries of a checkpoint that rebuild the model: `model` (spec) and `names`."""

    def describe_data(self) -> dict[str, Any]:
        """Return what the record of the run says of its data, plain."""
        return {}

    def trial_labels(self, images: int) -> dict[str, Tensor]:
        """Return labels of the fullest batch of so many images that the dataset could give."""
        return {}

    def draw_batch(self, batch: Batch, path: Path) -> None:  # a task may draw nothing
        """Draw a training batch into a file."""

    def plot_training_samples(self, batch: Batch, ni: int) -> None:
        """Draw batch `ni` of the run."""
        self.draw_batch(batch, self.save_dir / f"train_batch{ni}.jpg")

    def plot_training_labels(self) -> None:  # a task may draw nothing
        """Draw the training labels."""

    def plot_metrics(self) -> None:  # a task may draw nothing
        """Draw the run's curves."""

    def build_optimizer(
        self,
        model: nn.Module,
        name: str = "auto",
        lr: float = 0.001,
        momentum: float = 0.9,
        decay: float = 1e-5,
        iterations: float = 1e5,
    ) -> torch.optim.Optimizer:
        """Make the optimizer; `auto` chooses it by the number of steps, and its settings become the run's."""
        args = self.args
        classes: Any = self.auto_classes or model.nc
        choice = choose_optimizer(name, lr, momentum, classes, int(iterations))
        if name == "auto":
            for key, value in (("lr0", choice.lr), ("momentum", choice.momentum), ("warmup_bias_lr", 0.0)):
                if args.sources.get(key) not in (None, "default") and getattr(args, key) != value:
                    LOGGER.warning("%s=%s is not used: optimizer=auto sets it to %s", key, getattr(args, key), value)
                args.set(key, value, "auto")
        settle_rates(args, choice.name, self.new_tensors)
        optimizer, self.groups = build_groups(model, choice, decay, args, self.new_tensors)
        count = {kind: sum(len(g.names) for g in self.groups if g.kind == kind) for kind in ("bias", "weight", "other")}
        LOGGER.info(
            "optimizer: %s(lr=%g, momentum=%g), parameters: %d weight(decay=%g), %d bias and %d others (decay=0)",
            choice.name,
            choice.lr,
            choice.momentum,
            count["weight"],
            decay,
            count["bias"],
            count["other"],
        )
        for line in describe(self.groups):
            LOGGER.info("  %s", line)
        return optimizer

    @abstractmethod
    def _setup_scheduler(self) -> None:
        """Make the schedule; an override may set `lf`."""

    def preprocess_batch(self, batch: Batch) -> Batch:
        """Move a batch to the device, in place: images 0..1, laid out as the network, resized with `multi_scale`, and
        drawn there with `augment_on=gpu`.

        They are fp32 for whoever overrides this; else see `BatchLoss.image_dtype`.
        """
        most = count_most(batch["batch_idx"]) if "batch_idx" in batch else None
        moved = self.step.loss.feed.move({k: v for k, v in batch.items() if isinstance(v, Tensor)})
        if "plan" in batch:
            moved["img"] = draw(moved["img"], moved["plan"], batch.pop("plan").numpy())
            del moved["plan"]
        batch.update(moved)  # type: ignore[typeddict-item]  # its tensors
        if most is not None:
            batch["most"] = most, batch["batch_idx"]
        ours = getattr(self.preprocess_batch, "__func__", None) is Hooks.preprocess_batch
        dtype = self.step.loss.image_dtype if ours and not self.args.multi_scale else torch.float32
        img = batch["img"].to(dtype, memory_format=layout(self.device))
        img = img if batch["img"].is_floating_point() else img / 255
        batch["img"] = rescale(img, self.args, self.stride, self.iteration) if self.args.multi_scale else img
        return batch


def rescale(img: Tensor, args: Config, stride: int, iteration: int) -> Tensor:
    """Resize images to a random size of 0.5 to 1.5 times imgsz for the longest side.

    Args:
        img: (B, 3, H, W).
        args: its seed and imgsz.
        stride: pixels; each side becomes a multiple of it.
        iteration: the size is a function of it and the seed.
    """
    rng = np.random.default_rng((args.seed, iteration, 0x5CA1E))
    size = int(rng.integers(args.imgsz // 2, int(args.imgsz * 1.5) + stride)) // stride * stride
    before = (int(img.shape[2]), int(img.shape[3]))
    after = rescaled(before, max(size, stride), stride)
    return img if after == before else F.interpolate(img, size=after, mode="bilinear", align_corners=False)
