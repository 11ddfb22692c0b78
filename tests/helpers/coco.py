"""Instances documents of COCO, and its figures by pycocotools."""

import contextlib
import io
import json

import numpy as np
import pytest

from ultralytics.utils.coco import FIGURES, Seen, coco_figures
from ultralytics.utils.images import imwrite
from ultralytics.utils.types import ANY_CLASS

CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]


def picture(path):
    imwrite(path, np.zeros((50, 100, 3), np.uint8))


def box(number, image, category=3, bbox=(10, 5, 20, 10), **more):
    return {"id": number, "image_id": image, "category_id": category, "bbox": list(bbox), **more}


def image(number, name, **more):
    return {"id": number, "file_name": name, "width": 100, "height": 50, **more}


def write(folder, images, annotations, name="instances_train.json", categories=CATEGORIES, draw=True):
    """An instances JSON and its images in FOLDER/images; the JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in images if draw else ():
        picture(folder / "images" / entry["file_name"])
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / name).write_text(json.dumps(data), encoding="utf-8")
    return folder / name


def summarised(document, results, kind="bbox", sigmas=None):
    """pycocotools' evaluation of an instances document and results."""
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
        truth.dataset = document
        truth.createIndex()
        found.dataset = {**document, "annotations": []}
        found.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results) if results else found, kind)
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def oracle(seen, names):
    """The twelve figures and each class' AP by pycocotools."""
    annotations, results = [], []
    for i, s in enumerate(seen, 1):
        areas = s.truths[:, 2] * s.truths[:, 3] if s.areas is None else s.areas
        for (x, y, w, h, cls, crowd), area in zip(s.truths.tolist(), areas.tolist(), strict=True):
            for c in sorted(names) if cls == ANY_CLASS else [int(cls)]:
                annotations.append(
                    {
                        "id": len(annotations) + 1, "image_id": i, "category_id": c, "bbox": [x, y, w, h],
                        "area": area if area > 0 else w * h, "iscrowd": int(crowd),
                    }
                )  # fmt: skip
        results += [
            {"image_id": i, "category_id": int(c), "bbox": [x, y, w, h], "score": score}
            for x, y, w, h, score, c in s.found.tolist()
        ]
    document = {
        "images": [{"id": i, "height": s.shape[0], "width": s.shape[1]} for i, s in enumerate(seen, 1)],
        "annotations": annotations,
        "categories": [{"id": c, "name": n} for c, n in names.items()],
    }
    evaluation = summarised(document, results)
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    per_class = {}
    for k, c in enumerate(sorted(names)):
        known = precision[:, :, k][precision[:, :, k] > -1]
        per_class[names[c]] = known.mean() if known.size else None
    return {k: (None if v < 0 else v) for k, v in zip(FIGURES, evaluation.stats.tolist(), strict=True)}, per_class


def same(seen, names):
    ours = coco_figures(seen, names)
    per_class = ours.pop("per_class")
    theirs, theirs_per_class = oracle(seen, names)
    assert list(ours) == list(FIGURES)
    assert ours == pytest.approx(theirs, abs=1e-9)
    assert per_class == pytest.approx(theirs_per_class, abs=1e-9)
    return ours


def made(seed, images=6, nc=3, objects=8, detections=12, crowds=0.0, whole=False, masks=False):
    """Images with objects, detections near some of them, and others by chance; with `whole` numbers there are ties."""
    rng = np.random.default_rng(seed)
    seen = []
    for i in range(images):
        n, m = int(rng.integers(0, objects + 1)), int(rng.integers(0, detections + 1))
        boxes = np.column_stack([rng.uniform(0, 300, (n, 2)), rng.choice([8, 31, 32, 33, 95, 96, 97, 200], (n, 2))])
        truths = np.column_stack([boxes, rng.integers(0, nc, n), rng.random(n) < crowds]).astype(float)
        truths[(truths[:, 5] == 1) & (rng.random(n) < 0.3), 4] = ANY_CLASS
        near = boxes[rng.integers(0, n, m)] + rng.normal(0, 4, (m, 4)) if n else rng.uniform(1, 90, (m, 4))
        near[:, 2:] = near[:, 2:].clip(1)
        scores = rng.integers(0, 5, m) / 5 if whole else rng.random(m)
        classes = truths[rng.integers(0, n, m), 4].clip(0) if n else rng.integers(0, nc, m)
        found = np.column_stack([near, scores, classes]).astype(float)
        seen.append(Seen(f"{i:04d}.jpg", (400, 500), found.round() if whole else found, truths))
        if masks:
            areas = rng.choice([1023.9999, 1024.0, 1024.0001, 9215.9, 9216.0, 9217.0, -1.0, 5.0], n)
            seen[-1] = seen[-1]._replace(areas=areas)
    return seen


NAMES = {0: "a", 1: "b", 2: "c"}
