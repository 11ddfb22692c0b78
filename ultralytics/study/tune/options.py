"""What a tune is to do: its space, how many trials, what they are compared by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ultralytics.cfg.values import METRICS, SAMPLERS, TRIALS
from ultralytics.study.tune.space import Space, parse_space, read_space
from ultralytics.utils.errors import ConfigError, UserError, nearest

KEYS = ("space", "trials", "metric", "prune", "seeds", "seed", "sampler")


@dataclass(frozen=True)
class TuneOptions:
    """The options of a tune, checked."""

    space: Space
    default: bool  # nobody has chosen the space
    trials: int = TRIALS
    metric: str = METRICS[0]  # of METRICS, on val
    prune: bool = True
    seeds: Sequence[int] = (0,)  # of the runs of a trial; its value is their mean
    seed: int = 0  # of the sampler
    sampler: str = SAMPLERS[0]

    def to_data(self) -> dict[str, Any]:
        """Return plain data for a YAML, which `read_options` reads."""
        return {
            "space": {key: axis.to_data() for key, axis in self.space.items()},
            "trials": self.trials,
            "metric": self.metric,
            "prune": self.prune,
            "seeds": list(self.seeds),
            "seed": self.seed,
            "sampler": self.sampler,
        }


def read_options(
    given: Mapping[str, Any],
    where: Callable[..., str] = lambda *_: "",
    file_of: Callable[[str, Any], Any] = lambda key, value: value,
    seed: int = 0,
) -> TuneOptions:
    """Check the options of a tune.

    Args:
        given: by name, of KEYS; where: names the place of a key; file_of: resolves a path, or raises.
        seed: of the first run of a trial, and of the sampler, where none is given.

    Raises:
        UserError: the first thing that is wrong.
    """
    for key, value in given.items():
        try:
            _check(str(key), value)
        except UserError as e:
            raise type(e)(e.what, e.where or where(str(key)), e.hint) from None
    space = given.get("space")
    if isinstance(space, Mapping):
        found = parse_space(space, lambda *path: where("space", *path) or "space", file_of)
    else:
        is_file = space is not None and not str(space).lstrip().startswith("{")
        found = read_space(file_of("space", space) if is_file else space, file_of)
    options = TuneOptions(found, space is None)
    seed = given.get("seed", seed)
    seeds = read_seeds(given.get("seeds", 1), seed)
    plain = {k: v for k, v in given.items() if k in ("trials", "metric", "prune", "sampler")}
    return replace(options, seeds=seeds, seed=seed, **plain)


def read_seeds(value: Any, first: int = 0) -> list[int]:
    """Return the seeds that `seeds` means: as many from `first` on, or those of a list.

    Raises:
        ConfigError: it is neither.
    """
    seeds = list(range(first, first + value)) if type(value) is int else value
    listed = isinstance(seeds, list) and all(type(s) is int and s >= 0 for s in seeds)
    if not listed or not seeds or len(set(seeds)) < len(seeds):
        what = f"seeds={value} must be how many, or a list of different integers of 0 or more"
        raise ConfigError(what, hint="such as 3, or [0, 1, 2]")
    return list(seeds)


def _check(key: str, value: Any) -> None:
    if key not in KEYS:
        raise ConfigError(f"unknown key {key!r}", hint=nearest(key, KEYS) or f"a tune has {', '.join(KEYS)}")
    if key == "trials" and (type(value) is not int or value < 1):
        raise ConfigError(f"trials={value} must be an integer of 1 or more")
    if key == "seed" and (type(value) is not int or value < 0):
        raise ConfigError(f"seed={value} must be an integer of 0 or more")
    if key == "prune" and not isinstance(value, bool):
        raise ConfigError(f"prune={value} must be True or False")
    if key == "seeds":
        read_seeds(value)
    for name, possible in (("metric", METRICS), ("sampler", SAMPLERS)):
        if key == name and value not in possible:
            raise ConfigError(
                f"{name}={value} is not possible",
                hint=nearest(str(value), possible) or f"one of {', '.join(possible)}",
            )
