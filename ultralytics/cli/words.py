"""Words of the command line as keys and values."""

from __future__ import annotations

import os
from typing import Any

from ultralytics.cfg.config import get_cfg, parse_value
from ultralytics.cfg.keys import KNOBS
from ultralytics.cfg.reference import ABSENT_MODES, MODES, TASKS, merge_equals_args
from ultralytics.cfg.unsupported import UNSUPPORTED
from ultralytics.cfg.words import split_names, unquoted
from ultralytics.cli.command import COMMANDS, PROGRAM, Command
from ultralytics.utils.errors import ConfigError, nearest
from ultralytics.utils.files import user_path

_SHORT = {"-s": "settings", "--settings": "settings", "setting": "settings", "--checks": "checks", "--cfg": "cfg"}


def mode_first(words: list[str]) -> list[str]:
    """Return the words with the mode in front, and a task as a key: `segment train …`, `train segment …`,
    `task=segment mode=train …`, `model=x.pt predict`.

    Raises:
        ConfigError: a task or a mode that is not offered, or no mode.
    """
    words = [_SHORT.get(w, w) for w in merge_equals_args(words)]
    if words and words[0] in COMMANDS and not COMMANDS[words[0]].mode:
        return words
    others: list[str] = []
    modes: list[str] = []
    tasks: list[str] = []
    for word in words:
        key, equals, value = word.removeprefix("--").removesuffix(",").partition("=")
        task = value if equals and key == "task" else word if not equals else ""
        mode = value if equals and key == "mode" else word if not equals else ""
        if mode in ABSENT_MODES:
            raise ConfigError(f"{mode!r} is not offered", hint=ABSENT_MODES[mode])
        is_run = mode in COMMANDS and (COMMANDS[mode].mode or mode in MODES)
        if is_run and not (modes and equals):  # after a mode, mode= is a key that may contradict it
            modes.append(mode)
        elif task in TASKS:
            tasks.append(f"task={task}")
        else:
            others.append(word)
    if len(modes) > 1:
        raise ConfigError(f"two modes given: {' and '.join(modes)}", hint="one at a time")
    if not modes and others and all("=" in word for word in others):
        return [_mode_in_file(others), *others, *tasks]
    return modes + others + (tasks if modes and COMMANDS[modes[0]].mode else [])


def _mode_in_file(words: list[str]) -> str:
    """Return the mode that the file of `cfg=` says."""
    files = [word.partition("=")[2].strip("'\"") for word in words if word.removeprefix("--").startswith("cfg=")]
    config = get_cfg(files[-1]) if files else None
    if config is None or "mode" not in config.sources:
        raise ConfigError("no mode given", hint=f"such as: {PROGRAM} predict {' '.join(words[:3])}")
    return config.mode


def read_pairs(words: list[str], command: type[Command]) -> dict[str, Any]:
    """Read key=value words as a mapping; `key = value` and a leading -- are understood, and a switch alone means True.

    Raises:
        ConfigError: a word that is none of these.
    """
    given: dict[str, Any] = {}
    for word in merge_equals_args(words):
        key, equals, value = word.removeprefix("--").partition("=")
        if equals:
            given[key] = _parse_word(command, key, value)
        elif command.positional and command.positional not in given:
            given[command.positional] = word
        elif _is_switch(command, key.rstrip(",")):
            given[key.rstrip(",")] = True
        else:
            raise _no_pair(command, word, key.rstrip(","))
    return given


def _parse_word(command: type[Command], key: str, value: str) -> Any:
    if command.mode and value.endswith(",") and not os.path.lexists(user_path(value)):
        value = value[:-1]  # as between arguments of a call
    knob = KNOBS.get(key) if command.mode else command.knobs().get(key)
    if knob is not None:
        return knob.parse(value)
    if key == "cfg":
        return unquoted(value.strip()) or None
    return parse_value(value.rstrip(","))


def _is_switch(command: type[Command], key: str) -> bool:
    """Return True if a key is True where its word stands alone; so is one of the reference that does nothing here."""
    if command.mode and key in UNSUPPORTED:
        return isinstance(UNSUPPORTED[key].off, bool)
    knob = KNOBS.get(key) if command.mode else command.knobs().get(key)
    return knob is not None and (knob.kind == "bool" or isinstance(knob.default, bool))


def _no_pair(command: type[Command], word: str, key: str) -> ConfigError:
    if command.positional:
        return command.missing(command.positional)
    known = KNOBS if command.mode else command.knobs()
    if key in known:
        return ConfigError(f"{key} needs a value", hint=f"{key}=VALUE")
    hint = nearest(key, known) or f"`{PROGRAM} {command.name} --help` lists the keys"
    return ConfigError(f"{word!r} is not a key=value pair", hint=hint)


# What a word of one option is made of.


def read_names(text: str) -> list[str] | None:
    """Read names; None where there are none."""
    return split_names(text) or None


def read_classes(text: str) -> list[int | str] | None:
    """Read names and ids of classes; None where there are none."""
    return [int(word) if word.isdecimal() else word for word in split_names(text)] or None


def read_paths(text: str) -> str | list[str] | None:
    """Read one path, or several between commas, in brackets or not; a path that is there may hold commas itself."""
    bracketed = text.startswith("[") and text.endswith("]")
    if not (bracketed or "," in text) or os.path.exists(os.path.expanduser(text)):
        return unquoted(text.strip()) or None
    return [part.strip() for part in (text[1:-1] if bracketed else text).split(",") if part.strip()]


def read_modules(text: str) -> str | list[str]:
    """Read one module for all rows, or a list of them in brackets; commas inside a call are its own."""
    text = unquoted(text.strip())
    if not (text.startswith("[") and text.endswith("]")):
        return text
    parts, depth = [""], 0
    for char in text[1:-1]:
        depth += (char in "([{") - (char in ")]}")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


def listed(value: Any) -> list[Any]:
    """Return a list as it is, and anything else as the one item of a list."""
    return value if isinstance(value, list) else [value]
