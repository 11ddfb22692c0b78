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

SIZE_BORDERS = (32.0**2, 96.0**2)  # between small, medium and large, pixels²
CLASS_DETECTIONS = 100  # of a class and image that count


class Seen(NamedTuple):
    """What an evaluation has seen of an image, in pixels of the original."""

    file: str  # of the image
    shape: tuple[int, int]  # its (height, width)
    found: Float64Array  # (n, 6) detections: x, y (top left), width, height, score, class
    # (k, 6) objects: x, y, width, height, class (ANY_CLASS for a region that holds for all), and 0, or CROWD or
    # DIFFICULT for one that is ignored
    truths: Float64Array
    # (k,) of the objects' masks, pixels², 0 or less for one without; None where none has one
    areas: Float64Array | None = None
    # of the detections and of the objects that are not ignored: their masks (run lengths, polygons), or poses (K, 3)
    found_shapes: Sequence[Any] | None = None
    truth_shapes: Sequence[Any] | None = None


def coco_figures(seen: Sequence[Seen], names: Mapping[int, str]) -> dict[str, Any]:
    """COCO's figures of a split.

    What is ignored (crowds, difficult objects, regions of no class) counts as COCO's crowds do: a detection that lies
    in it and has no object of its own is neither right nor wrong. Sizes are by the areas of the masks where they are
    known, else of the boxes: below 32², from there to 96², above.

    Args:
        seen: the images; names: class id → name.

    Returns:
        The keys of FIGURES, each 0..1, or None where there is no object it could be measured by, and `per_class`: name
        → AP.
    """
    evaluation = evaluated(seen, names)
    figures = evaluation.get_results()
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]  # IoU, recall, class; all sizes, 100 found
    per_class = {name: mean_known(precision[:, :, k]) for k, (_, name) in enumerate(sorted(names.items()))}
    return {ours: known(figures[theirs]) for ours, theirs in FIGURES.items()} | {"per_class": per_class}


def evaluated(
    seen: Sequence[Seen], names: Mapping[int, str], areas: Sequence[tuple[float, float]] | None = None
) -> Any:
    """Run the library's evaluation of a split.

    Args:
        areas: different ranges of areas (pixels², ends included) instead of COCO's four; then it has no summary.
    """
    from hotcoco import COCO, COCOeval  # a quarter of a second: only where it is asked for

    images = [{"id": i, "width": s.shape[1], "height": s.shape[0]} for i, s in enumerate(seen, 1)]
    categories = [{"id": i, "name": name} for i, name in sorted(names.items())]
    empty = np.zeros((0, 6))
    truths, found = (np.concatenate([empty, *rows]) for rows in ([s.truths for s in seen], [s.found for s in seen]))
    own = np.concatenate([np.zeros(0), *(areas_of(s) for s in seen)])
    numbers = np.arange(1, len(seen) + 1)
    of_truths = np.repeat(numbers, [len(s.truths) for s in seen])
    of_found = np.repeat(numbers, [len(s.found) for s in seen])
    objects = _for_all(np.column_stack([of_truths, truths, own]), sorted(names))
    with contextlib.redirect_stdout(io.StringIO()):  # the library reports as pycocotools does
        truth = COCO.from_arrays(
            images, categories, objects[:, 0].astype(int), objects[:, 5].astype(int), objects[:, 1:5],
            area=objects[:, 7], iscrowd=(objects[:, 6] > 0).astype(int),
        )  # fmt: skip
        evaluation = COCOeval(truth, truth.load_res(np.column_stack([of_found, found])), "bbox")
        if areas is None:
            evaluation.run()
        else:
            evaluation.params.area_rng = [list(r) for r in areas]
            evaluation.params.area_rng_lbl = [str(i) for i in range(len(areas))]
            evaluation.evaluate()
            evaluation.accumulate()
    assert evaluation.eval is not None
    return evaluation


def areas_of(seen: Seen) -> Float64Array:
    """Return the areas (k,) of an image's objects: their own, else their boxes'."""
    boxes: Float64Array = seen.truths[:, 2] * seen.truths[:, 3]
    return boxes if seen.areas is None else np.where(seen.areas > 0, seen.areas, boxes)


def _for_all(objects: Float64Array, classes: Sequence[int]) -> Float64Array:
    """Regions that hold for every class, as one for each."""
    every = objects[:, 5] == ANY_CLASS
    copies = np.repeat(objects[every], len(classes), 0)
    copies[:, 5] = np.tile(np.asarray(classes, np.float64), int(every.sum()))
    return np.concatenate([objects[~every], copies])


def mean_known(figures: Float64Array) -> float | None:
    """Return the mean of what could be measured; None where nothing could."""
    measured = figures[figures > -1]
    return float(measured.mean()) if measured.size else None


def known(figure: float) -> float | None:
    """Return a figure of the library's, or None where it stands for nothing to measure."""
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
