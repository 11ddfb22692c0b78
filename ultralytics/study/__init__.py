"""Studies: arms × seeds under one recipe, and what their figures can show."""

from ultralytics.utils.lazy import later

__getattr__ = later(
    __name__,
    {
        "run_study": "ultralytics.study.runner:run_study",
        "compare_runs": "ultralytics.study.comparing:compare_runs",
        "write_report": "ultralytics.study.report:write_report",
    },
)
