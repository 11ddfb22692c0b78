"""The reference's name for a search of hyper-parameters."""

from ultralytics.utils.lazy import later

_TRAIN = "run train with several values and compare their results.csv"
__getattr__ = later(__name__, {}, {"run_ray_tune": _TRAIN})
