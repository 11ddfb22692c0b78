"""Settings of small runs, their batches, and the memory they take."""

import contextlib
import csv
import os
import signal
from pathlib import Path

import numpy as np
import torch

from ultralytics.cfg.config import get_cfg
from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.build import build_dataloader, build_yolo_dataset
from ultralytics.engine.weights.checkpoint import load_checkpoint

EPOCHS = 3


def settings_of(folder, model, data):
    return {
        "model": str(model), "data": str(data), "epochs": EPOCHS, "imgsz": 32, "batch": 2, "nbs": 8, "workers": 0,
        "device": "cpu", "project": str(folder / "runs"), "name": "run", "plots": False, "close_mosaic": 1,
        "warmup_epochs": 0.0, "preflight": False, "verbose": False, "exist_ok": True, "optimizer": "AdamW",
    }  # fmt: skip


def proportional(pid):
    """Bytes of memory of a process and of each of its children, shared pages by halves, thirds, …"""
    pids = [pid]
    for p in pids:
        for task in Path(f"/proc/{p}/task").glob("*/children"):
            pids += [int(c) for c in task.read_text().split()]
    sizes = []
    for p in pids:
        with contextlib.suppress(FileNotFoundError):
            lines = [line.split() for line in Path(f"/proc/{p}/smaps_rollup").read_text().splitlines()[1:]]
            kib = {words[0].rstrip(":"): int(words[1]) for words in lines}
            # Without the pages of libraries: how many other programs share those changes from moment to moment.
            sizes.append(1024 * (kib["Pss"] - kib.get("Pss_File", 0)))
    return sizes


def loader(toy, workers=0, batch=5, seed=0, mode="train", **settings):
    data = load_dataset(toy)
    cfg = get_cfg(None, {"imgsz": 64, **settings})
    dataset = build_yolo_dataset(cfg, data.split("train"), batch, data, mode=mode)
    return build_dataloader(dataset, batch, workers, shuffle=mode == "train", seed=seed)


def epoch(load, number=0):
    load.set_epoch(number)
    return list(load)


def same(a, b):
    return len(a) == len(b) and all(
        x["im_file"] == y["im_file"] and all(torch.equal(x[k], y[k]) for k in ("img", "cls", "bboxes", "batch_idx"))
        for x, y in zip(a, b, strict=True)
    )


class Large:
    """Makes batches out of more bytes than a pipe takes."""

    def __init__(self):
        self.content = np.ones(2**21, np.uint8)

    def __call__(self, task, room=None):
        return {"cls": torch.tensor([task * int(self.content[-1])]), "img": torch.zeros(1, 3, 2, 2, dtype=torch.uint8)}


def left(folder):
    """What two equal runs must agree in: tensors of last.pt and best.pt, and the table but its times."""
    last, best = (load_checkpoint(folder / "weights" / f"{n}.pt").state for n in ("last", "best"))
    with (folder / "results.csv").open(encoding="utf-8") as file:
        rows = [{k: v for k, v in row.items() if not k.startswith("time")} for row in csv.DictReader(file)]
    return {
        "weights": last["weights"], "ema": last["ema"], "best": best["ema"], "pending": last["pending_gradients"],
        "rows": rows, "best_epoch": (last["best_epoch"], best["epoch"]),
        "updates": last["updates"],
    }  # fmt: skip


def equal_runs(a, b):
    for key, value in a.items():
        if isinstance(value, dict):
            assert value.keys() == b[key].keys(), key
            for name, tensor in value.items():
                assert torch.equal(tensor, b[key][name]), (key, name)
        else:
            assert value == b[key], key
    return True


def stop_at(trainer, event, epoch, batch=None, stop=None):
    """Let something happen at an event of an epoch (from 0), after so many batches of it."""

    def function(t):
        if t.epoch == epoch and (batch is None or t.batches_done == batch):
            stop()

    trainer.add_callback(event, function)


def interrupt(signum=signal.SIGINT):
    os.kill(os.getpid(), signum)
