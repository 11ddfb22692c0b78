"""`benchmark`: what a network costs in each format, from the image to its boxes, measured in turns.

The columns are defined in docs/export.md. A row's file runs in a process of its own (`turns`).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from ultralytics.cfg.keys import PREDICT_CONF
from ultralytics.cfg.paths import PACKAGE
from ultralytics.data.prepare.shapes import draw
from ultralytics.engine.formats.table import FORMATS, format_named, format_of
from ultralytics.engine.ranks.device import select_device
from ultralytics.engine.run.provenance import device_name, git_state, versions, without_home
from ultralytics.engine.safety.threads import machine_load
from ultralytics.models.yolo.task import Task, task_named
from ultralytics.models.yolo.turns import STAGES
from ultralytics.utils.errors import ConfigError, ExportError, UserError
from ultralytics.utils.files import file_size, write_json
from ultralytics.utils.images import imwrite
from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.output_path import target_file
from ultralytics.utils.processes import signal_name
from ultralytics.utils.text import counted, first_line
from ultralytics.utils.threads import cores

PYTORCH = "pytorch"  # the first row: the weights themselves
IMAGES = 64  # of a dataset
DRAWN, NOISE = 12, 4  # images where there is no dataset
MIN_ROUNDS = 3
ANSWER_SECONDS = 900  # after which a row is given up
METRIC_BATCH = 16
# Of a pass: what each figure adds up.
FIGURES = {"forward": ("forward",), "with_nms": ("forward", "nms"), "end_to_end": STAGES}


class BenchmarkRow:
    """A row of the table.

    Args:
        name: of the format.
        title: as people call it.

    Attributes:
        file: what is measured, when it has been written.
        figures: what was measured; `reason`, in one line, where something could not be.
        passes: ms of each stage, by round.
    """

    def __init__(self, name: str, title: str, file: Path | None = None) -> None:
        self.name, self.title, self.file = name, title, file
        self.figures: dict[str, Any] = {}
        self.reason = ""
        self.passes: list[list[list[float]]] = []

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"format": self.name, "title": self.title, **self.figures, "reason": self.reason}


class RowProcess:
    """The process that a row's file runs in.

    Args:
        setup: see `turns.OpenFile`.
        folder: for what it writes to standard error.
    """

    def __init__(self, setup: Mapping[str, Any], folder: Path) -> None:
        path = os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._errors = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # `close` closes it
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ultralytics.models.yolo.turns"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": path},
        )
        try:
            self.facts = self.ask(json.dumps(setup))
        except BaseException:
            self.close()
            raise

    def ask(self, line: str) -> dict[str, Any]:
        """Send a line and return the answer.

        Raises:
            ExportError: the file fails, its process has ended, or it takes too long.
        """
        process = self._process
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018  # for mypy alone
        timer = threading.Timer(ANSWER_SECONDS, process.kill)
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(f"{line}\n")
                process.stdin.flush()
            found = process.stdout.readline()
        finally:
            timer.cancel()
        if not found:
            raise ExportError(self._ending())
        answer: dict[str, Any] = json.loads(found)
        if "reason" in answer:
            raise ExportError(answer["reason"])
        return answer

    def _ending(self) -> str:
        code = self._process.wait()
        if code < 0:
            return f"its process was ended by {signal_name(-code)}"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"its process ended with code {code}{f': {lines[-1]}' if lines else ''}"

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def measure(  # size: each key is one of the command's
    yolo: Any,
    data: str | None = None,
    formats: str | Sequence[str] | None = "all",
    imgsz: int | None = None,
    batch: int = 1,
    half: bool = False,
    int8: bool = False,
    dynamic: bool = False,
    rect: bool = False,
    device: Any = None,
    threads: int | None = None,
    conf: float = PREDICT_CONF,
    iou: float = 0.7,
    max_det: int = 300,
    images: int = IMAGES,
    seconds: float = 60.0,
    out: str | Path | None = None,
    strict: bool = False,
) -> dict[str, Any]:
    """Export a network, measure its files in turns, print the table and return its figures; see docs/export.md.

    Args:
        yolo: a YOLO, of a network or of an exported file, which is then the only row.
        out: also write the figures there, as JSON; the others are the options of the command.

    Raises:
        UserError: nothing could be measured; with `strict`, a row could not be.
    """
    target = target_file(out) if out is not None else None
    rows = _wanted(yolo, formats)
    if rect and not dynamic and _is_network(yolo):
        raise ConfigError("rect=True has no effect on files of a fixed size", hint="add dynamic=True, or leave it out")
    where = select_device(device, quiet=True)
    threads = threads or torch.get_num_threads()
    size = _size(yolo, imgsz)
    made = {"imgsz": size, "batch": batch, "half": half, "int8": int8, "dynamic": dynamic, "device": device}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        files, what = _images(data, images, folder, task_named(yolo.task))
        _write_files(yolo, rows, made | ({"data": data} if int8 and data else {}), folder)
        if data:
            _measure_figures(
                yolo, rows, folder, data=data, imgsz=size, device=device, rect_val=rect, threads=threads, half=half
            )
        setup = {
            "task": yolo.task, "plugins": yolo.plugins, "device": str(where), "threads": threads, "half": half,
            "imgsz": size, "rect": rect, "batch": batch, "images": files, "conf": conf, "iou": iou,
            "max_det": max_det,
        }  # fmt: skip
        rounds = _take_turns(rows, setup, seconds, folder)
    for row in rows:
        row.figures.update(summary(row.passes, batch))
    found = {
        "model": yolo.model_name,
        "task": yolo.task,
        "command": [without_home(word) for word in sys.argv],
        **{k: v for k, v in made.items() if k != "device"},
        **{"rect": rect, "conf": conf, "iou": iou, "max_det": max_det, "data": data},
        "images": what,
        "rounds": rounds,
        "machine": _machine(where, threads),
        "versions": versions() | _runtimes(),
        "git": git_state(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "rows": [row.to_dict() for row in rows],
    }
    for line in table(found):
        LOGGER.info("%s", line)
    if target is not None:
        write_json(target, without_home(found), key="out")
    failed = [row for row in rows if row.reason]
    if failed and (strict or len(failed) == len(rows)):
        raise ExportError(f"{failed[0].title}: {failed[0].reason}")
    return found


def _wanted(yolo: Any, formats: str | Sequence[str] | None) -> list[BenchmarkRow]:
    """Return a row for the weights and for each format, or one for an exported file."""
    if not _is_network(yolo):
        known = format_of(yolo.model_name)
        assert known is not None
        if formats not in (None, "all", ["all"]):
            raise ConfigError("formats= needs a network, and this is an exported file", yolo.model_name, "leave it out")
        return [BenchmarkRow(known.name, known.title, yolo.model.path)]
    names = [formats] if isinstance(formats, str) else list(formats or ["all"])
    names = list(FORMATS) if names == ["all"] else names
    found = dict.fromkeys(format_named(n).name for n in names if n.lower() not in (PYTORCH, "torch", "pt"))
    return [BenchmarkRow(PYTORCH, "PyTorch"), *(BenchmarkRow(n, FORMATS[n].title) for n in found)]


def _size(yolo: Any, imgsz: int | None) -> int | list[int]:
    """Return the size to measure at: the given one, or that of the file or the weights."""
    size: int | list[int] = yolo.overrides.get("imgsz", 640) if imgsz is None else imgsz
    return size[0] if isinstance(size, list) and len(set(size)) == 1 else size


def _is_network(yolo: Any) -> bool:
    return isinstance(yolo.model, nn.Module)


def _images(data: str | None, count: int, folder: Path, task: Task) -> tuple[list[str], str]:
    """Return images to run, spread over the validation images, and what they are."""
    if data:
        found = task.sampled.listed(task.load_data(data, needs=["val"]), "val")
        count = min(count, len(found))
        return [found[i * len(found) // count] for i in range(count)], f"{counted(count, 'image')} of {data}, val"
    files = []
    generator = np.random.default_rng(0)
    for i in range(DRAWN + NOISE):
        noise = generator.integers(0, 256, (480, 640, 3), np.uint8)
        image = cv2.resize(draw((0, i))[0], (640, 480)) if i < DRAWN else noise
        files.append(str(folder / f"{i}.png"))
        imwrite(Path(files[-1]), image.astype(np.uint8))
    return files, f"{DRAWN} drawn images and {NOISE} of noise, 480×640: NMS has other work on photographs (give data=)"


def _write_files(yolo: Any, rows: Sequence[BenchmarkRow], keys: Mapping[str, Any], folder: Path) -> None:
    """Write the weights and each format into a folder; what cannot be written says why."""
    if not _is_network(yolo):
        rows[0].figures["size_mb"] = file_size(yolo.model.path)
        return
    weights = folder / f"{Path(yolo.model_name).stem}.pt"
    yolo.save(weights)
    for row in progress(rows, desc="Writing files"):
        if row.name == PYTORCH:
            row.file = weights
        else:
            began = time.perf_counter()
            with _reason(row):
                row.file = Path(type(yolo)(str(weights), plugins=yolo.plugins).export(format=row.name, **keys))
                row.figures["export_seconds"] = time.perf_counter() - began
        if row.file is not None:
            own = yolo.ckpt_path if row.name == PYTORCH else None  # a copy of fp16 weights is twice as large
            row.figures["size_mb"] = file_size(own or row.file)


@contextlib.contextmanager
def _reason(row: BenchmarkRow) -> Iterator[None]:
    """Turn what goes wrong with a row into its reason: the others are measured all the same."""
    try:
        yield
    except UserError as e:
        row.reason = " ".join(str(e).split())
    except Exception as e:  # of a converter or a runtime
        row.reason = f"{type(e).__name__}: {first_line(e)}"
    if row.reason:
        LOGGER.warning("%s: %s", row.title, row.reason)


def _measure_figures(yolo: Any, rows: Sequence[BenchmarkRow], folder: Path, **keys: Any) -> None:
    """Measure the two figures of the task that are shown of each file, see `figure_keys`."""
    found = task_named(yolo.task).figures
    if isinstance(keys["imgsz"], list):  # of an exported file, which knows it
        del keys["imgsz"]
    for row in progress([row for row in rows if row.file is not None], desc=f"Measuring {found.metric}"):
        with _reason(row):
            keys |= {"batch": METRIC_BATCH, "plots": False, "coco": False, "verbose": False, "project": str(folder)}
            metrics = type(yolo)(str(row.file), plugins=yolo.plugins).val(name=row.name, **keys)
            row.figures |= {
                key: float(metrics.results_dict[column])
                for key, column in zip(figure_keys(yolo.task), found.first.values(), strict=True)
            }


def figure_keys(task: str) -> list[str]:
    """Return the names that a task's two figures have in JSON: map and map50, or top1 and top5."""
    return [{"mAP50-95": "map", "mAP50": "map50"}.get(n, n) for n in list(task_named(task).figures.columns)[:2]]


def _take_turns(rows: Sequence[BenchmarkRow], setup: Mapping[str, Any], seconds: float, folder: Path) -> int:
    """Run the files round by round, in turns; the first round warms up and does not count. Returns the rounds that do.

    Args:
        rows: get their passes; with a file that fails, its reason.
        setup: see `turns.OpenFile`.
        seconds: after which no further round begins; there are MIN_ROUNDS at least.
    """
    processes: dict[BenchmarkRow, RowProcess] = {}
    rounds = 0
    bar = progress(total=math.ceil(seconds), desc="Measuring times", unit=" s")
    try:
        for row in (row for row in rows if row.file is not None and not row.reason):
            with _reason(row):
                processes[row] = process = RowProcess({**setup, "file": str(row.file)}, folder)
                row.figures.update(process.facts)
        began = time.perf_counter()
        for number in range(sys.maxsize):
            if number > MIN_ROUNDS and time.perf_counter() - began > seconds:
                break
            processes = {row: process for row, process in processes.items() if not row.reason}
            for row in sorted(processes, key=lambda r: (rows.index(r) + number) % len(rows)):
                with _reason(row):
                    turn = processes[row].ask("turn")
                    row.figures["boxes_per_image"] = turn["boxes"] / (len(turn["ms"]) * setup["batch"])
                    if number:
                        row.passes.append(turn["ms"])
            rounds = number
            if number == 0:
                began = time.perf_counter()
            bar.update(min(int(time.perf_counter() - began), math.ceil(seconds)) - bar.n)
        for row, process in processes.items():
            with _reason(row):
                row.figures.update(process.ask("memory"))
    finally:
        bar.close()
        for process in processes.values():
            process.close()
    return rounds


def summary(rounds: Sequence[Sequence[Sequence[float]]], batch: int) -> dict[str, Any]:
    """Return the figures of a row from the ms of each stage of its passes.

    Args:
        rounds: by round and pass, in the order of STAGES.
        batch: images of a pass.

    Returns:
        For each of FIGURES p50 and p95 over all passes, in ms; p50 of each stage alone; images per second: the median
        over the rounds of the images divided by the time end to end; and the same of the forward passes alone.
    """
    if not rounds:
        return {}
    passes = np.array([p for r in rounds for p in r])
    found: dict[str, Any] = {}
    for name, stages in FIGURES.items():
        ms = passes[:, [STAGES.index(s) for s in stages]].sum(1)
        found[name] = {"p50_ms": float(np.percentile(ms, 50)), "p95_ms": float(np.percentile(ms, 95))}
    found["stages_ms"] = {s: float(np.median(passes[:, i])) for i, s in enumerate(STAGES)}
    part = STAGES.index("forward")
    found["images_per_second"] = statistics.median(1e3 * batch * len(r) / float(np.sum(r)) for r in rounds)
    found["forward_per_second"] = statistics.median(
        1e3 * batch * len(r) / float(np.sum(np.array(r)[:, part])) for r in rounds
    )
    return found


def _machine(device: torch.device, threads: int) -> dict[str, Any]:
    gpu = device_name(device) if device.type == "cuda" else None
    return {
        "cpu": device_name(torch.device("cpu")),
        "cores": cores(),
        "threads": threads,
        "gpu": gpu,
        "load": machine_load(),
    }


def _runtimes() -> dict[str, str]:
    """Return the versions of the packages that formats rest on, of those that are installed."""
    found = {}
    for package in sorted(
        {p for f in FORMATS.values() for p in (*f.packages, *f.reads, *itertools.chain(*f.extras.values()))}
    ):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def table(found: Mapping[str, Any]) -> list[str]:
    """Return the figures of a benchmark as lines for a reader."""
    task = found.get("task", "detect")
    times = ("forward ms", "+ NMS ms", "end to end ms")
    head = ("format", "", "on", "MB", *task_named(task).figures.first, *times, "images/s", "memory MB")
    cells = [head, *(_cells(row, figure_keys(task)) for row in found["rows"])]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    lines = ["  ".join(c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
             for line in cells]  # fmt: skip
    reasons = [f"{row['title']}: {row['reason']}" for row in found["rows"] if row["reason"]]
    shape = "padded by its own shape" if found["rect"] else "square"
    return [
        "",
        *(line.rstrip() for line in lines),
        *reasons,
        "",
        "p50 / p95 of a pass. End to end: letterbox, preprocessing, forward, NMS and scaling, without decoding.",
        f"imgsz {found['imgsz']} ({shape}), batch {found['batch']}, conf {found['conf']:g}, iou {found['iou']:g}; "
        f"{counted(found['rounds'], 'round')} in turns over {found['images']}",
        *_devices(found),
    ]


def _devices(found: Mapping[str, Any]) -> list[str]:
    """Return a line for each device that rows were measured on, and which, where they are several."""
    machine = found["machine"]
    by_device: dict[tuple[str, str], list[str]] = {}
    for row in found["rows"]:
        if "device" in row:
            by_device.setdefault((row["on"], row["device"]), []).append(row["title"])
    lines = []
    for (kind, name), titles in by_device.items():
        what = f"{name}, {counted(machine['threads'], 'thread')} ({machine['load']})" if kind == "cpu" else name
        lines.append(f"{what}: {', '.join(titles)}" if len(by_device) > 1 else what)
    return lines


def _cells(row: Mapping[str, Any], figures: Sequence[str]) -> tuple[str, ...]:
    def number(key: str, form: str) -> str:
        return "" if row.get(key) is None else format(row[key], form)

    def span(key: str) -> str:
        return f"{row[key]['p50_ms']:.1f} / {row[key]['p95_ms']:.1f}" if key in row else ""

    return (
        row["title"],
        row.get("precision", "") if not row["reason"] else "failed",
        {"cpu": "CPU", "cuda": "GPU"}.get(row.get("on", ""), row.get("on", "")),
        number("size_mb", ".1f"),
        *(number(key, ".4f") for key in figures),
        *(span(key) for key in FIGURES),
        number("images_per_second", ".1f"),
        number("memory_mb", ".0f"),
    )
