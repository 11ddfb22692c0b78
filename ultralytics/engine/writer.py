"""Files that a prediction writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from ultralytics.cfg.config import Config
from ultralytics.engine.outputs import CROPS, EMBEDDINGS, FRAMES, IMAGES, LABELS, OutputNames
from ultralytics.engine.results import Results
from ultralytics.engine.sink import VideoSink
from ultralytics.engine.sources import Source, SourceItem
from ultralytics.engine.tracking import MotWriter
from ultralytics.utils.errors import UserError
from ultralytics.utils.files import write_atomically
from ultralytics.utils.images import imwrite
from ultralytics.utils.types import UInt8Array

_WRITTEN = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def drawn_by(result: Results, args: Config) -> UInt8Array:
    """Draw a result as the keys say; BGR uint8."""
    return result.plot(
        conf=args.show_conf,
        labels=args.show_labels,
        boxes=args.show_boxes,
        line_width=args.line_width,
        font=args.font,
        color_mode="instance" if result.is_track else "class",
    )


class Writer:
    """Writes the images, videos, labels and crops of a prediction, of the items of a source, into a run's folder."""

    def __init__(self, folder: Path, source: Source, args: Config) -> None:
        self.folder, self.source, self.args = folder, source, args
        embeds = args.embed is not None
        images = (args.save or args.visualize) and not embeds
        kinds = {
            IMAGES: images,
            EMBEDDINGS: args.save and embeds,
            FRAMES: args.save_frames,
            LABELS: args.save_txt,
            CROPS: args.save_crop,
        }
        self.names = OutputNames(
            folder,
            [None if m else p for m, p in zip(source.in_memory, source.paths, strict=True)],
            source.stems,
            [kind for kind, wanted in kinds.items() if wanted],
            source.moving,
            new=not args.exist_ok,
        )
        self._videos: dict[int, VideoSink] = {}  # under way, by the place of their source
        self._mot = MotWriter(folder, source, new=not args.exist_ok) if args.save_mot else None

    def write(self, item: SourceItem, result: Results, drawn: UInt8Array | None) -> None:
        """Write what is wanted of an image or frame; `drawn`: it with its boxes, where that is wanted."""
        if not self.source.live:
            self._finish_videos(but=item.index)
        stem = self.names.stems[item.index]
        if self.args.save and drawn is not None:
            self._write_drawn(item, drawn, stem)
        if self.args.save_frames and item.is_video and drawn is not None:
            imwrite(self.folder / FRAMES / f"{self.stem(item)}.jpg", drawn)
        if self.args.save_txt:
            result.save_txt(self.folder / LABELS / f"{self.stem(item)}.txt", save_conf=self.args.save_conf)
        if self._mot is not None:
            self._mot.write(item, result)
        if self.args.save_crop:
            names: dict[str, Iterator[str]] = {}
            for folder, crop in result.crops():
                stems = names.setdefault(folder, self.names.crops(item.index, item.frame))
                imwrite(self.folder / CROPS / folder / f"{next(stems)}.jpg", crop)

    def write_vector(self, item: SourceItem, vector: Tensor) -> None:
        """Write the vector of an image or frame as embeddings/NAME.npy."""
        path = self.folder / EMBEDDINGS / f"{self.stem(item)}.npy"
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, lambda file: np.save(file, vector.float().cpu().numpy()))

    def stem(self, item: SourceItem) -> str:
        """Return the name of what is written of an image or frame by itself."""
        return self.names.stems[item.index] + (f"_{item.frame}" if item.is_video else "")

    def _write_drawn(self, item: SourceItem, drawn: UInt8Array, stem: str) -> None:
        if item.is_video:
            if item.index not in self._videos:
                self._videos[item.index] = VideoSink(self.folder / f"{stem}.avi", item.fps, drawn.shape[:2])
            self._videos[item.index].write(drawn, item.time)
            return
        suffix = Path(item.path).suffix.lower()
        imwrite(self.folder / f"{stem}{suffix if suffix in _WRITTEN else '.jpg'}", drawn)

    def close(self) -> None:
        """Finish the files under way."""
        try:
            if self._mot is not None:
                self._mot.close()
        finally:
            self._finish_videos()

    def _finish_videos(self, but: int | None = None) -> None:
        """Finish the videos under way, but that of one source. Where a source was not read to its end, the name says
        so; a live one has none. One that cannot be finished keeps none of the others from it."""
        failed: UserError | None = None
        for index in [i for i in self._videos if i != but]:
            sink = self._videos[index]  # until it is finished: `close` comes back to it after Ctrl-C
            incomplete = not (self.source.live or index in self.source.whole)
            try:
                sink.close(incomplete)
                if not incomplete:
                    sink.marked.unlink(missing_ok=True)  # of an earlier call with the same source
            except UserError as e:
                failed = failed or e
            del self._videos[index]
        if failed is not None:
            raise failed
