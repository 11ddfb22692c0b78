import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.engine.step.schedule import Schedule, lr_factor

RUNS = {
    "linear": Schedule(12, 40, 16),
    "cosine": Schedule(12, 40, 16, lr0=0.002, lrf=0.05, momentum=0.9, warmup_bias_lr=0.0, cosine=True),
}


@pytest.mark.parametrize("name", RUNS)
def test_equals_the_reference(fixtures, name):
    z = np.load(fixtures / "schedule.npz")
    columns = z["columns"].tolist()
    assert columns == ["epoch", "iteration", "lr_bias", "lr_weight", "lr_norm", "momentum", "accumulate"]
    for row in z[name]:
        want = dict(zip(columns, row, strict=True))
        now = RUNS[name].at(int(want["iteration"]), int(want["epoch"]))
        assert now.lr_bias == pytest.approx(want["lr_bias"], abs=1e-12)
        assert now.lr == pytest.approx(want["lr_weight"], abs=1e-12)
        assert now.lr == pytest.approx(want["lr_norm"], abs=1e-12)
        assert now.momentum == pytest.approx(want["momentum"], abs=1e-12)
        assert now.accumulate == want["accumulate"]


def test_the_schedule_worked_out_by_hand():
    """Ten epochs of 50 batches of 16, all else by default: warm-up is 3 · 50 iterations.

    In epoch e the rate is 0.01 · (0.99 · (1 − e/10) + 0.01). After 90 of 150 iterations, 0.6 of the way is done: of the
    rate from 0, of that of biases from 0.1, of momentum from 0.8 to 0.937; 1 + 0.6 · (64/16 − 1) = 2.8 iterations are
    gathered.
    """
    schedule = Schedule(10, 50, 16)
    assert schedule.warmup == 150
    for iteration, epoch, want in [
        (0, 0, (0.1, 0.0, 0.8, 1)),
        (90, 1, (0.1 + 0.6 * (0.00901 - 0.1), 0.6 * 0.00901, 0.8822, 3)),
        (150, 3, (0.00703, 0.00703, 0.937, 4)),
        (499, 9, (0.00109, 0.00109, 0.937, 4)),
    ]:
        now = schedule.at(iteration, epoch)
        assert (now.lr_bias, now.lr, now.momentum, now.accumulate) == pytest.approx(want), iteration
    assert Schedule(10, 5, 16).warmup == 100  # at least


def test_the_cosine_worked_out_by_hand():
    """1 − 0.99 · (1 − cos(π e/10)) / 2: at 45°, 90° and 180°."""
    got = [lr_factor(e, 10, 0.01, cosine=True) for e in (2.5, 5, 10)]
    assert got == pytest.approx([1 - 0.99 * (1 - math.sqrt(0.5)) / 2, 0.505, 0.01])


def test_optimizer_steps_gather_whole_batches():
    """Two epochs of three batches, two to a step: steps end after batches 2, 4 and 6."""
    assert list(Schedule(2, 3, 16, nbs=32, warmup_epochs=0).steps()) == [1, 3, 5]


@given(st.integers(1, 300), st.floats(0.001, 1), st.booleans())
def test_the_rate_falls_from_one_towards_lrf(epochs, lrf, cosine):
    factors = [lr_factor(e, epochs, lrf, cosine) for e in range(epochs + 1)]
    assert factors[0] == pytest.approx(1)
    assert factors[-1] == pytest.approx(lrf)
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(factors))


def test_no_warm_up_means_none():
    schedule = Schedule(10, 5, 16, warmup_epochs=0)
    assert schedule.at(0, 0).lr == schedule.lr0
    assert schedule.at(0, 0).accumulate == 4


@given(st.integers(1, 256), st.integers(1, 256))
def test_accumulation_gathers_about_nbs_images(batch, nbs):
    step = Schedule(10, 500, batch, nbs, warmup_epochs=0).at(1000, 2)
    assert step.accumulate == max(round(nbs / batch), 1)
    assert math.isfinite(step.lr)
