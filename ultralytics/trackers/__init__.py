"""Trackers: which boxes of successive frames are one object. Must not know: a network, a source, torch."""

from ultralytics.trackers.bot_sort import BOTSORT
from ultralytics.trackers.byte_tracker import BYTETracker
from ultralytics.utils.lazy import later

__getattr__ = later(
    __name__, {}, {"register_tracker": "`YOLO.track` follows objects, and nothing is left on the model"}
)
__all__ = ["BOTSORT", "BYTETracker"]
