"""The protocol of loggers: what each has to do. It must not know torch: a logger's process starts in a moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True)
class LoggedRun:
    """A run, as loggers see it.

    Attributes:
        folder: of the run, absolute; project: a name for runs that are compared, the folder above.
        name: of the run; group: of runs that differ by their seed, "" without one.
        settings: the keys of the run, plain.
        id: by which the logger knew the run before it was stopped; "" for a new one.
        done: epochs that the run has; a logger may have seen more, where the run goes on from an earlier save.
    """

    folder: Path
    project: str
    name: str
    group: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""
    done: int = 0


class Logger:
    """A place for the figures of a run: a subclass for each.

    It lives in a process of its own, so it may take its time, and whatever it raises ends it alone: the run goes on
    with a warning. Its methods are called in this order: `open`, `epoch` for each epoch, `final`, `images` and
    `weights` where they are asked for, and, whatever has happened, `close`.

    Attributes:
        name: the word for `log=`; package: what it imports; extra: of setup.py, that brings the package.
    """

    name: ClassVar[str] = ""
    package: ClassVar[str] = ""
    extra: ClassVar[str] = ""

    def open(self, run: LoggedRun) -> str:
        """Begin, or go on with `run.id`; returns the id by which the run is found when it goes on."""
        raise NotImplementedError  # each logger has its own

    def note(self) -> str:
        """Return a line for the user, such as where the figures can be seen; asked once, after `open`."""
        return ""

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        """Take the figures of an epoch, from 1, by column of results.csv; what is not finite is left out."""
        raise NotImplementedError  # each logger has its own

    def final(self, number: int, figures: Mapping[str, float]) -> None:
        """Take the figures of the best weights, after `number` epochs."""

    def images(self, number: int, files: Sequence[Path]) -> None:
        """Take the plots of a run that has ended, after `number` epochs."""

    def weights(self, file: Path) -> None:
        """Take the best weights."""

    def close(self, status: str) -> None:
        """Finish; status: "finished", "stopped" (it can be resumed), "failed", or "killed" (it could not say)."""
