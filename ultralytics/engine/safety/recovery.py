"""What a run does about a step that is not finite: stop, skip it, or roll back to the last save."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ultralytics.engine.run.saver import Saver
from ultralytics.engine.safety.diagnose import find_incident
from ultralytics.engine.safety.guard import MAX_ROLLBACKS, MAX_SKIPS, ROLLBACK_FACTOR, BadStepError
from ultralytics.engine.weights.checkpoint import load_newest
from ultralytics.utils.errors import UserError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted
from ultralytics.utils.types import Batch


class NonFiniteLossError(UserError):
    """A loss or gradient is NaN or infinite: training on would only destroy the weights."""


def handle_bad_step(
    saver: Saver,
    bad: BadStepError,
    batch: Batch,
    loader: Any,
    names: Sequence[str],
    draw: Callable[[Batch, Path], None],
) -> None:
    """Name and record a bad step, and do what `on_nan` says.

    Args:
        saver: of the run.
        bad: how the step failed.
        batch: the one at work, on the device.
        loader: of the training batches.
        names: of the loss parts.
        draw: draws a batch into a file.

    Raises:
        NonFiniteLossError: the run stops.
        BadStepError: the run is to be rolled back.
    """
    step, state, args = saver.step, saver.step.state, saver.args
    iteration = step.iteration
    with step.loss.by_itself():
        incident = find_incident(step, bad, batch, loader, names, args.sync_bn)
        rank = f"_rank{step.team.rank}" if step.team.many else ""
        recorded = incident.record(saver.folder / "nan", rank, draw)
    line = incident.line(recorded)
    lines = step.team.gather((incident.here, line)) or []  # one of the ranks has met it
    line = step.team.lead(lambda: next((text for met, text in lines if met), line))
    saved = step.team.lead(saver.last.exists)
    if args.on_nan == "skip":
        if bad.kind == "gradient":  # what has gathered for the step goes with it
            step.optimizer.zero_grad()
            state.last_opt_step = iteration
        state.skipped += 1
        state.skips_in_a_row += 1
        if state.skips_in_a_row <= MAX_SKIPS:
            LOGGER.warning("%s; skipped (%d so far)", line, state.skipped)
            return
        line += f"; {counted(state.skips_in_a_row, 'batch')} one after another"
    elif args.on_nan == "rollback" and saved:
        if state.rollbacks < MAX_ROLLBACKS:
            LOGGER.warning("%s", line)
            raise bad
        line += f"; the run was rolled back {counted(state.rollbacks, 'time')} before"
    save = f"{saver.last} holds the last save" if saved else "nothing was saved"
    raise NonFiniteLossError(line, hint=f"try a lower lr0, amp=False or on_nan=rollback; {save}")


def go_back(saver: Saver, bad: BadStepError) -> None:
    """Restore the last save. After a located bad step halve the learning rate; otherwise replay with per-step checks.

    Raises:
        NonFiniteLossError: there is no save.
    """
    step, state = saver.step, saver.step.state
    if not step.team.lead(saver.last.exists):
        raise NonFiniteLossError(
            f"the loss is not finite in epoch {state.epoch + 1}", hint="try a lower lr0, or amp=False"
        )
    place = state.place
    saver.restore(step.team.lead(lambda: load_newest(saver.last, saver.previous)).state, rolled_back=True)
    step.guard.reset()
    back = f"epoch {state.finished + 1}, batch {state.batches_done + 1}"
    if bad.kind == "unseen":
        step.guard.careful, step.guard.careful_until = True, place
        LOGGER.warning("The loss or a gradient is not finite: repeating from %s to see where", back)
        return
    state.rollbacks += 1
    state.lr_factor *= ROLLBACK_FACTOR
    LOGGER.warning(
        "Rolled back to %s (%d of %d times); the learning rate is now %g of what it was planned to be",
        back,
        state.rollbacks,
        MAX_ROLLBACKS,
        state.lr_factor,
    )
    saver.save_position()
