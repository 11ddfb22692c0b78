"""What a trial of the model reports: its error, its line for the log, and the memory that training would take."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from ultralytics.engine.preflight.probes import Probe, times
from ultralytics.utils.errors import UserError


class PreflightError(UserError, ValueError):
    """A model that the run would break on: which row, at which shape, why."""


@dataclass(frozen=True)
class Memory:
    """An estimate of what training holds, in bytes: `activations` per image, the rest per run."""

    weights: int
    gradients: int
    optimizer: int
    ema: int
    activations: int
    batch: int

    @property
    def fixed(self) -> int:
        """The part that does not depend on the batch."""
        return self.weights + self.gradients + self.optimizer + self.ema

    @property
    def total(self) -> int:
        """All of it, at `batch`."""
        return self.fixed + self.activations * self.batch


@dataclass
class PreflightReport:
    """The outcome of a trial.

    Attributes:
        probes: those that passed.
        seconds: elapsed.
        memory: the estimate.
        amp_dtype: of the trial.
        repeats: two equal passes were compared.
        warnings: one line each, for the log.
    """

    probes: list[Probe]
    seconds: float
    memory: Memory
    amp_dtype: torch.dtype | None = None
    repeats: bool = False
    warnings: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the report in one line; the warnings are not in it."""
        sizes = sorted({p.size for p in self.probes}, key=lambda s: (math.prod(s), s))
        count = len(sizes)
        several = f"{count} shapes from {times(sizes[0])} to {times(sizes[-1])} pass"
        passed = several if count > 1 else f"{times(sizes[0])} passes"
        again = ", equal when repeated" if self.repeats else ""
        memory = f"about {_human_size(self.memory.total)} at batch {self.memory.batch}"
        how = f"{precision_name(self.amp_dtype)}{again} ({self.seconds:.1f} s)"
        return [f"Preflight: {passed} forward and backward in {how}; {memory}"]


def does_not_fit(memory: Memory, device: torch.device) -> list[str]:
    """Warn when the estimate is above what the GPU has, what torch already holds of it included."""
    available = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    if memory.total <= available:
        return []
    fits = max(available - memory.fixed, 0) // max(memory.activations, 1)
    advice = f"batch={fits} would fit" if fits else "not even one image would fit"
    needs, has = _human_size(memory.total), _human_size(available)
    return [f"training needs about {needs} at batch {memory.batch}, and the GPU has {has}: {advice}"]


def precision_name(dtype: torch.dtype | None) -> str:
    return {None: "fp32", torch.bfloat16: "mixed bf16", torch.float16: "mixed fp16"}[dtype]


def _human_size(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
