"""Weights & Biases; without a login the run is kept in the run's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ultralytics.engine.loggers.logger import LoggedRun, Logger


class WandbLogger(Logger):
    """A run of wandb's, by its own variables: WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY and so on."""

    name = "wandb"
    package = "wandb"
    extra = "wandb"

    def open(self, run: LoggedRun) -> str:
        import wandb  # an extra

        self._wandb: Any = wandb
        mode = os.environ.get("WANDB_MODE") or ("online" if _is_logged_in(wandb) else "offline")
        self._offline, self._folder, self._run_name = mode == "offline", run.folder, run.name
        given = {k: v for k, v in run.settings.items() if v is not None}
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or run.project,
            name=os.environ.get("WANDB_NAME") or run.name,
            group=os.environ.get("WANDB_RUN_GROUP") or run.group or None,
            id=run.id or None,
            resume="allow",
            dir=str(run.folder),
            mode=mode,
            config=None if run.id else given,
            settings=wandb.Settings(console="off", silent=True, save_code=False, disable_git=True),
        )
        if run.id:
            self._run.config.update(given, allow_val_change=True)
        self._run.define_metric("*", step_metric="epoch")
        return str(self._run.id)

    def note(self) -> str:
        if self._offline:
            return (
                f"kept on this machine; send it, if you want, with: wandb sync {self._folder / 'wandb'}/offline-run-*"
            )
        return str(self._run.url or "")

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        self._run.log({**figures, "epoch": number})

    def final(self, number: int, figures: Mapping[str, float]) -> None:
        self._run.summary.update({f"final/{name}": value for name, value in figures.items()})

    def images(self, number: int, files: Sequence[Path]) -> None:
        self._run.log({**{f"plots/{f.stem}": self._wandb.Image(str(f)) for f in files}, "epoch": number})

    def weights(self, file: Path) -> None:
        artifact = self._wandb.Artifact(f"{self._run.id}-weights", type="model")
        artifact.add_file(str(file))
        self._run.log_artifact(artifact)

    def close(self, status: str) -> None:
        self._run.finish(exit_code=0 if status == "finished" else 1)


def _is_logged_in(wandb: Any) -> bool:
    """Return True if there is a key; nobody is asked for one."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return bool(wandb.login(prompt=False))
    except TypeError:  # releases whose login always asks
        return bool(wandb.api.api_key)
