"""A tracker's YAML as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultralytics.cfg.knob import Fraction, knob, knobs_of
from ultralytics.cfg.paths import find_tracker
from ultralytics.utils.errors import ConfigError, nearest
from ultralytics.utils.yaml import read_yaml

TRACKERS = ("bytetrack", "botsort")
GMC_METHODS = ("sparseOptFlow", "orb", "sift", "ecc", "none")


def _no_looks(value: Any) -> Any:
    if not isinstance(value, bool):
        raise ValueError
    if value:
        raise ConfigError("with_reid=True is not offered: objects are not compared by their looks", hint="leave it out")
    return value


# ruff: noqa: RUF009  # `knob` is dataclasses.field with our metadata
@dataclass
class TrackerConfig:
    """The keys of a tracker; names and defaults are the reference's."""

    tracker_type: str = knob("botsort", "bytetrack or botsort", choices=TRACKERS)
    track_high_thresh: Fraction = knob(0.5, "boxes of this score and more are assigned first")
    track_low_thresh: Fraction = knob(0.1, "boxes above it keep an object alive; others are left out")
    new_track_thresh: Fraction = knob(0.6, "a box of this score and more may start an object")
    track_buffer: int = knob(30, "frames for which a lost object keeps its id", low=0)
    match_thresh: Fraction = knob(0.8, "largest 1 - IoU of a pair")
    fuse_score: bool = knob(True, "multiply the overlap by the score of the box")
    gmc_method: str = knob("sparseOptFlow", "botsort: how the camera's motion is found", choices=GMC_METHODS)
    proximity_thresh: Fraction = knob(0.5, "of a comparison of looks, which is not offered: no effect")
    appearance_thresh: Fraction = knob(0.25, "of a comparison of looks, which is not offered: no effect")
    with_reid: bool = knob(False, "compare looks: not offered", check=_no_looks, what="False")


TRACKER_KNOBS = knobs_of(TrackerConfig)


def load_tracker(given: Any = "botsort.yaml") -> TrackerConfig:
    """Return the keys of a tracker.

    Args:
        given: a YAML (a path or a bundled one's name), a mapping, an object with the keys as attributes, or what this
            function has returned.

    Raises:
        ConfigError: an unknown key, a value that is not possible.
        MissingFileError: no such file.
    """
    where = ""
    if isinstance(given, str | Path):
        path = find_tracker(given)
        where = str(path)
        given = read_yaml(path, ConfigError).data
        if not isinstance(given, dict):
            raise ConfigError("a tracker is a mapping of keys to values", where, "cfg/trackers/bytetrack.yaml is one")
        if "tracker_type" not in given:
            raise ConfigError("tracker_type is missing", where, f"one of {', '.join(TRACKERS)}")
    values = given if isinstance(given, Mapping) else vars(given)
    config = TrackerConfig()
    for key, value in values.items():
        if key not in TRACKER_KNOBS:
            hint = nearest(str(key), TRACKER_KNOBS) or f"keys: {', '.join(TRACKER_KNOBS)}"
            raise ConfigError(f"unknown key {key!r} of a tracker", where, hint)
        value = "none" if key == "gmc_method" and value in (None, "None") else value  # as the reference reads it
        setattr(config, key, TRACKER_KNOBS[key].checked(value, where))
    if config.track_low_thresh > config.track_high_thresh:
        what = f"track_low_thresh={config.track_low_thresh:g} is above track_high_thresh={config.track_high_thresh:g}"
        raise ConfigError(what, where, "lower it")
    return config
