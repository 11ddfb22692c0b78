"""What a split of a data set is, in 64 digits."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from ultralytics.data.labels import LabelSet


def labels_digest(labels: LabelSet, root: str | Path) -> str:
    """A digest over the images' names relative to `root`, their sizes and their boxes, whatever order they are in.

    Pixels are not read: two pictures of one name and size count as the same.
    """
    total = hashlib.sha256()
    for i in sorted(range(len(labels)), key=labels.im_files.__getitem__):
        total.update(Path(os.path.relpath(labels.im_files[i], root)).as_posix().encode(errors="surrogateescape"))
        total.update(b"\0" + np.ascontiguousarray(labels.shapes[i], "<i8").tobytes())
        for part in labels.boxes(i):
            total.update(np.ascontiguousarray(part, "<f4").tobytes())
    return f"sha256:{total.hexdigest()}"
