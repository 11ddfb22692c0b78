import errno
import os
import pickle
import zipfile

import pytest
import torch

from ultralytics.engine.checkpoint import load_checkpoint, save_checkpoint
from ultralytics.engine.inert import Record, read_inert
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
    assert isinstance(record, Record)
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
    with pytest.raises(MissingFileError, match="it is a folder"):
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
