"""The space of a tune: which keys are searched, and between which values.

lr0: [1.0e-4, 0.1, log]                   # a range on a logarithmic scale
mosaic: [0, 1]                            # a range
imgsz: {low: 320, high: 640, step: 64}    # a range in steps
nbs: {choices: [16, 64]}                  # some numbers
optimizer: [SGD, AdamW]                   # some words
model: [yolov8n.yaml, yolov8n-fla-sppf.yaml]   # some files
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultralytics.cfg.config import KNOBS, Config, unknown_key, without_effect
from ultralytics.cfg.paths import find_space
from ultralytics.utils.errors import ConfigError, UserError, nearest
from ultralytics.utils.yaml import parse_yaml, read_yaml

DEFAULT = "default.yaml"
NUMBERS = ("int", "float", "fraction")
_BUDGET = "every trial has the same budget and data: give it a value"
_MEASURE = "it changes how a trial is measured, not what it learns: give it a value"
_MACHINE = "no figure depends on it: give it a value"
# Keys that no space may hold, and why.
FIXED = {
    **dict.fromkeys(("epochs", "time", "fraction", "data", "patience"), _BUDGET),
    **dict.fromkeys(
        ("conf", "iou", "max_det", "half", "classes", "single_cls", "agnostic_nms", "rect_val", "val", "coco"), _MEASURE
    ),
    **dict.fromkeys(("tiles", "overlap", "whole", "merge", "merge_iou"), _MEASURE),
    **dict.fromkeys(
        (
            "cache", "device", "font", "plots", "preflight", "save", "save_every", "save_period", "verbose", "workers",
            "threads", "deterministic", "compile", "checkpoint_rows", "augment_on", "plugins", "min_transfer",
            "log", "log_group", "log_images", "log_weights",
        ),
        _MACHINE,
    ),
    "seed": "the best seed is luck: seeds=N gives each trial several",
    **dict.fromkeys(("project", "name", "exist_ok"), "the tune names its folders: out=FOLDER"),
    "resume": "a tune goes on by itself where it was stopped",
    **dict.fromkeys(("mode", "task"), "leave it out"),
}  # fmt: skip
# What optimizer=auto chooses by itself.
OF_AUTO = ("lr0", "momentum")
# Steps of keys that have a step of their own.
STEPS = {"imgsz": 32}


@dataclass(frozen=True)
class Axis:
    """A key of the space.

    Attributes:
        key: of the configuration.
        low, high: the ends of a range, both possible; log: on a logarithmic scale; step: between its values.
        choices: the values of a key that has no range.
    """

    key: str
    low: float = 0
    high: float = 0
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] = ()

    @property
    def whole(self) -> bool:
        """Return True for a range of integers."""
        return not self.choices and KNOBS[self.key].kind == "int"

    def holds(self, value: Any) -> bool:
        """Return True if a value of the configuration lies in the space, on its step."""
        if self.choices:
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        return self.step is None or math.isclose(math.remainder(value - self.low, self.step), 0, abs_tol=1e-9)

    def to_data(self) -> dict[str, Any]:
        """Return the axis as it can be written in a space's YAML."""
        if self.choices:
            return {"choices": list(self.choices)}
        more = ({"log": True} if self.log else {}) | ({"step": self.step} if self.step is not None else {})
        return {"low": self.low, "high": self.high, **more}


Space = dict[str, Axis]


def _as_it_is(key: str, value: Any) -> Any:
    return value


def read_space(given: Any = None, file_of: Callable[[str, Any], Any] = _as_it_is) -> Space:
    """Read a space: a YAML's path or a bundled one's name, a mapping, or such a mapping as text in braces; None: the
    reference's keys. `file_of`: as of `parse_space`.

    Raises:
        UserError: what is wrong, with file and line.
    """
    if isinstance(given, Mapping):
        return parse_space(given, lambda *_: "space", file_of)
    text = DEFAULT if given is None else str(given).strip()
    if text.startswith("{"):
        document = parse_yaml(text, Path("space="), ConfigError)
        return parse_space(document.data, lambda *_: "space=", file_of)
    file = find_space(text)
    document = read_yaml(file, ConfigError)
    return parse_space(document.data, lambda *path: f"{file}, line {document.line_of(*path)}", file_of)


def parse_space(data: Any, where: Callable[..., str], file_of: Callable[[str, Any], Any] = _as_it_is) -> Space:
    """Check a space.

    Args:
        data: key → range or choices; where: names the place of a key; file_of: resolves a path of a key, or raises.

    Raises:
        UserError: the first thing that is wrong.
    """
    if not isinstance(data, Mapping) or not data:
        raise ConfigError("a space is a mapping: key → range or choices", where(), "such as lr0: [1.0e-4, 0.1, log]")
    space: Space = {}
    for name, value in data.items():
        key = str(name)
        try:
            axis = _axis(key, value, file_of)
        except UserError as e:
            raise type(e)(e.what, where(key), e.hint) from None
        space[axis.key] = axis
    return space


def _axis(key: str, value: Any, file_of: Callable[[str, Any], Any]) -> Axis:
    if key in FIXED:
        raise ConfigError(f"{key} cannot be searched", hint=FIXED[key])
    if key not in KNOBS or "train" not in KNOBS[key].modes:
        if key in KNOBS:
            raise ConfigError(f"{key} is a key of {' and '.join(KNOBS[key].modes)}, not of train", hint="leave it out")
        raise unknown_key(key)
    if isinstance(value, list | tuple):
        value = _of_list(key, list(value))
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{key}: {value} is neither a range nor choices", hint=f"a single value is given as {key}={value}"
        )
    if "choices" in value:
        return _choices(key, value, file_of)
    return _range(key, value)


def _of_list(key: str, values: list[Any]) -> dict[str, Any]:
    """Return what a list means: a range of two numbers, with `log` behind them or not, else choices."""
    logarithmic = len(values) == 3 and values[2] == "log"
    ends = values[:2] if logarithmic else values
    numeric = KNOBS[key].kind in NUMBERS and all(_number(v) is not None for v in ends)
    if numeric and len(ends) == 2:
        return {"low": ends[0], "high": ends[1]} | ({"log": True} if logarithmic else {})
    if len(values) == 2 and KNOBS[key].kind not in NUMBERS and all(_number(v) is not None for v in values):
        hint = f"{key} has no range; these values alone: {key}: {{choices: {values}}}"
        raise ConfigError(f"{key}: two numbers are a range", hint=hint)
    if numeric:
        hint = f"a range is [low, high] or [low, high, log]; these values alone: {key}: {{choices: {values}}}"
        raise ConfigError(f"{key}: {values} is not a range", hint=hint)
    return {"choices": values}


def _number(value: Any) -> float | None:
    """Return a number; YAML reads 1e-3 as text."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _refuse_others(key: str, value: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in value:
        if name not in known:
            hint = nearest(str(name), known) or f"a range has {', '.join(_RANGE)}, choices have choices alone"
            raise ConfigError(f"{key}: unknown word {str(name)!r}", hint=hint)


_RANGE = ("low", "high", "log", "step")


def _choices(key: str, value: Mapping[str, Any], file_of: Callable[[str, Any], Any]) -> Axis:
    _refuse_others(key, value, ("choices",))
    given = value["choices"]
    if not isinstance(given, list | tuple) or len(given) < 2:
        raise ConfigError(f"{key}: choices must be a list of two or more values", hint="one value leaves no choice")
    if key == "scale" and all(isinstance(v, str) for v in given):
        key = "model_scale"
    checked = [_checked(key, file_of(key, v)) for v in given]
    if any(v in checked[:i] for i, v in enumerate(checked)):
        raise ConfigError(f"{key}: a choice is there twice", hint="each once")
    return Axis(key, choices=tuple(checked))


def _range(key: str, value: Mapping[str, Any]) -> Axis:
    _refuse_others(key, value, (*_RANGE, "choices"))
    if KNOBS[key].kind not in NUMBERS:
        raise ConfigError(f"{key} has no range: it takes {KNOBS[key].valid}", hint=f"{key}: {{choices: [a, b]}}")
    found = {name: _number(value.get(name)) for name in ("low", "high", "step")}
    low, high, step = found["low"], found["high"], found["step"]
    if step is None and value.get("step") is not None:
        raise ConfigError(f"{key}: step must be a number, and is {value['step']}")
    if low is None or high is None:
        raise ConfigError(f"{key}: a range needs the numbers low and high", hint=f"{key}: [low, high]")
    if not low < high:
        raise ConfigError(f"{key}: low {low:g} must be below high {high:g}", hint="swap them, or give one value")
    log = value.get("log", False)
    if not isinstance(log, bool):
        raise ConfigError(f"{key}: log must be true or false, and is {log}")
    if log and low <= 0:
        raise ConfigError(f"{key}: a logarithmic range cannot begin at {low:g}", hint="a low above 0, or no log")
    low, high = _checked(key, low), _checked(key, high)
    if step is None:
        step = STEPS.get(key)
    elif log:
        raise ConfigError(f"{key}: a logarithmic range has no step", hint="leave one of them out")
    if step is not None and not 0 < step <= high - low:
        raise ConfigError(f"{key}: step {step:g} must be above 0 and at most {high - low:g}")
    if step is not None and KNOBS[key].kind == "int":
        if step != int(step):
            raise ConfigError(f"{key}: step {step:g} must be an integer")
        step = int(step)
    own = STEPS.get(key)
    if own is not None and step is not None and (low % own or step % own):
        raise ConfigError(f"{key}: low {low:g} and step {step:g} must be multiples of {own}", hint="as every run needs")
    if step is not None:  # the last value that a step reaches
        high = low + math.floor((high - low) / step + 1e-9) * step
    return Axis(key, low, high, log, step)


def _checked(key: str, value: Any) -> Any:
    config = Config()
    config.set(key, value, "argument")
    return getattr(config, key)


def fit_space(space: Space, base: Mapping[str, Any], default: bool) -> tuple[Space, list[str]]:
    """Return the space without keys that have no effect beside the base, and a line for each that was left out.

    Args:
        space: as it was read; base: the fixed keys, resolved; default: nobody has chosen the space.

    Raises:
        ConfigError: a key of a chosen space has no effect, or is given a value as well.
    """
    useless: dict[str, str] = {}
    auto = base.get("optimizer", "auto") == "auto" and "optimizer" not in space
    if auto or "auto" in getattr(space.get("optimizer"), "choices", ()):
        useless |= dict.fromkeys(OF_AUTO, "optimizer=auto chooses it; give optimizer=AdamW or SGD")
    config = Config()
    for key, value in base.items():
        config.set(key, value, "argument")
    for key, axis in space.items():
        config.set(key, axis.choices[-1] if axis.choices else axis.high, "argument")
    for line in without_effect(config, "train"):
        key, _, why = line.partition("=")
        useless.setdefault(key, why.partition("has no effect: ")[2])
    found = {k: why for k, why in useless.items() if k in space}
    if found and not default:
        key, why = next(iter(found.items()))
        raise ConfigError(f"the space has {key}, which has no effect: {why}", "space", "leave it out of the space")
    return {k: a for k, a in space.items() if k not in found}, [f"not searched: {k}: {w}" for k, w in found.items()]
