"""How many threads compute on a CPU: one per core, unless fewer are clearly faster.

The threads of one operation wait for each other, and while they wait they keep their cores busy. Where another process
holds a core, all wait for the one that has none, many times in a step: two threads beside one other process on two
cores can take fifty times as long as one thread. So `threads=auto` times a step with all cores and with fewer.

In training the number decides in which order gradients are added up, and so how they are rounded: runs are equal to the
bit only with equal numbers. That is why all cores are kept unless they are clearly slower, and why the number belongs
to the run: it stands in args.yaml and in the checkpoint, and a resumed run keeps it.
"""

from __future__ import annotations

import contextlib
import copy
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ultralytics.cfg.config import Config
from ultralytics.engine.formats.format import FileBackend
from ultralytics.engine.preflight.trial import kept_random_state
from ultralytics.nn.several import networks_in, with_networks
from ultralytics.utils.log import LOGGER
from ultralytics.utils.tensors import tensors_in
from ultralytics.utils.text import counted
from ultralytics.utils.threads import cores as cores  # the run's setup and studies ask here
from ultralytics.utils.threads import kept_threads

CLEARLY = 1.5  # times faster: less is within what a busy machine does to a timing
HOPELESS = 3.0  # times slower in one step: not tried again
STEP_SECONDS = 0.5  # after which a step of the trial is broken off
MIN_STEPS, MIN_SECONDS = 3, 0.2  # timed for each number of threads
TRIAL_SECONDS = 3.0  # after which no further step begins
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
N = TypeVar("N")


def machine_load() -> str:
    """Return what else keeps the machine busy, as far as it tells: "load average 5.2 on 2 cores"."""
    try:
        load = f"load average {os.getloadavg()[0]:.1f} on "
    except (AttributeError, OSError):  # Windows has none
        load = ""
    return load + counted(cores(), "core")


def candidates(most: int) -> list[int]:
    """Numbers of threads worth a trial, from 1 up to `most`: halves of halves of it."""
    found = [most]
    while found[-1] > 1:
        found.append(found[-1] // 2)
    return found[::-1]


@dataclass(frozen=True)
class Choice:
    """What a trial has found.

    Attributes:
        threads: the number to use; ratios: number of threads → times as long as the fastest one took.
    """

    threads: int
    ratios: dict[int, float]

    def line(self) -> str:
        """The choice and its reason."""
        most = max(self.ratios)
        if self.threads == most:
            others = (f"{_times(r / self.ratios[most])} with {n}" for n, r in self.ratios.items() if n != most)
            return f"threads={most}: all there are; it takes {', '.join(others)}"
        slower = self.ratios[most] / self.ratios[self.threads]
        return (
            f"threads={self.threads}: with all {most} it takes {_times(slower)} as long now ({machine_load()}); "
            f"threads={most} uses all of them anyway"
        )


def _times(ratio: float) -> str:
    return f"{ratio:.1f} times" if ratio < 20 else "more than 20 times"  # at least two


def fastest(trial: Callable[[int], list[float]], most: int) -> Choice:
    """The number of threads to use: the largest that is not clearly slower than the fastest.

    Args:
        trial: seconds from the start of a step with so many threads to points in it that are the same for every number.
            A slow step is broken off, so steps are compared as far as all of them went.
        most: threads.
    """
    started = time.perf_counter()
    traces: dict[int, list[list[float]]] = {}
    for n in candidates(most):
        trial(n)  # starts the threads and fills caches
        traces[n] = [trial(n)]
    ratios = _ratios(traces)
    traces = {n: ts for n, ts in traces.items() if ratios[n] <= HOPELESS}
    running = list(traces)
    while running and time.perf_counter() - started < TRIAL_SECONDS:
        for n in running:  # in turn: what else the machine does changes from moment to moment
            traces[n].append(trial(n))
        running = [n for n in running if len(traces[n]) < MIN_STEPS or sum(t[-1] for t in traces[n]) < MIN_SECONDS]
    ratios |= _ratios(traces)
    return Choice(max(n for n in traces if ratios[n] <= CLEARLY), ratios)


def _ratios(traces: dict[int, list[list[float]]]) -> dict[int, float]:
    """By number of threads, how many times as long as with the fastest the steps took, as far as all of them went."""
    common = min(len(t) for ts in traces.values() for t in ts)
    if not common:
        return dict.fromkeys(traces, 1.0)
    seconds = {n: sum(t[common - 1] for t in ts) / len(ts) for n, ts in traces.items()}
    return {n: s / max(min(seconds.values()), 1e-9) for n, s in seconds.items()}


class _LateError(BaseException):
    """A step of a trial takes too long. Not an Exception: a network that names the row of one would take it for one."""


def trace(model: nn.Module, step: Callable[[], object], threads: int) -> list[float]:
    """Seconds until a step with so many threads has entered each module, has made each gradient, and is done; those
    that come after STEP_SECONDS are missing."""
    times: list[float] = []

    def mark(*_: object) -> None:
        times.append(time.perf_counter() - start)
        if times[-1] > STEP_SECONDS:
            raise _LateError

    handles: list[Any] = [m.register_forward_pre_hook(mark) for m in model.modules() if not list(m.children())]
    handles += [p.register_hook(mark) for p in model.parameters() if p.requires_grad]  # type: ignore[no-untyped-call]  # torch's own
    torch.set_num_threads(threads)
    start = time.perf_counter()
    try:
        step()
        mark()
    except _LateError:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return times


def settle(args: Config, device: torch.device, choose: Callable[[int], Choice | None]) -> None:
    """Use `args.threads` threads from here on; on a CPU, None becomes the number to use.

    Args:
        choose: tries numbers of threads up to the given one, which torch or the program has set; not called where
            there is nothing to choose, or where the environment names a number (VARIABLES).
    """
    if args.threads is None and device.type == "cpu":
        most = torch.get_num_threads()
        free = most > 1 and not any(os.environ.get(v) for v in VARIABLES)
        found = choose(most) if free else None
        if found is not None:
            LOGGER.info(found.line())
        args.set("threads", found.threads if found is not None else most, "auto")
    kept_from_cpu = device.type != "cpu" and args.sources.get("threads") == "auto"
    if args.threads is not None and not kept_from_cpu:
        torch.set_num_threads(args.threads)


def given_to(net: Any) -> Any:
    """Return a network with the threads of a run. A runtime that has threads of its own gets as many as torch has, and
    torch one: it only prepares images and suppresses boxes then, and its threads would wait for cores that the
    runtime's threads hold."""
    networks = list(networks_in(net))
    files = [n for n in networks if isinstance(n, FileBackend) and n.threads is not None]
    if not files:
        return net
    count = torch.get_num_threads()
    found = with_networks(net, lambda one: one.of_run(threads=count) if one in files else one)
    if len(files) == len(networks):
        torch.set_num_threads(1)
    return found


def try_training(
    model: nn.Module, autocast: Callable[[], contextlib.AbstractContextManager[Any]], batch: int, imgsz: int, most: int
) -> Choice | None:
    """Time forward and backward of a copy of a model on up to `batch` images; it, its gradients and all random streams
    are left as they are. None where the copy fails: what is wrong with it is for others to tell."""
    try:
        net = copy.deepcopy(model).train()
    except Exception:  # whatever a module holds
        return None

    def step() -> None:
        with autocast():
            outputs = net(img)
        torch.stack([t.float().square().mean() for t in tensors_in(outputs) if t.requires_grad]).sum().backward()  # type: ignore[no-untyped-call]  # torch's own
        net.zero_grad()

    def trial(threads: int) -> list[float]:
        return trace(net, step, threads)

    with _undisturbed():
        try:
            img = make_images(min(batch, 2), imgsz)
            trial(1)
            seconds = trial(1)[-1]
            if seconds < STEP_SECONDS:  # as many images as fit into a moment: threads pay for larger batches
                img = make_images(max(min(batch, int(MIN_SECONDS / seconds)), len(img)), imgsz)
            return fastest(trial, most)
        except Exception:  # whatever a module raises
            return None


def try_inference(model: nn.Module, shape: tuple[int, ...], most: int) -> Choice | None:
    """Time the forward pass of a model in evaluation mode on images of a shape (B, 3, H, W)."""
    img = make_images(shape[0], *shape[2:])

    def step() -> None:
        with torch.inference_mode():
            model(img)

    with _undisturbed():
        try:
            return fastest(lambda threads: trace(model, step, threads), most)
        except Exception:  # whatever a module raises
            return None


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    with kept_threads(), kept_random_state(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def make_images(count: int, height: int, width: int | None = None) -> Tensor:
    made = torch.rand(count, 3, height, width or height, generator=torch.Generator().manual_seed(0))
    return made.contiguous(memory_format=torch.channels_last)
