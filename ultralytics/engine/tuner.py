"""The reference's name for a search of hyper-parameters."""

from ultralytics.utils.lazy import later

__getattr__ = later(__name__, {}, {"Tuner": "YOLO(model).tune(data=…, iterations=…), or the command tune"})
