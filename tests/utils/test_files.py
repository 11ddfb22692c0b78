import json
import os
import socket

import pytest

from ultralytics.utils.errors import UserError
from ultralytics.utils.files import (
    Checksums,
    open_regular,
    read_bytes,
    read_text,
    real_path,
    remove_unfinished,
    write_atomically,
    write_json,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1, "名": 2})

    def fails(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="untouched"):
        write_atomically(path, fails)
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1, "名": 2}

    def interrupted(file):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, interrupted)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX's")
def test_files_have_the_permissions_the_user_gives_all_files(tmp_path):
    old = os.umask(0o027)
    try:
        write_json(tmp_path / "a.json", {})
    finally:
        os.umask(old)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o640


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    stale = [".last.pt.0f1e2d3c", ".best.pt.x_8jk2ab", ".epoch12.pt.abcdefgh", ".results.csv.12345678"]
    kept = ["last.pt", ".hidden", ".notes.txt.abcdefgh", "a.pt.abcdefgh"]
    for name in stale + kept:
        (tmp_path / name).write_text("")
    remove_unfinished(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)


def test_the_mend_names_what_a_user_sets(tmp_path):
    with pytest.raises(UserError, match="another out="):
        write_json(tmp_path / "none" / "a.json", {}, "out")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in the file system")
def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "linked").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for name, kind in (("pipe", "pipe"), ("linked", "pipe"), ("socket", "socket"), ("/dev/zero", "device")):
            for read in (open_regular, read_bytes, Checksums.of):
                with pytest.raises(OSError, match=f"it is a {kind}, not a file"):
                    read(tmp_path / name)
    with pytest.raises(UserError, match="the file cannot be read: it is a pipe, not a file"):
        read_text(tmp_path / "pipe", UserError)
    with pytest.raises(IsADirectoryError):
        read_bytes(tmp_path)


def test_a_file_is_read_as_far_as_its_entry_says(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
    assert read_text(tmp_path / "a", UserError) == "a\nb\nc\n"
    assert read_bytes(tmp_path / "a", 10) == (tmp_path / "a").read_bytes()
    with pytest.raises(OSError, match="it has 10 bytes, and more than 9 are not read"):
        read_bytes(tmp_path / "a", 9)
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(2**40)  # nothing of it is on the disk, and nothing is read
    with pytest.raises(UserError, match="more than 1,000 bytes"):
        read_text(tmp_path / "huge", UserError, 1000)
    if os.path.exists("/proc/self/status"):  # of no size, and of a content without end in some of its neighbours
        assert read_bytes("/proc/self/status") == b""


def test_a_path_without_links_is_found_for_links_that_lead_nowhere_too(tmp_path):
    for name, to in (("loop", "loop"), ("a", "b"), ("b", "a"), ("gone", "nothing"), ("good", ".")):
        try:
            (tmp_path / name).symlink_to(to)
        except OSError:
            pytest.skip("links are not to be had")
    top = tmp_path.resolve()
    assert real_path(tmp_path / "good" / "good" / "x") == top / "x"
    assert real_path(tmp_path / "gone") == top / "nothing"
    for name in ("loop", "a"):
        assert real_path(tmp_path / name).parent == top


def test_a_file_that_is_being_read_is_replaced_a_moment_later(tmp_path, monkeypatch):
    """As on Windows, where the page of a run must not stop the run's own writing."""
    tried = []
    replace = os.replace

    def held(source, target):
        tried.append(target)
        if len(tried) < 3:
            raise PermissionError(13, "it is open")
        replace(source, target)

    monkeypatch.setattr(os, "replace", held)
    monkeypatch.setattr("ultralytics.utils.files._READERS_HINDER", True)
    write_text(tmp_path / "a.csv", "1")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "1"
    assert len(tried) == 3
