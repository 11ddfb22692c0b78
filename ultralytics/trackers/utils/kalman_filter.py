"""Kalman filters of boxes that move at a constant velocity, one time step per frame (Kalman 1960; the noise is that of
SORT and DeepSORT: Wojke et al. 2017).

A state is (8,): a box of four numbers, then their velocities per frame. All functions take states in batches: (..., 8)
with covariances (..., 8, 8).
"""

from __future__ import annotations

import numpy as np

from ultralytics.utils.types import Float64Array

POSITION, VELOCITY = 1 / 20, 1 / 160  # standard deviations as parts of the box's size
_MOTION = np.eye(8) + np.eye(8, k=4)


class KalmanFilter:
    """The filter of boxes; a subclass has their four numbers and its noise."""

    def measured(self, xywh: Float64Array) -> Float64Array:
        """Return boxes (..., 4) of centre, width and height in pixels in the numbers of the filter."""
        raise NotImplementedError  # each kind of box has its own

    def xywh(self, box: Float64Array) -> Float64Array:
        """Return boxes (..., 4) in the numbers of the filter as centre, width and height in pixels."""
        raise NotImplementedError  # each kind of box has its own

    def _deviations(self, box: Float64Array, part: float, factor: float, aspect: float) -> Float64Array:
        """Return standard deviations (..., 4): `factor` × `part` of the size; of an aspect ratio, `aspect`."""
        raise NotImplementedError  # each kind of box has its own

    def initiate(self, measurement: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return the states of boxes (..., 4) that are seen for the first time, at rest, and their covariances."""
        mean = np.concatenate([measurement, np.zeros_like(measurement)], -1).astype(np.float64)
        positions = self._deviations(measurement, POSITION, 2, 1e-2)
        return mean, _diagonal(positions, self._deviations(measurement, VELOCITY, 10, 1e-5))

    def predict(self, mean: Float64Array, covariance: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return states and covariances one frame later."""
        noise = _diagonal(self._deviations(mean, POSITION, 1, 1e-2), self._deviations(mean, VELOCITY, 1, 1e-5))
        return mean @ _MOTION.T, _MOTION @ covariance @ _MOTION.T + noise

    multi_predict = predict  # the reference's name for batches

    def project(self, mean: Float64Array, covariance: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return what would be measured: boxes (..., 4), and the covariances (..., 4, 4) of measurements."""
        noise = _diagonal(self._deviations(mean, POSITION, 1, 1e-1))
        return mean[..., :4], covariance[..., :4, :4] + noise

    def update(
        self, mean: Float64Array, covariance: Float64Array, measurement: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Return states and covariances after measurements (..., 4)."""
        expected, spread = self.project(mean, covariance)
        gain = np.swapaxes(np.linalg.solve(spread, covariance[..., :4, :]), -1, -2)  # both matrices are symmetric
        mean = mean + (gain @ (measurement - expected)[..., None])[..., 0]
        return mean, covariance - gain @ spread @ np.swapaxes(gain, -1, -2)


class KalmanFilterXYAH(KalmanFilter):
    """Of centre, aspect ratio w/h and height, as ByteTrack filters them."""

    def measured(self, xywh: Float64Array) -> Float64Array:
        """Return boxes (..., 4) xywh, pixels, as centre, w/h and height."""
        box: Float64Array = xywh.copy()
        box[..., 2] /= box[..., 3]
        return box

    def xywh(self, box: Float64Array) -> Float64Array:
        """Return boxes (..., 4) of centre, w/h and height as xywh, pixels."""
        xywh: Float64Array = box.copy()
        xywh[..., 2] *= xywh[..., 3]
        return xywh

    def _deviations(self, box: Float64Array, part: float, factor: float, aspect: float) -> Float64Array:
        size = factor * part * box[..., 3]
        return np.stack([size, size, np.full_like(size, aspect), size], -1)


class KalmanFilterXYWH(KalmanFilter):
    """Of centre, width and height, as BoT-SORT filters them."""

    def measured(self, xywh: Float64Array) -> Float64Array:
        """Return boxes (..., 4) xywh, pixels, as they are."""
        return xywh

    def xywh(self, box: Float64Array) -> Float64Array:
        """Return boxes (..., 4) xywh, pixels, as they are."""
        return box

    def _deviations(self, box: Float64Array, part: float, factor: float, aspect: float) -> Float64Array:
        w, h = factor * part * box[..., 2], factor * part * box[..., 3]
        return np.stack([w, h, w, h], -1)


def _diagonal(*deviations: Float64Array) -> Float64Array:
    """Return diagonal matrices (..., n, n) of the squares of standard deviations."""
    squares = np.concatenate(deviations, -1) ** 2
    return squares[..., None] * np.eye(squares.shape[-1])
