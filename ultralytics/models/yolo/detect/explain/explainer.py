"""What every kind of explanation shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ultralytics.cfg.config import Config
from ultralytics.cfg.keys import PREDICT_CONF
from ultralytics.engine.outputs import IMAGES, OutputNames
from ultralytics.engine.run.folder import new_run_dir, project_of
from ultralytics.engine.sources import Source, load_source
from ultralytics.models.yolo.detect.explain.blocks import Block, chosen_blocks
from ultralytics.models.yolo.detect.postprocess import detections
from ultralytics.models.yolo.detect.predict import DetectionPredictor
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import UserError
from ultralytics.utils.files import write_atomically
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted


@dataclass
class Explanation:
    """What was found for an image, or for a class of it; of kind erf for all images together."""

    path: str  # the image, image0.jpg, … in memory; "" of erf
    files: list[Path]  # what was written: .png, .pdf (not of cam) and .npz
    arrays: dict[str, npt.NDArray[Any]] = field(repr=False)  # as in the .npz; docs/explain.md has the keys


class Explainer(ABC):
    """One kind of explanation; for `args` see `DetectionExplainer`.

    Attributes:
        predictor: what fits images into the frame.
        model: the network, a fused copy.
        blocks: its parts to look at.
        save_dir: where figures and arrays go.
    """

    model: DetectionModel
    blocks: list[Block]
    save_dir: Path

    def __init__(self, args: Config) -> None:
        self.args = args
        self.predictor = DetectionPredictor(overrides=args)

    @abstractmethod
    def explain(self, images: Source) -> Iterator[Explanation]:
        """Explain images."""

    def stream(self, source: Any, model: Any = None) -> Iterator[Explanation]:
        """Explain a source, see `DetectionExplainer.stream`."""
        self.predictor.setup_model(model)
        self.model = self.predictor.model.model
        images = _without_videos(load_source(source))
        self.blocks = chosen_blocks(self.model, self.args.kind, self.args.rows)
        threads = torch.get_num_threads()
        if self.args.threads is not None:
            torch.set_num_threads(self.args.threads)
        try:
            yield from self.explain(images)
        finally:
            torch.set_num_threads(threads)
        LOGGER.info("Results saved to %s", self.save_dir)

    def name_outputs(self, paths: list[str | None], stems: list[str]) -> list[str]:
        """Make the run's folder, and return the stem of each output."""
        args = self.args
        self.save_dir = new_run_dir(project_of(args), args.name or "explain", args.exist_ok)
        return OutputNames(self.save_dir, paths, stems, [IMAGES], new=not args.exist_ok).stems

    def write(
        self, path: str, stem: str, arrays: dict[str, npt.NDArray[Any]], suffixes: tuple[str, ...] = (".png", ".pdf")
    ) -> Explanation:
        """Write what was found for an image; its figure, with these suffixes, is drawn beside it."""
        kept: dict[str, Any] = dict(arrays)
        write_atomically(self.save_dir / f"{stem}.npz", lambda file: np.savez_compressed(file, **kept))
        return Explanation(path, [self.save_dir / f"{stem}{s}" for s in (*suffixes, ".npz")], arrays)

    def log(self, line: str, *words: Any) -> None:
        """Log a line, with `verbose`."""
        if self.args.verbose:
            LOGGER.info(line, *words)

    def detections(self, y: Any) -> Tensor:
        """Return the boxes (n, 6) that are kept of a model's output for one image, in pixels of the frame, with
        gradients."""
        return detections(y, self.args, self.model.nc, PREDICT_CONF)[0]


def _without_videos(source: Source) -> Source:
    """Return the images of a source.

    Raises:
        UserError: there are videos or live streams alone.
    """
    videos = [path for path, moving in zip(source.paths, source.moving, strict=True) if moving]
    if not videos:
        return source
    left = [i for i, moving in enumerate(source.moving) if not moving]
    if not left:
        raise UserError("explain takes images, not videos", videos[0], "save frames of it as images")
    LOGGER.warning("%s left out: explain takes images (%s)", counted(len(videos), "video"), videos[0])
    return Source([source.entries[i] for i in left], as_is=[source.as_is[i] for i in left])
