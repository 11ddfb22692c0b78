"""Smaller datasets from larger ones: some classes, some images, or folds for cross-validation.

What is drawn is a function of the options and of the images' names within their split: not of paths, the order of a
file system, or the number of processes. The manifest's hash says whether two choices are the same.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ultralytics.cfg.knob import check_switches, check_whole
from ultralytics.data.images import listable
from ultralytics.data.subset.choice import Choice, SourceImage, begin, read_images, some_of
from ultralytics.data.subset.stratify import rank, stratify
from ultralytics.data.subset.write import build, read_earlier
from ultralytics.data.whole import by_image
from ultralytics.utils.errors import ConfigError, DatasetError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted


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
    """Draw a stratified subset of a dataset.

    Written are OUT without its suffix as a folder (images, labels, ignore, manifest.json) and then the YAML, which is
    returned. Where they hold the same choice already, nothing is done. The options are those of the command `subset`.

    Raises:
        ConfigError: an option that is not possible; DatasetError: the source cannot be used, or lacks a class;
        UserError: `out` is something else already, or cannot be written.
    """
    check_switches({"copy": copy})
    given = _check_options(n=n, val_n=val_n, test_n=test_n, seed=seed, backgrounds=backgrounds, workers=workers)
    choice, out, target = begin(data, out, classes, given)
    if choice.by_folder and backgrounds:
        raise ConfigError(f"backgrounds={backgrounds}: in class folders every image has a class", hint="leave it out")
    earlier = read_earlier(target, [out], choice, copy)
    for split in choice.source.splits:
        images = read_images(choice, [split])
        _all_found(choice, images, split, requested=classes is not None)
        wanted = given[{"train": "n"}.get(split, f"{split}_n")]
        choice.splits[split] = _draw(images, wanted, backgrounds, seed, split)
        if split == "train" or wanted is not None:
            _table(choice, images, choice.splits[split], split)
    build(choice, target, [out], earlier, copy, workers)
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
    """Divide the train and val images of a dataset into folds for cross-validation.

    Every image is validated on by one fold and trained on by the others. The folds differ by at most one image, an
    image's tiles counting as one, and each has its share of every class. The images lie once in the new folder; a fold
    is two lists. An image that is both in train and in val counts once. The test split is drawn as `subset` draws it.

    Args:
        k: number of folds.
        n: images to draw before dividing.
        backgrounds: as in `subset`; when None and neither `classes` nor `n` is given, all images without boxes stay.
        Others, and what is raised: as in `subset`.

    Returns:
        The YAMLs, OUT without its suffix + -fold0.yaml and so on.
    """
    check_switches({"copy": copy})
    check_whole({"kfold": k}, 2)
    given = _check_options(n=n, test_n=test_n, seed=seed, backgrounds=backgrounds, workers=workers) | {"kfold": k}
    choice, out, target = begin(data, out, classes, given)
    if choice.by_folder:
        hint = "prepare classify with another seed= draws another val"
        raise ConfigError(f"kfold={k}: folds are lists of images, and class folders are not listed", hint=hint)
    outs = [out.with_name(f"{out.stem}-fold{i}{out.suffix}") for i in range(k)]
    earlier = read_earlier(target, outs, choice, copy)
    everything = classes is None and n is None and backgrounds is None
    share = backgrounds or 0.0
    pool = read_images(choice, ["train", "val"])
    _all_found(choice, pool, "train or val", requested=classes is not None)
    drawn = pool if everything else _draw(pool, n, share, seed, "train and val")
    if len(drawn) < k:
        raise ConfigError(f"kfold={k}: there are only {counted(len(drawn), 'image')}", str(choice.source.yaml_file))
    part = _divide(drawn, k, seed)
    choice.folds = [sorted(i.name for i, p in zip(drawn, part, strict=True) if p == fold) for fold in range(k)]
    choice.splits["pool"] = drawn
    if len(drawn) < len(pool):
        _table(choice, pool, drawn, "train and val")
    _fold_table(choice.names, drawn, part, k)
    if "test" in choice.source.splits:
        images = read_images(choice, ["test"])
        choice.splits["test"] = images if everything else _draw(images, test_n, share, seed, "test")
    elif test_n is not None:
        choice.source.split("test")
    build(choice, target, outs, earlier, copy, workers)
    return outs


def _divide(drawn: Sequence[SourceImage], k: int, seed: int) -> list[int]:
    """Return the fold of each image; an image's tiles, named as `place_of` reads them, count as one image."""
    odd = next((i.file for i in drawn if not listable(i.name)), None)
    if odd is not None:
        raise DatasetError("this name cannot be written to a list of images", repr(odd)[1:-1], "rename it")
    # Without the split's name: an image may have tiles in train and in val.
    together = by_image([os.path.splitext(i.name.partition("/")[2])[0] for i in drawn])
    if len(together) < k:
        raise ConfigError(f"kfold={k}: the tiles are of only {counted(len(together), 'image')}")
    sizes = [len(together) // k + (i < len(together) % k) for i in range(k)]
    counts: list[Counter[int]] = [sum((Counter(drawn[i].counts) for i in group), Counter()) for group in together]
    parts = stratify(counts, [rank(seed, min(drawn[i].name for i in group)) for group in together], sizes)
    found = [0] * len(drawn)
    for group, part in zip(together, parts, strict=True):
        for i in group:
            found[i] = part
    return found


def _check_options(**given: Any) -> dict[str, Any]:
    """Check that each option is in its range."""
    check_whole({k: given.get(k) for k in ("n", "val_n", "test_n", "workers")}, 1)
    check_whole({"seed": given["seed"]}, 0)
    share = given["backgrounds"]
    if share is not None and (isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1):
        raise ConfigError(f"backgrounds={share} must be a part of the images, 0 to below 1")
    return {k: v for k, v in given.items() if k != "workers"}


def _draw(images: Sequence[SourceImage], n: int | None, share: float, seed: int, split: str) -> list[SourceImage]:
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
        text = counted(wanted, "background")
        LOGGER.info("%s: %s drawn, of %d images with none of the classes", split, text, len(empty))
    return sorted(having + empty[:wanted], key=lambda i: i.name)


def _all_found(choice: Choice, images: Sequence[SourceImage], split: str, requested: bool) -> None:
    """Check that every class that was requested is in the split to train on, and any class in every split."""
    found = {c for i in images for c in i.counts}
    has = "is a" if choice.by_folder else "has a box of"
    missing = [name for c, name in enumerate(choice.names) if c not in found]
    where = str(choice.source.yaml_file)
    if not found:
        raise DatasetError(f"no {split} image {has} {some_of(choice.names)}", where)
    if missing and requested and split != "val" and split != "test":
        raise DatasetError(f"no {split} image {has} {some_of(missing)}", where, "leave the class out")
    if missing:
        LOGGER.warning("%s: no image %s %s", split, has, some_of(missing))


def _table(choice: Choice, before: Sequence[SourceImage], after: Sequence[SourceImage], split: str) -> None:
    """Log boxes and images per class, before and after; of class folders a label of each image."""
    names = choice.names
    counts = [(Counter[int](), Counter[int]()) for _ in range(2)]
    for (boxes, images), listed in zip(counts, (before, after), strict=True):
        for image in listed:
            boxes.update(image.counts)
            images.update(image.counts.keys())
    (boxes, images), (drawn_boxes, drawn_images) = counts
    total, drawn_total = max(sum(boxes.values()), 1), max(sum(drawn_boxes.values()), 1)
    width = min(max(map(len, (split, *names))), 24)
    head = "labels" if choice.by_folder else "boxes"
    LOGGER.info("%-*s %9s %7s %9s %7s %9s %9s", width, split, head, "%", "drawn", "%", "images", "drawn")
    lost: list[str] = []
    for c, name in enumerate(names):
        shares = 100 * boxes[c] / total, 100 * drawn_boxes[c] / drawn_total
        row = boxes[c], shares[0], drawn_boxes[c], shares[1], images[c], drawn_images[c]
        LOGGER.info("%-*s %9d %7.2f %9d %7.2f %9d %9d", width, name[:width], *row)
        if boxes[c] and not drawn_boxes[c]:
            lost.append(name)
    if lost:
        LOGGER.warning("%s: no image was drawn with %s", split, some_of(lost))


def _fold_table(names: Sequence[str], images: Sequence[SourceImage], part: Sequence[int], k: int) -> None:
    """Log boxes per class, in all and in the val list of each fold."""
    folds = [Counter[int]() for _ in range(k)]
    for image, p in zip(images, part, strict=True):
        folds[p].update(image.counts)
    width = min(max(map(len, ("class", *names))), 24)
    LOGGER.info("%-*s %9s  validated on in fold 0, 1, …", width, "class", "boxes")
    for c, name in enumerate(names):
        each = [fold[c] for fold in folds]
        LOGGER.info("%-*s %9d  %s", width, name[:width], sum(each), " ".join(f"{m:5d}" for m in each))
