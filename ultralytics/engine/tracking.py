"""Tracking in the loop of a prediction: a tracker per video, ids and paths in the results, and the MOT files."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from ultralytics.cfg.tracker import TrackerConfig
from ultralytics.engine.outputs import MOT, OutputNames
from ultralytics.engine.results import Results
from ultralytics.engine.sources import Source, SourceItem
from ultralytics.trackers import BOTSORT, BYTETracker
from ultralytics.trackers.mot import mot_rows
from ultralytics.utils.errors import UserError
from ultralytics.utils.files import not_written
from ultralytics.utils.types import Float32Array

_ROOM = "free some space or choose another project="
Tracker = BYTETracker  # any of them
KINDS: dict[str, type[Tracker]] = {"bytetrack": BYTETracker, "botsort": BOTSORT}


class _Sequence:
    """The objects of one video.

    Attributes:
        index: the last item of it that was followed; last: the last that the source has.
    """

    def __init__(self, config: TrackerConfig, trails: int) -> None:
        self.tracker = KINDS[config.tracker_type](config)
        self.index = self.last = 0
        self._trails = trails
        self._paths: dict[int, deque[tuple[float, float]]] = {}

    def follow(self, result: Results) -> Results:
        """Return the result of a frame with the boxes of the objects that are followed, as they are filtered; their
        masks and keypoints are those of the frame.

        Raises:
            UserError: there are no boxes, of a classified image.
        """
        if result.objects is None:
            raise UserError("tracking follows boxes, and this network finds none", hint="predict, or another network")
        rows = self.tracker.update(result.objects.numpy(), result.orig_img)
        if result.obb is not None and not len(rows):
            rows = np.zeros((0, 9), np.float32)
        data = result.objects.data
        followed = result[rows[:, -1].astype(np.int64).tolist()]
        followed.update(**{"boxes" if result.obb is None else "obb": _like(rows[:, :-1], data)})
        if self._trails:
            followed.trails = self._extended(rows)
        return followed

    def _extended(self, rows: Float32Array) -> dict[int, Float32Array]:
        """Return the paths of the objects of a frame, extended to it; drop those of objects that are over."""
        known = {t.track_id for t in (*self.tracker.tracked_stracks, *self.tracker.lost_stracks)}
        self._paths = {i: path for i, path in self._paths.items() if i in known}
        rotated = rows.shape[1] == 9
        centres = (rows[:, :2] if rotated else (rows[:, :2] + rows[:, 2:4]) / 2).tolist()
        ids = rows[:, 5 if rotated else 4].astype(int).tolist()
        for (x, y), i in zip(centres, ids, strict=True):
            self._paths.setdefault(i, deque(maxlen=self._trails)).append((x, y))
        return {i: np.array(self._paths[i], np.float32) for i in ids}


class Tracking:
    """Follow objects through the frames of a source; each video, stream, folder of images and list in memory has a
    tracker of its own.

    Args:
        config: of the trackers.
        trails: frames of an object's path that the results have.
        before: tracking of an earlier call that is continued: its first tracker by the first video of this call, and
            so on; with another configuration it is not.
    """

    def __init__(self, config: TrackerConfig, trails: int = 0, before: Tracking | None = None) -> None:
        self.config, self.trails = config, trails
        self._persists = before is not None
        self._places: dict[Hashable, int] = {}  # sequence → its place among those of this call
        self._last: dict[Hashable, int] = {}  # sequence → its last item in the source
        self._sequences: dict[int, _Sequence] = {}
        if before is not None and (before.config, before.trails) == (config, trails):
            self._sequences = before._sequences

    @property
    def trackers(self) -> list[Tracker]:
        """The trackers at work."""
        return [s.tracker for s in self._sequences.values()]

    def follow(self, item: SourceItem, result: Results, source: Source) -> Results:
        """Return the result of an item with ids; items of a video come in order."""
        start = time.perf_counter()
        key = source.sequence(item.index)
        if not self._last:
            self._last = {source.sequence(i): i for i in range(len(source.paths))}
        if key not in self._places:
            self._places[key] = len(self._places)
            if not self._persists:  # what has ended is not needed again
                ended = source.whole | source.incomplete.keys()
                self._sequences = {n: s for n, s in self._sequences.items() if s.index < s.last or s.index not in ended}
        place = self._places[key]
        if place not in self._sequences:
            self._sequences[place] = _Sequence(self.config, self.trails)
        sequence = self._sequences[place]
        sequence.index, sequence.last = item.index, self._last[key]
        followed = sequence.follow(result)
        if followed.speed["postprocess"] is not None:
            spent = (time.perf_counter() - start) * 1e3
            followed.speed = {**followed.speed, "postprocess": followed.speed["postprocess"] + spent}
        return followed


def _like(rows: Float32Array, data: Any) -> Any:
    return torch.from_numpy(rows).to(data.device, data.dtype) if isinstance(data, Tensor) else rows


class MotWriter:
    """Writes the tracks of each video into a file of the MOT challenge's format, FOLDER/mot/NAME.txt; NAME is that of
    the video, or of the folder of images.

    Args:
        folder: of the run.
        source: what is tracked.
        new: the folder was made for this call.
    """

    def __init__(self, folder: Path, source: Source, new: bool) -> None:
        counts: dict[Hashable, int] = {}
        self._numbers: list[int] = []  # of the source's items in their sequences, from 1
        paths: list[str | None] = []
        stems: list[str] = []
        for index, path in enumerate(source.paths):
            key = source.sequence(index)
            counts[key] = counts.get(key, 0) + 1
            self._numbers.append(counts[key])
            if counts[key] == 1:
                in_memory, moving = source.in_memory[index], source.moving[index]
                paths.append(None if in_memory else path if moving else str(key))
                stems.append("images" if in_memory else source.stems[index] if moving else Path(str(key)).name)
        names = OutputNames(folder, paths, stems, [MOT], new=new).stems
        self._files = {key: folder / MOT / f"{name}.txt" for key, name in zip(counts, names, strict=True)}
        self._source = source
        self._open: dict[Hashable, IO[str]] = {}
        self._begun: set[Hashable] = set()

    def write(self, item: SourceItem, result: Results) -> None:
        """Add the boxes of a frame, of rotated ones the upright boxes around them.

        Raises:
            UserError: the file cannot be written.
        """
        key = self._source.sequence(item.index)
        boxes = result.objects.numpy()
        ids = boxes.id if boxes.is_track else np.full(len(boxes), -1)
        frame = item.frame if item.is_video else self._numbers[item.index]
        if key not in self._open:
            if not self._source.live:  # whose streams come in turns
                self.close()
            try:
                self._files[key].parent.mkdir(parents=True, exist_ok=True)
                mode = "a" if key in self._begun else "w"  # images of several folders may alternate
                self._open[key] = self._files[key].open(mode, encoding="utf-8", newline="\n")
                self._begun.add(key)
            except OSError as e:
                raise not_written(e, self._files[key], _ROOM) from None
        try:
            self._open[key].write(mot_rows(frame, ids, boxes.xyxy, boxes.conf))
        except OSError as e:
            raise not_written(e, self._files[key], _ROOM) from None

    def close(self) -> None:
        """Finish the files under way.

        Raises:
            UserError: one cannot be written.
        """
        try:
            for key, file in self._open.items():
                try:
                    file.close()
                except OSError as e:
                    raise not_written(e, self._files[key], _ROOM) from None
        finally:
            self._open.clear()
