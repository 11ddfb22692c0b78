"""The MOT challenge's format: a line `frame,id,left,top,width,height,score,-1,-1,-1` per box, frames from 1, pixels."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ultralytics.utils.errors import DatasetError
from ultralytics.utils.files import read_text
from ultralytics.utils.types import Float64Array

# Classes of the ground truth of MOT16, MOT17 and MOT20: the one that counts, and those that look like it: a person on
# a vehicle, one who stays, a dummy, a reflection.
PEDESTRIAN, ALIKE = 1, (2, 7, 8, 12)
COUNTS, IGNORED, OTHER = range(3)  # roles of the boxes of a ground truth


class MotFile(NamedTuple):
    """The boxes of one video."""

    frames: npt.NDArray[np.int64]  # (n,)
    ids: npt.NDArray[np.int64]  # (n,)
    boxes: Float64Array  # (n, 4) xyxy, pixels
    roles: npt.NDArray[np.int64]  # (n,) COUNTS; IGNORED: what is found there neither counts nor fails; OTHER: not asked

    def only(self, mask: npt.NDArray[np.bool_]) -> MotFile:
        """Return some of the boxes (n,)."""
        return MotFile(self.frames[mask], self.ids[mask], self.boxes[mask], self.roles[mask])


def mot_rows(frame: int, ids: npt.NDArray[np.int64], boxes: Float64Array, scores: Float64Array) -> str:
    """Return the lines of a frame.

    Args:
        frame: its number, from 1.
        ids: (n,).
        boxes: (n, 4) xyxy, pixels.
        scores: (n,).
    """
    rows = zip(ids.tolist(), boxes.tolist(), scores.tolist(), strict=True)
    return "".join(
        f"{frame},{int(i)},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},{score:.4f},-1,-1,-1\n"
        for i, (x1, y1, x2, y2), score in rows
    )


def read_mot(path: Path, truth: bool = False) -> MotFile:
    """Read a file; the order of its lines does not matter.

    Args:
        path: the file.
        truth: it is ground truth, in which 0 in place of the score marks a box that does not count; of 8 or 9 columns,
            the eighth is a class of MOT16, MOT17 and MOT20.

    Raises:
        MissingFileError: it is not there.
        DatasetError: a line that is none, with its number; an id that is twice in a frame.
    """
    rows: list[tuple[float, ...]] = []
    places: dict[tuple[int, int], int] = {}
    for number, line in enumerate(read_text(path, DatasetError).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        row = _numbers(line, where)
        key = int(row[0]), int(row[1])
        if key in places:
            raise DatasetError(f"id {key[1]} is in frame {key[0]} twice, first in line {places[key]}", where)
        places[key] = number
        rows.append((*row[:6], _role(row) if truth else COUNTS))
    table = np.array(rows, np.float64).reshape(-1, 7)
    corners = np.concatenate([table[:, 2:4], table[:, 2:4] + table[:, 4:6]], 1)
    return MotFile(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), corners, table[:, 6].astype(np.int64))


def _role(row: tuple[float, ...]) -> int:
    kind = row[7] if 7 < len(row) < 10 else PEDESTRIAN
    if kind in ALIKE:
        return IGNORED
    return COUNTS if kind in (PEDESTRIAN, -1) and (len(row) < 7 or row[6] != 0) else OTHER


def _numbers(line: str, where: str) -> tuple[float, ...]:
    try:
        row = tuple(float(v) for v in line.replace(",", " ").split())
    except ValueError:
        raise DatasetError(f"no row of numbers: {line[:60]}", where, "frame,id,left,top,width,height,score") from None
    if len(row) < 6:
        raise DatasetError(f"6 numbers or more are needed, not {len(row)}", where, "frame,id,left,top,width,height")
    if not np.isfinite(row).all():
        raise DatasetError("a number is not finite", where)
    if row[0] < 1 or row[0] != int(row[0]) or row[1] != int(row[1]):
        what = f"frame {row[0]:g} and id {row[1]:g} must be integers, the frame of 1 or more"
        raise DatasetError(what, where)
    if row[4] < 0 or row[5] < 0:
        what = f"width {row[4]:g} and height {row[5]:g} must not be below 0"
        raise DatasetError(what, where, "frame,id,left,top,width,height, in pixels")
    if row[1] < 0:
        raise DatasetError("the box has no id: these are detections, not tracks", where, "track save_mot=True")
    return row
