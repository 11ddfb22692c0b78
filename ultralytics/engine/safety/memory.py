"""How many images a step can hold, found by trying."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from ultralytics.cfg.config import Config
from ultralytics.engine.preflight.probes import multi_scale_sizes
from ultralytics.engine.run.resume import resume_command
from ultralytics.engine.run.saver import Saver
from ultralytics.engine.step.loss import BatchLoss
from ultralytics.engine.step.step import TrainStep
from ultralytics.engine.step.unmoved import unmoved
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.tensors import layout

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
    torch.cuda.init()  # type: ignore[no-untyped-call]  # torch's own; statistics are refused before the first tensor
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
    with unmoved(model):
        for size, batch, train in ((train_size, images, True), (val_size, 2 * images, False)):
            if size is None:
                continue
            img = torch.zeros(batch, 3, *size, device=device).contiguous(memory_format=layout(device))
            if train:
                loss(forward(img), images).backward()  # type: ignore[no-untyped-call]  # torch's own
                model.zero_grad()
            else:
                model.eval()
                with torch.inference_mode():
                    forward(img)
    del reserved


# Of a run


class GpuMemoryError(UserError):
    """A batch does not fit into the GPU's memory."""


@dataclass
class WorstStep:
    """The step of a run that takes the most memory.

    Attributes:
        loss: of the run, with the network.
        args: the run's configuration.
        stride: of the network.
        labels: a number of images → labels of the fullest batch of so many.
    """

    loss: BatchLoss
    args: Config
    stride: int
    labels: Callable[[int], dict[str, Tensor]]

    def sizes(self) -> tuple[tuple[int, int], tuple[int, int] | None]:
        """Return (height, width) of the largest training batch and, where the run validates, of a validation batch."""
        side = self.args.imgsz
        largest = max(multi_scale_sizes(side, self.stride)) if self.args.multi_scale else side
        return (largest, largest), (side + self.stride,) * 2 if self.args.val else None  # rectangles have a border

    def peak(self, images: int, extra: int = 0) -> int | None:
        """Return the bytes of the GPU that a step of so many images takes; None when memory runs out."""
        loss, device = self.loss, self.loss.device
        train_size, val_size = self.sizes()

        def forward(img: Tensor) -> Any:
            if loss.distillation is not None and loss.model.training:
                return img  # its loss needs the images
            with loss.autocast():
                return loss.model(img)

        def loss_of(outputs: Any, n: int) -> Tensor:
            labels: Any = {k: v.to(device) for k, v in self.labels(n).items()}
            if loss.distillation is not None:
                labels["img"] = outputs
                return loss.of(labels)[0]
            return loss.criterion(outputs, labels)[0]

        def step() -> None:
            trial_step(loss.model, forward, loss_of, images, train_size, val_size, device, extra)

        loss.model.train()
        return peak_memory(step, device)


def find_batch(worst: WorstStep) -> None:
    """Replace batch=-1 or a fraction by the largest batch whose worst step stays within that part of the GPU's memory.

    Raises:
        ConfigError: not even one image does.
    """
    args, loss, requested = worst.args, worst.loss, worst.args.batch
    if loss.device.type != "cuda":
        LOGGER.warning("batch=%g needs a GPU to try: using %d", requested, WITHOUT_GPU)
        args.set("batch", WITHOUT_GPU, "auto")
        return
    fraction = FRACTION if requested == -1 else float(requested)
    total = torch.cuda.get_device_properties(loss.device).total_memory
    weights = sum(p.numel() * p.element_size() for p in loss.model.parameters())
    with loss.by_itself():
        mine = largest_batch(lambda n: worst.peak(n, extra=3 * weights), int(fraction * total), MAX_BATCH)
    each = loss.team.gather(mine) or []
    found = loss.team.lead(lambda: min(each)) * loss.team.size
    if not found:
        raise ConfigError(
            f"batch={requested:g}: not even one image of imgsz={args.imgsz} fits into {fraction:.0%} of the GPU",
            hint="a smaller imgsz or network",
        )
    LOGGER.info("batch=%d: the largest whose worst step takes %.0f%% of the GPU's memory", found, fraction * 100)
    args.set("batch", found, "auto")


def out_of_memory(worst: WorstStep, saver: Saver, error: BaseException) -> NoReturn:
    """Save the run where it is whole, and name the batch that would have fitted.

    Raises:
        GpuMemoryError: always.
    """
    step, args, state = saver.step, worst.args, saver.step.state
    epoch = state.epoch + 1
    place = f"epoch {epoch}, batch {state.batches_done + 1}" if step.stage else f"validation {epoch}"
    command = resume_command(saver.folder, args.plugins)
    if step.team.many:  # the others do not wait for a save, nor try smaller batches
        raise GpuMemoryError(
            f"CUDA out of memory at batch={args.batch} on {step.team.size} GPUs, "
            f"imgsz={args.imgsz} in {place}; {saver.last} holds the last save",
            hint=f"{command} with a smaller batch=",
        ) from None
    traceback.clear_frames(error.__traceback__)  # they hold the tensors that were too many
    saved = _undo_step(step) and (args.save or saver.last.exists())
    if saved:
        saver.save_sound()
    step.optimizer.zero_grad()
    step.stage = ""
    device = step.loss.device
    free(device)
    total = torch.cuda.get_device_properties(device).total_memory
    fits = largest_batch(worst.peak, total, args.batch - 1) if args.batch > 1 else 0
    tried = f"batch={fits} fits (tried)" if fits else "not even one image fits"
    hint = f"{command} batch={fits}" if fits else "a smaller imgsz or network"
    where = "" if saved or not saver.last.exists() else f"; {saver.last} holds the last save"
    raise GpuMemoryError(
        f"CUDA out of memory at batch={args.batch}, imgsz={args.imgsz} in {place}: {tried}{where}", hint=hint
    ) from None


def _undo_step(step: TrainStep) -> bool:
    """Undo what a step has done before memory ran out; return True if the run is as before it."""
    if step.stage == "forward":
        step.guard.undo()
    elif step.stage == "backward" and step.state.last_opt_step + 1 == step.state.finished * step.state.batches + (
        step.state.batches_done
    ):  # nothing had gathered before this batch
        step.guard.undo()
        step.optimizer.zero_grad()
        return True
    return step.stage in ("", "forward")
