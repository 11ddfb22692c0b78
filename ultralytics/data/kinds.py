"""Which kind of annotation label files hold, judged by their rows."""

from __future__ import annotations

from collections.abc import Sequence

from ultralytics.data.labels import BOX_COLUMNS, _holds_points
from ultralytics.utils.files import read_bytes
from ultralytics.utils.text import is_number

# A kind, in words and the task that reads it.
KINDS = {
    "boxes": ("boxes (class x y w h)", "detect"),
    "polygons": ("polygons (class, then points x y)", "segment"),
    "keypoints": ("poses (class x y w h, then keypoints)", "pose, with kpt_shape in the YAML,"),
    "corners": ("oriented boxes (class, then four corners x y)", "obb"),
}
CORNER_COLUMNS = 9
LOOKED_AT = 20  # files
MOST_BYTES = 1_000_000


def kind_of(files: Sequence[str]) -> str:
    """Return the kind, a key of KINDS, that the rows of the first label files have; "" where they are of none, or of
    several."""
    rows: list[list[float]] = []
    for file in files[:LOOKED_AT]:
        try:
            lines = read_bytes(file, MOST_BYTES).decode("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        split = [line.split() for line in lines]
        rows += [[float(w) for w in words] for words in split if words and all(map(is_number, words))]
    counts = {len(row) for row in rows}
    if counts == {BOX_COLUMNS}:
        return "boxes"
    columns = next(iter(counts)) if len(counts) == 1 else 0
    poses = columns > BOX_COLUMNS + 1 and sum(_is_pose(row[1:]) for row in rows) >= 0.9 * len(rows)
    if poses and (columns != CORNER_COLUMNS):
        return "keypoints"
    if columns == CORNER_COLUMNS:
        return "corners"
    return "polygons" if counts and all(n % 2 and n > BOX_COLUMNS + 1 for n in counts) else ""


def _is_pose(values: list[float]) -> bool:
    """Return True if four numbers are a box around the points (x, y or x, y, visibility) behind it."""
    behind = values[4:]
    three = len(behind) % 3 == 0 and all(v in (0, 1, 2) for v in behind[2::3])
    if three:
        behind = [v for i in range(0, len(behind), 3) for v in (behind[i : i + 2] if behind[i + 2] else (0.0, 0.0))]
    return len(behind) % 2 == 0 and _holds_points(values[:4] + behind)
