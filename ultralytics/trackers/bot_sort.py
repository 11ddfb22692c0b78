"""BoT-SORT without its comparison of looks (Aharon et al. 2022, "BoT-SORT: Robust Associations Multi-Pedestrian
Tracking")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ultralytics.trackers.basetrack import BOTrack, STrack
from ultralytics.trackers.byte_tracker import FRAME_RATE, BYTETracker
from ultralytics.trackers.utils.gmc import GMC
from ultralytics.utils.types import UInt8Array


class BOTSORT(BYTETracker):
    """ByteTrack that filters the width of boxes too, and takes the camera's motion out; arguments as there."""

    kind = BOTrack

    def __init__(self, args: Any = "botsort.yaml", frame_rate: float = FRAME_RATE) -> None:
        super().__init__(args, frame_rate)
        self.gmc = GMC(self.args.gmc_method)

    def reset(self) -> None:
        """Forget everything, the last frame too."""
        super().reset()
        if hasattr(self, "gmc"):
            self.gmc.reset_params()

    def compensate(self, tracks: Sequence[STrack], img: UInt8Array | None, detections: Sequence[STrack]) -> None:
        """Move tracks with the image: position, size and velocities, and their covariances."""
        if img is None or self.gmc.method == "none":
            return
        warp = self.gmc.apply(img, [d.xyxy for d in detections] if self.gmc.masks else ())
        if not tracks:
            return
        turn, shift = np.kron(np.eye(4), warp[:, :2]), warp[:, 2]
        for track in tracks:
            track.mean = turn @ track.mean
            track.mean[:2] += shift
            track.covariance = turn @ track.covariance @ turn.T
