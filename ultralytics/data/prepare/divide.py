"""Options of every kind of dataset, and the splits that are drawn from others."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from ultralytics.cfg.keys import TASK_NAMES
from ultralytics.cfg.tasks import TASKS, labelled
from ultralytics.data.prepare.annotated import SPLITS, Converted
from ultralytics.data.subset.stratify import rank
from ultralytics.data.whole import by_image, place_of
from ultralytics.utils.errors import ConfigError, DatasetError
from ultralytics.utils.images import IMAGE_SUFFIXES
from ultralytics.utils.text import counted

NO_VALIDATION = " train and val, so the figures of a validation say nothing about new images"


@dataclass(frozen=True)
class Options:
    """What every kind of dataset can be prepared with.

    Raises:
        ConfigError: `images` is neither; a part is not 0 or more and below 1, or both leave nothing to train on.
    """

    images: str = "copy"  # "copy", or "link" for hard links
    # val, test: parts of the train images to draw as these splits, where the source lacks them; 0 for none
    val: float = 0.0
    test: float = 0.0
    seed: int = 0  # of that draw
    task: str = TASK_NAMES[0]  # what the labels are made for

    def __post_init__(self) -> None:
        if self.images not in ("copy", "link"):
            raise ConfigError(f"images={self.images} must be copy or link")
        if self.task not in labelled():
            raise ConfigError(f"task={self.task!s:.80} must be one of {', '.join(labelled())}")
        for split, part in self.parts(all_of_them=True).items():
            if not (isinstance(part, int | float) and 0 <= part < 1):
                raise ConfigError(f"{split}={part} must be a part of the images, 0 or more and below 1")
        if self.val + self.test >= 1:
            raise ConfigError(f"val={self.val} and test={self.test} leave no images to train on")

    def parts(self, all_of_them: bool = False) -> dict[str, float]:
        """Return split → part, of those that are drawn."""
        return {s: part for s, part in (("val", self.val), ("test", self.test)) if part or all_of_them}

    @property
    def labels(self) -> str:
        """Return what is written for an object: boxes, polygons, keypoints or corners."""
        return TASKS[self.task].labels

    @property
    def suffix(self) -> str:
        """Return what the default folder's name ends with."""
        return TASKS[self.task].suffix

    def kept(self) -> dict[str, Any]:
        """Return what the manifest keeps: of the draw, nothing where nothing is drawn; the task, where labels are no
        boxes."""
        drawn = {**self.parts(), "seed": self.seed} if self.parts() else {}
        return drawn | ({"task": self.task} if self.labels != "boxes" else {})


class DrawKeys(TypedDict, total=False):
    """Keywords of the draw and the task; see `Options`."""

    val: float
    test: float
    seed: int
    task: str


class Keys(DrawKeys, total=False):
    """The fields of `Options` as keywords."""

    images: str


def draw_parts(names: Sequence[str], parts: Sequence[float], seed: int) -> list[list[int]]:
    """Divide names by the hash of the seed and each name, so that neither order nor machine matters.

    Args:
        names: of the images.
        parts: of them to draw, each at least one image.

    Returns:
        The indices of the rest, then those of each part, all in the order given. The first part is the same whether
        others follow or not.

    Raises:
        DatasetError: the names are too few.
    """
    counts = [max(round(len(names) * part), 1) for part in parts]
    if sum(counts) >= len(names):
        raise DatasetError(
            f"{counted(len(names), 'image')} {'is' if len(names) == 1 else 'are'} too few to draw splits of",
            hint="leave val= and test= out",
        )
    order = sorted(range(len(names)), key=lambda i: (rank(seed, names[i]), names[i]))
    drawn: list[list[int]] = []
    for count in counts:
        drawn.append(sorted(order[:count]))
        order = order[count:]
    return [sorted(order), *drawn]


def divide(converted: Converted, wanted: Options) -> None:
    """Draw the splits that are asked for from the images of train (or of the only split), and say which images stand in
    for a split that is still missing.

    Raises:
        ConfigError: the source has such a split of its own.
        DatasetError: too few images.
    """
    there = [s for s in SPLITS if converted.splits.get(s)]
    parts = wanted.parts()
    pool = there[0] if len(there) == 1 else "train"
    for split in parts:
        if split in there and split != pool:
            raise ConfigError(f"the source has its own {split} split", hint=f"leave {split}= out")
    if parts and pool in there:
        listed = converted.splits.pop(pool)
        usable = [i for i, a in enumerate(listed) if a.image is not None]
        stems = [_image_stem(listed[i].name) for i in usable]
        together = by_image(stems)
        names = [place_of(stems[group[0]])[0] for group in together]
        _, *drawn = draw_parts(names, list(parts.values()), wanted.seed)
        taken = {s: [usable[i] for g in groups for i in together[g]] for s, groups in zip(parts, drawn, strict=True)}
        for split, indices in taken.items():
            converted.splits[split] = [listed[i] for i in indices]
        chosen = {i for indices in taken.values() for i in indices}
        converted.splits["train"] = [a for i, a in enumerate(listed) if i not in chosen]
        converted.splits = {s: converted.splits[s] for s in SPLITS if s in converted.splits}
        converted.used = {}
        tiled = len(together) < len(usable)
        shares = " and ".join(
            f"{len(groups)}{_tiles(len(taken[split]), tiled)} as {split}"
            for split, groups in zip(parts, drawn, strict=True)
        )
        everything = counted(len(together), "image") + _tiles(len(usable), tiled)
        converted.notes.append(f"drawn of {everything}: {shares} (seed {wanted.seed})")
    used = converted.used
    if there and not used:
        used = converted.used = stand_ins({s: a for s, a in converted.splits.items() if a})
        if used.get("val") == "test" != used.get("train"):
            converted.notes.append("the source has no val split: its test images are val as well")
    if used and used["train"] == used["val"]:
        converted.notes.append(f"the same images are both{NO_VALIDATION} (val=0.2 draws a split)")


def _tiles(count: int, tiled: bool) -> str:
    return f" ({counted(count, 'tile')})" if tiled else ""


def _image_stem(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in IMAGE_SUFFIXES else name


def stand_ins(splits: Mapping[str, Any]) -> dict[str, str]:
    """Return split of the YAML → split folder where a source lacks train or val; nothing where it has both."""
    if "train" in splits and "val" in splits:
        return {}
    first = next(s for s in SPLITS if s in splits)
    used = {
        "train": "train" if "train" in splits else first,
        "val": "val" if "val" in splits else "test" if "test" in splits else first,
    }
    return used | ({"test": "test"} if "test" in splits else {})
