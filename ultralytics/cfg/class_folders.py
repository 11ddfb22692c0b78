"""A dataset of class folders: FOLDER/train/CLASS/image.jpg, FOLDER/val/CLASS/image.jpg."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ultralytics.cfg.dataset import DatasetSpec, load_dataset
from ultralytics.cfg.paths import find_data_yaml
from ultralytics.cfg.tasks import FOLDERS, in_folders, task_for
from ultralytics.utils.errors import DatasetError, MissingFileError, UserError
from ultralytics.utils.files import user_path
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import has_unsafe, is_text
from ultralytics.utils.walk import is_below, is_folder, real_places
from ultralytics.utils.yaml import read_yaml

# what the folder of a split may be called, the usual name first
SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "validation", "valid"), "test": ("test",)}
LAYOUT = "a dataset of class folders is FOLDER/train/CLASS/*.jpg and FOLDER/val/CLASS/*.jpg"


class SplitFolder(NamedTuple):
    """What lies in the folder of a split, each by name; what is hidden, is left out."""

    classes: list[Path]  # folders, and links to folders
    around: list[Path]  # links to a folder that holds the split: no classes
    broken: list[Path]  # links that lead nowhere
    files: list[Path]


def look_into(split: Path) -> SplitFolder:
    """Return what lies in the folder of a split.

    Raises:
        DatasetError: it cannot be read.
    """
    found, places = SplitFolder([], [], [], []), real_places(split)
    try:
        with os.scandir(split) as entries:
            for entry in sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name):
                path = split / entry.name
                if is_folder(entry):
                    real = os.path.realpath(path) if entry.is_symlink() else ""
                    around = real != "" and any(is_below(place, real) for place in places)
                    (found.around if around else found.classes).append(path)
                else:
                    (found.broken if entry.is_symlink() and not os.path.exists(path) else found.files).append(path)
    except OSError as e:
        raise DatasetError(f"the folder cannot be read: {e.strerror}", str(split)) from None
    return found


def folders_of_classes(split: Path) -> list[Path]:
    """Return the class folders of a split, by name: its folders and links to folders, but for hidden ones and links to
    a folder that holds the split.

    Raises:
        DatasetError: it cannot be read, or a name can be no class's.
    """
    found = look_into(split).classes
    for name in (f.name for f in found):
        if not is_text(name) or has_unsafe(name):
            raise DatasetError(f"the folder {name!r} cannot be a class: its name holds control characters", str(split))
    return found


def class_name(folder: Path) -> str:
    """Return the class of a folder: its name, however the file system writes its accents."""
    return unicodedata.normalize("NFC", folder.name)


def is_class_dataset(data: str | Path, task: str | None = None) -> bool:
    """Return True if a dataset is of class folders: where `task` or the key of its YAML says so; of a folder, where it
    has folders of splits that do not hold images/ and labels/, and every YAML in it says so. What cannot be read is
    none."""
    if task is not None:
        return in_folders(task)
    folder = user_path(data)
    splits = [folder / name for usual in SPLIT_FOLDERS.values() for name in usual if (folder / name).is_dir()]
    if folder.is_dir() and (not splits or any((s / "images").is_dir() and (s / "labels").is_dir() for s in splits)):
        return False
    try:
        files = sorted(folder.glob("*.y*ml")) if folder.is_dir() else [find_data_yaml(data)]
        documents = [read_yaml(file, DatasetError).data for file in files]
    except UserError:
        return False
    return all(isinstance(found, dict) and in_folders(found.get("task")) for found in documents)


def load_labelled_dataset(
    data: str | Path, needs: Sequence[str] = ("train", "val"), problems: list[DatasetError] | None = None
) -> DatasetSpec:
    """Read a dataset of images and label files, see `load_dataset`.

    Raises:
        DatasetError: it is of class folders.
    """
    if is_class_dataset(data):
        hint = f"task={task_for(FOLDERS)} reads them"
        raise DatasetError("these are class folders, and the task needs labels of objects", str(data), hint)
    return load_dataset(data, problems, needs=needs)


def load_class_dataset(data: str | Path, needs: Sequence[str] = ("train", "val")) -> DatasetSpec:
    """Read a dataset of class folders. The classes are the folders of the training split, in every split.

    Args:
        data: the folder that holds train/, val/ and test/; or a YAML whose train, val and test are such folders, and
            whose names say the classes.
        needs: splits it must have; without val/ test/ stands for it.

    Raises:
        MissingFileError: there is no such folder or YAML.
        DatasetError: it holds no class folders.
    """
    folder = user_path(data)
    if not folder.is_dir():
        if str(data).endswith((".yaml", ".yml")):
            return load_dataset(data, needs=needs)
        raise MissingFileError("there is no such folder", str(folder.absolute()), LAYOUT)
    folder = folder.absolute()
    splits = {}
    for split, usual in SPLIT_FOLDERS.items():
        found = next((folder / name for name in usual if (folder / name).is_dir()), None)
        if found is not None:
            splits[split] = [found]
    if "val" in needs and "val" not in splits and "test" in splits:
        LOGGER.warning("%s has no val folder: test is used for it", folder)
        splits["val"] = splits["test"]
    for split in needs:
        if split not in splits:
            hint = LAYOUT
            if split != "train" and "train" in splits:
                hint = f"move a part of the images of train/ there; {LAYOUT}"
            raise DatasetError(f"there is no folder {split}", str(folder), hint)
    source = splits.get("train") or next(iter(splits.values()))
    names = dict(enumerate(map(class_name, folders_of_classes(source[0]))))
    if not names:
        raise DatasetError("there are no class folders", str(source[0]), LAYOUT)
    if len(set(names.values())) < len(names):
        raise DatasetError("two class folders have one name", str(source[0]), "rename one of them")
    return DatasetSpec(folder, folder, splits, names, len(names))
