"""The page of a run: a training, whether it goes on, ended or was killed, or a validation."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ultralytics.cfg.keys import KNOBS
from ultralytics.engine.run.provenance import as_text, without_home
from ultralytics.engine.step.meter import judge_share
from ultralytics.models.yolo.task import figures_in
from ultralytics.report import reading
from ultralytics.report.images import Album
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
    table,
    tag,
)
from ultralytics.report.reading import RunFolder, column, natural, noted, number_of
from ultralytics.report.validation import sections, summary
from ultralytics.utils.precision import COLUMN, names_of
from ultralytics.utils.text import counted, duration, one_line

PROGRAM = ("python", "-m", "ultralytics")
FEW = 12  # numbers of a line that get dots
VALUE = 300  # letters of a setting
_STATES = {
    reading.RUNNING: "running",
    reading.FINISHED: "finished",
    reading.STOPPED: "stopped before its end",
    reading.KILLED: "killed: its process is gone",
    reading.UNKNOWN: "running, or killed: its process is on another machine",
    reading.FAILED: "failed",
}
_BLOCK = {"share": "Change of the map, ‖y − x‖ / ‖x‖", "gate_mean": "Mean |gate|", "gate_max": "Largest |gate|"}
_TITLES = {"metrics": "Metrics on val", "lr": "Learning rates", "time": "Waiting for data, % of the time"}
_TRAINING = ("labels.jpg", *(f"train_batch{n}.jpg" for n in range(3)))


def describe_state(run: RunFolder) -> str:
    """Say how far a run is."""
    done, planned = run.epochs
    parts = [_STATES[run.state] if run.trained else "validation"]
    if run.trained:
        parts.append(f"epoch {done} of {planned}" if planned else counted(done, "epoch"))
    if run.holder is not None:
        parts.append(one_line(run.holder.name, 100))
    return ", ".join(parts)


def run_sections(run: RunFolder, album: Album) -> list[Section]:
    """Return the sections of a run's page; what is missing comes first and is complete once they all are made."""
    found = [*_run_sections(run, album)]
    notes = [*run.missing, *([album.note()] if album.left_out else [])]
    first = [*_hints(run), *notes]
    return ([Section("missing", "What is missing", [items(first)])] if first else []) + found


def _run_sections(run: RunFolder, album: Album) -> Iterator[Section]:
    yield Section("summary", "Summary", _run_summary(run))
    parts = {"curves": ("Curves", _run_curves), "attention": ("Attention meter", _run_attention)}
    for key, (title, make) in parts.items():
        content: list[Html] = []
        with noted(run.missing, title):
            content = make(run)
        if content:
            yield Section(key, title, content)
    for validation in run.validations:
        yield from sections(validation, album, run.missing)
    training = album.files(
        (run.folder / f, f"{f}, as training drew it", "Labels of the training images" if f == "labels.jpg" else f)
        for f in _TRAINING
    )
    if training:
        yield Section("training-images", "Training images", [grid(training)])
    elif run.settings and run.settings.get("plots") is not None and run.settings["plots"].value is False:
        run.missing.append("plots: the run was made with plots=False, so no image was drawn")
    yield from origin(run)


def _hints(run: RunFolder) -> Iterator[Html]:
    """Say what a run that is not finished needs."""
    if run.state in (reading.STOPPED, reading.KILLED) and run.trained:
        yield tag(
            "span",
            "The run is not finished. To go on: ",
            tag("code", typed("train", f"resume={shown_path(run.folder)}")),
        )
    if run.study is not None and run.study.error:
        yield Html(tag("span", f"The run failed: {run.study.error}"))


def _run_summary(run: RunFolder) -> list[Html]:
    rows: list[tuple[object, object]] = [("state", describe_state(run))]
    for validation in run.validations:
        of = f", {one_line(validation.name, 40)}" if validation.name else ""
        rows += [(f"{k}{of}", v) for k, v in summary(validation)]
    best = best_epoch(run.rows)
    if best is not None:
        rows.append(("best epoch by fitness", f"{best[0]:g} ({number(best[1])})"))
        if not run.validations:
            names = names_of(k for k in run.rows[-1] if k.startswith(COLUMN))
            rows += [(name, number(number_of(run.rows[-1].get(k)))) for k, name in names.items()]
    seconds = number_of(run.rows[-1].get("time")) if run.rows else None
    if seconds is not None:
        rows.append(("time spent", duration(seconds)))
        left = _time_left(run, seconds)
        if left:
            rows.append(("time left, about", left))
    cost = run.study.cost if run.study is not None else {}
    if "parameters" in cost:
        rows.append(("parameters, fused", f"{cost['parameters'] / 1e6:.3f} M"))
    if "flops" in cost:
        rows.append(("GFLOPs", f"{cost['flops'] / 1e9:.2f}"))
    given = [(k, run.settings[k].value) for k in ("model", "pretrained", "data") if k in run.settings]
    named = [(k, one_line(str(v), 200)) for k, v in given if isinstance(v, str)]
    return [facts(rows, class_="tiles"), facts(named, class_="pairs") if named else Html()]


def _time_left(run: RunFolder, seconds: float) -> str:
    done, planned = run.epochs
    if run.state != reading.RUNNING or not done or not planned or planned <= done:
        return ""
    return duration(seconds / done * (planned - done))


def best_epoch(rows: Sequence[Mapping[str, str]]) -> tuple[float, float] | None:
    """Return the epoch of the highest fitness, the last of equal ones as training takes it, and the task's figure."""
    best: tuple[float, float, float] | None = None
    figures = figures_in(rows[0]) if rows else None
    if figures is None:
        return None
    for row in rows:
        epoch, numbers = number_of(row.get("epoch")), {k: number_of(row.get(k)) for k in figures.decisive}
        known = {k: v for k, v in numbers.items() if v is not None}
        if epoch is None or len(known) < len(numbers):
            continue
        fitness = figures.fitness(known)
        if best is None or fitness >= best[0]:
            best = fitness, epoch, known[figures.column]
    return None if best is None else best[1:]


def _run_curves(run: RunFolder) -> list[Html]:
    """Draw every column of results.csv but those of the meter."""
    rows = run.rows
    names = [c for c in (rows[0] if rows else {}) if c not in ("epoch", "time") and not c.startswith("block/")]
    groups: dict[str, list[str]] = {}
    for name in names:
        kind, _, rest = name.partition("/")
        groups.setdefault(f"loss {rest}" if kind in ("train", "val") else kind, []).append(name)
    charts = []
    for i, (group, columns) in enumerate(groups.items()):
        title = _TITLES.get(group, group.removeprefix("loss "))
        low, high = (0, 1) if group == "metrics" else (0, None)
        labels = _labels(group, columns)
        lines = [over_epochs(rows, c, labels[c], dashed=c.startswith("val/")) for c in columns]
        charts.append(epoch_chart(f"epochs-{i}", title, lines, low, high))
    times = column(rows, "time")
    if len(times[0]) > 1:
        spent = [b - a for a, b in zip([0.0, *times[1]], times[1], strict=False)]
        charts.append(
            epoch_chart("seconds", "Seconds of an epoch", [Curve("seconds", times[0], spent, dots=len(spent) < FEW)], 0)
        )
    drawn = [c.html() for c in charts if any(line.x for line in c.lines)]
    if not drawn:
        return []
    head = list(rows[0])
    kept = rows if len(rows) <= 500 else [*rows[:: -(-len(rows) // 500)], rows[-1]]
    numbers = table("results.csv", head, [[r.get(c) or "" for c in head] for r in kept], words=0)
    return [grid(drawn), details("All numbers", numbers, id_="numbers")]


def _labels(group: str, columns: Sequence[str]) -> dict[str, str]:
    """Return what the lines of a chart are called, by column."""
    if group.startswith("loss "):
        return {c: c.partition("/")[0] for c in columns}
    if group == "metrics":
        return names_of(columns)
    return {c: c.partition("/")[2] or c for c in columns}


def over_epochs(rows: Sequence[Mapping[str, str]], name: str, label: str, dashed: bool = False) -> Curve:
    """Return a column of results.csv as a line; few numbers get dots."""
    x, y = column(rows, name)
    return Curve(one_line(label, 60), x, y, dashed=dashed, dots=len(x) < FEW)


def epoch_chart(
    key: str, title: str, lines: Sequence[Curve], low: float | None = None, high: float | None = None
) -> Chart:
    """Return a chart over the epochs, with a sentence on where each line ends."""
    ends = [f"{line.name} {line.y[-1]:.4g} at epoch {line.x[-1]:g}" for line in lines if line.x]
    about = f"{title} over the epochs. Last: {'; '.join(ends[:8])}."
    return Chart(key, title, "epoch", title, lines, low, high, whole=True, about=about)


def _run_attention(run: RunFolder) -> list[Html]:
    """Draw what the inserted blocks do, where the run has any."""
    blocks: dict[str, set[str]] = {}
    for name in run.rows[0] if run.rows else {}:
        if name.startswith("block/") and name.rpartition("/")[2] in _BLOCK:
            place, _, what = name.removeprefix("block/").rpartition("/")
            blocks.setdefault(place, set()).add(what)
    if not blocks:
        return []
    places = sorted(blocks, key=natural)
    charts, rows = [], []
    for what, title in _BLOCK.items():
        lines = [over_epochs(run.rows, f"block/{p}/{what}", f"row {p}") for p in places if what in blocks[p]]
        if any(line.x for line in lines):
            charts.append(epoch_chart(f"block-{what}", title, lines, 0).html())
    for p in places:
        last = {w: number_of(run.rows[-1].get(f"block/{p}/{w}")) for w in _BLOCK}
        share = last["share"]
        verdict = judge_share(share) if share is not None else "not measured"
        rows.append([f"row {p}", verdict, *("–" if v is None else f"{v:.4g}" for v in last.values())])
    head = ["block", "at the last epoch", "change of the map", "mean |gate|", "largest |gate|"]
    return [table("Inserted blocks", head, rows, words=2), grid(charts)]


def origin(run: RunFolder) -> Iterator[Section]:
    """Yield where a run comes from: settings, environment, commands."""
    if run.settings:
        yield Section("settings", "Settings", _settings(run))
    environment: list[Html] = []
    with noted(run.missing, "Environment"):
        environment = _run_environment(run.record)
    if environment:
        yield Section("environment", "Environment", environment)
    commands = [*_run_commands(run)]
    if commands:
        parts = [part for what, line in commands for part in (tag("p", what), command(line))]
        yield Section("commands", "Commands", parts)


def _settings(run: RunFolder) -> list[Html]:
    def row(key: str) -> list[object]:
        knob = KNOBS.get(key)
        setting = run.settings[key]
        shown = as_text(setting.value) if setting.value is not None or knob is None else knob.none or "none"
        usual = "" if knob is None else one_line(str(knob.none if knob.default is None else knob.default), 60)
        name = knob.shown if knob else one_line(key, 60)
        return [name, one_line(shown, VALUE), one_line(setting.source, VALUE), usual, knob.help if knob else ""]

    head = ["key", "value", "source", "default", "meaning"]
    changed = [k for k, s in run.settings.items() if s.source != "default"]
    rest = [k for k in run.settings if k not in changed]
    content = [tag("p", "Every key is at its default.")]
    if changed:
        caption = "Settings with a source other than the default"
        content = [table(caption, head, [row(k) for k in changed], sortable=True, words=5)]
    if rest:
        others = table("Defaults", head, [row(k) for k in rest], sortable=True, words=5)
        content.append(details(f"{counted(len(rest), 'key')} at the default", others, id_="defaults"))
    return content


def _run_environment(record: Mapping[str, Any]) -> list[Html]:
    """Show code, versions, hardware and data, and how often the run was resumed."""
    rows: list[tuple[object, object]] = []
    for key, value in record.items():
        if key in ("config", "command", "history"):
            continue
        rows.append((one_line(str(key), 40), one_line(as_text(value), 500)))
    content = [facts(rows, class_="pairs")] if rows else []
    history = [h for h in record.get("history") or () if isinstance(h, dict)]
    if history:
        before = [
            [
                i,
                *(one_line(as_text(h.get(k)), 120) for k in ("date", "device", "git")),
                one_line(" ".join(map(str, h.get("command") or ())), 300),
            ]
            for i, h in enumerate(history, 1)
        ]
        head = ["time", "date", "device", "code", "command"]
        caption = f"Resumed {counted(len(history), 'time')}; before"
        content.append(table(caption, head, before, words=5))
    return content


def _run_commands(run: RunFolder) -> Iterator[tuple[str, str]]:
    """Yield what to type: the run again, its validation, this page."""
    words = run.record.get("command")
    history = run.record.get("history")
    first = (
        history[0].get("command") if isinstance(history, list) and history and isinstance(history[0], dict) else None
    )
    if isinstance(first, list) and first:
        words = first
    if isinstance(words, list) and words:
        yield "The run, as it was typed:", typed(*map(str, words))
    elif run.settings:
        given = {k: s for k, s in run.settings.items() if s.source not in ("default", "auto", "not recorded")}
        given = {k: s for k, s in given.items() if k not in ("project", "name", "resume", "exist_ok", "mode", "task")}
        pairs = [f"{KNOBS[k].shown if k in KNOBS else k}={_word(s.value)}" for k, s in given.items()]
        what = "The run, put together from its settings (no command was recorded):"
        yield what, typed(str(run.settings["mode"].value) if "mode" in run.settings else "train", *pairs)
    if not run.trained:
        return
    args = run.folder / reading.ARGS
    if args.is_file():
        yield "A new run with the same settings:", typed("train", f"cfg={shown_path(args)}", "name=again")
    best = run.folder / "weights" / "best.pt"
    if best.is_file():
        yield (
            "Its weights once more, with the worst mistakes; this page then shows them:",
            typed(
                "val", f"model={shown_path(best)}", "analyse=True", f"project={shown_path(run.folder)}", "name=analysis"
            ),
        )
    yield "This page:", typed("report", shown_path(run.folder))


def _word(value: object) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)


def shown_path(path: Path) -> str:
    """Return a path for a command that works in any folder; the home folder is "~", as pages are passed on."""
    return str(without_home(str(path.absolute())))


def typed(*words: str) -> str:
    """Return a command line."""
    return one_line(shlex.join([*PROGRAM, *words]), 2000)


def run_title(run: RunFolder) -> str:
    """Return the name of a run's page."""
    name = one_line(Path(run.folder).absolute().name, 100)
    return f"{name}: {'training' if run.trained else 'validation'}"
