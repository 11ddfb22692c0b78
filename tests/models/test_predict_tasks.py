"""Prediction of masks, keypoints and rotated boxes: where they lie, in every kind of batch, and tracked."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from tests.helpers.networks import NET
from ultralytics.cfg.tracker import load_tracker
from ultralytics.engine.tracking import Tracking
from ultralytics.models.yolo.detect.postprocess import detections
from ultralytics.models.yolo.obb.predict import OBBPredictor
from ultralytics.models.yolo.pose.predict import PosePredictor, keypoint_shape
from ultralytics.models.yolo.segment.predict import SegmentationPredictor
from ultralytics.nn.several import EnsembleBackend
from ultralytics.nn.tasks import OBBModel, PoseModel, SegmentationModel
from ultralytics.utils.errors import ConfigError, UserError

PREDICTORS = {"segment": SegmentationPredictor, "pose": PosePredictor, "obb": OBBPredictor}
NETWORKS = {"segment": SegmentationModel, "pose": PoseModel, "obb": OBBModel}
HEADS = {"segment": "Segment, [nc, 32, 64]", "pose": "Pose, [nc, [5, 3]]", "obb": "OBB, [nc, 1]"}


class Finder:
    """Runs in place of a network: finds a red and a green rectangle, one object each.

    Masks are the rectangles; keypoints their centre, seen, and their upper left corner, hardly; angles are 0.3.
    """

    names, nc, stride, device, dtype, fixed = {0: "red", 1: "green"}, 2, 32, torch.device("cpu"), torch.float32, None
    layout = torch.contiguous_format

    def __init__(self, task):
        self.task = task
        self.kpt_shape = (2, 3) if task == "pose" else None

    def __call__(self, images):
        outputs = [torch.stack([self.found(plane, i) for i, plane in enumerate(image[:2])], 1) for image in images]
        y = torch.stack(outputs)
        return y, [(), y[:, 6:], avg_pool2d(images[:, :2], 4) - 0.5] if self.task == "segment" else [()]

    def found(self, plane, c):
        rows, columns = (plane > 0.9).any(1).nonzero(), (plane > 0.9).any(0).nonzero()
        extras = {"segment": [1 - c, c], "pose": [0.0] * 6, "obb": [0.3]}[self.task]
        if not len(rows):
            return torch.tensor([0.0] * 6 + [0.0] * len(extras))
        x1, y1, x2, y2 = (float(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
        if self.task == "pose":
            extras = [(x1 + x2) / 2, (y1 + y2) / 2, 0.9, x1, y1, 0.2]
        scores = [0.9 - c / 10 if i == c else 0.0 for i in range(2)]
        return torch.tensor([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, *scores, *extras])


def drawn(height, width, red=(40, 20, 60, 70), green=(80, 10, 120, 30)):
    """A black image with a red and a green rectangle."""
    image = np.zeros((height, width, 3), np.uint8)
    for (x1, y1, x2, y2), channel in ((red, 2), (green, 1)):
        image[y1:y2, x1:x2, channel] = 255
    return image


def predictor(task, **keys):
    return PREDICTORS[task](overrides={"imgsz": 128, "verbose": False, "save": False, "device": "cpu", **keys})


IMAGES = [
    drawn(96, 128),
    drawn(128, 125),
    drawn(100, 256),
    drawn(128, 128, green=(0, 0, 0, 0)),
    np.zeros((64, 64, 3), np.uint8),
]


@pytest.mark.parametrize("keys", [{}, {"batch": 3}, {"retina_masks": True}])
def test_masks_are_the_objects(keys):
    for result, image in zip(predictor("segment", **keys)(IMAGES, Finder("segment")), IMAGES, strict=True):
        objects = [c for c in (0, 1) if image[..., 2 - c].any()]
        assert result.boxes.cls.tolist() == objects
        if not objects:
            assert result.masks is None
            continue
        assert len(result.masks) == len(result)
        if "retina_masks" in keys:
            assert result.masks.data.shape[1:] == image.shape[:2]
        for outline, c in zip(result.masks.xy, objects, strict=True):
            ys, xs = np.nonzero(image[..., 2 - c])
            # Prototypes lie 4 pixels of the frame apart.
            gain = max(image.shape[:2]) / 128
            assert np.abs(outline.min(0) - [xs.min(), ys.min()]).max() <= 2.5 * gain
            assert np.abs(outline.max(0) - [xs.max(), ys.max()]).max() <= 2.5 * gain
        plain = result.plot(boxes=False)
        assert (plain != image).any()


def test_keypoints_are_in_pixels_of_the_image():
    for result, image in zip(predictor("pose", batch=2)(IMAGES, Finder("pose")), IMAGES, strict=True):
        assert result.keypoints.shape == (len(result), 2, 3)
        for (centre, corner), box in zip(result.keypoints.data.tolist(), result.boxes.xywh.tolist(), strict=True):
            assert centre[:2] == pytest.approx(box[:2], abs=0.01)
            assert centre[2] == pytest.approx(0.9)
            assert corner == pytest.approx([0, 0, 0.2])  # hardly seen
        assert result.orig_shape == image.shape[:2]


def test_boxes_beyond_the_image_are_cut_and_their_keypoints_too():
    y = torch.zeros(1, 4 + 1 + 4, 3)
    y[0, :, 1] = torch.tensor([120.0, 60, 40, 40, 0.9, 140, 60, 100, -5])
    run = predictor("pose")
    run.setup_model(Finder("pose"))
    run.model.nc, run.model.kpt_shape = 1, (2, 2)
    (result,) = run.postprocess(y, torch.zeros(1, 3, 128, 128), [np.zeros((128, 128, 3), np.uint8)])
    assert result.boxes.xyxy.tolist() == [[100, 40, 128, 80]]
    assert result.keypoints.xy.tolist() == [[[128, 60], [100, 0]]]


def test_rotated_boxes_lie_with_their_longer_side():
    for result, image in zip(predictor("obb")(IMAGES, Finder("obb")), IMAGES, strict=True):
        assert result.boxes is None
        for (x, y, w, h, angle), c in zip(result.obb.xywhr.tolist(), result.obb.cls.int().tolist(), strict=True):
            ys, xs = np.nonzero(image[..., 2 - c])
            width, height = xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min()
            slack = 1.5 * max(image.shape[:2]) / 128
            assert [x, y] == pytest.approx([xs.mean() + 0.5, ys.mean() + 0.5], abs=slack)
            assert [w, h] == pytest.approx(sorted([width, height], reverse=True), abs=slack)
            assert angle == pytest.approx(0.3 if width > height else 0.3 + math.pi / 2, abs=1e-5)


@pytest.mark.parametrize("task", PREDICTORS)
def test_what_is_found_depends_on_the_image_alone(task):
    alone = [predictor(task)(image, Finder(task))[0] for image in IMAGES]
    together = list(predictor(task, batch=len(IMAGES))(IMAGES, Finder(task), stream=True))
    for a, b in zip(alone, together, strict=True):
        for name, part in a._parts().items():
            assert torch.equal(part.data, getattr(b, name).data)


def write_net(task, folder):
    file = folder / f"{task}.yaml"
    file.write_text(NET.replace("Detect, [nc]", HEADS[task]), encoding="utf-8")
    return str(file)


@pytest.mark.parametrize("task", PREDICTORS)
def test_networks_of_the_tasks_predict(task, tmp_path):
    torch.manual_seed(0)
    net = NETWORKS[task](write_net(task, tmp_path), verbose=False)
    image = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    run = predictor(task, imgsz=64, conf=0.0, max_det=5)
    (result,) = run(image, net)
    assert len(result) == 5
    if task == "segment":
        assert result.masks.shape == (5, 64, 64)
        y, behind = run.model(run.preprocess([image]))
        exported = run.postprocess((y, behind[-1]), run.preprocess([image]), [image])[0]
        assert torch.equal(exported.masks.data, result.masks.data)
    elif task == "pose":
        assert result.keypoints.shape == (5, 5, 3)
    else:
        assert (result.obb.data[:, 2] >= result.obb.data[:, 3]).all()
    result.boxes, result.save_dir = result.boxes, None  # results can be changed
    result.objects.data[0] = 0


@pytest.mark.parametrize("task", PREDICTORS)
def test_what_cannot_be_joined_is_one_line(task, caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    (once,) = predictor(task, augment=True)(IMAGES[0], Finder(task))
    assert "it looks at each image once" in caplog.text
    assert len(once) == 2
    with pytest.raises(ConfigError, match="tiles are joined box by box"):
        predictor(task, tiles=64)(IMAGES[0], Finder(task))
    with pytest.raises(ConfigError, match="an ensemble's networks are joined box by box"):
        predictor(task)(IMAGES[0], EnsembleBackend([Finder(task), Finder(task)]))


@pytest.mark.parametrize("task", PREDICTORS)
def test_ids_follow_their_objects_with_all_that_belongs_to_them(task, tmp_path):
    """Two rectangles pass each other; the surer detection is always the first."""
    frames = [drawn(96, 128, (10 + 4 * n, 10, 30 + 4 * n, 40), (90 - 4 * n, 50, 110 - 4 * n, 80)) for n in range(12)]
    run = predictor(task)
    run.tracking = Tracking(load_tracker("bytetrack.yaml"), trails=5)
    results = run([*frames, np.zeros((96, 128, 3), np.uint8)], Finder(task))
    assert len(results[-1]) == 0
    for n, result in enumerate(results[:-1]):
        found = result.objects
        assert dict(zip(found.id.int().tolist(), found.cls.int().tolist(), strict=True)) == {1: 0, 2: 1}
        assert result.is_track
        assert [row["track_id"] for row in result.summary()] == found.id.int().tolist()
        if task == "segment":
            red = found.cls.tolist().index(0)
            assert result.masks.xy[red].mean(0) == pytest.approx([20 + 4 * n, 25], abs=2)
        if task == "pose":
            red = found.cls.tolist().index(0)
            assert result.keypoints.xy[red, 0].tolist() == pytest.approx([20 + 4 * n, 25], abs=1)
        assert len(result.trails[1]) == min(n + 1, 5)
        assert result.trails[1][-1] == pytest.approx([20 + 4 * n, 25], abs=3)
        result.save_txt(tmp_path / "a.txt")
        assert [line.split()[-1] for line in (tmp_path / "a.txt").read_text().splitlines()] == ["1", "2"]
        assert (result.plot() != frames[n]).any()
    classified = results[0].new()
    classified.update(probs=torch.tensor([0.5, 0.5]))
    with pytest.raises(UserError, match="tracking follows boxes"):
        Tracking(load_tracker("bytetrack.yaml")).follow(*_item_of(run, classified))


def _item_of(run, result):
    class Item:
        index = 0

    return Item, result, run.dataset


def test_the_shape_of_keypoints_is_the_networks_or_what_the_numbers_allow():
    net = Finder("pose")
    assert keypoint_shape(net, 6) == (2, 3)
    net.kpt_shape = (3, 2)
    assert keypoint_shape(net, 6) == (3, 2)
    assert keypoint_shape(object(), 51) == (17, 3)
    assert keypoint_shape(object(), 10) == (5, 2)


def test_rows_behind_the_scores_are_kept_where_there_are_six_anchors():
    run = predictor("segment")
    y = torch.zeros(1, 4 + 2 + 3, 6)
    y[0, :, 4] = torch.tensor([50.0, 50, 20, 20, 0.1, 0.8, 1, 2, 3])
    for extras in (3, None):
        (found,) = detections(y, run.args, 2, 0.25, extras=extras)
        assert found[0].tolist() == pytest.approx([40, 40, 60, 60, 0.8, 1, 1, 2, 3])


@pytest.mark.slow
@pytest.mark.parametrize(("task", "data", "expected"), [
    ("segment", "coco8-seg", "1 person, 1 umbrella, "), ("pose", "coco8-pose", "8 persons, "),
])  # fmt: skip
def test_published_weights_find_what_is_there(shared, task, data, expected):
    weights = shared / "weights" / f"yolov8n-{'seg' if task == 'segment' else task}.pt"
    image = sorted((shared / "data" / data / "images" / "val").glob("*.jpg"))[0]
    (result,) = predictor(task, imgsz=640)(str(image), str(weights))
    assert result.verbose() == expected
