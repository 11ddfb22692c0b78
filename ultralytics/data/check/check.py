"""A whole dataset looked at before a long training: what would break a training, what would ruin its result."""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ultralytics.cfg.class_folders import is_class_dataset, load_class_dataset, load_labelled_dataset
from ultralytics.cfg.config import check_switches
from ultralytics.cfg.keys import TASK_NAMES
from ultralytics.data.check.dataset import Checked
from ultralytics.data.check.findings import ERROR, SEVERITIES, Finding, with_hint
from ultralytics.data.check.images import Look, Record
from ultralytics.data.check.report import Report, measure
from ultralytics.data.check.report import check_place as check_place  # the command asks both of this file
from ultralytics.data.check.rules import ORDER, find
from ultralytics.data.check.splits import REPLACED, Split, list_class_split, list_split
from ultralytics.data.kinds import form_of
from ultralytics.data.labels import BOX_COLUMNS, BOXES, RowForm
from ultralytics.utils.errors import ConfigError, DatasetError
from ultralytics.utils.files import read_text
from ultralytics.utils.log import progress
from ultralytics.utils.threads import readers

ANY_ID = 2**31  # classes where the YAML does not say how many


def check_data(
    data: str | Path, splits: Sequence[str] | None = None, near: bool = True, task: str | None = None
) -> Report:
    """Read a whole dataset, or some splits, and report on it; `near` looks for near-duplicates as well, and `task` says
    what the labels are read for, see `kinds.form_of`. The dataset may be of class folders.

    Raises:
        MissingFileError: no such YAML or folder.
        ConfigError: it has no such split; no such task.
    """
    check_switches({"near": near})
    if task is not None and task not in TASK_NAMES:
        raise ConfigError(f"task={task} is not offered", hint=f"tasks: {', '.join(TASK_NAMES)}")
    problems: list[DatasetError] = []
    needs, by_folder = splits or ("train", "val"), is_class_dataset(data, task)
    try:
        spec = load_class_dataset(data, needs) if by_folder else load_labelled_dataset(data, needs, problems)
    except DatasetError as e:
        place = re.fullmatch(r"(.*)(?::|, line )(\d+)", e.where, re.DOTALL)
        where = (place[1], int(place[2])) if place else (e.where, 0)
        return Report(where[0], {}, [Finding("yaml", *where, with_hint(e), ERROR)])
    unknown = [s for s in splits or () if s not in spec.splits]
    if unknown:
        raise ConfigError(
            f"split={unknown[0]} is not in {spec.yaml_file}", hint=f"the splits are {', '.join(spec.splits)}"
        )
    text = "" if spec.yaml_file.is_dir() else read_text(spec.yaml_file, DatasetError)
    every = {name: (list_class_split if by_folder else list_split)(spec, name, text) for name in spec.splits}
    chosen = [split for name, split in every.items() if not splits or name in splits]
    report = Report(str(spec.yaml_file), spec.names, by_folder=by_folder)
    files = list(dict.fromkeys(f for split in chosen for f in split.files))
    form = None if by_folder else form_of(spec, files, task)
    records, report.timing = examine_all(files, spec.label_nc or ANY_ID, near, form)
    for split in chosen:
        split.records = [records[f] for f in split.files]
        if split.classes is not None:
            label(split, split.classes)
        report.add_split(split)
    report.sizes = measure(report)
    checked = Checked(spec, text, problems, every, chosen, near, report.splits, report.classes, by_folder)
    found = dict.fromkeys([*find(checked), *(f for split in chosen for f in _findings_in(split))])
    report.findings = sorted(found, key=lambda f: (SEVERITIES.index(f.severity), ORDER[f.kind], *f[1:4]))
    report.groups = [group.to_dict() for group in checked.groups]
    return report


def label(split: Split, classes: Mapping[str, int]) -> None:
    """Give each image its class, of an object as large as it."""
    for r in split.records:
        r.rows = np.array([[classes[r.path], 0.5, 0.5, 1, 1]], np.float64)
        r.columns, r.lines, r.labelled = np.array([BOX_COLUMNS], np.int32), np.zeros(1, np.int32), True


def _findings_in(split: Split) -> list[Finding]:
    """Apply a split's rules; what a finding of the split says better is left out of those of its images."""
    found = list(find(split))
    replaced = {kind for f in found for kind in REPLACED.get(f.kind, ())}
    single = {f for r in split.usable for f in r.findings if f.kind in replaced}
    return [*found, *(f for f in split.findings_of_images() if f not in single)]


def examine(path: str, nc: int, near: bool = True, form: RowForm | None = BOXES) -> Record:
    """Look at an image, its label file and those beside it; `near` takes the fingerprint that near-duplicates are found
    by. `form`: how label rows are read, None where there are none."""
    look = Look(path, nc, form)
    findings = list(find(look))
    labels = look.labels
    keep = labels.rows[:, 0] < nc
    return Record(
        path=path,
        shape=look.shape,
        # A class out of range stops the whole training, which then keeps nothing: here the rest is still counted.
        usable=not any(f.severity == ERROR and f.kind != "label-class-range" for f in findings),
        rows=labels.rows[keep],
        columns=labels.columns[keep],
        lines=np.asarray(labels.lines, np.int32)[keep],
        ignored=len(look.ignored.rows),
        labelled=labels.text is not None or bool(labels.problems) or os.path.lexists(look.label),
        size=look.size,
        seconds=look.seconds,
        print=look.take_print(near),
        findings=findings,
    )


def examine_all(
    files: Sequence[str], nc: int, near: bool, form: RowForm | None
) -> tuple[dict[str, Record], dict[str, Any]]:
    """Examine images. Decoding and hashing release the interpreter's lock, so threads use all cores.

    Returns:
        Records by path; how fast it went.
    """
    threads = readers(32)
    began = time.perf_counter()
    with ThreadPoolExecutor(max_workers=threads) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong with a damaged header is among the findings
        found = pool.map(lambda file: examine(file, nc, near, form), files)
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
