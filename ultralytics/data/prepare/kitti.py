"""KITTI object labels → YOLO format: label_2 and image_2, or label files and images in folders of any names.

ImageSets/train.txt and val.txt tell the splits where they are there. Truncated and occluded objects are kept. DontCare
regions go to ignore/ for any class: the evaluation neither rewards nor punishes what lies in them.
"""

from __future__ import annotations

import math
from pathlib import Path

from ultralytics.data.prepare.annotated import Annotated, Converted, class_order, in_threads, read_rows
from ultralytics.data.prepare.boxes import from_corners, outside
from ultralytics.data.prepare.format import Format, Source
from ultralytics.data.prepare.recognise import is_kitti
from ultralytics.data.prepare.tree import Tree, as_splits
from ultralytics.utils.errors import DatasetError, MissingFileError
from ultralytics.utils.files import read_text
from ultralytics.utils.text import is_number

DONT_CARE = "dontcare"
LISTS = {"train": "train", "val": "val", "test": "test"}  # ImageSets/NAME.txt


def _read_source(source: Source) -> Converted:
    top = source.folder()
    tree = Tree.of(top, ".txt")
    problems = tree.passed
    pairs = {mark: images for mark, images in tree.pairs().items() if images}
    if not pairs:
        raise MissingFileError("no image has a label file of its name", str(top), "source= holds label_2 and image_2")
    files: dict[str, str] = {}
    for mark, images in pairs.items():
        if len(images) > 1:
            problems.append(f"{top / mark}: {' and '.join(images)} may be its image; {images[0]} is taken")
        if files.setdefault(images[0], mark) != mark:
            problems.append(f"{top / mark}: {files[images[0]]} is of the same image; it is not used")
    jobs = tree.beside(files, "a labelled image")  # those of testing/ and of other cameras have no labels
    read = in_threads(lambda i: _read_labels(top / i, top / files[i] if i in files else None), jobs, "Reading labels")
    listed = _image_sets(top, dict(zip(jobs, read, strict=True)))
    splits = listed or as_splits(dict(zip(jobs, read, strict=True)))
    return Converted(splits, class_order(read, source.options["names"], top), problems=problems)


def _image_sets(top: Path, read: dict[str, Annotated]) -> dict[str, list[Annotated]]:
    """Return split → images by the lists in ImageSets, of names without suffix; nothing where there are no two of
    them."""
    by_stem = {i.rpartition("/")[2].rpartition(".")[0]: i for i in read}
    splits: dict[str, list[Annotated]] = {}
    if len(by_stem) < len(read):
        return {}
    for split, name in LISTS.items():
        for file in (top / "ImageSets" / f"{name}.txt", top / "ImageSets" / "Main" / f"{name}.txt"):
            if file.is_file():
                stems = dict.fromkeys(line.strip() for line in read_text(file, DatasetError).splitlines())
                found = [by_stem[s] for s in stems if s in by_stem]
                if found:
                    splits[split] = [read[i] for i in found]
    if len(splits) < 2:
        return {}
    for image, annotated in read.items():
        annotated.name = image.rpartition("/")[2]
    return splits


def _read_labels(image: Path, file: Path | None) -> Annotated:
    result = Annotated(image.name)
    if file is None:
        result.problems.append(f"{image}: it has no label file")
        return result
    found = read_rows(result, image, file)
    if found is None:
        return result
    header, lines = found
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        where = f"{file}:{number}"
        if not is_kitti(words):
            result.problems.append(f"{where}: a row is a class and 14 numbers; it is dropped")
            continue
        # Behind the name stand 14 numbers, or 15 with a score: a name may have several words, none of them a number.
        first = len(words) - (15 if len(words) > 15 and is_number(words[-15]) else 14)
        name, values = " ".join(words[:first]), [float(w) for w in words[first:]]
        corners = values[3], values[4], values[5], values[6]
        if not all(map(math.isfinite, corners)):
            result.problems.append(f"{where} ({name}): the box is not four numbers; it is dropped")
            continue
        box, cut = from_corners(corners, header.shape)
        lost = f"{where} ({name}): the box {outside(*corners)}"
        if name.replace(" ", "").lower() == DONT_CARE:
            result.add(None, (box, False), lost, crowd=True)  # marked roughly: that it is cut says nothing
        else:
            result.add(name, (box, cut), lost)
    return result


KITTI = Format("kitti", _read_source)
prepare_kitti = KITTI.own
