import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics import YOLO
from ultralytics.cli import main
from ultralytics.engine.sink import VideoSink
from ultralytics.engine.sources import Source, load_source
from ultralytics.models.yolo.detect.predict import DetectionPredictor, stacked
from ultralytics.utils.errors import ConfigError, MissingFileError
from ultralytics.utils.images import imread, imwrite

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
    for a, b in zip(one, many, strict=True):
        assert a.orig_shape == b.orig_shape
        torch.testing.assert_close(a.boxes.data, b.boxes.data, rtol=1e-4, atol=1e-3)


def test_a_batch_of_photographs_finds_what_each_alone_does(shared):
    yolo = YOLO(shared / "weights" / "yolov8n.pt")
    files = [str(p) for p in sorted((shared / "data" / "coco128-val").rglob("*.jpg"))[:6]]
    settings = {"imgsz": 160, "verbose": False, "conf": 0.05, "device": "cpu"}
    alone = [yolo.predict(f, **settings)[0] for f in files]
    assert len({r.orig_shape for r in alone}) > 1
    for a, b in zip(alone, yolo.predict(files, batch=4, **settings), strict=True):
        torch.testing.assert_close(a.boxes.data, b.boxes.data, rtol=1e-3, atol=1e-2)


def test_batches_hold_one_shape_and_few_images_wait(yolo, monkeypatch):
    shapes = [(64, 64), (32, 64), (64, 64), (64, 32)] * 5 + [(32, 64)] * 3
    images, batches, given = [np.zeros((*s, 3), np.uint8) for s in shapes], [], []
    detect = DetectionPredictor._detect
    monkeypatch.setattr(DetectionPredictor, "_detect", lambda self, b: batches.append(b) or detect(self, b))

    class Watched(Source):
        def __iter__(self):
            for item in super().__iter__():
                given.append(item.index)
                yield item

    monkeypatch.setattr("ultralytics.engine.predictor.load_source", lambda *_, **__: Watched(images))
    for n, result in enumerate(yolo.predict(images, batch=2, stream=True, **QUIET)):
        assert result.orig_shape == shapes[n]
        assert len(given) - n <= 8
    assert n == len(shapes) - 1
    assert all(len({i.shape for i in b}) == 1 and len(b) <= 2 for b in batches)
    assert len(batches) <= 13


@pytest.mark.parametrize("imgsz", [[64, 96], (64, 96), "64,96", "[60, 90]"])
def test_imgsz_may_be_a_pair(yolo, imgsz):
    settings = {**QUIET, "imgsz": imgsz}
    image = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    result = yolo.predict(image, **settings)[0]
    assert yolo.predictor.frame == (64, 96)
    assert yolo.predictor.letterbox(image=image).shape == (64, 64, 3)
    assert yolo.predictor.letterbox(image=image[:20]).shape == (32, 96, 3)
    assert result.orig_shape == (200, 200)
    assert float(result.boxes.xyxy.max()) <= 200
    square = yolo.predict(image, **{**QUIET, "imgsz": 64})[0]  # fits into the same frame
    torch.testing.assert_close(result.boxes.data, square.boxes.data)


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


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_images_lie_in_memory_as_a_model_wants_them(layout):
    images = [np.random.default_rng(i).integers(0, 255, (6, 8, 3), np.uint8) for i in range(2)]
    images[1] = images[1][:, ::-1]  # as a script may hand them in
    found = torch.from_numpy(stacked(images, layout))
    assert found.is_contiguous(memory_format=layout)
    np.testing.assert_array_equal(found.numpy(), np.stack(images)[..., ::-1].transpose(0, 3, 1, 2))


def test_boxes_may_be_changed_in_place(yolo):
    result = yolo(np.zeros((64, 64, 3), np.uint8), **QUIET)[0]
    result.boxes.data[:, :4] *= 2
    assert not result.boxes.data.is_inference()


def test_nothing_to_predict_on_is_told(yolo, tmp_path):
    with pytest.raises(ConfigError, match="source="):
        yolo.predict()
    with pytest.raises(MissingFileError, match=r"gone\.jpg"):
        yolo.predict(str(tmp_path / "gone.jpg"), **QUIET)


def test_a_model_stays_where_it_was_moved(yolo):
    assert yolo.to("cpu") is yolo
    assert yolo.overrides["device"] == "cpu"
    assert len(yolo(np.zeros((64, 64, 3), np.uint8), verbose=False, imgsz=64)) == 1


def write_video(path, count, seed=0):
    """A video of random frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sink, rng = VideoSink(path, 10.0, (48, 64)), np.random.default_rng(seed)
    for _ in range(count):
        sink.write(rng.integers(0, 255, (48, 64, 3), np.uint8))
    sink.close()
    return path


def contents(folder):
    """Every file below a folder and its bytes."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_sources_of_one_name_get_outputs_of_their_own(yolo, toy, tmp_path):
    images = sorted((toy.parent / "images" / "val").glob("*.png"))
    source = tmp_path / "s"
    for i, name in enumerate(("a/x.png", "b/x.png", "c/X.png", "d/x_2.png")):
        imwrite(source / name, imread(images[i]))
        imwrite((source / name).with_suffix(".jpg"), imread(images[i]))
    for name in ("a/x.avi", "b/x.avi"):
        write_video(source / name, 3)
    before = contents(source)
    settings = {"save": True, "save_txt": True, "save_crop": True, "max_det": 3, "project": str(tmp_path), **QUIET}
    results = yolo.predict(str(source / "**" / "*.*"), name="r", batch=3, **settings)
    assert len(results) == 8 + 6
    made = contents(tmp_path / "r")
    assert len({n.casefold() for n in made}) == len(made)
    assert sum(n.endswith((".png", ".jpg")) and "/" not in n for n in made) == 8
    assert sum(n.endswith(".avi") for n in made) == 2
    assert sum(n.startswith("labels/") for n in made) == 14
    assert sum(n.startswith("crops/") for n in made) == sum(len(r) for r in results)
    assert contents(source) == before


def test_a_source_is_never_written_over(yolo, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    folder = tmp_path / "pics"
    for name in ("a.png", "b.jpg", "elsewhere/c.png"):
        imwrite(folder / name, image)
    (folder / "c.png").symlink_to(folder / "elsewhere" / "c.png")
    (folder / "d.png").hardlink_to(folder / "elsewhere" / "c.png")
    write_video(folder / "v.avi", 2)
    for label in ("a", "v_1"):  # of the data set that the images belong to
        (folder / "labels").mkdir(exist_ok=True)
        (folder / "labels" / f"{label}.txt").write_text("0 0.5 0.5 1 1\n")
    before = contents(folder)
    settings = {"project": str(tmp_path), "name": "pics", "exist_ok": True, "save": True, "save_txt": True, **QUIET}
    yolo.predict(str(folder), **settings)
    after = contents(folder)
    assert {k: after[k] for k in before} == before
    assert {"a_2.png", "b_2.jpg", "c_2.png", "d_2.png", "v_2.avi"} <= set(after)
    yolo.predict([str(folder / n) for n in ("a.png", "v.avi")], **settings)  # again: their own outputs are replaced
    assert set(contents(folder)) == set(after)


def test_calls_into_one_folder_replace_outputs_of_the_same_source_only(yolo, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a/x.png", "b/x.png"):
        imwrite(tmp_path / name, rng.integers(0, 255, (64, 64, 3), np.uint8))
    settings = {"project": str(tmp_path), "name": "r", "exist_ok": True, "save": True, **QUIET}
    for folder in ("a", "b", "a", "b"):
        yolo.predict(str(tmp_path / folder), **settings)
    run = tmp_path / "r"
    assert sorted(p.name for p in run.glob("*.png")) == ["x.png", "x_2.png"]
    assert (run / "x.png").read_bytes() != (run / "x_2.png").read_bytes()
    for _ in range(3):
        yolo.predict(rng.integers(0, 255, (64, 64, 3), np.uint8), **settings)
    assert sorted(p.name for p in run.glob("*.jpg")) == ["image0.jpg", "image0_2.jpg", "image0_3.jpg"]


def test_a_video_that_is_cut_off_is_marked_and_told(yolo, tiny, tmp_path, capsys):
    video = write_video(tmp_path / "s" / "v.avi", 20)
    whole = video.read_bytes()
    write_video(tmp_path / "s" / "w.avi", 4)
    settings = {"project": str(tmp_path), "name": "r", "exist_ok": True, "save": True, **QUIET}
    video.write_bytes(whole[: len(whole) // 2])
    results = yolo.predict(str(tmp_path / "s"), **settings)
    assert sorted(p.name for p in (tmp_path / "r").glob("*.avi")) == ["v.incomplete.avi", "w.avi"]
    assert sum(1 for _ in load_source(tmp_path / "r" / "v.incomplete.avi")) == len(results) - 4
    assert list(yolo.predictor.incomplete) == [str(video)]
    words = [f"{k}={v}" for k, v in (settings | {"name": "c", "source": tmp_path / "s"}).items()]
    assert main(["predict", f"model={tiny}", *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"error: {video}: {len(results) - 4} of the 20 frames announced could be read" in error
    assert sorted(p.name for p in (tmp_path / "c").glob("*.avi")) == ["v.incomplete.avi", "w.avi"]
    video.write_bytes(whole)
    yolo.predict(str(tmp_path / "s"), **settings)
    assert sorted(p.name for p in (tmp_path / "r").glob("*.avi")) == ["v.avi", "w.avi"]


def test_a_video_that_nobody_reads_to_its_end_is_marked(yolo, tmp_path):
    video = write_video(tmp_path / "v.avi", 6)
    stream = yolo.predict([str(video), str(video)], stream=True, save=True, project=str(tmp_path), name="r", **QUIET)
    for _ in range(8):
        next(stream)
    stream.close()
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["v.avi", "v_2.incomplete.avi"]


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
@pytest.mark.parametrize("signum", [getattr(signal, n) for n in ("SIGTERM", "SIGHUP") if hasattr(signal, n)])
def test_a_video_under_way_is_finished_when_a_signal_ends_the_command(tiny, tmp_path, monkeypatch, capsys, signum):
    video, write, count = write_video(tmp_path / "v.avi", 6), VideoSink.write, 0

    def ended(self, *frame):
        nonlocal count
        write(self, *frame)
        count += 1
        if count == 3:
            os.kill(os.getpid(), signum)
            os.kill(os.getpid(), signum)  # as `timeout` does

    monkeypatch.setattr(VideoSink, "write", ended)
    words = [f"project={tmp_path}", "name=r", "imgsz=64", "device=cpu", "batch=1", "verbose=False"]
    assert main(["predict", f"model={tiny}", f"source={video}", *words]) == 128 + signum
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"ended by {signum.name}")
    assert [p.name for p in (tmp_path / "r").iterdir()] == ["v.incomplete.avi"]
    assert len(list(load_source(tmp_path / "r" / "v.incomplete.avi"))) == 3
    assert signal.getsignal(signum) == signal.SIG_DFL


def test_an_image_of_pillow_is_turned_as_its_file_is(yolo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = tmp_path / "a.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 64, 3), np.uint8)).save(file, exif=exif)
    a, b = yolo.predict(file, **QUIET)[0], yolo.predict(Image.open(file), **QUIET)[0]
    assert a.orig_shape == b.orig_shape == (64, 40)
    assert torch.equal(a.boxes.data, b.boxes.data)


def test_a_tensor_is_predicted_at_its_own_size(tiny):
    """What an image of the same pixels gives at that size, whatever imgsz is; a size that fits no stride is padded."""
    model = YOLO(tiny)
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    tensor = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    [by_tensor] = model.predict(tensor, conf=1e-4, imgsz=320)
    [by_image] = model.predict(image, conf=1e-4, imgsz=(64, 96))
    assert len(by_image) > 0
    assert torch.equal(by_tensor.boxes.data, by_image.boxes.data)
    assert (by_tensor.orig_shape, by_tensor.path) == ((64, 96), "image0.jpg")
    assert np.array_equal(by_tensor.orig_img, image)
    assert len(model.predict(tensor[..., :50, :70], conf=1e-4)) == 1
    predictor = model.predictor
    assert predictor is not None
    list(predictor(tensor))
    [again] = list(predictor(image))
    [fresh] = model.predict(image, conf=1e-4)
    assert torch.equal(again.boxes.data, fresh.boxes.data)  # a tensor's size is of that tensor alone
