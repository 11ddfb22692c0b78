"""COCO's own figures for boxes: AP and AR over IoU 0.5 to 0.95, by size of the object (Lin et al. 2014).

They are computed by hotcoco, to pycocotools' numbers. The reference's mAP beside them interpolates otherwise, and keeps
300 detections of an image where COCO keeps 100 of each class.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ultralytics.utils.types import ANY_CLASS, Float64Array

# COCO's twelve, by the names papers give them and by the library's.
FIGURES = {
    "AP": "AP", "AP50": "AP50", "AP75": "AP75", "AP_S": "APs", "AP_M": "APm", "AP_L": "APl",
    "AR_1": "AR1", "AR_10": "AR10", "AR_100": "AR100", "AR_S": "ARs", "AR_M": "ARm", "AR_L": "ARl",
}  # fmt: skip
CROWD, DIFFICULT = 1, 2  # COCO's figures treat both alike; the reference's go by area in a crowd, else by IoU


class Seen(NamedTuple):
    """What an evaluation has seen of an image, in pixels of the original.

    Attributes:
        file: of the image; shape: its (height, width).
        found: (n, 6) detections: x, y (top left), width, height, score, class.
        truths: (k, 6) objects: x, y, width, height, class (ANY_CLASS for a region that holds for all), and 0, or
        CROWD or DIFFICULT for one that is ignored.
    """

    file: str
    shape: tuple[int, int]
    found: Float64Array
    truths: Float64Array


def coco_figures(seen: Sequence[Seen], names: Mapping[int, str]) -> dict[str, Any]:
    """COCO's figures of a split.

    What is ignored (crowds, difficult objects, regions of no class) counts as COCO's crowds do: a detection that lies
    in it and has no object of its own is neither right nor wrong. Sizes are by the boxes' areas: below 32², from there
    to 96², above.

    Args:
        seen: the images; names: class id → name.

    Returns:
        The keys of FIGURES, each 0..1, or None where there is no object it could be measured by, and `per_class`: name
        → AP.
    """
    from hotcoco import COCO, COCOeval  # a quarter of a second: only where it is asked for

    images = [{"id": i, "width": s.shape[1], "height": s.shape[0]} for i, s in enumerate(seen, 1)]
    categories = [{"id": i, "name": name} for i, name in sorted(names.items())]
    truths = [np.column_stack([np.full(len(s.truths), i), s.truths]) for i, s in enumerate(seen, 1)]
    found = [np.column_stack([np.full(len(s.found), i), s.found]) for i, s in enumerate(seen, 1)]
    empty = np.zeros((0, 7))
    objects = _for_all(np.concatenate([empty, *truths]), sorted(names))
    with contextlib.redirect_stdout(io.StringIO()):  # the library reports as pycocotools does
        truth = COCO.from_arrays(
            images, categories, objects[:, 0].astype(int), objects[:, 5].astype(int), objects[:, 1:5],
            iscrowd=(objects[:, 6] > 0).astype(int),
        )  # fmt: skip
        evaluation = COCOeval(truth, truth.load_res(np.concatenate([empty, *found])), "bbox")
        evaluation.run()
    figures = evaluation.get_results()
    assert evaluation.eval is not None
    precision = np.asarray(evaluation.eval["precision"])[
        :, :, :, 0, -1
    ]  # IoU, recall, class; all sizes, 100 detections
    per_class = {name: _mean(precision[:, :, k]) for k, (_, name) in enumerate(sorted(names.items()))}
    return {ours: _known(figures[theirs]) for ours, theirs in FIGURES.items()} | {"per_class": per_class}


def _for_all(objects: Float64Array, classes: Sequence[int]) -> Float64Array:
    """Regions that hold for every class, as one for each."""
    every = objects[:, 5] == ANY_CLASS
    copies = np.repeat(objects[every], len(classes), 0)
    copies[:, 5] = np.tile(np.asarray(classes, np.float64), int(every.sum()))
    return np.concatenate([objects[~every], copies])


def _mean(precision: Float64Array) -> float | None:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None


def _known(figure: float) -> float | None:
    return None if figure < 0 else float(figure)


def predictions(seen: Sequence[Seen], categories: Sequence[int]) -> list[dict[str, Any]]:
    """Detections as COCO's results format has them.

    Args:
        categories: the id of each class in the annotations.

    Returns:
        A mapping per detection: image_id (the number that the file's name is, else the name), category_id, bbox, score.
    """
    rows = []
    for s in seen:
        stem = Path(s.file).stem
        image = int(stem) if stem.isdecimal() and stem.isascii() else stem
        for x, y, w, h, score, cls in s.found.tolist():
            box = [round(v, 3) for v in (x, y, w, h)]
            row = {"image_id": image, "file_name": os.path.basename(s.file), "category_id": categories[int(cls)]}
            rows.append(row | {"bbox": box, "score": round(score, 5)})
    return rows
