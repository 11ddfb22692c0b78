"""Time this project's work, one JSON line per measurement.

A speed means something only beside another taken in the same run.

    benchmark.py step   [model=yolov8n.yaml imgsz=320 batch=16 steps=6 threads=2 amp=True]
        seconds of forward, loss, backward and optimiser step
    benchmark.py loader data=DATA.yaml [imgsz=640 items=150 cache=ram]
        training samples per second and core
    benchmark.py val    model=W.pt data=DATA.yaml [imgsz=640 batch=16 workers=2]
        seconds and metrics of a whole validation
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from typing import Any

import cv2
import torch

from ultralytics import YOLO
from ultralytics.cfg.config import get_cfg, parse_value
from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.build import build_yolo_dataset
from ultralytics.engine.device import mixed_precision, select_device
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.loss import v8DetectionLoss

DEFAULTS: dict[str, dict[str, Any]] = {
    "step": {
        "model": "yolov8n.yaml",
        "imgsz": 320,
        "batch": 16,
        "steps": 6,
        "threads": 2,
        "seed": 0,
        "amp": True,
        "device": "cpu",
    },
    "loader": {"data": None, "imgsz": 640, "batch": 16, "items": 150, "cache": False},
    "val": {"model": None, "data": None, "imgsz": 640, "batch": 16, "workers": 2, "threads": 2, "device": "cpu"},
}


def step(
    model: str, imgsz: int, batch: int, steps: int, threads: int, seed: int, amp: bool, device: str
) -> dict[str, Any]:
    """Seconds of a training step on random images, median."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    where = select_device(device, quiet=True)
    net = DetectionModel(model, nc=3, verbose=False).train().to(where, memory_format=torch.channels_last)
    criterion = v8DetectionLoss(3, net.stride)
    precision = mixed_precision(where, amp)
    scaler = torch.amp.GradScaler(where.type, enabled=precision == torch.float16)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    images = torch.rand(batch, 3, imgsz, imgsz, device=where).contiguous(memory_format=torch.channels_last)
    n = 8 * batch
    boxes = {
        "batch_idx": torch.arange(batch).repeat_interleave(8).float(),
        "cls": torch.randint(0, 3, (n,)).float(),
        "bboxes": torch.rand(n, 4) * 0.2 + 0.3,
    }
    boxes = {k: v.to(where) for k, v in boxes.items()}
    times = []
    for i in range(steps + 2):
        started = time.perf_counter()
        with torch.autocast(where.type, dtype=precision, enabled=precision is not None):
            maps = net(images)
        scaler.scale(criterion(maps, boxes)[0]).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        if where.type == "cuda":
            torch.cuda.synchronize(where)
        if i >= 2:
            times.append(time.perf_counter() - started)
    seconds = statistics.median(times)
    return {
        "precision": str(precision or torch.float32).removeprefix("torch."),
        "seconds_per_step": seconds,
        "images_per_second": batch / seconds,
    }


def loader(data: str, imgsz: int, batch: int, items: int, cache: bool | str) -> dict[str, Any]:
    """Training samples per second of one process with one thread: first ones of a fresh data set, then steady."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    spec = load_dataset(data)
    dataset = build_yolo_dataset(get_cfg(None, {"imgsz": imgsz, "cache": cache}), spec.split("train"), batch, spec)

    def rate(count: int, first: int = 0) -> float:
        started = time.perf_counter()
        for i in range(first, first + count):
            dataset[i % len(dataset)]
        return count / (time.perf_counter() - started)

    fresh = rate(20)
    return {"cache": cache, "samples_per_second_and_core": rate(items), "first_20": fresh, "steady": rate(items, items)}


def val(model: str, data: str, imgsz: int, batch: int, workers: int, threads: int, device: str) -> dict[str, Any]:
    """Seconds of loading weights and validating them, with the metrics."""
    torch.set_num_threads(threads)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as project:
        m = YOLO(model).val(
            data=data,
            imgsz=imgsz,
            batch=batch,
            workers=workers,
            plots=False,
            device=device,
            project=project,
            verbose=False,
        )
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "P": m.box.mp,
        "R": m.box.mr,
        "mAP50": m.box.map50,
        "mAP50_95": m.box.map,
        "speed_ms": m.speed,
    }


def main(words: list[str]) -> int:
    """Run one measurement."""
    if {"-h", "--help", "help"} & set(words):
        print(__doc__)
        return 0
    try:
        what = words[0] if words else ""
        if what not in DEFAULTS:
            raise ConfigError("benchmark what?", mend=f"one of {', '.join(DEFAULTS)}")
        options = dict(DEFAULTS[what])
        for word in words[1:]:
            key, equals, value = word.partition("=")
            if not equals or key not in options:
                raise ConfigError(f"{word!r} is no option", mend=f"{what} takes {', '.join(options)}")
            options[key] = parse_value(value)
        missing = [k for k, v in options.items() if v is None]
        if missing:
            raise ConfigError(f"{missing[0]} is missing", mend=f"{missing[0]}=…")
        result = {"step": step, "loader": loader, "val": val}[what](**options)
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    print(json.dumps({"what": what, **{k: v for k, v in options.items() if k not in result}, **result}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
