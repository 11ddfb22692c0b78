"""The one writer of prepared data sets, and what every converter needs before it: how large a picture is, which way up,
and a box cut to it.

A prepared data set is a folder with images/SPLIT, labels/SPLIT, ignore/SPLIT, areas/SPLIT, data.yaml and manifest.json;
see docs/datasets.md.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypedDict, TypeVar

import yaml

from ultralytics.data.images import Unusable, judge_file, judge_image, judge_shape
from ultralytics.data.labels import ROUNDING
from ultralytics.data.prepare.archive import is_archive, unpack
from ultralytics.data.prepare.folder import TakenError, fingerprint, making, place_image, prepared, write_manifest
from ultralytics.data.prepare.recognise import clearer
from ultralytics.data.prepare.sources import entry
from ultralytics.data.subset.stratify import rank
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError, UserError
from ultralytics.utils.files import read_text, real_path, user_path
from ultralytics.utils.images import IMAGE_SUFFIXES, open_header, read_image_file
from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.text import counted, escaped, likely_slips, one_line

Box = tuple[float, float, float, float]  # centre x, centre y, width, height in 0..1 of the upright picture
Corners = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels, 0 at the picture's edge

SPLITS = ("train", "val", "test")
SPLIT_WORDS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip
SHOWN_PROBLEMS = 20
SHOWN_CLASSES = 10
NO_VALIDATION = " train and val, so the figures of a validation say nothing about new images"
UNPACKED = ".unpacked"  # inside the folder being made
S = TypeVar("S")
T = TypeVar("T")


@dataclass
class Annotated:
    """An image and what is marked in it.

    Attributes:
        name: path inside its split, "a.jpg" or "folder/a.jpg".
        image: the file; None when it cannot be used, for which `problems` says why.
        objects: class (its name, or its id) and box.
        ignored: class (None: any), box, and whether it is a crowd: matched by the part of a detection inside it.
        areas: of the objects' masks, pixels², None for one without; empty where the source has none.
        problems: "file: what", each one line; cut: boxes that reached beyond the picture.
    """

    name: str
    image: Path | None = None
    objects: list[tuple[str | int, Box]] = field(default_factory=list)
    ignored: list[tuple[str | int | None, Box, bool]] = field(default_factory=list)
    areas: list[float | None] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    cut: int = 0


@dataclass
class Converted:
    """A data set as a converter read it.

    Attributes:
        splits: split folder → its images; names: class names in the order of their ids.
        used: split of the YAML → split folder, where these differ; notes: what was decided, for the log.
        problems: those that belong to no single image.
    """

    splits: dict[str, list[Annotated]]
    names: Sequence[str]
    used: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Picture(NamedTuple):
    """Height and width of a picture as it is shown and as it is stored, and its EXIF orientation (1 to 8)."""

    shape: tuple[int, int]
    stored: tuple[int, int]
    orientation: int


def look(path: str | Path) -> Picture | str:
    """A picture's size; or why training would leave it out. Only pictures that may be turned are decoded in full."""
    if os.path.exists(path) and not os.path.isfile(path):
        return "is a pipe, a socket or a device"  # reading it might wait for ever
    try:
        data = read_image_file(path)
    except OSError as e:
        return f"cannot be read: {e.strerror or e}"
    unusable = judge_file(data)
    if unusable is not None:
        return unusable.what
    stored: tuple[int, int] | None = None
    orientation, plain = 1, False
    try:
        image = open_header(data)
        if image is not None:
            stored = (image.height, image.width)
            orientation = int(image.getexif().get(0x0112, 1))
            plain = image.format in ("JPEG", "MPO")
    except Exception:  # Pillow raises what a damaged file makes its parsers raise; decoding decides
        stored = None
    if stored is not None and plain and orientation == 1:
        unusable = judge_shape(stored)
        return unusable.what if unusable else Picture(stored, stored, 1)
    decoded = judge_image(data)
    if isinstance(decoded, Unusable):
        return decoded.what
    shape = (decoded.shape[0], decoded.shape[1])
    return Picture(shape, stored or shape, orientation if orientation in range(1, 9) else 1)


def annotated_upright(picture: Picture, declared: tuple[float, float] | None) -> tuple[bool, str]:
    """Whether boxes were drawn on the upright picture, by the (height, width) an annotation declares; and a note when
    that is not what the file says."""
    shown, stored = (declared in (None, size) for size in (picture.shape, picture.stored))
    if shown:
        if picture.orientation != 1 and picture.shape == picture.stored:
            return True, (
                f"the picture is turned by its EXIF tag ({picture.orientation}) and its size does not tell whether the "
                "boxes are; they are read on the picture as it is shown"
            )
        return True, ""
    if stored:
        return False, "the boxes were drawn on the picture as it is stored; they are turned with it"
    assert declared is not None
    h, w = picture.shape
    return True, f"the size is given as {declared[1]:g}x{declared[0]:g}, the picture has {w}x{h}; the picture decides"


def turned(corners: Corners, picture: Picture) -> Corners:
    """Corners on the stored picture, moved to where its EXIF tag shows them."""
    h, w = picture.stored

    def point(x: float, y: float) -> tuple[float, float]:
        return {
            2: (w - x, y),
            3: (w - x, h - y),
            4: (x, h - y),
            5: (y, x),
            6: (h - y, x),
            7: (h - y, w - x),
            8: (y, w - x),
        }.get(picture.orientation, (x, y))

    (ax, ay), (bx, by) = point(*corners[:2]), point(*corners[2:])
    return min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)


def from_corners(corners: Corners, shape: tuple[int, int]) -> tuple[Box | None, bool]:
    """A box cut to a picture of (height, width), None when nothing of it is inside (or a corner is NaN); and whether
    any of it was cut off."""
    h, w = shape
    x1, y1, x2, y2 = max(corners[0], 0.0), max(corners[1], 0.0), min(corners[2], float(w)), min(corners[3], float(h))
    cut = (x1, y1, x2, y2) != tuple(corners)
    if not (x2 > x1 and y2 > y1):  # NaN as well
        return None, cut
    return ((x1 + x2) / 2 / w, (y1 + y2) / 2 / h, (x2 - x1) / w, (y2 - y1) / h), cut


def from_pixels(x: float, y: float, w: float, h: float, shape: tuple[int, int]) -> tuple[Box | None, bool]:
    """A box given by a corner and its size, as `from_corners`. One that leaves the picture by no more than rounding is
    kept as it is, so that its numbers survive."""
    height, width = shape
    if not (w > 0 and h > 0):
        return None, False
    over = max(-x / width, -y / height, (x + w) / width - 1, (y + h) / height - 1)
    if over > ROUNDING or over != over:
        return from_corners((x, y, x + w, y + h), shape)
    return ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height), False


def read_rows(result: Annotated, image: Path, file: Path) -> tuple[Picture, list[str]] | None:
    """Look at an image and read the lines of its annotations.

    Args:
        result: becomes usable with `image`; where one of the two cannot be read, its problems say so.

    Returns:
        The image's header and the lines; None when one of the two cannot be read.
    """
    picture = look(image)
    if isinstance(picture, str):
        result.problems.append(f"{image}: {picture}")
        return None
    try:
        lines = read_text(file, DatasetError).splitlines()
    except DatasetError as e:
        result.problems.append(str(e))
        return None
    result.image = image
    return picture, lines


def in_threads(function: Callable[[S], T], items: Sequence[S], desc: str) -> list[T]:
    """The results of a function that reads files, in order, with a progress bar."""
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 16)) as pool:
        return list(progress(pool.map(function, items), total=len(items), desc=desc))


@dataclass(frozen=True)
class Options:
    """What every kind of data set can be prepared with.

    Attributes:
        images: "copy", or "link" for hard links.
        val, test: parts of the train images to draw as these splits, where the source lacks them; 0 for none.
        seed: of that draw.

    Raises:
        ConfigError: `images` is neither; a part is not 0 or more and below 1, or both leave nothing to train on.
    """

    images: str = "copy"
    val: float = 0.0
    test: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images not in ("copy", "link"):
            raise ConfigError(f"images={self.images} must be copy or link")
        for split, part in self.parts(all_of_them=True).items():
            if not (isinstance(part, int | float) and 0 <= part < 1):
                raise ConfigError(f"{split}={part} must be a part of the images, 0 or more and below 1")
        if self.val + self.test >= 1:
            raise ConfigError(f"val={self.val} and test={self.test} leave no images to train on")

    def parts(self, all_of_them: bool = False) -> dict[str, float]:
        """Split → part, of those that are drawn."""
        return {s: part for s, part in (("val", self.val), ("test", self.test)) if part or all_of_them}

    def drawn(self) -> dict[str, Any]:
        """What the manifest keeps of the draw; nothing where nothing is drawn."""
        return {**self.parts(), "seed": self.seed} if self.parts() else {}


class DrawKeys(TypedDict, total=False):
    """Keywords of the draw; see `Options`."""

    val: float
    test: float
    seed: int


class Keys(DrawKeys, total=False):
    """The fields of `Options` as keywords."""

    images: str


def draw_parts(names: Sequence[str], parts: Sequence[float], seed: int) -> list[list[int]]:
    """Divide names by the hash of the seed and each name, so that neither order nor machine matters.

    Args:
        names: of the images; parts: of them to draw, each at least one image.

    Returns:
        The indices of the rest, then those of each part, all in the order given. The first part is the same whether
        others follow or not.

    Raises:
        DatasetError: the names are too few.
    """
    counts = [max(round(len(names) * part), 1) for part in parts]
    if sum(counts) >= len(names):
        raise DatasetError(
            f"{counted(len(names), 'image')} {'is' if len(names) == 1 else 'are'} too few to draw splits of",
            hint="leave val= and test= out",
        )
    order = sorted(range(len(names)), key=lambda i: (rank(seed, names[i]), names[i]))
    drawn: list[list[int]] = []
    for count in counts:
        drawn.append(sorted(order[:count]))
        order = order[count:]
    return [sorted(order), *drawn]


def divide(converted: Converted, wanted: Options) -> None:
    """Draw the splits that are asked for from the images of train (or of the only split), and say which images stand
    in for a split that is still missing.

    Raises:
        ConfigError: the source has such a split of its own; DatasetError: too few images.
    """
    there = [s for s in SPLITS if converted.splits.get(s)]
    parts = wanted.parts()
    pool = there[0] if len(there) == 1 else "train"
    for split in parts:
        if split in there and split != pool:
            raise ConfigError(f"the source has its own {split} split", hint=f"leave {split}= out")
    if parts and pool in there:
        listed = converted.splits.pop(pool)
        usable = [i for i, a in enumerate(listed) if a.image is not None]
        _, *drawn = draw_parts([_stem(listed[i].name) for i in usable], list(parts.values()), wanted.seed)
        taken = dict(zip(parts, drawn, strict=True))
        for split, indices in taken.items():
            converted.splits[split] = [listed[usable[i]] for i in indices]
        chosen = {usable[i] for indices in drawn for i in indices}
        converted.splits["train"] = [a for i, a in enumerate(listed) if i not in chosen]
        converted.splits = {s: converted.splits[s] for s in SPLITS if s in converted.splits}
        converted.used = {}
        told = " and ".join(f"{len(indices)} as {split}" for split, indices in taken.items())
        converted.notes.append(f"drawn of {counted(len(usable), 'image')}: {told} (seed {wanted.seed})")
    used = converted.used
    if there and not used:
        used = converted.used = stand_ins({s: a for s, a in converted.splits.items() if a})
        if used.get("val") == "test" != used.get("train"):
            converted.notes.append("the source has no val split: its test images are val as well")
    if used and used["train"] == used["val"]:
        converted.notes.append(f"the same images are both{NO_VALIDATION} (val=0.2 draws a split)")


def _stem(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in IMAGE_SUFFIXES else name


def stand_ins(splits: Mapping[str, Any]) -> dict[str, str]:
    """Split of the YAML → split folder where a source lacks train or val; nothing where it has both."""
    if "train" in splits and "val" in splits:
        return {}
    first = next(s for s in SPLITS if s in splits)
    used = {
        "train": "train" if "train" in splits else first,
        "val": "val" if "val" in splits else "test" if "test" in splits else first,
    }
    return used | ({"test": "test"} if "test" in splits else {})


def existing(source: str | Path) -> Path:
    """A source the user gave, as an absolute path.

    Raises:
        MissingFileError: it is not there.
    """
    path = full_path(source)
    if not os.path.exists(path):
        raise MissingFileError("there is no such source", str(path))
    if not (path.is_dir() or path.is_file()):
        raise MissingFileError("it is a device or a pipe, and a source is a file or a folder", str(path))
    return path


def full_path(given: str | Path) -> Path:
    """The absolute path a user means: labels are found by the folders above an image, so these must be known."""
    path = user_path(given).absolute()
    return real_path(path) if ".." in path.parts else path


def opened(source: Path, scratch: Path) -> Path:
    """The folder of a source: itself, or what an archive unpacks to, a new folder below `scratch`."""
    if not (source.is_file() and is_archive(source)):
        return source
    LOGGER.info("unpacking %s", source)
    number = len(list(scratch.iterdir())) if scratch.is_dir() else 0
    into = scratch / f"{number}-{source.name}"  # `told_of` takes the number away
    into.parent.mkdir(parents=True, exist_ok=True)
    unpack(source, into)
    return into


def opened_folder(source: Path, scratch: Path) -> Path:
    """`opened`, for sources of many files.

    Raises:
        MissingFileError: the source is one file.
    """
    folder = opened(source, scratch)
    if not folder.is_dir():
        what = "it is a file, and a source is a folder or an archive"
        raise MissingFileError(what, str(source), f"its folder: source={source.parent}")
    return folder


def told_of(folder: Path, text: str) -> str:
    """A message in one line; what lies in an unpacked archive is called by the archive's name and the path in it.

    Args:
        folder: the data set that is being made.
    """
    return one_line(re.sub(rf"{re.escape(str(folder / UNPACKED) + os.sep)}\d+-", "", text))


def inner(folder: Path) -> Path:
    """A folder, or the one below it when that is all it holds."""
    while True:
        below = [p for p in folder.iterdir() if p.name != "__MACOSX" and not p.name.startswith(".")]
        if len(below) != 1 or not below[0].is_dir():
            return folder
        folder = below[0]


def make_dataset(
    out: Path,
    kind: str,
    options: Mapping[str, Any],
    sources: list[dict[str, Any]],
    read: Callable[[Path], Converted],
    wanted: Options,
    given: Iterable[Path] = (),
    mark: str = "",
) -> Path:
    """Make a data set in a folder beside OUT that becomes OUT when it is whole.

    Args:
        out: not there, or empty; kind, options, sources: for the manifest; `read` may add to `sources`.
        read: is given a folder it may unpack archives into; images in it are moved, others copied or linked.
        given: the source, and folders its images are in: OUT may lie in none of them; mark: its `fingerprint`.

    Raises:
        ConfigError: OUT lies in the source; UserError: of `read`; it cannot be written; nothing of OUT is left then.
    """
    place, given = Path(os.path.realpath(out)), list(given)
    for folder in (Path(os.path.realpath(g)) for g in given):
        if folder.is_dir() and place.is_relative_to(folder):
            raise ConfigError("it lies in the source, which stays as it is", str(out), f"an out= beside {folder}")
    try:
        with making(out) as folder:
            converted, written = _make(folder, out, kind, options, sources, read, wanted, mark, given)
    except TakenError:
        done = prepared(out, kind, options, mark)  # another process may have made the same meanwhile
        if done is None:
            raise
        return done
    written.report(out, converted)
    return out / "data.yaml"


def _make(
    folder: Path,
    out: Path,
    kind: str,
    options: Mapping[str, Any],
    sources: list[dict[str, Any]],
    read: Callable[[Path], Converted],
    wanted: Options,
    mark: str,
    given: Sequence[Path],
) -> tuple[Converted, Written]:
    """`make_dataset` in FOLDER, which will become OUT."""
    try:
        converted = read(folder / UNPACKED)
        divide(converted, wanted)
        converted.notes = [told_of(folder, note) for note in converted.notes]
        written = write_dataset(folder, converted, wanted.images)
        shutil.rmtree(folder / UNPACKED, ignore_errors=True)
        write_manifest(
            folder,
            kind=kind,
            options=options,
            sources=sources,
            splits=written.images,
            objects=written.objects,
            ignored=written.ignored,
            left_out=written.left_out,
            mark=mark,
        )
    except UserError as e:
        error = e
        if isinstance(e, DatasetError | MissingFileError):
            scratch = folder / UNPACKED
            error = clearer(kind, [scratch] if scratch.is_dir() else given, given, out, e)
            if not error.where and given:
                error = type(error)(error.what, str(given[0]), error.hint)
        raise type(error)(*(told_of(folder, text) for text in (error.what, error.where, error.hint))) from None
    except OSError as e:
        raise storage_error(e, folder, out) from None
    return converted, written


def storage_error(e: OSError, folder: Path, out: Path) -> UserError:
    """What to tell of a system's error while FOLDER, which was to become OUT, was filled."""
    told = str(e.filename2 or e.filename or folder)
    if told.startswith(str(folder)):
        where = str(out) + told.removeprefix(str(folder))
        return UserError(f"could not be written: {e.strerror or e}", where, "free some space or choose another out=")
    return UserError(f"it cannot be read: {e.strerror or e}", told)


@dataclass
class Written:
    """What `write_dataset` wrote: images per split folder, objects per class, and the rest counted."""

    images: dict[str, int]
    objects: dict[str, int]
    ignored: int
    left_out: int
    cut: int
    problems: list[str]

    def report(self, out: Path, converted: Converted) -> None:
        """Tell the log."""
        LOGGER.info("%s: %s", out, ", ".join(counted(n, f"{s} image") for s, n in self.images.items()))
        shown, more = list(self.objects.items()), ""
        if len(shown) > SHOWN_CLASSES + 1:
            shown = Counter(self.objects).most_common(SHOWN_CLASSES)
            more = f", … {len(self.objects) - SHOWN_CLASSES} more classes"
        LOGGER.info("objects: %s%s", ", ".join(f"{name} {n}" for name, n in shown), more)
        for slip, meant in likely_slips(self.objects):
            pair = f"{slip!r} ({self.objects[slip]}) and {meant!r} ({self.objects[meant]})"
            LOGGER.warning("the classes %s have nearly the same name: is it a slip?", pair)
        if self.ignored:
            told = f"{counted(self.ignored, 'object')} {'is' if self.ignored == 1 else 'are'}"
            LOGGER.info("%s neither rewarded nor punished by the evaluation: %s", told, out / "ignore")
        for note in converted.notes:
            LOGGER.warning("%s", note)
        if self.cut:
            their, were = ("its", "was") if self.cut == 1 else ("their", "were")
            LOGGER.info("%s reached beyond %s picture and %s cut to it", counted(self.cut, "box"), their, were)
        if self.problems:
            left_out = f"{counted(self.left_out, 'image')} left out; " if self.left_out else ""
            told = counted(len(self.problems), "problem")
            LOGGER.warning("%s%s, in %s:", left_out, told, out / "problems.txt")
            alike = list(_alike(self.problems).values())
            for same in alike[:SHOWN_PROBLEMS]:
                more = f" (and {len(same) - 1} more like it in this file)" if len(same) > 1 else ""
                LOGGER.warning("  %s%s", same[0], more)
            if len(alike) > SHOWN_PROBLEMS:
                LOGGER.warning("  … and %d more", sum(map(len, alike[SHOWN_PROBLEMS:])))


def _alike(problems: Sequence[str]) -> dict[tuple[str, str], list[str]]:
    """Problems by their file and what they say apart from numbers, names and lines."""
    found: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        file, _, what = problem.partition(": ")
        file = re.sub(r":\d+$", "", file)
        kind = re.sub(r"'[^']*'|\([^)]*\)|[-+]?\d[\d.e+-]*", "#", what)
        found.setdefault((file, kind), []).append(problem)
    return found


def write_dataset(folder: Path, converted: Converted, images: str = "copy") -> Written:
    """Write images, labels, ignore files, data.yaml, and problems.txt where there are any.

    Args:
        folder: exists; images: "copy", or "link" for hard links where the file system can. An image below
        FOLDER/.unpacked is moved.

    Raises:
        DatasetError: nothing usable, or an empty train or val split; OSError: it cannot be written.
    """
    used = converted.used or {s: s for s in SPLITS if s in converted.splits}
    ids = {name: i for i, name in enumerate(converted.names)}
    problems = list(converted.problems)
    jobs: list[tuple[str, Annotated, PurePosixPath]] = []
    for split, listed in converted.splits.items():
        targets = _targets(listed, problems)
        jobs += [(split, a, target) for a, target in zip(listed, targets, strict=True) if target is not None]
    everything = [a for listed in converted.splits.values() for a in listed]
    problems += [p for a in {id(a): a for a in everything}.values() for p in a.problems]
    problems = [told_of(folder, p) for p in problems]
    counts = Counter(split for split, _, _ in jobs)
    for split, source in used.items():
        if not counts[source] and split != "test":
            first = f": {problems[0]}" if problems else ""
            more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
            raise DatasetError(f"the {split} split has no image that can be used{first}{more}")
    objects = Counter(_id(c, ids) for _, a, _ in jobs for c, _ in a.objects)
    if not objects:
        raise no_objects(everything, problems)
    bare = [s for s in used if counts[used[s]] and not any(a.objects for split, a, _ in jobs if split == used[s])]
    converted.notes += [f"the {split} split has no object" for split in bare]
    for split, target in {(split, target.parent) for split, _, target in jobs}:
        for kind in ("images", "labels"):
            (folder / kind / split / target).mkdir(parents=True, exist_ok=True)
    times = Counter(a.image for _, a, _ in jobs)

    def job(which: tuple[str, Annotated, PurePosixPath]) -> None:
        split, a, target = which
        assert a.image is not None
        move = a.image.is_relative_to(folder / UNPACKED) and times[a.image] == 1
        place_image(a.image, folder / "images" / split / target, "move" if move else images)
        rows = (f"{_id(c, ids)} {_numbers(box)}\n" for c, box in a.objects)
        (folder / "labels" / split / target.with_suffix(".txt")).write_text("".join(rows), encoding="utf-8")
        if a.ignored:
            file = folder / "ignore" / split / target.with_suffix(".txt")
            file.parent.mkdir(parents=True, exist_ok=True)
            rows = (
                f"{'*' if c is None else _id(c, ids)} {_numbers(box)}{' crowd' if crowd else ''}\n"
                for c, box, crowd in a.ignored
            )
            file.write_text("".join(rows), encoding="utf-8")
        if any(area is not None for area in a.areas):
            assert len(a.areas) == len(a.objects), a.name
            file = folder / "areas" / split / target.with_suffix(".txt")
            file.parent.mkdir(parents=True, exist_ok=True)
            # In full: COCO compares them with 32² and 96².
            file.write_text("".join("-\n" if v is None else f"{v!r}\n" for v in a.areas), encoding="utf-8")

    in_threads(job, jobs, "Writing")
    spec: dict[str, Any] = {
        "path": ".",
        **{s: f"images/{f}" for s, f in used.items() if counts[f]},
        "names": {i: escaped(name) for i, name in enumerate(converted.names)},  # others cannot be read back
    }
    text = yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(text, encoding="utf-8")
    if problems:
        (folder / "problems.txt").write_text("".join(f"{p}\n" for p in problems), encoding="utf-8")
    return Written(
        {s: counts[s] for s in converted.splits if counts[s]},
        {name: objects[i] for i, name in enumerate(converted.names)},
        sum(len(a.ignored) for _, a, _ in jobs),
        sum(a.image is None for a in everything),
        sum(a.cut for _, a, _ in jobs),
        problems,
    )


def no_objects(everything: Iterable[Annotated], problems: Sequence[str] = (), where: str = "") -> DatasetError:
    """The error for a data set without a single object to train on: why there is none, as far as it is known."""
    listed = list(everything)
    problems = problems or [p for a in listed for p in a.problems]
    ignored = sum(len(a.ignored) for a in listed)
    if problems:
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        return DatasetError(f"no object could be read: {problems[0]}{more}", where)
    if ignored:
        return DatasetError(
            f"no object is left to train on: {ignored} marked as crowd, difficult or to be ignored",
            where,
            "objects that count need iscrowd 0, or difficult 0",
        )
    return DatasetError("no object could be read: the labels hold none", where)


def class_order(annotated: Sequence[Annotated], names: Sequence[str] | None, where: Path) -> list[str]:
    """The class names in the order of their ids: as given, else alphabetical.

    Raises:
        DatasetError: there is no object; ConfigError: the names given lack one that is used, or hold one twice.
    """
    if names and len(set(names)) != len(names):
        raise ConfigError(f"names={list(names)} names a class twice")
    found = {str(c) for a in annotated for c, _ in a.objects}
    found |= {str(c) for a in annotated for c, _, _ in a.ignored if c is not None}
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


def _id(cls: str | int, ids: Mapping[str, int]) -> int:
    return cls if isinstance(cls, int) else ids[cls]


def _numbers(box: Box) -> str:
    """Ten significant digits: a pixel of a picture 10,000 wide keeps six decimals."""
    return " ".join(f"{v:.10g}" for v in box)


def _targets(listed: Sequence[Annotated], problems: list[str]) -> list[PurePosixPath | None]:
    """Where each image goes inside its split; None for those left out. Two images never share a label file, on any
    file system."""
    taken: set[str] = set()
    result: list[PurePosixPath | None] = []
    for a in listed:
        if a.image is None:
            result.append(None)
            continue
        # A folder called images below the split would take the place of the one whose twin is labels.
        parts = [p for p in PurePosixPath(a.name).parts if p not in ("images", ".")]
        assert parts, a.name
        assert not {"..", "/"} & set(parts), a.name
        target = PurePosixPath(*parts)
        assert target.suffix.lower() in IMAGE_SUFFIXES, target
        stem = target.with_suffix("")
        tries = [stem, stem.with_name(f"{stem.name}-{target.suffix[1:].lower()}")]
        number = 2
        while str(tries[0]).casefold() in taken:
            del tries[0]
            if not tries:
                tries, number = [stem.with_name(f"{stem.name}-{number}")], number + 1
        final = tries[0].with_name(tries[0].name + target.suffix)
        if final != target:
            problems.append(f"{a.image}: another image of its split has the name {stem}; it is written as {final}")
        taken.add(str(tries[0]).casefold())
        result.append(final)
    return result


def prepare_folder(
    kind: str,
    source: str | Path,
    out: str | Path,
    options: Mapping[str, Any],
    read: Callable[[Path, Path], Converted],
    wanted: Options,
) -> Path:
    """Prepare a folder or an archive of the user's own.

    Args:
        kind: of the data set; out: the folder to make; options: of the manifest, beside the source and the draw.
        read: is given the folder, or what the archive was unpacked to, and a folder it may write images into.

    Returns:
        The data set's YAML.

    Raises:
        UserError: what is wrong with the source, the options or OUT.
    """
    place, target = existing(source), user_path(out)
    options = {"source": str(place), **options, **wanted.drawn()}
    mark = fingerprint([place])
    done = prepared(target, kind, options, mark)
    if done is not None:
        return done
    packed = place.is_file() and is_archive(place)
    described = entry(place) if packed else {"name": place.name}

    def find(scratch: Path) -> Converted:
        return read(opened_folder(place, scratch), scratch)

    return make_dataset(target, kind, options, [described], find, wanted, [place], mark)
