"""Sources of a prediction: images and videos, by path, folder, glob or list, or images in memory."""

from __future__ import annotations

import fnmatch
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from ultralytics.utils.errors import DatasetError, MissingFileError, UserError
from ultralytics.utils.files import read_text, user_path
from ultralytics.utils.images import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    decode,
    from_pillow,
    truncated_jpeg,
    truncated_png,
    undecodable,
)
from ultralytics.utils.log import LOGGER
from ultralytics.utils.types import UInt8Array

SLACK = 2  # frames by which a video's header may promise too many: encoders do


@dataclass
class SourceItem:
    """An image, or a frame of a video."""

    path: str  # its file, or image0.jpg, image1.jpg, … in memory
    image: UInt8Array  # BGR uint8 (H, W, 3)
    label: str  # how messages call it
    index: int = 0  # place of the image or video in the source
    # is_video, fps, frame: of a video; frames count from 1
    is_video: bool = False
    fps: float = 0.0
    frame: int = 0
    as_is: bool = False  # it goes in at its own size, as a tensor does


def is_video(file: str) -> bool:
    """Return True if the name is that of a video."""
    return Path(file).suffix.lower() in VIDEO_SUFFIXES


class Source:
    """Iterate over items; `len` counts images and videos. What cannot be decoded is named and passed over.

    Args:
        entries: paths of files, and images in memory.
        vid_stride: take every so many frames.
        as_is: images in memory go in at their own size.

    Attributes:
        paths: of each entry; image0.jpg, image1.jpg, … in memory.
        in_memory: for each entry, True if it has no file.
        whole: places of what was read to its end, filled while iterating.
        incomplete: place → what is missing, of videos that could be read in part, filled while iterating.
    """

    def __init__(self, entries: Sequence[str | UInt8Array], vid_stride: int = 1, as_is: bool = False) -> None:
        self.entries, self.vid_stride, self.as_is = list(entries), vid_stride, as_is
        self.in_memory = [not isinstance(e, str) for e in self.entries]
        numbers = np.cumsum(self.in_memory)
        self.paths = [e if isinstance(e, str) else f"image{numbers[i] - 1}.jpg" for i, e in enumerate(self.entries)]
        self.bs = 1  # images of a batch, as the reference's sources know it
        self.whole: set[int] = set()
        self.incomplete: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[SourceItem]:
        total, used = len(self), 0
        for index, (entry, path) in enumerate(zip(self.entries, self.paths, strict=True)):
            place = f"{index + 1}/{total}"
            if not isinstance(entry, str):
                items: Iterable[SourceItem] = [SourceItem(path, entry, f"image {place}", index, as_is=self.as_is)]
            elif is_video(entry):
                items = self._frames(entry, index, f"video {place}")
            else:
                items = self._image(entry, index, f"image {place} {entry}")
            for item in items:
                used += 1
                yield item
            if index not in self.incomplete:
                self.whole.add(index)
        if not used:
            shown = ", ".join(self.paths[:3]) + (", …" if total > 3 else "")
            raise DatasetError(f"none of the {total} files could be decoded", shown)

    def _image(self, file: str, index: int, label: str) -> Iterator[SourceItem]:
        try:
            data = np.fromfile(file, np.uint8)
        except OSError as e:
            LOGGER.warning("%s: cannot be read: %s; passed over", file, e.strerror or e)
            return
        if truncated_jpeg(data) or truncated_png(data):  # some versions of OpenCV make the rest up
            LOGGER.warning("%s: is cut off; passed over", file)
            return
        image = decode(data)
        if image is None:
            LOGGER.warning("%s: %s; passed over", file, undecodable(data)[1])
            return
        yield SourceItem(file, image, label, index)

    def _frames(self, file: str, index: int, label: str) -> Iterator[SourceItem]:
        video = cv2.VideoCapture(file)
        try:
            if not video.isOpened():
                LOGGER.warning("%s: cannot be decoded as a video; passed over", file)
                return
            clock = _Clock(video)
            while video.grab():
                clock.tick(video)
                if (clock.frames - 1) % self.vid_stride:
                    continue
                good, image = video.retrieve()
                if not good:
                    clock.frames -= 1
                    break
                of = f"/{clock.announced}" if clock.announced else ""
                text = f"{label} (frame {clock.frames}{of}) {file}"
                fps = max(clock.fps / self.vid_stride, 1.0)
                yield SourceItem(file, image, text, index, True, fps, clock.frames)  # type: ignore[arg-type]  # frames are uint8
            if not clock.frames:
                LOGGER.warning("%s: no frame of it can be decoded; passed over", file)
            elif clock.has_lost() or _is_cut_gif(file):
                of = f" of the {clock.announced} frames announced" if clock.has_lost() else " frames"
                what = f"{clock.frames}{of} could be read"
                self.incomplete[index] = f"{what}: the video is cut off or damaged"
                LOGGER.warning("%s: %s", file, self.incomplete[index])
        finally:
            video.release()


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
        fps, count = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps = fps if 0 < fps <= 1000 else 30.0  # NaN is not
        self.announced = int(count) if 0 < count < 2**31 else 0
        self.frames, self._last, self._gap = 0, 0.0, 0.0

    def tick(self, video: cv2.VideoCapture) -> None:
        """Take a frame in."""
        self.frames += 1
        now = video.get(cv2.CAP_PROP_POS_MSEC) * self.fps / 1000  # in frames
        self._gap = max(self._gap, now - self._last)
        self._last = now

    def has_lost(self) -> bool:
        """Return True if frames are missing at the end or in between."""
        short = self.announced - self.frames > SLACK
        return short and (self._gap > SLACK + 1 or self.announced - 1 - self._last > SLACK)


class VideoSink:
    """Writes annotated frames as a motion-JPEG .avi, which needs no codec of the system's.

    Args:
        path: the .avi, there once `close` has found it whole.
        fps: frames per second.
        shape: (height, width); frames of another are resized.

    Raises:
        UserError: it cannot be written.
    """

    def __init__(self, path: Path, fps: float, shape: tuple[int, ...]) -> None:
        self.path, self.frames = path, 0
        self.size = int(shape[1]), int(shape[0])
        self.part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part.avi")
        code = cv2.VideoWriter.fourcc(*"MJPG")
        self.writer = cv2.VideoWriter(str(self.part), code, fps, self.size)
        if not self.writer.isOpened():
            self.part.unlink(missing_ok=True)
            raise UserError("the video cannot be written", str(path), "free some space or choose another project=")

    def write(self, image: UInt8Array) -> None:
        """Add a frame."""
        if image.shape[1::-1] != self.size:  # the writer would drop it without a word
            image = cv2.resize(image, self.size)  # type: ignore[assignment]  # uint8 stays uint8
        self.writer.write(image)
        self.frames += 1

    def close(self, path: Path | None = None) -> None:
        """Finish the file.

        Args:
            path: another name for it.

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
        self.part.replace(path or self.path)

    def _whole(self) -> bool:
        """Return True if the finished file has all frames and its last one can be decoded."""
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
        source: a path of an image, video, folder (not those below it), .txt list or glob; an array BGR uint8 (H, W, 3)
            or grey (H, W); a Pillow image; a list of these; a tensor RGB 0..1 (B, 3, H, W) or (3, H, W), which is not
            resized.
        vid_stride: take every so many frames.

    Raises:
        MissingFileError: no such file.
        DatasetError: nothing that could be read.
        UserError: an unknown kind of source, or one that is not offered: a URL, a stream, a camera, the screen.
    """
    if isinstance(source, torch.Tensor):
        return Source(_images_of(source), as_is=True)
    entries: list[str | UInt8Array] = []
    for one in source if isinstance(source, list | tuple) else [source]:
        if isinstance(one, str | Path):
            entries += _expand(str(one))
        elif isinstance(one, Image.Image):
            entries.append(from_pillow(one))
        elif isinstance(one, np.ndarray):
            entries.append(_bgr(one))
        elif isinstance(one, torch.Tensor):
            raise UserError("a list of sources cannot hold tensors", hint="give one tensor: torch.stack(tensors)")
        elif isinstance(one, int | np.integer) and not isinstance(one, bool):
            raise _not_offered("a camera", str(one), _HINTS["camera"])
        else:
            raise UserError(
                f"a source cannot be a {type(one).__name__}", hint="give paths, arrays (BGR uint8) or Pillow images"
            )
    if not entries:
        raise DatasetError("the list of sources is empty")
    return Source(entries, vid_stride)


def _images_of(batch: torch.Tensor) -> list[str | UInt8Array]:
    """Return the images of a tensor, BGR uint8.

    Raises:
        UserError: it holds none.
    """
    wanted = "give RGB in 0..1, shape (B, 3, H, W)"
    if batch.ndim == 3:
        batch = batch[None]
    if batch.ndim != 4 or batch.shape[1] != 3 or 0 in batch.shape:
        raise UserError(f"images cannot be a tensor of shape {tuple(batch.shape)}", hint=wanted)
    if not batch.is_floating_point():
        raise UserError(f"images cannot be a tensor of {batch.dtype}: which value is white?", hint=f"{wanted}: x / 255")
    batch = batch.detach().float().cpu()
    if not bool(batch.isfinite().all()) or float(batch.min()) < -1e-3:
        raise UserError("images cannot be a tensor with values below 0 or not finite", hint=wanted)
    if float(batch.max()) > 1 + 1e-3:
        LOGGER.warning("the tensor has values above 1, and is divided by 255")
        batch = batch / 255
    pixels = (batch * 255).round().clamp(0, 255).to(torch.uint8).flip(1).permute(0, 2, 3, 1).contiguous().numpy()
    return list(pixels)


def _bgr(array: Any) -> UInt8Array:
    wanted = "give uint8 of 0..255 in the order BGR, shape (H, W, 3), or grey, shape (H, W)"
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] not in (1, 3)):
        if array.ndim == 3 and array.shape[2:] == (4,):
            wanted += "; of RGBA: cv2.cvtColor(image, cv2.COLOR_RGBA2BGR)"
        elif array.ndim == 3 and array.shape[0] in (1, 3):
            wanted += "; of (3, H, W): image.transpose(1, 2, 0)"
        elif array.ndim == 4:
            wanted += "; of a batch: list(images)"
        raise UserError(f"an image cannot be an array of shape {array.shape}", hint=wanted)
    if array.dtype != np.uint8:
        raise UserError(f"an image cannot be an array of {array.dtype}: which value is white?", hint=wanted)
    if array.ndim == 2 or array.shape[2] == 1:
        array = cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_GRAY2BGR)
    image: UInt8Array = array
    return image


_HINTS = {
    "file": "save it as a file first, and give its path",
    "camera": "record a video first, and give its path",
    "screen": "save a screenshot first, and give its path",
}
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/", re.IGNORECASE)  # of two letters and more: C:/ is a drive
_SITE = re.compile(r"(www\.|(m\.)?youtube\.com(/|$)|youtu\.be(/|$))", re.IGNORECASE)
_STREAMS = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "tcp", "udp", "mms", "hls")


def _not_offered(kind: str, name: str, hint: str) -> UserError:
    return UserError(f"{kind} is not offered as a source", name, hint)


def _refuse_no_file(name: str) -> None:
    """Refuse what the reference takes for a source and is no file.

    Raises:
        UserError: it is a URL, a live stream, a camera or the screen.
    """
    word = name.strip().lower()
    scheme = _SCHEME.match(word)
    # A Path has lost one slash of "https://…".
    url = re.sub(r":/+", "://", name.strip(), count=1)
    if word.startswith("data:"):
        raise _not_offered("a data: URI", f"{name[:40]}…" if len(name) > 40 else name, _HINTS["file"])
    if scheme and scheme[1] == "file":
        raise UserError("give the path of a file, without file://", name)
    if scheme and scheme[1] in _STREAMS:
        raise _not_offered("a live stream", url, _HINTS["camera"])
    if scheme:
        raise _not_offered("a URL", url, "download the image or video first, and give its path")
    if _SITE.match(word):
        raise _not_offered("a web address", name, "download the image or video first, and give its path")
    if re.fullmatch(r"[+-]?\d+|webcam\d*|camera\d*|/dev/video\d+", word):
        raise _not_offered("a camera", name, _HINTS["camera"])
    if re.fullmatch(r"screen(\s.*)?", word):
        raise _not_offered("the screen", name, _HINTS["screen"])


def _expand(name: str, below: Path | None = None) -> list[str]:
    """Return the images and videos a path stands for, sorted, images first.

    A name is tried as that of a file or folder before it is taken for a glob or anything else.

    Args:
        below: folder of the list that holds the name.
    """
    path = user_path(name) if below is None else below / user_path(name)
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    if os.path.isdir(path):
        try:
            names = sorted(os.listdir(path))
        except OSError as e:
            raise DatasetError(f"the folder cannot be read: {e.strerror or e}", name) from None
        found = _keep_usable(os.path.join(path, n) for n in names)
    elif path.suffix.lower() == ".streams":
        raise _not_offered("a list of live streams", name, _HINTS["camera"])
    elif os.path.isfile(path) and path.suffix.lower() == ".txt":
        lines = [line.strip() for line in read_text(path, DatasetError).splitlines()]
        nested = next((line for line in lines if line.lower().endswith(".txt")), None)
        if nested is not None:  # it could name itself
            raise DatasetError(f"the list contains another list, {nested}", name, "list images, videos or folders")
        found = [f for line in lines if line for f in _expand(line, path.parent)]
    elif os.path.isfile(path):
        if path.suffix.lower() not in known:
            raise DatasetError(
                f"{path.suffix or 'no suffix'} is no kind of image or video", name, " ".join(sorted(known))
            )
        return [str(path)]
    else:
        _refuse_no_file(name)
        problem = _why_unusable(str(path)) if os.path.lexists(path) else None
        if problem is not None:
            raise MissingFileError(f"this is {problem}, and a source is a file", str(path.absolute()))
        if not any(c in name for c in "*?["):
            raise MissingFileError(f"no such source; tried {path.absolute()}", name)
        found = _keep_usable(_glob(str(path)))
        if not found:
            raise MissingFileError(f"no image or video matches; tried {path.absolute()}", name)
    if not found:
        raise DatasetError("there are no images or videos in it", name, " ".join(sorted(known)))
    return sorted(found, key=lambda f: (is_video(f), f))


def _keep_usable(files: Iterable[str]) -> list[str]:
    """Return the images and videos among files. What bears such a name and is no file is named and passed over."""
    found = []
    for file in files:
        if os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            problem = _why_unusable(file)
            if problem is None:
                found.append(file)
            else:
                LOGGER.warning("%s: is %s; passed over", file, problem)
    return found


def _why_unusable(file: str) -> str | None:
    """Say what a path is that is no regular file; None for a file. Opening a pipe would wait for a writer for ever."""
    try:
        mode = os.stat(file).st_mode
    except OSError as e:
        return "a link to nowhere" if os.path.islink(file) else f"not to be read ({e.strerror or e})"
    if stat.S_ISREG(mode):
        return None
    return "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"


def _glob(pattern: str) -> list[str]:
    """Return what a glob matches, part by part. What is there under the very name of a part is meant by it, and
    brackets are tried as such before they are taken for a choice of letters."""
    path = Path(pattern)
    parts = path.parts[1:] if path.anchor else path.parts
    found = [path.anchor]
    for part in [*parts, "*"] if parts[-1] == "**" else parts:
        found = list(dict.fromkeys(f for folder in found for f in _matches(folder, part)))
    return found


def _matches(folder: str, part: str) -> list[str]:
    """Return the paths in a folder that one part of a glob stands for."""
    if part == "**":
        return _folders_below(folder)
    if os.path.lexists(os.path.join(folder, part)):
        return [os.path.join(folder, part)]
    try:
        names = [n for n in os.listdir(folder or ".") if part.startswith(".") or not n.startswith(".")]
    except OSError:  # no folder, or one that is closed to us
        return []
    matching = fnmatch.filter(names, part.replace("[", "[[]")) or fnmatch.filter(names, part)
    return [os.path.join(folder, n) for n in sorted(matching)]


def _folders_below(top: str) -> list[str]:
    """Return a folder and all below it but the hidden ones, through links too; each real folder once."""
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    for folder, below, _ in os.walk(top or ".", followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            LOGGER.warning("%s: leads to a folder that is read already; passed over", folder)
            below.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        found.append(folder if top else os.path.relpath(folder, "."))
        below[:] = sorted(n for n in below if not n.startswith("."))
    return found
