import errno
import json
import os
import signal
import time

import pytest

import ultralytics
from ultralytics.data.prepare.folder import labels_hash, making, prepared, write_manifest
from ultralytics.utils.errors import MissingFileError, UserError

OPTIONS = {"names": ["a", "图"], "years": (2007, 2012), "seed": None}


def fill(folder, labels="0 0.5 0.5 1 1\n", options=OPTIONS, kind="voc"):
    """A dataset of two images."""
    for name in ("a.jpg", "sub/b.PNG"):
        image = folder / "images" / "train" / name
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(b"")
        label = folder / "labels" / "train" / name.replace(".jpg", ".txt").replace(".PNG", ".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(labels)
    (folder / "data.yaml").write_text("names: [a]\n")
    write_manifest(folder, kind, options, [{"name": "x.tar", "size": 3}], {"train": 2}, {"a": 2}, ignored=1, left_out=4)


def made(out, **changes):
    with making(out) as folder:
        fill(folder, **changes)
    return out


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_data_set_is_made_and_found_again(tmp_path):
    out = tmp_path / "new" / "set"
    assert prepared(out, "voc", OPTIONS) is None
    with making(out) as folder:
        assert folder.parent == out.parent
        fill(folder)
        assert not out.exists()
    assert names(tmp_path / "new") == ["set"]
    assert names(out) == ["data.yaml", "images", "labels", "manifest.json"]
    assert prepared(out, "voc", OPTIONS) == out / "data.yaml"
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest.pop("hash") == labels_hash(out)
    assert manifest == {
        "format": 1,
        "kind": "voc",
        "created_by": ultralytics.__version__,
        "options": {"names": ["a", "图"], "years": [2007, 2012], "seed": None},
        "sources": [{"name": "x.tar", "size": 3}],
        "splits": {"train": 2},
        "objects": {"a": 2},
        "ignored": 1,
        "left_out": 4,
        "fingerprint": "",
    }


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "set").mkdir()
    assert prepared(tmp_path / "set", "voc", OPTIONS) is None
    assert prepared(made(tmp_path / "set"), "voc", OPTIONS)


def test_a_linked_folder_is_made_where_the_link_leads(tmp_path):
    (tmp_path / "big disk").mkdir()
    (tmp_path / "set").symlink_to(tmp_path / "big disk")
    made(tmp_path / "set")
    assert (tmp_path / "set").is_symlink()
    assert prepared(tmp_path / "set", "voc", OPTIONS)


def test_the_hash_is_of_names_and_contents(tmp_path):
    hashes = [labels_hash(made(tmp_path / str(i), labels=text)) for i, text in enumerate(["0\n", "0\n", "1\n"])]
    assert hashes[0] == hashes[1] != hashes[2]
    (tmp_path / "0" / "labels" / "train" / "a.txt").rename(tmp_path / "0" / "labels" / "train" / "c.txt")
    assert labels_hash(tmp_path / "0") != hashes[0]
    (tmp_path / "1" / "labels" / "train.cache").write_text("")
    assert labels_hash(tmp_path / "1") == hashes[1]


@pytest.mark.parametrize(
    ("kind", "options", "match"),
    [
        ("coco", OPTIONS, "another kind of dataset: 'voc', not 'coco'"),
        ("voc", {**OPTIONS, "seed": 1}, "made with seed=None, not seed=1"),
        ("voc", {**OPTIONS, "split": "x"}, "made with split=None, not split='x'"),
        ("voc", {}, "made with names="),
    ],
)
def test_another_data_set_is_not_taken_for_this_one(tmp_path, kind, options, match):
    with pytest.raises(UserError, match=match) as caught:
        prepared(made(tmp_path / "set"), kind, options)
    assert "choose another out=, or remove it" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1, "kind": "voc"}', "\udcff"])
def test_a_manifest_that_is_none(tmp_path, text):
    out = made(tmp_path / "set")
    (out / "manifest.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(UserError, match=r"manifest\.json"):
        prepared(out, "voc", OPTIONS)


def test_a_data_set_that_lost_something(tmp_path):
    out = made(tmp_path / "set")
    (out / "images" / "train" / "a.npy").write_bytes(b"")  # a cache is no image
    (out / "images" / "train" / "a.jpg").unlink()
    with pytest.raises(UserError, match="1 of its 2 train images are missing"):
        prepared(out, "voc", OPTIONS)
    (out / "data.yaml").unlink()
    with pytest.raises(UserError, match=r"data\.yaml is missing"):
        prepared(out, "voc", OPTIONS)


def test_a_place_that_is_taken(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    for name, match in (("file", "this is a file"), ("mine", "holds something else")):
        with pytest.raises(UserError, match=match):
            prepared(tmp_path / name, "voc", OPTIONS)
    for name, match in (("file", "this is a file"), ("mine", "not empty"), ("file/x", "could not be written")):
        with pytest.raises(UserError, match=match):
            made(tmp_path / name)
    assert names(tmp_path) == ["file", "mine"]
    assert names(tmp_path / "mine") == ["thesis.tex"]


def test_a_place_that_is_taken_meanwhile(tmp_path):
    out = tmp_path / "set"

    def race(content):
        with making(out) as folder:
            fill(folder)
            content()

    with pytest.raises(UserError, match="appeared while"):
        race(lambda: made(out, labels="1\n"))
    assert (out / "labels" / "train" / "a.txt").read_text() == "1\n"
    assert names(tmp_path) == ["set"]
    out = tmp_path / "other"
    with pytest.raises(UserError, match="appeared while"):
        race(lambda: out.write_text(""))
    assert names(tmp_path) == ["other", "set"]


@pytest.mark.parametrize(
    "error", [ValueError("ours"), KeyboardInterrupt(), MissingFileError("gone", "x"), OSError(5, "I/O")]
)
def test_a_failure_leaves_nothing(tmp_path, error):
    def broken():
        with making(tmp_path / "set") as folder:
            fill(folder)
            raise error

    with pytest.raises(type(error)) as caught:
        broken()
    assert caught.value is error
    assert names(tmp_path) == []


def test_a_full_disk_is_told(tmp_path):
    with pytest.raises(UserError, match=r"could not be written: No space left.*another out="), making(tmp_path / "set"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def killed_in_the_middle(out):
    """A process that makes OUT and is killed with SIGKILL when the dataset is half there."""
    child = os.fork()
    if not child:
        try:
            with making(out) as folder:
                (folder / "images").mkdir()
                (folder / "ready").write_text("")
                time.sleep(300)
        finally:
            os._exit(1)
    deadline = time.monotonic() + 120
    while not list(out.parent.glob(".*.making/ready")) and time.monotonic() < deadline:
        time.sleep(0.01)
    return child


def kill(child):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    pytest.importorskip("fcntl")
    out = tmp_path / "set"
    kill(killed_in_the_middle(out))
    assert not out.exists()
    left = names(tmp_path)
    assert len(left) == 2  # the folder and its lock
    other = tmp_path / "set.v2"
    for foreign in (".set.v2.01234567.making", ".set.notes.making"):
        (tmp_path / foreign).mkdir()
        (tmp_path / f"{foreign}.lock").write_text("")
    with making(out) as folder:
        assert not (tmp_path / left[0]).exists()
        fill(folder)
    assert prepared(out, "voc", OPTIONS)
    made(other)
    assert names(tmp_path) == [".set.notes.making", ".set.notes.making.lock", "set", "set.v2"]


def test_a_living_process_keeps_its_folder(tmp_path):
    pytest.importorskip("fcntl")
    out = tmp_path / "set"
    child = killed_in_the_middle(out)
    try:
        living = names(tmp_path)
        made(out)
        assert names(tmp_path) == [*living, "set"]
    finally:
        kill(child)


def test_a_lock_without_a_folder_goes_too(tmp_path):
    pytest.importorskip("fcntl")
    (tmp_path / ".set.01234567.making.lock").write_text("")
    made(tmp_path / "set")
    assert names(tmp_path) == ["set"]


def test_permissions_are_those_the_user_gives_all_folders(tmp_path):
    old = os.umask(0o027)
    try:
        made(tmp_path / "set")
    finally:
        os.umask(old)
    assert (tmp_path / "set").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize(
    ("kind", "task", "reader"), [("dota", "obb", 2), ("coco", "pose", 2), ("coco", None, None), ("voc", None, None)]
)
def test_a_data_set_of_an_earlier_version_is_a_warning(tmp_path, caplog, kind, task, reader):
    """Its content would be another one now, though kind and options are the same; it can still be used."""
    options = {**OPTIONS, **({"task": task} if task else {})}
    out = made(tmp_path / "set", kind=kind, options=options)
    file = out / "manifest.json"
    manifest = json.loads(file.read_text(encoding="utf-8"))
    assert manifest.get("reader") == reader
    assert prepared(out, kind, options)
    assert "earlier version" not in caplog.text
    manifest.pop("reader", None)
    file.write_text(json.dumps(manifest), encoding="utf-8")
    assert prepared(out, kind, options) == out / "data.yaml"
    warning = "set: made by an earlier version of prepare: remove it, or give another out=, to make it anew"
    assert (warning in caplog.text) == (reader is not None)
    file.write_text(json.dumps({**manifest, "reader": "x"}), encoding="utf-8")
    with pytest.raises(UserError, match="not one that this version writes"):
        prepared(out, kind, options)
