import errno
import os
import pickle
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.engine.weights.checkpoint import load_checkpoint, load_newest, save_checkpoint, verify_checksum
from ultralytics.engine.weights.inert import InertRecord, read_inert
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import CheckpointError, MissingFileError, UserError


def small():
    model = DetectionModel("yolov8n.yaml", nc=2, verbose=False)
    return {"model": model.yaml, "names": {0: "a", 1: "细胞"}, "ema": model.state_dict()}


def test_own_files_hold_tensors_and_plain_data_only(tmp_path):
    data = small()
    save_checkpoint(tmp_path / "a.pt", data)
    torch.load(tmp_path / "a.pt", weights_only=True)
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert loaded.source == "own"
    assert loaded.names == {0: "a", 1: "细胞"}
    rebuilt = DetectionModel(loaded.spec, verbose=False)
    rebuilt.load_state_dict(loaded.weights)
    assert all(torch.equal(v, data["ema"][k]) for k, v in rebuilt.state_dict().items())


def test_the_references_pickle_is_read(shared):
    loaded = load_checkpoint(shared / "weights" / "yolov8n.pt")
    assert loaded.source == "reference"
    assert len(loaded.names) == 80
    assert loaded.names[0] == "person"
    model = DetectionModel(loaded.spec, verbose=False)
    assert model.spec.scale == "n"
    report = model.load(loaded.weights)
    assert not report.new
    assert not report.mismatched
    assert not report.unused


class Bomb:
    """Unpickling it would create a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def archive(path, data_pkl):
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("archive/data.pkl", data_pkl)
        z.writestr("archive/version", "3")


def test_nothing_in_a_pickle_is_executed(tmp_path):
    target = tmp_path / "made"
    archive(tmp_path / "bomb.pt", pickle.dumps({"model": Bomb(target)}, protocol=2))
    with pytest.raises(CheckpointError, match="model"):
        load_checkpoint(tmp_path / "bomb.pt")
    assert not target.exists()
    record = read_inert(tmp_path / "bomb.pt")["model"]
    assert isinstance(record, InertRecord)
    assert record.args == (str(target),)
    for opcode in (b"cos\nsystem\n(S'touch " + str(target).encode() + b"'\ntR.", b"c__builtin__\neval\n(S'1/0'\ntR."):
        archive(tmp_path / "raw.pt", opcode)
        with pytest.raises(CheckpointError):
            load_checkpoint(tmp_path / "raw.pt")
    assert not target.exists()


@pytest.mark.parametrize("size", [0, 10, 3000])
def test_a_damaged_file_is_told_in_one_line(tmp_path, size):
    save_checkpoint(tmp_path / "a.pt", small())
    whole = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[:size])
    with pytest.raises(CheckpointError, match=r"cut\.pt") as caught:
        load_checkpoint(tmp_path / "cut.pt")
    assert "\n" not in str(caught.value)
    (tmp_path / "flipped.pt").write_bytes(whole.replace(b"data.pkl", b"dato.pkl"))
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "flipped.pt")


def test_other_files_are_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"nothing is downloaded"):
        load_checkpoint(tmp_path / "no.pt")
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(MissingFileError, match="this is a folder"):
        load_checkpoint(tmp_path / "folder.pt")
    torch.save({"a": torch.zeros(2)}, tmp_path / "bare.pt")
    with pytest.raises(CheckpointError, match="bare state dict"):
        load_checkpoint(tmp_path / "bare.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="list"):
        load_checkpoint(tmp_path / "list.pt")
    save_checkpoint(tmp_path / "later.pt", {**small(), "format_version": 99})
    with pytest.raises(CheckpointError, match="later version"):
        load_checkpoint(tmp_path / "later.pt")


@pytest.mark.parametrize(
    ("key", "value"),
    [("format_version", "x"), ("model", [1]), ("names", "ab"), ("train_args", 3), ("ema", {"a": 1})],
)
def test_an_own_file_with_wrong_contents_is_told_in_one_line(tmp_path, key, value):
    torch.save({"format": "ultralytics-fla", "format_version": 1, **small(), key: value}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"w\.pt: damaged"):
        load_checkpoint(tmp_path / "w.pt")


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save_checkpoint(path, small())
    before = path.read_bytes()
    real = os.fsync

    def full(fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left.*untouched") as caught:
        save_checkpoint(path, small())
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(os, "fsync", real)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_disk_that_fills_while_torch_writes_is_told(tmp_path):
    """A real failure in the middle of torch's writing: files may not grow beyond a limit."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "last.pt"
    save_checkpoint(path, small())
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(UserError, match=r"last\.pt.*untouched") as caught:
            save_checkpoint(path, small())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def little(value=0):
    return {"model": {"backbone": []}, "names": {0: "a"}, "ema": {"w": torch.full((50, 50), float(value))}}


def test_a_checksum_is_in_every_file_and_other_readers_do_not_mind(tmp_path):
    path = tmp_path / "a.pt"
    save_checkpoint(path, little())
    assert verify_checksum(path)
    assert zipfile.ZipFile(path).testzip() is None
    for mmap in (False, True):
        assert torch.load(path, weights_only=True, mmap=mmap)["names"] == {0: "a"}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("written") / "a.pt"
    save_checkpoint(path, little())
    return path, path.read_bytes()


@given(st.data())
def test_any_changed_byte_is_noticed(written, data):
    path, whole = written
    place = data.draw(st.integers(0, len(whole) - 1) | st.integers(len(whole) - 120, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    harmed = path.with_name("b.pt")
    harmed.write_bytes(changed)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(harmed)
    assert "\n" not in str(caught.value)


@given(st.data())
def test_any_file_cut_short_or_zeroed_is_noticed(written, data):
    path, whole = written
    keep = data.draw(st.integers(0, len(whole) - 1) | st.integers(len(whole) - 120, len(whole) - 1))
    harmed = path.with_name("c.pt")
    harmed.write_bytes(whole[:keep] + bytes(len(whole) - keep) * data.draw(st.booleans()))
    with pytest.raises(CheckpointError):
        load_checkpoint(harmed)


def test_a_file_without_a_checksum_is_read(tmp_path):
    """Written by earlier code, or saved again by other programs."""
    save_checkpoint(tmp_path / "a.pt", little())
    torch.save(torch.load(tmp_path / "a.pt", weights_only=True), tmp_path / "b.pt")
    assert not verify_checksum(tmp_path / "b.pt")
    assert load_checkpoint(tmp_path / "b.pt").names == {0: "a"}


def test_the_file_before_is_kept_and_taken(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    last, previous = tmp_path / "last.pt", tmp_path / "last.prev.pt"
    for value in range(3):
        save_checkpoint(last, little(value), previous)
    assert value_in(load_newest(last, previous)) == 2
    assert not caplog.text
    last.write_bytes(last.read_bytes()[:-5])
    assert value_in(load_newest(last, previous)) == 1
    assert "last.pt: damaged: it does not match its checksum" in caplog.text
    assert "going on from the one before it" in caplog.text
    previous.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"last\.pt"):
        load_newest(last, previous)


def test_without_hard_links_one_whole_file_is_there(tmp_path, monkeypatch):
    last, previous = tmp_path / "last.pt", tmp_path / "last.prev.pt"
    real = os.replace

    def refuse(*_):
        raise OSError(errno.EPERM, "not here")

    def kill(source, target):
        if target == last:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "link", refuse)
    save_checkpoint(last, little(1), previous)
    save_checkpoint(last, little(2), previous)
    assert value_in(load_checkpoint(previous)) == 1
    monkeypatch.setattr(os, "replace", kill)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(last, little(3), previous)
    assert value_in(load_newest(last, previous)) == 2


def value_in(checkpoint):
    return int(checkpoint.weights["w"][0, 0])


SAVE_LOOP = """
import sys, torch
from pathlib import Path
from ultralytics.engine.weights.checkpoint import save_checkpoint
last = Path(sys.argv[1])
for value in range(10**9):
    data = {"model": {"backbone": []}, "names": {0: "a"}, "ema": {"w": torch.full((200, 500), float(value))}}
    save_checkpoint(last, data, last.with_name("last.prev.pt"))
    if value == 0:
        print("begun", flush=True)
"""


@pytest.mark.parametrize("kills", [3, pytest.param(200, marks=pytest.mark.slow)])
def test_a_save_loop_killed_at_any_moment_leaves_a_checkpoint(tmp_path, kills):
    """The loop is forked from one process, so that two hundred of them need not import torch."""
    last, previous = tmp_path / "last.pt", tmp_path / "last.prev.pt"
    fork = "import os, sys, signal\nimport ultralytics.engine.weights.checkpoint\n" + (
        "for line in sys.stdin:\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        f"        exec({SAVE_LOOP!r})\n"
        "    print(pid, flush=True)\n"
        "    os.waitpid(pid, 0)\n"
        "    print('dead', flush=True)\n"
    )
    root = str(Path(__file__).resolve().parents[3])
    server = subprocess.Popen(
        [sys.executable, "-c", fork, str(last)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    rng, newest, left, torn = random.Random(0), -1, 0, 0
    with server:
        for _ in range(kills):
            server.stdin.write("go\n")
            server.stdin.flush()
            words = {server.stdout.readline().strip(), server.stdout.readline().strip()}
            pid = int((words - {"begun"}).pop())
            time.sleep(rng.uniform(0, 0.03))
            os.kill(pid, signal.SIGKILL)
            assert server.stdout.readline().strip() == "dead"
            assert load_checkpoint(last).names == {0: "a"}  # not even the one before is needed
            if previous.exists():
                load_checkpoint(previous)
            torn += len(list(tmp_path.glob(".*")))
            newest, left = max(newest, value_in(load_checkpoint(last))), left + 1
            for file in tmp_path.glob(".*"):
                file.unlink()
        server.stdin.close()
    print(f"{left} kills, {torn} of them in the middle of a write; a whole last.pt each time")
    assert left == kills


def test_a_small_disk_that_is_full_keeps_the_checkpoint(tmp_path):
    """A real file system of 1 MiB, where the system lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    code = f"""
import subprocess, sys
from pathlib import Path
if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", {str(disk)!r}], capture_output=True).returncode:
    sys.exit(77)
import torch
from ultralytics.engine.weights.checkpoint import load_checkpoint, save_checkpoint
from ultralytics.utils.errors import UserError
last = Path({str(disk)!r}) / "last.pt"
sizes = []
for side in (200, 300, 400, 250):
    data = {{"model": {{"backbone": []}}, "names": {{0: "a"}}, "ema": {{"w": torch.zeros(side, side)}}}}
    try:
        save_checkpoint(last, data, last.with_name("last.prev.pt"))
        sizes.append(side)
    except UserError as e:
        assert "No space left" in str(e) and "untouched" in str(e), e
    assert load_checkpoint(last).weights["w"].shape[0] == sizes[-1]
assert sizes == [200, 300, 250] or sizes == [200, 300], sizes
assert not list(last.parent.glob(".*"))
"""
    root = str(Path(__file__).resolve().parents[3])
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", code]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": root}
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("the system lets us mount nothing")
    assert done.returncode == 0, done.stderr
