"""Which kind of annotation label files hold, judged by their rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from itertools import islice

from ultralytics.cfg.dataset import DatasetSpec
from ultralytics.cfg.tasks import labelled, task_for
from ultralytics.data.images import list_images
from ultralytics.data.labels import BOX_COLUMNS, FEWEST_POINTS, RowForm, _holds_points, label_file
from ultralytics.utils.errors import ConfigError, DatasetError
from ultralytics.utils.files import read_bytes
from ultralytics.utils.text import is_number

# A kind: in words, and how to read it.
KINDS = {
    "boxes": ("boxes (class x y w h)", f"task={task_for('boxes')} reads them"),
    "polygons": ("polygons (class, then points x y)", f"task={task_for('polygons')} reads them"),
    "keypoints": (
        "poses (class x y w h, then keypoints)", f"task={task_for('keypoints')} reads them, by kpt_shape of the YAML"
    ),
    "corners": ("oriented boxes (class, then four corners x y)", f"task={task_for('corners')} reads them"),
}  # fmt: skip
CORNER_COLUMNS = 9
LOOKED_AT = 20  # files
MOST_BYTES = 1_000_000


def form_of(spec: DatasetSpec, images: Iterable[str] = (), task: str | None = None, least: int = 8) -> RowForm:
    """Return how the label rows of a dataset are read: for a task; without one for that of the YAML's key `task`; with
    kpt_shape as poses; else as what the rows of the first images are, all of one kind, or as boxes.

    Args:
        images: some of the dataset's.
        least: rows that say something.

    Raises:
        ConfigError: a task without labels of objects.
        DatasetError: poses without kpt_shape.
    """
    annotations = labelled()
    if task is not None and task not in annotations:
        raise ConfigError(f"task={task}: no label rows are read for it", hint=f"one of {', '.join(annotations)}")
    kind: str | None = annotations.get(task or spec.task)
    if kind is None and spec.kpt_shape:
        kind = "keypoints"
    if kind is None:
        found = kind_of([label_file(image) for image in islice(images, LOOKED_AT)], least)
        kind = found if found in FEWEST_POINTS else "boxes"
    points, numbers = spec.kpt_shape or (0, 3)
    if kind == "keypoints" and not points:
        raise DatasetError("kpt_shape is missing", str(spec.yaml_file), "kpt_shape: [points, 2 or 3], such as [17, 3]")
    return RowForm(points * numbers, kind, numbers)


def kind_of(files: Sequence[str], least: int = 1) -> str:
    """Return the kind, a key of KINDS, that the rows of the first label files have; "" where they are of none, or of
    several, or fewer than `least`."""
    rows: list[list[float]] = []
    for file in files[:LOOKED_AT]:
        try:
            lines = read_bytes(file, MOST_BYTES).decode("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        split = [line.split() for line in lines]
        rows += [[float(w) for w in words] for words in split if words and all(map(is_number, words))]
    counts = {len(row) for row in rows}
    if len(rows) < least:
        return ""
    if counts == {BOX_COLUMNS}:
        return "boxes"
    columns = next(iter(counts)) if len(counts) == 1 else 0
    poses = columns > BOX_COLUMNS + 1 and sum(_is_pose(row[1:]) for row in rows) >= 0.9 * len(rows)
    if poses and (columns != CORNER_COLUMNS):
        return "keypoints"
    if columns == CORNER_COLUMNS:
        return "corners"
    return "polygons" if counts and all(n % 2 and n > BOX_COLUMNS + 1 for n in counts) else ""


def kind_of_dataset(spec: DatasetSpec) -> str:
    """Return the kind of the first label rows that a dataset has; "" where there are none, or of several kinds."""
    for paths in spec.splits.values():
        with contextlib.suppress(DatasetError):
            found = kind_of([label_file(image) for image in list_images(paths)[:LOOKED_AT]])
            if found:
                return found
    return ""


def _is_pose(values: list[float]) -> bool:
    """Return True if four numbers are a box around the points (x, y or x, y, visibility) behind it."""
    behind = values[4:]
    three = len(behind) % 3 == 0 and all(v in (0, 1, 2) for v in behind[2::3])
    if three:
        behind = [v for i in range(0, len(behind), 3) for v in (behind[i : i + 2] if behind[i + 2] else (0.0, 0.0))]
    return len(behind) % 2 == 0 and _holds_points(values[:4] + behind)
