"""Exchanges between ranks: an error where another rank is lost, a message where one is stopped."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from ultralytics.utils.errors import LostRankError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.processes import doing

PATIENCE = timedelta(hours=6)  # of a rank that waits for others: they may scan a large dataset. A dead one ends it.
LOST = "lost the connection to another rank"
REPORTED = 30.0  # seconds in one exchange between two messages about ranks that are stopped


def exchange(collective: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    """Call a collective.

    Raises:
        LostRankError: it fails because of another process.
    """
    _WAITING[:] = [time.monotonic()]
    try:
        collective(*args, **kwargs)
    except RuntimeError as e:
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise LostRankError(f"{LOST} ({reason})") from e
    finally:
        _WAITING.clear()


_WAITING: list[float] = []  # since when this process is in an exchange
_RANKS: dict[int, int] = {}  # the ranks of this machine, this one too, and their process ids


def watch_ranks(rank: int, size: int, group: Any) -> None:
    """Report ranks of this machine that are stopped (SIGSTOP, Ctrl-Z, a debugger) while this one waits for them."""
    started = bool(_RANKS)
    places: list[Any] = [None] * size
    exchange(dist.all_gather_object, places, (socket.gethostname(), os.getpid()), group=group)
    mine = places[rank]
    _RANKS.clear()
    _RANKS.update({rank: place[1] for rank, place in enumerate(places) if place[0] == mine[0]})

    def watch() -> None:
        reported = 0.0
        while True:
            time.sleep(REPORTED / 6)
            now, since = time.monotonic(), next(iter(_WAITING), None)
            if since is not None and now - max(since, reported) >= REPORTED:
                reported = now
                for line in stopped_ranks(_RANKS, os.getpid(), now - since):
                    LOGGER.error(line)

    if not started:
        threading.Thread(target=watch, daemon=True, name="watch the ranks").start()


def stopped_ranks(ranks: Mapping[int, int], process: int, waited: float) -> list[str]:
    """Return a line for each stopped rank, if this process is the first that is not stopped.

    Args:
        ranks: process ids of this machine's; process: this one; waited: seconds.
    """
    states = {rank: doing(pid) for rank, pid in ranks.items() if pid != process}
    stopped = [rank for rank, state in states.items() if state.startswith("stopped")]
    if next((pid for rank, pid in sorted(ranks.items()) if rank not in stopped), None) != process:
        return []
    return [f"Waiting for rank {r} (process {ranks[r]}, {states[r]}) for {waited:.0f} s" for r in stopped]
