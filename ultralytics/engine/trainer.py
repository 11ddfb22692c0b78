"""The training loop. It knows schedules, precision, checkpoints and early stopping, and nothing of detection.

A task supplies the model, the loaders, the criterion and the validator: see `models/yolo/detect/train.py`.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name
from torch import Tensor, nn

from ultralytics.cfg.config import Config, get_cfg, without_effect
from ultralytics.engine.aliases import Figures, TrainerAliases
from ultralytics.engine.callbacks import Callback, CallbackError, Callbacks
from ultralytics.engine.preflight.probes import probes, rescaled
from ultralytics.engine.preflight.trial import check_copies, preflight
from ultralytics.engine.ranks.device import mixed_precision, seed_everything, select_device
from ultralytics.engine.ranks.lifeline import interrupted_run, remember_run
from ultralytics.engine.ranks.sync_norm import synchronise_norms
from ultralytics.engine.ranks.team import Team, join, reseed
from ultralytics.engine.run.folder import DEFAULT_PROJECT, LOCK_FILE, RunLock, named_run_dir, new_run_dir
from ultralytics.engine.run.provenance import describe_briefly, provenance
from ultralytics.engine.run.resume import (
    Resumption,
    asked_of,
    changed_data,
    changed_plugins,
    is_over,
    previous_of,
    read_resume,
    resume_command,
)
from ultralytics.engine.run.state import restore, state_of
from ultralytics.engine.safety import memory, recovery, threads
from ultralytics.engine.safety.guard import (
    MAX_ROLLBACKS,
    MIN_SCALE,
    ROLLBACK_FACTOR,
    BadStepError,
    Guard,
)
from ultralytics.engine.safety.interrupt import Interrupts, StopRequest
from ultralytics.engine.safety.pace import Pace
from ultralytics.engine.safety.recovery import NonFiniteLossError
from ultralytics.engine.step.distill import LOSS_NAME, Distillation, changed_teacher
from ultralytics.engine.step.ema import ModelEMA, window
from ultralytics.engine.step.meter import Meter
from ultralytics.engine.step.optim import choose_optimizer, rates
from ultralytics.engine.step.rates import ADAMS, OPEN, Group, build_groups, describe, reach, settle_rates
from ultralytics.engine.step.schedule import Schedule
from ultralytics.engine.weights.adapter import freeze_all_but
from ultralytics.engine.weights.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_newest,
    restoring,
    save_checkpoint,
)
from ultralytics.nn.building import channels_last
from ultralytics.nn.plugins import load_plugins
from ultralytics.utils.errors import ConfigError, LostWorkerError, UserError
from ultralytics.utils.files import remove_unfinished, stamp, user_path, write_text
from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.processes import leave_unguarded
from ultralytics.utils.text import counted
from ultralytics.utils.threads import kept_threads, one_thread

MAX_GRAD_NORM = 10.0


class EarlyStopping:
    """Stop when the fitness has not risen for `patience` epochs (0: never)."""

    def __init__(self, patience: int = 100) -> None:
        self.patience = patience
        self.best_fitness = -math.inf
        self.best_epoch = 0
        self.possible_stop = False  # whether the next epoch may be the last

    def __call__(self, epoch: int, fitness: float | None) -> bool:
        """Take an epoch's fitness (None: not validated); true when it is time to stop.
        An equal fitness counts as progress."""
        if fitness is None:
            return False
        if fitness >= self.best_fitness:
            self.best_epoch, self.best_fitness = epoch, fitness
        stop = bool(self.patience) and epoch - self.best_epoch >= self.patience
        self.possible_stop = bool(self.patience) and epoch - self.best_epoch >= self.patience - 1
        if stop:
            LOGGER.info(
                "No progress in the last %s: stopping. The best epoch was %d (patience=0 switches this off).",
                counted(self.patience, "epoch"),
                self.best_epoch + 1,
            )
        return stop


class BaseTrainer(TrainerAliases, ABC):
    """Train a model by the reference's recipe.

    Args:
        cfg: a Config or a YAML of keys; overrides: keys on top of it.
        _callbacks: functions by event, besides those of plugin files.
        weights: a checkpoint to start from, already read; otherwise `model` and `pretrained` say what to load.

    Attributes:
        args: the configuration; asked: what of it the user gave, see `asked_of`.
        save_dir, wdir: run folder and its weights; best, last: checkpoint paths.
        model, ema, optimizer, schedule, stopper, epoch, rows: the state of the run.
        metrics: figures of the last validation; fitness: of it; validator: what made them.
        loss, loss_items: of the last batch, what is differentiated and its parts; stop: set it to end after the epoch.
    """

    def __init__(
        self,
        cfg: Config | str | Path | None = None,
        overrides: Mapping[str, Any] | None = None,
        _callbacks: Mapping[str, list[Callback]] | None = None,
        weights: Checkpoint | None = None,
        source: str = "argument",
    ) -> None:
        leave_unguarded()
        self.args = get_cfg(cfg, overrides, source)
        self.command = sys.argv[1:] if source == "command line" else []
        self.provenance: dict[str, Any] = {}
        self.checkpoint = weights
        self.team: Team = join()
        self.own = 1  # images of the batch at work that count here
        self.alone = False  # a loss is computed outside of the steps that all ranks take together
        self.images_since = 0  # images of this rank since the ranks' batch norms were averaged
        self.resumption: Resumption | None = None
        self.taken_up: tuple[int, ...] | None = None  # which file last.pt was when it was read
        self.asked = asked_of(self.args)
        self.automatic = self.args.resume == "auto"
        again = self.automatic or not self.args.resume
        self.args.resume = self.team.lead(self._find_resume)
        if self.args.resume:
            self.resumption = self.team.lead(lambda: read_resume(self.args, again))
            self.args, self.asked = self.resumption.args, self.resumption.asked
            self.taken_up = stamp(self.resumption.folder / "weights" / "last.pt")
        self.resumed = self.resumption.checkpoint if self.resumption is not None else None
        self.args.plugins = load_plugins(self.args.plugins) or None
        self.callbacks = Callbacks(_callbacks)
        self.callbacks.take(self.args.plugins)
        self.device = select_device(self.team.device_name(self.args.device))
        self.team.bind(self.device)
        self.read_inputs()
        self.save_dir: Path = self.team.lead(self._make_folder)
        self.wdir = self.save_dir / "weights"
        self.best, self.last = self.wdir / "best.pt", self.wdir / "last.pt"
        self.previous = previous_of(self.last)

        self.amp_dtype = mixed_precision(self.device, self.args.amp)
        self.epochs = self.args.epochs
        # The position: whole epochs, batches of the one under way, and the mean loss over `loss_count` of them.
        self.finished = self.batches_done = self.loss_count = 0
        self.loss_mean = torch.zeros(0)
        self.start_epoch = self.epoch = 0
        self.over = False
        self.rows: list[dict[str, float]] = []
        self.model: Any = self.args.model
        self.validator: Any = None
        self.val_loader: Any = None
        self.metrics = Figures({})
        self.loss: Tensor | None = None
        self.loss_items: Tensor | None = None
        self.stop = self.is_best = False
        self.iteration = 0
        self.fitness: float | None = None
        self.last_opt_step = -1
        self.elapsed = 0.0  # seconds of training before `clock`
        self.clock = self.saved_at = time.perf_counter()
        self.lr_factor, self.rollbacks, self.skipped, self.skips_in_a_row = 1.0, 0, 0, 0
        self.careful_until: tuple[int, int] | None = None
        self.stage = ""
        self.interrupts = Interrupts(self.team.most, quiet=self.team.many)
        self.pace = Pace(
            "training step",
            "other processes slow it down; where they stay, stop and resume with fewer threads= or workers=",
            "the images come late; a disk or other processes slow them down: resume with more workers=, or cache=ram",
        )
        self.loss_names: Sequence[str] = ()
        # Parameters, named by a task's `get_model`: of rows that the pretrained weights do not have; of those the ones
        # that start from nothing, not from an adapter; and all that did not come whole from pretrained weights.
        kept = {} if self.resumed is None else self.resumed.state
        self.inserted, self.new_tensors, self.untransferred = (
            list(kept.get(key, [])) for key in ("inserted", "new_tensors", "untransferred")
        )
        self.groups: list[Group] = []
        self.distillation: Distillation | None = None
        self.files: dict[str, Any] = {}  # what the record of the run says of weights that it reads besides its own

    def _find_resume(self) -> bool | str:
        """`resume=` with `auto`, and a start by torchrun after a rank's end, looked up: a run's folder, or False."""
        if self.automatic and not self.args.name:
            raise ConfigError("resume=auto finds a run by its name, and none is given", hint="name=NAME")
        interrupted = interrupted_run()
        if interrupted is not None and (interrupted / "args.yaml").is_file():
            return str(interrupted)
        if not self.automatic:
            return self.args.resume
        folder = user_path(self.args.project or DEFAULT_PROJECT) / str(self.args.name)
        return str(folder) if (folder / "args.yaml").is_file() else False

    def _make_folder(self) -> Path:
        """The run's folder, made by the leader alone."""
        if self.resumption is not None:
            folder = self.resumption.folder
        elif self.automatic and not self.args.exist_ok:
            folder = named_run_dir(self.args.project, str(self.args.name))
        else:
            folder = new_run_dir(self.args.project, self.args.name or "train", self.args.exist_ok)
        (folder / "weights").mkdir(exist_ok=True)
        if self.team.many:
            remember_run(folder)
        return folder

    # What a task supplies

    def read_inputs(self) -> None:  # a task may need nothing
        """Read and check what the run is about, before its folder is made."""

    @abstractmethod
    def setup_model(self) -> None:
        """Make `model`, the model to train: with `stride`, on the CPU, pretrained weights in it."""

    def set_model_attributes(self) -> None:  # a task may need nothing
        """Tell the model what it is trained for."""

    @abstractmethod
    def get_dataloader(self, dataset_path: Any, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        """A loader with `set_epoch`, `batch_at`, `close`, `len`, `dataset` and `own`: the images of a batch that are
        this rank's. While it waits for a batch it should call `attend` now and then."""

    @abstractmethod
    def get_validator(self) -> Any:
        """What `validate` uses."""

    @abstractmethod
    def get_criterion(self) -> Callable[[Any, Mapping[str, Any]], tuple[Tensor, Tensor]]:
        """Outputs and batch → the loss to differentiate and its named parts."""

    def get_distillation(self) -> Distillation:
        """What `teacher=` adds to the loss.

        Raises:
            ConfigError: the task has none, or the teacher does not fit.
        """
        raise ConfigError("this trainer has no distillation", hint="leave out teacher=")

    def loss_is_the_models(self) -> bool:
        """Whether the model has a way of its own from a batch to its loss."""
        return False

    @abstractmethod
    def validate(self) -> tuple[dict[str, float], float]:
        """Validate the averaged model; its figures by results.csv column, and the fitness."""

    @abstractmethod
    def final_eval(self) -> None:
        """Validate best.pt, and report."""

    @abstractmethod
    def describe_model(self) -> dict[str, Any]:
        """The entries of a checkpoint that rebuild the model: `model` (spec) and `names`."""

    def describe_data(self) -> dict[str, Any]:
        """What the record of the run says of its data; plain."""
        return {}

    def trial_labels(self, images: int) -> dict[str, Tensor]:
        """Labels of the fullest batch of so many images that the data set could give."""
        return {}

    def draw_batch(self, batch: Mapping[str, Any], path: Path) -> None:  # a task may draw nothing
        """Draw a training batch into a file."""

    def plot_training_samples(self, batch: Mapping[str, Any], ni: int) -> None:
        """Draw batch `ni` of the run."""
        self.draw_batch(batch, self.save_dir / f"train_batch{ni}.jpg")

    def plot_training_labels(self) -> None:  # a task may draw nothing
        """Draw the training labels."""

    def plot_metrics(self) -> None:  # a task may draw nothing
        """Draw the run's curves."""

    # The run

    def train(self) -> Any:
        """Train to the end; returns the metrics of the best weights.

        Ctrl-C, SIGTERM and SIGHUP end the batch under way and save; then KeyboardInterrupt is raised, or the program's
        own handler called and SystemExit raised: 143 after SIGTERM, 129 after SIGHUP.

        Raises:
            UserError: the run cannot go on; what it had is saved.
        """
        request: StopRequest | None = None
        lock = RunLock(self.save_dir) if self.team.leads else contextlib.nullcontext()
        stops = Interrupts(self.team.most, quiet=self.team.many)
        with lock, kept_threads(), stops as self.interrupts:
            try:
                return self._train()
            except StopRequest as e:
                request = e
            finally:
                self._close_loaders()
        self.interrupts.deliver_again(request.signum)
        raise AssertionError("unreachable")

    def _train(self) -> Any:
        begun = False
        try:
            self._begin()
            begun = True
            with self.interrupts.deferred(), frozen_objects():
                self.run_callbacks("on_train_start")
                self._train_epochs()
            self.interrupts.poll()
            self._finish()
        except StopRequest as e:
            self._tell_stop(begun, e.agreed)
            raise
        except LostWorkerError as e:
            self._lost_worker(e)
        except CallbackError:
            self._keep_what_is_done(begun)
            raise
        except BaseException:
            if not begun:
                self._remove_empty_folder()
            raise
        self.run_callbacks("on_train_end")
        self.run_callbacks("teardown")
        return self.metrics.source

    def _begin(self) -> None:
        """Everything before the first step: from here on the run can be resumed."""
        args_file = self.save_dir / "args.yaml"
        self.team.lead(self._check_taken_up)
        if self.team.leads:
            for folder in (self.save_dir, self.wdir):
                remove_unfinished(folder)
        ours = self.team.leads and not self._files()  # whatever comes to lie in an empty folder is this run's
        if self.team.leads and self.resumption is None:
            write_text(args_file, self.args.yaml_text())
        try:
            self.run_callbacks("on_pretrain_routine_start")
            self._setup()
            self.callbacks.take(self.args.plugins)  # those that the model's YAML has named
            self.run_callbacks("on_pretrain_routine_end")
            self._save_first(args_file)
        except BaseException:
            if self.team.leads and self.resumption is None and not self.last.exists():
                for file in self._files() if ours else [args_file]:
                    if not file.is_dir():
                        file.unlink(missing_ok=True)
            raise

    def _save_first(self, args_file: Path) -> None:
        """Tell where the run goes, and save it as it begins."""
        LOGGER.info(
            "Training %s of %s (%s, imgsz %d) in %s on %s; results go to %s",
            counted(self.epochs, "epoch"),
            counted(len(self.train_loader), "batch"),
            counted(len(self.train_loader.dataset), "image"),
            self.args.imgsz,
            {None: "fp32", torch.bfloat16: "mixed bf16", torch.float16: "mixed fp16"}[self.amp_dtype],
            self.device,
            self.save_dir,
        )
        self.clock = self.saved_at = time.perf_counter()
        if self.team.leads:
            self._clear_stale()
        if self.resumed is None and (self.args.save or self.args.on_nan == "rollback"):
            self._save_position(keep=False)
        if self.team.leads:
            write_text(args_file, self.args.yaml_text(describe_briefly(self.provenance)))
            if self.rows:
                self._write_results()
            else:
                (self.save_dir / "results.csv").unlink(missing_ok=True)
            if not self.over:
                (self.save_dir / "metrics.json").unlink(missing_ok=True)  # its absence tells that it is not finished

    def _clear_stale(self) -> None:
        """Remove what an earlier run in this folder has left, and put a damaged save aside."""
        if self.resumed is None:
            for stale in (self.previous, self.save_dir / "results.csv"):
                stale.unlink(missing_ok=True)
        elif self.last.exists() and self.resumed.path != self.last:
            os.replace(self.last, self.last.with_name("last.aside.pt"))  # damaged: it must not become the previous one

    def _train_epochs(self) -> None:
        """Epoch by epoch to the end; a bad step may lead back."""
        first = self.finished
        while not self.over:
            self.epoch = self.finished
            try:
                self._train_epoch()
                self._look_back()
                self._finish_epoch()
            except BadStepError as bad:
                self._go_back(bad)
                continue
            except torch.cuda.OutOfMemoryError as e:
                memory.out_of_memory(self, e)
            if not self.over:
                self.interrupts.poll()
        hours = (time.perf_counter() - self.clock) / 3600
        LOGGER.info("%s completed in %.3f hours.", counted(self.finished - first, "epoch"), hours)

    def attend(self, waited: float) -> None:
        """Look for signals while a loader waits for a batch."""
        self.interrupts.attend(waited, self.team.many)

    def _lost_worker(self, error: LostWorkerError) -> NoReturn:
        """Save where a loader has lost a worker, and say how to go on.

        Raises:
            LostWorkerError: always.
        """
        done = f"after {counted(self.batches_done, 'batch')}" if self.batches_done else "before its first batch"
        place = f"in epoch {self.finished + 1} {done}"
        if self.over:
            place = "before the best weights were validated"
        elif self.team.many:  # the others are at work, and take no part in a save
            place += f"; {self.last} holds the last save" if self.last.exists() else ""
        else:
            self.save_sound()
            place += ", and the run is saved"
        # A line of its own, which can be copied.
        LOGGER.warning("Go on with: %s", resume_command(self.save_dir, self.args.plugins))
        raise LostWorkerError(f"{error.what} {place}", hint=error.hint) from None

    def _keep_what_is_done(self, begun: bool) -> None:
        """Save where a callback has failed, and say how to go on."""
        if not begun:
            self._remove_empty_folder()
            return
        if not (self.over or self.stage or self.team.many):  # within a step, or of one rank: the last save stands
            self.save_sound()
        if self.last.exists() and not (self.save_dir / "metrics.json").exists():
            LOGGER.warning("The run is saved. Go on with: %s", resume_command(self.save_dir, self.args.plugins))

    def _tell_stop(self, begun: bool, agreed: bool) -> None:
        """Save where a signal stopped the run, and say how to go on."""
        if not begun:
            LOGGER.info("Stopped before the first step.")
            self._remove_empty_folder()
        elif not agreed:
            LOGGER.error("Stopped while a rank waited for a batch: %s holds the last save.", self.last)
        elif self.over:
            LOGGER.info("Stopped before the best weights were validated.")
        else:
            self.save_sound()
            batches = len(self.train_loader)
            part = (
                f" after {self.batches_done} of {batches} batches" if self.batches_done else " before its first batch"
            )
            LOGGER.info("Stopped in epoch %d%s, and saved.", self.finished + 1, part)
        if self.save_dir.exists():
            LOGGER.info("Go on with: %s", resume_command(self.save_dir, self.args.plugins))

    def _close_loaders(self) -> None:
        """End the workers now: whoever holds the trainer or its traceback shall not hold them."""
        for name in ("train_loader", "val_loader"):
            loader: Any = getattr(self, name, None)
            if loader is not None:
                loader.close()

    @classmethod
    def check(cls, overrides: Mapping[str, Any], source: str = "argument") -> None:
        """Set a run up, its preflight included, and leave it at that; nothing stays on the disk.

        Raises:
            UserError: what would have stopped the run, or a part of it that has not come yet.
        """
        with tempfile.TemporaryDirectory() as folder:
            keys = {**overrides, "project": folder, "name": "check", "plots": False, "preflight": True}
            with kept_threads():
                cls(overrides=keys, source=source)._setup()
        LOGGER.info("The run can begin.")

    def _files(self) -> list[Path]:
        """What lies in the run's folder and its weights folder, besides the lock."""
        found = (*self.wdir.glob("*"), *self.save_dir.iterdir())
        return [p for p in found if p != self.wdir and p.name != LOCK_FILE]

    def _remove_empty_folder(self) -> None:
        """A run that never began leaves no folder, unless something besides its lock is in it."""
        if not self.team.leads:
            return
        if not self._files():
            with contextlib.suppress(OSError):  # Windows removes no file that is open
                (self.save_dir / LOCK_FILE).unlink()
        for folder in (self.wdir, self.save_dir):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _setup(self) -> None:
        args = self.args
        self._tell_idle_keys()
        seed_everything(args.seed, args.deterministic)
        with one_thread():  # it is not settled yet how many there are
            self.setup_model()
            self.model = self.model.to(self.device)
        channels_last(self.model)
        self.set_model_attributes()
        self._freeze()
        stride = max(int(self.model.stride.max()), 32)
        imgsz = math.ceil(args.imgsz / stride) * stride
        if imgsz != args.imgsz:
            LOGGER.warning("imgsz=%d is no multiple of the stride %d: using %d", args.imgsz, stride, imgsz)
            args.set("imgsz", imgsz, "auto")
        self.stride = stride
        self._settle_threads()
        self.criterion = self.get_criterion()
        self.model_has_loss = self.loss_is_the_models()
        if args.teacher and self.model_has_loss:
            raise ConfigError("a model with a loss of its own learns from no teacher", hint="leave out teacher=")
        self.distillation = self.get_distillation() if args.teacher else None
        if self.distillation is not None:
            self.distillation.attach(self.model)
        if args.batch < 1:
            memory.find_batch(self)
        self.train_loader = self.loader("train")
        self.val_loader = self.loader("val") if args.val else None
        if args.plots and self.team.leads:
            self.plot_training_labels()
        self.validator = self.get_validator()
        self.metrics = Figures(dict.fromkeys(self.label_loss_items(prefix="val"), 0.0))
        if self.distillation is not None:
            self.loss_names = (*self.loss_names, LOSS_NAME)
        images = len(self.train_loader.dataset)
        self.batch = min(args.batch, images)
        if self.batch < self.team.size:
            raise ConfigError(
                f"batch={self.batch} is for all processes together, and there are {self.team.size}",
                hint="a larger batch, or fewer processes",
            )

        # A resumed run keeps its optimiser, even if its new length would make `auto` choose another.
        name = self.resumed.state["optimizer_name"] if self.resumed is not None else args.optimizer
        accumulate = max(round(args.nbs / args.batch), 1)
        decay = args.weight_decay * args.batch * accumulate / args.nbs
        iterations = math.ceil(images / max(args.batch, args.nbs)) * self.epochs
        self.optimizer = self.build_optimizer(self.model, name, args.lr0, args.momentum, decay, iterations)
        self.group_rates = rates(self.optimizer, args.lr0)
        if self.new_tensors and not self.groups:
            count = len(self.new_tensors)
            told = f"{counted(count, 'new tensor')} {'learns' if count == 1 else 'learn'} at the rate of all others"
            LOGGER.warning("%s: an own build_optimizer has no lr_new, lr_gate", told)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp_dtype == torch.float16)
        self.stopper = EarlyStopping(args.patience)
        self._setup_scheduler()
        try:
            self.ema = ModelEMA(self.model, *window(args.ema, self.schedule))
        except Exception:  # whatever a module holds
            check_copies(self.model, self.model)
            raise
        if self.distillation is not None:
            self.distillation.detach(self.ema.ema)
        self.meter = Meter(self.ema.ema)
        self._tell_closed_gates(type(self.optimizer).__name__)
        before = self.resumed.state.get("provenance") if self.resumed is not None else None
        record = partial(provenance, self.device, args, self.describe_data(), self.command, before)
        self.provenance = {**self.team.lead(record), **self.files}
        if changed_teacher(before or {}, self.provenance):
            raise ConfigError(
                "the teacher is another file than the run was saved with",
                str(args.teacher),
                "restore it, or begin anew",
            )
        self.guard = Guard(self.model, self.device)
        self.loss_mean = torch.zeros(len(self.loss_names), device=self.device)
        reseed(self.team, args.seed)
        if self.resumption is not None and self.resumed is not None:
            with restoring(self.resumed.path):
                restore(self, self.resumed.state)
            self.over = is_over(self.resumed.state, self.epochs, self.resumption.changed)
            self._tell_changes(self.resumption.changed, before or {})
        if args.preflight:
            self._preflight(images)
        if self.team.many:
            self._join_ranks(images)

    def loader(self, mode: str) -> Any:
        """The loader of a split, train or val; a validation batch is twice as large.

        Raises:
            ConfigError: an own `get_dataloader` has made something else.
        """
        train, rank = mode == "train", self.team.rank if self.team.many else -1
        size = int(self.args.batch) * (1 if train else 2)
        made = self.get_dataloader(self.trainset if train else self.testset, batch_size=size, rank=rank, mode=mode)
        if not hasattr(made, "set_epoch") or not hasattr(made, "own"):
            raise ConfigError(
                f"get_dataloader returns a {type(made).__name__}, with which a run cannot be resumed",
                hint="make it with ultralytics.data.build_dataloader; build_dataset may return a data set of your own",
            )
        return made

    def build_optimizer(
        self,
        model: nn.Module,
        name: str = "auto",
        lr: float = 0.001,
        momentum: float = 0.9,
        decay: float = 1e-5,
        iterations: float = 1e5,
    ) -> torch.optim.Optimizer:
        """An optimiser for a model's parameters, with the weight decay for those that are decayed; `auto` chooses it by
        the number of steps, and its settings become the run's."""
        args = self.args
        choice = choose_optimizer(name, lr, momentum, model.nc, int(iterations))  # type: ignore[arg-type]  # a detector's
        if name == "auto":
            for key, value in (("lr0", choice.lr), ("momentum", choice.momentum), ("warmup_bias_lr", 0.0)):
                if args.sources.get(key) not in (None, "default") and getattr(args, key) != value:
                    LOGGER.warning("%s=%s is not used: optimizer=auto sets it to %s", key, getattr(args, key), value)
                args.set(key, value, "auto")
        settle_rates(args, choice.name, self.new_tensors)
        optimizer, self.groups = build_groups(model, choice, decay, args, self.new_tensors)
        bias, decayed, rest = (
            sum(len(g.names) for g in self.groups if g.kind == kind) for kind in ("bias", "weight", "other")
        )
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
        for line in describe(self.groups):
            LOGGER.info("  %s", line)
        return optimizer

    def _setup_scheduler(self) -> None:
        """Make the schedule; an own one may set `lf`."""
        self.make_schedule()

    def _join_ranks(self, images: int) -> None:
        """All ranks begin with the leader's weights, on the same data."""
        self.team.check_same((images, self.describe_data()), "images or labels")
        if self.resumed is None:
            self.team.copy_leader([*self.model.parameters(), *self.model.buffers()])
            self.team.copy_leader(list(self.ema.ema.state_dict().values()))
        told = "each with batch norms of its own"
        if self.args.sync_bn:
            told = f"{counted(synchronise_norms(self.model, self.team.group), 'batch norm')} see the images of all"
        per_rank = self.batch / self.team.size
        LOGGER.info(
            # at least two
            "%d processes share each batch of %d: %g images each, %s",
            self.team.size,
            self.batch,
            per_rank,
            told,
        )

    def _preflight(self, images: int) -> None:
        """Try the model at every shape of the run.

        Raises:
            PreflightError: naming the row that would stop or spoil the run.
        """
        args = self.args
        square = [(args.imgsz, args.imgsz)]
        validated = [] if self.val_loader is None else rectangles(self.val_loader) or square
        ranks = self.team.size
        batch, rest = -(-self.batch // ranks), images % self.batch
        images = images // self.batch * batch + (max(rest // ranks, 1) if rest else 0)  # of one rank
        shapes = probes(
            args.imgsz, self.stride, batch, images, args.multi_scale, validated, rectangles(self.train_loader)
        )
        report = preflight(
            self.model,
            shapes,
            device=self.device,
            amp_dtype=self.amp_dtype,
            deterministic=args.deterministic,
            batch=batch,
            optimizer_copies=1 if isinstance(self.optimizer, torch.optim.SGD | torch.optim.RMSprop) else 2,
        )
        for line in report.lines():
            LOGGER.info(line)
        for warning in report.warnings:
            LOGGER.warning(warning)

    def _tell_idle_keys(self) -> None:
        """Keys that were given and do nothing here."""
        unable = {}
        if self.amp_dtype is None:
            unable["amp"] = f"{self.device} multiplies no 16-bit numbers, so training is in fp32"
        if not self.team.many:
            unable["sync_bn"] = "one process sees all images of a batch anyway"
        if self.checkpoint is None and self.args.pretrained is True and not str(self.args.model or "").endswith(".pt"):
            unable |= dict.fromkeys(("pretrained", "transfer"), "no weights are named to start from")
        for line in without_effect(self.args, "train", unable):
            LOGGER.warning(line)

    def _tell_closed_gates(self, optimizer: str) -> None:
        """Say so where the planned steps are too few and too small to open the gate of a new block."""
        gates = [g for g in self.groups if g.role == "gate"]
        if not gates or optimizer not in ADAMS:
            if not self.new_tensors:
                for key in ("lr_new", "lr_gate"):
                    if self.args.sources.get(key, "default") in ("argument", "command line"):
                        LOGGER.warning("%s=%s has no effect: no tensor is new", key, getattr(self.args, key))
            return
        way = reach(self.schedule, gates[0].factor)
        if way < OPEN:
            LOGGER.warning(
                "The planned optimiser steps can move a gate by %.2g at most, so the new block will hardly act: "
                "more epochs=, a smaller nbs= or a larger lr_gate=",
                way,
            )

    def _settle_threads(self) -> None:
        """Compute with `threads=`, or what a resumed run has computed with so far, else with what a trial finds."""
        args, ours = self.args, self.args.sources.get("threads") == "auto"
        told_anew = self.resumption.changed if self.resumption is not None else {}
        if ours and "device" in told_anew:
            args.set("threads", None, "auto")
        elif ours and args.threads is not None and args.threads * self.team.local_size > threads.cores():
            told = "The run had threads=%d, and there are %d cores here: its sums will be rounded in another order"
            LOGGER.warning(told, args.threads, threads.cores())
            args.set("threads", None, "auto")

        def choose(most: int) -> threads.Choice | None:
            if self.team.many:  # each would time the others
                return None
            return threads.try_training(self.model, self.autocast, max(int(args.batch), 1), args.imgsz, most)

        threads.settle(args, self.device, choose)

    def make_schedule(self) -> None:
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
            self.own_lf,
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
        if self.args.train_only == "new":
            self.frozen += freeze_all_but(self.model, self.untransferred)
        if not any(p.requires_grad for p in self.model.parameters()):
            raise ConfigError(f"freeze={freeze} leaves nothing to train")

    # One epoch

    def _train_epoch(self) -> None:
        self.run_callbacks("on_train_epoch_start")
        self.epoch_loss = None
        self.model.train()
        for row in self.frozen:
            row.eval()
        closing = self.args.close_mosaic
        closed = bool(closing) and self.epoch >= self.epochs - closing
        if closed and not self.train_loader.dataset.mosaic_closed:
            LOGGER.info("Mosaic is off for the last %s", counted(self.epochs - self.epoch, "epoch"))
        self.train_loader.close_mosaic(closed)  # a run that was rolled back, or grew longer, opens it again
        self.train_loader.set_epoch(self.epoch, self.batches_done)
        batches = len(self.train_loader)
        if self.epoch == self.start_epoch:
            LOGGER.info(self.progress_string())
        done = self.batches_done
        rest = self.train_loader if done < batches else ()
        bar = progress(enumerate(rest, done), total=batches, initial=done)
        line = ""
        self.pace.rest()
        for i, batch in bar:
            self.pace.arrived()
            iteration = i + batches * self.epoch
            self.own = self.train_loader.own(i)
            self.run_callbacks("on_train_batch_start")
            try:
                parts = self.train_step(batch, iteration)
            except BadStepError as bad:
                recovery.bad_step(self, bad, batch, iteration)
            else:
                self.loss_count, self.skips_in_a_row = self.loss_count + 1, 0
                self.loss_mean += (parts - self.loss_mean) / self.loss_count
            self.batches_done = i + 1
            waited = self.batches_done == batches or self.device.type == "cpu" or i % 10 == 0
            if waited:  # reading waits for the GPU
                self._look_back()
            self.pace.stepped(batch["img"][:, 0].numel(), done=waited)
            if waited:
                line = self._progress_line(self.loss_mean, batch)
                bar.set_description(line)
            if (
                self.args.plots
                and self.team.leads
                and (iteration < 3 or (closing and 0 <= iteration - batches * max(self.epochs - closing, 0) < 3))
            ):
                self.plot_training_samples(batch, iteration)
            self.run_callbacks("on_train_batch_end")
            if self.args.save_every and self.team.agree(
                self.team.leads and time.perf_counter() - self.saved_at >= self.args.save_every * 60
            ):
                self._save_position()
            self.interrupts.poll()
            self.pace.rest()
        if bar.disable and line:
            LOGGER.info(line)
        self.mean_loss = self.loss_mean.tolist()
        # The state at an epoch's end is that of one process: it can be resumed with any number of ranks.
        self.team.collect_gradients(self.model)
        self._average_norms()
        self.run_callbacks("on_train_epoch_end")

    def train_step(self, batch: dict[str, Any], iteration: int) -> Tensor:
        """Forward, backward and, when enough images have gathered, an optimiser step; returns the loss parts.

        Raises:
            BadStepError: the loss or the gathered gradients are not finite; weights and statistics are as before.
        """
        now = self.schedule.at(iteration, self.epoch)
        for j, (group, rate) in enumerate(zip(self.optimizer.param_groups, self.group_rates, strict=True)):
            group["lr"] = (now.lr if j else now.lr_bias) * rate * self.lr_factor
            if "momentum" in group:
                group["momentum"] = now.momentum
        self.guard.remember()
        since = self.images_since
        self.stage = "forward"
        self.iteration = iteration
        batch.update(self.preprocess_batch(batch))
        loss, parts = self.batch_loss(batch)
        if self.own == 0:
            loss = loss * 0
        self.loss, self.loss_items = loss.detach(), parts
        self.images_since += self.own
        try:
            self.guard.check(parts.sum() if self.team.many else loss, "loss")  # the parts are those of all ranks
            self.stage = "backward"
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch's own
            if iteration - self.last_opt_step >= now.accumulate:
                self.stage = "step"
                self.team.sum_gradients(self.model)
                self._average_norms()
                self.optimizer_step()
                self.last_opt_step = iteration
        except BadStepError as bad:
            bad.parts = parts.detach()
            self.guard.undo()
            self.images_since = since  # those of the statistics that are back, even if they were averaged in between
            self.stage = ""
            raise
        self.stage = ""
        return parts

    def batch_loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """The loss to differentiate and its named parts, of a batch on the device."""
        with self.autocast():
            if self.model_has_loss:
                loss, parts = self.model(batch)
                return loss, parts.detach()
            if self.distillation is None:
                outputs = self.model(batch["img"])
            else:
                with self.distillation.watching(self.model) as maps:
                    outputs = self.model(batch["img"])
                extra, value = self.distillation.loss(self.model, maps, outputs, batch["img"])
        loss, parts = self.criterion(outputs, batch)
        return (loss, parts) if self.distillation is None else (loss + extra, torch.cat([parts, value[None]]))

    def optimizer_step(self) -> None:
        """Clip the gradients, which are those of all ranks, step, and let the average follow."""
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRAD_NORM)
        if not self.scaler.is_enabled():  # with a scaler infinite gradients are part of finding the scale
            self.guard.check(norm, "gradient")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.is_enabled() and self.scaler.get_scale() < MIN_SCALE:
            raise BadStepError("gradient")
        self.run_callbacks("optimizer_step")
        self.run_callbacks("on_before_zero_grad")
        self.optimizer.zero_grad()
        self.ema.update(self.model)
        self.run_callbacks("on_params_update")

    def reduce(self, tensor: Tensor) -> Tensor:
        """The sum of what the ranks have found in their part of a batch: what a criterion normalises by."""
        if self.alone:
            return tensor
        return self.team.sum(tensor if self.own else torch.zeros_like(tensor))

    def _average_norms(self) -> None:
        self.team.average_statistics(self.model, self.images_since)
        self.images_since = 0

    @contextlib.contextmanager
    def by_itself(self) -> Iterator[None]:
        """Losses of this rank alone, whatever the others do."""
        self.alone = True
        try:
            yield
        finally:
            self.alone = False

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The run's precision for a forward pass."""
        return torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None)

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Move a batch to the device, in place: images 0..1, channels last, resized with `multi_scale`."""
        for key in ("cls", "bboxes", "batch_idx"):
            batch[key] = batch[key].to(self.device, non_blocking=True)
        img = batch["img"].to(self.device, non_blocking=True)
        img = img.to(torch.float32, memory_format=torch.channels_last) / 255
        if self.args.multi_scale:
            img = self.rescale(img, self.iteration)
        batch["img"] = img
        return batch

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

    # Steps that are not finite

    def _look_back(self) -> None:
        """Read what a guard that is not careful has noted.

        Raises:
            BadStepError: a step since the last look was bad, and the weights are spoilt.
        """
        if self.careful_until is not None and (self.finished, self.batches_done) > self.careful_until:
            self.guard.careful, self.careful_until = False, None  # the bad place is passed
        if not self.guard.careful and self.guard.spoilt():
            raise BadStepError("unseen")

    def _go_back(self, bad: BadStepError) -> None:
        """Take up the last save: at half the learning rate, or, where a bad step was seen too late, to see it.

        Raises:
            NonFiniteLossError: there is no save.
        """
        if not self.team.lead(self.last.exists):
            raise NonFiniteLossError(
                f"the loss is not finite in epoch {self.epoch + 1}", hint="try a lower lr0, or amp=False"
            )
        place = self.finished, self.batches_done
        kept = self.lr_factor, self.rollbacks, self.skipped, self.elapsed
        restore(self, self.team.lead(lambda: load_newest(self.last, self.previous)).state)
        self.lr_factor, self.rollbacks, self.skipped, self.elapsed = kept
        self.guard.reset()
        back = f"epoch {self.finished + 1}, batch {self.batches_done + 1}"
        if bad.kind == "unseen":
            self.guard.careful, self.careful_until = True, place
            LOGGER.warning("The loss or a gradient is not finite: repeating from %s to see where", back)
            return
        self.rollbacks += 1
        self.lr_factor *= ROLLBACK_FACTOR
        LOGGER.warning(
            "Rolled back to %s (%d of %d times); the learning rate is now %g of what it was planned to be",
            back,
            self.rollbacks,
            MAX_ROLLBACKS,
            self.lr_factor,
        )
        self._save_position()

    def _progress_line(self, mean: Tensor, batch: Mapping[str, Any]) -> str:
        reserved = torch.cuda.memory_reserved(self.device) / 1e9 if self.device.type == "cuda" else 0.0
        losses = "".join(f"{v:11.4g}" for v in mean.tolist())
        progress_columns = f"{f'{self.epoch + 1}/{self.epochs}':>11}{f'{reserved:.3g}G':>11}"
        return f"{progress_columns}{losses}{len(batch['cls']):>11}{batch['img'].shape[-1]:>11}"

    # The end of an epoch

    def _finish_epoch(self) -> None:
        """Validate, record, save."""
        args = self.args
        if args.time:
            spent = self.team.lead(self.spent)
            self.epochs = max(math.ceil(args.time * 3600 / (spent / (self.epoch + 1))), self.epoch + 1)
            self.make_schedule()
        final = self.epoch + 1 >= self.epochs
        figures: dict[str, float] = {}
        self.fitness = None
        if args.val:
            figures, self.fitness = self.validate()
            self.metrics = Figures(figures, self.metrics.source)
        improved = self.fitness is not None and self.fitness >= self.stopper.best_fitness
        stop = self.stopper(self.epoch, self.fitness)
        if self.team.agree(self.stop) or (args.time and self.team.agree(self.spent() >= args.time * 3600)):
            stop = True
        self.save_metrics({**self.label_loss_items(self.mean_loss), **figures, **self.lr, **self.meter.row()})
        self.finished, self.batches_done, self.loss_count = self.epoch + 1, 0, 0
        self.epoch_loss, self.loss_mean = self.loss_mean, torch.zeros_like(self.loss_mean)
        self.over = self.stop = final or stop
        self.is_best = improved or (final and not args.val)
        self._write_results()
        if args.save or self.over:
            self.save_model()
            self.run_callbacks("on_model_save")
        elif args.on_nan == "rollback":
            self._save_position()
        self.run_callbacks("on_fit_epoch_end")
        if not self.over and self.team.agree(self.stop):
            self.over, self.is_best = True, self.is_best and not args.save
            self.save_model()

    def save_metrics(self, metrics: Mapping[str, float]) -> None:
        """Take an epoch's figures as the next row of results.csv."""
        self.rows.append({"epoch": self.epoch + 1, "time": round(self.spent(), 2), **metrics})

    def save_model(self) -> None:
        """Write last.pt, and best.pt where the epoch is the best so far."""
        self._save(self.is_best)

    def spent(self) -> float:
        """Seconds of training, those before a resumption included."""
        return self.elapsed + time.perf_counter() - self.clock

    def _write_results(self) -> None:
        """results.csv: the whole table anew, so that a killed run leaves whole lines."""
        if not self.team.leads:
            return
        columns = list(dict.fromkeys(k for row in self.rows for k in row))
        lines = [",".join(columns)]
        lines += [",".join(f"{row[c]:.6g}" if c in row else "" for c in columns) for row in self.rows]
        write_text(self.save_dir / "results.csv", "\n".join(lines) + "\n")

    def _save(self, best: bool) -> None:
        state = state_of(self)
        if not self.team.leads:
            return
        if best:  # first: a stop between the two must not leave a last.pt that remembers a best.pt there is not
            save_checkpoint(self.best, {k: state[k] for k in _PORTABLE})
        save_checkpoint(self.last, state, self.previous)
        self.saved_at = time.perf_counter()
        period = self.args.save_period
        if period > 0 and self.finished % period == 0:
            save_checkpoint(self.wdir / f"epoch{self.finished}.pt", {k: state[k] for k in _PORTABLE})

    def _save_position(self, keep: bool = True) -> None:
        """Save the run as it is, in the middle of an epoch; `keep` the save before it."""
        self._look_back()
        state = state_of(self)
        if self.team.leads:
            save_checkpoint(self.last, state, self.previous if keep else None)
        self.saved_at = time.perf_counter()

    def save_sound(self) -> None:
        """Save the run as it is, unless it turns out spoilt; then the last save stands."""
        try:
            self._save_position()
        except BadStepError:
            LOGGER.warning("The loss or a gradient is not finite: the save before stands, %s", self.last)

    # Resuming

    def _check_taken_up(self) -> None:
        """Make sure, now that the folder is this process's, that no other has trained on since last.pt was read.

        Raises:
            ConfigError: one has.
        """
        if self.resumption is None or self.finished or self.batches_done:  # a second call of `train` goes on from here
            return
        if stamp(self.last) != self.taken_up:
            raise ConfigError(
                "another process has trained in this folder since it was read", str(self.save_dir), "resume it again"
            )

    def _tell_changes(self, changed: Mapping[str, Any], before: Mapping[str, Any]) -> None:
        """What a resumed run does otherwise than it would have done; `before` is the record it was saved with."""
        args = self.args
        if "epochs" in changed:
            planned = Schedule(**{**vars(self.schedule), "epochs": changed["epochs"]})
            place = self.finished * len(self.train_loader) + self.batches_done
            LOGGER.info(
                "The schedule now spans %s instead of %d: the learning rate goes on at %.4g instead of %.4g%s",
                counted(self.epochs, "epoch"),
                changed["epochs"],
                self.schedule.at(place, self.finished).lr * self.lr_factor,
                planned.at(place, min(self.finished, changed["epochs"])).lr * self.lr_factor,
                f", and mosaic ends {counted(args.close_mosaic, 'epoch')} before the new end"
                if args.close_mosaic
                else "",
            )
        if {"batch", "imgsz", "device"} & set(changed):
            LOGGER.info("With another batch, imgsz or device it will not equal the run that was never stopped")
        for line in changed_data(before, self.provenance):
            LOGGER.warning(line)
        for file in changed_plugins(before, self.provenance):
            LOGGER.warning("the plugin %s has changed since the run was saved: its modules may compute otherwise", file)
        if changed.get("threads") not in (None, args.threads):
            told = (
                "With threads=%s instead of %d its sums are rounded in another order: it will not equal, to the bit, %s"
            )
            LOGGER.info(told, args.threads, changed["threads"], "the run that was never stopped")

    def epoch_of_best(self) -> int | None:
        """The epoch best.pt holds; None when it is missing or damaged."""
        try:
            epoch: int | None = load_checkpoint(self.best).state.get("epoch")
        except UserError:
            return None
        return epoch

    # The end

    def _finish(self) -> None:
        if self.team.lead(self.best.exists):
            self.final_eval()
            self.run_callbacks("on_fit_epoch_end")
        self.plot_metrics()
        for line in self.meter.verdict(self.rows):
            LOGGER.info(line)
        LOGGER.info("")
        for what, path in (
            ("weights", self.best if self.best.exists() else self.last),
            ("curves", self.save_dir / "results.png"),
            ("table", self.save_dir / "results.csv"),
            ("metrics", self.save_dir / "metrics.json"),
        ):
            if path.exists():
                LOGGER.info("%-8s %s", what, path)


@contextlib.contextmanager
def frozen_objects() -> Iterator[None]:
    """Spare what is there already from garbage collections: they write to every object, and what workers made by fork
    share with this process would be copied page by page."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def rectangles(loader: Any) -> list[tuple[int, int]]:
    """(height, width) of a loader's batches where they are rectangles, else none."""
    found = getattr(loader.dataset, "rectangles", None)
    return [] if found is None else [(int(h), int(w)) for h, w in found]


# A checkpoint to evaluate with and to start from, without the state of the run.
_PORTABLE = (
    "model",
    "names",
    "ema",
    "epoch",
    "fitness",
    "best_fitness",
    "train_args",
    "inserted",
    "provenance",
    "version",
    "date",
    "torch",
)
