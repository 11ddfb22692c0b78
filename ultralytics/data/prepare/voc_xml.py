"""One annotation of Pascal VOC: an XML file and the image beside it."""

from __future__ import annotations

import math
import os
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ultralytics.data.prepare.annotated import Annotated
from ultralytics.data.prepare.boxes import Corners, Header, annotated_upright, from_corners, look, outside, turned
from ultralytics.data.prepare.documents import parse_xml
from ultralytics.data.prepare.voc_root import Root
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.images import IMAGE_SUFFIXES
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted


@dataclass
class VocObject:
    number: int  # in its file, from 1
    cls: str
    difficult: bool
    corners: Corners  # as written, smaller first


@dataclass
class VocAnnotation:
    """An annotation as it is written, beside its image."""

    name: str
    xml: Path | None = None
    image: Path | None = None
    header: Header | None = None
    upright: bool = True
    objects: list[VocObject] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_annotation(root: Root, name: str) -> VocAnnotation:
    xml = root.annotations.get(name)
    result = VocAnnotation(name, xml)
    if xml is None:
        what = f"{root.places[0] / name}.xml: there is no such annotation"
        if root.places[0] == root.places[1]:
            what = f"{root.images[name][0]}: it has no annotation"
        elif name not in root.images:
            what = f"{root.places[1] / name}.*: there is no such image, and no annotation"
        result.problems.append(what)
        return result
    try:
        tree = parse_xml(xml)
    except DatasetError as e:
        result.problems.append(str(e))
        return result
    filename = PurePosixPath(_text_of(tree, "filename").replace("\\", "/")).name
    result.image = image = _image_of(root, name, filename, result)
    if image is None:
        return result
    header = look(image)
    if isinstance(header, str):
        result.problems.append(f"{image}: {header}")
        return result
    result.header = header
    result.upright, note = annotated_upright(result.header, _declared_size(tree))
    if note:
        result.problems.append(f"{xml}: {note}")
    for number, item in enumerate(tree.findall("object"), 1):
        _read_object(result, number, item)
    return result


def _image_of(root: Root, name: str, filename: str, result: VocAnnotation) -> Path | None:
    """Return the image beside an annotation: that of its own name, else that of its <filename>."""
    xml = result.xml
    files = root.images.get(name, [])
    stem = os.path.splitext(filename)[0] if os.path.splitext(filename)[1].lower() in IMAGE_SUFFIXES else filename
    if not files:
        head, slash, _ = name.rpartition("/")
        files = (root.images.get(f"{head}{slash}{stem}") or root.images.get(stem, [])) if stem else []
        if not files:
            by_name = root.places[0] != root.places[1]
            image = f"{root.places[1] / name}.*"
            lacks = f"{image}: there is no such image" if by_name else f"{xml}: there is no image of its name"
            result.problems.append(lacks)
            return None
        result.problems.append(f"{xml}: it has no image of its own name; {files[0].name}, its <filename>, is taken")
    elif stem and stem != PurePosixPath(name).name:
        result.problems.append(f"{xml}: its <filename> is {filename}; {files[0].name}, which has its name, is taken")
    if len(files) > 1:
        chosen = next((f for f in files if f.name == filename), files[0])
        result.problems.append(f"{xml}: {' and '.join(f.name for f in files)} have its name; {chosen.name} is taken")
        return chosen
    return files[0]


def _read_object(result: VocAnnotation, number: int, item: ET.Element) -> None:
    cls = _text_of(item, "name")
    where = f"{result.xml}: object {number} ({cls or 'no name'})"
    boxes = item.findall("bndbox")  # its own: those of its parts lie deeper
    if len(boxes) > 1:
        result.problems.append(f"{where} has {len(boxes)} boxes; the first is taken")  # at least two
    try:
        x1, y1, x2, y2 = (float(_text_of(boxes[0], k)) for k in ("xmin", "ymin", "xmax", "ymax"))
    except (IndexError, ValueError):
        x1 = x2 = y1 = y2 = math.nan
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        result.problems.append(f"{where} has no usable box; it is dropped")
        return
    if not cls:
        result.problems.append(f"{result.xml}: object {number} has no name; it is dropped")
        return
    if x1 > x2 or y1 > y2:
        result.problems.append(f"{where} has its corners swapped ({x1:g} {y1:g} {x2:g} {y2:g}); they are put in order")
    difficult = _text_of(item, "difficult").lower() in ("1", "true", "yes")
    result.objects.append(VocObject(number, cls, difficult, (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))))


def decide_one_based(read: Sequence[VocAnnotation]) -> tuple[bool, list[str]]:
    """Return True if pixels count from 1, with a note when it is not that or not beyond doubt.

    A dataset has many boxes that begin at an image's edge, at 0 or at 1. They count from 0 when at least as many
    begin at 0 (or below 1) as at 1 (or below 2), and no fewer than one in STRAY of all boxes: a stray corner moves no
    other box.
    """
    zero = [(r, o) for r in read for o in r.objects if 0 <= o.corners[0] < 1 or 0 <= o.corners[1] < 1]
    one = sum(1 <= o.corners[0] < 2 or 1 <= o.corners[1] < 2 for r in read for o in r.objects)
    if not zero:
        LOGGER.info("corners count from 1: a box covers xmin - 1 to xmax (one_based=False reads them from 0)")
        return True, []
    r, o = zero[0]
    if len(zero) < one or STRAY * len(zero) < sum(len(r.objects) for r in read):
        return True, [
            f"corners count from 1, as of {counted(one, 'box')}; {len(zero)} begin at 0, such as {r.xml}: object "
            f"{o.number}, and are cut by a pixel (one_based=False reads all of them from 0)"
        ]
    return False, [
        f"corners count from 0: {counted(len(zero), 'box')} with a corner there, such as {r.xml}: object {o.number}; "
        "a box covers xmin to xmax (one_based=True reads them as VOC does)"
    ]


def fit(read: VocAnnotation, one_based: bool) -> Annotated:
    """Return boxes in parts of the upright image, cut to it."""
    usable = read.header is not None
    name = f"{read.name}{read.image.suffix}" if read.image is not None else read.name
    result = Annotated(name, read.image if usable else None, problems=list(read.problems))
    if read.header is None:
        return result
    for o in read.objects:
        x1, y1, x2, y2 = o.corners
        corners = (x1 - one_based, y1 - one_based, x2, y2)
        fitted = from_corners(corners if read.upright else turned(corners, read.header), read.header.shape)
        lost = f"{read.xml}: object {o.number} ({o.cls}) {outside(*o.corners)}"
        result.add(o.cls, fitted, lost, crowd=False if o.difficult else None)
    return result


def _text_of(item: ET.Element, path: str) -> str:
    return (item.findtext(path) or "").strip()


def _declared_size(tree: ET.Element) -> tuple[float, float] | None:
    """Return the (height, width) an annotation declares; None when it does not, or with zeros."""
    try:
        size = float(_text_of(tree, "size/height")), float(_text_of(tree, "size/width"))
    except ValueError:
        return None
    return size if min(size) > 0 else None


STRAY = 1000
