import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ultralytics.trackers.utils import matching
from ultralytics.trackers.utils.matching import linear_assignment
from ultralytics.utils.boxes import batch_probiou

COST = st.tuples(st.integers(0, 4), st.integers(0, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(0, 2, width=32))
)


def least(cost, limit):
    """The least sum of (cost - limit) over any pairs, tried out."""
    n, m = cost.shape
    best = 0.0
    for k in range(min(n, m) + 1):
        for rows in itertools.combinations(range(n), k):
            for columns in itertools.permutations(range(m), k):
                best = min(best, float(sum(cost[i, j] - limit for i, j in zip(rows, columns, strict=True))))
    return best


@given(COST, st.floats(0.1, 1.5))
def test_an_assignment_is_the_best_there_is(cost, limit):
    pairs, left, free = linear_assignment(cost, limit)
    chosen = cost[pairs[:, 0], pairs[:, 1]]
    assert (chosen < limit).all()
    assert float((chosen - limit).sum()) == pytest.approx(least(cost, limit), abs=1e-9)
    assert sorted([*pairs[:, 0], *left]) == list(range(cost.shape[0]))
    assert sorted([*pairs[:, 1], *free]) == list(range(cost.shape[1]))


def test_a_good_pair_is_not_given_up_for_two_that_hardly_fit():
    """The Hungarian method over all pairs takes the two of 0.79, whose sum is less than 0.1 + 5."""
    pairs, left, free = linear_assignment(np.array([[0.1, 0.79], [0.79, 5.0]]), 0.8)
    assert (pairs.tolist(), left.tolist(), free.tolist()) == ([[0, 0]], [1], [1])


def test_overlaps_by_hand():
    a = np.array([[0.0, 0, 10, 10], [0, 0, 0, 0]])
    b = np.array([[5.0, 0, 15, 10], [0, 0, 10, 10], [20, 20, 30, 30]])
    np.testing.assert_allclose(matching.iou_of(a, b), [[1 / 3, 1, 0], [0, 0, 0]], atol=1e-6)
    assert matching.iou_of(a[:0], b).shape == (0, 3)
    assert matching.iou_distance([], []).shape == (0, 0)


def test_rotated_overlaps_equal_the_reference(fixtures):
    numbers = np.load(fixtures / "obb_geometry.npz")
    mine = matching._probiou(numbers["box1"][:30].astype(np.float32), numbers["box2"][:40].astype(np.float32))
    np.testing.assert_allclose(mine, numbers["pairwise"], atol=2e-3)


def test_rotated_boxes_are_as_similar_as_to_the_metrics():
    rng = np.random.default_rng(0)
    low, high = [0, 0, 5, 5, -1.5], [60, 60, 40, 40, 1.5]
    one, other = (rng.uniform(low, high, (n, 5)).astype(np.float32) for n in (7, 9))
    wanted = batch_probiou(torch.from_numpy(one), torch.from_numpy(other)).numpy()
    np.testing.assert_allclose(matching._probiou(one, other), wanted, rtol=1e-4, atol=1e-5)
