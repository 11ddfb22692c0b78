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
