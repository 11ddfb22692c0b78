"""The process of one row of a benchmark: it opens a file, and takes its turns when it is asked to.

Each file has a process of its own, so that no runtime's threads wait in another's time, its memory can be measured, and
a crash costs one row. One JSON line comes in for each that goes out; see `benchmark`.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch

from ultralytics.cfg.config import get_cfg
from ultralytics.data.letterbox import LetterBox
from ultralytics.engine.formats.format import FileBackend
from ultralytics.engine.formats.table import format_of, open_exported
from ultralytics.engine.ranks.device import select_device
from ultralytics.engine.run.provenance import device_name
from ultralytics.models.yolo.task import task_named
from ultralytics.models.yolo.weights import network
from ultralytics.nn.backend import Backend
from ultralytics.nn.plugins import load_plugins
from ultralytics.utils.errors import DatasetError, UserError
from ultralytics.utils.images import imread
from ultralytics.utils.log import silence
from ultralytics.utils.ops import Profile
from ultralytics.utils.processes import memory_held
from ultralytics.utils.text import first_line
from ultralytics.utils.types import UInt8Array

STAGES = ("preprocess", "forward", "nms", "scale")  # of a pass, in this order


class OpenFile:
    """A file that takes turns with others.

    Args:
        setup: file, task, plugins, device, threads, half; imgsz, rect, batch; images, the paths to decode; and conf,
            iou and max_det as of `predict`.
    """

    def __init__(self, setup: Mapping[str, Any]) -> None:
        torch.set_num_threads(setup["threads"])
        load_plugins(setup["plugins"])
        self.device = select_device(setup["device"], quiet=True)
        images = [_image_of(path) for path in setup["images"]]
        self.before = memory_held()
        keys = ("imgsz", "device", "threads", "half", "conf", "iou", "max_det")
        args = get_cfg(None, {k: setup[k] for k in keys} | {"verbose": False}, mode="predict")
        made: Any = task_named(setup["task"]).predictor(overrides=args)
        file = setup["file"]
        made.setup_model(open_exported(file, self.device) if format_of(file) else network(file))
        self.predictor = made
        net: Backend = made.model
        made.letterbox = LetterBox(made.frame, auto=setup["rect"] and net.fixed is None, stride=made.stride)
        made.settle_threads()
        self.groups = grouped(images, setup["batch"], made.padded_shape)

    def facts(self) -> dict[str, Any]:
        """Return what there is to know of the open file, before any turn."""
        net: Any = self.predictor.model
        on = computes_on(net)
        return {
            "precision": precision(net),
            "device": device_name(on),
            "on": on.type,
            "input": list(net.fixed or self.predictor.frame),
            "passes": len(self.groups),
        }

    def turn(self) -> dict[str, Any]:
        """Run every group of images once, after one pass that does not count.

        Returns:
            "ms": of each pass, by stage in the order of STAGES; "boxes": found in all of them.
        """
        self._run(self.groups[-1])
        found = [self._run(group) for group in self.groups]
        return {"ms": [ms for ms, _ in found], "boxes": sum(boxes for _, boxes in found)}

    def memory(self) -> dict[str, float | None]:
        """Return the most memory that this process held, and what it held before the file was opened, in MiB."""
        on = computes_on(self.predictor.model)
        return {
            "memory_mb": memory_held(peak=True),
            "memory_before_mb": self.before,
            "gpu_memory_mb": torch.cuda.max_memory_allocated(on) / 2**20 if on.type == "cuda" else None,
        }

    def _run(self, images: list[UInt8Array]) -> tuple[list[float], int]:
        """Do what `predict` does with decoded images; return the milliseconds of each stage, and the boxes found."""
        predictor = self.predictor
        blocks = [Profile(device=self.device) for _ in STAGES]
        with blocks[0]:
            tensor = predictor.preprocess(images)
        with torch.inference_mode():
            with blocks[1]:
                output = predictor.inference(tensor)
            with blocks[2]:
                kept = predictor.suppress(output)
            with blocks[3]:
                results = predictor.as_results(kept, tensor, images)
        return [block.dt * 1e3 for block in blocks], sum(len(r) for r in results if r.probs is None)


def _image_of(path: str) -> UInt8Array:
    image = imread(path)
    if image is None:
        raise DatasetError("the image cannot be read", path)
    return image


def grouped(images: list[UInt8Array], batch: int, shape: Any) -> list[list[UInt8Array]]:
    """Return batches of images that are padded to one shape; the last of a shape is filled up with its first ones.

    Args:
        images: decoded.
        batch: their number in each.
        shape: image → (height, width) with its padding.
    """
    by_shape: dict[tuple[int, int], list[UInt8Array]] = defaultdict(list)
    for image in images:
        by_shape[shape(image)].append(image)
    groups = []
    for same in by_shape.values():
        for i in range(0, len(same), batch):
            part = same[i : i + batch]
            groups.append([*part, *(same[k % len(same)] for k in range(batch - len(part)))])
    return groups


def computes_on(net: Any) -> torch.device:
    """Return the device that a backend computes on: a file's runtime may have none but the CPU, and take images from
    there while it computes on a GPU."""
    found: torch.device = net.computes_on if isinstance(net, FileBackend) else net.device
    return found


def precision(net: Any) -> str:
    """Return the precision of a backend's weights: int8, fp16 or fp32."""
    args = net.metadata.args if isinstance(net, FileBackend) else {}
    if args.get("int8") is True:
        return "int8"
    return "fp16" if args.get("half") is True or net.dtype == torch.float16 else "fp32"


def serve() -> int:
    """Read a setup, open its file, and answer "turn" and "memory" until the input ends; returns the exit code."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a runtime prints is no answer
    silence()

    def answer(data: Mapping[str, Any]) -> None:
        answers.write(f"{json.dumps(data)}\n")
        answers.flush()

    try:
        made = OpenFile(json.loads(sys.stdin.readline()))
        answer(made.facts())
        for line in sys.stdin:
            answer(made.turn() if line.strip() == "turn" else made.memory())
    except UserError as e:
        answer({"reason": str(e)})
    except Exception as e:  # of a runtime: it costs one row
        answer({"reason": f"{type(e).__name__}: {first_line(e)}"})
    return 0


if __name__ == "__main__":
    sys.exit(serve())
