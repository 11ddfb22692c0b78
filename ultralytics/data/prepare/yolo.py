"""Data that has YOLO labels already → the layout of this project, its labels checked: coco128, and any other.

A source is a dataset YAML, or a folder or archive with images/SPLIT or SPLIT/images, with obj.data and its lists (CVAT,
darknet), or with images and label files in folders of any names, or in one. Class names are those that are given, else
of the YAML, or of classes.txt, obj.names, notes.json and the like beside the labels.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ultralytics.cfg.dataset import DatasetSpec, load_dataset
from ultralytics.data.images import list_images
from ultralytics.data.labels import (
    ANNOTATIONS,
    Judged,
    Problem,
    areas_file,
    glued_rows,
    ignore_file,
    judge_areas,
    judge_ignored,
    judge_labels,
    label_file,
    row_numbers,
)
from ultralytics.data.prepare import names as published_names
from ultralytics.data.prepare.annotated import SPLIT_WORDS, SPLITS, Annotated, Converted, in_threads, no_objects
from ultralytics.data.prepare.archive import is_archive
from ultralytics.data.prepare.boxes import Box
from ultralytics.data.prepare.class_files import names_beside
from ultralytics.data.prepare.coco_shapes import OUTLINED
from ultralytics.data.prepare.folder import walk
from ultralytics.data.prepare.format import Format, Source, inner
from ultralytics.data.prepare.recognise import judge_json
from ultralytics.data.prepare.rows import CORNERS, as_corners, corners_of_box, outline_of, pose_numbers
from ultralytics.data.prepare.tree import Tree, by_splits
from ultralytics.data.whole import place_of, whole_rows
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError
from ultralytics.utils.files import read_text
from ultralytics.utils.images import IMAGE_SUFFIXES
from ultralytics.utils.text import counted, one_line
from ultralytics.utils.yaml import read_yaml

LISTS = {"train": "train", "valid": "val", "val": "val", "test": "test"}  # of obj.data


def _places_beside(source: Path) -> list[Path]:
    """Return the files and folders outside a source that belong to it: those that its YAML names, and the folders of
    labels."""
    if source.is_file() and is_archive(source):
        return []
    outside = _outside_places(source)
    labels = [Path(label_file(str(p / "x.jpg"))).parent for p in [source, *outside] if p.is_dir()]
    return [*outside, *labels]


@dataclass(frozen=True)
class _Job:
    """An image, its name inside the split, and its label file."""

    name: str
    image: str
    labels: str


@dataclass
class _Found:
    """A dataset as it lies in its folder."""

    splits: dict[str, list[_Job]]  # split → its images
    names: Sequence[str] | None = None  # class names, None where no file says them
    # notes, problems: as `Converted`'s
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    spec: DatasetSpec | None = None  # the source's YAML, if any
    names_file: str = ""  # the file that says the names, where it is no YAML


def _outside_places(source: Path) -> list[Path]:
    """Return the folders that the YAML of a source names, and that of the labels where the source is a folder of
    images."""
    spec = load_yaml(source) if source.is_file() else next((s for s in map(load_yaml, _list_yamls(source)) if s), None)
    return [p for paths in (spec.splits.values() if spec else ()) for p in paths if os.path.exists(p)]


def _list_yamls(source: Path) -> list[Path]:
    """Return the YAML files at the top of a folder."""
    tops = dict.fromkeys((source, inner(source)))
    found = [f for top in tops for f in sorted([*top.glob("*.yaml"), *top.glob("*.yml")]) if f.is_file()]
    return list(dict.fromkeys(found))


def load_yaml(file: Path) -> DatasetSpec | None:
    """Read a dataset YAML, of which splits may be missing and paths may lead nowhere; `names` are empty where it has
    none. None for another YAML.

    Raises:
        DatasetError: its names are wrong.
    """
    try:
        data = read_yaml(file, DatasetError).data
    except DatasetError:
        return None
    if not isinstance(data, dict) or not {*SPLITS, "names"} & data.keys():
        return None
    problems: list[DatasetError] = []
    spec = load_dataset(file, problems)
    wrong = [p for p in problems if not re.match("the key '(train|val|test)'", p.what)]
    if "names" not in data:
        spec.names = {}
    elif wrong:
        raise wrong[0]
    return spec


def _find_dataset(source: Path) -> _Found:
    """Find the images and labels of a source.

    Raises:
        MissingFileError: no images with labels.
    """
    if source.is_file():
        spec = load_yaml(source)
        if spec is None:
            load_dataset(source)  # says what is wrong
            raise DatasetError("this is not a dataset YAML", str(source))
        found = _images_of_splits({s: spec.split(s) for s in spec.splits}, list(spec.names.values()) or None)
        if not found.splits:
            raise DatasetError("the dataset has neither train nor val", str(source), "give its folder as source=")
        found.spec = spec
        return found if found.names else _with_names(found, [])
    tops = list(dict.fromkeys((source, inner(source))))
    for file in _list_yamls(source):
        spec = load_yaml(file)
        if spec is None:
            continue
        names = list(spec.names.values()) or None
        there = {s: paths for s, paths in spec.splits.items() if all(map(os.path.exists, paths))}
        if there and set(there) == set(spec.splits):
            found = _images_of_splits(there, names)
        else:  # its paths are those of another machine
            found = _find_folders(source, tops)
        found.names, found.spec = names, spec
        return found if names else _with_names(found, tops)
    return _with_names(_find_folders(source, tops), tops)


def _images_of_splits(paths: Mapping[str, Sequence[Path]], names: Sequence[str] | None = None) -> _Found:
    """Return the images of splits.

    Raises:
        DatasetError: a split has none.
    """
    passed: list[str] = []
    splits = {s: _list_jobs(p, passed) for s, p in paths.items()}
    for split, jobs in splits.items():
        if not jobs:
            raise DatasetError(f"there are no {split} images", ", ".join(map(str, paths[split])))
    return _Found(splits, names, problems=list(dict.fromkeys(passed)))


def _with_names(found: _Found, tops: Sequence[Path]) -> _Found:
    """Return the same with the class names of a file in one of these folders, or beside the labels."""
    labels = dict.fromkeys(Path(job.labels).parent for jobs in found.splits.values() for job in jobs)
    outside = [f for f in labels if not any(f.is_relative_to(top) for top in tops)]
    found.names, files = names_beside([*tops, *outside])
    if files:
        found.names_file = str(files[0])
    return found


def _find_folders(source: Path, tops: Sequence[Path]) -> _Found:
    for top in tops:
        found = _read_lists(top)
        if found is not None:
            return found
    for top in tops:
        folders: dict[str, list[Path]] = {}
        # images/train2017, or train/images
        for folder in sorted([*top.glob("images/*"), *top.glob("*/images")]):
            name = folder.name if folder.parent.name == "images" else folder.parent.name
            split = SPLIT_WORDS.get(re.split(r"[^a-z]", name.lower())[0])
            if split and folder.is_dir():
                folders.setdefault(split, []).append(folder)
        if not folders and (top / "images").is_dir():
            folders = {"train": [top / "images"]}
        if folders:
            found = _images_of_splits({s: folders[s] for s in SPLITS if s in folders})
            if any(os.path.isfile(job.labels) for jobs in found.splits.values() for job in jobs):
                return found
    beside = _find_beside(tops[-1])
    if beside is not None:
        return beside
    hint = "source= is a dataset YAML, or a folder with images and labels"
    images = [Path(job.image) for job in _list_jobs([source])]
    if not images:
        tried = ", ".join(str(t / "images") for t in tops)
        raise MissingFileError(
            f"there is no folder images; tried {tried}, and no image lies elsewhere", str(source), hint
        )
    name, looked = images[0].with_suffix(".txt").name, dict.fromkeys([Path(label_file(str(images[0]))), images[0]])
    tried = ", ".join(str(path.parent) for path in looked)
    what = f"none of its {counted(len(images), 'image')} has a label file; {name} was looked for in {tried}"
    raise MissingFileError(what, str(source), hint)


def _find_beside(top: Path) -> _Found | None:
    """Return images and label files anywhere below a folder; None where no image has one."""
    if top.name == "images" or f"{os.sep}images{os.sep}" in str(top):  # the labels may lie beside that folder
        with_labels = [j for j in _list_jobs([top]) if os.path.isfile(j.labels)]
        if with_labels:
            return _Found({"train": _list_jobs([top])})
    tree = Tree.of(top, ".txt")
    pairs = {mark: images for mark, images in tree.pairs().items() if images}
    label_of: dict[str, str] = {}
    for mark, images in pairs.items():
        for image in images:
            if os.path.dirname(image) == os.path.dirname(images[0]):
                label_of.setdefault(image, mark)
    if not label_of:
        return None
    known = tree.beside(label_of, "a labelled image")
    found = _Found({}, problems=tree.passed)
    for split, names in by_splits(known, label_of).items():
        found.splits[split] = [
            _Job(name, str(top / i), str(top / label_of[i]) if i in label_of else label_file(str(top / i)))
            for i, name in names.items()
        ]
    return found


def _read_lists(top: Path) -> _Found | None:
    """Return the images that the lists of an obj.data name (CVAT, darknet); None where there is none with such
    images."""
    for file in (top / "obj.data", top / "data" / "obj.data"):
        if not file.is_file():
            continue
        text = read_text(file, DatasetError, 1 << 20)
        keys = {key: value.strip() for key, value in re.findall(r"^\s*(\w+)\s*=(.*)$", text, re.MULTILINE)}
        splits: dict[str, list[_Job]] = {}
        problems: list[str] = []
        for key, split in LISTS.items():
            listed = _listed_file(top, keys[key]) if keys.get(key) else None
            if listed is None:
                continue
            lines = [line.strip() for line in read_text(listed, DatasetError).splitlines()]
            paths = {line: _listed_file(top, line) for line in lines if line}
            problems += [f"{listed}: there is no image {line}" for line, path in paths.items() if path is None]
            images = {str(p): p for p in paths.values() if p is not None and p.suffix.lower() in IMAGE_SUFFIXES}
            below = by_splits([p.relative_to(top).as_posix() for p in images.values()]) if images else {}
            names = {str(top / p): name for found in below.values() for p, name in found.items()}
            if images:
                splits[split] = [_Job(names[i], i, _labels_of(i)) for i in images]
        if splits:
            return _Found(splits, problems=problems)
        if problems:
            raise MissingFileError(
                problems[0].partition(": ")[2], str(file), "export it with its images, or put them beside the labels"
            )
    return None


def _listed_file(top: Path, listed: str) -> Path | None:
    """Return a file that a list names: its path, or the end of it, below the list's folder."""
    parts = [p for p in PurePosixPath(listed.replace("\\", "/")).parts if p not in (".", "/")]
    if ".." in parts or "\0" in listed:
        return None
    tried = (top.joinpath(*parts[i:]) for i in range(len(parts)))
    return next((p for p in tried if os.path.isfile(p)), None)


def _read_source(source: Source, names: Sequence[str] | None) -> Converted:
    found = _find_dataset(source.places()[0])
    # Splits that are the same images are written once.
    folders: dict[str, list[_Job]] = {}
    used: dict[str, str] = {}
    for split, jobs in found.splits.items():
        twin = next((s for s, j in folders.items() if {x.image for x in j} == {x.image for x in jobs}), None)
        used[split] = twin or split
        if twin is None:
            folders[split] = jobs
    notes = found.notes
    beside = [j for jobs in folders.values() for j in jobs if j.labels != label_file(j.image)]
    if beside:
        notes.append(f"read {counted(len(beside), 'label file')} beside the images or in folders of other names")
    read: dict[str, list[Annotated]] = {}
    shape = found.spec.kpt_shape if found.spec else None
    keys: dict[str, Any] = {}
    if source.wanted.labels == "keypoints":
        if found.spec is None or shape is None:
            hint = "kpt_shape: [points, 2 or 3] in its data.yaml"
            raise DatasetError("task=pose, and no YAML of the source says kpt_shape", str(source.paths[0]), hint)
        keys["kpt_shape"] = list(shape)
        if found.spec.flip_idx:
            keys["flip_idx"] = list(found.spec.flip_idx)
    for split, jobs in folders.items():
        pairs = in_threads(lambda job: _read_labels(job, source.wanted.labels, shape), jobs, f"Reading {split}")
        read[split] = [annotated for annotated, _ in pairs]
        notes += _describe_glued(split, jobs, [judged for _, judged in pairs])
    notes += _of_other_kinds([job for jobs in folders.values() for job in jobs])
    everything = [a for listed in read.values() for a in listed]
    labels = {id(a): j.labels for s, jobs in folders.items() for a, j in zip(read[s], jobs, strict=True)}
    highest = [(max(_class_ids(a), default=-1), a) for a in everything]
    top, bad = max(highest, key=lambda pair: pair[0], default=(-1, None))
    holder = "names= has" if names else "the source names"
    if names and found.names and list(names) != list(found.names):
        own = one_line(", ".join(map(str, found.names)), 80)
        notes.append(f"the class names are those of names=, not those of {found.names_file or 'the source'} ({own})")
    elif found.names_file:
        notes.append(f"the class names are those of {found.names_file}")
    names = names or found.names
    if names is None:
        if top < 0:
            raise no_objects(everything)
        names = [f"class_{i}" for i in range(top + 1)]
        notes.append(
            "the source names no classes: they are called class_0 and so on (the same command with "
            "names=[first,second] renames them)"
        )
    if top >= len(names):
        raise ConfigError(
            f"class id {top} is out of range: {holder} {counted(len(names), 'class')}",
            labels[id(bad)] if bad else "",
            "name every class by names=[first,second], or correct the labels",
        )
    for split, jobs in folders.items():
        _add_wholes(read[split], jobs, len(names))
    twins = used if set(used) != set(folders) and {"train", "val"} <= set(used) else {}
    return Converted(read, names, twins, notes, found.problems, keys)


def _add_wholes(listed: Sequence[Annotated], jobs: Sequence[_Job], nc: int) -> None:
    """Give tiles the objects of their whole images, where the source has these."""
    known: dict[str, Any] = {}
    for a, job in zip(listed, jobs, strict=True):
        stem = os.path.splitext(job.image)[0]
        image = place_of(stem)[0]
        if image != stem:
            if image not in known:
                known[image] = whole_rows(image, nc)
            a.whole = known[image]


def _class_ids(a: Annotated) -> list[int]:
    return [int(c) for c, _ in a.objects] + [int(c) for c, _, _ in a.ignored if c is not None]


def _list_jobs(paths: Sequence[Path], passed: list[str] | None = None) -> list[_Job]:
    """Return the images of folders, lists or single files; `passed` is filled with what was passed over."""
    jobs: dict[str, str] = {}
    for path in paths:
        if path.is_dir():
            names = ((f, n) for f, names in walk(path, passed) for n in names)
            found = (f / n for f, n in names if os.path.splitext(n)[1].lower() in IMAGE_SUFFIXES)
            jobs |= {str(f): f.relative_to(path).as_posix() for f in sorted(found) if str(f) not in jobs}
        else:
            jobs |= {f: os.path.basename(f) for f in list_images([path]) if f not in jobs}
    return [_Job(name, file, _labels_of(file)) for file, name in jobs.items()]


def _labels_of(image: str) -> str:
    """Return an image's label file: where training looks for it, else beside the image."""
    usual, beside = label_file(image), os.path.splitext(image)[0] + ".txt"
    return beside if not os.path.isfile(usual) and os.path.isfile(beside) else usual


def _describe_glued(split: str, jobs: Sequence[_Job], read: Sequence[Judged | None]) -> Iterator[str]:
    """Describe rows of a split that are probably several rows in one line."""
    rows = [
        (job, line, n)
        for job, j in zip(jobs, read, strict=True)
        if j is not None
        for line, n in zip(j.lines, j.columns, strict=True)
    ]
    glued = np.flatnonzero(glued_rows(np.array([n for *_, n in rows], np.int32)))
    if len(glued):
        job, line, columns = rows[glued[0]]
        where = f"{job.labels}:{line}"
        what = f"{split}: {counted(len(glued), 'row')} of polygons among boxes, such as {where} ({columns} columns)"
        yield f"{what}: several rows in one line? Read as polygons"


def _other_annotation(job: _Job) -> str:
    """Return the VOC or labelme annotation of an image without a label file, beside the image or where its labels would
    be: it is no background. "" without one."""
    if os.path.isfile(job.labels):
        return ""
    for stem in dict.fromkeys(os.path.splitext(p)[0] for p in (job.image, job.labels)):
        for suffix in (".xml", ".XML", ".json", ".JSON"):
            file = f"{stem}{suffix}"
            if os.path.isfile(file) and (suffix.lower() == ".xml" or judge_json(Path(file)) == "labelme"):
                return file
    return ""


def _of_other_kinds(jobs: Sequence[_Job]) -> Iterator[str]:
    """Count the images that are left out because their annotations are of another kind."""
    suffixes = [os.path.splitext(found)[1].lower() for found in map(_other_annotation, jobs) if found]
    for suffix, what, kind in ((".xml", "XML annotations", "voc"), (".json", "labelme's JSON", "labelme")):
        if number := suffixes.count(suffix):
            has = "has" if number == 1 else "have"
            yield f"{counted(number, 'image')} {has} {what} and no label file: left out; `prepare {kind}` reads them"


def _read_labels(job: _Job, wanted: str, kpt_shape: tuple[int, int] | None) -> tuple[Annotated, Judged | None]:
    """Read an image with what its label file says; None where the image is left out before that is read.

    Args:
        job: the image.
        wanted: what is to be written for an object, see `Options`.
        kpt_shape: of the source's rows, None where they are no poses.
    """
    result = Annotated(job.name)
    other = _other_annotation(job)
    if other:
        result.problems.append(f"{job.image}: it has no label file, but {other}; it is left out")
        return result, None
    header = result.take(Path(job.image))
    if header is None:
        return result, None
    keypoints = kpt_shape[0] * kpt_shape[1] if kpt_shape else 0
    labels, ignored = judge_labels(job.labels, keypoints), judge_ignored(ignore_file(job.image))
    areas, unfit = judge_areas(areas_file(job.image), labels)
    result.problems += problem_lines(job.labels, labels.problems)
    result.problems += problem_lines(ignore_file(job.image), ignored.problems)
    result.problems += problem_lines(areas_file(job.image), unfit)
    own = [None] * len(labels.rows) if areas is None else [v if v > 0 else None for v in areas.tolist()]
    for (cls, *sides), numbers, line, area in zip(
        labels.rows.tolist(), row_numbers(labels), labels.lines, own, strict=True
    ):
        box = (sides[0], sides[1], sides[2], sides[3])
        shape, what = _shape_of(numbers, box, wanted, kpt_shape, header.shape)
        result.problems += [f"{job.labels}:{line}: {what}"] if what else []
        if wanted == "polygons" and shape is None:
            result.ignored.append((int(cls), box, False))
            result.ignored_shapes.append(None)
            continue
        result.objects.append((int(cls), box))
        result.shapes.append(shape)
        result.areas.append(area)
    for (cls, x, y, w, h, crowd), numbers in zip(ignored.rows.tolist(), row_numbers(ignored), strict=True):
        result.ignored.append((None if cls < 0 else int(cls), (x, y, w, h), bool(crowd)))
        outline = outline_of(numbers) if wanted in OUTLINED else None
        result.ignored_shapes.append(None if outline is None else outline.ravel().tolist())
    if not labels.usable:
        result.image = None
    return result, labels


def _shape_of(
    numbers: list[float], box: Box, wanted: str, kpt_shape: tuple[int, int] | None, shape: tuple[int, int]
) -> tuple[list[float] | None, str]:
    """Return what is written for a row in the place of its box, None for the box; and what is wrong with it."""
    if wanted == "boxes":
        return None, ""
    if wanted == "keypoints":
        assert kpt_shape is not None
        return pose_numbers(numbers, box, kpt_shape)
    outline = outline_of(numbers) if kpt_shape is None else None
    if outline is None and wanted == "corners":
        return corners_of_box(box), ""
    if outline is None:
        return None, "it is a box, without outline; it is ignored"
    if wanted == "corners" and len(outline) < CORNERS:
        return as_corners(outline * (shape[1], shape[0]), shape), ""
    return outline.ravel().tolist(), ""


def problem_lines(path: str | None, problems: Sequence[Problem]) -> list[str]:
    """Return the problems of a file, with file and line."""
    return [f"{path}:{p.line}: {p.what}" if p.line else f"{path}: {p.what}" for p in problems]


YOLO = Format(
    "yolo",
    lambda source: _read_source(source, source.options["names"]),
    by_id=True,
    kinds=ANNOTATIONS,
    beside=_places_beside,
)
prepare_yolo = YOLO.own
# The first 128 images of COCO train2017, which are train and val.
COCO128 = Format("coco128", lambda source: _read_source(source, published_names.COCO), beside=_places_beside)
prepare_coco128 = COCO128.public
