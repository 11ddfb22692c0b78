"""Live streams against a camera of this machine: order, nothing lost, breaks, ends, and that nothing hangs."""

import itertools
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.rtsp import rtsp_camera
from tests.helpers.servers import camera, number_in, served
from ultralytics.engine.sources import LiveSource, live, load_source
from ultralytics.utils.errors import UserError


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(live, "FIRST_PAUSE", 0.02)
    yield
    assert not [t.name for t in threading.enumerate() if t.name.startswith("reader of")]


@pytest.fixture
def message(caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    caplog.set_level("INFO")
    return caplog


class Fake:
    """A stream without a network: what each connection gives, frame by frame."""

    def __init__(self, *connections, name="fake", wait=None):
        self.name = self.stem = name
        self.connections, self.wait = list(connections), wait
        self.closed, self.opened = 0, []
        self.fps = 10.0

    def connect(self):
        self.opened.append(time.monotonic())
        if not self.connections:
            raise UserError("nobody is there", self.name)
        self.left = list(self.connections.pop(0))
        return self

    def grab(self):
        if self.wait is not None:
            self.wait(self.left)
        if not self.left:
            return False
        self.frame = self.left.pop(0)
        return True

    def retrieve(self):
        return None if self.frame is None else np.full((4, 4, 3), self.frame, np.uint8)

    def close(self):
        self.closed += 1


def shown(item):
    return int(item.image[0, 0, 0])


def test_a_buffered_stream_loses_nothing_and_breaks_off_five_times(message):
    handler = camera(frames=20, connections=6)
    with served(handler) as url:
        source = load_source(f"{url}/cam", stream_buffer=True, reconnect=0.3)
        assert isinstance(source, LiveSource)
        items = list(source)
    assert [number_in(i.image) for i in items] == list(range(1, 121))
    assert [i.frame for i in items] == list(range(1, 121))
    assert message.text.count("connecting again") == 6
    assert f"{url}/cam: no video comes from there, after 120 frames" in message.text
    assert (items[0].label, items[0].fps) == (f"stream 1/1 (frame 1) {url}/cam", 25)
    times = [i.time for i in items]
    assert times == sorted(times)


def test_without_a_buffer_the_newest_frame_is_taken():
    given = threading.Event()
    feed = Fake(range(1, 101), wait=lambda left: left or given.wait(5))
    source = LiveSource([feed], reconnect=0)
    taken = []
    for item in source:
        taken.append(shown(item))
        while len(feed.left) and len(taken) == 1:  # the stream runs away from a slow consumer
            time.sleep(0.001)
        given.set()
    assert taken[-1] == 100
    assert len(taken) <= 3
    assert feed.closed == 1


def test_a_full_buffer_lets_the_stream_wait():
    feed = Fake(range(100))
    most = 0
    taken = []
    source = LiveSource([feed], buffered=True, reconnect=0)
    for item in source:
        most = max(most, len(source._readers[0].frames))
        taken.append(shown(item))
    assert taken == list(range(100))
    assert most <= live.BUFFER


class Ending(Fake):
    """A stream that fails for good once it has nothing more."""

    def connect(self):
        if not self.connections:
            raise RuntimeError("done")
        return super().connect()


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 70), min_size=1, max_size=3), min_size=1, max_size=3), st.integers(1, 4))
def test_no_buffered_frame_is_lost_or_out_of_order(lengths, stride):
    """However the frames of the streams are cut into connections, empty ones too."""
    feeds = []
    for index, parts in enumerate(lengths):
        ends = itertools.accumulate([0, parts[0] + 1, *parts[1:]])
        feeds.append(Ending(*(range(a, b) for a, b in itertools.pairwise(ends)), name=str(index)))
    wanted = {f.name: [n for part in f.connections for n in part][::stride] for f in feeds}
    found = {name: [] for name in wanted}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "FIRST_PAUSE", 0.0)
        for item in LiveSource(feeds, vid_stride=stride, buffered=True):
            found[item.path].append(shown(item))
    assert found == wanted


def test_frames_are_skipped_and_counted():
    items = list(LiveSource([Fake(range(1, 11), [11, None, 13])], vid_stride=3, buffered=True, reconnect=0.1))
    assert [(shown(i), i.frame) for i in items] == [(n, n) for n in (1, 4, 7, 10, 13)]
    assert items[0].fps == pytest.approx(10 / 3)


def test_a_round_goes_across_the_streams_and_the_first_that_ends_does_not_end_the_rest(message):
    together = threading.Barrier(2)

    def meet(left):
        if len(left) in (1, 2, 3):
            together.wait(5)

    feeds = [Fake([1, 2, 3], name="a", wait=meet), Fake([11, 12, 13], name="b", wait=meet), Fake(name="gone")]
    items = list(LiveSource(feeds, buffered=True, reconnect=0))
    for index, wanted in ((0, [1, 2, 3]), (1, [11, 12, 13])):
        assert [shown(i) for i in items if i.index == index] == wanted
    assert {i.path for i in items} == {"a", "b"}
    assert items[-1].last
    assert "gone: nobody is there" in message.text
    assert "a: the stream has ended, after 3 frames" in message.text


def test_a_stream_that_never_answers_is_one_line():
    with pytest.raises(UserError, match="fake: nobody is there") as e:
        list(LiveSource([Fake()]))
    assert "\n" not in str(e.value)
    with served(camera(1, 0)) as url, pytest.raises(UserError, match="the server answers 404"):
        load_source(f"{url}/cam")


def test_what_a_driver_raises_ends_its_stream_alone(message):
    def fail(left):
        if len(left) == 1:
            raise RuntimeError("out of order")

    items = list(
        LiveSource([Fake([1, 2], name="bad", wait=fail), Fake([3, 4], name="good")], buffered=True, reconnect=0)
    )
    assert [shown(i) for i in items if i.path == "good"] == [3, 4]
    assert "bad: RuntimeError: out of order" in message.text


@pytest.mark.parametrize("buffered", [False, True])
def test_leaving_early_stops_the_threads(buffered):
    feeds = [Fake(range(10**5), range(5), name=n, wait=lambda _: time.sleep(0.001)) for n in "ab"]
    source = LiveSource(feeds, buffered=buffered, reconnect=0)
    items = iter(source)
    for _ in range(5):
        next(items)
    items.close()
    assert [f.closed for f in feeds] == [1, 1]
    assert [shown(i) for i in source if i.index == 0][-1] == 4  # and it can be read anew


def test_the_pause_between_attempts_grows_and_has_an_end(monkeypatch):
    monkeypatch.setattr(live, "LONGEST_PAUSE", 0.05)
    feed = Fake([1])
    list(LiveSource([feed], reconnect=0.3))
    gaps = [b - a for a, b in itertools.pairwise(feed.opened)]
    assert len(gaps) >= 3
    assert all(gap >= least * 0.9 for gap, least in zip(gaps, (0.02, 0.04, 0.05), strict=False))
    assert feed.opened[-1] - feed.opened[0] < 2


@pytest.mark.parametrize("stride", [1, 3])
def test_a_file_that_is_taken_for_a_stream_is_not_read_for_good(message, stride):
    """Whatever it was taken for: it ends, and begins again with the same frame."""
    feed = Fake(*[range(7, 12)] * 50)
    items = list(LiveSource([feed], vid_stride=stride, buffered=True, reconnect=None))
    assert len(feed.opened) == live.ALIKE
    assert items[-1].frame <= 5 * live.ALIKE
    assert "fake: no live stream: it ended again and again after 5 frames" in message.text


def test_connections_of_one_length_are_no_file(message):
    """A camera may close each after as many frames."""
    feed = Fake(*[range(n, n + 5) for n in range(1, 41, 5)])
    assert len(list(LiveSource([feed], buffered=True, reconnect=0.3))) == 40


def test_a_list_of_streams_and_what_cannot_be_mixed(tmp_path):
    (tmp_path / "cams.streams").write_text("# front\nrtsp://user:secret@10.0.0.1/live\n0\n")
    source = load_source(tmp_path / "cams.streams", vid_stride=2)
    assert source.paths == ["rtsp://user:***@10.0.0.1/live", "camera 0"]
    assert source.stems == ["10_0_0_1_live", "camera_0"]
    assert (source.live, len(source), source.moving, source.vid_stride) == (True, 2, [True, True], 2)
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match="camera 0: a source has live streams or files, not both"):
        load_source([Path(tmp_path / "a.jpg"), 0])
    (tmp_path / "empty.streams").write_text("\n# nothing\n")
    with pytest.raises(UserError, match="names nothing"):
        load_source(tmp_path / "empty.streams")


def test_a_camera_that_is_not_there_is_one_line(capfd):
    with pytest.raises(UserError, match="camera 97: there is no such camera, or another program uses it"):
        list(load_source(97))
    assert capfd.readouterr().err == ""


def test_rtsp_loses_nothing_and_connects_again(message):
    with rtsp_camera(frames=12, connections=2) as url:
        items = list(load_source(url, stream_buffer=True, reconnect=0.2))
    assert [number_in(i.image) for i in items] == list(range(1, 25))
    assert items[0].path.startswith("rtsp://user:***@127.0.0.1:")
    assert "secret" not in message.text
