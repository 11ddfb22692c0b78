"""How long the arms' networks take for an image; measured once, side by side, and kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
WARMUP, REPEATS = 10, 100


def latency(
    models: Mapping[str, DetectionModel], imgsz: int, device: torch.device, warmup: int = WARMUP, repeats: int = REPEATS
) -> dict[str, dict[str, Any]]:
    """Milliseconds of a forward pass of one image, fused, fp32. The networks take turns, so that whatever else the
    machine does meanwhile falls on all of them alike.

    Args:
        models: by name; imgsz: pixels, square; warmup, repeats: passes of each before and while they are timed.

    Returns:
        name → p50_ms, p95_ms, and what they were measured with.
    """
    nets = {name: inference_copy(model, device) for name, model in models.items()}
    spent: dict[str, list[float]] = {name: [] for name in nets}
    image = torch.zeros(1, 3, imgsz, imgsz, device=device).contiguous(memory_format=layout(device))
    with torch.inference_mode():
        for i in range(warmup + repeats):
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


def measure(out: Path, records: Sequence[RunRecord], weights: Mapping[str, Path] | None = None) -> None:
    """Measure an arm's network where OUT/latency.json lacks one, all arms anew then: times of different hours do not
    belong side by side. What cannot be measured is a warning.

    Args:
        records: the runs; weights: of an arm, where they are not in the folder of its run.
    """
    first = {r.arm: r for r in reversed(records) if r.state == FINISHED}
    if not first or first.keys() <= read(out).keys():
        return
    try:
        files = {a: (weights or {}).get(a) or out / r.folder / "weights" / "best.pt" for a, r in first.items()}
        files = {a: f if f.exists() else f.with_name("last.pt") for a, f in files.items()}
        imgsz = max(int(r.facts.get("imgsz") or 640) for r in first.values())
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        write_json(out / FILE, latency({a: load_trained(f)[0] for a, f in files.items()}, imgsz, device), key="out")
    except (UserError, OSError, RuntimeError) as e:
        LOGGER.warning("latency is not measured: %s", e)


def read(out: Path) -> dict[str, dict[str, Any]]:
    """Return what was measured, by arm; empty where nothing was."""
    try:
        found = json.loads((out / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and all(isinstance(v, dict) for v in found.values()) else {}
