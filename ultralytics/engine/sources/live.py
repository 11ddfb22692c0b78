"""Live sources: a thread reads each, and the prediction takes what is there."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from ultralytics.engine.sources.feeds import LiveFeed, OpenFeed
from ultralytics.engine.sources.item import SourceItem
from ultralytics.engine.sources.source import Source
from ultralytics.utils.errors import UserError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.types import UInt8Array

BUFFER = 30  # frames that wait, with stream_buffer
RECONNECT = 60.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds between two attempts to reconnect; doubled with each in vain
TICK = 0.5  # seconds after which a wait looks whether it still makes sense
ALIKE = 3  # connections in a row with the same first frame and as many frames: a file, read again and again
LEAVING = 2.0  # seconds that threads get to end


class _Frame(NamedTuple):
    image: UInt8Array
    number: int  # in the stream, from 1
    time: float
    fps: float


class _Reader(threading.Thread):
    """Reads one stream until it is stopped, or the stream ends and stays away.

    Attributes:
        frames: that wait.
        over: nothing more will come.
        failure, hint: why, "" when it was stopped; what to do about it.
        count: frames that came.
    """

    def __init__(
        self, feed: LiveFeed, stride: int, buffered: bool, reconnect: float, changed: threading.Condition
    ) -> None:
        super().__init__(name=f"reader of {feed.name}", daemon=True)
        self.feed, self.stride, self.buffered, self.reconnect = feed, stride, buffered, reconnect
        self.changed = changed
        self.frames: deque[_Frame] = deque(maxlen=None if buffered else 1)
        self.over, self.failure, self.hint, self.count = False, "", "", 0
        self.stopping = threading.Event()

    def run(self) -> None:
        try:
            self.failure = self._stay_connected()
        except Exception as e:  # whatever a driver raises ends this stream, not the prediction of the others
            self.failure = f"{type(e).__name__}: {e}"
        finally:
            with self.changed:
                self.over = True
                self.changed.notify_all()

    def _stay_connected(self) -> str:
        """Read, and connect again where the stream breaks off; return why it is over."""
        pause, until, alike = FIRST_PAUSE, 0.0, 0
        known: tuple[int, int] | None = None  # of the connection before: its first frame and number of frames
        while not self.stopping.is_set():
            before, reason = self.count, "the stream has ended"
            try:
                found: tuple[int, int] | None = (self._take_all(), self.count - before)
            except UserError as e:
                found, reason, self.hint = None, e.what, e.hint
            if self.stopping.is_set():
                break
            if not self.count:
                return reason  # the address is wrong rather than the connection
            alike = alike + 1 if found is not None and found == known else 1
            known = found
            if alike == ALIKE and self.count > before:
                return f"no live stream: it ended again and again after {self.count - before} frames"
            if self.count > before:
                pause, until = FIRST_PAUSE, time.monotonic() + self.reconnect
                if self.reconnect:
                    LOGGER.warning("%s: broke off after frame %d; connecting again", self.feed.name, self.count)
            left = until - time.monotonic()
            if left <= 0:
                return f"{reason}, after {self.count} frames"
            self.stopping.wait(min(pause, left))
            pause = min(pause * 2, LONGEST_PAUSE)
        return ""

    def _take_all(self) -> int:
        """Take in frames until none comes any more; return what tells the first from others."""
        opened, first = self.feed.connect(), 0
        try:
            while not self.stopping.is_set() and opened.grab():
                self.count += 1
                if not first:
                    image = opened.retrieve()
                    first = 1 if image is None else hash(image.tobytes())
                if (self.count - 1) % self.stride == 0:
                    self._take(opened)
            return first
        finally:
            opened.close()

    def _take(self, opened: OpenFeed) -> None:
        now = time.monotonic()
        image = opened.retrieve()
        if image is None:
            return
        with self.changed:
            if self.buffered:
                self.changed.wait_for(lambda: len(self.frames) < BUFFER or self.stopping.is_set())
            self.frames.append(_Frame(image, self.count, now, opened.fps / self.stride))
            self.changed.notify_all()


class LiveSource(Source):
    """Iterate over the frames of live streams until all have ended.

    A round takes a frame of each stream that has one, so that a batch goes across the streams and none waits for
    another. Without `buffered` it is the newest, and what came in between is skipped.

    Args:
        feeds: the streams.
        vid_stride: take every so many frames.
        buffered: take every frame; a stream that is faster than the prediction has to wait, where it can.
        reconnect: seconds for which a stream that has broken off is tried again; None: no limit.
    """

    live = True

    def __init__(
        self,
        feeds: Sequence[LiveFeed],
        vid_stride: int = 1,
        buffered: bool = False,
        reconnect: float | None = RECONNECT,
    ) -> None:
        super().__init__([feed.name for feed in feeds], vid_stride)
        self.feeds, self.buffered = list(feeds), buffered
        self.reconnect = math.inf if reconnect is None else reconnect
        self.stems = [feed.stem for feed in feeds]
        self.moving = [True] * len(self.feeds)
        self._changed = threading.Condition()
        self._readers: list[_Reader] = []

    def sequence(self, index: int) -> Hashable:
        """Return what the frames of one stream share."""
        return index

    def __iter__(self) -> Iterator[SourceItem]:
        settings = self.vid_stride, self.buffered, self.reconnect, self._changed
        self._readers = readers = [_Reader(feed, *settings) for feed in self.feeds]
        total = len(readers)
        try:
            for reader in readers:
                reader.start()
            while taken := self._next_round():
                for index, frame in taken:
                    name = self.paths[index]
                    yield SourceItem(
                        name,
                        frame.image,
                        f"stream {index + 1}/{total} (frame {frame.number}) {name}",
                        index,
                        is_video=True,
                        fps=max(frame.fps, 1.0),
                        frame=frame.number,
                        time=frame.time,
                        last=index == taken[-1][0],
                    )
        finally:
            self.close()
        for reader in readers:
            if not any(r.count for r in readers):
                raise UserError(reader.failure, reader.feed.name, reader.hint)
            LOGGER.info("%s: %s", reader.feed.name, reader.failure)

    def _next_round(self) -> list[tuple[int, _Frame]]:
        """Wait for frames, and return the number of the stream and the frame of each that has one; none at the end."""
        with self._changed:
            while True:
                taken = [(i, r.frames.popleft()) for i, r in enumerate(self._readers) if r.frames]
                if taken or all(r.over for r in self._readers):
                    self._changed.notify_all()
                    return taken
                self._changed.wait(TICK)

    def close(self) -> None:
        """Stop the threads. One that waits for the network ends with its wait, and keeps no program from ending."""
        for reader in self._readers:
            reader.stopping.set()
        with self._changed:
            self._changed.notify_all()
        until = time.monotonic() + LEAVING
        for reader in self._readers:
            if reader.is_alive():
                reader.join(max(until - time.monotonic(), 0.0))
        self._readers = []
