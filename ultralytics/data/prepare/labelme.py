"""labelme's JSON, one per image → YOLO format.

A shape, or a mask's pixels, becomes the box around it, its outline, or a rotated box; points with the group of a shape
are its keypoints. Shapes of one label and one group become one object. What is marked difficult goes to ignore/:
training does not see it, the evaluation neither rewards nor punishes it. An image that is missing is taken out of its
JSON where that holds it.
"""

from __future__ import annotations

import base64
import binascii
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from ultralytics.data.labels import ANNOTATIONS
from ultralytics.data.prepare.annotated import Annotated, Converted, class_order, in_threads
from ultralytics.data.prepare.boxes import Box, Corners, Header, annotated_upright, from_corners, outside, turned
from ultralytics.data.prepare.coco_shapes import bounds_of, flip_of, in_parts, read_points, turned_points
from ultralytics.data.prepare.divide import Options
from ultralytics.data.prepare.documents import as_number, load_json
from ultralytics.data.prepare.format import Format, Source, prepare
from ultralytics.data.prepare.outlines import (
    MOST_PARTS,
    MOST_REGION_PARTS,
    area_of,
    clip,
    join,
    one_way_round,
    outline_mask,
)
from ultralytics.data.prepare.rows import as_corners
from ultralytics.data.prepare.tree import Tree, as_splits
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError
from ultralytics.utils.images import open_header
from ultralytics.utils.types import BoolArray, Float64Array

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ultralytics.data.prepare.divide import Keys

IGNORED = "__ignore__"  # labelme's own name for what is no object
NO_AREA = {"point": "a point", "points": "points", "line": "a line", "linestrip": "a line"}
SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "BMP": ".bmp", "TIFF": ".tif", "WEBP": ".webp"}


@dataclass
class _Job:
    """A JSON, its path below the source, and the images that may be its own."""

    mark: str
    images: list[str]
    by_name: Mapping[str, list[str]]  # file name → images of the source
    labels: str = "boxes"  # what is to be written, see `Options`
    points: Sequence[str] = ()  # labels of the keypoints, in their order


@dataclass
class _Marked:
    """An object: a shape, or all of one label and group."""

    label: str
    corners: Corners  # of the box around it, pixels
    ignored: bool
    outlines: list[Float64Array] = field(default_factory=list)  # (k, 2) pixels
    marks: dict[str, tuple[float, float, int]] = field(default_factory=dict)  # keypoint → x, y, visibility

    def points(self, order: Sequence[str]) -> list[float]:
        """Return x, y and visibility of each keypoint, as COCO has them."""
        return [v for name in order for v in self.marks.get(name, (0.0, 0.0, 0))]


def _read_source(source: Source) -> Converted:
    top, embedded = source.folder(), source.scratch / "0-embedded"
    tree = Tree.of(top, ".json")
    if not tree.marks:
        raise MissingFileError("there is no JSON file", str(top), "source= is a folder with labelme's JSON files")
    by_name: dict[str, list[str]] = {}
    for image in tree.images:
        by_name.setdefault(os.path.basename(image), []).append(image)
    labels = source.wanted.labels
    points = _points_of(source, top, tree.marks) if labels == "keypoints" else []
    jobs = [_Job(mark, images, by_name, labels, points) for mark, images in tree.pairs().items()]
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
    keys: dict[str, Any] = {"kpt_shape": [len(points), 3]} if points else {}
    notes = [f"the keypoints are, in this order: {', '.join(points)}"] if points else []
    mirrored = flip_of(points)
    if mirrored:
        keys["flip_idx"] = mirrored
    elif points:
        notes.append("the labels of the keypoints do not say which are left and right: add flip_idx to data.yaml")
    return Converted(as_splits(found), order, notes=notes, problems=problems, keys=keys)


def _points_of(source: Source, top: Path, marks: Sequence[str]) -> list[str]:
    """Return the labels of the keypoints: as they are given, else those of all points, in the order of the first file
    that has all of them, or of the alphabet.

    Raises:
        DatasetError: there are none.
    """
    if source.options.get("keypoints"):
        return [str(name) for name in source.options["keypoints"]]
    listed: list[list[str]] = []
    for mark in marks:
        try:
            data = load_json(top / mark)
        except DatasetError:
            continue  # it is named when it is read
        shapes = data.get("shapes") if isinstance(data, dict) else None
        points = [s for s in shapes if isinstance(s, dict)] if isinstance(shapes, list) else []
        names = [str(s.get("label") or "").strip() for s in points if s.get("shape_type") == "point"]
        listed.append(list(dict.fromkeys(n for n in names if n)))
    found = {name for names in listed for name in names}
    if not found:
        hint = "a keypoint is a point with the group_id of its object's rectangle or polygon"
        raise DatasetError("task=pose, and no shape is a point", str(top), hint)
    return next((names for names in listed if set(names) == found), sorted(found))


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
        result.problems.append(f"{file}: it is not JSON of labelme: it has no list of shapes; it is not used")
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
    for marked in _read_shapes(file, shapes, result, job.points, math.prod(header.shape)):
        corners, anything = marked.corners, marked.label == IGNORED
        fitted = from_corners(corners if upright else turned(corners, header), header.shape)
        crowd = anything if anything or marked.ignored else None
        numbers = _numbers_of(marked, job, header, upright, fitted[0])
        lost = f"{file}: {marked.label} {outside(*corners)}"
        result.add(None if anything else marked.label, fitted, lost, crowd, numbers)
    return key, result


def _numbers_of(marked: _Marked, job: _Job, header: Header, upright: bool, box: Box | None) -> list[float] | None:
    """Return what is written for a shape in the place of its box; None for the box."""
    if box is None or job.labels == "boxes":
        return None
    if job.labels == "keypoints":
        return [*box, *read_points({"keypoints": marked.points(job.points)}, len(job.points), header, upright)[0]]
    outlines = [o if upright else turned_points(o, header) for o in marked.outlines]
    kept = [p for p in (clip(o, header.shape) for o in outlines) if len(p) > 2 and area_of(p) > 0]
    if not kept:
        return None
    joined = join([one_way_round(p) for p in kept]) if len(kept) > 1 else kept[0]
    return in_parts(joined, header.shape) if job.labels == "polygons" else as_corners(joined, header.shape)


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
        result.problems.append(f"{mark}: its image is not there, and its imageData is not an image")
        return None
    path = folder / PurePosixPath(mark).with_suffix(suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _read_shapes(
    file: Path, shapes: Sequence[Any], result: Annotated, points: Sequence[str], most: int
) -> list[_Marked]:
    """Return the objects, in pixels; `points` are the labels of keypoints, which belong to the object of their
    group; `most`: pixels of the image."""
    found: dict[Any, _Marked] = {}
    marks: list[tuple[str, int | str | None, str, tuple[float, float, int]]] = []
    for number, shape in enumerate(shapes):
        where = f"{file}: shapes[{number}]"
        if not isinstance(shape, dict):
            result.problems.append(f"{where} is not a mapping; it is dropped")
            continue
        label = str(shape.get("label") or "").strip()
        if not label:
            result.problems.append(f"{where} has no label; it is dropped")
            continue
        group = shape.get("group_id")
        group = group if isinstance(group, int | str) and group != "" else None
        if label in points and shape.get("shape_type") == "point":
            place = _place_of(shape)
            if place is None:
                result.problems.append(f"{where} ({label:.80}) has a point that is not two numbers; it is dropped")
            else:
                marks.append((where, group, label, (*place, 1 if _flag(shape, HIDDEN) else 2)))
            continue
        corners, why = corners_of(shape)
        outline = None if corners is None else _outline_of(shape, corners)
        if corners is not None and shape.get("shape_type") == "mask" and shape.get("mask") is not None:
            outline, why = _mask_outline(
                shape["mask"], corners, most, MOST_REGION_PARTS if label == IGNORED else MOST_PARTS
            )
            corners = corners if outline is None else bounds_of(outline)
        if corners is None or outline is None:
            result.problems.append(f"{where} ({label:.80}) {why}; it is dropped")
            continue
        marked = _Marked(label, corners, _flag(shape, ("difficult",)), [outline])
        key = (label, group) if group is not None else number
        if key in found:
            before = found[key]
            (x1, y1, x2, y2), (u1, v1, u2, v2) = corners, before.corners
            marked.corners = min(x1, u1), min(y1, v1), max(x2, u2), max(y2, v2)
            marked.ignored, marked.outlines = marked.ignored and before.ignored, before.outlines + marked.outlines
        found[key] = marked
    by_group = {key[1]: marked for key, marked in found.items() if isinstance(key, tuple)}
    for where, group, label, mark in marks:
        owner = by_group.get(group) if group is not None else next(iter(found.values()), None)
        if owner is None or (group is None and len(found) != 1):
            result.problems.append(f"{where} ({label:.80}) has no object with its group_id; it is dropped")
            continue
        owner.marks[label] = mark
    return list(found.values())


HIDDEN = ("occluded", "hidden")  # flags of a keypoint that cannot be seen


def _flag(shape: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Return True where a shape, or its flags, set one of these."""
    flags = shape.get("flags") if isinstance(shape.get("flags"), dict) else {}
    return any(place.get(name) in (True, 1) for place in (shape, flags) if place for name in names)


def _place_of(shape: Mapping[str, Any]) -> tuple[float, float] | None:
    listed = shape.get("points")
    point = listed[0] if isinstance(listed, list) and listed else None
    if not isinstance(point, list | tuple) or len(point) != 2:
        return None
    x, y = map(as_number, point)
    return None if x is None or y is None else (x, y)


def _outline_of(shape: Mapping[str, Any], corners: Corners) -> Float64Array:
    """Return the outline (k, 2) of a shape whose points `corners_of` found to be right: a polygon's own, a circle's in
    64 points, else the box's."""
    points = np.array([[as_number(v) or 0.0 for v in p] for p in shape["points"]], np.float64)
    kind = str(shape.get("shape_type") or "polygon")
    x1, y1, x2, y2 = corners
    if kind == "circle":
        angles = np.linspace(0, 2 * math.pi, 64, endpoint=False)
        centre, radius = points[0], (x2 - x1) / 2
        return np.asarray(centre + radius * np.stack([np.cos(angles), np.sin(angles)], 1))
    if len(points) > 2:
        return points
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])


def _mask_outline(text: Any, corners: Corners, most: int, parts: int) -> tuple[Float64Array | None, str]:
    """Return the outline (k, 2) of a mask's pixels, in those of the image; or None and why there is none.

    Args:
        text: a PNG in base64; what is not 0 in it is the object, whatever its alpha.
        corners: of the mask's points, the first of which is its upper left pixel.
        most: pixels that it may have; parts: of the outline.
    """
    try:
        content = base64.b64decode("".join(text.split()), validate=True) if isinstance(text, str) else b""
        image = open_header(np.frombuffer(content, np.uint8))
    except (binascii.Error, ValueError):
        return None, "has a mask that is damaged: it is not base64"
    if image is None or image.format != "PNG":
        return None, "has a mask that is not a PNG"
    if image.width * image.height > most:
        return None, f"has a mask of {image.width}x{image.height} pixels, more than its image has"
    try:
        pixels = np.asarray(image)
    except Exception:  # Pillow raises what a damaged file makes its parsers raise
        return None, "has a mask that is damaged: its PNG cannot be decoded"
    colours = [band != "A" for band in image.getbands()]
    inside: BoolArray = np.asarray(pixels[..., colours].any(2) if pixels.ndim == 3 else pixels, np.bool_)
    outline = outline_mask(inside, parts)
    if outline is None:
        return None, "has a mask without a pixel"
    return outline + np.floor(np.array(corners[:2], np.float64)), ""


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


def prepare_labelme(
    source: str | Path,
    out: str | Path,
    names: Sequence[str] | None = None,
    keypoints: Sequence[str] | None = None,
    **given: Unpack[Keys],
) -> Path:
    """Turn labelme's JSON files into images, labels and a dataset YAML.

    Args:
        keypoints: labels of the points of a pose in their order; those that are used when None.
        Others: as of the command; for what is returned and raised see `prepare`.
    """
    wanted = Options(**given)
    own = {"names": list(names) if names else None} | ({"keypoints": list(keypoints)} if keypoints else {})
    if keypoints and wanted.labels != "keypoints":
        raise ConfigError(f"keypoints={list(keypoints)!s:.80} has no effect with task={wanted.task}", hint="task=pose")
    return prepare(LABELME, source, out, wanted, own)


LABELME = Format("labelme", _read_source, kinds=ANNOTATIONS)
