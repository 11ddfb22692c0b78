"""The reference's words for what can be set here: its keys with their defaults, tasks, modes and settings."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from ultralytics.cfg.config import KNOBS, UNSUPPORTED, Config, parse_value
from ultralytics.cfg.keys import TASK_NAMES
from ultralytics.cfg.paths import CLONE, PACKAGE
from ultralytics.cfg.tasks import TASKS as _TASKS
from ultralytics.cfg.values import LOGGER_NAMES
from ultralytics.utils.environment import HELP_MSG
from ultralytics.utils.errors import ConfigError, UserError, nearest
from ultralytics.utils.files import increment_path
from ultralytics.utils.helpers import IterableSimpleNamespace, yaml_load
from ultralytics.utils.lazy import resolve
from ultralytics.utils.log import LOGGER

TASKS = set(TASK_NAMES)
MODES = {"train", "val", "predict", "track", "export", "benchmark"}
TASK2DATA = {name: f"shapes{words.suffix}.yaml" for name, words in _TASKS.items()}
TASK2MODEL = {name: f"yolov8n{words.suffix}.yaml" for name, words in _TASKS.items()}
TASK2METRIC = {name: words.column for name, words in _TASKS.items()}

# Modes and special words of the reference's command line that are not offered, and what is.
ABSENT_MODES = {
    "hub": "nothing is uploaded: runs lie in runs/detect",
    "login": "nothing is uploaded: runs lie in runs/detect",
    "logout": "nothing is uploaded: runs lie in runs/detect",
    "explorer": "`show` draws images of a dataset, `check-data` examines it",
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
CFG_FLOAT_KEYS = {k for k, f in KNOBS.items() if f.kind == "float"}
CFG_FRACTION_KEYS = {k for k, f in KNOBS.items() if f.kind == "fraction"}
CFG_INT_KEYS = {k for k, f in KNOBS.items() if f.kind == "int"}
CFG_BOOL_KEYS = {k for k, f in KNOBS.items() if f.kind == "bool"}


DEFAULT_CFG = IterableSimpleNamespace(**DEFAULT_CFG_DICT)


def default_text() -> str:
    """Return every key with its default and meaning, as YAML: what cfg/recipes/default.yaml holds."""
    lines = [
        "# Every key with its default. Change a copy and give it as cfg=: `copy-cfg` makes one.",
        "",
        *(_default_line(k, f.default, f.help) for k, f in KNOBS.items()),
        "",
        "# Keys of ultralytics 8.2.103 that do nothing here; other values are refused.",
        *(_default_line(k, v, UNSUPPORTED[k].why) for k, v in INERT_DEFAULTS.items()),
    ]
    return "\n".join(lines) + "\n"


def _default_line(key: str, value: Any, meaning: str) -> str:
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
        raise UserError("the file already exists and has changes", str(target), "rename or remove it first")
    target.write_text(text, encoding="utf-8")
    return target


_LOGGERS = ("clearml", "comet", "dvc", "hub", "mlflow", "neptune", "raytune", "tensorboard", "wandb", "vscode_msg")
# What would be done with a setting of the reference.
_SETTING_HINTS = {
    "datasets_dir": "paths in a dataset YAML are relative to the YAML itself",
    "weights_dir": "give weights by their path",
    "runs_dir": "use project=FOLDER",
    "sync": "nothing is sent anywhere",
    "uuid": "nothing is sent anywhere",
    "api_key": "nothing is sent anywhere",
    "openai_api_key": "nothing is sent anywhere",
    "settings_version": "there is no settings file",
    **dict.fromkeys(_LOGGERS, "results.csv has the figures, callbacks can pass them on; log= has loggers"),
    **{word: f"loggers are asked for run by run: log={word}" for word in _LOGGERS if word in LOGGER_NAMES},
}


class Settings(dict[str, Any]):
    """The reference's settings, read only: nothing here depends on a file in the home folder.

    Raises:
        ConfigError: on every change, with what to use.
    """

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Refuse to keep settings: the line says what to use.

        Raises:
            ConfigError: always, unless nothing would change.
        """
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in self:
            raise ConfigError(f"unknown setting {key!r}", hint=nearest(key, self) or f"settings: {', '.join(self)}")
        if self[key] != value:
            raise ConfigError(f"the setting {key}={value} is not kept: there is no settings file", hint=self.hint(key))

    def reset(self) -> None:
        """Do nothing: nothing is kept."""

    def hint(self, key: str) -> str:
        """Return what to use instead of a setting."""
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


def cfg2dict(cfg: str | Path | dict[str, Any] | SimpleNamespace | Config) -> dict[str, Any]:
    """Return a configuration as a mapping: from a YAML, a namespace, a `Config`, or one as it is."""
    if isinstance(cfg, str | Path):
        return yaml_load(cfg)
    if isinstance(cfg, Config):
        return cfg.to_dict()
    return dict(vars(cfg)) if isinstance(cfg, SimpleNamespace) else cfg


def check_cfg(cfg: dict[str, Any], hard: bool = True) -> None:
    """Check the values of keys; they are put into their type in place, as in the reference.

    Raises:
        ConfigError: with `hard`, a value that is not possible; without, the default takes its place.
    """
    for key, value in cfg.items():
        if key not in KNOBS:
            continue
        try:
            checked = Config()
            checked.set(key, value, "argument")
            cfg[key] = getattr(checked, key)
        except ConfigError:
            if hard:
                raise
            cfg[key] = KNOBS[key].default


def check_dict_alignment(base: dict[str, Any], custom: dict[str, Any], e: BaseException | None = None) -> None:
    """Refuse keys of `custom` that `base` does not have.

    Raises:
        ConfigError: naming the nearest.
    """
    for key in custom:
        if key not in base:
            raise ConfigError(f"unknown key {key!r}", hint=nearest(key, base)) from e


def merge_equals_args(args: list[str]) -> list[str]:
    """Return the words of a command line, with `key = value` as one."""
    joined: list[str] = []
    for word in args:
        if joined and (word.startswith("=") or joined[-1].endswith("=")):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def parse_key_value_pair(pair: str = "key=value") -> tuple[str, Any]:
    """Read `key=value` as the key and the value as data.

    Raises:
        ConfigError: there is no value.
    """
    key, _, value = pair.partition("=")
    if not value.strip():
        raise ConfigError(f"{key.strip()} needs a value", hint=f"{key.strip()}=VALUE")
    return key.strip(), parse_value(value)


def smart_value(v: str) -> Any:
    """Read a word as data: none, true, false, numbers, lists, else text; nothing is evaluated."""
    return parse_value(v)


def get_save_dir(args: Any, name: str | None = None) -> Path:
    """Return the folder a run of these keys would make: project/name, numbered where it exists."""
    project = Path(args.project or f"runs/{getattr(args, 'task', TASK_NAMES[0])}")
    return increment_path(project / (name or args.name or args.mode), exist_ok=args.exist_ok)


def handle_yolo_settings(args: list[str]) -> None:
    """Log the settings; words that would change one are refused.

    Raises:
        ConfigError: with what to use.
    """
    if args and args[0] == "reset":
        SETTINGS.reset()
    else:
        SETTINGS.update(dict(parse_key_value_pair(word) for word in args))
    LOGGER.info("%s", SETTINGS)


def entrypoint(debug: str = "") -> int:
    """Run the command line, of these words or of the process; returns the exit code."""
    code: int = resolve("ultralytics.cli:main")(debug.split() or None)
    return code


CLI_HELP_MSG = HELP_MSG
