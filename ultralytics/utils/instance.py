"""The reference's names for boxes with polygons and key points."""

from ultralytics.utils.lazy import later

_ARRAYS = "boxes are arrays (n, 4): utils.ops converts their formats"
__getattr__ = later(__name__, {}, dict.fromkeys(("Bboxes", "Instances", "to_2tuple", "to_4tuple"), _ARRAYS))
