"""What a command writes: text, with `--quiet` errors and answers alone, with `--json` events for programs."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from ultralytics.cfg.words import parse_value
from ultralytics.cli.command import COMMANDS
from ultralytics.utils import console, events
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.log import OUTPUT_OF_RANKS, OUTPUTS, set_output

_WORDS = {"quiet": (True, False), "json": (True, False, "events")}


def split_output(words: Sequence[str]) -> tuple[list[str], str]:
    """Return the words without those that choose the output, and the output, one of `OUTPUTS`.

    The commands that have a `json` of their own keep it: they answer with one document; `json=events` is for them.

    Raises:
        ConfigError: a value that is not possible.
    """
    found = {"quiet": False, "json": False}
    rest = []
    own = _has_own_json(words)
    for word in words:
        key, equals, text = word.removeprefix("--").partition("=")
        value = parse_value(text.rstrip(",")) if equals else True
        meant = key in _WORDS and (equals or word.startswith("--") or key == "quiet")
        if not meant or (key == "json" and own and value != "events"):
            rest.append(word)
        elif value not in _WORDS[key]:
            possible = " or ".join(map(str, _WORDS[key]))
            raise ConfigError(f"{key}={text} must be {possible}")
        else:
            found[key] = bool(value)
    return rest, "json" if found["json"] else "quiet" if found["quiet"] else "text"


def _has_own_json(words: Sequence[str]) -> bool:
    names = (" ".join(words[:2]), *words)
    command = next((COMMANDS[n] for n in names if n in COMMANDS), None)
    return command is not None and "json" in command.knobs()


def asked_of_rank() -> str:
    """Return the output that the command of this rank was given."""
    found = os.environ.get(OUTPUT_OF_RANKS, "")
    return found if found in OUTPUTS else OUTPUTS[0]


class _Stream:
    """Writes events, a line each, to a stream until that fails."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.broken = stream, False
        self._lock = threading.Lock()  # loggers warn from threads

    def __call__(self, record: events.Record) -> None:
        with self._lock:
            try:
                console.write(f"{events.line_of(record)}\n", self.stream)
            except Exception:
                self.broken = True
                raise


class _Answers:
    """Writes the text of results alone."""

    def __call__(self, record: events.Record) -> None:
        if record["event"] == "result" and record.get("text"):
            console.tell(f"{record['text']}\n", sys.stdout)


@contextlib.contextmanager
def writing(output: str) -> Iterator[_Stream | None]:
    """Let the commands of a block write what is asked for; yields the stream of events, where there is one."""
    try:
        set_output(output)
        if output == "text":
            yield None
        elif output == "quiet":
            with events.heard_by(_Answers()):
                yield None
        else:
            with console.stdout_apart() as stream:
                own = _Stream(stream)
                with events.heard_by(own):
                    yield own
    finally:
        set_output(OUTPUTS[0])


def emit_error(error: BaseException, line: str, code: int) -> None:
    """Emit the event of an error; `line`: as it is printed."""
    what, where, hint = (error.what, error.where, error.hint) if isinstance(error, UserError) else (line, "", "")
    kind = "mistake" if code == 2 else "fault"
    events.emit("error", kind=kind, message=what, where=where, hint=hint, text=line, code=code)
