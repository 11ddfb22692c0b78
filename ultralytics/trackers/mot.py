"""The MOT challenge's format: a line `frame,id,left,top,width,height,score,-1,-1,-1` per box, frames from 1, pixels."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ultralytics.utils.errors import DatasetError
from ultralytics.utils.files import read_text
from ultralytics.utils.types import Float64Array

PEDESTRIAN = 1  # of the classes of MOT16, MOT17 and MOT20; the others say where boxes neither count nor fail


class MotFile(NamedTuple):
    """The boxes of one video."""

    frames: npt.NDArray[np.int64]  # (n,)
    ids: npt.NDArray[np.int64]  # (n,)
    boxes: Float64Array  # (n, 4) xyxy, pixels


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
        truth: it is the ground truth: lines with a 0 in the column of the score are left out, as the format has it,
            and, where there is a column of classes, those of other classes than pedestrians.

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
        if truth and len(row) > 6 and (row[6] == 0 or (7 < len(row) < 10 and row[7] not in (PEDESTRIAN, -1))):
            continue
        key = int(row[0]), int(row[1])
        if key in places:
            raise DatasetError(f"id {key[1]} is in frame {key[0]} twice, first in line {places[key]}", where)
        places[key] = number
        rows.append(row[:6])
    table = np.array(rows, np.float64).reshape(-1, 6)
    corners = np.concatenate([table[:, 2:4], table[:, 2:4] + table[:, 4:6]], 1)
    return MotFile(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), corners)


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
    if row[1] < 0:
        raise DatasetError("the box has no id: these are detections, not tracks", where, "track save_mot=True")
    return row
