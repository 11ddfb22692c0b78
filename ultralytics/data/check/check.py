"""A whole dataset looked at before it costs a night: what would break a training, what would ruin its result."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ultralytics.cfg.config import check_switches
from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.check.dataset import Checked
from ultralytics.data.check.examine import examine_all
from ultralytics.data.check.findings import ERROR, SEVERITIES, Finding, with_hint
from ultralytics.data.check.report import Report, measure
from ultralytics.data.check.report import check_place as check_place  # the command asks both of this file
from ultralytics.data.check.rules import ORDER, find
from ultralytics.data.check.splits import REPLACED, Split, list_split
from ultralytics.utils.errors import ConfigError, DatasetError
from ultralytics.utils.files import read_text

ANY_ID = 2**31  # classes where the YAML does not say how many


def check_data(data: str | Path, splits: Sequence[str] | None = None, near: bool = True) -> Report:
    """Read a whole dataset and report on it.

    Args:
        data: its YAML.
        splits: those to read, all when None.
        near: look for near-duplicates as well.

    Raises:
        MissingFileError: no such YAML.
        ConfigError: it has no such split.
    """
    check_switches({"near": near})
    problems: list[DatasetError] = []
    try:
        spec = load_dataset(data, problems, needs=splits or ("train", "val"))
    except DatasetError as e:
        place = re.fullmatch(r"(.*)(?::|, line )(\d+)", e.where, re.DOTALL)
        where = (place[1], int(place[2])) if place else (e.where, 0)
        return Report(where[0], {}, [Finding("yaml", *where, with_hint(e), ERROR)])
    unknown = [s for s in splits or () if s not in spec.splits]
    if unknown:
        raise ConfigError(
            f"split={unknown[0]} is not in {spec.yaml_file}", hint=f"the splits are {', '.join(spec.splits)}"
        )
    text = read_text(spec.yaml_file, DatasetError)
    every = {name: list_split(spec, name, text) for name in spec.splits}
    chosen = [split for name, split in every.items() if not splits or name in splits]
    report = Report(str(spec.yaml_file), spec.names)
    files = list(dict.fromkeys(f for split in chosen for f in split.files))
    records, report.timing = examine_all(files, spec.label_nc or ANY_ID, near, spec.keypoints)
    for split in chosen:
        split.records = [records[f] for f in split.files]
        report.add_split(split)
    report.sizes = measure(report)
    checked = Checked(spec, text, problems, every, chosen, near, report.splits, report.classes)
    report.findings = _in_order([*find(checked), *(f for split in chosen for f in _findings_in(split))])
    report.groups = [group.to_dict() for group in checked.groups]
    return report


def _findings_in(split: Split) -> list[Finding]:
    """Apply a split's rules; what a finding of the split says better is left out of those of its images."""
    found = list(find(split))
    replaced = {kind for f in found for kind in REPLACED.get(f.kind, ())}
    single = {f for r in split.usable for f in r.findings if f.kind in replaced}
    return [*found, *(f for f in split.findings_of_images() if f not in single)]


def _in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings by severity, kind and place, each once."""
    return sorted(
        dict.fromkeys(findings), key=lambda f: (SEVERITIES.index(f.severity), ORDER[f.kind], f.path, f.line, f.what)
    )
