"""What a command does, as records for programs: begun, an epoch done, figures, a warning, an error, a result.

`--json` writes them, a line each, and loggers are fed with them; docs/events.md lists their fields. Without a listener
`emit` does nothing.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import PurePath
from typing import Any

from ultralytics.utils.text import without_passwords

VERSION = 1  # of the format: new events and fields leave it, a field that changes its meaning raises it
# Every event, and when it comes.
STREAM = {
    "start": "first: a command begins",
    "run": "a training begins, or goes on from a save: its folder and settings",
    "progress": "of a loop that takes seconds, at most one a second for each loop; a run of a study or tune has ended",
    "epoch": "an epoch is trained and validated: its row of results.csv",
    "metrics": "figures of a validation; of a training, those of its best weights",
    "image": "an image or frame is predicted: its objects, as `Results.summary` has them",
    "warning": "something that a user should look at",
    "error": "a mistake of the user's, with its hint, or a fault",
    "interrupted": "ended by Ctrl-C or a signal",
    "result": "what a command was asked for",
    "end": "last: the exit code",
}
Record = dict[str, Any]
Listener = Callable[[Record], object]
_listeners: list[Listener] = []


def emit(event: str, **fields: Any) -> None:
    """Hand an event of `STREAM` to all who listen. No run depends on it: a listener that fails is dropped."""
    if not _listeners:
        return
    record = {"version": VERSION, "event": event, "time": datetime.now(timezone.utc).isoformat("T", "milliseconds")}
    record |= {key: plain(value) for key, value in fields.items()}
    for listener in tuple(_listeners):
        try:
            listener(record)
        except Exception:  # a full disk, a reader that has left
            forget(listener)


def heard() -> bool:
    """Return True if someone listens."""
    return bool(_listeners)


def listen(listener: Listener) -> None:
    """Call `listener(record)` at every event from now on."""
    _listeners.append(listener)


def forget(listener: Listener) -> None:
    """Call it no more."""
    with contextlib.suppress(ValueError):
        _listeners.remove(listener)


@contextlib.contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Let a listener hear the events of a block."""
    listen(listener)
    try:
        yield
    finally:
        forget(listener)


def plain(value: Any) -> Any:
    """Return a value as strict JSON holds it: numbers that are not finite are null, paths and all else are text,
    without the passwords of addresses."""
    if isinstance(value, str):
        return without_passwords(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, PurePath):
        return without_passwords(str(value))
    try:
        number = float(value)  # of numpy and torch, too
    except (TypeError, ValueError):
        return without_passwords(str(value))
    return number if math.isfinite(number) else None


def line_of(record: Record) -> str:
    """Return a record as a line of ASCII, which every encoding has."""
    return json.dumps(record, allow_nan=False)
