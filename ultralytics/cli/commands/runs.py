"""Commands whose options are the keys of a run: train, val, predict, explain, check."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ultralytics.cfg.config import KNOBS, asks_nothing, get_cfg, unknown_key
from ultralytics.cfg.paths import weights_hint
from ultralytics.cfg.unsupported import NEGATED, RENAMED
from ultralytics.cfg.words import split_names
from ultralytics.cli.command import Command
from ultralytics.utils.errors import ConfigError, UserError

if TYPE_CHECKING:
    from ultralytics.models.yolo.model import YOLO

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
            elif key != "cfg" and key not in RENAMED and key not in NEGATED:
                raise unknown_key(key)
            given[key] = value
        if given.get("mode") not in (None, cls.name, cls.mode):
            raise ConfigError(f"mode={given['mode']} contradicts the command {cls.name}")
        return cls(given)

    def load_model(self) -> YOLO:
        """Load the model that the keys or their file name; takes out of the keys what is the model's."""
        model = self.given.get("model")
        if not model and self.given.get("cfg"):
            model = get_cfg(None, self.given, TYPED, self.mode).model
        if not model:
            raise ConfigError("no model given", hint=weights_hint())
        from ultralytics.models.yolo.model import YOLO  # torch takes seconds to import

        for key in ("model", "mode"):
            self.given.pop(key, None)
        return YOLO(model, scale=self.given.pop("scale", None), plugins=self.given.get("plugins"))

    def sources(self) -> Any:
        """Return `source=[a,b]` as a list. One name in brackets is a glob, and what is there is meant by its name."""
        source = self.given.pop("source", None)
        if not isinstance(source, str) or not (source.startswith("[") and source.endswith("]")):
            return source
        several = "," in source or source[1:2] in ("'", '"')
        return split_names(source) if several and not os.path.lexists(source) else source


class Train(Run, name="train"):
    """Train a detector, then validate its best weights."""

    example = "train model=cfg/models/yolov8n-fla.yaml data=data/shapes.yaml epochs=50 imgsz=320"
    mode = "train"

    def run(self) -> int:
        from ultralytics.engine.ranks.team import leave, several_devices  # torch takes seconds: not for --help
        from ultralytics.models.yolo.detect.ranks import train_on_ranks
        from ultralytics.models.yolo.detect.train import DetectionTrainer

        names = several_devices(get_cfg(None, self.given, TYPED).device)
        if names:
            train_on_ranks(names, None, self.given, source=TYPED)
            return 0
        trainer = DetectionTrainer(overrides=self.given, source=TYPED)
        trainer.train()
        leave(trainer.team)
        return 0


class Val(Run, name="val"):
    """Validate weights on a split of a dataset."""

    example = "val model=runs/detect/train/weights/best.pt data=data/shapes.yaml"
    mode = "val"

    def run(self) -> int:
        self.load_model().val(_source=TYPED, **self.given)
        return 0


class Predict(Run, name="predict"):
    """Detect in images and videos."""

    example = "predict model=runs/detect/train/weights/best.pt source=images/"
    mode = "predict"

    def run(self) -> int:
        yolo = self.load_model()
        keys = {"save": True, **self.given, "source": self.sources()}
        for _ in yolo.predict(stream=True, _source=TYPED, **keys):
            pass
        assert yolo.predictor is not None
        incomplete = yolo.predictor.incomplete
        if incomplete:
            file, what = next(iter(incomplete.items()))
            more = f", and {len(incomplete) - 1} more as named above" if len(incomplete) > 1 else ""
            raise UserError(f"{what}{more}", file, "everything that could be read is done")
        return 0


class Explain(Run, name="explain"):
    """Draw what a detector's output rests on: activation maps, attention, receptive fields."""

    example = "explain model=runs/detect/train/weights/best.pt source=images/ kind=cam"
    mode = "explain"

    def run(self) -> int:
        yolo = self.load_model()
        for _ in yolo.explain(self.sources(), stream=True, _source=TYPED, **self.given):
            pass
        return 0


class Check(Run, name="check"):
    """Try a model at every shape a training run would meet, without training."""

    example = "check model=cfg/models/yolov8n-fla.yaml data=data/shapes.yaml imgsz=320"
    mode = "train"

    def run(self) -> int:
        from ultralytics.models.yolo.detect.train import DetectionTrainer  # torch takes seconds to import

        DetectionTrainer.check(self.given, source=TYPED)
        return 0
