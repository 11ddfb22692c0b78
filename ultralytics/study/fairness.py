"""Return True if the arms of a study were treated alike: what differs between them besides what the study is about.

Runs are compared by pairs, as the statistics do it: an arm and the control with the same seed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ultralytics.study.record import FINISHED, RunRecord
from ultralytics.utils.text import counted

SHOWN = 60  # characters of a value
_PLANNED = ("steps planned", "steps done")
# Said in one line, since the second follows from the first.
_STOPPED = ("epochs run", "steps done")
# Facts that are the value of the key of their name, or follow from keys, and may differ where they are declared.
_KEYS = ("optimizer", "imgsz", "batch", *_PLANNED)


def differences(records: Sequence[RunRecord], control: str, declared: Collection[str]) -> list[str]:
    """List what differs between the arms besides the declared keys, a line for each fact or key and arm.

    Args:
        records: of a study, those of failed runs are passed over; control: the arm to compare with.
        declared: keys in which the arms may differ.

    Returns:
        Lines in words; empty where the arms were treated alike.
    """
    done = {(r.arm, r.seed): r for r in records if r.state == FINISHED}
    found: dict[tuple[str, str], tuple[str, list[int]]] = {}  # (arm, what) → how, and with which seeds
    for (arm, seed), mine in done.items():
        theirs = done.get((control, seed))
        if arm == control or theirs is None:
            continue
        for what, how in _pair(mine, theirs, declared).items():
            found.setdefault((arm, what), (how, []))[1].append(seed)
    lines = [f"{arm} and {control}: {how} ({_seeds(seeds)})" for (arm, _), (how, seeds) in found.items()]
    return lines + _between_seeds(list(done.values()))


def _pair(mine: RunRecord, theirs: RunRecord, declared: Collection[str]) -> dict[str, str]:
    """List what differs between an arm's run and the control's."""
    found: dict[str, str] = {}
    if mine.task != theirs.task:
        found["task"] = f"the task is {mine.task} and {theirs.task}"
    for key in dict.fromkeys([*mine.keys, *theirs.keys]):
        if key not in declared and mine.keys.get(key) != theirs.keys.get(key):
            a, b = (_show_value(r.keys[key]) if key in r.keys else "its default" for r in (mine, theirs))
            found[key] = f"the key {key} is {a} and {b}, and is not declared under arms"
    facts = [k for k in dict.fromkeys([*mine.facts, *theirs.facts]) if mine.facts.get(k) != theirs.facts.get(k)]
    facts = [k for k in facts if k not in _KEYS or k not in declared]
    for fact in facts:
        if fact in _STOPPED and "steps planned" not in facts and "epochs planned" not in facts:
            found["early stop"] = _early(mine, theirs)
            continue
        found[fact] = f"{fact}: {_show_value(mine.facts.get(fact))} and {_show_value(theirs.facts.get(fact))}"
    return found


def _early(mine: RunRecord, theirs: RunRecord) -> str:
    lengths = []
    for run in (mine, theirs):
        epochs, steps = int(run.facts.get("epochs run", 0)), int(run.facts.get("steps done", 0))
        lengths.append(f"{counted(epochs, 'epoch')}, {counted(steps, 'step')}")
    return f"early stopping made the training unequal: {lengths[0]} and {lengths[1]}; patience=0 switches it off"


# What may not differ between seeds either: the seeds' spread would be of other things than seeds.
_CONSTANT = (
    "train data", "val data", "test data", "test split", "evaluator", "test settings", "code", "torch", "device",
)  # fmt: skip


def _between_seeds(records: Sequence[RunRecord]) -> list[str]:
    """List what differs between the runs of one arm."""
    lines = []
    for arm in dict.fromkeys(r.arm for r in records):
        mine = [r for r in records if r.arm == arm]
        for fact in _CONSTANT:
            other = next((r for r in mine[1:] if r.facts.get(fact) != mine[0].facts.get(fact)), None)
            if other is not None:
                a, b = (f"{_show_value(r.facts.get(fact))} with seed {r.seed}" for r in (mine[0], other))
                lines.append(f"{arm}: {fact}: {a} and {b}")
    return lines


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, sorted(seeds)))}"


def _show_value(value: Any) -> str:
    if isinstance(value, Mapping):
        value = ", ".join(f"{k}={v}" for k, v in value.items())
    text = "none" if value is None else str(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
