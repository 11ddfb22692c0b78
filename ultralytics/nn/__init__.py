"""The network under the reference's import path."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ultralytics.nn.tasks import DetectionModel

__all__ = ["DetectionModel"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from ultralytics.nn import tasks  # torch takes seconds to import, and parts of this room do without it

        return getattr(tasks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
