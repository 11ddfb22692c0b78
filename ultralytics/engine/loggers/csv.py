"""One figure a line, appended: what spreadsheets, R and pandas group by themselves."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ultralytics.engine.loggers.logger import LoggedRun, Logger

FILE = "log.csv"
COLUMNS = ("date", "run", "epoch", "name", "value")


class CsvLogger(Logger):
    """log.csv in the run's folder: settings (without epoch), figures of each epoch, final figures.

    A run that goes on from an earlier save logs some epochs twice: the later lines count.
    """

    name = "csv"

    def open(self, run: LoggedRun) -> str:
        self._run, self._file = run.name, run.folder / FILE
        if not run.id:
            self._file.unlink(missing_ok=True)  # of an earlier run in this folder
            self._write("", {f"args/{k}": v for k, v in run.settings.items()}, head=True)
        return FILE

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        self._write(number, figures)

    def final(self, number: int, figures: Mapping[str, float]) -> None:
        self._write(number, {f"final/{k}": v for k, v in figures.items()})

    def _write(self, epoch: Any, values: Mapping[str, Any], head: bool = False) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        with Path(self._file).open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if head:
                writer.writerow(COLUMNS)
            writer.writerows([now, self._run, epoch, k, v] for k, v in values.items())
