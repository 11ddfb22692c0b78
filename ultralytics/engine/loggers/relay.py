"""From a run to its loggers: a process for each, fed from a thread, so that the run neither waits nor fails."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ultralytics.cfg.paths import PACKAGE
from ultralytics.engine.hooks import Hooks
from ultralytics.engine.loggers.serve import JOB, PATIENCE
from ultralytics.engine.loggers.table import check_packages
from ultralytics.engine.run.provenance import without_home
from ultralytics.engine.safety.interrupt import StopRequest
from ultralytics.utils import events
from ultralytics.utils.log import LOGGER

SHOWN = (".jpg", ".png")  # plots of a run
PATIENT = 5.0  # seconds at the end of a run before it says what it waits for
PAUSE = 0.1
_HEARD = ("run", "epoch", "metrics", "files", "end")


class Relay:
    """One logger's process.

    Args:
        word: of `log=`.
    """

    def __init__(self, word: str) -> None:
        self.name = word
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._ended = threading.Event()  # it has closed its log, or failed
        self._threads: list[threading.Thread] = []
        apart: dict[str, Any] = {"start_new_session": True}  # Ctrl-C is the run's to answer
        if sys.platform == "win32":
            apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(
                [sys.executable, str(PACKAGE), JOB, word],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_logger_environment(),
                **apart,
            )
        except OSError as e:
            LOGGER.warning("%s: its process cannot be started: %s; the run continues without it", self.name, e)
            self._ended.set()
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for work, pipe in ((self._write, self._process.stdin), (self._read, self._process.stdout)):
            self._threads.append(threading.Thread(target=work, args=(pipe,), daemon=True, name=f"logger {self.name}"))
            self._threads[-1].start()

    def send(self, record: Mapping[str, Any]) -> None:
        """Hand a record over; returns at once."""
        if not self._ended.is_set():
            self._lines.put(json.dumps(record, allow_nan=False))

    def finish(self) -> None:
        """Let it finish what it has."""
        self._lines.put("")

    def wait(self, until: float) -> bool:
        """Wait for its end until a time of `time.monotonic`; returns False if it has not ended."""
        while not self._is_over() and time.monotonic() < until:
            time.sleep(PAUSE)
        return self._is_over()

    def end(self) -> None:
        """End its process where it is still there."""
        if self._process is not None:
            if self._process.poll() is None:
                self._ended.set()  # who reads its answers need not say that it has died
                self._process.kill()
            self._process.wait()
            for thread in self._threads:  # its last line may be on its way
                thread.join(1.0)

    def _is_over(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _write(self, pipe: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError), pipe:  # it has failed, and has said so
            while line := self._lines.get():
                pipe.write(f"{line}\n".encode())
                pipe.flush()

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                with contextlib.suppress(ValueError, KeyError, TypeError):  # its end came in the middle of a line
                    said = json.loads(line)
                    if said["kind"] == "closed":
                        self._ended.set()
                    else:
                        LOGGER.log(30 if said["kind"] == "warning" else 20, "%s: %s", self.name, said["text"])
        if not self._ended.is_set():
            self._ended.set()
            LOGGER.warning("%s: its process has died: it is off, and the run continues", self.name)


class Loggers:
    """The loggers of a run. As a context it closes them, however the block ends.

    Args:
        words: of `log=`; leads: False for a rank that logs nothing.

    Raises:
        UserError: the package of one is missing.
    """

    def __init__(self, words: Sequence[str], leads: bool = True) -> None:
        check_packages(words)
        self._words = list(words) if leads else []
        self._relays: list[Relay] = []

    def begin(self) -> None:
        """Start them: they hear the events from here on."""
        if self._words:
            self._relays = [Relay(word) for word in self._words]
            events.listen(self._hear)

    def attach(self, kind: str, files: Sequence[Path]) -> None:
        """Hand files over: "images", or "weights"."""
        self._hear({"event": "files", "kind": kind, "files": [str(f.absolute()) for f in files]})

    def _hear(self, record: Mapping[str, Any]) -> None:
        if record["event"] in _HEARD:
            for relay in self._relays:
                relay.send(record)

    def __enter__(self) -> Loggers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        events.forget(self._hear)
        stopped = isinstance(error, StopRequest | KeyboardInterrupt | SystemExit)
        self._hear({"event": "end", "status": "finished" if error is None else "stopped" if stopped else "failed"})
        relays, self._relays = self._relays, []
        try:
            for relay in relays:
                relay.finish()
            self._await(relays)
        finally:
            for relay in relays:
                relay.end()

    def _await(self, relays: Sequence[Relay]) -> None:
        """Wait until they have finished; a second Ctrl-C ends the waiting."""
        began = time.monotonic()
        late = [r for r in relays if not r.wait(began + PATIENT)]
        if late:
            names = " and ".join(r.name for r in late)
            LOGGER.info("Waiting for %s, %.0f seconds at most (Ctrl-C: no longer)", names, PATIENCE)
        for relay in late:
            if not relay.wait(began + PATIENCE):
                LOGGER.warning("%s: it has not finished within %.0f seconds, and was ended", relay.name, PATIENCE)


def fields_of_run(run: Hooks, continued: bool) -> dict[str, Any]:
    """Return the fields of the event `run`; `continued`: it goes on from a save."""
    folder = run.save_dir.absolute()
    return {
        "folder": folder,
        "project": folder.parent.name,
        "name": folder.name,
        "group": run.args.log_group or "",
        "continued": continued,
        "epochs": run.epochs,
        "batches": run.state.batches,
        "images": len(run.train_loader.dataset),
        "settings": without_home(events.plain(run.args.to_dict())),
        "rows": run.rows,
    }


def plots_of(folder: Path) -> list[Path]:
    """Return the plots that a run has left in its folder."""
    return sorted(p for p in folder.iterdir() if p.suffix in SHOWN)


def _logger_environment() -> dict[str, str]:
    """Of a logger's process, which is no rank, and computes nothing."""
    left_out = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    return {k: v for k, v in os.environ.items() if k not in left_out}
