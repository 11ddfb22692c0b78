import pytest

from ultralytics.study.record import FAILED, FINISHED, PRUNED
from ultralytics.study.tune.space import read_space
from ultralytics.study.tune.suggest import RANDOM, Past, importances, need_optuna, suggest
from ultralytics.utils.errors import ConfigError

SPACE = read_space(
    "{lr0: [1e-4, 0.1, log], mosaic: [0, 1], nbs: {low: 8, high: 64, step: 8}, optimizer: [SGD, AdamW], "
    "freeze: {choices: [3, [0, 1]]}, warmup_epochs: {low: 0, high: 3, step: 0.5}}"
)


@pytest.fixture
def optuna():
    return pytest.importorskip("optuna", reason="Optuna is not installed: suggestions are not tested")


def value_of(values):
    return 1 - (values["mosaic"] - 0.3) ** 2


def trials(count, seed=0, sampler="tpe"):
    past = []
    for n in range(count):
        values = suggest(SPACE, past, seed, sampler)
        state = FAILED if n == 2 else PRUNED if n % 6 == 5 else FINISHED
        past.append(Past(values, state, None if state == FAILED else value_of(values), 3 if state == PRUNED else 0))
    return past


def test_without_optuna_there_is_one_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ConfigError, match=r'^tune needs the package optuna, .*pip install "\.\[tune\]"'):
        need_optuna()


def test_suggestions_lie_in_the_space_and_depend_on_nothing_else(optuna):
    past = trials(RANDOM + 4)
    for p in past:
        assert all(axis.holds(p.values[key]) for key, axis in SPACE.items()), p.values
    for n in (0, 3, RANDOM + 2):  # as after a stop: from the list alone
        assert suggest(SPACE, past[:n], 0) == past[n].values
    assert suggest(SPACE, past, 1) != suggest(SPACE, past, 0)
    assert suggest(SPACE, past[:-1], 0, "random") == suggest(SPACE, [*past[:-2], Past(past[0].values)], 0, "random")


@pytest.mark.parametrize("step", [1 / 3, 0.333333, 0.1, 1 / 7])
def test_steps_of_many_digits_stay_on_their_grid(optuna, step):
    space = read_space({"degrees": {"low": 0, "high": 1, "step": step}})
    ends = {round(1 / step + 1e-9 - 0.5) * step, 0}  # the last step and the first are settings of a user's, too
    past = [Past({"degrees": end}, FINISHED, 0.5) for end in ends]
    for _ in range(6):
        past.append(Past(suggest(space, past, 0, "random"), FINISHED, 0.5))
    values = [p.values["degrees"] for p in past]
    assert values == pytest.approx([round(v / step) * step for v in values], abs=1e-14)
    assert max(values) <= 1


def test_a_trial_under_way_counts_by_its_settings(optuna):
    past = trials(RANDOM + 1)
    other = {"lr0": 0.1, "mosaic": 1.0, "nbs": 64, "optimizer": "SGD", "freeze": 3, "warmup_epochs": 0.0}
    assert suggest(SPACE, [*past, Past(past[0].values)], 0) != suggest(SPACE, [*past, Past(other)], 0)


def test_the_sampler_learns(optuna):
    past = trials(RANDOM + 12)
    late = [abs(p.values["mosaic"] - 0.3) for p in past[RANDOM + 2 :]]
    assert sum(late) / len(late) < 0.2


@pytest.mark.slow
def test_the_key_that_matters_is_found(optuna):
    past = trials(RANDOM + 14, sampler="random")
    parts = importances(SPACE, past)
    assert set(parts) == set(SPACE)
    assert max(parts, key=parts.get) == "mosaic"
    assert importances(SPACE, past[:5]) == {}


def test_optunas_own_log_level_stays(optuna):
    before = optuna.logging.get_verbosity()
    suggest(SPACE, [], 0)
    assert optuna.logging.get_verbosity() == before
