"""A dataset's YAML: where the images of each split lie, and what the classes are called."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ultralytics.cfg.paths import find_data_yaml, program
from ultralytics.utils.errors import DatasetError, nearest
from ultralytics.utils.files import real_path, user_path
from ultralytics.utils.text import counted, has_unsafe
from ultralytics.utils.yaml import read_yaml

SPLITS = ("train", "val", "test")
MAX_CLASSES = 100_000  # a larger id in a faulty YAML is a slip, not a class
MAX_POINTS = 10_000  # of a pose


@dataclass
class DatasetSpec:
    """What a dataset's YAML says."""

    yaml_file: Path
    root: Path  # its folder joined with the key `path`
    splits: dict[str, list[Path]]  # split name → folders of images, .txt lists or images, as absolute paths
    names: dict[int, str]  # class id → name
    nc: int  # their number
    prepare: str = ""  # the command that makes the images in `root`, when the YAML names one
    tried: dict[Path, list[Path]] = field(default_factory=dict, repr=False)
    label_nc: int = 0  # number of class ids in the label files; more than `nc` after `merge_classes`
    # points and numbers of each that follow the box in a label row of a pose dataset; None of others
    kpt_shape: tuple[int, int] | None = None
    # for each point of a pose the one that is in its place in a mirrored image; None: not known
    flip_idx: tuple[int, ...] | None = None
    task: str = ""  # what the labels are made for, where the YAML says so

    @property
    def keypoints(self) -> int:
        """Count the numbers that follow the box in a label row."""
        return self.kpt_shape[0] * self.kpt_shape[1] if self.kpt_shape else 0

    def __post_init__(self) -> None:
        self.label_nc = self.label_nc or self.nc

    # As the reference's mapping of the YAML

    def to_dict(self) -> dict[str, Any]:
        """Return names, nc, path, yaml_file and the splits, as the reference's trainers know a dataset."""
        splits = {k: [str(p) for p in v] for k, v in self.splits.items()}
        paths = {k: v[0] if len(v) == 1 else v for k, v in splits.items()}
        named = {"names": self.names, "nc": self.nc, "yaml_file": str(self.yaml_file)}
        points = {"kpt_shape": list(self.kpt_shape)} if self.kpt_shape else {}
        mirrored = {"flip_idx": list(self.flip_idx)} if self.flip_idx else {}
        task = {"task": self.task} if self.task else {}
        return {"path": self.root, **paths, **named, **points, **mirrored, **task}

    @classmethod
    def of(cls, data: DatasetSpec | Mapping[str, Any]) -> DatasetSpec:
        """Read a mapping as of `to_dict`: names, and what else is there.

        Raises:
            DatasetError: its flip_idx does not fit its kpt_shape.
        """
        if isinstance(data, cls):
            return data
        names = data["names"]
        named = dict(enumerate(names)) if isinstance(names, list | tuple) else dict(names)
        given = {k: data[k] if isinstance(data[k], list) else [data[k]] for k in SPLITS if data.get(k)}
        splits = {k: [Path(p) for p in paths] for k, paths in given.items()}
        points, mirrored = data.get("kpt_shape"), data.get("flip_idx")
        spec = cls(Path(data.get("yaml_file") or ""), Path(data.get("path") or ""), splits, named, len(named))
        spec.kpt_shape = (int(points[0]), int(points[1])) if points else None
        order = {"flip_idx": list(map(int, mirrored))} if mirrored else {}
        spec.flip_idx = _read_flip_idx(order, spec.kpt_shape, str(spec.yaml_file))
        spec.task = str(data.get("task") or "")
        return spec

    def __getitem__(self, key: str) -> Any:
        return self.to_dict()[key]

    def __contains__(self, key: str) -> bool:
        return key in self.to_dict()

    def get(self, key: str, default: Any = None) -> Any:
        """Return an entry of `to_dict`."""
        return self.to_dict().get(key, default)

    def merge_classes(self) -> None:
        """Treat all classes as one, called item (`single_cls`)."""
        self.names, self.nc = {0: "item"}, 1

    def split(self, name: str) -> list[Path]:
        """Return the paths of a split, all of which exist.

        Raises:
            DatasetError: the YAML has no such split, or a path is missing; every path tried is listed.
        """
        if name not in self.splits:
            raise DatasetError(
                f"there is no split {name!r}", str(self.yaml_file), f"the splits are {', '.join(self.splits)}"
            )
        for path in self.splits[name]:
            if not os.path.exists(path):
                tried = ", ".join(str(p) for p in self.tried.get(path, [path]))
                hint = self._how_to_make() or "paths in the YAML are relative to the YAML's own folder"
                raise DatasetError(f"the {name} images are missing; tried {tried}", str(self.yaml_file), hint)
        return self.splits[name]

    def _how_to_make(self) -> str:
        """Return the command of the YAML that makes the images in `root`; "" without one."""
        if not self.prepare:
            return ""
        words = self.prepare.removeprefix("python -m ultralytics ").split()
        other = "; or with source=FOLDER instead of download=True" if "download=True" in words else ""
        return f"make it with: {program(words[0], *words[1:], f'out={self.root}')}{other}"


def load_dataset(
    dataset: str | Path, problems: list[DatasetError] | None = None, needs: Sequence[str] = ("train", "val")
) -> DatasetSpec:
    """Read a dataset's YAML. Paths in it are relative to its own folder (or to its `path`, itself relative to that
    folder).

    Args:
        dataset: the YAML's path, or the name of a bundled one.
        problems: filled with what is wrong in it, instead of raising the first; what is right is then returned.
        needs: splits it must have; any other may be missing or empty.

    Raises:
        MissingFileError: no such YAML.
        DatasetError: what is wrong in it (with `problems`: it is no YAML mapping).
    """
    file = find_data_yaml(dataset).absolute()
    where = str(file)
    document = read_yaml(file, DatasetError)
    data = document.data
    if not isinstance(data, dict):
        raise DatasetError("a dataset YAML is a mapping with train, val and names", where)
    written = {key: document.written(key) for key in ("path", *SPLITS, "names")}
    if "val" not in data and "validation" in data:
        data["val"], written["val"] = data.pop("validation"), document.written("validation")

    def report(error: DatasetError) -> None:
        if problems is None:
            raise error
        problems.append(error)

    paths = _read_paths(data, written, where, report)
    for key in ("train", "val"):
        if key in needs and not data.get(key):
            report(_missing_split(data, key, file))
    try:
        names = _read_names(data, written["names"], where)
    except DatasetError as e:
        report(e)
        names = _likely_names(data, written["names"])
    root = real_path(file.parent / user_path((paths["path"] or ["."])[0]))
    prepare = data.get("prepare")
    spec = DatasetSpec(file, root, {}, names, len(names), prepare.strip() if isinstance(prepare, str) else "")
    try:
        spec.kpt_shape = _read_kpt_shape(data, f"{where}:{document.line_of('kpt_shape')}")
        spec.flip_idx = _read_flip_idx(data, spec.kpt_shape, f"{where}:{document.line_of('flip_idx')}")
    except DatasetError as e:
        report(e)
    # Other tools may mean something else by the key, so what is no task here is no mistake.
    spec.task = data["task"] if isinstance(data.get("task"), str) else ""
    spec.splits = {split: [_locate_path(spec, e) for e in entries] for split in SPLITS if (entries := paths[split])}
    return spec


def _read_paths(
    data: dict[Any, Any], written: dict[str, Any], where: str, report: Callable[[DatasetError], None]
) -> dict[str, list[str] | None]:
    """Return the paths of `path` and of each split, as they are written; None where they are no paths."""
    paths = {key: _as_paths(written[key]) if data.get(key) else [] for key in ("path", *SPLITS)}
    for key, entries in paths.items():
        if entries is None or (key == "path" and isinstance(data.get(key), list)):
            kind = "a folder" if key == "path" else "a folder of images, or a list of them"
            report(DatasetError(f"the key {key!r} must be {kind}", where))
        elif any("\0" in entry or not _is_path(entry) for entry in entries):
            raise DatasetError(f"the key {key!r} holds a zero byte, or what is not text", where, "give a folder")
    return paths


def _missing_split(data: dict[Any, Any], key: str, file: Path) -> DatasetError:
    hint = "give a folder of images"
    if key == "val":
        hint += f", or draw one: prepare yolo {shlex.quote(f'source={file.parent}')} val=0.2 out=NEW_FOLDER"
    if key in data:
        return DatasetError(f"the key {key!r} has no value", str(file), hint)
    return DatasetError(f"the key {key!r} is missing", str(file), nearest(key, map(str, data)) or hint)


# The reference's name for it; what it returns is a DatasetSpec.
check_det_dataset = load_dataset


def _as_paths(value: Any) -> list[str] | None:
    """Return the paths of a key, as they are written; None where there are mappings or lists among them."""
    entries = value if isinstance(value, list) else [value]
    return entries if all(isinstance(entry, str) for entry in entries) else None


def _is_path(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _locate_path(spec: DatasetSpec, entry: str) -> Path:
    path = real_path(spec.root / user_path(entry))
    candidates = [path]
    if entry.startswith("../"):
        # Exported archives often write ../train/images for a folder that lies beside the YAML.
        candidates.append(real_path(spec.root / entry[3:]))
    # Unlike a Path, os.path takes a name that is too long for one that is not there.
    found = next((p for p in candidates if os.path.exists(p)), path)
    spec.tried[found] = candidates
    return found


def _read_kpt_shape(data: dict[Any, Any], where: str) -> tuple[int, int] | None:
    shape = data.get("kpt_shape")
    if shape is None:
        return None
    if isinstance(shape, list) and len(shape) == 2 and all(type(n) is int for n in shape):
        points, numbers = shape
        if 1 <= points <= MAX_POINTS and numbers in (2, 3):
            return points, numbers
    raise DatasetError(f"kpt_shape: {shape} must be [points, 2 or 3], such as [17, 3]", where)


def _read_flip_idx(data: dict[Any, Any], shape: tuple[int, int] | None, where: str) -> tuple[int, ...] | None:
    mirrored = data.get("flip_idx")
    if mirrored is None or mirrored == []:
        return None
    shown = f"{mirrored!s:.80}"
    if not isinstance(mirrored, list) or not all(type(i) is int for i in mirrored):
        hint = "for each point, the one it becomes in a mirrored image: [1, 0] of a left and a right one"
        raise DatasetError(f"flip_idx: {shown} must be a list of point numbers", where, hint)
    if shape is None:
        raise DatasetError("flip_idx numbers points, and kpt_shape is missing", where, "kpt_shape: [points, 2 or 3]")
    if len(mirrored) != shape[0]:
        raise DatasetError(f"flip_idx has {len(mirrored)} numbers, and kpt_shape has {shape[0]} points", where)
    if sorted(mirrored) != list(range(shape[0])):
        raise DatasetError(f"flip_idx: {shown} must hold each of 0 to {shape[0] - 1} once", where)
    return tuple(mirrored)


def mirrors(poses: bool, flip_idx: Sequence[int] | None) -> bool:
    """Return True if left and right of an image may be swapped: not of poses without `flip_idx`.

    It says which keypoint becomes which when the image is mirrored: without it, left hands would be labelled as right.
    """
    return not poses or flip_idx is not None


def _named_ids(names: Any) -> list[tuple[str, Any]]:
    """Return class ids and names, both as they are written."""
    if isinstance(names, list):
        return [(str(i), name) for i, name in enumerate(names)]
    return list(names.items()) if isinstance(names, dict) else []


def _class_id(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _likely_names(data: dict[Any, Any], written: Any) -> dict[int, str]:
    """Return as many names as a faulty YAML may mean."""
    nc = data.get("nc")
    found: dict[int, str] = {}
    for key, name in _named_ids(written):
        i = _class_id(key)
        if i is not None and i < MAX_CLASSES and isinstance(name, str):
            found[i] = name
    count = max([nc if type(nc) is int and nc < MAX_CLASSES else 0, *(k + 1 for k in found)])
    return {i: found.get(i, f"class_{i}") for i in range(count)}


def _read_names(data: dict[Any, Any], written: Any, where: str) -> dict[int, str]:
    """Return the names, as they are written: `off`, `010` and `1:30` are text."""
    names, nc = data.get("names"), data.get("nc")
    if nc is None and (names is None or names == [] or names == {}):
        raise DatasetError("the dataset names no classes", where, "add names: [first, second], or nc")
    if nc is not None and (not isinstance(nc, int) or isinstance(nc, bool) or nc < 1):
        raise DatasetError(f"nc: {nc} must be an integer of 1 or more", where)
    if nc is not None and nc > MAX_CLASSES:
        raise DatasetError(f"nc: {nc} is too large", where, f"at most {MAX_CLASSES}")
    if names is None:
        return {i: f"class_{i}" for i in range(int(nc or 0))}
    pairs = _named_ids(written)
    if not pairs:
        raise DatasetError("names must be a list, or a mapping of class ids to names", where)
    result: dict[int, str] = {}
    for key, name in pairs:
        i = _class_id(key)
        if i is None:
            reason = f"the keys of names must be class ids, not {key!r}"
            raise DatasetError(reason, where, f"0 to {len(pairs) - 1}")
        if i in result:
            raise DatasetError(f"class {i} is named twice: {result[i]!r} and {name!r}", where, "keep one of them")
        if not isinstance(name, str):
            reason = "is not written" if name is None else "is a list or a mapping, and must be text"
            raise DatasetError(f"the name of class {i} {reason}", where)
        if has_unsafe(name):
            raise DatasetError(f"the name of class {i} holds control characters: {name!r}", where, "take them out")
        result[i] = name
    if sorted(result) != list(range(len(result))):
        raise DatasetError(
            f"{len(result)} names need the ids 0 to {len(result) - 1}, not {sorted(result)[:1] + sorted(result)[-1:]}",
            where,
        )
    if nc is not None and nc != len(result):
        raise DatasetError(
            f"nc is {nc}, but there {'is' if len(result) == 1 else 'are'} {counted(len(result), 'name')}", where
        )
    return dict(sorted(result.items()))
