"""A study's table, for a reader (Markdown), for a paper (LaTeX with booktabs) and for programs (CSV)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ultralytics.study.analysis import Analysis, Arm
from ultralytics.utils.text import counted, one_line

_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}", "-": r"{-}",
}  # fmt: skip  # a hyphen in braces: two of them would become a dash
_TEX_SIGNS = {"±": r"$\pm$", "−": "$-$", "–": "--", "‖": r"$\|$", "⊙": r"$\odot$", "×": r"$\times$", "…": r"\ldots{}"}
_MARKED = re.compile(r"([\\`*_{}\[\]()#+!|<>~$&-])")


def tex(text: str) -> str:
    """Return a name as LaTeX prints it; letters outside ASCII stay (Chinese needs XeLaTeX and ctex)."""
    return "".join(_TEX.get(c, c) for c in one_line(text, 200))


def markdown(text: str, longest: int = 200) -> str:
    """Return a name, or a longer sentence with names in it, as Markdown shows it, in a table's cell too."""
    return _MARKED.sub(r"\\\1", one_line(text, longest))


class Column(NamedTuple):
    """A column: its head and, for each arm, its text; `strong` marks the arms with a difference that is shown.

    `cost`: it says what an arm is and takes, not how well it detects.
    """

    head: str
    cells: Sequence[str]
    strong: bool = False
    cost: bool = False


def columns(analysis: Analysis, latency: Mapping[str, Mapping[str, float]]) -> list[Column]:
    """Columns for a reader, but for the arms' names; one that no arm has anything for is left out."""
    arms, metric = analysis.arms, analysis.metric
    many = len({len(a.seeds) for a in arms}) > 1
    found = [Column("seeds", [str(len(a.seeds)) for a in arms])] if many else []
    found += [
        Column(head, [_spread(a, key) for a in arms], key == metric)
        for key, head in ((metric, metric), (analysis.second, analysis.second), ("AP", "AP (COCO)"))
    ]
    found += [
        Column("difference [95 % interval]", [_difference_cell(a) for a in arms], True),
        Column("p (Holm)", ["" if a.difference is None or a.difference.seeds < 2 else f"{a.p:.3f}" for a in arms]),
        Column("‖gate ⊙ A‖/‖x‖", [_share_cell(a) for a in arms], cost=True),
        Column("parameters, M", [_format_value(a.cost.get("parameters"), 1e6, 3) for a in arms], cost=True),
        Column("GFLOPs", [_format_value(a.cost.get("flops"), 1e9, 2) for a in arms], cost=True),
        Column("latency p50 / p95, ms", [_latency(latency.get(a.name)) for a in arms], cost=True),
    ]
    return [c for c in found if any(c.cells)]


def _spread(arm: Arm, key: str) -> str:
    mean, deviation = arm.mean(key), arm.deviation(key)
    if mean is None:
        return ""
    return f"{mean:.4f}" if deviation is None else f"{mean:.4f} ± {deviation:.4f}"


def signed(value: float) -> str:
    """With its sign, and a minus of the width of a plus."""
    return f"{round(value, 4) + 0.0:+.4f}".replace("-", "−")  # no −0


def _difference_cell(arm: Arm) -> str:
    d = arm.difference
    return "" if d is None else f"{signed(d.mean)} [{signed(d.low)}, {signed(d.high)}]"


def _share_cell(arm: Arm) -> str:
    shares = sorted(arm.share.values())
    if not shares:
        return ""
    low, high = f"{shares[0]:.3f}", f"{shares[-1]:.3f}"
    return low if low == high else f"{low}–{high}"


def _format_value(value: float | None, unit: float, digits: int) -> str:
    return "" if value is None else f"{value / unit:.{digits}f}"


def _latency(times: Mapping[str, float] | None) -> str:
    return "" if not times else f"{times['p50_ms']:.2f} / {times['p95_ms']:.2f}"


def verdicts(analysis: Analysis) -> list[str]:
    """Say what each comparison shows, a sentence each."""
    lines = []
    for arm in analysis.arms:
        d = arm.difference
        if d is None:
            continue
        verdict = f"{arm.verdict} {signed(d.mean)}" if arm.shown else arm.verdict
        p = f"p {arm.p:.3f} after Holm" if d.seeds > 1 else "no p with one seed"
        line = (
            f"{arm.name} against {analysis.control}: {verdict} ({signed(d.mean)}, 95 % interval {signed(d.low)} to "
            f"{signed(d.high)}, {p}, {counted(d.seeds, 'paired seed')}, {counted(d.images, 'image')}); this design "
            f"finds a true difference of {d.detectable:.4f} in four of five cases"
        )
        gained, lost = arm.wins
        if d.seeds > 1 and len(arm.classes) > 1:
            of = counted(len(arm.classes), "class")
            line += f"; of {of} {_list_names(gained)} gain and {_list_names(lost)} lose, after Holm over the classes"
        lines.append(line + ".")
    return lines


def _list_names(names: Sequence[str]) -> str:
    if not names:
        return "none"
    shown = ", ".join(names[:5])
    return f"{len(names)} ({shown}{', …' if len(names) > 5 else ''})"


def caption(analysis: Analysis, about: Mapping[str, Any], latency: Mapping[str, Mapping[str, Any]]) -> str:
    """Write what a reader must know to read the table: figures, split, images, seeds, test, recipe, evaluator, timing.

    Args:
        about: facts of the runs, by the names of `RunRecord.facts`, and the "recipe".
    """
    seeds = sorted({len(a.seeds) for a in analysis.arms if a.seeds})
    count = counted(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds" if seeds else "no seed"
    split = f"the {about['test split']} split" if about.get("test split") else "the test split"
    spread = "mean ± standard deviation" if seeds and seeds[-1] > 1 else "figures"
    parts = [f"{analysis.metric} on {split} ({counted(analysis.images, 'image')}), {spread} over {count}."]
    compared = sum(a.difference is not None for a in analysis.arms)
    if compared:
        over = "the images alone" if seeds[-1] == 1 else "seeds and images"
        first = f"Differences of {analysis.metric} are from {analysis.control}, paired by seed"
        parts.append(f"{first}; 95 % intervals are over {over}.")
        if seeds[-1] > 1:
            correction = f", corrected for {counted(compared, 'comparison')} (Holm)" if compared > 1 else ""
            parts.append(
                f"p is of the sign-flip test{correction}. Bold: the interval excludes 0 and p is at most 0.05."
            )
    if about.get("selection"):
        same = ", the split that is tested on" if about.get("selection and test") == "on the same split" else ""
        parts.append(f"Weights: {about['selection']}{same}.")
    if about.get("tuning"):
        parts.append(f"Settings: each arm's own, the best of {about['tuning']} (tune/ARM/best_hyperparameters.yaml).")
    recipe = [f"recipe {about['recipe']}"] if about.get("recipe") else []
    recipe += [counted(about["epochs planned"], "epoch")] if about.get("epochs planned") is not None else []
    for key, form in (("imgsz", "{} pixels"), ("batch", "batch {}")):
        recipe += [form.format(about[key])] if about.get(key) is not None else []
    parts += [f"Training: {', '.join(recipe)}."] if recipe else []
    parts += [f"Evaluator: {about['evaluator']}."] if about.get("evaluator") else []
    timed = next((t for t in latency.values() if t), None)
    if timed:
        parts.append(
            f"Latency: forward pass of the fused network, batch {timed['batch']}, {timed['imgsz']} pixels, "
            f"{timed['precision']}, {timed['device']}"
            + (f", {counted(timed['threads'], 'thread')}" if timed.get("threads") else "")
            + f", {timed['repeats']} passes after {timed['warmup']} to warm up."
        )
    return " ".join(parts)


def markdown_table(
    analysis: Analysis, text: str, latency: Mapping[str, Mapping[str, Any]], unfair: Sequence[str] = ()
) -> str:
    """table.md: what differs between the arms beside what is compared, the table, its caption, and what it shows."""
    shown = columns(analysis, latency)
    lines = ["**The arms were not treated alike:**", "", *_items(unfair), ""] if unfair else []
    lines.append(f"| arm | {' | '.join(markdown(c.head) for c in shown)} |")
    lines.append("|---|" + "---:|" * len(shown))
    for i, arm in enumerate(analysis.arms):
        cells = [f"**{c.cells[i]}**" if c.strong and arm.shown else c.cells[i] for c in shown]
        lines.append(f"| {markdown(arm.name)} | {' | '.join(cells)} |")
    lines += ["", markdown(text, 4000), "", *_items([*verdicts(analysis), *analysis.notes])]
    return "\n".join(lines).rstrip() + "\n"


def refusal(unfair: Sequence[str]) -> str:
    """table.md where the arms were not treated alike."""
    return "\n".join(["There is no table: the arms were not treated alike.", "", *_items(unfair)]) + "\n"


def _items(lines: Sequence[str]) -> list[str]:
    return [f"- {markdown(line, 4000)}" for line in lines]


def latex_table(
    analysis: Analysis, text: str, latency: Mapping[str, Mapping[str, Any]], unfair: Sequence[str] = ()
) -> str:
    """table.tex: needs the packages that its first line names.

    What the arms reach and what they cost are two tables, one below the other: as one it would be too wide for a
    column of a paper to be read.
    """
    shown = columns(analysis, latency)
    if unfair:
        text = f"The arms were not treated alike: {'; '.join(unfair)}. {text}"
    lines = [
        r"% \usepackage[T1]{fontenc}\usepackage{booktabs,graphicx,textcomp}; Chinese: XeLaTeX, \usepackage{ctex}",
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{_sentence(text)}}}\smallskip",
    ]
    parts = [part for part in ([c for c in shown if c.cost is cost] for cost in (False, True)) if part]
    for i, part in enumerate(parts):
        lines += [r"\par\medskip"] * (i > 0) + _tabular(analysis.arms, part)
    lines.append(r"\end{table}")
    lines += [f"% {one_line(line, 2000)}" for line in (*verdicts(analysis), *analysis.notes)]
    return "\n".join(lines) + "\n"


def _tabular(arms: Sequence[Arm], shown: Sequence[Column]) -> list[str]:
    """Lines of LaTeX; a table that is wider than the text is made to fit."""
    lines = [
        rf"\sbox0{{\begin{{tabular}}{{l{'r' * len(shown)}}}",
        r"\toprule",
        " & ".join(["arm", *(_sentence(c.head) for c in shown)]) + r" \\",
        r"\midrule",
    ]
    for i, arm in enumerate(arms):
        cells = [_sentence(c.cells[i]) for c in shown]
        cells = [
            rf"\textbf{{{cell}}}" if c.strong and arm.shown and cell else cell
            for c, cell in zip(shown, cells, strict=True)
        ]
        lines.append(" & ".join([tex(arm.name), *cells]) + r" \\")
    fit = r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi"
    return [*lines, r"\bottomrule", r"\end{tabular}}", fit]


def _sentence(text: str) -> str:
    """Text of ours with signs, and with names in it."""
    return "".join(_TEX_SIGNS.get(c) or _TEX.get(c, c) for c in one_line(text, 4000))


def csv_table(analysis: Analysis, latency: Mapping[str, Mapping[str, Any]]) -> str:
    """table.csv: a row per arm, numbers in full; empty where there is nothing to measure it by."""
    figures = list(dict.fromkeys(k for a in analysis.arms for k in a.figures))
    costs = list(dict.fromkeys(k for a in analysis.arms for k in a.cost))
    blocks = list(dict.fromkeys(b for a in analysis.arms for b in a.share))
    rows = []
    for arm in analysis.arms:
        d, times = arm.difference, latency.get(arm.name) or {}
        row: dict[str, Any] = {"arm": arm.name, "seeds": len(arm.seeds), "failed": len(arm.failed)}
        for key in figures:
            row |= {key: arm.mean(key), f"{key} deviation": arm.deviation(key)}
        row |= {"paired seeds": None if d is None else d.seeds}
        row |= {f"difference {k}": None if d is None else getattr(d, k) for k in ("mean", "low", "high")}
        row |= {"p": None if d is None else d.p, "p holm": None if d is None else arm.p}
        row |= {"detectable": None if d is None else d.detectable, "verdict": arm.verdict or None}
        row |= {f"share {b}": arm.share.get(b) for b in blocks} | {k: arm.cost.get(k) for k in costs}
        row |= {k: times.get(k) for k in ("p50_ms", "p95_ms")}
        rows.append(row)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]) if rows else ["arm"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
