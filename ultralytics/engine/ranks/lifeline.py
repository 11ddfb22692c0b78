"""How a rank ends with the others: what it leaves behind for them, and when it leaves by itself."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

from ultralytics.utils.errors import ConfigError
from ultralytics.utils.processes import leave_with

GRACE = 25.0  # seconds between a request to leave and leaving by force; the agent waits for 30
ALONE = 2.0  # seconds between a rank's looks at whether the process that started it is still there
LAUNCHED = "ULTRALYTICS_LAUNCHED"  # for ranks that `launch` has started, which print their errors: its process's number


def world_size() -> int:
    """Return the number of processes that this one was started as part of."""
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdigit() or not int(text):
        raise ConfigError(f"WORLD_SIZE={text} is not a number of processes", hint="start it with torchrun")
    return int(text)


def store(timeout: timedelta = timedelta(seconds=10)) -> Any:
    """Return the key-value store of torchrun's agent, which outlives its ranks; None without one."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    try:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        return dist.TCPStore(address, port, is_master=False, timeout=timeout)  # type: ignore[attr-defined]
    except (KeyError, ValueError, RuntimeError):
        return None


def remember_run(folder: Path) -> None:
    """Keep the run's folder for ranks that torchrun may have to start anew."""
    found = store()
    if found is not None:
        found.set("ultralytics/run", str(folder.absolute()))


def interrupted_run() -> Path | None:
    """Return the folder of the run whose ranks torchrun has started anew (`--max-restarts`), else None."""
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        return None
    found = store()
    if found is None or not found.check(["ultralytics/run"]):
        return None
    return Path(found.get("ultralytics/run").decode())


def first_to_fail() -> bool:
    """Return True if no other rank of this attempt has reported an error yet: only the first is the cause."""
    try:
        found = store()
        if found is None:
            return True
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return int(found.add(f"ultralytics/failed/{attempt}", 1)) == 1
    except RuntimeError:  # the agent has gone
        return True


def leave_trace(error: BaseException, line: str) -> bool:
    """Leave word of this rank's failure for torchrun's summary and for `launch`; whether this is the first of the
    ranks to fail, which alone should print it."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file:
        with contextlib.suppress(OSError):
            about = {"py_callstack": type(error).__name__, "timestamp": str(int(time.time()))}  # what the agent reads
            details = {"message": {"message": line, "extraInfo": about}}
            Path(file).write_text(json.dumps(details), encoding="utf-8")
    return first_to_fail()


def leave_with_agent(last: Callable[[], object] = int) -> None:
    """End this rank soon after the process that started it, torchrun or `launch`, is gone: killed, it can end nobody,
    and its ranks would train on in a run that nobody can reach.

    Args:
        last: is called before the end. Of several calls the first counts.
    """
    if _FOLLOWS or os.name != "posix" or not {LAUNCHED, "TORCHELASTIC_RUN_ID"} & set(os.environ):
        return
    _FOLLOWS.append(True)
    parent = os.getppid()
    launcher = os.environ.get(LAUNCHED, "")
    if launcher.isdigit():
        try:
            os.kill(int(launcher), 0)
        except ProcessLookupError:  # gone already: this process has another parent since
            parent = int(launcher)
        except OSError:
            pass
    leave_with(parent, ALONE, last)


_FOLLOWS: list[bool] = []


def leave_when_stuck() -> None:
    """End this process GRACE seconds after SIGTERM where it is stuck in a call that never returns, such as an exchange
    with a dead GPU: Python's own handlers wait for the call."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is None:
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    if before != -1:  # someone else watches already
        signal.set_wakeup_fd(before)
        os.close(read)
        os.close(write)
        return

    def watch() -> None:
        while signal.SIGTERM not in os.read(read, 1):
            pass
        threading.Event().wait(GRACE)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="leave when stuck").start()
