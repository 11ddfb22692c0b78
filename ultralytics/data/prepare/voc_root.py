"""Where a folder of Pascal VOC's kind has its annotations, images and lists."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ultralytics.data.prepare.folder import walk
from ultralytics.data.prepare.tree import Tree, by_splits, split_of_folders
from ultralytics.utils.errors import DatasetError, MissingFileError
from ultralytics.utils.files import read_text
from ultralytics.utils.images import IMAGE_SUFFIXES
from ultralytics.utils.text import counted

ANNOTATIONS, IMAGES = ("Annotations", "annotations"), ("JPEGImages", "images")


@dataclass
class Root:
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
        """Return the names in ImageSets/Main/SPLIT.txt, each once; None without that file.

        A line is a name, which may hold spaces, or "name 1" as in the lists of single classes.
        """
        if self.own is not None:
            return self.own.get(split)
        lines = list_lines(self.folder, split)
        return None if lines is None else list(dict.fromkeys(map(self._name, lines)))

    def _name(self, line: str) -> str:
        plain = re.sub(r"\s+-?[01]$", "", line)
        for name in (line, plain):
            stem, suffix = os.path.splitext(name)
            for known in (name, stem if suffix.lower() in IMAGE_SUFFIXES | {".xml"} else name):
                if known in self.annotations or known in self.images:
                    return known
        return plain


def list_lines(folder: Path, split: str) -> list[str] | None:
    """Return what is in a VOC folder's ImageSets/Main/SPLIT.txt; None without that file."""
    file = folder / "ImageSets" / "Main" / f"{split}.txt"
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
