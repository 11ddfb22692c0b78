"""Videos, frame by frame."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import cv2

from ultralytics.engine.sources.item import SourceItem
from ultralytics.utils.log import LOGGER

SLACK = 2  # frames by which a video's header may promise too many: encoders do
MANY = 1000  # different times between two frames; more say nothing new
USUAL_FPS = 30.0  # where the header gives none


class Video:
    """Iterate over the frames of a video file.

    Args:
        file: to read.
        name: of it in results and messages.
        place: how messages call it, such as "video 1/2".
        index: its place in the source.
        stride: take every so many frames.

    Attributes:
        missing: what could not be read, "" when nothing; filled while iterating.
    """

    def __init__(self, file: str, name: str, place: str, index: int, stride: int) -> None:
        self.file, self.name, self.place, self.index, self.stride = file, name, place, index, stride
        self.missing = ""

    def __iter__(self) -> Iterator[SourceItem]:
        video = cv2.VideoCapture(self.file)
        try:
            if not video.isOpened():
                LOGGER.warning("%s: cannot be decoded as a video; passed over", self.name)
                return
            clock = _Clock(video)
            while video.grab():
                clock.tick(video)
                if (clock.frames - 1) % self.stride:
                    continue
                good, image = video.retrieve()
                if not good:
                    clock.frames -= 1
                    break
                of = f"/{clock.announced}" if clock.announced else ""
                text = f"{self.place} (frame {clock.frames}{of}) {self.name}"
                fps = max(clock.fps / self.stride, 1.0)
                yield SourceItem(self.name, image, text, self.index, True, fps, clock.frames)  # type: ignore[arg-type]  # frames are uint8
            self._judge(clock)
        finally:
            video.release()

    def _judge(self, clock: _Clock) -> None:
        """Say what was wrong with the video, once it is read."""
        if not clock.frames:
            LOGGER.warning("%s: no frame of it can be decoded; passed over", self.name)
        elif clock.has_lost() or _is_cut_gif(self.file):
            of = f" of the {clock.announced} frames announced" if clock.has_lost() else " frames"
            self.missing = f"{clock.frames}{of} could be read: the video is cut off or damaged"
            LOGGER.warning("%s: %s", self.name, self.missing)
        elif rates := clock.varying():
            mean = f"{clock.fps:.3g}"
            LOGGER.warning("%s: the frame rate varies, %s a second; %s is taken for all", self.name, rates, mean)


def frame_rate(video: cv2.VideoCapture) -> float:
    """Return the frames per second that a video or stream says it has, or the usual ones."""
    fps = video.get(cv2.CAP_PROP_FPS)
    return fps if 0 < fps <= 1000 else USUAL_FPS  # NaN is not


def _is_cut_gif(file: str) -> bool:
    """Return True if a GIF lacks its end marker: it announces no number of frames."""
    if not file.lower().endswith(".gif"):
        return False
    with open(file, "rb") as opened:
        opened.seek(max(os.path.getsize(file) - 64, 0))
        return not opened.read().rstrip(b"\0").endswith(b";")


class _Clock:
    """Counts a video's frames and their time, to tell whether some are missing.

    Headers announce a few frames too many, and counts that are estimated from the duration (mkv, webm) or from before
    an edit (mp4) are wrong without any frame missing. So frames count as lost where fewer come than are announced and
    their times have a gap or end early.

    Attributes:
        fps: frames per second.
        announced: frames the header promises, 0 where it promises none.
        frames: read so far.
    """

    def __init__(self, video: cv2.VideoCapture) -> None:
        self.fps, count = frame_rate(video), video.get(cv2.CAP_PROP_FRAME_COUNT)
        self.announced = int(count) if 0 < count < 2**31 else 0
        self.frames, self._last, self._gap = 0, 0.0, 0.0
        self._steps: Counter[int] = Counter()  # milliseconds between frames → how often

    def tick(self, video: cv2.VideoCapture) -> None:
        """Take a frame in."""
        self.frames += 1
        now = video.get(cv2.CAP_PROP_POS_MSEC) * self.fps / 1000  # in frames
        self._gap = max(self._gap, now - self._last)
        if self.frames > 1 and len(self._steps) < MANY:
            self._steps[round((now - self._last) / self.fps * 1000)] += 1
        self._last = now

    def varying(self) -> str:
        """Return how many frames a second there are at least and at most, "" where the rate is constant."""
        steps = {ms: n for ms, n in self._steps.items() if ms > 0}  # some containers give no times
        if not steps:
            return ""
        usual = max(steps, key=steps.__getitem__)
        odd = sum(n for ms, n in steps.items() if abs(ms - usual) > max(usual / 4, 2))
        return f"{1000 / max(steps):.3g} to {1000 / min(steps):.3g}" if odd > sum(steps.values()) / 50 else ""

    def has_lost(self) -> bool:
        """Return True if frames are missing at the end or in between."""
        short = self.announced - self.frames > SLACK
        return short and (self._gap > SLACK + 1 or self.announced - 1 - self._last > SLACK)
