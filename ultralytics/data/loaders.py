"""Sources of prediction under the reference's names; `engine.sources` reads them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ultralytics.data.utils import FORMATS_HELP_MSG, IMG_FORMATS, VID_FORMATS
from ultralytics.utils.lazy import later, resolve
from ultralytics.utils.types import UInt8Array

__all__ = ["FORMATS_HELP_MSG", "IMG_FORMATS", "VID_FORMATS"]
__getattr__ = later(__name__, {}, {"get_best_youtube_url": "download the video first, and give its path"})


@dataclass
class SourceTypes:
    """What a source is."""

    stream: bool = False
    screenshot: bool = False
    from_img: bool = False
    tensor: bool = False


class LoadImagesAndVideos:
    """Iterate over a source in batches: paths, BGR images (H, W, 3), and how messages call them.

    Args:
        path: what `engine.sources.load_source` takes.
        batch: images or frames at a time.
        vid_stride: take every so many frames of a video.
        buffer: of live streams take every frame, not the newest.

    Attributes:
        files: paths of the images and videos.
        nf: their number.
        bs: the batch.
    """

    def __init__(self, path: Any, batch: int = 1, vid_stride: int = 1, buffer: bool = False) -> None:
        self.source = resolve("ultralytics.engine.sources:load_source")(path, vid_stride, buffer)
        self.files: list[str] = self.source.paths
        live = self.source.live
        self.nf, self.bs, self.vid_stride = len(self.files), max(batch, len(self.files) if live else 1), vid_stride
        self.mode = "stream" if live else "image"
        self.source_type = SourceTypes(stream=live)

    def __len__(self) -> int:
        return math.ceil(self.nf / self.bs)

    def __iter__(self) -> Iterator[tuple[list[str], list[UInt8Array], list[str]]]:
        paths: list[str] = []
        images: list[UInt8Array] = []
        labels: list[str] = []
        for item in self.source:
            if not self.source.live:
                self.mode = "video" if item.is_video else "image"
            paths, images, labels = [*paths, item.path], [*images, item.image], [*labels, f"{item.label}: "]
            if len(paths) == self.bs or item.last:
                yield paths, images, labels
                paths, images, labels = [], [], []
        if paths:
            yield paths, images, labels


class LoadPilAndNumpy(LoadImagesAndVideos):
    """Iterate over images in memory, all in one batch; see `LoadImagesAndVideos`."""

    def __init__(self, im0: Any) -> None:
        images = im0 if isinstance(im0, list | tuple) else [im0]
        super().__init__(list(images), batch=max(len(images), 1))
        self.source_type = SourceTypes(from_img=True)


class LoadTensor(LoadImagesAndVideos):
    """Iterate over the images of a tensor RGB 0..1 (B, 3, H, W), all in one batch; see `LoadImagesAndVideos`."""

    def __init__(self, im0: Any) -> None:
        super().__init__(im0, batch=len(im0) if im0.ndim == 4 else 1)
        self.source_type = SourceTypes(tensor=True)


class LoadStreams(LoadImagesAndVideos):
    """Iterate over live streams, a frame of each that has one at a time; see `LoadImagesAndVideos`."""

    def __init__(self, sources: Any = "file.streams", vid_stride: int = 1, buffer: bool = False) -> None:
        super().__init__(sources, vid_stride=vid_stride, buffer=buffer)
        self.sources = self.files

    def close(self) -> None:
        """Let go of the streams."""
        self.source.close()


class LoadScreenshots(LoadStreams):
    """Iterate over images of the screen: `screen [N] [LEFT TOP WIDTH HEIGHT]`; see `LoadImagesAndVideos`."""

    def __init__(self, source: Any = "screen") -> None:
        super().__init__(source)
        self.source_type = SourceTypes(screenshot=True)


LOADERS = (LoadTensor, LoadStreams, LoadPilAndNumpy, LoadImagesAndVideos, LoadScreenshots)


def autocast_list(source: list[Any]) -> list[UInt8Array]:
    """Read images, paths of images or Pillow images as BGR images (H, W, 3)."""
    return [item.image for item in resolve("ultralytics.engine.sources:load_source")(source)]


def load_inference_source(
    source: Any = None, batch: int = 1, vid_stride: int = 1, buffer: bool = False
) -> LoadImagesAndVideos:
    """Return a source in batches, see `LoadImagesAndVideos`."""
    return LoadImagesAndVideos(source, batch, vid_stride, buffer)
