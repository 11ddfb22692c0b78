"""Pascal VOC's files: an annotation (an XML file and its image), and where a folder has them and its lists."""

from __future__ import annotations

import math
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ultralytics.data.prepare.annotated import Annotated
from ultralytics.data.prepare.boxes import Corners, Header, annotated_upright, from_corners, look, outside, turned
from ultralytics.data.prepare.coco_shapes import bounds_of, in_parts
from ultralytics.data.prepare.documents import parse_xml
from ultralytics.data.prepare.folder import walk
from ultralytics.data.prepare.tree import Tree, by_splits, split_of_folders
from ultralytics.data.prepare.voc_masks import FOLDERS, mask_folder, outline_of_object, read_objects
from ultralytics.utils.errors import DatasetError, MissingFileError
from ultralytics.utils.files import read_text
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


def fit(read: VocAnnotation, one_based: bool, masks: Path | None = None) -> Annotated:
    """Return boxes in parts of the upright image, cut to it; with the folder of the masks, outlines. An object of which
    the mask has no pixel is ignored then, and an image without a mask is left out."""
    usable = read.header is not None
    name = f"{read.name}{read.image.suffix}" if read.image is not None else read.name
    result = Annotated(name, read.image if usable else None, problems=list(read.problems))
    if read.header is None:
        return result
    numbers = None
    if masks is not None:
        file = masks / f"{read.name}.png"
        found = read_objects(file, read.header, read.upright) if file.is_file() else "there is no such mask"
        if isinstance(found, str):
            result.image = None
            result.problems.append(f"{file}: {found}; the image is left out")
            return result
        numbers = found
    for o in read.objects:
        x1, y1, x2, y2 = o.corners
        corners = (x1 - one_based, y1 - one_based, x2, y2)
        fitted = from_corners(corners if read.upright else turned(corners, read.header), read.header.shape)
        lost = f"{read.xml}: object {o.number} ({o.cls}) {outside(*o.corners)}"
        outline = None if numbers is None else outline_of_object(numbers, o.number, read.header, read.upright)
        ignored = o.difficult or (numbers is not None and outline is None)
        if ignored and not o.difficult:
            result.problems.append(f"{read.xml}: object {o.number} ({o.cls}) has no pixel in its mask; it is ignored")
        shape = None
        if outline is not None:
            fitted, shape = from_corners(bounds_of(outline), read.header.shape), in_parts(outline, read.header.shape)
        result.add(o.cls, fitted, lost, False if ignored else None, shape)
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


ANNOTATIONS, IMAGES = ("Annotations", "annotations"), ("JPEGImages", "images")


@dataclass
class Root:
    """A VOC folder: its folders of annotations and images, and the files in them by their names without suffix."""

    folder: Path
    places: tuple[Path, Path]
    annotations: dict[str, Path]
    images: dict[str, list[Path]]
    # split → names, where folders tell the splits; a name begins with its split then
    own: dict[str, list[str]] | None = None
    passed: list[str] = field(default_factory=list)  # what was passed over, with the reason
    masks: Path | None = None  # the folder of masks, where outlines are wanted

    def with_masks(self) -> Root:
        """Take the folder of masks, and the lists of images that have one.

        Raises:
            MissingFileError: there is none.
        """
        self.masks = mask_folder(self.folder)
        if self.masks is None or self.own is not None:
            where = str(self.folder / FOLDERS[0])
            raise MissingFileError("there are no masks of objects", where, "task=detect reads the boxes")
        return self

    @classmethod
    def find(cls, folder: Path) -> Root:
        """Find the VOC folder that a folder is, or that lies at most three folders below it; else XML files and images
        in folders of any names.

        Raises:
            MissingFileError: there is no XML file.
            DatasetError: there are several VOC folders with lists.
        """
        level = [folder]
        for _ in range(4):
            found = [c for c in level if _first_folder(c, ANNOTATIONS) and _first_folder(c, IMAGES)]
            listed = [c for c in found if (c / "ImageSets" / "Main").is_dir()]
            if len(listed) > 1:
                several = ", ".join(str(c.relative_to(folder)) for c in listed)
                raise DatasetError(
                    f"the source contains several VOC folders: {several}", str(folder), "give one of them"
                )
            if listed:
                places = _first_folder(listed[0], ANNOTATIONS), _first_folder(listed[0], IMAGES)
                assert places[0] is not None
                assert places[1] is not None
                xmls = {n: p[0] for n, p in _files_by_stem(places[0], frozenset((".xml",))).items()}
                return cls(listed[0], (places[0], places[1]), xmls, _files_by_stem(places[1], IMAGE_SUFFIXES))
            if len(found) == 1:
                level = found
            if found:
                break
            level = [p for c in level if c.is_dir() for p in sorted(c.iterdir()) if p.is_dir()][:1000]
        root = cls._by_contents(level[0] if len(level) == 1 else folder) if folder.is_dir() else None
        if root is None:
            lacks = next((n for n in (ANNOTATIONS, IMAGES) if not _first_folder(folder, n)), ANNOTATIONS)[0]
            raise MissingFileError(
                f"there is no folder {lacks}; tried {(folder / lacks).absolute()}, and no XML file lies in the source",
                str(folder),
                "source= is a folder or an archive with images and XML files",
            )
        return root

    @classmethod
    def _by_contents(cls, top: Path) -> Root | None:
        """Return a folder with XML files and images anywhere below it; None where there is no XML file."""
        tree = Tree.of(top, ".xml")
        places = _first_folder(top, ANNOTATIONS) or top, _first_folder(top, IMAGES) or top
        if places[0] != top != places[1]:  # such a folder may hold masks beside its images
            tree.marks = [m for m in tree.marks if m.startswith(f"{places[0].name}/")]
            tree.images = [i for i in tree.images if i.startswith(f"{places[1].name}/")]
        if not tree.marks:
            return None
        pairs = tree.pairs()
        xml_of = {image: mark for mark, images in pairs.items() for image in images}
        known = tree.beside(xml_of, "an annotated image") if xml_of else tree.images
        splits = by_splits(known, xml_of)
        root = cls(top, places, {}, {}, {s: [] for s in splits} if len(splits) > 1 else None, tree.passed)
        keys: dict[str, str] = {}
        for split, names in splits.items():
            for image, name in names.items():
                key = os.path.splitext(name)[0]
                keys[image] = key = f"{split}/{key}" if root.own is not None else key
                root.images.setdefault(key, []).append(top / image)
        for mark, images in pairs.items():
            stem = os.path.splitext(mark)[0]
            split = f"{split_of_folders(mark) or 'train'}/" if root.own is not None else ""
            key = keys[images[0]] if images else split + os.path.basename(stem)
            if key in root.annotations and not images:
                key = split + stem
            if key in root.annotations:
                root.passed.append(f"{top / mark}: {root.annotations[key]} is of the same image; it is not used")
                continue
            root.annotations[key] = top / mark
        if root.own is not None:
            for key in sorted({*root.annotations, *root.images}):
                root.own.setdefault(key.partition("/")[0], []).append(key)
        return root

    def listed(self, split: str) -> list[str] | None:
        """Return the names in ImageSets/Main/SPLIT.txt, each once; None without that file.

        A line is a name, which may hold spaces, or "name 1" as in the lists of single classes.
        """
        if self.own is not None:
            return self.own.get(split)
        lines = list_lines(self.folder, split, "Segmentation") if self.masks is not None else None
        lines = list_lines(self.folder, split) if lines is None else lines
        return None if lines is None else list(dict.fromkeys(map(self._name, lines)))

    def _name(self, line: str) -> str:
        plain = re.sub(r"\s+-?[01]$", "", line)
        for name in (line, plain):
            stem, suffix = os.path.splitext(name)
            for known in (name, stem if suffix.lower() in IMAGE_SUFFIXES | {".xml"} else name):
                if known in self.annotations or known in self.images:
                    return known
        return plain


def list_lines(folder: Path, split: str, kind: str = "Main") -> list[str] | None:
    """Return what is in a VOC folder's ImageSets/KIND/SPLIT.txt; None without that file."""
    file = folder / "ImageSets" / kind / f"{split}.txt"
    if not file.is_file():
        return None
    lines = [line.strip() for line in read_text(file, DatasetError).splitlines()]
    return [line for line in lines if line]


def _first_folder(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / n for n in names if (folder / n).is_dir()), None)


def _files_by_stem(folder: Path, suffixes: frozenset[str]) -> dict[str, list[Path]]:
    """Return path inside a folder without its suffix → the files of these kinds, sorted."""
    found: dict[str, list[Path]] = {}
    for parent, files in walk(folder):
        for file in files:
            stem, suffix = os.path.splitext(file)
            if suffix.lower() in suffixes and not file.startswith("."):
                path = Path(parent, file)
                found.setdefault(path.relative_to(folder).with_name(stem).as_posix(), []).append(path)
    return found
