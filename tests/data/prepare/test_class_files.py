import json

import pytest

from tests.helpers.sources import tree
from ultralytics.data.prepare.class_files import names_beside
from ultralytics.utils.errors import DatasetError

NOTES = {"categories": [{"id": 1, "name": "cell"}, {"id": 0, "name": "dog"}], "info": {}}


@pytest.mark.parametrize(
    "files",
    [
        {"classes.txt": "dog\ncell\n"},
        {"labels/classes.txt": "\ufeffdog\r\ncell\r\n\r\n"},
        {"data/predefined_classes.txt": "dog\ncell"},
        {"obj.names": "dog\ncell\n"},
        {"cfg/pets.names": "dog\ncell\n"},
        {"train/_darknet.labels": "dog\ncell"},
        {"notes.json": json.dumps(NOTES)},
        {"classes.txt": "0: dog\n1: cell\n"},
        {"labels.txt": "dog\ncell\n"},
        {"train/classes.txt": "dog\n", "val/classes.txt": "dog\ncell\n"},
        {"notes.json": json.dumps({"categories": "none"}), "classes.txt": "dog\ncell\n"},
        {"classes.txt": "0 0.5 0.5 0.1 0.1\n", "obj.names": "dog\ncell\n"},
        {"classes.txt": "", "names.txt": "dog\ncell\n"},
    ],
)
def test_names_are_read(tmp_path, files):
    tree(tmp_path, files)
    names, read = names_beside([tmp_path])
    assert names == ["dog", "cell"]
    assert all(path.is_file() for path in read)


def test_names_that_are_none(tmp_path):
    files = {"labels.txt": "__ignore__\ndog\n", "a.txt": "dog\n", ".names": "x", "notes.json": '{"categories": [{}]}'}
    assert names_beside([tree(tmp_path, files)]) == (None, [])


def test_names_that_contradict_or_have_gaps(tmp_path):
    tree(tmp_path / "a", {"train/classes.txt": "dog\ncell\n", "val/classes.txt": "cell\ndog\n"})
    with pytest.raises(DatasetError, match=r"val.classes\.txt: the class names differ from those of .*names="):
        names_beside([tmp_path / "a"])
    with pytest.raises(DatasetError, match=r"classes\.txt:2: the line is empty"):
        names_beside([tree(tmp_path / "b", {"classes.txt": "dog\n\ncell\n"})])
    with pytest.raises(DatasetError, match="not UTF-8"):
        names_beside([tree(tmp_path / "c", {"classes.txt": b"caf\xe9\n"})])
