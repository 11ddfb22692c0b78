"""Commands that search settings: tune, tune report."""

from __future__ import annotations

from functools import cache
from typing import Any

from ultralytics.cfg.config import asks_nothing, unknown_key
from ultralytics.cfg.keys import KNOBS
from ultralytics.cfg.knob import Knob, knob, knobs_of
from ultralytics.cfg.unsupported import NEGATED, RENAMED
from ultralytics.cfg.values import METRICS, SAMPLERS, SET_BY_TUNE, TRIALS
from ultralytics.cli.command import Command
from ultralytics.cli.commands.runs import TYPED, Run
from ultralytics.utils import events
from ultralytics.utils.errors import ConfigError, nearest
from ultralytics.utils.files import user_path


class Tune(Run, name="tune"):
    """Search the best settings of a training by trials; resume the search if it was stopped."""

    example = "tune model=yolov8n-fla-sppf.yaml data=shapes.yaml optimizer=AdamW epochs=20 trials=30 space=small.yaml"
    mode = "train"
    trials: int = knob(TRIALS, "trials in all, each an ordinary run", low=1, group="tune")
    space: Any = knob(
        None, "what is searched: a YAML, or in braces: {lr0: [0.0001, 0.1, log]}", none="default.yaml", group="tune"
    )
    metric: str = knob(METRICS[0], "what is to be as high as possible, on val", choices=METRICS, group="tune")
    prune: bool = knob(True, "stop trials that have fallen behind the median of the earlier ones", group="tune")
    seeds: Any = knob(1, "runs of each trial, with seeds from seed= on; their mean counts", group="tune")
    sampler: str = knob(SAMPLERS[0], "how settings are chosen", choices=SAMPLERS, group="tune")
    out: str | None = knob(None, "folder of the results", none="runs/tune/MODEL", group="tune")
    devices: Any = knob(None, "GPUs, one run at a time on each, as 0,1", none="the runs' own device", group="tune")
    jobs: int | None = knob(None, "runs at a time", none="1, or one for each device", group="tune")

    @classmethod
    @cache
    def own(cls) -> dict[str, Knob]:
        """Return its options besides the keys of a training."""
        return knobs_of(cls)

    @classmethod
    @cache
    def knobs(cls) -> dict[str, Knob]:
        """Return its options, and the keys of a training that all trials may have."""
        keys = {k: v for k, v in KNOBS.items() if cls.mode in v.modes and k not in SET_BY_TUNE}
        return {**cls.own(), **keys}

    @classmethod
    def read(cls, typed: dict[str, Any]) -> Command:
        """Take its options, and the typed keys of a training.

        Raises:
            ConfigError: as of `train`; an option that is not possible.
        """
        own = {k: cls._checked(k, v) for k, v in typed.items() if k in cls.own() and v is not None}
        for key in typed:
            if key in SET_BY_TUNE and typed[key] != KNOBS[key].default:
                raise ConfigError(f"{key}={typed[key]} is not a key of a tune", hint="leave it out; out= is its folder")
            if key not in (*cls.own(), *KNOBS, *RENAMED, *NEGATED, "cfg") and not asks_nothing(key, typed[key]):
                raise ConfigError(f"unknown key {key!r}", hint=nearest(key, cls.knobs()) or unknown_key(key).hint)
        keys = super().read({k: v for k, v in typed.items() if k not in cls.own()}).given
        return cls({"keys": keys, **own})

    def run(self) -> int:
        """Search."""
        from ultralytics.study.tune.search import run_tune  # torch takes seconds to import

        found = run_tune(**self.given, source=TYPED)
        fields = {"folder": found.out, "file": found.recipe, "values": found.values, "value": found.value}
        events.emit("result", text=str(found.recipe), **fields)
        return 0


class TuneReport(Command, name="tune report"):
    """Write the tables, the recipe and the figures of a tune from its folder."""

    example = "tune report runs/tune/yolov8n-fla"
    positional = "out"
    out: str = knob("", "folder of the tune", needed="tune report takes one folder")

    def run(self) -> int:
        from ultralytics.study.tune.report import write_tune_report  # torch takes seconds to import

        table = write_tune_report(user_path(self.out))
        events.emit("result", text=str(table), folder=table.parent, table=table)
        return 0
