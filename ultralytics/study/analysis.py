"""What a study's records show: each arm against the control, with the same seeds and on the same images.

The verdict needs the interval and p together, and p is corrected for the number of arms (Holm): a study of many arms
would find a difference by chance otherwise. A sign-flip test cannot give a p below 2^(1 − seeds), so a study of several
arms needs more seeds than one of two; `fewest_seeds` says how many.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ultralytics.models.yolo.task import task_named
from ultralytics.study.record import DETECT, FINISHED, TIMES, RunRecord
from ultralytics.study.resampling import Detections, MeasuredSplit, draw, measured_of
from ultralytics.study.statistics import SHOWN, Difference, compare, holm
from ultralytics.utils.coco import Seen
from ultralytics.utils.text import counted
from ultralytics.utils.types import Float64Array

DRAWS = 500  # of the test images: the interval is known to about 2 % of its width
RECALLS = np.linspace(0, 1, 201)  # of the curves

# What a run's test kept: the detections and labels of each image, or what the evaluator of another task did.
Read = Callable[[RunRecord], Sequence[Seen] | Mapping[str, npt.NDArray[Any]] | None]


@dataclass(frozen=True)
class ClassDifference:
    """A class's AP against the control's; p is corrected for the number of classes."""

    name: str
    difference: Difference


@dataclass(frozen=True)
class Arm:
    """An arm of a study."""

    name: str
    seeds: tuple[int, ...]  # that finished, rising
    failed: Mapping[int, str]  # seeds that failed, with their line
    # name → the figure of each of `seeds`; None where there is nothing to measure it by
    figures: Mapping[str, tuple[float | None, ...]]
    unpaired: tuple[int, ...] = ()  # seeds that finished here or with the control, and not with both
    # against the control; None for the control, and where no seed is common. Its p is as tested.
    difference: Difference | None = None
    p: float = 1.0  # corrected for the number of arms
    verdict: str = ""  # in words, by the corrected p
    classes: tuple[ClassDifference, ...] = ()  # per class, where there are several seeds or one
    curve: Float64Array | None = None  # precision at RECALLS, mean over the seeds
    cost: Mapping[str, float] = field(default_factory=dict)  # name → mean over the seeds
    share: Mapping[str, float] = field(default_factory=dict)  # ‖gate ⊙ A‖ / ‖x‖ by block, mean over the seeds

    def mean(self, figure: str) -> float | None:
        """Over the seeds that have it."""
        known = self._known(figure)
        return float(np.mean(known)) if known else None

    def deviation(self, figure: str) -> float | None:
        """Standard deviation over the seeds; None for fewer than two."""
        known = self._known(figure)
        return float(np.std(known, ddof=1)) if len(known) > 1 else None

    def _known(self, figure: str) -> list[float]:
        return [v for v in self.figures.get(figure, ()) if v is not None]

    @property
    def shown(self) -> bool:
        """Return True if a difference is shown."""
        return self.verdict in ("gains", "costs")

    @property
    def wins(self) -> tuple[list[str], list[str]]:
        """Classes that gain, and that lose, by their corrected p and interval."""
        gain, lose = ([c.name for c in self.classes if c.difference.verdict == v] for v in ("gains", "costs"))
        return gain, lose


@dataclass(frozen=True)
class Analysis:
    """A study's result."""

    control: str | None  # the arm that the others are compared with; None where there is none
    arms: tuple[Arm, ...]  # in the study's order
    images: int  # of the test split
    notes: tuple[str, ...]  # sentences about what a reader must know
    task: str = DETECT  # of the networks

    @property
    def metric(self) -> str:
        """Return the figure that is compared, as in records: mAP50-95, mask mAP50-95, top-1 accuracy, …"""
        return task_named(self.task).figures.metric

    @property
    def second(self) -> str:
        """Return the figure that is shown beside it: mAP50, top-5 accuracy, …"""
        return list(task_named(self.task).figures.first)[1]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for study.json."""
        return {
            "metric": self.metric,
            "control": self.control,
            "images": self.images,
            "draws": DRAWS,
            "notes": list(self.notes),
            "arms": {a.name: _to_plain(a) for a in self.arms},
        }


def _to_plain(arm: Arm) -> dict[str, Any]:
    d = arm.difference
    return {
        "seeds": list(arm.seeds),
        "failed": {str(k): v for k, v in arm.failed.items()},
        "unpaired": list(arm.unpaired),
        "figures": {k: {"mean": arm.mean(k), "deviation": arm.deviation(k)} for k in arm.figures},
        "difference": None if d is None else vars(d) | {"per_seed": list(d.per_seed), "p_holm": arm.p},
        "verdict": arm.verdict or None,
        "classes": {
            c.name: {"mean": c.difference.mean, "low": c.difference.low, "high": c.difference.high,
                     "p_holm": c.difference.p, "verdict": c.difference.verdict}
            for c in arm.classes
        },
        "cost": {k: v for k, v in arm.cost.items() if not k.endswith(TIMES)},
        "share": dict(arm.share),
    }  # fmt: skip


def fewest_seeds(comparisons: int) -> int:
    """Seeds from which on a study of so many arms beside the control can show a difference at all."""
    return 1 + math.ceil(math.log2(max(comparisons, 1) / SHOWN) - 1e-9)


def analyse(records: Sequence[RunRecord], read: Read, control: str | None = None) -> Analysis:
    """Compare every arm with the control.

    Args:
        records: of all runs, in the study's order of arms; read: what a run's test has seen, None where it is lost.
        control: the arm to compare with; without one, or where it has no finished run, nothing is compared.

    Returns:
        The analysis; all arms are resampled by the same draws of images.
    """
    notes: list[str] = []
    done = [r for r in records if r.state == FINISHED]
    task = done[0].task if done else DETECT
    strange = "{0.arm}, seed {0.seed}: its task is {0.task}, not {1}, and it is not compared"
    notes += [strange.format(r, task) for r in done if r.task != task]
    done = [r for r in done if r.task == task]
    tested = _tested(done, read, notes)
    images = len(next(iter(tested.values())).order) if tested else 0
    weights = draw(images, DRAWS, np.random.default_rng(0)) if images else np.zeros((DRAWS, 0))
    resampled = {key: t.resample(weights) for key, t in tested.items()}
    metric = task_named(task).figures.metric
    if done and all(r.figures.get(metric) == 0 for r in done):
        notes.append(f"{metric} is 0 in every run: none has learned anything yet, so nothing can be compared")
    arms = [_arm(name, records, tested) for name in dict.fromkeys(r.arm for r in records)]
    for arm in arms:
        if arm.failed:
            lost = ", ".join(map(str, arm.failed))
            notes.append(f"{arm.name}: {counted(len(arm.failed), 'run')} failed (seed {lost}) and is left out")
    if control is None or not any(a.name == control and a.seeds for a in arms):
        if len(arms) > 1:
            notes.append("there is no control to compare with" if control is None else f"{control} has no finished run")
        return Analysis(control, tuple(arms), images, tuple(notes), task)
    compared = [
        arm if arm.name == control else _compare_arm(arm, control, done, tested, resampled, notes) for arm in arms
    ]
    corrected = holm({a.name: a.difference.p for a in compared if a.difference is not None})
    final = [
        a if a.difference is None else replace(
            a, p=corrected[a.name], verdict=replace(a.difference, p=corrected[a.name]).verdict
        )
        for a in compared
    ]  # fmt: skip
    notes += _name_limits(final)
    return Analysis(control, tuple(final), images, tuple(notes), task)


def _compare_arm(
    arm: Arm,
    control: str,
    done: Sequence[RunRecord],
    tested: Mapping[tuple[str, int], _Tested],
    resampled: Mapping[tuple[str, int], _Resampled],
    notes: list[str],
) -> Arm:
    """Compare an arm with the control on the seeds that both have; those that one lacks become a note."""
    metric = task_named(done[0].task).figures.metric
    figures = {(r.arm, r.seed): r.figures.get(metric) for r in done}
    usable = {key for key in tested if figures[key] is not None}
    seeds = [s for s in arm.seeds if {(arm.name, s), (control, s)} <= usable]
    theirs = {r.seed for r in done if r.arm == control}
    unpaired = tuple(sorted((set(arm.seeds) | theirs) - set(seeds)))
    if unpaired:
        lacking = f"seed {', '.join(map(str, unpaired))}"
        notes.append(f"{arm.name}: {lacking} did not finish with it and with {control} both, and is not compared")
    if not seeds:
        return replace(arm, unpaired=unpaired)
    pairs = [((arm.name, s), (control, s)) for s in seeds]
    images = len(tested[pairs[0][0]].order)
    difference = compare(
        np.array([figures[a] for a, _ in pairs], np.float64),
        np.array([figures[c] for _, c in pairs], np.float64),
        np.stack([resampled[a].overall for a, _ in pairs]),
        np.stack([resampled[c].overall for _, c in pairs]),
        images,
    )
    names = dict(enumerate(next((r.per_class for r in done if r.per_class), ())))  # in the order of their ids
    ids = tested[pairs[0][0]].measured.classes
    whole = {key: tested[key].measured.by_class(np.ones((1, images))) for pair in pairs for key in pair}
    classes = _compare_classes([names.get(int(i), str(i)) for i in ids], pairs, whole, resampled, images)
    return replace(arm, unpaired=unpaired, difference=difference, classes=classes)


def _name_limits(arms: Sequence[Arm]) -> list[str]:
    """Say what the design could not have shown, whatever the truth."""
    compared = [a for a in arms if a.difference is not None]
    seeds = [a.difference.seeds for a in compared if a.difference is not None]
    if not seeds:
        return []
    found = []
    if min(seeds) == 1:
        found.append("with one seed the interval is of the images alone: p cannot be computed, and nothing is shown")
    need = fewest_seeds(len(compared))
    if max(seeds) < need:
        compared_with = f"{counted(len(compared), 'comparison')} with {counted(max(seeds), 'paired seed')}"
        found.append(f"{compared_with} cannot reach p = {SHOWN}: {need} seeds are the fewest that can")
    return found


@dataclass(frozen=True)
class _Tested:
    """What a run's test found, and the place of each of its images among those of the study."""

    measured: MeasuredSplit
    order: Sequence[int]

    def resample(self, weights: Float64Array) -> _Resampled:
        """Return its figures for weights (R, images) of the study's images."""
        mine = weights[:, self.order]
        by_class = self.measured.by_class(mine)
        return _Resampled(by_class, self.measured.overall(mine, by_class))


@dataclass(frozen=True)
class _Resampled:
    """Figures of a run on resampled images."""

    by_class: Float64Array  # (R, C)
    overall: Float64Array  # (R,)


def _tested(done: Sequence[RunRecord], read: Read, notes: list[str]) -> dict[tuple[str, int], _Tested]:
    found: dict[tuple[str, int], _Tested] = {}
    places: dict[str, int] | None = None
    objects: Any = None
    for r in done:
        seen = read(r)
        if seen is None:
            notes.append(f"{r.arm}, seed {r.seed}: what its test has seen is lost, and it is not compared")
            continue
        files, measured = _read_measured(seen)
        if places is None:
            places = {name: i for i, name in enumerate(sorted(files))}
        mine = measured.classes.tolist(), len(measured.target_cls)
        if set(files) != set(places) or (objects is not None and mine != objects):
            notes.append(f"{r.arm}, seed {r.seed}: it was tested on other images or labels, and is not compared")
            continue
        objects = mine
        found[r.arm, r.seed] = _Tested(measured, [places[f] for f in files])
    return found


def _read_measured(kept: Sequence[Seen] | Mapping[str, npt.NDArray[Any]]) -> tuple[list[str], MeasuredSplit]:
    if isinstance(kept, Mapping):
        return _file_names(list(map(str, kept["files"]))), measured_of(kept)
    return _file_names([s.file for s in kept]), Detections.from_seen(kept)


def _file_names(files: list[str]) -> list[str]:
    """Names of the images without the folders that differ between machines: the last part of each path, or where that
    does not tell them apart, what follows the folders that all share."""
    parts = [file.replace("\\", "/").split("/") for file in files]
    if len({p[-1] for p in parts}) == len(parts):
        return [p[-1] for p in parts]
    columns = zip(*(p[:-1] for p in parts), strict=False)
    shared = len(list(itertools.takewhile(lambda names: len(set(names)) == 1, columns)))
    return ["/".join(p[shared:]) for p in parts]


def _arm(name: str, records: Sequence[RunRecord], tested: Mapping[tuple[str, int], _Tested]) -> Arm:
    mine = sorted((r for r in records if r.arm == name), key=lambda r: r.seed)
    done = [r for r in mine if r.state == FINISHED]
    measured = [tested[name, r.seed].measured for r in done if (name, r.seed) in tested]
    curves = [c for m in measured if (c := m.precision_over_recall(RECALLS)) is not None]
    costs = dict.fromkeys(k for r in done for k in r.cost)
    blocks = dict.fromkeys(b for r in done for b in r.blocks if "share" in r.blocks[b])
    return Arm(
        name=name,
        seeds=tuple(r.seed for r in done),
        failed={r.seed: r.error for r in mine if r.state != FINISHED},
        figures={k: tuple(r.figures.get(k) for r in done) for k in dict.fromkeys(k for r in done for k in r.figures)},
        curve=np.mean(curves, 0) if curves else None,
        cost={k: float(np.mean([r.cost[k] for r in done if k in r.cost])) for k in costs},
        share={
            b: float(np.mean([r.blocks[b]["share"] for r in done if "share" in r.blocks.get(b, {})])) for b in blocks
        },
    )


def _compare_classes(
    names: Sequence[str],
    pairs: Sequence[tuple[tuple[str, int], tuple[str, int]]],
    whole: Mapping[tuple[str, int], Float64Array],
    resampled: Mapping[tuple[str, int], _Resampled],
    images: int,
) -> tuple[ClassDifference, ...]:
    """Each class against the control's; a resample without an object of the class says nothing about it."""
    found = []
    for k, name in enumerate(names):
        arm, control = (np.stack([resampled[pair[side]].by_class[:, k] for pair in pairs]) for side in (0, 1))
        known = ~np.isnan(arm[0])
        if known.sum() < 2:
            continue
        ap = [np.array([whole[pair[side]][0, k] for pair in pairs]) for side in (0, 1)]
        found.append((name, compare(ap[0], ap[1], arm[:, known], control[:, known], images)))
    corrected = holm({str(i): d.p for i, (_, d) in enumerate(found)})
    return tuple(ClassDifference(n, replace(d, p=corrected[str(i)])) for i, (n, d) in enumerate(found))
