"""What a subset is made of: the source, its images by name, and the options."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ultralytics.cfg.class_folders import is_class_dataset, load_class_dataset
from ultralytics.cfg.dataset import DatasetSpec, load_dataset
from ultralytics.data.class_images import image_names
from ultralytics.data.class_scan import scan_classes
from ultralytics.data.images import nfc, relative_names
from ultralytics.data.kinds import form_of
from ultralytics.data.labels import RowForm
from ultralytics.data.scan import scan
from ultralytics.utils.errors import ConfigError, DatasetError, nearest
from ultralytics.utils.files import real_path, user_path
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted, folder_flaw
from ultralytics.utils.types import ANY_CLASS
from ultralytics.utils.yaml import read_yaml


@dataclass
class SourceImage:
    """An image of the source. name: within its split, "/" between folders, NFC; counts: boxes by new class id; form:
    how its label rows are read; None: its class is that of its folder."""

    name: str
    file: str
    counts: dict[int, int]
    unsure: bool  # has ignored regions that may hold the classes: no background
    form: RowForm | None


@dataclass
class Choice:
    """What is going to be written. `splits` by folder name; `folds`: the names in the val list of each."""

    options: dict[str, Any]
    source: DatasetSpec
    ids: dict[int, int]  # source id → new id
    splits: dict[str, list[SourceImage]] = field(default_factory=dict)
    folds: list[list[str]] = field(default_factory=list)
    left_out: int = 0
    by_folder: bool = False  # an image is of the class of its folder: there are no label files

    @property
    def names(self) -> list[str]:
        return [self.source.names[c] for c in self.ids]


def begin(data: str | Path, out: str | Path, classes: Any, given: dict[str, Any]) -> tuple[Choice, Path, Path]:
    """Check and collect the source and the options. Return the choice; the new YAML; the new folder."""
    out = user_path(out)
    if out.suffix.lower() not in (".yaml", ".yml"):
        raise ConfigError("out is the new YAML, and its name must end in .yaml", str(out), f"out={out}.yaml")
    target = out.with_suffix("")
    by_folder = is_class_dataset(data)
    spec = load_class_dataset(data) if by_folder else load_dataset(data)
    for split in spec.splits:
        for path in spec.split(split):
            if path in (real_path(target), *real_path(target).parents) and path.is_dir():
                raise ConfigError(f"the new images would lie among the {split} images of the source", str(out))
    for split in ("val", "test"):
        if given.get(f"{split}_n") is not None:
            spec.split(split)
    ids = class_ids(spec.names, classes, str(spec.yaml_file))
    if by_folder:
        _check_names(spec, ids)
    options = {"classes": None if classes is None else [spec.names[c] for c in ids], **given}
    return Choice(options, spec, {c: i for i, c in enumerate(ids)}, by_folder=by_folder), out, target


def _check_names(spec: DatasetSpec, ids: Sequence[int]) -> None:
    """Check that each class can have a folder of its name.

    Raises:
        DatasetError: one cannot; with its line in the YAML.
    """
    owner: dict[str, int] = {}
    for i in ids:
        what, flaw = f"the name of class {i}, {spec.names[i]!r},", folder_flaw(spec.names[i])
        other = owner.setdefault(nfc(spec.names[i]), i)
        if not flaw and other != i:
            flaw = f"is that of class {other} too"
        if not flaw:
            continue
        where, hint = str(spec.yaml_file), "rename the class, or leave it out by classes="
        if spec.yaml_file.is_file():
            where += f", line {read_yaml(spec.yaml_file, DatasetError).line_of('names', str(i))}"
        raise DatasetError(f"{what} {flaw}: it cannot be a class folder", where, hint)


def class_ids(
    names: Mapping[int, str], classes: int | str | Sequence[int | str] | None, where: str = "the dataset"
) -> list[int]:
    """Return the ids of classes given by name or id, in the order given; all when None.

    Raises:
        ConfigError: there is no such class (the nearest is named), a name of several classes, a class given twice.
    """
    if classes is None:
        return list(names)
    found: list[int] = []
    for word in [classes] if isinstance(classes, int | str) else classes:
        ids = [i for i, name in names.items() if name == word]
        if not ids and str(word).isdecimal() and int(word) in names:
            ids = [int(word)]
        if not ids:
            number = isinstance(word, int) or word.isdecimal()
            near = f"its ids are 0 to {len(names) - 1}" if number else nearest(str(word), names.values())
            raise ConfigError(f"there is no class {word!r}", where, near or f"it has {some_of(list(names.values()))}")
        if len(ids) > 1:
            raise ConfigError(f"{word!r} is the name of the classes {ids}", where, "give the id")
        if ids[0] in found:
            raise ConfigError(f"the class {word!r} is given twice", where)
        found += ids
    if not found:
        raise ConfigError("classes names no class", where, "leave it out for all classes")
    return found


def some_of(words: Sequence[str], most: int = 12) -> str:
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def read_images(choice: Choice, splits: Sequence[str]) -> list[SourceImage]:
    """Read the usable images of some splits, by name; of several splits, the split's name goes before, and an image in
    two of them counts once."""
    if choice.by_folder:
        return [image for split in splits for image in _read_folders(choice, split)]
    images: list[SourceImage] = []
    seen: set[str] = set()
    twice = 0
    form: RowForm | None = None
    for split in splits:
        paths = choice.source.split(split)
        names = relative_names(paths)
        spec = choice.source
        if form is None:  # the first split says how the labels of all are read
            form = form_of(spec, sorted(names))
        labels = scan(paths, spec.label_nc, 1.0, f"{split}: ", None, spec.yaml_file, *form)
        choice.left_out += labels.left_out
        for i, file in enumerate(labels.im_files):
            if len(splits) > 1:
                real = os.path.realpath(file)
                twice += real in seen
                if real in seen:
                    continue
                seen.add(real)
            boxes = Counter(int(c) for c in labels.boxes(i)[0])
            counts = {choice.ids[c]: m for c, m in boxes.items() if c in choice.ids}
            name = names[file] if len(splits) == 1 else f"{split}/{names[file]}"
            unsure = any(c == ANY_CLASS or c in choice.ids for c in labels.ignored(i)[:, 0])
            images.append(SourceImage(name, file, counts, unsure, form))
    if twice:
        several = f"{counted(twice, 'image')} {'is' if twice == 1 else 'are'} in several of {' and '.join(splits)}"
        LOGGER.info("%s and %s once", several, "counts" if twice == 1 else "count")
    return sorted(images, key=lambda i: i.name)


def _read_folders(choice: Choice, split: str) -> list[SourceImage]:
    """Read the usable images of a split of class folders, each by the name CLASS/FILE."""
    spec, paths = choice.source, choice.source.split(split)
    labels = scan_classes(paths, spec.names, desc=f"{split}: ")
    choice.left_out += labels.left_out
    classes = dict(zip(labels.im_files, labels.cls.astype(int).tolist(), strict=True))
    names, images = image_names(paths, classes, spec.names), []
    for file, number in classes.items():
        counts = {choice.ids[number]: 1} if number in choice.ids else {}
        images.append(SourceImage(names[file], file, counts, False, None))
    return sorted(images, key=lambda i: i.name)
