"""A study's report, out of what lies in its folder: no training, and no network.

OUT/study.json          with the analysis
OUT/table.md, .csv, .tex
OUT/figures/            PNG and PDF
OUT/environment.json    versions, hardware and commands
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt
import torch

from ultralytics.engine.run.folder import RunLock
from ultralytics.engine.run.provenance import code_digest, device_name, versions
from ultralytics.study import latency as timing
from ultralytics.study.analysis import Analysis, analyse
from ultralytics.study.fairness import differences
from ultralytics.study.figures import draw_all
from ultralytics.study.plan import Study
from ultralytics.study.record import (
    FINISHED,
    MATCHED,
    RECORD,
    SEEN,
    TIMES,
    RunRecord,
    read_matched,
    read_record,
    read_seen,
)
from ultralytics.study.tables import caption, csv_table, latex_table, markdown_table, refusal, verdicts
from ultralytics.study.tune.report import PLAN as TUNE_PLAN
from ultralytics.study.tune.report import RESULTS as TUNE_RESULTS
from ultralytics.utils import events
from ultralytics.utils.coco import Seen
from ultralytics.utils.errors import ConfigError, MissingFileError, UserError
from ultralytics.utils.files import read_json, write_json, write_text
from ultralytics.utils.log import LOGGER
from ultralytics.utils.yaml import read_yaml

STUDY, PLAN, ENVIRONMENT, FIGURES = "study.json", "study.yaml", "environment.json", "figures"
TEST = "test"  # in the folder of a run
LOCK = ".report.lock"
PAUSE = 0.2  # seconds between two tries to write
TABLES = ("table.md", "table.csv", "table.tex")
_ANEW = "remove it: the same command makes it anew"
COMPARED = "compared"  # in study.json: runs that no study has planned, whose keys may all differ


@contextlib.contextmanager
def writing(out: Path) -> Iterator[bool]:
    """Let one process at a time write the end of a study, or a report on it; yields whether another did before.

    Raises:
        UserError: the folder cannot be written.
    """
    waited = False
    while True:
        try:
            held = RunLock(out, LOCK)
            break
        except ConfigError:  # another process has it
            if not waited:
                LOGGER.info("another process writes the report in %s: waiting for it", out)
            waited = True
            time.sleep(PAUSE)
        except UserError as e:  # that of run folders names project=
            raise UserError(e.what, e.where, "free some space or choose another out=") from None
    with held:
        yield waited


def write_report(out: Path, fair: bool = True) -> Analysis:
    """Write the analysis, the tables and the figures of a study, from its folder alone. The same folder gives the same
    files, byte for byte. Processes that write one at once, take turns.

    Args:
        out: the study's folder; fair: refuse a table of arms that were not treated alike; False: make it, and say so
            above it.

    Raises:
        UserError: the folder holds no run of a study, or a file of it cannot be read or written.
    """
    read_plan(out)  # a folder that is none of a study gets no lock file
    with writing(out):
        return write_held_report(out, fair)


def is_written(out: Path, records: Sequence[Mapping[str, Any]], fair: bool) -> bool:
    """Return True if a study's folder holds a report on these records, as `plain_records` gives them.

    Args:
        out: the folder; records: of the study; fair: see `write_report`.
    """
    try:
        kept, now = read_json(out / STUDY, ConfigError, "there is no study in the file", _ANEW), read_plan(out)
    except UserError:
        return False
    wanted, known = json.loads(json.dumps(records)), kept.get("records") or ()
    same = "analysis" in kept and kept.get("study") == now.get("study") and all(r in known for r in wanted)
    refused = bool(kept.get("differences")) and fair
    return same and (out / TABLES[0]).is_file() and refused != (out / TABLES[1]).is_file()


def plain_records(records: Sequence[RunRecord]) -> tuple[list[dict[str, Any]], dict[str, dict[str, float]]]:
    """Return records as plain data, and apart from them what another run of the same study would not have, its times,
    by run."""
    plain, times = [], dict[str, dict[str, float]]()
    for record in records:
        cost = {k: v for k, v in record.cost.items() if not k.endswith(TIMES)}
        plain.append(replace(record, cost=cost).to_dict())
        times[f"{record.arm}-{record.seed}"] = {k: v for k, v in record.cost.items() if k.endswith(TIMES)}
    return plain, times


def write_held_report(out: Path, fair: bool) -> Analysis:
    """Write a report, see `write_report`, where this process may (`writing`)."""
    data, records, analysis, times, unfair, text = read_result(out)
    seeds = list(dict.fromkeys([*((data.get("study") or {}).get("seeds") or ()), *(r.seed for r in records)]))
    data["records"], spent = plain_records(sorted(records, key=lambda r: seeds.index(r.seed)))
    data |= {"analysis": analysis.to_dict(), "differences": unfair, "times": {**spent, "latency": times}}
    write_json(out / STUDY, data, key="out")
    write_json(out / ENVIRONMENT, _environment(out, records), key="out")
    if unfair and fair:
        for name in TABLES[1:]:
            (out / name).unlink(missing_ok=True)
        write_text(out / TABLES[0], refusal(unfair), key="out")
    else:
        write_text(out / TABLES[0], markdown_table(analysis, text, times, unfair), key="out")
        write_text(out / TABLES[1], csv_table(analysis, times), key="out")
        write_text(out / TABLES[2], latex_table(analysis, text, times, unfair), key="out")
    results: dict[str, list[Path]] = {a.name: [] for a in analysis.arms}
    for r in records:
        if r.state == FINISHED:
            results[r.arm].append(out / r.folder / "results.csv")
    drawn = draw_all(analysis, out / FIGURES, results, times)
    for line in unfair:
        LOGGER.warning("not alike: %s", line)
    if not (unfair and fair):
        for line in (*verdicts(analysis), *analysis.notes):
            LOGGER.info("%s", line)
    events.emit("result", text=str(out / TABLES[0]), folder=out, table=out / TABLES[0], differences=unfair)
    LOGGER.info("report   %s%s", out / TABLES[0], f", {len(drawn)} figures in {out / FIGURES}" if drawn else "")
    return analysis


class StudyResult(NamedTuple):
    """What a study's folder holds, and what it shows."""

    data: dict[str, Any]  # of study.json
    records: list[RunRecord]
    analysis: Analysis
    times: dict[str, dict[str, Any]]  # arm → latency
    unfair: list[str]  # what differs between the arms beside what is compared
    caption: str


def read_result(out: Path) -> StudyResult:
    """Analyse a study from its folder; nothing is written.

    Raises:
        UserError: as `write_report`.
    """
    data = read_plan(out)
    plan = data.get("study") or {}
    records = _records(out, list(plan.get("arms") or ()))
    control = plan.get("control")
    unfair = _differences(records, out, data, control)
    analysis = analyse(records, lambda r: _read_test(out / r.folder), control)
    times = timing.read_fitting(out, records)
    return StudyResult(data, records, analysis, times, unfair, caption(analysis, _about(records, plan), times))


def read_plan(out: Path) -> dict[str, Any]:
    """Return study.json as far as there is one, with the plan of study.yaml, which is the newer one where a study was
    extended and stopped; a study that was stopped before its end can be reported too.

    Raises:
        UserError: there is no such folder, it is a tune's, or a file in it is damaged.
    """
    if not out.is_dir():
        raise MissingFileError("no such folder", str(out), "the out= of a study")
    if is_tune(out):
        raise ConfigError("this is the folder of a tune", str(out), f"tune report {out}")
    file, data = out / STUDY, dict[str, Any]()
    if file.is_file():
        data = read_json(file, ConfigError, "there is no study in the file", _ANEW)
        _check_parts(data, file, {"study": dict, "times": dict, "differences": list})
    plan = data.get("study")
    if (out / PLAN).is_file():
        file = out / PLAN
        plan = read_yaml(file, ConfigError).data
        if not isinstance(plan, dict):
            raise ConfigError("this is not the plan of a study", str(file), _ANEW)
    if plan is not None:
        _check_parts(plan, file, {"base": dict, "arms": dict, "test": dict, "tune": dict, "seeds": list})
        arms = plan.get("arms") or {}
        _check_parts(arms, file, dict.fromkeys(arms, dict))
    return data | ({} if plan is None else {"study": plan})


def is_tune(out: Path) -> bool:
    """Return True if a folder is a tune's: its trials have records too."""
    return any((out / name).is_file() for name in (TUNE_PLAN, TUNE_RESULTS))


def _check_parts(data: Mapping[str, Any], file: Path, kinds: Mapping[str, type]) -> None:
    """Raise ConfigError for a part of another type than was written; parts may be missing."""
    for key, kind in kinds.items():
        if not isinstance(data.get(key), (kind, type(None))):
            raise ConfigError(f"{key} is damaged", str(file), _ANEW)


def _records(out: Path, arms: Sequence[str]) -> list[RunRecord]:
    """Return all records, by the study's order of arms and then by seed."""
    found = [r for file in sorted(out.glob(f"*/{RECORD}")) if (r := read_record(file.parent)) is not None]
    if not found:
        raise ConfigError("no run of a study lies in it", str(out), f"a folder with RUN/{RECORD}, as `study` makes it")
    names = [*arms, *sorted({r.arm for r in found} - set(arms))]
    return sorted(found, key=lambda r: (names.index(r.arm), r.seed))


def _differences(records: Sequence[RunRecord], out: Path, data: Mapping[str, Any], control: str | None) -> list[str]:
    """List what differs between the arms beside what the study is about."""
    plan = data.get("study")
    if control is None or not isinstance(plan, Mapping):
        return []
    if data.get(COMPARED):
        plain = [replace(r, facts={k: v for k, v in r.facts.items() if k != "weights"}) for r in records]
        found = differences(plain, control, ("model", "model_scale"))
        return [line.replace(", and is not declared under arms", "") for line in found]  # nothing was declared
    try:
        return differences(records, control, Study(file=out / PLAN, **plan).declared)
    except (UserError, TypeError) as e:  # a recipe that is no longer there
        kept = data.get("differences")
        return [f"whether the arms were treated alike cannot be said: {e}"] if kept is None else list(kept)


def kept_of(folder: Path) -> Path | None:
    """Return the file in which a run's test kept what it saw; None where it is lost."""
    return next((f for name in (MATCHED, SEEN) if (f := folder / TEST / name).is_file()), None)


def _read_test(folder: Path) -> Sequence[Seen] | Mapping[str, npt.NDArray[Any]] | None:
    file = kept_of(folder)
    if file is None:
        return None
    return read_matched(file) if file.name == MATCHED else read_seen(file)


def _about(records: Sequence[RunRecord], plan: Mapping[str, Any]) -> dict[str, Any]:
    """Facts that all finished runs have in common, and the recipe's name."""
    done = [r.facts for r in records if r.state == FINISHED]
    first = done[0] if done else {}
    common = {k: v for k, v in first.items() if all(f.get(k) == v for f in done)}
    named = [(plan.get("base") or {}).get("cfg")]
    named += [keys["cfg"] for keys in (plan.get("arms") or {}).values() if keys and "cfg" in keys]
    recipe = named[0] if len(set(map(str, named))) == 1 else None  # arms with a recipe of their own have no common one
    return common | ({"recipe": Path(str(recipe)).name} if recipe else {})


def _environment(out: Path, records: Sequence[RunRecord]) -> dict[str, Any]:
    """Return what the runs were made with, and what the report was."""
    runs = {}
    for r in records:
        file = out / r.folder / ENVIRONMENT
        if file.is_file():
            try:
                runs[r.folder] = read_json(
                    file, ConfigError, "there is no record in the file", "left out of the report"
                )
            except ConfigError as e:
                LOGGER.warning("%s", e)
    mine = {"versions": versions(), "code": code_digest(), "device": device_name(torch.device("cpu"))}
    return {"command": f"python -m ultralytics study report {out.name}", "report": mine, "runs": runs}
