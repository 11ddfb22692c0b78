"""`predict` and `track` on every kind of source: the same pixels give the same detections, whatever brings them."""

import sys
import threading
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.servers import camera, files, number_in, served
from ultralytics import YOLO
from ultralytics.engine import window
from ultralytics.engine.sink import VideoSink
from ultralytics.engine.sources import live, load_source
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.images import imwrite

QUIET = {"device": "cpu", "verbose": False, "imgsz": 64, "conf": 0.0, "max_det": 20}


@pytest.fixture
def yolo(tiny):
    torch.manual_seed(0)
    return YOLO(str(tiny))


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(live, "FIRST_PAUSE", 0.02)
    yield
    assert not [t.name for t in threading.enumerate() if t.name.startswith("reader of")]


@pytest.fixture
def message(caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    return caplog


def test_an_image_gives_the_same_detections_whatever_brings_it(yolo, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    imwrite(tmp_path / "a.png", image)
    (tmp_path / "list.txt").write_text("a.png\n")
    rgb = np.ascontiguousarray(image[..., ::-1])
    tensor = torch.from_numpy(rgb).permute(2, 0, 1) / 255
    keys = QUIET | {"imgsz": (64, 96)}
    [wanted] = yolo.predict(image, **keys)
    assert len(wanted) == 20
    with served(files({"/a.png": ((tmp_path / "a.png").read_bytes(), "image/png")})) as url:
        sources = [
            tmp_path / "a.png", str(tmp_path / "a.png"), tmp_path, str(tmp_path / "*.png"), tmp_path / "list.txt",
            Image.fromarray(rgb), tensor, tensor[None], [image], [Image.fromarray(rgb)], [tensor],
            [tmp_path / "a.png", image, tensor], f"{url}/a.png", [f"{url}/a.png"],
        ]  # fmt: skip
        for source in sources:
            for found in yolo.predict(source, batch=3, **keys):
                torch.testing.assert_close(found.boxes.data, wanted.boxes.data, rtol=1e-4, atol=1e-3)


def test_a_video_gives_the_same_detections_by_path_url_and_as_images(yolo, tmp_path):
    sink, rng = VideoSink(tmp_path / "v.avi", 10.0, (48, 64)), np.random.default_rng(0)
    for _ in range(4):
        sink.write(rng.integers(0, 255, (48, 64, 3), np.uint8))
    sink.close()
    frames = [i.image for i in load_source(tmp_path / "v.avi")]
    wanted = yolo.predict(frames, **QUIET)
    with served(files({"/v.avi": ((tmp_path / "v.avi").read_bytes(), "video/x-msvideo")})) as url:
        for source in (tmp_path / "v.avi", f"{url}/v.avi"):
            found = yolo.predict(source, batch=2, **QUIET)
            assert [len(r) for r in found] == [20] * 4
            for a, b in zip(found, wanted, strict=True):
                torch.testing.assert_close(a.boxes.data, b.boxes.data, rtol=1e-4, atol=1e-3)


def test_a_stream_gives_the_detections_of_its_images_and_is_written(yolo, tmp_path):
    keys = QUIET | {"stream": True, "stream_buffer": True, "reconnect": 0.1, "project": str(tmp_path), "name": "r"}
    with served(camera(frames=5, connections=2)) as url:
        files = {"save": True, "save_txt": True, "save_mot": True, "save_frames": True}
        found = list(yolo.track(f"{url}/cam?id=1", **files, **keys))
    assert [number_in(r.orig_img) for r in found] == list(range(1, 11))
    port = url.rpartition(":")[2]
    run, stem = tmp_path / "r", f"127_0_0_1_{port}_cam"
    assert sorted(p.name for p in run.iterdir() if p.is_file()) == [f"{stem}.avi"]
    assert len(list(load_source(run / f"{stem}.avi"))) == 10
    assert (run / "mot" / f"{stem}.txt").is_file()
    assert {p.stem for p in (run / "labels").iterdir()} == {f"{stem}_{n}" for n in range(1, 11)}
    assert {p.stem for p in (run / "frames").iterdir()} == {f"{stem}_{n}" for n in range(1, 11)}
    plain = yolo.predict([r.orig_img for r in found], **QUIET)
    with served(camera(frames=5, connections=2)) as url:
        for a, b in zip(yolo.predict(f"{url}/cam", **keys), plain, strict=True):
            torch.testing.assert_close(a.boxes.data, b.boxes.data, rtol=1e-4, atol=1e-3)


def test_streams_in_turns_have_a_video_and_a_tracker_each(yolo, tmp_path, message):
    keys = QUIET | {"stream_buffer": True, "reconnect": 0, "project": str(tmp_path), "name": "r", "save": True}
    handlers = [camera(frames=4, connections=1), camera(frames=6, connections=1)]
    with served(handlers[0]) as one, served(handlers[1]) as two:
        (tmp_path / "cams.streams").write_text(f"{one}/a\n{two}/b\n")
        found = yolo.track(tmp_path / "cams.streams", save_mot=True, **keys)
    assert "results of a live stream fill the memory" in message.text
    assert len(found) == 10
    for url, count in ((one, 4), (two, 6)):
        mine = [number_in(r.orig_img) for r in found if r.path.startswith(url)]
        assert mine == list(range(1, count + 1))
    assert sorted(len(list(load_source(p))) for p in (tmp_path / "r").glob("*.avi")) == [4, 6]
    assert len(list((tmp_path / "r" / "mot").iterdir())) == 2
    assert yolo.predictor.dataset.bs == 2
    assert len(yolo.predictor.trackers) == 2


def test_a_stream_that_is_left_early_is_closed(yolo, tmp_path):
    with served(camera(frames=10**4, connections=1, pause=lambda n: threading.Event().wait(0.002))) as url:
        results = yolo.predict(f"{url}/cam", stream=True, save=True, project=str(tmp_path), name="r", **QUIET)
        for _ in range(3):
            next(results)
        results.close()
        assert not [t for t in threading.enumerate() if t.name.startswith("reader of")]
    [video] = (tmp_path / "r").glob("*.avi")
    assert len(list(load_source(video))) == 3


def test_a_stream_that_never_answers_leaves_no_folder(yolo, tmp_path):
    with pytest.raises(UserError, match="no video comes from there"):
        yolo.predict("tcp://127.0.0.1:9", save=True, project=str(tmp_path), name="r", **QUIET)
    assert not (tmp_path / "r").exists()


def test_rows_become_vectors_and_are_written(yolo, tmp_path, monkeypatch, caplog):
    images = [np.random.default_rng(i).integers(0, 255, (64, 64, 3), np.uint8) for i in range(3)]
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    caplog.set_level("INFO")
    vectors = yolo.embed(images, batch=2, **(QUIET | {"verbose": True}))
    assert "Speed" not in caplog.text  # nothing was timed
    rows = yolo.model.model
    maps = {}
    handles = [rows[i].register_forward_hook(lambda m, _, out: maps.update({m.i: out})) for i in (4, len(rows) - 2)]
    with torch.no_grad():
        yolo.model.eval()(torch.from_numpy(np.stack(images)[..., ::-1].copy()).permute(0, 3, 1, 2) / 255)
    for handle in handles:
        handle.remove()
    wanted = maps[len(rows) - 2].mean((2, 3))
    assert len(vectors) == 3
    torch.testing.assert_close(torch.stack(list(vectors)), wanted, rtol=1e-3, atol=1e-4)
    assert not vectors[0].is_inference()
    two = yolo.embed(images[0], embed=[4, len(rows) - 2], save=True, project=str(tmp_path), name="r", **QUIET)
    torch.testing.assert_close(two[0], torch.cat([maps[4].mean((2, 3)), wanted], 1)[0], rtol=1e-3, atol=1e-4)
    assert np.array_equal(np.load(tmp_path / "r" / "embeddings" / "image0.npy"), two[0].numpy())
    with pytest.raises(ConfigError, match="embed=99: the network has rows 0 to"):
        yolo.embed(images[0], embed=99, **QUIET)


def test_maps_of_every_row_are_written_for_every_image(yolo, tmp_path):
    images = [np.random.default_rng(i).integers(0, 255, (64, 64, 3), np.uint8) for i in range(2)]
    plain = yolo.predict(images, batch=2, **QUIET)
    keys = {"visualize": True, "project": str(tmp_path), "name": "r"}
    found = yolo.predict(images, batch=2, **keys, **QUIET)
    assert all(torch.equal(a.boxes.data, b.boxes.data) for a, b in zip(found, plain, strict=True))
    for name in ("image0", "image1"):
        written = sorted(p.name for p in (tmp_path / "r" / name).iterdir())
        assert "stage0_Conv_features.png" in written
        assert sum(w.endswith(".npy") for w in written) == len(written) / 2 > 10
    first, second = (np.load(tmp_path / "r" / n / "stage0_Conv_features.npy") for n in ("image0", "image1"))
    assert first.shape[1:] == (32, 32)
    assert not np.array_equal(first, second)


@pytest.fixture
def no_display(monkeypatch):
    monkeypatch.setattr(window, "LINUX", True)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_display_show_says_so_once_and_goes_on(yolo, no_display, message):
    images = [np.zeros((64, 64, 3), np.uint8)] * 3
    assert len(yolo.predict(images, show=True, **QUIET)) == 3
    assert message.text.count("show=True: there is no display; save=True writes the images") == 1


def test_show_uses_opencvs_windows(yolo, monkeypatch):
    shown = []
    monkeypatch.setenv("DISPLAY", ":9")
    monkeypatch.setattr(cv2, "waitKey", shown.append)
    monkeypatch.setattr(cv2, "namedWindow", lambda name, flags: shown.append(name))
    monkeypatch.setattr(cv2, "imshow", lambda name, image: shown.append(image.shape))
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: shown.append("closed"))
    yolo.predict(np.zeros((64, 48, 3), np.uint8), show=True, **QUIET)
    assert shown == [1, "image0.jpg", (64, 48, 3), 500, "closed"]


def test_show_falls_back_to_tk_and_survives_without_it(yolo, monkeypatch, message):
    """The real OpenCV here is built without windows; Tk is tried next."""
    calls = []

    class Widget(SimpleNamespace):
        def __init__(self, *args, **kwargs):
            super().__init__()
            calls.append("made")

        def __getattr__(self, name):
            return lambda *a, **k: calls.append((name, k))

    def photo(data, master):
        return data

    monkeypatch.setenv("DISPLAY", ":9")
    monkeypatch.setattr(cv2, "waitKey", lambda ms: 1 / 0)
    monkeypatch.setattr(window, "IMAGE_PAUSE", 0.0)
    fake = SimpleNamespace(Tk=Widget, Toplevel=Widget, Label=Widget, PhotoImage=photo)
    monkeypatch.setitem(sys.modules, "tkinter", fake)
    image = np.zeros((64, 48, 3), np.uint8)
    yolo.predict([image, image], show=True, **QUIET)
    assert ("title", {}) in calls
    assert calls[-1] == ("destroy", {})
    monkeypatch.setitem(sys.modules, "tkinter", None)
    assert len(yolo.predict(image, show=True, **QUIET)) == 1
    assert "show=True: no window can be opened" in message.text


def test_in_a_notebook_images_are_shown_in_the_page(yolo, monkeypatch):
    shown = []
    monkeypatch.setattr(window, "is_jupyter", lambda: True)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=lambda i: shown.append(i.size)))
    yolo.predict(np.zeros((64, 48, 3), np.uint8), show=True, **QUIET)
    assert shown == [(48, 64)]


def test_a_predictor_works_in_steps_as_fiftyone_takes_it(yolo):
    """It makes a predictor of `task_map`, sets imgsz, and calls its steps with tensors."""
    made = yolo.task_map[yolo.task]["predictor"](overrides={**yolo.overrides, **QUIET, "mode": "predict", "rect": True})
    made.imgsz = (64, 96)
    made.setup_model(model=yolo.model, verbose=False)
    image = np.random.default_rng(0).integers(0, 255, (128, 192, 3), np.uint8)
    fitted = np.stack(made.pre_transform([image]))
    assert fitted.shape == (1, 64, 96, 3)
    assert made.model.fp16 is False
    tensor = torch.from_numpy(fitted[..., ::-1].transpose(0, 3, 1, 2).copy()).float() / 255
    made.setup_source(tensor)
    made.batch = next(iter(made.dataset))
    [found] = made.postprocess(made.inference(tensor), tensor, tensor)
    [wanted] = yolo.predict(np.ascontiguousarray(fitted[0]), **QUIET | {"imgsz": (64, 96)})
    assert found.orig_shape == (64, 96)
    torch.testing.assert_close(found.boxes.data, wanted.boxes.data, rtol=1e-4, atol=1e-3)
    made.imgsz = 32
    assert made.imgsz == [32, 32]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["predict", "track"])
def test_memory_is_flat_over_ten_thousand_frames_of_a_stream_that_breaks_off(yolo, mode):
    """In order, nothing lost, and the camera connects six times."""
    keys = {**QUIET, "imgsz": 32, "stream": True, "stream_buffer": True, "reconnect": 0.3, "threads": 1}
    sizes, seen = {}, 0
    with served(camera(frames=1667, connections=6)) as url:
        for result in getattr(yolo, mode)(f"{url}/cam", **keys):
            seen += 1
            assert number_in(result.orig_img) == seen
            if seen in (1000, 10_000):
                sizes[seen] = resident()
    assert seen == 10_002
    assert sizes[10_000] < 1.01 * sizes[1000]


def resident():
    """Memory of this process, pages."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1])
    except OSError:
        pytest.skip("there is no /proc here")
