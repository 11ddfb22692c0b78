import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ultralytics.cfg.config import Config
from ultralytics.engine.run.folder import LOCK_FILE, RunLock, new_run_dir, project_of, result_folder
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.files import lock


def test_runs_are_numbered(tmp_path):
    names = [new_run_dir(tmp_path, "train").name for _ in range(3)]
    assert names == ["train", "train2", "train3"]
    assert new_run_dir(tmp_path, "train", exist_ok=True).name == "train"


def test_the_default_is_below_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(new_run_dir(project_of(Config()), "val")) == "runs/detect/val"


def test_a_place_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make the run folder"):
        new_run_dir(tmp_path / "file", "train")
    with pytest.raises(ConfigError, match="this is a file"):
        new_run_dir(tmp_path, "file", exist_ok=True)


def test_one_process_at_a_time_has_a_folder(tmp_path):
    with RunLock(tmp_path):
        with pytest.raises(ConfigError, match=rf"process {os.getpid()} on .* is training in this folder") as caught:
            RunLock(tmp_path)
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    with RunLock(tmp_path):
        pass


HOLD = """
import os, sys, time
from pathlib import Path
from ultralytics.engine.run.folder import RunLock
lock = RunLock(Path(sys.argv[1]))
if os.fork() == 0:  # a worker that outlives the run by a while, and tells when what follows a fork is done
    print("held", flush=True)
    time.sleep(300)
    os._exit(0)
time.sleep(300)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX's locks")
def test_a_dead_process_and_its_workers_hold_nothing(tmp_path):
    root = str(Path(__file__).resolve().parents[3])
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    try:
        assert process.stdout.readline().strip() == "held"
        with pytest.raises(ConfigError, match=f"process {process.pid} on"):
            RunLock(tmp_path)
        process.kill()
        process.wait()
        assert (tmp_path / LOCK_FILE).exists()
        RunLock(tmp_path).release()
        assert not (tmp_path / LOCK_FILE).exists()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()


class Windows:
    """msvcrt's locks: of a range of a file, by handle; they end with the file."""

    LK_NBLCK = 2

    def __init__(self):
        self.held = {}

    def locking(self, handle, mode, count):
        assert (mode, count) == (self.LK_NBLCK, 1)
        key = os.fstat(handle).st_ino, os.lseek(handle, 0, os.SEEK_CUR)
        holder = self.held.get(key)
        if holder is not None and holder != handle:
            try:
                if os.fstat(holder).st_ino == key[0]:
                    raise PermissionError(13, "Permission denied")
            except OSError as e:
                if e.errno == 13:
                    raise
        self.held[key] = handle


def test_a_folder_is_locked_by_windows_means_where_there_are_no_others(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", Windows())
    with RunLock(tmp_path) as held:
        assert held._file.tell() < 1000  # the name lies where others can read it
        with pytest.raises(ConfigError, match=rf"process {os.getpid()} on .* is training in this folder"):
            RunLock(tmp_path)
    assert not list(tmp_path.iterdir())
    with RunLock(tmp_path):
        pass


def test_windows_locks_can_be_waited_for(tmp_path, monkeypatch):
    msvcrt = Windows()
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
    with open(tmp_path / "a", "w+b") as first, open(tmp_path / "a", "r+b") as second:
        assert lock(first)
        assert lock(second) is False
        monkeypatch.setattr("ultralytics.utils.files.time.sleep", lambda _: msvcrt.held.clear())
        assert lock(second, wait=True)


def test_a_folder_for_results_is_the_one_that_is_named_or_a_numbered_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert result_folder(str(tmp_path / "x"), "compare") == tmp_path / "x"
    assert [str(result_folder(None, "compare")) for _ in range(2)] == ["runs/compare", "runs/compare2"]
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"this is a file, not a folder \(choose another out=\)"):
        result_folder(tmp_path / "file", "compare")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "runs").touch()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"cannot make the run folder.*\(choose another out=\)"):
        result_folder(None, "compare")
