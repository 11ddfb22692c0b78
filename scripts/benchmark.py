"""Time this project's work, one JSON line per measurement.

A speed means something only beside another taken in the same run.

    benchmark.py step   [task=segment model=yolov8n-seg.yaml imgsz=320 batch=16 steps=6 threads=2 amp=True]
        seconds of forward, loss, backward and optimiser step, of any task
    benchmark.py loader data=DATA.yaml [imgsz=640 items=150 cache=ram]
        training samples per second and core
    benchmark.py val    model=W.pt data=DATA.yaml [imgsz=640 batch=16 workers=2]
        seconds and metrics of a whole validation, of any task
    benchmark.py predict model=W.pt source=FOLDER [imgsz=640 batch=1 threads=2]
        seconds of loading weights and predicting on a folder's images, of any task
    benchmark.py compare what=step|val|predict reference=PYTHON [rounds=5] and what that measurement takes
        the same by ultralytics 8.2.103, in turns with ours: PYTHON is the interpreter of an environment that has it
    benchmark.py labels [images=100000 boxes=7 epochs=5 workers=2]
        first scan and cached start of a split made for it, memory of labels and of a worker after each epoch
    benchmark.py safety data=DATA.yaml [model=yolov8n.yaml imgsz=320 batch=16 steps=8 saves=5 threads=2]
        what guards and saves add to an epoch: steps with and without guards in turns, and the saves of an epoch
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from random_batch import SUFFIXES, random_batch

from ultralytics import YOLO
from ultralytics.cfg.config import get_cfg, parse_value
from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.build import build_dataloader, build_yolo_dataset
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.scan import scan
from ultralytics.engine.ranks.device import mixed_precision, select_device
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.models.yolo.task import task_named
from ultralytics.utils.console import say
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.images import imwrite
from ultralytics.utils.log import setup_console

DEFAULTS: dict[str, dict[str, Any]] = {
    "step": {
        "task": "detect",
        "model": "",
        "imgsz": 320,
        "batch": 16,
        "steps": 6,
        "threads": 2,
        "seed": 0,
        "nc": 3,
        "amp": True,
        "device": "cpu",
    },
    "loader": {"data": None, "imgsz": 640, "batch": 16, "items": 150, "cache": False},
    "safety": {
        "data": None,
        "model": "yolov8n.yaml",
        "imgsz": 320,
        "batch": 16,
        "steps": 8,
        "saves": 5,
        "threads": 2,
        "device": "cpu",
    },
    "val": {"model": None, "data": None, "imgsz": 640, "batch": 16, "workers": 2, "threads": 2, "device": "cpu"},
    "predict": {"model": None, "source": None, "imgsz": 640, "batch": 1, "threads": 2, "device": "cpu"},
    "compare": {"what": None, "reference": None, "rounds": 5},
    "labels": {"images": 100_000, "boxes": 7, "epochs": 5, "workers": 2},
}


def cpu_seconds() -> float:
    """Return what this process and its children that have ended have computed: on a machine that others use too, it
    says more than the clock."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def step(
    task: str,
    model: str,
    imgsz: int,
    batch: int,
    steps: int,
    threads: int,
    seed: int,
    nc: int,
    amp: bool,
    device: str,
) -> dict[str, Any]:
    """Seconds of a training step on random images, median; without a model it is the task's n."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    where = select_device(device, quiet=True)
    model = model or f"yolov8n{SUFFIXES[task]}.yaml"
    net = task_named(task).network(model, nc=nc, verbose=False).train().to(where, memory_format=torch.channels_last)
    criterion = net.init_criterion()
    precision = mixed_precision(where, amp)
    scaler = torch.amp.GradScaler(where.type, enabled=precision == torch.float16)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    labelled: Any = {k: v.to(where) for k, v in random_batch(task, batch, imgsz, nc).items()}
    images = labelled.pop("img").contiguous(memory_format=torch.channels_last)
    times, work = [], []
    for i in range(steps + 2):
        started, before = time.perf_counter(), cpu_seconds()
        with torch.autocast(where.type, dtype=precision, enabled=precision is not None):
            maps = net(images)
        scaler.scale(criterion(maps, labelled)[0]).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        if where.type == "cuda":
            torch.cuda.synchronize(where)
        if i >= 2:
            times.append(time.perf_counter() - started)
            work.append(cpu_seconds() - before)
    seconds = statistics.median(times)
    return {
        "model": model,
        "precision": str(precision or torch.float32).removeprefix("torch."),
        "seconds_per_step": seconds,
        "cpu_per_step": statistics.median(work),
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
    started, before = time.perf_counter(), cpu_seconds()
    with tempfile.TemporaryDirectory() as project:
        yolo = YOLO(model)
        setup_console(verbose=False)  # figures are in the line, and the folder goes
        m = yolo.val(
            data=data,
            imgsz=imgsz,
            batch=batch,
            workers=workers,
            threads=threads,
            plots=False,
            device=device,
            project=project,
            verbose=False,
        )
    seconds, work = time.perf_counter() - started, cpu_seconds() - before
    setup_console()
    found = {"seconds": seconds, "cpu": work, "figures": m.results_dict, "speed_ms": m.speed}
    if hasattr(m, "box"):
        found |= {"P": m.box.mp, "R": m.box.mr, "mAP50": m.box.map50, "mAP50_95": m.box.map}
    return found


def predict(model: str, source: str, imgsz: int, batch: int, threads: int, device: str) -> dict[str, Any]:
    """Seconds of loading weights and predicting on images, and what was found."""
    torch.set_num_threads(threads)
    started, before = time.perf_counter(), cpu_seconds()
    keys: dict[str, Any] = {"imgsz": imgsz, "batch": batch, "threads": threads, "device": device, "verbose": False}
    found = [len(r) for r in YOLO(model).predict(source, stream=True, **keys)]
    seconds, work = time.perf_counter() - started, cpu_seconds() - before
    return {"seconds": seconds, "cpu": work, "images": len(found), "objects": sum(found)}


MEASURED = {
    "step": ("seconds_per_step", "cpu_per_step"),
    "val": ("seconds", "cpu"),
    "predict": ("seconds", "cpu"),
}


def compare(what: str, reference: str, rounds: int, **given: Any) -> dict[str, Any]:
    """The reference's and our figures of as many rounds, each in a process of its own and in turns; ratios say how
    many times as fast this is.

    Raises:
        ConfigError: a side gives no figures; its last lines are named.
    """
    here = Path(__file__).resolve().parent
    options = {**DEFAULTS[what], **given}
    if what == "step":
        options["model"] = options["model"] or f"yolov8n{SUFFIXES[options['task']]}.yaml"
    theirs = [reference, str(here / "reference_speed.py"), what, json.dumps(options)]
    ours = [sys.executable, str(Path(__file__)), what, *(f"{k}={v}" for k, v in given.items())]
    found: dict[str, list[dict[str, Any]]] = {"reference": [], "here": []}
    for _ in range(rounds):
        for side, command in (("reference", theirs), ("here", ours)):
            # The reference reads its two when it is imported: it then installs nothing.
            own = {"YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": tempfile.gettempdir()}
            path = {"PYTHONPATH": str(here.parent)} if side == "here" else own
            env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | path
            done = subprocess.run(command, env=env, capture_output=True, encoding="utf-8", check=False)
            if done.returncode:
                raise ConfigError(f"the {side} gives no figures", hint=(done.stdout + done.stderr)[-500:])
            found[side].append(json.loads(done.stdout.splitlines()[-1]))
    result: dict[str, Any] = {}
    for key in MEASURED[what]:
        for word, of in (("median", statistics.median), ("least", min)):
            both = {side: of([r[key] for r in each]) for side, each in found.items()}
            result[f"{key}_{word}"] = {**both, "ratio": both["reference"] / both["here"]}
    if what == "val":
        result["figures"] = {side: each[-1]["figures"] for side, each in found.items()}
        result["speed_ms"] = {side: each[-1]["speed_ms"] for side, each in found.items()}
    if what == "predict":
        result["objects"] = {side: each[-1]["objects"] for side, each in found.items()}
    return result


def labels(images: int, boxes: int, epochs: int, workers: int) -> dict[str, Any]:
    """Seconds of scanning a split of tiny images, and memory while it is trained on."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_split(root, images, boxes)
        seconds = []
        for _ in range(4):
            before = memory_of("self")["Rss"]
            started = time.perf_counter()
            found = scan([root / "images"], nc=80)
            seconds.append(time.perf_counter() - started)
        grown = memory_of("self")["Rss"] - before
        names = found.im_files
        arrays = (found.shapes, found.offsets, found.cls, found.bboxes, found.ignore_offsets, found.contents)
        held = sum(a.nbytes for a in arrays) + names.nbytes
        dataset = YOLODataset(found, imgsz=32, nc=80, augment=True, hyp=get_cfg(None, {"mosaic": 1.0}))
        load = build_dataloader(dataset, 64, workers)
        worker = []
        for epoch in range(epochs):
            load.set_epoch(epoch)
            for batch in load:
                assert len(batch["img"])
            worker.append([memory_of(pid) for pid in load.worker_pids])
    mean = {kind: [statistics.mean(m[kind] for m in ms) for ms in worker] for kind in ("Rss", "Pss")}
    return {
        "first_scan_seconds": seconds[0],
        "cached_start_seconds": statistics.median(seconds[1:]),
        "bytes_per_box": held / len(found.cls),
        "resident_bytes_per_box": max(grown, 0) / len(found.cls),
        "worker_rss_mb": [m / 2**20 for m in mean["Rss"]],
        "worker_pss_mb": [m / 2**20 for m in mean["Pss"]],
        "growth": max(mean["Pss"]) / mean["Pss"][0] - 1,
    }


def write_split(root: Path, images: int, boxes: int) -> None:
    """Images of 16×12 pixels, a hundred different ones under many names, and labels of their own."""
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (root / name).mkdir()
    for i in range(images):
        target = root / "images" / f"{i:06d}.png"
        if i < 100:
            imwrite(target, rng.integers(0, 255, (12, 16, 3), np.uint8))
        else:
            target.hardlink_to(root / "images" / f"{i % 100:06d}.png")
        rows = np.column_stack([rng.integers(0, 80, boxes), rng.uniform(0.3, 0.7, (boxes, 4))])
        text = "".join(f"{int(c)} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n" for c, x, y, w, h in rows)
        (root / "labels" / f"{i:06d}.txt").write_text(text, encoding="utf-8")


def memory_of(process: int | str) -> dict[str, int]:
    """Resident (Rss) and proportional (Pss) bytes of a process."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}


class Unguarded:
    """A guard that does nothing."""

    careful = False

    def remember(self) -> None:
        """Nothing."""

    def check(self, *_: object) -> None:
        """Nothing."""

    def look_back(self, *_: object) -> None:
        """Nothing."""

    def found_bad(self) -> bool:
        """Nothing."""
        return False


def safety(
    data: str, model: str, imgsz: int, batch: int, steps: int, saves: int, threads: int, device: str
) -> dict[str, Any]:
    """Milliseconds of guards a step and of saves an epoch, and their part of an epoch with loading and validation."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as project:
        given = {"data": data, "model": model, "imgsz": imgsz, "batch": batch, "device": device, "project": project}
        given["threads"] = threads
        trainer = DetectionTrainer(overrides={**given, "workers": 0, "plots": False, "preflight": False, "nbs": batch})
        trainer._setup()
        trainer.model.train()
        guards: dict[str, Any] = {"with": trainer.guard, "without": Unguarded()}
        times: dict[str, list[float]] = {k: [] for k in guards}
        loading: list[tuple[float, float]] = []
        work: list[float] = []  # CPU seconds, which say more than the clock where others use the machine
        for i in range(steps + 1):
            before = time.process_time()
            started = time.perf_counter()
            sample = next(iter(trainer.train_loader))
            loading.append((time.perf_counter() - started, time.process_time() - before))
            for name in guards if i % 2 else reversed(guards):
                trainer.guard = guards[name]
                copied = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in sample.items()}
                started, before = time.perf_counter(), time.process_time()
                trainer.train_step(copied, i)
                trainer.step.look_back()
                if trainer.device.type == "cuda":
                    torch.cuda.synchronize()
                if i:
                    times[name].append(time.perf_counter() - started)
                    work.append(time.process_time() - before)
        trainer.guard = guards["with"]
        alone = []
        loss = torch.ones((), device=trainer.device)
        for _ in range(50):  # the difference of two long times says little: the guard's own work, by itself
            started = time.perf_counter()
            trainer.guard.remember()
            trainer.guard.check(loss, "loss")
            trainer.guard.check(loss, "gradient")
            alone.append(time.perf_counter() - started)
        started, before = time.perf_counter(), time.process_time()
        trainer.validate()
        validation = time.perf_counter() - started, time.process_time() - before
        saving, working = [], []
        for _ in range(saves):
            started, before = time.perf_counter(), time.process_time()
            trainer.saver.save(best=True)
            saving.append(time.perf_counter() - started)
            working.append(time.process_time() - before)
        megabytes = trainer.last.stat().st_size / 1e6
    batches = len(trainer.train_loader)
    loaded = [statistics.median(x) for x in zip(*loading, strict=True)]
    epoch = batches * (statistics.median(times["without"]) + loaded[0]) + validation[0]
    epoch_cpu = batches * (statistics.median(work) + loaded[1]) + validation[1]
    differences = [a - b for a, b in zip(times["with"], times["without"], strict=True)]
    added = batches * statistics.median(alone) + statistics.median(saving)
    return {
        "batches": batches,
        "epoch_s": epoch,
        "epoch_cpu_s": epoch_cpu,
        "guard_ms_per_step": statistics.median(alone) * 1e3,
        "guard_ms_per_step_by_difference": statistics.median(differences) * 1e3,
        "last_and_best_ms": statistics.median(saving) * 1e3,
        "last_mb": megabytes,
        "added_ms_per_epoch": added * 1e3,
        "added_share_of_epoch": added / epoch,
        "save_cpu_ms": statistics.median(working) * 1e3,
        "added_cpu_share_of_epoch": (batches * statistics.median(alone) + statistics.median(working)) / epoch_cpu,
    }


def options_of(name: str, defaults: dict[str, Any], words: list[str]) -> dict[str, Any]:
    """Return the options of a script, typed as key=value; a default of None must be given.

    Raises:
        ConfigError: a word is none of them, or one is missing.
    """
    options = dict(defaults)
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in options:
            raise ConfigError(f"{word!r} is not an option", hint=f"{name} takes {', '.join(options)}")
        options[key] = parse_value(value)
    missing = [k for k, v in options.items() if v is None]
    if missing:
        raise ConfigError(f"{missing[0]} is missing", hint=f"{missing[0]}=…")
    return options


def compared(what: str, words: list[str]) -> dict[str, Any]:
    """Return the options of what `compare` is asked to measure.

    Raises:
        ConfigError: there is no such measurement.
    """
    if what != "compare":
        return {}
    asked = next((word.removeprefix("what=") for word in words if word.startswith("what=")), "")
    if asked not in MEASURED:
        raise ConfigError("compare what?", hint=f"what={' or what='.join(MEASURED)}")
    return DEFAULTS[asked]


def main(words: list[str]) -> int:
    """Run one measurement."""
    if {"-h", "--help", "help"} & set(words):
        say(str(__doc__))
        return 0
    try:
        what = words[0] if words else ""
        if what not in DEFAULTS:
            raise ConfigError("benchmark what?", hint=f"one of {', '.join(DEFAULTS)}")
        options = options_of(what, DEFAULTS[what] | compared(what, words[1:]), words[1:])
        kinds: dict[str, Callable[..., dict[str, Any]]]
        kinds = {"step": step, "loader": loader, "val": val, "predict": predict, "compare": compare, "labels": labels}
        kinds["safety"] = safety
        result = kinds[what](**options)
    except UserError as e:
        say(f"error: {e}", error=True)
        return 2
    say(json.dumps({"what": what, **{k: v for k, v in options.items() if k not in result}, **result}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
