"""The process of one logger: it reads events of a run, a JSON object a line, and answers with lines for the user.

The run never waits for it, and no fault of it can reach the run. It ends with the event `end`, or when its input does:
it also finishes the log of a run that was killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ultralytics.engine.loggers.logger import LoggedRun, Logger
from ultralytics.engine.loggers.table import LOGGERS
from ultralytics.utils import console
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.files import read_json, write_json
from ultralytics.utils.text import one_line

JOB = "log-run"  # the command of a logger's process; no user types it
PATIENCE = 120.0  # seconds that a logger has to finish when the run has ended
STATE = "loggers"  # folder in a run's folder, with a file for each logger
Answer = Callable[[str, str], object]  # kind ("info", "warning", "closed") and text


def serve_logger(word: str) -> int:
    """Be the process of the logger of a word, on the standard streams; returns the exit code."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # sent to all of a terminal's or job's processes: the run's to answer
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # for what the logger's package prints

    def answer(kind: str, text: str) -> None:
        console.write(f"{json.dumps({'kind': kind, 'text': text})}\n", answers)

    def lines() -> Iterable[str]:
        for line in sys.stdin:  # its end may come late: workers that the run has forked hold it open
            yield line
            if json.loads(line)["event"] == "end":
                break
        timer = threading.Timer(PATIENCE, os._exit, [1])  # the run has ended, and waits no longer either
        timer.daemon = True
        timer.start()

    try:
        feed(word, lines(), answer)
    except BrokenPipeError:  # the run has been killed
        return 1
    return 0


def feed(word: str, lines: Iterable[str], answer: Answer) -> None:
    """Hand the events of a run to the logger of a word; what it raises becomes one warning, and ends it."""
    served: _Served | None = None
    try:
        served = _Served(word, answer)
        for line in lines:
            served.take(json.loads(line))
        served.close()
        answer("closed", "")
    except BrokenPipeError:
        raise
    except BaseException as e:  # whatever a stranger's package raises, exits of its own included
        text = str(e) if isinstance(e, UserError) else f"{type(e).__name__}: {e}".removesuffix(": ")
        answer("warning", f"{one_line(text, 300)}: it is off, and the run continues")
        if served is not None:
            served.abandon()
        answer("closed", "")


class _Served:
    """A logger, and how far it is."""

    def __init__(self, word: str, answer: Answer) -> None:
        self.logger: Logger = LOGGERS[word]()
        self.answer = answer
        self.run: LoggedRun | None = None
        self.id, self.epochs, self.status = "", 0, "killed"

    def take(self, record: Mapping[str, Any]) -> None:
        """Take an event."""
        event = record["event"]
        if event == "run":
            self._open(record)
        elif event == "end":
            self.status = record["status"]
        if self.run is None:
            return
        if event == "epoch":
            self._epoch(record["epoch"], record["figures"])
        elif event == "metrics":
            self.logger.final(self.epochs, _finite(record["figures"]))
        elif event == "files":
            files = [p for p in map(Path, record["files"]) if p.is_file()]
            if files and record["kind"] == "images":
                self.logger.images(self.epochs, files)
            elif files:
                self.logger.weights(files[0])

    def close(self) -> None:
        """Finish the log."""
        run, self.run = self.run, None
        if run is not None:
            self.logger.close(self.status)

    def abandon(self) -> None:
        """Finish the log of a logger that has failed, where it still can."""
        try:
            self.close()
        except BaseException:  # one line has said already that it is off
            return

    def _open(self, record: Mapping[str, Any]) -> None:
        folder, rows = Path(record["folder"]), record["rows"]
        self._file = folder / STATE / f"{self.logger.name}.json"
        before = _read_state(self._file) if record["continued"] else {}
        run = LoggedRun(
            folder=folder,
            project=record["project"],
            name=record["name"],
            group=record["group"],
            settings=record["settings"],
            id=str(before.get("id", "")),
            done=len(rows),
        )
        self.id = self.logger.open(run)
        self.run, self.epochs = run, min(int(before.get("epochs", 0)), len(rows))
        self._save()
        note = self.logger.note()
        if note:
            self.answer("info", one_line(note, 500))
        for row in rows[self.epochs :]:  # of a run that had no logger, or was killed before it was logged
            self._epoch(int(row["epoch"]), {k: v for k, v in row.items() if k != "epoch"})

    def _epoch(self, number: int, figures: Mapping[str, float | None]) -> None:
        self.logger.epoch(number, _finite(figures))
        self.epochs = number
        self._save()

    def _save(self) -> None:
        self._file.parent.mkdir(exist_ok=True)
        write_json(self._file, {"id": self.id, "epochs": self.epochs})


def _finite(figures: Mapping[str, float | None]) -> dict[str, float]:
    """Events hold null for what is not finite."""
    return {k: v for k, v in figures.items() if v is not None}


def _read_state(file: Path) -> dict[str, Any]:
    try:
        return read_json(file, ConfigError, "this is not the state of a logger", "")
    except UserError:  # none, or damaged: a new log begins
        return {}
