"""Figures on resampled images are those of a validation on images that are there several times."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.study.resampling import Detections, draw, mean_over_classes
from ultralytics.utils.metrics import ap_per_class


def made(seed, images=9, nc=3, n=120, m=40, coarse=False):
    rng = np.random.default_rng(seed)
    correct = rng.random((n, 1)) * np.linspace(1, 0.3, 10) > 0.45
    conf = rng.random(n) * 0.5 + correct.mean(1) * 0.5
    return Detections(
        np.round(conf, 1) if coarse else conf, rng.integers(0, nc, n), rng.integers(0, images, n), correct,
        (rng.random((n, 10)) < 0.1) & ~correct, rng.integers(0, nc, m), rng.integers(0, images, m), images,
    )  # fmt: skip


def plain(d, weights):
    """The figure by the validation's own function, with what belongs to an image written as often as it counts."""
    at = np.concatenate([np.flatnonzero(d.image == i).repeat(int(weights[i])) for i in range(d.images)])
    at = np.sort(at)  # as in the split, for equal scores
    to = np.concatenate([np.flatnonzero(d.target_image == i).repeat(int(weights[i])) for i in range(d.images)])
    if not len(to):
        return 0.0
    ap = ap_per_class(d.correct[at], d.conf[at], d.cls[at], d.target_cls[to], ignored=d.ignored[at])[5]
    return ap.mean()


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), coarse=st.booleans(), n=st.sampled_from([0, 1, 120]))
def test_a_weight_is_a_repetition(seed, coarse, n):
    d = made(seed, coarse=coarse, n=n)
    weights = np.vstack([np.ones(9), draw(9, 5, np.random.default_rng(seed)), np.eye(9)[0] * 9])
    # A detection that is there twice is two steps of the curve, and one of twice the weight a longer one.
    tolerance = 1e-12 if n < 2 else 0.02
    assert mean_over_classes(d.by_class(weights)) == pytest.approx([plain(d, w) for w in weights], abs=tolerance)
    assert mean_over_classes(d.by_class(weights[:1])) == pytest.approx([plain(d, weights[0])], abs=1e-12)


def test_perfect_and_useless_detections():
    n = 20
    every = np.arange(n)
    right = Detections(
        np.linspace(1, 0.1, n), every % 2, every % 5, np.ones((n, 10), bool), np.zeros((n, 10), bool), every % 2,
        every % 5, 5,
    )  # fmt: skip
    weights = draw(5, 50, np.random.default_rng(0))
    assert mean_over_classes(right.by_class(weights)) == pytest.approx(np.where(weights.sum(1) > 0, 1.0, 0.0), abs=0.01)
    wrong = Detections(**{**vars(right), "correct": np.zeros((n, 10), bool)})
    assert mean_over_classes(wrong.by_class(weights)) == pytest.approx(np.zeros(50))


def test_resamples_hold_as_many_images():
    weights = draw(70, 300, np.random.default_rng(1))
    assert (weights.sum(1) == 70).all()
    assert weights.mean() == pytest.approx(1)
    assert weights.var() == pytest.approx(1, abs=0.05)
