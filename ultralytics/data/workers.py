"""Worker processes that make batches ahead of time.

How the images of a batch are handed over is in handover.py. Every worker has a pipe of its own and sends from its main
thread: so either a batch comes, or its error, or the run sees at once that the worker has ended. Nothing waits for a
batch that cannot come.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, NoReturn, cast

import cv2
import torch
from torch import Tensor

from ultralytics.data.handover import Memory, Patient, brief, plain_room, taken
from ultralytics.utils.errors import LostWorkerError, UserError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.processes import (
    GUARD,
    UNGUARDED,
    WORKER,
    doing,
    importable_main,
    leave_with,
    signal_name,
    unguarded_line,
)
from ultralytics.utils.types import Batch

Room = Callable[[int], Tensor]  # bytes → a uint8 tensor of so many, to put the images of a batch in
Make = Callable[[Any, Room], Batch]  # a task and the room for its images → the batch

ALONE = 5.0  # seconds between a worker's looks at whether the run is still there
GRACE = 20  # seconds that a worker lives on after SIGTERM or SIGHUP
LOOK = 0.5  # seconds without a batch between two looks at signals
REPORTED = 30.0  # seconds without a batch between two messages
HEAP = 2**25 - 2**16  # bytes; the largest block that glibc takes for a sign, with room for its own head
CLOSING = 3.0  # seconds that workers have to end on their own
HANDLES = 4  # files that the run keeps open for a worker: two pipes and its end of a third, and one while it starts
LESS_MEMORY = "fewer workers=, a smaller batch=, or cache=False"
FEW_HANDLES = "raise the limit on open files, ulimit -n"


class NoWorkersError(UserError):
    """Loader workers cannot be started here."""


@dataclass
class _Worker:
    process: Any
    connection: Any  # a Patient connection, or Windows' own class
    ready: bool = False  # it has begun to work
    waiting: deque[tuple[int, Any]] = field(default_factory=deque)  # tickets and tasks it has not been given yet
    given: int = 0  # tasks it has been given and not answered


class Workers:
    """Processes that make batches, until they are closed.

    Args:
        make: makes a batch; goes to the workers. count: of workers.
        ahead: batches that each may have made before they are asked for.
        method: how processes start: fork, spawn, forkserver, or what Python or the user has chosen.
        attend: is called every half second while no batch comes, with the seconds waited; it may raise.
        pin: put batches into page-locked memory, which a GPU copies from by itself.
        rank: of this process, for messages.
    """

    def __init__(
        self,
        make: Make,
        count: int,
        ahead: int = 4,
        method: str | None = None,
        attend: Callable[[float], object] = id,
        pin: bool = False,
        rank: int | None = None,
    ) -> None:
        self.make, self.ahead, self.attend = make, ahead, attend
        self.method = method or multiprocessing.get_start_method()
        self.prefix = "" if rank is None else f"rank {rank}: "
        if self.method != "fork":
            _UNGUARDED[:] = _UNGUARDED or _unguarded()
        if _UNGUARDED and self.method != "fork":
            raise NoWorkersError(*_UNGUARDED)
        self._plain = False  # memory cannot be handed over: let the bytes come through the pipe
        self._ticket = 0  # tasks are numbered, over all iterations
        self._live: list[range] = []  # tickets of the iterations under way
        self._kept: dict[int, tuple[str, Any, Batch | None]] = {}  # answers that another iteration will ask for
        self._workers: list[_Worker] = []
        self._thread = ThreadPoolExecutor(1, initializer=_use_gpu, initargs=_gpu()) if pin else None
        self._end = weakref.finalize(self, _end, self._workers, os.getpid())
        try:
            for number in range(count):
                self._workers.append(self._start(number))
        except BaseException:
            self.close()
            raise

    @property
    def pids(self) -> list[int]:
        """Process ids."""
        return [w.process.pid for w in self._workers]

    def close(self) -> None:
        """End the workers now."""
        self._end()
        if self._thread is not None:
            self._thread.shutdown(wait=False)

    def batches(self, tasks: Sequence[Any]) -> Iterator[Batch]:
        """Yield the batches of tasks, in their order: number i comes from worker i modulo their count.

        Raises:
            UserError: of a batch. LostWorkerError: a worker has ended. NoWorkersError: one could not begin.
            RuntimeError: a fault in a worker, with its traceback.
        """
        count = len(self._workers)
        tickets = range(self._ticket, self._ticket + len(tasks))
        self._ticket += len(tasks)
        self._live.append(tickets)
        early: Future[Batch] | None = None
        try:
            for i, task in enumerate(tasks):
                self._workers[i % count].waiting.append((tickets[i], task))
            for worker in self._workers:
                self._give(worker)
            for due, task in enumerate(tasks):
                batch = (
                    self._pinned(self._receive(due % count, tickets[due], task)) if early is None else early.result()
                )
                early = None
                following = (due + 1) % count
                if self._thread is not None and due + 1 < len(tasks) and self._workers[following].connection.poll():
                    early = self._early(following, tickets[due + 1], tasks[due + 1])
                yield batch
        finally:  # also where the iteration is left before its end
            self._live.remove(tickets)
            self._kept = {k: v for k, v in self._kept.items() if k not in tickets}
            for worker in self._workers:
                worker.waiting = deque(w for w in worker.waiting if w[0] not in tickets)

    def _give(self, worker: _Worker) -> None:
        """Hand out tasks. They are small, and a worker has no more of them at a time than its pipe has room for, so
        this never waits."""
        while worker.waiting and worker.given < self.ahead:
            ticket, task = worker.waiting.popleft()
            worker.given += 1
            with contextlib.suppress(OSError):  # the worker has ended, which is said when its batch is due
                worker.connection.send((ticket, self._plain, task))

    def _receive(self, number: int, ticket: int, task: Any) -> Batch:
        worker = self._workers[number]
        while ticket not in self._kept:
            self._wait(worker)
            worker.connection.until = lambda: self._wait(worker)
            try:
                kind, found, content = worker.connection.recv()
                worker.ready = True
                batch = taken(worker.connection, kind, content)
            except (EOFError, ConnectionError):
                self._raise_ended(worker)
            except BaseException:  # a signal asked the run to leave in the middle of a message
                self.close()
                raise
            finally:
                worker.connection.until = int  # what held it would hold the workers
            if found < 0:  # it has begun
                continue
            worker.given -= 1
            self._give(worker)
            if any(found in tickets for tickets in self._live):  # else its iteration was left
                self._kept[found] = kind, content, batch
        kind, content, batch = self._kept.pop(ticket)
        if kind == "error":
            raise content
        if kind == "fault":
            raise RuntimeError(f"a loader worker failed:\n{content}")
        if batch is None:
            self._use_pipes("its memory did not arrive")
            return self.make(task, plain_room)
        if kind == "bytes" and content.reason:
            self._use_pipes(content.reason)
        return batch

    def _wait(self, worker: _Worker) -> None:
        """Wait until a worker has something to say.

        Raises:
            LostWorkerError, NoWorkersError: one of them has ended.
        """
        ends = {w.process.sentinel: w for w in self._workers}
        begun = time.monotonic()
        reported = 0.0
        while True:
            ready = wait([worker.connection, *ends], LOOK)
            for end in ready:
                if end in ends:
                    self._raise_ended(ends[end])
            if ready:
                return
            waited = time.monotonic() - begun
            self.attend(waited)
            if waited - reported >= REPORTED:
                reported = waited
                state = doing(worker.process.pid)
                LOGGER.error(  # a warning of a rank that does not lead would not be seen
                    "%sWaiting for a batch of loader worker %d (process %d%s) for %.0f s",
                    self.prefix,
                    self._workers.index(worker),
                    worker.process.pid,
                    f", {state}" if state else "",
                    waited,
                )

    def _use_pipes(self, reason: str) -> None:
        if not self._plain:
            LOGGER.warning("%sBatches go through pipes from now on, which is slower: %s", self.prefix, reason)
        self._plain = True

    # The start and the end of a worker

    def _start(self, number: int) -> _Worker:
        context: Any = multiprocessing.get_context(self.method)
        if self.method == "forkserver" and getattr(forkserver._forkserver, "_preload_modules", None) == ["__main__"]:
            # Unless the user has chosen otherwise the server imports what all workers need, and not the user's script,
            # which each of them imports on its own anyhow.
            context.set_forkserver_preload(["ultralytics.data.build"])
        ours = theirs = None
        try:
            ours, theirs = context.Pipe()
            if isinstance(ours, Connection):  # not on Windows, where pipes are another class
                plain, ours = ours, Patient(os.dup(ours.fileno()))
                plain.close()
            first = _First(self.make)
            arguments = theirs, first, os.getpid(), self.method == "forkserver"
            process = context.Process(target=_work, args=arguments, daemon=True, name=f"{WORKER} {number}")
            _ENDS.add(ours)
            with importable_main():
                process.start()
            theirs.close()
            if first.content:
                with contextlib.suppress(OSError):  # it has ended, which is said when its first batch is due
                    ours.send_bytes(first.content)
        except Exception as e:
            # No processes, handles or memory left; a daemon, which may have no children; something of the user's that
            # cannot be sent to a worker: whatever it is, batches can be made without workers.
            if ours is not None:
                ours.close()
            raise NoWorkersError(f"loader workers cannot start: {brief(e)}") from e
        finally:
            if theirs is not None:
                theirs.close()
        return _Worker(process, ours)

    def _raise_ended(self, worker: _Worker) -> NoReturn:
        self.attend(0.0)  # a signal to the whole group may have ended it: then the run was asked to stop
        worker.process.join(1)
        code = worker.process.exitcode
        number, pid, forked = self._workers.index(worker), worker.process.pid, self.method == "fork"
        self.close()
        if code == UNGUARDED:
            main = getattr(sys.modules["__main__"], "__file__", None) or "the main script"
            _UNGUARDED[:] = f"{main} starts anew in every worker that imports it", "", GUARD
            raise NoWorkersError(*_UNGUARDED)
        if not worker.ready and not forked and (code is None or code >= 0):
            main = getattr(sys.modules["__main__"], "__file__", None) or "the main script"
            text = f"loader workers cannot start: they end with code {code} (see above) where they import {main}"
            _UNGUARDED[:] = text, "", GUARD
            raise NoWorkersError(*_UNGUARDED)
        raise LostWorkerError(
            f"{self.prefix}loader worker {number} (process {pid}) {_how_ended(code)}", hint=_hint(code)
        )

    # Page-locked memory

    def _pinned(self, batch: Batch) -> Batch:
        return batch if self._thread is None else self._thread.submit(pinned, batch).result()

    def _early(self, number: int, ticket: int, task: Any) -> Future[Batch]:
        """Put a batch that is there already into page-locked memory while the one before it is used."""
        assert self._thread is not None
        try:
            return self._thread.submit(pinned, self._receive(number, ticket, task))
        except Exception as e:  # whatever it is, it comes when this batch is due
            failed: Future[Batch] = Future()
            failed.set_exception(e)
            return failed


_UNGUARDED: list[str] = []  # the error, once workers could not import the main script: it has no guard, or fails


def _unguarded() -> list[str]:
    """Return the error for a main script that would fail or start anew where a worker imports it, and print a
    traceback; empty where that cannot be seen from here."""
    where = unguarded_line()
    return [f"{where}: this would start anew in every worker that imports it", "", GUARD] if where else []


# A forked process must not hold the run's ends of the pipes: workers would not see that the run has ended.
_ENDS: weakref.WeakSet[Connection] = weakref.WeakSet()


def _close_ends() -> None:
    for connection in list(_ENDS):
        connection.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_ends)


def _end(workers: list[_Worker], owner: int) -> None:
    if os.getpid() != owner:  # a forked process has a copy of the list
        return
    for w in workers:
        w.connection.close()  # they read an end of file, and leave
    last = time.monotonic() + CLOSING
    for w in workers:
        w.process.join(max(last - time.monotonic(), 0))
    for w in workers:
        if w.process.is_alive():  # stopped, or stuck
            w.process.kill()
            w.process.join()


def _how_ended(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with code {code}"
    return f"was ended by {signal_name(-code)}"


def _hint(code: int | None) -> str:
    if code in (-9, -7):  # SIGKILL of the system's, SIGBUS of a memory that could not be had
        return f"most likely the system ran out of memory: {LESS_MEMORY}"
    return "" if code == -signal.SIGTERM else "workers=0 loads in the run itself, and shows where"


# What a worker does


class _First:
    """What a worker is started with, unless it is forked.

    Python writes that into a pipe of which it holds both ends: with more than the pipe takes, it waits forever for a
    process that ended before it read. So only open files go that way, and the rest by our pipe, which ends with the
    worker.
    """

    def __init__(self, make: Make | None) -> None:
        self.make, self.content = make, b""

    def __reduce__(self) -> tuple[Any, ...]:
        self.content = bytes(ForkingPickler.dumps(self.make))  # now, while Python notes which files go along
        return _First, (None,)


def _work(connection: Connection, first: _First, run: int, served: bool) -> None:
    """Make batches until the run closes the pipe.

    Args:
        connection: tasks come, and batches go.
        first: makes them.
        run: process id.
        served: a fork server stands between.
    """
    # A run that is killed before the pipe's other end is closed everywhere would leave this process waiting forever.
    leave_with(run, ALONE, served=served)
    # A signal to the whole group means the run, which goes on to the end of its batch and then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) != signal.SIG_IGN:
            signal.signal(getattr(signal, name), _leave_soon)
    gc.freeze()  # a collection would write to every object that came from the run, and so make copies of their pages
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    # glibc hands freed memory back to the system by batches, and has it zeroed page by page again for the next one,
    # until a large block has been freed once.
    plain_room(HEAP)
    try:
        make = first.make or connection.recv()
        connection.send(("ready", -1, None))
        while True:
            ticket, plain, task = connection.recv()
            _answer_task(connection, ticket, plain, make, task)
    except (EOFError, ConnectionError):  # the run needs no more, or has gone
        return


def _leave_soon(*_: object) -> None:
    """SIGTERM in a worker: time for the run to finish its batch, and an end even if it does not."""
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(GRACE)
    else:
        sys.exit(0)


def _answer_task(connection: Connection, ticket: int, plain: bool, make: Make, task: Any) -> None:
    """Make one batch, and send it or its error."""
    memory = Memory(plain)
    try:
        batch = make(task, memory.room)
    except UserError as e:
        connection.send(("error", ticket, e))
    except Exception as e:
        if _no_memory(e):
            connection.send(("error", ticket, UserError("a loader worker had no memory left", hint=LESS_MEMORY)))
        else:
            connection.send(("fault", ticket, traceback.format_exc()))
    else:
        memory.send(connection, ticket, batch)
    finally:
        memory.close()


def _no_memory(error: BaseException) -> bool:
    if isinstance(error, cv2.error):
        return getattr(error, "code", 0) == -4  # StsNoMem
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)


# Page-locked memory


def pinned(batch: Batch) -> Batch:
    """Put a batch into page-locked memory, or leave it as it is where none can be had."""
    try:
        return cast(Batch, {k: v.pin_memory() if isinstance(v, Tensor) else v for k, v in batch.items()})
    except RuntimeError:
        return batch


def _gpu() -> tuple[int, ...]:
    return (torch.cuda.current_device(),) if torch.cuda.is_available() else ()


def _use_gpu(*number: int) -> None:
    """Begin a thread on its GPU: by itself it would take memory of the first."""
    for n in number:
        torch.cuda.set_device(n)
