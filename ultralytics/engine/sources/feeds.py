"""Kinds of live sources: streams of the network, cameras, the screen."""

from __future__ import annotations

import re
import time
from typing import Any, Protocol

import cv2
import numpy as np

from ultralytics.engine.sources.video import frame_rate
from ultralytics.utils.errors import UserError
from ultralytics.utils.text import masked
from ultralytics.utils.types import UInt8Array

TIMEOUT = 10.0  # seconds that a stream may take to answer, and between two frames
SCREEN_FPS = 30.0  # most images of the screen per second


class OpenFeed(Protocol):
    """A live source at work; used by one thread.

    Attributes:
        fps: frames per second, as it says.
    """

    fps: float

    def grab(self) -> bool:
        """Wait for the next frame; False: none comes any more."""

    def retrieve(self) -> UInt8Array | None:
        """Return the frame that was grabbed, BGR uint8 (H, W, 3); None if it cannot be decoded."""

    def close(self) -> None:
        """Let go of it."""


class LiveFeed(Protocol):
    """A live source.

    Attributes:
        name: as results and messages call it.
        stem: of the files that are written of it.
    """

    name: str
    stem: str

    def connect(self) -> OpenFeed:
        """Connect.

        Raises:
            UserError: it cannot be opened.
        """


class Capture:
    """A camera or a stream of the network, read by OpenCV.

    Args:
        address: a URL, a device file, or the number of a camera.
    """

    def __init__(self, address: str | int) -> None:
        self.address = address
        self.name = masked(address) if isinstance(address, str) else f"camera {address}"
        bare = re.sub(r"^\w+://([^/@]*@)?", "", self.name.partition("?")[0])
        self.stem = re.sub(r"\W+", "_", bare).strip("_") or "stream"

    def connect(self) -> OpenFeed:
        """Connect, see `LiveFeed`."""
        if isinstance(self.address, int):
            video = cv2.VideoCapture(self.address)
        else:
            limit = int(TIMEOUT * 1000)
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
            kind = cv2.CAP_ANY if self.address.startswith("/dev/") else cv2.CAP_FFMPEG
            video = cv2.VideoCapture(self.address, kind, limits if kind == cv2.CAP_FFMPEG else [])
        if not video.isOpened():
            video.release()
            if isinstance(self.address, int):
                raise UserError("there is no such camera, or another program uses it", self.name)
            hint = "is the address right, and does it send video now?"
            raise UserError("no video comes from there", self.name, hint)
        return _OpenedCapture(video)


class _OpenedCapture:
    def __init__(self, video: cv2.VideoCapture) -> None:
        self.video, self.fps = video, frame_rate(video)

    def grab(self) -> bool:
        return self.video.grab()

    def retrieve(self) -> UInt8Array | None:
        good, image = self.video.retrieve()
        return image if good else None  # type: ignore[return-value]  # frames are uint8

    def close(self) -> None:
        self.video.release()


class Screen:
    """What a monitor shows, or a part of it.

    Args:
        words: the rest of "screen": nothing, the number of a monitor (0: all of them), left, top, width and height in
            pixels of it, or the number and these.

    Raises:
        UserError: other words, or mss is not installed.
    """

    def __init__(self, words: str = "") -> None:
        numbers = [int(n) for n in words.split()]
        self.name, self.stem = f"screen {words}".strip(), "screen"
        if len(numbers) not in (0, 1, 4, 5):
            hint = "screen, screen N, or screen [N] LEFT TOP WIDTH HEIGHT"
            raise UserError("the screen takes a monitor's number, four pixels, or both", self.name, hint)
        self.monitor = numbers.pop(0) if len(numbers) in (1, 5) else 0
        self.part = numbers
        self.mss = _mss()

    def connect(self) -> OpenFeed:
        """Connect, see `LiveFeed`."""
        try:
            return _OpenedScreen(self.mss.mss(), self.monitor, self.part)
        except IndexError:
            raise UserError(f"there is no monitor {self.monitor}", self.name, "screen 0 is all of them") from None
        except self.mss.exception.ScreenShotError as e:
            raise UserError(f"it cannot be read: {e}", self.name, "is there a display?") from None


class _OpenedScreen:
    def __init__(self, grabber: Any, monitor: int, part: list[int]) -> None:
        self.grabber, self.fps, self._due, self._shot = grabber, SCREEN_FPS, 0.0, None
        box = dict(grabber.monitors[monitor])
        if part:
            left, top, width, height = part
            box |= {"left": box["left"] + left, "top": box["top"] + top, "width": width, "height": height}
        self.box = box

    def grab(self) -> bool:
        time.sleep(max(self._due - time.monotonic(), 0.0))
        self._due = time.monotonic() + 1 / self.fps
        self._shot = self.grabber.grab(self.box)
        return True

    def retrieve(self) -> UInt8Array | None:
        return np.ascontiguousarray(np.asarray(self._shot, np.uint8)[..., :3])

    def close(self) -> None:
        self.grabber.close()


def _mss() -> Any:
    try:
        import mss  # optional: of this kind of source alone
        import mss.exception
    except ImportError:
        raise UserError("the screen as a source needs mss", hint="pip install mss") from None
    return mss
