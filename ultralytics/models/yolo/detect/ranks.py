"""Training on several devices from one process: ranks are started, and what they leave is read back."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ultralytics.engine.ranks.launch import launch
from ultralytics.engine.ranks.lifeline import leave_with_agent
from ultralytics.engine.ranks.team import join, leave
from ultralytics.engine.weights.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ultralytics.models.yolo.detect.train import DetectionTrainer
from ultralytics.utils.errors import FinishedRunError
from ultralytics.utils.files import write_atomically
from ultralytics.utils.metrics import FIGURES, ConfusionMatrix, DetMetrics

JOB = "train-as-rank"  # the command of a rank; no user types it


def train_on_ranks(
    names: list[str],
    cfg: str | Path | None,
    overrides: Mapping[str, Any],
    weights: Checkpoint | None = None,
    source: str = "argument",
) -> tuple[Path, DetMetrics | None]:
    """Train on several devices of this machine, those in `overrides`, one process each; the rest is as
    `DetectionTrainer` takes it. Return the run's folder and metrics (None: not validated). Raises UserError,
    LostRankError: see `engine.ranks.launch.launch`."""
    with tempfile.TemporaryDirectory(prefix="job_") as folder:
        job, report = Path(folder) / "job.json", Path(folder) / "report.npz"
        start = ""
        if weights is not None:
            start = str(weights.path)
            if not weights.path.is_file():  # put together in memory
                start = str(Path(folder) / "start.pt")
                content = {"model": weights.spec, "names": weights.names, "ema": weights.weights}
                save_checkpoint(Path(start), content)
        plain = {
            "cfg": None if cfg is None else str(cfg),
            "overrides": dict(overrides),
            "source": source,
            "weights": start,
            "share": 1.0 if weights is None else weights.share,
            "report": str(report),
            "command": sys.argv[1:] if source == "command line" else [],
        }
        job.write_text(json.dumps(plain, default=str), encoding="utf-8")
        launch(names, [JOB, str(job)], Path(folder))
        return _read_report(report)


def run_job(path: str | Path) -> None:
    """Train as a rank: what each process that `train_on_ranks` starts does."""
    # The folder is the launching process's to remove; where that was killed, its ranks do it.
    leave_with_agent(partial(shutil.rmtree, Path(path).parent, ignore_errors=True))
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    weights = load_checkpoint(job["weights"]) if job["weights"] else None
    if weights is not None:
        weights.share = job["share"]
    try:
        trainer = DetectionTrainer(job["cfg"], job["overrides"], weights=weights, source=job["source"])
    except FinishedRunError as e:
        if join().leads:
            _write_report(Path(job["report"]), Path(e.folder), None)
        raise
    trainer.command = job["command"]  # what the user typed, and not what started this process
    trainer.train()
    if trainer.team.leads:
        _write_report(Path(job["report"]), trainer.save_dir, trainer.metrics.source)
    leave(trainer.team)


def _write_report(path: Path, save_dir: Path, metrics: DetMetrics | None) -> None:
    arrays: dict[str, Any] = {"save_dir": np.array(str(save_dir.absolute()))}
    if metrics is not None:
        arrays |= {f"box_{k}": getattr(metrics.box, k) for k in FIGURES}
        arrays |= {"per_class": metrics.nt_per_class, "per_image": metrics.nt_per_image, "images": metrics.images}
        arrays |= {"ids": list(metrics.names), "names": np.array(list(metrics.names.values()))}
        arrays |= {"ignored": metrics.ignored, "coco": np.array(json.dumps(metrics.coco))}
        arrays |= {"stages": np.array(list(metrics.speed)), "speed": list(metrics.speed.values())}
        if metrics.confusion_matrix is not None:
            arrays |= {"confusion": metrics.confusion_matrix.matrix, "confusion_conf": metrics.confusion_matrix.conf}
    write_atomically(path, lambda f: np.savez(f, **arrays))


def _read_report(path: Path) -> tuple[Path, DetMetrics | None]:
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    save_dir = Path(str(arrays["save_dir"]))
    if "images" not in arrays:
        return save_dir, None
    names = {int(i): str(n) for i, n in zip(arrays["ids"], arrays["names"], strict=True)}
    metrics = DetMetrics(save_dir=save_dir, names=names)
    metrics.box.update([arrays[f"box_{k}"] for k in FIGURES])
    metrics.nt_per_class, metrics.nt_per_image = arrays["per_class"], arrays["per_image"]
    metrics.images, metrics.ignored = int(arrays["images"]), int(arrays["ignored"])
    metrics.coco = json.loads(str(arrays["coco"]))
    metrics.speed = {str(k): float(v) for k, v in zip(arrays["stages"], arrays["speed"], strict=True)}
    if "confusion" in arrays:
        metrics.confusion_matrix = ConfusionMatrix(len(names), conf=float(arrays["confusion_conf"]))
        metrics.confusion_matrix.matrix = arrays["confusion"]
    return save_dir, metrics
