"""Formulas of explanations, against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.utils.attribution import (
    PARTS,
    laid_out,
    layer_cam,
    numerical_rank,
    singular_values,
    square_shares,
)


def test_layer_cam_weighs_each_place_by_its_own_positive_gradient():
    torch.manual_seed(0)
    a, g = torch.randn(3, 2, 3), torch.randn(3, 2, 3)
    wanted = torch.zeros(2, 3)
    for y in range(2):
        for x in range(3):
            wanted[y, x] = max(sum(max(float(g[c, y, x]), 0) * float(a[c, y, x]) for c in range(3)), 0)
    torch.testing.assert_close(layer_cam(a, g), wanted)
    assert layer_cam(a, -g.abs()).abs().max() == 0


def test_maps_of_all_levels_are_laid_pixel_centre_to_pixel_centre():
    fine, coarse = torch.zeros(4, 6), torch.zeros(2, 3)
    fine[1, 2], coarse[1, 1] = 1, 10
    out = laid_out([fine, coarse], (8, 12))
    assert out.shape == (8, 12)
    alone = laid_out([fine], (8, 12))
    assert {tuple(p) for p in torch.nonzero(alone == alone.max()).tolist()} == {(2, 4), (2, 5), (3, 4), (3, 5)}
    torch.testing.assert_close(out, alone + laid_out([coarse], (8, 12)))
    torch.testing.assert_close(laid_out([torch.full((2, 3), 7.0)], (8, 12)), torch.full((8, 12), 7.0))


@settings(max_examples=30)
@given(st.integers(1, 20), st.integers(1, 6), st.integers(0, 6), st.integers(0, 99))
def test_rank_and_singular_values_of_factors_are_those_of_the_product(n, r, lost, seed):
    torch.manual_seed(seed)
    left, right = torch.randn(2, n, r, dtype=torch.float64), torch.randn(2, n, r, dtype=torch.float64)
    left[..., r - min(lost, r - 1) :] = 0
    product = left @ right.transpose(-2, -1)
    values = singular_values(left, right)
    whole = singular_values(product)
    torch.testing.assert_close(values, whole[..., : values.shape[-1]], rtol=1e-9, atol=1e-12)
    assert numerical_rank(values, n).tolist() == np.linalg.matrix_rank(product.numpy()).tolist()
    assert numerical_rank(whole, n).tolist() == np.linalg.matrix_rank(product.numpy()).tolist()


def test_squares_of_an_even_field_hold_as_much_of_it_as_of_the_area():
    sides, areas = square_shares(np.ones((100, 100)), (49.5, 49.5))
    assert areas == pytest.approx(PARTS, abs=0.02)
    assert (areas >= PARTS).all()
    assert sides[0] == 46  # 44² = 1936 pixels are too few
    assert areas[0] == 46**2 / 1e4


def test_a_single_pixel_is_held_by_a_square_of_one():
    field = np.zeros((8, 10))
    field[3, 4] = 2
    sides, areas = square_shares(field, (3, 4))
    assert sides.tolist() == [1] * 4
    assert areas.tolist() == [1 / 80] * 4
    sides, areas = square_shares(field, (3, 6))
    assert sides.tolist() == [5] * 4
    assert areas.tolist() == [25 / 80] * 4
    sides, areas = square_shares(field, (0, 4))  # 7 × 7 around the upper edge: 4 rows of it are in the frame
    assert areas.tolist() == [28 / 80] * 4


@settings(max_examples=30)
@given(st.integers(0, 999))
def test_squares_are_the_smallest_that_hold_the_part(seed):
    rng = np.random.default_rng(seed)
    field = rng.random((9, 12)) ** 4
    centre = float(rng.integers(0, 9)), float(rng.integers(0, 12))
    sides, areas = square_shares(field, centre)
    distance = np.maximum(*np.abs(np.indices(field.shape) - np.reshape(centre, (2, 1, 1))))
    for part, side, area in zip(PARTS, sides, areas, strict=True):
        inside = distance <= side // 2
        assert field[inside].sum() >= part * field.sum() * (1 - 1e-9)
        assert field[distance <= side // 2 - 1].sum() < part * field.sum()
        assert inside.mean() == area


def test_no_gradient_has_no_square():
    assert np.isnan(square_shares(np.zeros((4, 4)), (2, 2))).all()
