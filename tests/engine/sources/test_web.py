"""Images and videos of the web, from a server of this machine."""

import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.servers import camera, files, served
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
    contents = {"/a.png": (png(), "image/png"), "/bad.png": (b"<html>", "text/html")}
    with served(files(contents)) as url:
        with pytest.raises(UserError, match=r"gone\.png: the server answers 404") as e:
            list(load_source(f"{url}/gone.png"))
        assert "\n" not in str(e.value)
        with pytest.raises(DatasetError, match="none of the 1 files could be decoded"):
            list(load_source(f"{url}/bad.png"))
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


def test_urls_of_other_alphabets():
    assert web.clean("http://münchen.invalid:80/ä.jpg") == "http://xn--mnchen-3ya.invalid:80/%C3%A4.jpg"
    assert web.clean("http://ä:ö@münchen.invalid/") == "http://%C3%A4:%C3%B6@xn--mnchen-3ya.invalid/"
    assert web.clean("http://" + "ü" * 80 + "/x").isascii()


KINDS = {
    "jpg": cv2.imencode(".jpg", np.zeros((8, 9, 3), np.uint8))[1].tobytes(),
    "png": png(),
    "tif": cv2.imencode(".tif", np.zeros((8, 9, 3), np.uint8))[1].tobytes(),
}


@pytest.mark.parametrize("kind", ["application/octet-stream", "binary/whatever", "text/plain"])
def test_what_has_a_length_is_a_file_by_its_first_bytes(tmp_path, kind):
    contents = {f"/{n}": (data, kind) for n, data in {**KINDS, "avi": avi(tmp_path)}.items()}
    with served(files(contents)) as url:
        for name, video in (("jpg", False), ("png", False), ("tif", False), ("avi", True)):
            source = load_source(f"{url}/{name}")
            assert (source.live, source.moving) == (False, [video])
            assert len(list(source)) == (3 if video else 1)


def test_a_page_is_neither_image_nor_video():
    neither = pytest.raises(UserError, match=r"page: text/html is neither an image nor a video")
    with served(files({"/page": (b"<html>", "text/html")})) as url, neither:
        load_source(f"{url}/page")


def test_an_image_without_a_length_is_one():
    with served(files({"/a": (png(), "image/png")}, length=False)) as url:
        assert len(list(load_source(f"{url}/a"))) == 1


def test_the_question_what_a_url_is_follows_nothing_but_the_web():
    with (
        served(files({"/x": "ftp://127.0.0.1:1/x.jpg"})) as url,
        pytest.raises(UserError, match="only http and https is followed"),
    ):
        load_source(f"{url}/x")


def test_a_url_that_does_not_answer_ends_no_list(caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    contents = {"/a": (png(3), "image/png"), "/page": (b"<html>", "text/html")}
    with served(files(contents)) as url:
        source = load_source([f"{url}/gone", f"{url}/late", f"{url}/page", f"{url}/a"])
        contents["/late"] = (png(4), "image/png")  # its turn comes, and now it is there
        assert [int(i.image[0, 0, 0]) for i in source] == [4, 3]
        assert "gone: the server answers 404 Not Found" in caplog.text
        assert "page: text/html is neither an image nor a video" in caplog.text
        with pytest.raises(UserError, match="gone: the server answers 404"):
            load_source([f"{url}/gone", f"{url}/page"])


def test_a_dead_url_beside_live_streams_is_one_of_them(caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    with served(camera(20, 1)) as url, served(files({})) as dead:
        source = load_source([f"{url}/cam", f"{dead}/cam"], reconnect=0, stream_buffer=True)
        assert len(list(source)) == 20


def test_a_camera_with_a_password_is_read_and_the_password_not_shown(caplog, monkeypatch, capfd):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    caplog.set_level("INFO")
    with served(camera(20, 1, login="admin:secret")) as url:
        with pytest.raises(UserError, match="401"):
            load_source(f"{url}/cam")
        items = list(load_source(f"{url}/cam".replace("//", "//admin:secret@"), reconnect=0, stream_buffer=True))
    assert [i.frame for i in items] == list(range(1, 21))
    assert "//admin:***@" in items[0].path
    with pytest.raises(UserError) as e:
        load_source("http://admin:secret@127.0.0.1:9/cam")
    assert "secret" not in caplog.text + str(e.value) + "".join(capfd.readouterr())


def test_an_image_behind_a_login_is_fetched():
    with served(files({"/a.png": (png(5), "image/png"), "/b": (png(6), "image/png")}, login="me:pw")) as url:
        mine = url.replace("//", "//me:pw@")
        assert [int(i.image[0, 0, 0]) for i in load_source([f"{mine}/a.png", f"{mine}/b"])] == [5, 6]


def segments(folder):
    """A playlist of two parts of three numbered frames each, by name, as a camera or a library serves them."""
    found = {}
    for part in (0, 1):
        name = f"{part}.ts"
        writer = cv2.VideoWriter(str(folder / name), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mpg2"), 25.0, (64, 64))
        if not writer.isOpened():
            pytest.skip("this OpenCV writes no MPEG-2")
        for n in range(3):
            writer.write(np.full((64, 64, 3), 40 * (3 * part + n), np.uint8))
        writer.release()
        found[f"/{name}"] = ((folder / name).read_bytes(), "video/mp2t")
    return found


@pytest.mark.parametrize("master", [False, True])
def test_a_playlist_with_an_end_is_a_video_and_read_once(tmp_path, master):
    parts = "".join(f"#EXTINF:0.12,\n{n}.ts\n" for n in (0, 1))
    head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n"
    contents = segments(tmp_path)
    contents["/list.m3u8"] = ((head + parts + "#EXT-X-ENDLIST\n").encode(), "application/vnd.apple.mpegurl")
    contents["/live.m3u8"] = ((head + parts).encode(), "application/vnd.apple.mpegurl")
    contents["/all.m3u8"] = (b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\nlist.m3u8\n", "text/plain")
    with served(files(contents)) as url:
        source = load_source(f"{url}/{'all' if master else 'list'}.m3u8")
        assert (source.live, source.moving) == (False, [True])
        items = list(source)
        assert load_source(f"{url}/live.m3u8").live
    assert [i.frame for i in items] == [1, 2, 3, 4, 5, 6]
    assert source.whole == {0}
