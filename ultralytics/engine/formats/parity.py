"""Does an exported file compute what its network computes? A part of every export."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ultralytics.engine.formats.format import FileBackend, Format, Job
from ultralytics.nn.deploy import Deployed
from ultralytics.utils.errors import ExportError
from ultralytics.utils.ops import make_divisible
from ultralytics.utils.text import counted

Compare = Callable[[Tensor, Tensor], dict[str, float]]  # the network's output and the file's → differences by name


@dataclass(frozen=True)
class Trial:
    """Images to compare on."""

    what: str  # they are: "noise", "images of data.yaml"
    images: Tensor  # (B, C, H, W) 0..1


class Line(NamedTuple):
    """A line of the table."""

    trial: Trial
    differences: dict[str, float]  # by name; the largest of all images

    def __str__(self) -> str:
        batch, _, height, width = self.trial.images.shape
        size = f"{counted(batch, 'image')} of {height}×{width}, {self.trial.what}"
        return f"{size:<44}  " + "  ".join(f"{k} {v:.2g}" for k, v in self.differences.items())


def shapes(job: Job) -> list[tuple[int, int, int]]:
    """Return (B, H, W) to compare at: of a dynamic file four, that it was not recorded with."""
    batch, _, height, width = job.shape
    if not job.args.dynamic:
        return [(batch, height, width)]
    stride = job.network.stride
    part = [make_divisible(int(n * share), stride) for n, share in ((height, 0.6), (width, 0.55), (height, 1.2))]
    return [(1, height, width), (3, part[0], width), (2, height, part[1]), (1, part[2], part[1])]


@torch.inference_mode()
def compared(network: Deployed, file: FileBackend, trials: Sequence[Trial], compare: Compare) -> list[Line]:
    """Return how far the outputs of a file are from the network's."""
    lines = []
    for trial in trials:
        ours = network(trial.images)
        theirs = file(trial.images.to(file.device, file.dtype))[0].cpu().float()
        if ours.shape != theirs.shape:
            given, expected = (list(t.shape) for t in (theirs, ours))
            raise ExportError(f"its output is {given}, and the network's {expected}", str(file.path))
        lines.append(Line(trial, compare(ours, theirs)))
    return lines


def beyond(lines: Sequence[Line], tolerances: Mapping[str, float]) -> list[str]:
    """Return the differences that are too large, in words; what is no number is."""
    worst = {k: max((line.differences[k] for line in lines), key=lambda v: (v != v, v)) for k in tolerances}
    return [f"{k} differ by {v:.2g}, more than {tolerances[k]:g}" for k, v in worst.items() if not v <= tolerances[k]]


@torch.inference_mode()
def first_row(format: Format, job: Job, folder: Path, trial: Trial) -> str:
    """Name the first row whose output in the format differs, by writing the network again with all rows as outputs.

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
        path = format.place(folder / "rows", job.args)
        format.write(replace(job, outputs=names, metadata=replace(job.metadata, args={})), path)
        file = format.open(path)
        theirs = file.run(trial.images.to(file.device, file.dtype))
    except Exception as e:  # whatever a runtime makes of it: the difference is reported all the same
        return f"no row can be named: {type(e).__name__}"
    finally:
        job.network.every_row = False
    limit = 0.05 if job.args.half else 1e-3
    for (row, expected), given in zip(ours, theirs, strict=False):
        if given.shape != expected.shape:
            return f"{row} is the first whose output has another shape"
        share = (given.cpu().float() - expected).norm() / expected.norm().clamp(min=1e-9)
        if not share <= limit:
            return f"{row} is the first whose output differs, by {share:.1%} of its norm"
    return "no single row's output differs"
