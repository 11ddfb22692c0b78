"""The models under the reference's import path."""

from ultralytics.models.yolo.model import YOLO
from ultralytics.utils.lazy import later

__all__ = ["YOLO"]
_OTHERS = ("FastSAM", "NAS", "RTDETR", "SAM", "YOLOWorld")
__getattr__ = later(__name__, {name: f"ultralytics:{name}" for name in _OTHERS})
