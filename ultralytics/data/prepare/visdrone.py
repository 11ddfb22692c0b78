"""VisDrone2019-DET → YOLO format: categories 1 to 10 are classes 0 to 9; ignored regions and what is scored 0 go to
ignore/, for any class."""

from __future__ import annotations

from pathlib import Path

from ultralytics.data.prepare import names as published_names
from ultralytics.data.prepare.annotated import Annotated, Converted, in_threads, read_rows
from ultralytics.data.prepare.boxes import from_pixels, outside
from ultralytics.data.prepare.folder import PARTS
from ultralytics.data.prepare.format import Format, Source
from ultralytics.utils.errors import MissingFileError
from ultralytics.utils.images import IMAGE_SUFFIXES

FOLDERS = {"train": "VisDrone2019-DET-train", "val": "VisDrone2019-DET-val", "test": "VisDrone2019-DET-test-dev"}
REGION, OTHERS = 0, 11  # categories that are no class


def _read_source(source: Source) -> Converted:
    tops = source.places()
    parts = {s: p for s, name in FOLDERS.items() if (p := _part_in(tops, name)) is not None}
    if not parts:
        tried = ", ".join(str((t / FOLDERS["train"]).absolute()) for t in tops)
        raise MissingFileError(f"there is none of its folders; tried {tried}", hint="source= is the folder of them")
    if source.published:
        source.options[PARTS] = list(parts)
    absent = [name for s, name in FOLDERS.items() if s not in parts]
    notes = [f"missing: {', '.join(absent)}"] if absent else []
    return Converted({s: _read_part(p) for s, p in parts.items()}, published_names.VISDRONE, notes=notes)


def _published_parts(source: Path | None) -> list[str] | None:
    """Return the splits that a source seems to hold, without unpacking it; None where it seems to hold none."""
    if source is None:
        return list(FOLDERS)
    if source.is_file():
        return [s for s, name in FOLDERS.items() if source.name == f"{name}.zip"] or None
    return [s for s, name in FOLDERS.items() if (source / f"{name}.zip").is_file() or _part_in([source], name)] or None


def _part_in(tops: list[Path], name: str) -> Path | None:
    """Return the folder of a split: one of that name, or a top itself when it is called so."""
    candidates = [p for top in tops for p in (top / name, top / name / name, *([top] if top.name == name else []))]
    return next((p for p in candidates if (p / "images").is_dir()), None)


def _read_part(part: Path) -> list[Annotated]:
    files = sorted(p for p in (part / "images").iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    return in_threads(lambda image: _read_rows(part, image), files, f"Reading {part.name}")


def _read_rows(part: Path, image: Path) -> Annotated:
    result = Annotated(image.name)
    file = part / "annotations" / f"{image.stem}.txt"
    if not file.is_file():
        result.problems.append(f"{file}: there is no such annotation")
        return result
    found = read_rows(result, image, file)
    if found is None:
        return result
    header, lines = found
    for number, line in enumerate(lines, 1):
        words = [w.strip() for w in line.strip().strip(",").split(",")]
        if words == [""]:
            continue
        try:
            x, y, w, h, score, category = map(float, words[:6])
        except ValueError:
            result.problems.append(f"{file}:{number}: a row is x,y,w,h,score,category,…; it is dropped")
            continue
        if category != int(category) or not REGION <= category <= OTHERS:
            result.problems.append(f"{file}:{number}: there is no category {words[5]}; it is dropped")
            continue
        counts = score != 0 and category not in (REGION, OTHERS)
        fitted, lost = from_pixels(x, y, w, h, header.shape), f"{file}:{number}: the box {outside(0, 0, w, h)}"
        result.add(int(category) - 1 if counts else None, fitted, lost, crowd=None if counts else True)
    return result


VISDRONE = Format("visdrone", _read_source, _published_parts, sole=True)  # of archives of other names too
prepare_visdrone = VISDRONE.public
