"""What a detector's output rests on: class activation maps, weights of attention, effective receptive fields."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ultralytics.cfg.config import Config
from ultralytics.models.yolo.detect.explain.attention import AttentionExplainer
from ultralytics.models.yolo.detect.explain.blocks import Block, attention_blocks
from ultralytics.models.yolo.detect.explain.cam import CamExplainer
from ultralytics.models.yolo.detect.explain.erf import ErfExplainer
from ultralytics.models.yolo.detect.explain.explainer import Explainer, Explanation
from ultralytics.nn.tasks import DetectionModel

__all__ = ["KINDS", "Block", "DetectionExplainer", "Explanation", "attention_blocks"]
KINDS: dict[str, type[Explainer]] = {"cam": CamExplainer, "attention": AttentionExplainer, "erf": ErfExplainer}


class DetectionExplainer:
    """Draw what a detector's output rests on: `DetectionExplainer(config)(source, model)`.

    Args:
        args: kind (cam, attention, erf), rows, points, heads, max_images; conf, iou, max_det, classes, agnostic_nms,
            single_cls; imgsz, device, threads, font, verbose; project, name, exist_ok.
    """

    def __init__(self, args: Config) -> None:
        self.explainer = KINDS[args.kind](args)

    @property
    def save_dir(self) -> Path:
        """The folder of figures and arrays, once there are some."""
        return self.explainer.save_dir

    def __call__(self, source: Any, model: DetectionModel | str | Path | None = None) -> list[Explanation]:
        """Explain each image of a source; of kind erf one thing for all. See `stream`."""
        return list(self.stream(source, model))

    def stream(self, source: Any, model: DetectionModel | str | Path | None = None) -> Iterator[Explanation]:
        """Explain a source, image by image, and keep nothing of those that are done.

        Raises:
            ConfigError: there are no such rows, points or heads.
            ModelError: the network passes no gradient, or has no attention with weights to show.
            UserError: the source is a video.
        """
        return self.explainer.stream(source, model)
