"""The position of a run and what it has counted; its entries of a checkpoint follow from its fields."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ultralytics.utils.tensors import Readback


def saved(
    key: str = "",
    write: Callable[[Any], Any] | None = None,
    read: Callable[[Any], Any] | None = None,
    required: bool = False,
    survives: bool = False,
) -> dict[str, Any]:
    """Return the metadata of a field that a checkpoint holds.

    Args:
        key: of its entry; its name where none is given.
        write: the value → the entry.
        read: the entry → the value.
        required: a checkpoint without it is damaged; otherwise the value stays, as with files of earlier code.
        survives: it stays when a run is rolled back.
    """
    return {"key": key, "write": write, "read": read, "required": required, "survives": survives}


def _sizes(entry: Any) -> list[list[int]]:
    return [[int(height), int(width)] for height, width in entry]


@dataclass
class RunState:  # size: one place for all that a run counts; a new entry of a checkpoint is one line here
    """The position of a run and what it has counted.

    Attributes:
        finished: whole epochs; batches_done: of the one under way; batches: per epoch; epochs: planned.
        loss_mean: over `loss_count` batches of the epoch, (parts,).
        last_opt_step: iteration of the last optimizer step; images_since: images of this rank since the ranks' batch
            norms were averaged.
        rows: of results.csv; fitness: of the last validation; over: no epoch is left to train.
        elapsed: seconds of training before `clock`.
        lr_factor: multiple of the planned learning rate; rollbacks, skipped, skips_in_a_row: bad steps so far.
        inserted, new_tensors, untransferred: parameters of rows that the pretrained weights do not have; of those the
            ones that start from nothing, not from an adapter; and all that did not come whole from pretrained weights.
        compiled: (height, width) of the batches for which the network was compiled, in their order.
        epoch: the one at work, from 0; start_epoch: the first of this process; stop: end after the epoch; is_best: the
            epoch has the best fitness so far; shown: the losses on their way to the progress bar; begun: batches that
            were done, and seconds spent, when this process began to train.
    """

    finished: int = field(default=0, metadata=saved("epoch", lambda n: n - 1, lambda n: n + 1, required=True))
    batches_done: int = field(default=0, metadata=saved())
    batches: int = field(default=0, metadata=saved())
    epochs: int = field(default=0, metadata=saved())
    loss_mean: Tensor = field(default_factory=lambda: torch.zeros(0), metadata=saved())
    loss_count: int = field(default=0, metadata=saved())
    last_opt_step: int = field(default=-1, metadata=saved(required=True))
    rows: list[dict[str, float]] = field(default_factory=list, metadata=saved(key="results", read=list, required=True))
    fitness: float | None = field(default=None, metadata=saved(required=True))
    over: bool = field(default=False, metadata=saved())
    elapsed: float = field(default=0.0, metadata=saved(survives=True))
    lr_factor: float = field(default=1.0, metadata=saved(survives=True))
    rollbacks: int = field(default=0, metadata=saved(survives=True))
    skipped: int = field(default=0, metadata=saved(survives=True))
    skips_in_a_row: int = field(default=0, metadata=saved())
    inserted: list[str] = field(default_factory=list, metadata=saved(read=list))
    new_tensors: list[str] = field(default_factory=list, metadata=saved(read=list))
    untransferred: list[str] = field(default_factory=list, metadata=saved(read=list))
    compiled: list[list[int]] = field(default_factory=list, metadata=saved(read=_sizes))
    images_since: int = 0
    epoch: int = 0
    start_epoch: int = 0
    stop: bool = False
    is_best: bool = False
    clock: float = field(default_factory=time.perf_counter)
    begun: tuple[int, float] = (0, 0.0)
    shown: Readback = field(default_factory=Readback)

    def load_names(self, entries: Mapping[str, Any]) -> None:
        """Take the names of new parameters, which the setup needs before the rest can be restored."""
        for name in ("inserted", "new_tensors", "untransferred"):
            setattr(self, name, list(entries.get(name, [])))

    @property
    def place(self) -> tuple[int, int]:
        """Whole epochs, and batches of the one under way."""
        return self.finished, self.batches_done

    def spent(self) -> float:
        """Return the seconds of training, those before a resumption included."""
        return self.elapsed + time.perf_counter() - self.clock

    def time_left(self) -> str:
        """Return how long the rest of the run may take, validations included, as 1:02:03; "" where nothing is left or
        too little is done to say."""
        place = self.epoch * self.batches + self.batches_done
        done, left = place - self.begun[0], self.epochs * self.batches - place
        if done <= 0 or left <= 0:
            return ""
        return tqdm.format_interval((self.spent() - self.begun[1]) / done * left)

    def plan_epochs(self, seconds: float, hours: float) -> None:
        """Plan as many epochs as fit into the hours, by the seconds that those so far have taken."""
        self.epochs = max(math.ceil(hours * 3600 / (seconds / (self.epoch + 1))), self.epoch + 1)

    def is_early(self, iteration: int, close_mosaic: int) -> bool:
        """Return True for the first three batches of a run, and of its last epochs, which are without mosaic."""
        closing = self.batches * max(self.epochs - close_mosaic, 0)
        return iteration < 3 or (bool(close_mosaic) and 0 <= iteration - closing < 3)

    def add_loss(self, parts: Tensor) -> None:
        """Take a batch's loss parts into the mean."""
        self.loss_count, self.skips_in_a_row = self.loss_count + 1, 0
        self.loss_mean += (parts - self.loss_mean) / self.loss_count

    def losses(self, wait: bool = True) -> list[float]:
        """Return the mean of the losses; without `wait` it may be that of an earlier batch, which a GPU has got to."""
        found = None if wait else self.shown.latest()
        if wait:
            self.shown.forget()
        else:
            self.shown.send(self.loss_mean)
        return found or self.loss_mean.tolist()

    def finish_epoch(self) -> None:
        """Move on to the next epoch."""
        self.finished, self.batches_done, self.loss_count = self.epoch + 1, 0, 0
        self.loss_mean = torch.zeros_like(self.loss_mean)

    def state_dict(self) -> dict[str, Any]:
        """Return the entries of a checkpoint, plain data and tensors."""
        entries = {}
        for f in fields(self):
            if f.metadata:
                value, write = getattr(self, f.name), f.metadata["write"]
                entries[f.metadata["key"] or f.name] = write(value) if write else value
        return {**entries, "elapsed": self.spent()}

    def load_state_dict(self, entries: Mapping[str, Any], rolled_back: bool = False) -> None:
        """Take the entries of a checkpoint; with another number of batches per epoch, as many images as before.

        Args:
            entries: of `state_dict`, among others.
            rolled_back: the run was here already; what survives a rollback stays.

        Raises:
            KeyError, ValueError: an entry is missing, or does not fit.
        """
        batches, parts = self.batches, self.loss_mean
        for f in fields(self):
            key = f.metadata.get("key") or f.name
            if not f.metadata or (rolled_back and f.metadata["survives"]):
                continue
            if f.metadata["required"] or key in entries:
                read = f.metadata["read"]
                setattr(self, f.name, read(entries[key]) if read else entries[key])
        if "elapsed" not in entries:  # files of earlier code
            self.elapsed = self.rows[-1]["time"] if self.rows else 0.0
        if self.loss_mean.shape != parts.shape:
            shape = f"{tuple(self.loss_mean.shape)}, and the loss has {len(parts)} parts"
            raise ValueError(f"loss_mean is {shape}")
        self.loss_mean = self.loss_mean.to(parts.device)
        self.shown.forget()
        self.start_epoch = self.finished
        self._rescale(batches)

    def _rescale(self, batches: int) -> None:
        """Go on with so many batches per epoch: gathered = iterations since the last optimizer step."""
        gathered = self.finished * self.batches + self.batches_done - 1 - self.last_opt_step
        self.batches_done = self.batches_done * batches // self.batches
        self.batches = batches
        self.last_opt_step = self.finished * batches + self.batches_done - 1 - gathered
