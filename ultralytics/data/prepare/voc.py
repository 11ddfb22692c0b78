"""Pascal VOC → YOLO format: any folder of that layout, the published VOC2007 and VOC2012, and BCCD.

docs/datasets.md tells every rule for what is found in such annotations.
"""

from __future__ import annotations

import math
import os
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ultralytics.data.prepare import names as published_names
from ultralytics.data.prepare.archive import is_archive
from ultralytics.data.prepare.documents import parse_xml
from ultralytics.data.prepare.folder import PARTS, fingerprint, prepared, walk
from ultralytics.data.prepare.sources import PUBLISHED, archives, default_out, entry
from ultralytics.data.prepare.tree import Tree, by_splits, split_of_folders
from ultralytics.data.prepare.write import (
    SPLITS,
    Annotated,
    Converted,
    Corners,
    Options,
    Picture,
    annotated_upright,
    class_order,
    existing,
    from_corners,
    in_threads,
    look,
    make_dataset,
    opened,
    opened_folder,
    turned,
)
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError
from ultralytics.utils.files import read_text, user_path
from ultralytics.utils.images import IMAGE_SUFFIXES
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ultralytics.data.prepare.write import Keys

ANNOTATIONS, IMAGES = ("Annotations", "annotations"), ("JPEGImages", "images")
YEARS = ("VOC2007", "VOC2012")
STRAY = 1000
VOC_PARTS = ("VOC2007 trainval", "VOC2007 test", "VOC2012 trainval")  # in the order of the published archives


def prepare_voc(
    source: str | Path | None = None,
    out: str | Path | None = None,
    names: Sequence[str] | None = None,
    one_based: bool | str = "auto",
    download: bool = False,
    mirror: str = "",
    **given: Unpack[Keys],
) -> Path:
    """Turn Pascal VOC into images, labels and a data set YAML. The source is not changed.

    Objects marked difficult go to ignore/: training does not see them, the evaluation neither rewards nor punishes
    them.

    Args:
        source: a folder or archive with Annotations, JPEGImages and (its own splits) ImageSets/Main; or one with
        images and XML files in folders of any names, or in one; or one that holds the published archives or VOCdevkit:
        train is then 2007 and 2012 trainval, val and test are 2007 test.
        out: the folder to make; data/VOC for the published layout when None.
        names: class names in the order of their ids; alphabetical, or VOC's own, when None.
        one_based: whether pixels count from 1 (a box covers xmin − 1 to xmax, as VOC says) or from 0 (xmin to xmax);
        "auto": as the boxes at the pictures' edges say.
        download: fetch the published archives; mirror: a URL that holds them; given: the fields of `Options`.

    Returns:
        The data set's YAML, OUT/data.yaml.

    Raises:
        MissingFileError: no such layout; DatasetError: nothing usable; ConfigError: an unknown class or a wrong value;
        UserError: it cannot be downloaded or written.
    """
    if one_based not in ("auto", True, False):
        raise ConfigError(f"one_based={one_based} must be auto, True or False")
    wanted = Options(**given)
    source = None if source is None else existing(source)
    if source is None or is_published(source):
        if wanted.parts() or one_based != "auto" or names:
            raise ConfigError(
                "the published data set has its own classes, splits and corners",
                hint="leave names, val, test, one_based out",
            )
        return _prepare_published(
            source, default_out("voc") if out is None else user_path(out), wanted, download, mirror
        )
    if out is None:
        raise ConfigError("out is missing", hint="out=data/mine")
    options = {
        "source": str(source.absolute()),
        "names": list(names) if names else None,
        "one_based": one_based,
        "val": wanted.val,
        "seed": wanted.seed,
        **wanted.drawn(),
    }
    return _prepare_folder("voc", source, user_path(out), options, names, wanted, one_based)


def prepare_bccd(
    source: str | Path | None = None,
    out: str | Path | None = None,
    images: str = "copy",
    download: bool = False,
    mirror: str = "",
) -> Path:
    """Prepare BCCD, blood cells with the splits of its authors.

    Args:
        source: a clone of its repository, the archive of one, or the folder BCCD in it; out: data/bccd when None;
        images, download, mirror: as in `prepare_voc`.

    Returns:
        The data set's YAML.

    Raises:
        as `prepare_voc`.
    """
    wanted = Options(images)
    out = default_out("bccd") if out is None else user_path(out)
    source = None if source is None else existing(source)
    mark = fingerprint([source] if source else [])
    done = prepared(out, "bccd", {}, mark)
    if done is not None:
        return done
    sources = None
    if source is None:
        [(source, described)] = archives("bccd", out, download, mirror)
        sources = [described]
    return _prepare_folder("bccd", source, out, {}, published_names.BCCD, wanted, "auto", sources, mark)


def _prepare_folder(
    kind: str,
    source: Path,
    out: Path,
    options: Mapping[str, Any],
    names: Sequence[str] | None,
    wanted: Options,
    one_based: bool | str,
    sources: list[dict[str, Any]] | None = None,
    mark: str | None = None,
) -> Path:
    mark = fingerprint([source]) if mark is None else mark
    done = prepared(out, kind, options, mark)
    if done is not None:
        return done
    if sources is None:
        packed = source.is_file() and is_archive(source)
        sources = [entry(source) if packed else {"name": source.absolute().name}]

    def read(scratch: Path) -> Converted:
        return _read_folder(_Root.find(opened_folder(source, scratch)), names, one_based, wanted.val)

    return make_dataset(out, kind, options, sources, read, wanted, [source], mark)


@dataclass
class _Root:
    """A VOC folder: its folders of annotations and images, and the files in them by their names without suffix.

    Attributes:
        own: split → names, where folders tell the splits; a name begins with its split then.
        passed: what was passed over, with the reason.
    """

    folder: Path
    places: tuple[Path, Path]
    annotations: dict[str, Path]
    images: dict[str, list[Path]]
    own: dict[str, list[str]] | None = None
    passed: list[str] = field(default_factory=list)

    @classmethod
    def find(cls, folder: Path) -> _Root:
        """Find the VOC folder that a folder is, or that lies at most three folders below it; else XML files and images
        in folders of any names.

        Raises:
            MissingFileError: there is no XML file; DatasetError: there are several VOC folders with lists.
        """
        level = [folder]
        for _ in range(4):
            found = [c for c in level if _first(c, ANNOTATIONS) and _first(c, IMAGES)]
            listed = [c for c in found if (c / "ImageSets" / "Main").is_dir()]
            if len(listed) > 1:
                several = ", ".join(str(c.relative_to(folder)) for c in listed)
                raise DatasetError(f"it holds several VOC folders: {several}", str(folder), "give one of them")
            if listed:
                places = _first(listed[0], ANNOTATIONS), _first(listed[0], IMAGES)
                assert places[0] is not None
                assert places[1] is not None
                xmls = {n: p[0] for n, p in _stems(places[0], frozenset((".xml",))).items()}
                return cls(listed[0], (places[0], places[1]), xmls, _stems(places[1], IMAGE_SUFFIXES))
            if len(found) == 1:
                level = found
            if found:
                break
            level = [p for c in level if c.is_dir() for p in sorted(c.iterdir()) if p.is_dir()][:1000]
        root = cls._by_contents(level[0] if len(level) == 1 else folder) if folder.is_dir() else None
        if root is None:
            lacks = next((n for n in (ANNOTATIONS, IMAGES) if not _first(folder, n)), ANNOTATIONS)[0]
            raise MissingFileError(
                f"there is no folder {lacks}; tried {(folder / lacks).absolute()}, and no XML file lies in the source",
                str(folder),
                "source= is a folder or an archive with images and XML files",
            )
        return root

    @classmethod
    def _by_contents(cls, top: Path) -> _Root | None:
        """A folder with XML files and images anywhere below it; None where there is no XML file."""
        tree = Tree.of(top, ".xml")
        places = _first(top, ANNOTATIONS) or top, _first(top, IMAGES) or top
        if places[0] != top != places[1]:  # such a folder may hold masks beside its images
            tree.marks = [m for m in tree.marks if m.startswith(f"{places[0].name}/")]
            tree.images = [i for i in tree.images if i.startswith(f"{places[1].name}/")]
        if not tree.marks:
            return None
        pairs = tree.pairs()
        xml_of = {image: mark for mark, images in pairs.items() for image in images}
        labelled = {os.path.dirname(i) for i in xml_of}
        # Folders without a single annotated image are another thing, such as masks.
        known = [i for i in tree.images if not labelled or os.path.dirname(i) in labelled]
        others = len(tree.images) - len(known)
        splits = by_splits(known, xml_of)
        root = cls(top, places, {}, {}, {s: [] for s in splits} if len(splits) > 1 else None, tree.passed)
        if others:
            root.passed.append(f"{top}: {counted(others, 'image')} in folders without an annotated image; not used")
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
        """The names in ImageSets/Main/SPLIT.txt, each once; None without that file.

        A line is a name, which may hold spaces, or "name 1" as in the lists of single classes.
        """
        if self.own is not None:
            return self.own.get(split)
        lines = _list_lines(self.folder, split)
        return None if lines is None else list(dict.fromkeys(map(self._name, lines)))

    def _name(self, line: str) -> str:
        plain = re.sub(r"\s+-?[01]$", "", line)
        for name in (line, plain):
            stem, suffix = os.path.splitext(name)
            for known in (name, stem if suffix.lower() in IMAGE_SUFFIXES | {".xml"} else name):
                if known in self.annotations or known in self.images:
                    return known
        return plain


def _list_lines(folder: Path, split: str) -> list[str] | None:
    """What is in a VOC folder's ImageSets/Main/SPLIT.txt; None without that file."""
    file = folder / "ImageSets" / "Main" / f"{split}.txt"
    if not file.is_file():
        return None
    lines = [line.strip() for line in read_text(file, DatasetError).splitlines()]
    return [line for line in lines if line]


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / n for n in names if (folder / n).is_dir()), None)


def _stems(folder: Path, suffixes: frozenset[str]) -> dict[str, list[Path]]:
    """Path inside a folder without its suffix → the files of these kinds, sorted."""
    found: dict[str, list[Path]] = {}
    for parent, files in walk(folder):
        for file in files:
            stem, suffix = os.path.splitext(file)
            if suffix.lower() in suffixes and not file.startswith("."):
                path = Path(parent, file)
                found.setdefault(path.relative_to(folder).with_name(stem).as_posix(), []).append(path)
    return found


def _read_folder(root: _Root, names: Sequence[str] | None, one_based: bool | str, val: float) -> Converted:
    splits, used = _splits(root, val)
    notes: list[str] = []
    unique = sorted({name for listed in splits.values() for name in listed})
    read = in_threads(lambda n: _read(root, n), unique, "Reading annotations")
    listings = Counter(n for listed in splits.values() for n in listed)
    twice = [n for n in unique if listings[n] > 1]
    if twice:
        notes.append(f"in more than one split: {counted(len(twice), 'image')}, such as {twice[0]}")
    if one_based == "auto":
        one_based, note = _decide(read)
        notes += note
    annotated = {r.name: _fit(r, bool(one_based)) for r in read}
    if root.own is not None:  # without the folder, which is the split's
        for a in annotated.values():
            a.name = a.name.partition("/")[2]
    order = class_order(list(annotated.values()), names, root.folder)
    converted = {s: [annotated[n] for n in listed] for s, listed in splits.items()}
    if not any(root.listed(s) for s in ("train", "val", "trainval")):  # a list may leave images out, a folder does not
        taken = {r.image for r in read}
        bare = sorted(n for n in root.images.keys() - annotated.keys() if not taken & set(root.images[n]))
        converted["train"] += [_fit(_read(root, n), one_based=True) for n in bare]
    return Converted(converted, order, used, notes, root.passed)


def _splits(root: _Root, val: float) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Split folder → names, and split of the YAML → split folder; `val` is the part to draw as such."""
    lists = {s: root.listed(s) for s in (*SPLITS, "trainval")}
    own = {s: lists[s] or [] for s in SPLITS}
    main = root.folder / "ImageSets" / "Main" if root.own is None else root.folder
    if own["train"] and own["val"]:
        return {s: own[s] for s in SPLITS if own[s]}, {}
    if own["train"] and not val:
        raise DatasetError(
            "the val split is missing or empty",
            str(main / "val.txt") if root.own is None else str(main),
            "val=0.2 draws one from the train images",
        )
    if own["val"] and not lists["trainval"]:
        raise DatasetError("the train split is missing or empty", str(main / "train.txt"))
    whole = own["train"] or lists["trainval"] or []
    if not whole:
        test = set(own["test"])
        whole = sorted(n for n in root.annotations if n not in test)
    extra = {"test": own["test"]} if own["test"] else {}
    return {"train": whole, **extra}, {"train": "train", "val": "train", **{s: s for s in extra}}


# The published layout


def is_published(source: Path) -> bool:
    """Whether a folder holds VOC2007 or VOC2012, packed or not, or a file is one of their archives."""
    if source.is_file():
        return source.name in {r.name for r in PUBLISHED["voc"]}
    return bool(_devkits(source)) or any((source / r.name).is_file() for r in PUBLISHED["voc"])


def _devkits(folder: Path) -> list[Path]:
    """The folders VOC2007 and VOC2012 in a folder, in its VOCdevkit, or one folder further down."""
    if folder.name in YEARS and (folder / "ImageSets").is_dir() and (folder / "Annotations").is_dir():
        return [folder]
    patterns = [f"{above}{year}" for year in YEARS for above in ("", "VOCdevkit/", "*/VOCdevkit/", "*/")]
    found = [p for pattern in patterns for p in sorted(folder.glob(pattern)) if (p / "Annotations").is_dir()]
    return list(dict.fromkeys(found))


def _prepare_published(source: Path | None, out: Path, wanted: Options, download: bool, mirror: str) -> Path:
    options = {PARTS: list(VOC_PARTS) if source is None else _parts(source)}
    mark = fingerprint([source] if source else [])
    done = prepared(out, "voc", options, mark)
    if done is not None:
        return done
    remotes = PUBLISHED["voc"]
    if source is None:
        got = archives("voc", out, download, mirror)
        packed, sources = [path for path, _ in got], [described for _, described in got]
    else:
        packed = [source] if source.is_file() else [p for r in remotes if (p := source / r.name).is_file()]
        sources = [entry(path, remotes) for path in packed]
        if not packed:
            sources = [{"name": p.name} for p in _devkits(source)]

    def read(scratch: Path) -> Converted:
        folders = [opened(path, scratch) for path in packed]
        if source is not None and source.is_dir():
            folders.append(source)
        roots = [kit for folder in folders for kit in _devkits(folder)]
        converted, options[PARTS] = _read_published([(kit.name, _Root.find(kit)) for kit in roots], source or out)
        return converted

    return make_dataset(out, "voc", options, sources, read, wanted, [source] if source else [], mark)


def _parts(source: Path) -> list[str]:
    """The parts of the published data set that a source seems to hold, without unpacking or reading it all."""
    names = {source.name} if source.is_file() else {p.name for p in source.iterdir()}
    found = {part for part, remote in zip(VOC_PARTS, PUBLISHED["voc"], strict=True) if remote.name in names}
    for kit in _devkits(source) if source.is_dir() else ():
        for split in ("trainval", "test"):
            lines = _list_lines(kit, split) or []
            # The lists of VOC2007's test may come without the archive they belong to.
            if any((kit / "Annotations" / f"{line.split()[0]}.xml").is_file() for line in lines):
                found.add(f"{kit.name} {split}")
    return [part for part in VOC_PARTS if part in found]


def _read_published(roots: Sequence[tuple[str, _Root]], where: Path) -> tuple[Converted, list[str]]:
    """The data set, and which of VOC_PARTS it is made of."""

    def listed(year: str, split: str) -> list[tuple[_Root, str]]:
        """Each name with the folder that has it: an archive's lists may name images of another one."""
        here = [root for y, root in roots if y == year]
        names = dict.fromkeys(n for root in here for n in root.listed(split) or [])
        return [(next((r for r in here if n in r.annotations), here[0]), n) for n in names]

    notes: list[str] = []
    found = {(year, s): listed(year, s) for year in YEARS for s in ("train", "val", "trainval", "test")}
    wanted = {}
    for part in VOC_PARTS:
        year, split = part.split()
        names = found[year, split]
        # A list may be there without the archive it belongs to.
        wanted[part] = names if any(n in r.annotations for r, n in names) else []
    test = wanted["VOC2007 test"]
    absent = [part for part, names in wanted.items() if not names]
    trained = [part for part in wanted if part != "VOC2007 test" and part not in absent]
    if not trained:
        raise MissingFileError(
            f"there is neither VOC2007 trainval nor VOC2012 trainval; missing: {', '.join(absent)}", str(where)
        )
    if test:
        used = {"train": "train", "val": "test", "test": "test"}
        splits = {"train": [x for part in trained for x in wanted[part]], "test": test}
    else:
        used = {}
        splits = {s: [x for year in YEARS for x in found[year, s]] for s in ("train", "val")}
    if absent:
        what = " and ".join(trained) if test else "the train and val lists of " + " and ".join(p[:7] for p in trained)
        notes.append(f"missing: {', '.join(absent)}; train {'is' if test else 'and val are'} {what} alone")
    jobs = list({(id(r), n): (r, n) for listed in splits.values() for r, n in listed}.values())
    read = in_threads(lambda job: _read(*job), jobs, "Reading annotations")
    # VOC's development kit says that pixels count from 1.
    fitted = {(id(r), n): _fit(x, one_based=True) for (r, n), x in zip(jobs, read, strict=True)}
    order = class_order(list(fitted.values()), published_names.VOC, where)
    converted = {s: [fitted[id(r), n] for r, n in listed] for s, listed in splits.items()}
    return Converted(converted, order, used, notes), [part for part in wanted if part not in absent]


# One annotation


@dataclass
class _Object:
    number: int  # in its file, from 1
    cls: str
    difficult: bool
    corners: Corners  # as written, smaller first


@dataclass
class _Read:
    """An annotation as it is written, beside its picture."""

    name: str
    xml: Path | None = None
    image: Path | None = None
    picture: Picture | None = None
    upright: bool = True
    objects: list[_Object] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def _read(root: _Root, name: str) -> _Read:
    xml = root.annotations.get(name)
    result = _Read(name, xml)
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
    if _text(tree, "filename"):
        told = PurePosixPath(_text(tree, "filename").replace("\\", "/")).name
    else:
        told = ""
    result.image = image = _image_of(root, name, told, result)
    if image is None:
        return result
    picture = look(image)
    if isinstance(picture, str):
        result.problems.append(f"{image}: {picture}")
        return result
    result.picture = picture
    result.upright, note = annotated_upright(result.picture, _size(tree))
    if note:
        result.problems.append(f"{xml}: {note}")
    for number, item in enumerate(tree.findall("object"), 1):
        _read_object(result, number, item)
    return result


def _image_of(root: _Root, name: str, told: str, result: _Read) -> Path | None:
    """The picture beside an annotation: that of its own name, else that of its <filename>."""
    xml = result.xml
    files = root.images.get(name, [])
    stem = os.path.splitext(told)[0] if os.path.splitext(told)[1].lower() in IMAGE_SUFFIXES else told
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
        result.problems.append(f"{xml}: its <filename> is {told}; {files[0].name}, which has its name, is taken")
    if len(files) > 1:
        chosen = next((f for f in files if f.name == told), files[0])
        result.problems.append(f"{xml}: {' and '.join(f.name for f in files)} have its name; {chosen.name} is taken")
        return chosen
    return files[0]


def _read_object(result: _Read, number: int, item: ET.Element) -> None:
    cls = _text(item, "name")
    where = f"{result.xml}: object {number} ({cls or 'no name'})"
    boxes = item.findall("bndbox")  # its own: those of its parts lie deeper
    if len(boxes) > 1:
        result.problems.append(f"{where} has {len(boxes)} boxes; the first is taken")  # at least two
    try:
        x1, y1, x2, y2 = (float(_text(boxes[0], k)) for k in ("xmin", "ymin", "xmax", "ymax"))
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
    difficult = _text(item, "difficult").lower() in ("1", "true", "yes")
    result.objects.append(_Object(number, cls, difficult, (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))))


def _decide(read: Sequence[_Read]) -> tuple[bool, list[str]]:
    """Whether pixels count from 1, with a note when it is not that or not beyond doubt.

    A data set has many boxes that begin at a picture's edge, at 0 or at 1. They count from 0 when at least as many
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


def _fit(read: _Read, one_based: bool) -> Annotated:
    """Boxes in parts of the upright picture, cut to it."""
    usable = read.picture is not None
    name = f"{read.name}{read.image.suffix}" if read.image is not None else read.name
    result = Annotated(name, read.image if usable else None, problems=list(read.problems))
    if read.picture is None:
        return result
    for o in read.objects:
        x1, y1, x2, y2 = o.corners
        corners = (x1 - one_based, y1 - one_based, x2, y2)
        box, cut = from_corners(corners if read.upright else turned(corners, read.picture), read.picture.shape)
        if box is None:
            why = "lies outside its picture" if x2 > x1 and y2 > y1 else "has no area"
            result.problems.append(f"{read.xml}: object {o.number} ({o.cls}) {why}; it is dropped")
        elif o.difficult:
            result.ignored.append((o.cls, box, False))
        else:
            result.objects.append((o.cls, box))
        result.cut += cut and box is not None
    return result


def _text(item: ET.Element, path: str) -> str:
    return (item.findtext(path) or "").strip()


def _size(tree: ET.Element) -> tuple[float, float] | None:
    """The (height, width) an annotation declares; None when it does not, or with zeros."""
    try:
        size = float(_text(tree, "size/height")), float(_text(tree, "size/width"))
    except ValueError:
        return None
    return size if min(size) > 0 else None
