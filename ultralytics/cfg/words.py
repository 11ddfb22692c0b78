"""Words of a command line as data; nothing is evaluated."""

from __future__ import annotations

import re
from typing import Any

INTEGER = re.compile(r"[-+]?\d+")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
# Between commas; those in quotes that a part begins with, or in a list within the list, separate nothing.
_PART = re.compile(r"""\s*\[[^][]*\]\s*(?=,|$)|\s*"[^"]*"\s*(?=,|$)|\s*'[^']*'\s*(?=,|$)|[^,]+""")
_NAME = re.compile(r"""\s*("[^"]*"\s*|'[^']*'\s*|[^,]*)(?:,|$)""")


def parse_value(text: str) -> Any:
    """Read a word as none, true, false, a number or a [list], else as text."""
    word = text.strip()
    lower = word.lower()
    if lower in ("none", "null", ""):
        return None
    if lower in ("true", "false"):
        return lower == "true"
    if INTEGER.fullmatch(word):
        return int(word)
    if NUMBER.fullmatch(word):
        return float(word)
    if word.startswith(("[", "(")) and word.endswith(("]", ")")):
        return [parse_value(part) for part in _PART.findall(word[1:-1]) if part.strip()]
    return unquoted(word)


def unquoted(word: str) -> str:
    """Return a word without the quotes around it."""
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"" else word


def split_names(text: str) -> list[str]:
    """Read the names in "a,b" or "[a,b]"; quotes around a name go, and commas within them separate nothing."""
    inner = text[1:-1] if text.startswith(("[", "(")) and text.endswith(("]", ")")) else text
    return [unquoted(word) for part in _NAME.findall(inner) if (word := part.strip())]
