"""Worker processes that make batches ahead of time, and a batch's way from one of them to the run.

A worker writes the images of a batch into memory that has no name (a memfd) and the run maps it: nothing is copied, and
no folder such as /dev/shm can be too small for it. Where there is no such memory, or no file handle left, the batch
goes through the worker's pipe. Every worker has a pipe of its own and sends from its main thread: so either a batch
comes, or its error, or the run sees at once that the worker has ended. Nothing waits for a batch that cannot come.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, NoReturn, cast

import cv2
import numpy as np
import torch
from torch import Tensor

from ultralytics.utils.errors import LostWorkerError, UserError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.processes import GUARD, UNGUARDED, WORKER, doing, importable_main, leave_with
from ultralytics.utils.types import Batch

Room = Callable[[int], Tensor]  # bytes → a uint8 tensor of so many, to put the images of a batch in
Make = Callable[[Any, Room], Batch]  # a task and the room for its images → the batch

ALONE = 5.0  # seconds between a worker's looks at whether the run is still there
GRACE = 20  # seconds that a worker lives on after SIGTERM or SIGHUP
LOOK = 0.5  # seconds without a batch between two looks at signals
REPORTED = 30.0  # seconds without a batch between two messages
HEAP = 2**25 - 2**16  # bytes; the largest block that glibc takes for a sign, with room for its own head
CLOSING = 3.0  # seconds that workers have to end on their own
NAMELESS = sys.platform == "linux"  # there is memory without a name; elsewhere torch shares tensors by its own means
HANDLES = 4  # files that the run keeps open for a worker: two pipes and its end of a third, and one while it starts
LESS_MEMORY = "fewer workers=, a smaller batch=, or cache=False"
FEW_HANDLES = "raise the limit on open files, ulimit -n"


class NoWorkersError(UserError):
    """Loader workers cannot be started here."""


@dataclass
class _Worker:
    process: Any
    connection: Connection
    ready: bool = False  # it has begun to work


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
        self.told = "" if rank is None else f"rank {rank}: "
        if _UNGUARDED and self.method != "fork":
            raise NoWorkersError(*_UNGUARDED)
        self._plain = False  # memory cannot be handed over: let the bytes come through the pipe
        self._ticket = 0  # tasks are numbered, so that what an abandoned iteration left is known
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
        """The batches of tasks, in their order: number i comes from worker i modulo their count.

        Raises:
            UserError: of a batch. LostWorkerError: a worker has ended. NoWorkersError: one could not begin.
            RuntimeError: a fault in a worker, with its traceback.
        """
        first, count, sent = self._ticket, len(self._workers), 0
        self._ticket += len(tasks)
        early: Future[Batch] | None = None
        for due, task in enumerate(tasks):
            if not due:
                sent = self._send(tasks, first, 0, self.ahead * count)
            batch = self._pinned(self._receive(due % count, first + due, task)) if early is None else early.result()
            sent = self._send(tasks, first, sent, due + 1 + self.ahead * count)
            early = None
            if self._thread is not None and due + 1 < len(tasks) and self._workers[(due + 1) % count].connection.poll():
                early = self._early((due + 1) % count, first + due + 1, tasks[due + 1])
            yield batch

    def _send(self, tasks: Sequence[Any], first: int, sent: int, limit: int) -> int:
        """Hand out tasks up to a number. They are small: a worker's pipe has room for all that it may have."""
        for i in range(sent, min(limit, len(tasks))):
            with contextlib.suppress(OSError):  # the worker has ended, which is told when its batch is due
                self._workers[i % len(self._workers)].connection.send((first + i, self._plain, tasks[i]))
        return max(sent, min(limit, len(tasks)))

    def _receive(self, number: int, ticket: int, task: Any) -> Batch:
        worker = self._workers[number]
        while True:
            self._wait(worker)
            try:
                kind, found, content = worker.connection.recv()
                worker.ready = True
                batch = _taken(worker.connection, kind, content)
            except (EOFError, ConnectionError):
                self._raise_ended(worker)
            if found == ticket:
                break
        if kind == "error":
            raise content
        if kind == "fault":
            raise RuntimeError(f"a loader worker failed:\n{content}")
        if batch is None:
            self._use_pipes("its memory did not arrive")
            return self.make(task, _plain_room)
        if kind == "bytes" and content.reason:
            self._use_pipes(content.reason)
        return batch

    def _wait(self, worker: _Worker) -> None:
        """Until a worker has something to say.

        Raises:
            LostWorkerError, NoWorkersError: one of them has ended.
        """
        ends = {w.process.sentinel: w for w in self._workers}
        begun = time.monotonic()
        told = 0.0
        while True:
            ready = wait([worker.connection, *ends], LOOK)
            for end in ready:
                if end in ends:
                    self._raise_ended(ends[end])
            if ready:
                return
            waited = time.monotonic() - begun
            self.attend(waited)
            if waited - told >= REPORTED:
                told = waited
                state = doing(worker.process.pid)
                LOGGER.error(  # a warning of a rank that does not lead would not be seen
                    "%sWaiting for a batch of loader worker %d (process %d%s) for %.0f s",
                    self.told,
                    self._workers.index(worker),
                    worker.process.pid,
                    f", {state}" if state else "",
                    waited,
                )

    def _use_pipes(self, reason: str) -> None:
        if not self._plain:
            LOGGER.warning("%sBatches go through pipes from now on, which is slower: %s", self.told, reason)
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
            arguments = theirs, self.make, os.getpid(), self.method == "forkserver"
            process = context.Process(target=_work, args=arguments, daemon=True, name=f"{WORKER} {number}")
            _ENDS.add(ours)
            with importable_main():
                process.start()
        except Exception as e:
            # No processes, handles or memory left; a daemon, which may have no children; something of the user's that
            # cannot be sent to a worker: whatever it is, batches can be made without workers.
            if ours is not None:
                ours.close()
            raise NoWorkersError(f"loader workers cannot start: {_brief(e)}") from e
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
            raise NoWorkersError(f"loader workers cannot start: they end with code {code}, see above")
        raise LostWorkerError(f"{self.told}loader worker {number} (process {pid}) {_how(code)}", mend=_hint(code))

    # Page-locked memory

    def _pinned(self, batch: Batch) -> Batch:
        return batch if self._thread is None else self._thread.submit(pinned, batch).result()

    def _early(self, number: int, ticket: int, task: Any) -> Future[Batch]:
        """A batch that is there already, being put into page-locked memory while the one before it is used."""
        assert self._thread is not None
        try:
            return self._thread.submit(pinned, self._receive(number, ticket, task))
        except Exception as e:  # whatever it is, it comes when this batch is due
            failed: Future[Batch] = Future()
            failed.set_exception(e)
            return failed


_UNGUARDED: list[str] = []  # the error, once a worker has found that the main script has no guard
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


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name}"


def _hint(code: int | None) -> str:
    if code in (-9, -7):  # SIGKILL of the system's, SIGBUS of a memory that could not be had
        return f"most likely the system ran out of memory: {LESS_MEMORY}"
    return "" if code == -signal.SIGTERM else "workers=0 loads in the run itself, and shows where"


def _brief(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


# What a worker does


def _work(connection: Connection, make: Make, run: int, served: bool) -> None:
    """Make batches until the run closes the pipe.

    Args:
        connection: tasks come, and batches go; run: process id; served: a fork server stands between.
    """
    # A run that is killed before the pipe's other end is closed everywhere would leave this process waiting for ever.
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
    _plain_room(HEAP)
    try:
        connection.send(("ready", -1, None))
        while True:
            ticket, plain, task = connection.recv()
            _answer(connection, ticket, plain, make, task)
    except (EOFError, ConnectionError):  # the run needs no more, or has gone
        return


def _leave_soon(*_: object) -> None:
    """SIGTERM in a worker: time for the run to finish its batch, and an end even if it does not."""
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(GRACE)
    else:
        sys.exit(0)


def _answer(connection: Connection, ticket: int, plain: bool, make: Make, task: Any) -> None:
    """Make one batch, and send it or its error."""
    memory = _Memory(plain)
    try:
        batch = make(task, memory.room)
    except UserError as e:
        connection.send(("error", ticket, e))
    except Exception as e:
        if _no_memory(e):
            connection.send(("error", ticket, UserError("a loader worker had no memory left", mend=LESS_MEMORY)))
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


# A batch on its way


@dataclass
class _Parcel:
    """What is told of a batch before its images come.

    Attributes:
        fields: all but the images; shape, strides, size: of the images, which are that many bytes; reason: why they do
        not come as memory.
    """

    fields: dict[str, Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    size: int
    reason: str = ""


class _Memory:
    """Where a worker puts the images of one batch: memory that can be handed over, or else its own.

    Args:
        plain: its own, whatever can be had.
    """

    def __init__(self, plain: bool) -> None:
        self.plain, self.reason = plain, ""
        self.file = -1
        self.images: Tensor | None = None

    def room(self, size: int) -> Tensor:
        """A tensor of so many bytes."""
        if not self.plain and NAMELESS:
            try:
                self.file = _nameless(size)
                self.images = torch.frombuffer(_mapped(self.file, size), dtype=torch.uint8)
                return self.images
            except (OSError, ValueError) as e:
                self.reason = _brief(e)
                self.close()
        self.images = _plain_room(size)
        return self.images

    def send(self, connection: Connection, ticket: int, batch: Batch) -> None:
        """Send a batch: its images as this memory, as torch shares a tensor (where there is no such memory), or as
        bytes."""
        images, flat = batch["img"], self.images
        fields = {k: v.numpy() if isinstance(v, Tensor) else v for k, v in batch.items() if k != "img"}
        parcel = _Parcel(fields, tuple(images.shape), images.stride(), images.numel())
        if flat is None or images.data_ptr() != flat.data_ptr() or len(flat) != images.numel():  # made elsewhere
            self.close()
            flat = images.contiguous().view(-1)
            parcel.strides = images.contiguous().stride()
        if self.file >= 0:
            connection.send(("memory", ticket, parcel))
            self._hand_over(connection)
            return
        if not self.plain and not self.reason:
            try:
                shared = ForkingPickler.dumps(flat)
            except (OSError, RuntimeError) as e:
                self.reason = _brief(e)
            else:
                connection.send(("torch", ticket, parcel))
                connection.send_bytes(shared)
                return
        parcel.reason = self.reason
        connection.send(("bytes", ticket, parcel))
        connection.send_bytes(flat.numpy().data)

    def _hand_over(self, connection: Connection) -> None:
        with _socket_of(connection) as pipe:
            try:
                socket.send_fds(pipe, [b"m"], [self.file])
            except ConnectionError:
                raise
            except OSError:  # too many are under way
                pipe.sendall(b"-")

    def close(self) -> None:
        """Let go of this process's handle."""
        if self.file >= 0:
            os.close(self.file)
        self.file = -1


def _plain_room(size: int) -> Tensor:
    return torch.empty(size, dtype=torch.uint8)


def _nameless(size: int) -> int:
    """An open file in memory, without a name and with room for so many bytes.

    Raises:
        OSError: there is no such memory, or none left.
    """
    try:
        file = os.memfd_create("batch", os.MFD_CLOEXEC)
    except (OSError, AttributeError):  # a container may forbid it
        with tempfile.TemporaryFile(dir="/dev/shm") as opened:
            file = os.dup(opened.fileno())
    try:
        os.posix_fallocate(file, 0, size)  # memory that is not there is told here, not by a signal later
    except OSError:
        os.close(file)
        raise
    return file


def _mapped(file: int, size: int) -> mmap.mmap:
    if sys.version_info >= (3, 13):
        return mmap.mmap(file, size, trackfd=False)
    return mmap.mmap(file, size)  # keeps a handle as long as it lives


@contextlib.contextmanager
def _socket_of(connection: Connection) -> Iterator[socket.socket]:
    """A pipe as the socket it is, without a handle more."""
    pipe = socket.socket(fileno=connection.fileno())
    try:
        pipe.setblocking(True)  # whatever the program has set as a default
        yield pipe
    finally:
        pipe.detach()


def _taken(connection: Connection, kind: str, parcel: Any) -> Batch | None:
    """Read what follows a message, and put the batch together; None where its memory cannot be had.

    Raises:
        EOFError: the worker has ended.
    """
    if kind == "memory":
        file = _received(connection)
        if file < 0:
            return None
        try:
            return _whole(torch.frombuffer(_mapped(file, parcel.size), dtype=torch.uint8), parcel)
        except OSError:
            return None
        finally:
            os.close(file)
    if kind == "bytes":
        images = _plain_room(parcel.size)
        connection.recv_bytes_into(images.numpy())
        return _whole(images, parcel)
    if kind == "torch":
        try:
            return _whole(connection.recv(), parcel)
        except ConnectionError:
            raise
        except (OSError, RuntimeError):
            return None
    return None


def _received(connection: Connection) -> int:
    """The handle of a memory that was sent, or -1."""
    with _socket_of(connection) as pipe:
        said, files, _, _ = socket.recv_fds(pipe, 1, 1)
    if not said:
        raise EOFError
    return files[0] if files else -1


def _whole(images: Tensor, parcel: _Parcel) -> Batch:
    fields = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in parcel.fields.items()}
    return cast(Batch, {"img": images.as_strided(parcel.shape, parcel.strides), **fields})


def pinned(batch: Batch) -> Batch:
    """The batch in page-locked memory, or as it is where none can be had."""
    try:
        return cast(Batch, {k: v.pin_memory() if isinstance(v, Tensor) else v for k, v in batch.items()})
    except RuntimeError:
        return batch


def _gpu() -> tuple[int, ...]:
    return (torch.cuda.current_device(),) if torch.cuda.is_available() else ()


def _use_gpu(*number: int) -> None:
    """A thread begins with the first GPU, and would take memory of it."""
    for n in number:
        torch.cuda.set_device(n)
