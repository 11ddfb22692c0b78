"""COCO's figures of masks where regions hold crowds: from a JSON to metrics.json, against pycocotools on that JSON."""

import json
import tracemalloc

import cv2
import numpy as np
import pytest
import torch

from tests.helpers.coco import summarised, write
from tests.helpers.tasks import QUIET, tiny_network
from ultralytics.data.polygons import Polygons
from ultralytics.data.prepare import prepare_coco
from ultralytics.models.yolo.segment.evaluate import region_masks
from ultralytics.models.yolo.segment.val import Masked
from ultralytics.models.yolo.task import TASKS
from ultralytics.utils.coco import FIGURES, coco_figures
from ultralytics.utils.images import imwrite

SIDE = 96
CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
COCO_MASK = pytest.importorskip("pycocotools.mask")


def run_lengths(mask):
    found = COCO_MASK.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(found["size"]), "counts": found["counts"].decode()}


def around(mask):
    """The box around a mask, x, y, width and height."""
    rows, columns = np.flatnonzero(mask.any(1)).tolist(), np.flatnonzero(mask.any(0)).tolist()
    return [columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]]


def crowd(rng):
    """A region of several parts, with holes, in a part of the image."""
    smooth = cv2.GaussianBlur(rng.random((SIDE, SIDE)), (0, 0), 2.5)
    mask = np.zeros((SIDE, SIDE), bool)
    x, y = rng.integers(0, 30, 2)
    mask[y : y + 60, x : x + 60] = (smooth > np.quantile(smooth, 0.45))[y : y + 60, x : x + 60]
    return mask


def rectangle(x, y, w, h):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y : y + h, x : x + w] = True
    return mask


def made(seed, images=4):
    """Annotations: overlapping objects and crowds of two classes; and detections (mask, score, category) of each image:
    near an object, in a crowd and half in it, beside it in its box, of the other class, and anywhere."""
    rng = np.random.default_rng(seed)
    annotations, found = [], {}
    for image in range(1, images + 1):
        listed = found[image] = []
        for number in range(rng.integers(1, 4)):
            x, y, w, h = (*rng.integers(0, 50, 2), *rng.integers(12, 45, 2))
            x, y, w, h = map(int, (x, y, min(w, SIDE - x), min(h, SIDE - y)))
            category = 3 if number == 0 else 7
            outline = [x, y, x + w, y, x + w, y + h, x, y + h]
            row = {"id": len(annotations) + 1, "image_id": image, "category_id": category, "iscrowd": 0}
            annotations.append(row | {"bbox": [x, y, w, h], "area": w * h, "segmentation": [outline]})
            for _ in range(2):
                dx, dy = rng.integers(-3, 4, 2)
                near = rectangle(max(x + dx, 0), max(y + dy, 0), w, h)
                listed.append((near, rng.random(), category))
        region = crowd(rng)
        row = {"id": len(annotations) + 1, "image_id": image, "category_id": 3, "iscrowd": 1}
        box = around(region)
        annotations.append(row | {"bbox": box, "area": int(region.sum()), "segmentation": run_lengths(region)})
        inside = rectangle(box[0], box[1], box[2] // 2, box[3])
        listed += [
            (region & inside, rng.random(), 3), (region & inside, rng.random(), 7),
            (inside, rng.random(), 3), (inside & ~region, rng.random(), 3),
            (rectangle(*rng.integers(0, 60, 2), 20, 25), rng.random(), 7),
        ]  # fmt: skip
    listed = [{"id": i, "file_name": f"{i:012d}.png", "width": SIDE, "height": SIDE} for i in range(1, images + 1)]
    return listed, annotations, found


def validated(folder, data, found):
    """The validator after a run over the data, in which these detections were made."""
    validator = TASKS["segment"].validator(
        save_dir=folder,
        args={k: v for k, v in QUIET.items() if k in ("imgsz", "workers", "plots", "device", "verbose", "threads")}
        | {"data": str(data), "imgsz": SIDE, "batch": 2, "coco": True, "rect": False},
    )
    network = TASKS["segment"].network(str(tiny_network(folder, "segment", nc=2)), nc=2, verbose=False)
    network.names = {0: "cat", 1: "dog"}
    preprocess = validator.preprocess

    def remembered(batch):
        validator.batch = batch
        return preprocess(batch)

    def detected(i):
        """Each mask is a prototype of its own, at the image's resolution."""
        image = int(validator.batch["im_file"][i].rpartition("/")[2].partition(".")[0])
        masks = np.stack([mask for mask, _, _ in found[image]])
        corners = [[x, y, x + w, y + h] for x, y, w, h in map(around, masks)]
        rows = [[*c, score, int(category == 7)] for c, (_, score, category) in zip(corners, found[image], strict=True)]
        protos = torch.from_numpy(masks).float() * 2 - 1
        return Masked(torch.cat([torch.tensor(rows), torch.eye(len(masks))], 1), protos)

    validator.preprocess = remembered
    validator.postprocess = lambda preds: [detected(i) for i in range(len(preds[0]))]
    validator(model=network.eval())
    return validator


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_figures_with_crowds_are_pycocotools(tmp_path, seed):
    pytest.importorskip("hotcoco")
    listed, annotations, found = made(seed)
    for entry in listed:
        imwrite(tmp_path / "s" / "images" / entry["file_name"], np.zeros((SIDE, SIDE, 3), np.uint8))
    source = write(tmp_path / "s", listed, annotations, "instances_val.json", CATEGORIES, draw=False)
    train = source.with_name("instances_train.json")
    train.write_text(source.read_text())
    data = prepare_coco([train, source], tmp_path / "o", tmp_path / "s/images", task="segment")
    validator = validated(tmp_path, data, found)
    results = [
        {
            "image_id": image, "category_id": category, "score": float(np.float32(score)), "bbox": around(mask),
            "segmentation": run_lengths(mask),
        }
        for image, rows in found.items() for mask, score, category in rows
    ]  # fmt: skip
    stats = summarised(json.loads(source.read_text()), results, "segm").stats.tolist()
    expected = {k: None if v < 0 else v for k, v in zip(FIGURES, stats, strict=True)}
    ours = validator.metrics.coco["segm"]
    assert {k: ours[k] for k in FIGURES} == pytest.approx(expected, abs=1e-9)
    seen = [
        s._replace(truth_shapes=s.truth_shapes[: int((s.truths[:, 5] == 0).sum())]) for s in validator.seen_images()
    ]
    boxes = coco_figures(seen, {0: "cat", 1: "dog"}, "segm")
    assert boxes["AP"] != pytest.approx(ours["AP"], abs=1e-4), "the crowds' boxes would do as well"


def test_regions_without_an_outline_cost_nothing():
    """A region that is a box has no mask, and needs no array of the image's size."""
    square = np.array([(0.25, 0.5), (0.5, 0.5), (0.5, 0.75), (0.25, 0.75)])
    none = np.zeros((0, 2))
    (first, mask, last) = region_masks(Polygons.of([none, square, none]), (40, 80))
    assert (first, last) == (None, None)
    expected = np.zeros((40, 80), np.uint8)
    expected[20:30, 20:40] = 1
    assert np.array_equal(COCO_MASK.decode(mask), expected)
    tracemalloc.start()
    assert region_masks(Polygons.of([none] * 3), (3000, 4000)) == [None] * 3
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000
