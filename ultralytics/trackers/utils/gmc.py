"""Motion of the camera between two frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from ultralytics.cfg.tracker import GMC_METHODS
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.types import Float64Array, UInt8Array

BORDER = 0.02  # part of the image at each side in which no points are looked for
RATIO = 0.9  # a match must be that much nearer than the second nearest
AGREE = 0.2  # part of the pairs that a motion must explain; at a cut, any motion explains a few
LEAST = 4  # pairs of points; with fewer than one more the camera counts as still


class GMC:
    """Finds how a frame has moved since the last one: an array (2, 3), to be multiplied with (x, y, 1).

    Where it cannot be found, as in the first frame or in one without texture, the camera counts as still.

    Args:
        method: sparseOptFlow, orb, sift, ecc or none.
        downscale: frames are made so much smaller first.

    Attributes:
        masks: whether it asks for the detections.

    Raises:
        ConfigError: there is no such method.
    """

    def __init__(self, method: str = "sparseOptFlow", downscale: int = 2) -> None:
        if method not in GMC_METHODS:
            raise ConfigError(f"gmc_method={method} is not possible", hint=f"one of {', '.join(GMC_METHODS)}")
        self.method, self.downscale = method, max(1, int(downscale))
        self.masks = method in ("orb", "sift")
        self._finder: Any = None
        self._describer: Any = None
        if method == "orb":
            self._finder, self._describer = cv2.FastFeatureDetector.create(20), cv2.ORB.create()
            self._matcher = cv2.BFMatcher(cv2.NORM_HAMMING)
        elif method == "sift":
            self._finder = self._describer = cv2.SIFT.create(nOctaveLayers=3, contrastThreshold=0.02, edgeThreshold=20)
            self._matcher = cv2.BFMatcher(cv2.NORM_L2)
        self.reset_params()

    def reset_params(self) -> None:
        """Forget the last frame."""
        self._frame: Any = None
        self._points: Any = None
        self._descriptors: Any = None

    def apply(self, raw_frame: UInt8Array, detections: Sequence[Any] = ()) -> Float64Array:
        """Return the motion (2, 3) since the last frame.

        Args:
            raw_frame: BGR (H, W, 3) or grey (H, W); of another size than the last, it counts as the first.
            detections: boxes xyxy in pixels, which orb and sift leave out: they move on their own.
        """
        if self.method == "none":
            return np.eye(2, 3)
        grey: Any = cv2.cvtColor(raw_frame, cv2.COLOR_BGR2GRAY) if raw_frame.ndim == 3 else raw_frame
        if self.downscale > 1:
            height, width = grey.shape
            grey = cv2.resize(grey, (max(width // self.downscale, 1), max(height // self.downscale, 1)))
        if self._frame is not None and self._frame.shape != grey.shape:
            self.reset_params()
        try:
            motion = {"sparseOptFlow": self._flow, "ecc": self._ecc}.get(self.method, self._features)(grey, detections)
        except cv2.error:  # nothing to go by: an even image, one of few pixels
            motion, self._points, self._descriptors = None, None, None
        self._frame = grey
        if motion is None or not np.isfinite(motion).all():
            return np.eye(2, 3)
        motion = np.array(motion, np.float64)
        motion[:, 2] *= self.downscale
        return motion

    def _flow(self, grey: Any, boxes: Sequence[Any]) -> Any:
        """Follow corners by optical flow (Lucas and Kanade, in a pyramid)."""
        last, self._points = (
            self._points,
            cv2.goodFeaturesToTrack(grey, maxCorners=1000, qualityLevel=0.01, minDistance=1, blockSize=3),
        )
        if self._frame is None or last is None:
            return None
        follow: Any = cv2.calcOpticalFlowPyrLK  # whose hints know no None
        moved, status, _ = follow(self._frame, grey, last, None)
        good = status.ravel() == 1
        return _partial_affine(last.reshape(-1, 2)[good], moved.reshape(-1, 2)[good])

    def _ecc(self, grey: Any, boxes: Sequence[Any]) -> Any:
        """Turn and shift the last frame until it is most like this one (Evangelidis and Psarakis 2008)."""
        smooth = cv2.GaussianBlur(grey, (3, 3), 1.5) if self.downscale > 1 else grey
        last, self._points = self._points, smooth
        if last is None:
            return None
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 5000, 1e-6)
        start = np.eye(2, 3, dtype=np.float32)
        fit: Any = cv2.findTransformECC  # whose hints know no None
        return fit(last, smooth, start, cv2.MOTION_EUCLIDEAN, criteria, None, 1)[1]

    def _features(self, grey: Any, boxes: Sequence[Any]) -> Any:
        """Match points outside of the boxes by their descriptors."""
        height, width = grey.shape
        mask = np.zeros_like(grey)
        mask[int(BORDER * height) : int((1 - BORDER) * height), int(BORDER * width) : int((1 - BORDER) * width)] = 255
        for box in boxes:
            x1, y1, x2, y2 = (max(int(v / self.downscale), 0) for v in box[:4])
            mask[y1:y2, x1:x2] = 0
        found, descriptors = self._describer.compute(grey, self._finder.detect(grey, mask))
        points = np.array([p.pt for p in found], np.float32).reshape(-1, 2)
        last, self._points = self._points, points
        before, self._descriptors = self._descriptors, descriptors
        if before is None or descriptors is None:
            return None
        # A pair far apart is another point that looks alike.
        near = [m[0] for m in self._matcher.knnMatch(before, descriptors, 2) if _is_clear(m)]
        pairs = [(last[m.queryIdx], points[m.trainIdx]) for m in near]
        pairs = [(a, b) for a, b in pairs if (np.abs(a - b) < 0.25 * np.array([width, height])).all()]
        if len(pairs) <= LEAST:
            return None
        a, b = np.array(pairs).transpose(1, 0, 2)
        apart = a - b
        kept = (np.abs(apart - apart.mean(0)) < 2.5 * apart.std(0) + 1e-6).all(1)
        return _partial_affine(a[kept], b[kept])


def _is_clear(matches: Sequence[Any]) -> bool:
    """Return True if the nearest of two descriptors is much nearer than the second."""
    return len(matches) == 2 and matches[0].distance < RATIO * matches[1].distance


def _partial_affine(a: Any, b: Any) -> Any:
    """Return the turn, scale and shift (2, 3) that takes points (n, 2) to others, by RANSAC; None if none is found."""
    if len(a) <= LEAST:
        return None
    motion, agree = cv2.estimateAffinePartial2D(a, b, method=cv2.RANSAC)
    return motion if motion is not None and agree.mean() > AGREE else None
