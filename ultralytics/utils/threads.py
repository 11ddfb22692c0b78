"""The number of threads that torch computes with, which is the whole program's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


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
