"""Words of the reference's command line that are no commands of ours: settings, keys, versions."""

from __future__ import annotations

import shlex

from ultralytics.cfg.config import parse_value
from ultralytics.cfg.reference import SETTINGS, copy_default_cfg, default_text
from ultralytics.cli.answer import answer
from ultralytics.cli.command import PROGRAM
from ultralytics.utils.errors import ConfigError

SPECIALS = {
    "checks": "print versions, hardware and whether the packages fit",
    "settings": "print the settings: fixed here, as nothing depends on a file in the home folder",
    "cfg": "print every key with its default",
    "copy-cfg": "write default_copy.yaml, every key with its default, to change and give as cfg=",
}


def run_special(word: str, rest: list[str], wants_help: bool) -> int:
    """Do what one of `SPECIALS` says; returns the exit code."""
    if wants_help:
        answer(f"usage: {PROGRAM} {word}\n\n{SPECIALS[word]}.")
        return 0
    if word == "settings":
        if rest and rest[0] == "reset":
            answer("there is nothing to reset: settings are fixed, and nothing depends on a file in the home folder")
            return 0
        given = {key: parse_value(value) for key, _, value in (w.partition("=") for w in rest)}
        SETTINGS.update(given)
        answer(str(SETTINGS))
        return 0
    if rest:
        raise ConfigError(f"{word} takes nothing more, and {rest[0]!r} was given", hint="leave it out")
    if word == "cfg":
        answer(default_text().rstrip())
    elif word == "copy-cfg":
        target = copy_default_cfg()
        answer(f"written: {target}\nchange it and give it: {PROGRAM} train {shlex.quote(f'cfg={target.name}')}")
    else:
        from ultralytics.utils.checks import collect_system_info  # torch takes seconds to import

        collect_system_info()
    return 0
