"""What a converter reads: images with their boxes, and a dataset of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ultralytics.data.prepare.boxes import Box, Header, look
from ultralytics.utils.errors import ConfigError, DatasetError
from ultralytics.utils.files import read_text
from ultralytics.utils.log import progress
from ultralytics.utils.threads import readers

SPLITS = ("train", "val", "test")
SPLIT_WORDS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip
S = TypeVar("S")
T = TypeVar("T")


@dataclass
class Annotated:
    """An image and what is marked in it."""

    name: str  # path inside its split, "a.jpg" or "folder/a.jpg"
    image: Path | None = None  # the file; None when it cannot be used, for which `problems` says why
    objects: list[tuple[str | int, Box]] = field(default_factory=list)  # class (its name, or its id) and box
    # class (None: any), box, and whether it is a crowd: matched by the part of a detection inside it
    ignored: list[tuple[str | int | None, Box, bool]] = field(default_factory=list)
    # of the objects' masks, pixels², None for one without; empty where the source has none
    areas: list[float | None] = field(default_factory=list)
    # what is written behind a class in the place of the box: corners of an outline, or box and points, in 0..1
    # shapes, ignored_shapes: of the objects and of the ignored, None for a box; empty where all are boxes
    shapes: list[Sequence[float] | None] = field(default_factory=list)
    ignored_shapes: list[Sequence[float] | None] = field(default_factory=list)
    # of a tile, what its whole image shows: class, four corners in pixels of that image, and whether it is difficult
    whole: list[tuple[str | int, Sequence[float], bool]] | None = None  # one list for all tiles of an image
    problems: list[str] = field(default_factory=list)  # "file: what", each one line
    cut: int = 0  # boxes that reached beyond the image

    def take(self, image: Path) -> Header | None:
        """Look at the image and make this one of it; where it cannot be used, say so and return None."""
        header = look(image)
        if isinstance(header, str):
            self.problems.append(f"{image}: {header}")
            return None
        self.image = image
        return header

    def add(
        self,
        cls: str | int | None,
        fitted: tuple[Box | None, bool],
        lost: str,
        crowd: bool | None = None,
        shape: Sequence[float] | None = None,
    ) -> bool:
        """Take a box as `from_corners` gives it, and perhaps what is written in its place: an object; with `crowd`,
        which says whether it is one, a region to be ignored. Where nothing of it is inside the image, `lost` becomes a
        problem, and False is returned."""
        box, cut = fitted
        if box is None:
            self.problems.append(f"{lost}; it is dropped")
            return False
        self.cut += cut
        if crowd is not None:
            self.ignored.append((cls, box, crowd))
            self.ignored_shapes.append(shape)
        elif cls is not None:
            self.objects.append((cls, box))
            self.shapes.append(shape)
        return True


@dataclass
class Converted:
    """A dataset as a converter read it."""

    splits: dict[str, list[Annotated]]  # split folder → its images
    names: Sequence[str]  # class names in the order of their ids
    used: dict[str, str] = field(default_factory=dict)  # split of the YAML → split folder, where these differ
    notes: list[str] = field(default_factory=list)  # what was decided, for the log
    problems: list[str] = field(default_factory=list)  # those that belong to no single image
    keys: dict[str, Any] = field(default_factory=dict)  # of the YAML, besides paths and names


def read_rows(result: Annotated, image: Path, file: Path) -> tuple[Header, list[str]] | None:
    """Look at an image and read the lines of its annotations.

    Args:
        result: becomes usable with `image`; where one of the two cannot be read, its problems say so.

    Returns:
        The image's header and the lines; None when one of the two cannot be read.
    """
    header = result.take(image)
    if header is None:
        return None
    try:
        lines = read_text(file, DatasetError).splitlines()
    except DatasetError as e:
        result.image = None
        result.problems.append(str(e))
        return None
    return header, lines


def in_threads(function: Callable[[S], T], items: Sequence[S], desc: str) -> list[T]:
    """Return the results of a function that reads files, in order, with a progress bar."""
    with ThreadPoolExecutor(max_workers=readers()) as pool:
        return list(progress(pool.map(function, items), total=len(items), desc=desc))


def first_of(problems: Sequence[str]) -> str:
    """Return the first of some problems and the number of the others, to put behind a message."""
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return f": {problems[0]}{more}" if problems else ""


def no_objects(everything: Iterable[Annotated], problems: Sequence[str] = (), where: str = "") -> DatasetError:
    """Return the error for a dataset without a single object to train on: why there is none, as far as it is known."""
    listed = list(everything)
    problems = problems or [p for a in listed for p in a.problems]
    ignored = sum(len(a.ignored) for a in listed)
    if problems:
        return DatasetError(f"no object could be read{first_of(problems)}", where)
    if ignored:
        return DatasetError(
            f"no object is left to train on: {ignored} marked as crowd, difficult or to be ignored",
            where,
            "objects that count need iscrowd 0, or difficult 0",
        )
    return DatasetError("no object could be read: the labels hold none", where)


def whole_lists(annotated: Iterable[Annotated]) -> list[list[tuple[str | int, Sequence[float], bool]]]:
    """Return what whole images show, each list once: an image's tiles share it."""
    return list({id(a.whole): a.whole for a in annotated if a.whole}.values())


def class_order(annotated: Sequence[Annotated], names: Sequence[str] | None, where: Path) -> list[str]:
    """Return the class names in the order of their ids: as given, else alphabetical.

    Raises:
        DatasetError: there is no object.
        ConfigError: the names given lack one that is used, or hold one twice.
    """
    if names and len(set(names)) != len(names):
        raise ConfigError(f"names={list(names)} names a class twice")
    found = {str(c) for a in annotated for c, _ in a.objects}
    found |= {str(c) for a in annotated for c, _, _ in a.ignored if c is not None}
    found |= {str(c) for whole in whole_lists(annotated) for c, _, _ in whole}
    if not found:
        raise no_objects(annotated, where=str(where))
    order = list(names) if names else sorted(found)
    missing = sorted(found - set(order))
    if missing:
        raise ConfigError(
            f"names lacks {', '.join(missing)}, which the annotations use",
            str(where),
            "name every class, or leave names out",
        )
    return order
