"""One training step: forward, backward and, when enough images have gathered, an optimizer step."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ultralytics.engine.ranks.team import Team
from ultralytics.engine.run.state import RunState
from ultralytics.engine.safety.guard import MIN_SCALE, BadStepError, Guard
from ultralytics.engine.step.ema import ModelEMA
from ultralytics.engine.step.loss import UNSET, BatchLoss
from ultralytics.engine.step.schedule import Schedule
from ultralytics.utils.types import Batch

MAX_GRAD_NORM = 10.0
LOOK = 10  # batches, after which a run on a GPU shows where it is


class StepHooks(Protocol):
    """The parts of a step that a task supplies and scripts replace."""

    def preprocess_batch(self, batch: Batch) -> Batch:
        """Move a batch to the device, as the network takes it."""

    def optimizer_step(self) -> None:
        """Move the weights."""

    def run_callbacks(self, event: str) -> None:
        """Call the user's functions."""


class TrainStep:
    """What one step moves, and the step.

    Attributes:
        loss: from a batch to its loss, with the network.
        state: position and counters of the run.
        optimizer, scaler, ema, guard, schedule: made by the run's setup.
        group_rates: each parameter group's learning rate as a multiple of the run's.
        iteration: at work, from 0 over the whole run; stage: forward, backward or step, "" between steps.
        last: of the last batch, the loss that is differentiated and its parts.
    """

    def __init__(self, loss: BatchLoss, state: RunState, hooks: StepHooks) -> None:
        self.loss, self.state, self.hooks = loss, state, hooks
        self.optimizer: torch.optim.Optimizer = UNSET
        self.scaler: torch.amp.GradScaler = UNSET
        self.ema: ModelEMA = UNSET
        self.guard: Guard = UNSET
        self.schedule: Schedule = UNSET
        self.group_rates: list[float] = []
        self.iteration = 0
        self.stage = ""
        self.last: tuple[Tensor | None, Tensor | None] = (None, None)

    @property
    def team(self) -> Team:
        """The ranks of the run."""
        return self.loss.team

    def __call__(self, batch: Batch, iteration: int) -> Tensor:
        """Train on a batch; return the loss parts.

        Raises:
            BadStepError: the loss or the gathered gradients are not finite; weights and statistics are as before.
        """
        state, accumulate = self.state, self._set_rates(iteration)
        self.guard.remember()
        since = state.images_since
        self.stage, self.iteration = "forward", iteration
        batch.update(self.hooks.preprocess_batch(batch))
        loss, parts = self.loss.of(batch)
        if self.loss.images == 0:
            loss = loss * 0
        self.last = loss.detach(), parts
        state.images_since += self.loss.images
        try:
            self.guard.check(parts.sum() if self.team.many else loss, "loss")  # the parts are those of all ranks
            self.stage = "backward"
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch's own
            if self.loss.compiled is not None:
                self.loss.compiled.keep_gradients()
            if iteration - state.last_opt_step >= accumulate:
                self.stage = "step"
                self.team.sum_gradients(self.loss.model)
                self.average_norms()
                self.hooks.optimizer_step()
                state.last_opt_step = iteration
        except BadStepError as bad:
            bad.parts = parts.detach()
            self.guard.undo()
            state.images_since = since  # those of the statistics that are back, even if averaged in between
            self.stage = ""
            raise
        self.stage = ""
        return parts

    def progress_line(self, batch: Batch, wait: bool = True) -> str:
        """Return the line of the table that is printed while training; without `wait` its losses may be those of an
        earlier batch, which a GPU has got to."""
        state, device = self.state, self.loss.device
        reserved = torch.cuda.memory_reserved(device) / 1e9 if device.type == "cuda" else 0.0
        losses = "".join(f"{v:11.4g}" for v in state.losses(wait))
        columns = f"{f'{state.epoch + 1}/{state.epochs}':>11}{f'{reserved:.3g}G':>11}"
        return f"{columns}{losses}{len(batch['cls']):>11}{batch['img'].shape[-1]:>11}"

    def shown(self, batch: Batch, i: int, last: bool) -> str:
        """Look back after batch `i` of an epoch and return its progress line; a GPU is asked now and then, and waited
        for at the last one: "" in between."""
        wait = last or self.loss.device.type == "cpu"
        if not wait and i % LOOK:
            return ""
        self.look_back(wait or self.team.many)  # ranks find out together
        return self.progress_line(batch, wait)

    def _set_rates(self, iteration: int) -> int:
        """Set learning rates and momentum by the schedule; return how many iterations an optimizer step gathers."""
        now = self.schedule.at(iteration, self.state.epoch)
        for j, (group, rate) in enumerate(zip(self.optimizer.param_groups, self.group_rates, strict=True)):
            group["lr"] = (now.lr if j else now.lr_bias) * rate * self.state.lr_factor
            if "momentum" in group:
                group["momentum"] = now.momentum
        return now.accumulate

    def update(self) -> None:
        """Clip the gradients, which are those of all ranks, step, and let the average follow."""
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.loss.model.parameters(), MAX_GRAD_NORM)
        if not self.scaler.is_enabled():  # with a scaler infinite gradients are part of finding the scale
            self.guard.check(norm, "gradient")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.is_enabled() and self.scaler.get_scale() < MIN_SCALE:
            raise BadStepError("gradient")
        self.hooks.run_callbacks("optimizer_step")
        self.hooks.run_callbacks("on_before_zero_grad")
        self.optimizer.zero_grad()
        self.ema.update(self.loss.model)
        self.hooks.run_callbacks("on_params_update")

    def average_norms(self) -> None:
        """Give all ranks the same running statistics."""
        self.team.average_statistics(self.loss.model, self.state.images_since)
        self.state.images_since = 0

    def look_back(self, wait: bool = True) -> None:
        """Read what the guard has noted; without `wait` only what a GPU has finished, see `Guard.glance`.

        Raises:
            BadStepError: a step since the last look was bad, and the weights are not finite.
        """
        (self.guard.look_back if wait else self.guard.glance)(self.state.place)
