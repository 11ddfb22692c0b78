"""The images of class folders: which there are, by the one walk that trains, checks, shows, draws and exports them."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import NamedTuple

from ultralytics.cfg.class_folders import class_name, folders_of_classes, look_into
from ultralytics.cfg.dataset import DatasetSpec
from ultralytics.data.images import OTHER_IMAGES, nfc
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.images import IMAGE_SUFFIXES
from ultralytics.utils.text import counted, name_key
from ultralytics.utils.walk import walk_files


class Odd(NamedTuple):
    """What may not be meant so. kind: of a row in `check.rules.RULES`; place: a file or folder; what: in words."""

    kind: str
    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


@dataclass
class PassedOver:
    """What lies in class folders and is not read; what is hidden is not in it."""

    files: list[str] = field(default_factory=list)  # no images
    broken: list[str] = field(default_factory=list)  # links without a suffix of images that lead nowhere
    links: list[str] = field(default_factory=list)  # to folders read already, or that hold the link
    closed: list[OSError] = field(default_factory=list)  # errors of folders that cannot be read

    def report(self) -> list[Odd]:
        """Return a line for each kind of thing."""
        kinds: dict[str, list[str]] = defaultdict(list)
        for file in self.files:
            suffix = os.path.splitext(file)[1].lower()
            kinds[suffix if suffix in OTHER_IMAGES else ""].append(file)
        odd = []
        for suffix, files in sorted(kinds.items()):
            are = "is not an image" if len(files) == 1 else "are not images"
            what = f"{counted(len(files), 'file')} in class folders {are}, passed over"
            if suffix:
                what = f"{counted(len(files), f'{suffix} file')} passed over: images of this kind are not read"
            odd.append(Odd("class-folder", min(files), what))
        if self.broken:
            odd.append(Odd("folder-link", min(self.broken), leads_nowhere(len(self.broken))))
        if self.links:
            odd.append(Odd("folder-link", self.links[0], _leads_back(len(self.links))))
        return odd + [Odd("folder-unreadable", e.filename, f"it cannot be read: {e.strerror}") for e in self.closed]


def leads_nowhere(count: int) -> str:
    """Say that so many links lead nowhere."""
    return f"{counted(count, 'link')} that {'leads' if count == 1 else 'lead'} nowhere, passed over"


def _leads_back(count: int) -> str:
    leads = "leads to a folder that is read already, or holds it"
    if count > 1:
        leads = "lead to folders that are read already, or hold them"
    return f"{counted(count, 'link')} that {leads}, passed over"


def images_of_class(folder: Path, passed: PassedOver) -> list[str]:
    """List the images of a class folder and then of the folders below it, each by name.

    Links are followed, to images and to folders, those of other classes too; each real folder is read once for the
    class. A link to an image is an image even where it leads nowhere. What is hidden, is left out.

    Args:
        folder: of the class.
        passed: is added to.
    """
    images: list[str] = []
    for place, names in walk_files(folder, passed.closed.append, passed.links, hidden=False):
        for name in sorted(names):
            path = os.path.join(place, name)
            if is_image(name):
                images.append(path)
            else:
                (passed.files if os.path.exists(path) else passed.broken).append(path)
    return images


def is_image(name: str) -> bool:
    """Return True for the name of an image."""
    return name[name.rfind(".", 1) :].lower() in IMAGE_SUFFIXES


class ClassImages(NamedTuple):
    """The images of a split of class folders. files: by class id, sorted, of classes that have some."""

    files: dict[int, list[str]]
    odd: list[Odd]

    def classes(self) -> dict[str, int]:
        """Return the class of each image, by path, sorted."""
        return dict(sorted((file, number) for number, files in self.files.items() for file in files))


def list_classes(paths: Sequence[Path], names: Mapping[int, str]) -> ClassImages:
    """List the images of the class folders of a split, and what may not be meant so. An image that lies in several of
    the split's folders by one path counts once, in the first of them.

    Args:
        paths: folders of class folders.
        names: of the classes, by id.

    Raises:
        DatasetError: a path is no folder, or cannot be read.
    """
    ids = {unicodedata.normalize("NFC", name): i for i, name in names.items()}  # as `class_name` gives them
    found: dict[int, list[str]] = {}
    odd: list[Odd] = []
    seen: set[str] = set()
    for path in (Path(os.path.abspath(p)) for p in paths):
        if not path.is_dir():
            raise DatasetError("a split of a classifier is a folder of class folders", str(path))
        passed, twice = PassedOver(), 0
        for folder in folders_of_classes(path):
            images = images_of_class(folder, passed)
            number = ids.get(class_name(folder))
            if number is None:
                what = f"no class is called that; {counted(len(images), 'image')} passed over"
                odd.append(Odd("class-folder", str(folder), what))
                continue
            if len(paths) > 1:
                new = [f for f in images if f not in seen]
                seen.update(new)
                twice += len(images) - len(new)
                images = new
            found.setdefault(number, []).extend(images)
        if twice:
            what = f"{counted(twice, 'image')} in several folders of the split, which count once"
            odd.append(Odd("listed-twice", str(path), what))
        odd += [*_beside(path), *passed.report()]
    return ClassImages({c: sorted(files) for c, files in found.items() if files}, odd)


def _beside(split: Path) -> Iterable[Odd]:
    """Find what lies beside the class folders of a split."""
    found = look_into(split)
    loose = [str(f) for f in found.files if is_image(f.name)]
    if loose:
        yield Odd("class-folder", min(loose), f"{counted(len(loose), 'image')} in no class folder, passed over")
    for link in found.around:
        yield Odd("folder-link", str(link), "the link leads to a folder that holds it: it is no class, and passed over")
    if found.broken:
        yield Odd("folder-link", str(found.broken[0]), leads_nowhere(len(found.broken)))


def split_images(data: DatasetSpec, split: str) -> list[str]:
    """List the images of a split of class folders, sorted.

    Raises:
        DatasetError: there are none.
    """
    paths = data.split(split)
    files = list(list_classes(paths, data.names).classes())
    if not files:
        raise DatasetError("the class folders hold no images", ", ".join(map(str, paths)))
    return files


def image_names(paths: Sequence[Path], classes: Mapping[str, int], names: Mapping[int, str]) -> dict[str, str]:
    """Name images of class folders, path → CLASS/FILE: the path below the folder of the split. Of several such folders
    their names, or numbers where these are equal or hidden, come behind the class.

    Args:
        paths: the folders of the split.
        classes: the class of each image, as `ClassImages.classes` gives them.
        names: of the classes, by id.

    Raises:
        DatasetError: two have one name after normalization.
    """
    tops = list(dict.fromkeys(PurePath(os.path.abspath(p)) for p in paths))
    heads = [top.name for top in tops]
    if len(set(map(name_key, heads))) < len(heads) or any(not head or head.startswith(".") for head in heads):
        heads = [str(i) for i in range(len(tops))]
    found: dict[str, str] = {}
    owner: dict[str, str] = {}
    for file, number in classes.items():
        at, parts = _find_split(PurePath(file), tops, names[number])
        if len(tops) > 1:
            parts.insert(1, nfc(heads[at]))
        found[file] = name = "/".join(parts)
        if owner.setdefault(name, file) != file:
            raise DatasetError(f"the name equals that of {owner[name]} after normalization", file, "rename one of them")
    return found


def _find_split(file: PurePath, tops: Sequence[PurePath], name: str) -> tuple[int, list[str]]:
    """Find the first of a split's folders in which an image is read as one of a class: its number, and the names, NFC,
    from it to the image. Of folders in each other one may have another class there, none, or a hidden folder."""
    for i, top in enumerate(tops):
        if file.is_relative_to(top):
            parts = list(map(nfc, file.relative_to(top).parts))
            if len(parts) > 1 and parts[0] == nfc(name) and not any(p.startswith(".") for p in parts):
                return i, parts
    raise ValueError(f"{file} lies in no folder of the class {name!r}")
