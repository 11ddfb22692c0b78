"""The texts of --help, and the tables of options in docs/; all from the records of the commands."""

from __future__ import annotations

from collections.abc import Mapping

from ultralytics import REFERENCE_VERSION, __version__
from ultralytics.cfg.keys import KNOBS, MODE_DEFAULTS
from ultralytics.cfg.knob import Knob
from ultralytics.cli.command import COMMANDS, PROGRAM, Command


def overview(specials: Mapping[str, str]) -> str:
    """Return the list of commands, with the words of the reference that are none."""
    commands = [c for c in COMMANDS.values() if " " not in c.name]
    meanings = {**{c.name: c.help() for c in commands}, **specials}
    return "\n".join(
        [
            f"YOLOv8 with Focused Linear Attention {__version__} (interface of ultralytics {REFERENCE_VERSION})",
            "",
            f"usage: {PROGRAM} MODE key=value …",
            "",
            *(f"  {name:14} {meaning}" for name, meaning in meanings.items()),
            "",
            f"`{PROGRAM} MODE --help` lists a mode's keys. With each: --quiet prints only errors and the result,",
            "--json events for programs, a JSON object a line (docs/events.md). Examples:",
            "",
            *(f"  {PROGRAM} {c.example}" for c in commands),
        ]
    )


def help_of(command: type[Command]) -> str:
    """Return a command's help: its use, an example, and its options; of a group those of every kind."""
    lines = [f"usage: {PROGRAM} {command.name} key=value …", "", f"{command.help()}."]
    lines += [f"example: {PROGRAM} {command.example}", ""]
    if command.mode:
        return "\n".join([*lines, *_key_lines(command)])
    if not command.knobs():
        return "\n".join(
            lines + [line for k, c in command.kinds().items() for line in (f"{k}:", *_option_lines(c), "")]
        )
    return "\n".join([*lines, *_option_lines(command)])


def options_table(command: type[Command]) -> str:
    """Return the options as a table of Markdown."""
    of_mode = MODE_DEFAULTS.get(command.mode, {})
    rows = [
        f"| `{knob.key}` | {knob.help} | {of_mode.get(knob.key) or _shown_default(knob)} |"
        for knob in _needed_first(command.own())
    ]
    return "\n".join(["| key | meaning | default |", "|---|---|---|", *rows])


def _option_lines(command: type[Command]) -> list[str]:
    lines: list[str] = []
    group = "run"
    for knob in _needed_first(command.knobs()):
        if knob.group != group:
            group = knob.group
            lines += ["", f"{group}:"]
        default = _shown_default(knob)
        lines.append(f"  {knob.key:14} {knob.help}" + (f" ({default})" if default else ""))
    return lines


def _needed_first(options: Mapping[str, Knob]) -> list[Knob]:
    return sorted(options.values(), key=lambda knob: not knob.needed)


def _shown_default(knob: Knob) -> str:
    return "" if knob.needed else knob.none if knob.default is None else str(knob.default)


def _key_lines(command: type[Command]) -> list[str]:
    """Return the keys of a run, with the defaults of its mode."""
    lines = [f"  {'cfg':16} {'':10} a YAML of keys, a recipe; key=value wins over it"]
    lines.append(f"  {'task':16} {'':10} the model's own, which it must match ({', '.join(KNOBS['task'].choices)})")
    of_mode = {**MODE_DEFAULTS.get(command.mode, {}), "name": command.mode}
    group = "run"
    for key, knob in command.knobs().items():
        if key in ("mode", "task"):
            continue
        if knob.group != group:
            group = knob.group
            lines += ["", f"{group}:"]
        default = of_mode.get(key, knob.default)
        if default is None:
            default = knob.none
        name = "scale=LETTER" if key == "model_scale" else key
        choices = f" ({', '.join(map(str, knob.choices))})" if knob.choices else ""
        lines.append(f"  {name:16} {default!s:10} {knob.help}{choices}")
    return lines


def version() -> str:
    """Return the version, and whose interface it is."""
    return f"{__version__} (interface of ultralytics {REFERENCE_VERSION})"
