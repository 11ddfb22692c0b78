"""Ctrl-C, SIGTERM and SIGHUP (the terminal is gone) while a run trains: finish the batch under way, save, leave."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

SIGNALS = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
OTHERS = 10.0  # seconds that a rank waits for a batch of its own before it leaves without the others


class StopRequest(BaseException):  # no Exception: a callback that swallows those must not swallow this
    """A signal asks the run to leave.

    Attributes:
        signum: the signal; agreed: all processes of the run leave at this place. Otherwise there is nothing that they
        could do together, such as to save.
    """

    def __init__(self, signum: int, agreed: bool = True) -> None:
        super().__init__(signum)
        self.signum, self.agreed = signum, agreed


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

    def attend(self, waited: float, many: bool = False) -> None:
        """Raise StopRequest if a signal has come while a batch is waited for, which may never come.

        Args:
            waited: seconds; many: other processes take part in the run. They stop together, after a batch, so one that
            waits for its own gives it some time.
        """
        if self.pending is not None and (not many or waited >= OTHERS):
            raise StopRequest(self.pending, agreed=not many)

    def deliver_again(self, signum: int) -> None:
        """After `__exit__`: end as the signal ends a program. Ctrl-C raises KeyboardInterrupt; SIGTERM and
        SIGHUP go to the program's own handler, if it has one, and leave with exit code 143 or 129."""
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
