"""Data that has YOLO labels already → the layout of this project, its labels checked: coco128, and any other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.labels import Judged, ignore_file, judge_ignored, judge_labels, label_file, list_images
from ultralytics.data.prepare import names as published_names
from ultralytics.data.prepare.archive import is_archive
from ultralytics.data.prepare.folder import fingerprint, prepared
from ultralytics.data.prepare.sources import PUBLISHED, archives, default_out, entry
from ultralytics.data.prepare.write import (
    NO_VALIDATION,
    SPLIT_WORDS,
    SPLITS,
    Annotated,
    Converted,
    check_how,
    existing,
    in_threads,
    inner,
    look,
    make_dataset,
    opened,
    stand_ins,
)
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError
from ultralytics.utils.files import user_path


def prepare_coco128(
    source: str | Path | None = None,
    out: str | Path | None = None,
    images: str = "copy",
    download: bool = False,
    mirror: str = "",
) -> Path:
    """Prepare the first 128 images of COCO train2017, which are train and val.

    Args:
        source: coco128.zip or its folder; out: data/coco128 when None; images: "copy", or "link" for hard links;
        download: fetch the archive; mirror: a URL that holds it.

    Returns:
        The data set's YAML.

    Raises:
        as `prepare_yolo`; UserError: it cannot be downloaded.
    """
    out = default_out("coco128") if out is None else user_path(out)
    return _prepare("coco128", source, out, {}, published_names.COCO, images, download, mirror)


def prepare_yolo(source: str | Path, out: str | Path, names: Sequence[str] | None = None, images: str = "copy") -> Path:
    """Bring data with YOLO labels into the layout of this project. Labels that cannot be used are named; the source is
    not changed.

    Args:
        source: a data set YAML, or a folder or archive with images/SPLIT or SPLIT/images; out: the folder to make.
        names: class names in the order of their ids; those of the YAML in the source when None.
        images: "copy", or "link" for hard links.

    Returns:
        The data set's YAML, OUT/data.yaml.

    Raises:
        MissingFileError: no such source or layout; DatasetError: nothing usable; UserError: it cannot be written.
    """
    options = {"source": str(user_path(source).absolute()), "names": list(names) if names else None}
    return _prepare("yolo", source, user_path(out), options, names, images)


def _prepare(
    kind: str,
    given: str | Path | None,
    out: Path,
    options: dict[str, Any],
    names: Sequence[str] | None,
    images: str,
    download: bool = False,
    mirror: str = "",
) -> Path:
    check_how(images)
    source = None if given is None else existing(given)
    packed = source is not None and source.is_file() and is_archive(source)
    inside: list[Path] = []
    if source is not None and not packed:
        inside = [source, *(p for paths in _splits(source)[0].values() for p in paths)]
    labels = [Path(label_file(str(p / "x.jpg"))).parent for p in inside if p.is_dir()]
    mark = fingerprint([source] if packed and source else list(dict.fromkeys(p for p in inside + labels if p.exists())))
    done = prepared(out, kind, options, mark)
    if done is not None:
        return done
    if source is None:
        [(source, described)] = archives(kind, out, download, mirror)
    else:
        described = entry(source, PUBLISHED.get(kind, ())) if packed else {"name": source.absolute().name}

    def read(scratch: Path) -> Converted:
        splits, found = _splits(opened(source, scratch))
        return _read_all(splits, names or found)

    return make_dataset(out, kind, options, [described], read, images, inside, mark)


def _splits(source: Path) -> tuple[dict[str, list[Path]], Sequence[str] | None]:
    """Split → folders, lists or images, and the class names where a YAML says them."""
    if source.is_file():
        spec = load_dataset(source)
        return {s: spec.split(s) for s in spec.splits}, list(spec.names.values())
    names: Sequence[str] | None = None
    tops = list(dict.fromkeys((source, inner(source))))
    for file in (f for top in tops for f in sorted([*top.glob("*.yaml"), *top.glob("*.yml")])):
        try:
            spec = load_dataset(file)
            names = list(spec.names.values())
            return {s: spec.split(s) for s in spec.splits}, names
        except (DatasetError, yaml.YAMLError):  # its paths are those of another machine, or it is another YAML
            continue
    for top in tops:
        found: dict[str, list[Path]] = {}
        # images/train2017, or train/images
        for folder in sorted([*top.glob("images/*"), *top.glob("*/images")]):
            name = folder.name if folder.parent.name == "images" else folder.parent.name
            split = SPLIT_WORDS.get(re.split(r"[^a-z]", name.lower())[0])
            if split and folder.is_dir():
                found.setdefault(split, []).append(folder)
        if not found and (top / "images").is_dir():
            found = {"train": [top / "images"]}
        if found:
            return {s: found[s] for s in SPLITS if s in found}, names
    raise MissingFileError(
        f"there is no folder images; tried {', '.join(str((t / 'images').absolute()) for t in tops)}",
        str(source),
        "source= is a data set YAML, or a folder with images and labels",
    )


def _read_all(splits: dict[str, list[Path]], names: Sequence[str] | None) -> Converted:
    # Splits that are the same images are written once.
    folders: dict[str, list[Path]] = {}
    used: dict[str, str] = {}
    for split, paths in splits.items():
        twin = next((s for s, p in folders.items() if p == paths), None)
        used[split] = twin or split
        if twin is None:
            folders[split] = paths
    stands, notes = stand_ins(used)
    used = {s: used[f] for s, f in stands.items()} or used
    if used["train"] == used["val"] and not notes:
        notes.append(f"the same images are both{NO_VALIDATION}")
    read = {s: in_threads(lambda job: _read(*job), _jobs(paths), f"Reading {s}") for s, paths in folders.items()}
    everything = [a for listed in read.values() for a in listed]
    highest = [(max(_classes(a), default=-1), a) for a in everything]
    top, bad = max(highest, key=lambda pair: pair[0], default=(-1, None))
    if names is None:
        if top < 0:
            raise DatasetError(
                f"no object could be read: {next((p for a in everything for p in a.problems), 'the labels hold none')}"
            )
        names = [f"class_{i}" for i in range(top + 1)]
        notes.append("the source names no classes: they are called class_0 and so on (names=[first,second] names them)")
    if top >= len(names):
        raise ConfigError(
            f"class id {top} is out of range: there are {len(names)} names",
            label_file(str(bad.image)) if bad else "",
            "name every class, or mend the labels",
        )
    return Converted(read, names, used, notes)


def _classes(a: Annotated) -> list[int]:
    return [int(c) for c, _ in a.objects] + [int(c) for c, _, _ in a.ignored if c is not None]


def _jobs(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """Name inside the split and file of each image."""
    jobs: dict[Path, str] = {}
    for path in paths:
        for file in map(Path, list_images([path])):
            jobs.setdefault(file, file.relative_to(path).as_posix() if path.is_dir() else file.name)
    return [(name, file) for file, name in jobs.items()]


def _read(name: str, image: Path) -> Annotated:
    result = Annotated(name)
    picture = look(image)
    if isinstance(picture, str):
        result.problems.append(f"{image}: {picture}")
        return result
    labels, ignored = judge_labels(label_file(str(image))), judge_ignored(ignore_file(str(image)))
    result.problems += told(label_file(str(image)), labels) + told(ignore_file(str(image)), ignored)
    result.objects += [(int(cls), (x, y, w, h)) for cls, x, y, w, h in labels.rows.tolist()]
    for cls, x, y, w, h, crowd in ignored.rows.tolist():
        result.ignored.append((None if cls < 0 else int(cls), (x, y, w, h), bool(crowd)))
    if labels.usable:
        result.image = image
    return result


def told(path: str | None, judged: Judged) -> list[str]:
    """The problems of a file, with file and line."""
    return [f"{path}:{p.line}: {p.what}" if p.line else f"{path}: {p.what}" for p in judged.problems]
