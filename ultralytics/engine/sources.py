"""What can be predicted on: pictures and videos, by path, folder, glob or list, or pictures in memory."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ultralytics.utils.errors import DatasetError, MissingFileError, UserError
from ultralytics.utils.files import read_text, user_path
from ultralytics.utils.images import IMAGE_SUFFIXES, VIDEO_SUFFIXES, imread, undecodable
from ultralytics.utils.log import LOGGER
from ultralytics.utils.types import UInt8Array


@dataclass
class SourceItem:
    """A picture, or a frame of a video.

    Attributes:
        path: its file, or image0.jpg, image1.jpg, … in memory; image: BGR uint8 (H, W, 3); label: how messages call it.
        is_video, fps, frame: of a video; frames count from 1.
    """

    path: str
    image: UInt8Array
    label: str
    is_video: bool = False
    fps: float = 0.0
    frame: int = 0


class Source:
    """Iterates over items; `len` counts files. A picture that cannot be decoded is named and passed over."""

    def __init__(self, files: Sequence[str], arrays: Sequence[UInt8Array] = (), vid_stride: int = 1) -> None:
        self.files, self.arrays, self.vid_stride = list(files), list(arrays), vid_stride

    def __len__(self) -> int:
        return len(self.files) + len(self.arrays)

    def __iter__(self) -> Iterator[SourceItem]:
        total, used = len(self), 0
        for i, array in enumerate(self.arrays):
            used += 1
            yield SourceItem(f"image{i}.jpg", array, f"image {i + 1}/{total}")
        for i, file in enumerate(self.files, len(self.arrays) + 1):
            if Path(file).suffix.lower() in VIDEO_SUFFIXES:
                for item in self._frames(file, f"video {i}/{total}"):
                    used += 1
                    yield item
                continue
            image = imread(file)
            if image is None:
                LOGGER.warning("%s: %s; passed over", file, undecodable(file)[1])
                continue
            used += 1
            yield SourceItem(file, image, f"image {i}/{total} {file}")
        if not used:
            shown = ", ".join(self.files[:3]) + (", …" if total > 3 else "")
            raise DatasetError(f"none of the {total} files could be decoded", shown)

    def _frames(self, file: str, label: str) -> Iterator[SourceItem]:
        video = cv2.VideoCapture(file)
        try:
            if not video.isOpened():
                LOGGER.warning("%s: cannot be decoded as a video; passed over", file)
                return
            fps = video.get(cv2.CAP_PROP_FPS) or 30.0
            count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
            frame = 0
            while video.grab():
                frame += 1
                if (frame - 1) % self.vid_stride:
                    continue
                good, image = video.retrieve()
                if not good:
                    break
                told = f"{label} (frame {frame}/{count}) {file}"
                yield SourceItem(file, image, told, True, max(fps / self.vid_stride, 1.0), frame)  # type: ignore[arg-type]  # frames are uint8
        finally:
            video.release()


class VideoSink:
    """Writes annotated frames as a motion-JPEG .avi, which needs no codec of the system's.

    Args:
        path: the .avi, there once `close` has found it whole; fps: frames per second; shape: (height, width).

    Raises:
        UserError: it cannot be written.
    """

    def __init__(self, path: Path, fps: float, shape: tuple[int, ...]) -> None:
        self.path, self.frames = path, 0
        self.part = path.with_name(f".{path.stem}.part.avi")
        code = cv2.VideoWriter.fourcc(*"MJPG")
        self.writer = cv2.VideoWriter(str(self.part), code, fps, (int(shape[1]), int(shape[0])))
        if not self.writer.isOpened():
            self.part.unlink(missing_ok=True)
            raise UserError("the video cannot be written", str(path), "free some space or choose another project=")

    def write(self, image: UInt8Array) -> None:
        """Add a frame."""
        self.writer.write(image)
        self.frames += 1

    def close(self) -> None:
        """Finish the file.

        Raises:
            UserError: not every frame is in it. The writer itself says nothing of a full disk.
        """
        self.writer.release()
        if not self._whole():
            self.part.unlink(missing_ok=True)
            raise UserError(
                f"the video could not be written: its {self.frames} frames are not all there",
                str(self.path),
                "the disk may be full: free some space or choose another project=",
            )
        self.part.replace(self.path)

    def _whole(self) -> bool:
        """Whether the finished file has all frames and its last one can be decoded."""
        video = cv2.VideoCapture(str(self.part))
        try:
            if not video.isOpened() or int(video.get(cv2.CAP_PROP_FRAME_COUNT)) != self.frames:
                return False
            video.set(cv2.CAP_PROP_POS_FRAMES, self.frames - 1)
            return video.read()[0]
        finally:
            video.release()


def load_source(source: Any, vid_stride: int = 1) -> Source:
    """Open a source.

    Args:
        source: a path of a picture, video, folder (not those below it), .txt list or glob; an array BGR uint8 (H, W, 3)
        or grey (H, W);
            a PIL picture; a list of these. vid_stride: take every so many frames.

    Raises:
        MissingFileError: no such file; DatasetError: nothing that could be read; UserError: an unknown kind of source.
    """
    files: list[str] = []
    arrays: list[UInt8Array] = []
    for one in source if isinstance(source, list | tuple) else [source]:
        if isinstance(one, str | Path):
            files += _expand(str(one))
        elif isinstance(one, Image.Image):
            arrays.append(np.ascontiguousarray(np.asarray(one.convert("RGB"))[..., ::-1]))
        elif isinstance(one, np.ndarray):
            arrays.append(_bgr(one))
        else:
            raise UserError(
                f"a source cannot be a {type(one).__name__}", mend="give paths, arrays (BGR uint8) or PIL pictures"
            )
    if not files and not arrays:
        raise DatasetError("the list of sources is empty")
    return Source(files, arrays, vid_stride)


def _bgr(array: Any) -> UInt8Array:
    if (
        array.dtype != np.uint8
        or array.ndim not in (2, 3)
        or (array.ndim == 3 and array.shape[2] not in (1, 3))
        or 0 in array.shape
    ):
        raise UserError(f"a picture must be uint8 of shape (H, W, 3), not {array.dtype} of shape {array.shape}")
    if array.ndim == 2 or array.shape[2] == 1:
        array = cv2.cvtColor(array, cv2.COLOR_GRAY2BGR)
    picture: UInt8Array = array
    return picture


def _expand(name: str) -> list[str]:
    """The pictures and videos a path stands for, sorted, pictures first."""
    path = user_path(name)
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    if path.is_dir():
        found = [str(p) for p in path.iterdir() if p.suffix.lower() in known]
    elif path.is_file() and path.suffix.lower() == ".txt":
        lines = [line.strip() for line in read_text(path, DatasetError).splitlines()]
        nested = next((line for line in lines if line.lower().endswith(".txt")), None)
        if nested is not None:  # it could name itself
            raise DatasetError(f"it lists another list, {nested}", name, "list pictures, videos or folders")
        found = [f for line in lines if line for f in _expand(str(path.parent / line))]
    elif path.is_file():
        if path.suffix.lower() not in known:
            raise DatasetError(
                f"{path.suffix or 'no suffix'} is no kind of picture or video", name, " ".join(sorted(known))
            )
        return [str(path)]
    elif any(c in name for c in "*?["):
        found = [f for f in glob.glob(str(path), recursive=True) if Path(f).suffix.lower() in known]
        if not found:
            raise MissingFileError(f"no picture or video matches; tried {path.absolute()}", name)
    else:
        raise MissingFileError(f"no such source; tried {path.absolute()}", name)
    if not found:
        raise DatasetError("there are no pictures or videos in it", name, " ".join(sorted(known)))
    return sorted(found, key=lambda f: (Path(f).suffix.lower() in VIDEO_SUFFIXES, f))
