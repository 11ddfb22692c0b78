"""A dataset of this project → COCO's instances JSON, for evaluation elsewhere."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ultralytics.cfg.class_folders import is_class_dataset
from ultralytics.cfg.config import check_switches
from ultralytics.cfg.dataset import DatasetSpec, load_dataset
from ultralytics.cfg.tasks import labelled, task_for
from ultralytics.data.images import list_images
from ultralytics.data.kinds import form_of
from ultralytics.data.labels import (
    RowForm,
    areas_file,
    ignore_file,
    judge_areas,
    judge_ignored,
    judge_labels,
    label_file,
    row_numbers,
)
from ultralytics.data.prepare import names as published_names
from ultralytics.data.prepare.annotated import in_threads
from ultralytics.data.prepare.boxes import Box, look
from ultralytics.data.prepare.coco_shapes import flip_of
from ultralytics.data.prepare.rows import outline_of
from ultralytics.data.prepare.write import SHOWN_PROBLEMS
from ultralytics.data.prepare.yolo import problem_lines
from ultralytics.utils.errors import ConfigError, DatasetError
from ultralytics.utils.files import write_atomically
from ultralytics.utils.log import LOGGER
from ultralytics.utils.output_path import target_file
from ultralytics.utils.text import counted, is_text, one_line

# class (None: any), box, ignored, crowd, area (pixels²; None: its box's), and what else the format has for it
_Mark = tuple[int | None, Box, bool, bool, float | None, dict[str, Any]]


def export_coco(data: str | Path, out: str | Path, split: str = "val", overwrite: bool = False) -> Path:
    """Write a split as instances JSON; `prepare coco` of it gives equal labels.

    A box is x, y, width, height in pixels. Ids of images are their names where all are different numbers, else 1, 2, …;
    ids of categories are class ids, or COCO's own where the names are its 80. What the evaluation ignores is a crowd
    (iscrowd 1); areas are those of areas/, else of the boxes; "difficult": 1 marks what is matched by IoU, "any_class"
    a region of every class, which stands once per category. Rows are read for the task that the YAML names, so that the
    images are those of its training. The options are those of the command `export-coco`.

    Returns:
        The file.

    Raises:
        ConfigError: OUT exists, or its folder does not; DATA are class folders.
        DatasetError: no such split, or a class id out of range.
        UserError: it cannot be written.
    """
    check_switches({"overwrite": overwrite})
    if is_class_dataset(data):
        raise ConfigError(
            "in class folders nothing has a place, and COCO's instances do",
            str(data),
            "give a dataset of boxes, polygons, keypoints or corners",
        )
    out = target_file(out, overwrite)
    spec = load_dataset(data, needs=[split])
    paths = spec.split(split)
    files = list_images(paths)
    root = Path(os.path.commonpath([os.path.abspath(p if p.is_dir() else p.parent) for p in _tops_of(paths, files)]))
    names = {f: os.path.relpath(f, root).replace(os.sep, "/") for f in files}
    form = form_of(spec, (), spec.task if spec.task in labelled() else task_for("boxes"))
    read = in_threads(lambda f: _read_marks(f, names[f], form, spec.kpt_shape), files, "Reading labels")
    problems = [p for _, _, found in read for p in found]
    usable = [(file, shape, marks) for file, (shape, marks, _) in zip(files, read, strict=True) if shape is not None]
    if not usable:
        raise DatasetError(f"none of its {len(files)} images can be used: {problems[0]}", str(spec.yaml_file))
    numbers = _numbers_of([file for file, _, _ in usable])
    images = [
        {"id": number, "file_name": names[file], "width": w, "height": h}
        for number, (file, (h, w), _) in zip(numbers, usable, strict=True)
    ]
    classes = tuple(spec.names.values())
    ids = published_names.COCO_IDS if classes == published_names.COCO else range(len(classes))
    annotations = _build_annotations(numbers, usable, ids)
    points = {"keypoints": _point_names(spec)} if spec.kpt_shape else {}
    categories = [{"id": ids[i], "name": name, **points} for i, name in enumerate(classes)]
    info = {"description": f"{spec.yaml_file.name}, {split}"}
    document = {"info": info, "images": images, "annotations": annotations, "categories": categories}
    text = json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace")
    write_atomically(out, lambda f: f.write(text), "out")
    LOGGER.info("%s: %s, %s", out, counted(len(images), "image"), counted(len(annotations), "annotation"))
    if problems:
        gone = len(files) - len(usable)
        LOGGER.warning("%s%s:", f"{counted(gone, 'image')} left out; " * bool(gone), counted(len(problems), "problem"))
        for problem in problems[:SHOWN_PROBLEMS]:
            LOGGER.warning("  %s", one_line(problem))
    return out


def _build_annotations(
    numbers: Sequence[int], images: Sequence[tuple[str, tuple[int, int], list[_Mark]]], ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Return the annotations of images, by file, (height, width) and marks; `ids` are those of the categories.

    Raises:
        DatasetError: a class id is out of range.
    """
    found: list[dict[str, Any]] = []
    regions = 0
    for number, (file, (h, w), marks) in zip(numbers, images, strict=True):
        for cls, box, ignored, crowd, area, more in marks:
            if cls is not None and cls >= len(ids):
                what = f"class id {cls} is out of range: the dataset has {counted(len(ids), 'class')}"
                raise DatasetError(what, label_file(file))
            regions += cls is None
            pixels = [(box[0] - box[2] / 2) * w, (box[1] - box[3] / 2) * h, box[2] * w, box[3] * h]
            for each in range(len(ids)) if cls is None else (cls,):
                found.append(
                    {
                        "id": len(found) + 1,
                        "image_id": number,
                        "category_id": ids[each],
                        "bbox": pixels,
                        "area": pixels[2] * pixels[3] if area is None else area,
                        "iscrowd": int(ignored),
                        **more,
                        **({"difficult": 1} if ignored and not crowd else {}),
                        **({"any_class": regions} if cls is None else {}),
                    }
                )
    return found


def _tops_of(paths: list[Path], files: list[str]) -> list[Path]:
    """Return what file names are relative to: the folders of a split, and the folders of what it lists singly."""
    listed = [p for p in paths if p.is_dir()]
    return listed if len(listed) == len(paths) else [*listed, *(Path(f) for f in files)]


def _numbers_of(files: list[str]) -> list[int]:
    stems = [os.path.splitext(os.path.basename(f))[0] for f in files]
    if all(s.isascii() and s.isdigit() and len(s) < 16 for s in stems):
        numbers = [int(s) for s in stems]
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(1, len(files) + 1))


def _read_marks(
    file: str, name: str, form: RowForm, kpt_shape: tuple[int, int] | None
) -> tuple[tuple[int, int] | None, list[_Mark], list[str]]:
    """Return an image's size (None: it cannot be used), what is marked in it, and problems."""
    if not is_text(name):
        return None, [], [f"{file}: its name is not text, and JSON holds nothing else; rename it"]
    header = look(file)
    if isinstance(header, str):
        return None, [], [f"{file}: {header}"]
    labels = judge_labels(label_file(file), *form)
    ignored = judge_ignored(ignore_file(file))
    problems = problem_lines(label_file(file), labels.problems) + problem_lines(ignore_file(file), ignored.problems)
    if not labels.usable:
        return None, [], problems
    areas, unfit = judge_areas(areas_file(file), labels)
    problems += problem_lines(areas_file(file), unfit)
    own = [None] * len(labels.rows) if areas is None else [v if v > 0 else None for v in areas.tolist()]
    marks: list[_Mark] = [
        (int(cls), _lasting_box(box), False, False, area, _extras(numbers, kpt_shape, header.shape))
        for (cls, *box), area, numbers in zip(labels.rows.tolist(), own, row_numbers(labels), strict=True)
    ]
    for (cls, *box, crowd), numbers in zip(ignored.rows.tolist(), row_numbers(ignored), strict=True):
        region = _extras(numbers, None, header.shape)
        marks.append((None if cls < 0 else int(cls), _lasting_box(box), True, bool(crowd), None, region))
    return header.shape, marks, problems


def _extras(numbers: list[float], kpt_shape: tuple[int, int] | None, shape: tuple[int, int]) -> dict[str, Any]:
    """Return what COCO's format has for a row besides its box: an outline, or points. Of points with two numbers those
    in the image are seen."""
    h, w = shape
    if kpt_shape is None:
        outline = outline_of(numbers)
        if outline is None:
            return {}
        return {"segmentation": [[_lasting_pixel(v, (w, h)[i % 2]) for i, v in enumerate(outline.ravel().tolist())]]}
    flat: list[float] = []
    points = np.array(numbers[4:] or [0.0] * math.prod(kpt_shape)).reshape(kpt_shape)
    for x, y, *seen in points.tolist():
        inside = 0 <= x <= 1 and 0 <= y <= 1
        v = (seen[0] if inside else 0) if seen else int(inside and len(numbers) > 4) * 2
        flat += [_lasting_pixel(x, w), _lasting_pixel(y, h), int(v)] if v else [0, 0, 0]
    return {"keypoints": flat, "num_keypoints": sum(v > 0 for v in flat[2::3])}


def _point_names(spec: DatasetSpec) -> list[str]:
    """Return names of a pose's points, from which `prepare coco` finds which mirror one another."""
    assert spec.kpt_shape is not None
    count = spec.kpt_shape[0]
    flip = spec.flip_idx or tuple(range(count))
    if any(flip[flip[i]] != i for i in range(count)):
        flip = tuple(range(count))  # not two by two, which names cannot say
    if flip == tuple(flip_of(published_names.COCO_POINTS) or ()):
        return list(published_names.COCO_POINTS)
    sides = {i: "point" if flip[i] == i else "left" if i < flip[i] else "right" for i in range(count)}
    return [f"{sides[i]}_{min(i, flip[i])}" for i in range(count)]


def _lasting_pixel(v: float, size: int) -> float:
    """Return a part of a side in pixels, with no more decimals than give the same ten digits when it is prepared
    again."""
    wanted = f"{v:.10g}"
    rounded = (round(v * size, digits) for digits in (2, 4, 6, 8))
    return next((p for p in rounded if f"{p / size:.10g}" == wanted), v * size)


def _lasting_box(box: list[float]) -> Box:
    """Return a box that keeps its float32 values when it is prepared again, which writes ten digits."""
    x, y, w, h = map(_lasting_number, box)
    return x, y, w, h


def _lasting_number(v: float) -> float:
    wanted = np.float32(v)
    if np.float32(f"{v:.10g}") == wanted:
        return v
    # Half-way between two float32, where ten digits are on the other side: the next number of ten digits is not.
    unit = 10.0 ** (math.floor(math.log10(abs(v))) - 9)
    near = (float(f"{v + step:.10g}") for step in (-unit, unit))
    return next((n for n in near if np.float32(n) == wanted), float(wanted))
