"""Commands whose options are the keys of a run: train, val, predict, track, explain, export, check."""

from __future__ import annotations

import os
from typing import Any

from ultralytics.cfg.config import KNOBS, asks_nothing, unknown_key
from ultralytics.cfg.unsupported import NEGATED, RENAMED
from ultralytics.cfg.words import split_names
from ultralytics.cli.command import Command
from ultralytics.utils.errors import ConfigError

TYPED = "command line"


class Run(Command):
    """Options are the keys of a mode; their values are checked where the run resolves them."""

    @classmethod
    def read(cls, typed: dict[str, Any]) -> Command:
        """Take the typed keys without those that ask for nothing.

        Raises:
            ConfigError: a key that there is not, one of another mode, or a mode that contradicts the command.
        """
        given: dict[str, Any] = {}
        for key, value in typed.items():  # a misspelt key is named before one of another mode
            if key not in (*KNOBS, *RENAMED, *NEGATED, "cfg") and not asks_nothing(key, value):
                raise unknown_key(key)
        for key, value in typed.items():
            if asks_nothing(key, value):
                continue
            if key in KNOBS:
                modes = KNOBS[key].modes
                # A recipe may hold the keys of every mode; what is typed is meant for this one, unless at its default.
                if cls.mode not in modes and not (key == "scale" and isinstance(value, str)):
                    if value == KNOBS[key].default:
                        continue
                    other = f"{key} is a key of {' and '.join(modes)}, not of {cls.name}"
                    raise ConfigError(other, hint="leave it out")
            given[key] = value
        if given.get("mode") not in (None, cls.name, cls.mode):
            raise ConfigError(f"mode={given['mode']} contradicts the command {cls.name}")
        if "source" in given:
            given["source"] = listed_sources(given["source"])
        return cls(given)

    def run(self) -> int:
        from ultralytics.models.yolo.run import run  # torch takes seconds: not for --help

        run(self.name, self.given, TYPED)
        return 0


def listed_sources(source: Any) -> Any:
    """Return `source=[a,b]` as a list. One name in brackets is a glob, and what is there is meant by its name."""
    if not isinstance(source, str) or not (source.startswith("[") and source.endswith("]")):
        return source
    several = "," in source or source[1:2] in ("'", '"')
    return split_names(source) if several and not os.path.lexists(source) else source


class Train(Run, name="train"):
    """Train a network, then validate its best weights."""

    example = "train model=yolov8n-fla-sppf.yaml data=data/shapes.yaml epochs=50 imgsz=320"
    mode = "train"


class Val(Run, name="val"):
    """Validate weights on a split of a dataset."""

    example = "val model=runs/detect/train/weights/best.pt data=data/shapes.yaml"
    mode = "val"


class Predict(Run, name="predict"):
    """Detect in images and videos."""

    example = "predict model=runs/detect/train/weights/best.pt source=images/"
    mode = "predict"


class Track(Run, name="track"):
    """Follow objects through videos: detections with ids."""

    example = "track model=runs/detect/train/weights/best.pt source=video.mp4 tracker=bytetrack.yaml"
    mode = "track"


class Explain(Run, name="explain"):
    """Draw what a detector's output is based on: activation maps, attention, receptive fields."""

    example = "explain model=runs/detect/train/weights/best.pt source=images/ kind=cam"
    mode = "explain"


class Export(Run, name="export"):
    """Write a network for another runtime, and compare it."""

    example = "export model=runs/detect/train/weights/best.pt format=onnx dynamic=True"
    mode = "export"


class Check(Run, name="check"):
    """Try a model at every shape a training run would meet, without training."""

    example = "check model=yolov8n-fla-sppf.yaml data=data/shapes.yaml imgsz=320"
    mode = "train"
