"""Rows of label files: what they are read as, and what is wrong with them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.data.labels import glued_rows, label_file, parse_ignored, parse_labels
from ultralytics.utils.types import ANY_CLASS


def test_the_last_folder_named_images_becomes_labels():
    assert label_file("/images/a/images/b/c.d.jpg") == "/images/a/labels/b/c.d.txt"
    assert label_file("/pictures/c.jpg") == "/pictures/c.txt"


def test_polygons_become_their_bounding_box():
    rows, _, _ = parse_labels("1 0.1 0.2 0.5 0.2 0.3 0.6\n")[:3]
    np.testing.assert_allclose(rows, [[1, 0.3, 0.4, 0.4, 0.4]], rtol=1e-6)


@given(st.lists(st.tuples(st.integers(0, 9), *[st.floats(0.01, 1)] * 4), max_size=20, unique=True))
def test_what_is_written_is_read(rows):
    got, lines, problems = parse_labels("".join(" ".join(map(repr, row)) + "\n" for row in rows))[:3]
    np.testing.assert_allclose(got, np.array(rows, np.float32).reshape(-1, 5), rtol=1e-6)
    assert lines == list(range(1, len(rows) + 1))
    assert not problems


@given(st.text(max_size=60) | st.text("0123456789.- naif*crowd\n", max_size=60))
def test_any_text_is_read_or_named(text):
    for parse in (parse_labels, parse_ignored):
        rows, _, problems, *_ = parse(text)
        assert np.isfinite(rows).all()
        assert ((rows[:, 1:] >= 0) & (rows[:, 1:] <= 1)).all()
        assert (rows[:, 3:5] > 0).all()
        assert all(1 <= p.line <= len(text.splitlines()) for p in problems)
        assert len(rows) + len(problems) == sum(bool(line.strip()) for line in text.splitlines())


def test_every_problem_of_a_file_is_found():
    _, lines, problems = parse_labels(
        "0 .5 .5 .1 .1\nx 1\n0 .5 .5 .1\n0 .5 .5 nan .1\n-1 .5 .5 .1 .1\n0 .5 .5 .1 .1\n"
    )[:3]
    assert lines == [1]
    assert [(p.line, p.kind, p.fatal) for p in problems] == [
        (2, "number", True), (3, "columns", True), (4, "coordinate", True), (5, "class", True), (6, "duplicate", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "box"),
    [
        ("0 0.1 0.1 1.0021 0.1 1.0021 0.5 0.1 0.5", [0.55, 0.3, 0.9, 0.4]),
        ("0 0.1 0.1 1.0371 0.1 1.0371 0.5 0.1 0.5", [0.55, 0.3, 0.9, 0.4]),
        ("0 -0.03 0.2 0.4 0.2 0.4 0.6", [0.2, 0.4, 0.4, 0.4]),
        ("0 -0.004 -0.004 1.004 -0.004 1.004 1.004 -0.004 1.004", [0.5, 0.5, 1, 1]),
        ("0 0.4 0.4 1.5 0.4 1.5 0.6", [0.7, 0.5, 0.6, 0.2]),  # its centre is in the image
        ("0 0.5 0.5 1.004 0.5", [0.5, 0.5, 1, 0.5]),
        ("0 1.05 0.5 0.5 0.2", [0.9, 0.5, 0.2, 0.2]),
    ],
)
def test_a_row_over_the_edge_is_cut_there(row, box):
    rows, lines, problems = parse_labels(row)[:3]
    np.testing.assert_allclose(rows, [[0, *box]], atol=1e-9)
    assert (lines, problems) == ([1], [])
    regions, _, problems = parse_ignored(f"{row} crowd")[:3]
    np.testing.assert_allclose(regions, [[0, *box, 1]], atol=1e-9)
    assert not problems


@pytest.mark.parametrize(
    "row",
    [
        "0 10 10 60 10 60 40", "0 0.5 0.5 1.2 0.5", "0 1.2 0.5 0.1 0.1", "0 0.5 0.5 -0.05 0.5",
        "0 0.9 0.5 1.6 0.5 1.6 0.9", "0 0.1 0.1 nan 0.1 0.5 0.5", "0 0.1 0.1 inf 0.1 0.5 0.5",
        "0 -inf 0.1 inf 0.1 0.5 0.5", "0 1e308 0 1e308 0 1e308 1",
        "0 -0.2 0.1 1.2 0.1 0.5 0.5",
    ],
)  # fmt: skip
def test_a_row_far_over_the_edge_is_an_error(row):
    _, _, [problem] = parse_labels(row)[:3]
    assert (problem.kind, problem.fatal) == ("coordinate", True)
    assert "is outside 0..1" in problem.what


def test_a_box_of_plain_numbers_keeps_them_wherever_it_reaches():
    rows, _, _ = parse_labels("0 0.95 0.5 0.4 0.2\n0 1 1 1 1\n0 1.00005 0.5 0.2 0.2\n")[:3]
    assert rows.tolist() == [[0, 0.95, 0.5, 0.4, 0.2], [0, 1, 1, 1, 1], [0, 1, 0.5, 0.2, 0.2]]


def columns(*counts):
    return np.repeat([c for c, _ in counts], [n for _, n in counts]).astype(np.int32)


@pytest.mark.parametrize(
    ("counts", "named"),
    [
        ([(5, 3), (9, 1)], 1),
        ([(5, 1000), (9, 1), (13, 1), (15, 1)], 3),
        ([(5, 1000), (9, 2), (7, 3)], 2),  # so few polygons may be slips as well
        ([(5, 100), (9, 20), (7, 10), (11, 10)], 0),  # a set of boxes and polygons
        ([(9, 50)], 0),  # oriented boxes
        ([(5, 10), (9, 10)], 0),
        ([(7, 30), (9, 30), (11, 40)], 0),
        ([(5, 100)], 0),
        ([], 0),
    ],
)
def test_several_rows_in_one_line_are_told_from_polygons(counts, named):
    found = glued_rows(columns(*counts))
    assert int(found.sum()) == named
    assert not named or (columns(*counts)[found] > 8).all()


def test_a_word_alone_is_no_row():
    for text in ("crowd", "*", "* crowd"):
        [problem] = parse_ignored(text).problems
        assert not problem.fatal


def test_ignored_regions_keep_their_outlines():
    """Cut to the image; a box, and what lies in one line, has none."""
    rows = "0 .5 .5 .2 .2", "* .1 .1 .3 .1 .3 .5 crowd", "1 -.05 .2 .4 .2 .4 .6 -.05 .6", "0 .1 .1 .2 .2 .3 .3 crowd"
    judged = parse_ignored("\n".join(rows))
    assert judged.rows[:, 0].tolist() == [0, ANY_CLASS, 1, 0]
    assert judged.segments.counts.tolist() == [0, 3, 4, 0]
    np.testing.assert_allclose(judged.segments.one(1), [[0.1, 0.1], [0.3, 0.1], [0.3, 0.5]])
    assert sorted(judged.segments.one(2).tolist()) == [[0, 0.2], [0, 0.6], [0.4, 0.2], [0.4, 0.6]]
