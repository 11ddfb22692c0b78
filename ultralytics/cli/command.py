"""A command of the program, in one class: name, help, example, options, and what it does."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

from ultralytics.cfg.keys import KNOBS
from ultralytics.cfg.knob import Knob, knobs_of
from ultralytics.utils.errors import ConfigError, nearest

PROGRAM = "python -m ultralytics"


class Command:
    """A command: a subclass with a name is one. The first line of its docstring is its help; its fields are its
    options, declared by `knob` as the keys of a run are.

    Attributes:
        name: one word, or two where the first is a group, as in "prepare voc".
        example: the words of a use of it.
        mode: of a run: the mode whose keys it takes.
        more: keys of a run that it takes too; they are in `given` as they were typed.
        positional: the option that a word without `=` is the value of.
        given: the options that were typed, and their values.
    """

    name: ClassVar[str] = ""
    example: ClassVar[str] = ""
    mode: ClassVar[str] = ""
    more: ClassVar[Mapping[str, Knob]] = {}
    positional: ClassVar[str] = ""

    def __init_subclass__(cls, name: str = "") -> None:
        cls.name = name
        if name:
            COMMANDS[name] = cls

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        for key in self.knobs().keys() - self.more.keys() if not self.mode else ():
            setattr(self, key, given.get(key, self.knobs()[key].default))

    def run(self) -> int:
        """Do it; returns the exit code."""
        raise NotImplementedError  # each command has its own

    @classmethod
    def check(cls, given: dict[str, Any]) -> None:
        """Refuse options that contradict each other, before any is missed."""

    @classmethod
    def help(cls) -> str:
        """Return what it does, in a line."""
        line = (cls.__doc__ or "").splitlines()[0].removesuffix(".")
        return line[0].lower() + line[1:]

    @classmethod
    @cache
    def knobs(cls) -> dict[str, Knob]:
        """Return the options by name."""
        if cls.mode:
            return {k: v for k, v in KNOBS.items() if cls.mode in v.modes}
        return {**knobs_of(cls), **cls.more}

    @classmethod
    def own(cls) -> dict[str, Knob]:
        """Return the options that the table in docs/ lists."""
        return cls.knobs()

    @classmethod
    def kinds(cls) -> dict[str, type[Command]]:
        """Return the commands of a group, by their second word."""
        return {c.name.split()[1]: c for c in COMMANDS.values() if c.name.startswith(f"{cls.name} ")}

    @classmethod
    def read(cls, typed: dict[str, Any]) -> Command:
        """Check what was typed.

        Raises:
            UserError: a key that there is not, a value that is not possible, options that contradict each other, or
                one that is missing.
        """
        knobs = cls.knobs()
        for key in typed:
            if key not in knobs:
                hint = nearest(key, knobs) or f"{cls.name} takes {', '.join(knobs)}"
                raise ConfigError(f"unknown key {key!r}", hint=hint)
        given = {k: v if k in cls.more else cls._checked(k, v) for k, v in typed.items() if v is not None}
        cls.check(given)
        for key, knob in knobs.items():
            if knob.needed and given.get(key) in (None, "", []):
                raise cls.missing(key)
        return cls(given)

    @classmethod
    def _checked(cls, key: str, value: Any) -> Any:
        knob = cls.knobs()[key]
        try:
            return knob.checked(value)
        except ConfigError:
            raise ConfigError(f"{key}={value} must be {knob.valid}") from None

    @classmethod
    def missing(cls, key: str) -> ConfigError:
        """Return the error for an option that is needed and not given."""
        needed = cls.knobs()[key].needed
        if callable(needed):
            return needed()
        return ConfigError(needed or f"{key} is missing", hint=f"such as: {PROGRAM} {cls.example}")


COMMANDS: dict[str, type[Command]] = {}


def find_command(words: list[str]) -> tuple[type[Command], list[str]]:
    """Return the command that words name, and the words behind its name.

    Raises:
        ConfigError: there is none.
    """
    for count in (2, 1):
        found = COMMANDS.get(" ".join(words[:count]))
        if found is not None:
            return found, words[count:]
    modes = [name for name in COMMANDS if " " not in name]
    raise ConfigError(f"unknown mode {words[0]!r}", hint=nearest(words[0], modes) or f"one of {', '.join(modes)}")
