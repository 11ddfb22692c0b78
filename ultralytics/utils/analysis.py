"""What a detector gets wrong: TIDE's kinds of errors (Bolya et al. 2020), figures by size, calibration of the scores.

Figures are hotcoco's. Which detection is of which kind is found here, by the same rules, for the gallery of the worst.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ultralytics.utils.boxes import ltwh2xyxy
from ultralytics.utils.coco import CLASS_DETECTIONS, SIZE_BORDERS, Seen, areas_of, evaluated, known, mean_known
from ultralytics.utils.matching import bbox_ioa
from ultralytics.utils.types import ANY_CLASS, BoolArray, Float64Array, Int64Array

FOREGROUND, BACKGROUND = 0.5, 0.1  # TIDE's t_f and t_b: a match from this IoU on; background up to that
KINDS = {
    "Cls": "found, as another class",
    "Loc": "found, box too far off",
    "Both": "box too far off, other class",
    "Dupe": "found a second time",
    "Bkg": "nothing there",
    "Miss": "not found",
}
BINS = 10  # of scores
QUANTILES = 5  # buckets of the set's own sizes
COCO_SIZES = ("S", "M", "L")


class Mistake(NamedTuple):
    """A false positive, or an object that was missed.

    Attributes:
        kind: of KINDS; image: its index.
        box, score, cls: of the detection; None for a miss. truth, truth_cls: the object it was taken for, or that was
            missed; None on background. Boxes are x, y (top left), width, height in pixels.
        iou: of both boxes, or None.
    """

    kind: str
    image: int
    box: tuple[float, ...] | None
    score: float | None
    cls: int | None
    truth: tuple[float, ...] | None
    truth_cls: int | None
    iou: float | None


def analyse(seen: Sequence[Seen], names: Mapping[int, str]) -> dict[str, Any]:
    """Analyse what an evaluation has seen.

    Args:
        seen: the images; names: class id → name.

    Returns:
        errors: by kind its count and dAP, what AP50 would gain without it; false_positives, false_negatives: dAP of
        all of each; AP50, foreground, background (IoU).
        sizes: buckets of COCO's three and of the set's own sizes: name, low, high (√area, pixels; high is None at the
        end), objects, AP, AP50, AR_100.
        calibration: at IoU 0.5: bins of scores (low, high, count, score, precision), ece, mce, detections, per_class
        (name → ece).
        A figure without anything to measure it by is None.
    """
    # To the library a box beside a crowd is one too far off; to TIDE crowds are no objects.
    evaluation = evaluated([countable(s) for s in seen], names)
    tide = evaluation.tide_errors(pos_thr=FOREGROUND, bg_thr=BACKGROUND)
    return {
        "errors": {
            kind: {"count": int(tide["counts"].get(kind, 0)), "dAP": _measured_or_none(tide["delta_ap"].get(kind))}
            for kind in KINDS
        },
        "false_positives": _measured_or_none(tide["delta_ap"].get("FP")),
        "false_negatives": _measured_or_none(tide["delta_ap"].get("FN")),
        "AP50": _measured_or_none(tide["ap_base"]),
        "foreground": FOREGROUND,
        "background": BACKGROUND,
        "sizes": _by_size(seen, names),
        "calibration": _calibration(evaluation),
    }


def _measured_or_none(value: Any) -> float | None:
    """Return a figure; None for what could not be measured."""
    return None if value is None or not math.isfinite(value) else known(float(value))


def _by_size(seen: Sequence[Seen], names: Mapping[int, str]) -> list[dict[str, Any]]:
    """Figures of each bucket of sizes."""
    areas = np.concatenate([np.zeros(0), *(areas_of(s)[s.truths[:, 5] == 0] for s in seen)])
    if not len(areas):
        return []
    largest = 1e10  # COCO's
    edges = [0.0, *SIZE_BORDERS, largest]
    buckets = list(zip(COCO_SIZES, edges[:-1], edges[1:], strict=True))
    inner = np.unique(np.quantile(areas, np.linspace(0, 1, QUANTILES + 1)[1:-1], method="lower"))
    own = [0.0, *inner[inner > areas.min()].tolist(), largest]
    # Half open, unlike COCO's: every object is in one of them.
    ends = [*(float(np.nextafter(v, 0)) for v in own[1:-1]), largest]
    buckets += [(f"Q{i}", low, high) for i, (low, high) in enumerate(zip(own[:-1], ends, strict=True), 1)]
    ranges = list(dict.fromkeys((low, high) for _, low, high in buckets))  # of two alike the library fills one
    evaluation = evaluated(seen, names, ranges)
    precision, recall = (np.asarray(evaluation.eval[k]) for k in ("precision", "recall"))
    return [
        {
            "name": name,
            "low": math.sqrt(low),
            "high": None if high == largest else math.sqrt(high),
            "objects": int(((areas >= low) & (areas <= high)).sum()),
            "AP": mean_known(precision[:, :, :, i, -1]),
            "AP50": mean_known(precision[0, :, :, i, -1]),
            "AR_100": mean_known(recall[:, :, i, -1]),
        }
        for name, low, high in buckets
        for i in [ranges.index((low, high))]
    ]


def _calibration(evaluation: Any) -> dict[str, Any]:
    """Measure how far scores are the shares of detections that are right."""
    measured = evaluation.calibration(n_bins=BINS, iou_threshold=FOREGROUND)
    bins = [
        {
            "low": b["bin_lower"],
            "high": b["bin_upper"],
            "count": b["count"],
            "score": b["avg_confidence"] if b["count"] else None,
            "precision": b["avg_accuracy"] if b["count"] else None,
        }
        for b in measured["bins"]
    ]
    some = measured["num_detections"] > 0
    return {
        "ece": _measured_or_none(measured["ece"]) if some else None,
        "mce": _measured_or_none(measured["mce"]) if some else None,
        "detections": measured["num_detections"],
        "bins": bins,
        "per_class": dict(sorted(measured["per_category"].items())),
    }


def mistakes(seen: Sequence[Seen]) -> list[Mistake]:
    """Every false positive and every miss of an evaluation, by TIDE's rules, image by image."""
    return [m for number, s in enumerate(seen) for m in _of_image(number, countable(s))]


def countable(s: Seen) -> Seen:
    """Select what of an image TIDE looks at: no ignored regions, no detection that they spare, and of each class the
    CLASS_DETECTIONS best, by falling score. Average precision at IoU 0.5 is the same."""
    found = s.found[_keep_best(s.found)]
    mine, regions = s.truths[:, 5] == 0, s.truths[s.truths[:, 5] > 0]
    objects = s.truths[mine]
    if len(regions):
        _, owner = _match_greedily(*_overlaps(found, objects))
        found = found[(owner >= 0) | ~_spared(found, regions)]
    return s._replace(found=found, truths=objects, areas=None if s.areas is None else s.areas[mine])


def _overlaps(found: Float64Array, objects: Float64Array) -> tuple[Float64Array, BoolArray]:
    """IoU (n, k) of detections and objects, and whether their classes are the same."""
    same: BoolArray = found[:, 5, None] == objects[None, :, 4]
    return bbox_ioa(ltwh2xyxy(found[:, :4]), ltwh2xyxy(objects[:, :4]), iou=True, eps=0), same


def _of_image(number: int, s: Seen) -> list[Mistake]:
    """Return the mistakes of an image, see `countable`."""
    found, objects = s.found, s.truths
    iou, same = _overlaps(found, objects)
    matched, owner = _match_greedily(iou, same)
    right, other = np.where(same, iou, -1.0), np.where(same, -1.0, iou)
    used = np.where(matched[None], right, -1.0)
    result, explained = list[Mistake](), np.zeros(len(objects), np.bool_)

    def add(kind: str, i: int, overlaps: Float64Array) -> None:
        j = int(overlaps.argmax()) if len(overlaps) else -1
        nothing = j < 0 or overlaps[j] <= 0
        result.append(
            Mistake(
                kind, number, tuple(found[i, :4].tolist()), float(found[i, 4]), int(found[i, 5]),
                None if nothing else tuple(objects[j, :4].tolist()), None if nothing else int(objects[j, 4]),
                None if nothing else float(overlaps[j]),
            )
        )  # fmt: skip
        if kind in ("Cls", "Loc"):
            explained[j] = True

    for i in np.flatnonzero(owner < 0).tolist():
        best = [float(v[i].max(initial=-1.0)) for v in (right, other, used, iou)]
        if BACKGROUND <= best[0] <= FOREGROUND:
            add("Loc", i, right[i])
        elif best[1] >= FOREGROUND:
            add("Cls", i, other[i])
        elif best[2] >= FOREGROUND:
            add("Dupe", i, used[i])
        elif best[3] <= BACKGROUND:
            add("Bkg", i, iou[i])
        else:
            add("Both", i, iou[i])
    for j in np.flatnonzero(~matched & ~explained).tolist():
        truth = tuple(objects[j, :4].tolist())
        result.append(Mistake("Miss", number, None, None, None, truth, int(objects[j, 4]), None))
    return result


def _keep_best(found: Float64Array) -> Int64Array:
    """Detections by falling score, the best CLASS_DETECTIONS of each class."""
    order = np.argsort(-found[:, 4], kind="stable")
    kept = np.ones(len(order), np.bool_)
    for c in np.unique(found[:, 5]):
        kept[np.flatnonzero(found[order, 5] == c)[CLASS_DETECTIONS:]] = False
    return order[kept]


def _match_greedily(iou: Float64Array, same: BoolArray) -> tuple[BoolArray, Int64Array]:
    """Which objects (k,) are found, and for each detection (n,), best first, the object it finds, or -1."""
    taken, owner = np.zeros(iou.shape[1], np.bool_), np.full(len(iou), -1, np.int64)
    candidates = np.where(same & (iou >= FOREGROUND), iou, -1.0)
    for i in np.flatnonzero((candidates > 0).any(1)).tolist():
        free = np.where(taken, -1.0, candidates[i])
        j = len(free) - 1 - int(free[::-1].argmax())  # of equal ones the last, as pycocotools does
        if free[j] > 0:
            taken[j], owner[i] = True, j
    return taken, owner


def _spared(found: Float64Array, regions: Float64Array) -> BoolArray:
    """Which detections (n,) lie in an ignored region of their class, or of every class."""
    if not len(found) or not len(regions):
        return np.zeros(len(found), np.bool_)
    share = bbox_ioa(ltwh2xyxy(regions[:, :4]), ltwh2xyxy(found[:, :4]), eps=0)
    ours = (regions[:, None, 4] == found[None, :, 5]) | (regions[:, None, 4] == ANY_CLASS)
    spared: BoolArray = ((share >= FOREGROUND) & ours).any(0)
    return spared


def worst(found: Sequence[Mistake], n: int) -> dict[str, list[Mistake]]:
    """Return the n worst of each kind that there are: the false positives of the highest scores, the largest misses."""
    result = {}
    for kind in KINDS:
        mine = [m for m in found if m.kind == kind]
        mine.sort(key=lambda m: -m.score if m.score is not None else -m.truth[2] * m.truth[3] if m.truth else 0.0)
        if mine[:n]:
            result[kind] = mine[:n]
    return result


def table_lines(figures: Mapping[str, Any]) -> list[str]:
    """Return the lines of a short table of what `analyse` gives."""

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    lines = [f"Errors at IoU {FOREGROUND} (AP50 {number(figures['AP50'])}): what AP50 would gain without them"]
    for kind, meaning in KINDS.items():
        error = figures["errors"][kind]
        lines.append(f"{kind:>6} {error['count']:7d} {number(error['dAP']):>8}  {meaning}")
    if figures["sizes"]:
        lines.append(f"{'size':>6} {'pixels':>11} {'objects':>8} {'AP':>7} {'AR_100':>7}")
    for bucket in figures["sizes"]:
        row = f"{bucket['name']:>6} {span(bucket):>11} {bucket['objects']:8d}"
        lines.append(f"{row} {number(bucket['AP']):>7} {number(bucket['AR_100']):>7}")
    c = figures["calibration"]
    off = f"{number(c['ece'])} on average and {number(c['mce'])} in the worst of {BINS} bins"
    lines.append(f"Scores of {c['detections']} detections are off by {off} (ECE, MCE)")
    return lines


def span(bucket: Mapping[str, Any]) -> str:
    """Return the sizes of a bucket, √area in pixels."""
    low, high = bucket["low"], bucket["high"]
    return f"≥{low:.0f}" if high is None else f"<{high:.0f}" if low == 0 else f"{low:.0f}-{high:.0f}"
