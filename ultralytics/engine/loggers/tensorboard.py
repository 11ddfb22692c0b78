"""TensorBoard's event files, by its own package: torch's writer would import torch into the logger's process."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ultralytics.engine.loggers.logger import LoggedRun, Logger


class TensorBoardLogger(Logger):
    """Event files in the run's folder, so that `tensorboard --logdir runs/detect` shows each run by its name."""

    name = "tensorboard"
    package = "tensorboard"
    extra = "tensorboard"

    def open(self, run: LoggedRun) -> str:
        from tensorboard.compat.proto import event_pb2, summary_pb2  # an extra
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.plugins.text.summary_v2 import text_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = event_pb2, summary_pb2
        if not run.id:
            for old in run.folder.glob("events.out.tfevents.*"):  # of an earlier run in this folder
                old.unlink()
        self._writer = EventFileWriter(str(run.folder))
        if run.id:  # what an interrupted run had logged beyond its last save does not count
            session = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._add(run.done + 1, session_log=session)
        settings = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in run.settings.items()}
        rows = "\n".join(f"|{k}|{str(v).replace('|', '&#124;')}|" for k, v in settings.items())
        self._add(run.done, summary=text_pb("settings", f"|key|value|\n|---|---|\n{rows}"))
        self._add(run.done, summary=hparams_pb(settings, trial_id=run.name))
        return "events.out.tfevents"

    def note(self) -> str:
        return "look at it with: tensorboard --logdir FOLDER, the run's or the one above"

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._value(number, tag=name, simple_value=value)
        self._writer.flush()

    def final(self, number: int, figures: Mapping[str, float]) -> None:
        self.epoch(number, {f"final/{name}": value for name, value in figures.items()})

    def images(self, number: int, files: Sequence[Path]) -> None:
        for file in files:
            with Image.open(file) as header:
                width, height = header.size
            content = self._summary.Summary.Image(
                height=height, width=width, colorspace=3, encoded_image_string=file.read_bytes()
            )
            self._value(number, tag=f"plots/{file.stem}", image=content)
        self._writer.flush()

    def close(self, status: str) -> None:
        self._writer.close()

    def _value(self, step: int, **value: Any) -> None:
        self._add(step, summary=self._summary.Summary(value=[self._summary.Summary.Value(**value)]))

    def _add(self, step: int, **content: Any) -> None:
        self._writer.add_event(self._event.Event(wall_time=time.time(), step=step, **content))
