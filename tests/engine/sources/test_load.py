"""What each kind of name and object is taken for."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics.engine.sources import LiveSource, load_source
from ultralytics.engine.sources.feeds import Capture, Screen
from ultralytics.utils.errors import MissingFileError, UserError

STREAMS = ["rtsp://10.0.0.1/live", "rtmp://x/y", "tcp://127.0.0.1:8888", "udp://@:1234", Path("rtsp://10.0.0.1/live")]
CAMERAS = [(0, 0), (np.int64(2), 2), ("0", 0), ("webcam", 0), ("camera 3", 3), ("/dev/video77", "/dev/video77")]


@pytest.mark.parametrize("name", STREAMS, ids=str)
def test_streams_are_opened_when_they_are_read(name):
    source = load_source(name, stream_buffer=True, reconnect=None)
    assert isinstance(source, LiveSource)
    assert (source.buffered, source.reconnect) == (True, float("inf"))
    assert "://" in source.paths[0]


@pytest.mark.parametrize(("name", "address"), CAMERAS, ids=str)
def test_cameras_are_numbers_or_devices(name, address):
    [feed] = load_source(name).feeds
    assert isinstance(feed, Capture)
    assert feed.address == address


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("s3://bucket/x.jpg", "only http, https and streams"),
        ("ftp://x/y.png", "only http, https and streams"),
        (-1, "a camera has a number of 0 or more"),
        ("screen a", "the screen takes whole numbers"),
        ("data:image/png;base64,iVBORw0KGgo" + "A" * 5000, "a data: URI is not offered as a source"),
        ("file:///x.jpg", "without file://"),
        ("www.example.com/x.jpg", "write https:// before"),
        ("youtu.be/LNwODJXcvt4", "videos of YouTube are not offered"),
        ("https://www.youtube.com/watch?v=LNwODJXcvt4", "videos of YouTube are not offered"),
    ],
    ids=lambda v: repr(v)[:40],
)
def test_what_is_not_offered_is_called_what_it_is(tmp_path, monkeypatch, source, wanted):
    monkeypatch.chdir(tmp_path)
    for one in (source, [source]):
        with pytest.raises(UserError, match=wanted) as e:
            load_source(one)
        assert len(str(e.value)) < 300
    (tmp_path / "list.txt").write_text(str(source))
    with pytest.raises(UserError, match=wanted):
        load_source("list.txt")


def test_lists_that_are_not_there_and_drives():
    for name in ("list.streams", "C:/x.jpg", "99999"):
        with pytest.raises(MissingFileError):
            load_source(name)


def test_a_list_may_hold_every_kind_of_image():
    rgb = torch.zeros(2, 3, 32, 64)
    rgb[:, 0] = 1
    source = load_source([rgb, np.zeros((4, 5, 3), np.uint8), rgb[0, :, :, :32], Image.new("RGB", (5, 4))])
    items = list(source)
    assert [i.path for i in items] == [f"image{n}.jpg" for n in range(5)]
    assert [i.as_is for i in items] == [True, True, False, True, False]
    assert items[3].image.shape == (32, 32, 3)
    assert items[3].image[0, 0].tolist() == [0, 0, 255]


class _Grabber:
    monitors = (
        {"left": 0, "top": 0, "width": 30, "height": 20},
        {"left": 10, "top": 5, "width": 20, "height": 10},
    )

    def __init__(self):
        self.closed = 0

    def grab(self, box):
        self.box = box
        return np.full((box["height"], box["width"], 4), (1, 2, 3, 255), np.uint8)

    def close(self):
        self.closed += 1


class _ShotError(Exception):
    pass


@pytest.fixture
def mss(monkeypatch):
    """A screen without a display."""
    grabber = _Grabber()
    exception = SimpleNamespace(ScreenShotError=_ShotError)
    module = SimpleNamespace(mss=lambda: grabber, exception=exception)
    monkeypatch.setitem(sys.modules, "mss", module)
    monkeypatch.setitem(sys.modules, "mss.exception", exception)
    return SimpleNamespace(grabber=grabber, module=module)


@pytest.mark.parametrize(
    ("name", "box"),
    [
        ("screen", {"left": 0, "top": 0, "width": 30, "height": 20}),
        ("screen 1", {"left": 10, "top": 5, "width": 20, "height": 10}),
        ("Screen 1 2 3 8 4", {"left": 12, "top": 8, "width": 8, "height": 4}),
        ("screen 2 3 8 4", {"left": 2, "top": 3, "width": 8, "height": 4}),
    ],
)
def test_the_screen_and_parts_of_it(mss, name, box):
    items = iter(load_source(name))
    item = next(items)
    items.close()
    assert mss.grabber.box == box
    assert item.image.shape == (box["height"], box["width"], 3)
    assert item.image[0, 0].tolist() == [1, 2, 3]
    assert item.image.flags.c_contiguous
    assert mss.grabber.closed == 1


def test_a_screen_that_cannot_be_read_is_one_line(mss, monkeypatch):
    with pytest.raises(UserError, match="screen 7: there is no monitor 7"):
        list(load_source("screen 7"))
    with pytest.raises(UserError, match="a monitor's number, four pixels, or both"):
        load_source("screen 1 2")

    def fail():
        raise _ShotError("no display")

    mss.module.mss = fail
    with pytest.raises(UserError, match="screen: it cannot be read: no display"):
        list(load_source("screen"))
    monkeypatch.setitem(sys.modules, "mss", None)
    with pytest.raises(UserError, match="the screen as a source needs mss"):
        Screen()


def test_a_wrong_line_of_a_list_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "list.txt").write_text("# images\na.png\n\ngone.png\n")
    with pytest.raises(MissingFileError, match=r"gone\.png: no such source") as caught:
        load_source(str(tmp_path / "list.txt"))
    assert caught.value.where == f"{tmp_path / 'list.txt'}:4"
