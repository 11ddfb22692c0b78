"""One object that is followed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ultralytics.trackers.utils.kalman_filter import KalmanFilter, KalmanFilterXYAH, KalmanFilterXYWH
from ultralytics.utils.types import Float64Array

_UNKNOWN = np.zeros((8, 8))  # of a detection; read only


class TrackState:
    """The states of a track."""

    New, Tracked, Lost, Removed = range(4)


class STrack:  # size: the reference's names, which scripts read
    """An object that is followed, or a detection that may become one.

    Args:
        mean: (8,) its box in the numbers of the Kalman filter, at rest.
        score, cls, idx: of the detection, and its place in the frame.
        angle: of a rotated box, in radians.

    Attributes:
        mean, covariance: of the Kalman filter, (8,) and (8, 8); of a detection its box, at rest.
        track_id: 0 before it is started.
        is_activated: whether it is confirmed: seen in the first frame, or twice.
        frame_id: the last frame it was seen in.
    """

    kalman: KalmanFilter = KalmanFilterXYAH()
    stops: tuple[int, ...] = (7,)  # velocities that an object out of sight is taken not to have

    def __init__(self, mean: Float64Array, score: float, cls: float, idx: int, angle: float | None = None) -> None:
        self.mean = mean
        self.covariance: Float64Array = _UNKNOWN
        self.angle = angle
        self.score, self.cls, self.idx = score, cls, idx
        self.track_id = self.start_frame = self.frame_id = 0
        self.state, self.is_activated = TrackState.New, False

    def activate(self, track_id: int, frame_id: int) -> None:
        """Start a track at its detection; in the first frame it is confirmed at once."""
        self.mean, self.covariance = self.kalman.initiate(self.mean[:4])
        self.track_id, self.start_frame, self.frame_id = track_id, frame_id, frame_id
        self.state, self.is_activated = TrackState.Tracked, frame_id == 1

    def see(self, detection: STrack, frame_id: int) -> None:
        """Take over score, class, angle and place of the detection that it is in a frame, and count as tracked."""
        self.score, self.cls, self.idx, self.angle = detection.score, detection.cls, detection.idx, detection.angle
        self.frame_id, self.state, self.is_activated = frame_id, TrackState.Tracked, True

    @property
    def end_frame(self) -> int:
        """The last frame it was seen in."""
        return self.frame_id

    @property
    def xywh(self) -> Float64Array:
        """(4,) centre, width and height, pixels."""
        box: Float64Array = boxes_of([self])[0, :4]
        return box

    @property
    def xyxy(self) -> Float64Array:
        """(4,) corners, pixels."""
        corners: Float64Array = corners_of([self])[0]
        return corners

    @property
    def tlwh(self) -> Float64Array:
        """(4,) upper left corner, width and height, pixels."""
        x, y, w, h = self.xywh.tolist()
        return np.array([x - w / 2, y - h / 2, w, h])

    def __repr__(self) -> str:
        return f"{type(self).__name__}_{self.track_id}_({self.start_frame}-{self.end_frame})"


def boxes_of(tracks: Sequence[STrack]) -> Float64Array:
    """Return the boxes of tracks of one kind: (n, 4) centre, width and height in pixels; rotated ones (n, 5) with their
    angle in radians."""
    boxes = tracks[0].kalman.xywh(np.array([t.mean[:4] for t in tracks]))
    if tracks[0].angle is None:
        return boxes
    return np.column_stack([boxes, [t.angle for t in tracks]])


def corners_of(tracks: Sequence[STrack]) -> Float64Array:
    """Return the corners (n, 4) of the upright boxes of tracks of one kind, pixels."""
    boxes = boxes_of(tracks)
    half = boxes[:, 2:4] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], 1)


class BOTrack(STrack):
    """A track of BoT-SORT, which filters width and height."""

    kalman = KalmanFilterXYWH()
    stops = (6, 7)
