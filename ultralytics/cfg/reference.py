"""The reference's words for what can be set here: its keys with their defaults, tasks, modes and settings."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from ultralytics.cfg.config import KNOBS, UNSUPPORTED, Config
from ultralytics.cfg.paths import CLONE, PACKAGE
from ultralytics.utils.errors import ConfigError, UserError, nearest
from ultralytics.utils.helpers import IterableSimpleNamespace

TASKS = {"detect"}
MODES = {"train", "val", "predict"}
TASK2DATA = {"detect": "shapes.yaml"}
TASK2MODEL = {"detect": "yolov8n.yaml"}
TASK2METRIC = {"detect": "metrics/mAP50-95(B)"}

_BOXES = "this project detects boxes: leave the task out"
ABSENT_TASKS = dict.fromkeys(("segment", "classify", "pose", "obb"), _BOXES)
# Modes and special words of the reference's command line that are not offered, and what is.
ABSENT_MODES = {
    "export": "`export-weights` writes weights that ultralytics 8.2.103 reads and exports",
    "track": "predict finds the objects of every frame",
    "benchmark": "scripts/benchmark.sh times training and prediction",
    "tune": "run train with several values and compare their results.csv",
    "hub": "nothing is uploaded: runs lie in runs/detect",
    "login": "nothing is uploaded: runs lie in runs/detect",
    "logout": "nothing is uploaded: runs lie in runs/detect",
    "explorer": "`show` draws images of a data set, `check-data` examines it",
    "streamlit-predict": "predict source=FOLDER writes annotated images",
    "solutions": "predict save_txt=True writes what can be counted",
}

DEFAULT_CFG_PATH = next(p for p in (CLONE / "cfg" / "recipes", PACKAGE / "bundled" / "recipes") if p.is_dir()) / (
    "default.yaml"
)
COPY_NAME = "default_copy.yaml"
# Keys of the reference alone that its default.yaml holds.
INERT_DEFAULTS: dict[str, Any] = {k: v.off for k, v in UNSUPPORTED.items() if k != "save_dir"}
DEFAULT_CFG_DICT: dict[str, Any] = {**{k: f.default for k, f in KNOBS.items()}, **INERT_DEFAULTS}
DEFAULT_CFG_KEYS = DEFAULT_CFG_DICT.keys()
CFG_FLOAT_KEYS = {k for k, f in KNOBS.items() if f.metadata["kind"] == "float"}
CFG_FRACTION_KEYS = {k for k, f in KNOBS.items() if f.metadata["kind"] == "fraction"}
CFG_INT_KEYS = {k for k, f in KNOBS.items() if f.metadata["kind"] == "int"}
CFG_BOOL_KEYS = {k for k, f in KNOBS.items() if f.metadata["kind"] == "bool"}


DEFAULT_CFG = IterableSimpleNamespace(**DEFAULT_CFG_DICT)


def default_text() -> str:
    """Every key with its default and meaning, as YAML: what cfg/recipes/default.yaml holds."""
    lines = [
        "# Every key with its default. Change a copy and give it as cfg=: `copy-cfg` makes one.",
        "",
        *(_line(k, f.default, f.metadata["help"]) for k, f in KNOBS.items()),
        "",
        "# Keys of ultralytics 8.2.103 that do nothing here; other values are refused.",
        *(_line(k, v, UNSUPPORTED[k].why) for k, v in INERT_DEFAULTS.items()),
    ]
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any, meaning: str) -> str:
    text = yaml.safe_dump({key: value}, default_flow_style=True, width=10**6).strip()[1:-1]
    return f"{text} # {meaning}"


def copy_default_cfg() -> Path:
    """Write default_copy.yaml into the working folder, every key with its default.

    Raises:
        UserError: there is one that differs.
    """
    target = Path.cwd() / COPY_NAME
    text = default_text()
    if target.exists() and target.read_text(encoding="utf-8") != text:
        raise UserError("it exists already and has changes", str(target), "rename or remove it first")
    target.write_text(text, encoding="utf-8")
    return target


_LOGGERS = ("clearml", "comet", "dvc", "hub", "mlflow", "neptune", "raytune", "tensorboard", "wandb", "vscode_msg")
# What would be done with a setting of the reference.
_SETTING_HINTS = {
    "datasets_dir": "paths in a data set YAML are relative to the YAML itself",
    "weights_dir": "give weights by their path",
    "runs_dir": "use project=FOLDER",
    "sync": "nothing is sent anywhere",
    "uuid": "nothing is sent anywhere",
    "api_key": "nothing is sent anywhere",
    "openai_api_key": "nothing is sent anywhere",
    "settings_version": "there is no settings file",
    **dict.fromkeys(_LOGGERS, "no logger is attached: results.csv has the figures, callbacks can pass them on"),
}


class Settings(dict[str, Any]):
    """The reference's settings, read only: nothing here depends on a file in the home folder.

    Raises:
        ConfigError: on every change, with what to use.
    """

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Settings are not kept: the line says what to use.

        Raises:
            ConfigError: always, unless nothing would change.
        """
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in self:
            raise ConfigError(f"unknown setting {key!r}", mend=nearest(key, self) or f"settings: {', '.join(self)}")
        if self[key] != value:
            raise ConfigError(f"the setting {key}={value} is not kept: there is no settings file", mend=self.hint(key))

    def reset(self) -> None:
        """Nothing is kept, so there is nothing to reset."""

    def hint(self, key: str) -> str:
        """What to use instead of a setting."""
        return _SETTING_HINTS[key]

    def __str__(self) -> str:
        return json.dumps(self, indent=2)


SETTINGS = Settings(
    settings_version="0.0.6",
    datasets_dir="datasets",
    weights_dir="weights",
    runs_dir="runs",
    uuid="",
    sync=False,
    api_key="",
    openai_api_key="",
    **dict.fromkeys(_LOGGERS, False),
)


def config_dict(cfg: str | Path | dict[str, Any] | SimpleNamespace | Config) -> dict[str, Any]:
    """A configuration as a mapping: from a YAML, a namespace, a `Config`, or one as it is."""
    if isinstance(cfg, str | Path):
        loaded = yaml.safe_load(Path(cfg).read_text(encoding="utf-8"))
        return dict(loaded or {})
    if isinstance(cfg, Config):
        return cfg.to_dict()
    return dict(vars(cfg)) if isinstance(cfg, SimpleNamespace) else cfg
