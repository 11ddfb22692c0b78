import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.utils.tiling import grid, starts


@settings(max_examples=30)
@given(st.integers(1, 3000), st.integers(1, 700), st.floats(0, 0.9))
def test_a_side_is_covered_evenly_by_as_few_tiles_as_can(length, side, overlap):
    found = starts(length, side, overlap)
    assert found[0] == 0
    assert found[-1] == max(length - side, 0)
    steps = np.diff(found)
    step = side - min(math.ceil(side * overlap), side - 1)  # at most, so that neighbours share enough
    assert all(0 < s <= step for s in steps)
    assert len(steps) == 0 or steps.max() - steps.min() <= 1
    assert len(found) == 1 or (len(found) - 2) * step < length - side, "one less would leave a gap"


@settings(max_examples=30)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(3, 40), st.floats(0, 0.8))
def test_a_grid_covers_every_pixel_with_tiles_of_one_size(height, width, side, overlap):
    seen = np.zeros((height, width), int)
    tiles = grid((height, width, 3), side, overlap)
    for left, top, right, bottom in tiles:
        assert (bottom - top, right - left) == (min(height, side), min(width, side))
        seen[top:bottom, left:right] += 1
    assert seen.min() == 1 or overlap
    assert seen.min() >= 1
    assert len(set(tiles)) == len(tiles)


@pytest.mark.parametrize(
    ("length", "expected"),
    [(640, [0]), (641, [0, 1]), (1152, [0, 512]), (1153, [0, 256, 513]), (1920, [0, 426, 853, 1280])],
)
def test_tiles_worked_out_by_hand(length, expected):
    """Tiles of 640 that share at least 128 pixels: a step is 512 at most."""
    assert starts(length, 640, 0.2) == expected
