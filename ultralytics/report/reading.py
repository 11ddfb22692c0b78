"""What lies in a run's folder, read and never changed; what is missing or damaged becomes a sentence, not an error."""

from __future__ import annotations

import contextlib
import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ultralytics.cfg.keys import KNOBS
from ultralytics.engine.run.folder import Holder, read_holder
from ultralytics.engine.run.provenance import readable
from ultralytics.engine.run.resume import previous_of
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.study.record import RECORD, RunRecord, read_record, read_seen
from ultralytics.utils.charts import read_results
from ultralytics.utils.coco import Seen
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.files import read_json, read_text
from ultralytics.utils.fonts import reason
from ultralytics.utils.metrics import CURVES_FILE
from ultralytics.utils.text import one_line
from ultralytics.utils.yaml import read_yaml

ARGS, RESULTS, METRICS, ENVIRONMENT = "args.yaml", "results.csv", "metrics.json", "environment.json"
LARGEST = 64 * 2**20  # bytes of a text file that are read
RUNNING, FINISHED, STOPPED, KILLED, UNKNOWN, FAILED = "running", "finished", "stopped", "killed", "unknown", "failed"
VALIDATIONS = 6  # of a run that are shown


class Setting(NamedTuple):
    """A key of a run."""

    value: Any
    source: str  # "default", "auto", "command line", a file, …


@dataclass
class Validation:
    """Figures of a split.

    Attributes:
        name: of its folder in the run's, "" for the run's own; folder: where it lies.
        metrics: of metrics.json; curves: of curves.json; seen: its detections, where they were kept.
    """

    name: str
    folder: Path
    metrics: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, Any] = field(default_factory=dict)
    seen: Sequence[Seen] | None = None

    @property
    def parts(self) -> dict[str, Mapping[str, Any]]:
        """Figures by what they are of: "mask" or "pose" where the task is about these, and "box"; else all as ""."""
        others = {k: v for k, v in self.metrics.items() if isinstance(v, dict) and "classes" in v}
        return {**others, "box": self.metrics} if others else {"": self.metrics}

    @property
    def class_names(self) -> dict[int, str]:
        """Class id → name, of all classes where COCO's or DOTA's figures name them, else of those with labels: these
        alone are known by their ids, which earlier code did not write."""
        for of in ("coco", "dota"):
            if known := mapping(mapping(self.metrics, of), "per_class"):
                return dict(enumerate(map(str, known)))
        rows = mapping(self.metrics, "classes")
        ids = {name: mapping(rows, name).get("id") for name in rows}
        return {i: str(name) for name, i in ids.items() if type(i) is int}


@dataclass
class RunFolder:
    """A run as its folder tells it.

    Attributes:
        folder: of the run; missing: sentences about what is not there, or cannot be read.
        settings: by key; rows: of results.csv; record: where it comes from (`engine.run.provenance`).
        study: its record in a study; validations: the run's own and those in its folder; holder: who trains in it.
    """

    folder: Path
    missing: list[str] = field(default_factory=list)
    settings: dict[str, Setting] = field(default_factory=dict)
    rows: list[dict[str, str]] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)
    study: RunRecord | None = None
    validations: list[Validation] = field(default_factory=list)
    holder: Holder | None = None

    @property
    def trained(self) -> bool:
        """Return True for a training, False for a validation alone."""
        return bool(self.settings or self.rows)

    @property
    def epochs(self) -> tuple[int, int | None]:
        """Epochs that are done, and planned; None where that is not known."""
        done = number_of(self.rows[-1].get("epoch")) if self.rows else None
        planned = self.settings["epochs"].value if "epochs" in self.settings else None
        return int(done or 0), planned if isinstance(planned, int) else None

    @property
    def state(self) -> str:
        """RUNNING, FINISHED, …"""
        if self.holder is not None:
            return {True: RUNNING, False: KILLED, None: UNKNOWN}[self.holder.alive]
        if self.study is not None and self.study.state == FAILED:
            return FAILED
        return FINISHED if any(not v.name for v in self.validations) else STOPPED


@contextlib.contextmanager
def noted(missing: list[str], what: str) -> Iterator[None]:
    """Guard a part of the page: where it cannot be made, of a damaged or edited file, that is added to `missing`."""
    try:
        yield
    except UserError as e:
        missing.append(f"{what}: {e}")
    except Exception as e:
        missing.append(f"{what}: not shown: {reason(e)}")


def number_of(text: object) -> float | None:
    """Return a cell of results.csv as a number."""
    try:
        return float(str(text))
    except ValueError:
        return None


def _is_finite(number: float | None) -> bool:
    return number is not None and math.isfinite(number)


def mapping(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a mapping in a mapping; an empty one where it is none: files may have been edited."""
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def column(rows: Sequence[Mapping[str, str]], name: str) -> tuple[list[float], list[float]]:
    """Return the epochs that have a number in a column, and the numbers."""
    pairs = [(number_of(r.get("epoch")), number_of(r.get(name))) for r in rows]
    kept = [(x, y) for x, y in pairs if x is not None and y is not None]
    return [x for x, _ in kept], [y for _, y in kept]


def read_run(folder: Path, brief: bool = False) -> RunFolder:
    """Read a run's folder.

    Args:
        folder: of a training, finished or not, or of a validation; brief: without its validations and its origin.
    """
    run = RunFolder(folder, holder=read_holder(folder))
    _read_settings(run)
    _read_rows(run)
    try:
        run.study = read_record(folder)
    except UserError as e:
        run.missing.append(f"{RECORD}: {e.what}")
    own = _read_validation(run, folder, "")
    run.validations = [own] if own else []
    if brief:
        return run
    others = sorted(f.parent for f in folder.glob(f"*/{METRICS}"))[:VALIDATIONS]
    run.validations += [v for f in others if (v := _read_validation(run, f, f.name)) is not None]
    _read_origin(run)
    if not run.validations:
        run.missing.append(f"{METRICS}: a run writes it when it ends, so there are no figures by class or size")
    return run


def _read_settings(run: RunFolder) -> None:
    file = run.folder / ARGS
    if not file.is_file():
        run.missing.append(f"{ARGS}: the settings are not known")
        return
    try:
        document = read_yaml(file, ConfigError)
    except UserError as e:
        run.missing.append(f"{ARGS}: {e.what}")
        return
    sources = document.comments()
    for key, value in document.data.items() if isinstance(document.data, dict) else ():
        same = key in KNOBS and value == KNOBS[key].default
        unnamed = "default" if same or key in ("mode", "task") else "not recorded"
        run.settings[str(key)] = Setting(value, sources.get(str(key), unnamed))


def _read_rows(run: RunFolder) -> None:
    file = run.folder / RESULTS
    if not file.is_file():
        if run.settings:
            run.missing.append(f"{RESULTS}: no epoch is finished yet, so there are no curves")
        return
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST:,} bytes")
        run.rows = [r for r in read_results(file) if _is_finite(number_of(r.get("epoch")))]
    except (OSError, ValueError, csv.Error) as e:
        run.missing.append(f"{RESULTS}: it cannot be read: {one_line(str(e), 200)}")


def _read_validation(run: RunFolder, folder: Path, name: str) -> Validation | None:
    if not (folder / METRICS).is_file():
        return None
    where = f"{name}/" if name else ""
    found = Validation(name, folder)
    for file, key in ((METRICS, "metrics"), (CURVES_FILE, "curves")):
        if (folder / file).is_file():
            try:
                setattr(found, key, read_json(folder / file, ConfigError, "it is not a mapping", ""))
            except UserError as e:
                run.missing.append(f"{where}{file}: {e.what}")
    if (folder / "seen.npz").is_file():
        try:
            found.seen = read_seen(folder / "seen.npz")
        except UserError as e:
            run.missing.append(f"{where}seen.npz: {e.what}")
    return found


def _read_origin(run: RunFolder) -> None:
    """Read where a run comes from: of environment.json, else of its weights, else of the head of args.yaml."""
    last = run.folder / "weights" / "last.pt"
    for file in (run.folder / ENVIRONMENT, last.with_name("best.pt"), last, previous_of(last)):
        if not file.is_file():
            continue
        try:
            if file.suffix == ".json":
                run.record = read_json(file, ConfigError, "it is not a mapping", "")
            else:
                run.record = readable(load_checkpoint(file).state.get("provenance"))
        except UserError as e:
            run.missing.append(f"{file.relative_to(run.folder)}: {e.what}")
        if run.record:
            return
    if not run.trained:
        return
    run.missing.append("weights: they lack the record of versions and of the command")
    file = run.folder / ARGS
    if file.is_file():
        try:
            lines = read_text(file, ConfigError, LARGEST).splitlines()[:2]
        except UserError:
            return
        run.record = dict(zip(("made with", "date"), (x[2:] for x in lines if x.startswith("# ")), strict=False))


def study_of(folder: Path) -> bool:
    """Return True if a folder is a study's."""
    planned = any((folder / n).is_file() for n in ("study.yaml", "study.json"))
    return planned or next(folder.glob(f"*/{RECORD}"), None) is not None


def is_run(folder: Path) -> bool:
    """Return True if a folder holds a training or a validation."""
    return any((folder / n).is_file() for n in (ARGS, RESULTS, METRICS))


def natural(text: str) -> tuple[object, ...]:
    """Return a key that sorts a text by the numbers in it."""
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in re.split(r"(\d+)", text))
