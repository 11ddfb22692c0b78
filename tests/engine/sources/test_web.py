"""Images and videos of the web, from a server of this machine."""

import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.servers import files, served
from ultralytics.engine.sink import VideoSink
from ultralytics.engine.sources import load_source, web
from ultralytics.utils.errors import DatasetError, UserError


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files, which must be empty afterwards."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert not list(folder.iterdir())


def png(value=100):
    return cv2.imencode(".png", np.full((8, 9, 3), value, np.uint8))[1].tobytes()


def avi(tmp_path, frames=3):
    sink = VideoSink(tmp_path / "v.avi", 10.0, (48, 64))
    for i in range(frames):
        sink.write(np.full((48, 64, 3), 60 * i, np.uint8))
    sink.close()
    return (tmp_path / "v.avi").read_bytes()


def test_images_and_videos_are_fetched_read_and_removed(tmp_path):
    contents = {
        "/a.png": (png(7), "image/png"),
        "/b%20%E5%9B%BE.png?size=big": (png(8), "image/png"),
        "/photo?id=1": (png(9), "image/png"),
        "/v.avi": (avi(tmp_path), "video/x-msvideo"),
        "/film": (avi(tmp_path), "video/x-msvideo"),
    }
    handler = files(contents)
    with served(handler) as url:
        names = [f"{url}/a.png", f"{url}/b 图.png?size=big", f"{url}/photo?id=1", f"{url}/v.avi", f"{url}/film"]
        source = load_source(names, vid_stride=2)
        assert handler.asked == ["/photo?id=1", "/film"]  # only what has no suffix is asked for; nothing is fetched yet
        items = list(source)
    assert [int(i.image[0, 0, 0]) for i in items[:3]] == [7, 8, 9]
    assert [(i.index, i.frame) for i in items[3:]] == [(3, 1), (3, 3), (4, 1), (4, 3)]
    assert source.paths[0] == items[0].path == f"{url}/a.png"
    assert source.stems == ["a", "b 图", "photo", "v", "film"]
    assert source.moving == [False, False, False, True, True]
    assert source.whole == {0, 1, 2, 3, 4}
    assert items[0].label == f"image 1/5 {url}/a.png"


def test_a_path_has_lost_a_slash_and_still_means_the_web(tmp_path):
    with served(files({"/a.png": (png(), "image/png")})) as url:
        (tmp_path / "list.txt").write_text(f"{url}/a.png\n")
        for source in (Path(f"{url}/a.png"), tmp_path / "list.txt"):
            assert [i.path for i in load_source(source)] == [f"{url}/a.png"]


def test_what_cannot_be_fetched_is_one_line_and_ends_no_list(caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    contents = {"/a.png": (png(), "image/png"), "/bad.png": (b"<html>", "text/html"), "/page": (b"<html>", "text/html")}
    with served(files(contents)) as url:
        with pytest.raises(UserError, match=r"gone\.png: the server answers 404") as e:
            list(load_source(f"{url}/gone.png"))
        assert "\n" not in str(e.value)
        with pytest.raises(DatasetError, match="none of the 1 files could be decoded"):
            list(load_source(f"{url}/bad.png"))
        with pytest.raises(UserError, match="page: no video comes from there"):
            list(load_source(f"{url}/page"))
        assert [i.path for i in load_source([f"{url}/gone.png", f"{url}/a.png"])] == [f"{url}/a.png"]
    assert "404 Not Found (download it by hand, and give the file as a local source); passed over" in caplog.text
    with pytest.raises(UserError, match="it cannot be reached"):
        load_source(f"{url}/photo")


@pytest.mark.parametrize("kind", ["image/png", None])
def test_no_more_than_a_bound_is_fetched(monkeypatch, kind):
    monkeypatch.setattr(web, "MOST_IMAGE", 1000)
    bound = pytest.raises(UserError, match=r"a\.png: it has more than 1,000 bytes")
    with served(files({"/a.png": (png() + bytes(5000), kind)})) as url, bound:
        list(load_source(f"{url}/a.png"))


def test_a_server_that_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(web, "TIMEOUT", 0.05)
    monkeypatch.setattr("ultralytics.utils.fetch.FIRST_PAUSE", 0.01)
    handler = files({})
    handler.do_GET = lambda self: __import__("time").sleep(0.3)
    with served(handler) as url:
        with pytest.raises(UserError, match="nothing came for"):
            list(load_source(f"{url}/a.png"))
        with pytest.raises(UserError, match="it cannot be reached: timed out"):
            load_source(f"{url}/a")


def test_passwords_are_not_shown():
    assert web.masked("rtsp://me:secret@host:554/x") == "rtsp://me:***@host:554/x"
    assert web.masked("rtsp://host/x") == "rtsp://host/x"
    assert web.masked("rtsp://[") == "rtsp://["
