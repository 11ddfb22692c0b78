"""YOLOv8 detection with Focused Linear Attention: train, validate and predict.

`from ultralytics import YOLO` is enough for most uses; torch is imported with it, not before.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ultralytics.models.yolo.model import YOLO

__version__ = "0.1.0"
REFERENCE_VERSION = "8.2.103"  # the ultralytics release whose interface, formats and numbers this project keeps
__all__ = ["REFERENCE_VERSION", "YOLO", "__version__"]

# OpenCV's own bound on the pixels of an image, read when it is imported. `utils.images` asks the headers of the common
# kinds; this holds for all others that OpenCV decodes.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "500000000")


def __getattr__(name: str) -> object:
    if name == "YOLO":
        from ultralytics.models.yolo.model import YOLO  # torch takes seconds to import

        return YOLO
    raise AttributeError(f"module 'ultralytics' has no attribute {name!r}")
