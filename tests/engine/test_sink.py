"""What becomes of an annotated video that is interrupted, or that the disk has no room for."""

from types import SimpleNamespace

import numpy as np
import pytest

from ultralytics.cfg.config import get_cfg
from ultralytics.engine.sink import VideoSink
from ultralytics.engine.sources import SourceItem, load_source
from ultralytics.engine.writer import Writer
from ultralytics.utils.errors import UserError

FRAME = np.zeros((32, 32, 3), np.uint8)


class Interrupted:
    """OpenCV's writer, which Ctrl-C meets right after a frame has reached the file."""

    def __init__(self, writer, after):
        self.writer, self.left = writer, after

    def write(self, image):
        self.writer.write(image)
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt

    def release(self):
        self.writer.release()


class Full(Interrupted):
    """OpenCV's writer on a disk that is full after some frames: it says nothing."""

    def write(self, image):
        if self.left:
            self.writer.write(image)
            self.left -= 1


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def sink_with(tmp_path, kind, after):
    sink = VideoSink(tmp_path / "v.avi", 10.0, FRAME.shape[:2])
    sink.writer = kind(sink.writer, after)
    return sink


@pytest.mark.parametrize("after", [1, 3])
@pytest.mark.parametrize("live", [False, True])
def test_ctrl_c_during_a_frame_keeps_the_video(tmp_path, after, live):
    sink = sink_with(tmp_path, Interrupted, after)
    for i in range(1, after):
        sink.write(FRAME, i / 10 if live else None)
    with pytest.raises(KeyboardInterrupt):
        sink.write(FRAME, after / 10 if live else None)
    assert sink.frames == after - 1
    sink.close(incomplete=True)
    assert names(tmp_path) == ["v.incomplete.avi"]
    assert len(list(load_source(tmp_path / "v.incomplete.avi"))) == after


def test_what_a_full_disk_has_room_for_is_kept(tmp_path):
    sink = sink_with(tmp_path, Full, 3)
    for _ in range(5):
        sink.write(FRAME)
    with pytest.raises(UserError, match=r"v\.avi: .*not all there \(what could be written is v\.incomplete"):
        sink.close()
    assert names(tmp_path) == ["v.incomplete.avi"]
    assert len(list(load_source(tmp_path / "v.incomplete.avi"))) == 3


def test_a_video_without_a_frame_that_can_be_read_is_removed(tmp_path):
    sink = sink_with(tmp_path, Full, 0)
    sink.write(FRAME)
    with pytest.raises(UserError, match="are not all there"):
        sink.close()
    assert names(tmp_path) == []


def test_ctrl_c_before_the_first_frame_leaves_nothing_and_blames_nobody(tmp_path):
    VideoSink(tmp_path / "v.avi", 10.0, FRAME.shape[:2]).close(incomplete=True)
    assert names(tmp_path) == []


@pytest.fixture
def streams(tmp_path):
    """A writer with the videos of three live streams under way."""
    names = ["a", "b", "c"]
    source = SimpleNamespace(in_memory=[False] * 3, paths=names, stems=names, moving=[True] * 3, live=True, whole=set())
    writer = Writer(tmp_path, source, get_cfg(overrides={"save": True}))
    for i, name in enumerate(names):
        writer.write(SourceItem(name, FRAME, name, i, is_video=True, fps=10.0, frame=1, time=0.0), None, FRAME)
    return writer


def test_ctrl_c_while_a_video_is_finished_loses_none(streams, tmp_path, monkeypatch):
    found, calls = VideoSink._found, []

    def interrupted(self):
        calls.append(self)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return found(self)

    monkeypatch.setattr(VideoSink, "_found", interrupted)
    with pytest.raises(KeyboardInterrupt):
        streams._finish_videos()
    streams.close()
    assert names(tmp_path) == ["a.avi", "b.avi", "c.avi"]


def test_a_video_that_cannot_be_finished_keeps_no_other_from_it(streams, tmp_path):
    sink = streams._videos[0]
    sink.frames += 1
    with pytest.raises(UserError, match=r"a\.avi: the video could not be written"):
        streams.close()
    assert names(tmp_path) == ["a.incomplete.avi", "b.avi", "c.avi"]
    streams.close()
