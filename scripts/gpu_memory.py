"""Count what a training step holds on a GPU, on a machine without one, and print the largest batch that fits by card.

    bash scripts/gpu_memory.sh [models=yolov8n,my.yaml imgsz=640,1280 task=detect objects=40 amp=True]
                               [checkpoint_rows=auto scale=s]

The step is the run's own: forward, loss, backward, in the precision of the run (bf16 on cards from Ampere on; with
amp=False fp32), with the optimiser's state and the average. Its operations are gone through on tensors without data
(torch's FakeTensorMode), and what lives at a time is counted. Memory that libraries of the card take for themselves is
not seen: docs/gpu.md says how near the figures came to a card's.
"""

from __future__ import annotations

import bisect
import contextlib
import importlib
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from benchmark import options_of
from random_batch import OBJECTS, SUFFIXES, random_batch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ultralytics.cfg.config import get_cfg
from ultralytics.cfg.model import ModelSpec, find_model_yaml, load_model_spec
from ultralytics.engine.preflight.kept import rows_to_recompute
from ultralytics.models.yolo.task import TASKS
from ultralytics.nn.tasks import network_of
from ultralytics.utils.console import say
from ultralytics.utils.errors import ConfigError, UserError

GIB = 2**30
CARDS = (8, 12, 24, 80)  # GiB
MARGIN = 0.06  # of a card's memory that is left to the driver and to fragmentation
CONTEXT = 0.5  # GiB of a card that a process takes besides its tensors
BATCHES = (2, 16, 128)  # images of the steps that are counted first
SHOWN = 16  # images of the step whose memory the table has
COUNTED = 512  # images of a step, up to which the batch that is named has been counted itself
LIMIT = 4096  # images of a batch that nobody asks for
ANCHORS = 10  # that learn an object, at the most
GRAIN = 512  # bytes that the card's memory is given out in
DEFAULTS: dict[str, Any] = {
    "models": "yolov8n,yolov8n-fla-p345,yolov8s,yolov8m",
    "imgsz": "640,800,960,1280",
    "task": "detect",
    "objects": 40,
    "amp": True,
    "checkpoint_rows": "none",
    "scale": "",
}


class Living(TorchDispatchMode):
    """Count the bytes of the tensors that live while operations are gone through: `now`, and `peak`, the most so
    far."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def count(self, tensor: Tensor) -> None:
        """Count a tensor's memory, once, until it is given back."""
        storage = tensor.untyped_storage()
        if storage not in self._known:
            self._known.add(storage)
            size = -(-storage.nbytes() // GRAIN) * GRAIN
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._give_back, size)

    def _give_back(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for made in tree_leaves(out):
            if isinstance(made, Tensor):
                self.count(made)
        return out


def main(words: list[str]) -> int:
    """Print the table; 0, or 2 for a mistake in the words."""
    if {"-h", "--help", "help"} & set(words):
        say(str(__doc__))
        return 0
    try:
        options = options_of("gpu_memory", DEFAULTS, words)
        rows = [figures(*asked, options) for asked in settled(options)]
    except UserError as e:
        say(f"error: {e}", error=True)
        return 2
    say(memory_table(rows, CONTEXT, "counted"))
    return 0


def settled(options: dict[str, Any]) -> list[tuple[str, str, int]]:
    """Check the options; return the models, their scales ("" without any) and the sizes that are asked for.

    Raises:
        UserError: an option, or there is no such model.
    """
    if options["task"] not in SUFFIXES:
        raise ConfigError(f"task={options['task']} is unknown", hint=f"one of {', '.join(SUFFIXES)}")
    if not isinstance(options["amp"], bool):
        raise ConfigError(f"amp={options['amp']} is neither True nor False")
    if type(options["objects"]) is not int or not 0 < options["objects"] <= 1000:
        raise ConfigError(
            f"objects={options['objects']} is not a number of objects", hint="of the fullest image, 1..1000"
        )
    if options["checkpoint_rows"] != "none":
        get_cfg(overrides={"checkpoint_rows": options["checkpoint_rows"]})
    sizes = listed(options["imgsz"])
    for size in sizes:
        if not size.isdecimal():
            raise ConfigError(f"imgsz={size} is not a size", hint="pixels, such as 640 or 640,1280")
    scales = {m: spec_of(m, options["task"], options["scale"]).scale for m in listed(options["models"])}
    return [(model, scale, int(size)) for model, scale in scales.items() for size in sizes]


def listed(value: Any) -> list[str]:
    """Return the words of `a,b` or of a list."""
    words = value if isinstance(value, list | tuple) else str(value).split(",")
    return [str(word).strip() for word in words if str(word).strip()]


def yaml_of(model: str) -> str:
    """Return the file of a model, which may be given as a name."""
    return model if model.endswith((".yaml", ".yml")) else f"{model}.yaml"


def spec_of(model: str, task: str, scale: str = "") -> ModelSpec:
    """Return the YAML of a name or a file, at a scale (its own, if that is "").

    Raises:
        UserError: there is none, or it is of another task.
    """
    if Path(model).suffix == ".pt":
        raise ConfigError(f"models={model}: weights are not read here", hint="a model YAML, or a name such as yolov8n")
    spec = load_model_spec(yaml_of(model), str(scale) or None)
    if network_of(spec) is not TASKS[task].network:
        own = next(name for name, known in TASKS.items() if known.network is network_of(spec))
        raise ConfigError(f"{model} is not a network of task={task}", hint=f"task={own}")
    return spec


def figures(model: str, scale: str, imgsz: int, options: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the table, whose batches have been counted themselves.

    Raises:
        UserError: the size is none of the model's, or its step cannot be gone through.
    """
    say(f"{model}, {imgsz} px …", error=True)
    dtype = torch.bfloat16 if options["amp"] else torch.float32
    again = options["checkpoint_rows"]

    def count(images: int) -> int:
        return step_bytes(model, options["task"], images, imgsz, dtype, again, options["objects"], scale)

    points = [(n, count(n)) for n in BATCHES]
    for room in map(room_of, CARDS):
        settle_on(points, room, count)
    switch = {} if again == "none" else {"checkpoint_rows": again}
    if scale != (find_model_yaml(yaml_of(model))[1] or ""):
        switch["scale"] = scale
    if not options["amp"]:
        switch["amp"] = False
    return {"model": model, "switch": switch, "imgsz": imgsz, "points": points}


def settle_on(points: list[tuple[int, int]], room: float, count: Callable[[int], int]) -> None:
    """Count the batch that would be the largest of so many bytes, and others, until it is one that was counted."""
    while BATCHES[0] <= (n := largest_fitting(points, room)) <= COUNTED and n not in dict(points):
        bisect.insort(points, (n, count(n)))


def room_of(card: float, context: float = CONTEXT) -> float:
    """Return the bytes that a card of so many GiB has for tensors."""
    return (card * (1 - MARGIN) - context) * GIB


def step_bytes(
    model: str,
    task: str,
    images: int,
    imgsz: int,
    dtype: torch.dtype,
    again: Any = "none",
    objects: int = OBJECTS,
    scale: str = "",
    real: bool = False,
) -> int:
    """Return the bytes that live at the most in a training step.

    Args:
        model: name or YAML file. images: the batch. imgsz: side, a multiple of the stride, pixels.
        dtype: of the run. again: `checkpoint_rows=`, or "none". objects: of each image. scale: its
            letter, "" for the model's own. real: the step is computed.

    Raises:
        UserError: there is no such model, it cannot be built, or it is of another task or size.
    """
    args = get_cfg(overrides={"task": task, "checkpoint_rows": None if again == "none" else again})
    spec = spec_of(model, task, scale)
    net = TASKS[task].network(spec, verbose=False)
    side = int(max(net.stride))
    if imgsz < side or imgsz % side:
        raise ConfigError(f"imgsz={imgsz} is not a size of {model}", hint=f"a multiple of {side}")
    net.args = args
    net.train().to(memory_format=torch.channels_last)
    criterion = net.init_criterion()
    if args.checkpoint_rows is not None:
        net.checkpoint_rows = rows_to_recompute(net, args.checkpoint_rows, lambda: net(torch.zeros(1, 3, imgsz, imgsz)))
    living, fake = Living(), contextlib.nullcontext() if real else FakeTensorMode(allow_non_fake_inputs=True)
    to_fake(net, fake, living)
    beside = 3 * sum(p.numel() * p.element_size() for p in net.parameters())  # two moments and the average
    with fake:
        made = random_batch(task, images, imgsz, spec.nc, objects)
        if "keypoints" in made:  # as many as the network has
            made["keypoints"] = made["keypoints"][:, :1].repeat(1, net.head.kpt_shape[0], 1)
    with as_on_a_card(objects), gone_through(model, imgsz), fake, living:
        batch: Any = {k: torch.empty_like(v).copy_(v) for k, v in made.items()}
        made.clear()
        batch["img"] = batch["img"].to(dtype).contiguous(memory_format=torch.channels_last)
        if "batch_idx" in batch:
            batch["most"] = objects, batch["batch_idx"]
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            outputs = net(batch["img"])
        loss = criterion(outputs, batch)[0]
        del outputs
        loss.backward()
    return living.peak + beside


def to_fake(net: nn.Module, fake: Any, living: Living) -> None:
    """Give a network weights and buffers without data, or other tensors of the same numbers without a fake mode."""
    for module in net.modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    is_fake = isinstance(fake, FakeTensorMode)
                    empty = fake.from_tensor(tensor.detach()) if is_fake else tensor.detach().clone()
                    living.count(empty)
                    held[name] = nn.Parameter(empty, tensor.requires_grad) if held is module._parameters else empty


@contextlib.contextmanager
def gone_through(model: str, imgsz: int) -> Iterator[None]:
    """Make a line of what operations on tensors without data raise."""
    try:
        yield
    except UserError:
        raise
    except Exception as e:  # whatever a module raises
        why = str(e).strip().partition("\n")[0] or type(e).__name__
        hint = ""
        if isinstance(e, DataDependentOutputException | DynamicOutputShapeException):
            hint = "no module may read numbers of its maps here; bash scripts/gpu_day.sh OUT parts=memory measures"
        raise ConfigError(f"{model}, {imgsz} px: its step cannot be gone through: {why}", hint=hint) from None


@contextlib.contextmanager
def as_on_a_card(objects: int) -> Iterator[None]:
    """Let assigner, loss and attention choose as they do on a card that can do all of it."""
    with contextlib.ExitStack() as stack:
        for name in ("tal", "loss", "task_loss"):
            module = importlib.import_module(f"ultralytics.utils.{name}")
            stack.enter_context(mock.patch.object(module, "masked", return_value=True))
        anchors = ANCHORS * objects
        stack.enter_context(mock.patch("ultralytics.utils.task_loss.most_of", return_value=anchors))
        stack.enter_context(mock.patch("ultralytics.nn.ops.fla._unable", return_value=""))
        yield


def interpolated(points: Sequence[tuple[int, float]], batch: float) -> float:
    """Return the bytes of a batch from (batch, bytes) of others, two or more in rising order: on the straight lines
    between neighbours, and before the first on theirs. Beyond the last, on the line from one of half the batch or less:
    parts of a step grow by leaps."""
    X, Y = points[-1]
    if batch > X:
        x, y = max(point for point in points if point[0] <= X / 2)
    else:
        k = max(bisect.bisect_left([n for n, _ in points], batch), 1)
        (x, y), (X, Y) = points[k - 1], points[k]
    return y + (Y - y) / (X - x) * (batch - x)


def largest_fitting(points: Sequence[tuple[int, float]], room: float) -> int:
    """Return the largest batch, up to LIMIT, of no more than so many bytes by `interpolated`; 0 when none is."""
    low, high = 0, LIMIT + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if interpolated(points, middle) <= room else (low, middle)
    return low


def memory_table(rows: Sequence[dict[str, Any]], context: float, how: str) -> str:
    """Return the table of what fits, as Markdown.

    Args:
        rows: of `model`, `switch`, `imgsz` and `points`, see `interpolated`.
        context: GiB of a card that are not torch's. how: in words, how the batches were found.
    """
    lines = [
        f"Largest batch of a step, {how}. {context:.2f} GiB for the driver's context and {MARGIN:.0%} of the card are "
        "kept free.",
        "",
        f"| model | px | GiB at {SHOWN} images | {' | '.join(f'{c} GB' for c in CARDS)} |",
        "|---|---|---|" + "---|" * len(CARDS),
    ]
    for row in rows:
        fits = [largest_fitting(row["points"], room_of(card, context)) for card in CARDS]
        shown = [f"> {LIMIT}" if n == LIMIT else str(n or "–") for n in fits]
        name = ", ".join([row["model"], *(f"{k}={v}" for k, v in row["switch"].items())])
        held = f"{interpolated(row['points'], SHOWN) / GIB:.2f}"
        lines.append(f"| {name} | {row['imgsz']} | {held} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
