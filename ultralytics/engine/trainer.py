"""The story of a run: set up, epoch by epoch to the end, validated and saved after each.

A task supplies the model, the loaders, the criterion and the validator by the methods of `engine/hooks.py`.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ultralytics.cfg.config import Config, get_cfg
from ultralytics.cfg.model import plugins_of
from ultralytics.engine import setup
from ultralytics.engine.aliases import Figures
from ultralytics.engine.callbacks import Callback, Callbacks
from ultralytics.engine.hooks import Hooks
from ultralytics.engine.loggers.relay import Loggers, fields_of_run, plots_of
from ultralytics.engine.ranks.device import mixed_precision, select_device
from ultralytics.engine.ranks.team import Team, join
from ultralytics.engine.run.folder import RunLock, make_run_folder
from ultralytics.engine.run.leaving import leave_in_order
from ultralytics.engine.run.resume import find_resumption, requested_keys
from ultralytics.engine.run.saver import Saver
from ultralytics.engine.run.state import RunState
from ultralytics.engine.safety.guard import BadStepError
from ultralytics.engine.safety.interrupt import Interrupts, StopRequest
from ultralytics.engine.safety.memory import WorstStep, out_of_memory
from ultralytics.engine.safety.recovery import go_back, handle_bad_step
from ultralytics.engine.step.loss import BatchLoss
from ultralytics.engine.step.meter import Meter
from ultralytics.engine.step.step import TrainStep
from ultralytics.engine.step.stopping import EarlyStopping as EarlyStopping  # where scripts look for it
from ultralytics.engine.weights.checkpoint import Checkpoint
from ultralytics.nn.plugins import load_plugins
from ultralytics.utils import events
from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.memory import release_memory
from ultralytics.utils.processes import frozen_objects, leave_unguarded
from ultralytics.utils.text import counted
from ultralytics.utils.threads import kept_threads
from ultralytics.utils.types import Batch


class BaseTrainer(Hooks):  # size: scripts find every part of a run here
    """Train a model by the reference's recipe.

    Args:
        cfg: a Config or a YAML of keys.
        overrides: keys on top of it.
        _callbacks: functions by event, besides those of plugin files.
        weights: a checkpoint to start from, already read; otherwise `model` and `pretrained` say what to load.
        source: of the overrides, for args.yaml.

    Attributes:
        args: the configuration; requested: the keys of it that the user gave.
        state: position and counters; step: what a step moves; saver: what is on the disk. See `engine/aliases.py`.
        save_dir: run folder; team: its processes; callbacks: the user's functions by event; meter: of inserted blocks.
        metrics: figures of the last validation; resumption: what the run goes on from.
    """

    def __init__(
        self,
        cfg: Config | str | Path | None = None,
        overrides: Mapping[str, Any] | None = None,
        _callbacks: Mapping[str, list[Callback]] | None = None,
        weights: Checkpoint | None = None,
        source: str = "argument",
    ) -> None:
        super().__init__()
        leave_unguarded()
        self.args = get_cfg(cfg, overrides, source)
        self.command = sys.argv[1:] if source == "command line" else []
        self.checkpoint = weights
        self.team: Team = join()
        if self.task:  # where the run's folder is, depends on it
            self.args.set("task", self.task, self.args.sources.get("task", "default"))
        automatic, self.requested = self.args.resume == "auto", requested_keys(self.args)
        self.resumption = find_resumption(self.args, self.team)
        if self.resumption is not None:
            # A checkpoint brings no plugins; the YAML that the command names once more does.
            plugins = plugins_of(self.args.model, self.resumption.args.plugins)
            self.args, self.requested = self.resumption.args, self.resumption.requested
            self.args.plugins = plugins
        self.resumed = self.resumption.checkpoint if self.resumption is not None else None
        self.args.plugins = load_plugins(self.args.plugins) or None
        self.loggers = Loggers(self.args.log or [], self.team.leads)
        self.callbacks = Callbacks(_callbacks)
        self.callbacks.take(self.args.plugins)
        device = select_device(self.team.device_name(self.args.device))
        self.team.bind(device)
        self.state = RunState(epochs=self.args.epochs)
        if self.resumed is not None:
            self.state.load_names(self.resumed.state)
        loss = BatchLoss(self.team, device, mixed_precision(device, self.args.amp))
        self.step = TrainStep(loss, self.state, hooks=self)
        self.model = self.args.model
        self.read_inputs()
        folder = self.resumption.folder if self.resumption is not None else None
        self.save_dir = self.team.lead(lambda: make_run_folder(self.args, folder, automatic, self.team.many))
        self.saver = Saver(self.save_dir, self.args, self.requested, self.step, self.describe_model)
        self.interrupts = Interrupts(self.team.most, quiet=self.team.many)
        self.metrics = Figures({})
        self.mean_loss: list[float] = []
        self.meter: Meter | None = None

    # The run

    def train(self) -> Any:
        """Train to the end; return the metrics of the best weights.

        Ctrl-C, SIGTERM and SIGHUP end the batch under way and save; then KeyboardInterrupt is raised, or the program's
        own handler called and SystemExit raised: 143 after SIGTERM, 129 after SIGHUP.

        Raises:
            UserError: the run cannot go on; what it had is saved.
        """
        lock = RunLock(self.save_dir) if self.team.leads else contextlib.nullcontext()
        self.interrupts = Interrupts(self.team.most, quiet=self.team.many)
        with lock, kept_threads(), self.interrupts:
            try:
                with self.loggers, leave_in_order(self.saver):
                    self._begin()
                    with self.interrupts.deferred(), frozen_objects(self.args.workers):
                        self.run_callbacks("on_train_start")
                        self._train_epochs()
                    self.interrupts.poll()
                    self._finish()
                self.run_callbacks("on_train_end")
                self.run_callbacks("teardown")
                return self.metrics.source
            except StopRequest as e:
                signum = e.signum
            finally:
                for loader in (self.train_loader, self.val_loader):  # whoever holds the trainer holds no workers
                    if loader is not None:
                        loader.close()
                release_memory()
        self.interrupts.deliver_again(signum)
        raise AssertionError("unreachable")

    def _begin(self) -> None:
        """Do everything before the first step: from here on the run can be resumed."""
        if self.resumption is not None and not any(self.state.place):  # a second `train` goes on from here
            self.team.lead(self.resumption.check_untouched)
        with self.saver.beginning(new=self.resumption is None):
            self.run_callbacks("on_pretrain_routine_start")
            self._setup()
            self.callbacks.take(self.args.plugins)  # those that the model's YAML has named
            self.run_callbacks("on_pretrain_routine_end")
            setup.log_start(self, self.step)
            self.saver.save_first(None if self.resumed is None else self.resumed.path)
        if self.team.leads:  # only now: another process at work would disturb the trials of the setup
            self.loggers.begin()
            events.emit("run", **fields_of_run(self, continued=self.resumption is not None))

    def _setup(self) -> None:
        """Make the parts of the run; see `engine/setup.py`."""
        self.meter = setup.set_up(self, self.step, self.saver, self.resumption, self.command)

    def _setup_scheduler(self) -> None:
        """Make the schedule; an override may set `lf`."""
        self.make_schedule()

    # Epochs

    def _train_epochs(self) -> None:
        """Train epoch by epoch to the end; a bad step may lead back."""
        state, first = self.state, self.finished
        state.begun = first * state.batches + state.batches_done, state.spent()
        while not self.state.over:
            self.epoch = self.finished
            try:
                self._train_epoch()
                self.step.look_back()
                self._finish_epoch()
            except BadStepError as bad:
                self._go_back(bad)
                continue
            except torch.cuda.OutOfMemoryError as e:
                out_of_memory(WorstStep(self.step.loss, self.args, self.stride, self.trial_labels), self.saver, e)
            if not self.state.over:
                self.interrupts.poll()
        hours = (self.state.spent() - self.state.elapsed) / 3600
        LOGGER.info("%s completed in %.3f hours.", counted(self.finished - first, "epoch"), hours)

    def _train_epoch(self) -> None:
        """Train on the batches of an epoch that are not done yet."""
        state, batches = self.state, self.state.batches
        self.run_callbacks("on_train_epoch_start")
        self.epoch_loss = None
        self.model.train()
        for row in self.frozen:
            row.eval()
        rest, line = setup.open_epoch(self.train_loader, state, self.args.close_mosaic), ""
        if self.epoch == self.start_epoch:
            LOGGER.info(self.progress_string())
        bar = progress(rest, total=batches, initial=self.batches_done, leave=False)  # its last line is logged
        self.pace.open_epoch()
        self.pace.rest()
        for i, batch in bar:
            self.pace.arrived()
            iteration = i + batches * self.epoch
            self.step.loss.images = self.train_loader.own(i)
            self.run_callbacks("on_train_batch_start")
            try:
                state.add_loss(self.train_step(batch, iteration))
            except BadStepError as bad:
                handle_bad_step(self.saver, bad, batch, self.train_loader, self.loss_names, self.draw_batch)
            state.batches_done = i + 1
            shown = self.step.shown(batch, i, last=state.batches_done == batches)
            self.pace.stepped(batch["img"][:, 0].numel(), done=bool(shown))
            if shown:
                line = f"{shown}{f'{self.pace.data_wait:.0f}%':>11}"
                bar.set_description(line)
                left = state.time_left()
                bar.set_postfix_str(f"run {left}" if left else "", refresh=False)
            if self.args.plots and self.team.leads and state.is_early(iteration, self.args.close_mosaic):
                self.plot_training_samples(batch, iteration)
            self.run_callbacks("on_train_batch_end")
            if self.saver.is_due():
                self.saver.save_position()
            self.interrupts.poll()
            self.pace.rest()
        if line:
            left = state.time_left()
            LOGGER.info("%s%s", line, f"   {left} left" if left else "")
        self.mean_loss = state.loss_mean.tolist()
        # The state at an epoch's end is that of one process: it can be resumed with any number of ranks.
        self.team.collect_gradients(self.model)
        self.step.average_norms()
        self.run_callbacks("on_train_epoch_end")

    def train_step(self, batch: Batch, iteration: int) -> Tensor:
        """Train on a batch; return the loss parts. See `TrainStep`."""
        return self.step(batch, iteration)

    def optimizer_step(self) -> None:
        """Move the weights by what has gathered."""
        self.step.update()

    def _go_back(self, bad: BadStepError) -> None:
        go_back(self.saver, bad)

    def attend(self, waited: float) -> None:
        """Look for signals while a loader waits for a batch."""
        self.interrupts.attend(waited, self.team.many)

    def _finish_epoch(self) -> None:
        """Validate, record, save."""
        args, state = self.args, self.state
        if args.time:
            state.plan_epochs(self.team.lead(state.spent), args.time)
            self.make_schedule()
        final = self.epoch + 1 >= self.epochs
        figures, self.fitness = dict[str, float](), None
        if args.val:
            figures, self.fitness = self.validate()
            self.metrics = Figures(figures, self.metrics.source)
        state.is_best = self.fitness is not None and self.fitness >= self.stopper.best_fitness
        stop = self.stopper(self.epoch, self.fitness)
        if self.team.agree(self.stop) or (args.time and self.team.agree(state.spent() >= args.time * 3600)):
            stop = True
        blocks = self.meter.row() if self.meter is not None else {}
        waits = self.team.gather(self.pace.data_wait)  # none where an earlier process has done all steps of the epoch
        waited = {"time/data_wait": round(max(waits), 2)} if waits and self.pace.epoch[1] else {}
        self.save_metrics({**self.label_loss_items(self.mean_loss), **figures, **self.lr, **blocks, **waited})
        self.epoch_loss = state.loss_mean
        state.finish_epoch()
        state.over = state.stop = final or stop
        state.is_best |= final and not args.val
        self.saver.write_results()
        if self.team.leads:
            row = self.rows[-1]
            events.emit("epoch", epoch=int(row["epoch"]), epochs=self.epochs, best=state.is_best, figures=row)
        if args.save or state.over:
            self.save_model()
            self.run_callbacks("on_model_save")
        elif args.on_nan == "rollback":
            self.saver.save_position()
        self.run_callbacks("on_fit_epoch_end")
        if not state.over and self.team.agree(self.stop):
            state.over, state.is_best = True, state.is_best and not args.save
            self.save_model()

    def save_metrics(self, metrics: Mapping[str, float]) -> None:
        """Take an epoch's figures as the next row of results.csv."""
        self.rows.append({"epoch": self.epoch + 1, "time": round(self.state.spent(), 2), **metrics})

    def save_model(self) -> None:
        """Write last.pt, and best.pt where the epoch is the best so far."""
        self.saver.save(self.is_best)

    def _finish(self) -> None:
        """Validate the best weights, draw, and list what there is."""
        if self.team.lead(self.best.exists):
            self.final_eval()
            if self.team.leads:
                events.emit("metrics", weights=self.best, figures=self.metrics)
            self.run_callbacks("on_fit_epoch_end")
        self.plot_metrics()
        self._attach_files()
        for line in self.meter.verdict(self.rows) if self.meter is not None else ():
            LOGGER.info(line)
        self.saver.log_files()

    def _attach_files(self) -> None:
        """Give the loggers the files that were asked for."""
        if self.args.log_images:
            self.loggers.attach("images", plots_of(self.save_dir))
        if self.args.log_weights:
            self.loggers.attach("weights", [self.best if self.best.exists() else self.last])

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
