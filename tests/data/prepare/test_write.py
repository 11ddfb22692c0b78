import os

import numpy as np
import pytest

from ultralytics.data.labels import label_file
from ultralytics.data.prepare.write import Annotated, Converted, from_corners, from_pixels, write_dataset
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.images import imwrite


def images(folder, names):
    for name in names:
        imwrite(folder / name, np.zeros((20, 20, 3), np.uint8))
    return [Annotated(name, folder / name, [("a", (0.5, 0.5, 0.25, 0.25))]) for name in names]


@pytest.mark.parametrize("links", [True, False])
def test_images_are_linked_where_the_file_system_can(tmp_path, monkeypatch, links):
    def refuse(*_):
        raise OSError("another file system")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    listed = images(tmp_path / "s", ["a.png", "b.png"])
    (tmp_path / "out").mkdir()
    written = write_dataset(tmp_path / "out", Converted({"train": listed[:1], "val": listed[1:]}, ["a"]), "link")
    assert written.images == {"train": 1, "val": 1}
    copy = tmp_path / "out" / "images" / "train" / "a.png"
    assert copy.samefile(tmp_path / "s" / "a.png") == links
    assert copy.read_bytes() == (tmp_path / "s" / "a.png").read_bytes()


def test_every_image_has_a_label_file_of_its_own_on_any_file_system(tmp_path):
    names = ["a.png", "A.bmp", "a-bmp.png", "x/a.png", "images/a.tif", "x/images/a.bmp"]
    listed = images(tmp_path / "s", names)
    (tmp_path / "out").mkdir()
    written = write_dataset(tmp_path / "out", Converted({"train": listed}, ["a"], {"train": "train", "val": "train"}))
    found = [p.relative_to(tmp_path / "out") for p in (tmp_path / "out" / "images").rglob("*.*")]
    labels = {label_file(str(tmp_path / "out" / p)) for p in found}
    assert len(found) == len({str(p.with_suffix("")).casefold() for p in found}) == len(labels) == len(names)
    assert all(os.path.isfile(f) for f in labels)
    assert len(written.problems) == 4
    assert all("another image of its split has the name" in p for p in written.problems)


def test_a_split_without_a_usable_image_is_an_error(tmp_path):
    listed = images(tmp_path / "s", ["a.png"])
    lost = Annotated("b.png", problems=["b.png: cannot be decoded"])
    with pytest.raises(DatasetError, match=r"the val split has no image that can be used: b\.png: cannot be decoded"):
        write_dataset(tmp_path, Converted({"train": listed, "val": [lost]}, ["a"]))


def test_boxes_are_cut_to_the_picture():
    assert from_corners((-5, 5, 15, 25), (20, 10)) == ((0.5, 0.625, 1.0, 0.75), True)
    assert from_corners((0, 0, 10, 20), (20, 10)) == ((0.5, 0.5, 1.0, 1.0), False)
    nan, inf = float("nan"), float("inf")
    for corners in ((nan, 0, 1, 1), (0, 0, nan, 1), (5, 5, 5, 6), (11, 0, 12, 1), (-3, 0, 0, 1), (5, 5, 4, 6)):
        assert from_corners(corners, (20, 10))[0] is None
    assert from_pixels(-inf, 0, inf, 5, (20, 10))[0] is None
    assert from_pixels(nan, 0, 5, 5, (20, 10))[0] is None
    assert from_pixels(0, 0, 0, 5, (20, 10))[0] is None
    assert from_pixels(-0.0009, 0, 5, 5, (20, 10)) == ((2.4991 / 10, 0.125, 0.5, 0.25), False)  # rounding
    box, cut = from_pixels(-0.1, 0, 5.1, 5, (20, 10))
    assert cut
    assert box == pytest.approx((0.25, 0.125, 0.5, 0.25))
