import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics import YOLO
from ultralytics.engine.sources import VideoSink, load_source
from ultralytics.utils.errors import ConfigError, MissingFileError, UserError

QUIET = {"device": "cpu", "verbose": False, "imgsz": 64, "conf": 0.0}


@pytest.fixture
def yolo(tiny):
    torch.manual_seed(0)
    return YOLO(str(tiny))


def test_results_are_in_pixels_of_the_original(shared):
    yolo = YOLO(shared / "weights" / "yolov8n.pt")
    folder = shared / "data" / "coco128-val" / "images"
    file = sorted(folder.rglob("*.jpg"))[0]
    small = yolo.predict(file, imgsz=640, verbose=False)[0]
    width, height = Image.open(file).size
    assert small.orig_shape == (height, width)
    assert len(small) > 0
    assert float(small.boxes.xyxy.max()) <= max(width, height)
    large = yolo.predict(Image.open(file).convert("RGB").resize((2 * width, 2 * height)), imgsz=640, verbose=False)[0]
    a, b = small.boxes.xyxy[0] * 2, large.boxes.xyxy[0]
    assert float((a - b).abs().max()) < 0.05 * max(width, height)


def test_a_folder_in_batches_equals_one_by_one(yolo, toy):
    folder = toy.parent / "images" / "val"
    one = yolo.predict(str(folder), **QUIET)
    many = yolo.predict(str(folder), batch=4, rect=False, **QUIET)
    assert [r.path for r in one] == [r.path for r in many]
    assert len(one) == 6
    assert all(r.speed["inference"] > 0 for r in one)


def test_pictures_texts_and_crops_are_written(yolo, toy, tmp_path):
    folder = toy.parent / "images" / "val"
    results = yolo.predict(
        str(folder),
        save=True,
        save_txt=True,
        save_conf=True,
        save_crop=True,
        max_det=3,
        project=str(tmp_path / "p"),
        **QUIET,
    )
    run = tmp_path / "p" / "predict"
    assert len(list(run.glob("*.*"))) == 6
    assert len(list((run / "labels").glob("*.txt"))) == 6
    assert sum(1 for _ in (run / "crops").rglob("*.jpg")) == sum(len(r) for r in results)
    line = (run / "labels" / "1.txt").read_text().split("\n")[0].split()
    assert len(line) == 6


def test_a_video_becomes_a_video(yolo, tmp_path):
    sink = VideoSink(tmp_path / "v.avi", 10.0, (48, 64))
    for i in range(5):
        sink.write(np.full((48, 64, 3), 40 * i, np.uint8))
    sink.close()
    results = list(yolo.predict(str(tmp_path / "v.avi"), stream=True, save=True, project=str(tmp_path / "p"), **QUIET))
    assert len(results) == 5
    made = next((tmp_path / "p" / "predict").glob("v*"))
    assert sum(1 for _ in load_source(made)) == 5


def test_streams_do_not_begin_before_they_are_asked(yolo, toy):
    stream = yolo.predict(str(toy.parent / "images" / "val"), stream=True, **QUIET)
    first = next(iter(stream))
    assert first.path.endswith(".png")


@pytest.mark.parametrize("shape", [(1, 1), (7, 500), (500, 7), (64, 64), (33, 65)])
def test_any_size_of_picture(yolo, shape):
    result = yolo(np.zeros((*shape, 3), np.uint8), **QUIET)[0]
    assert result.orig_shape == shape
    assert torch.isfinite(result.boxes.data).all()
    assert float(result.boxes.xyxy.amax()) <= max(shape) if len(result) else True


def test_classes_and_scores_limit_what_is_found(yolo, toy):
    image = str(toy.parent / "images" / "val" / "1.png")
    every = yolo(image, **QUIET)[0]
    some = yolo(image, **{**QUIET, "classes": [2]})[0]
    assert set(some.boxes.cls.tolist()) <= {2.0}
    assert len(every) <= 300
    assert len(yolo(image, **{**QUIET, "conf": 0.999})[0]) == 0


def test_classes_the_model_has_not_are_told(yolo):
    with pytest.raises(ConfigError, match="no class 99"):
        yolo(np.zeros((64, 64, 3), np.uint8), **{**QUIET, "classes": [99]})


def test_boxes_may_be_changed_in_place(yolo):
    result = yolo(np.zeros((64, 64, 3), np.uint8), **QUIET)[0]
    result.boxes.data[:, :4] *= 2
    assert not result.boxes.data.is_inference()


def test_nothing_to_predict_on_is_told(yolo, tmp_path):
    with pytest.raises(ConfigError, match="source="):
        yolo.predict()
    with pytest.raises(MissingFileError, match=r"gone\.jpg"):
        yolo.predict(str(tmp_path / "gone.jpg"), **QUIET)


@pytest.mark.parametrize("name", ["track", "export", "tune", "benchmark"])
def test_what_is_not_offered_says_so(yolo, name):
    with pytest.raises(UserError, match="not offered yet"):
        getattr(yolo, name)("x", format="onnx")


def test_a_model_stays_where_it_was_moved(yolo):
    assert yolo.to("cpu") is yolo
    assert yolo.overrides["device"] == "cpu"
    assert len(yolo(np.zeros((64, 64, 3), np.uint8), verbose=False, imgsz=64)) == 1
