"""How long the arms' networks take for an image; measured once, side by side, and kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ultralytics.engine.run.provenance import device_name
from ultralytics.models.yolo.weights import load_trained
from ultralytics.nn.backend import inference_copy
from ultralytics.nn.tasks import DetectionModel
from ultralytics.study.record import FINISHED, RunRecord
from ultralytics.utils.errors import UserError
from ultralytics.utils.files import write_json
from ultralytics.utils.log import LOGGER
from ultralytics.utils.ops import Profile
from ultralytics.utils.tensors import layout

FILE = "latency.json"
WARMUP, REPEATS, FEWEST = 10, 100, 20
LONGEST = 120.0  # seconds: on a busy machine a pass may take a hundred times as long
SIZE = "parameters"  # of the network that was measured: an arm of the same name may have become another
_FACTS = {"p50_ms", "p95_ms", "imgsz", "batch", "precision", "device", "warmup", "repeats"}


def latency(
    models: Mapping[str, DetectionModel], imgsz: int, device: torch.device, warmup: int = WARMUP, repeats: int = REPEATS
) -> dict[str, dict[str, Any]]:
    """Milliseconds of a forward pass of one image, fused, fp32. The networks take turns, so that whatever else the
    machine does meanwhile falls on all of them alike.

    Args:
        models: by name; imgsz: pixels, square; warmup, repeats: passes of each before and while they are timed; fewer,
            but FEWEST at least, where they take longer than LONGEST.

    Returns:
        name → p50_ms, p95_ms, and what they were measured with.
    """
    nets = {name: inference_copy(model, device) for name, model in models.items()}
    spent: dict[str, list[float]] = {name: [] for name in nets}
    image = torch.zeros(1, 3, imgsz, imgsz, device=device).contiguous(memory_format=layout(device))
    until = time.monotonic() + LONGEST
    with torch.inference_mode():
        for i in range(warmup + repeats):
            if i >= warmup + FEWEST and time.monotonic() > until:
                repeats = i - warmup
                break
            for name, net in nets.items():
                with Profile(device=device) as block:
                    net(image)
                if i >= warmup:
                    spent[name].append(block.dt * 1e3)
    facts = {
        "imgsz": imgsz, "batch": 1, "precision": "fp32", "device": device_name(device), "torch": str(torch.__version__),
        "threads": torch.get_num_threads() if device.type == "cpu" else None, "warmup": warmup, "repeats": repeats,
    }  # fmt: skip
    return {
        name: {"p50_ms": float(np.percentile(ms, 50)), "p95_ms": float(np.percentile(ms, 95)), **facts}
        for name, ms in spent.items()
    }


def measure(
    out: Path,
    records: Sequence[RunRecord],
    weights: Mapping[str, Path] | None = None,
    plugins: Callable[[], object] = lambda: None,
) -> None:
    """Measure an arm's network where OUT/latency.json lacks it, all arms anew then: times of different hours do not
    belong side by side. What cannot be measured is a warning.

    Args:
        records: the runs; weights: of an arm, where they are not in the folder of its run.
        plugins: loads what the networks need.
    """
    first = _first(records)
    if first.keys() <= read_fitting(out, records).keys():
        return
    try:
        plugins()
        files = {a: (weights or {}).get(a) or out / r.folder / "weights" / "best.pt" for a, r in first.items()}
        files = {a: f if f.exists() else f.with_name("last.pt") for a, f in files.items()}
        imgsz = max(int(r.facts.get("imgsz") or 640) for r in first.values())
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        LOGGER.info("Measuring latency, in turns: %s", ", ".join(files))
        nets = {a: load_trained(f)[0] for a, f in files.items()}
        times = latency(nets, imgsz, device, repeats=REPEATS)
        found = {a: {**t, SIZE: first[a].cost.get(SIZE)} for a, t in times.items()}
        write_json(out / FILE, found, key="out")
    except (UserError, OSError, RuntimeError) as e:
        LOGGER.warning("latency is not measured: %s", e)


def _first(records: Sequence[RunRecord]) -> dict[str, RunRecord]:
    """Return the first finished run of each arm."""
    return {r.arm: r for r in reversed(records) if r.state == FINISHED}


def read_fitting(out: Path, records: Sequence[RunRecord]) -> dict[str, dict[str, Any]]:
    """Return what was measured of the networks that the runs have, by arm: times of another network, which an arm had
    before its runs were redone, are left out."""
    known = read(out)
    sizes = {arm: r.cost.get(SIZE) for arm, r in _first(records).items()}
    return {a: known[a] for a, size in sizes.items() if a in known and known[a].get(SIZE, size) == size}


def read(out: Path) -> dict[str, dict[str, Any]]:
    """Return what was measured, by arm; empty where nothing was, or the file is damaged."""
    try:
        found = json.loads((out / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and all(map(_is_sound, found.values())) else {}


def _is_sound(times: object) -> bool:
    if not isinstance(times, dict) or not times.keys() >= _FACTS:
        return False
    return all(type(times[k]) in (int, float) for k in ("p50_ms", "p95_ms", "repeats", "warmup"))
