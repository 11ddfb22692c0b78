"""Polygons in flat arrays: taken, joined and cut."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.data.polygons import Polygons

seeds = st.integers(0, 10**6)


def some(seed, m=6, least=0):
    """Polygons of so many points or more around 0..100."""
    rng = np.random.default_rng(seed)
    return Polygons.of([rng.uniform(-30, 130, (int(rng.integers(least, 12)), 2)) for _ in range(m)])


def star(rng, n=9):
    """A polygon that does not cross itself."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, n))
    reach = rng.uniform(10, 60, (n, 1))
    return rng.uniform(20, 80, 2) + reach * np.stack([np.cos(angles), np.sin(angles)], 1)


@given(seeds)
def test_rows_are_taken_like_those_of_an_array(seed):
    polygons = some(seed)
    whole = [polygons.one(i).tolist() for i in range(len(polygons))]
    rng = np.random.default_rng(seed)
    for rows in (slice(1, 4), slice(5, 2), slice(None, None, 2), slice(-2, None), rng.random(6) < 0.5, [3, 3, 0], []):
        taken = polygons[rows]
        wanted = [whole[i] for i in np.arange(6)[np.array(rows, int) if isinstance(rows, list) else rows]]
        assert [taken.one(i).tolist() for i in range(len(taken))] == wanted
    assert np.shares_memory(polygons[1:4].points, polygons.points) or not len(polygons[1:4].points)
    both = Polygons.concatenate([polygons, polygons[2:3], some(0, 0)])
    assert [both.one(i).tolist() for i in range(len(both))] == [*whole, whole[2]]


def test_none_at_all():
    for none in (Polygons.of([]), Polygons.concatenate([]), some(0, 0)):
        assert (len(none), none.bounds().shape, none.rectangles().shape) == (0, (0, 4), (0, 5))
        assert len(none.clip((0, 0), (1, 1)).scale((2, 2)).shift((1, 1)).flip(3, 0)) == 0


@given(seeds)
def test_cutting_leaves_what_lies_inside(seed):
    """The area of what is left, against the pixels of both; sampled 8 to a side."""
    rng = np.random.default_rng(seed)
    polygons = Polygons.of([star(rng) for _ in range(3)])
    cut = polygons.clip((0, 0), (100, 90))
    assert (cut.points >= 0).all()
    assert (cut.points <= (100, 90)).all()
    for i in range(3):
        drawn, left = (np.zeros((260, 260), np.uint8) for _ in range(2))
        cv2.fillPoly(drawn, [(polygons.one(i) + 80).astype(np.int32)], 1)
        if len(cut.one(i)):
            cv2.fillPoly(left, [(cut.one(i) + 80).astype(np.int32)], 1)
        inside = np.zeros_like(drawn)
        inside[80:170, 80:180] = drawn[80:170, 80:180]
        # Pixels along the border differ: those of lines that join what fell apart, and of rounding.
        inner = (slice(82, 168), slice(82, 178))
        assert np.mean(inside[inner] != left[inner]) < 0.01
    assert cut.clip((0, 0), (100, 90)) is cut  # nothing is left to cut


def test_each_polygon_has_a_window_of_its_own():
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10.0]])
    cut = Polygons.of([square, square, square]).clip([[2, 3], [0, 0], [20, 20]], [[8, 20], [10, 10], [30, 30]])
    assert cut.bounds().tolist() == [[2, 3, 8, 10], [0, 0, 10, 10], [0, 0, 0, 0]]
    assert cut.counts.tolist() == [4, 4, 0]


@given(seeds)
def test_areas_are_those_of_opencv(seed):
    polygons = some(seed)
    areas = [cv2.contourArea(polygons.one(i).astype(np.float32)) if len(polygons.one(i)) else 0 for i in range(6)]
    np.testing.assert_allclose(polygons.areas(), areas, rtol=1e-3, atol=1e-2)


def test_a_square_turned_by_a_corner_is_cut_to_a_triangle():
    cut = Polygons.of([np.array([[0, -5], [5, 0], [0, 5], [-5, 0.0]])]).clip((0, 0), (9, 9))
    assert sorted(set(map(tuple, cut.points.tolist()))) == [(0, 0), (0, 5), (5, 0)]


@given(st.floats(-100, 100), st.floats(5, 30), st.floats(35, 90), st.floats(0.01, np.pi / 2))
def test_the_smallest_rectangle_of_a_rectangle_is_itself(x, w, h, angle):
    c, s = np.cos(angle), np.sin(angle)
    corners = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2 @ np.array([[c, s], [-s, c]]) + (x, 2000)
    found = Polygons.of([corners]).rectangles()[0]
    np.testing.assert_allclose(found[:2], (x, 2000), atol=1e-3)
    assert 0 < found[4] <= np.pi / 2
    if abs(angle - np.pi / 2) > 1e-3:  # there it is 0 as well, with width and height swapped
        np.testing.assert_allclose(found[2:], (w, h, angle), atol=1e-3)


@pytest.mark.parametrize("points", [[[3, 4]], [[3, 4], [5, 8]], [[3, 4], [5, 8], [4, 6]], [[3, 4], [3, 4]]])
def test_a_line_is_a_rectangle_without_area(points):
    found = Polygons.of([np.array(points, np.float64)]).rectangles()[0]
    assert np.isfinite(found).all()
    assert found[2] * found[3] == pytest.approx(0, abs=1e-4)


def test_corners_become_the_rectangles_of_opencv_4(fixtures):
    z = np.load(fixtures / "obb_geometry.npz")
    found = Polygons.of(list(z["corners"])).rectangles()
    big = z["box1"][:, 2:4].min(1) > 0.1  # the corners of smaller ones are rounded away
    theirs = z["back_opencv4"].astype(np.float64)
    square = np.abs(theirs[:, 2] - theirs[:, 3]) < 0.05
    np.testing.assert_allclose(found[big, :2], theirs[big, :2], atol=1e-3)
    clear = big & ~square & (np.abs(theirs[:, 4] - np.pi / 2) > 1e-3)
    assert clear.sum() > 90
    np.testing.assert_allclose(found[clear, 2:], theirs[clear, 2:], atol=2e-3)
