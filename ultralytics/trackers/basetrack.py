"""One object that is followed."""

from __future__ import annotations

import numpy as np

from ultralytics.trackers.utils.kalman_filter import KalmanFilter, KalmanFilterXYAH, KalmanFilterXYWH
from ultralytics.utils.types import Float32Array, Float64Array

_UNKNOWN = np.zeros((8, 8))  # of a detection; read only


class TrackState:
    """The states of a track."""

    New, Tracked, Lost, Removed = range(4)


class STrack:  # size: the reference's names, which scripts read
    """An object that is followed, or a detection that may become one.

    Args:
        box: (4,) centre, width and height in pixels; (5,) with an angle in radians.
        score, cls, idx: of the detection, and its place in the frame.

    Attributes:
        mean, covariance: of the Kalman filter, (8,) and (8, 8); of a detection its box, at rest.
        track_id: 0 before it is started.
        is_activated: whether it is confirmed: seen in the first frame, or twice.
        frame_id: the last frame it was seen in.
    """

    kalman: KalmanFilter = KalmanFilterXYAH()
    stops: tuple[int, ...] = (7,)  # velocities that an object out of sight is taken not to have

    def __init__(self, box: Float32Array, score: float, cls: float, idx: int) -> None:
        self.mean: Float64Array = np.concatenate([self.kalman.measured(np.asarray(box[:4], np.float64)), np.zeros(4)])
        self.covariance: Float64Array = _UNKNOWN
        self.angle = float(box[4]) if len(box) > 4 else None
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
        return self.kalman.xywh(self.mean[:4])

    @property
    def xyxy(self) -> Float64Array:
        """(4,) corners, pixels."""
        x, y, w, h = self.xywh.tolist()
        return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])

    @property
    def tlwh(self) -> Float64Array:
        """(4,) upper left corner, width and height, pixels."""
        x, y, w, h = self.xywh.tolist()
        return np.array([x - w / 2, y - h / 2, w, h])

    @property
    def xywha(self) -> Float64Array:
        """(5,) centre, width, height, and the angle in radians."""
        return np.append(self.xywh, self.angle or 0.0)

    @property
    def result(self) -> list[float]:
        """x1, y1, x2, y2 (with an angle: x, y, w, h, angle), id, score, class, place of the detection."""
        box = self.xyxy if self.angle is None else self.xywha
        return [*box.tolist(), self.track_id, self.score, self.cls, self.idx]

    def __repr__(self) -> str:
        return f"{type(self).__name__}_{self.track_id}_({self.start_frame}-{self.end_frame})"


class BOTrack(STrack):
    """A track of BoT-SORT, which filters width and height."""

    kalman = KalmanFilterXYWH()
    stops = (6, 7)
