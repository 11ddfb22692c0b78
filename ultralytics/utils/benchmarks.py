"""The reference's names for benchmarks of exported models."""

from ultralytics.utils.lazy import later

__getattr__ = later(
    __name__,
    {},
    {
        "benchmark": "scripts/benchmark.sh times training and prediction",
        "ProfileModels": "scripts/benchmark.sh times prediction, YOLO(...).info() counts operations",
        "RF100Benchmark": "fetch the data sets, and train on each",
    },
)
