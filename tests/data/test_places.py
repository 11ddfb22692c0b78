import os

import numpy as np
import pytest

from ultralytics.data.labels import label_file
from ultralytics.data.places import misplaced_labels
from ultralytics.data.scan import scan
from ultralytics.utils.images import imwrite

LABELS = "labels/train"
ANNOTATIONS = {".txt": "0 .5 .5 .2 .2\n", ".xml": "<annotation/>", ".json": "{}"}


def dataset(root, folder, suffix=".txt", n=4, images="images/train"):
    """Images, and their annotations in a folder."""
    files = []
    for i in range(n):
        files.append(root / images / f"{i}.png")
        imwrite(files[-1], np.full((20, 20, 3), 10 * i, np.uint8))
        if folder is not None:
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / f"{i}{suffix}").write_text(ANNOTATIONS[suffix.lower()])
    return [str(f) for f in files]


def found(files):
    return misplaced_labels({f: label_file(f) for f in files if not os.path.isfile(label_file(f))}, len(files))


@pytest.mark.parametrize(
    ("folder", "suffix", "hint"),
    [
        ("images/train", ".txt", "move them there"),
        ("Labels/train", ".txt", "move them there"),
        ("label/train", ".txt", "move them there"),
        ("annotations", ".txt", "move them there"),
        ("images/labels", ".txt", "move them there"),
        ("images/train/labels", ".txt", "move them there"),
        ("labels", ".txt", "move them there"),
        ("train/labels", ".txt", "move them there"),
        ("labels/train/deep", ".txt", "move them there"),
        ("labels/train", ".TXT", "rename them"),
        ("images/train", ".TXT", "rename them"),
        ("images/train", ".xml", "prepare voc"),
        ("Annotations", ".xml", "prepare voc"),
        ("images/train", ".json", "prepare --help"),
    ],
)
def test_labels_that_nobody_reads_are_found(folder, suffix, hint, tmp_path, caplog, monkeypatch):
    files = dataset(tmp_path, folder, suffix)
    [one] = found(files)
    assert (one.folder, one.suffix, one.number) == (str(tmp_path / folder), suffix, 4)
    assert hint in str(one)
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    for _ in range(2):  # the second time from what the scan remembers
        caplog.clear()
        scan([tmp_path / "images/train"], 1)
        assert str(one) in caplog.text


def test_labels_where_they_belong_and_plain_backgrounds_are_not_named(tmp_path):
    assert found(dataset(tmp_path / "a", LABELS)) == []
    assert found(dataset(tmp_path / "b", None)) == []
    assert found(dataset(tmp_path / "flat", "flat", images="flat")) == []  # labels lie beside
    # Another split's labels have the names of this split's backgrounds.
    val = dataset(tmp_path / "c", None, images="images/val")
    dataset(tmp_path / "c", LABELS)
    assert found(val) == []


def test_a_few_images_without_labels_do_not_cost_a_search(tmp_path):
    files = dataset(tmp_path, LABELS, n=9)
    (tmp_path / LABELS / "3.txt").rename(tmp_path / "3.txt")
    assert found(files) == []
    (tmp_path / "3.txt").rename(tmp_path / "images/train/3.txt")
    assert [m.number for m in found(files)] == [1]


@pytest.mark.parametrize(
    ("images", "labels", "rename"),
    [
        ("imgs/train", "labels/train", "{0}/imgs to images"),
        ("Images/train", "labels/train", "{0}/Images to images"),
        ("train/img", "train/labels", "{0}/train/img to images"),
        ("images/set/JPEGImages/a/b", "images/set/labels/a/b", "{0}/images/set/JPEGImages to images"),
        ("imgs/train", "Labels/train", "{0}/imgs to images, and {0}/Labels to labels"),
    ],
)
def test_a_folder_of_images_by_another_name_is_to_be_renamed(images, labels, rename, tmp_path, caplog, monkeypatch):
    [one] = found(dataset(tmp_path, labels, images=images))
    assert (one.folder, one.number, one.rename) == (str(tmp_path / labels), 4, rename.format(tmp_path))
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    scan([tmp_path / images], 1)
    assert f"replacing the last folder called images by labels; rename {one.rename}" in caplog.text
    assert "is there a labels folder" not in caplog.text
    # The labels of a real images folder are not taken for those of its neighbour.
    real = labels.replace("Labels", "labels")
    if real == labels:
        dataset(tmp_path, None, images=real.replace("labels", "images"))
        assert found([str(f) for f in (tmp_path / images).iterdir() if f.suffix == ".png"]) == []
