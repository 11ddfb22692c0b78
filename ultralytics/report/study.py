"""The page of a study: what `study report` computes, and how far each run is."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import yaml

from ultralytics.engine.run.provenance import as_text
from ultralytics.models.yolo.task import figures_in, task_named
from ultralytics.report import reading
from ultralytics.report.markup import (
    Chart,
    Curve,
    Html,
    Section,
    command,
    details,
    facts,
    grid,
    items,
    number,
    scrolled,
    table,
    tag,
)
from ultralytics.report.reading import RunFolder, column, natural, noted, read_run
from ultralytics.report.run import FEW, describe_state, epoch_chart, shown_path, typed
from ultralytics.study.analysis import RECALLS, Arm
from ultralytics.study.record import DETECT
from ultralytics.study.report import PLAN, StudyResult, read_plan, read_result
from ultralytics.study.statistics import Difference
from ultralytics.study.tables import columns, signed, verdicts
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.files import read_json, stamp
from ultralytics.utils.precision import TaskFigures
from ultralytics.utils.text import counted, one_line

PAGE = "report.html"  # in the folder of a run or a study
LETTERS = 20_000  # of a plan
RANGES = 4  # arms whose range over the seeds is drawn
# Losses that are drawn, of the tasks that have them.
_LOSSES = {"train/box_loss": "Box loss, training", "val/box_loss": "Box loss on val",
           "train/loss": "Loss, training", "val/loss": "Loss on val"}  # fmt: skip
_WIDTH = 200  # of an interval's drawing, in its own units


def study_sections(out: Path) -> list[Section]:
    """Return the sections of a study's page."""
    missing: list[str] = []
    plan: dict[str, Any] = {}
    with noted(missing, PLAN):
        plan = read_plan(out).get("study") or {}
    runs = _read_runs(out, plan)
    result: StudyResult | None = None
    with noted(missing, "comparison"):
        kept = [f for pattern in ("*.json", "*.yaml", "*/run.json", "*/test/*.npz") for f in out.glob(pattern)]
        result = _analyse(out, tuple((f, stamp(f)) for f in sorted(kept)))
    found = [*_study_sections(out, plan, runs, result, missing)]
    waiting = [name for name, run in runs.items() if run is None or run.study is None]
    if waiting:
        missing.append(f"{counted(len(waiting), 'run')} without a result yet: {', '.join(waiting[:20])}")
    return ([Section("missing", "What is missing", [items(missing)])] if missing else []) + found


@functools.lru_cache(maxsize=1)
def _analyse(out: Path, stamps: tuple[object, ...]) -> StudyResult:
    """Analyse a study, once for files of the same stamps: it takes seconds, and a run's epochs change nothing of it."""
    return read_result(out)


def _read_runs(out: Path, plan: Mapping[str, Any]) -> dict[str, RunFolder | None]:
    """Return the runs by their folders' names: those that are planned, None where not begun, and all there are."""
    arms, seeds = plan.get("arms"), plan.get("seeds")
    names: list[str] = []
    if isinstance(arms, dict) and isinstance(seeds, list):
        names = [f"{arm}-{seed}" for arm in arms for seed in seeds]
    there = {f.parent.name for pattern in ("run.json", "job.json", "args.yaml") for f in out.glob(f"*/{pattern}")}
    if there and not there & set(names):  # the folders of `compare`, and of arms whose names are no file names
        names = []
    names += sorted(there - set(names), key=natural)
    return {n: read_run(out / n, brief=True) if n in there else None for n in names}


def _study_sections(
    out: Path,
    plan: Mapping[str, Any],
    runs: Mapping[str, RunFolder | None],
    result: StudyResult | None,
    missing: list[str],
) -> Iterator[Section]:
    yield Section("summary", "Summary", [facts(_study_summary(plan, runs, result), class_="tiles")])
    parts: list[tuple[str, str, Any]] = []
    if result is not None:
        parts += [("comparison", "Comparison", lambda: _study_comparison(result)),
                  ("differences", "Differences", lambda: _study_differences(result))]  # fmt: skip
    parts.append(("training", "Training", lambda: _study_training(runs)))
    parts.append(("attention", "Attention meter", lambda: _study_attention(runs)))
    if result is not None:
        parts.append(("pr", "Precision over recall", lambda: _study_precision(result)))
    parts += [
        ("runs", "Runs", lambda: [_run_table(out, runs)]),
        ("plan", "Plan", lambda: _study_plan(out, plan)),
        ("environment", "Environment", lambda: _study_environment(out)),
        ("commands", "Commands", lambda: _study_commands(out)),
    ]
    for key, title, make in parts:
        content: list[Html] = []
        with noted(missing, title):
            content = make()
        if content:
            yield Section(key, title, content)


def _study_summary(
    plan: Mapping[str, Any], runs: Mapping[str, RunFolder | None], result: StudyResult | None
) -> list[tuple[object, object]]:
    states = [reading.STOPPED if r is None else r.state for r in runs.values()]
    done = sum(r is not None and r.study is not None and r.study.state == reading.FINISHED for r in runs.values())
    rows: list[tuple[object, object]] = [("runs that finished", f"{done} of {len(runs)}")]
    wanted = (reading.RUNNING, reading.FAILED, reading.KILLED)
    rows += [(f"{state} runs", states.count(state)) for state in wanted if state in states]
    if plan.get("control"):
        rows.append(("control", one_line(str(plan["control"]), 60)))
    if result is not None:
        rows.append(("test images", result.analysis.images))
        metric = result.analysis.metric
        rows += [(f"{one_line(a.name, 60)}, {metric}", number(a.mean(metric), 4)) for a in result.analysis.arms[:8]]
    return rows


def _study_comparison(result: StudyResult) -> list[Html]:
    """The table of `table.md`, its caption, and what it shows."""
    analysis = result.analysis
    shown = columns(analysis, result.times)
    rows = [
        [one_line(arm.name, 60),
         *(tag("strong", c.cells[i]) if c.strong and arm.shown and c.cells[i] else c.cells[i] for c in shown)]
        for i, arm in enumerate(analysis.arms)
    ]  # fmt: skip
    unfair = [tag("p", "The arms were not treated alike, so these figures compare more than the arms:",
                  class_="warning"), items(result.unfair)] if result.unfair else []  # fmt: skip
    found = table("Arms", ["arm", *(c.head for c in shown)], rows, sortable=True)
    return [*unfair, found, tag("p", result.caption, class_="note"), items([*verdicts(analysis), *analysis.notes])]


def _study_differences(result: StudyResult) -> list[Html]:
    """Each arm's difference from the control with its interval, and its classes'."""
    compared = [a for a in result.analysis.arms if a.difference is not None]
    if not compared:
        return []
    control, metric = one_line(str(result.analysis.control), 60), result.analysis.metric
    caption = f"Difference of {metric} from {control}, 95 % interval"
    content = [_intervals(caption, "arm", [(a.name, a.difference) for a in compared if a.difference is not None])]
    for i, arm in enumerate(a for a in compared if len(a.classes) > 1):
        name = one_line(arm.name, 60)
        rows = sorted(((c.name, c.difference) for c in arm.classes), key=lambda c: -c[1].mean)
        within = _intervals(f"{name}: difference of each class, 95 % interval", "class", rows)
        content.append(details(f"{name}, class by class", within, id_=f"classes-{i}"))
    points = [_seed_line(a, metric) for a in result.analysis.arms if a.seeds]
    about = f"{metric} on the test split of each seed, a line for each arm"
    chart = Chart("seeds", f"{metric} by seed", "seed", metric, points, whole=True, about=about)
    return [*content, grid([chart.html()])]


def _seed_line(arm: Arm, metric: str) -> Curve:
    pairs = [(s, v) for s, v in zip(arm.seeds, arm.figures.get(metric, ()), strict=False) if v is not None]
    return Curve(one_line(arm.name, 60), [s for s, _ in pairs], [v for _, v in pairs], dots=True)


def _intervals(caption: str, head: str, rows: Sequence[tuple[str, Difference]]) -> Html:
    """Return a table with a drawing in each row: intervals on one scale, with a line at 0."""
    low, high = min(0.0, *(d.low for _, d in rows)), max(0.0, *(d.high for _, d in rows))
    wide = high - low or 1.0

    def place(value: float) -> float:
        return round(5 + (value - low) / wide * (_WIDTH - 10), 1)

    cells = []
    for name, d in rows:
        text = f"{signed(d.mean)}, from {signed(d.low)} to {signed(d.high)}"
        drawing = tag(
            "svg",
            tag("line", x1=place(0), x2=place(0), y1=0, y2=20, class_="zero"),
            tag("line", x1=place(d.low), x2=place(d.high), y1=10, y2=10, class_="span"),
            tag("circle", cx=place(d.mean), cy=10, r=4, class_="mean"),
            viewBox=f"0 0 {_WIDTH} 20", class_="interval", role="img", aria_label=text,
        )  # fmt: skip
        cells.append([one_line(name, 60), drawing, signed(d.mean), signed(d.low), signed(d.high)])
    return table(caption, [head, "interval", "mean", "low", "high"], cells, words=2)


def _by_arm(runs: Mapping[str, RunFolder | None]) -> dict[str, list[RunFolder]]:
    """Return the runs of each arm; of a run without a record by the name of its folder."""
    arms: dict[str, list[RunFolder]] = {}
    for name, run in runs.items():
        if run is not None:
            arm = run.study.arm if run.study is not None else name.rpartition("-")[0] or name
            arms.setdefault(arm, []).append(run)
    return arms


def _figures_of(runs: Mapping[str, RunFolder | None]) -> TaskFigures:
    """Return the figures of the runs' task: by their records, else by the columns of their results.csv."""
    there = [run for run in runs.values() if run is not None]
    record = next((r.study for r in there if r.study is not None and r.study.figures), None)
    if record is not None:
        return task_named(record.task).figures
    known = (figures_in(run.rows[0]) for run in there if run.rows)
    return next((f for f in known if f is not None), task_named(DETECT).figures)


def _mean_line(name: str, runs: Sequence[RunFolder], key: str, ranges: bool) -> Curve | None:
    """Return the mean of a column over the runs, and with `ranges` their range; None where none has it."""
    of_epoch: dict[float, list[float]] = {}
    for run in runs:
        for x, y in zip(*column(run.rows, key), strict=True):
            of_epoch.setdefault(x, []).append(y)
    if not of_epoch:
        return None
    epochs = sorted(of_epoch)
    values = [of_epoch[e] for e in epochs]
    low, high = ([min(v) for v in values], [max(v) for v in values]) if ranges else (None, None)
    means = [float(np.mean(v)) for v in values]
    return Curve(one_line(name, 60), epochs, means, low, high, dots=len(epochs) < FEW)


def _study_training(runs: Mapping[str, RunFolder | None]) -> list[Html]:
    arms = _by_arm(runs)
    charts = []
    figures = _figures_of(runs)
    drawn = {column: f"{title} on val" for title, column in figures.first.items()}
    for i, (key, title) in enumerate((drawn | _LOSSES).items()):
        found = [_mean_line(arm, some, key, len(arms) <= RANGES) for arm, some in arms.items()]
        lines = [line for line in found if line is not None]
        if lines:
            charts.append(epoch_chart(f"training-{i}", title, lines, 0).html())
    note = "Mean over the seeds" + (", and their range." if len(arms) <= RANGES else ".")
    return [tag("p", note, class_="note"), grid(charts)] if charts else []


def _study_attention(runs: Mapping[str, RunFolder | None]) -> list[Html]:
    charts = []
    for what, title in (("share", "Change of the map, ‖y − x‖ / ‖x‖"), ("gate_mean", "Mean |gate|")):
        lines = []
        for arm, some in _by_arm(runs).items():
            keys = dict.fromkeys(c for r in some for c in (r.rows[0] if r.rows else {}))
            names = sorted((c for c in keys if c.startswith("block/") and c.endswith(f"/{what}")), key=natural)
            made = (_mean_line(f"{arm}, row {c.split('/')[1]}", some, c, ranges=False) for c in names)
            lines += [line for line in made if line is not None]
        if lines:
            charts.append(epoch_chart(f"blocks-{what}", title, lines, 0).html())
    return [grid(charts)] if charts else []


def _study_precision(result: StudyResult) -> list[Html]:
    drawn = [a for a in result.analysis.arms if a.curve is not None]
    lines = [
        Curve(one_line(a.name, 60), RECALLS.tolist(), a.curve.tolist(), dashed=k)
        for a, k in zip(drawn, itertools.cycle((False, True)))  # as long as the arms
        if a.curve is not None
    ]
    about = "Precision over recall at IoU 0.5 on the test split, mean over classes and seeds, a line for each arm"
    chart = Chart("pr", "Precision over recall", "recall", "precision at IoU 0.5", lines, 0, 1, about=about)
    return [grid([chart.html()])] if lines else []


def _run_table(out: Path, runs: Mapping[str, RunFolder | None]) -> Html:
    rows = []
    task = _figures_of(runs)
    keys = [*task.first, *(["AP"] if "mAP50" in task.columns else [])]
    for name, run in runs.items():
        record = run.study if run is not None else None
        figures = record.figures if record is not None else {}
        # A relative link to a page beside this one; a run without a page of its own has none.
        there = (out / name / PAGE).is_file() and not name.startswith(("/", "."))
        shown = (
            tag("a", one_line(name, 60), href=f"./{quote(name, errors='surrogateescape')}/{PAGE}")
            if there
            else one_line(name, 60)
        )
        state = "not begun" if run is None else describe_state(run) if record is None else record.state
        seconds = reading.number_of(run.rows[-1].get("time")) if run is not None and run.rows else None
        rows.append(
            [shown, state, *(number(figures.get(k), 4) for k in keys),
             "–" if seconds is None else f"{seconds / 60:.1f}",
             one_line(record.error, 200) if record is not None else ""]
        )  # fmt: skip
    head = ["run", "state", *("AP (COCO)" if k == "AP" else k for k in keys), "minutes", "error"]
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    return table("Runs, figures on the test split", head, rows, sortable=True, words=2)


def _study_plan(out: Path, plan: Mapping[str, Any]) -> list[Html]:
    """The study as it was resolved: arms with their keys, and what all have in common."""
    if not plan:
        return []
    arms = plan.get("arms")
    content = []
    if isinstance(arms, dict):
        rows = [[one_line(str(a), 60), one_line(as_text(keys), 300)] for a, keys in arms.items()]
        content.append(table("Arms", ["arm", "keys"], rows, words=2))
    rest = {k: v for k, v in plan.items() if k != "arms"}
    text = yaml.safe_dump(rest, allow_unicode=True, sort_keys=False)[:LETTERS]
    return [*content, scrolled("The rest of the plan", tag("pre", tag("code", text)))]


def _study_environment(out: Path) -> list[Html]:
    """Versions and hardware of the runs; those that all have in common once."""
    records: dict[str, dict[str, Any]] = {}
    for file in sorted(out.glob(f"*/{reading.ENVIRONMENT}")):
        try:
            records[file.parent.name] = read_json(file, ConfigError, "no mapping", "")
        except UserError:
            continue
    if not records:
        return []
    keys = [
        k for k in dict.fromkeys(k for r in records.values() for k in r) if k not in ("config", "command", "history")
    ]
    texts = {k: {name: one_line(as_text(r.get(k)), 300) for name, r in records.items()} for k in keys}
    common = {k: next(iter(t.values())) for k, t in texts.items() if len(set(t.values())) == 1}
    content = [facts(common.items(), class_="pairs")]
    others = [k for k in keys if k not in common]
    if others:
        rows = [[one_line(name, 60), *(texts[k][name] for k in others)] for name in records]
        content.append(details("What differs between the runs", table("By run", ["run", *others], rows, words=9),
                               id_="differing"))  # fmt: skip
    return content


def _study_commands(out: Path) -> list[Html]:
    calls: dict[str, Any] = {}
    file = out / "calls.json"
    if file.is_file():
        calls = read_json(file, ConfigError, "no mapping", "")
    words = calls.get("command")
    content = []
    if isinstance(words, list) and words:
        content += [tag("p", "The study, as it was typed; it goes on where it was stopped:"),
                    command(typed(*map(str, words)))]  # fmt: skip
    elif (out / PLAN).is_file():
        content += [tag("p", "The study goes on where it was stopped:"),
                    command(typed("study", f"cfg={shown_path(out / PLAN)}", f"out={shown_path(out)}"))]  # fmt: skip
    content += [tag("p", "Tables and figures for a paper:"), command(typed("study", "report", shown_path(out)))]
    return [*content, tag("p", "This page:"), command(typed("report", shown_path(out)))]
