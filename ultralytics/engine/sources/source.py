"""Images and videos, one after another."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ultralytics.engine.sources.item import SourceItem, is_video
from ultralytics.engine.sources.video import Video
from ultralytics.engine.sources.web import WebFile
from ultralytics.utils.errors import DatasetError, UserError
from ultralytics.utils.images import decode, truncated_jpeg, truncated_png, undecodable
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import masked
from ultralytics.utils.types import UInt8Array


class Source:
    """Iterate over items; `len` counts images and videos. What cannot be fetched or decoded is named and passed over.

    Args:
        entries: paths of files, files of the web, and images in memory.
        vid_stride: take every so many frames.
        as_is: images in memory go in at their own size; or for each entry, whether it does.

    Attributes:
        paths: of each entry; image0.jpg, image1.jpg, … in memory.
        stems: for each entry, the name of what is written of it, without a suffix.
        in_memory: for each entry, True if it has no file.
        moving: for each entry, True if it has frames.
        bs: images of a batch, as the reference's sources know it.
        whole: places of what was read to its end, filled while iterating.
        incomplete: place → what is missing, of videos that could be read in part, filled while iterating.
    """

    live = False  # its frames come when they come

    def __init__(
        self, entries: Sequence[str | WebFile | UInt8Array], vid_stride: int = 1, as_is: bool | Sequence[bool] = False
    ) -> None:
        self.entries, self.vid_stride = list(entries), vid_stride
        self.as_is = [as_is] * len(self.entries) if isinstance(as_is, bool) else list(as_is)
        self.in_memory = [isinstance(e, np.ndarray) for e in self.entries]
        numbers = np.cumsum(self.in_memory)
        self.paths = [_name_of(e) or f"image{numbers[i] - 1}.jpg" for i, e in enumerate(self.entries)]
        self.stems = [
            e.stem if isinstance(e, WebFile) else Path(p).stem for e, p in zip(entries, self.paths, strict=True)
        ]
        self.moving = [e.is_video if isinstance(e, WebFile) else isinstance(e, str) and is_video(e) for e in entries]
        self.bs = 1
        self.whole: set[int] = set()
        self.incomplete: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def close(self) -> None:
        """Let go of what is open; iterating may begin anew afterwards."""

    def sequence(self, index: int) -> Hashable:
        """Return what the frames of one sequence share: those of a video; the images of a folder; those in memory."""
        if self.in_memory[index]:
            return ""
        if self.moving[index]:
            return index
        path = self.paths[index]
        return os.path.dirname(os.path.abspath(path) if isinstance(self.entries[index], str) else path)

    def __iter__(self) -> Iterator[SourceItem]:
        used = 0
        for index in range(len(self)):
            for item in self._items(index):
                used += 1
                yield item
            if index not in self.incomplete:
                self.whole.add(index)
        if not used:
            shown = ", ".join(self.paths[:3]) + (", …" if len(self) > 3 else "")
            raise DatasetError(f"none of the {len(self)} files could be decoded", shown)

    def _items(self, index: int) -> Iterator[SourceItem]:
        """Yield the image, or the frames, of an entry."""
        entry, path, place = self.entries[index], self.paths[index], f"{index + 1}/{len(self)}"
        if isinstance(entry, str):
            yield from self._read(entry, path, place, index)
        elif isinstance(entry, WebFile):
            try:
                entry = entry.judged()
                self.moving[index] = entry.is_video
                with entry.fetched() as file:
                    yield from self._read(file, path, place, index)
            except UserError as e:
                if len(self) == 1:
                    raise
                LOGGER.warning("%s; passed over", e)
        else:
            yield SourceItem(path, entry, f"image {place}", index, as_is=self.as_is[index])

    def _read(self, file: str, path: str, place: str, index: int) -> Iterator[SourceItem]:
        if not self.moving[index]:
            yield from _image(file, path, f"image {place} {path}", index)
            return
        video = Video(file, path, f"video {place}", index, self.vid_stride)
        yield from video
        if video.missing:
            self.incomplete[index] = video.missing


def _name_of(entry: str | WebFile | UInt8Array) -> str:
    """Return the name of an entry, "" in memory."""
    return masked(entry.url) if isinstance(entry, WebFile) else entry if isinstance(entry, str) else ""


def _image(file: str, path: str, label: str, index: int) -> Iterator[SourceItem]:
    """Yield the image of a file, if it can be decoded."""
    try:
        data = np.fromfile(file, np.uint8)
    except OSError as e:
        LOGGER.warning("%s: cannot be read: %s; passed over", path, e.strerror or e)
        return
    if truncated_jpeg(data) or truncated_png(data):  # some versions of OpenCV make the rest up
        LOGGER.warning("%s: is cut off; passed over", path)
        return
    image = decode(data)
    if image is None:
        LOGGER.warning("%s: %s; passed over", path, undecodable(data)[1])
        return
    yield SourceItem(path, image, label, index)
