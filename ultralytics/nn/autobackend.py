"""The reference's names for exported models."""

from ultralytics.utils.lazy import later

_WEIGHTS = "YOLO(weights) predicts; nn.tasks.attempt_load_weights(weights) is the network"
_NAMES = "the network's `names` are the class names"
__getattr__ = later(__name__, {}, {"AutoBackend": _WEIGHTS, "check_class_names": _NAMES, "default_class_names": _NAMES})
