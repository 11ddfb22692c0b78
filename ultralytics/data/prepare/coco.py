"""COCO's JSON → YOLO format: the published 2017 set, exports with a JSON beside the images, or any JSON.

Boxes, outlines, or points of poses.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ultralytics.data.labels import ANNOTATIONS
from ultralytics.data.prepare import names as published_names
from ultralytics.data.prepare.annotated import SPLIT_WORDS, SPLITS, Annotated, Converted, in_threads
from ultralytics.data.prepare.archive import is_archive
from ultralytics.data.prepare.boxes import annotated_upright
from ultralytics.data.prepare.coco_shapes import OUTLINED, compact_outline, is_crowd, pose_keys, read_shape
from ultralytics.data.prepare.divide import Options
from ultralytics.data.prepare.documents import Key, as_key, as_number, is_finite, load_json
from ultralytics.data.prepare.folder import PARTS, SOURCE, walk
from ultralytics.data.prepare.format import Format, Source, existing, full_path, inner, prepare
from ultralytics.data.prepare.recognise import judge_json
from ultralytics.data.prepare.sources import PUBLISHED
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError
from ultralytics.utils.images import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ultralytics.data.prepare.divide import DrawKeys

COCO_PARTS = ("train", "val")
BESIDE = "_annotations.coco.json"  # lies among the images, in folders train, valid and test


def prepare_coco(
    source: str | Path | Sequence[str | Path] | None = None,
    out: str | Path | None = None,
    images: str | Path | Sequence[str | Path] = "copy",
    download: bool = False,
    mirror: str = "",
    **drawn: Unpack[DrawKeys],
) -> Path:
    """Turn COCO instances, or keypoints, into images, labels and a dataset YAML.

    Classes are the categories in the order of their ids. Crowds go to ignore/: training does not see them, the
    evaluation neither rewards nor punishes what lies in them. The annotations' own areas (COCO's: of the masks) go to
    areas/, so that the evaluation sorts objects by size as pycocotools does.

    Args:
        source: a folder or archive with the published layout (train2017, val2017, annotations, packed or not), one with
        a _annotations.coco.json per split, or a JSON file, or several. A split is named by its file, else train.
        images: the folder of the images, which is looked for beside the JSON when it is not given; "copy", or "link"
        for hard links; or both, as [folder, "link"].
        Others: as of the command; for what is returned and raised see `prepare`.

    With task "segment" outlines are written: polygons, several parts joined, and those of run lengths; with "pose"
    boxes and keypoints. What then has a box alone is ignored (segment), or has no point that is marked (pose).
    """
    how, folder = _image_options(images)
    given = [source] if isinstance(source, str | Path) else list(source or [])
    paths = [existing(s) for s in given]
    if len(paths) > 1 and not all(p.is_file() and not is_archive(p) for p in paths):
        raise ConfigError("several sources must be JSON files", ", ".join(map(str, paths)))
    own = {SOURCE: list(map(str, paths)), "images": folder and str(folder.absolute())}
    return prepare(COCO, paths, out, Options(how, **drawn), own, images=folder, download=download, mirror=mirror)


def _image_options(given: str | Path | Sequence[str | Path]) -> tuple[str, Path | None]:
    """Return how images are placed, and the folder they are in, None when it was not given."""
    words = [given] if isinstance(given, str | Path) else list(given)
    hows = [str(w) for w in words if w in ("copy", "link")]
    folders = [full_path(w) for w in words if w not in ("copy", "link")]
    if len(hows) > 1 or len(folders) > 1:
        raise ConfigError(f"images={given} must be a folder, and copy or link")
    if folders and not folders[0].is_dir():
        raise MissingFileError("there is no such folder of images", str(folders[0].absolute()))
    return hows[0] if hows else "copy", folders[0] if folders else None


def _published_parts(source: Path | None) -> list[str] | None:
    """Return the splits of the published dataset that a source seems to hold, without unpacking it; None where it is
    another one."""
    archives = {r.name for r in PUBLISHED["coco"]}
    if source is None:
        return list(COCO_PARTS)
    names = {source.name} if source.is_file() else {p.name for p in source.iterdir()}
    files = {s: f"instances_{s}2017.json" for s in COCO_PARTS}
    beside = [s for s, f in files.items() if (source / "annotations" / f).is_file()]
    if not (names & archives or beside):
        return None
    if PUBLISHED["coco"][2].name in names:
        return list(COCO_PARTS)
    return [s for s, f in files.items() if f in names or s in beside]


def split_of(file: Path) -> str | None:
    """Return the split a JSON's name has a word of, else the split its folder is called; None when neither says."""
    words = re.split(r"[^a-z]+", file.stem.lower()) if file.name != BESIDE else []
    words.append(file.absolute().parent.name.lower().removesuffix("2017"))
    return next((SPLIT_WORDS[w] for w in words if w in SPLIT_WORDS), None)


def _named_splits(files: Sequence[Path]) -> dict[str, Path]:
    """Return split → JSON file: by their names, else in the order train, val, test; one file without a name is train.

    Raises:
        ConfigError: the names tell some of several files, not all.
    """
    splits = [split_of(f) for f in files]
    if len(files) == 1 or (not any(splits) and len(files) <= len(SPLITS)):
        splits = [known or s for known, s in zip(splits, SPLITS, strict=False)]
    found = {s: f for s, f in zip(splits, files, strict=True) if s}
    if len(found) < len(files):
        raise ConfigError(
            "the names do not tell train, val and test apart",
            ", ".join(map(str, files)),
            "name them so, such as train.json and val.json",
        )
    return {s: found[s] for s in SPLITS if s in found}


def _find_jsons(folders: Sequence[Path], labels: str) -> dict[str, Path]:
    """Return split → JSON file in a folder or an unpacked archive; `labels` are those wanted, see `Options`.

    Raises:
        MissingFileError: there is none.
        DatasetError: two are of one split.
    """
    tops = list(dict.fromkeys(f for folder in folders for f in (folder, inner(folder))))
    for pattern in (
        *(("annotations/person_keypoints_*.json", "person_keypoints_*.json") if labels == "keypoints" else ()),
        "annotations/instances_*2017.json", "instances_*2017.json", f"*/{BESIDE}", f"{BESIDE}",
        "annotations/instances_*.json", "annotations/*.json", "*.json",
    ):  # fmt: skip
        files = list(dict.fromkeys(p for top in tops for p in sorted(top.glob(pattern)) if p.is_file()))
        if not files:
            continue
        found: dict[str, Path] = {}
        if len({split_of(f) or "train" for f in files}) < len(files):  # others may lie there, such as notes.json
            files = [f for f in files if judge_json(f) == "coco"] or files
        for file in files:
            split = split_of(file) or "train"
            if split in found:
                raise DatasetError(
                    f"this is of the split {split}, and so is {found[split].name}", str(file), "give source=[one,other]"
                )
            found[split] = file
        return {s: found[s] for s in SPLITS if s in found}
    tried = ", ".join(str(f.absolute()) for f in folders)
    raise MissingFileError(f"there is no instances JSON; tried {tried}", hint="source=FILE.json, or a folder with one")


@dataclass
class _Json:
    """An instances file, its parts checked to be what they are called."""

    file: Path
    # images, annotations, categories: lists of mappings; other entries are named in `problems`
    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: dict[Key, str]
    groups: set[Key]
    roots: list[Path]  # where images may lie
    tops: list[Path]  # folders below which they are looked for when they lie in none of these
    kinds: list[dict[str, Any]] = field(default_factory=list)  # the categories as they are written
    problems: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, file: Path, images: Path | None, labels: str, around: Sequence[Path] = ()) -> _Json:
        """Read a file; of outlines no more than the labels wanted need, see `Options`.

        Raises:
            DatasetError: it is no instances JSON.
        """
        data = load_json(file, compact_outline if labels in OUTLINED else _without_outlines)
        if not isinstance(data, dict):
            raise DatasetError(
                "this is not an instances file: a mapping with images, annotations and categories", str(file)
            )
        for key in ("images", "annotations", "categories"):
            if not isinstance(data.get(key), list):
                raise DatasetError(f"this is not an instances file: it has no list of {key}", str(file))
        split = split_of(file) or file.stem
        year = f"{split}2017"
        if images is not None:
            roots = [images, images / file.stem, images / year, images / split]
        else:
            near = [*around, file.parent, file.parent.parent]
            roots = [
                top / sub for top in near for sub in (year, f"images/{year}", split, f"images/{split}", "images", "")
            ]
            roots = [file.parent, *roots] if file.name == BESIDE else roots
        tops = [images] if images is not None else list(around)
        result = cls(file, [], [], {}, set(), [r for r in dict.fromkeys(roots) if r.is_dir()], tops)
        for key in ("images", "annotations"):
            for number, item in enumerate(data[key]):
                if isinstance(item, dict):
                    getattr(result, key).append(item)
                else:
                    result.problems.append(f"{file}: {key}[{number}] is not a mapping; it is left out")
        result._read_categories(data["categories"])
        return result

    def _read_categories(self, categories: list[Any]) -> None:
        above = {str(c.get("supercategory")) for c in categories if isinstance(c, dict)}
        for number, item in enumerate(categories):
            key = as_key(item.get("id")) if isinstance(item, dict) else None
            if key is None or not str(item.get("name") or "").strip():
                raise DatasetError(f"categories[{number}] has no id and name", str(self.file))
            name = str(item["name"]).strip().encode("utf-8", "backslashreplace").decode()
            self.kinds.append(item)
            if self.categories.setdefault(key, name) != name:
                raise DatasetError(f"category {key} is both {self.categories[key]} and {name}", str(self.file))
            if self.file.name == BESIDE and str(item.get("supercategory")) == "none" and name in above:
                self.groups.add(key)  # the export's own name for all classes, which no box has
        self.groups -= {self.category_of(a) for a in self.annotations}

    def category_of(self, annotation: Mapping[str, Any]) -> Key | None:
        """Return the category of an annotation by its category_id, which may be the name of one; None where there is
        none."""
        key = as_key(annotation.get("category_id"))
        if key in self.categories:
            return key
        named = [k for k, name in self.categories.items() if name == key]
        return named[0] if len(named) == 1 else None


def _without_outlines(item: dict[str, Any]) -> dict[str, Any]:
    """Drop an annotation's outline, after it gave its box to one that has none: outlines are most of an instances
    file."""
    outline = item.pop("segmentation", None)
    if outline and not item.get("bbox") and "image_id" in item and isinstance(outline, list):
        values = [part if isinstance(part, list) else [part] for part in outline]
        flat = [v for part in values for v in part]
        if len(flat) >= 6 and all(map(is_finite, flat)) and not any(len(part) % 2 for part in values):
            x, y = [v for part in values for v in part[::2]], [v for part in values for v in part[1::2]]
            item["bbox"] = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
    return item


def _read_source(source: Source) -> Converted:
    """Read all splits, with the classes of all of them."""
    places, labels = source.places(), source.wanted.labels
    if places[0].is_file():
        jsons = {s: _Json.load(p, source.images, labels) for s, p in _named_splits(places).items()}
    else:
        around = [source.images] if source.images else [f for top in places for f in (top, inner(top))]
        jsons = {s: _Json.load(p, None, labels, around) for s, p in _find_jsons(places, labels).items()}
    if source.published:
        source.options[PARTS] = [s for s in COCO_PARTS if s in jsons]
    categories: dict[Key, str] = {}
    groups = set.intersection(*(j.groups for j in jsons.values()))
    for j in jsons.values():
        for number, name in j.categories.items():
            if categories.setdefault(number, name) != name:
                raise DatasetError(
                    f"category {number} is {name} here and {categories[number]} in another file", str(j.file)
                )
    # Ids that are numbers by size; ids that are text, which have no order of their own, behind them by name.
    order = sorted((n for n in categories if n not in groups), key=lambda n: (isinstance(n, str), n))
    names = [categories[n] for n in order]
    if not names:
        raise DatasetError("the file names no categories", ", ".join(str(j.file) for j in jsons.values()))
    notes = [f"{categories[n]} is the name of a group of classes, not a class" for n in sorted(groups, key=str)]
    if len(set(names)) < len(names):
        twice = sorted({n for n in names if names.count(n) > 1})
        notes.append(f"several categories are called {', '.join(twice)}; they stay apart")
    if source.published and tuple(names) != published_names.COCO:
        notes.append("the categories are not COCO's 80; the dataset's own data.yaml has them")
    ids = {n: i for i, n in enumerate(order)}
    keys: dict[str, Any] = {}
    if labels == "keypoints":
        first = next(iter(jsons.values()))
        marked = [a for j in jsons.values() for a in j.annotations]
        keys = pose_keys([c for j in jsons.values() for c in j.kinds], marked, str(first.file))
        if "flip_idx" not in keys:
            notes.append("the names of the keypoints do not say which are left and right: add flip_idx to data.yaml")
    wanted = _Wanted(ids, labels, keys.get("kpt_shape", [0])[0])
    splits = {s: _read_images(j, wanted) for s, j in jsons.items()}
    problems = [p for j in jsons.values() for p in j.problems]
    return Converted(splits, names, notes=notes, problems=problems, keys=keys)


@dataclass(frozen=True)
class _Wanted:
    """What becomes of annotations. ids: category → class; labels: see `Options`; points: of a pose."""

    ids: Mapping[Key, int]
    labels: str
    points: int


@dataclass
class _Entry:
    """An image of a JSON and its annotations."""

    name: str
    file_name: Any  # as it is written
    size: tuple[float, float] | None
    annotations: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""


def _read_images(j: _Json, wanted: _Wanted) -> list[Annotated]:
    entries: dict[Key, _Entry] = {}
    by_name: dict[str, _Entry] = {}
    shared = _shared_parts(j.images)
    for number, item in enumerate(j.images):
        key = as_key(item.get("id"))
        if key is None:
            j.problems.append(f"{j.file}: images[{number}] has no id; it is left out")
            continue
        image = _read_entry(item, shared)
        if key in entries:
            j.problems.append(f"{j.file}: image id {key} is used twice; {image.file_name} is left out")
            continue
        if image.name in by_name and not image.problem:
            j.problems.append(f"{j.file}: {image.file_name} is listed twice; its boxes are taken together")
            image = by_name[image.name]
        entries[key] = by_name[image.name] = image
    seen: set[Key] = set()
    for number, item in enumerate(j.annotations):
        key = as_key(item.get("image_id"))
        if key is None or key not in entries:
            missing = item.get("image_id")
            j.problems.append(f"{j.file}: {_item_name(item, number)}: there is no image {missing!s:.80}; it is dropped")
            continue
        own = as_key(item.get("id"))
        if own is not None:
            if own in seen:
                j.problems.append(f"{j.file}: {_item_name(item, number)}: its id is used twice; both are kept")
            seen.add(own)
        entries[key].annotations.append(item)
    listed = list({id(e): e for e in entries.values()}.values())
    root = _root_of(j, listed)
    return in_threads(lambda e: _read_annotations(j, root, e, wanted), listed, "Reading images")


def _item_name(item: Mapping[str, Any], number: int) -> str:
    key = as_key(item.get("id"))
    return f"annotations[{number}]" if key is None else f"annotation {key!s:.80}"


def _absolute_parts(name: object) -> list[str]:
    """Return the parts of a file name that begins at a root, a drive or a host, without that; none for any other."""
    text = name.strip().replace("\\", "/") if isinstance(name, str) else ""
    match = re.match(r"^([A-Za-z]:|[a-z]+://|/)", text)
    return [] if match is None else [p for p in PurePosixPath(text[match.end() :]).parts if p not in (".", "/")]


def _shared_parts(images: Sequence[Mapping[str, Any]]) -> int:
    """Count the leading parts of absolute file names that say nothing here: all but the last, unless images of several
    folders have one name; then those that all of them share."""
    known = {tuple(p) for item in images if (p := _absolute_parts(item.get("file_name")))}
    if len({p[-1].lower() for p in known}) == len(known):
        return -1
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*(p[:-1] for p in known), strict=False)))


def _read_entry(item: Mapping[str, Any], shared: int = -1) -> _Entry:
    """Read an image; `shared` parts of an absolute file name are dropped, -1 for all but the last."""
    file_name = item.get("file_name")
    size = None
    h, w = as_number(item.get("height")), as_number(item.get("width"))
    if h is not None and w is not None and h > 0 and w > 0:
        size = (h, w)
    if not isinstance(file_name, str) or not file_name.strip():
        number = as_key(item["id"])
        return _Entry(f"image {number}", file_name, size, problem=f"image {number} has no file_name")
    text = file_name.strip().replace("\\", "/")
    # An absolute name is the place it had where it was annotated.
    parts = _absolute_parts(file_name)[shared:] or [p for p in PurePosixPath(text).parts if p not in (".", "/")]
    if ".." in parts or "\0" in text or not parts:
        return _Entry(file_name, file_name, size, problem=f"{file_name!r} leaves the folder of images")
    name = "/".join(parts)
    if PurePosixPath(name).suffix.lower() not in IMAGE_SUFFIXES:
        return _Entry(name, file_name, size, problem=f"{file_name} is not a kind of image that is read")
    return _Entry(name, file_name, size)


def _root_of(j: _Json, listed: Sequence[_Entry]) -> Path:
    """Return the folder the images lie in: the first that holds one of them.

    Raises:
        MissingFileError: none does; every folder tried is named.
    """
    names = [e.name for e in listed if not e.problem]
    for sample in (names[:20], names[20:]):
        for root in j.roots:
            if any(os.path.isfile(root / name) for name in sample):
                return root
    if not names:
        why = next((f": {e.problem}" for e in listed if e.problem), "")
        raise DatasetError(f"the file lists no usable images{why}", str(j.file))
    below = (folder for top in j.tops for folder, _ in walk(top))
    found = next((f for f in below if any(os.path.isfile(f / name) for name in names[:20])), None)
    if found is not None:
        return found
    tried = ", ".join(str(r.absolute()) for r in j.roots) or "no folder"
    raise MissingFileError(f"none of its images was found; tried {tried}", str(j.file), "images=FOLDER says where")


def _read_annotations(j: _Json, root: Path, image: _Entry, wanted: _Wanted) -> Annotated:
    result = Annotated(image.name)
    if image.problem:
        result.problems.append(f"{j.file}: {image.problem}; it is left out")
        return result
    path = root / image.name
    if not os.path.isfile(path):  # unlike Path's, for names that no file can have
        result.problems.append(f"{path}: there is no such image")
        return result
    header = result.take(path)
    if header is None:
        return result
    upright, note = annotated_upright(header, image.size)
    if note:
        result.problems.append(f"{path}: {note}")
    regions: set[Key | None] = set()
    for number, item in enumerate(image.annotations):
        where = f"{j.file}: {_item_name(item, number)} ({image.name})"
        category = j.category_of(item)
        cls = None if category is None else wanted.ids.get(category)
        if cls is None:
            result.problems.append(f"{where}: there is no category {item.get('category_id')!s:.80}; it is dropped")
            continue
        found = read_shape(item, wanted.labels, wanted.points, header, upright)
        if found.fitted is None:
            result.problems.append(f"{where}: {found.wrong}; it is dropped")
            continue
        lost = f"{where}: the box lies outside its image"
        result.problems += [f"{where}: {found.wrong}"] if found.wrong else []
        if not is_crowd(item):
            if found.ignored:
                result.add(cls, found.fitted, lost, crowd=False)
            elif result.add(cls, found.fitted, lost, shape=found.numbers):
                result.areas.append(found.area)
            continue
        # Two marks of export-coco, for what the format cannot say.
        region = as_key(item.get("any_class"))
        if region is None or region not in regions:
            result.add(cls if region is None else None, found.fitted, lost, item.get("difficult") != 1, found.numbers)
            regions.add(region)
    return result


COCO = Format("coco", _read_source, _published_parts, documents=True, kinds=ANNOTATIONS)
