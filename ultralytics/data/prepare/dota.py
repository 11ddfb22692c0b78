"""DOTA's labelTxt → rotated boxes, its images cut into tiles.

A row is x1 y1 x2 y2 x3 y3 x4 y4 class difficulty, in pixels. Objects with a difficulty other than 0 go to ignore/, as
DOTA's own evaluation has it. A tile is called IMAGE__SIZE__X___Y.jpg: its side, and where its upper left corner lies in
IMAGE, in pixels. So a prediction on a tile is one of the image, moved by X and Y. The objects of the whole images are
kept in whole/, for DOTA's figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ultralytics.cfg.tasks import task_for
from ultralytics.data.prepare import names as published_names
from ultralytics.data.prepare.annotated import Annotated, Converted, class_order, in_threads, read_rows, whole_lists
from ultralytics.data.prepare.boxes import from_corners
from ultralytics.data.prepare.coco_shapes import bounds_of
from ultralytics.data.prepare.divide import Options
from ultralytics.data.prepare.documents import as_number
from ultralytics.data.prepare.format import Format, Source, prepare
from ultralytics.data.prepare.outlines import area_of, clip
from ultralytics.data.prepare.rows import as_corners
from ultralytics.data.prepare.tree import Tree, by_splits
from ultralytics.utils.errors import ConfigError, MissingFileError
from ultralytics.utils.images import imread, imwrite
from ultralytics.utils.text import counted, is_number
from ultralytics.utils.types import Float64Array, UInt8Array

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ultralytics.data.prepare.divide import Keys

COLUMNS = 9  # of a row; the difficulty may follow
INSIDE = 0.6  # part of a tile that must be inside its image, unless none is
KEPT = 0.7  # part of an object that must be inside a tile
ATTRIBUTES = ("imagesource", "gsd")
QUALITY = 95  # of tiles


def prepare_dota(
    source: str | Path,
    out: str | Path,
    names: Sequence[str] | None = None,
    crop: int = 1024,
    gap: int = 200,
    rates: Sequence[float | str] | None = None,
    **given: Unpack[Keys],
) -> Path:
    """Turn DOTA's images and labels into tiles, rotated boxes and a dataset YAML.

    Args:
        source: folder or archive with images and label files, such as train/images and train/labelTxt.
        crop: side of a tile, pixels; 0 leaves the images whole.
        gap: by how much neighbouring tiles overlap, pixels, below `crop`.
        rates: crop and gap are divided by each of these, for tiles of several sizes; [1] when None.
        Others: as of the command; for what is returned and raised see `prepare`.
    """
    found = [as_number(r) for r in (rates or [1.0])]
    numbers = [r for r in found if r is not None and 0.01 <= r <= 100]
    if len(numbers) < len(found):
        raise ConfigError(f"rates={rates!s:.80} must be numbers of 0.01 to 100")
    if crop and not 32 <= crop / max(numbers) <= crop / min(numbers) <= 1 << 16:
        raise ConfigError(f"crop={crop} must make tiles of 32 to 65536 pixels, or be 0 for whole images")
    if crop and not 0 <= gap < crop:
        raise ConfigError(f"gap={gap} must be 0 or more and below crop={crop}")
    _tile_sizes(crop, gap, numbers)
    own = {"names": list(names) if names else None, "crop": crop, "gap": gap, "rates": numbers}
    given.setdefault("task", task_for("corners"))
    return prepare(DOTA, source, out, Options(**given), own)


def _tile_sizes(crop: int, gap: int, rates: Sequence[float]) -> dict[int, int]:
    """Return by how much tiles overlap, by their side, in pixels; of rates that make equal sides the first counts.

    Raises:
        ConfigError: tiles overlap wholly.
    """
    sizes: dict[int, int] = {}
    for rate in rates if crop else ():
        side, overlap = int(crop / rate), int(gap / rate)
        if overlap >= side:
            raise ConfigError(
                f"gap={gap} and crop={crop} are both {side} pixels at the rate {rate:g}", hint="less gap="
            )
        sizes.setdefault(side, overlap)
    return sizes


class _Object:
    """An object of an image: its class, its corners in pixels, and whether it is difficult."""

    def __init__(self, cls: str, corners: Float64Array, difficult: bool) -> None:
        self.cls, self.corners, self.difficult = cls, corners, difficult


def _read_source(source: Source) -> Converted:
    top, options = source.folder(), source.options
    tree = Tree.of(top, ".txt")
    problems = tree.passed
    files: dict[str, str] = {}
    for mark, images in tree.pairs().items():
        if not images:
            continue
        if len(images) > 1:
            problems.append(f"{top / mark}: {' and '.join(images)} may be its image; {images[0]} is taken")
        if files.setdefault(images[0], mark) != mark:
            problems.append(f"{top / mark}: {files[images[0]]} is of the same image; it is not used")
    if not files:
        raise MissingFileError("no image has a label file of its name", str(top), "source= holds images and labelTxt")
    listed = tree.beside(files, "a labelled image")
    sizes = _tile_sizes(options["crop"], options["gap"], options["rates"])
    splits: dict[str, list[Annotated]] = {}
    for split, names in by_splits(listed, files).items():
        jobs = list(names.items())

        def read(job: tuple[str, str], split: str = split) -> list[Annotated]:
            image, name = job
            mark = top / files[image] if image in files else None
            place = source.scratch / f"0-tiles-{split}"
            return _read_image(top / image, name, mark, place, sizes)

        splits[split] = [tile for tiles in in_threads(read, jobs, f"Cutting {split}") for tile in tiles]
    everything = [a for listed_tiles in splits.values() for a in listed_tiles]
    names_of = _name_classes(everything, options["names"])
    notes = [f"images of the source became {counted(len(everything), 'tile')}"] if sizes else []
    return Converted(splits, class_order(everything, names_of, top), notes=notes, problems=problems)


def _name_classes(everything: Sequence[Annotated], names: Sequence[str] | None) -> Sequence[str] | None:
    """Give the objects DOTA's class names with blanks, as the reference does (its files have "large-vehicle"), where no
    others are found or the user's `names` have them, and return the names in DOTA's order, else those given. Other
    names stay as they are."""
    wholes = whole_lists(everything)
    found = {str(c) for a in everything for c, *_ in (*a.objects, *a.ignored)} | {str(c) for w in wholes for c, *_ in w}
    blank = {name: name.replace("-", " ") for name in found}
    if names:
        renamed = {a: b for a, b in blank.items() if a not in names and b in names}
    else:
        renamed = blank if set(blank.values()) <= set(published_names.DOTA) else {}
    for a in everything:
        a.objects = [(renamed.get(str(c), c), box) for c, box in a.objects]
        a.ignored = [(renamed.get(str(c), c), box, crowd) for c, box, crowd in a.ignored]
    for whole in wholes:
        whole[:] = [(renamed.get(str(c), c), corners, difficult) for c, corners, difficult in whole]
    if names or not renamed:
        return names
    enough = (n for n in (15, 16, 18) if set(blank.values()) <= set(published_names.DOTA[:n]))
    return published_names.DOTA[: next(enough)]


def _read_image(image: Path, name: str, file: Path | None, place: Path, sizes: Mapping[int, int]) -> list[Annotated]:
    """Read an image and cut it; of an image that is left whole, or cannot be used, one entry."""
    whole = Annotated(name)
    if file is None:
        whole.problems.append(f"{image}: it has no label file")
        return [whole]
    found = read_rows(whole, image, file)
    if found is None:
        return [whole]
    header, lines = found
    objects = list(_read_objects(file, lines, whole))
    if not sizes:
        _mark(whole, objects, (0, 0, header.shape[1], header.shape[0]), f"{file}")
        return [whole]
    pixels = imread(image)
    if pixels is None:
        whole.image = None
        whole.problems.append(f"{image}: it cannot be decoded")
        return [whole]
    stem = name.rpartition(".")[0]
    whole_objects: list[tuple[str | int, Sequence[float], bool]] = [
        (o.cls, o.corners.ravel().tolist(), o.difficult) for o in objects
    ]
    tiles: list[Annotated] = []
    for side, overlap in sizes.items():
        for left, top in windows(header.shape, side, overlap):
            tile = _cut_tile(pixels, left, top, side, place / f"{stem}__{side}__{left}___{top}.jpg")
            tiles.append(Annotated(f"{stem}__{side}__{left}___{top}.jpg", tile, whole=whole_objects))
            area = (left, top, min(left + side, header.shape[1]), min(top + side, header.shape[0]))
            _mark(tiles[-1], objects, area, "")
    if tiles:
        tiles[0].problems = whole.problems
    return tiles


def _cut_tile(pixels: UInt8Array, left: int, top: int, side: int, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    imwrite(path, pixels[top : top + side, left : left + side], quality=QUALITY)
    return path


def windows(shape: tuple[int, int], side: int, gap: int) -> list[tuple[int, int]]:
    """Return left and top of the tiles of an image of (height, width): every side − gap pixels, the last moved back to
    the image's edge. Tiles that are less than `INSIDE` inside an image smaller than a tile are left out, unless all
    are."""

    def starts(length: int) -> list[int]:
        count = 1 if length <= side else math.ceil((length - side) / (side - gap)) + 1
        return [min(i * (side - gap), max(length - side, 0)) for i in range(count)]

    found = [(left, top) for left in starts(shape[1]) for top in starts(shape[0])]
    inside = [min(side, shape[1] - x) * min(side, shape[0] - y) / side**2 for x, y in found]
    limit = min(INSIDE, max(inside))
    return [place for place, part in zip(found, inside, strict=True) if part >= limit]


def _read_objects(file: Path, lines: Sequence[str], result: Annotated) -> Iterator[_Object]:
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or line.partition(":")[0].strip().lower() in ATTRIBUTES:
            continue
        where = f"{file}:{number}"
        if len(words) < COLUMNS or not all(map(is_number, words[:8])) or not _is_class(words[8:]):
            result.problems.append(f"{where}: a row is eight numbers, a class and a difficulty; it is dropped")
            continue
        corners = np.array([float(w) for w in words[:8]]).reshape(4, 2)
        last = words[-1].isdecimal() and len(words) > COLUMNS
        name = " ".join(words[8 : len(words) - last])
        if not np.isfinite(corners).all() or area_of(corners) <= 0:
            result.problems.append(f"{where} ({name:.80}): the box has no area; it is dropped")
            continue
        yield _Object(name, corners, last and words[-1] != "0")


def _is_class(words: Sequence[str]) -> bool:
    """Return False for coordinates, as there are in rows of other formats: a class may be a number, but a whole one."""
    return words[0].isdecimal() or not all(map(is_number, words))


def _mark(tile: Annotated, objects: Sequence[_Object], window: tuple[int, int, int, int], file: str) -> None:
    """Mark the objects in a window (left, top, right, bottom) of their image. Of a window that is the image (`file` is
    then the label file) whatever is inside counts."""
    left, top, right, bottom = window
    shape = (bottom - top, right - left)
    for item in objects:
        inside = clip(item.corners - (left, top), shape)
        part = area_of(inside) / area_of(item.corners) if len(inside) > 2 else 0.0
        if part < KEPT and not (file and part > 0):
            if file:
                tile.problems.append(f"{file}: {item.cls} lies outside its image; it is dropped")
            continue
        tile.cut += part < 1
        fitted = from_corners(bounds_of(inside), shape)
        # A box that is cut has more corners: what is left of it, not a rectangle that reaches over the edge.
        shown = inside if len(inside) >= 4 else np.concatenate([inside, inside[-1:]])
        numbers = as_corners(shown, shape) if len(shown) == 4 else (shown / shape[::-1]).ravel().tolist()
        tile.add(item.cls, fitted, file, False if item.difficult else None, numbers)


DOTA = Format("dota", _read_source, kinds=("corners",))
