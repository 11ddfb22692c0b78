"""Label files that lie where nobody reads them: training would take their images for backgrounds."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from ultralytics.cfg.paths import program
from ultralytics.utils.images import IMAGE_SUFFIXES
from ultralytics.utils.text import counted
from ultralytics.utils.walk import walk_files

SUFFIXES = (".txt", ".xml", ".json")
_IMAGES = tuple(IMAGE_SUFFIXES)
LABELS = ("labels", "Labels", "LABELS")
MOST_FOLDERS = 1000  # looked through; a dataset may lie in a folder of everything


class Misplaced(NamedTuple):
    """Label files of images that have none where labels are read.

    folder: where they lie; suffix: as it is written; number: how many; expected: the folder they are read from;
    rename: which folders to rename so that they are read where they lie, in words, "" where that does not help.
    """

    folder: str
    suffix: str
    number: int
    expected: str
    rename: str = ""

    @property
    def what(self) -> str:
        """One line without the folder."""
        if self.suffix.lower() != ".txt":
            kind = "voc" if self.suffix.lower() == ".xml" else "--help"
            files = counted(self.number, f"{self.suffix} file")
            how = f"{program('prepare', kind)} says how to convert them"
            return f"{files} of images without labels, and only .txt is read ({how})"
        files = counted(self.number, "label file")
        if self.suffix != ".txt":
            return f"{files} of images without labels end in {self.suffix}, and only .txt is read: rename them"
        if self.rename:
            rule = "labels are looked for by replacing the last folder called images by labels"
            return f"{files} of images without labels: {rule}; rename {self.rename}"
        return f"{files} of images without labels, and labels are read from {self.expected} alone: move them there"

    def __str__(self) -> str:
        return f"{self.folder}: {self.what}"


def misplaced_labels(unlabelled: Mapping[str, str], images: int) -> list[Misplaced]:
    """Find label files that belong to images without one where they are read, judged by their names: beside the images,
    and, where at least half of the images have none, in a labels folder beside an images folder of another name, or
    anywhere in the dataset's folder. The most first.

    Args:
        unlabelled: image without a label file → where that file would be read.
        images: how many the split has.
    """
    stems: dict[str, dict[str, str]] = defaultdict(dict)  # folder of images → stem → folder where labels are read
    for image, label in unlabelled.items():
        folder, name = os.path.split(image)
        stems[folder][os.path.splitext(name)[0]] = os.path.dirname(label)
    found = [m for folder, own in stems.items() for m in _in_folder(folder, _names_in(folder), own)]
    if 2 * len(unlabelled) >= images and stems:
        found += _beside_other_names(stems)
        found = found or list(_elsewhere(stems))
    return sorted(found, key=lambda m: (-m.number, m.folder, m.suffix))


def _in_folder(folder: str, names: list[str], stems: Mapping[str, str]) -> Iterator[Misplaced]:
    """Find annotations in one folder that bear the names of images."""
    counts: Counter[str] = Counter()
    expected = ""
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in SUFFIXES and stem in stems and not (suffix == ".txt" and stems[stem] == folder):
            counts[suffix] += 1
            expected = stems[stem]
    for suffix, count in counts.items():
        yield Misplaced(folder, suffix, count, expected)


def _beside_other_names(stems: Mapping[str, Mapping[str, str]]) -> Iterator[Misplaced]:
    """Label files where they would be read if the folder of images were called images: labels/train of imgs/train."""
    for folder, own in stems.items():
        head, tail = folder, ""
        while True:
            head, name = os.path.split(head)
            if not name or name == "images":  # what is above the last folder called images has no part in it
                break
            for labels in LABELS:
                place = os.path.join(head, labels, tail) if tail else os.path.join(head, labels)
                if place in stems or not os.path.isdir(place):
                    continue
                inside = not tail and os.path.basename(head) == "images"  # images/labels beside images/train
                if not inside and not _belongs_to_images(place):
                    rename = f"{os.path.join(head, name)} to images"
                    rename += f", and {os.path.join(head, labels)} to labels" if labels != "labels" else ""
                    yield from (m._replace(rename=rename) for m in _in_folder(place, _names_in(place), own))
                break  # where case makes no difference, the others are the same folder
            tail = os.path.join(name, tail) if tail else name


def _elsewhere(stems: Mapping[str, Mapping[str, str]]) -> Iterator[Misplaced]:
    """Find annotations in any folder of the dataset. Another split's labels are not taken for them, whatever their
    names."""
    every = {stem: expected for own in stems.values() for stem, expected in own.items()}
    for top in sorted({_dataset_folder(folder) for folder in stems}):
        for folder, names in islice(walk_files(top), MOST_FOLDERS):
            if folder not in stems:
                read = _belongs_to_images(folder)
                yield from (m for m in _in_folder(folder, names, every) if not (read and m.suffix == ".txt"))


def _dataset_folder(folder: str) -> str:
    """Return the folder that holds the last folder called images, or the images' own."""
    head, images, _ = f"{folder}{os.sep}".rpartition(f"{os.sep}images{os.sep}")
    return head if images and head else folder


def _belongs_to_images(folder: str) -> bool:
    """Return True for a folder of labels, ignored regions or areas where they are read: images lie at its twin."""
    for kind in ("labels", "ignore", "areas"):
        head, found, tail = f"{folder}{os.sep}".rpartition(f"{os.sep}{kind}{os.sep}")
        if found and any(name.lower().endswith(_IMAGES) for name in _names_in(f"{head}{os.sep}images{os.sep}{tail}")):
            return True
    return False


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # a folder that only a list names
        return []
