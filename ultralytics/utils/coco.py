"""COCO's own figures for boxes, masks and poses: AP and AR over IoU 0.5 to 0.95, or as many similarities of poses, by
size of the object (Lin et al. 2014).

They are computed by hotcoco, to pycocotools' numbers. The reference's mAP beside them interpolates otherwise, and keeps
300 detections of an image where COCO keeps 100 of each class.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ultralytics.utils.text import unique_names
from ultralytics.utils.types import ANY_CLASS, Float64Array, Int64Array

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
    # of the detections and of the objects: their masks (run lengths, polygons), or poses (K, 3); of what is ignored
    # they may be missing, or None for its box
    found_shapes: Sequence[Any] | None = None
    truth_shapes: Sequence[Any] | None = None


def within(seen: Seen, classes: Collection[int]) -> Seen:
    """Leave out detections of other classes, such as those that a network knows and a dataset does not have. No figure
    depends on them, but the library complains of each."""
    kept = np.flatnonzero(np.isin(seen.found[:, 5], list(classes)))
    if len(kept) == len(seen.found):
        return seen
    shapes = None if seen.found_shapes is None else [seen.found_shapes[i] for i in kept.tolist()]
    return seen._replace(found=seen.found[kept], found_shapes=shapes)


def coco_figures(
    seen: Sequence[Seen], names: Mapping[int, str], kind: str = "bbox", sigmas: Sequence[float] | None = None
) -> dict[str, Any]:
    """COCO's figures of a split.

    What is ignored (crowds, difficult objects, regions of no class) counts as COCO's crowds do: a detection that lies
    in it and has no object of its own is neither right nor wrong. Sizes are by the areas of the masks where they are
    known, else of the boxes: below 32², from there to 96², above.

    Args:
        seen: the images; names: class id → name.
        kind: bbox, segm or keypoints: what is compared.
        sigmas: (K,) spreads of the keypoints, see `matching.kpt_iou`; COCO's own 17 where None.

    Returns:
        The keys of FIGURES (of poses: those of AP without small objects, and as AR_100 the recall with 20 poses of an
        image), each 0..1, or None where there is no object it could be measured by, and `per_class`: name → AP
        (see `unique_names`).
    """
    evaluation = evaluated(seen, names, kind=kind, sigmas=sigmas)
    figures = evaluation.get_results()
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]  # IoU, recall, class; all sizes, 100 found
    per_class = {name: mean_known(precision[:, :, k]) for k, name in enumerate(unique_names(names).values())}
    wanted = FIGURES | {"AR_100": "AR"} if kind == "keypoints" else FIGURES
    found = {ours: known(figures[theirs]) for ours, theirs in wanted.items() if theirs in figures}
    return found | {"per_class": per_class}


def evaluated(
    seen: Sequence[Seen],
    names: Mapping[int, str],
    areas: Sequence[tuple[float, float]] | None = None,
    kind: str = "bbox",
    sigmas: Sequence[float] | None = None,
) -> Any:
    """Run the library's evaluation of a split.

    Args:
        areas: different ranges of areas (pixels², ends included) instead of COCO's four; then it has no summary.
        kind, sigmas: see `coco_figures`.
    """
    from hotcoco import COCO, COCOeval  # a quarter of a second: only where it is asked for

    images = [{"id": i, "width": s.shape[1], "height": s.shape[0]} for i, s in enumerate(seen, 1)]
    categories = [{"id": i, "name": name} for i, name in unique_names(names).items()]
    empty = np.zeros((0, 6))
    truths, found = (np.concatenate([empty, *rows]) for rows in ([s.truths for s in seen], [s.found for s in seen]))
    own = np.concatenate([np.zeros(0), *(areas_of(s) for s in seen)])
    numbers = np.arange(1, len(seen) + 1)
    of_truths = np.repeat(numbers, [len(s.truths) for s in seen])
    of_found = np.repeat(numbers, [len(s.found) for s in seen])
    objects, row_of = _for_all(np.column_stack([of_truths, truths, own]), sorted(names))
    detections = np.column_stack([of_found, found])
    # The library reports as pycocotools does, and says that other points than COCO's have other spreads.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        if kind == "keypoints":
            truth = COCO({"images": images, "categories": categories, "annotations": _poses(seen, objects, row_of)})
            results = truth.load_res(_found_poses(seen, detections))
        else:
            outlines = {} if kind == "bbox" else {"segmentation": _coco_outlines(seen, objects, row_of)}
            truth = COCO.from_arrays(
                images, categories, objects[:, 0].astype(int), objects[:, 5].astype(int), objects[:, 1:5],
                area=objects[:, 7], iscrowd=(objects[:, 6] > 0).astype(int), **outlines,
            )  # fmt: skip
            masks = {} if kind == "bbox" else {"segmentation": [m for s in seen for m in s.found_shapes or ()]}
            results = truth.load_res(detections, **masks)
        evaluation = COCOeval(truth, results, kind)
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = [float(v) for v in sigmas]
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


def _for_all(objects: Float64Array, classes: Sequence[int]) -> tuple[Float64Array, Int64Array]:
    """Return regions that hold for every class as one for each, and which of the rows each is."""
    every = objects[:, 5] == ANY_CLASS
    copies = np.repeat(objects[every], len(classes), 0)
    copies[:, 5] = np.tile(np.asarray(classes, np.float64), int(every.sum()))
    rows = np.concatenate([np.flatnonzero(~every), np.repeat(np.flatnonzero(every), len(classes))])
    return np.concatenate([objects[~every], copies]), rows.astype(np.int64)


def _shapes_of(seen: Sequence[Seen]) -> list[Any]:
    """Return the masks or poses of all objects, None of what is ignored and has none."""
    return [
        shape
        for s in seen
        for shape in [*(s.truth_shapes or ()), *[None] * (len(s.truths) - len(s.truth_shapes or ()))]
    ]


def _coco_outlines(seen: Sequence[Seen], objects: Float64Array, rows: Int64Array) -> list[Any]:
    """Return the masks of objects (k, 8): their boxes where they have none."""
    shapes = _shapes_of(seen)
    boxes = [[[x, y, x + w, y, x + w, y + h, x, y + h]] for x, y, w, h in objects[:, 1:5].tolist()]
    return [box if shapes[row] is None else shapes[row] for row, box in zip(rows.tolist(), boxes, strict=True)]


def _poses(seen: Sequence[Seen], objects: Float64Array, rows: Int64Array) -> list[dict[str, Any]]:
    """Return objects (k, 8) with their poses as annotations; ignored regions have a pose of no visible point."""
    shapes = _shapes_of(seen)
    points = next((len(shape) for shape in shapes if shape is not None), 1)
    found = []
    for number, (row, values) in enumerate(zip(rows.tolist(), objects.tolist(), strict=True), 1):
        shape = np.zeros((points, 3)) if shapes[row] is None else np.asarray(shapes[row])
        image, *box, cls, ignored, area = values
        of = {"id": number, "image_id": int(image), "category_id": int(cls), "bbox": box, "area": area}
        seen_points = int((shape[:, 2] > 0).sum())
        of |= {"iscrowd": int(ignored > 0), "keypoints": shape.ravel().tolist(), "num_keypoints": seen_points}
        found.append(of)
    return found


def _found_poses(seen: Sequence[Seen], detections: Float64Array) -> list[dict[str, Any]]:
    """Return detections (n, 7) with their poses as results."""
    shapes = [flat_pose(pose) for s in seen for pose in s.found_shapes or ()]
    rows = zip(detections.tolist(), shapes, strict=True)
    return [
        {"image_id": int(image), "category_id": int(cls), "bbox": box, "score": score, "keypoints": pose}
        for (image, *box, score, cls), pose in rows
    ]


def flat_pose(pose: Any) -> list[float]:
    """Return a pose (K, 2 or 3) as COCO's results have it: x, y and a third number for each point."""
    points = np.asarray(pose, np.float64)
    flat: list[float] = np.pad(points, ((0, 0), (0, 3 - points.shape[1])), constant_values=1.0).ravel().tolist()
    return flat


def mean_known(figures: Float64Array) -> float | None:
    """Return the mean of what could be measured; None where nothing could."""
    measured = figures[figures > -1]
    return float(measured.mean()) if measured.size else None


def known(figure: float) -> float | None:
    """Return a figure of the library's, or None where it stands for nothing to measure."""
    return None if figure < 0 else float(figure)


def image_id(file: str) -> int | str:
    """Return COCO's id of an image: the number that the file's name is, else the name."""
    stem = Path(file).stem
    return int(stem) if stem.isdecimal() and stem.isascii() else stem


def predictions(seen: Sequence[Seen], categories: Sequence[int], kind: str = "bbox") -> list[dict[str, Any]]:
    """Detections as COCO's results format has them.

    Args:
        categories: the id of each class in the annotations.
        kind: bbox, segm or keypoints: what else is in a row.

    Returns:
        A mapping per detection: image_id, category_id, bbox, score and, of masks, `segmentation` as run lengths, of
        poses `keypoints`.
    """
    rows: list[dict[str, Any]] = []
    for s in seen:
        shapes: Sequence[Any] = s.found_shapes or [None] * len(s.found)
        for (x, y, w, h, score, cls), shape in zip(s.found.tolist(), shapes, strict=True):
            box = [round(v, 3) for v in (x, y, w, h)]
            row: dict[str, Any] = {"image_id": image_id(s.file), "file_name": os.path.basename(s.file)}
            row |= {"category_id": categories[int(cls)], "bbox": box, "score": round(score, 5)}
            if kind == "segm":
                row["segmentation"] = {"size": shape["size"], "counts": _text(shape["counts"])}
            elif kind == "keypoints":
                row["keypoints"] = flat_pose(shape)
            rows.append(row)
    return rows


def _text(counts: bytes | str) -> str:
    return counts.decode("ascii") if isinstance(counts, bytes) else counts
