"""The images of class folders, checked; what was found is remembered as a scan of boxes is."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ultralytics.data.cache.scan import NO_FILE, Entry, ScanCache, ScannedImage, signature
from ultralytics.data.class_images import list_classes
from ultralytics.data.instances import Instances
from ultralytics.data.kinds import KINDS, kind_of
from ultralytics.data.labels import label_file
from ultralytics.data.labelset import FileNames, LabelSet
from ultralytics.data.scan import check_pixels
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.text import counted, one_line
from ultralytics.utils.threads import readers

SHOWN_PROBLEMS = 10
SHOWN_CLASSES = 5  # in a line


def scan_classes(
    paths: Sequence[Path],
    names: Mapping[int, str],
    fraction: float = 1.0,
    desc: str = "",
    cache_dir: Path | None = None,
) -> LabelSet:
    """Check every image (decoded in full) of a split's class folders.

    A folder's class is that of its name in `names`, whatever other folders the split has. Images that cannot be decoded
    are left out and named, and so are folders that no class is called like.

    Args:
        paths: folders of class folders.
        names: class names by id: those of the training split.
        fraction: part of each class's images, by name, to use; at least one.
        desc: put before messages.
        cache_dir: folder for what the scan remembers where that of the data cannot be written to.

    Returns:
        A LabelSet in which each image has one object, of its class and as large as it.

    Raises:
        DatasetError: there are no images, or none that can be used.
    """
    found, odd = list_classes(paths, names)
    advice = list(map(str, odd))
    kept = [(f, c) for c, files in found.items() for f in files[: max(round(len(files) * fraction), 1)]]
    kept.sort()
    files, classes = [f for f, _ in kept], np.array([c for _, c in kept], np.float32)
    where = ", ".join(map(str, paths))
    if not files:
        kind = kind_of([label_file(o.place) for o in odd])
        hint = f"its images have labels, {KINDS[kind][0]}: {KINDS[kind][1]}" if kind else "".join(advice[:1])
        raise DatasetError("the class folders hold no images", where, hint)
    memory = ScanCache(files, paths, fraction, cache_dir)
    now = np.zeros((len(files), 4, 3), np.int64)
    now[:, 0] = [signature(f) for f in files]
    entry = memory.load(now)
    if entry is None:
        with ThreadPoolExecutor(max_workers=readers()) as pool:
            results = pool.map(lambda i: memory.recall(i) or _check_image(files[i], memory.known(i)), range(len(files)))
            entry = Entry.join(list(progress(results, total=len(files), desc=f"{desc}Checking images")))
        memory.keep(entry)
    labels = _label_set(files, classes, names, entry, memory.names)
    if not len(labels):
        raise _none_usable(labels, len(files), where)
    _report_classes(desc, labels, names, advice)
    return labels


def first_usable(images: Iterable[tuple[str, int]], n: int, names: Mapping[int, str]) -> LabelSet:
    """Check images, with their classes, one after another until `n` can be used, and return these; nothing of it is
    remembered.

    Raises:
        DatasetError: none can be used.
    """
    files, classes, seen = list[str](), list[int](), list[ScannedImage]()
    for file, number in images:
        if sum(s.usable for s in seen) == n:
            break
        files.append(file)
        classes.append(number)
        seen.append(_check_image(file, None))
    if not files:
        raise DatasetError("the class folders hold no images")
    labels = _label_set(files, np.array(classes, np.float32), names, Entry.join(seen), "")
    if not len(labels):
        raise _none_usable(labels, len(files), os.path.dirname(files[0]))
    return labels


def _none_usable(labels: LabelSet, count: int, where: str) -> DatasetError:
    more = f", and {len(labels.problems) - 1} more" if len(labels.problems) > 1 else ""
    return DatasetError(f"none of the {count} images can be used: {labels.problems[0]}{more}", where)


def _check_image(image: str, known: ScannedImage | None) -> ScannedImage:
    """Check an image. One whose content an earlier run has decoded is not decoded again."""
    seen = ScannedImage(signatures=(signature(image), NO_FILE, NO_FILE, NO_FILE))
    seen.usable = check_pixels(seen, image, known)
    return seen


def _label_set(
    files: Sequence[str], classes: np.typing.NDArray[np.float32], names: Mapping[int, str], entry: Entry, listed: str
) -> LabelSet:
    """Return what was found without the images that cannot be used."""
    n = len(files)
    whole = np.tile(np.array([0.5, 0.5, 1, 1], np.float32), (n, 1))
    state = hashlib.sha256(entry.digest(listed).encode() + json.dumps(list(names.values())).encode())
    state.update(classes.tobytes())
    labels = LabelSet(
        FileNames(files),
        entry.shapes,
        np.arange(n + 1),
        Instances(classes, whole),
        np.zeros(n + 1, np.int64),
        np.zeros((0, 6), np.float32),
        entry.contents,
        state.hexdigest(),
        [f"{files[i]}: {text}" for i, _, _, text in entry.problems],
        int((~entry.usable).sum()),
    )
    return labels if entry.usable.all() else labels.take(np.flatnonzero(entry.usable))


def _report_classes(desc: str, labels: LabelSet, names: Mapping[int, str], advice: Sequence[str]) -> None:
    counts = np.bincount(labels.cls.astype(int), minlength=len(names))
    text = "%s%s of %s, %d left out"
    LOGGER.info(text, desc, counted(len(labels), "image"), counted(int((counts > 0).sum()), "class"), labels.left_out)
    for line in [*_empty_classes(counts, names), *advice]:
        LOGGER.warning("  %s", one_line(line))
    for problem in labels.problems[:SHOWN_PROBLEMS]:
        LOGGER.warning("  %s", one_line(problem))
    if len(labels.problems) > SHOWN_PROBLEMS:
        LOGGER.warning("  … and %d more", len(labels.problems) - SHOWN_PROBLEMS)


def _empty_classes(counts: np.typing.NDArray[np.int_], names: Mapping[int, str]) -> Iterator[str]:
    empty = [name for i, name in names.items() if not counts[i]]
    if empty:
        more = f" and {len(empty) - SHOWN_CLASSES} more" if len(empty) > SHOWN_CLASSES else ""
        yield f"{counted(len(empty), 'class')} without images here: {', '.join(empty[:SHOWN_CLASSES])}{more}"
