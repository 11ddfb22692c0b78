"""Why a network cannot be written in a format, in one line: the row, and the operation or the reason."""

from __future__ import annotations

import contextlib
import copy
import os
import re
import secrets
import shutil
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from ultralytics.cfg.config import Config
from ultralytics.engine.formats.format import Format, Job
from ultralytics.nn.deploy import TiedError, example
from ultralytics.nn.rows import row_label, rows_of
from ultralytics.utils.errors import ExportError, ModelError, UserError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import first_line

TORCH = str(Path(torch.__file__).parent)
LONGEST = 200  # characters of a reason
HELD = re.compile(r"marked (\w+) as dynamic but your code specialized it to be a constant \((\d+)\)")
OPERATION = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.]+)'")
LOST = "fake tensor in the exported program"  # torch.export's words


def refusal(chosen: Format, job: Job, folder: Path, error: Exception) -> UserError:
    """Return the error for a network that could not be written: its row, the operation or the reason, and what to do.

    Args:
        chosen, job: as it was to be written.
        folder: for the files of trials, by which the row is searched where the error does not say it.
        error: what the writer raised.
    """
    if isinstance(error, UserError) and not isinstance(error, ModelError):
        return error
    cause = error.__cause__
    if isinstance(error, ModelError) and isinstance(cause, Exception):
        row = error.where  # the network has named it
    else:
        LOGGER.info("%s cannot be written: looking for the row", chosen.title)
        row, cause = first_failing(job, lambda part: _try_writing(chosen, part, folder)) or ("", error)
        cause = cause.__cause__ or cause if isinstance(cause, ModelError) else cause
    assert isinstance(cause, Exception)
    hint = ""
    if LOST in str(cause):
        hint = "x.detach() in the place of x.data"
    elif job.args.dynamic and _for_one_size(chosen, job, folder):
        hint = "dynamic=False writes it for one size"
    return ExportError(f"{chosen.title} cannot hold it: {reason(cause)}{_at_line(cause)}", row, hint)


def first_failing(job: Job, attempt: Callable[[Job], object]) -> tuple[str, Exception] | None:
    """Return the first row with which an attempt at the network up to it fails, and its error, by bisection.

    Returns:
        None if it fails with no row: what follows the rows is at fault.
    """
    network = job.network
    images = example(job.shape, job.args.dynamic, network.stride)
    low, high, found = 0, len(rows_of(network.network)) - 1, None
    while low <= high:
        middle = (low + high) // 2
        label = row_label(network.network, middle)
        with network.shortened(middle):
            try:
                with torch.no_grad():
                    names = tuple(f"out{i}" for i, _ in enumerate(output_tensors(network(images))))
                attempt(replace(job, outputs=names, args=_plain(job), finish=None))
            except Exception as e:  # of torch, of a format's packages, of a runtime
                found, high = (label, e), middle - 1
            else:
                low = middle + 1
    return found


def reason(error: Exception) -> str:
    """Return in a line what a writer's error says."""
    text = str(error)
    held, operation = HELD.search(text), OPERATION.search(text)
    if isinstance(error, TiedError):
        return f"it takes one size alone, with {_short(text)}"
    if held:  # the number of images is that of the trial, which says nothing to a reader
        return "it takes one number of images alone" if held[1] == "batch" else f"it takes {held[1]}={held[2]} alone"
    if operation:
        return f"it has no operation for {operation[1]}"
    if LOST in text:
        return "it computes with a tensor that torch.export cannot follow, such as a parameter's .data"
    if "data-dependent expression" in text:
        return "what is computed, or its shape, depends on the values of a map"
    return _short(f"{type(error).__name__}: {first_line(error)}")


def _at_line(error: BaseException) -> str:
    """Return the line of code behind the network's own at which an error was raised, where there is one."""
    frames = traceback.extract_tb(error.__traceback__)
    start = next((i for i, frame in enumerate(frames) if frame.name == "_predict_once"), len(frames))
    own = [f for f in frames[start + 1 :] if not f.filename.startswith((TORCH, "<"))]
    return f", at `{_short(own[-1].line or '')}` ({os.path.basename(own[-1].filename)}:{own[-1].lineno})" if own else ""


def _short(text: str) -> str:
    """Cut a text that is long."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def unquantised(args: Config) -> Config:
    """Return the keys of a job without quantisation, which takes longer than all else."""
    found = copy.copy(args)
    found.int8 = False
    return found


def _plain(job: Job) -> Config:
    """Return the keys of a job without those that only cost time in a trial."""
    args = unquantised(job.args)
    args.nms = args.simplify = False
    return args


@contextlib.contextmanager
def written(chosen: Format, job: Job, folder: Path) -> Iterator[Path]:
    """Write a file for the time of a block."""
    place = folder / secrets.token_hex(4)
    place.mkdir()
    try:
        path = chosen.place(place / "part", job.args)
        chosen.write(job, path)
        yield path
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _try_writing(chosen: Format, job: Job, folder: Path) -> None:
    """Write a file and remove it."""
    with written(chosen, job, folder):
        pass


def _for_one_size(chosen: Format, job: Job, folder: Path) -> bool:
    """Return True if the network can be written for one size."""
    args = _plain(job)
    args.dynamic = False
    try:
        _try_writing(chosen, replace(job, args=args), folder)
    except Exception:  # as above
        return False
    return True


def output_tensors(value: object) -> Iterator[torch.Tensor]:
    """Yield the tensors of a row's output."""
    if isinstance(value, torch.Tensor):
        yield value
    else:
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
            yield from output_tensors(part)
