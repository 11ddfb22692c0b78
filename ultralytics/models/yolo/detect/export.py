"""Export of a detector: what is compared, and suppression in the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ultralytics.cfg.keys import PREDICT_CONF, VAL_CONF
from ultralytics.engine.exporter import Exporter, extra_of
from ultralytics.engine.formats.format import FileBackend
from ultralytics.engine.formats.metadata import Metadata
from ultralytics.engine.formats.parity import Comparison, output_of
from ultralytics.models.yolo.detect.demo import fetch_library, write_demo
from ultralytics.models.yolo.detect.suppression import Suppression
from ultralytics.utils.boxes import box_iou, xywh2xyxy
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import user_path
from ultralytics.utils.log import LOGGER

# Boxes in pixels, scores: rounding in fp32 and fp16. Measured with YOLOv8n's weights on boxes of a score above 0.001:
# fp32 4e-4 and 1e-6 at most, fp16 1.8 (TorchScript, in which every operation is rounded) and 0.006 (ONNX).
TOLERANCES = {"boxes": 0.02, "scores": 1e-4}
TOLERANCES_HALF = {"boxes": 4.0, "scores": 0.05}
# Of numbers behind the scores, and of maps that anchors share: relative to 1 + the number.
NUMBERS, NUMBERS_HALF = 1e-3, 0.1
# Share of boxes that suppression may decide otherwise, and the overlap that rounding may change.
DECIDED, OVERLAP = 0.0, 0.01
DECIDED_HALF, OVERLAP_HALF = 0.1, 0.1
COMPARED = 300  # boxes of an image that are to be suppressed where a file is compared


class DetectionExporter(Exporter):
    """Write a detector in another runtime's format; see `Exporter`."""

    library: Path | None = None  # of a demo
    extra = 0  # numbers behind the scores

    def begin(self, model: Any) -> None:
        """Fetch what a demo needs, with `demo`."""
        self.extra = extra_of(model)
        if self.extra and self.args.demo:
            raise ConfigError("demo: the page shows upright boxes alone", hint="leave demo out")
        self.library = fetch_library(self.args, model.spec.ch) if self.args.demo else None

    def accompany(self, path: Path, metadata: Metadata) -> None:
        """Write the demo, with `demo`."""
        if self.args.demo and self.library is not None:
            write_demo(user_path(self.args.demo), self.library, path, metadata)

    def finish(self, model: Any) -> Suppression | None:
        """Return what suppresses boxes, with `nms`.

        Raises:
            ConfigError: an end-to-end head leaves nothing to suppress.
        """
        args = self.args
        if not args.nms:
            return None
        if getattr(model, "end2end", False):
            head = type(model.head).__name__
            raise ConfigError(
                f"nms=True: the head {head} gives one box per object, so nothing is left to suppress", hint="nms=False"
            )
        if extra_of(model):
            head = type(model.head).__name__
            raise ConfigError(f"nms=True: the head {head} gives more than upright boxes", hint="nms=False")
        if args.conf is None:
            args.set("conf", PREDICT_CONF, "export default")
        assert args.conf is not None
        return Suppression(int(model.nc), args.conf, args.iou, args.max_det, args.agnostic_nms)

    def comparison(self, finish: Any) -> BoxComparison:
        """Return how a file is compared with the network; see `Exporter`."""
        half = self.args.half
        if self.extra:
            return ExtraComparison(self.extra, half)
        return BoxComparison(half) if finish is None else SuppressedComparison(half, finish)


class BoxComparison(Comparison):
    """Boxes, in pixels, and scores of a detector's output.

    Args:
        half: the file computes in fp16.
    """

    def __init__(self, half: bool = False) -> None:
        self.half = half
        self.tolerances = dict(TOLERANCES_HALF if half else TOLERANCES)

    def outputs(self, ours: Tensor, theirs: Tensor) -> dict[str, float]:
        """Return the largest differences.

        Args:
            ours, theirs: (B, 4 + nc, A), or (B, n, 6) of an end-to-end head.
        """
        if ours.shape[-1] == 6:
            return compare_final(ours, theirs, 2 * self.tolerances["scores"])
        boxes, scores = ((ours - theirs).abs()[:, part] for part in (slice(0, 4), slice(4, None)))
        kept = ours[:, 4:].amax(1) > VAL_CONF
        kept = kept if bool(kept.any()) else torch.ones_like(kept)
        return {"boxes": _largest(boxes.amax(1)[kept]), "scores": _largest(scores)}


class ExtraComparison(BoxComparison):
    """The same of a head with numbers behind the scores, and with what its anchors share; these differences are
    divided by 1 + what is compared.

    Args:
        extra: how many numbers.
        half: the file computes in fp16.
    """

    def __init__(self, extra: int, half: bool) -> None:
        super().__init__(half)
        self.extra = extra
        self.tolerances["numbers"] = NUMBERS_HALF if half else NUMBERS

    def outputs(self, ours: Any, theirs: Any) -> dict[str, float]:
        """Return the largest differences.

        Args:
            ours, theirs: (B, 4 + nc + extra, A), and what the anchors share, where they do.
        """
        (mine, *shared), (other, *given) = ([t] if isinstance(t, Tensor) else list(t) for t in (ours, theirs))
        boxes, numbers = mine.split((mine.shape[1] - self.extra, self.extra), 1)
        kept = boxes[:, 4:].amax(1, keepdim=True) > VAL_CONF
        kept = kept if bool(kept.any()) else torch.ones_like(kept)
        parts = [(numbers * kept, other[:, -self.extra :] * kept), *zip(shared, given, strict=True)]
        relative = [_largest((a - b).abs() / (1 + a.abs())) for a, b in parts]
        return {**super().outputs(boxes, other[:, : -self.extra]), "numbers": _worst(relative)}


class SuppressedComparison(BoxComparison):
    """The same of a file with suppression, and which boxes that keeps.

    Args:
        half: the file computes in fp16.
        finish: how it suppresses.
    """

    def __init__(self, half: bool, finish: Suppression) -> None:
        super().__init__(half)
        self.finish = finish
        self.tolerances["suppression"] = DECIDED_HALF if half else DECIDED

    def file(self, ours: Tensor, file: FileBackend, images: Tensor) -> dict[str, float]:
        """Return how far a file is from the network: at its own conf and, where it takes another, at one that many
        boxes of these images are above: noise has none above the usual ones."""
        how = self.finish
        best = ours[:, 4:].amax(1).flatten()
        low = float(best.topk(min(COMPARED * len(ours), len(best))).values[-1])
        lines = []
        for conf in (how.conf, low) if low < how.conf and "conf" in file.takes else (how.conf,):
            run = file if conf == how.conf else file.of_run({"conf": conf})
            theirs = output_of(run, images, (len(ours), how.max_det, 6))
            lines.append(compare_suppressed(ours, theirs, replace(how, conf=conf), self.half))
        if not (best > conf).any():
            LOGGER.warning("no box of these images is above conf=%g: nothing is compared", conf)
        return {key: _worst([line[key] for line in lines]) for key in lines[0]}


def compare_final(ours: Tensor, theirs: Tensor, margin: float = 2e-4) -> dict[str, float]:
    """Return the largest differences of final detections (B, n, 6): each is compared with the other's nearest of its
    class, as boxes of one score may change places. Those below the lowest score of `val` do not count, nor those so
    near the lowest of `ours` that rounding decides whether they are among the best n.

    Args:
        margin: how near that is.
    """
    boxes, scores = [0.0], [0.0]
    for mine, other in zip(ours, theirs, strict=True):
        lowest = max(VAL_CONF, float(mine[-1, 4]) + margin)
        wanted = mine[~(mine[:, 4] <= lowest)]  # with what is no number
        if not len(wanted):
            continue
        far = (wanted[:, None, :4] - other[None, :, :4]).abs().amax(-1)
        far = far + (wanted[:, None, 5] != other[None, :, 5]) * 1e4
        apart = (wanted[:, None, 4] - other[None, :, 4]).abs()
        nearest = (far + apart * 1e4).argmin(1, keepdim=True)  # of boxes in one place, that of the same score
        boxes.append(_largest(far.gather(1, nearest)))
        scores.append(_largest(apart.gather(1, nearest)))
    return {"boxes": _worst(boxes), "scores": _worst(scores)}


def compare_suppressed(y: Tensor, found: Tensor, how: Suppression, half: bool = False) -> dict[str, float]:
    """Compare a file's detections with those that suppression leaves of a network's output.

    Rounding may decide whether two boxes overlap too much, and all that follows from it. So the two are not compared
    box by box: each detection must be a box of the network's, and the detections must be what greedy suppression may
    leave of them, each box being kept or overlapped by a better one that is.

    Args:
        y: (B, 4 + nc, A) of the network.
        found: (B, max_det, 6) of the file.
        how: conf, iou, max_det and agnostic.
        half: the file computes in fp16.

    Returns:
        boxes, scores: the largest differences, in pixels and of scores; suppression: the share of boxes that are kept
        or dropped and should not be.
    """
    each = [_compare_image(one, rows, how, half) for one, rows in zip(y, found, strict=True)]
    boxes, scores, wrong, all_ = (list(column) for column in zip(*each, strict=True))
    return {"boxes": _worst(boxes), "scores": _worst(scores), "suppression": sum(wrong) / max(sum(all_), 1)}


def _compare_image(y: Tensor, found: Tensor, how: Suppression, half: bool) -> tuple[float, float, int, int]:
    """Return the largest differences of boxes and scores, and how many boxes of how many are decided wrongly."""
    tolerances = TOLERANCES_HALF if half else TOLERANCES
    pixels, rounding = tolerances["boxes"], tolerances["scores"]
    overlap = OVERLAP_HALF if half else OVERLAP
    kept = found[found[:, 4] > 0]
    n = len(kept)
    wrong = int((found[:n] != kept).any(1).sum()) + int((found[n:] != 0).any(1).sum())  # zeros come last
    least = how.conf - min(rounding, 100 * rounding * how.conf)
    wrong += int((kept[1:, 4] > kept[:-1, 4]).sum()) + int((kept[:, 4] <= least).sum())
    near = y[:, y[4:].amax(0) > least].t()  # all that may count
    if not len(near):
        return 0.0, 0.0, n, n
    boxes, scores = xywh2xyxy(near[:, :4]), near[:, 4:]
    best, label = scores.max(1)
    slack = (100 * rounding * best).clamp(max=rounding)  # small scores are rounded by less
    # (n, candidates): how far each detection is from each candidate.
    far = (kept[:, None, :4] - boxes).abs().amax(-1)
    off = (kept[:, 4, None] - scores[:, kept[:, 5].long().clamp(0, how.nc - 1)].t()).abs()
    mine = (far / pixels).maximum(off / rounding).argmin(1, keepdim=True)
    same = how.agnostic | (kept[:, 5, None] == kept[:, 5])
    wrong += int((same & (box_iou(kept[:, :4], kept[:, :4]) > how.iou + overlap)).triu(1).sum())
    # A candidate counts for certain if its score is above and, where classes matter, its class no tie.
    certain = best > how.conf + slack
    if how.nc > 1 and not how.agnostic:
        certain &= best - scores.topk(2).values[:, 1] > 2 * slack
    by = (box_iou(kept[:, :4], boxes) > how.iou - overlap) | (far <= pixels)
    by &= (kept[:, 4, None] >= best - slack) & (how.agnostic | (kept[:, 5, None] == label))
    dropped = certain & ~by.any(0)
    if n == how.max_det:  # what is worse than the last has no place
        dropped &= best > kept[-1, 4] + slack
    wrong += int(dropped.sum())
    return _largest(far.gather(1, mine)), _largest(off.gather(1, mine)), wrong, n + int(certain.sum())


def _largest(values: Tensor) -> float:
    """Return the largest value; NaN where there is one."""
    return float(values.max()) if values.numel() else 0.0


def _worst(values: Sequence[float]) -> float:
    """Return the largest value; NaN where there is one."""
    return max(values, key=lambda v: (v != v, v))
