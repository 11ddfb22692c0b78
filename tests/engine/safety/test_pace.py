"""A run that has become much slower, with a clock that is played."""

import pytest

from ultralytics.engine.safety import pace as module
from ultralytics.engine.safety.pace import AGAIN, BEGINNING, LATELY, SKIPPED, Pace


class Clock:
    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def message(monkeypatch):
    lines = []
    monkeypatch.setattr(module.LOGGER, "warning", lambda text, *args: lines.append(text % args))
    return lines


def go(pace, clock, steps, work, wait=0.0, pixels=100, between=0.0, done=lambda i: True):
    for i in range(steps):
        pace.rest()
        clock.now += wait
        pace.arrived()
        clock.now += work * pixels / 100
        pace.stepped(pixels, done(i))
        clock.now += between


def begun(clock, work=1.0, wait=0.1, **more):
    pace = Pace("training step", "COMPUTE", "LOAD")
    go(pace, clock, SKIPPED, 50.0)
    go(pace, clock, BEGINNING, work, wait, **more)
    return pace


def test_a_slower_run_says_so_once_in_a_while(clock, message):
    pace = begun(clock)
    assert pace.began == pytest.approx(0.011)
    go(pace, clock, 200, 1.5, 0.2)
    go(pace, clock, 3, 60.0)
    assert not message  # neither half as slow, nor a few slow steps
    go(pace, clock, LATELY, 5.0)
    assert len(message) == 1
    assert message[0].startswith("A training step now takes 4.5 times as long as at the beginning (5 s, it took 1.1 s)")
    assert message[0].endswith("COMPUTE")
    assert "core" in message[0]
    go(pace, clock, int(AGAIN / 5) - LATELY, 5.0)
    assert len(message) == 1
    go(pace, clock, LATELY, 5.0)
    assert len(message) == 2


def test_late_images_are_told_from_slow_steps(clock, message):
    go(begun(clock), clock, LATELY, 1.0, 9.0)
    assert message[0].endswith("LOAD")
    assert "83% of it waiting for images" in message[0]  # of the last steps, four of them as quick as before


def test_saves_validation_and_larger_images_are_no_slowness(clock, message):
    pace = begun(clock, wait=0.0)
    for pixels in (25, 100, 225, 400):  # the sizes of multi_scale, and a last batch that is smaller
        go(pace, clock, LATELY, 1.0, pixels=pixels, between=1000.0)
    assert not message


def test_steps_of_a_gpu_count_when_it_has_done_them(clock, message):
    pace = Pace("training step", "COMPUTE", "LOAD")
    for _ in range(SKIPPED + BEGINNING):
        go(pace, clock, 9, 0.01, done=lambda _: False)
        go(pace, clock, 1, 9.91)
    assert pace.began == pytest.approx(0.01)
    assert not message


def test_a_run_that_goes_on_is_compared_with_its_beginning(clock, message):
    pace = Pace("training step", "COMPUTE", "LOAD")
    pace.began = 0.01
    go(pace, clock, SKIPPED + LATELY, 4.0)
    assert "4.0 times" in message[0]


def test_an_epoch_counts_how_long_its_loop_waited_for_batches(clock):
    pace = begun(clock)
    assert pace.data_wait == pytest.approx(100 * (BEGINNING * 0.1) / (BEGINNING * 1.1 + SKIPPED * 50.0))
    pace.open_epoch()
    assert pace.data_wait == 0  # no step yet
    go(pace, clock, 4, 0.3, wait=0.1, between=9.0, done=lambda i: i % 3 == 0)  # saves and plots count for nothing
    assert pace.data_wait == pytest.approx(25.0)
    go(pace, clock, 4, 0.0, wait=0.4)
    assert pace.data_wait == pytest.approx(100 * 2.0 / 3.2)
