"""Export of a classifier: what is compared."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ultralytics.engine.exporter import Exporter
from ultralytics.engine.formats.parity import Comparison
from ultralytics.utils.errors import ConfigError

TOLERANCE, TOLERANCE_HALF = 1e-4, 0.05  # of probabilities: rounding in fp32 and fp16


class ClassificationExporter(Exporter):
    """Write a classifier in another runtime's format; see `Exporter`. The file gives probabilities (B, nc)."""

    def begin(self, model: Any) -> None:
        """Refuse keys of boxes."""
        for key in ("nms", "demo"):
            if getattr(self.args, key):
                raise ConfigError(f"{key}= is for boxes, and a classifier has none", hint="leave it out")

    def comparison(self, finish: Any) -> ProbabilityComparison:
        """Return how a file is compared with the network; see `Exporter`."""
        return ProbabilityComparison(self.args.half)


class ProbabilityComparison(Comparison):
    """Probabilities of a classifier's output.

    Args:
        half: the file computes in fp16.
    """

    def __init__(self, half: bool = False) -> None:
        self.tolerances = {"probabilities": TOLERANCE_HALF if half else TOLERANCE}

    def outputs(self, ours: Tensor, theirs: Tensor) -> dict[str, float]:
        """Return the largest difference of probabilities (B, nc)."""
        return {"probabilities": float((ours - theirs).abs().max())}
