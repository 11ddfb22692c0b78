"""The tunes of a study: each arm's settings are searched with the same space, trials and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ultralytics.study.plan import Study
from ultralytics.study.pool import Start, start_process
from ultralytics.study.record import FAILED, PRUNED
from ultralytics.study.tune.options import read_options
from ultralytics.study.tune.search import Search, Tuned
from ultralytics.study.tune.suggest import need_optuna
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted

FOLDER = "tune"


def tune_arms(
    study: Study, out: Path, slots: Sequence[str | None], command: str, start: Start = start_process
) -> Study:
    """Tune each arm of a study, or go on with that; returns the study with what was found.

    Args:
        study: with `tune`; out, slots, command, start: as of `Runner`.

    Raises:
        UserError: a tune cannot be run, or the arms would be searched differently.
    """
    need_optuna()
    options = read_options(dict(study.tune or {}))
    searches = {}
    for arm in study.arms:
        keys = {k: v for k, v in study.run(arm, study.seeds[0]).keys.items() if k != "seed"}
        searches[arm] = Search(keys, options, out / FOLDER / arm, slots, command, start)
    _same_space(searches)
    for search in searches.values():
        search.check()
    found = {}
    for arm, search in searches.items():
        LOGGER.info("Tuning %s", arm)
        found[arm] = _plain_tuned(search.run())
    return replace(study, tuned=found)


def _same_space(searches: Mapping[str, Search]) -> None:
    first, *others = searches
    for arm in others:
        mine, theirs = (set(searches[a].options.space) for a in (arm, first))
        if mine != theirs:
            raise ConfigError(
                f"{', '.join(sorted(mine ^ theirs))} would be searched for {arm} or {first} alone, as it has no effect "
                "in the other",
                "tune",
                "give all arms one optimizer, or name the keys in space",
            )


def _plain_tuned(tuned: Tuned) -> dict[str, Any]:
    counts = {state: sum(t.state == state for t in tuned.trials) for state in (PRUNED, FAILED)}
    return {"values": dict(tuned.values), "value": tuned.value, "trials": len(tuned.trials), **counts}


def tuning_fact(tuned: Mapping[str, Any], metric: str) -> str:
    """Return what a run's record says of the tune of its arm; equal where arms were tuned by as much."""
    lost = f", {tuned[FAILED]} of them failed" if tuned[FAILED] else ""
    return f"{counted(int(tuned['trials']), 'trial')} by {metric} on val{lost}"
