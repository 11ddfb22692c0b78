"""The reference's names for benchmarks of exported models."""

from ultralytics.utils.lazy import later

_TASKS = ("TASK2DATA", "TASK2METRIC")
__getattr__ = later(
    __name__,
    {
        **{name: f"ultralytics.cfg.reference:{name}" for name in _TASKS},
        "benchmark": "ultralytics.models.yolo.run:benchmark",
        "IS_PYTHON_3_12": "ultralytics.utils.environment:IS_PYTHON_3_12",
    },
    {
        "ProfileModels": "`benchmark` measures a network, YOLO(...).info() counts operations",
        "RF100Benchmark": "fetch the datasets, and train on each",
    },
)
