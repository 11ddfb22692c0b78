import os
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics.engine.sink import VideoSink
from ultralytics.engine.sources import load_source
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
    assert "b.jpg: cannot be decoded as an image" in caplog.text
    assert "v.mp4: cannot be decoded as a video" in caplog.text
    with pytest.raises(DatasetError, match="none of the 1 files"):
        names(folder / "b.jpg")


@pytest.mark.parametrize("source", [np.zeros((4, 4, 3), np.float32), np.zeros((2, 2, 2, 3), np.uint8), 7.5])
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
    (tmp_path / "a").mkdir()
    (tmp_path / "val2017").mkdir()
    imwrite(tmp_path / "val2017/1.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"val2017 has some: source=.*val2017"):
        load_source(tmp_path)


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
    assert "f.tif: is an image of 32-bit floats, which is not supported" in caplog.text
    assert "broken.tif: cannot be decoded as an image" in caplog.text
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


@pytest.fixture
def message(caplog, monkeypatch):
    """What is logged."""
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    return caplog


def test_files_come_before_what_their_name_might_mean(folder, monkeypatch):
    monkeypatch.chdir(folder)
    image = (folder / "b.jpg").read_bytes()
    for name in ("0", "screen", "webcam"):
        (folder / name).mkdir()
        (folder / name / "x.jpg").write_bytes(image)
        assert names(name) == ["x.jpg"]
    with pytest.raises(UserError, match="a bool"):
        load_source(True)


def test_names_with_signs_of_globs_are_names_first(tmp_path):
    for name in ("[1].jpg", "a*.jpg", "ab.jpg", "1.jpg", "d[1]/x.jpg", "d1/y.jpg", "d[1]/[2]a.jpg", "what?.jpg"):
        imwrite(tmp_path / name, np.zeros((9, 9, 3), np.uint8))
    for pattern, wanted in {
        "[1].jpg": ["[1].jpg"],
        "a*.jpg": ["a*.jpg"],
        "a?.jpg": ["a*.jpg", "ab.jpg"],
        "what?.jpg": ["what?.jpg"],
        "d[1]/*.jpg": ["[2]a.jpg", "x.jpg"],
        "d[1]": ["[2]a.jpg", "x.jpg"],
        "*/[2]*.jpg": ["[2]a.jpg"],
        "d[0-9]/*.jpg": ["y.jpg"],
        "**/y.jpg": ["y.jpg"],
        "**/[xy].jpg": ["x.jpg", "y.jpg"],
        "d[1]/**": ["[2]a.jpg", "x.jpg"],
    }.items():
        assert sorted(names(str(tmp_path / pattern))) == wanted, pattern
    (tmp_path / "list.txt").write_text("[1].jpg\nd[1]/*.jpg\n")
    assert sorted(names(tmp_path / "list.txt")) == ["[1].jpg", "[2]a.jpg", "x.jpg"]
    with pytest.raises(MissingFileError, match="no image or video matches"):
        load_source(str(tmp_path / "nothing*.jpg"))


def test_a_glob_ends_where_folders_contain_themselves(tmp_path, monkeypatch, message):
    for name in ("a.jpg", "s/b.jpg", ".hidden/c.jpg"):
        imwrite(tmp_path / "d" / name, np.zeros((9, 9, 3), np.uint8))
    for link in ("d/loop", "d/s/loop", "d/s/up"):
        (tmp_path / link).symlink_to(tmp_path / "d", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    assert sorted(names("d/**/*.jpg")) == ["a.jpg", "b.jpg"]
    assert "leads to a folder that is read already" in message.text
    assert load_source("**/b.jpg").paths == ["d/s/b.jpg"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_what_is_no_regular_file_is_named_and_passed_over(folder, message, monkeypatch):
    monkeypatch.chdir(folder)  # the name of a socket must be short
    os.mkfifo("pipe.jpg")
    Path("gone.jpg").symlink_to("nowhere")
    Path("dir.jpg").mkdir()
    Path("dev.jpg").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock.jpg")
    wanted = ["a 图.png", "b.jpg", "c[1].jpg"]
    assert names(folder) == names("*") == wanted
    for name in ("pipe.jpg", "dev.jpg", "sock.jpg"):
        assert f"{name}: is a pipe, a socket or a device; passed over" in message.text
        with pytest.raises(MissingFileError, match="and a source is a file"):
            load_source(name)
    assert "gone.jpg: is a link to nowhere" in message.text
    assert "dir.jpg: is a folder" in message.text
    with pytest.raises(MissingFileError, match="link to nowhere"):
        load_source("gone.jpg")
    os.mkfifo("pipe.txt")
    with pytest.raises(MissingFileError, match="and a source is a file"):
        load_source("pipe.txt")


@pytest.mark.parametrize("name", ["x\0.jpg", "x" * 5000 + ".jpg", "a/" * 3000 + "*.jpg", "~nobody_of_this_name/x.jpg"])
def test_impossible_names_are_one_line(name):
    with pytest.raises(MissingFileError):
        load_source(name)


def test_lists_of_paths_and_images_keep_their_order(folder):
    image = np.zeros((4, 5, 3), np.uint8)
    source = load_source([image, folder / "b.jpg", image])
    assert [Path(i.path).name for i in source] == ["image0.jpg", "b.jpg", "image1.jpg"]


@pytest.mark.parametrize(
    ("array", "wanted"),
    [
        (np.zeros((4, 4, 4), np.uint8), "COLOR_RGBA2BGR"),
        (np.zeros((3, 40, 40), np.uint8), "transpose"),
        (np.zeros((2, 40, 40, 3), np.uint8), "list"),
        (np.zeros((40, 40, 3), np.uint16), "array of uint16: which value is white"),
        (np.zeros((40, 40, 3)), "array of float64"),
        (np.zeros((40, 40), bool), "array of bool"),
        (np.zeros((0, 40, 3), np.uint8), "shape"),
        (np.zeros(40, np.uint8), "shape"),
    ],
    ids=str,
)
def test_arrays_that_do_not_say_enough_are_told_what_is_wanted(array, wanted):
    with pytest.raises(UserError, match=r"uint8 of 0\.\.255 in the order BGR") as e:
        load_source(array)
    assert wanted in str(e.value)


def damaged_video(folder, suffix, harm):
    """A video of 20 frames of which only some can be read; its path."""
    path = folder / f"v{suffix}"
    code = {".avi": "MJPG", ".mkv": "MJPG", ".mp4": "mp4v"}[suffix]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 10, (64, 48))
    for i in range(20):
        writer.write(np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8))
    writer.release()
    data = bytearray(path.read_bytes())
    if harm == "cut":
        data = data[: len(data) * 9 // 20]
    elif harm == "hole":
        data[len(data) // 2 : len(data) * 3 // 4] = bytes(len(data) * 3 // 4 - len(data) // 2)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("suffix", "harm"),
    [(".avi", "cut"), (".avi", "hole"), (".mkv", "cut"), (".mp4", "hole"), (".avi", ""), (".mp4", "")],
)
@pytest.mark.parametrize("stride", [1, 3])
def test_frames_that_are_missing_are_counted(tmp_path, message, suffix, harm, stride):
    source = load_source(damaged_video(tmp_path, suffix, harm), stride)
    read = [item.frame for item in source]
    if harm:
        assert 0 < len(read) * stride < 20
        assert source.whole == set()
        assert " of the 20 frames announced could be read" in source.incomplete[0]
        assert source.incomplete[0] in message.text
    else:
        assert read == list(range(1, 21, stride))
        assert (source.whole, source.incomplete) == ({0}, {})


def test_a_gif_that_is_cut_off_is_told(tmp_path, message):
    frames = [Image.fromarray(np.random.default_rng(i).integers(0, 255, (48, 64), np.uint8)) for i in range(9)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    source = load_source(tmp_path / "a.gif")
    assert (len(list(source)), source.incomplete) == (9, {})
    data = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "a.gif").write_bytes(data[: len(data) // 2])
    count = len(list(source))
    assert 0 < count < 9
    assert source.incomplete[0].startswith(f"{count} frames could be read")


@pytest.mark.parametrize("count", [0, -9.2e16, 21, 22, float("nan"), 1e300])
def test_headers_that_promise_a_little_too_much_or_nothing_are_no_damage(tmp_path, monkeypatch, count):
    class Video:
        def __init__(self, file):
            self.video = CAPTURE(file)

        def get(self, what):
            return count if what == cv2.CAP_PROP_FRAME_COUNT else self.video.get(what)

        def __getattr__(self, name):
            return getattr(self.video, name)

    path = damaged_video(tmp_path, ".avi", "")
    monkeypatch.setattr(cv2, "VideoCapture", Video)
    source = load_source(path)
    assert len(list(source)) == 20
    assert (source.whole, source.incomplete) == ({0}, {})


CAPTURE = cv2.VideoCapture


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_images_that_are_cut_off_are_named_and_passed_over(tmp_path, message, capfd, suffix):
    for name in ("a", "b"):
        imwrite(tmp_path / f"{name}{suffix}", np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8))
    data = (tmp_path / f"a{suffix}").read_bytes()
    (tmp_path / f"a{suffix}").write_bytes(data[: len(data) * 2 // 3])
    assert names(tmp_path) == [f"b{suffix}"]
    assert f"a{suffix}: is cut off; passed over" in message.text
    assert capfd.readouterr().err == ""


def test_frames_of_another_size_are_kept(tmp_path):
    sink = VideoSink(tmp_path / "v.avi", 10.0, (48, 64))
    for shape in ((48, 64), (96, 128)):
        sink.write(np.zeros((*shape, 3), np.uint8))
    sink.close()
    assert len(list(load_source(tmp_path / "v.avi"))) == 2


def test_a_tensor_is_a_source_at_its_own_size(monkeypatch, caplog):
    rgb = torch.zeros(2, 3, 32, 64)
    rgb[:, 0] = 1
    items = list(load_source(rgb))
    assert [i.path for i in items] == ["image0.jpg", "image1.jpg"]
    assert all(i.as_is and i.image.shape == (32, 64, 3) and i.image[0, 0].tolist() == [0, 0, 255] for i in items)
    assert len(load_source(rgb[0])) == 1
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    assert next(iter(load_source(rgb * 255))).image[0, 0].tolist() == [0, 0, 255]
    assert "divided by 255" in caplog.text
    wrong = [
        (torch.zeros(1, 4, 8, 8), "shape"), (torch.zeros(8, 8), "shape"), (torch.zeros(0, 3, 8, 8), "shape"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "which value is white"), (rgb - 1, "below 0"),
        (rgb * float("nan"), "not finite"),
    ]  # fmt: skip
    for tensor, message in wrong:
        with pytest.raises(UserError, match=message):
            load_source(tensor)


def test_a_frame_rate_that_varies_is_said(tmp_path, message):
    frames = [Image.fromarray(np.random.default_rng(i).integers(0, 255, (48, 64), np.uint8)) for i in range(9)]
    for name, durations in (("even", 40), ("odd", [40, 40, 200, 40, 40, 400, 40, 40, 40])):
        frames[0].save(tmp_path / f"{name}.gif", save_all=True, append_images=frames[1:], duration=durations)
        assert len(list(load_source(tmp_path / f"{name}.gif"))) == 9
    assert message.text.count("the frame rate varies") == 1
    assert "odd.gif: the frame rate varies, 2.5 to 25 a second; 11.1 is taken for all" in message.text


def rate_of(file):
    video = cv2.VideoCapture(str(file))
    fps = video.get(cv2.CAP_PROP_FPS)
    video.release()
    return fps


def test_the_video_of_a_stream_has_the_rate_at_which_its_frames_came(tmp_path):
    for name, times, wanted in (("a", [5.0, 5.5, 5.75, 6.5], 2), ("b", [7.0], 10), ("c", [None] * 4, 10)):
        sink = VideoSink(tmp_path / f"{name}.avi", 10.0, (48, 64))
        for time in times:
            sink.write(np.zeros((48, 64, 3), np.uint8), time)
        sink.close()
        assert rate_of(tmp_path / f"{name}.avi") == pytest.approx(wanted, rel=1e-3)
        assert len(list(load_source(tmp_path / f"{name}.avi"))) == len(times)


def test_a_folder_has_no_hidden_images_as_a_glob_has_none(folder):
    imwrite(folder / ".hidden.jpg", np.zeros((8, 8, 3), np.uint8))
    assert names(folder) == names(str(folder / "*")) == ["a 图.png", "b.jpg", "c[1].jpg"]


@pytest.mark.parametrize("name", ["noext_out", "x.foo"])
def test_an_image_of_no_kind_is_one_line(tmp_path, name):
    with pytest.raises(UserError, match=rf"{name}: no image is written with the suffix .*\.jpg .*\.png"):
        imwrite(tmp_path / name, np.zeros((8, 8, 3), np.uint8))
