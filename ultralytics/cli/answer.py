"""What a command was asked for, on standard output."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

from ultralytics.utils import console, events
from ultralytics.utils.errors import UserError
from ultralytics.utils.log import LOGGER, output
from ultralytics.utils.text import printable


class ReaderLeftError(Exception):
    """Whoever read the output has closed it (`… | head`)."""


def answer(text: str) -> None:
    """Print an answer. Unlike a message it must arrive.

    Raises:
        ReaderLeftError: nobody wants it any more.
        UserError: it cannot be written.
    """
    if output() == "json":
        events.emit("result", text=text)
        return
    try:
        console.write(f"{printable(text)}\n", sys.stdout)
    except BrokenPipeError:
        raise ReaderLeftError from None
    except OSError as e:
        if os.name == "nt" and e.errno == errno.EINVAL:  # how Windows reports a closed pipe
            raise ReaderLeftError from None
        raise UserError(f"the output cannot be written: {e.strerror or e}", "standard output") from None


def finished(text: str, **fields: Any) -> None:
    """Log what a command has made, which is its result: with `--quiet` the text alone, with `--json` the fields too."""
    LOGGER.info("%s", text)
    events.emit("result", text=text, **fields)
