"""One logger, one progress bar."""

from __future__ import annotations

import copy
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import PurePath
from typing import Any, TypeVar

from tqdm import tqdm
from tqdm.utils import ObjectWrapper

from ultralytics.utils import events
from ultralytics.utils.console import open_descriptors, tell
from ultralytics.utils.text import escaped, printable, without_passwords

T = TypeVar("T")
LOGGER = logging.getLogger("ultralytics")
EVERY = 60.0  # seconds between two lines of a loop where there is no terminal for a bar
NARROW = 20  # columns that a bar needs
HEARD_EVERY = 1.0  # seconds between two `progress` events of a loop
OUTPUTS = ("text", "quiet", "json")
OUTPUT_OF_RANKS = "ULTRALYTICS_OUTPUT"  # the environment's word for it, for the ranks of a command
_silent = False
_output = OUTPUTS[0]


class _Console(logging.StreamHandler):  # type: ignore[type-arg]  # generic only in the stubs
    """Writes to the stdout of the moment (a test or a notebook may replace it), above any progress bar. Control
    characters, which names in a stranger's files may hold, are escaped."""

    error = False  # whether to write to stderr instead

    def format(self, record: logging.LogRecord) -> str:
        """Return the message. What stands within a sentence, such as a file's name, breaks no line."""
        args = record.args
        if isinstance(args, tuple) and record.msg != "%s":
            record = copy.copy(record)  # other handlers get it as it is
            record.args = tuple(escaped(str(a)) if isinstance(a, str | PurePath) else a for a in args)
        return super().format(record)

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{printable(without_passwords(self.format(record)))}\n"
        with tqdm.external_write_mode(file=sys.stdout):
            tell(line, sys.stderr if self.error or _output == "json" else sys.stdout)
        if record.levelno >= logging.WARNING:
            events.emit("warning", text=record.getMessage())


def setup_console(verbose: bool = True, error: bool | None = None) -> None:
    """Send the project's messages to standard output, once.

    Args:
        verbose: False keeps only warnings; error: True sends them to standard error, where standard output is for
        programs; None leaves it as it is.
    """
    open_descriptors()
    if not any(isinstance(h, _Console) for h in LOGGER.handlers):
        LOGGER.addHandler(_Console())
        LOGGER.propagate = False
    if error is not None:
        _Console.error = error
    quiet = _silent or _output == "quiet"
    LOGGER.setLevel(logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING)


def set_output(output: str) -> None:
    """Choose what a command writes: "text"; "quiet", errors and answers alone; "json", events for programs on standard
    output and all else on standard error."""
    global _output
    _output = output
    setup_console()


def output() -> str:
    """Return what a command writes, one of OUTPUTS."""
    return _output


def silence() -> None:
    """No messages and bars of this process from now on: another one tells them."""
    global _silent
    _silent = True
    LOGGER.setLevel(logging.ERROR)


class _Stream(ObjectWrapper):
    """A stream for a bar, which drops what cannot be written. It equals the stream itself: tqdm compares."""

    def write(self, text: str) -> int:
        tell(text, self._wrapped)
        return len(text)

    def flush(self) -> None:
        """Do nothing: output is not buffered."""

    def __eq__(self, other: object) -> bool:
        return self._wrapped is getattr(other, "_wrapped", other)

    def __hash__(self) -> int:
        return hash(self._wrapped)


class Lines:
    """What takes a bar's place where there is no terminal: a line of the log every `EVERY` seconds, and an event
    `progress` every `HEARD_EVERY` seconds where someone listens.

    Args:
        iterable: to pass through, counted; None: `update` counts.
        desc, total, initial, unit, unit_scale, unit_divisor: as tqdm takes them; leave: of no meaning to lines;
            clock: seconds.

    Attributes:
        n: what is done, `initial` included; disable: True, as of a bar that draws nothing.
    """

    disable = True

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        desc: str = "",
        total: float | None = None,
        initial: int = 0,
        unit: str = "it",
        unit_scale: bool = False,
        unit_divisor: int = 1000,
        leave: object = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if total is None:
            total = getattr(iterable, "__len__", lambda: None)()
        self.n = self._initial = initial
        self._iterable, self._desc, self._total, self._clock = iterable, desc, total, clock
        self._task = " ".join(desc.split())
        self._unit = "" if unit == "it" else unit
        self._format = partial(tqdm.format_meter, initial=initial, unit_scale=unit_scale, unit_divisor=unit_divisor)
        self._start = clock()
        self._due = self._start + EVERY
        self._heard = self._start + HEARD_EVERY

    def __iter__(self) -> Iterator[Any]:
        for item in self._iterable or ():
            yield item
            self.update()

    def update(self, n: int = 1) -> None:
        """Count `n` more."""
        self.n += n
        now = self._clock()
        if now >= self._heard and not _silent:
            self._heard = now + HEARD_EVERY
            self._emit(now - self._start)
        if now >= self._due:
            self._due = now + EVERY
            if self._total is None or self.n < self._total:  # the end has messages of its own
                LOGGER.info("%s", self._line(now - self._start))

    def _line(self, elapsed: float) -> str:
        done, left = (f"{{n_fmt}}{self._unit}", "")
        if self._total is not None:
            done, left = f"{{n_fmt}} of {{total_fmt}}{self._unit}", ", {remaining} left"
        text = self._format(self.n, self._total or 0, elapsed, bar_format=f"{done}, {{elapsed}} passed{left}")
        return f"{self._desc}: {text}" if self._desc else text

    def _emit(self, elapsed: float) -> None:
        done = self.n - self._initial
        left = elapsed / done * (self._total - self.n) if self._total and done > 0 else None
        events.emit("progress", task=self._task, done=self.n, total=self._total, elapsed=elapsed, left=left)

    def set_description(self, desc: str) -> None:
        """Set the beginning of the next line."""
        self._desc = desc

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """Set what a bar ends with; a line has no room for it."""

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def progress(iterable: Iterable[T] | None = None, *, desc: str = "", label: str = "", **kwargs: Any) -> Any:
    """Return a tqdm bar that shows time left; where standard error is no terminal that moves its cursor, a line of the
    log every minute.

    Args:
        desc: what the bar begins with; label: what a line begins with, `desc` when empty; kwargs: tqdm's.
    """
    if _silent or _output != "text" or not _takes_bars(sys.stderr):
        return Lines(iterable, desc=label or desc, **kwargs)
    kept: dict[str, Any] = {"leave": None}  # one within another goes when it is done
    return tqdm(iterable, desc=printable(desc), dynamic_ncols=True, file=_Stream(sys.stderr), **(kept | kwargs))


def _takes_bars(stream: Any) -> bool:
    """Return True for a terminal that moves its cursor and has room; some that are none say so, with a width of 0."""
    try:
        if not stream.isatty() or os.environ.get("TERM") == "dumb":
            return False
    except Exception:  # none, closed, or a program's own
        return False
    try:
        return os.get_terminal_size(stream.fileno()).columns >= NARROW
    except (OSError, ValueError):  # a notebook's, which has no descriptor
        return True
