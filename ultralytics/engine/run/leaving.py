"""A run that ends before its time: it is saved where it can be, and the command to go on is printed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NoReturn

from ultralytics.engine.callbacks import CallbackError
from ultralytics.engine.run.folder import remove_empty_folder
from ultralytics.engine.run.resume import resume_command
from ultralytics.engine.run.saver import Saver
from ultralytics.engine.safety.interrupt import StopRequest
from ultralytics.utils.errors import LostWorkerError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted


@contextlib.contextmanager
def leave_in_order(saver: Saver) -> Iterator[None]:
    """Save the run where the block ends before its time, or remove the folder of a run that never began."""
    try:
        yield
    except StopRequest as e:
        leave_after_stop(saver, saver.begun, e.agreed)
        raise
    except LostWorkerError as e:
        leave_after_lost_worker(saver, e)
    except CallbackError:
        leave_after_callback(saver, saver.begun)
        raise
    except BaseException:
        if not saver.begun:
            remove_empty_folder(saver.folder, saver.step.team.leads)
        raise


def leave_after_stop(saver: Saver, begun: bool, agreed: bool) -> None:
    """Save where a signal stopped the run, and print the resume command."""
    state = saver.step.state
    if not begun:
        LOGGER.info("Stopped before the first step.")
        remove_empty_folder(saver.folder, saver.step.team.leads)
    elif not agreed:
        LOGGER.error("Stopped while a rank waited for a batch: %s holds the last save.", saver.last)
    elif state.over:
        LOGGER.info("Stopped before the best weights were validated.")
    else:
        saver.save_sound()
        done = f" after {state.batches_done} of {state.batches} batches"
        part = done if state.batches_done else " before its first batch"
        LOGGER.info("Stopped in epoch %d%s, and saved.", state.finished + 1, part)
    if saver.folder.exists():
        LOGGER.info("Go on with: %s", resume_command(saver.folder, saver.args.plugins))


def leave_after_lost_worker(saver: Saver, error: LostWorkerError) -> NoReturn:
    """Save where a loader has lost a worker, and print the resume command.

    Raises:
        LostWorkerError: always.
    """
    state = saver.step.state
    done = f"after {counted(state.batches_done, 'batch')}" if state.batches_done else "before its first batch"
    place = f"in epoch {state.finished + 1} {done}"
    if state.over:
        place = "before the best weights were validated"
    elif saver.step.team.many:  # the others are at work, and take no part in a save
        place += f"; {saver.last} holds the last save" if saver.last.exists() else ""
    else:
        saver.save_sound()
        place += ", and the run is saved"
    # A line of its own, which can be copied.
    LOGGER.warning("Go on with: %s", resume_command(saver.folder, saver.args.plugins))
    raise LostWorkerError(f"{error.what} {place}", hint=error.hint) from None


def leave_after_callback(saver: Saver, begun: bool) -> None:
    """Save where a callback has failed, and print the resume command."""
    step, state = saver.step, saver.step.state
    if not begun:
        remove_empty_folder(saver.folder, step.team.leads)
        return
    if not (state.over or step.stage or step.team.many):  # within a step, or of one rank: the last save stands
        saver.save_sound()
    if saver.last.exists() and not (saver.folder / "metrics.json").exists():
        LOGGER.warning("The run is saved. Go on with: %s", resume_command(saver.folder, saver.args.plugins))
