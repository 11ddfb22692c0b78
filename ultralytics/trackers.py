"""The reference's names for tracking."""

from ultralytics.utils.lazy import later

_FRAMES = "predict finds the objects of every frame"
__getattr__ = later(__name__, {}, dict.fromkeys(("BOTSORT", "BYTETracker", "register_tracker"), _FRAMES))
