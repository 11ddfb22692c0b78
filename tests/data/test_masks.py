"""Masks of polygons: the reference's, drawn part by part."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.data.masks import index_map, polygon_masks
from ultralytics.data.polygons import Polygons
from ultralytics.utils.ops import resample_segments


def drawn_whole(polygon, height, width, ratio):
    """As it is defined: filled at full size, then scaled down."""
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [polygon.astype(np.int32)], 1)
    return cv2.resize(mask, (width // ratio, height // ratio))


@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3, 4, 5, 8]), st.sampled_from([(96, 120), (31, 57), (8, 8)]))
def test_parts_of_masks_are_those_of_the_whole(seed, ratio, size):
    rng = np.random.default_rng(seed)
    reach = rng.uniform(0.5, 2 * max(size))
    shapes = [rng.uniform(-20, 130, 2) + rng.uniform(0, reach, (int(rng.integers(1, 9)), 2)) for _ in range(5)]
    masks = polygon_masks(Polygons.of(shapes), *size, ratio)
    assert masks.dtype == np.uint8
    for mask, shape in zip(masks, shapes, strict=True):
        np.testing.assert_array_equal(mask, drawn_whole(shape, *size, ratio))


@given(st.integers(0, 10**6), st.integers(0, 6))
def test_smaller_objects_are_in_front(seed, m):
    rng = np.random.default_rng(seed)
    polygons = Polygons.of([rng.uniform(0, 64, (6, 2)) for _ in range(m)])
    index, order = index_map(polygons, 64, 64, 4)
    masks = polygon_masks(polygons, 64, 64, 4)[order]
    areas = masks.sum((1, 2), dtype=int)
    assert (np.diff(areas) <= 0).all()
    expected = np.zeros((16, 16), int)
    for i, mask in enumerate(masks, 1):
        expected[mask > 0] = i
    np.testing.assert_array_equal(index, expected)
    assert index.dtype == np.uint8


def test_more_than_255_objects_have_numbers_of_their_own():
    corners = [
        np.array([[x, y], [x + 4, y], [x + 4, y + 4], [x, y + 4.0]]) for x in range(0, 160, 8) for y in range(0, 160, 8)
    ]
    index, order = index_map(Polygons.of(corners), 160, 160, 1)
    assert (index.dtype, len(np.unique(index)), len(order)) == (np.int32, 401, 400)
    index, _ = index_map(Polygons.of(corners[:255]), 160, 160, 1)
    assert (index.dtype, len(np.unique(index))) == (np.uint8, 256)


def test_masks_lie_where_their_polygons_do():
    """The pixels that points lie in make no shift: the middle of a mask's pixels is that of the polygon, on average."""
    rng = np.random.default_rng(0)
    middles = []
    for _ in range(300):
        corner, size = rng.uniform(5, 20, 2), rng.uniform(10, 30, 2)
        box = corner + size * np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
        y, x = np.nonzero(polygon_masks(Polygons.of([box]), 64, 64)[0])
        middles.append([x.mean() + 0.5, y.mean() + 0.5] - (corner + size / 2))
    assert np.abs(np.mean(middles, 0)).max() < 0.05


@pytest.mark.parametrize("ratio", [1, 2, 4])
def test_masks_equal_the_references(fixtures, ratio):
    z = np.load(fixtures / "polygons.npz")
    height, width = (int(n) for n in z["imgsz"])
    resampled = resample_segments([p.copy() for p in z["polygons"]], 50)
    np.testing.assert_allclose(np.stack(resampled), z["resampled50"], atol=1e-3)
    polygons = Polygons.of(list(z["polygons"]))
    masks = polygon_masks(polygons, height, width, ratio)
    np.testing.assert_array_equal(masks, z[f"single_r{ratio}"])
    index, order = index_map(polygons, height, width, ratio)
    np.testing.assert_array_equal(order, z[f"order_r{ratio}"])
    np.testing.assert_array_equal(index, z[f"overlap_r{ratio}"])
