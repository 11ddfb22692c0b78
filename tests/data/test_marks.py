"""Rows of datasets that label more than boxes: polygons, corners, keypoints; every wrong row is named."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.data.labels import RowForm, parse_labels

POLYGONS, CORNERS = RowForm(0, "polygons"), RowForm(0, "corners")
POSES, FLAT_POSES = RowForm(9, "keypoints", 3), RowForm(6, "keypoints", 2)
BOX = "0 .5 .5 .4 .4"


def test_label_files_are_read_as_the_reference_reads_them(fixtures):
    """Where its notes say that it is wrong, the file is refused."""
    for case in json.loads((fixtures / "label_files.json").read_text(encoding="utf-8")):
        form = RowForm(case["nkpt"] * case["ndim"], "keypoints", case["ndim"]) if case["keypoints"] else POLYGONS
        judged = parse_labels(case["text"], *form)
        known = all(row[0] < case["num_classes"] for row in judged.rows)  # the scan stops there
        if not case["accepted"] or "defect" in case["note"] or "box out of range" in case["note"]:
            assert not judged.usable or not known, case["note"]
            continue
        assert judged.usable
        assert known
        rows, theirs = np.array(judged.rows), np.array(case["labels"]).reshape(-1, 5)
        order, their_order = np.lexsort(rows.T[::-1]), np.lexsort(theirs.T[::-1])  # a file with duplicates is sorted
        np.testing.assert_allclose(rows[order], theirs[their_order], atol=1e-6, err_msg=case["note"])
        if case["keypoints"]:
            np.testing.assert_allclose(judged.keypoints, case["kpts"], atol=1e-6)
        else:
            for i, k in zip(order, their_order, strict=True):
                np.testing.assert_allclose(judged.segments.one(i), case["segments"][k], atol=1e-6)


@pytest.mark.parametrize(
    ("form", "row", "kind", "words"),
    [
        (POLYGONS, BOX, "columns", "a box; a row has a class and 3 or more points"),
        (POLYGONS, "0 .1 .1 .5 .5 .1", "columns", "6 columns"),
        (POLYGONS, "0 .1 .1 .5 .1 nan .6", "coordinate", "nan"),
        (POLYGONS, "0 .1 .1 .5 .1 .4 1.2", "coordinate", "1.2"),
        (POLYGONS, "0.5 .1 .1 .5 .1 .4 .6", "class", "0.5"),
        (POLYGONS, "-1 .1 .1 .5 .1 .4 .6", "class", "-1"),
        (POLYGONS, "x .1 .1 .5 .1 .4 .6", "number", "x"),
        (CORNERS, BOX, "columns", "a box; a row has a class and 4 or more corners"),
        (CORNERS, "0 .1 .1 .5 .1 .4 .6", "columns", "7 columns"),
        (POSES, BOX, "columns", "kpt_shape [3, 3] asks for 14 (class x y w h, then x y visibility of each keypoint)"),
        (FLAT_POSES, f"{BOX} .1 .1 .2 .2 .3", "columns", "kpt_shape [3, 2] asks for 11"),
        (POSES, f"{BOX} .1 .1 3 .2 .2 0 .3 .3 1", "number", "visibility 3"),
        (POSES, f"{BOX} .1 .1 2 .2 .2 0 1.5 .3 1", "coordinate", "1.5"),
        (POSES, f"{BOX} .1 .1 2 .2 .2 0 inf .3 0", "coordinate", "inf"),
        (POSES, "0 .5 1.5 .4 .4 .1 .1 2 .2 .2 0 .3 .3 1", "coordinate", "1.5"),
    ],
)
def test_a_wrong_row_leaves_its_image_out(form, row, kind, words):
    good = {"polygons": "0 .1 .1 .5 .1 .4 .6", "corners": "0 .1 .1 .5 .1 .5 .6 .1 .6"}.get(
        form.annotations, BOX + " .1 .1 .2" * (form.numbers == 2) + " .1 .1" * (form.numbers == 2)
    )
    judged = parse_labels(f"\n{row}\n" + (f"{good}\n" if form.annotations != "keypoints" else ""), *form)
    assert not judged.usable
    assert [(p.line, p.kind) for p in judged.problems] == [(2, kind)]
    assert words in judged.problems[0].what


@pytest.mark.parametrize("row", ["0 .1 .1 .5 .5 .3 .3", "0 .2 .2 .2 .2 .2 .2", "0 .1 .1 .5 .1 .3 .1 .1 .1"])
def test_a_polygon_without_area_is_dropped(row):
    judged = parse_labels(row, *POLYGONS)
    assert judged.usable
    assert not len(judged.rows)
    assert [p.kind for p in judged.problems] == ["area"]


def test_crossing_corners_are_an_object():
    """Corners listed in the order of reading cross themselves; their rectangle is the same."""
    judged = parse_labels("0 .1 .1 .5 .1 .1 .6 .5 .6", *CORNERS)
    np.testing.assert_allclose(judged.rows, [[0, 0.3, 0.35, 0.4, 0.5]])


def test_a_polygon_over_the_edge_is_cut_there():
    judged = parse_labels("0 -.05 .2 .2 .2 .2 .4 -.05 .4\n0 1 0 1.00001 .2 .8 .2\n", *POLYGONS)
    assert judged.usable
    np.testing.assert_allclose(judged.over, [0.05, 0], atol=1e-6)
    np.testing.assert_allclose(judged.rows[0], [0, 0.1, 0.3, 0.2, 0.2])
    assert judged.segments.points.min() >= 0
    assert judged.segments.points.max() <= 1
    np.testing.assert_allclose(judged.segments.bounds()[0], [0, 0.2, 0.2, 0.4])


def test_rows_with_other_points_are_no_duplicates():
    judged = parse_labels("0 .1 .1 .5 .1 .1 .6\n0 .1 .1 .5 .1 .5 .6\n0 .1 .1 .5 .1 .1 .6\n", *POLYGONS)
    assert len(judged.rows) == 2
    assert [(p.line, p.kind) for p in judged.problems] == [(3, "duplicate")]


def test_absent_keypoints_may_lie_anywhere():
    judged = parse_labels(f"{BOX} -1 -1 0 .2 .3 2 0 0 0\n", *POSES)
    assert judged.usable
    assert judged.keypoints.tolist() == [[[0, 0, 0], [0.2, 0.3, 2], [0, 0, 0]]]
    judged = parse_labels(f"{BOX} -1 -1 .2 .3 0 0\n", *FLAT_POSES)
    assert judged.keypoints.tolist() == [[[0, 0, 0], [0.2, 0.3, 1], [0, 0, 1]]]


def test_a_keypoint_just_over_the_edge_is_out_of_sight():
    judged = parse_labels(f"{BOX} 1.05 .5 2 1.00001 .3 2 .1 .1 1\n", *POSES)
    assert judged.usable
    assert judged.keypoints.tolist() == [[[1, 0.5, 0], [1, 0.3, 2], [0.1, 0.1, 1]]]
    np.testing.assert_allclose(judged.over, [0.05], atol=1e-6)


def test_a_pose_whose_box_reaches_over_the_edge_is_cut():
    judged = parse_labels("0 .1 .5 .4 .4 .1 .1 2 .2 .2 0 .3 .3 1\n", *POSES)
    np.testing.assert_allclose(judged.rows, [[0, 0.1, 0.5, 0.4, 0.4]])  # as in detection: its sides are in 0..1
    judged = parse_labels("0 -.05 .5 .4 .4 .1 .1 2 .2 .2 0 .3 .3 1\n", *POSES)
    np.testing.assert_allclose(judged.rows, [[0, 0.075, 0.5, 0.15, 0.4]])
    assert judged.over[0] == pytest.approx(0.25)


@given(st.text("0123456789.-+eEnaif \n", max_size=200), st.sampled_from([POLYGONS, CORNERS, POSES, FLAT_POSES]))
def test_whatever_is_read_fits_together(text, form):
    judged = parse_labels(text, *form)
    m = len(judged.rows)
    assert len(judged.lines) == len(judged.columns) == len(judged.over) == m
    marks = judged.segments if form.annotations != "keypoints" else judged.keypoints
    assert len(marks) == m
    points = marks.points if form.annotations != "keypoints" else marks[..., :2]
    assert ((points >= 0) & (points <= 1)).all()
    assert ((judged.rows[:, 1:] >= 0) & (judged.rows[:, 1:] <= 1)).all()


polygon = st.lists(st.tuples(st.floats(-0.2, 1.2), st.floats(-0.2, 1.2)), min_size=2, max_size=6)


@given(st.lists(polygon, max_size=4), st.sampled_from([POLYGONS, CORNERS]))
def test_the_box_of_a_polygon_is_around_it(polygons, form):
    text = "\n".join("1 " + " ".join(f"{v:.17g}" for point in one for v in point) for one in polygons)
    judged = parse_labels(text, *form)
    centre, half = judged.rows[:, 1:3], judged.rows[:, 3:] / 2
    np.testing.assert_allclose(np.concatenate([centre - half, centre + half], 1), judged.segments.bounds(), atol=1e-9)
    assert (half > 0).all()
