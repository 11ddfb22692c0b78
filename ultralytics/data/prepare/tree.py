"""Images and the annotation files that belong to them, found by their names and kinds, whatever the folders are called.

a.jpg beside a.xml; images/a.jpg and xmls/a.xml; train/img/a.jpg and train/annots/a.xml; img/train/a.jpg and
annots/train/a.xml.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ultralytics.data.prepare.annotated import SPLIT_WORDS, SPLITS, Annotated
from ultralytics.data.prepare.folder import walk
from ultralytics.utils.images import IMAGE_SUFFIXES
from ultralytics.utils.text import counted


@dataclass
class Tree:
    """What lies in a folder, by paths below it with "/" between their parts, sorted."""

    top: Path  # the folder
    # images, marks: its images and its annotation files
    images: list[str]
    marks: list[str]
    passed: list[str] = field(default_factory=list)  # "path: why" for what was passed over

    @classmethod
    def of(cls, top: Path, suffix: str) -> Tree:
        """List a folder; `suffix` is that of annotation files, in lower case. Hidden files are left out, and what macOS
        adds to archives."""
        tree = cls(top, [], [])
        for folder, names in walk(top, tree.passed):
            below = folder.relative_to(top).as_posix()
            if "__MACOSX" in below.split("/"):
                continue
            for name in names:
                kind = os.path.splitext(name)[1].lower()
                if name.startswith(".") or (kind != suffix and kind not in IMAGE_SUFFIXES):
                    continue
                (tree.marks if kind == suffix else tree.images).append(name if below == "." else f"{below}/{name}")
        tree.images.sort()
        tree.marks.sort()
        return tree

    def beside(self, annotated: Iterable[str], kind: str, known: Collection[str] = ()) -> list[str]:
        """Return the images in folders that hold one of these, and those that are known. The others are another thing,
        such as masks; how many lie in folders without `kind` is noted."""
        folders = {os.path.dirname(i) for i in annotated}
        found = [i for i in self.images if i in known or os.path.dirname(i) in folders]
        if others := len(self.images) - len(found):
            self.passed.append(f"{self.top}: {counted(others, 'image')} in folders without {kind}; not used")
        return found

    def pairs(self) -> dict[str, list[str]]:
        """Return annotation file → its images, see `pair`."""
        return pair(self.marks, self.images)


def pair(marks: Sequence[str], images: Sequence[str]) -> dict[str, list[str]]:
    """Find the images of annotation files: of those with the same name but for the suffix, the ones in the folder that
    is called most like the annotation's own.

    Args:
        marks, images: paths with "/" between their parts.

    Returns:
        Annotation file → images: one, several where nothing tells them apart, none where there is none.
    """
    by_folder: dict[str, dict[str, list[str]]] = {}
    stems: dict[str, set[str]] = {}
    for image in images:
        folder, name = os.path.split(image)
        stem = os.path.splitext(name)[0]
        by_folder.setdefault(folder, {}).setdefault(stem, []).append(image)
        stems.setdefault(stem, set()).add(folder)
    nearness: dict[str, list[tuple[tuple[int, int], str]]] = {}
    found: dict[str, list[str]] = {}
    for mark in marks:
        folder, name = os.path.split(mark)
        stem = os.path.splitext(name)[0]
        found[mark] = []
        if stem not in stems:
            continue
        if stem in by_folder.get(folder, {}):
            found[mark] = by_folder[folder][stem]
            continue
        if folder not in nearness:
            nearness[folder] = sorted((_folder_distance(folder, f), f) for f in by_folder)
        best: tuple[int, int] | None = None
        for score, other in nearness[folder]:
            if best is not None and score > best:
                break
            if other in stems[stem]:
                best = score
                found[mark] = [*found[mark], *by_folder[other][stem]]
    return found


def _folder_distance(a: str, b: str) -> tuple[int, int]:
    """Return how different two folders are called: less the more folders they begin and end with alike; then less where
    both end in one number, as label_2 and image_2 do."""
    ours, theirs = a.split("/") if a else [], b.split("/") if b else []
    head = _common_start(ours, theirs)
    numbers = [re.search(r"\d*$", path) for path in (a, b)]
    same_number = len({m[0] for m in numbers if m is not None}) == 1
    return -head - _common_start(ours[head:][::-1], theirs[head:][::-1]), -int(same_number)


def _common_start(a: Sequence[str], b: Sequence[str]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def by_splits(paths: Iterable[str], marks: Mapping[str, str] | None = None) -> dict[str, dict[str, str]]:
    """Divide images by the folders they are in, where these are called train, val and test (or train2017, valid, …).

    Args:
        paths: with "/" between their parts.
        marks: their annotation files, whose folders tell where the images' do not.

    Returns:
        Split → path → the name inside the split: without the folders that all of its images share. Where not two splits
        are found, all is train.
    """
    paths = list(paths)
    splits = {path: split_of_folders(path) or split_of_folders((marks or {}).get(path, "")) for path in paths}
    if len({s for s in splits.values() if s}) < 2:
        splits = dict.fromkeys(splits, "train")
    found: dict[str, list[str]] = {}
    for path, split in splits.items():
        found.setdefault(split or "train", []).append(path)
    return {s: _names_inside(found[s]) for s in SPLITS if s in found}


def split_of_folders(path: str) -> str | None:
    """Return the split that a folder of a path is called by; None where none is."""
    for folder in path.split("/")[:-1]:
        for word in re.split(r"[^a-z]+", folder.lower()):
            if word in SPLIT_WORDS:
                return SPLIT_WORDS[word]
    return None


def _names_inside(paths: Sequence[str]) -> dict[str, str]:
    """Return paths → the same below the folder that holds them all."""
    shared = os.path.commonpath([os.path.dirname(p) for p in paths])
    return {p: p[len(shared) + 1 :] if shared else p for p in paths}


def as_splits(read: Mapping[str, Annotated]) -> dict[str, list[Annotated]]:
    """Return split → images, by the folders in their paths; each is given its name inside the split."""
    splits: dict[str, list[Annotated]] = {}
    for split, names in by_splits([path for path, a in read.items() if a.image is not None]).items():
        for path, name in names.items():
            read[path].name = name
            splits.setdefault(split, []).append(read[path])
    splits.setdefault("train", []).extend(a for a in read.values() if a.image is None)
    return splits
