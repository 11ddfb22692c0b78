"""labelme's JSON, one per image → YOLO format.

A shape becomes the box around it; shapes of one label and one group become one object. What is marked difficult goes to
ignore/: training does not see it, the evaluation neither rewards nor punishes it. An image that is missing is taken out
of its JSON where that holds it.
"""

from __future__ import annotations

import base64
import binascii
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ultralytics.data.prepare.annotated import Annotated, Converted, class_order, in_threads
from ultralytics.data.prepare.boxes import Corners, annotated_upright, from_corners, outside, turned
from ultralytics.data.prepare.documents import as_number, load_json
from ultralytics.data.prepare.format import Format, Source
from ultralytics.data.prepare.tree import Tree, as_splits
from ultralytics.utils.errors import DatasetError, MissingFileError
from ultralytics.utils.images import open_header

IGNORED = "__ignore__"  # labelme's own name for what is no object
NO_AREA = {"point": "a point", "points": "points", "line": "a line", "linestrip": "a line"}
SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "BMP": ".bmp", "TIFF": ".tif", "WEBP": ".webp"}


@dataclass
class _Job:
    """A JSON, its path below the source, and the images that may be its own."""

    mark: str
    images: list[str]
    by_name: Mapping[str, list[str]]  # file name → images of the source


def _read_source(source: Source) -> Converted:
    top, embedded = source.folder(), source.scratch / "0-embedded"
    tree = Tree.of(top, ".json")
    if not tree.marks:
        raise MissingFileError("there is no JSON file", str(top), "source= is a folder with labelme's JSON files")
    by_name: dict[str, list[str]] = {}
    for image in tree.images:
        by_name.setdefault(os.path.basename(image), []).append(image)
    jobs = [_Job(mark, images, by_name) for mark, images in tree.pairs().items()]
    read = in_threads(lambda job: _read_json(top, embedded, job), jobs, "Reading annotations")
    problems = tree.passed
    found: dict[str, Annotated] = {}
    for key, annotated in read:
        if key in found:
            problems += [*annotated.problems, f"{top / key}: another JSON is of the same image; it is not used"]
        else:
            found[key] = annotated
    for image in tree.beside([k for k, a in found.items() if a.image is not None], "an annotated image", found):
        found.setdefault(image, Annotated(image, problems=[f"{top / image}: it has no JSON"]))
    order = class_order(list(found.values()), source.options["names"], top)
    return Converted(as_splits(found), order, problems=problems)


def _read_json(top: Path, embedded: Path, job: _Job) -> tuple[str, Annotated]:
    """Read an annotation and its place among the images of the source."""
    file = top / job.mark
    result = Annotated(job.mark)
    try:
        data = load_json(file)
    except DatasetError as e:
        result.problems.append(str(e))
        return job.mark, result
    shapes = data.get("shapes") if isinstance(data, dict) else None
    if not isinstance(shapes, list):
        result.problems.append(f"{file}: it is no JSON of labelme: it has no list of shapes; it is not used")
        return job.mark, result
    key = _image_of(top, job, str(data.get("imagePath") or ""), result)
    image = top / key if key else _write_embedded(embedded, job.mark, data.get("imageData"), result)
    if image is None:
        return job.mark, result
    result.name = key = key or f"{os.path.splitext(job.mark)[0]}{image.suffix}"
    header = result.take(image)
    if header is None:
        return key, result
    h, w = as_number(data.get("imageHeight")), as_number(data.get("imageWidth"))
    declared = (h, w) if h is not None and w is not None and min(h, w) > 0 else None
    upright, note = annotated_upright(header, declared)
    if note:
        result.problems.append(f"{image}: {note}")
    for label, corners, ignored in _read_shapes(file, shapes, result):
        fitted = from_corners(corners if upright else turned(corners, header), header.shape)
        anything = label == IGNORED
        crowd = anything if anything or ignored else None
        result.add(None if anything else label, fitted, f"{file}: {label} {outside(*corners)}", crowd)
    return key, result


def _image_of(top: Path, job: _Job, image_path: str, result: Annotated) -> str | None:
    """Return the image of a JSON: that of its own name, else that of its imagePath; None where there is neither.

    Only images below the source are read, wherever imagePath leads.
    """
    image_path = image_path.replace("\\", "/")
    base = os.path.basename(image_path)
    wanted = ""
    if image_path:
        wanted = os.path.normpath(os.path.join(os.path.dirname(job.mark), image_path)).replace(os.sep, "/")
    if wanted in job.by_name.get(base, []):
        named = [wanted]
    else:
        named = job.by_name.get(base, [])
    images = job.images or named
    if not images:
        return None
    if len(images) > 1:
        chosen = next((i for i in images if i in named), images[0])
        several = " and ".join(images)
        result.problems.append(f"{top / job.mark}: {several} may be its image; {chosen} is taken")
        return chosen
    if job.images and base and named and images[0] not in named:
        result.problems.append(
            f"{top / job.mark}: its imagePath is {image_path}; {images[0]}, which has its name, is taken"
        )
    return images[0]


def _write_embedded(folder: Path, mark: str, data: Any, result: Annotated) -> Path | None:
    """Write the image in a JSON to a file; None where it holds none."""
    if not isinstance(data, str) or not data:
        result.problems.append(f"{mark}: its image is not there, and it does not hold it (imageData)")
        return None
    try:
        content = base64.b64decode(data.partition(",")[2] if data.startswith("data:") else data)
        header = open_header(np.frombuffer(content, np.uint8))
    except (binascii.Error, ValueError):
        header = None
    suffix = SUFFIXES.get(header.format or "") if header is not None else None
    if suffix is None:
        result.problems.append(f"{mark}: its image is not there, and its imageData is no image")
        return None
    path = folder / PurePosixPath(mark).with_suffix(suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _read_shapes(file: Path, shapes: Sequence[Any], result: Annotated) -> list[tuple[str, Corners, bool]]:
    """Return label, corners in pixels, and whether it is difficult, of each object: a shape, or all of one label and
    group."""
    found: dict[Any, tuple[str, Corners, bool]] = {}
    for number, shape in enumerate(shapes):
        where = f"{file}: shapes[{number}]"
        if not isinstance(shape, dict):
            result.problems.append(f"{where} is no mapping; it is dropped")
            continue
        label = str(shape.get("label") or "").strip()
        if not label:
            result.problems.append(f"{where} has no label; it is dropped")
            continue
        corners, why = corners_of(shape)
        if corners is None:
            result.problems.append(f"{where} ({label:.80}) {why}; it is dropped")
            continue
        flags = shape.get("flags") if isinstance(shape.get("flags"), dict) else {}
        ignored = any(source.get("difficult") in (True, 1) for source in (shape, flags) if source)
        group = shape.get("group_id")
        key = (label, group) if isinstance(group, int | str) and group != "" else number
        if key in found:
            _, other, before = found[key]
            (x1, y1, x2, y2), (u1, v1, u2, v2) = corners, other
            corners = min(x1, u1), min(y1, v1), max(x2, u2), max(y2, v2)
            ignored = ignored and before
        found[key] = (label, corners, ignored)
    return list(found.values())


def corners_of(shape: Mapping[str, Any]) -> tuple[Corners | None, str]:
    """Return the corners of the box around a shape, in pixels; or None and why there is none."""
    kind = str(shape.get("shape_type") or "polygon")
    points = shape.get("points")
    if not isinstance(points, list) or not points:
        return None, "has no points"
    for point in points:
        if not isinstance(point, list | tuple) or len(point) != 2 or None in map(as_number, point):
            return None, "has a point that is not two numbers"
    xs, ys = [as_number(p[0]) or 0.0 for p in points], [as_number(p[1]) or 0.0 for p in points]
    if kind in NO_AREA:
        return None, f"is {NO_AREA[kind]}, which {'have' if kind == 'points' else 'has'} no area"
    if len(points) == 1 and kind != "circle":
        return None, "is a point, which has no area"
    if kind == "circle":
        if len(points) < 2:
            return None, "is a circle without a point on its edge"
        radius = math.hypot(xs[1] - xs[0], ys[1] - ys[0])
        return (xs[0] - radius, ys[0] - radius, xs[0] + radius, ys[0] + radius), ""
    return (min(xs), min(ys), max(xs), max(ys)), ""


LABELME = Format("labelme", _read_source)
prepare_labelme = LABELME.own
