"""Rules for an image's label file and those beside it: ignored regions, areas."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from ultralytics.data.check.findings import Finding
from ultralytics.data.check.images import Look
from ultralytics.data.labels import BOX_COLUMNS, areas_file, ignore_file, judge_areas
from ultralytics.utils.text import counted
from ultralytics.utils.types import Float64Array

TINY = 2.0  # pixels at IMGSZ
IMGSZ = 640
SAME_BOX = 0.95  # IoU


def links(look: Look) -> Iterator[Finding]:
    for kind, path in look.other_files.items():
        if path and os.path.islink(path) and not os.path.exists(path):
            yield Finding(f"{kind}-link", path, 0, f"the link leads nowhere: {os.readlink(path)}")


def problems(look: Look) -> Iterator[Finding]:
    lines = (look.labels.text or "").splitlines()
    for p in look.labels.problems:
        what = p.what
        if p.kind == "coordinate" and look.shape and _in_pixels(lines[p.line - 1], look.shape):
            h, w = look.shape
            what += f"; these look like pixels of the {w}x{h} image: divide by its width and height"
        end = "the image is left out" if p.fatal else "the row is dropped"
        yield Finding(f"label-{p.kind}", look.label, p.line, what if end in what else f"{what}; {end}")


def _in_pixels(line: str, shape: tuple[int, int]) -> bool:
    """Return True if a row's coordinates would make sense as pixels."""
    try:
        values = [float(w) for w in line.split()[1:]]
    except ValueError:
        return False
    inside = all(0 <= v <= shape[1] for v in values[::2]) and all(0 <= v <= shape[0] for v in values[1::2])
    return inside and sum(v > 1.5 for v in values) >= len(values) / 2


def class_range(look: Look) -> Iterator[Finding]:
    valid = f"0 to {look.nc - 1}" if look.nc > 1 else "0 alone"
    for i in np.flatnonzero(look.labels.rows[:, 0] >= look.nc):
        has = f"the dataset has {counted(look.nc, 'class')} (valid: {valid})"
        what = f"class id {int(look.labels.rows[i, 0])} is out of range: {has}; training stops"
        yield Finding("label-class-range", look.label, look.labels.lines[i], what)


def cut(look: Look) -> Iterator[Finding]:
    over = look.labels.over
    for i in np.flatnonzero(over):
        what = f"the row reaches {over[i]:.1%} of the image over its edge, and is cut off there"
        yield Finding("box-cut", look.label, look.labels.lines[i], what)


def mixed(look: Look) -> Iterator[Finding]:
    many = look.labels.columns > BOX_COLUMNS
    if many.any() and not many.all():
        line = look.labels.lines[int((many != many[0]).argmax())]
        what = "polygons and boxes in one file: each polygon becomes its bounding box"
        yield Finding("label-mixed", look.label, line, what)


def corners(look: Look) -> Iterator[Finding]:
    mistaken = look.mistaken
    if mistaken.any():
        which = f"the row reads sensibly only as corners, x1 y1 x2 y2 (one of {len(mistaken)})"
        if mistaken.sum() > 1:
            which = f"{mistaken.sum()} of {len(mistaken)} rows read sensibly only as corners, x1 y1 x2 y2"
        line = look.labels.lines[int(mistaken.argmax())]
        yield Finding("label-corners", look.label, line, f"{which}: a row is centre and size")


def outside(look: Look) -> Iterator[Finding]:
    h, w = look.shape or (IMGSZ, IMGSZ)
    out = np.maximum(-look.boxes[:, :2], look.boxes[:, 2:] - 1).clip(0) * (w, h)
    for i in np.flatnonzero((out.max(1, initial=0) > 1) & ~look.mistaken):
        what = f"the box reaches {out[i].max():.0f} pixels over the image's edge"
        yield Finding("box-outside", look.label, look.labels.lines[i], what)


def whole(look: Look) -> Iterator[Finding]:
    for i in np.flatnonzero((look.labels.rows[:, 3:] > 0.995).all(1)):
        yield Finding("box-whole", look.label, look.labels.lines[i], "the box covers the whole image")


def tiny(look: Look) -> Iterator[Finding]:
    h, w = look.shape or (IMGSZ, IMGSZ)
    side = (look.labels.rows[:, 3:] * (w, h)).min(1, initial=np.inf) * IMGSZ / max(w, h)
    few = np.flatnonzero(side < TINY)
    if len(few):  # some sets have them by the thousand
        what = f"boxes under {TINY:g} pixels at imgsz={IMGSZ}: {len(few)}, the least {side.min():.1f}"
        yield Finding("box-tiny", look.label, look.labels.lines[few[0]], what)


def near_duplicates(look: Look) -> Iterator[Finding]:
    lines = look.labels.lines
    for first, second, iou in _same_boxes(look.labels.rows[:, 0], look.boxes):
        what = f"nearly the box of line {lines[first]}: their IoU is {iou:.3f}"
        yield Finding("box-near-duplicate", look.label, lines[second], what)


def _same_boxes(cls: Float64Array, corners: Float64Array) -> Iterator[tuple[int, int, float]]:
    """Find boxes of one class that nearly coincide: the earlier row, the later one, their IoU."""
    area = (corners[:, 2:] - corners[:, :2]).prod(1)
    order = np.argsort(area, kind="stable")
    cls, corners, area = cls[order], corners[order], area[order]
    for j in range(1, len(cls)):
        start = int(np.searchsorted(area[:j], SAME_BOX * area[j]))  # smaller ones cannot be that near
        if start == j:
            continue
        near = slice(start, j)
        inner = np.minimum(corners[near, 2:], corners[j, 2:]) - np.maximum(corners[near, :2], corners[j, :2])
        both = inner.clip(0).prod(1)
        iou = np.where(cls[near] == cls[j], both / np.maximum(area[near] + area[j] - both, 1e-12), 0)
        if iou.max() > SAME_BOX:
            i, k = sorted((int(order[start + int(iou.argmax())]), int(order[j])))
            yield i, k, float(iou.max())


def ignored(look: Look) -> Iterator[Finding]:
    for p in look.ignored.problems:
        yield Finding(f"ignore-{p.kind}", str(ignore_file(look.path)), p.line, p.what)


def areas(look: Look) -> Iterator[Finding]:
    path = areas_file(look.path)
    for p in judge_areas(path, look.labels)[1]:
        yield Finding(f"areas-{p.kind}", str(path), p.line, p.what)
