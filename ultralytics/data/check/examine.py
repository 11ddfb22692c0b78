"""Every image of a dataset read once, with all cores."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ultralytics.data.check.findings import ERROR
from ultralytics.data.check.images import Look, Record
from ultralytics.data.check.rules import find
from ultralytics.utils.log import progress


def examine(path: str, nc: int, near: bool = True, keypoints: int = 0) -> Record:
    """Look at an image, its label file and those beside it.

    Args:
        nc: number of classes.
        near: take the fingerprint that near-duplicates are found by.
        keypoints: see `labels.parse_labels`.
    """
    look = Look(path, nc, keypoints)
    findings = list(find(look))
    rows, lines, problems, text, columns, _ = look.labels
    keep = rows[:, 0] < nc
    return Record(
        path,
        look.shape,
        # A class out of range stops the whole training, which then keeps nothing: here the rest is still counted.
        not any(f.severity == ERROR and f.kind != "label-class-range" for f in findings),
        rows[keep],
        columns[keep],
        np.asarray(lines, np.int32)[keep],
        len(look.ignored.rows),
        text is not None or bool(problems) or os.path.lexists(look.label),
        look.size,
        look.seconds,
        look.take_print(near),
        findings,
    )


def examine_all(files: Sequence[str], nc: int, near: bool, keypoints: int) -> tuple[dict[str, Record], dict[str, Any]]:
    """Examine images. Decoding and hashing release the interpreter's lock, so threads use all cores.

    Returns:
        Records by path; how fast it went.
    """
    threads = min(os.cpu_count() or 1, 32)
    began = time.perf_counter()
    with ThreadPoolExecutor(max_workers=threads) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong with a damaged header is among the findings
        found = pool.map(lambda file: examine(file, nc, near, keypoints), files)
        records = list(progress(found, total=len(files), desc="Reading images"))
    seconds = max(time.perf_counter() - began, 1e-9)
    decoded = [r.seconds for r in records if r.shape]
    mean, size = float(np.mean(decoded)) if decoded else 0.0, sum(r.size for r in records)
    timing = {
        "images": len(records),
        "bytes": size,
        "seconds": seconds,
        "threads": threads,
        "images_per_second": len(records) / seconds,
        "megabytes_per_second": size / seconds / 1e6,
        "decode_ms": mean * 1e3,
        "ceiling": threads / mean if mean else 0.0,
    }
    return {r.path: r for r in records}, timing
