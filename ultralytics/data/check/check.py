"""A whole data set looked at before it costs a night: what would break a training, what would spoil its result."""

from __future__ import annotations

import json
import os
import re
import time
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ultralytics.cfg.config import check_switches
from ultralytics.cfg.dataset import DatasetSpec, load_dataset
from ultralytics.data.check.duplicates import near_groups
from ultralytics.data.check.examine import ERROR, NOTE, WARNING, Finding, Record, corner_rows, examine
from ultralytics.data.images import MAX_LIST_BYTES, list_images
from ultralytics.data.labels import (
    BOX_COLUMNS,
    POSES_HINT,
    areas_file,
    glued_rows,
    ignore_file,
    judge_labels,
    label_file,
    pose_columns,
)
from ultralytics.data.places import misplaced_labels
from ultralytics.utils.errors import ConfigError, DatasetError
from ultralytics.utils.files import read_bytes, read_text, walk_files, write_atomically
from ultralytics.utils.images import IMAGE_SUFFIXES
from ultralytics.utils.log import progress
from ultralytics.utils.text import counted, escaped, likely_slips
from ultralytics.utils.types import Float64Array, Int64Array

SHOWN = 5  # findings of a kind on the console
NAMED = 4  # files named in one finding
ALL_CORNERS = 0.95  # part of a split's rows that read well as corners where all are meant so
ANY_ID = 2**31  # classes where the YAML does not say how many
SMALL, MEDIUM = 32**2, 96**2  # pixels²: COCO's bounds of small, medium and large boxes
# Pictures, but none that training looks for.
OTHER_PICTURES = frozenset(
    (".avif", ".dng", ".exr", ".gif", ".hdr", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".npy", ".pgm", ".ppm", ".psd")
) - IMAGE_SUFFIXES  # fmt: skip

# Every kind of finding, in the order of the report within a severity, and what it means.
KINDS = {
    "split-corners": "labels of a split that are corners, not centre and size",
    "leak-file": "pictures in two splits: what training has seen is no test",
    "leak-bytes": "copies in two splits: what training has seen is no test",
    "leak-pixels": "the same picture, stored differently, in two splits",
    "leak-near": "nearly the same picture in two splits",
    "yaml": "the data set's YAML",
    "names": "class names",
    "split-missing": "a split that is not there",
    "split-empty": "a split without images",
    "split-unusable": "a split of which nothing can be used",
    "folder-unreadable": "folders that cannot be read",
    "picture-missing": "pictures listed, but not there",
    "picture-link": "links that lead nowhere",
    "folder-link": "links to folders that are not followed",
    "picture-unreadable": "pictures that cannot be read",
    "picture-empty": "empty files",
    "picture-undecodable": "pictures that cannot be decoded",
    "picture-float": "pictures of floats",
    "picture-truncated": "pictures that are cut off",
    "picture-small": "pictures too small",
    "picture-huge": "pictures too large to decode",
    "label-unreadable": "label files that cannot be read",
    "label-text": "label files that are no UTF-8 text",
    "label-class-range": "class ids the data set does not have: training stops",
    "label-class": "class ids that are none",
    "label-number": "words that are no numbers",
    "label-columns": "rows with a wrong number of columns",
    "label-coordinate": "coordinates outside 0..1",
    "label-area": "boxes without area",
    "label-duplicate": "rows written twice",
    "label-link": "label links that lead nowhere",
    "label-glued": "rows that look like several in one line",
    "label-poses": "rows that look like poses",
    "label-misplaced": "label files that lie where they are not read",
    "label-corners": "rows that look like corners",
    "label-name": "label files whose name differs from the image's by case or Unicode form",
    "label-orphan": "label files without image",
    "split-no-boxes": "a split without boxes",
    "class-absent": "classes that a split lacks",
    "duplicate-labels": "one picture with different labels",
    "duplicate-bytes": "copies within a split",
    "duplicate-pixels": "the same picture, stored differently, within a split",
    "duplicate-near": "nearly the same picture within a split",
    "listed-twice": "pictures listed twice",
    "name-shared-label": "pictures that share a label file",
    "name-collision": "names that differ only by case or Unicode form",
    "box-outside": "boxes that reach over the edge",
    "box-cut": "rows that are cut off at the edge",
    "box-near-duplicate": "boxes of one class that nearly coincide",
    "picture-large": "very large pictures",
    "ignore-unreadable": "ignore files that cannot be read",
    "ignore-text": "ignore files that are no UTF-8 text",
    "ignore-number": "ignore rows: words that are no numbers",
    "ignore-class": "ignore rows: class ids that are none",
    "ignore-columns": "ignore rows with a wrong number of columns",
    "ignore-coordinate": "ignore rows: coordinates outside 0..1",
    "ignore-area": "ignore rows without area",
    "ignore-duplicate": "ignore rows written twice",
    "ignore-link": "ignore links that lead nowhere",
    "ignore-orphan": "ignore files without image",
    "areas-unreadable": "files of areas that cannot be read",
    "areas-text": "files of areas that are no UTF-8 text",
    "areas-number": "areas that are no number above 0",
    "areas-columns": "files of areas that do not fit their labels",
    "areas-link": "links to areas that lead nowhere",
    "areas-orphan": "files of areas without image",
    "class-unused": "classes without a box",
    "unlabelled": "images without a label file: backgrounds",
    "label-unlisted": "label files of images that no split lists",
    "ignore-unlisted": "ignore files of images that no split lists",
    "areas-unlisted": "files of areas of images that no split lists",
    "label-mixed": "polygons and boxes in one file",
    "box-tiny": "boxes that are hardly seen",
    "box-whole": "boxes that cover the whole image",
    "picture-suffix": "names that contradict the content",
    "picture-channels": "pictures that are no 8-bit colour",
    "picture-exif": "pictures turned by EXIF",
    "picture-frames": "several pictures in one file",
    "picture-aspect": "very long pictures",
    "files-ignored": "files that are not read",
}
_ORDER = {kind: i for i, kind in enumerate(KINDS)}
_SEVERITIES = (ERROR, WARNING, NOTE)


@dataclass
class Report:
    """What a check found.

    Attributes:
        findings: errors, warnings (leakage first), notes; by kind and file within.
        splits: split → counts; classes: name → split → boxes and images; groups: pictures that are the same or nearly.
        sizes: of images and boxes; timing: of reading.
        boxes: split → (M, 5) class, and of each box x, y, width, height, native pixels; per_image: split → (n,) boxes;
        shapes: split → (n, 2) height and width. They are drawn, and not part of the JSON.
    """

    yaml_file: str
    names: dict[int, str]
    findings: list[Finding] = field(default_factory=list)
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)
    classes: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    groups: list[dict[str, Any]] = field(default_factory=list)
    sizes: dict[str, Any] = field(default_factory=dict)
    timing: dict[str, Any] = field(default_factory=dict)
    boxes: dict[str, Float64Array] = field(default_factory=dict)
    per_image: dict[str, Int64Array] = field(default_factory=dict)
    shapes: dict[str, Int64Array] = field(default_factory=dict)

    def count(self, severity: str) -> int:
        """Findings of a severity."""
        return sum(f.severity == severity for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "format": 1,
            "data": self.yaml_file,
            "names": list(self.names.values()),
            "counts": {s: self.count(s) for s in _SEVERITIES},
            "kinds": dict(Counter(f.kind for f in self.findings)),
            "findings": [
                {"severity": f.severity, "kind": f.kind, "file": f.path, "line": f.line, "what": f.what}
                for f in self.findings
            ],
            "duplicates": self.groups,
            "splits": self.splits,
            "classes": self.classes,
            "sizes": self.sizes,
            "timing": self.timing,
        }

    def write(self, out: Path) -> None:
        """report.json and report.txt, with every finding, in a folder.

        Raises:
            UserError: they cannot be written.
        """
        text = "\n".join([*self.lines(shown=None), ""])
        write_atomically(out / "report.json", lambda f: f.write(json.dumps(self.to_dict(), indent=1).encode()), "out")
        write_atomically(out / "report.txt", lambda f: f.write(text.encode()), "out")

    def lines(self, shown: int | None = SHOWN, more: str = "") -> list[str]:
        """The report as text.

        Args:
            shown: findings per kind, None for all; more: where the others are.
        """
        lines = [f"data set {_short(self.yaml_file)}: {counted(len(self.names), 'class')}"]
        for split, s in self.splits.items():
            usable = f"{s['usable']} usable"
            if s["stops"]:
                usable = f"but training stops at {counted(s['stops'], 'class id')} out of range; else {usable}"
            lines.append(
                f"  {split:6} {counted(s['images'], 'image')}, {usable}, {s['backgrounds']} of them without boxes; "
                f"{counted(s['boxes'], 'box')}" + (f", {s['ignored']} ignored" if s["ignored"] else "")
            )
        groups: dict[tuple[str, str], list[Finding]] = defaultdict(list)
        for f in self.findings:
            groups[f.severity, f.kind].append(f)
        for (severity, kind), found in groups.items():
            lines += ["", f"{severity:7} {kind} ({len(found)}): {KINDS[kind]}"]
            rest = found if shown is None else found[:shown]
            lines += [f"    {f._replace(path=_short(f.path))}" for f in rest]
            if len(found) > len(rest):
                lines.append(f"    … and {len(found) - len(rest)} more" + (f" in {more}" if more else ""))
        lines += ["", *self._statistics()]
        counts = ", ".join(f"{self.count(s)} {s}{'' if self.count(s) == 1 else 's'}" for s in _SEVERITIES)
        return [escaped(line) for line in (*lines, "", counts)]

    def _statistics(self) -> Iterator[str]:
        width = max([len(n) for n in self.names.values()] + [5])
        if self.splits and len(self.names) <= 100:
            yield f"{'class':{width}} " + " ".join(f"{f'{s}: boxes (images)':>22}" for s in self.splits)
            for name, per in self.classes.items():
                cells = (f"{c['boxes']} ({c['images']})" for c in per.values())
                yield f"{name:{width}} " + " ".join(f"{c:>22}" for c in cells)
        if self.sizes.get("boxes"):
            s = self.sizes
            yield (
                f"boxes at native size: {s['small']} small (under 32² pixels), {s['medium']} medium, "
                f"{s['large']} large (96² or more); "
                f"width : height from {s['aspect'][0]:.2f} to {s['aspect'][-1]:.2f} (5 to 95 %)"
            )
        if self.sizes.get("images"):
            common = ", ".join(f"{w}x{h} ({n})" for w, h, n in self.sizes["images"][:3])
            yield f"image sizes (width x height): {common}" + (
                f" and {counted(self.sizes['different'] - 3, 'other')}" if self.sizes["different"] > 3 else ""
            )
        t = self.timing
        if t.get("images"):
            yield (
                f"read {counted(t['images'], 'image')} in {t['seconds']:.1f} s with {counted(t['threads'], 'thread')}: "
                f"{t['images_per_second']:.0f} images/s, {t['megabytes_per_second']:.0f} MB/s; "
                f"decoding takes {t['decode_ms']:.1f} ms an image, "
                f"so a loader gives at most {t['ceiling']:.0f} images/s here without a cache"
            )


def check_data(data: str | Path, splits: Sequence[str] | None = None, near: bool = True) -> Report:
    """Read a whole data set and report on it.

    Args:
        data: its YAML; splits: those to read, all when None; near: look for near-duplicates as well.

    Raises:
        MissingFileError: no such YAML; ConfigError: it has no such split.
    """
    check_switches({"near": near})
    problems: list[DatasetError] = []
    try:
        spec = load_dataset(data, problems, needs=splits or ("train", "val"))
    except DatasetError as e:
        place = re.fullmatch(r"(.*)(?::|, line )(\d+)", e.where, re.DOTALL)
        found = (place[1], int(place[2])) if place else (e.where, 0)
        return Report(found[0], {}, [Finding(ERROR, "yaml", *found, _told(e))])
    report = Report(str(spec.yaml_file), spec.names)
    text = read_text(spec.yaml_file, DatasetError)
    for problem in problems:
        key = next((k for k in ("train", "val", "names", "nc") if re.search(rf"\b{k}\b", problem.what)), "")
        report.findings.append(Finding(ERROR, "yaml", str(spec.yaml_file), _line(text, key), _told(problem)))
    report.findings += _names(spec, text)
    unknown = [s for s in splits or () if s not in spec.splits]
    if unknown:
        raise ConfigError(f"split={unknown[0]} is not in {spec.yaml_file}", hint=f"it has {', '.join(spec.splits)}")
    listed = {split: _list(spec, split, text, report.findings) for split in spec.splits}
    chosen = [s for s in spec.splits if not splits or s in splits]
    report.findings += _leaks_of_files(spec, {s: listed[s] for s in chosen}, text)
    records = _read({s: list(listed[s].files) for s in chosen}, spec, near, report)
    report.findings += _structure(spec, chosen, listed)
    _collect(report, listed, records, chosen)
    report.findings += _findings_on_classes(report, spec, text)
    report.findings += _duplicates(report, listed, records, chosen, near)
    report.findings = sorted(
        dict.fromkeys(report.findings),
        key=lambda f: (
            _SEVERITIES.index(f.severity),
            _ORDER[f.kind],
            f.path,
            f.line,
            f.what,
        ),
    )
    return report


def check_place(out: Path, overwrite: bool = False) -> None:
    """A report may be written into a folder: it is not there, empty, or holds a former report.

    Raises:
        ConfigError: it is none of these, and `overwrite` does not say that files in it may be replaced.
    """
    check_switches({"overwrite": overwrite})
    if out.exists() and not out.is_dir():
        raise ConfigError("it is a file, and a report is a folder", str(out), "choose another out=")
    try:
        if overwrite or not out.is_dir() or not any(out.iterdir()):
            return
        report = json.loads(read_bytes(out / "report.json"))
    except PermissionError as e:
        raise ConfigError(f"it cannot be read: {e.strerror}", str(e.filename or out), "choose another out=") from None
    except (OSError, ValueError, RecursionError):
        report = None
    if not isinstance(report, dict) or not {"format", "data", "findings", "splits"} <= report.keys():
        raise ConfigError("it holds something else than a report", str(out), "give another out=, or overwrite=True")


def _told(e: DatasetError) -> str:
    return e.what + (f" ({e.hint})" if e.hint else "")


def _short(path: str) -> str:
    """A path as it is typed from here: relative when it lies below the working folder."""
    here = os.getcwd() + os.sep
    return path[len(here) :] if path.startswith(here) else path


def _line(text: str, key: str) -> int:
    """The line of a key at the left margin of a YAML, else of any key so called, else 0."""
    for pattern in (rf"{key}\s*:", rf".*\b{key}['\"]?\s*:"):
        for number, line in enumerate(text.splitlines(), 1):
            if key and re.match(pattern, line):
                return number
    return 0


def _names(spec: DatasetSpec, text: str) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for i, name in spec.names.items():
        if name in seen:
            what = f"classes {seen[name]} and {i} are both called {name!r}"
            yield Finding(WARNING, "names", str(spec.yaml_file), _line(text, "names"), what)
        seen.setdefault(name, i)


@dataclass
class _Listed:
    """Images of a split, each once, and the line of the .txt list that names it."""

    files: dict[str, tuple[str, int] | None] = field(default_factory=dict)
    real: dict[str, str] = field(default_factory=dict)  # image → where its links lead


def _list(spec: DatasetSpec, split: str, text: str, findings: list[Finding]) -> _Listed:
    """The images of a split, as training finds them; everything odd about the listing is added to the findings."""
    where, line = str(spec.yaml_file), _line(text, split)
    try:
        spec.split(split)
    except DatasetError as e:
        findings.append(Finding(ERROR if split != "test" else WARNING, "split-missing", where, line, _told(e)))
    listed = _Listed()
    there = [p for p in spec.splits[split] if os.path.exists(p)]
    for path in there:
        skipped: list[str] = []
        try:
            files = list_images([path], skipped)
        except DatasetError as e:
            severity = ERROR if len(there) == 1 else WARNING  # other folders may have some
            findings.append(Finding(severity, "split-empty", str(path), 0, f"{split}: {_told(e)}"))
            continue
        for link in skipped:
            what = f"the link leads to {_short(os.path.realpath(link))}, which is read already or holds the link"
            findings.append(Finding(WARNING, "folder-link", link, 0, f"{what}; it is not followed"))
        lines = _list_lines(path, findings) if path.suffix.lower() == ".txt" and path.is_file() else {}
        for file in files:
            if file in listed.files:
                findings.append(Finding(WARNING, "listed-twice", file, 0, f"two entries of {split} hold it"))
            listed.files.setdefault(file, (str(path), lines[file]) if file in lines else None)
        if path.is_dir():
            findings += _other_files(path)
    first: dict[str, str] = {}
    for file in listed.files:
        real = listed.real[file] = os.path.realpath(file)
        if real in first:
            what = f"by a link it is the same file as {_short(first[real])}"
            findings.append(Finding(WARNING, "listed-twice", file, 0, what))
        first.setdefault(real, file)
    return listed


def _list_lines(path: Path, findings: list[Finding]) -> dict[str, int]:
    """Image → its line in a .txt list."""
    lines: dict[str, int] = {}
    for number, line in enumerate(read_text(path, DatasetError, MAX_LIST_BYTES).splitlines(), 1):
        if not line.strip():
            continue
        file = os.path.normpath(path.parent / line.strip())
        if file in lines:
            what = f"{line.strip()} is listed in line {lines[file]} already; it counts once"
            findings.append(Finding(WARNING, "listed-twice", str(path), number, what))
        lines.setdefault(file, number)
    return lines


def _other_files(folder: Path) -> Iterator[Finding]:
    """Folders that cannot be read, and pictures of kinds that training does not look for."""
    closed: list[OSError] = []
    other: dict[str, list[str]] = defaultdict(list)
    for where, files in walk_files(folder, closed.append):
        for file in files:
            suffix = os.path.splitext(file)[1].lower()
            if suffix in OTHER_PICTURES:
                other[suffix].append(os.path.join(where, file))
    for e in closed:
        yield Finding(ERROR, "folder-unreadable", str(e.filename), 0, f"it cannot be read: {e.strerror}")
    for suffix, files in other.items():
        yield Finding(NOTE, "files-ignored", min(files), 0, f"training does not look for {suffix} files: {len(files)}")


def _leaks_of_files(spec: DatasetSpec, listed: Mapping[str, _Listed], text: str) -> Iterator[Finding]:
    """Files that belong to two splits."""
    for a, b in combinations(listed, 2):
        of_a = {real: file for file, real in listed[a].real.items()}
        of_b = {real: file for file, real in listed[b].real.items()}
        both = sorted(of_a.keys() & of_b.keys())
        if both and len(both) == min(len(of_a), len(of_b)):
            small, large = (a, b) if len(of_a) < len(of_b) else (b, a)
            what = f"all {len(both)} images of {small} are images of {large} too"
            yield Finding(WARNING, "leak-file", str(spec.yaml_file), _line(text, small), what)
            continue
        for real in both:
            same = "" if of_a[real] == of_b[real] else f" there as {_short(of_b[real])}"
            yield Finding(WARNING, "leak-file", of_a[real], 0, f"it is in {a}, and{same} in {b}")


def _read(files: Mapping[str, list[str]], spec: DatasetSpec, near: bool, report: Report) -> dict[str, Record]:
    """Examine every image once. Decoding and hashing release the interpreter's lock, so threads use all cores."""
    nc = spec.label_nc or ANY_ID
    every = list(dict.fromkeys(f for split in files.values() for f in split))
    threads = min(os.cpu_count() or 1, 32)
    began = time.perf_counter()
    with ThreadPoolExecutor(max_workers=threads) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a damaged header says is told by the findings
        found = pool.map(lambda file: examine(file, nc, near, spec.keypoints), every)
        records = list(progress(found, total=len(every), desc="Reading images"))
    seconds = max(time.perf_counter() - began, 1e-9)
    decoded = [r.seconds for r in records if r.shape]
    mean, size = float(np.mean(decoded)) if decoded else 0.0, sum(r.size for r in records)
    report.timing = {
        "images": len(records),
        "bytes": size,
        "seconds": seconds,
        "threads": threads,
        "images_per_second": len(records) / seconds,
        "megabytes_per_second": size / seconds / 1e6,
        "decode_ms": mean * 1e3,
        "ceiling": threads / mean if mean else 0.0,
    }
    return {r.path: r for r in records}


def _form(path: str) -> str:
    """What names have in common that differ only by case or Unicode normalisation."""
    return unicodedata.normalize("NFC", path).casefold()


def _structure(spec: DatasetSpec, chosen: Sequence[str], listed: Mapping[str, _Listed]) -> Iterator[Finding]:
    """Names that stand in each other's way; labels without image."""
    for split in chosen:
        yield from _collisions(listed[split].files)
    images = list(dict.fromkeys(f for one in listed.values() for f in one.files))
    yield from _without_image(spec, chosen, listed, images, "label", label_file)
    yield from _without_image(spec, chosen, listed, images, "ignore", ignore_file)
    yield from _without_image(spec, chosen, listed, images, "areas", areas_file)


def _collisions(files: Iterable[str]) -> Iterator[Finding]:
    """Names of one split that differ too little, or share a label file."""
    forms: dict[str, str] = {}
    labels: dict[str, str] = {}
    for file in files:
        other = forms.setdefault(_form(file), file)
        if other != file:
            what = f"its name differs only by case or Unicode form from {os.path.basename(other)}"
            yield Finding(WARNING, "name-collision", file, 0, what)
        label = label_file(file)
        other = labels.setdefault(label, file)
        if other != file:
            what = f"it shares its label file {_short(label)} with {os.path.basename(other)}"
            yield Finding(WARNING, "name-shared-label", file, 0, what)


def _without_image(
    spec: DatasetSpec,
    chosen: Sequence[str],
    listed: Mapping[str, _Listed],
    images: Sequence[str],
    kind: str,
    other_file: Callable[[str], str | None],
) -> Iterator[Finding]:
    """Label or ignore files that belong to no image of any split."""
    expected = {o: f for f in images if (o := other_file(f)) is not None}
    by_form = {_form(o): o for o in expected}
    own = {str(p) for paths in spec.splits.values() for p in paths}
    folders = {os.path.dirname(f) for f in images}
    places: dict[str, set[str]] = defaultdict(set)  # folder of labels → of images
    for o, f in expected.items():
        places[os.path.dirname(o)].add(os.path.dirname(f))
    stems = {p: {os.path.splitext(i)[0] for folder in f for i in _images_in(folder)} for p, f in places.items()}
    for split in chosen:
        unlisted = []
        for file in sorted(_text_files(spec.splits[split], listed[split].files, other_file) - own):
            folder, name = os.path.split(file)
            if file in expected or name == "classes.txt":
                continue
            meant = by_form.get(_form(file))
            if meant and not os.path.lexists(meant):
                what = f"it is not read: {os.path.basename(expected[meant])} needs {os.path.basename(meant)}"
                yield Finding(WARNING, "label-name", file, 0, what)
            elif os.path.splitext(name)[0] in stems.get(folder, ()):
                unlisted.append(file)
            elif kind != "label" or folder not in folders:
                yield Finding(WARNING, f"{kind}-orphan", file, 0, "there is no image of this name")
            elif _is_label(file):  # beside the images there are texts of other kinds
                yield Finding(WARNING, "label-orphan", file, 0, "there is no image of this name")
        if unlisted:
            what = f"no split lists the image: {len(unlisted)} such files"
            yield Finding(NOTE, f"{kind}-unlisted", unlisted[0], 0, what)


def _images_in(folder: str) -> list[str]:
    try:
        return [n for n in os.listdir(folder) if os.path.splitext(n)[1].lower() in IMAGE_SUFFIXES]
    except OSError:  # a folder that only a list names
        return []


def _text_files(paths: Iterable[Path], files: Iterable[str], other_file: Callable[[str], str | None]) -> set[str]:
    """All .txt files in the folders where a split's labels lie."""
    found: set[str] = set()
    for path in paths:
        inside = other_file(str(path / "x.jpg"))
        if os.path.isdir(path) and inside is not None:
            for folder, names in walk_files(os.path.dirname(inside)):
                found.update(os.path.join(folder, n) for n in names if n.endswith(".txt"))
    for folder in {os.path.dirname(o) for f in files if (o := other_file(f)) is not None}:
        if os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK):
            found.update(os.path.join(folder, n) for n in os.listdir(folder) if n.endswith(".txt"))
    return found


def _is_label(path: str) -> bool:
    judged = judge_labels(path)
    return len(judged.rows) > 0 and judged.usable


def _collect(
    report: Report, listed: Mapping[str, _Listed], records: Mapping[str, Record], chosen: Sequence[str]
) -> None:
    """Findings of the records, counts and sizes."""
    report.classes = {name: {s: {"boxes": 0, "images": 0} for s in chosen} for name in report.names.values()}
    for split in chosen:
        own = [records[f] for f in listed[split].files]
        for r in own:
            entry = listed[split].files[r.path]
            for f in r.findings:
                if f.kind == "picture-missing" and entry:
                    f = f._replace(path=entry[0], line=entry[1], what=f"{f.what}: {_short(r.path)}")
                report.findings.append(f)
        usable = [r for r in own if r.usable]
        rows = np.concatenate([np.zeros((0, 5)), *(r.rows for r in usable)])
        per_image = np.array([len(r.rows) for r in usable], np.int64)
        shapes = np.array([r.shape for r in usable], np.int64).reshape(-1, 2)
        sides = np.repeat(shapes[:, ::-1], per_image, 0)
        rows[:, 1:] *= np.tile(sides, 2)
        report.boxes[split], report.per_image[split], report.shapes[split] = rows, per_image, shapes
        owner = np.repeat(np.arange(len(usable)), per_image)
        for i, name in report.names.items():
            mine = rows[:, 0] == i
            count = report.classes[name][split]
            count["boxes"] += int(mine.sum())
            count["images"] += len(np.unique(owner[mine]))
        report.splits[split] = {
            "images": len(own),
            "usable": len(usable),
            "backgrounds": int((per_image == 0).sum()),
            "stops": sum(f.kind == "label-class-range" for r in own for f in r.findings),
            "unlabelled": sum(not r.labelled for r in own),
            "boxes": len(rows),
            "ignored": sum(r.ignored for r in usable),
            "bytes": sum(r.size for r in own),
        }
        report.findings += list(_findings_on_split(report, split, own, usable, rows))
    boxes = np.concatenate([np.zeros((0, 5)), *report.boxes.values()])
    frames: Int64Array = np.concatenate([np.zeros((0, 2), np.int64), *report.shapes.values()])
    report.sizes = _sizes(boxes, frames, np.concatenate([np.zeros(0, np.int64), *report.per_image.values()]))


def _sizes(boxes: Float64Array, shapes: Int64Array, per_image: Int64Array) -> dict[str, Any]:
    common = Counter(map(tuple, shapes.tolist()))
    area = boxes[:, 3] * boxes[:, 4]
    frame = np.repeat(shapes.prod(1), per_image) if len(shapes) else np.ones(0)
    parts = (5, 25, 50, 75, 95)

    def percentiles(values: Any) -> list[float]:
        return [round(float(v), 5) for v in np.percentile(values, parts)] if len(values) else []

    return {
        "images": [[w, h, n] for (h, w), n in common.most_common(10)],
        "different": len(common),
        "boxes": len(boxes),
        "small": int((area < SMALL).sum()),
        "medium": int(((area >= SMALL) & (area < MEDIUM)).sum()),
        "large": int((area >= MEDIUM).sum()),
        "percentiles": parts,
        "aspect": percentiles(boxes[:, 3] / np.maximum(boxes[:, 4], 1e-9)),
        "relative_side": percentiles(np.sqrt(area / frame)),
        "boxes_per_image": percentiles(per_image),
        "most_boxes": int(per_image.max(initial=0)),
    }


def _findings_on_split(
    report: Report, split: str, own: Sequence[Record], usable: Sequence[Record], rows: Float64Array
) -> Iterator[Finding]:
    """What a split's records say together; findings of the report that it says better are taken out of it."""
    if not own:
        return
    first = own[0]
    if not usable:
        yield Finding(ERROR, "split-unusable", os.path.dirname(first.path), 0, f"{split}: none of {len(own)} images")
        return
    bare = [r for r in own if not r.labelled]
    if bare and len(rows):
        names = ", ".join(os.path.basename(r.path) for r in bare[:NAMED]) + (" …" if len(bare) > NAMED else "")
        count = (
            "has no label file and counts as background"
            if len(bare) == 1
            else "have no label file and count as backgrounds"
        )
        what = f"{split}: {len(bare)} of {counted(len(own), 'image')} {count}: {names}"
        yield Finding(NOTE, "unlabelled", os.path.dirname(bare[0].path), 0, what)
    misplaced = misplaced_labels({r.path: r.label for r in bare}, len(own))
    for m in misplaced:
        yield Finding(WARNING, "label-misplaced", m.folder, 0, f"{split}: {m.what}")
    if not len(rows):
        looked = os.path.dirname(first.label)
        none = "no label file lies where labels are read" if misplaced else "there are no label files"
        why = none if len(bare) == len(own) else "the label files hold no box"
        yield Finding(WARNING, "split-no-boxes", looked, 0, f"{split}: {why} for its {len(own)} images")
        return
    yield from _odd_rows(split, usable)
    # In a plain set not all boxes are wider than their centre's x. Where all rows are corners, each alone says no more.
    labelled = [r.rows for r in usable if len(r.rows)]
    every = np.concatenate(labelled)
    sensible = float((every[:, 3:] > every[:, 1:3]).all(1).mean())
    mistaken = sum(int(corner_rows(r).sum()) for r in labelled)
    if sensible >= ALL_CORNERS and mistaken >= len(every) / 5:
        single = {f for r in usable for f in r.findings if f.kind in ("label-corners", "box-outside")}
        report.findings[:] = [f for f in report.findings if f not in single]
        example = min((f for f in single if f.kind == "label-corners"), key=lambda f: (f.path, f.line))
        what = (
            f"{split}: its {counted(len(every), 'box')} read as corners, x1 y1 x2 y2, and {mistaken} of them make "
            "no sense otherwise; a row is centre and size, so training would learn nonsense"
        )
        yield Finding(WARNING, "split-corners", example.path, example.line, what)


def _odd_rows(split: str, usable: Sequence[Record]) -> Iterator[Finding]:
    """Rows that training takes for polygons, and that are probably none."""
    columns = np.concatenate([r.columns for r in usable])
    offsets = np.cumsum([0, *(len(r.columns) for r in usable)])
    boxes = int((columns == BOX_COLUMNS).sum())
    for i in np.flatnonzero(glued_rows(columns)):
        owner = int(np.searchsorted(offsets, i, side="right")) - 1
        r = usable[owner]
        what = f"{columns[i]} columns, where {boxes} of {len(columns)} rows of {split} are boxes of 5"
        line = int(r.lines[i - offsets[owner]])
        yield Finding(WARNING, "label-glued", r.label, line, f"{what}: several rows in one line?")
    pose = pose_columns([r.path for r in usable], offsets, columns)
    if pose:
        first = next(r for r in usable if len(r.columns))
        what = f"{split}: all {len(columns)} rows have {pose} columns, the first four numbers a box around the others"
        yield Finding(WARNING, "label-poses", first.label, int(first.lines[0]), f"{what}: {POSES_HINT}")


def _findings_on_classes(report: Report, spec: DatasetSpec, text: str) -> Iterator[Finding]:
    """Classes that nobody labelled, or only for one split."""
    where, line = str(spec.yaml_file), _line(text, "names")
    filled = [s for s in report.splits if report.splits[s]["boxes"]]
    every = set(spec.splits) <= set(report.splits)
    totals = {name: sum(count["boxes"] for count in per.values()) for name, per in report.classes.items()}
    for slip, meant in likely_slips(totals):
        what = f"{slip!r} ({counted(totals[slip], 'box')}) may be a slip for {meant!r} ({totals[meant]})"
        yield Finding(WARNING, "names", where, line, what)
    for name, per in report.classes.items():
        having = [s for s in filled if per[s]["boxes"]]
        if filled and every and not having:
            yield Finding(NOTE, "class-unused", where, line, f"no box is a {name!r}")
        for split in filled if having else ():
            if split not in having and split in ("train", "val"):
                result = "it is never learnt" if split == "train" else "its accuracy is never measured"
                yield Finding(WARNING, "class-absent", where, line, f"{split} has no {name!r}: {result}")


def _duplicates(
    report: Report,
    listed: Mapping[str, _Listed],
    records: Mapping[str, Record],
    chosen: Sequence[str],
    near: bool,
) -> Iterator[Finding]:
    """Groups of pictures that are the same or nearly, within and across splits."""
    splits: dict[str, list[str]] = defaultdict(list)
    file_of: dict[str, str] = {}
    for split in chosen:
        for file, real in listed[split].real.items():
            if split not in splits[real]:
                splits[real].append(split)
            file_of.setdefault(real, file)
    exact: dict[bytes, list[str]] = defaultdict(list)
    for real, file in file_of.items():
        if records[file].pixels:
            exact[records[file].pixels].append(real)

    def group(kind: str, members: Sequence[str], relation: str) -> Finding:
        crossing = len({s for real in members for s in splits[real]}) > 1
        files = [{"file": file_of[real], "splits": splits[real]} for real in members]
        report.groups.append({"kind": kind, "leak": crossing, "files": files})
        others = [f"{_short(file_of[real])} ({', '.join(splits[real])})" for real in members[1 : 1 + NAMED]]
        more = f" and {len(members) - 1 - NAMED} more" if len(members) > 1 + NAMED else ""
        what = f"({', '.join(splits[members[0]])}) {relation} {', '.join(others)}{more}"
        return Finding(WARNING, f"{'leak' if crossing else 'duplicate'}-{kind}", file_of[members[0]], 0, what)

    for members in exact.values():
        if len(members) < 2:
            continue
        same = len({records[file_of[real]].content for real in members}) == 1
        yield group("bytes", members, "has the bytes of") if same else group("pixels", members, "has the pixels of")
        yield from _conflicts([records[file_of[real]] for real in members])
    if not near:
        return
    one_each = [members[0] for members in exact.values()]
    prints = [(r.hashes, r.thumb) for r in (records[file_of[real]] for real in one_each)]
    hashes = np.array([h for h, _ in prints if h is not None], np.uint64)
    thumbs = np.array([t for _, t in prints if t is not None], np.uint8)
    for found in near_groups(hashes, thumbs) if len(prints) > 1 else ():
        members = [real for i in found for real in exact[records[file_of[one_each[i]]].pixels]]
        yield group("near", members, "shows nearly what is in")


def _conflicts(same: Sequence[Record]) -> Iterator[Finding]:
    """One picture that was labelled twice, and differently."""
    first, *others = same

    def content(r: Record) -> list[list[float]]:
        return sorted(np.round(r.rows, 4).tolist())

    for r in others:
        if content(r) != content(first):
            what = f"{counted(len(r.rows), 'box')}, and {counted(len(first.rows), 'other')} in {_short(first.label)}"
            yield Finding(WARNING, "duplicate-labels", r.label, 0, f"for one and the same picture {what}")
