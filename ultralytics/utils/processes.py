"""Processes that must not outlive the one they work for."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable


def leave_with(parent: int, pause: float, last: Callable[[], object] = int) -> None:
    """Watch from a thread, and end this process, with code 1, once the process `parent` is no longer its parent: a
    process that is killed can tell nobody. Where the system gives orphans no other parent (Windows), it never does.

    Args:
        parent: a process id; pause: seconds between two looks; last: is called before the end.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(pause)
        try:
            last()
        finally:
            os._exit(1)

    threading.Thread(target=watch, daemon=True, name="leave with the parent").start()
