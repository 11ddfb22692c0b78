"""Five short runs whose weights, averages and results.csv are pinned to the bit.

A change of the loop, the loader, the loss or the validation that is meant to change nothing must leave
`golden.json` as it is; one that is meant to writes it anew with `pytest tests/models/test_golden.py --rewrite`.
Other processors and versions of torch round otherwise: there the first losses are compared, and they must be close.
"""

import csv
import hashlib
import json
import platform
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.conftest import write_tiny, write_toy
from ultralytics import YOLO
from ultralytics.cli import main
from ultralytics.engine.weights.checkpoint import load_checkpoint

FILE = Path(__file__).with_name("golden.json")
RUNS = {
    "plain": {"model": "yolov8n.yaml", "optimizer": "SGD", "lr0": 0.01, "epochs": 2},
    "fla": {"epochs": 3, "nbs": 10, "close_mosaic": 1},
    "resumed": {"epochs": 3, "nbs": 10, "close_mosaic": 1},
    "ranks": {"epochs": 2, "device": "cpu,cpu", "nbs": 10},
    "rect": {"epochs": 2, "rect": True, "multi_scale": True, "optimizer": "AdamW", "mosaic": 0.0},
}


def machine():
    """What decides how sums are rounded."""
    info = Path("/proc/cpuinfo")
    names = [x for x in info.read_text().splitlines() if x.startswith("model name")] if info.exists() else []
    return {
        "processor": names[0].partition(":")[2].strip() if names else platform.processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "versions": {m.__name__: m.__version__ for m in (torch, np, cv2)},
    }


def digest(tensors):
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def stop_after(batches):
    """A callback that presses Ctrl-C when so many batches of the second epoch are done."""

    def stop(trainer):
        if (trainer.finished, trainer.batches_done) == (1, batches):
            signal.raise_signal(signal.SIGINT)

    return stop


def run(name, folder):
    """What the run leaves: digests of its weights and their average, and results.csv without times."""
    keys = {
        **{"model": write_tiny(folder), "data": write_toy(folder), "imgsz": 64, "batch": 4, "workers": 0, "threads": 1},
        **{"device": "cpu", "amp": False, "plots": False, "verbose": False, "preflight": False},
        **{"project": folder / "r", "name": "it"},
        **RUNS[name],
    }
    keys = {k: str(v) if isinstance(v, Path) else v for k, v in keys.items()}
    if name == "ranks":
        assert main(["train", *(f"{k}={v}" for k, v in keys.items())]) == 0
    else:
        model = YOLO(keys.pop("model"))
        if name == "resumed":
            model.add_callback("on_train_batch_end", stop_after(2))
            with pytest.raises(KeyboardInterrupt):
                model.train(**keys)
            assert main(["train", f"resume={folder / 'r' / 'it'}"]) == 0
        else:
            model.train(**keys)
    state = load_checkpoint(folder / "r" / "it" / "weights" / "last.pt").state
    rows = list(csv.DictReader((folder / "r" / "it" / "results.csv").open(encoding="utf-8")))
    for row in rows:
        del row["time"]
        assert 0 <= float(row.pop("time/data_wait")) <= 100
    return {"weights": digest(state["weights"]), "average": digest(state["ema"]), "results": rows}


SLOW = ("ranks", "fla")  # the second is "resumed" without a stop; both leave the same, see below


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in RUNS])
def test_a_run_leaves_what_it_left(name, tmp_path, request):
    found = run(name, tmp_path)
    golden = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"runs": {}}
    if request.config.getoption("--rewrite"):
        golden["machine"] = machine()
        golden["runs"][name] = found
        FILE.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    expected = golden["runs"][name]
    if golden["machine"] == machine():
        assert found == expected
        return
    assert [sorted(row) for row in found["results"]] == [sorted(row) for row in expected["results"]]
    for column, value in expected["results"][0].items():
        if column.startswith("train/"):
            assert float(found["results"][0][column]) == pytest.approx(float(value), rel=1e-2), column


def test_a_run_that_was_stopped_leaves_what_the_whole_one_leaves():
    runs = json.loads(FILE.read_text(encoding="utf-8"))["runs"]
    assert runs["resumed"] == runs["fla"]
