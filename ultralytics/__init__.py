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


_SAM = 'it segments by prompts: YOLO("yolov8n-seg.pt") segments by classes'
_HOMES = {
    "YOLO": "ultralytics.models.yolo.model:YOLO",
    "ASSETS": "ultralytics.utils.environment:ASSETS",
    "SETTINGS": "ultralytics.cfg.reference:SETTINGS",
    "settings": "ultralytics.cfg.reference:SETTINGS",
    "checks": "ultralytics.utils.checks:check_yolo",
}
_NOT_OFFERED = {
    "Explorer": "`show` draws images of a dataset, `check-data` examines it",
    "FastSAM": _SAM,
    "NAS": "YOLO(model) detects with YOLOv8 and its relatives",
    "RTDETR": "YOLO(model) detects with YOLOv8 and its relatives",
    "SAM": _SAM,
    "YOLOWorld": "classes are those of the training: YOLO(model)",
    "download": "fetch the file with a browser or curl, and give its path; datasets: `prepare KIND download=True`",
}


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(f"module 'ultralytics' has no attribute {name!r}")
    from ultralytics.utils.lazy import later  # `import ultralytics` alone imports nothing

    return later("ultralytics", _HOMES, _NOT_OFFERED)(name)
