"""Does an exported file compute what its network computes? A part of every export."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ultralytics.engine.formats.failure import first_failing, output_tensors, unquantised, written
from ultralytics.engine.formats.format import FileBackend, Format, Job
from ultralytics.nn.deploy import Deployed, sizes
from ultralytics.utils.errors import ExportError
from ultralytics.utils.text import counted

ROUNDING, ROUNDING_HALF = 1e-3, 0.05  # the largest difference of a row's output that is rounding, of its norm


class Comparison(ABC):
    """How a file's output is compared with its network's.

    Attributes:
        tolerances: the largest differences that are rounding, by name; `outputs` and `file` give the same names.
    """

    tolerances: dict[str, float]

    @abstractmethod
    def outputs(self, ours: Any, theirs: Any) -> dict[str, float]:
        """Return the differences of two outputs of the network, of one shape: a tensor, or several where its head gives
        several. What follows the network in a file says nothing here."""

    def file(self, ours: Any, file: FileBackend, images: Tensor) -> dict[str, float]:
        """Return how far a file is from the network; `ours` is the network's output for the images."""
        if isinstance(ours, Tensor):
            return self.outputs(ours, output_of(file, images, ours.shape))
        return self.outputs(ours, outputs_of(file, images, [part.shape for part in ours]))


@dataclass(frozen=True)
class Trial:
    """Images to compare on."""

    what: str  # they are: "noise", "images of data.yaml"
    images: Tensor  # (B, C, H, W) 0..1


class Line(NamedTuple):
    """A line of the table."""

    trial: Trial
    differences: dict[str, float]  # by name; the largest of all images
    failure: str = ""  # why there are none

    def __str__(self) -> str:
        batch, _, height, width = self.trial.images.shape
        size = f"{counted(batch, 'image')} of {height}×{width}, {self.trial.what}"
        return f"{size:<44}  " + (self.failure or "  ".join(f"{k} {v:.2g}" for k, v in self.differences.items()))


def shapes(job: Job) -> list[tuple[int, int, int]]:
    """Return (B, H, W) to compare at: of a dynamic file four, that it was not recorded with."""
    batch, _, height, width = job.shape
    if not job.args.dynamic:
        return [(batch, height, width)]
    return sizes(height, width, job.network.stride)


@torch.inference_mode()
def compared(network: Deployed, file: FileBackend, trials: Sequence[Trial], how: Comparison) -> list[Line]:
    """Return how far the outputs of a file are from the network's."""
    lines = []
    for trial in trials:
        try:
            lines.append(Line(trial, how.file(network(trial.images), file, trial.images)))
        except ExportError as e:
            lines.append(Line(trial, {}, e.what))
    return lines


def output_of(file: FileBackend, images: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a file's output for images (B, C, H, W) 0..1, in fp32 on the CPU.

    Raises:
        ExportError: it is not of the shape that the network's is.
    """
    return outputs_of(file, images, [shape])[0]


def outputs_of(file: FileBackend, images: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """As `output_of`, of a file with several outputs."""
    y, more = file(images.to(file.device, file.dtype))
    found: list[Tensor] = [y, *(more if isinstance(more, list) else [])][: len(shapes)]
    given, expected = [list(part.shape) for part in found], [list(shape) for shape in shapes]
    if given != expected:
        said = [", ".join(map(str, each)) for each in (given, expected)]
        raise ExportError(f"its output is {said[0]}, and the network's {said[1]}", str(file.path))
    return [part.cpu().float() for part in found]


def beyond(lines: Sequence[Line], tolerances: Mapping[str, float]) -> list[str]:
    """Return the failures, or the differences that are too large, in words; what is no number is."""
    failures = [line.failure for line in lines if line.failure]
    if failures:
        return failures[:1]
    worst = {k: max((line.differences[k] for line in lines), key=lambda v: (v != v, v)) for k in tolerances}
    return [f"{k} differ by {v:.2g}, more than {tolerances[k]:g}" for k, v in worst.items() if not v <= tolerances[k]]


@torch.no_grad()
def first_row(format: Format, job: Job, folder: Path, trial: Trial) -> str:
    """Name the first row whose output in the format differs, by writing the network again with all rows as outputs, or
    up to a row where such a file fails. It is not quantised again: that takes minutes, and every row would differ.

    Args:
        format, job: as it was written.
        folder: for the file.
        trial: images on which the outputs differ.

    Returns:
        "file.yaml:12 (FLABlock) is the first …", or why none can be named.
    """
    ours = job.network.rows(trial.images)
    names = tuple(f"row{i}" for i in range(len(ours)))
    job.network.every_row = True
    try:
        rows = replace(job, args=unquantised(job.args), outputs=names, finish=None)
        path = format.place(folder / "rows", rows.args)
        format.write(replace(rows, metadata=replace(job.metadata, args={})), path)
        file = format.open(path)
        theirs = file.run(trial.images.to(file.device, file.dtype))
    except Exception as e:  # of any runtime: the difference itself is still an error
        job.network.every_row = False
        found = first_failing(job, lambda part: _runs(format, part, folder, trial.images))
        return f"{found[0]} is the first that fails" if found else f"no row can be named: {type(e).__name__}"
    finally:
        job.network.every_row = False
    limit = ROUNDING_HALF if job.args.half else ROUNDING
    for (row, expected), given in zip(ours, theirs, strict=False):
        if given.shape != expected.shape:
            return f"{row} is the first whose output has another shape"
        share = (given.cpu().float() - expected).norm() / expected.norm().clamp(min=1e-9)
        if not share <= limit:
            return f"{row} is the first whose output differs, by {share:.1%} of its norm"
    return "in fp32 no row's output differs" if job.args.int8 else "no single row's output differs"


def _runs(format: Format, job: Job, folder: Path, images: Tensor) -> None:
    """Check that a file of a network runs and gives outputs of the network's shapes.

    Raises:
        Exception: of the runtime or of `assert`: it does not.
    """
    with written(format, job, folder) as path:
        file = format.open(path)
        theirs = file.run(images.to(file.device, file.dtype))
    assert [t.shape for t in theirs] == [t.shape for t in output_tensors(job.network(images))]
