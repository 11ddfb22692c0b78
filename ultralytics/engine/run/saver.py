"""What a run leaves on the disk: last.pt, best.pt, epochN.pt and results.csv; see docs/checkpoint.md."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

import ultralytics
from ultralytics.cfg.config import Config
from ultralytics.engine.run.folder import files_in
from ultralytics.engine.run.parts import parts_of, restore_parts
from ultralytics.engine.run.provenance import describe_briefly, without_home
from ultralytics.engine.run.resume import previous_of
from ultralytics.engine.safety.guard import BadStepError
from ultralytics.engine.safety.pace import training_pace
from ultralytics.engine.step.step import TrainStep
from ultralytics.engine.step.stopping import EarlyStopping
from ultralytics.engine.weights.checkpoint import load_checkpoint, portable, save_checkpoint
from ultralytics.utils.errors import UserError
from ultralytics.utils.files import remove_unfinished, write_text
from ultralytics.utils.log import LOGGER

# A checkpoint to evaluate with and to start from, without the state of the run.
PORTABLE = (
    *("model", "names", "ema", "epoch", "fitness", "best_fitness", "train_args", "inserted", "provenance"),
    *("version", "date", "torch"),
)


class Saver:  # size: everything that a checkpoint holds meets here
    """Writes a run's files and restores the run from them.

    Args:
        folder: of the run.
        args: its configuration.
        requested: the keys that the user gave, see `requested_keys`.
        step: what is saved, with the state of the run.
        describe_model: returns the entries that rebuild the network.

    Attributes:
        stopper, pace: of the run, which go on where they were.
        last, previous, best: paths of the checkpoints.
        provenance: record of the run, set by its setup; begun: it has its first save.
        saved_at: when last.pt was written, by `time.perf_counter`.
    """

    def __init__(
        self,
        folder: Path,
        args: Config,
        requested: Mapping[str, Any],
        step: TrainStep,
        describe_model: Callable[[], dict[str, Any]],
    ) -> None:
        self.folder, self.args, self.requested = folder, args, requested
        self.step = step
        self.stopper, self.pace = EarlyStopping(args.patience), training_pace()
        self.describe_model = describe_model
        self.best, self.last = folder / "weights" / "best.pt", folder / "weights" / "last.pt"
        self.previous = previous_of(self.last)
        self.provenance: dict[str, Any] = {}
        self.begun = False
        self.saved_at = time.perf_counter()

    def content(self) -> dict[str, Any]:
        """Return everything a run is, as tensors and plain data; all ranks call it together."""
        return {
            **parts_of(self.step),
            **self.step.state.state_dict(),
            **self.describe_model(),
            "best_fitness": self.stopper.best_fitness,
            "best_epoch": self.stopper.best_epoch,
            "pace": self.pace.began,
            "train_args": portable(self.args.to_dict()),
            "asked": self.requested,
            "sources": without_home({k: v for k, v in self.args.sources.items() if v != "default"}),
            "provenance": self.provenance,
            "version": ultralytics.__version__,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "torch": str(torch.__version__),
        }

    def restore(self, content: Mapping[str, Any], rolled_back: bool = False) -> None:
        """Become the run of a checkpoint; `rolled_back` where it is an earlier place of the same run.

        Raises:
            KeyError, TypeError, ValueError, RuntimeError: it does not fit; see `checkpoint.restoring`.
        """
        step, state, stopper = self.step, self.step.state, self.stopper
        restore_parts(step, content)
        stopper.best_fitness, stopper.best_epoch = content["best_fitness"], content["best_epoch"]
        if self.args.save and step.team.lead(self.epoch_of_best) != content["best_epoch"]:
            stopper.best_fitness = -math.inf  # so that the next epoch writes a best.pt
        planned = state.epochs
        state.load_state_dict(content, rolled_back)
        if self.args.time:  # which decides how many there are
            step.schedule = replace(step.schedule, epochs=state.epochs)
        else:
            state.epochs = planned
        self._restore_pace(content)

    def _restore_pace(self, content: Mapping[str, Any]) -> None:
        """Compare with how fast the run began, unless it goes on by other means."""
        before, now = content["train_args"], self.args.to_dict()
        same = all(before.get(k) == now[k] for k in ("batch", "imgsz", "threads", "device"))
        if same and content.get("provenance", {}).get("device") == self.provenance.get("device"):
            self.pace.began = content.get("pace") or self.pace.began

    @contextlib.contextmanager
    def beginning(self, new: bool) -> Iterator[None]:
        """Write args.yaml; where the block fails before the first save, leave nothing of a `new` run."""
        args_file, leads, self.begun = self.folder / "args.yaml", self.step.team.leads, False
        if leads:
            for folder in (self.folder, self.last.parent):
                remove_unfinished(folder)
        ours = leads and not files_in(self.folder)  # whatever comes to lie in an empty folder is this run's
        if leads and new:
            write_text(args_file, self.args.yaml_text())
        try:
            yield
        except BaseException:
            if leads and new and not self.last.exists():
                for file in files_in(self.folder) if ours else [args_file]:
                    if not file.is_dir():
                        file.unlink(missing_ok=True)
            raise

    def save_first(self, resumed_from: Path | None) -> None:
        """Save the run as it begins, or as it goes on from a checkpoint."""
        state, leads = self.step.state, self.step.team.leads
        state.clock = self.saved_at = time.perf_counter()
        if leads:
            self._clear_stale(resumed_from)
        if resumed_from is None and (self.args.save or self.args.on_nan == "rollback"):
            self.save_position(keep=False)
        if leads:
            write_text(self.folder / "args.yaml", self.args.yaml_text(describe_briefly(self.provenance)))
            if state.rows:
                self.write_results()
            else:
                (self.folder / "results.csv").unlink(missing_ok=True)
            if not state.over:
                (self.folder / "metrics.json").unlink(missing_ok=True)  # its absence says that it is not finished
        self.begun = True

    def save(self, best: bool) -> None:
        """Write last.pt, best.pt where the epoch is the best so far, and epochN.pt every `save_period` epochs.

        Raises:
            BadStepError: the weights turn out not to be finite.
        """
        self.step.look_back()
        content = self.content()
        if not self.step.team.leads:
            return
        if best:  # first: a stop between the two must not leave a last.pt that remembers a best.pt there is not
            save_checkpoint(self.best, {k: content[k] for k in PORTABLE})
        save_checkpoint(self.last, content, self.previous)
        self.saved_at = time.perf_counter()
        finished, period = self.step.state.finished, self.args.save_period
        if period > 0 and finished % period == 0:
            save_checkpoint(self.last.with_name(f"epoch{finished}.pt"), {k: content[k] for k in PORTABLE})

    def save_position(self, keep: bool = True) -> None:
        """Save the run as it is, in the middle of an epoch; `keep` the save before it.

        Raises:
            BadStepError: its weights turn out not to be finite.
        """
        self.step.look_back()
        content = self.content()
        if self.step.team.leads:
            save_checkpoint(self.last, content, self.previous if keep else None)
        self.saved_at = time.perf_counter()

    def save_sound(self) -> None:
        """Save the run as it is, unless its weights turn out not to be finite; then the last save stands."""
        try:
            self.save_position()
        except BadStepError:
            LOGGER.warning("The loss or a gradient is not finite: the save before stands, %s", self.last)

    def is_due(self) -> bool:
        """Return True if `save_every` minutes have passed since the last save; the same answer for all ranks."""
        every, team = self.args.save_every, self.step.team
        if not every:
            return False
        return team.agree(team.leads and time.perf_counter() - self.saved_at >= every * 60)

    def write_results(self) -> None:
        """Write results.csv: the whole table anew, so that a killed run leaves whole lines."""
        if not self.step.team.leads:
            return
        rows = self.step.state.rows
        columns = list(dict.fromkeys(k for row in rows for k in row))
        lines = [",".join(columns)]
        lines += [",".join(f"{row[c]:.6g}" if c in row else "" for c in columns) for row in rows]
        write_text(self.folder / "results.csv", "\n".join(lines) + "\n")

    def log_files(self) -> None:
        """List the files that a finished run leaves."""
        LOGGER.info("")
        for what, path in (
            ("weights", self.best if self.best.exists() else self.last),
            ("curves", self.folder / "results.png"),
            ("table", self.folder / "results.csv"),
            ("metrics", self.folder / "metrics.json"),
        ):
            if path.exists():
                LOGGER.info("%-8s %s", what, path)

    def _clear_stale(self, resumed_from: Path | None) -> None:
        """Remove what an earlier run in this folder has left, and put a damaged save aside."""
        if resumed_from is None:
            for stale in (self.previous, self.folder / "results.csv"):
                stale.unlink(missing_ok=True)
        elif self.last.exists() and resumed_from != self.last:
            os.replace(self.last, self.last.with_name("last.aside.pt"))  # damaged: it must not become the previous one

    def epoch_of_best(self) -> int | None:
        """Return the epoch best.pt holds; None when it is missing or damaged."""
        try:
            epoch: int | None = load_checkpoint(self.best).state.get("epoch")
        except UserError:
            return None
        return epoch
