"""What kind of annotations a folder or a file holds, by their contents: read here or not, each is called what it is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ultralytics.cfg.paths import program
from ultralytics.data.prepare.documents import load_json, parse_xml
from ultralytics.data.prepare.folder import walk
from ultralytics.utils.errors import DatasetError, UserError
from ultralytics.utils.text import is_number

SAMPLES = 5  # files of one suffix that are looked into
LARGEST = 1 << 26  # bytes of a JSON that is parsed to see what it is
HEAD = 1 << 16  # bytes of a text that are looked at


class Kind(NamedTuple):
    """A kind of annotations. what: its name; prepare: the kind of `prepare` that reads it, "" where none does; hint:
    what to do then."""

    what: str
    prepare: str = ""
    hint: str = ""


_AS_COCO = "export it as COCO, or as YOLO with images, and prepare that"
KINDS = {
    "yolo": Kind("YOLO labels", "yolo"),
    "coco": Kind("COCO instances", "coco"),
    "voc": Kind("Pascal VOC XML", "voc"),
    "labelme": Kind("labelme JSON", "labelme"),
    "kitti": Kind("KITTI labels", "kitti"),
    "visdrone": Kind("VisDrone annotations", "visdrone"),
    "dota": Kind("DOTA labels (rotated boxes)", "dota"),
    "results": Kind("COCO results", hint="these are detections; the dataset is the instances JSON they were made for"),
    "bdd100k": Kind("BDD100K JSON", hint="convert it to COCO by its tool, python -m bdd100k.label.to_coco -m det"),
    "label studio": Kind("Label Studio JSON", hint="export it as YOLO with images, or as COCO, and prepare that"),
    "via": Kind("VGG Image Annotator (VIA) JSON", hint="export it as COCO from VIA, and prepare that"),
    "supervisely": Kind("Supervisely JSON", hint=_AS_COCO),
    "createml": Kind("CreateML JSON", hint=_AS_COCO),
    "labelbox": Kind("Labelbox JSON", hint=_AS_COCO),
    "cityscapes": Kind("Cityscapes JSON", hint="convert it to COCO, and prepare that"),
    "cvat": Kind("CVAT XML", hint="export it from CVAT as YOLO 1.1, COCO 1.0 or PASCAL VOC 1.1, and prepare that"),
    "dlib": Kind("dlib (imglab) XML", hint="convert it to Pascal VOC or COCO, and prepare that"),
    "mot": Kind("MOT tracks", hint="convert it to COCO, and prepare that"),
    "detections": Kind("YOLO predictions with a confidence", hint="labels have five columns: class x y w h"),
    "csv": Kind("CSV annotations", hint="convert it to COCO, and prepare that"),
    "tfrecord": Kind("TFRecord files", hint="export it as COCO or Pascal VOC, and prepare that"),
    "parquet": Kind("Parquet files", hint="convert it to COCO, and prepare that"),
    "jsonl": Kind("JSON Lines", hint="convert it to COCO, and prepare that"),
}
SAME = {"coco128": "yolo", "bccd": "voc"}  # kinds of `prepare` that read another one's format
_BY_NAME = {
    ".csv": "csv", ".tfrecord": "tfrecord", ".tfrecords": "tfrecord", ".record": "tfrecord", ".parquet": "parquet",
    ".jsonl": "jsonl", ".ndjson": "jsonl",
}  # fmt: skip


def recognise(sources: Iterable[Path]) -> dict[str, Path]:
    """Find the kinds of annotations in folders and files.

    Returns:
        Key of `KINDS` → a file of it; the kind with the most files looked into comes first.
    """
    files: dict[str, list[Path]] = {}
    for source in sources:
        listed = walk(source) if source.is_dir() else [(source.parent, [source.name])]
        for folder, names in listed:
            for name in names:
                suffix = os.path.splitext(name)[1].lower()
                if not name.startswith(".") and suffix in _JUDGES | _BY_NAME.keys() | {".data"}:
                    files.setdefault(suffix, []).append(folder / name)
    votes: dict[str, list[Path]] = {}
    for suffix, paths in files.items():
        found = [p for p in paths if suffix not in (".txt", ".json") or p.name not in _SIDE][: 50 * SAMPLES]
        for path in found[:: max(len(found) // SAMPLES, 1)]:
            kind = _BY_NAME.get(suffix) or _judge_file(path, suffix)
            if kind is not None:
                # A single list or table beside many labels is no evidence against them.
                votes.setdefault(kind, []).append(path)
    order = sorted(votes, key=lambda k: (-len(votes[k]), list(KINDS).index(k)))
    return {k: votes[k][0] for k in order}


_SIDE = ("classes.txt", "notes.json", "labels.txt", "README.txt", "predefined_classes.txt", "README.dataset.txt")


def clearer(kind: str, read: Sequence[Path], given: Sequence[Path], out: Path, error: UserError) -> UserError:
    """Return the error for a source that `prepare KIND` cannot read: where it holds another kind of annotations and
    none of this one, that is what is said. `read` is the source, or what it was unpacked to; `given` as the user gave
    it."""
    try:
        found = recognise(read)
    except (UserError, OSError):
        return error
    if not found or not given or SAME.get(kind, kind) in found:
        return error
    other, file = next(iter(found.items()))
    what, reader, hint = KINDS[other]
    if reader:
        whole = given[0] if reader == "coco" or given[0].is_dir() or file not in given else given[0].parent
        hint = program("prepare", reader, f"source={whole}", f"out={out}")
    ours = KINDS[SAME.get(kind, kind)].what
    return DatasetError(f"the source contains {what} ({file.name}), not {ours}", str(given[0]), hint)


def _judge_file(path: Path, suffix: str) -> str | None:
    try:
        if suffix == ".xml":
            return _judge_xml(path)
        if suffix == ".json":
            return judge_json(path)
        with open(path, "rb") as file:
            text = file.read(HEAD).decode("utf-8-sig", "replace")
    except (UserError, OSError):
        return None
    if suffix in (".yaml", ".yml"):
        return "yolo" if re.search(r"^names\s*:", text, re.MULTILINE) else None
    if suffix == ".data":
        return "yolo" if re.search(r"^\s*names\s*=", text, re.MULTILINE) else None
    return judge_rows(text)


_JUDGES = {".xml", ".json", ".txt", ".yaml", ".yml"}


def _judge_xml(path: Path) -> str | None:
    root = parse_xml(path)
    if root.tag == "annotation":
        return "voc"
    if root.tag == "annotations":
        return "cvat"
    return "dlib" if root.tag == "dataset" and root.find("images") is not None else None


def judge_json(path: Path) -> str | None:
    """Return the kind that a JSON file is of; None for none that is known."""
    if path.stat().st_size > LARGEST:
        with open(path, "rb") as file:
            head = file.read(HEAD)
        return "coco" if re.match(rb'\s*\{\s*"(info|images|annotations|categories|licenses)"', head) else None
    try:
        data = load_json(path)
    except DatasetError as e:
        return "jsonl" if "JSON Lines" in e.what else None
    return judge_data(data)


def judge_data(data: Any) -> str | None:
    """Return the kind that the data of a JSON are of; None for none that is known."""
    if isinstance(data, dict):
        keys = data.keys()
        if "_via_img_metadata" in keys or any(isinstance(v, dict) and "regions" in v for v in data.values()):
            return "via"
        for kind, needed in _KEYS:
            if needed <= keys:
                return kind
        return None
    if not isinstance(data, list):
        return None
    item = next((i for i in data if isinstance(i, dict)), {})
    for kind, needed in _ITEM_KEYS:
        if needed <= item.keys():
            return kind
    return None


# The first whose keys are all there.
_KEYS: tuple[tuple[str, set[str]], ...] = (
    ("coco", {"images", "annotations", "categories"}),
    ("labelme", {"shapes", "imagePath"}),
    ("labelme", {"shapes", "imageData"}),
    ("labelme", {"shapes", "flags"}),
    ("bdd100k", {"frames"}),
    ("bdd100k", {"name", "labels"}),
    ("cityscapes", {"imgHeight", "objects"}),
    ("supervisely", {"objects", "size"}),
    ("supervisely", {"classes", "projectType"}),
    ("label studio", {"annotations", "data"}),
    ("labelbox", {"data_row"}),
)
_ITEM_KEYS: tuple[tuple[str, set[str]], ...] = (
    ("results", {"image_id", "category_id", "score"}),
    ("bdd100k", {"name", "labels"}),
    ("label studio", {"annotations", "data"}),
    ("label studio", {"completions", "data"}),
    ("label studio", {"image", "annotator"}),
    ("createml", {"image", "annotations"}),
    ("createml", {"imagefilename", "annotation"}),
    ("labelbox", {"data_row"}),
    ("labelbox", {"Labeled Data"}),
    ("via", {"filename", "regions"}),
)


def judge_rows(text: str) -> str | None:
    """Return the kind of label file that a text's first row is of; None for none that is known."""
    for line in text.splitlines():
        if line.strip():
            return _judge_row(line.strip())
    return None


def _judge_row(line: str) -> str | None:
    if re.match(r"(imagesource|gsd)\s*:", line):
        return "dota"
    by_commas = [w.strip() for w in line.strip(",").split(",")]
    if len(by_commas) >= 8:
        if not all(map(is_number, by_commas)):
            return None
        return "visdrone" if len(by_commas) == 8 else "mot"
    words = line.split()
    if is_kitti(words):
        return "kitti"
    numbers = [is_number(w) for w in words]
    if len(words) == 10 and all(numbers[:8]) and not numbers[8]:
        return "dota"
    if not words[0].isdecimal() or not all(numbers):
        return None
    if len(words) == 6:
        return "detections"
    return "yolo" if len(words) == 5 or (len(words) >= 7 and len(words) % 2) else None


def is_kitti(words: list[str]) -> bool:
    """Return True if a row is a class's name, of one word or several, and the 14 numbers (15 with a score) of KITTI."""
    return len(words) >= 15 and not is_number(words[0]) and all(map(is_number, words[-14:]))
