"""The images of a split as training finds them, and the rules for a split."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ultralytics.cfg.dataset import DatasetSpec
from ultralytics.data.check.findings import ERROR, NAMED, WARNING, Finding, line_of, short, with_hint
from ultralytics.data.check.images import Record, corner_rows
from ultralytics.data.class_images import list_classes
from ultralytics.data.images import MAX_LIST_BYTES, OTHER_IMAGES, list_images
from ultralytics.data.labels import BOX_COLUMNS, POSES_HINT, glued_rows, label_file, pose_columns
from ultralytics.data.places import Misplaced, misplaced_labels
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.files import read_text
from ultralytics.utils.text import counted, name_key
from ultralytics.utils.walk import walk_files

ALL_CORNERS = 0.95  # part of a split's rows that read well as corners where all are meant so


@dataclass
class Split:
    """The images of a split, each once."""

    name: str
    # image → the .txt list that names it and the line, None without one
    files: dict[str, tuple[str, int] | None] = field(default_factory=dict)
    real: dict[str, str] = field(default_factory=dict)  # image → where its links lead
    listing: list[Finding] = field(default_factory=list)  # what is odd about how the images are listed
    records: list[Record] = field(default_factory=list)  # of the images, once they have been read
    classes: dict[str, int] | None = None  # image → its class, that of its folder: there are no label files

    @property
    def by_folder(self) -> bool:
        """Return True where an image is of the class of its folder."""
        return self.classes is not None

    @cached_property
    def usable(self) -> list[Record]:
        """Records of the images that training would keep."""
        return [r for r in self.records if r.usable]

    @cached_property
    def bare(self) -> list[Record]:
        """Records of the images without a label file."""
        return [r for r in self.records if not r.labelled]

    @cached_property
    def boxes(self) -> int:
        """Number of boxes that training would keep."""
        return sum(len(r.rows) for r in self.usable)

    @cached_property
    def misplaced(self) -> list[Misplaced]:
        """Folders of label files that are not read."""
        return misplaced_labels({r.path: r.label for r in self.bare}, len(self.records))

    def findings_of_images(self) -> Iterator[Finding]:
        """Yield what was found in each image; one that is missing, where it is listed."""
        for r in self.records:
            entry = self.files[r.path]
            for f in r.findings:
                if f.kind == "image-missing" and entry:
                    f = f._replace(path=entry[0], line=entry[1], what=f"{f.what}: {short(r.path)}")
                yield f


def list_split(spec: DatasetSpec, name: str, text: str) -> Split:
    """List the images of a split, as training finds them.

    Args:
        text: of the YAML.
    """
    split = Split(name)
    add = split.listing.append
    there = _there(split, spec, text)
    for path in there:
        skipped: list[str] = []
        try:
            files = list_images([path], skipped)
        except DatasetError as e:
            severity = ERROR if len(there) == 1 else WARNING  # other folders may have some
            add(Finding("split-empty", str(path), 0, f"{name}: {with_hint(e)}", severity))
            continue
        for link in skipped:
            what = f"the link leads to {short(os.path.realpath(link))}, which is read already or holds the link"
            add(Finding("folder-link", link, 0, f"{what}; it is not followed"))
        lines = _read_list(path, split.listing) if path.suffix.lower() == ".txt" and path.is_file() else {}
        for file in files:
            if file in split.files:
                add(Finding("listed-twice", file, 0, f"two entries of {name} hold it"))
            split.files.setdefault(file, (str(path), lines[file]) if file in lines else None)
        if path.is_dir():
            split.listing += _other_files(path)
    _resolve(split)
    return split


def list_class_split(spec: DatasetSpec, name: str, text: str) -> Split:
    """List the images of a split of class folders, as training finds them.

    Args:
        text: of the YAML.
    """
    split = Split(name, classes={})
    there = _there(split, spec, text)
    try:
        found = list_classes(there, spec.names)
        split.classes = found.classes()
        split.listing += [Finding(odd.kind, odd.place, 0, odd.what) for odd in found.odd]
        if there and not split.classes:
            raise DatasetError("the class folders hold no images", str(there[0]))
    except DatasetError as e:
        split.listing.append(Finding("split-empty", e.where, 0, f"{name}: {with_hint(e)}", ERROR))
    split.files = dict.fromkeys(split.classes or ())
    _resolve(split)
    return split


def _there(split: Split, spec: DatasetSpec, text: str) -> list[Path]:
    """Return the paths of a split that are there; that others are not, is found."""
    try:
        spec.split(split.name)
    except DatasetError as e:
        where = str(spec.yaml_file), line_of(text, split.name)
        severity = WARNING if split.name == "test" else ERROR
        split.listing.append(Finding("split-missing", *where, with_hint(e), severity))
    return [p for p in spec.splits[split.name] if os.path.exists(p)]


def _resolve(split: Split) -> None:
    """Follow the links of the images, and find those that are one file."""
    first: dict[str, str] = {}
    for file in split.files:
        real = split.real[file] = os.path.realpath(file)
        other = first.setdefault(real, file)
        if other != file:
            what = f"by a link it is the same file as {short(other)}"
            if split.classes and split.classes[other] != split.classes[file]:
                what += ", in the folder of another class"
            split.listing.append(Finding("listed-twice", file, 0, what))


def _read_list(path: Path, findings: list[Finding]) -> dict[str, int]:
    """Return image → its line in a .txt list."""
    lines: dict[str, int] = {}
    for number, line in enumerate(read_text(path, DatasetError, MAX_LIST_BYTES).splitlines(), 1):
        if not line.strip():
            continue
        file = os.path.normpath(path.parent / line.strip())
        if lines.setdefault(file, number) != number:
            what = f"{line.strip()} is listed in line {lines[file]} already; it counts once"
            findings.append(Finding("listed-twice", str(path), number, what))
    return lines


def _other_files(folder: Path) -> Iterator[Finding]:
    """Find folders that cannot be read, and images of kinds that training does not look for."""
    closed: list[OSError] = []
    other: dict[str, list[str]] = defaultdict(list)
    for where, files in walk_files(folder, closed.append):
        for file in files:
            suffix = os.path.splitext(file)[1].lower()
            if suffix in OTHER_IMAGES:
                other[suffix].append(os.path.join(where, file))
    for e in closed:
        yield Finding("folder-unreadable", str(e.filename), 0, f"the folder cannot be read: {e.strerror}")
    for suffix, files in other.items():
        yield Finding("files-ignored", min(files), 0, f"training does not look for {suffix} files: {len(files)}")


def collisions(split: Split) -> Iterator[Finding]:
    """Find names that differ too little, or share a label file."""
    forms: dict[str, str] = {}
    labels: dict[str, str] = {}
    for file in split.files:
        other = forms.setdefault(name_key(file), file)
        if other != file:
            what = f"its name differs only by case or Unicode form from {os.path.basename(other)}"
            yield Finding("name-collision", file, 0, what)
        if split.by_folder:
            continue
        label = label_file(file)
        other = labels.setdefault(label, file)
        if other != file:
            what = f"it shares its label file {short(label)} with {os.path.basename(other)}"
            yield Finding("name-shared-label", file, 0, what)


def unusable(split: Split) -> Iterator[Finding]:
    if split.records and not split.usable:
        what = f"{split.name}: none of {len(split.records)} images"
        yield Finding("split-unusable", os.path.dirname(split.records[0].path), 0, what)


def unlabelled(split: Split) -> Iterator[Finding]:
    bare = split.bare
    if bare and split.boxes:
        names = ", ".join(os.path.basename(r.path) for r in bare[:NAMED]) + (" …" if len(bare) > NAMED else "")
        one = len(bare) == 1
        count = (
            f"{'has' if one else 'have'} no label file and {'counts as background' if one else 'count as backgrounds'}"
        )
        what = f"{split.name}: {len(bare)} of {counted(len(split.records), 'image')} {count}: {names}"
        yield Finding("unlabelled", os.path.dirname(bare[0].path), 0, what)


def misplaced(split: Split) -> Iterator[Finding]:
    for m in split.misplaced if split.usable else ():
        yield Finding("label-misplaced", m.folder, 0, f"{split.name}: {m.what}")


def no_boxes(split: Split) -> Iterator[Finding]:
    if split.usable and not split.boxes and not split.by_folder:
        none = "no label file lies where labels are read" if split.misplaced else "there are no label files"
        why = none if len(split.bare) == len(split.records) else "the label files hold no box"
        what = f"{split.name}: {why} for its {len(split.records)} images"
        yield Finding("split-no-boxes", os.path.dirname(split.records[0].label), 0, what)


def corners(split: Split) -> Iterator[Finding]:
    """Find a split whose rows are all corners: in a plain set not all boxes are wider than their centre's x. Each row
    by itself then says no more, see `REPLACED`."""
    if not split.boxes:
        return
    labelled = [r.rows for r in split.usable if len(r.rows)]
    every = np.concatenate(labelled)
    sensible = float((every[:, 3:] > every[:, 1:3]).all(1).mean())
    mistaken = sum(int(corner_rows(r).sum()) for r in labelled)
    if sensible >= ALL_CORNERS and mistaken >= len(every) / 5:
        single = (f for r in split.usable for f in r.findings if f.kind == "label-corners")
        example = min(single, key=lambda f: (f.path, f.line))
        what = (
            f"{split.name}: its {counted(len(every), 'box')} read as corners, x1 y1 x2 y2, and {mistaken} of them make "
            "no sense otherwise; a row is centre and size, so training would learn nonsense"
        )
        yield Finding("split-corners", example.path, example.line, what)


# A finding of a split → the findings of its usable images that it says better.
REPLACED = {"split-corners": ("label-corners", "box-outside")}


def glued(split: Split) -> Iterator[Finding]:
    """Find rows that training takes for polygons, and that are probably several boxes."""
    columns, offsets = _columns(split)
    boxes = int((columns == BOX_COLUMNS).sum())
    for i in np.flatnonzero(glued_rows(columns)):
        owner = int(np.searchsorted(offsets, i, side="right")) - 1
        r = split.usable[owner]
        what = f"{columns[i]} columns, where {boxes} of {len(columns)} rows of {split.name} are boxes of 5"
        yield Finding("label-glued", r.label, int(r.lines[i - offsets[owner]]), f"{what}: several rows in one line?")


def poses(split: Split) -> Iterator[Finding]:
    """Find a split whose rows are boxes with points in them."""
    columns, offsets = _columns(split)
    pose = pose_columns([r.path for r in split.usable], offsets, columns)
    if pose:
        first = next(r for r in split.usable if len(r.columns))
        what = (
            f"{split.name}: all {len(columns)} rows have {pose} columns, the first four numbers a box around the others"
        )
        yield Finding("label-poses", first.label, int(first.lines[0]), f"{what}: {POSES_HINT}")


def _columns(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of columns (M,) of the rows that training would keep, and the offsets (n + 1,) of the images'."""
    each = [r.columns for r in split.usable]
    return np.concatenate([np.zeros(0, np.int32), *each]), np.cumsum([0, *map(len, each)], dtype=np.int64)
