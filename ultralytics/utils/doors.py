"""Names that the reference has in one room and this project, whose rooms import in one direction, further right."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping


def door(module: str, leads: Mapping[str, str]) -> Callable[[str], object]:
    """A module's `__getattr__` that finds such names where they are, when they are asked for.

    Args:
        module: its name; leads: name → "module:name".
    """

    def find(name: str) -> object:
        if name not in leads:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        place, _, there = leads[name].partition(":")
        return getattr(importlib.import_module(place), there)

    return find
