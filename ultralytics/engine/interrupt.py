"""Ctrl-C and SIGTERM while a run trains: finish the batch under way, save, leave."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest(BaseException):  # no Exception: a callback that swallows those must not swallow this
    """A signal asks the run to leave."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class Interrupts:
    """Watches for signals from `__enter__` to `__exit__`, which puts the former handlers back.

    A signal raises StopRequest at once, or, inside of `deferred`, at the next `poll`. A Ctrl-C after a first signal
    raises KeyboardInterrupt wherever the program is. Signals that were ignored stay ignored, and outside of the main
    thread, where Python allows no handlers, nothing is watched.

    Args:
        agree: the largest of a number over all processes of a run, so that they stop after the same batch; quiet: say
            nothing.

    Attributes:
        pending: the signal that came, or None.
    """

    def __init__(self, agree: Callable[[int], int] = int, quiet: bool = False) -> None:
        self._agree, self._quiet = agree, quiet
        self.pending: int | None = None
        self._former: dict[int, Any] = {}
        self._deferred = False
        self._process = os.getpid()

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                former = signal.getsignal(signum)
                if former not in (signal.SIG_IGN, None):
                    self._former[signum] = former
                    signal.signal(signum, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, former in self._former.items():
            signal.signal(signum, former)

    def _handle(self, signum: int, _: FrameType | None) -> None:
        if os.getpid() != self._process:  # a forked worker, which its owner ends
            return
        if self.pending is not None:
            if signum == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.pending = signum
        if not self._deferred:
            raise StopRequest(signum)
        if self._quiet or sys.stderr is None:
            return
        # Not through the logger: the signal may have come in the middle of its writing.
        with contextlib.suppress(OSError):
            os.write(2, b"\nStopping after this batch (Ctrl-C once more: at once, without saving)\n")

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """A signal waits for the next `poll`."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def poll(self) -> None:
        """Raise StopRequest if a signal has come."""
        signum = self._agree(self.pending or 0)
        if signum:
            raise StopRequest(signum)

    def deliver_again(self, signum: int) -> None:
        """After `__exit__`: end as the signal ends a program. Ctrl-C raises KeyboardInterrupt; SIGTERM goes to the
        program's own handler, if it has one, and leaves with exit code 143."""
        if signum == signal.SIGINT:
            raise KeyboardInterrupt
        former = self._former.get(signum)
        if callable(former):
            former(signum, None)
        raise SystemExit(128 + signum)


class Watched:
    """A loader that polls between its batches."""

    def __init__(self, loader: Any, interrupts: Interrupts) -> None:
        self._loader, self._interrupts = loader, interrupts

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            self._interrupts.poll()
            yield batch
