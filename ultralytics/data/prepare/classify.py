"""Images in a folder for each class → train, val and test with these folders, copied or linked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from ultralytics.cfg.class_folders import SplitFolder, look_into
from ultralytics.cfg.tasks import FOLDERS, task_for
from ultralytics.data.class_images import PassedOver, images_of_class, is_image
from ultralytics.data.prepare.annotated import SPLIT_WORDS, SPLITS, first_of, in_threads
from ultralytics.data.prepare.boxes import look
from ultralytics.data.prepare.divide import Options, draw_parts
from ultralytics.data.prepare.folder import fingerprint, make_once, place_image, prepared, write_manifest
from ultralytics.data.prepare.format import existing, refuse_inside, storage_error
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError
from ultralytics.utils.files import user_path
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted, has_unsafe, name_key, one_line

_Images = dict[str, dict[str, list[Path]]]  # split → class → images


def prepare_classify(
    source: str | Path,
    out: str | Path,
    images: str = "copy",
    val: float = 0.0,
    test: float = 0.0,
    seed: int = 0,
) -> Path:
    """Make a dataset of folders of classes: OUT/train/CLASS, OUT/val/CLASS and so on.

    Args:
        source: a folder with a folder for each class, or with train, val and perhaps test that have such.
        out: the folder to make.
        images, val, test, seed: as of `Options`; parts are drawn of each class's images.

    Returns:
        The dataset's YAML; `data=` takes it, or OUT.

    Raises:
        ConfigError: a wrong option, or OUT lies in the source.
        DatasetError: it has no val images and none are drawn, or a class of val that train lacks.
        MissingFileError: there are no images in folders of classes.
        UserError: OUT holds something else, or cannot be written.
    """
    wanted, top, target = Options(images, val, test, seed), existing(source), user_path(out)
    if not top.is_dir():
        raise MissingFileError("it is a file, and a source is a folder", str(top), "unpack it, if it is an archive")
    options = {"source": str(top), **wanted.kept()}
    mark = fingerprint([top])
    done = prepared(target, "classify", options, mark)
    if done is not None:
        return done
    refuse_inside(target, [top])
    passed = PassedOver()
    found = images_by_class(top, passed)
    odd = list(map(str, passed.report()))
    for line in odd:
        LOGGER.warning("%s", one_line(line))
    if not found:
        hint = "source= holds a folder for each class, or train and val with such"
        raise MissingFileError("there are no images in folders of classes", str(top), hint)
    splits = _draw_splits(found, wanted, top)
    strange = sorted({name for classes in splits.values() for name in classes} - set(splits["train"]))
    if strange:
        raise DatasetError(f"train has no images of {', '.join(strange)}, which other splits have", str(top))
    unsafe = next((n for n in splits["train"] if has_unsafe(n)), None)
    if unsafe is not None:
        raise DatasetError(f"the class folder {unsafe!r} holds control characters", str(top), "rename it")
    fill = partial(_fill, out=target, splits=splits, wanted=wanted, options=options, mark=mark, odd=odd)
    make_once(target, "classify", options, mark, fill)
    return target / "data.yaml"


def images_by_class(top: Path, passed: PassedOver | None = None) -> _Images:
    """Return split → class → images of a folder; where none of its folders is called as a split, all are train. Nothing
    where images lie in no such folders, or there is one class alone.

    Args:
        top: the folder; passed: is added to, as by `images_of_class`.

    Raises:
        DatasetError: a folder cannot be read.
    """
    passed = PassedOver() if passed is None else passed
    by_split: _Images = {}
    places = [("", _look(top, passed))]
    for folder in list(places[0][1].classes):
        split = SPLIT_WORDS.get(folder.name.lower())
        if split:
            places[0][1].classes.remove(folder)
            places.append((split, _look(folder, passed)))
    for split, place in places:
        if any(is_image(file.name) for file in place.files):
            return {}
        for folder in place.classes:
            images = list(map(Path, images_of_class(folder, passed)))
            if images:
                by_split.setdefault(split, {}).setdefault(folder.name, []).extend(images)
    if "" in by_split and len(by_split) > 1:
        return {}
    if "" in by_split:
        by_split = {"train": by_split[""]}
    classes = {name for found in by_split.values() for name in found}
    return {s: by_split[s] for s in SPLITS if s in by_split} if len(classes) > 1 and "train" in by_split else {}


def _look(folder: Path, passed: PassedOver) -> SplitFolder:
    found = look_into(folder)
    passed.broken += map(str, found.broken)
    passed.links += map(str, found.around)
    return found


def _draw_splits(found: _Images, wanted: Options, top: Path) -> _Images:
    """Draw the splits that are asked for from train, class by class."""
    parts = wanted.parts()
    for split in parts:
        if split in found:
            raise ConfigError(f"the source has its own {split} split", hint=f"leave {split}= out")
    splits: _Images = {s: {} for s in SPLITS if s in found or s in parts}
    splits |= {s: classes for s, classes in found.items() if s != "train"}
    for name, images in found["train"].items():
        if not parts:
            splits["train"][name] = images
            continue
        stems = [f"{name}/{path.stem}" for path in images]
        try:
            rest, *drawn = draw_parts(stems, list(parts.values()), wanted.seed)
        except DatasetError as e:
            raise DatasetError(f"of class {name}: {e.what}", str(top), e.hint) from None
        splits["train"][name] = [images[i] for i in rest]
        for split, chosen in zip(parts, drawn, strict=True):
            splits[split][name] = [images[i] for i in chosen]
    if "val" not in splits and "test" not in splits:
        raise DatasetError("there are no val images", str(top), "val=0.2 draws some from the train images")
    return splits


@dataclass
class _Plan:
    """What is written. files: image → its place in OUT; counts: images of each split; objects: of each class."""

    files: list[tuple[Path, PurePosixPath]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    objects: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def _plan(splits: _Images) -> _Plan:
    """Look at the images and choose their places: two of a class never share a name, on any file system.

    Raises:
        DatasetError: a split has no image that can be used.
    """
    plan = _Plan()
    jobs = [(s, name, path) for s, classes in splits.items() for name, images in classes.items() for path in images]
    taken: set[tuple[str, str, str]] = set()
    for (split, name, path), header in zip(jobs, in_threads(lambda j: look(j[2]), jobs, "Reading images"), strict=True):
        if isinstance(header, str):
            plan.problems.append(f"{path}: {header}")
            continue
        stem, number = path.stem, 1
        while (split, name_key(name), name_key(stem)) in taken:
            number += 1
            stem = f"{path.stem}-{number}"
        taken.add((split, name_key(name), name_key(stem)))
        plan.files.append((path, PurePosixPath(split, name, stem + path.suffix)))
        plan.counts[split] += 1
        plan.objects[name] += 1
    for split in splits:
        if not plan.counts[split]:
            raise DatasetError(f"the {split} split has no image that can be used{first_of(plan.problems)}")
    return plan


def _fill(
    folder: Path,
    out: Path,
    splits: _Images,
    wanted: Options,
    options: Mapping[str, Any],
    mark: str,
    odd: Sequence[str],
) -> None:
    """Fill a folder that will become OUT; `odd`: what problems.txt names beside images."""
    names, plan = sorted(splits["train"]), _plan(splits)
    try:
        for split in splits:
            for name in names:
                (folder / split / name).mkdir(parents=True)
        in_threads(lambda job: place_image(job[0], folder / job[1], wanted.images), plan.files, "Writing")
        spec = {"path": ".", **{s: s for s in splits}, "task": task_for(FOLDERS), "names": dict(enumerate(names))}
        spec |= {} if "val" in splits else {"val": "test"}
        text = yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)
        (folder / "data.yaml").write_text(text, encoding="utf-8")
        if plan.problems or odd:
            text = "".join(f"{one_line(p)}\n" for p in (*plan.problems, *odd))
            (folder / "problems.txt").write_text(text, encoding="utf-8")
    except OSError as e:
        raise storage_error(e, folder, out) from None
    sources, objects = [{"name": Path(options["source"]).name}], {name: plan.objects[name] for name in names}
    left_out = len(plan.problems)
    write_manifest(folder, "classify", options, sources, plan.counts, objects, left_out=left_out, mark=mark)
    images = ", ".join(counted(n, f"{s} image") for s, n in plan.counts.items())
    LOGGER.info("%s: %s of %s", out, images, counted(len(names), "class"))
    if plan.problems:
        LOGGER.warning(
            "%s left out, in %s%s", counted(left_out, "image"), out / "problems.txt", first_of(plan.problems)
        )
