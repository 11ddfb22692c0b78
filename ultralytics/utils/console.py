"""The one place that writes to standard output and standard error.

There may be none (cron, daemons, pythonw), their disk may be full, a terminal or a reader may go away in the middle,
and not every encoding has every character. A message that cannot be written is dropped: no run depends on one.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

# How characters of our own messages are written where the encoding lacks them; others are escaped, as \u7ec6.
_PLAIN = {
    "×": "x", "–": "-", "—": "-", "−": "-", "…": "...", "→": "->", "←": "<-", "↦": "->", "·": ".", "±": "+-",
    "≥": ">=", "≤": "<=", "²": "^2", "µ": "u", "°": " degrees", "“": '"', "”": '"', "‘": "'", "’": "'", "\xa0": " ",
}  # fmt: skip


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """Return a codec's error handler: replace the characters that it cannot encode."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lacking), error.end


_REPLACING = "ultralytics.replace"
codecs.register_error(_REPLACING, _replaced)


def showable(text: str, encoding: object) -> str:
    """Return the text as an encoding can write it; as it is where there is no encoding (a stream in memory)."""
    if not isinstance(encoding, str) or text.isascii():
        return text
    try:
        return text.encode(encoding, _REPLACING).decode(encoding)
    except (LookupError, UnicodeError):  # no such encoding
        return text.encode("ascii", _REPLACING).decode()


def write(text: str, stream: Any) -> None:
    """Write text to a stream, which may be None, now. What the stream's encoding lacks is replaced.

    Raises:
        OSError, ValueError: it cannot be written. Nothing of it is left in the stream, where it would stop a fork or
        change the exit code.
    """
    if stream is None:
        return
    strict: Any = super(_Forgiving, stream) if isinstance(stream, _Forgiving) else stream
    try:
        if text:
            strict.write(showable(text, getattr(stream, "encoding", None)))
        if hasattr(stream, "flush"):
            strict.flush()
    except Exception:
        _let_go(stream)
        raise


def tell(text: str, stream: Any) -> None:
    """Write text to a stream if that is possible."""
    with contextlib.suppress(Exception):  # a program's own stream may raise anything
        write(text, stream)


def say(text: str, error: bool = False) -> None:
    """Print a line to the standard output, or error, of the moment, if that is possible."""
    tell(f"{text}\n", sys.stderr if error else sys.stdout)


def settle() -> None:
    """Write what others have left in the standard streams, or let it go, so that the program's end does not fail."""
    for stream in (sys.stdout, sys.stderr):
        tell("", stream)


def _let_go(stream: Any) -> None:
    """Empty a stream's buffer: for a moment its descriptor leads to the null device."""
    with contextlib.suppress(Exception):  # a stream without descriptor
        descriptor = stream.fileno()
        try:
            kept = os.dup(descriptor)
        except OSError:  # closed: it stays with the null device
            kept = -1
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)
        try:
            stream.flush()
        finally:
            if kept >= 0:
                os.dup2(kept, descriptor)
                os.close(kept)


def open_descriptors() -> None:
    """Point those of the descriptors 0 to 2 that are closed to the null device. The next files that are opened would
    get their numbers, and what a library prints would be written into them."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            os.set_inheritable(descriptor, True)  # by child processes


_apart: list[int] = []  # the descriptor of `stdout_apart`, within it


@contextlib.contextmanager
def stdout_apart() -> Iterator[Any]:
    """Yield the standard output as a stream that nobody else writes to: what `print`, a library or a child process
    writes there within this goes to standard error."""
    stream = sys.stdout
    descriptor = _descriptor(stream)
    if descriptor != 1:  # a stream in memory, or none
        with contextlib.redirect_stdout(sys.stderr):
            yield stream
        return
    tell("", stream)
    kept = os.dup(1)
    own = open(os.dup(1), "w", encoding="utf-8", newline="\n")  # noqa: SIM115  # closed below
    os.dup2(2, 1)
    _apart.append(own.fileno())
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield own
    finally:
        _apart.clear()
        with contextlib.suppress(Exception):  # its reader has left
            own.close()
        os.dup2(kept, 1)
        os.close(kept)


@contextlib.contextmanager
def stdout_lent() -> Iterator[None]:
    """Give child processes that begin within this the standard output that `stdout_apart` has taken away."""
    if not _apart:
        yield
        return
    kept = os.dup(1)
    os.dup2(_apart[0], 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _descriptor(stream: Any) -> int | None:
    try:
        return int(stream.fileno())
    except Exception:  # none, closed, or a program's own
        return None


class _Forgiving(io.TextIOWrapper):
    """A standard stream for those who do not know that there may be no console: what `print` of a plugin or a library
    cannot write is dropped. `write` above is strict with it too."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            try:
                return super().write(text)
            except OSError:
                _let_go(self)
        return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            _let_go(self)


def prepare_streams() -> None:
    """Make the standard streams of this process usable by anything that runs in it: those that are missing lead to the
    null device, and neither a full disk nor a character is an error. For the command line; a program keeps its own."""
    open_descriptors()
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # as long as the process
        elif mode == "w" and type(stream) is io.TextIOWrapper:
            kept: Any = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
            encoding = stream.encoding
            for variable in (name, f"__{name}__"):
                setattr(sys, variable, None)
            stream = _Forgiving(stream.detach(), encoding, _REPLACING, **kept)
            for variable in (name, f"__{name}__"):
                setattr(sys, variable, stream)
