"""The embedded datasets: one drawing with boxes, outlines, points or rotated boxes, or as folders of classes."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from ultralytics.cfg.keys import TASK_NAMES
from ultralytics.cfg.tasks import FOLDERS, TASKS
from ultralytics.data.prepare.annotated import in_threads
from ultralytics.data.prepare.folder import make_once, prepared, write_manifest
from ultralytics.data.prepare.format import storage_error
from ultralytics.data.prepare.outlines import area_of, join, trace
from ultralytics.data.prepare.shapes import (
    ALONE_VERSION,
    NAMES,
    OVERSAMPLE,
    VERSION,
    DrawnShape,
    draw,
    draw_one,
    smallest_rectangle,
)
from ultralytics.data.prepare.sources import default_out
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import user_path
from ultralytics.utils.images import imwrite
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted
from ultralytics.utils.types import UInt8Array

COUNTS = {"train": 320, "val": 64, "test": 64}
OF_A_CLASS = {"train": 100, "val": 20, "test": 20}  # images of one shape
LEAST = 4.0  # pixels² of an object to be seen, for its outline to be one
POINTS = ("centre", "left", "top", "right", "bottom")  # of a shape's outline, as it lies in the image
MIRRORED = (0, 3, 2, 1, 4)

# An image's shapes and which of their pixels can be seen → for each the numbers behind its class, in 0..1, or None.
_Rows = Callable[[Sequence[DrawnShape], Sequence[UInt8Array], tuple[int, int]], list[Sequence[float] | None]]


def _boxes(
    drawn: Sequence[DrawnShape], seen: Sequence[UInt8Array], shape: tuple[int, int]
) -> list[Sequence[float] | None]:
    return [_box(d, shape) for d in drawn]


def _box(drawn: DrawnShape, shape: tuple[int, int]) -> list[float]:
    (h, w), (x1, y1, x2, y2) = shape, drawn.box
    return [(x1 + x2) / 2 / w, (y1 + y2) / 2 / h, (x2 - x1) / w, (y2 - y1) / h]


def _shape_outlines(
    drawn: Sequence[DrawnShape], seen: Sequence[UInt8Array], shape: tuple[int, int]
) -> list[Sequence[float] | None]:
    """Outline what can be seen of each shape: as it was drawn where that is all of it, else by its pixels."""
    h, w = shape
    rows: list[Sequence[float] | None] = []
    for d, mask in zip(drawn, seen, strict=True):
        low, high = d.contours[0].min(0), d.contours[0].max(0)
        if low.min() >= 0 and (high <= (w, h)).all() and np.array_equal(mask, d.mask):
            contours = d.contours
        else:
            contours = [c / OVERSAMPLE for c in trace(mask > 0)]
            contours = [c for c in contours if area_of(c) >= LEAST]
        rows.append((join(contours) / (w, h)).clip(0, 1).ravel().tolist() if contours else None)
    return rows


def _points(
    drawn: Sequence[DrawnShape], seen: Sequence[UInt8Array], shape: tuple[int, int]
) -> list[Sequence[float] | None]:
    """Return box and points: the centre, and where the outline reaches farthest left, up, right and down. A point is
    seen (2), hidden by a later shape (1), or outside the image (0)."""
    h, w = shape
    rows: list[Sequence[float] | None] = []
    for i, d in enumerate(drawn):
        x, y = d.contours[0].T
        numbers = _box(d, shape)
        for px, py in (d.centre, *(d.contours[0][k] for k in (x.argmin(), y.argmin(), x.argmax(), y.argmax()))):
            if not (0 <= px <= w and 0 <= py <= h):
                numbers += [0.0, 0.0, 0]
                continue
            row, column = min(int(py * OVERSAMPLE), h * OVERSAMPLE - 1), min(int(px * OVERSAMPLE), w * OVERSAMPLE - 1)
            hidden = any(later.mask[row, column] for later in drawn[i + 1 :])
            numbers += [px / w, py / h, 1 if hidden else 2]
        rows.append(numbers)
    return rows


def _shape_corners(
    drawn: Sequence[DrawnShape], seen: Sequence[UInt8Array], shape: tuple[int, int]
) -> list[Sequence[float] | None]:
    h, w = shape
    return [(smallest_rectangle(d.contours[0]) / (w, h)).clip(0, 1).ravel().tolist() for d in drawn]


class _Set(NamedTuple):
    """An embedded dataset. suffix: of its name; rows: of its label files, None for folders of classes; squeezed: see
    `draw`; keys: of its YAML; version: of its drawing."""

    suffix: str
    rows: _Rows | None
    squeezed: bool = False
    keys: Mapping[str, Any] = {}
    version: int = VERSION


_DRAWN = {
    "boxes": _Set("", _boxes),
    "polygons": _Set("", _shape_outlines),
    "keypoints": _Set("", _points, keys={"kpt_shape": [len(POINTS), 3], "flip_idx": list(MIRRORED)}),
    "corners": _Set("", _shape_corners, squeezed=True),
    FOLDERS: _Set("", None, version=ALONE_VERSION),
}
SETS = {task: _DRAWN[words.labels]._replace(suffix=words.suffix) for task, words in TASKS.items()}


def prepare_shapes(out: str | Path | None = None, seed: int = 0, task: str = TASK_NAMES[0]) -> Path:
    """Draw a dataset into a folder; nothing is done when it is there already.

    Args:
        out: the folder; data/shapes and the task's suffix when None.
        seed: of the drawing.
        task: what it is for, a key of `SETS`.

    Returns:
        The dataset's YAML, OUT/data.yaml.

    Raises:
        ConfigError: there is no such task.
        UserError: the folder holds something else, or cannot be written.
    """
    if task not in SETS:
        raise ConfigError(f"task={task!s:.80} must be one of {', '.join(SETS)}")
    made = SETS[task]
    out = default_out("shapes", made.suffix) if out is None else user_path(out)
    counts = COUNTS if made.rows else {s: n * len(NAMES) for s, n in OF_A_CLASS.items()}
    options = {"version": made.version, "seed": seed, "images": counts} | ({"task": task} if made.suffix else {})
    _remove_outdated(out, options)
    done = prepared(out, "shapes", options)
    if done is not None:
        return done
    objects = make_once(out, "shapes", options, "", lambda folder: _draw_all(folder, out, made, seed, options))
    if objects is None:
        return out / "data.yaml"
    LOGGER.info(
        "%s: %s, %s of %s",
        out,
        ", ".join(counted(n, f"{s} image") for s, n in counts.items()),
        counted(sum(objects.values()), "object"),
        counted(len(NAMES), "class"),
    )
    return out / "data.yaml"


def _draw_all(folder: Path, out: Path, made: _Set, seed: int, options: Mapping[str, Any]) -> Counter[int]:
    """Fill a folder that will become OUT, and count the objects of each class."""
    counts = options["images"]
    jobs = [(split, i) for split, count in counts.items() for i in range(count)]
    below = "images/" if made.rows else ""
    try:
        for split in counts:
            places = [f"images/{split}", f"labels/{split}"] if made.rows else [f"{split}/{name}" for name in NAMES]
            for place in places:
                (folder / place).mkdir(parents=True)
        one = _draw_file if made.rows else _draw_single
        drawn = in_threads(lambda which: one(folder, made, seed, *which), jobs, "Drawing shapes")
        names = NAMES if made.rows else sorted(NAMES)  # the ids of folders are by their names
        task = {"task": options["task"]} if "task" in options else {}
        spec = {"path": ".", **{s: f"{below}{s}" for s in counts}, **task, **made.keys, "names": dict(enumerate(names))}
        (folder / "data.yaml").write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8", newline="\n")
    except OSError as e:
        raise storage_error(e, folder, out) from None
    objects = Counter(c for classes in drawn for c in classes)
    write_manifest(folder, "shapes", options, [], counts, {name: objects[i] for i, name in enumerate(NAMES)})
    return objects


def _draw_file(folder: Path, made: _Set, seed: int, split: str, i: int) -> list[int]:
    """Write an image and its labels; the classes in it."""
    assert made.rows is not None
    image, drawn = draw((seed, made.version, list(COUNTS).index(split), i), made.squeezed)
    imwrite(folder / "images" / split / f"{i:04d}.jpg", image, quality=92)
    numbers = made.rows(drawn, _seen(drawn), (image.shape[0], image.shape[1]))
    kept = [(d.cls, row) for d, row in zip(drawn, numbers, strict=True) if row is not None]
    rows = [f"{c} {' '.join(str(v) if isinstance(v, int) else f'{v:.6f}' for v in row)}\n" for c, row in kept]
    (folder / "labels" / split / f"{i:04d}.txt").write_text("".join(rows), encoding="utf-8", newline="\n")
    return [c for c, _ in kept]


def _seen(drawn: Sequence[DrawnShape]) -> list[UInt8Array]:
    """Return what can be seen of each shape, a mask as its own: without what later ones hide."""
    found: list[UInt8Array] = []
    above: UInt8Array | None = None
    for d in reversed(drawn):
        found.append(d.mask if above is None else d.mask & ~above)
        above = d.mask if above is None else above | d.mask
    return found[::-1]


def _draw_single(folder: Path, made: _Set, seed: int, split: str, i: int) -> list[int]:
    """Write an image of one shape into its class's folder; the class."""
    cls, number = i % len(NAMES), i // len(NAMES)
    # One number more than the seeds of `_draw_file` have: not one of their images.
    image = draw_one((seed, made.version, list(OF_A_CLASS).index(split), i, 1), cls)
    imwrite(folder / split / NAMES[cls] / f"{number:04d}.jpg", image, quality=92)
    return [cls]


def _remove_outdated(out: Path, options: Mapping[str, Any]) -> None:
    """Remove what an earlier version of the same drawing made here: nothing is lost by drawing it anew.
    Before there was a manifest, done.json said so."""
    for name, key in (("manifest.json", "options"), ("done.json", None)):
        try:
            found = json.loads((out / name).read_text(encoding="utf-8"))
            if key is not None:
                found = found[key] if found["kind"] == "shapes" else {}
            if found["seed"] != options["seed"] or found.get("task") != options.get("task"):
                return
            if key is not None and found["version"] == options["version"]:
                return
        except (OSError, ValueError, KeyError, TypeError):
            continue
        LOGGER.info("%s is of another version of the drawing; it is drawn anew", out)
        shutil.rmtree(out, ignore_errors=True)
        return
