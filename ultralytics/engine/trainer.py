"""The training loop. It knows schedules, precision, checkpoints and early stopping, and nothing of detection.

A task supplies the model, the loaders, the criterion and the validator: see `models/yolo/detect/train.py`.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name
from torch import Tensor, nn

import ultralytics
from ultralytics.cfg.config import Config, get_cfg
from ultralytics.engine.checkpoint import Checkpoint, load_checkpoint, portable, restoring, save_checkpoint
from ultralytics.engine.device import mixed_precision, seed_everything, select_device
from ultralytics.engine.ema import ModelEMA
from ultralytics.engine.optim import build_optimizer, choose_optimizer
from ultralytics.engine.preflight import preflight
from ultralytics.engine.probes import probes, rescaled
from ultralytics.engine.provenance import describe_briefly, provenance
from ultralytics.engine.rundir import new_run_dir
from ultralytics.engine.schedule import Schedule
from ultralytics.nn.plugins import load_plugins
from ultralytics.utils.errors import CheckpointError, ConfigError, UserError
from ultralytics.utils.files import remove_unfinished, write_atomically
from ultralytics.utils.log import LOGGER, progress

MAX_GRAD_NORM = 10.0
# What a resumed run may be told anew; everything else comes from its checkpoint.
RESUMABLE = (
    "data",
    "epochs",
    "batch",
    "imgsz",
    "device",
    "workers",
    "cache",
    "patience",
    "save_period",
    "plots",
    "verbose",
    "val",
    "close_mosaic",
    "plugins",
    "preflight",
)


class NonFiniteLossError(UserError):
    """The loss is NaN or infinite: training on would only destroy the weights."""


class EarlyStopping:
    """Stop when the fitness has not risen for `patience` epochs (0: never)."""

    def __init__(self, patience: int = 100) -> None:
        self.patience = patience
        self.best_fitness = -math.inf
        self.best_epoch = 0

    def __call__(self, epoch: int, fitness: float | None) -> bool:
        """Take an epoch's fitness (None: not validated); true when it is time to stop.
        An equal fitness counts as progress."""
        if fitness is None:
            return False
        if fitness >= self.best_fitness:
            self.best_epoch, self.best_fitness = epoch, fitness
        stop = bool(self.patience) and epoch - self.best_epoch >= self.patience
        if stop:
            LOGGER.info(
                "No progress in the last %d epochs: stopping. The best epoch was %d (patience=0 switches this off).",
                self.patience,
                self.best_epoch + 1,
            )
        return stop


class BaseTrainer(ABC):
    """Train a model by the reference's recipe.

    Args:
        cfg: a Config or a YAML of keys; overrides: keys on top of it.
        weights: a checkpoint to start from, already read; otherwise `model` and `pretrained` say what to load.

    Attributes:
        args: the configuration; save_dir, wdir: run folder and its weights; best, last: checkpoint paths.
        model, ema, optimizer, schedule, stopper, epoch, rows: the state of the run.
        metrics: what the last validation gave.
    """

    def __init__(
        self,
        cfg: Config | str | Path | None = None,
        overrides: Mapping[str, Any] | None = None,
        weights: Checkpoint | None = None,
        source: str = "argument",
    ) -> None:
        self.args = get_cfg(cfg, overrides, source)
        self.command = sys.argv[1:] if source == "command line" else []
        self.provenance: dict[str, Any] = {}
        self.checkpoint = weights
        self.resumed = self._read_resume(dict(overrides or {})) if self.args.resume else None
        self.args.plugins = load_plugins(self.args.plugins) or None
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError(
                f"started as {os.environ['WORLD_SIZE']} processes, and a run is one process",
                mend="training on several GPUs is not offered yet: start it without torchrun",
            )
        self.device = select_device(self.args.device)
        self.read_inputs()
        if self.resumed is not None:
            self.save_dir: Path = self.resumed.path.parent.parent
            for folder in (self.save_dir, self.save_dir / "weights"):
                remove_unfinished(folder)
        else:
            self.save_dir = new_run_dir(self.args.project, self.args.name or "train", self.args.exist_ok)
        self.wdir = self.save_dir / "weights"
        self.wdir.mkdir(exist_ok=True)
        self.best, self.last = self.wdir / "best.pt", self.wdir / "last.pt"

        self.amp_dtype = mixed_precision(self.device, self.args.amp)
        self.epochs = self.args.epochs
        self.start_epoch = self.epoch = 0
        self.rows: list[dict[str, float]] = []
        self.metrics: Any = None
        self.fitness: float | None = None
        self.last_opt_step = -1
        self.elapsed = 0.0
        self.loss_names: Sequence[str] = ()
        self.callbacks: dict[str, list[Callable[[BaseTrainer], object]]] = {}

    # What a task supplies

    def read_inputs(self) -> None:  # noqa: B027  # a task may need nothing
        """Read and check what the run is about, before its folder is made."""

    @abstractmethod
    def get_model(self) -> nn.Module:
        """The model to train, with `stride`, on the CPU, pretrained weights in it."""

    @abstractmethod
    def get_dataloader(self, split: str, batch: int) -> Any:
        """A loader with `set_epoch`, `len` and `dataset`."""

    @abstractmethod
    def get_criterion(self) -> Callable[[Any, Mapping[str, Any]], tuple[Tensor, Tensor]]:
        """Outputs and batch → the loss to differentiate and its named parts."""

    @abstractmethod
    def validate(self, final: bool = False) -> tuple[dict[str, float], float]:
        """Validate the averaged model (at the end: best.pt); its figures by results.csv column, and the fitness."""

    @abstractmethod
    def describe_model(self) -> dict[str, Any]:
        """The entries of a checkpoint that rebuild the model: `model` (spec) and `names`."""

    def describe_data(self) -> dict[str, Any]:
        """What the record of the run says of its data; plain."""
        return {}

    def plot_batch(self, batch: Mapping[str, Any], iteration: int) -> None:  # noqa: B027  # a task may draw nothing
        """Draw a training batch."""

    def plot_run(self) -> None:  # noqa: B027  # a task may draw nothing
        """Draw the run's curves."""

    # Callbacks

    def add_callback(self, event: str, function: Callable[[BaseTrainer], object]) -> None:
        """Call `function(trainer)` at an event: on_train_start, on_train_epoch_start, on_train_batch_end,
        on_train_epoch_end, on_fit_epoch_end, on_model_save, on_train_end."""
        self.callbacks.setdefault(event, []).append(function)

    def _run(self, event: str) -> None:
        for function in self.callbacks.get(event, ()):
            function(self)

    # The run

    def train(self) -> Any:
        """Train to the end; returns the metrics of the best weights."""
        try:
            self._setup()
        except BaseException:
            self._remove_empty_folder()
            raise
        LOGGER.info(
            "Training %d epochs of %d batches (%d images, imgsz %d) in %s on %s; results go to %s",
            self.epochs,
            len(self.train_loader),
            len(self.train_loader.dataset),
            self.args.imgsz,
            {None: "fp32", torch.bfloat16: "mixed bf16", torch.float16: "mixed fp16"}[self.amp_dtype],
            self.device,
            self.save_dir,
        )
        self._run("on_train_start")
        started = time.perf_counter()
        stop = self.start_epoch >= self.epochs
        epoch = self.start_epoch
        while not stop:
            self.epoch = epoch
            try:
                self._train_epoch()
                stop = self._finish_epoch(started)
            except KeyboardInterrupt:
                if self.last.exists():
                    LOGGER.info(
                        "Stopped in epoch %d. Go on from its beginning with resume=%s", epoch + 1, self.save_dir
                    )
                raise
            epoch += 1
        done = epoch - self.start_epoch
        LOGGER.info("%d epochs completed in %.3f hours.", done, (time.perf_counter() - started) / 3600)
        self._finish()
        self._run("on_train_end")
        return self.metrics

    @classmethod
    def check(cls, overrides: Mapping[str, Any], source: str = "argument") -> None:
        """Set a run up, its preflight included, and leave it at that; nothing stays on the disk.

        Raises:
            UserError: what would have stopped the run, or a part of it that has not come yet.
        """
        with tempfile.TemporaryDirectory() as folder:
            keys = {**overrides, "project": folder, "name": "check", "plots": False, "preflight": True}
            cls(overrides=keys, source=source)._setup()
        LOGGER.info("The run can begin.")

    def _remove_empty_folder(self) -> None:
        """A run that never began leaves no folder, unless something is in it."""
        for folder in (self.wdir, self.save_dir):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _setup(self) -> None:
        args = self.args
        seed_everything(args.seed, args.deterministic)
        model = self.get_model().to(self.device)
        self.model: Any = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs lack it
        self._freeze()
        stride = max(int(self.model.stride.max()), 32)
        imgsz = math.ceil(args.imgsz / stride) * stride
        if imgsz != args.imgsz:
            LOGGER.warning("imgsz=%d is no multiple of the stride %d: using %d", args.imgsz, stride, imgsz)
            args.set("imgsz", imgsz, "auto")
        self.stride = stride
        self.train_loader = self.get_dataloader("train", args.batch)
        self.val_loader = self.get_dataloader("val", args.batch * 2) if args.val else None
        images = len(self.train_loader.dataset)
        self.batch = min(args.batch, images)
        self.criterion = self.get_criterion()

        # A resumed run keeps its optimiser, even if its new length would make `auto` choose another.
        name = self.resumed.state["optimizer_name"] if self.resumed is not None else args.optimizer
        choice = choose_optimizer(
            name, args.lr0, args.momentum, self.model.nc, images, args.batch, args.nbs, self.epochs
        )
        if name == "auto":
            for key, value in (("lr0", choice.lr), ("momentum", choice.momentum), ("warmup_bias_lr", 0.0)):
                if args.sources.get(key) not in (None, "default"):
                    LOGGER.warning("%s=%s is not used: optimizer=auto sets it to %s", key, getattr(args, key), value)
                args.set(key, value, "auto")
        accumulate = max(round(args.nbs / args.batch), 1)
        decay = args.weight_decay * args.batch * accumulate / args.nbs
        self.optimizer = build_optimizer(self.model, choice, decay)
        bias, decayed, rest = (len(g["params"]) for g in self.optimizer.param_groups)
        LOGGER.info(
            "optimizer: %s(lr=%g, momentum=%g), parameters: %d weight(decay=%g), %d bias and %d others (decay=0)",
            choice.name,
            choice.lr,
            choice.momentum,
            decayed,
            decay,
            bias,
            rest,
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp_dtype == torch.float16)
        self.ema = ModelEMA(self.model)
        self.stopper = EarlyStopping(args.patience)
        self._make_schedule()
        before = self.resumed.state.get("provenance") if self.resumed is not None else None
        self.provenance = provenance(self.device, args, self.describe_data(), self.command, before)
        args.save_yaml(self.save_dir / "args.yaml", describe_briefly(self.provenance))
        if self.resumed is not None:
            with restoring(self.resumed.path):
                self._restore(self.resumed.state)
        if args.preflight:
            self._preflight(images)

    def _preflight(self, images: int) -> None:
        """Try the model at every shape of the run.

        Raises:
            PreflightError: naming the row that would stop or spoil the run.
        """
        args = self.args
        square = [(args.imgsz, args.imgsz)]
        validated = [] if self.val_loader is None else rectangles(self.val_loader) or square
        shapes = probes(
            args.imgsz, self.stride, args.batch, images, args.multi_scale, validated, rectangles(self.train_loader)
        )
        report = preflight(
            self.model,
            shapes,
            device=self.device,
            amp_dtype=self.amp_dtype,
            deterministic=args.deterministic,
            batch=self.batch,
            optimizer_copies=1 if isinstance(self.optimizer, torch.optim.SGD | torch.optim.RMSprop) else 2,
        )
        for line in report.lines():
            LOGGER.info(line)
        for warning in report.warnings:
            LOGGER.warning(warning)

    def _make_schedule(self) -> None:
        a = self.args
        self.schedule = Schedule(
            self.epochs,
            len(self.train_loader),
            a.batch,
            a.nbs,
            a.lr0,
            a.lrf,
            a.momentum,
            a.warmup_epochs,
            a.warmup_momentum,
            a.warmup_bias_lr,
            a.cos_lr,
        )

    def _freeze(self) -> None:
        """Freeze rows: no gradients, and batch-norm statistics stay as well."""
        freeze = self.args.freeze
        rows = list(range(freeze)) if isinstance(freeze, int) else list(freeze or [])
        count = len(self.model.model)
        for i in rows:
            if not 0 <= i < count:
                raise ConfigError(f"freeze={freeze} names row {i}, and the model has rows 0 to {count - 1}")
            self.model.model[i].requires_grad_(False)
        self.frozen = [self.model.model[i] for i in rows]
        if rows:
            LOGGER.info("Frozen rows: %s", ", ".join(map(str, rows)))
        if not any(p.requires_grad for p in self.model.parameters()):
            raise ConfigError(f"freeze={freeze} leaves nothing to train")

    # One epoch

    def _train_epoch(self) -> None:
        self._run("on_train_epoch_start")
        self.model.train()
        for row in self.frozen:
            row.eval()
        closing = self.args.close_mosaic
        if closing and self.epoch >= self.epochs - closing and not self.train_loader.dataset.mosaic_closed:
            LOGGER.info("Mosaic is off for the last %d epochs", self.epochs - self.epoch)
            self.train_loader.close_mosaic()
        self.train_loader.set_epoch(self.epoch)
        batches = len(self.train_loader)
        if self.epoch == self.start_epoch:
            LOGGER.info(("%11s" * (4 + len(self.loss_names))) % ("Epoch", "GPU_mem", *self.loss_names, "Boxes", "Size"))
        mean = torch.zeros(len(self.loss_names), device=self.device)
        bar = progress(enumerate(self.train_loader), total=batches)
        line = ""
        for i, batch in bar:
            iteration = i + batches * self.epoch
            parts = self.train_step(batch, iteration)
            mean += (parts - mean) / (i + 1)
            last = i + 1 == batches
            if last or self.device.type == "cpu" or i % 10 == 0:  # reading a loss waits for the GPU
                self._check_finite(parts, batch)
                line = self._progress_line(mean, batch)
                bar.set_description(line)
            if self.args.plots and (
                iteration < 3 or (closing and 0 <= iteration - batches * max(self.epochs - closing, 0) < 3)
            ):
                self.plot_batch(batch, iteration)
            self._run("on_train_batch_end")
        if bar.disable:
            LOGGER.info(line)
        self.mean_loss = mean.tolist()
        self._run("on_train_epoch_end")

    def train_step(self, batch: dict[str, Any], iteration: int) -> Tensor:
        """Forward, backward and, when enough images have gathered, an optimiser step; returns the loss parts."""
        now = self.schedule.at(iteration, self.epoch)
        for group, lr in zip(self.optimizer.param_groups, (now.lr_bias, now.lr, now.lr), strict=True):
            group["lr"] = lr
            if "momentum" in group:
                group["momentum"] = now.momentum
        self.preprocess(batch, iteration)
        with self.autocast():
            outputs = self.model(batch["img"])
        loss, parts = self.criterion(outputs, batch)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch's own
        if iteration - self.last_opt_step >= now.accumulate:
            self.optimizer_step()
            self.last_opt_step = iteration
        return parts

    def optimizer_step(self) -> None:
        """Clip the gathered gradients, step, and let the average follow."""
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRAD_NORM)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.ema.update(self.model)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The run's precision for a forward pass."""
        return torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None)

    def preprocess(self, batch: dict[str, Any], iteration: int) -> None:
        """Move a batch to the device: images 0..1, channels last, resized with `multi_scale`."""
        for key in ("cls", "bboxes", "batch_idx"):
            batch[key] = batch[key].to(self.device, non_blocking=True)
        img = batch["img"].to(self.device, non_blocking=True)
        img = img.to(torch.float32, memory_format=torch.channels_last) / 255
        if self.args.multi_scale:
            img = self.rescale(img, iteration)
        batch["img"] = img

    def rescale(self, img: Tensor, iteration: int) -> Tensor:
        """A random size of 0.5 to 1.5 times imgsz for the longest side, each side a multiple of the stride."""
        rng = np.random.default_rng((self.args.seed, iteration, 0x5CA1E))
        size = (
            int(rng.integers(self.args.imgsz // 2, int(self.args.imgsz * 1.5) + self.stride))
            // self.stride
            * self.stride
        )
        before = (int(img.shape[2]), int(img.shape[3]))
        after = rescaled(before, max(size, self.stride), self.stride)
        return img if after == before else F.interpolate(img, size=after, mode="bilinear", align_corners=False)

    def _check_finite(self, parts: Tensor, batch: Mapping[str, Any]) -> None:
        if bool(torch.isfinite(parts).all()):
            return
        told = ", ".join(f"{n} {float(v):.4g}" for n, v in zip(self.loss_names, parts, strict=True))
        files = ", ".join(Path(f).name for f in batch["im_file"][:4])
        kept = self.last if self.last.exists() else "no checkpoint"
        raise NonFiniteLossError(
            f"the loss is not finite in epoch {self.epoch + 1} ({told}); the batch held {files}, …",
            mend=f"try a lower lr0, or amp=False; {kept} holds the last whole epoch",
        )

    def _progress_line(self, mean: Tensor, batch: Mapping[str, Any]) -> str:
        memory = torch.cuda.memory_reserved(self.device) / 1e9 if self.device.type == "cuda" else 0.0
        losses = "".join(f"{v:11.4g}" for v in mean.tolist())
        progress_columns = f"{f'{self.epoch + 1}/{self.epochs}':>11}{f'{memory:.3g}G':>11}"
        return f"{progress_columns}{losses}{len(batch['cls']):>11}{batch['img'].shape[-1]:>11}"

    # The end of an epoch

    def _finish_epoch(self, started: float) -> bool:
        """Validate, record, save; true when the run is over."""
        args = self.args
        if args.time:
            spent = time.perf_counter() - started
            mean = spent / (self.epoch - self.start_epoch + 1)
            self.epochs = max(math.ceil(args.time * 3600 / mean), self.epoch + 1)
            self._make_schedule()
        final = self.epoch + 1 >= self.epochs
        figures: dict[str, float] = {}
        self.fitness = None
        if args.val:
            figures, self.fitness = self.validate()
        improved = self.fitness is not None and self.fitness >= self.stopper.best_fitness
        stop = self.stopper(self.epoch, self.fitness)
        if args.time and time.perf_counter() - started >= args.time * 3600:
            stop = True
        row = {"epoch": self.epoch + 1, "time": round(self.elapsed + time.perf_counter() - started, 2)}
        row |= {f"train/{n}": v for n, v in zip(self.loss_names, self.mean_loss, strict=True)}
        row |= figures
        row |= {f"lr/pg{i}": g["lr"] for i, g in enumerate(self.optimizer.param_groups)}
        self.rows.append(row)
        self._write_results()
        self._run("on_fit_epoch_end")
        if args.save or final or stop:
            self._save(improved or (final and not args.val))
            self._run("on_model_save")
        return final or stop

    def _write_results(self) -> None:
        """results.csv: the whole table anew, so that a killed run leaves whole lines."""
        columns = list(dict.fromkeys(k for row in self.rows for k in row))
        lines = [",".join(columns)]
        lines += [",".join(f"{row[c]:.6g}" if c in row else "" for c in columns) for row in self.rows]
        write_atomically(self.save_dir / "results.csv", lambda f: f.write(("\n".join(lines) + "\n").encode()))

    def _save(self, best: bool) -> None:
        state = self._state()
        if best:  # first: a stop between the two must not leave a last.pt that remembers a best.pt there is not
            save_checkpoint(self.best, {k: state[k] for k in _PORTABLE})
        save_checkpoint(self.last, state)
        period = self.args.save_period
        if period > 0 and (self.epoch + 1) % period == 0:
            save_checkpoint(self.wdir / f"epoch{self.epoch + 1}.pt", {k: state[k] for k in _PORTABLE})

    def _state(self) -> dict[str, Any]:
        """Everything a run is, as tensors and plain data."""
        pending = {n: p.grad for n, p in self.model.named_parameters() if p.grad is not None}
        return {
            **self.describe_model(),
            "ema": self.ema.ema.state_dict(),
            "epoch": self.epoch,
            "fitness": self.fitness,
            "best_fitness": self.stopper.best_fitness,
            "train_args": portable(self.args.to_dict()),
            "provenance": self.provenance,
            "version": ultralytics.__version__,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "torch": str(torch.__version__),
            "weights": self.model.state_dict(),
            "updates": self.ema.updates,
            "optimizer_name": type(self.optimizer).__name__,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best_epoch": self.stopper.best_epoch,
            "last_opt_step": self.last_opt_step,
            "pending_gradients": pending,
            "rng": {
                "torch": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            },
            "results": self.rows,
        }

    # Resuming

    def _read_resume(self, overrides: dict[str, Any]) -> Checkpoint:
        """The checkpoint to go on from; the configuration becomes its own."""
        resume = self.args.resume
        path = Path(str(self.args.model)) if resume is True and str(self.args.model or "").endswith(".pt") else None
        if path is None and resume is True:
            root = Path(self.args.project or "runs")
            found = sorted(root.glob("**/weights/last.pt"), key=lambda p: p.stat().st_mtime)
            if not found:
                raise ConfigError(
                    f"resume=True, but there is no last.pt below {root.absolute()}", mend="give resume=RUN_FOLDER"
                )
            path = found[-1]
        elif path is None:
            path = Path(str(resume))
            path = path / "weights" / "last.pt" if path.is_dir() else path
        loaded = load_checkpoint(path)
        if "optimizer" not in loaded.state:
            raise CheckpointError(
                "it holds weights alone, no training to resume", str(path), "resume from weights/last.pt of a run"
            )
        absent = [k for k in _NEEDED if k not in loaded.state]
        if absent:
            raise CheckpointError(f"incomplete: no {', '.join(absent)}", str(path), "use an earlier copy")
        kept = {k: v for k, v in loaded.train_args.items() if k not in ("resume", "mode")}
        changed = {k: v for k, v in overrides.items() if k in RESUMABLE and v != kept.get(k)}
        refused = [
            k for k, v in overrides.items() if k not in (*RESUMABLE, "resume", "model", "mode") and v != kept.get(k)
        ]
        if refused:
            raise ConfigError(
                f"{', '.join(refused)} cannot change when a run is resumed",
                str(path),
                f"what can: {', '.join(RESUMABLE)}",
            )
        self.args = get_cfg(None, {**kept, **changed}, "checkpoint")
        for key in changed:
            self.args.sources[key] = "argument"
        if loaded.state["epoch"] + 1 >= self.args.epochs:
            raise ConfigError(
                f"its {self.args.epochs} epochs are done, nothing is left to resume",
                str(path),
                "give more epochs=, or train from best.pt",
            )
        told = f", with {', '.join(f'{k}={v}' for k, v in changed.items())}" if changed else ""
        LOGGER.info(
            "Resuming %s after epoch %d of %d%s", path.absolute(), loaded.state["epoch"] + 1, self.args.epochs, told
        )
        return loaded

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["weights"])
        self.ema.ema.load_state_dict(state["ema"])
        self.ema.updates = state["updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.stopper.best_fitness, self.stopper.best_epoch = state["best_fitness"], state["best_epoch"]
        if self._epoch_of_best() != state["best_epoch"]:
            self.stopper.best_fitness = -math.inf  # so that the next epoch writes a best.pt
        self.last_opt_step = state["last_opt_step"]
        for name, parameter in self.model.named_parameters():
            if name in state["pending_gradients"]:
                parameter.grad = state["pending_gradients"][name].to(self.device)
        torch.set_rng_state(state["rng"]["torch"])
        if torch.cuda.is_available() and state["rng"]["cuda"]:
            torch.cuda.set_rng_state_all(state["rng"]["cuda"])
        self.rows = state["results"]
        self.elapsed = self.rows[-1]["time"] if self.rows else 0.0
        self.start_epoch = state["epoch"] + 1

    def _epoch_of_best(self) -> int | None:
        """The epoch best.pt holds; None when it is missing or damaged."""
        try:
            epoch: int | None = load_checkpoint(self.best).state.get("epoch")
        except UserError:
            return None
        return epoch

    # The end

    def _finish(self) -> None:
        self.plot_run()
        if self.best.exists():
            self.validate(final=True)
        LOGGER.info("")
        for what, path in (
            ("weights", self.best if self.best.exists() else self.last),
            ("curves", self.save_dir / "results.png"),
            ("table", self.save_dir / "results.csv"),
            ("metrics", self.save_dir / "metrics.json"),
        ):
            if path.exists():
                LOGGER.info("%-8s %s", what, path)


def rectangles(loader: Any) -> list[tuple[int, int]]:
    """(height, width) of a loader's batches where they are rectangles, else none."""
    found = getattr(loader.dataset, "rectangles", None)
    return [] if found is None else [(int(h), int(w)) for h, w in found]


# What a run cannot be taken up without.
_NEEDED = ("epoch", "optimizer_name", "weights", "ema", "train_args")
# A checkpoint to evaluate with and to start from, without the state of the run.
_PORTABLE = (
    "model",
    "names",
    "ema",
    "epoch",
    "fitness",
    "best_fitness",
    "train_args",
    "provenance",
    "version",
    "date",
    "torch",
)
