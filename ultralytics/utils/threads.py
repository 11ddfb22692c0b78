"""The number of threads that torch computes with, which is the whole program's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

READERS = 16  # threads at files, at most: more make no disk faster


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def readers(most: int = READERS) -> int:
    """Return with how many threads files are read and written at a time."""
    return min(cores(), most)


@contextlib.contextmanager
def kept_threads() -> Iterator[None]:
    """Leave the number of threads as it was."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """For many small operations: on a busy machine several threads would wait for each other in each of them, and take
    seconds for what one does in a moment."""
    with kept_threads():
        torch.set_num_threads(1)
        yield
