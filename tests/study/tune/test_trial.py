from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.engine.step.stopping import EarlyStopping
from ultralytics.study.plan import Run
from ultralytics.study.tune import trial
from ultralytics.study.tune.trial import FIRST, Pruning, least_fitness, pruned_after, pruning, record_trial

curves = st.lists(st.lists(st.floats(0, 1), min_size=8, max_size=8), min_size=FIRST, max_size=9)


def test_the_rule_by_hand():
    rising = [[0.1 * k * (e + 1) for e in range(4)] for k in range(1, 6)]  # 0.1, 0.2, … after one epoch
    assert least_fitness(rising[:4], 4) == []  # too few to judge by
    assert least_fitness(rising, 4) == [None, pytest.approx(0.6), pytest.approx(0.9)]  # the third of five; not the end
    assert pruned_after([0.0, 0.5], [None, 0.6, 0.9]) == 2
    assert pruned_after([0.7, 0.5], [None, 0.6, 0.9]) is None  # the best so far counts
    assert pruned_after([0.0, 0.6, 0.6, 0.6], [None, 0.6, 0.9]) == 3
    assert pruned_after([0.0], []) is None


def test_a_trial_that_stopped_early_is_judged_by_its_best():
    assert least_fitness([[0.5]] * FIRST, 4) == [None, 0.5, 0.5]


@settings(max_examples=20, deadline=None)
@given(curves, st.lists(st.floats(0, 1), min_size=8, max_size=8))
def test_the_stopping_is_the_rule(earlier, curve):
    least = least_fitness(earlier, 8)
    stopping = Pruning(EarlyStopping(0), least)
    stopped = next((e + 1 for e, v in enumerate(curve) if stopping(e, v)), None)
    assert stopped == pruned_after(curve, least)


@settings(max_examples=20, deadline=None)
@given(curves, st.lists(st.floats(0, 1), min_size=8, max_size=8), st.integers(0, 7))
def test_a_stopping_that_begins_anew_decides_as_before(earlier, curve, at):
    """As a resumed run makes it: by the fitness and the epoch that are saved."""
    least = least_fitness(earlier, 8)
    kept, whole = EarlyStopping(3), Pruning(EarlyStopping(3), least)
    for epoch, value in enumerate(curve):
        if epoch == at:
            kept.best_fitness, kept.best_epoch = whole.best_fitness, whole.best_epoch
            resumed = Pruning(kept, least)
        stop = whole(epoch, value)
        if epoch >= at:
            assert resumed(epoch, value) == stop
        if stop:
            return


def test_patience_still_stops_and_an_epoch_without_validation_does_not():
    stopping = Pruning(EarlyStopping(2), [None] * 9)
    assert [stopping(e, v) for e, v in enumerate([0.5, 0.4, 0.3])] == [False, False, True]
    assert not Pruning(EarlyStopping(2), [])(0, None)
    assert pruning([]) == {}


def test_of_equal_epochs_the_last_is_recorded_whose_weights_are_kept(tmp_path, monkeypatch):
    """Of a classifier fitness is the mean of top-1 and top-5: epochs 2 and 3 are equal by it, and not by top-1."""
    pairs = [(0.25, 0.5), (0.5, 1.0), (0.75, 0.75), (0.5, 0.75)]
    rows = [
        {"metrics/accuracy_top1": one, "metrics/accuracy_top5": five, "time": 2.0 * e} for e, (one, five) in
        enumerate(pairs, 1)
    ]  # fmt: skip
    monkeypatch.setattr(trial, "load_newest", lambda *_: SimpleNamespace(state={"results": rows}))
    monkeypatch.setattr(trial, "guess_model_task", lambda _: "classify")
    record = record_trial(Run("t001", 0, {}, {}), tmp_path, {}, [])
    assert record.figures == {"fitness": 0.75, "top1": 0.75, "top5": 0.75}
    assert record.curve == [0.375, 0.75, 0.75, 0.625]
    assert record.cost == {"epoch_seconds": 2.0}
    stopping = EarlyStopping(0)
    for epoch, fitness in enumerate(record.curve):
        stopping(epoch, fitness)
    assert stopping.best_epoch == 2
