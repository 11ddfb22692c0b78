"""Export of a detector: what is compared, and suppression in the file."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ultralytics.cfg.keys import VAL_CONF
from ultralytics.engine.exporter import Exporter
from ultralytics.utils.errors import ConfigError

# Boxes in pixels, scores: rounding in fp32 and fp16. Measured with YOLOv8n's weights on boxes of a score above 0.001:
# fp32 4e-4 and 1e-6 at most, fp16 1.8 (TorchScript, in which every operation is rounded) and 0.006 (ONNX).
TOLERANCES = {"boxes": 0.02, "scores": 1e-4}
TOLERANCES_HALF = {"boxes": 4.0, "scores": 0.05}


class DetectionExporter(Exporter):
    """Write a detector in another runtime's format; see `Exporter`."""

    def finish(self, model: nn.Module) -> nn.Module | None:
        """Return the module that suppresses boxes, with `nms`."""
        if not self.args.nms:
            return None
        if getattr(model, "end2end", False):
            raise ConfigError("nms=True: the head gives one box per object, nothing is left to suppress")
        raise NotImplementedError  # follows

    def compare(self, ours: Tensor, theirs: Tensor) -> dict[str, float]:
        """Return the largest differences of boxes, in pixels, and of scores.

        Args:
            ours, theirs: (B, 4 + nc, A), or (B, n, 6) of an end-to-end head.
        """
        if ours.shape[-1] == 6:
            return compare_final(ours, theirs)
        boxes, scores = ((ours - theirs).abs()[:, part] for part in (slice(0, 4), slice(4, None)))
        kept = ours[:, 4:].amax(1) > VAL_CONF
        kept = kept if bool(kept.any()) else torch.ones_like(kept)
        return {"boxes": _largest(boxes.amax(1)[kept]), "scores": _largest(scores)}

    def tolerances(self) -> dict[str, float]:
        """Return the largest differences that are rounding."""
        return TOLERANCES_HALF if self.args.half else TOLERANCES


def compare_final(ours: Tensor, theirs: Tensor) -> dict[str, float]:
    """Return the largest differences of final detections (B, n, 6): each above the lowest score of `val` is compared
    with the other's nearest of its class, as boxes of one score may change places."""
    boxes, scores = [0.0], [0.0]
    for mine, other in zip(ours, theirs, strict=True):
        wanted = mine[mine[:, 4] > VAL_CONF]
        if not len(wanted):
            continue
        far = (wanted[:, None, :4] - other[None, :, :4]).abs().amax(-1)
        far = far + (wanted[:, None, 5] != other[None, :, 5]) * 1e4
        nearest = far.min(1)
        boxes.append(_largest(nearest.values))
        scores.append(_largest((wanted[:, 4] - other[nearest.indices, 4]).abs()))
    return {"boxes": max(boxes), "scores": max(scores)}


def _largest(values: Tensor) -> float:
    """Return the largest value; NaN where there is one."""
    return float(values.max()) if values.numel() else 0.0
