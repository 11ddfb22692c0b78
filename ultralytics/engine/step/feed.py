"""From a loader to the device, beside the step that is at work there."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

AHEAD = 2  # batches on a GPU before the step at work, besides its own


class Feed:
    """Takes batches to a device.

    A GPU copies them on a stream of its own out of page-locked memory, so the copy of a batch overlaps with the step
    before it: the host has that step in the GPU's queue, and goes on to the next batch. It goes no further than AHEAD
    steps; so memory is bounded, whatever the pace of the two.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream: Any = None
        self._steps: deque[Any] = deque()

    def move(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a batch's tensors on the device, by name; the stream at work waits for them, and the host does not."""
        if self.device.type != "cuda":
            return {k: t.to(self.device, non_blocking=True) for k, t in tensors.items()}
        at_work = torch.cuda.current_stream(self.device)
        if self._stream is None:
            self._stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]  # torch's own
        self._hold_back(at_work)
        with torch.cuda.stream(self._stream):
            moved = {k: t.to(self.device, non_blocking=True) for k, t in tensors.items()}
        at_work.wait_stream(self._stream)
        for tensor in moved.values():
            tensor.record_stream(at_work)  # its memory is nobody else's until the step is over
        return moved

    def _hold_back(self, at_work: Any) -> None:
        """Let the host wait where it is too far ahead: for the end of a step that others are queued behind."""
        ended = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # torch's own
        ended.record(at_work)
        self._steps.append(ended)
        if len(self._steps) > AHEAD:
            self._steps.popleft().synchronize()
