"""What a source yields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from ultralytics.utils.images import VIDEO_SUFFIXES
from ultralytics.utils.types import UInt8Array


@dataclass
class SourceItem:
    """An image, or a frame of a video or live stream."""

    path: str  # its file or URL, the name of a camera, or image0.jpg, image1.jpg, … in memory
    image: UInt8Array  # BGR uint8 (H, W, 3)
    label: str  # how messages call it
    index: int = 0  # place of the image, video or stream in the source
    # is_video, fps, frame: of a video or stream; frames count from 1, those that are skipped too
    is_video: bool = False
    fps: float = 0.0
    frame: int = 0
    as_is: bool = False  # it goes in at its own size, as a tensor does
    time: float | None = None  # of a live stream: when the frame came, seconds of a monotonic clock
    last: bool = False  # nothing else is there at the moment: what waits for a full batch need not wait longer


def is_video(file: str) -> bool:
    """Return True if the name is that of a video."""
    return PurePath(file).suffix.lower() in VIDEO_SUFFIXES
