"""Names of the reference that are resolved when they are asked for: those of a later room, and those not offered."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from ultralytics.utils.errors import UserError


def later(module: str, places: Mapping[str, str], not_offered: Mapping[str, str] | None = None) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module.

    Args:
        module: its name; submodules of a package are found as well.
        places: name → "module:name" or "module".
        not_offered: name → what to use instead; see `absent`.
    """

    def find(name: str) -> Any:
        if name in places:
            home, _, attribute = places[name].partition(":")
            found: Any = importlib.import_module(home)
            found = getattr(found, attribute) if attribute else found
        elif name in (not_offered or {}):
            found = absent(name, (not_offered or {})[name], module)
        elif _is_submodule(module, name):
            return importlib.import_module(f"{module}.{name}")
        else:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        setattr(sys.modules[module], name, found)
        return found

    return find


def _is_submodule(module: str, name: str) -> bool:
    package = "__path__" in vars(sys.modules[module]) and not name.startswith("_")
    return package and importlib.util.find_spec(f"{module}.{name}") is not None


@functools.cache
def absent(name: str, instead: str, module: str = "ultralytics") -> type:
    """Return a name that is not offered: it can be imported and used in `isinstance`, and a call says what to use.

    Attributes of the class:
        not_offered: what to use instead.
    """

    def refuse(cls: type, *_: Any, **__: Any) -> NoReturn:
        raise UserError(f"{name} is not offered", hint=instead)

    doc = f"Not offered: {instead}."
    return type(name, (), {"__new__": refuse, "__module__": module, "__doc__": doc, "not_offered": instead})


def resolve(place: str) -> Any:
    """Return the object at "module:name", of a later room where a call needs it."""
    home, _, attribute = place.partition(":")
    return getattr(importlib.import_module(home), attribute)


def no_such_member(members: Mapping[str, str]) -> Callable[[Any, str], NoReturn]:
    """Return the `__getattr__` of a class of the reference that lacks some of its members here.

    Args:
        members: name → what to use instead.
    """

    def refuse(self: Any, name: str) -> NoReturn:
        kind = type(self).__name__
        if name in members:
            raise AttributeError(f"{kind}.{name} is not offered ({members[name]})")
        raise AttributeError(f"{kind!r} object has no attribute {name!r}")

    refuse.members = members  # type: ignore[attr-defined]  # what docs/compatibility.md lists
    return refuse
