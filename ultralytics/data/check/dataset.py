"""What is checked of a dataset as a whole, and the rules for it."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ultralytics.cfg.dataset import DatasetSpec, mirrors
from ultralytics.data.check.duplicates import near_groups
from ultralytics.data.check.findings import NAMED, Finding, line_of, short, with_hint
from ultralytics.data.check.images import Record
from ultralytics.data.check.splits import Split
from ultralytics.data.labels import areas_file, ignore_file, judge_labels, label_file
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.images import IMAGE_SUFFIXES
from ultralytics.utils.text import counted, likely_slips, name_key
from ultralytics.utils.walk import walk_files

OtherFile = Callable[[str], str | None]  # image → its file of a kind


@dataclass
class Checked:
    """A dataset as the rules see it."""

    spec: DatasetSpec
    text: str  # of the YAML
    problems: Sequence[DatasetError]  # of the YAML
    splits: dict[str, Split]  # all of it, listed
    chosen: Sequence[Split]  # those whose images have been read
    near: bool  # near-duplicates are looked for
    counts: Mapping[str, Mapping[str, int]]  # split → see `Report.add_split`
    classes: Mapping[str, Mapping[str, Mapping[str, int]]]  # name → split → boxes and images
    by_folder: bool = False  # an image is of the class of its folder: there are no label files

    def in_yaml(self, kind: str, key: str, what: str) -> Finding:
        """Return a finding at a key of the YAML."""
        return Finding(kind, str(self.spec.yaml_file), line_of(self.text, key), what)

    @cached_property
    def images(self) -> list[str]:
        """Images of all splits, each once."""
        return list(dict.fromkeys(f for split in self.splits.values() for f in split.files))

    @cached_property
    def groups(self) -> list[Group]:
        """Images that are the same or nearly."""
        return group_copies(self.chosen, self.near)


def yaml(data: Checked) -> Iterator[Finding]:
    for problem in data.problems:
        key = next((k for k in ("train", "val", "names", "nc") if re.search(rf"\b{k}\b", problem.what)), "")
        yield data.in_yaml("yaml", key, with_hint(problem))


def mirror(checked: Checked) -> Iterator[Finding]:
    if checked.spec.kpt_shape and not mirrors(True, checked.spec.flip_idx):
        what = "kpt_shape without flip_idx: training for poses mirrors no image (fliplr is off)"
        yield Finding("keypoints-mirror", str(checked.spec.yaml_file), line_of(checked.text, "kpt_shape"), what)


def names(data: Checked) -> Iterator[Finding]:
    """Find classes of one name, and names that are probably slips for others."""
    seen: dict[str, int] = {}
    for i, name in data.spec.names.items():
        if seen.setdefault(name, i) != i:
            yield data.in_yaml("names", "names", f"classes {seen[name]} and {i} are both called {name!r}")
    totals = {name: sum(count["boxes"] for count in per.values()) for name, per in data.classes.items()}
    thing = "image" if data.by_folder else "box"
    for slip, meant in likely_slips(totals):
        what = f"{slip!r} ({counted(totals[slip], thing)}) may be a slip for {meant!r} ({totals[meant]})"
        yield data.in_yaml("names", "names", what)


def listing(data: Checked) -> Iterator[Finding]:
    for split in data.splits.values():
        yield from split.listing


def shared_files(data: Checked) -> Iterator[Finding]:
    """Find files that belong to two splits."""
    for a, b in combinations(data.chosen, 2):
        of_a, of_b = ({real: file for file, real in split.real.items()} for split in (a, b))
        both = sorted(of_a.keys() & of_b.keys())
        if both and len(both) == min(len(of_a), len(of_b)):
            small, large = (a.name, b.name) if len(of_a) < len(of_b) else (b.name, a.name)
            yield data.in_yaml("leak-file", small, f"all {len(both)} images of {small} are images of {large} too")
            continue
        for real in both:
            same = "" if of_a[real] == of_b[real] else f" there as {short(of_b[real])}"
            yield Finding("leak-file", of_a[real], 0, f"it is in {a.name}, and{same} in {b.name}")


def classes(data: Checked) -> Iterator[Finding]:
    """Find classes that nobody labelled, or only for one split."""
    filled = [s for s in data.counts if data.counts[s]["boxes"]]
    every = set(data.splits) <= set(data.counts)
    for name, per in data.classes.items():
        having = [s for s in filled if per[s]["boxes"]]
        if filled and every and not having:
            what = f"no {'image' if data.by_folder else 'box'} is a {name!r}"
            yield data.in_yaml("class-unused", "names", what)
        for split in filled if having else ():
            if split not in having and split in ("train", "val"):
                result = "it is never learnt" if split == "train" else "its accuracy is never measured"
                yield data.in_yaml("class-absent", "names", f"{split} has no {name!r}: {result}")


def orphans(data: Checked) -> Iterator[Finding]:
    """Find label files, ignore files and files of areas that belong to no image of any split."""
    kinds: dict[str, OtherFile] = {"label": label_file, "ignore": ignore_file, "areas": areas_file}
    for kind, other_file in () if data.by_folder else kinds.items():
        yield from _without_image(data, kind, other_file)


def _without_image(data: Checked, kind: str, other_file: OtherFile) -> Iterator[Finding]:
    expected = {o: f for f in data.images if (o := other_file(f)) is not None}
    by_form = {name_key(o): o for o in expected}
    lists = {str(p) for paths in data.spec.splits.values() for p in paths}
    folders = {os.path.dirname(f) for f in data.images}
    places: dict[str, set[str]] = defaultdict(set)  # folder of labels → of images
    for o, f in expected.items():
        places[os.path.dirname(o)].add(os.path.dirname(f))
    stems = {p: {os.path.splitext(i)[0] for folder in f for i in _images_in(folder)} for p, f in places.items()}
    for split in data.chosen:
        unlisted = []
        for file in sorted(_text_files(data.spec.splits[split.name], split.files, other_file) - lists):
            folder, name = os.path.split(file)
            if file in expected or name == "classes.txt":
                continue
            meant = by_form.get(name_key(file))
            if meant and not os.path.lexists(meant):
                what = f"it is not read: {os.path.basename(expected[meant])} needs {os.path.basename(meant)}"
                yield Finding("label-name", file, 0, what)
            elif os.path.splitext(name)[0] in stems.get(folder, ()):
                unlisted.append(file)
            # Beside the images there are texts of other kinds.
            elif kind != "label" or folder not in folders or _is_label(file):
                yield Finding(f"{kind}-orphan", file, 0, "there is no image of this name")
        if unlisted:
            what = f"no split lists the image: {len(unlisted)} such files"
            yield Finding(f"{kind}-unlisted", unlisted[0], 0, what)


def _images_in(folder: str) -> list[str]:
    try:
        return [n for n in os.listdir(folder) if os.path.splitext(n)[1].lower() in IMAGE_SUFFIXES]
    except OSError:  # a folder that only a list names
        return []


def _text_files(paths: Iterable[Path], files: Iterable[str], other_file: OtherFile) -> set[str]:
    """Find all .txt files in the folders where a split's labels lie."""
    found: set[str] = set()
    for path in paths:
        inside = other_file(str(path / "x.jpg"))
        if os.path.isdir(path) and inside is not None:
            for folder, names in walk_files(os.path.dirname(inside)):
                found.update(os.path.join(folder, n) for n in names if n.endswith(".txt"))
    for folder in {os.path.dirname(o) for f in files if (o := other_file(f)) is not None}:
        if os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK):
            found.update(os.path.join(folder, n) for n in os.listdir(folder) if n.endswith(".txt"))
    return found


def _is_label(path: str) -> bool:
    judged = judge_labels(path)
    return len(judged.rows) > 0 and judged.usable


def copies(data: Checked) -> Iterator[Finding]:
    for group in data.groups:
        first, *others = group.copies
        named = [f"{short(c.file)} ({', '.join(c.splits)})" for c in others[:NAMED]]
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        what = f"({', '.join(first.splits)}) {RELATION[group.kind]} {', '.join(named)}{more}"
        yield Finding(f"{'leak' if group.leak else 'duplicate'}-{group.kind}", first.file, 0, what)


def conflicts(data: Checked) -> Iterator[Finding]:
    """Find images that were labelled twice, and differently."""
    for group in data.groups:
        if group.kind != "near":
            first, *others = (c.record for c in group.copies)
            for r in others:
                if _rounded_rows(r) == _rounded_rows(first):
                    continue
                if data.by_folder:
                    what = f"one and the same image is in the folder of another class: {short(first.path)}"
                    yield Finding("duplicate-labels", r.path, 0, what)
                else:
                    there = f"{counted(len(first.rows), 'other')} in {short(first.label)}"
                    what = f"for one and the same image {counted(len(r.rows), 'box')}, and {there}"
                    yield Finding("duplicate-labels", r.label, 0, what)


def _rounded_rows(record: Record) -> list[list[float]]:
    return sorted(np.round(record.rows, 4).tolist())


RELATION = {"bytes": "has the bytes of", "pixels": "has the pixels of", "near": "shows nearly what is in"}


class Copy(NamedTuple):
    """An image file, by the first path to it, and the splits that hold it."""

    file: str
    splits: list[str]
    record: Record


class Group(NamedTuple):
    """Two or more images that are the same. kind: of `RELATION`."""

    kind: str
    copies: list[Copy]

    @property
    def leak(self) -> bool:
        """The group crosses splits."""
        return len({s for c in self.copies for s in c.splits}) > 1

    def to_dict(self) -> dict[str, Any]:
        """Return the group as plain data."""
        files = [{"file": c.file, "splits": c.splits} for c in self.copies]
        return {"kind": self.kind, "leak": self.leak, "files": files}


def group_copies(splits: Sequence[Split], near: bool) -> list[Group]:
    """Group images by their pixels, and with `near` one of each group by its looks."""
    found: dict[str, Copy] = {}
    for split in splits:
        for record in split.records:
            copy = found.setdefault(split.real[record.path], Copy(record.path, [], record))
            if split.name not in copy.splits:
                copy.splits.append(split.name)
    same: dict[bytes, list[Copy]] = defaultdict(list)
    for copy in found.values():
        if copy.record.print:
            same[copy.record.print.pixels].append(copy)
    groups = []
    for copies in same.values():
        if len(copies) > 1:
            contents = {c.record.print.content for c in copies if c.record.print}
            groups.append(Group("bytes" if len(contents) == 1 else "pixels", copies))
    if near and len(same) > 1:
        one_each = list(same.values())
        prints = [copies[0].record.print for copies in one_each]
        hashes = np.array([p.hashes for p in prints if p and p.hashes is not None], np.uint64)
        thumbs = np.array([p.thumb for p in prints if p and p.thumb is not None], np.uint8)
        groups += [Group("near", [c for i in alike for c in one_each[i]]) for alike in near_groups(hashes, thumbs)]
    return groups
