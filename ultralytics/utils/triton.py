"""The reference's name for models on a Triton server."""

from ultralytics.utils.lazy import later

__getattr__ = later(__name__, {}, {"TritonRemoteModel": "YOLO(weights) predicts in this process"})
