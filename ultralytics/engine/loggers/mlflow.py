"""MLflow; without a server of the user's, a database beside the runs."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ultralytics.engine.loggers.logger import LoggedRun, Logger

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"  # in the folder of runs
_LONGEST = 500  # characters of a setting that every server takes
_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "killed": "KILLED"}
# Of 16 tries in up to minutes, unless the user says otherwise: the run does not wait, but its end does.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}


class MlflowLogger(Logger):
    """A run of MLflow's, by its own variables: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME."""

    name = "mlflow"
    package = "mlflow"
    extra = "mlflow"

    def open(self, run: LoggedRun) -> str:
        for key, value in _PATIENCE.items():
            os.environ.setdefault(key, value)
        from mlflow.entities import Metric, Param  # an extra
        from mlflow.tracking import MlflowClient

        self._metric = Metric
        above = run.folder.parent
        given = os.environ.get("MLFLOW_TRACKING_URI", "")
        self._uri = given or f"sqlite:///{(above / DATABASE).as_posix()}"
        self._client: Any = MlflowClient(tracking_uri=self._uri)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or run.project
        if run.id:
            self._id = run.id
            self._client.update_run(self._id, status="RUNNING")
        else:
            experiment = self._client.get_experiment_by_name(name)
            place = None if given else (above / ARTIFACTS).as_uri()
            found = experiment.experiment_id if experiment else self._client.create_experiment(name, place)
            tags = {"folder": run.folder.name} | ({"group": run.group} if run.group else {})
            made = self._client.create_run(found, run_name=run.name, tags=tags)
            self._id = made.info.run_id
        # A parameter cannot be changed: what a resumed run has otherwise becomes a tag.
        before = dict(self._client.get_run(self._id).data.params)
        settings = {k: str(v)[:_LONGEST] for k, v in run.settings.items()}
        new = [Param(k, v) for k, v in settings.items() if k not in before]
        for i in range(0, len(new), 100):  # the most that a call takes
            self._client.log_batch(self._id, params=new[i : i + 100])
        for key, value in settings.items():
            if before.get(key, value) != value:
                self._client.set_tag(self._id, f"resumed.{key}", value)
        return self._id

    def note(self) -> str:
        local = self._uri.startswith("sqlite:")
        return f"look at it with: mlflow ui --backend-store-uri {self._uri}" if local else ""

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(
            self._id, metrics=[self._metric(_metric_name(k), v, now, number) for k, v in figures.items()]
        )

    def final(self, number: int, figures: Mapping[str, float]) -> None:
        self.epoch(number, {f"final/{name}": value for name, value in figures.items()})

    def images(self, number: int, files: Sequence[Path]) -> None:
        for file in files:
            self._client.log_artifact(self._id, str(file), "plots")

    def weights(self, file: Path) -> None:
        self._client.log_artifact(self._id, str(file), "weights")

    def close(self, status: str) -> None:
        self._client.set_terminated(self._id, _STATUS.get(status, "FAILED"))


def _metric_name(column: str) -> str:
    """Return a column's name as MLflow takes it, without brackets: metrics/mAP50(B) → metrics/mAP50B."""
    return re.sub(r"[^\w\-. :/]", "", column.replace("(", "").replace(")", ""))
