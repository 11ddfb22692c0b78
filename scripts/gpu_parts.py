"""The parts of gpu_day.py: what is measured on a card, and how. Each writes a line per figure, most valuable first."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import benchmark
import gpu_attention
import torch
import yaml
from gpu_memory import memory_table

from ultralytics import YOLO
from ultralytics.cfg.config import Config
from ultralytics.cli import main as command
from ultralytics.data.prepare import prepare_shapes
from ultralytics.engine.run.provenance import code_digest, git_state, versions
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import tensors
from ultralytics.utils.console import say

ROOT = Path(__file__).resolve().parents[1]
GIB = 2**30
MOST = 0.8  # of the card that is filled to find out what a batch takes
SYNC = "called a synchronizing CUDA operation"
# What is switched, in the order in which it is measured, on the first network or on those with attention: a run's key,
# a variable of the environment in capitals, or channels_last. What the code lacks is left out. Compiling takes long.
FIRST, ATTENTION = False, True
SWITCHES: list[tuple[bool, dict[str, Any]]] = [
    (ATTENTION, {"ULTRALYTICS_FLA": "plain"}),
    (FIRST, {"amp": False}),
    (FIRST, {"deterministic": False}),
    (FIRST, {"augment_on": "gpu"}),
    (FIRST, {"channels_last": False}),
    (ATTENTION, {"amp": False}),
    (FIRST, {"compile": True}),
    (ATTENTION, {"compile": True}),
    (FIRST, {"compile": "reduce-overhead"}),
]
COPIES = 8  # of each training image, where the data are the embedded ones: an epoch of five batches is too short


class Report:
    """Writes the lines of a part: JSON, one per call, on the disk before it returns."""

    def __init__(self, file: Path, part: str, echo: bool = True) -> None:
        self.file, self.part, self.echo = file, part, echo
        self.errors = 0

    def __call__(self, what: str, **figures: Any) -> None:
        """Write a line; a number that is not finite becomes null."""
        row = {"part": self.part, "what": what, **figures}
        line = json.dumps(json.loads(json.dumps(row, default=str), parse_constant=lambda _: None), ensure_ascii=False)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        if self.echo:
            say(line)

    @contextlib.contextmanager
    def guarded(self, **about: Any) -> Iterator[None]:
        """Let a failure of the block be a line, so that it does not hide what comes after; then release memory."""
        try:
            yield
        except Exception as e:
            traceback.print_exc()
            self.errors += 1
            self("error", **about, error=f"{type(e).__name__}: {e}"[:1000])
        finally:
            release()


class Clock:
    """The time of a part."""

    def __init__(self, limit: float) -> None:
        self.limit, self.started = limit, time.monotonic()

    def left(self) -> float:
        """Return the seconds until the limit, less what an ordered end needs."""
        return 0.95 * self.limit - (time.monotonic() - self.started)


def listed(value: Any) -> tuple[str, ...]:
    """Return the words of a list, as a,b or [a,b]."""
    return tuple(str(v) for v in (value if isinstance(value, list) else str(value).split(",")) if v)


@dataclass(frozen=True)
class Options:
    """What is measured: `imgsz` and `batch` of 0, and empty names, mean what suits the device."""

    out: Path
    work: Path
    data: str
    imgsz: int
    batch: int
    device: str
    models: tuple[str, ...]
    switches: tuple[str, ...]
    commit: str

    @staticmethod
    def of(words: dict[str, Any], out: Path, work: Path) -> Options:
        """Read the words of the command line."""
        models, switches = (listed(words[k]) for k in ("models", "switches"))
        return Options(
            out,
            work,
            str(words["data"]),
            int(words["imgsz"]),
            int(words["batch"]),
            str(words["device"]),
            models,
            switches,
            str(words["commit"]),
        )

    @property
    def on_card(self) -> bool:
        """True if there is a GPU to measure. Not to be asked before a part's process is made: CUDA survives no fork."""
        return self.device != "cpu" and torch.cuda.is_available()

    def settled(self) -> Options:
        """Fill in what suits the device."""
        card = self.on_card
        return replace(
            self,
            imgsz=self.imgsz or (640 if card else 64),
            batch=self.batch or (64 if card else 4),
            device=self.device or ("0" if card else "cpu"),
            models=self.models or (MODELS if card else MODELS[:2]),
        )

    def keys(self, model: str, **more: Any) -> dict[str, Any]:
        """Return the keys of a run that leaves as little as possible, in the working folder."""
        threads = {} if self.on_card else {"threads": 1}
        workers = min(os.cpu_count() or 1, 16) if self.on_card else 0
        plain = {"plots": False, "preflight": False, "verbose": False, "exist_ok": True, "workers": workers}
        place = {"project": str(self.work / "runs"), "name": "run", "device": self.device}
        sizes = {"imgsz": self.imgsz, "batch": self.batch, "nbs": self.batch}
        model = model if model.endswith(".yaml") else f"{model}.yaml"
        return {"model": model, "data": self.small(), **plain, **place, **sizes, **threads, **more}

    def small(self) -> str:
        """Return the YAML of the data, the embedded ones where none are given; on a CPU a few of their images."""
        if self.data:
            return self.data
        made = prepare_shapes(self.work / "shapes")
        return str(made if self.on_card else copied(made, self.work / "few", 1, 12))

    def large(self) -> str:
        """Return the YAML of data with an epoch that is long enough to wait for them in earnest."""
        if self.data or not self.on_card:
            return self.small()
        return str(copied(prepare_shapes(self.work / "shapes"), self.work / "many", COPIES))


MODELS = ("yolov8n", "yolov8n-fla-sppf", "yolov8n-fla-p345", "yolov8s")


def copied(source: Path, target: Path, copies: int, most: int | None = None) -> Path:
    """Return the YAML of a dataset that has each training image so many times, under other names."""
    if (target / "data.yaml").exists():
        return target / "data.yaml"
    for split in ("train", "val"):
        for image in sorted((source.parent / "images" / split).iterdir())[:most]:
            label = source.parent / "labels" / split / f"{image.stem}.txt"
            for i in range(copies if split == "train" else 1):
                for file, kind in ((image, "images"), (label, "labels")):
                    place = target / kind / split / f"{image.stem}_{i}{file.suffix}"
                    place.parent.mkdir(parents=True, exist_ok=True)
                    if file.exists():
                        shutil.copyfile(file, place)
    spec = yaml.safe_load(source.read_text(encoding="utf-8"))
    spec |= {"path": str(target), "test": None}
    (target / "data.yaml").write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return target / "data.yaml"


# Versions


def measure_versions(report: Report, options: Options, _: Clock) -> None:
    """Card, driver, libraries, our code."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "commit": options.commit or git_state(),
        "code": code_digest(),
        **{k: v for k, v in versions().items() if k not in ("python", "torch")},
    }
    with contextlib.suppress(ImportError):
        import triton

        found["triton"] = triton.__version__
    if options.on_card:
        card = torch.cuda.get_device_properties(0)
        found |= {
            "card": card.name,
            "memory_gib": card.total_memory / GIB,
            "multiprocessors": card.multi_processor_count,
        }
        found |= {"capability": f"{card.major}.{card.minor}", "cards": torch.cuda.device_count()}
        found["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
    ask = [
        "nvidia-smi",
        "--query-gpu=driver_version,clocks.sm,clocks.mem,power.limit,ecc.mode.current",
        "--format=csv,noheader",
    ]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(ask, capture_output=True, encoding="utf-8", timeout=20, check=True)
        found["nvidia_smi"] = answer.stdout.strip()
    report("versions", **found)


def prepare_data(report: Report, options: Options, _: Clock) -> None:
    """Draw the embedded data, where no others are given."""
    options = options.settled()
    started = time.perf_counter()
    files = options.small(), options.large()
    report("data", files=files, seconds=time.perf_counter() - started)


# The gpu-marked tests


def run_tests(report: Report, _: Options, clock: Clock) -> None:
    """Run the tests that need a card; failures are on the disk as they come."""
    files = [f for f in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in f.read_text(encoding="utf-8")]
    words = [sys.executable, "-m", "pytest", "-vv", "--tb=short", "-m", "gpu", *map(str, files)]
    counts: Counter[str] = Counter()
    failed = []
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")
    assert process.stdout is not None
    line = ""
    try:
        for line in process.stdout:
            say(line.rstrip("\n"))
            found = re.match(r"(\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", line)
            if found:
                counts[found[2].lower()] += 1
                if found[2] in ("FAILED", "ERROR"):
                    failed.append(found[1])
                    report("failure", test=found[1])
        process.wait()
    finally:
        code = process.returncode
        report("tests", **counts, failures=failed, files=len(files), code=code, last_line=line.strip())


# The training step


class Case(NamedTuple):
    """A network under a switch."""

    model: str
    switch: dict[str, Any]


def cases(options: Options) -> list[Case]:
    """Return the cases, most valuable first: the networks as they are, then the switches. A CPU has no kernels of ours,
    and compiles for minutes, which it is not asked to."""
    have = (
        {f.name for f in fields(Config)} | {"channels_last"} | ({"ULTRALYTICS_FLA"} if gpu_attention.FUSED else set())
    )
    have -= set() if options.on_card else {"compile", "ULTRALYTICS_FLA"}
    asked = have if "all" in options.switches else have & set(options.switches)
    found = [Case(m, {}) for m in options.models]
    for which, switch in SWITCHES:
        models = [m for m in options.models if "fla" in m] if which is ATTENTION else options.models[:1]
        found += [c for m in models if switch.keys() <= asked and (c := Case(m, switch)) not in found]
    return found


def measure_step(report: Report, options: Options, clock: Clock) -> None:
    """Time the trainer's own step on ready batches, count its kernels and waits, and time it with the loader."""
    options = options.settled()
    found = cases(options)
    each = min(clock.limit / (4 * len(found)), 3.0)
    held: dict[bool, list[Any]] = {}  # batches, the same for all cases but those whose loader makes others
    for i, case in enumerate(found):
        about = {"model": case.model, "switch": case.switch, "imgsz": options.imgsz, "batch": options.batch}
        if clock.left() < (25.0 if "compile" in case.switch else 3 * each):
            report("skipped", **about, why="no time left")
            continue
        with report.guarded(**about), switched(case.switch) as keys:
            keys |= options.keys(case.model, data=options.large(), val=False)
            loader = i == 0 or "augment_on" in case.switch
            report(
                "step", **about, **step_figures(keys, each, loader, held.setdefault("augment_on" in case.switch, []))
            )


def contiguous(_: torch.device) -> torch.memory_format:
    """Lay maps out channel by channel, on whatever device."""
    return torch.contiguous_format


@contextlib.contextmanager
def switched(switch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Set what a run reads elsewhere than in its keys; yield the keys."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, {k: str(v) for k, v in switch.items() if k.isupper()}))
        if "channels_last" in switch:
            readers = [m for m in sys.modules.values() if getattr(m, "__dict__", {}).get("layout") is tensors.layout]
            for module in readers:
                stack.enter_context(mock.patch.object(module, "layout", contiguous))
        yield {k: v for k, v in switch.items() if k.islower() and k != "channels_last"}


def step_figures(keys: dict[str, Any], seconds: float, with_loader: bool, batches: list[Any]) -> dict[str, Any]:
    """Return the figures of a run's step on the batches, which are made where there are none."""
    started = time.perf_counter()
    trainer = DetectionTrainer(overrides=keys)
    try:
        trainer._setup()
        trainer.model.train()
        batches += [] if batches else ready(trainer)
        step = stepping(trainer, batches)
        found = {"setup_s": time.perf_counter() - started, "images": len(batches[0]["im_file"])}
        return {
            **found,
            **timed(step, seconds, len(batches[0]["im_file"])),
            **counted_on_device(step),
            **(loaded(trainer, seconds) if with_loader else {}),
            "losses": [float(v) for v in trainer.state.loss_mean],
        }
    finally:
        if trainer.train_loader is not None:
            trainer.train_loader.close()


def ready(trainer: Any) -> list[Any]:
    """Return two batches of the run's training data: images on the device, labels where the loader leaves them."""
    loader = trainer.train_loader
    found = [loader.batch_at(0, i) for i in range(min(2, len(loader)))]
    for batch in found:
        for key, value in batch.items():
            if isinstance(value, torch.Tensor) and trainer.device.type == "cuda":
                batch[key] = value.to(trainer.device) if key == "img" else value.pin_memory()
    return found


def stepping(trainer: Any, batches: list[Any]) -> Callable[[], None]:
    """Return what takes the next step of a run, and its loss, as the run's loop does."""
    done = 0

    def step() -> None:
        nonlocal done
        batch = batches[done % len(batches)]
        trainer.step.loss.images = len(batch["im_file"])
        trainer.state.add_loss(trainer.train_step(dict(batch), done))
        done += 1

    return step


def wait() -> None:
    """Wait for the card, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def release() -> None:
    """Give memory back to the card, and let torch compile what comes next anew."""
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def timed(step: Callable[[], None], seconds: float, images: int, rounds: int = 3) -> dict[str, Any]:
    """Return the seconds of a step, by rounds of as many as fit, each ended by a wait for the card."""
    wait()
    started = time.perf_counter()
    step()
    wait()
    first = time.perf_counter() - started
    for _ in range(3):  # what is chosen by trying, such as the convolutions' algorithms, is chosen here
        started = time.perf_counter()
        step()
        wait()
    once = time.perf_counter() - started
    count = max(int(seconds / rounds / max(once, 1e-4)), 2)
    taken, host = [], []
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(count):
            step()
        host.append((time.perf_counter() - started) / count)
        wait()
        taken.append((time.perf_counter() - started) / count)
    ms = statistics.median(taken) * 1e3
    found = {
        "step_ms": ms,
        "step_ms_range": [min(taken) * 1e3, max(taken) * 1e3],
        "host_ms": statistics.median(host)
        * 1e3,  # until the last launch: near step_ms, the step waits or is launch-bound
        "images_per_second": images / ms * 1e3,
        "steps_timed": rounds * count,
        "first_step_s": first,
    }
    if torch.cuda.is_available():
        found["peak_allocated_gib"] = torch.cuda.max_memory_allocated() / GIB
        found["peak_reserved_gib"] = torch.cuda.max_memory_reserved() / GIB
    return found


def counted_on_device(step: Callable[[], None], steps: int = 3) -> dict[str, Any]:
    """Return per step: kernels, launches, milliseconds that the card is busy, and waits for it with their places.

    On a CPU, the operators alone.
    """
    os.environ.setdefault("TEARDOWN_CUPTI", "1")  # else its hooks stay, and every later launch takes longer
    kind = torch.profiler.ProfilerActivity
    card = torch.cuda.is_available()
    with torch.profiler.profile(activities=[kind.CUDA if card else kind.CPU]) as profile:
        for _ in range(steps):
            step()
        wait()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(file))
        events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    del profile
    if not card:
        return {"operators": sum(e.get("cat") == "cpu_op" for e in events) / steps}
    found = on_card(events, steps)
    places: Counter[str] = Counter()
    with syncs_noted(places):
        for _ in range(steps):
            step()
    return {
        **found,
        "syncs": sum(places.values()) / steps,
        "sync_places": {k: n / steps for k, n in places.most_common()},
    }


def on_card(events: list[dict[str, Any]], steps: int) -> dict[str, Any]:
    """Read a trace: what ran on the card, and for how long it was busy."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_kind.setdefault(str(event.get("cat")), []).append(event)
    kernels, copies = by_kind.get("kernel", []), by_kind.get("gpu_memcpy", [])
    fills = by_kind.get("gpu_memset", [])
    calls = [str(e["name"]) for e in by_kind.get("cuda_runtime", []) + by_kind.get("cuda_driver", [])]
    spans = sorted((float(e["ts"]), float(e["ts"]) + float(e["dur"])) for e in kernels + copies + fills)
    busy, until = 0.0, -1.0
    for begin, end in spans:
        busy += max(end - max(begin, until), 0.0)
        until = max(until, end)
    longest: Counter[str] = Counter()
    for event in kernels:
        longest[str(event["name"])[:90]] += float(event["dur"])
    return {
        "kernels": len(kernels) / steps,
        "copies": len(copies) / steps,
        "fills": len(fills) / steps,
        "launches": sum("Launch" in name for name in calls) / steps,
        "waits_in_trace": sum("Synchronize" in name for name in calls) / steps,
        "busy_ms": busy / 1e3 / steps,
        "longest_kernels_ms": {name: dur / 1e3 / steps for name, dur in longest.most_common(8)},
    }


@contextlib.contextmanager
def syncs_noted(places: Counter[str]) -> Iterator[None]:
    """Count the operations that wait for the card, by the line of ours that they come from."""

    def note(message: Warning | str, *_: Any, **__: Any) -> None:
        if SYNC in str(message):
            places[place_of_ours()] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


def place_of_ours() -> str:
    """Return the innermost line of the package on the stack, and where in torch it led to."""
    frame, inner = sys._getframe(2), ""
    while frame is not None:
        file = frame.f_code.co_filename
        if file == __file__:
            return f"the measurement{inner}"
        if file.startswith(str(ROOT / "ultralytics")):
            return f"{Path(file).relative_to(ROOT)}:{frame.f_lineno}{inner}"
        if not inner and "warnings" not in Path(file).name:
            inner = f" ({Path(file).name}:{frame.f_lineno} {frame.f_code.co_name})"
        frame = frame.f_back
    return f"outside of the package{inner}"


def loaded(trainer: Any, seconds: float) -> dict[str, Any]:
    """Time steps on batches as they come from the loader: the loop's wait for them, and waits for the card."""
    loader = trainer.train_loader
    skip = min(8, len(loader) // 3)
    waited, images, places = 0.0, 0, Counter[str]()
    begun = mark = time.perf_counter()
    noted = 0
    with contextlib.ExitStack() as stack:
        for i, batch in enumerate(loader):
            if i == skip:
                wait()
                begun, waited, images = time.perf_counter(), 0.0, 0
            else:
                waited += time.perf_counter() - mark
            trainer.step.loss.images = len(batch["im_file"])
            trainer.state.add_loss(trainer.train_step(batch, 1000 + i))
            images += len(batch["im_file"])
            mark = time.perf_counter()
            if mark - begun > 2 * seconds and i > skip:
                break
        wait()
        taken = time.perf_counter() - begun
        if torch.cuda.is_available():
            stack.enter_context(syncs_noted(places))
            for i, batch in enumerate(loader):
                trainer.train_step(batch, 2000 + i)
                noted += 1
                if noted == 2:
                    break
    return {
        "loader_images_per_second": images / taken,
        "loader_wait": waited / taken,
        "workers": trainer.train_loader.num_workers,
        **({"loader_syncs": sum(places.values()) / noted} if noted else {}),
        **({"loader_sync_places": {k: n / noted for k, n in places.most_common()}} if noted else {}),
    }


# The attention


def measure_fla(report: Report, options: Options, clock: Clock) -> None:
    """Time focused linear attention, forward and with backward, at the sizes of the table of floors."""
    for row in gpu_attention.measure(options.on_card, clock.left):
        report.errors += "error" in row
        report("error" if "error" in row else "skipped" if "skipped" in row else "fla", **row)
        release()


# A short training, and one that is stopped and goes on


def measure_training(report: Report, options: Options, clock: Clock) -> None:
    """Train for a few epochs; then stop another run in the middle, resume it and compare, bit by bit."""
    options = options.settled()
    model = options.models[min(1, len(options.models) - 1)]
    with report.guarded(run="short"):
        train_briefly(report, options, model, Clock(0.55 * clock.limit))
    with report.guarded(run="stopped and resumed"):
        compare_resumed(report, options, model)


def train_briefly(report: Report, options: Options, model: str, clock: Clock) -> None:
    """Train for five epochs, or as many as there is time for: speed, the loop's wait for images, memory."""
    epochs = 5 if options.on_card else 2
    trainer = DetectionTrainer(overrides=options.keys(model, data=options.large(), epochs=epochs, name="short"))
    row: dict[str, Any] = {}
    began = [0.0, 0.0]

    def begin(_: Any) -> None:
        began[0] = time.perf_counter()

    def trained(t: Any) -> None:
        wait()
        seconds = time.perf_counter() - began[0]
        row.update(epoch=t.epoch + 1, images_per_second=len(t.train_loader.dataset) / seconds)
        if options.on_card:
            row["allocated_gib"] = torch.cuda.memory_allocated() / GIB
            row["reserved_gib"] = torch.cuda.memory_reserved() / GIB

    def validated(t: Any) -> None:
        if not row:  # the last validation, of the best weights
            return
        last, taken = t.rows[-1], time.perf_counter() - began[0]
        report(
            "epoch", model=model, **row, seconds=taken, data_wait=last.get("time/data_wait"),
            mAP50=last.get("metrics/mAP50(B)"), box_loss=last.get("train/box_loss"),
        )  # fmt: skip
        row.clear()
        t.stop = t.stop or clock.left() < 1.5 * taken

    for event, function in (("train_epoch_start", begin), ("train_epoch_end", trained), ("fit_epoch_end", validated)):
        trainer.add_callback(f"on_{event}", function)
    trainer.train()
    sizes = {"imgsz": options.imgsz, "batch": options.batch, "images": len(trainer.train_loader.dataset)}
    report("training", model=model, epochs=len(trainer.rows), workers=trainer.train_loader.num_workers, **sizes)


def compare_resumed(report: Report, options: Options, model: str) -> None:
    """Train two epochs at once, and again with a stop in the second; the weights must be equal to the bit."""
    smaller = replace(options, imgsz=min(options.imgsz, 320), batch=min(options.batch, 32))
    whole = DetectionTrainer(overrides=smaller.keys(model, epochs=2, name="whole"))
    noticed = Counter[str]()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: noticed.update(not_deterministic(str(message)))
        whole.train()
    stopped = DetectionTrainer(overrides=smaller.keys(model, epochs=2, name="stopped"))

    def stop(trainer: Any) -> None:
        if (trainer.finished, trainer.batches_done) == (1, 1):
            signal.raise_signal(signal.SIGINT)

    stopped.add_callback("on_train_batch_end", stop)
    interrupted = False
    try:
        stopped.train()
    except KeyboardInterrupt:
        interrupted = True
    again = DetectionTrainer(overrides={"resume": str(stopped.save_dir)})
    again.train()
    ours, theirs = (load_checkpoint(t.last).state for t in (whole, again))
    differing = [n for part in ("weights", "ema") for n, v in ours[part].items() if not torch.equal(v, theirs[part][n])]
    report(
        "resume", model=model, equal=not differing, differing=len(differing), interrupted=interrupted,
        digest=digest(ours["weights"]), not_deterministic=dict(noticed),
    )  # fmt: skip


def not_deterministic(message: str) -> list[str]:
    """Return the operation that a warning says to be without a deterministic form."""
    found = re.match(r"(\S+) does not have a deterministic implementation", message)
    return [found[1]] if found else []


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """Return a digest of tensors by name."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


# Validation


def measure_validation(report: Report, options: Options, clock: Clock) -> None:
    """Validate the weights of the short training, or fresh ones, twice: the second time everything is warm."""
    options = options.settled()
    weights = options.work / "runs" / "short" / "weights" / "best.pt"
    if not weights.exists():
        weights = options.work / "fresh.pt"
        YOLO(options.keys(options.models[0])["model"]).save(weights)
    workers = min(os.cpu_count() or 1, 16) if options.on_card else 0
    for repeat in (1, 2):
        if repeat == 2 and clock.left() < 5:
            return
        threads = {"threads": torch.get_num_threads()}
        figures = benchmark.val(
            str(weights), options.small(), options.imgsz, options.batch, workers, **threads, device=options.device
        )
        report("val", model=weights.parents[1].name, repeat=repeat, imgsz=options.imgsz, batch=options.batch, **figures)


# Memory

FILLING: list[tuple[str, dict[str, Any]]] = [
    *((m, {}) for m in ("yolov8n", "yolov8s", "yolov8n-fla-p345", "yolov8m")),
    *((m, {"checkpoint_rows": "auto"}) for m in ("yolov8n-fla-p345", "yolov8m")),
]
SIDES = (640, 1280, 960, 800)  # pixels; the ends first


def measure_memory(report: Report, options: Options, clock: Clock) -> None:
    """Measure what a step takes by batch and size, and write the table of what fits."""
    options = options.settled()
    rows: list[dict[str, Any]] = []
    for model, more in FILLING:
        if not more.keys() <= {f.name for f in fields(Config)}:
            continue
        if clock.left() < 5:
            report("skipped", model=model, switch=more, why="no time left")
            continue
        with report.guarded(model=model, switch=more):
            for size, points in filled(options.keys(model, imgsz=640, batch=4, nbs=4, val=False, **more), clock):
                about = {"model": model, "switch": more, "imgsz": size}
                rows.append({**about, "points": points})
                report("memory", **about, points_gib={b: p / GIB for b, p in points})
        table = memory_table(rows, context_bytes() / GIB, "by lines through what was measured")
        (options.out / "memory.md").write_text(table, encoding="utf-8")


def filled(keys: dict[str, Any], clock: Clock) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield the size in pixels and (batch, bytes) at two batches or more, of one network."""
    trainer = DetectionTrainer(overrides=keys)
    trainer._setup()
    trainer.model.train()
    for size in SIDES:
        points = peaks(trainer, size, torch.cuda.get_device_properties(0).total_memory, clock)
        if len(points) > 1:
            yield size, points


def context_bytes() -> int:
    """Return what the card holds for this process beside torch's own memory (and whatever others hold)."""
    free, total = torch.cuda.mem_get_info()
    return total - free - torch.cuda.memory_reserved()


def peaks(trainer: Any, size: int, total: int, clock: Clock) -> list[tuple[int, int]]:
    """Return (batch, bytes that torch reserves at the most in a step), for growing batches of random images."""
    points: list[tuple[int, int]] = []
    for batch in (8, 16, 32):
        if len(points) == 2 and points[-1][1] + 2 * (points[-1][1] - points[-2][1]) > MOST * total:
            break
        if clock.left() < 2:
            break
        release()
        try:
            made = random_batch(batch, size, trainer.device)
            for i in range(2):  # the optimizer makes its state in the first
                trainer.step.loss.images = batch
                trainer.train_step(dict(made), i)
            wait()
            points.append((batch, torch.cuda.max_memory_reserved()))
        except torch.cuda.OutOfMemoryError:
            trainer.optimizer.zero_grad()
            break
    return points


def random_batch(images: int, size: int, device: torch.device) -> dict[str, Any]:
    """Return a batch of noise with eight boxes in each image."""
    n = 8 * images
    return {
        "img": torch.randint(0, 256, (images, 3, size, size), dtype=torch.uint8, device=device),
        "cls": torch.zeros(n),
        "bboxes": torch.rand(n, 4) * 0.2 + 0.3,
        "batch_idx": torch.arange(images).repeat_interleave(8).float(),
    }


# Preflight, batch=-1, memory that runs out


def measure_batch(report: Report, options: Options, clock: Clock) -> None:
    """Try the run at all its shapes, find the batch, and run out of memory on purpose."""
    options = options.settled()
    model = options.models[0]
    with report.guarded(run="preflight"):
        started = time.perf_counter()
        DetectionTrainer(overrides=options.keys(model, name="preflight", preflight=True))._setup()
        report("preflight", model=model, seconds=time.perf_counter() - started)
    for name, function in (("out of memory", run_out), ("batch=-1", find_largest)):
        if not options.on_card or clock.left() < 5:
            report("skipped", run=name, why="no time left" if options.on_card else "no CUDA device")
            continue
        with report.guarded(run=name):
            function(report, options, model)


def find_largest(report: Report, options: Options, model: str) -> None:
    """Let `batch=-1` find its batch, and see how much of the card two steps of it take."""
    started = time.perf_counter()
    trainer = DetectionTrainer(overrides=options.keys(model, name="largest", batch=-1, val=False))
    trainer._setup()
    trainer.model.train()
    found, seconds = int(trainer.args.batch), time.perf_counter() - started
    release()
    made = random_batch(found, options.imgsz, trainer.device)
    for i in range(2):
        trainer.step.loss.images = found
        trainer.train_step(dict(made), i)
    wait()
    share = torch.cuda.max_memory_reserved() / torch.cuda.get_device_properties(0).total_memory
    report("batch=-1", model=model, batch=found, seconds=seconds, share_of_card=share)


def run_out(report: Report, options: Options, model: str) -> None:
    """Train with a batch that is too large for what this process may take; the command must say what fits."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(2.5 * GIB / total)
    keys = options.keys(model, name="out", epochs=1, batch=64, val=False)
    try:
        code, said = commanded("train", **keys)
        line = next((x for x in reversed(said.splitlines()) if "out of memory" in x), said[-300:])
        report("out of memory", code=code, line=line)
        fits = re.search(r"batch=(\d+) fits", line)
        if fits:
            release()
            code, said = commanded("train", resume=str(options.work / "runs" / "out"), batch=int(fits[1]))
            report("went on", code=code, batch=int(fits[1]), last_line=said.strip().splitlines()[-1:])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def commanded(name: str, /, **keys: Any) -> tuple[int, str]:
    """Run a command of ours; return its exit code and what it has printed."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        code = command([name, *(f"{k}={v}" for k, v in keys.items())])
    say(text.getvalue())
    return code, text.getvalue()


# Ranks


def measure_ranks(report: Report, options: Options, clock: Clock) -> None:
    """Train with two ranks, on two cards where there are two; on one, record what is said."""
    options = options.settled()
    several = torch.cuda.device_count() > 1 if options.on_card else False
    device = ("0,1" if several else "0,0") if options.on_card else "cpu,cpu"
    keys = options.keys(options.models[0], device=device, epochs=1, name="ranks", batch=2 * min(options.batch, 16))
    words = [f"{k}={v}" for k, v in keys.items()]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "ultralytics", "train", *words],
        cwd=options.work, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=max(clock.left(), 5),
        check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    say(done.stdout)
    said = [x.strip() for x in done.stdout.splitlines() if x.strip()]
    telling = [x for x in said if re.search(r"error|NCCL|[Dd]uplicate|gloo", x)]
    report(
        "ranks", device=device, code=done.returncode, seconds=time.perf_counter() - started,
        lines=telling[-6:] or said[-3:],
        finished=(options.work / "runs" / "ranks" / "metrics.json").exists(),
    )  # fmt: skip


class Part(NamedTuple):
    """What a part does, its share of the time, whether it means anything without a card, and the least it needs."""

    run: Callable[[Report, Options, Clock], None]
    weight: float
    needs_card: bool = False
    least: float = 0.0  # seconds


PARTS = {  # in the order in which they run: a run that is cut short has seen the first
    "versions": Part(measure_versions, 0.3, least=20.0),
    "data": Part(prepare_data, 0.5, least=30.0),
    "step": Part(measure_step, 6.0),
    "fla": Part(measure_fla, 2.5),
    "tests": Part(run_tests, 3.0, needs_card=True),
    "train": Part(measure_training, 3.5),
    "memory": Part(measure_memory, 2.5, needs_card=True),
    "batch": Part(measure_batch, 2.0),
    "val": Part(measure_validation, 1.0),
    "ranks": Part(measure_ranks, 1.5),
}
