"""Time the reference (ultralytics 8.2.103) on the work of `benchmark.py`, one JSON line: run by the interpreter of an
environment that has it, see `benchmark.py compare`.

    reference_speed.py step|val|predict OPTIONS     as JSON, those of `benchmark.py` for the same word
"""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from ultralytics import YOLO

FOLDER = tempfile.mkdtemp()


def cpu_seconds() -> float:
    """Return what this process and its children that have ended have computed."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def step(task: str, model: str, imgsz: int, batch: int, steps: int, seed: int, nc: int, **_: Any) -> dict[str, Any]:
    """Seconds of a training step on random images, as `benchmark.step`."""
    from random_batch import random_batch

    from ultralytics.cfg import get_cfg
    from ultralytics.nn import tasks

    names = {"detect": "Detection", "segment": "Segmentation", "pose": "Pose", "obb": "OBB"}
    torch.manual_seed(seed)
    kind: Any = getattr(tasks, f"{names.get(task, 'Classification')}Model")
    net = kind(model, nc=nc, verbose=False).train()
    net.args = get_cfg()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    labelled = random_batch(task, batch, imgsz, nc)
    times, work = [], []
    for i in range(steps + 2):
        started, before = time.perf_counter(), cpu_seconds()
        net(labelled)[0].sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        if i >= 2:
            times.append(time.perf_counter() - started)
            work.append(cpu_seconds() - before)
    return {"seconds_per_step": statistics.median(times), "cpu_per_step": statistics.median(work)}


def val(model: str, data: str, imgsz: int, batch: int, workers: int, **_: Any) -> dict[str, Any]:
    """Seconds of a whole validation, with the metrics."""
    staged = copied(Path(data))
    started, before = time.perf_counter(), cpu_seconds()
    keys = {"data": staged, "imgsz": imgsz, "batch": batch, "workers": workers, "plots": False, "device": "cpu"}
    found = YOLO(model).val(**keys, project=FOLDER, verbose=False)
    seconds, work = time.perf_counter() - started, cpu_seconds() - before
    return {"seconds": seconds, "cpu": work, "figures": found.results_dict, "speed_ms": found.speed}


def predict(model: str, source: str, imgsz: int, batch: int, **_: Any) -> dict[str, Any]:
    """Seconds of loading weights and predicting on images, and what was found."""
    started, before = time.perf_counter(), cpu_seconds()
    keys = {"imgsz": imgsz, "batch": batch, "device": "cpu", "verbose": False, "project": FOLDER}
    found = [len(r) for r in YOLO(model).predict(source, stream=True, **keys)]
    seconds, work = time.perf_counter() - started, cpu_seconds() - before
    return {"seconds": seconds, "cpu": work, "images": len(found), "objects": sum(found)}


def copied(data: Path) -> str:
    """Return a copy of a dataset with absolute paths: the reference leaves files beside the labels."""
    target = Path(FOLDER) / "data"
    if data.is_dir():
        shutil.copytree(data, target)
        return str(target)
    spec = yaml.safe_load(data.read_text(encoding="utf-8"))
    root = data.parent / (spec.get("path") or ".")
    for kind in ("images", "labels"):
        shutil.copytree(root / kind, target / kind)
    file = Path(FOLDER) / data.name
    file.write_text(yaml.safe_dump({**spec, "path": str(target)}, sort_keys=False), encoding="utf-8")
    return str(file)


if __name__ == "__main__":
    options = json.loads(sys.argv[2])
    torch.set_num_threads(options["threads"])
    figures = {"step": step, "val": val, "predict": predict}[sys.argv[1]](**options)
    sys.stdout.write("\n" + json.dumps(figures) + "\n")
    shutil.rmtree(FOLDER)
