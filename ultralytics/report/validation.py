"""The parts of a page that show a validation: classes, sizes, confusion, curves, errors, images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ultralytics.models.yolo.task import figures_in
from ultralytics.report.images import Album
from ultralytics.report.markup import Chart, Curve, Html, Section, details, grid, number, scrolled, table, tag
from ultralytics.report.reading import Validation, mapping, noted
from ultralytics.study.resampling import Detections
from ultralytics.utils.analysis import KINDS, mistakes, span, worst
from ultralytics.utils.boxes import ltwh2xyxy
from ultralytics.utils.classification import ClassifyMetrics
from ultralytics.utils.coco import Seen
from ultralytics.utils.confusion import ConfusionMatrix
from ultralytics.utils.gallery import sheet
from ultralytics.utils.metrics import average_precision, curve_numbers
from ultralytics.utils.text import counted, one_line

CLASSES = 25  # of a confusion matrix that is shown whole
SHOWN = 6  # lines of a chart that are drawn from the start
NAME = 60  # letters of a class's name
SHADES = 9
WORST = 8  # mistakes of each kind
_SIZES = {"S": "small, below 32² pixels", "M": "medium", "L": "large, from 96² pixels"}
_COUNTED = ("images", "instances")
_FIGURES = ("precision", "recall", "f1", "mAP50", "mAP75", "mAP50-95", "top1")
_TOP1 = ClassifyMetrics.figures.column
_COCO = {"mask": "segm", "pose": "keypoints"}  # COCO's names of what is measured


def measured(found: Validation, missing: list[str]) -> dict[str, Any]:
    """Return the numbers of curves and confusion: those that were kept, else those of the detections that were."""
    if found.curves or not found.seen:
        return found.curves
    names = found.class_names
    with noted(missing, "curves"):
        d = Detections.from_seen(found.seen)
        figures = average_precision(d.correct, d.conf, d.cls, d.target_cls, d.ignored)
        found.curves = curve_numbers(figures, names, _confusion(found.seen, names))
        found.curves |= {"of": "box"} if len(found.parts) > 1 else {}
    return found.curves


def _confusion(seen: Sequence[Seen], names: Mapping[int, str]) -> ConfusionMatrix | None:
    """Count the classes that detections and objects have; None where the names do not cover them."""
    ids = np.concatenate([np.zeros(0), *(s.found[:, 5] for s in seen), *(s.truths[:, 4] for s in seen)])
    if not names or not names.keys() >= set(ids.tolist()):
        return None
    matrix = ConfusionMatrix(max(names) + 1)
    for s in seen:
        found, truths = (torch.from_numpy(np.asarray(v, np.float32)) for v in (s.found, s.truths[s.truths[:, 5] == 0]))
        for rows in (found, truths):
            rows[:, :4] = ltwh2xyxy(rows[:, :4])
        matrix.process_batch(found, truths[:, :4], truths[:, 4])
    return matrix


def sections(found: Validation, album: Album, missing: list[str]) -> Iterator[Section]:
    """Yield the sections of a validation that have something to show; what cannot be shown is added to `missing`."""
    key = f"-{found.name}" if found.name else ""
    of = f" ({one_line(found.name, NAME)})" if found.name else ""
    numbers = measured(found, missing)
    parts = {
        "classes": ("Figures by class", _by_class(found)),
        "sizes": ("Figures by size", _by_size(found, missing)),
        "pr": ("Precision, recall and score", _show_curves(found, numbers, key, album, missing)),
        "confusion": ("Confusion matrix", _show_matrix(found, numbers, album, missing)),
        "errors": ("Kinds of errors", _show_errors(found, key, missing)),
        "images": ("Images", _show_images(found, album, missing)),
    }
    for name, (title, content) in parts.items():
        if content:
            yield Section(f"{name}{key}", f"{title}{of}", content)


def _by_class(found: Validation) -> list[Html]:
    content: list[Html] = []
    dota = mapping(found.metrics, "dota")  # of rotated boxes, which have none of COCO's
    for of, figures in found.parts.items():
        coco = mapping(found.metrics, "coco")
        coco = coco if of in ("", "box") else mapping(coco, _COCO.get(of, of))
        other = ("AP (COCO)", mapping(coco, "per_class"), coco.get("AP"))
        if dota:
            classes = mapping(dota, "per_class")
            per_class = {name: mapping(classes, name).get("AP50") for name in classes}
            other = ("AP50 (DOTA)", per_class, dota.get("mAP50"))
        content += _class_tables(figures, other, found.metrics, f" ({of})" if of else "")
    rows = mapping(found.metrics, "classes").values()
    measured = any(isinstance(row, dict) and "mAP50-95" in row for row in rows)
    whose = "AP50 is DOTA's" if dota else "AP is COCO's"
    note = f"mAP is the reference's, {whose}; precision, recall and F1 at the score of the best mean F1."
    return [*content, tag("p", note, class_="note")] if content and measured else content


def _class_tables(
    figures: Mapping[str, Any], other: tuple[str, Mapping[str, Any], Any], metrics: Mapping[str, Any], of: str
) -> list[Html]:
    """Return a table of all classes and one of each; `other` is a figure of another convention: its name, that of each
    class where there are any, and of all."""
    classes = {k: v for k, v in mapping(figures, "classes").items() if isinstance(v, dict)}
    if not classes:
        return []
    title, of_others, of_all = other
    keys = [k for k in (*_COUNTED, *_FIGURES) if any(k in row for row in classes.values())]
    head = ["class", *keys, *([title] if of_others else [])]
    every = {**figures, **{k: metrics.get(k) for k in _COUNTED}, "top1": mapping(metrics, "results").get(_TOP1)}
    rows = [
        [one_line(name, NAME), *(number(row.get(k)) for k in keys)]
        + ([number(of_others.get(name))] if of_others else [])
        for name, row in classes.items()
    ]
    whole = ["all classes", *(number(every.get(k)) for k in keys)]
    whole += [number(of_all)] if of_others else []
    content = [table(f"All classes{of}", head, [whole])] if len(rows) > 1 else []
    return [*content, table(f"Each class{of}", head, rows, sortable=True)]


def _by_size(found: Validation, missing: list[str]) -> list[Html]:
    coco, buckets = mapping(found.metrics, "coco"), mapping(found.metrics, "analysis").get("sizes")
    content = []
    if any(isinstance(coco.get(f"AP_{s}"), float) for s in _SIZES):
        rows = [[text, number(coco.get(f"AP_{s}")), number(coco.get(f"AR_{s}"))] for s, text in _SIZES.items()]
        content.append(table("By COCO's sizes", ["objects", "AP", "AR"], rows))
    if isinstance(buckets, list) and all(isinstance(b, dict) for b in buckets):
        with noted(missing, "figures by size"):
            rows = [
                [f"{b['name']}, {span(b)}", number(b["objects"]), *(number(b[k]) for k in ("AP", "AP50", "AR_100"))]
                for b in buckets
            ]
            head = ["bucket, √area in pixels", "objects", "AP", "AP50", "AR_100"]
            content.append(table("By the sizes of this dataset", head, rows))
    return content


def _show_curves(
    found: Validation, numbers: Mapping[str, Any], key: str, album: Album, missing: list[str]
) -> list[Html]:
    charts: list[Chart] = []
    with noted(missing, "curves"):
        charts = list(_curve_charts(numbers, key)) if numbers.get("classes") else []
    if charts:
        return [grid([c.html() for c in charts])]
    if "results" in found.metrics:  # a classifier has no such curves
        return []
    drawn = [("PR_curve.png", "Precision over recall"), ("F1_curve.png", "F1 over score")]
    images = album.files((found.folder / file, f"{title}, as it was drawn", title) for file, title in drawn)
    if images:
        return [grid(images)]
    return [tag("p", _lacking("The curves", found), class_="note")]


def _curve_charts(numbers: Mapping[str, Any], key: str) -> Iterator[Chart]:
    x, classes, mean = numbers["x"], numbers["classes"], numbers["mean"]
    of = f", {numbers['of']}" if numbers.get("of") else ""
    best = sorted(classes, key=lambda c: -c["AP50"])
    few = len(classes) <= SHOWN
    several = len(classes) > 1
    for kind, title, across in (("precision", "Precision over recall", "recall"), ("f1", "F1 over score", "score")):
        names = [one_line(c["name"], NAME) for c in best]
        labels = [f"{n} ({c['AP50']:.3f})" if kind == "precision" else n for n, c in zip(names, best, strict=True)]
        of_classes = [Curve(n, x, c[kind], shown=few) for n, c in zip(labels, best, strict=True)]
        lines = [*([Curve("all classes", x, mean[kind], dashed=True)] if several else []), *of_classes]
        top = max(mean[kind])
        place = f"; the mean is highest, {top:.3f}, at {x[mean[kind].index(top)]:.2f}" if kind == "f1" else ""
        title += of
        yield Chart(f"{kind}{key}", title, across, "F1" if kind == "f1" else "precision", lines, 0, 1,
                    about=f"{title}, a line for each class{place}")  # fmt: skip
    lines = [Curve("precision", x, mean["p"]), Curve("recall", x, mean["r"], dashed=True)]
    title = f"Precision and recall over score{of}"
    yield Chart(f"pr-score{key}", title, "score", "mean of the classes", lines, 0, 1, about=title)


def _lacking(what: str, found: Validation) -> str:
    return (
        f"{what} were not kept: the run was made with plots=False, or by earlier code. `val … plots=True` keeps them."
    )


def _show_matrix(found: Validation, numbers: Mapping[str, Any], album: Album, missing: list[str]) -> list[Html]:
    confusion = mapping(numbers, "confusion")
    content: list[Html] = []
    with noted(missing, "confusion matrix"):
        content = _matrix_table(confusion) if confusion else []
    if content:
        return content
    alt = "Confusion matrix, predictions down and true classes across, as it was drawn"
    drawn = album.file(found.folder / "confusion_matrix.png", alt, "Confusion matrix")
    return [drawn or tag("p", _lacking("The counts", found), class_="note")]


def _matrix_table(confusion: Mapping[str, Any]) -> list[Html]:
    """Counts with a shade by their share of the true class; of many classes the largest confusions."""
    labels = [one_line(str(n), NAME) for n in confusion["labels"]]
    counts = {(int(i), int(j)): int(n) for i, j, n in confusion["counts"]}
    true = [sum(n for (_, j), n in counts.items() if j == k) for k in range(len(labels))]
    last = len(labels) - 1
    note = f"Detections with a score above {confusion['conf']:g}. "
    wrong = sorted(((n, i, j) for (i, j), n in counts.items() if i != j), reverse=True)
    rows = [[labels[j], labels[i], number(n), f"{n / max(true[j], 1):.0%}" if j != last else "–"] for n, i, j in wrong]
    head = ["true", "predicted", "count", "of the true class"]
    largest = table("The largest confusions", head, rows[:50], sortable=True, words=2) if rows else Html()
    if len(labels) - 1 > CLASSES:
        note += f"Of {counted(len(labels) - 1, 'class')} the {min(len(rows), 50)} largest confusions."
        return [tag("p", note, class_="note"), largest]
    body = []
    for i, label in enumerate(labels):
        cells = [tag("th", label, scope="row")]
        for j in range(len(labels)):
            n = counts.get((i, j), 0)
            share = n / true[j] if true[j] and j != last else 0.0
            shade = f"h{min(int(share * SHADES) + 1, SHADES)}" if n and j != last else "h0"
            title = f"{labels[j]} predicted as {label}: {n}" + (f", {share:.0%}" if j != last else "")
            cells.append(tag("td", n or "", class_=shade, title=title))
        body.append(tag("tr", *cells))
    note += (
        "Rows are predictions, columns are true classes; shades are parts of the true class. Background: a detection"
    )
    note += " without an object (last column), an object without a detection (last row)."
    head_row = tag("tr", tag("th", "predicted ↓ true →", scope="col"), *(tag("th", x, scope="col") for x in labels))
    whole = tag("table", tag("caption", "Counts"), tag("thead", head_row), tag("tbody", *body), class_="matrix")
    return [
        scrolled("Confusion matrix", whole),
        tag("p", note, class_="note"),
        details("The largest confusions", largest),
    ]


def _show_errors(found: Validation, key: str, missing: list[str]) -> list[Html]:
    analysis = mapping(found.metrics, "analysis")
    content: list[Html] = []
    with noted(missing, "errors"):
        if analysis:
            errors, calibration = analysis["errors"], analysis["calibration"]
            rows = [[f"{k}: {KINDS[k]}", number(v["count"]), number(v["dAP"])] for k, v in errors.items() if k in KINDS]
            content.append(table("What AP50 would gain without them", ["kind", "count", "gain of AP50"], rows))
            bins = [b for b in calibration["bins"] if b["count"]]
            lines = [
                Curve("measured", [b["score"] for b in bins], [b["precision"] for b in bins], dots=True),
                Curve("calibrated", [0.0, 1.0], [0.0, 1.0], dashed=True),
            ]
            title = f"Calibration, ECE {number(calibration['ece'])}"
            about = "Share of detections that are right, over their score"
            chart = Chart(f"calibration{key}", title, "score", "precision", lines, 0, 1, about=about)
            content.append(grid([chart.html()]))
    return content


def _show_images(found: Validation, album: Album, missing: list[str]) -> list[Html]:
    worst_of = _show_worst(found, album, missing)
    pairs = [
        (found.folder / f"val_batch{n}_{kind}.jpg", f"Images of validation batch {n} with their {text}",
         f"Batch {n}: {text}")
        for n in range(3)
        for kind, text in (("labels", "labels"), ("pred", "surest detections"))
    ]  # fmt: skip
    batches = album.files(pairs)
    content = []
    if worst_of:
        content += [tag("h3", "Worst mistakes"), grid(worst_of)]
    elif batches:
        content.append(tag("p", "Worst mistakes: `val … analyse=True` finds and draws them.", class_="note"))
    if batches:
        content += [tag("h3", "Labels and detections"), grid(batches)]
    return content


def _show_worst(found: Validation, album: Album, missing: list[str]) -> list[Html]:
    """Return the sheets of the worst mistakes: those that were drawn, else drawn from the detections that were kept,
    where the dataset's images are still there."""
    texts = {k: f"The worst mistakes of the kind {k}: {v}" for k, v in KINDS.items()}
    drawn = album.files((found.folder / f"gallery_{k}.jpg", text, text) for k, text in texts.items())
    if drawn or not found.seen:
        return drawn
    names = found.class_names
    sheets: list[Html | None] = []
    with noted(missing, "worst mistakes"):
        for kind, some in worst(mistakes(found.seen), WORST).items():
            if album.room > 0 and any(os.path.isfile(found.seen[m.image].file) for m in some):
                sheets.append(album.array(sheet(kind, some, found.seen, names), f"{kind}", texts[kind], texts[kind]))
    return [s for s in sheets if s is not None]


def summary(found: Validation) -> list[tuple[str, str]]:
    """Return the figures that a reader asks for first."""
    keys = ("mAP50-95", "mAP50", "precision", "recall")
    rows = [
        (f"{of} {k}" if of else k, number(figures.get(k)))
        for of, figures in found.parts.items()
        for k in keys
        if k in figures
    ]
    results = mapping(found.metrics, "results")  # of a classifier
    known = figures_in(results)
    return rows + ([(title, number(results.get(c))) for title, c in known.shown.items()] if known else [])
