"""Every image of a split and its labels, checked; what was found is remembered."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from ultralytics.cfg.paths import program
from ultralytics.data.cache.scan import NO_FILE, Entry, Regions, ScanCache, ScannedImage, digest_of, signature
from ultralytics.data.images import Unusable, judge_image, list_images
from ultralytics.data.instances import Instances
from ultralytics.data.kinds import KINDS, kind_of
from ultralytics.data.labels import (
    BOX_COLUMNS,
    FEWEST_POINTS,
    POSES_HINT,
    RowForm,
    areas_file,
    glued_rows,
    ignore_file,
    judge_areas,
    judge_ignored,
    judge_labels,
    label_file,
    pose_columns,
)
from ultralytics.data.labelset import FileNames, LabelSet
from ultralytics.data.places import misplaced_labels
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.images import read_image_file
from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.text import counted, one_line
from ultralytics.utils.threads import readers
from ultralytics.utils.types import BoolArray, Int64Array

SHOWN_PROBLEMS = 10


def scan(
    paths: Sequence[Path],
    nc: int,
    fraction: float = 1.0,
    desc: str = "",
    cache_dir: Path | None = None,
    yaml_file: Path | None = None,
    keypoints: int = 0,
    annotations: str = "boxes",
    numbers: int = 3,
) -> LabelSet:
    """Check every image (decoded in full) and label file of a split.

    An image that cannot be decoded, or whose label file is wrong, is left out and named with file and line. Duplicate
    rows and boxes without area are dropped. An image without a label file is a background. What was found is remembered
    in a hidden file beside the images' folder, or in `cache_dir` where that folder cannot be written: the next scan
    reads only what is new or changed.

    Args:
        nc: number of classes.
        fraction: part of the sorted images to use.
        yaml_file: where all problems can be seen.
        keypoints, annotations, numbers: see `parse_labels`.

    Raises:
        DatasetError: no images; a class id outside 0..nc−1 (file and line); nothing usable left; labels of another kind
            of dataset.
    """
    form = RowForm(keypoints, annotations, numbers)
    skipped, followed = list[str](), list[str]()
    files = list_images(paths, skipped, followed)
    files = files[: max(round(len(files) * fraction), 1)]
    memory = ScanCache(files, paths, fraction, cache_dir, form)
    entry = memory.load(_signatures(files))
    if entry is None:
        entry = _check_all(files, memory, desc, form)
        memory.keep(entry)
    _check_kind(files, entry, form)
    labels = _label_set(files, entry, memory.names)
    _check_classes(labels, nc, form)
    bare = [files[i] for i in np.flatnonzero((entry.signatures[:, 1] == 0).all(1))]
    misplaced = misplaced_labels({f: label_file(f) for f in bare}, len(files))
    advice = [*_advice(files, entry, form), *map(str, misplaced)]
    if skipped:
        several = f" and {len(skipped) - 1} more" if len(skipped) > 1 else ""
        advice.append(
            f"{skipped[0]}{several}: the link leads to a folder that is read already, or holds it; passed over"
        )
    if followed:
        several = f" and {len(followed) - 1} more" if len(followed) > 1 else ""
        leads = f"the link leads to {os.path.realpath(followed[0])}, outside of the folder of the split"
        advice.append(f"{followed[0]}{several}: {leads}; its images are taken")
    _report(desc, labels, advice, yaml_file, bool(misplaced))
    if not len(labels):
        more = f", and {len(labels.problems) - 1} more" if len(labels.problems) > 1 else ""
        raise DatasetError(
            f"none of the {len(files)} images can be used: {labels.problems[0]}{more}", ", ".join(map(str, paths))
        )
    return labels


def _check_classes(labels: LabelSet, nc: int, form: RowForm) -> None:
    wrong = np.flatnonzero(labels.cls >= nc)
    if len(wrong):
        image = labels.im_files[int(np.searchsorted(labels.offsets, wrong[0], side="right")) - 1]
        judged = judge_labels(label_file(image), *form)
        line = next((n for cls, n in zip(judged.rows[:, 0], judged.lines, strict=True) if cls >= nc), 0)
        raise DatasetError(
            f"class id {labels.cls[wrong[0]]:.0f} is out of range: the dataset has {counted(nc, 'class')}",
            f"{label_file(image)}:{line}",
            f"valid: {f'0 to {nc - 1}' if nc > 1 else '0 alone'}",
        )


def _check_kind(files: Sequence[str], entry: Entry, form: RowForm) -> None:
    """Refuse a split whose labels are of another kind than is read.

    Raises:
        DatasetError: one line that says which kind they are.
    """
    if form.annotations == "boxes":
        return
    refused = [i for i, what, _, _ in entry.problems if what == "label" and not entry.usable[i]]
    if not len(entry.rows) and refused:
        looked_at = [label_file(files[i]) for i in dict.fromkeys(refused)]
    elif form.annotations in FEWEST_POINTS and pose_columns(files, entry.offsets, entry.columns):
        looked_at = [label_file(files[i]) for i in np.flatnonzero(np.diff(entry.offsets)).tolist()]
    else:
        return
    kind = kind_of(looked_at)
    if kind in ("", form.annotations):
        return
    # Rows that are not usable as that kind either, in pixels for example, are reported by what is wrong in them.
    if kind != "keypoints" and not judge_labels(looked_at[0], annotations=kind).usable:
        return
    raise DatasetError(
        f"these labels are {KINDS[kind][0]}, and the task needs {KINDS[form.annotations][0]}",
        looked_at[0],
        KINDS[kind][1],
    )


def _advice(files: Sequence[str], entry: Entry, form: RowForm) -> Iterator[str]:
    """Name what training takes as it is, and may not be meant so; one line of a kind for the whole split."""

    def place(rows: BoolArray) -> str:
        """File and line of the first row, and how many there are."""
        first = int(rows.argmax())
        image = int(np.searchsorted(entry.offsets, first, side="right")) - 1
        lines = judge_labels(label_file(files[image]), *form).lines
        number = first - int(entry.offsets[image])
        line = f":{lines[number]}" if number < len(lines) else ""
        return f"{label_file(files[image])}{line}: {counted(int(rows.sum()), 'row')}"

    glued = glued_rows(entry.columns)
    if glued.any():
        shown = " or ".join(map(str, sorted({int(c) for c in entry.columns[glued]})[:3]))
        boxes = counted(int((entry.columns == BOX_COLUMNS).sum()), "box")
        yield f"{place(glued)} of {shown} columns among {boxes}: several rows in one line? Read as polygons"
    over = entry.over > 0
    if over.any():
        yield f"{place(over)} up to {entry.over.max():.1%} over the edge of the image: cut off there"
    pose = pose_columns(files, entry.offsets, entry.columns)
    if pose and form.annotations == "boxes":
        text = f"{place(entry.columns == pose)} of {pose} columns, whose first four numbers are a box around the others"
        yield f"{text}: {POSES_HINT}"
    again = _linked_again(files, entry.signatures[:, 0])
    if again:
        copy, first = again[0]
        yield f"{copy}: {counted(len(again), 'image')} more than once in the split by links, this one is {first}"


def _linked_again(files: Sequence[str], signatures: Int64Array) -> list[tuple[str, str]]:
    """Find images that are one file with an earlier one of the split (by links to files or folders, hard links too),
    and that one. Only files of one size and the same times, which links share, are looked at on the disk.

    Args:
        signatures: (n, 3), see `signature`.
    """
    _, group, counts = np.unique(signatures, axis=0, return_inverse=True, return_counts=True)
    first: dict[tuple[int, int], str] = {}
    found: list[tuple[str, str]] = []
    # A file's own name comes before the links to it.
    alike = [files[i] for i in np.flatnonzero((counts[group.ravel()] > 1) & signatures.any(1)).tolist()]
    for file in sorted(alike, key=os.path.islink):
        with contextlib.suppress(OSError):
            stat = os.stat(file)
            earlier = first.setdefault((stat.st_dev, stat.st_ino), file)
            if earlier != file:
                found.append((file, earlier))
    return found


def _signatures(files: Sequence[str]) -> Int64Array:
    """Return (n, 4, 3) size and times of change of every image and its label, ignore and areas files; zeros where there
    is none."""
    beside: dict[str, list[str]] = {}  # folder of images → its folders of the other files, "" where missing
    found: list[int] = []
    for file in files:
        folder, _, name = file.rpartition(os.sep)
        if folder not in beside:
            paths = (path(f"{folder}{os.sep}x.jpg") for path in (label_file, ignore_file, areas_file))
            places = [os.path.dirname(p) if p else "" for p in paths]
            beside[folder] = [p + os.sep if os.path.isdir(p) else "" for p in places]
        stem = os.path.splitext(name)[0]  # a list may name a file without suffix
        found += signature(file)
        for place in beside[folder]:
            found += signature(f"{place}{stem}.txt") if place else NO_FILE
    return np.array(found, np.int64).reshape(-1, 4, 3)


def _check_all(files: Sequence[str], memory: ScanCache, desc: str, form: RowForm) -> Entry:
    """Check what the memory does not know, with all cores: decoding releases the interpreter's lock."""
    with ThreadPoolExecutor(max_workers=readers()) as pool:
        check = partial(_check_image, form=form)
        results = pool.map(lambda i: memory.recall(i) or check(files[i], memory.known(i)), range(len(files)))
        return Entry.join(list(progress(results, total=len(files), desc=f"{desc}Checking images")), form)


def check_pixels(seen: ScannedImage, image: str, known: ScannedImage | None) -> bool:
    """Take digest and shape of an image, or what is wrong with it; return True if it can be used."""
    try:
        data = read_image_file(image)
    except OSError as e:
        seen.problems.append(("image", 0, f"cannot be read: {e.strerror or e}"))
        return False
    seen.content = digest_of(data)
    if known is not None and known.content == seen.content and known.shape != (0, 0):
        seen.shape = known.shape
    else:
        judged = judge_image(data)
        if isinstance(judged, Unusable):
            seen.problems.append(("image", 0, judged.what))
            return False
        seen.shape = judged.shape[0], judged.shape[1]
    return True


def _check_image(image: str, known: ScannedImage | None, form: RowForm) -> ScannedImage:
    """Check an image and its labels. One whose content an earlier run has decoded is not decoded again."""
    files = image, label_file(image), ignore_file(image), areas_file(image)
    seen = ScannedImage(signatures=tuple(map(signature, files)))
    if not check_pixels(seen, image, known):
        return seen
    labels, ignored = judge_labels(label_file(image), *form), judge_ignored(ignore_file(image))
    fatal = next((p for p in labels.problems if p.fatal), None)
    seen.problems += [("label", p.line, p.what) for p in ([fatal] if fatal else labels.problems)]
    seen.problems += [("ignore", p.line, p.what) for p in ignored.problems]
    seen.usable = labels.usable
    if seen.usable:
        seen.rows, seen.columns, seen.over = labels.rows.astype(np.float32), labels.columns, labels.over
        seen.segments = None if labels.segments is None else labels.segments.single()
        seen.keypoints = None if labels.keypoints is None else labels.keypoints.astype(np.float32)
    outlines = ignored.segments if form.annotations == "polygons" else None
    seen.ignored = Regions(ignored.rows.astype(np.float32), None if outlines is None else outlines.single())
    if seen.usable:
        seen.areas, problems = judge_areas(areas_file(image), labels)
        seen.problems += [("areas", p.line, p.what) for p in problems]
    return seen


def _label_set(files: Sequence[str], entry: Entry, names: str) -> LabelSet:
    """Return what was found, in absolute paths, without the images that cannot be used."""
    paths = {"image": lambda f: f, "label": label_file, "ignore": ignore_file, "areas": areas_file}
    problems = []
    for i, what, line, text in entry.problems:
        problems.append(f"{paths[what](files[i])}{f':{line}' if line else ''}: {text}")
    labels = LabelSet(
        FileNames(files),
        entry.shapes,
        entry.offsets,
        Instances(
            np.ascontiguousarray(entry.rows[:, 0]),
            np.ascontiguousarray(entry.rows[:, 1:]),
            entry.marks.segments,
            entry.marks.keypoints if entry.marks.keypoints.shape[1] else None,
        ),
        entry.ignore_offsets,
        entry.ignored,
        entry.contents,
        entry.digest(names),
        problems,
        int((~entry.usable).sum()),
        entry.marks.areas if len(entry.marks.areas) else None,
        entry.marks.regions,
    )
    return labels if entry.usable.all() else labels.take(np.flatnonzero(entry.usable))


def _report(
    desc: str, labels: LabelSet, advice: Sequence[str], yaml_file: Path | None, misplaced: bool = False
) -> None:
    backgrounds = int((np.diff(labels.offsets) == 0).sum())
    LOGGER.info(
        "%s%s, %d without boxes, %d left out", desc, counted(len(labels), "image"), backgrounds, labels.left_out
    )
    if len(labels) and backgrounds == len(labels) and not misplaced:  # then the advice says where they lie
        LOGGER.warning("  no image has a box: is there a labels folder beside the images folder?")
    for line in advice:
        LOGGER.warning("  %s", one_line(line))
    for problem in labels.problems[:SHOWN_PROBLEMS]:
        LOGGER.warning("  %s", one_line(problem))
    if len(labels.problems) > SHOWN_PROBLEMS:
        command = program("check-data", f"data={yaml_file}") if yaml_file else ""
        more = len(labels.problems) - SHOWN_PROBLEMS
        LOGGER.warning("  … and %d more%s", more, f"; all of them: {command}" if command else "")
