"""How many images a step can hold, found by trying."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

FRACTION = 0.6  # of the GPU's memory: what batch=-1 means
WITHOUT_GPU = 16  # images: what batch=-1 becomes where nothing can be tried
MAX_BATCH = 1024


def largest_batch(peak: Callable[[int], int | None], budget: int, limit: int) -> int:
    """The largest number of images whose step stays within a budget, or close to it; 0 when not even one does.

    Args:
        peak: bytes that a step of so many images takes, None when memory runs out; tried from 1 upwards, doubling,
        then between the last that fits and the first that does not, down to a sixteenth of the result.
        budget: bytes; limit: images.
    """

    def fits(n: int) -> bool:
        taken = peak(n)
        return taken is not None and taken <= budget

    low, high = 0, limit + 1
    n = 1
    while n < high:
        if not fits(n):
            high = n
            break
        low, n = n, 2 * n if 2 * n <= limit or n == limit else limit
        if low == limit:
            return limit
    while high - low > max(low // 16, 1):
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low


def peak_memory(step: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that torch holds of a GPU's memory at the most while `step` runs; None when memory runs out."""
    free(device)
    torch.cuda.reset_peak_memory_stats(device)
    try:
        step()
        torch.cuda.synchronize(device)
    except torch.cuda.OutOfMemoryError:
        return None
    else:
        return int(torch.cuda.max_memory_reserved(device))
    finally:
        free(device)


def free(device: torch.device) -> None:
    """Give what nothing uses back to the GPU."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def trial_step(
    model: nn.Module,
    forward: Callable[[Tensor], Any],
    loss: Callable[[Any, int], Tensor],
    images: int,
    train_size: tuple[int, int],
    val_size: tuple[int, int] | None,
    device: torch.device,
    extra: int = 0,
) -> None:
    """A training step of so many images and a validation of twice as many, on zeros; gradients are dropped, and
    statistics stay.

    Args:
        forward: the model in the run's precision; loss: outputs and number of images → what is differentiated.
        train_size, val_size: (height, width) in pixels; no val_size: nothing is validated.
        extra: bytes that come on top later: the optimiser's state and the average.
    """
    reserved = torch.empty(extra, dtype=torch.uint8, device=device)
    with _unmoved(model):
        for size, batch, train in ((train_size, images, True), (val_size, 2 * images, False)):
            if size is None:
                continue
            img = torch.zeros(batch, 3, *size, device=device).contiguous(memory_format=torch.channels_last)
            if train:
                loss(forward(img), images).backward()  # type: ignore[no-untyped-call]  # torch's own
                model.zero_grad()
            else:
                model.eval()
                with torch.inference_mode():
                    forward(img)
    del reserved


@contextlib.contextmanager
def _unmoved(model: nn.Module) -> Iterator[None]:
    """Statistics, gradients, modes and random streams afterwards as before."""
    kept = [(b, b.clone()) for b in model.buffers()]
    modes = [(m, m.training) for m in model.modules()]
    gradients = [(p, p.grad) for p in model.parameters()]
    for p, _ in gradients:
        p.grad = None
    try:
        with torch.random.fork_rng():
            yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)
        for p, gradient in gradients:
            p.grad = gradient
        for module, training in modes:
            module.training = training
