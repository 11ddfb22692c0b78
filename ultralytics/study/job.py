"""One run of a study, in a process of its own: train, or go on training, then test the best weights, then record.

Everything in the record is read from the run's folder, so that it is the same however often the run was stopped.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ultralytics.cfg.config import KNOBS, Config, get_cfg
from ultralytics.engine.callbacks import Callbacks
from ultralytics.engine.run.folder import RunLock
from ultralytics.engine.run.provenance import readable
from ultralytics.engine.run.resume import previous_of
from ultralytics.engine.step.schedule import Schedule
from ultralytics.engine.weights.checkpoint import load_checkpoint, load_newest
from ultralytics.models.yolo import modes
from ultralytics.models.yolo.task import task_named
from ultralytics.models.yolo.weights import guess_model_task, load_trained
from ultralytics.nn.plugins import load_plugins
from ultralytics.nn.summary import explain
from ultralytics.study.plan import FREE, Run
from ultralytics.study.record import (
    DETECT,
    FAILED,
    FINISHED,
    MATCHED,
    SEEN,
    RunRecord,
    write_matched,
    write_record,
    write_seen,
)
from ultralytics.study.tune.trial import pruning, record_trial
from ultralytics.utils.coco import FIGURES
from ultralytics.utils.errors import ConfigError, FinishedRunError, UserError
from ultralytics.utils.files import Checksums, remove_unfinished, user_path, write_json
from ultralytics.utils.log import LOGGER
from ultralytics.utils.output_path import make_folder
from ultralytics.utils.processes import leave_with
from ultralytics.utils.text import one_line

JOB = "study-run"  # the command of a run's process; no user types it
WATCHED = 0.2  # seconds between two looks at whether the study's own process is still there
ENDING = 60.0  # seconds that a process may take to do so
JOB_FILE = "job.json"
BOX = 6  # numbers of a detection that is an upright box
# Of a validation on the test split: square images, so that no figure depends on `batch`.
TEST_KEYS: dict[str, Any] = {"split": "test", "rect_val": False, "plots": False, "coco": True}


@dataclass(frozen=True)
class Job:
    """The order for a run's process, with which its folder is compared when the study goes on."""

    run: Run  # which one
    study: str  # the YAML's path, for messages
    facts: Mapping[str, Any] = field(default_factory=dict)  # more of them for the record
    trial: Mapping[str, Any] | None = None  # of a tune: values by key of the space, and the least fitness by epoch

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        r = self.run
        data = {"study": self.study, "arm": r.arm, "seed": r.seed, "keys": dict(r.keys), "test": dict(r.test)}
        data |= {"facts": dict(self.facts)} if self.facts else {}
        return data if self.trial is None else {**data, "trial": dict(self.trial)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Job:
        """Read what `to_dict` made."""
        run = Run(data["arm"], data["seed"], data["keys"], data["test"])
        return cls(run, data["study"], data.get("facts", {}), data.get("trial"))


def run_job(file: Path, parent: int) -> int:
    """Do the work of a run's process; it ends when the process `parent` does.

    Returns:
        The exit code: 0 finished, 2 failed by a UserError, 1 by anything else. Failures are in run.json, a line each.
    """
    if os.name == "posix":
        leave_with(parent, WATCHED)
    for name in ("SIGUSR1", "SIGUSR2"):  # by which clusters tell a whole job that its time is up: the study's to answer
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    job = Job.from_dict(json.loads(file.read_text(encoding="utf-8")))
    folder = file.parent
    try:
        train(job, folder)
        write_record(folder, test(job, folder) if job.trial is None else _of_trial(job, folder))
    except UserError as e:
        LOGGER.error("error: %s", e)
        write_record(folder, failed(job.run, str(e)))
        return 2
    except Exception as e:
        LOGGER.error("%s", traceback.format_exc())
        write_record(folder, failed(job.run, f"{type(e).__name__}: {one_line(str(e), 300)} (train.log holds more)"))
        return 1
    return 0


def failed(run: Run, line: str) -> RunRecord:
    """Return the record of a run that failed."""
    return RunRecord(run.arm, run.seed, FAILED, run.name, error=line, keys=_plain_keys(run.keys))


def _plain_keys(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Keys that are not at their default, without the seed and those that no figure depends on."""
    return {k: v for k, v in keys.items() if k not in ("seed", *FREE) and v != KNOBS[k].default}


def train(job: Job, folder: Path) -> None:
    """Train the run, or go on where it was stopped; a run that is trained is left alone."""
    overrides = {**job.run.keys, "project": str(folder.parent), "name": folder.name, "resume": "auto"}
    if overrides.get("log"):
        overrides.setdefault("log_group", job.run.arm)
    _await_end(folder)
    try:
        modes.train(None, overrides, job.study, callbacks=Callbacks(pruning(job.trial["least"]) if job.trial else None))
    except FinishedRunError as e:
        LOGGER.info("%s", e)


def _await_end(folder: Path) -> None:
    """Wait for a process of this run whose study was killed: it ends by itself, a moment after."""
    until = time.monotonic() + ENDING
    while time.monotonic() < until:
        try:
            RunLock(folder).release()
            return
        except ConfigError:
            time.sleep(WATCHED)


def _of_trial(job: Job, folder: Path) -> RunRecord:
    assert job.trial is not None
    return record_trial(job.run, folder, _plain_keys(job.run.keys), job.trial["least"])


class Witness:
    """Validates a network by its task, and keeps what was seen and the digest of the images.

    Args:
        task: of the network; folder: for the validation's files; args: keys of `val`, `model` among them.
    """

    def __init__(self, task: str, folder: Path, args: Config) -> None:
        self.task, self.folder, self.digest = task, folder, ""
        made: Any = task_named(task).validator
        self.validator = made(save_dir=folder, args=args, _callbacks={"on_val_start": [self._look]})

    def _look(self, validator: Any) -> None:
        self.digest = validator.dataloader.dataset.labels.digest  # of the split's names, images and labels

    def __call__(self) -> None:
        """Validate, and write what was seen of each image: seen.npz of boxes, matched.npz of other tasks."""
        self.validator()
        evaluator, *others = self.validator.current.evaluators
        seen = [s for e in others for s in e.result()]
        if self.task != DETECT:
            write_matched(self.folder / MATCHED, evaluator.by_image())
        if self.task == DETECT or (seen and seen[0].found.shape[1] == BOX):
            write_seen(self.folder / SEEN, seen)

    def figures(self) -> dict[str, Any]:
        """Return what it has measured, by the names of a record: `figures` and `per_class`."""
        metrics, reports = self.validator.metrics, task_named(self.task).figures
        found: dict[str, float | None] = {}
        for title, column in reports.shown.items():
            found[title] = float(metrics.results_dict[column])
            if title == reports.title("mAP50"):
                found[reports.title("mAP75")] = float(metrics.main.map75)
        coco = getattr(metrics, "coco", None)
        if coco is None:
            return {"figures": found, "per_class": metrics.by_name}
        coco = coco.get(self.validator.compared, coco)  # of masks or poses, where the task is about them
        return {"figures": found | {k: coco.get(k) for k in FIGURES}, "per_class": dict(coco["per_class"])}


def test(job: Job, folder: Path) -> RunRecord:
    """Validate the best weights on the test split, write seen.npz beside the figures, and make the record."""
    load_plugins(job.run.plugins)
    weights = folder / "weights"
    last = load_newest(weights / "last.pt", previous_of(weights / "last.pt"))
    best = weights / "best.pt" if (weights / "best.pt").exists() else weights / "last.pt"
    trained = last.train_args
    inherited = {k: v for k, v in job.run.keys.items() if k != "model_scale" and "val" in KNOBS[k].modes}
    inherited |= {k: trained[k] for k in ("data", "imgsz", "single_cls", "batch")}
    keys = {**inherited, **TEST_KEYS, **job.run.test, "model": str(best)}
    task = guess_model_task(best)
    if keys["split"] not in task_named(task).load_data(keys["data"]).splits:
        keys["split"] = "val"
    args = get_cfg(None, keys, job.study, "val")
    place = folder / "test"
    make_folder(place)
    for made in (folder, place):
        remove_unfinished(made)
    witness = Witness(task, place, args)
    LOGGER.info("Testing %s on the split %s", best, args.split)
    witness()
    write_json(folder / "environment.json", readable(last.state.get("provenance")))
    return RunRecord(
        arm=job.run.arm,
        seed=job.run.seed,
        state=FINISHED,
        folder=job.run.name,
        facts={**_facts(best, last.state, trained, witness), **job.facts},
        keys=_plain_keys(job.run.keys),
        blocks=_blocks(last.state["results"]),
        cost=cost(best, last.state["results"], int(trained["imgsz"])),
        task=task,
        **witness.figures(),
    )


def _facts(best: Path, state: Mapping[str, Any], trained: Mapping[str, Any], witness: Witness) -> dict[str, Any]:
    """Return what must be equal for runs to be comparable: plain data, by the names that a reader sees."""
    record = readable(state.get("provenance"))
    data = record.get("data", {})
    steps = Schedule(trained["epochs"], state["batches"], trained["batch"], trained["nbs"],
                     warmup_epochs=trained["warmup_epochs"]).steps()  # fmt: skip
    tested, used = witness.validator.args, witness.validator.device
    split = tested.split
    selection = "best epoch by fitness on val" if trained["val"] else "last epoch"
    same = split == "val" and trained["val"]
    device = used.type if used is not None else None
    share, digest = _transferred(best, trained)
    return {
        "train data": data.get("train", {}).get("digest"),
        "val data": data.get("val", {}).get("digest"),
        "test data": witness.digest,
        "test split": split,
        "selection": selection,
        "selection and test": "on the same split" if same else "on different splits",
        "epochs planned": trained["epochs"],
        "epochs run": state["epoch"] + 1,
        "steps planned": sum(1 for _ in steps),
        "steps done": state["updates"],
        "batch": trained["batch"],
        "imgsz": trained["imgsz"],
        "optimizer": state["optimizer_name"],
        "pretrained weights": digest,
        "transferred share": share,
        "evaluator": evaluator(),
        "test settings": {k: getattr(tested, k) for k in _TESTED}
        | ({"batch": tested.batch} if tested.rect_val else {})
        | ({k: getattr(tested, k) for k in TILED} if tested.tiles is not None else {}),
        "code": record.get("code"),
        "torch": str(torch.__version__),
        "device": device,
        "threads": trained["threads"] if device == "cpu" else None,
    }


TILED = ("tiles", "overlap", "whole", "merge", "merge_iou")  # of a validation with tiles
_TESTED = ("conf", "iou", "max_det", "rect_val", "half", "single_cls", "agnostic_nms", "classes")


def evaluator() -> str:
    """Return what the figures were computed by, with versions."""
    try:
        coco = f"hotcoco {importlib.metadata.version('hotcoco')}"
    except importlib.metadata.PackageNotFoundError:
        coco = "none"
    return f"mAP: this project, as ultralytics 8.2.103; COCO's figures: {coco}"


def _transferred(weights: Path, trained: Mapping[str, Any]) -> tuple[float | None, str | None]:
    """The share of the pretrained weights that found their place, of those tensors that both networks have, and the
    file's digest. It is worked out anew: what a transfer does depends on nothing but the two networks."""
    source = trained["pretrained"]
    if source is True:
        source = trained["model"] if str(trained["model"]).endswith(".pt") else False
    if not source:
        return None, None
    path = user_path(str(source))
    if not path.is_file():
        return None, None
    checkpoint = load_checkpoint(path)
    by_name = trained["transfer"] == "name"
    report = load_trained(weights)[0].load(checkpoint.weights, checkpoint.spec, checkpoint.names, by_name=by_name)
    return report.share * checkpoint.share, Checksums.of(path, md5=False).hexdigests["sha256"]


def _blocks(rows: list[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return what the meter has read in the last epoch: row → share, gate_mean, gate_max."""
    found: dict[str, dict[str, float]] = {}
    for column, value in rows[-1].items() if rows else ():
        if column.startswith("block/"):
            _, row, what = column.split("/")
            found.setdefault(row, {})[what] = value
    return found


def cost(weights: Path, rows: list[Mapping[str, float]], imgsz: int) -> dict[str, float]:
    """Parameters and operations, fused, at a size; seconds of an epoch, its validation included, by rows of results."""
    model, _ = load_trained(weights)
    report = explain(model, imgsz)
    seconds = {"epoch_seconds": rows[-1]["time"] / len(rows)} if rows else {}
    return {"parameters": report.parameters_fused, "flops": report.flops_fused, **seconds}
