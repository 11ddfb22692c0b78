"""YOLOv8 detection with Focused Linear Attention: train, validate and predict.

`from ultralytics import YOLO` is enough for most uses; torch is imported with it, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ultralytics.models.yolo.model import YOLO

__version__ = "0.1.0"
REFERENCE_VERSION = "8.2.103"  # the ultralytics release whose interface, formats and numbers this project keeps
__all__ = ["REFERENCE_VERSION", "YOLO", "__version__"]


def __getattr__(name: str) -> object:
    if name == "YOLO":
        from ultralytics.models.yolo.model import YOLO  # torch takes seconds to import

        return YOLO
    raise AttributeError(f"module 'ultralytics' has no attribute {name!r}")
