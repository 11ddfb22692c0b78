"""The one writer of prepared datasets.

A prepared dataset is a folder with images/SPLIT, labels/SPLIT, ignore/SPLIT, areas/SPLIT, whole/SPLIT (of tiles),
data.yaml and manifest.json; see docs/datasets.md.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import yaml

from ultralytics.data.prepare.annotated import SPLITS, Annotated, Converted, first_of, in_threads, no_objects
from ultralytics.data.prepare.folder import place_image
from ultralytics.data.whole import place_of, whole_file, whole_text
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.images import IMAGE_SUFFIXES
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted, escaped, likely_slips, name_key, one_line

SHOWN_PROBLEMS = 20
SHOWN_CLASSES = 10
UNPACKED = ".unpacked"  # inside the folder being made


def in_archive(folder: Path, text: str) -> str:
    """Return a message in one line; what lies in an unpacked archive is called by the archive's name and the path in
    it.

    Args:
        folder: the dataset that is being made.
    """
    return one_line(re.sub(rf"{re.escape(str(folder / UNPACKED) + os.sep)}\d+-", "", text))


@dataclass
class Written:
    """What `write_dataset` wrote: images per split folder, objects per class, and the rest counted."""

    images: dict[str, int]
    objects: dict[str, int]
    ignored: int
    left_out: int
    cut: int
    problems: list[str]

    def report(self, out: Path, converted: Converted) -> None:
        """Write to the log what was made."""
        LOGGER.info("%s: %s", out, ", ".join(counted(n, f"{s} image") for s, n in self.images.items()))
        shown, more = list(self.objects.items()), ""
        if len(shown) > SHOWN_CLASSES + 1:
            shown = Counter(self.objects).most_common(SHOWN_CLASSES)
            more = f", … {len(self.objects) - SHOWN_CLASSES} more classes"
        LOGGER.info("objects: %s%s", ", ".join(f"{name} {n}" for name, n in shown), more)
        for slip, meant in likely_slips(self.objects):
            pair = f"{slip!r} ({self.objects[slip]}) and {meant!r} ({self.objects[meant]})"
            LOGGER.warning("the classes %s have nearly the same name: is it a slip?", pair)
        if self.ignored:
            ignored = f"{counted(self.ignored, 'object')} {'is' if self.ignored == 1 else 'are'}"
            LOGGER.info("%s neither rewarded nor punished by the evaluation: %s", ignored, out / "ignore")
        for note in converted.notes:
            LOGGER.warning("%s", note)
        if self.cut:
            their, were = ("its", "was") if self.cut == 1 else ("their", "were")
            LOGGER.info("%s reached beyond %s image and %s cut to it", counted(self.cut, "box"), their, were)
        if self.problems:
            left_out = f"{counted(self.left_out, 'image')} left out; " if self.left_out else ""
            found = counted(len(self.problems), "problem")
            LOGGER.warning("%s%s, in %s:", left_out, found, out / "problems.txt")
            alike = list(_group_alike(self.problems).values())
            for same in alike[:SHOWN_PROBLEMS]:
                more = f" (and {len(same) - 1} more like it in this file)" if len(same) > 1 else ""
                LOGGER.warning("  %s%s", same[0], more)
            if len(alike) > SHOWN_PROBLEMS:
                LOGGER.warning("  … and %d more", sum(map(len, alike[SHOWN_PROBLEMS:])))


def _group_alike(problems: Sequence[str]) -> dict[tuple[str, str], list[str]]:
    """Return problems by their file and what they say apart from numbers, names and lines."""
    found: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        file, _, what = problem.partition(": ")
        file = re.sub(r":\d+$", "", file)
        kind = re.sub(r"'[^']*'|\([^)]*\)|[-+]?\d[\d.e+-]*", "#", what)
        found.setdefault((file, kind), []).append(problem)
    return found


class _Job(NamedTuple):
    """An image to write: its split folder, what is known of it, and its path inside the split."""

    split: str
    image: Annotated
    target: PurePosixPath


def write_dataset(folder: Path, converted: Converted, images: str = "copy") -> Written:
    """Write images, labels, ignore files, data.yaml, and problems.txt where there are any.

    `images` is "copy", or "link" for hard links where the file system can; an image below FOLDER/.unpacked is moved.

    Raises:
        DatasetError: nothing usable, or an empty train or val split.
        OSError: it cannot be written.
    """
    problems = list(converted.problems)
    jobs: list[_Job] = []
    for split, listed in converted.splits.items():
        targets = _choose_targets(listed, problems)
        jobs += [_Job(split, a, target) for a, target in zip(listed, targets, strict=True) if target is not None]
    everything = [a for listed in converted.splits.values() for a in listed]
    problems += [p for a in {id(a): a for a in everything}.values() for p in a.problems]
    problems = [in_archive(folder, p) for p in problems]
    used = converted.used or {s: s for s in SPLITS if s in converted.splits}
    counts = Counter(job.split for job in jobs)
    ids = {name: i for i, name in enumerate(converted.names)}
    objects = Counter(_class_id(c, ids) for job in jobs for c, _ in job.image.objects)
    for split, source in used.items():
        if not counts[source] and split != "test":
            raise DatasetError(f"the {split} split has no image that can be used{first_of(problems)}")
    if not objects:
        raise no_objects(everything, problems)
    filled = {job.split for job in jobs if job.image.objects}
    converted.notes += [f"the {s} split has no object" for s in used if counts[used[s]] and used[s] not in filled]
    for split, target in {(job.split, job.target.parent) for job in jobs}:
        for kind in ("images", "labels"):
            (folder / kind / split / target).mkdir(parents=True, exist_ok=True)
    times = Counter(job.image.image for job in jobs)

    def write_one(job: _Job) -> None:
        assert job.image.image is not None
        move = job.image.image.is_relative_to(folder / UNPACKED) and times[job.image.image] == 1
        place_image(job.image.image, folder / "images" / job.split / job.target, "move" if move else images)
        _write_marks(folder, job, ids)

    in_threads(write_one, jobs, "Writing")
    _write_whole(folder, jobs, ids)
    spec: dict[str, Any] = {
        "path": ".",
        **{s: f"images/{f}" for s, f in used.items() if counts[f]},
        **converted.keys,
        "names": {i: escaped(name) for i, name in enumerate(converted.names)},  # others cannot be read back
    }
    text = yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(text, encoding="utf-8")
    if problems:
        (folder / "problems.txt").write_text("".join(f"{p}\n" for p in problems), encoding="utf-8")
    return Written(
        {s: counts[s] for s in converted.splits if counts[s]},
        {name: objects[i] for i, name in enumerate(converted.names)},
        sum(len(job.image.ignored) for job in jobs),
        sum(a.image is None for a in everything),
        sum(job.image.cut for job in jobs),
        problems,
    )


def _write_marks(folder: Path, job: _Job, ids: Mapping[str, int]) -> None:
    """Write the labels of an image, and what is to be ignored in it and the areas of its objects where there are
    any."""
    a = job.image
    shapes, ignored = a.shapes or [None] * len(a.objects), a.ignored_shapes or [None] * len(a.ignored)
    rows = {
        "labels": [
            f"{_class_id(c, ids)} {_numbers_text(shape or box)}"
            for (c, box), shape in zip(a.objects, shapes, strict=True)
        ]
    }
    if a.ignored:
        rows["ignore"] = [
            f"{'*' if c is None else _class_id(c, ids)} {_numbers_text(shape or box)}{' crowd' if crowd else ''}"
            for (c, box, crowd), shape in zip(a.ignored, ignored, strict=True)
        ]
    if any(area is not None for area in a.areas):
        assert len(a.areas) == len(a.objects), a.name
        # In full: COCO compares them with 32² and 96².
        rows["areas"] = ["-" if v is None else f"{v!r}" for v in a.areas]
    for kind, lines in rows.items():
        file = folder / kind / job.split / job.target.with_suffix(".txt")
        if kind != "labels":
            file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _write_whole(folder: Path, jobs: Sequence[_Job], ids: Mapping[str, int]) -> None:
    """Write the objects of the whole images that tiles are of, see `data.whole`."""
    written: set[str] = set()
    for job in jobs:
        stem = str(folder / "images" / job.split / job.target.with_suffix(""))
        image, *_ = place_of(stem)
        if job.image.whole is None or image == stem or image in written:
            continue
        written.add(image)
        file = Path(str(whole_file(image)))
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = ((_class_id(c, ids), corners, difficult) for c, corners, difficult in job.image.whole)
        file.write_text(whole_text(rows), encoding="utf-8")


def _class_id(cls: str | int, ids: Mapping[str, int]) -> int:
    return cls if isinstance(cls, int) else ids[cls]


def _numbers_text(numbers: Sequence[float]) -> str:
    """Return ten significant digits: a pixel of an image 10,000 wide keeps six decimals."""
    return " ".join(f"{v:.10g}" for v in numbers)


def _choose_targets(listed: Sequence[Annotated], problems: list[str]) -> list[PurePosixPath | None]:
    """Return where each image goes inside its split; None for those left out. Two images never share a label file, on
    any file system."""
    taken: set[str] = set()
    result: list[PurePosixPath | None] = []
    for a in listed:
        if a.image is None:
            result.append(None)
            continue
        # A folder called images below the split would take the place of the one whose twin is labels.
        parts = [p for p in PurePosixPath(a.name).parts if p not in ("images", ".")]
        assert parts, a.name
        assert not {"..", "/"} & set(parts), a.name
        target = PurePosixPath(*parts)
        assert target.suffix.lower() in IMAGE_SUFFIXES, target
        stem = target.with_suffix("")
        tries = [stem, stem.with_name(f"{stem.name}-{target.suffix[1:].lower()}")]
        number = 2
        while name_key(str(tries[0])) in taken:
            del tries[0]
            if not tries:
                tries, number = [stem.with_name(f"{stem.name}-{number}")], number + 1
        final = tries[0].with_name(tries[0].name + target.suffix)
        if final != target:
            problems.append(f"{a.image}: another image of its split has the name {stem}; it is written as {final}")
        taken.add(name_key(str(tries[0])))
        result.append(final)
    return result
