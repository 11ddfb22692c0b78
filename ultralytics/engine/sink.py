"""Annotated videos."""

from __future__ import annotations

import secrets
import struct
from pathlib import Path

import cv2

from ultralytics.engine.outputs import INCOMPLETE
from ultralytics.utils.errors import UserError
from ultralytics.utils.types import UInt8Array


class VideoSink:
    """Writes annotated frames as a motion-JPEG .avi, which needs no codec of the system's. It has no sound.

    Args:
        path: the .avi, there once `close` has found it whole. A part of it goes to `marked`.
        fps: frames per second.
        shape: (height, width); frames of another are resized.

    Raises:
        UserError: it cannot be written.
    """

    def __init__(self, path: Path, fps: float, shape: tuple[int, ...]) -> None:
        self.path, self.frames = path, 0
        self.marked = path.with_name(f"{path.stem}{INCOMPLETE}.avi")
        self._times: list[float] = []  # of the first and the last frame
        self.size = int(shape[1]), int(shape[0])
        self.part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part.avi")
        code = cv2.VideoWriter.fourcc(*"MJPG")
        self.writer = cv2.VideoWriter(str(self.part), code, fps, self.size)
        if not self.writer.isOpened():
            self.part.unlink(missing_ok=True)
            raise UserError("the video cannot be written", str(path), "free some space or choose another project=")

    def write(self, image: UInt8Array, time: float | None = None) -> None:
        """Add a frame.

        Args:
            time: seconds, of a live stream: the video then gets the rate at which its frames came.
        """
        if image.shape[1::-1] != self.size:  # the writer would drop it without a word
            image = cv2.resize(image, self.size)  # type: ignore[assignment]  # uint8 stays uint8
        self.writer.write(image)
        # Ctrl-C may come here: the file then has a frame more than is counted.
        self.frames += 1
        if time is not None:
            self._times = [*self._times[:1], time]

    def close(self, incomplete: bool = False) -> None:
        """Finish the file. May be called again where it was interrupted.

        Args:
            incomplete: its source was not read to the end: the file is called `marked`.

        Raises:
            UserError: not every frame is in it. The writer itself says nothing of a full disk. What can be read is
                kept as `marked`.
        """
        self.writer.release()
        if not self.part.exists():  # it has its name
            return
        if len(self._times) == 2 and self._times[1] > self._times[0]:
            _set_rate(self.part, (self.frames - 1) / (self._times[1] - self._times[0]))
        found, whole = self._found()
        if whole:
            self.part.replace(self.marked if incomplete else self.path)
            return
        if not found and not self.frames:  # Ctrl-C came before the first frame
            self.part.unlink(missing_ok=True)
            return
        hint = "the disk may be full: free some space or choose another project="
        if found:
            self.part.replace(self.marked)
            hint = f"what could be written is {self.marked.name}; {hint}"
        else:
            self.part.unlink(missing_ok=True)
        what = f"the video could not be written: its {self.frames} frames are not all there"
        raise UserError(what, str(self.path), hint)

    def _found(self) -> tuple[int, bool]:
        """Return how many frames the finished file has, 0 where none can be decoded, and whether that is all."""
        video = cv2.VideoCapture(str(self.part))
        try:
            found = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
            video.set(cv2.CAP_PROP_POS_FRAMES, found - 1)
            if found >= self.frames and found > 0 and video.read()[0]:
                return found, True
            video.set(cv2.CAP_PROP_POS_FRAMES, 0)
            return (found if found > 0 and video.read()[0] else 0), False
        finally:
            video.release()


def _set_rate(file: Path, fps: float) -> None:
    """Change the frames per second in the headers of an .avi with one stream; a file without them stays as it is."""
    with file.open("r+b") as opened:
        head = opened.read(1024)
        main, stream = head.find(b"avih"), head.find(b"strh")
        if main < 0 or stream < 0:
            return
        opened.seek(main + 8)  # the first field: microseconds per frame
        opened.write(struct.pack("<I", round(1e6 / fps)))
        opened.seek(stream + 8 + 20)  # scale and rate, the latter per scale seconds
        opened.write(struct.pack("<II", 1000, round(fps * 1000)))
