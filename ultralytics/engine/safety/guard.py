"""Losses and gradients that are not finite, noticed.

A look at a value waits for the device. On a CPU that costs nothing, and every step is looked at. Elsewhere a flag on
the device gathers what happens. It is copied to the host now and then, and read when it has arrived; before anything is
saved, and at the end of an epoch, the host waits for it. A run whose weights turn out bad is repeated from its last
save with a look at every step.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ultralytics.utils.rng import restore_torch_streams, torch_streams
from ultralytics.utils.tensors import Readback

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
        # By type: a GPU copies a list of one type in one go.
        self._buffers = sorted((b for b in model.buffers() if b.numel()), key=lambda b: str(b.dtype))
        self._saved = [b.clone() for b in self._buffers]
        kinds = [str(b.dtype) for b in self._buffers]
        self._of_a_kind = [slice(kinds.index(k), kinds.index(k) + kinds.count(k)) for k in dict.fromkeys(kinds)]
        self._noted = Readback()
        self._flag = torch.zeros((), dtype=torch.bool, device=device)
        self._device = device
        self._random: list[Tensor] = []

    def remember(self) -> None:
        """Copy the batch-norm statistics before a forward pass and, in a careful guard, the random streams."""
        self._copy(self._buffers, self._saved)
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
        self._copy(self._saved, self._buffers)

    def _copy(self, source: list[Tensor], to: list[Tensor]) -> None:
        for kind in self._of_a_kind:
            torch._foreach_copy_(to[kind], source[kind])

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

    def glance(self, place: tuple[int, int]) -> None:
        """Look back without waiting: at what was noted up to an earlier glance.

        Raises:
            BadStepError: as `look_back`.
        """
        if self.careful:
            self.look_back(place)
            return
        noted = self._noted.latest()
        self._noted.send(self._flag.view(1))
        if noted is not None and noted[0]:
            raise BadStepError("unseen")

    def reset(self) -> None:
        """Forget what was noted."""
        self._flag.zero_()
        self._noted.forget()
