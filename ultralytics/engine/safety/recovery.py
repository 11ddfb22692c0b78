"""What a run does about a step that is not finite: find module and batch, record them, stop, skip or roll back."""

from __future__ import annotations

import contextlib
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ultralytics.engine.safety.guard import MAX_ROLLBACKS, MAX_SKIPS, BadStepError, first_bad_module, record_batch
from ultralytics.utils.errors import UserError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer


class NonFiniteLossError(UserError):
    """A loss or gradient is NaN or infinite: training on would only destroy the weights."""


def bad_step(trainer: BaseTrainer, bad: BadStepError, batch: dict[str, Any], iteration: int) -> None:
    """Name and record a bad step, and do what `on_nan` says.

    Raises:
        NonFiniteLossError: stop. BadStepError: roll back.
    """
    with trainer.by_itself():
        told = _record(trainer, bad, batch, iteration)
    saved = trainer.team.lead(trainer.last.exists)
    if trainer.args.on_nan == "skip":
        if bad.kind == "gradient":  # what has gathered for the step goes with it
            trainer.optimizer.zero_grad()
            trainer.last_opt_step = iteration
        trainer.skipped += 1
        trainer.skips_in_a_row += 1
        if trainer.skips_in_a_row <= MAX_SKIPS:
            LOGGER.warning("%s; skipped (%d so far)", told, trainer.skipped)
            return
        told += f"; {counted(trainer.skips_in_a_row, 'batch')} one after another"
    elif trainer.args.on_nan == "rollback" and saved:
        if trainer.rollbacks < MAX_ROLLBACKS:
            LOGGER.warning("%s", told)
            raise bad
        told += f"; the run was rolled back {counted(trainer.rollbacks, 'time')} before"
    kept = f"{trainer.last} holds the last save" if saved else "nothing was saved"
    raise NonFiniteLossError(told, hint=f"try a lower lr0, amp=False or on_nan=rollback; {kept}")


def _record(trainer: BaseTrainer, bad: BadStepError, batch: dict[str, Any], iteration: int) -> str:
    """Find the batch and the module, write them to RUN/nan; one line about it."""
    batches = len(trainer.train_loader)
    number = current = iteration % batches
    gathered = range(max(trainer.last_opt_step + 1 - batches * trainer.epoch, 0), number)
    suspects = [(number, batch)] if bad.kind == "loss" else []
    if bad.kind == "gradient":  # any of the batches whose gradients had gathered
        for k in (*gathered, number):
            again = batch if k == number else trainer.train_loader.batch_at(trainer.epoch, k)
            if k != number:
                trainer.iteration = batches * trainer.epoch + k
                again.update(trainer.preprocess_batch(again))
            suspects.append((k, again))
    pending = [(p, p.grad) for p in trainer.model.parameters()]
    module, what, parts = "", "", torch.zeros(0)
    for number, batch in suspects:  # the last one looked at is the one to tell of
        for p, _ in pending:
            p.grad = None
        loss, parts = torch.zeros(0), torch.zeros(0)

        def step(suspect: dict[str, Any] = batch) -> Tensor:
            nonlocal loss, parts
            loss, parts = trainer.batch_loss(suspect)
            return loss

        if trainer.team.many and trainer.args.sync_bn:  # the ranks would have to fail in the same place
            module, what = "", "look for the module without sync_bn"
            break
        # Dropout and its like draw what they drew, for the one batch whose streams are known.
        with trainer.guard.repeated() if number == current else contextlib.nullcontext():
            module, what = first_bad_module(trainer.model, step)
        trainer.guard.undo()
        if module:
            break
    for p, gradient in pending:
        p.grad = gradient
    met = bad.parts if bad.parts is not None and number == current and not trainer.team.many else parts
    losses = {n: float(v) for n, v in zip(trainer.loss_names, met.tolist(), strict=False)}
    files = [str(f) for f in batch["im_file"]]
    told = {
        "epoch": trainer.epoch + 1,
        "batch": number + 1,
        "kind": bad.kind,
        "module": module or None,
        "found": what,
        "loss": {n: v if math.isfinite(v) else str(v) for n, v in losses.items()},
        "lr": trainer.optimizer.param_groups[-1]["lr"],
        "im_file": files,
    }
    where = trainer.save_dir / "nan"
    name = f"epoch{trainer.epoch + 1}_batch{number + 1}" + (f"_rank{trainer.team.rank}" if trainer.team.many else "")
    here = bool(module) or not bool(torch.isfinite(parts).all()) or not trainer.team.many
    try:
        draw = partial(trainer.draw_batch, batch)
        recorded = record_batch(where, name, told, batch, draw) if here else None
    except (UserError, OSError) as e:
        LOGGER.warning("The bad batch could not be recorded: %s", e)
        recorded = None
    named = ", ".join(Path(f).name for f in files[:4]) + (", …" if len(files) > 4 else "")
    numbers = ", ".join(f"{n} {v:.4g}" for n, v in losses.items())
    seen = f"{module}: {what}" if module else what
    line = (
        f"the {bad.kind} is not finite in epoch {trainer.epoch + 1}, batch {number + 1} ({numbers}; {named}): {seen}"
        + (f"; see {recorded}" if recorded else "")
    )
    lines = trainer.team.gather((here, line)) or []  # one of the ranks has met it
    return trainer.team.lead(lambda: next((told for met, told in lines if met), line))
