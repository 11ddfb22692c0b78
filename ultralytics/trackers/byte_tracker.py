"""ByteTrack (Zhang et al. 2022, "ByteTrack: Multi-Object Tracking by Associating Every Detection Box")."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ultralytics.cfg.tracker import TrackerConfig, load_tracker
from ultralytics.trackers.basetrack import STrack, TrackState, boxes_of, corners_of
from ultralytics.trackers.utils import matching
from ultralytics.utils.types import Float32Array, UInt8Array

LOW_LIMIT, NEW_LIMIT, SAME = 0.5, 0.7, 0.15  # largest costs: with weak boxes, of unconfirmed tracks, of one twice
KEPT = 1000  # removed tracks that are remembered
FRAME_RATE = 30.0  # of which `track_buffer` frames are meant


class BYTETracker:
    """Follow the objects of one video: `update` takes the detections of each frame, in order.

    Ids count from 1 for every tracker. They are drawn when a track starts, and a track that is not seen a second time
    keeps its number to itself: ids may have gaps.

    Args:
        args: the keys, see `cfg.tracker.load_tracker`.
        frame_rate: frames per second; a lost object is kept for `track_buffer` frames at 30 of them.

    Attributes:
        frame_id: frames so far.
        tracked_stracks, lost_stracks, removed_stracks: the tracks by state; those of the first may be unconfirmed.
    """

    kind: type[STrack] = STrack

    def __init__(self, args: Any = "bytetrack.yaml", frame_rate: float = FRAME_RATE) -> None:
        self.args: TrackerConfig = load_tracker(args)
        self.max_time_lost = int(frame_rate / FRAME_RATE * self.args.track_buffer)
        self.reset()

    def reset(self) -> None:
        """Forget everything: ids start at 1 again."""
        self.frame_id = self._last_id = 0
        self.tracked_stracks: list[STrack] = []
        self.lost_stracks: list[STrack] = []
        self.removed_stracks: list[STrack] = []

    def update(self, results: Any, img: UInt8Array | None = None) -> Float32Array:
        """Follow the objects into the next frame. Call it for frames without detections too: they age the tracks.

        Args:
            results: its detections, as `Boxes` has them: `xyxy` or `xywh` (n, 4), or `xywhr` (n, 5), `conf` and `cls`
                (n,), tensors or arrays.
            img: the frame, BGR (H, W, 3), to find the camera's motion in.

        Returns:
            (m, 8) x1, y1, x2, y2, id, score, class, place of the detection; (m, 9) with rotated boxes, whose first
            five are x, y, w, h, angle. Boxes are filtered.
        """
        self.frame_id += 1
        high, low = self._detections(results)
        confirmed = [t for t in self.tracked_stracks if t.is_activated]
        unconfirmed = [t for t in self.tracked_stracks if not t.is_activated]
        pool = _joined(confirmed, self.lost_stracks)
        self.multi_predict(pool)
        self.compensate([*pool, *unconfirmed], img, high)
        seen: list[STrack] = []  # in this order they are returned
        found: list[STrack] = []  # again, after they were lost

        pool, high = self._assign(pool, high, self.get_dists(pool, high), self.args.match_thresh, seen, found)
        pool = [t for t in pool if t.state == TrackState.Tracked]
        lost, _ = self._assign(pool, low, matching.iou_distance(pool, low), LOW_LIMIT, seen, found)
        gone, high = self._assign(unconfirmed, high, self.get_dists(unconfirmed, high), NEW_LIMIT, seen, found)
        gone += [t for t in self.lost_stracks if self._is_over(t)]
        for track in lost:
            track.state = TrackState.Lost
        for track in gone:
            track.state = TrackState.Removed
        seen += self._started(high)
        self._sort(seen, found, lost, gone)
        return _rows([t for t in self.tracked_stracks if t.is_activated])

    # The steps, which BoT-SORT replaces

    def get_dists(self, tracks: Sequence[STrack], detections: Sequence[STrack]) -> Float32Array:
        """Return the costs (n, m) of the first assignment."""
        cost = matching.iou_distance(tracks, detections)
        return matching.fuse_score(cost, detections) if self.args.fuse_score else cost

    def multi_predict(self, tracks: Sequence[STrack]) -> None:
        """Move tracks to where they are expected in this frame."""
        if not tracks:
            return
        means = np.stack([t.mean for t in tracks])
        out_of_sight = [i for i, t in enumerate(tracks) if t.state != TrackState.Tracked]
        means[np.ix_(out_of_sight, self.kind.stops)] = 0
        means, covariances = self.kind.kalman.predict(means, np.stack([t.covariance for t in tracks]))
        for track, mean, covariance in zip(tracks, means, covariances, strict=True):
            track.mean, track.covariance = mean, covariance

    def compensate(self, tracks: Sequence[STrack], img: UInt8Array | None, detections: Sequence[STrack]) -> None:
        """Take the camera's motion out of tracks: ByteTrack does not."""

    # What happens to tracks

    def _detections(self, results: Any) -> tuple[list[STrack], list[STrack]]:
        """Return the detections of a frame that are assigned first, and those that only keep tracks alive."""
        scores = _array(results.conf)
        high = scores >= np.float32(self.args.track_high_thresh)
        low = (scores > np.float32(self.args.track_low_thresh)) & ~high
        if not len(scores):
            return [], []
        rotated = getattr(results, "xywhr", None)
        if rotated is not None:
            boxes = _array(rotated)
        elif hasattr(results, "xywh"):
            boxes = _array(results.xywh)
        else:
            corners = _array(results.xyxy)
            boxes = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1)
        usable = (boxes[:, 2:4] > 0).all(1) & np.isfinite(boxes).all(1)  # a box without an area overlaps nothing
        states = np.zeros((len(boxes), 8))
        states[usable, :4] = self.kind.kalman.measured(boxes[usable, :4].astype(np.float64))
        angles = boxes[:, 4].tolist() if boxes.shape[1] > 4 else [None] * len(boxes)
        rows = [*zip(states, scores.tolist(), _array(results.cls).tolist(), range(len(boxes)), angles, strict=True)]
        first, second = ([self.kind(*rows[i]) for i in np.flatnonzero(w & usable)] for w in (high, low))
        return first, second

    def _assign(
        self,
        tracks: Sequence[STrack],
        detections: Sequence[STrack],
        cost: Float32Array,
        limit: float,
        seen: list[STrack],
        found: list[STrack],
    ) -> tuple[list[STrack], list[STrack]]:
        """Assign detections to tracks; return the tracks and the detections that are left."""
        pairs, left, free = matching.linear_assignment(cost, limit)
        mine, theirs = [tracks[i] for i in pairs[:, 0]], [detections[j] for j in pairs[:, 1]]
        if mine:
            means, covariances = self.kind.kalman.update(
                np.stack([t.mean for t in mine]),
                np.stack([t.covariance for t in mine]),
                np.stack([d.mean[:4] for d in theirs]),
            )
            for track, detection, mean, covariance in zip(mine, theirs, means, covariances, strict=True):
                (seen if track.state == TrackState.Tracked else found).append(track)
                track.mean, track.covariance = mean, covariance
                track.see(detection, self.frame_id)
        return [tracks[i] for i in left], [detections[j] for j in free]

    def _started(self, detections: Iterable[STrack]) -> list[STrack]:
        """Return the detections that start tracks."""
        new = [d for d in detections if d.score >= np.float32(self.args.new_track_thresh)]
        for track in new:
            self._last_id += 1
            track.activate(self._last_id, self.frame_id)
        return new

    def _is_over(self, track: STrack) -> bool:
        return self.frame_id - track.frame_id > self.max_time_lost

    def _sort(self, seen: list[STrack], found: list[STrack], lost: list[STrack], gone: list[STrack]) -> None:
        """Keep the tracks by state. One that is over leaves the lost ones a frame later, and may be found again until
        then, as in the reference."""
        tracked = [t for t in self.tracked_stracks if t.state == TrackState.Tracked]
        tracked = _joined(_joined(tracked, seen), found)
        rest = _without(_without(self.lost_stracks, tracked) + lost, self.removed_stracks)
        self.tracked_stracks, self.lost_stracks = _without_twins(tracked, rest)
        self.removed_stracks += gone
        if len(self.removed_stracks) > KEPT:
            self.removed_stracks = self.removed_stracks[1 - KEPT :]


def _rows(tracks: Sequence[STrack]) -> Float32Array:
    """Return tracks as `BYTETracker.update` does."""
    if not tracks:
        return np.zeros((0, 8), np.float32)
    boxes = corners_of(tracks) if tracks[0].angle is None else boxes_of(tracks)
    return np.column_stack([boxes, [(t.track_id, t.score, t.cls, t.idx) for t in tracks]]).astype(np.float32)


def _array(values: Any) -> Float32Array:
    return np.asarray(values.cpu() if hasattr(values, "cpu") else values, np.float32)


def _joined(first: list[STrack], second: list[STrack]) -> list[STrack]:
    """Return the tracks of two lists, each once."""
    return list({t.track_id: t for t in (*first, *second)}.values())


def _without(tracks: list[STrack], others: list[STrack]) -> list[STrack]:
    """Return the tracks that are not among others."""
    ids = {t.track_id for t in others}
    return [t for t in tracks if t.track_id not in ids]


def _without_twins(tracked: list[STrack], lost: list[STrack]) -> tuple[list[STrack], list[STrack]]:
    """Return both lists without tracks of one object: of two that overlap nearly, the one that lived longer stays."""
    cost = matching.iou_distance(tracked, lost)
    drop: tuple[set[int], set[int]] = set(), set()
    for i, j in zip(*np.nonzero(cost < SAME), strict=True):
        lives = [t.frame_id - t.start_frame for t in (tracked[i], lost[j])]
        if lives[0] > lives[1]:
            drop[1].add(j)
        else:
            drop[0].add(i)
    kept = [[t for i, t in enumerate(ts) if i not in d] for ts, d in zip((tracked, lost), drop, strict=True)]
    return kept[0], kept[1]
