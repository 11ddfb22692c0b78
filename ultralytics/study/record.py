"""What a study keeps of its runs: plain data, from which every table and figure can be drawn again without training.

OUT/study.yaml          the study as it was resolved
OUT/ARM-SEED/           a training run's folder
OUT/ARM-SEED/test/      its validation on the test split, with seen.npz; of tasks besides detection with matched.npz
OUT/ARM-SEED/run.json   a RunRecord, once the run has finished or failed
OUT/study.json          all records, the arms' costs, and the comparison
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from ultralytics.study.resampling import measured_of
from ultralytics.utils.coco import Seen
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import read_json, write_atomically, write_json
from ultralytics.utils.types import UNKNOWN_AREA

FINISHED, FAILED = "finished", "failed"
PRUNED = "pruned"  # a trial of a tune that was stopped early, as it had fallen behind
RECORD = "run.json"
SEEN, MATCHED = "seen.npz", "matched.npz"  # in the folder of a test: of boxes, and of other tasks
DETECT = "detect"  # the task of records that name none
TIMES = "_seconds"  # how the names of costs end that another run of the same would not have


@dataclass(frozen=True)
class RunRecord:  # size: what tables, figures and checks of fairness are made from
    """A run of a study.

    Attributes:
        arm, seed: which one it is; state: FINISHED, FAILED or PRUNED; error: the line of a failed run.
        folder: of the run, relative to the study's.
        figures: on the test split, 0..1: mAP50-95, mAP50, mAP75, precision, recall (the reference's), AP, AP50, AP75,
            AP_S, … (COCO's); None where there is nothing to measure it by.
        per_class: class name → AP (COCO's).
        facts: what must be equal for runs to be comparable: digests of the data, optimiser steps, epochs planned and
            run, how the epoch was selected, the evaluator, the share of the pretrained weights that was transferred, …
        keys: configuration keys that are not at their default, with their values.
        blocks: row → share, gate_mean, gate_max of the meter at the end; cost: parameters, flops (fused, at the
            study's size), epoch_seconds.
        curve: of a trial of a tune: fitness on val by epoch.
        task: of the network; figures are named after what it is about (`TaskFigures.shown`).
    """

    arm: str
    seed: int
    state: str
    folder: str
    error: str = ""
    figures: Mapping[str, float | None] = field(default_factory=dict)
    per_class: Mapping[str, float | None] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, Any] = field(default_factory=dict)
    blocks: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)
    curve: Sequence[float] = ()
    task: str = DETECT

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        data = asdict(self)
        usual = {"curve": (), "task": DETECT}  # records of earlier code have neither
        return {k: v for k, v in data.items() if k not in usual or v != usual[k]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "") -> RunRecord:
        """Read what `to_dict` wrote.

        Raises:
            ConfigError: a field is missing, or of another type than was written.
        """
        missing = [name for name in ("arm", "seed", "state", "folder") if name not in data]
        wrong = [name for name, right in _SOUND.items() if name in data and not right(data[name])]
        if missing or wrong:
            what = f"{missing[0]} is missing" if missing else f"{wrong[0]} is damaged"
            raise ConfigError(what, where, "the file was not written by a study")
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in data.items() if k in known})


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _holds_numbers(value: object) -> bool:
    """Return True for a mapping of numbers, some of which may be None."""
    return isinstance(value, Mapping) and all(v is None or isinstance(v, int | float) for v in value.values())


# What a field of a record that was read must be.
_SOUND: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("arm", "state", "folder", "error", "task"), _is_text),
    "seed": lambda value: type(value) is int,
    **dict.fromkeys(("figures", "per_class"), _holds_numbers),
    "cost": lambda value: _holds_numbers(value) and None not in value.values(),
    **dict.fromkeys(("facts", "keys"), _is_mapping),
    "blocks": lambda value: isinstance(value, Mapping) and all(map(_holds_numbers, value.values())),
    "curve": lambda value: isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value),
}


def write_record(folder: Path, record: RunRecord) -> None:
    """Write a run's record into its folder."""
    write_json(folder / RECORD, record.to_dict(), key="out")


def read_record(folder: Path) -> RunRecord | None:
    """Return the record of a run's folder; None where there is none yet.

    Raises:
        ConfigError: it cannot be read.
    """
    file = folder / RECORD
    if not file.is_file():
        return None
    data = read_json(file, ConfigError, "there is no record in the file", "remove it, and the run is tested again")
    return RunRecord.from_dict(data, str(file))


def write_seen(path: Path, seen: Sequence[Seen]) -> None:
    """Write what an evaluation has seen, image by image, as arrays (`read_seen` reads it)."""
    rows: dict[str, Any] = {
        "files": np.array([s.file for s in seen], np.str_),
        "shapes": np.array([s.shape for s in seen], np.int64).reshape(-1, 2),
    }
    for name in ("found", "truths"):
        parts = [getattr(s, name) for s in seen]
        rows[name] = np.concatenate([np.zeros((0, 6)), *parts])
        rows[f"{name}_counts"] = np.array([len(p) for p in parts], np.int64)
    areas = [np.full(len(s.truths), UNKNOWN_AREA) if s.areas is None else s.areas for s in seen]
    rows["areas"] = np.concatenate([np.zeros(0), *areas])
    write_atomically(path, lambda file: np.savez_compressed(file, **rows), key="out")


def read_seen(path: Path) -> list[Seen]:
    """Read what `write_seen` wrote; nothing in it is executed.

    Raises:
        ConfigError: it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as rows:
            found = np.split(rows["found"], np.cumsum(rows["found_counts"])[:-1])
            ends = np.cumsum(rows["truths_counts"])[:-1]
            truths = np.split(rows["truths"], ends)
            # Files of earlier code have no areas.
            areas = np.split(rows["areas"] if "areas" in rows else np.full(len(rows["truths"]), UNKNOWN_AREA), ends)
            shapes = [(int(h), int(w)) for h, w in rows["shapes"]]
            own = [a if (a > 0).any() else None for a in areas]
            return [Seen(*row) for row in zip(map(str, rows["files"]), shapes, found, truths, own, strict=False)]
    except _DAMAGED as e:
        raise _unreadable(path, e) from e


def write_matched(path: Path, kept: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write what the evaluator of a task kept of each image (`by_image`); `read_matched` reads it."""
    rows: dict[str, Any] = dict(kept)
    write_atomically(path, lambda file: np.savez_compressed(file, **rows), key="out")


def read_matched(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read what `write_matched` wrote; nothing in it is executed.

    Raises:
        ConfigError: it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as rows:
            kept = {name: rows[name] for name in rows.files}
        measured_of(kept)
        return kept
    except _DAMAGED as e:
        raise _unreadable(path, e) from e


# What a file of arrays that is cut short or damaged raises.
# What NumPy and zipfile raise on a file that is cut short or damaged: which, depends on the byte.
_DAMAGED = (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, NotImplementedError, BadZipFile, zlib.error)


def _unreadable(path: Path, error: Exception) -> ConfigError:
    hint = f"remove {path.parent.parent / RECORD}: the same study, or compare, validates the run anew"
    return ConfigError(f"the file cannot be read: {error}", str(path), hint)
