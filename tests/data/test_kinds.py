"""A dataset of another kind than the task reads is one line, which says the task that reads it."""

import numpy as np
import pytest

from ultralytics.data.dataset import YOLODataset
from ultralytics.data.kinds import KINDS, kind_of
from ultralytics.data.labels import ANNOTATIONS
from ultralytics.data.scan import scan
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.images import imwrite

# Three keypoints, so that a row has an odd number of columns and reads as a polygon of six points.
POSE = "{} .5 .5 .4 .4 .4 .4 .5 .5 .6 .6 .4 .6"
ROWS = {
    "boxes": "{} .5 .5 .4 .4",
    "polygons": "{} .3 .3 .7 .3 .7 .7 .5 .9 .3 .7",
    "keypoints": "{} .5 .5 .4 .4 .4 .4 2 .5 .5 1 .6 .6 2 .4 .6 0",
    "corners": "{} .3 .3 .7 .3 .7 .7 .3 .7",
}
SHAPE = {"keypoints": (12, "keypoints", 3)}


def dataset(folder, row, images=4, rows=3):
    """Images with so many rows each, all alike but for the class."""
    (folder / "labels").mkdir(parents=True)
    (folder / "images").mkdir()
    for i in range(images):
        imwrite(folder / "images" / f"{i}.png", np.full((40, 40, 3), i, np.uint8))
        text = "".join(row.format(k) + "\n" for k in range(rows))
        (folder / "labels" / f"{i}.txt").write_text(text, encoding="utf-8")
    return folder / "images"


@pytest.mark.parametrize("given", ANNOTATIONS)
def test_rows_of_a_kind_are_recognised(tmp_path, given):
    images = dataset(tmp_path, ROWS[given])
    assert kind_of([str(f) for f in sorted((images.parent / "labels").glob("*"))]) == given
    assert set(KINDS) == set(ANNOTATIONS)
    assert kind_of([str(tmp_path / "none.txt")]) == ""


@pytest.mark.parametrize(
    ("given", "read"),
    [(g, r) for g in ANNOTATIONS for r in ANNOTATIONS if r not in ("boxes", g) and {g, r} != {"polygons", "corners"}],
)
def test_labels_of_another_kind_are_one_line(tmp_path, given, read):
    images = dataset(tmp_path, ROWS[given])
    form = SHAPE.get(read, (0, read, 3))
    with pytest.raises(DatasetError) as e:
        scan([images], 3, 1.0, "", None, None, *form)
    text = str(e.value)
    assert "\n" not in text
    assert KINDS[given][0] in text
    assert KINDS[given][1] in text
    assert "0.txt" in text


@pytest.mark.parametrize(
    ("read", "row", "said"),
    [
        ("polygons", "{} 20 20 80 20 80 80 20 80", "the coordinate 20 is outside 0..1"),
        ("corners", "{} 20 20 50 10 80 20 80 80 20 80", "the coordinate 20 is outside 0..1"),
        ("keypoints", ROWS["keypoints"].replace(".5 .5 1", ".5 .5 7"), "the visibility 7 is not 0, 1 or 2"),
        ("keypoints", ROWS["keypoints"].replace(".6 .6 2", "1.6 .6 2"), "the coordinate 1.6 is outside 0..1"),
    ],
)
def test_wrong_rows_of_the_right_kind_are_not_called_another(tmp_path, read, row, said):
    images = dataset(tmp_path, row)
    with pytest.raises(DatasetError, match="none of the 4 images can be used") as e:
        scan([images], 3, 1.0, "", None, None, *SHAPE.get(read, (0, read, 3)))
    assert said in str(e.value)


def test_poses_that_read_as_polygons_are_noticed(tmp_path):
    images = dataset(tmp_path, POSE, 6)
    with pytest.raises(DatasetError, match="poses"):
        scan([images], 3, annotations="polygons")


def test_the_kind_read_is_what_the_dataset_holds(tmp_path):
    digests = set()
    for read in ANNOTATIONS:
        images = dataset(tmp_path / read, ROWS[read], 2)
        form = SHAPE.get(read, (0, read, 3))
        for _ in range(2):  # the second time from memory
            labels = scan([images], 3, 1.0, "", None, None, *form)
            one = labels.labelled(1)
            assert (one.segments is not None) == (read in ("polygons", "corners"))
            assert (one.keypoints is not None) == (read == "keypoints")
            if one.segments is not None:
                assert np.shares_memory(one.segments.points, labels.instances.segments.points)
                assert one.segments.points.dtype == np.float32
            digests.add(labels.digest)
    assert len(digests) == 4


def test_one_wrong_row_costs_an_image_not_the_dataset(tmp_path):
    images = dataset(tmp_path, ROWS["polygons"])
    (tmp_path / "labels" / "2.txt").write_text("0 .5 .5 .4 .4\n", encoding="utf-8")
    labels = scan([images], 3, annotations="polygons")
    assert (len(labels), labels.left_out) == (3, 1)
    assert "2.txt:1: 5 columns, a box" in labels.problems[0]


def test_a_scan_of_boxes_is_not_taken_for_one_of_polygons(tmp_path):
    images = dataset(tmp_path, ROWS["polygons"])
    assert scan([images], 3).instances.segments is None
    assert scan([images], 3, annotations="polygons").instances.segments is not None
    assert scan([images], 3).instances.segments is None
    assert len(list(tmp_path.glob(".images*.scan.npz"))) == 2


def test_labels_are_taken_and_chosen_with_their_points(tmp_path):
    images = dataset(tmp_path, ROWS["polygons"])
    split = YOLODataset([images], 64, 3, annotations="polygons", classes=[2, 0])
    assert split.labels.labelled(3).segments.counts.tolist() == [5, 5]
    fewer = split.labels.take([2, 0])
    assert len(fewer.instances.segments) == 4
    np.testing.assert_array_equal(fewer.labelled(1).segments.points, split.labels.labelled(0).segments.points)
