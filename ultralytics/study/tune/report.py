"""What a tune leaves: the trials as JSON and CSV, the recipe of the best, and figures; all out of its folder.

OUT/tune.yaml                   what it began with
OUT/t001-0/                     an ordinary run, of trial 1 with seed 0
OUT/tune.json                   all trials and what they reached
OUT/tune_results.csv            the same as a table
OUT/best_hyperparameters.yaml   the recipe of the best
OUT/tune_fitness.png            the trials in their order
OUT/tune_scatter_plots.png      what each key's values reached
OUT/tune_importance.png         how much of the differences each key explains
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from ultralytics.study.record import FAILED, FINISHED, PRUNED
from ultralytics.study.tune.figures import plot_history, plot_importance, plot_slices
from ultralytics.study.tune.space import Space, parse_space
from ultralytics.study.tune.suggest import Past, importances
from ultralytics.utils.charts import optional
from ultralytics.utils.errors import ConfigError, MissingFileError
from ultralytics.utils.files import read_json, write_json, write_text
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted, one_line

PLAN, RESULTS, TABLE, RECIPE = "tune.yaml", "tune.json", "tune_results.csv", "best_hyperparameters.yaml"
HISTORY, SLICES, IMPORTANCE = "tune_fitness.png", "tune_scatter_plots.png", "tune_importance.png"


@dataclass(frozen=True)
class Trial:
    """A trial that has ended.

    Attributes:
        number: from 1 on; values: by key of the space; state: as of a record; error: the line of a failed one.
        value: the metric, 0..1, the mean over its seeds; None unless it has finished.
        figures, curves, folders: of its runs, in the order of the seeds, as of their records.
        seconds: that its epochs took.
    """

    number: int
    values: Mapping[str, Any]
    state: str
    value: float | None
    figures: Sequence[Mapping[str, float | None]]
    curves: Sequence[Sequence[float]]
    folders: Sequence[str]
    error: str = ""
    seconds: float = 0.0

    def past(self) -> Past:
        """Return what later suggestions may know of it."""
        if self.state != PRUNED:
            return Past(self.values, self.state, self.value)
        curve = self.curves[-1]
        return Past(self.values, PRUNED, max(curve), len(curve))


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Return the trial with the highest value, the first of equal ones; None where none has finished."""
    done = [t for t in trials if t.value is not None]
    return max(done, key=lambda t: (t.value, -t.number)) if done else None


def write_results(out: Path, plan: Mapping[str, Any], trials: Sequence[Trial]) -> None:
    """Write the trials so far as JSON and CSV, and the recipe of the best."""
    plain = [{k: v for k, v in asdict(t).items() if k != "seconds"} for t in trials]
    best = best_of(trials)
    data = {"tune": dict(plan), "trials": plain, "best": None if best is None else best.number}
    data["times"] = {str(t.number): t.seconds for t in trials}
    write_json(out / RESULTS, data, key="out")
    write_text(out / TABLE, _csv_of(trials, list(plan["space"])), key="out")
    if best is not None:
        write_text(out / RECIPE, _recipe(best, trials, plan, out), key="out")


def _csv_of(trials: Sequence[Trial], keys: Sequence[str]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["trial", "state", "fitness", "value", "epochs", "folder", *keys])
    for t in trials:
        fitness = t.figures[-1].get("fitness") if t.figures else None
        cells = (t.number, t.state, fitness, t.value, sum(map(len, t.curves)), " ".join(t.folders))
        writer.writerow(["" if c is None else c for c in (*cells, *(t.values[k] for k in keys))])
    return file.getvalue()


def _recipe(best: Trial, trials: Sequence[Trial], plan: Mapping[str, Any], out: Path) -> str:
    """Return the best settings as a YAML of keys, which says where they come from."""
    metric, seeds = plan["metric"], plan["seeds"]
    over = f", mean of {counted(len(seeds), 'seed')}" if len(seeds) > 1 else ""
    lines = [f"Trial {best.number} of {len(trials)} in {out.name}: {metric} {best.value:.4f} on val{over}, the best."]
    first = trials[0]
    if first.number == 1 and first is not best and first.value is not None:
        lines.append(f"Trial 1 had {first.value:.4f}.")
    about = [f"{k}: {plan['base'][k]}" for k in ("model", "data", "epochs", "imgsz") if k in plan["base"]]
    lines += [f"Searched with {', '.join(about)}."] if about else []
    lines.append("These settings were chosen by val: report what they reach on images that took no part in that.")
    head = "".join(f"# {one_line(line)}\n" for line in lines)
    return head + yaml.safe_dump(dict(best.values), allow_unicode=True, sort_keys=False, width=120)


def write_tune_report(out: Path) -> Path:
    """Write the tables, the recipe and the figures of a tune again, from its folder alone; return the table.

    Raises:
        UserError: the folder holds no trial of a tune, or a file of it cannot be read or written.
    """
    if not out.is_dir():
        raise MissingFileError("no such folder", str(out), "the out= of a tune")
    file = out / RESULTS
    if not file.is_file():
        raise ConfigError(
            "no trial of a tune has ended in it", str(out), f"a folder with {RESULTS}, as `tune` makes it"
        )
    data = read_json(file, ConfigError, "there is no tune in the file", "the tune writes it anew: the same command")
    try:
        plan, times = data["tune"], data.get("times", {})
        space = parse_space(plan["space"], lambda *_: str(file))
        _check_plan(plan)
        trials = [_trial_from(t, times, space) for t in data["trials"]]
    except (AttributeError, KeyError, TypeError) as e:
        raise ConfigError(f"this is not the result of a tune: {e}", str(file), "the same command writes it") from None
    write_results(out, plan, trials)
    _draw_figures(out, space, plan["metric"], trials)
    counts = ", ".join(f"{n} {s}" for s in (FINISHED, PRUNED, FAILED) if (n := sum(t.state == s for t in trials)))
    LOGGER.info("report   %s (%s)", out / TABLE, counts)
    return out / TABLE


def _check_plan(plan: Mapping[str, Any]) -> None:
    """Raise TypeError for a part of a tune that has another type than what was written."""
    for key, kind in (("base", dict), ("metric", str), ("seeds", list)):
        if not isinstance(plan[key], kind):
            raise TypeError(f"{key}: {plan[key]}")


def _trial_from(data: Mapping[str, Any], times: Mapping[str, Any], space: Space) -> Trial:
    """Return a trial of plain data. TypeError or KeyError: it is not what `write_results` wrote.

    Args:
        times: seconds by number; space: whose keys its values have.
    """
    trial = Trial(**data, seconds=times.get(str(data["number"]), 0.0))
    value, number = trial.value, type(trial.number) is int
    right = number and isinstance(trial.values, dict) and set(trial.values) == set(space)
    right &= trial.state in (FINISHED, PRUNED, FAILED) and isinstance(trial.error, str)
    right &= value is None or type(value) in (int, float)
    right &= all(isinstance(part, list) for part in (trial.figures, trial.curves, trial.folders))
    right = right and all(isinstance(f, dict) for f in trial.figures) and all(isinstance(f, str) for f in trial.folders)
    right = right and all(isinstance(c, list) and all(type(y) in (int, float) for y in c) for c in trial.curves)
    right = right and (trial.state != PRUNED or bool(trial.curves and trial.curves[-1]))
    if not right or type(trial.seconds) not in (int, float):
        raise TypeError(f"trial {trial.number}")
    return trial


def _draw_figures(out: Path, space: Space, metric: str, trials: Sequence[Trial]) -> None:
    """Draw what there is something for; what cannot be drawn is a warning."""
    if not any(t.value is not None for t in trials):
        return
    with optional(out / HISTORY):
        plot_history(trials, metric, out / HISTORY)
    with optional(out / SLICES):
        plot_slices(trials, space, metric, out / SLICES)
    with optional(out / IMPORTANCE):
        parts = importances(space, [t.past() for t in trials])
        if parts:
            data = read_json(out / RESULTS, ConfigError, "no tune", "")
            write_json(out / RESULTS, {**data, "importances": parts}, key="out")
            plot_importance(parts, out / IMPORTANCE)
