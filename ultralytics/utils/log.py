"""One logger, one progress bar."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

from ultralytics.utils.text import printable

T = TypeVar("T")
LOGGER = logging.getLogger("ultralytics")
_silent = False


class _Console(logging.StreamHandler):  # type: ignore[type-arg]  # generic only in the stubs
    """Writes to the stdout of the moment (a test or a notebook may replace it), above any progress bar. Control
    characters, which names in a stranger's files may hold, are escaped."""

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(file=sys.stdout):
            print(printable(self.format(record)), file=sys.stdout, flush=True)


def setup_console(verbose: bool = True) -> None:
    """Send the project's messages to standard output, once; `verbose=False` keeps only warnings."""
    if not any(isinstance(h, _Console) for h in LOGGER.handlers):
        LOGGER.addHandler(_Console())
        LOGGER.propagate = False
    LOGGER.setLevel(logging.ERROR if _silent else logging.INFO if verbose else logging.WARNING)


def silence() -> None:
    """No messages and bars of this process from now on: another one tells them."""
    global _silent
    _silent = True
    LOGGER.setLevel(logging.ERROR)


def progress(iterable: Iterable[T] | None = None, **kwargs: Any) -> Any:
    """A tqdm bar that shows time left, and is quiet when the output is no terminal."""
    kwargs.setdefault("disable", _silent or None)  # None: only where stderr is no terminal
    kwargs.setdefault("dynamic_ncols", True)
    kwargs.setdefault("file", sys.stderr)
    return tqdm(iterable, **kwargs)
