"""Distillation: a larger network that is trained already shows the one under training what its maps should hold.

What the maps and the class logits of a network are, the task's trainer says; nothing here knows more of it.

Legend: B images, l levels, C_S and C_T channels of a student's and a teacher's map, H×W its places, K classes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name
from torch import Tensor, nn

FORMS = ("feature", "cwd", "logits")
GAINS = {"feature": 6.0, "cwd": 50.0, "logits": 1.0}  # what distill_gain=auto means
TAU = 4.0  # temperature of channel-wise distillation
LOSS_NAME = "kd_loss"
PROJECTORS = "distiller"  # the attribute of the model under which its projectors lie while it is trained


def feature_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], scores: Sequence[Tensor]) -> Tensor:
    """Per level Σ s·‖S − T‖² / C_T and Σ s over images and places, (l, 2): their quotients are the loss of features.

    Args:
        student: projected maps; teacher: maps, both (B, C_T, H, W); scores: s, the teacher's largest class score,
            (B, H, W), 0..1.
    """
    parts = []
    for mine, theirs, s in zip(student, teacher, scores, strict=True):
        distance = (mine.float() - theirs.float()).square().mean(1)
        parts.append(torch.stack([(s * distance).sum(), s.sum()]))
    return torch.stack(parts)


def channel_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], tau: float = TAU) -> Tensor:
    """Channel-wise distillation (CWD, Shu et al., ICCV 2021): per level τ²/C_T · Σ_c KL(softmax(T_c/τ) ‖
    softmax(S_c/τ)) over the places, and the number of images, (l, 2).

    Args:
        student: projected maps; teacher: maps, both (B, C_T, H, W).
    """
    parts = []
    for mine, theirs in zip(student, teacher, strict=True):
        log_s, log_t = (F.log_softmax(m.float().flatten(2) / tau, -1) for m in (mine, theirs))
        kl = (log_t.exp() * (log_t - log_s)).sum(-1)  # (B, C_T)
        parts.append(torch.stack([tau**2 * kl.mean(1).sum(), kl.new_full((), float(len(kl)))]))
    return torch.stack(parts)


def logit_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], scores: Sequence[Tensor]) -> Tensor:
    """Per level Σ s·Σ_k KL(σ(T_k) ‖ σ(S_k)) of class scores taken one by one, and Σ s over images and places, (l, 2).

    Args:
        student, teacher: class logits (B, K, H, W); scores: as in `feature_loss`.
    """
    parts = []
    for mine, theirs, s in zip(student, teacher, scores, strict=True):
        target = theirs.float().sigmoid()
        entropy = F.binary_cross_entropy_with_logits(theirs.float(), target, reduction="none")
        kl = F.binary_cross_entropy_with_logits(mine.float(), target, reduction="none") - entropy
        parts.append(torch.stack([(s * kl.sum(1)).sum(), s.sum()]))
    return torch.stack(parts)


class Distillation:
    """What a teacher adds to the loss of a network under training: gain · Σ_l of the form's quotient.

    Args:
        teacher: the trained network; it is frozen, evaluates, and is averaged by nobody.
        head: a network → the module that reads the maps to compare. logits: a network and its outputs, of
            either mode → class logits of each level, (B, K, H, W). Both are the task's.
        channels: (C_S, C_T) of each level.
        form: feature, cwd or logits; gain: of the loss.
        reduce: as that of a criterion: a tensor's sum over all processes that share a batch.

    Attributes:
        projectors: 1×1, ReLU, 1×1 from C_S to C_T channels for each level; none for logits. They are trained with the
            network and belong to the run: no weights to evaluate with hold them.
    """

    def __init__(
        self,
        teacher: nn.Module,
        head: Callable[[nn.Module], nn.Module],
        logits: Callable[[nn.Module, Any], Sequence[Tensor]],
        channels: Sequence[tuple[int, int]],
        form: str,
        gain: float,
        reduce: Callable[[Tensor], Tensor],
    ) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self._head, self._logits = head, logits
        self.form, self.gain, self.reduce = form, gain, reduce
        self.projectors = nn.ModuleList(
            nn.Sequential(nn.Conv2d(s, t, 1), nn.ReLU(), nn.Conv2d(t, t, 1)) for s, t in channels if form != "logits"
        )

    @contextlib.contextmanager
    def watching(self, model: nn.Module) -> Iterator[list[Tensor]]:
        """Within it, a pass of the model leaves the maps that its head has read."""
        maps: list[Tensor] = []

        def keep(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            maps[:] = [inputs[0]] if isinstance(inputs[0], Tensor) else list(inputs[0])

        handle = self._head(model).register_forward_pre_hook(keep)
        try:
            yield maps
        finally:
            handle.remove()

    def loss(self, model: nn.Module, maps: Sequence[Tensor], outputs: Any, img: Tensor) -> tuple[Tensor, Tensor]:
        """The loss to differentiate, times the images of the batch as a criterion's, and its value, detached.

        Args:
            model: the student; maps: of it, from `watching`; outputs: of it; img: the batch, (B, 3, H, W).
        """
        with torch.no_grad(), self.watching(self.teacher) as shown:
            class_logits = self._logits(self.teacher, self.teacher(img))
        scores = [m.float().sigmoid().amax(1) for m in class_logits]
        if self.form == "logits":
            parts = logit_loss(self._logits(model, outputs), class_logits, scores)
        else:
            projected = [project(m) for project, m in zip(self.projectors, maps, strict=True)]
            parts = channel_loss(projected, shown) if self.form == "cwd" else feature_loss(projected, shown, scores)
        with torch.no_grad():  # what the whole batch has, on every process
            images = parts.new_full((1,), float(len(img)))
            total = self.reduce(torch.cat([parts[:, 1], images]))
        value = self.gain * (parts[:, 0] / total[:-1].clamp(min=1e-6)).sum()
        return value * total[-1], self.reduce(value.detach())

    def attach(self, model: nn.Module) -> None:
        """Let the projectors be trained, saved and restored with the model."""
        model.add_module(PROJECTORS, self.projectors)

    @staticmethod
    def detach(model: nn.Module) -> None:
        """Take the projectors out of a copy of the model."""
        delattr(model, PROJECTORS)


def gain_of(form: str, gain: float | None) -> float:
    """The gain of a form, its own where none is given."""
    return GAINS[form] if gain is None else gain


def changed_teacher(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return True if a run's teacher is another file than it was saved with; before, now: records of provenance."""
    then, here = before.get("teacher"), now.get("teacher")
    return isinstance(then, Mapping) and isinstance(here, Mapping) and then.get("digest") != here.get("digest")
