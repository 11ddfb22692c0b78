"""Loaders under the reference's import path."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ultralytics.data.build import build_dataloader, build_yolo_dataset

__all__ = ["build_dataloader", "build_yolo_dataset"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from ultralytics.data import build  # torch takes seconds to import, and parts of this room do without it

        return getattr(build, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
