"""One thing found in a dataset, and how places are named."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from ultralytics.utils.errors import DatasetError

ERROR, WARNING, NOTE = SEVERITIES = "error", "warning", "note"
NAMED = 4  # files named in one finding


class Finding(NamedTuple):
    """One thing found.

    kind: of a row in `rules.RULES`.
    path: a file or folder.
    line: in the file, 0 where the whole of it is meant.
    severity: that of the kind, unless a rule says another.
    """

    kind: str
    path: str
    line: int
    what: str
    severity: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}" if self.line else f"{self.path}: {self.what}"


def short(path: str) -> str:
    """Return a path as it is typed from here: relative when it lies below the working folder."""
    here = os.getcwd() + os.sep
    return path[len(here) :] if path.startswith(here) else path


def with_hint(e: DatasetError) -> str:
    """Return an error's message with its hint, without its place."""
    return e.what + (f" ({e.hint})" if e.hint else "")


def line_of(text: str, key: str) -> int:
    """Return the line of a key at the left margin of a YAML, else of any key so called, else 0."""
    for pattern in (rf"{key}\s*:", rf".*\b{key}['\"]?\s*:"):
        for number, line in enumerate(text.splitlines(), 1):
            if key and re.match(pattern, line):
                return number
    return 0
