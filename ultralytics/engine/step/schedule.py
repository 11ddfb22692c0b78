"""Learning rate, momentum and accumulation as pure functions of the position in a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ultralytics.cfg.config import Config

MIN_WARMUP = 100  # iterations; a warm-up is never shorter


def lr_factor(epoch: float, epochs: int, lrf: float, cosine: bool = False) -> float:
    """Multiple of the initial learning rate in an epoch (from 0): from 1 towards `lrf`, linearly or along a cosine."""
    if cosine:
        return max((1 - math.cos(epoch * math.pi / epochs)) / 2, 0) * (lrf - 1) + 1
    return max(1 - epoch / epochs, 0) * (1.0 - lrf) + lrf


def interpolate(x: float, end: float, low: float, high: float) -> float:
    """The line from (0, low) to (end, high), level outside."""
    return low + (high - low) * min(max(x / end, 0.0), 1.0)


@dataclass(frozen=True)
class Step:
    """What an iteration trains with; `lr_bias` is the learning rate of biases, `lr` that of all else."""

    lr_bias: float
    lr: float
    momentum: float
    accumulate: int


@dataclass(frozen=True)
class Schedule:
    """The whole course of a run.

    Args:
        epochs, batches: of the run, and per epoch.
        batch, nbs: images per iteration, and per optimiser step aimed at.
        lr0, lrf, momentum: initial learning rate, final one as a multiple of it, momentum (β1 for the Adam family).
        warmup_epochs, warmup_momentum, warmup_bias_lr: where the warm-up ends, and where momentum and bias rate start.
        cosine: cosine instead of linear decay; lf: another one, epoch → multiple of lr0.
    """

    epochs: int
    batches: int
    batch: int
    nbs: int = 64
    lr0: float = 0.01
    lrf: float = 0.01
    momentum: float = 0.937
    warmup_epochs: float = 3.0
    warmup_momentum: float = 0.8
    warmup_bias_lr: float = 0.1
    cosine: bool = False
    lf: Callable[[float], float] | None = None

    @classmethod
    def of(cls, args: Config, epochs: int, batches: int, lf: Callable[[float], float] | None = None) -> Schedule:
        """Return the schedule of a configuration."""
        return cls(
            epochs,
            batches,
            args.batch,
            args.nbs,
            args.lr0,
            args.lrf,
            args.momentum,
            args.warmup_epochs,
            args.warmup_momentum,
            args.warmup_bias_lr,
            args.cos_lr,
            lf,
        )

    def decay(self, epoch: float) -> float:
        """Multiple of lr0 in an epoch counted from 0."""
        return self.lf(epoch) if self.lf is not None else lr_factor(epoch, self.epochs, self.lrf, self.cosine)

    @property
    def warmup(self) -> int:
        """Warm-up iterations; −1 without warm-up."""
        return max(round(self.warmup_epochs * self.batches), MIN_WARMUP) if self.warmup_epochs > 0 else -1

    def at(self, iteration: int, epoch: int) -> Step:
        """Values for an iteration, counted from 0 over the whole run, in an epoch counted from 0."""
        lr = self.lr0 * self.decay(epoch)
        nw = self.warmup
        if iteration > nw:
            return Step(lr, lr, self.momentum, self._gathered(iteration))
        return Step(
            lr_bias=interpolate(iteration, nw, self.warmup_bias_lr, lr),
            lr=interpolate(iteration, nw, 0.0, lr),
            momentum=interpolate(iteration, nw, self.warmup_momentum, self.momentum),
            accumulate=self._gathered(iteration),
        )

    def steps(self) -> Iterator[int]:
        """The iterations that end in an optimiser step."""
        last = -1
        for iteration in range(self.epochs * self.batches):
            if iteration - last >= self._gathered(iteration):
                last = iteration
                yield iteration

    def _gathered(self, iteration: int) -> int:
        """Iterations that an optimiser step gathers."""
        full = self.nbs / self.batch
        return max(1, round(full if iteration > self.warmup else interpolate(iteration, self.warmup, 1, full)))
