"""How many images a step can hold, found by trying."""

from __future__ import annotations

import contextlib
import gc
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn

from ultralytics.engine.preflight.probes import multi_scale_sizes
from ultralytics.engine.run.resume import resume_command
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.log import LOGGER

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

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


# Of a run


class GpuMemoryError(UserError):
    """A batch does not fit into the GPU's memory."""


def worst_sizes(trainer: BaseTrainer) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """(height, width) of the largest training batch and, where the run validates, of a validation batch."""
    side = trainer.args.imgsz
    largest = max(multi_scale_sizes(side, trainer.stride)) if trainer.args.multi_scale else side
    return (largest, largest), (side + trainer.stride,) * 2 if trainer.args.val else None  # rectangles have a border


def peak(trainer: BaseTrainer, images: int, extra: int = 0) -> int | None:
    """Bytes of the GPU that a step of so many images takes at its worst; None when memory runs out."""
    train_size, val_size = worst_sizes(trainer)

    def forward(img: Tensor) -> Any:
        if trainer.distillation is not None and trainer.model.training:
            return img  # its loss needs the images
        with trainer.autocast():
            return trainer.model(img)

    def loss(outputs: Any, n: int) -> Tensor:
        labels = {k: v.to(trainer.device) for k, v in trainer.trial_labels(n).items()}
        if trainer.distillation is not None:
            return trainer.batch_loss({**labels, "img": outputs})[0]
        return trainer.criterion(outputs, labels)[0]

    def step() -> None:
        trial_step(trainer.model, forward, loss, images, train_size, val_size, trainer.device, extra)

    trainer.model.train()
    return peak_memory(step, trainer.device)


def find_batch(trainer: BaseTrainer) -> None:
    """batch=-1 or a fraction: the largest batch whose worst step stays within that part of the GPU's memory.

    Raises:
        ConfigError: not even one image does.
    """
    asked = trainer.args.batch
    if trainer.device.type != "cuda":
        LOGGER.warning("batch=%g needs a GPU to try: using %d", asked, WITHOUT_GPU)
        trainer.args.set("batch", WITHOUT_GPU, "auto")
        return
    fraction = FRACTION if asked == -1 else float(asked)
    total = torch.cuda.get_device_properties(trainer.device).total_memory
    weights = sum(p.numel() * p.element_size() for p in trainer.model.parameters())
    with trainer.by_itself():
        mine = largest_batch(lambda n: peak(trainer, n, extra=3 * weights), int(fraction * total), MAX_BATCH)
    each = trainer.team.gather(mine) or []
    found = trainer.team.lead(lambda: min(each)) * trainer.team.size
    if not found:
        raise ConfigError(
            f"batch={asked:g}: not even one image of imgsz={trainer.args.imgsz} fits into {fraction:.0%} of the GPU",
            hint="a smaller imgsz or network",
        )
    LOGGER.info("batch=%d: the largest whose worst step takes %.0f%% of the GPU's memory", found, fraction * 100)
    trainer.args.set("batch", found, "auto")


def out_of_memory(trainer: BaseTrainer, error: BaseException) -> NoReturn:
    """Save what is whole, and name the batch that would have fitted.

    Raises:
        GpuMemoryError: always.
    """
    epoch = trainer.epoch + 1
    place = f"epoch {epoch}, batch {trainer.batches_done + 1}" if trainer.stage else f"validation {epoch}"
    if trainer.team.many:  # the others do not wait for a save, nor try smaller batches
        raise GpuMemoryError(
            f"CUDA out of memory at batch={trainer.args.batch} on {trainer.team.size} GPUs, "
            f"imgsz={trainer.args.imgsz} in {place}; {trainer.last} holds the last save",
            hint=f"{resume_command(trainer.save_dir, trainer.args.plugins)} with a smaller batch=",
        ) from None
    traceback.clear_frames(error.__traceback__)  # they hold the tensors that were too many
    whole = trainer.stage in ("", "forward")
    if trainer.stage == "forward":
        trainer.guard.undo()
    elif trainer.stage == "backward" and trainer.last_opt_step + 1 == trainer.finished * len(trainer.train_loader) + (
        trainer.batches_done
    ):  # nothing had gathered before this batch
        trainer.guard.undo()
        trainer.optimizer.zero_grad()
        whole = True
    saved = whole and (trainer.args.save or trainer.last.exists())
    if saved:
        trainer.save_sound()
    trainer.optimizer.zero_grad()
    trainer.stage = ""
    free(trainer.device)
    args = trainer.args
    total = torch.cuda.get_device_properties(trainer.device).total_memory
    fits = largest_batch(lambda n: peak(trainer, n), total, args.batch - 1) if args.batch > 1 else 0
    told = f"batch={fits} fits (tried)" if fits else "not even one image fits"
    hint = f"{resume_command(trainer.save_dir, args.plugins)} batch={fits}" if fits else "a smaller imgsz or network"
    where = "" if saved or not trainer.last.exists() else f"; {trainer.last} holds the last save"
    raise GpuMemoryError(
        f"CUDA out of memory at batch={args.batch}, imgsz={args.imgsz} in {place}: {told}{where}", hint=hint
    ) from None
