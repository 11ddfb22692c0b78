"""What the value of a key may be, where a type and a range do not say it.

Each check returns the value as a run uses it, or raises ValueError; the knob's `what` says in words what is allowed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from ultralytics.utils.errors import ConfigError

LOGGER_NAMES = ("tensorboard", "wandb", "mlflow", "csv")  # as `engine.loggers.table.LOGGERS`
# torch.compile's.
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
# Of a tune: how many trials, how their settings are chosen, what they are compared by (of those that the task has), and
# the keys of a training that it sets itself.
TRIALS = 30
SAMPLERS = ("tpe", "random")
METRICS = ("fitness", "mAP50-95", "mAP50", "precision", "recall", "top1", "top5")
SET_BY_TUNE = ("project", "name", "exist_ok", "resume", "mode", "task", "save", "val")
WHOLE_NUMBERS = "an integer of 0 or more, or a list of them"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require(possible: bool) -> None:
    if not possible:
        raise ValueError


def check_cache(value: Any) -> Any:
    """Take False, "ram" or "disk"; True means "ram"."""
    value = value.lower() if isinstance(value, str) else value
    _require(isinstance(value, bool) or value in ("ram", "disk"))
    return "ram" if value is True else value


def check_compile(value: Any) -> Any:
    """Take a switch, or a mode of torch.compile's."""
    value = value.lower() if isinstance(value, str) else value
    _require(isinstance(value, bool) or value in COMPILE_MODES)
    return value


def check_device(value: Any) -> Any:
    """Take a number, words or a list; which devices there are is not known here."""
    _require(isinstance(value, int | str | list) and not isinstance(value, bool))
    return value


def check_files(value: Any) -> list[str]:
    """Take one path or several."""
    files = [value] if isinstance(value, str) else value
    _require(isinstance(files, list) and all(isinstance(f, str) and f for f in files))
    return list(files)


def check_loggers(value: Any) -> list[str]:
    """Take words of LOGGER_NAMES, as "[a,b]" or a list."""
    words = value.strip("[]").split(",") if isinstance(value, str) else value
    _require(isinstance(words, list) and all(isinstance(w, str) for w in words))
    found = list(dict.fromkeys(w.strip().lower() for w in words if w.strip()))
    _require(all(w in LOGGER_NAMES for w in found))
    return found


def check_numbers(value: Any) -> Any:
    """Take a whole number of 0 or more, or several."""
    _require(all(_is_whole(n) and n >= 0 for n in (value if isinstance(value, list) else [value])))
    return value


def check_average(value: Any) -> Any:
    """Take "auto", or a number of 0 or more."""
    if value == "auto":
        return value
    _require(isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf)
    return float(value)


def check_rows(value: Any) -> Any:
    """Take rows of a network, by number or name."""
    parts = value if isinstance(value, list) else [value]
    _require(bool(parts) and all(_is_whole(n) or (isinstance(n, str) and n) for n in parts))
    return value


def check_span(value: Any) -> Any:
    """Take "auto", "all", or rows as "3,5-9"."""
    if isinstance(value, str) and value.lower() in ("auto", "all"):
        return value.lower()
    rows: list[int] = []
    for part in value if isinstance(value, list) else str(value).split(","):
        written = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", str(part))
        _require(written is not None)
        first, last = (int(n) for n in (written[1], written[2] or written[1])) if written else (0, 0)
        _require(first <= last)
        rows += range(first, last + 1)
    return sorted(set(rows))


def check_heads(value: Any) -> Any:
    """Take "all", or numbers of heads."""
    _require(value != [])
    return value if value == "all" else check_numbers(value)


def check_points(value: Any) -> list[list[float]]:
    """Take pixels as [x, y], one or several."""
    parts = value if isinstance(value, list) else [value]
    pairs = parts if all(isinstance(p, list | tuple) for p in parts) else [parts]
    numbers = [n for pair in pairs for n in pair]
    if not pairs:
        raise ConfigError("points=[] names no pixel", hint="leave it out for the centres of the best boxes")
    _require(all(len(pair) == 2 for pair in pairs))
    _require(all(isinstance(n, int | float) and not isinstance(n, bool) and n >= 0 for n in numbers))
    return [[float(n) for n in pair] for pair in pairs]


def id_list(classes: int | Sequence[int] | None) -> list[int] | None:
    """Return the class ids that the key `classes` means: one, several, or None for all."""
    return classes if classes is None else [classes] if isinstance(classes, int) else list(classes)
