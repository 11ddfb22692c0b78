"""Memory that the tensors of a CPU are made of.

The C library asks the kernel for each large block and gives it back when it is freed, and the kernel fills every page
of the next one with zeros. The maps of a network are such blocks: each layer of each batch makes and frees them. Where
they are kept and used again, a training step takes about a twentieth less time and a validation about a tenth
(docs/benchmarks.md). No value depends on it.
"""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3)
# Variables by which the user has chosen already: an option of this C library, or another one in its place.
CHOSEN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES", "LD_PRELOAD")


@functools.cache
def keep_memory() -> None:
    """Keep the memory of freed tensors for the next ones, from here on in this process and those that are forked of it.

    It does nothing where the C library is not GNU's (Windows, macOS, Alpine) or the environment has chosen (`CHOSEN`).
    """
    library = _gnu()
    if library is not None and not any(os.environ.get(name) for name in CHOSEN):
        library.mallopt(M_TRIM_THRESHOLD, -1)
        library.mallopt(M_MMAP_MAX, 0)


def release_memory(kept: int = 0) -> None:
    """Give the memory of freed tensors back to the system: at the end of a run, whose process may go on.

    Args:
        kept: bytes that may stay for the next tensors; where no more are free, nothing happens.
    """
    library = _gnu()
    if library is not None and not (kept and _free_bytes(library) <= kept):
        library.malloc_trim(0)


class _Figures(ctypes.Structure):
    """What mallinfo2(3) returns."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    )


def _free_bytes(library: Any) -> int:
    """Return how much of the main heap is free; 0 where the library cannot tell (before glibc 2.33)."""
    figures = getattr(library, "mallinfo2", None)
    if figures is None:
        return 0
    figures.restype = _Figures
    return int(figures().fordblks)


@functools.cache
def _gnu() -> Any:
    """Return the C library where it is GNU's, else None."""
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows
        return None
    return library if hasattr(library, "gnu_get_libc_version") else None
