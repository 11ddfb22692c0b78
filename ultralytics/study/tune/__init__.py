"""A search for settings: trials on the val split, each an ordinary run, and the recipe of the best."""

from ultralytics.utils.lazy import later

__getattr__ = later(
    __name__,
    {
        "run_tune": "ultralytics.study.tune.search:run_tune",
        "write_tune_report": "ultralytics.study.tune.report:write_tune_report",
    },
)
