"""From a batch to its loss."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.engine.ranks.team import Team
from ultralytics.engine.step.compiled import Compiled
from ultralytics.engine.step.distill import Distillation
from ultralytics.engine.step.feed import Feed
from ultralytics.nn.modules.conv import Conv
from ultralytics.utils.types import Batch

Criterion = Callable[[Any, Batch], tuple[Tensor, Tensor]]  # outputs, batch → the loss to differentiate, its named parts
UNSET: Any = None  # a part that the run's setup makes


class BatchLoss:
    """The loss of a network on a batch, normalized over all ranks.

    Attributes:
        feed: takes batches to the device; model: the network; criterion: its loss; distillation: what a teacher adds.
        model_has_loss: the network has a way of its own from a batch to its loss.
        compiled: what computes the network's outputs in its place, where it is compiled.
        images: of the batch at work that count on this rank.
        single_rank: a loss is computed outside of the steps that all ranks take together.
    """

    def __init__(self, team: Team, device: torch.device, amp_dtype: torch.dtype | None) -> None:
        self.team, self.device, self.amp_dtype = team, device, amp_dtype
        self.feed = Feed(device)
        self.model: nn.Module = UNSET
        self.criterion: Criterion = UNSET
        self.distillation: Distillation | None = None
        self.model_has_loss = False
        self.compiled: Compiled | None = None
        self.images = 1
        self.single_rank = False

    def of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss to differentiate and its named parts, of a batch on the device."""
        with self.autocast():
            if self.model_has_loss:
                loss, parts = self.model(batch)
                return loss, parts.detach()
            if self.distillation is None:
                outputs = (self.compiled or self.model)(batch["img"])
            else:
                with self.distillation.watching(self.model) as maps:
                    outputs = self.model(batch["img"])
                extra, value = self.distillation.loss(self.model, maps, outputs, batch["img"])
        loss, parts = self.criterion(outputs, batch)
        return (loss, parts) if self.distillation is None else (loss + extra, torch.cat([parts, value[None]]))

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Use the run's precision for a forward pass."""
        return torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None)

    @property
    def image_dtype(self) -> torch.dtype:
        """The type in which the network takes images: fp32, or a GPU's 16 bits where the first row is a convolution, to
        which autocast would cast them: the numbers are the same, as it rounds them once either way."""
        first = next(iter(getattr(self.model, "model", ())), None)
        plain = type(first) is Conv and self.distillation is None and not self.model_has_loss
        return self.amp_dtype if self.amp_dtype is not None and plain and self.device.type == "cuda" else torch.float32

    def reduce(self, tensor: Tensor) -> Tensor:
        """Return the sum of what the ranks have found in their part of a batch: what a criterion normalizes by."""
        if self.single_rank:
            return tensor
        return self.team.sum(tensor if self.images else torch.zeros_like(tensor))

    @contextlib.contextmanager
    def by_itself(self) -> Iterator[None]:
        """Compute losses of this rank alone, whatever the others do."""
        self.single_rank = True
        try:
            yield
        finally:
            self.single_rank = False
