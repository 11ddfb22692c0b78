"""Losses and gradients that are not finite, noticed.

A look at a value waits for the device. On a CPU that costs nothing, and every step is looked at. Elsewhere a flag on
the device gathers what happens, it is read where the trainer waits anyway, and a run whose weights turn out bad is
repeated from its last save with a look at every step.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ultralytics.utils.rng import restore_torch_streams, torch_streams

MAX_SKIPS = 10  # batches one after another
MAX_ROLLBACKS = 3
ROLLBACK_FACTOR = 0.5  # of the learning rate, each time
MIN_SCALE = 2.0**-10  # of fp16's loss; below it, it is the gradient that is not finite, not its scaling


class BadStepError(Exception):
    """A step whose loss ("loss") or gradient ("gradient") is not finite; nothing of it has reached the weights.
    `parts`: those of its loss, where they are known."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind
        self.parts: Tensor | None = None


class Guard:
    """Looks after the steps of a run.

    Attributes:
        careful: look at every step at once, and undo a bad one; otherwise only note it.
        careful_until: the place, whole epochs and batches, after which a guard that was made careful is so no longer.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.careful = device.type == "cpu"
        self.careful_until: tuple[int, int] | None = None
        self._buffers = [b for b in model.buffers() if b.numel()]
        self._saved = [b.clone() for b in self._buffers]
        self._flag = torch.zeros((), dtype=torch.bool, device=device)
        self._device = device
        self._random: list[Tensor] = []

    def remember(self) -> None:
        """Copy the batch-norm statistics before a forward pass and, in a careful guard, the random streams."""
        torch._foreach_copy_(self._saved, self._buffers)
        if self.careful:
            self._random = torch_streams(self._device)

    @contextlib.contextmanager
    def repeated(self) -> Iterator[None]:
        """Within it the random streams are those of the step; afterwards as before."""
        now = torch_streams(self._device)
        restore_torch_streams(self._random or now, self._device)
        try:
            yield
        finally:
            restore_torch_streams(now, self._device)

    @torch.no_grad()
    def undo(self) -> None:
        """Put the statistics back."""
        torch._foreach_copy_(self._buffers, self._saved)

    def check(self, value: Tensor, kind: str) -> None:
        """Look at a loss or at the norm of the gradients.

        Raises:
            BadStepError: it is not finite, and the guard is careful.
        """
        if not self.careful:
            self._flag.logical_or_(~torch.isfinite(value.detach()).all())
        elif not math.isfinite(value.item()):
            raise BadStepError(kind)

    def found_bad(self) -> bool:
        """Return True if anything bad has been noted; waits for the device."""
        return bool(self._flag)

    def look_back(self, place: tuple[int, int]) -> None:
        """Read what a guard that is not careful has noted.

        Args:
            place: of the run, whole epochs and batches.

        Raises:
            BadStepError: a step since the last look was bad, and the weights are not finite.
        """
        if self.careful_until is not None and place > self.careful_until:
            self.careful, self.careful_until = False, None  # the bad place is passed
        if not self.careful and self.found_bad():
            raise BadStepError("unseen")

    def reset(self) -> None:
        """Forget what was noted."""
        self._flag.zero_()
