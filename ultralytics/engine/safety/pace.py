"""Whether a run has become much slower than it began, and what to do about it."""

from __future__ import annotations

import statistics
import time
from collections import deque

from ultralytics.engine.safety.threads import machine_load
from ultralytics.utils.log import LOGGER

SKIPPED = 3  # steps at the start, which fill caches
BEGINNING = 20  # steps that the run is compared with
LATELY = 9  # steps whose median is compared
SLOW = 3.0  # times as long: reported
AGAIN = 600.0  # seconds between two warnings
WAITING = 0.6  # part of the time: above it the images are late, and not the model


class Pace:
    """Compares the seconds of the last steps with those of the first.

    Seconds are counted per pixel of a batch, so that sizes and numbers of images may vary. Validation, saves and
    plots lie between `rest` and the next `arrived`, and count for nothing.

    Args:
        what: of steps ("training step"), for messages; hints: what to do where the model is slow, and where the images
            are late.

    Attributes:
        began: seconds per pixel of the first steps, None until they are known. A run that goes on takes it over.
        epoch: of the steps since the last `open_epoch`, the seconds of waiting for a batch, and all seconds.
    """

    def __init__(self, what: str, slow: str, late: str) -> None:
        self.what, self.hints = what, (slow, late)
        self.began: float | None = None
        self._skip, self._first = SKIPPED, list[float]()
        self._last: deque[tuple[float, float]] = deque(maxlen=LATELY)
        self._wait = self._work = 0.0
        self._pixels = 0
        self._reported = -AGAIN
        self._mark = time.perf_counter()
        self.epoch = [0.0, 0.0]

    def open_epoch(self) -> None:
        """Count an epoch's waiting anew."""
        self.epoch = [0.0, 0.0]

    @property
    def data_wait(self) -> float:
        """Per cent of the epoch's steps so far that the loop has waited for their batches."""
        waited, seconds = self.epoch
        return 100 * waited / seconds if seconds else 0.0

    def rest(self) -> None:
        """From here on a batch is waited for."""
        self._mark = time.perf_counter()

    def arrived(self) -> None:
        """A batch is here."""
        lap = self._lap()
        self._wait += lap
        self.epoch[0] += lap
        self.epoch[1] += lap

    def stepped(self, pixels: int, done: bool = True) -> None:
        """Its step is over; `pixels` of all its images. Without `done` a GPU may still be at it: its time then counts
        with that of the next."""
        lap = self._lap()
        self._work += lap
        self.epoch[1] += lap
        self._pixels += pixels
        if not done or not self._pixels:
            return
        entry = self._wait / self._pixels, self._work / self._pixels
        size, self._wait, self._work, self._pixels = self._pixels, 0.0, 0.0, 0
        if self._skip:
            self._skip -= 1
            return
        self._last.append(entry)
        if self.began is None:
            self._first.append(sum(entry))
            if len(self._first) == BEGINNING:
                self.began = statistics.median(self._first)
        elif len(self._last) == LATELY:
            self._compare(size)

    def _compare(self, size: int) -> None:
        assert self.began is not None
        now = statistics.median(map(sum, self._last))
        if now < SLOW * self.began or time.perf_counter() - self._reported < AGAIN:
            return
        self._reported = time.perf_counter()
        waiting = sum(w for w, _ in self._last) / sum(map(sum, self._last))
        late = waiting > WAITING
        LOGGER.warning(
            "A %s now takes %.1f times as long as at the beginning (%.3g s, it took %.3g s), %.0f%% of it waiting for "
            "images; %s: %s",
            self.what,
            now / self.began,
            now * size,
            self.began * size,
            100 * waiting,
            machine_load(),
            self.hints[late],
        )

    def _lap(self) -> float:
        before, self._mark = self._mark, time.perf_counter()
        return self._mark - before


def training_pace() -> Pace:
    """Return the pace of a training run."""
    return Pace(
        "training step",
        "other processes slow it down; where they stay, stop and resume with fewer threads= or workers=",
        "the images come late; a disk or other processes slow them down: resume with more workers=, or cache=ram",
    )
