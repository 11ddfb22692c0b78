"""Pascal VOC → YOLO format."""

from __future__ import annotations

import os
import shutil
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError, UserError
from ultralytics.utils.files import read_text, user_path
from ultralytics.utils.images import IMAGE_SUFFIXES, imread, undecodable
from ultralytics.utils.log import LOGGER, progress

SPLITS = ("train", "val", "test")


@dataclass
class _Annotated:
    """An image and its objects: class name and corners in 0..1."""

    name: str
    image: Path | None = None
    objects: list[tuple[str, tuple[float, float, float, float]]] = field(default_factory=list)
    difficult: int = 0
    problems: list[str] = field(default_factory=list)


def prepare_voc(source: str | Path, out: str | Path, names: Sequence[str] | None = None) -> Path:
    """Turn a folder with Annotations, ImageSets/Main and JPEGImages into images, labels and a data set YAML; its own
    splits are kept.

    VOC counts pixels from 1 and includes the last one: a box covers xmin − 1 to xmax. Objects marked difficult are left
    out, as in VOC's own evaluation. The source is not changed.

    Args:
        source: the VOC folder; out: the folder to fill; names: class names in the order of their ids, alphabetical when
        None.

    Returns:
        The data set's YAML, OUT/data.yaml.

    Raises:
        MissingFileError: no such layout; DatasetError: nothing usable, or an unknown class; UserError: it cannot be
        written.
    """
    source, out = user_path(source), user_path(out)
    splits = _splits(source)
    if out.exists() and out.resolve() == source.resolve():
        raise ConfigError("out is the source itself", str(out), "choose another folder")
    unique = sorted({name for listed in splits.values() for name in listed})
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 16)) as pool:
        read = list(
            progress(pool.map(lambda n: _read(source, n), unique), total=len(unique), desc="Reading annotations")
        )
    by_name = {a.name: a for a in read}
    problems = [p for a in read for p in a.problems]
    found = Counter(cls for a in read for cls, _ in a.objects)
    if not found:
        raise DatasetError(
            f"no object could be read: {problems[0] if problems else 'the annotations hold none'}", str(source)
        )
    order = list(names) if names else sorted(found)
    missing = sorted(set(found) - set(order))
    if missing:
        raise ConfigError(
            f"names lacks {', '.join(missing)}, which the annotations use",
            str(source),
            "name every class, or leave names out",
        )
    ids = {name: i for i, name in enumerate(order)}
    present = [s for s in SPLITS if s in splits]
    try:
        for split in present:
            _write_split(out, split, [by_name[n] for n in splits[split]], ids)
        spec: dict[str, object] = {"path": ".", **{s: f"images/{s}" for s in present}, "names": dict(enumerate(order))}
        yaml_file = out / "data.yaml"
        yaml_file.write_text(yaml.safe_dump(spec, sort_keys=False, allow_unicode=True), encoding="utf-8")
    except OSError as e:
        raise UserError(
            f"could not be written: {e.strerror or e}",
            str(e.filename2 or e.filename or out),
            "free some space or choose another out=",
        ) from None
    usable = {s: sum(by_name[n].image is not None for n in splits[s]) for s in present}
    LOGGER.info("%s: %s", out, ", ".join(f"{usable[s]} {s} images" for s in present))
    LOGGER.info("objects: %s", ", ".join(f"{name} {found[name]}" for name in order))
    difficult = sum(a.difficult for a in read)
    if difficult:
        LOGGER.info("%d objects marked difficult were left out", difficult)
    left_out = sum(a.image is None for a in read)
    if problems:
        LOGGER.warning("%d images left out; %d problems:", left_out, len(problems))
        for problem in problems[:20]:
            LOGGER.warning("  %s", problem)
    return yaml_file


def _splits(source: Path) -> dict[str, list[str]]:
    for folder in ("Annotations", "JPEGImages"):
        if not (source / folder).is_dir():
            raise MissingFileError(
                f"there is no folder {folder}; tried {(source / folder).absolute()}",
                str(source),
                "source= is the VOC folder",
            )
    main = source / "ImageSets" / "Main"
    if not main.is_dir():
        raise MissingFileError(f"there are no splits; tried {main.absolute()}", str(source))
    lists = {s: main / f"{s}.txt" for s in SPLITS}
    # A line is "name", or "name 1" as in the lists of single classes.
    splits = {
        s: [line.split()[0] for line in read_text(f, DatasetError).splitlines() if line.strip()]
        for s, f in lists.items()
        if f.is_file()
    }
    splits = {s: names for s, names in splits.items() if names}
    for split in ("train", "val"):
        if split not in splits:
            raise DatasetError(f"the {split} split is missing or empty", str(lists[split]))
    return splits


def _read(source: Path, name: str) -> _Annotated:
    result = _Annotated(name)
    xml = source / "Annotations" / f"{name}.xml"
    candidates = [
        p
        for s in sorted(IMAGE_SUFFIXES)
        for p in (source / "JPEGImages" / f"{name}{s}", source / "JPEGImages" / f"{name}{s.upper()}")
    ]
    image = next((p for p in candidates if p.is_file()), None)
    if image is None:
        result.problems.append(f"{source / 'JPEGImages' / name}.*: there is no such image")
        return result
    decoded = imread(image)
    if decoded is None:
        result.problems.append(f"{image}: {undecodable(image)}")
        return result
    try:
        root = ET.parse(xml).getroot()
    except FileNotFoundError:
        result.problems.append(f"{xml}: there is no such annotation")
        return result
    except ET.ParseError as e:
        result.problems.append(f"{xml}:{e.position[0]}: not valid XML")
        return result
    h, w = decoded.shape[:2]
    for number, item in enumerate(root.iter("object"), 1):
        cls = (item.findtext("name") or "").strip()
        if (item.findtext("difficult") or "0").strip() == "1":
            result.difficult += 1
            continue
        try:
            x1, y1, x2, y2 = (float(item.findtext(f"bndbox/{k}") or "nan") for k in ("xmin", "ymin", "xmax", "ymax"))
        except ValueError:
            x1 = x2 = y1 = y2 = float("nan")
        low_x, low_y, high_x, high_y = (
            max((x1 - 1) / w, 0.0),
            max((y1 - 1) / h, 0.0),
            min(x2 / w, 1.0),
            min(y2 / h, 1.0),
        )
        if not cls or not (high_x > low_x and high_y > low_y):  # NaN fails as well
            result.problems.append(f"{xml}: object {number} ({cls or 'no name'}) has no usable box; it is dropped")
            continue
        result.objects.append((cls, (low_x, low_y, high_x, high_y)))
    result.image = image
    return result


def _write_split(out: Path, split: str, annotated: list[_Annotated], ids: dict[str, int]) -> None:
    images, labels = out / "images" / split, out / "labels" / split
    for folder in (images, labels):
        folder.mkdir(parents=True, exist_ok=True)
    for a in progress(annotated, desc=f"Writing {split}"):
        if a.image is None:
            continue
        target = images / a.image.name
        if not target.exists() or target.stat().st_size != a.image.stat().st_size:
            shutil.copyfile(a.image, target)
        rows = (
            f"{ids[c]} {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}\n"
            for c, (x1, y1, x2, y2) in a.objects
        )
        (labels / f"{a.name}.txt").write_text("".join(rows), encoding="utf-8")
