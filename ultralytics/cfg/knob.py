"""An option: its type, default, range and meaning, how a word is read for it and how a value is checked.

The keys of a run (`cfg.keys.Config`) and the options of each command (`cli.commands`) are what `knob` declares in a
class; the annotation says the type.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from ultralytics.cfg.words import parse_value, unquoted
from ultralytics.utils.errors import ConfigError

RUNS = ("train", "val", "predict", "track", "explain")
ALL = (*RUNS, "export")
INT_MAX = 2**31 - 1  # no number of anything here is larger
Fraction = Annotated[float, "0 to 1"]
# Types of an annotation, None left out, by the word for how values of them are read and checked.
_KINDS: dict[tuple[Any, ...], str] = {
    (bool,): "bool",
    (int,): "int",
    (float,): "float",
    (Fraction,): "fraction",
    (str,): "str",
    (bool, str): "path",
}
_MEANINGS = {
    "bool": "True or False",
    "int": "an integer",
    "float": "a number",
    "fraction": "a number",
    "str": "text",
    "path": "True, False or a path",
}


@dataclass(frozen=True)
class Knob:  # size: a field for each thing that a declaration can say
    """An option.

    Attributes:
        default: its value where none is given.
        help: what it is for, in one line.
        modes: those that take it, of a key of a run.
        low, high: bounds of a number, both possible.
        choices: the values that are possible, all when empty; text is found in any case.
        none: what None means, as `--help` shows it; as a number's word it is understood, too.
        group: the heading under which `--help` lists it.
        positive: whether 0 is refused.
        check: takes a value and returns it in its type; a ValueError refuses it. Without one the type decides.
        also: values beyond the bounds that are possible.
        what: what a value must be, in words; where there is `check` or `also`.
        read: reads a word of the command line; without it the type decides.
        needed: the message where a command cannot do without it and it is not given; or what makes the error.
        key: the name of the field.
        kind: int, float, fraction, bool, str, path (text, True or False) or any, by the annotation.
        optional: whether None is possible, by the annotation.
    """

    default: Any
    help: str
    modes: tuple[str, ...] = ALL
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    none: str = ""
    group: str = "run"
    positive: bool = False
    check: Callable[[Any], Any] | None = None
    also: Callable[[float], bool] | None = None
    what: str = ""
    read: Callable[[str], Any] | None = None
    needed: str | Callable[[], ConfigError] = ""
    key: str = ""
    kind: str = "any"
    optional: bool = False

    @property
    def bounds(self) -> str:
        """Return the range in words: "0 to 1", "1 or more"; "" without one."""
        if self.what:
            return self.what
        if self.low is None:
            return "" if self.high is None else f"up to {self.high:g}"
        return f"{self.low:g} or more" if self.high in (None, INT_MAX) else f"{self.low:g} to {self.high:g}"

    @property
    def valid(self) -> str:
        """Return what a value must be, in words: "an integer of 0 or more"."""
        if self.what or self.choices:
            return self.what or " or ".join(map(str, self.choices))
        return _MEANINGS[self.kind] + (f" of {self.bounds}" if self.bounds else "")

    def parse(self, text: str) -> Any:
        """Read a word of the command line: text as it is written, anything else as `parse_value` does."""
        if self.read is not None:
            return self.read(text)
        word = text.strip()
        value = parse_value(word if self.kind in ("str", "path") else word.rstrip(","))
        if self.kind == "str" or (self.kind == "path" and not isinstance(value, bool)):
            return None if value is None else unquoted(word)
        return None if self.none and isinstance(value, str) and value.lower() == self.none else value

    def checked(self, value: Any, where: str = "") -> Any:
        """Return a value in the option's type.

        Args:
            value: as a user or a script gives it.
            where: the file that it comes from, for the message.

        Raises:
            ConfigError: the value is not possible; what is, is named.
        """
        key = self.shown
        if value is None or (value == "None" and self.kind not in ("str", "path")):  # text in the reference's files
            if self.optional:
                return None
            raise ConfigError(f"{key}=None is not possible", where, f"default {self.default}")
        if isinstance(value, Path):
            value = str(value)
        if isinstance(value, tuple):
            value = list(value)
        if self.none and value == self.none and (self.kind in ("int", "float") or self._chosen_without(value)):
            return None
        if self.check is not None:
            try:
                return self.check(value)
            except ValueError as e:
                if isinstance(e, ConfigError):
                    raise
                raise ConfigError(f"{key}={value!r} must be {self.what}", where) from None
        if self.kind == "any":
            return value
        value = self._in_type(value, where)
        if self.kind in ("int", "float", "fraction") and not self._in_range(value):
            number = str(value) if self.kind == "int" else f"{value:g}"
            bounds = "above 0" if self.positive and value == 0 else self.bounds
            raise ConfigError(f"{key}={number} is out of range", where, f"valid: {bounds}")
        if self.choices and isinstance(value, str):
            value = next((c for c in self.choices if c.lower() == value.lower()), value)
        if self.choices and value not in self.choices:
            possible = ", ".join(map(str, self.choices))
            raise ConfigError(f"{key}={value} is not possible", where, f"one of {possible}")
        return value

    def _chosen_without(self, value: str) -> bool:
        return bool(self.choices) and value not in self.choices

    @property
    def shown(self) -> str:
        """Return the name that users write."""
        return "scale" if self.key == "model_scale" else self.key

    def _in_type(self, value: Any, where: str) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if self.kind == "str" and number:
            return str(value)
        if self.kind == "int" and number:
            if self.also is not None and self.also(value):
                return value
            if isinstance(value, int) or value.is_integer():
                return int(value)
            number = False
        fits = {"bool": isinstance(value, bool), "str": isinstance(value, str), "path": isinstance(value, bool | str)}
        if not fits.get(self.kind, number):
            word = f", or {self.none}" if self.none.isalpha() else ""
            raise ConfigError(f"{self.shown}={value!r} must be {_MEANINGS[self.kind]}{word}", where)
        if self.kind not in ("float", "fraction"):
            return value
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
        if math.isinf(value):
            raise ConfigError(f"{self.shown}={value} must be finite", where)
        return value

    def _in_range(self, value: float) -> bool:
        """Return True if a number lies within the bounds; NaN does not."""
        if self.also is not None and self.also(value):
            return True
        low, high = (-math.inf if self.low is None else self.low), (math.inf if self.high is None else self.high)
        return low <= value <= high and not (self.positive and value == 0)


def knob(default: Any, help: str, modes: tuple[str, ...] = ALL, **more: Any) -> Any:  # help: as option parsers call it
    """Declare an option; `more` are the fields of `Knob`."""
    return dataclasses.field(default=default, metadata={"knob": Knob(default, help, modes, **more)})


def knobs_of(options: type[Any]) -> dict[str, Knob]:
    """Return the options that a class and its bases declare, by their names; those of a base come first."""
    hints = get_type_hints(options, include_extras=True)
    fields: dict[str, Any] = {}
    for base in reversed(options.__mro__):
        fields |= vars(base).get("__dataclass_fields__") or vars(base)
    declared = {k: f.metadata["knob"] for k, f in fields.items() if "knob" in getattr(f, "metadata", ())}
    return {key: _with_type(knob, key, hints[key]) for key, knob in declared.items()}


def _with_type(declared: Knob, key: str, hint: Any) -> Knob:
    several = get_origin(hint) in (Union, types.UnionType)
    parts = tuple(p for p in (get_args(hint) if several else (hint,)) if p is not types.NoneType)
    kind = _KINDS.get(parts, "any")
    low, high = (0.0, 1.0) if kind == "fraction" else (declared.low, declared.high)
    if kind == "int" and high is None:
        high = INT_MAX
    optional = several and types.NoneType in get_args(hint)
    return dataclasses.replace(declared, key=key, kind=kind, optional=optional, low=low, high=high)


def check_whole(given: Mapping[str, Any], low: int, high: int | None = None) -> None:
    """Refuse what is no integer from `low` on; None says nothing.

    Raises:
        ConfigError: naming the first.
    """
    for key, value in given.items():
        if value is not None and (type(value) is not int or value < low or (high is not None and value > high)):
            raise ConfigError(
                f"{key}={value} must be an integer of {low} {'or more' if high is None else f'to {high}'}"
            )


def check_switches(given: Mapping[str, Any], keys: Iterable[str] | None = None) -> None:
    """Refuse text such as "no" for a switch, which Python would take for true.

    Args:
        given: keys and values.
        keys: those that are switches, all when None.

    Raises:
        ConfigError: a value is neither True nor False.
    """
    for key in given if keys is None else keys:
        if key in given and not isinstance(given[key], bool):
            raise ConfigError(f"{key}={given[key]} must be True or False")
