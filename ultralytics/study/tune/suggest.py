"""The settings of the next trial, by Optuna (an extra: pip install optuna).

A suggestion is a function of the space, the seed, the trial's number and the trials before it: nothing is kept between
two of them, so it does not matter how often a tune was stopped.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ultralytics.cfg.values import SAMPLERS
from ultralytics.study.record import FAILED, FINISHED, PRUNED
from ultralytics.study.tune.space import Axis, Space
from ultralytics.utils.errors import ConfigError

RANDOM = 10  # trials that are drawn at random before the sampler learns from them
UNDER_WAY = "under way"


@dataclass(frozen=True)
class Past:
    """An earlier trial, as far as a suggestion may know it."""

    values: Mapping[str, Any]  # by key of the space
    state: str = UNDER_WAY  # that, or that of a record
    value: float | None = None  # what is to be as large as possible; of a pruned trial its best fitness
    epochs: int = 0  # of a pruned trial, done


def need_optuna() -> Any:
    """Import Optuna.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import optuna  # an extra
    except ImportError:
        message = f"tune needs the package optuna, which is missing in {sys.executable}"
        raise ConfigError(message, hint='pip install ".[tune]" in the clone') from None
    return optuna


def suggest(space: Space, past: Sequence[Past], seed: int, sampler: str = SAMPLERS[0]) -> dict[str, Any]:
    """Return the values of trial number `len(past)`, by key.

    Args:
        past: all trials before it, in order; seed: of the tune; sampler: one of SAMPLERS.
    """
    optuna = need_optuna()
    own = int(np.random.SeedSequence([seed, len(past)]).generate_state(1)[0])
    with _quiet_optuna(optuna):
        if sampler == "random":
            chosen = optuna.samplers.RandomSampler(seed=own)
        else:
            chosen = optuna.samplers.TPESampler(
                seed=own, n_startup_trials=RANDOM, multivariate=True, constant_liar=True
            )
        params = _study_of(optuna, space, past, chosen).ask(_distributions(optuna, space)).params
    return {key: _value_of(space[key], param) for key, param in params.items()}


def importances(space: Space, past: Sequence[Past]) -> dict[str, float]:
    """Return the part of each key in the values of the finished trials, 0 to 1, by PED-ANOVA (Watanabe et al. 2023);
    empty where there are too few to tell."""
    done = [p for p in past if p.state == FINISHED]
    if len(done) < RANDOM or len({p.value for p in done}) < 2:
        return {}
    optuna = need_optuna()
    with _quiet_optuna(optuna):
        study = _study_of(optuna, space, done, optuna.samplers.RandomSampler(seed=0))
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: float(found.get(key, 0.0)) for key in space}


@contextmanager
def _quiet_optuna(optuna: Any) -> Iterator[None]:
    """Within this, Optuna logs nothing of its own and warns of no experimental feature."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _study_of(optuna: Any, space: Space, past: Sequence[Past], sampler: Any) -> Any:
    """An Optuna study in memory with the past trials."""
    states = optuna.trial.TrialState
    kinds = {FINISHED: states.COMPLETE, PRUNED: states.PRUNED, FAILED: states.FAIL, UNDER_WAY: states.RUNNING}
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = _distributions(optuna, space)
    for p in past:
        pruned = p.state == PRUNED
        study.add_trial(
            optuna.trial.create_trial(
                state=kinds[p.state],
                params={key: _param(space[key], p.values[key], distributions[key]) for key in space},
                distributions=distributions,
                value=p.value if p.state in (FINISHED, PRUNED) else None,
                intermediate_values={p.epochs: p.value} if pruned else None,
            )
        )
    return study


def _distributions(optuna: Any, space: Space) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, axis in space.items():
        if axis.choices:  # by their places, since Optuna takes no lists as values
            made[key] = optuna.distributions.CategoricalDistribution(tuple(range(len(axis.choices))))
        elif axis.whole:
            made[key] = optuna.distributions.IntDistribution(
                int(axis.low), int(axis.high), axis.log, int(axis.step or 1)
            )
        else:
            made[key] = optuna.distributions.FloatDistribution(axis.low, axis.high, axis.log, axis.step)
    return made


def _param(axis: Axis, value: Any, distribution: Any) -> Any:
    """Return a value as Optuna knows it, whose last step may be a rounding below the end of the range."""
    if axis.choices:
        return axis.choices.index(value)
    return min(value, distribution.high) if axis.step is not None and axis.holds(value) else value


def _value_of(axis: Axis, param: Any) -> Any:
    """Return a value as it is written into a YAML: floats with five digits, which a recipe of the user's may have; in
    steps, as often as they fit."""
    if axis.choices:
        return axis.choices[param]
    if axis.whole:
        return int(param)
    if axis.step is not None:
        steps = round((param - axis.low) / axis.step)
        param, digits = axis.low + steps * axis.step, 15
    else:
        digits = 5
    return min(max(float(f"{param:.{digits}g}"), float(axis.low)), float(axis.high))
