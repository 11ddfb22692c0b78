"""Smaller data sets from larger ones: some classes, some images, or folds for cross-validation.

What is drawn is a function of the options and of the images' names within their split: not of paths, the order of a
file system, or the number of processes. The manifest's hash says whether two choices are the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath
from typing import IO, Any

import yaml

from ultralytics import __version__
from ultralytics.cfg.config import check_switches
from ultralytics.cfg.dataset import DatasetSpec, load_dataset
from ultralytics.data.labels import (
    Judged,
    areas_file,
    ignore_file,
    judge_areas,
    judge_ignored,
    judge_labels,
    label_file,
    list_images,
    scan,
)
from ultralytics.data.prepare.folder import FORMAT, TakenError, check_whole, making, place_image, read_manifest
from ultralytics.data.subset.stratify import rank, stratify
from ultralytics.utils.errors import ConfigError, DatasetError, UserError, nearest
from ultralytics.utils.files import Checksums, real_path, user_path, write_atomically
from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.text import counted, is_text
from ultralytics.utils.types import ANY_CLASS

KIND = "subset"  # in the manifest
ELSEWHERE = "choose another out=, or remove it first"


@dataclass
class _Image:
    """An image of the source. name: within its split, "/" between folders, NFC; counts: boxes by new class id."""

    name: str
    file: str
    counts: dict[int, int]
    unsure: bool  # has ignored regions that may hold the classes: no background


@dataclass
class _Choice:
    """What is going to be written. `splits` by folder name; `folds`: the names in the val list of each."""

    options: dict[str, Any]
    source: DatasetSpec
    ids: dict[int, int]  # source id → new id
    splits: dict[str, list[_Image]] = field(default_factory=dict)
    folds: list[list[str]] = field(default_factory=list)
    left_out: int = 0

    @property
    def names(self) -> list[str]:
        return [self.source.names[c] for c in self.ids]


def subset(
    data: str | Path,
    out: str | Path,
    classes: int | str | Sequence[int | str] | None = None,
    n: int | None = None,
    seed: int = 0,
    val_n: int | None = None,
    test_n: int | None = None,
    backgrounds: float = 0.0,
    copy: bool = False,
    workers: int | None = None,
) -> Path:
    """Draw a stratified subset of a data set.

    Written are OUT without its suffix as a folder (images, labels, ignore, manifest.json) and then the YAML. Where they
    hold the same choice already, nothing is done.

    Args:
        data: the source's YAML; out: the new YAML.
        classes: names or ids in the order of their new ids; all when None.
        n, val_n, test_n: images to draw from a split; when None, all that have one of the classes.
        seed: of the drawing.
        backgrounds: part of the drawn images, 0 to below 1, that have none of the classes.
        copy: copy the images; otherwise they are hard links where the file system has them.
        workers: threads that read; all cores when None. They change nothing but the time.

    Returns:
        The new YAML.

    Raises:
        ConfigError: an option that is not possible; DatasetError: the source cannot be used, or lacks a class;
        UserError: `out` is something else already, or cannot be written.
    """
    check_switches({"copy": copy})
    given = _checked(n=n, val_n=val_n, test_n=test_n, seed=seed, backgrounds=backgrounds, workers=workers)
    choice, out, target = _begin(data, out, classes, given)
    kept = _kept(target, [out], choice, copy)
    for split in choice.source.splits:
        images = _read(choice, [split])
        _all_found(choice, images, split, asked=classes is not None)
        wanted = given[{"train": "n"}.get(split, f"{split}_n")]
        choice.splits[split] = _draw(images, wanted, backgrounds, seed, split)
        if split == "train" or wanted is not None:
            _table(choice.names, images, choice.splits[split], split)
    _build(choice, target, [out], kept, copy, workers)
    return out


def kfold(
    data: str | Path,
    out: str | Path,
    k: int = 5,
    classes: int | str | Sequence[int | str] | None = None,
    n: int | None = None,
    seed: int = 0,
    test_n: int | None = None,
    backgrounds: float | None = None,
    copy: bool = False,
    workers: int | None = None,
) -> list[Path]:
    """Divide the train and val images of a data set into folds for cross-validation.

    Every image is validated on by one fold and trained on by the others. The folds differ by at most one image, and
    each has its share of every class. The images lie once in the new folder; a fold is two lists. An image that is both
    in train and in val counts once. The test split is kept as `subset` keeps it.

    Args:
        k: number of folds; n: images to draw before dividing.
        backgrounds: as in `subset`; when None and neither `classes` nor `n` is given, all images without boxes stay.
        Others: as in `subset`.

    Returns:
        The YAMLs, OUT without its suffix + -fold0.yaml and so on.

    Raises:
        As `subset`.
    """
    check_switches({"copy": copy})
    if type(k) is not int or k < 2:
        raise ConfigError(f"kfold={k} must be an integer of 2 or more")
    given = _checked(n=n, test_n=test_n, seed=seed, backgrounds=backgrounds, workers=workers) | {"kfold": k}
    choice, out, target = _begin(data, out, classes, given)
    outs = [out.with_name(f"{out.stem}-fold{i}{out.suffix}") for i in range(k)]
    kept = _kept(target, outs, choice, copy)
    everything = classes is None and n is None and backgrounds is None
    share = backgrounds or 0.0
    pool = _read(choice, ["train", "val"])
    _all_found(choice, pool, "train or val", asked=classes is not None)
    drawn = pool if everything else _draw(pool, n, share, seed, "train and val")
    if len(drawn) < k:
        raise ConfigError(f"kfold={k}: there are only {counted(len(drawn), 'image')}", str(choice.source.yaml_file))
    odd = next((i.file for i in drawn if not listable(i.name)), None)
    if odd is not None:
        raise DatasetError("its name cannot stand in a list of images", repr(odd)[1:-1], "rename it")
    sizes = [len(drawn) // k + (i < len(drawn) % k) for i in range(k)]
    part = stratify([i.counts for i in drawn], [rank(seed, i.name) for i in drawn], sizes)
    choice.folds = [sorted(i.name for i, p in zip(drawn, part, strict=True) if p == fold) for fold in range(k)]
    choice.splits["pool"] = drawn
    if len(drawn) < len(pool):
        _table(choice.names, pool, drawn, "train and val")
    _fold_table(choice.names, drawn, part, k)
    if "test" in choice.source.splits:
        images = _read(choice, ["test"])
        choice.splits["test"] = images if everything else _draw(images, test_n, share, seed, "test")
    elif test_n is not None:
        choice.source.split("test")
    _build(choice, target, outs, kept, copy, workers)
    return outs


# Options


def _checked(**given: Any) -> dict[str, Any]:
    """The options, each in its range."""
    for key, low in (("n", 1), ("val_n", 1), ("test_n", 1), ("seed", 0), ("workers", 1)):
        value = given.get(key)
        if not (type(value) is int and value >= low) and (value is not None or key == "seed"):
            raise ConfigError(f"{key}={value} must be an integer of {low} or more")
    share = given["backgrounds"]
    if share is not None and (isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1):
        raise ConfigError(f"backgrounds={share} must be a part of the images, 0 to below 1")
    return {k: v for k, v in given.items() if k != "workers"}


def _begin(data: str | Path, out: str | Path, classes: Any, given: dict[str, Any]) -> tuple[_Choice, Path, Path]:
    """The source and the options; the new YAML; the new folder."""
    out = user_path(out)
    if out.suffix.lower() not in (".yaml", ".yml"):
        raise ConfigError("out is the new YAML, and its name must end in .yaml", str(out), f"out={out}.yaml")
    target = out.with_suffix("")
    spec = load_dataset(data)
    for split in spec.splits:
        for path in spec.split(split):
            if path in (real_path(target), *real_path(target).parents) and path.is_dir():
                raise ConfigError(f"the new images would lie among the {split} images of the source", str(out))
    for split in ("val", "test"):
        if given.get(f"{split}_n") is not None:
            spec.split(split)
    ids = class_ids(spec.names, classes, str(spec.yaml_file))
    options = {"classes": None if classes is None else [spec.names[c] for c in ids], **given}
    return _Choice(options, spec, {c: i for i, c in enumerate(ids)}), out, target


def class_ids(
    names: Mapping[int, str], classes: int | str | Sequence[int | str] | None, where: str = "the data set"
) -> list[int]:
    """The ids of classes given by name or id, in the order given; all when None.

    Raises:
        ConfigError: there is no such class (the nearest is named), a name of several classes, a class given twice.
    """
    if classes is None:
        return list(names)
    found: list[int] = []
    for word in [classes] if isinstance(classes, int | str) else classes:
        ids = [i for i, name in names.items() if name == word]
        if not ids and str(word).isdecimal() and int(word) in names:
            ids = [int(word)]
        if not ids:
            number = isinstance(word, int) or word.isdecimal()
            near = f"its ids are 0 to {len(names) - 1}" if number else nearest(str(word), names.values())
            raise ConfigError(f"there is no class {word!r}", where, near or f"it has {_some(list(names.values()))}")
        if len(ids) > 1:
            raise ConfigError(f"{word!r} is the name of the classes {ids}", where, "give the id")
        if ids[0] in found:
            raise ConfigError(f"the class {word!r} is given twice", where)
        found += ids
    if not found:
        raise ConfigError("classes names no class", where, "leave it out for all classes")
    return found


def _some(words: Sequence[str], most: int = 12) -> str:
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


# The source


def relative_names(paths: Sequence[Path]) -> dict[str, str]:
    """The images of a split and what to call each: its path below its folder, or below the folder that holds all images
    of its list. Several folders or lists go before it by name, or by number where names are equal.

    Raises:
        DatasetError: there are no images, or two of one name.
    """
    singles = [p for p in paths if not p.is_dir() and p.suffix.lower() != ".txt"]
    groups = [[p] for p in paths if p not in singles] + ([singles] if singles else [])
    heads = [g[0].parent.name if g is singles else g[0].stem if g[0].is_file() else g[0].name for g in groups]
    if len({_nfc(h).casefold() for h in heads}) < len(heads) or any(h in ("", "images", "labels") for h in heads):
        heads = [str(i) for i in range(len(groups))]
    names: dict[str, str] = {}
    owner: dict[str, str] = {}
    for head, group in zip(heads, groups, strict=True):
        files = [f for f in list_images(group) if f not in names]
        if not files:
            continue
        if group[0].is_dir():
            base = str(group[0])
        else:
            try:
                base = os.path.commonpath([os.path.dirname(f) for f in files])
            except ValueError:
                raise DatasetError("its images lie on several drives", str(group[0]), "copy them to one") from None
        for file in files:
            name = _nfc(PurePath(os.path.relpath(file, base)).as_posix())
            if len(groups) > 1:
                name = f"{_nfc(head)}/{name}"
            if name in owner:
                raise DatasetError(f"its name is that of {owner[name]} when normalised", file, "rename one of them")
            names[file], owner[name] = name, file
    return names


def listable(name: str) -> bool:
    """Whether a .txt list of images can hold a name: one line of UTF-8."""
    return name.splitlines() == [name.strip()] and is_text(name)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _read(choice: _Choice, splits: Sequence[str]) -> list[_Image]:
    """The usable images of some splits, by name; of several splits, the split's name goes before, and an image in two
    of them counts once."""
    images: list[_Image] = []
    seen: set[str] = set()
    twice = 0
    for split in splits:
        paths = choice.source.split(split)
        names = relative_names(paths)
        spec = choice.source
        labels = scan(paths, spec.label_nc, desc=f"{split}: ", yaml_file=spec.yaml_file, keypoints=spec.keypoints)
        choice.left_out += labels.left_out
        for i, file in enumerate(labels.im_files):
            if len(splits) > 1:
                real = os.path.realpath(file)
                twice += real in seen
                if real in seen:
                    continue
                seen.add(real)
            boxes = Counter(int(c) for c in labels.boxes(i)[0])
            counts = {choice.ids[c]: m for c, m in boxes.items() if c in choice.ids}
            name = names[file] if len(splits) == 1 else f"{split}/{names[file]}"
            unsure = any(c == ANY_CLASS or c in choice.ids for c in labels.ignored(i)[:, 0])
            images.append(_Image(name, file, counts, unsure))
    if twice:
        several = f"{counted(twice, 'image')} {'is' if twice == 1 else 'are'} in several of {' and '.join(splits)}"
        LOGGER.info("%s and %s once", several, "counts" if twice == 1 else "count")
    return sorted(images, key=lambda i: i.name)


def _texts(judged: Judged) -> list[tuple[int, str]]:
    """Class id, or ANY_CLASS, and the rest, as it is written, of each usable row of a label or ignore file."""
    lines = (judged.text or "").splitlines()
    return [(int(row[0]), _rest(lines[n - 1])) for row, n in zip(judged.rows, judged.lines, strict=True)]


def _rest(line: str) -> str:
    """A row without its class, one space between its words."""
    return " ".join(line.split()[1:])


# The choice


def _draw(images: Sequence[_Image], n: int | None, share: float, seed: int, split: str) -> list[_Image]:
    """Draw n images, of which a share are backgrounds; by name."""
    having = [i for i in images if i.counts]
    empty = sorted((i for i in images if not i.counts and not i.unsure), key=lambda i: rank(seed, i.name))
    with_all = round(len(having) * share / (1 - share))  # backgrounds beside all images that have a class
    wanted = with_all if n is None else min(round(n * share), with_all)
    if wanted > len(empty):
        there = f"there {'is' if len(empty) == 1 else 'are'} {len(empty)}"
        LOGGER.info("%s: %s wanted, and %s: all are used", split, counted(wanted, "background"), there)
        wanted = len(empty)
    most = len(having) if n is None else n - wanted
    if most > len(having):
        LOGGER.info(
            "%s: %s wanted, and %d have one of the classes: all are used", split, counted(most, "image"), len(having)
        )
    elif most < len(having):
        ranks = [rank(seed, i.name) for i in having]
        part = stratify([i.counts for i in having], ranks, [most, len(having) - most])
        having = [i for i, p in zip(having, part, strict=True) if p == 0]
    if wanted:
        told = counted(wanted, "background")
        LOGGER.info("%s: %s drawn, of %d images with none of the classes", split, told, len(empty))
    return sorted(having + empty[:wanted], key=lambda i: i.name)


def _all_found(choice: _Choice, images: Sequence[_Image], split: str, asked: bool) -> None:
    """Every class that was asked for is in the split to train on, and any class in every split."""
    found = {c for i in images for c in i.counts}
    missing = [name for c, name in enumerate(choice.names) if c not in found]
    where = str(choice.source.yaml_file)
    if not found:
        raise DatasetError(f"no {split} image has a box of {_some(choice.names)}", where)
    if missing and asked and split != "val" and split != "test":
        raise DatasetError(f"no {split} image has a box of {_some(missing)}", where, "leave the class out")
    if missing:
        LOGGER.warning("%s: no image has a box of %s", split, _some(missing))


def _table(names: Sequence[str], before: Sequence[_Image], after: Sequence[_Image], split: str) -> None:
    """Boxes and images per class, before and after."""
    counts = [(Counter[int](), Counter[int]()) for _ in range(2)]
    for (boxes, images), listed in zip(counts, (before, after), strict=True):
        for image in listed:
            boxes.update(image.counts)
            images.update(image.counts.keys())
    (boxes, images), (drawn_boxes, drawn_images) = counts
    total, drawn_total = max(sum(boxes.values()), 1), max(sum(drawn_boxes.values()), 1)
    width = min(max(map(len, (split, *names))), 24)
    LOGGER.info("%-*s %9s %7s %9s %7s %9s %9s", width, split, "boxes", "%", "drawn", "%", "images", "drawn")
    lost: list[str] = []
    for c, name in enumerate(names):
        shares = 100 * boxes[c] / total, 100 * drawn_boxes[c] / drawn_total
        row = boxes[c], shares[0], drawn_boxes[c], shares[1], images[c], drawn_images[c]
        LOGGER.info("%-*s %9d %7.2f %9d %7.2f %9d %9d", width, name[:width], *row)
        if boxes[c] and not drawn_boxes[c]:
            lost.append(name)
    if lost:
        LOGGER.warning("%s: no image was drawn with %s", split, _some(lost))


def _fold_table(names: Sequence[str], images: Sequence[_Image], part: Sequence[int], k: int) -> None:
    """Boxes per class, in all and in the val list of each fold."""
    folds = [Counter[int]() for _ in range(k)]
    for image, p in zip(images, part, strict=True):
        folds[p].update(image.counts)
    width = min(max(map(len, ("class", *names))), 24)
    LOGGER.info("%-*s %9s  validated on in fold 0, 1, …", width, "class", "boxes")
    for c, name in enumerate(names):
        each = [fold[c] for fold in folds]
        LOGGER.info("%-*s %9d  %s", width, name[:width], sum(each), " ".join(f"{m:5d}" for m in each))


# Writing


@dataclass
class _Written:
    """Texts of an image's files, and the SHA-256 of each file."""

    labels: str
    ignore: str
    areas: str
    digests: dict[str, str]


def _contents(image: _Image, ids: Mapping[int, int], keypoints: int) -> _Written:
    judged = judge_labels(label_file(image.file), keypoints)
    labels = "".join(f"{ids[c]} {rest}\n" for c, rest in _texts(judged) if c in ids)
    areas, _ = judge_areas(areas_file(image.file), judged)
    kept = [] if areas is None else [v for v, (c, _) in zip(areas.tolist(), _texts(judged), strict=True) if c in ids]
    sizes = "".join(f"{v!r}\n" if v > 0 else "-\n" for v in kept) if any(v > 0 for v in kept) else ""
    rows = [(c, rest) for c, rest in _texts(judge_ignored(ignore_file(image.file))) if c == ANY_CLASS or c in ids]
    ignore = "".join(f"{'*' if c == ANY_CLASS else ids[c]} {rest}\n" for c, rest in rows)
    try:
        own = Checksums.of(image.file, md5=False).sha256.hexdigest()
    except OSError as e:
        raise DatasetError(f"cannot be read: {e.strerror or e}", image.file) from None
    digests = {"image": own, "labels": hashlib.sha256(labels.encode()).hexdigest()}
    if ignore:
        digests["ignore"] = hashlib.sha256(ignore.encode()).hexdigest()
    if sizes:
        digests["areas"] = hashlib.sha256(sizes.encode()).hexdigest()
    return _Written(labels, ignore, sizes, digests)


def choice_hash(names: Sequence[str], files: Mapping[str, Mapping[str, Mapping[str, str]]], folds: Any) -> str:
    """The hash of a choice: SHA-256 over the class names, every image's name and digests, and the folds.

    Args:
        names: of the classes, by id; files: by split and name, the SHA-256 of each file; folds: names by fold.
    """
    whole = {"names": [_nfc(n) for n in names], "files": files, "folds": folds}
    text = json.dumps(whole, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _kept(target: Path, outs: Sequence[Path], choice: _Choice, copy: bool) -> dict[str, Any] | None:
    """The manifest of an earlier run with the same options; None when there is nothing yet.

    Raises:
        UserError: there is something else.
    """
    if not target.exists():
        there = next((o for o in outs if o.exists()), None)
        if there is None:
            return None
        if not target.exists():  # another process may have made both meanwhile
            raise UserError("it exists already", str(there), ELSEWHERE)
    manifest = read_manifest(target) if (target / "manifest.json").is_file() else None
    if manifest is None or manifest["kind"] != KIND or "source" not in manifest:
        raise UserError("it exists already, and is no subset", str(target), ELSEWHERE)
    options, source = manifest["options"], manifest["source"]
    wanted = {**choice.options, "source": choice.source.yaml_file.name}
    differ = [k for k, v in {**options, "source": source}.items() if k not in wanted or wanted[k] != v]
    differ += [k for k in wanted if k != "source" and k not in options]
    if differ:
        raise UserError(f"it exists already, made with another {' and '.join(differ)}", str(target), ELSEWHERE)
    if manifest.get("copy", copy) is not copy:  # earlier versions did not write it down
        raise UserError(f"it exists already, made with copy={not copy}", str(target), ELSEWHERE)
    check_whole(target, manifest["splits"])
    for i in range(len(outs) if "kfold" in options else 0):
        for split in ("train", "val"):
            if not (target / _fold_list(i, split)).is_file():
                raise UserError(f"its {_fold_list(i, split)} is missing", str(target), "remove it, to make it anew")
    return manifest


def _build(
    choice: _Choice,
    target: Path,
    outs: Sequence[Path],
    kept: Mapping[str, Any] | None,
    copy: bool,
    workers: int | None,
) -> None:
    """Write the folder as a whole, then the YAMLs."""
    jobs = [(split, image) for split, images in choice.splits.items() for image in images]
    with ThreadPoolExecutor(max_workers=workers or min(os.cpu_count() or 1, 16)) as pool:
        results = pool.map(lambda job: _contents(job[1], choice.ids, choice.source.keypoints), jobs)
        contents = list(progress(results, total=len(jobs), desc="Hashing"))
    files: dict[str, dict[str, dict[str, str]]] = {split: {} for split in choice.splits}
    for (split, image), content in zip(jobs, contents, strict=True):
        files[split][image.name] = content.digests
    digest = choice_hash(choice.names, files, choice.folds)
    _refuse_changed(kept, digest, target)
    counts = ", ".join(counted(len(images), f"{split} image") for split, images in choice.splits.items())
    if kept is not None and all(o.exists() for o in outs):
        LOGGER.info("%s is there already: %s, hash %s", target, counts, digest[:12])
        return
    objects = Counter[int]()
    for _, image in jobs:
        objects.update(image.counts)
    manifest = {
        "format": FORMAT,
        "kind": KIND,
        "created_by": __version__,
        "options": choice.options,
        "copy": copy,
        "source": choice.source.yaml_file.name,
        "names": choice.names,
        "splits": {split: len(images) for split, images in choice.splits.items()},
        "objects": {name: objects[c] for c, name in enumerate(choice.names)},
        "ignored": sum(c.ignore.count("\n") for c in contents),
        "left_out": choice.left_out,
        "hash": digest,
        "files": files,
        "folds": choice.folds,
    }
    try:
        if kept is None:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with making(target) as folder:
                    _write(folder, jobs, contents, choice, copy)
                    text = json.dumps(manifest, indent=1, ensure_ascii=False)
                    (folder / "manifest.json").write_text(text, encoding="utf-8", errors="surrogateescape")
            except TakenError:
                kept = _kept(target, outs, choice, copy)  # another process may have made the same meanwhile
                if kept is None:
                    raise
                _refuse_changed(kept, digest, target)
        for i, out in enumerate(outs):
            if not out.exists():
                data = _yaml(choice, target.name, digest, i).encode()
                write_atomically(out, partial(_put, data), key="out")
    except OSError as e:
        raise UserError(
            f"could not be written: {e.strerror or e}",
            str(e.filename2 or e.filename or target),
            "free some space or choose another out=",
        ) from None
    there = "" if kept is None else " is there already"
    LOGGER.info("%s%s: %s, hash %s", target, there, counts, digest[:12])


def _refuse_changed(kept: Mapping[str, Any] | None, digest: str, target: Path) -> None:
    if kept is not None and kept.get("hash") != digest:
        raise UserError("it exists already, and the source has changed since", str(target), ELSEWHERE)


def _put(data: bytes, file: IO[bytes]) -> None:
    file.write(data)


def _fold_list(fold: int, split: str) -> str:
    """A fold's list, inside the folder."""
    return f"folds/{fold}/{split}.txt"


def _yaml(choice: _Choice, folder: str, digest: str, fold: int) -> str:
    """The text of a YAML."""
    spec: dict[str, Any] = {"path": folder}
    if choice.folds:
        spec |= {split: _fold_list(fold, split) for split in ("train", "val")}
    spec |= {split: f"images/{split}" for split in choice.splits if split != "pool"}
    if choice.source.kpt_shape is not None:
        spec["kpt_shape"] = list(choice.source.kpt_shape)
    spec["names"] = dict(enumerate(choice.names))
    what = f"Fold {fold} of {len(choice.folds)} of" if choice.folds else "A subset of"
    header = f"# {what} {choice.source.yaml_file.name}; hash {digest[:12]}. How it was made: {folder}/manifest.json\n"
    return header + yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)


def _write(
    folder: Path, jobs: Sequence[tuple[str, _Image]], contents: Sequence[_Written], choice: _Choice, copy: bool
) -> None:
    """Images, labels, ignored regions, areas and the folds' lists."""
    for (split, image), content in progress(list(zip(jobs, contents, strict=True)), desc="Writing"):
        file = folder.joinpath("images", split, *image.name.split("/"))
        file.parent.mkdir(parents=True, exist_ok=True)
        place_image(image.file, file, "copy" if copy else "link")
        texts = {label_file(str(file)): content.labels, str(ignore_file(str(file))): content.ignore}
        texts[str(areas_file(str(file)))] = content.areas
        for path, text in texts.items():
            if text or path == label_file(str(file)):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                Path(path).write_text(text, encoding="utf-8", newline="")
    for fold, held in enumerate(choice.folds):
        lists = folder / "folds" / str(fold)
        lists.mkdir(parents=True)
        out = set(held)
        rest = [i.name for i in choice.splits["pool"] if i.name not in out]
        for split, names in (("train", rest), ("val", held)):
            text = "".join(f"../../images/pool/{name}\n" for name in names)
            (lists / f"{split}.txt").write_text(text, encoding="utf-8", newline="")
