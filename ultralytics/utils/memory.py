"""Memory that the tensors of a CPU are made of.

The C library asks the kernel for each large block and gives it back when it is freed, and the kernel fills every page
of the next one with zeros. The maps of a network are such blocks: each layer of each batch makes and frees them. Where
they are kept and used again, a training step takes a tenth less time and a validation a fifth (docs/benchmarks.md). No
value depends on it.
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
    """Keep the memory of freed tensors for the next ones, from here on in this process and its children.

    It does nothing where the C library is not GNU's (Windows, macOS, Alpine) or the environment has chosen (`CHOSEN`).
    """
    library = _gnu()
    if library is not None and not any(os.environ.get(name) for name in CHOSEN):
        library.mallopt(M_TRIM_THRESHOLD, -1)
        library.mallopt(M_MMAP_MAX, 0)


def release_memory() -> None:
    """Give the memory of freed tensors back to the system: at the end of a run, whose process may go on."""
    library = _gnu()
    if library is not None:
        library.malloc_trim(0)


@functools.cache
def _gnu() -> Any:
    """Return the C library where it is GNU's, else None."""
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows
        return None
    return library if hasattr(library, "gnu_get_libc_version") else None
