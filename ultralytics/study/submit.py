"""A study on a SLURM cluster: tasks that share it, through submitit (an extra: pip install submitit)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultralytics.cfg.knob import check_whole
from ultralytics.cfg.paths import CLONE
from ultralytics.study.plan import read_study
from ultralytics.study.runner import complaint, run_study, study_folder
from ultralytics.utils import events
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.log import LOGGER, setup_console

CLUSTERS = ("slurm", "local")
HOURS = 24.0


@dataclass(frozen=True)
class Task:
    """What a task of the cluster does: it takes runs of the study until none is left for it."""

    # cfg, out: the study's YAML and folder
    cfg: str
    out: str
    fair: bool  # as of `run_study`

    def __call__(self) -> str:
        """Run; returns what has failed, "" for nothing."""
        return str(complaint(run_study(self.cfg, self.out, fair=self.fair)) or "")

    def checkpoint(self) -> Any:
        """Say what the cluster is to start when the task's time is up: the same, which goes on."""
        from submitit.helpers import DelayedSubmission  # an extra

        return DelayedSubmission(self)


@contextlib.contextmanager
def _importable() -> Iterator[None]:
    """Let processes that are started or submitted within this find the package, wherever it lies."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(CLONE), *filter(None, [before])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def submit_study(
    cfg: str | Path,
    out: str | Path | None = None,
    jobs: int | None = None,
    fair: bool = True,
    cluster: str = "slurm",
    partition: str | None = None,
    gpus: int = 1,
    hours: float = HOURS,
) -> list[str]:
    """Submit a study to a cluster, whose machines must see its folder, the data and this project at the same paths;
    returns the tasks' ids.

    The options are those of the command `study`; without `jobs` there is a task for each run, and `cluster` may be
    local for tasks on this machine. Environment variables of sbatch, such as SBATCH_ACCOUNT, are further options.

    Raises:
        UserError: submitit is not there, or the study cannot be run.
    """
    setup_console()
    try:
        import submitit  # an extra
    except ImportError:
        raise ConfigError("submit= needs the package submitit", hint="pip install submitit") from None
    if cluster not in CLUSTERS:
        raise ConfigError(f"submit={cluster} is not possible", hint=f"one of {', '.join(CLUSTERS)}")
    check_whole({"jobs": jobs}, 1)
    check_whole({"gpus": gpus}, 0)
    if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours <= 24 * 365:
        raise ConfigError(f"hours={hours} must be a number above 0")
    study = read_study(cfg)  # a mistake is reported here, not by each task
    if study.tune is not None:
        hint = "run it on one machine, with devices= or jobs="
        raise ConfigError("a study that tunes its arms cannot be submitted: each trial waits for others", hint=hint)
    folder = study_folder(study, out)
    count = min(jobs or len(study.runs()), len(study.runs()))
    executor = submitit.AutoExecutor(folder=folder / "tasks", cluster=cluster)
    asked: dict[str, Any] = {"name": f"study-{study.name}", "timeout_min": max(round(hours * 60), 1)}
    if cluster == "slurm":
        asked |= {"slurm_array_parallelism": count, "gpus_per_node": gpus}
        asked |= {"slurm_partition": partition} if partition else {}
    executor.update_parameters(**asked)
    with _importable(), executor.batch():
        tasks = [executor.submit(Task(str(study.file), str(folder), fair)) for _ in range(count)]
    ids = [str(task.job_id) for task in tasks]
    events.emit("result", text="\n".join(ids), folder=folder, tasks=ids)
    LOGGER.info("submitted: %s; their logs go to %s", ", ".join(ids), folder / "tasks")
    return ids
