"""The reference's name for a search of hyper-parameters."""

from ultralytics.utils.lazy import later

_TUNE = "YOLO(model).tune(data=…, iterations=…), or the command tune"
_TASKS = ("TASK2DATA", "TASK2METRIC")
__getattr__ = later(__name__, {name: f"ultralytics.cfg.reference:{name}" for name in _TASKS}, {"run_ray_tune": _TUNE})
