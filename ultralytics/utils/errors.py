"""Errors a user can cause, each reported in one line: what is wrong, where, and the hint.

The command line prints them as `error: …` and leaves with exit code 2 (a FinishedRunError: without `error:`, 0); any
other exception is a fault of ours (exit code 1).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ultralytics.utils.text import masked, one_line


class UserError(Exception):
    """A mistake of the user's. `str(error)` is one line, whatever characters a stranger's file brings into it, and
    shows no password of an address.

    Args:
        what: what is wrong, e.g. "class id 3 is out of range".
        where: the file and line, the YAML row or the key it concerns; empty when `what` says it.
        hint: what to do about it; empty when there is nothing to add.
    """

    def __init__(self, what: str, where: str = "", hint: str = "") -> None:
        what, where, hint = (one_line(masked(text)) for text in (what, where, hint))
        self.what, self.where, self.hint = what, where, hint
        super().__init__(": ".join(p for p in (where, what) if p) + (f" ({hint})" if hint else ""))


class ConfigError(UserError, ValueError):
    """An unknown key, a value of the wrong type or out of its range."""


class MissingFileError(UserError, FileNotFoundError):
    """A file that was not found; the message lists every path that was tried."""

    def __str__(self) -> str:  # OSError would print an errno tuple
        return str(self.args[0])


class DatasetError(UserError, ValueError):
    """A dataset that cannot be used: no images, bad YAML, an empty split."""


class ModelError(UserError, ValueError):
    """A model YAML that cannot be built: bad reference, channels that do not fit, an unknown module."""


class CheckpointError(UserError, ValueError):
    """A weights file that cannot be read or written."""


class ExportError(UserError, ValueError):
    """A network that a format cannot hold, or an exported file that cannot be opened or run."""


class FinishedRunError(UserError):
    """A run to go on with, by a command that may begin or go on, is over: nothing is left to do, nothing is wrong."""

    folder: str = ""  # of the run


class LostWorkerError(UserError):
    """A loader worker has ended before its time."""


class LostRankError(Exception):
    """A process of a run on several devices has ended before its time; one line."""


class HUBModelError(UserError):
    """Of the reference's service, which nothing here asks: never raised, for scripts that catch it."""


def nearest(word: str, known: Iterable[str], n: int = 3) -> str:
    """Say which known words are closest: "did you mean 'imgsz'?", or "" when none is near."""
    close = difflib.get_close_matches(word, list(known), n=n, cutoff=0.6)
    return f"did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
