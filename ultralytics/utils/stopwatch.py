"""Times of work that a GPU may still be at."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch


def speed_line(speed: Mapping[str, float]) -> str:
    """Return the milliseconds per image of a validation's stages in words."""
    stages = ", ".join(f"{speed[k]:.1f}ms {k}" for k in ("preprocess", "inference", "loss", "postprocess"))
    return f"Speed: {stages} per image"


class Stopwatch:
    """Add up the seconds of a block that is entered again and again.

    On a GPU they are those from the block's first to its last operation there, by marks in its queue, so nothing is
    waited for until the sum is read.

    Args:
        device: of the work.
    """

    def __init__(self, device: torch.device) -> None:
        self._gpu = device if device.type == "cuda" else None
        self._seconds = 0.0
        self._marks: list[Any] = []

    def __enter__(self) -> Stopwatch:
        self._mark()
        return self

    def __exit__(self, *_: object) -> None:
        self._mark()
        if self._gpu is None:
            self._seconds += self._marks[1] - self._marks[0]
            self._marks.clear()

    def _mark(self) -> None:
        if self._gpu is None:
            self._marks.append(time.perf_counter())
            return
        mark = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch's own
        mark.record(torch.cuda.current_stream(self._gpu))
        self._marks.append(mark)

    def seconds(self) -> float:
        """Return the sum; waits for a GPU."""
        if self._gpu is not None and self._marks:
            torch.cuda.synchronize(self._gpu)
            pairs = zip(self._marks[::2], self._marks[1::2], strict=True)
            self._seconds += sum(begun.elapsed_time(ended) for begun, ended in pairs) / 1e3
            self._marks.clear()
        return self._seconds
