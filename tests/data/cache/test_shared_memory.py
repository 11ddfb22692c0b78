import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import types

import numpy as np
import pytest

from tests.helpers.runs import loader
from ultralytics.data.cache import shared_memory
from ultralytics.data.cache.images import cached
from ultralytics.data.cache.shared_memory import SharedBytes

pytestmark = pytest.mark.skipif(
    shared_memory.fcntl is None or not os.access(shared_memory.FOLDER, os.W_OK),
    reason="there is no memory to share here",
)


@pytest.fixture
def key():
    name = f"test{os.getpid()}{time.time_ns()}"
    yield name
    (shared_memory.FOLDER / f"ultralytics-{os.getuid()}-{name}").unlink(missing_ok=True)


def fill(key, value=7, size=1000):
    memory = SharedBytes(key, size)
    if memory.fresh:
        memory.array[:] = value
        memory.finish()
    return memory


def elsewhere(key, code, **options):
    """A process that has `memory`."""
    program = f"from ultralytics.data.cache.shared_memory import SharedBytes\nmemory = SharedBytes({key!r}, 1000)\n"
    return subprocess.Popen([sys.executable, "-c", program + textwrap.dedent(code)], text=True, **options)


def test_the_second_finds_what_the_first_filled(key):
    first = fill(key)
    second = SharedBytes(key, 1000)
    assert not second.fresh
    assert (second.array == 7).all()
    with pytest.raises(ValueError, match="read-only"):
        first.array[0] = 1
    other = elsewhere(key, "print(memory.fresh, memory.array.sum())", stdout=subprocess.PIPE)
    assert other.communicate()[0].split() == ["False", "7000"]
    assert first.path.exists()  # the other process did not take it away


def test_the_last_user_removes_it(key):
    first, second = fill(key), fill(key)
    path = first.path
    del first
    assert path.exists()
    del second
    assert not path.exists()


def test_another_size_is_filled_anew(key):
    path = shared_memory.FOLDER / f"ultralytics-{os.getuid()}-{key}"
    path.write_bytes(b"\1" * 40)  # marked whole, and cut off
    memory = SharedBytes(key, 1000)
    assert memory.fresh
    assert path.stat().st_size > 1000


def test_an_unfinished_filling_is_filled_anew(key):
    memory = SharedBytes(key, 1000)
    memory.array[:] = 1
    path = memory.path
    del memory  # never finished
    assert not path.exists()
    assert SharedBytes(key, 1000).fresh
    kept = fill(key)
    child = elsewhere(key, "print(memory.fresh)", stdout=subprocess.PIPE)
    assert child.communicate()[0].strip() == "False"
    del kept


def test_what_a_killed_process_left_is_used_or_removed(key):
    code = "memory.array[:] = 9\nmemory.finish()\nprint('there', flush=True)\nimport time; time.sleep(60)"
    child = elsewhere(key, code, stdout=subprocess.PIPE)
    assert child.stdout.readline().strip() == "there"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    path = shared_memory.FOLDER / f"ultralytics-{os.getuid()}-{key}"
    assert path.exists()
    memory = SharedBytes(key, 1000)
    assert not memory.fresh
    assert memory.array[0] == 9
    del memory
    assert not path.exists()
    path.write_bytes(b"\1" * 1064)
    fill(key + "x")  # another name: what nobody uses goes
    assert not path.exists()


def test_a_process_that_waits_gets_what_the_other_fills(key):
    memory = SharedBytes(key, 1000)
    assert memory.fresh
    child = elsewhere(key, "print(memory.fresh, memory.array.sum())", stdout=subprocess.PIPE)
    time.sleep(0.5)
    memory.array[:] = 3
    memory.finish()
    assert child.communicate()[0].split() == ["False", "3000"]


def test_without_a_place_the_bytes_are_ones_own(key, monkeypatch, tmp_path):
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path / "gone")
    assert fill(key).array.sum() == 7000

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path)
    monkeypatch.setattr(shared_memory.os, "posix_fallocate", full)
    assert fill(key).array.sum() == 7000
    assert not list(tmp_path.iterdir())


def test_it_says_why_it_is_not_shared_and_leaves_room(key, monkeypatch, tmp_path):
    assert fill(key).alone == ""
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path)
    place = {"f_frsize": 1000, "f_blocks": 64_000, "f_bavail": 32_000}
    monkeypatch.setattr(shared_memory.os, "statvfs", lambda _: types.SimpleNamespace(**place))
    assert fill(key, size=15_000_000).alone == ""
    memory = fill(key + "2", size=17_000_000)  # less than a quarter would be left
    assert memory.alone == f"{tmp_path}: 32.0 of 64.0 MB are free, too few for 17.0 (Docker: --shm-size=)"
    assert memory.array[-1] == 7
    assert not list(tmp_path.glob(f"*{key}2"))
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path / "none")
    assert fill(key).alone == f"there is no {tmp_path / 'none'}"


def test_a_cache_of_its_own_is_told_once_and_holds_the_images(toy, monkeypatch, tmp_path):
    message = []
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path / "none")
    monkeypatch.setattr("ultralytics.data.cache.images.LOGGER.warning", lambda text, *args: message.append(text % args))
    load = loader(toy, cache="ram")
    assert len(message) == 1
    assert message[0].startswith(f"train: cache=ram: there is no {tmp_path / 'none'}; this run keeps ")
    shutil.rmtree(toy.parent / "images")
    assert len(list(load)) == 3

    def none(*_):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("ultralytics.data.cache.images.RamImages", none)
    labels = load.dataset.labels
    assert cached(len, "ram", labels, load.dataset.sizes, "k") is len
    assert message[1] == "cache=ram: Cannot allocate memory: going on without"


def test_a_strangers_file_is_not_used(key, monkeypatch, tmp_path):
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path)
    target = tmp_path / "target"
    target.write_bytes(b"\1" * 1064)
    path = tmp_path / f"ultralytics-{os.getuid()}-{key}"
    path.symlink_to(target)
    memory = SharedBytes(key, 1000)
    assert memory.fresh
    memory.array[:] = 0
    assert target.read_bytes() == b"\1" * 1064


def test_forked_workers_share_it(key):
    memory = fill(key)
    pid = os.fork()
    if pid == 0:
        ok = bool((memory.array == 7).all())
        del memory
        os._exit(0 if ok else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert memory.path.exists()
    assert np.all(memory.array == 7)
