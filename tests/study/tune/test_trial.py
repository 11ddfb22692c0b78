import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.engine.step.stopping import EarlyStopping
from ultralytics.study.tune.trial import FIRST, Pruning, least_fitness, pruned_after, pruning

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
