"""A batch's way from the worker that made it to the run.

The images lie in memory that has no name (a memfd), which the run maps: nothing is copied, and no folder such as
/dev/shm can be too small for it. Where there is no such memory, or no file handle left, they go through the worker's
pipe.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ultralytics.utils.types import Batch

NAMELESS = sys.platform == "linux"  # there is memory without a name; elsewhere torch shares tensors by its own means


@dataclass
class Parcel:
    """What is said of a batch before its images come."""

    fields: dict[str, Any]  # all but the images
    # shape, strides, size: of the images, which are that many bytes
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    size: int
    reason: str = ""  # why they do not come as memory


class Patient(Connection):
    """A run's end of a worker's pipe. It reads what is there alone, and calls `until` for more: a worker may be stopped
    in the middle of a message, and a system call that reads the rest could not be left."""

    # returns once there is something to read. It may raise; then a message may be half read, and the pipe is of no more
    # use.
    until: Callable[[], object] = int

    def _recv(self, size: int, read: Any = os.read) -> Any:
        def later(handle: int, count: int) -> Any:
            self.until()
            return read(handle, count)

        return super()._recv(size, later)  # type: ignore[misc]  # of every Python, and not in the stubs


class Memory:
    """Where a worker puts the images of one batch: memory that can be handed over, or else its own.

    Args:
        plain: its own, whatever can be had.
    """

    def __init__(self, plain: bool) -> None:
        self.plain, self.reason = plain, ""
        self.file = -1
        self.images: Tensor | None = None

    def room(self, size: int) -> Tensor:
        """Make a tensor of so many bytes."""
        if not self.plain and NAMELESS:
            try:
                self.file = _nameless(size)
                self.images = torch.frombuffer(_mapped(self.file, size), dtype=torch.uint8)
                return self.images
            except (OSError, ValueError) as e:
                self.reason = brief(e)
                self.close()
        self.images = plain_room(size)
        return self.images

    def send(self, connection: Connection, ticket: int, batch: Batch) -> None:
        """Send a batch: its images as this memory, as torch shares a tensor (where there is no such memory), or as
        bytes."""
        images, flat = batch["img"], self.images
        fields = {k: v.numpy() if isinstance(v, Tensor) else v for k, v in batch.items() if k != "img"}
        parcel = Parcel(fields, tuple(images.shape), images.stride(), images.numel())
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
                self.reason = brief(e)
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


def plain_room(size: int) -> Tensor:
    return torch.empty(size, dtype=torch.uint8)


def _nameless(size: int) -> int:
    """Open a file in memory, without a name and with room for so many bytes.

    Raises:
        OSError: there is no such memory, or none left.
    """
    try:
        file = os.memfd_create("batch", os.MFD_CLOEXEC)
    except (OSError, AttributeError):  # a container may forbid it
        with tempfile.TemporaryFile(dir="/dev/shm") as opened:
            file = os.dup(opened.fileno())
    try:
        os.posix_fallocate(file, 0, size)  # a lack of memory is an error here, not a signal later
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
    """Yield a pipe as the socket it is, without a handle more."""
    pipe = socket.socket(fileno=connection.fileno())
    try:
        pipe.setblocking(True)  # whatever the program has set as a default
        yield pipe
    finally:
        pipe.detach()


def taken(connection: Connection, kind: str, parcel: Any) -> Batch | None:
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
        images = plain_room(parcel.size)
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
    """Receive the handle of a memory that was sent, or -1."""
    if isinstance(connection, Patient):
        connection.until()
    with _socket_of(connection) as pipe:
        said, files, _, _ = socket.recv_fds(pipe, 1, 1)
    if not said:
        raise EOFError
    return files[0] if files else -1


def _whole(images: Tensor, parcel: Parcel) -> Batch:
    fields = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in parcel.fields.items()}
    return cast(Batch, {"img": images.as_strided(parcel.shape, parcel.strides), **fields})


def brief(error: BaseException) -> str:
    """Say in a few words what went wrong."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
