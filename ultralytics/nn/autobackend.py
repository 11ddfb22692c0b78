"""The reference's names for exported models."""

from ultralytics.utils.lazy import later

_NAMES = "the network's `names` are the class names"
__getattr__ = later(
    __name__,
    {"AutoBackend": "ultralytics.models.yolo.weights:AutoBackend"},
    {"check_class_names": _NAMES, "default_class_names": _NAMES},
)
