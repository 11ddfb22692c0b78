"""The events that functions can be called at, under the reference's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ultralytics.utils.lazy import resolve


def get_default_callbacks() -> dict[str, list[Callable[..., object]]]:
    """No functions at any event; an event that there is not is an error with the nearest name."""
    made: dict[str, list[Callable[..., object]]] = resolve("ultralytics.engine.callbacks:Callbacks")()
    return made


def add_integration_callbacks(instance: Any) -> None:
    """Do nothing: no logger is attached by itself; `log=` names those of a run."""


def __getattr__(name: str) -> Any:
    """`default_callbacks`, and a function without effect for each event, as in the reference."""
    if name == "default_callbacks":
        return get_default_callbacks()
    if name in get_default_callbacks():
        return _nothing
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Do nothing at an event."""
