"""Ranks started from within a program, one per device, by the agent that torchrun runs."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ultralytics.cfg.paths import PACKAGE
from ultralytics.engine.ranks.collective import LOST
from ultralytics.engine.ranks.device import device_names
from ultralytics.engine.ranks.lifeline import LAUNCHED, world_size
from ultralytics.utils.console import stdout_lent
from ultralytics.utils.errors import LostRankError, UserError
from ultralytics.utils.log import OUTPUT_OF_RANKS, output
from ultralytics.utils.processes import signal_name

WATCHED = 0.2  # seconds between two looks at the ranks


def several_devices(device: Any) -> list[str]:
    """Return the devices of `device=0,1` in a process that torchrun has not started; empty for one device."""
    names = device_names(device)
    return names if len(names) > 1 and world_size() == 1 else []


def launch(names: Sequence[str], words: Sequence[str], folder: Path) -> None:
    """Run `python -m ultralytics WORDS` as one rank per device under the agent that torchrun runs, on a port that the
    system chooses, and wait for them.

    Args:
        names: the devices; the ranks find theirs in their own `device=`.
        folder: for the error files of the ranks; the caller's to remove.

    Raises:
        UserError: of a rank, with its number. LostRankError: a rank failed or was killed: which, and how.
        KeyboardInterrupt: Ctrl-C, after the ranks have left.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException  # slow; for this alone
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    root = str(PACKAGE.parent)  # the ranks must find this package as well
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    added = {"PYTHONPATH": path, LAUNCHED: str(os.getpid()), OUTPUT_OF_RANKS: output()}
    kept = {key: os.environ.get(key) for key in added}
    handlers = {s: signal.getsignal(s) for s in _SIGNALS}
    noise = logging.getLogger("torch.distributed.elastic")
    level = noise.level
    caught = 0
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=len(names),
        run_id="ultralytics",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=WATCHED,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder)),
    )
    try:
        os.environ.update(added)
        noise.setLevel(logging.CRITICAL)
        with stdout_lent():
            elastic_launch(config, sys.executable)("-m", "ultralytics", *words)
    except ChildFailedError as e:
        raise first_failure(e.failures, names) from None
    except SignalException as e:
        caught = int(e.sigval)
    finally:
        noise.setLevel(level)
        for key, value in kept.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
        if threading.current_thread() is threading.main_thread():
            for s, handler in handlers.items():
                signal.signal(s, handler)
    if caught == signal.SIGINT:
        raise KeyboardInterrupt
    if caught:
        signal.raise_signal(signal.Signals(caught))


_SIGNALS = [getattr(signal, n) for n in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT") if hasattr(signal, n)]


def first_failure(failures: Mapping[int, Any], names: Sequence[str]) -> Exception:
    """Return the failure that the others follow from, as an error of one line."""
    messages = {rank: _read_error(f) for rank, f in failures.items()}

    def order(rank: int) -> tuple[int, int]:
        code, message = failures[rank].exitcode, messages[rank]
        follows = message.startswith(f"rank {rank}: {LOST}") or code == -signal.SIGTERM
        return (0 if code == 2 and message else 2 if follows else 1, rank)

    rank = min(failures, key=order)
    code, message = failures[rank].exitcode, messages[rank]
    if code == 2 and message:
        return UserError(message)
    where = f"rank {rank} (device {names[rank]})"
    if code < 0:
        how = f"was ended by {signal_name(-code)}"
    else:
        how = f"failed: {message.removeprefix(f'rank {rank}: ')}" if message else f"ended with code {code}"
    return LostRankError(f"{where} {how}")


def _read_error(failure: Any) -> str:
    """Return what a rank left in its error file; "" when it left nothing."""
    try:
        data = json.loads(Path(failure.error_file).read_text(encoding="utf-8"))
        return str(data["message"]["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
