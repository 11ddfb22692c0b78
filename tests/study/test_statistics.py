"""Intervals hold the truth as often as they say, and what is not there is seldom found."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.study.resampling import draw
from ultralytics.study.statistics import compare, holm, sign_flip


def study(rng, truth, seeds=6, images=72, of_seeds=0.006, of_images=0.02, of_both=0.05, resamples=400, skewed=False):
    """A study of known truth, whose figure is the mean over images."""
    image = rng.exponential(of_images, images) - of_images if skewed else rng.normal(0, of_images, images)
    control = rng.normal(0.6, 0.1, (seeds, images))
    arm = control + truth + image + rng.normal(0, of_seeds, (seeds, 1)) + rng.normal(0, of_both, (seeds, images))
    weights = draw(images, resamples, rng)
    resampled = [v @ weights.T / images for v in (arm, control)]
    return compare(arm.mean(1), control.mean(1), *resampled, images)


KINDS = [
    {}, {"of_images": 0.0, "of_both": 0.0}, {"of_seeds": 0.0, "of_images": 0.05},
    {"of_images": 0.05, "skewed": True}, {"seeds": 10}, {"seeds": 3},
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_intervals_hold_the_truth_and_little_else_is_found(kind):
    rng = np.random.default_rng(3)
    count = 1500
    held = sum(d.low <= 0.01 <= d.high for d in (study(rng, 0.01, **kind) for _ in range(count))) / count
    found = sum(d.verdict in ("gains", "costs") for d in (study(rng, 0.0, **kind) for _ in range(count))) / count
    noise = 2 * (0.05 * 0.95 / count) ** 0.5  # of so many studies
    assert (0.90 if kind.get("seeds") == 3 else 0.93) <= held <= 0.97  # two degrees of freedom are few
    assert found <= 0.05 + noise


def test_a_few_studies():
    rng = np.random.default_rng(0)
    found = [study(rng, 0.01) for _ in range(120)]
    assert 0.88 <= np.mean([d.low <= 0.01 <= d.high for d in found]) <= 1
    assert np.mean([study(rng, 0.0).verdict in ("gains", "costs") for _ in range(120)]) <= 0.1
    large = study(rng, 0.1)
    assert large.verdict == "gains"
    assert large.p == 2 / 2**6
    assert study(rng, -0.1).verdict == "costs"
    assert study(rng, 0.1, seeds=3).verdict.startswith("no difference")  # three seeds show nothing
    none = study(rng, 0.0)
    assert none.verdict == f"no difference of more than {max(-none.low, none.high):.4f} shown"


def test_a_difference_of_the_detectable_size_is_found_four_times_of_five():
    rng = np.random.default_rng(1)
    size = float(np.mean([study(rng, 0.0).detectable for _ in range(40)]))
    found = np.mean([study(rng, size).low > 0 for _ in range(150)])
    assert 0.65 <= found <= 0.95


def test_one_seed_and_equal_arms():
    rng = np.random.default_rng(2)
    alone = study(rng, 0.5, seeds=1)
    assert (alone.seeds, alone.p) == (1, 1.0)
    assert alone.low < alone.mean < alone.high
    same = compare(np.full(4, 0.5), np.full(4, 0.5), np.full((4, 9), 0.5), np.full((4, 9), 0.5), 10)
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)
    with pytest.raises(ValueError, match="do not belong together"):
        compare(np.zeros(3), np.zeros(3), np.zeros((2, 9)), np.zeros((2, 9)), 10)


def test_signs():
    assert sign_flip(np.array([1.0, 2, 3])) == 0.25
    assert sign_flip(np.ones(6)) == 2 / 64
    assert sign_flip(np.array([1.0, -1])) == 1
    many = np.full(20, 0.1)
    assert sign_flip(many) == pytest.approx(0, abs=1e-3)
    assert sign_flip(np.random.default_rng(0).normal(0, 1, 30)) > 0.01


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), min_size=1, max_size=6))
def test_holm(p):
    corrected = holm(p)
    assert list(corrected) == list(p)
    assert all(p[k] <= corrected[k] <= min(1, p[k] * len(p)) for k in p)
    order = sorted(p, key=p.get)
    assert [corrected[k] for k in order] == sorted(corrected.values())


def test_holm_of_the_textbook():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == {"a": 0.03, "b": 0.06, "c": 0.06}
