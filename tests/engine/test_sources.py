import numpy as np
import pytest
from PIL import Image

from ultralytics.engine.sources import VideoSink, load_source
from ultralytics.utils.errors import DatasetError, MissingFileError, UserError
from ultralytics.utils.images import imread, imwrite


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jpg", "a 图.png", "c[1].jpg"):
        imwrite(tmp_path / name, np.full((20, 30, 3), 100, np.uint8))
    (tmp_path / "notes.md").write_text("no picture")
    return tmp_path


def names(source):
    return [item.path.rsplit("/", 1)[-1] for item in load_source(source)]


def test_files_folders_globs_and_lists(folder):
    assert names(folder / "b.jpg") == ["b.jpg"]
    assert names(folder) == ["a 图.png", "b.jpg", "c[1].jpg"]
    assert names(str(folder / "*.png")) == ["a 图.png"]
    assert names(str(folder / "c[1].jpg")) == ["c[1].jpg"]  # a name that looks like a pattern
    assert names([folder / "b.jpg", str(folder / "a 图.png")]) == ["b.jpg", "a 图.png"]
    (folder / "list.txt").write_text("b.jpg\n\n", encoding="utf-8")
    assert names(folder / "list.txt") == ["b.jpg"]


def test_pictures_in_memory(folder):
    array = np.zeros((4, 5, 3), np.uint8)
    items = list(load_source([array, np.zeros((4, 5), np.uint8), Image.new("RGB", (5, 4), (255, 0, 0))]))
    assert [i.path for i in items] == ["image0.jpg", "image1.jpg", "image2.jpg"]
    assert {i.image.shape for i in items} == {(4, 5, 3)}
    assert items[2].image[0, 0].tolist() == [0, 0, 255]  # BGR


def test_a_video_is_read_frame_by_frame(tmp_path):
    sink = VideoSink(tmp_path / "v.avi", 10.0, (48, 64))
    for i in range(7):
        sink.write(np.full((48, 64, 3), 30 * i, np.uint8))
    sink.close()
    frames = list(load_source(tmp_path / "v.avi"))
    assert [f.frame for f in frames] == list(range(1, 8))
    assert all(f.is_video and f.image.shape == (48, 64, 3) for f in frames)
    assert abs(int(frames[6].image.mean()) - 180) < 6
    assert [f.frame for f in load_source(tmp_path / "v.avi", vid_stride=3)] == [1, 4, 7]


def test_what_cannot_be_decoded_is_passed_over_and_named(folder, caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    (folder / "b.jpg").write_bytes(b"nothing")
    (folder / "v.mp4").write_bytes(b"nothing")
    assert names(folder) == ["a 图.png", "c[1].jpg"]
    assert "b.jpg: cannot be decoded as a picture" in caplog.text
    assert "v.mp4: cannot be decoded as a video" in caplog.text
    with pytest.raises(DatasetError, match="none of the 1 files"):
        names(folder / "b.jpg")


@pytest.mark.parametrize("source", [np.zeros((4, 4, 3), np.float32), np.zeros((2, 2, 2, 3), np.uint8), 7])
def test_wrong_kinds_are_told(source):
    with pytest.raises(UserError):
        list(load_source(source))


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(MissingFileError, match=r"gone\.jpg"):
        load_source(tmp_path / "gone.jpg")
    with pytest.raises(DatasetError):
        load_source([])
    with pytest.raises(UserError):
        load_source(tmp_path)  # an empty folder


def test_reading_pictures_by_any_name(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (10, 12, 3), np.uint8)
    imwrite(tmp_path / "新 夹" / "ü.png", image)
    np.testing.assert_array_equal(imread(tmp_path / "新 夹" / "ü.png"), image)
    assert imread(tmp_path / "gone.png") is None
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be written"):
        imwrite(tmp_path / "file" / "a.png", image)


@pytest.mark.parametrize("limit", [0, 6000, 200_000])
def test_a_video_on_a_full_disk_is_told_and_not_left_half_written(tmp_path, limit):
    resource = pytest.importorskip("resource")
    rng = np.random.default_rng(0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        with pytest.raises(UserError, match=r"v\.avi.*free some space"):
            write_video(tmp_path / "v.avi", rng.integers(0, 256, (40, 96, 128, 3), np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def write_video(path, frames):
    sink = VideoSink(path, 10.0, frames.shape[1:3])
    for frame in frames:
        sink.write(frame)
    sink.close()


@pytest.mark.parametrize("count", [1, 2, 40])
def test_a_written_video_has_its_frames_and_no_neighbour(tmp_path, count):
    write_video(tmp_path / "v.avi", np.zeros((count, 30, 50, 3), np.uint8))
    assert [p.name for p in tmp_path.iterdir()] == ["v.avi"]
    assert sum(1 for _ in load_source(tmp_path / "v.avi")) == count


def test_float_pictures_are_named_as_such(tmp_path, caplog, monkeypatch, capfd):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    Image.fromarray(np.zeros((20, 20), np.float32)).save(tmp_path / "f.tif")
    (tmp_path / "broken.tif").write_bytes(b"II*\0garbage")
    (tmp_path / "v.mp4").write_bytes(b"no video")
    with pytest.raises(DatasetError):
        list(load_source(tmp_path))
    assert "f.tif: is a picture of 32-bit floats, which is not supported" in caplog.text
    assert "broken.tif: cannot be decoded as a picture" in caplog.text
    assert capfd.readouterr().err == ""  # nothing of OpenCV's own


def test_a_picture_on_a_full_disk_is_told_as_the_system_says_it(tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(UserError, match=r"a\.jpg: could not be written: File too large"):
            imwrite(tmp_path / "a.jpg", np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())
