"""Tiles beside SAHI around the same network, on mosaics of real images: docs/tiles.md, "The same as SAHI".

SAHI is no requirement: without it (pip install sahi) these tests are skipped.
"""

import json
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
import yaml

from ultralytics import YOLO
from ultralytics.models.yolo.detect import predict
from ultralytics.models.yolo.detect.evaluate import BoxEvaluator, Pair
from ultralytics.utils.images import imread, imwrite
from ultralytics.utils.tiling import grid

sahi = pytest.importorskip("sahi", reason="SAHI is not installed: pip install sahi")
from sahi.models.base import DetectionModel  # noqa: E402  # after the skip
from sahi.predict import get_sliced_prediction  # noqa: E402  # after the skip
from sahi.prediction import ObjectPrediction  # noqa: E402  # after the skip
from sahi.slicing import get_slice_bboxes  # noqa: E402  # after the skip

IMAGES, COLUMNS, ROWS = 20, 3, 2
HEIGHT, WIDTH, TILE = 416, 832, 320  # both have the same grid
WHOLE = 640  # the network's size of a whole image
KEYS = {"device": "cpu", "verbose": False, "threads": 1}
TILED = {"tiles": TILE, "overlap": 0.2, "imgsz": WHOLE, "batch": 6}
VAL = {"workers": 0, "plots": False, "coco": False, "save_json": True}


class Ours(DetectionModel):
    """Our network as SAHI calls one: an image at a time, a slice at its own size."""

    def set_model(self, model, **_):
        self.model = model

    def perform_inference(self, image):
        size = TILE if image.shape[:2] == (TILE, TILE) else WHOLE
        bgr = np.ascontiguousarray(image[..., ::-1])
        found = self.model.predict(bgr, imgsz=size, conf=self.confidence_threshold, **KEYS)
        self._original_predictions = found[0].boxes.data.tolist()

    def _create_object_prediction_list_from_original_predictions(self, shift_amount_list=None, full_shape_list=None):
        # Of slices these are lists of one, of the whole image not.
        shift, shape = (np.ravel(v).astype(int).tolist() for v in (shift_amount_list, full_shape_list))
        self._object_prediction_list_per_image = [
            [
                ObjectPrediction(bbox=row[:4], score=row[4], category_id=int(row[5]), category_name=str(int(row[5])),
                                 shift_amount=shift, full_shape=shape)
                for row in self._original_predictions
            ]
        ]  # fmt: skip


def mosaics(folder):
    """Images of six each (BGR), with their boxes (xyxy) and classes."""
    files = sorted(folder.glob("images/val2017/*.jpg"))
    high, wide = HEIGHT // ROWS, WIDTH // COLUMNS
    made = []
    for first in range(0, IMAGES * ROWS * COLUMNS, ROWS * COLUMNS):
        canvas, rows = np.full((HEIGHT, WIDTH, 3), 114, np.uint8), []
        for place, file in enumerate(files[first : first + ROWS * COLUMNS]):
            image = imread(file)
            gain = min(high / image.shape[0], wide / image.shape[1])
            h, w = int(image.shape[0] * gain), int(image.shape[1] * gain)
            top, left = place // COLUMNS * high, place % COLUMNS * wide
            canvas[top : top + h, left : left + w] = reduced(image, h, w)
            label = folder / "labels" / "val2017" / f"{file.stem}.txt"
            for cls, x, y, bw, bh in np.loadtxt(label, ndmin=2) if label.is_file() else ():
                box = [(x - bw / 2) * w, (y - bh / 2) * h, (x + bw / 2) * w, (y + bh / 2) * h]
                rows.append([box[0] + left, box[1] + top, box[2] + left, box[3] + top, cls])
        made.append((canvas, torch.tensor(rows)))
    return made


def reduced(image, h, w):
    cv2 = pytest.importorskip("cv2")
    return cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA)


def by_sahi(model, image, conf):
    """(n, 6) rows as `Boxes.data`: below a score of 0.1 SAHI takes NMS by IoU, else GREEDYNMM by IOS."""
    model.confidence_threshold = conf
    rgb = np.ascontiguousarray(image[..., ::-1])
    found = get_sliced_prediction(rgb, model, slice_height=TILE, slice_width=TILE, verbose=0)
    rows = [[*p.bbox.to_xyxy(), p.score.value, p.category.id] for p in found.object_prediction_list]
    rows = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return rows[rows[:, 4].argsort(descending=True, stable=True)]


def measured(found, images, names):
    """mAP50-95 of detections."""
    evaluator = BoxEvaluator(names, len(names))
    for number, (boxes, (_, truths)) in enumerate(zip(found, images, strict=True)):
        pair = Pair(
            f"{number}.jpg", (HEIGHT, WIDTH), boxes, truths[:, :4].float(), truths[:, 4], torch.zeros(0, 6), None
        )
        evaluator.update(number, [pair])
    return evaluator.result().box.map


@pytest.fixture(scope="module")
def images(shared):
    found = mosaics(shared / "data" / "coco128-val")
    assert len(found) == IMAGES
    assert sum(len(truths) for _, truths in found) > 500
    return found


@pytest.fixture(scope="module")
def data(images, shared, tmp_path_factory):
    """The same as a dataset."""
    folder = tmp_path_factory.mktemp("mosaics")
    size = torch.tensor([WIDTH, HEIGHT])
    for number, (image, truths) in enumerate(images):
        imwrite(folder / "images" / "val" / f"{number}.png", image)
        low, high = truths[:, :2], truths[:, 2:4]
        rows = torch.cat((truths[:, 4:], (low + high) / 2 / size, (high - low) / size), 1).numpy()
        label = folder / "labels" / "val" / f"{number}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(label, rows, "%d %.8f %.8f %.8f %.8f")
    names = yaml.safe_load((shared / "data" / "coco128-val" / "coco128-val.yaml").read_text(encoding="utf-8"))["names"]
    text = yaml.safe_dump({"train": "images/val", "val": "images/val", "names": names})
    (folder / "mosaics.yaml").write_text(text, encoding="utf-8")
    return folder / "mosaics.yaml"


@pytest.fixture
def networks(shared):
    """The same, for us and within SAHI."""
    mine, theirs = (YOLO(str(shared / "weights" / "yolov8n.pt")) for _ in range(2))
    return mine, Ours(model=theirs, device="cpu")


def test_the_grids_are_the_same():
    assert [tuple(s) for s in get_slice_bboxes(HEIGHT, WIDTH, TILE, TILE)] == grid((HEIGHT, WIDTH), TILE, 0.2)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("conf", "keys"), [(0.2, {"merge": "nmm"}), (0.05, {"merge": "nms", "merge_iou": 0.5})])
def test_predict_finds_what_sahi_finds(networks, images, conf, keys):
    """Equally many boxes in every image, with the same scores, and the same metrics."""
    yolo, other = networks
    mine = [yolo.predict(image, conf=conf, **TILED, **keys, **KEYS)[0].boxes.data for image, _ in images]
    theirs = [by_sahi(other, image, conf) for image, _ in images]
    counts = [[len(boxes) for boxes in found] for found in (mine, theirs)]
    assert counts[0] == counts[1]
    assert sum(counts[0]) > 400
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a[:, 4], b[:, 4], rtol=0, atol=1e-4)  # best first
    figure = measured(theirs, images, yolo.names)
    assert figure > 0.3
    assert measured(mine, images, yolo.names) == pytest.approx(figure, abs=5e-4)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_val_measures_what_sahi_finds(networks, images, data, tmp_path, monkeypatch):
    """A box may be of several classes in a validation, so here it may be in SAHI's too."""
    yolo, other = networks
    found = yolo.val(data=str(data), conf=0.2, merge="nmm", project=str(tmp_path), **VAL, **TILED, **KEYS)
    monkeypatch.setattr(predict, "detections", partial(predict.detections, multi_label=True))
    theirs = [by_sahi(other, image, 0.2) for image, _ in images]
    assert found.box.map == pytest.approx(measured(theirs, images, yolo.names), abs=0.005)
    seen = json.loads((tmp_path / "val" / "predictions.json").read_text(encoding="utf-8"))
    counts = Counter(row["image_id"] for row in seen)
    assert [counts[i] for i in range(IMAGES)] == [len(boxes) for boxes in theirs]
