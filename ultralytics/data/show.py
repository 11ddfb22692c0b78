"""A contact sheet of a split: what is labelled, and what training makes of it."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from ultralytics.cfg.class_folders import is_class_dataset, load_class_dataset
from ultralytics.cfg.config import KNOBS, Config, get_cfg, unknown_key
from ultralytics.cfg.dataset import DatasetSpec, load_dataset
from ultralytics.cfg.keys import TILE_KEYS
from ultralytics.cfg.knob import check_switches, check_whole
from ultralytics.data.build import WHOLE_SPLIT, build_yolo_dataset
from ultralytics.data.class_augment import settle_size, warn_idle
from ultralytics.data.class_dataset import ClassificationDataset
from ultralytics.data.class_images import image_names, list_classes
from ultralytics.data.class_scan import first_usable
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.images import listable, relative_names
from ultralytics.data.kinds import form_of
from ultralytics.data.subset.stratify import rank
from ultralytics.data.tiles import settle_tiles
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.files import user_path
from ultralytics.utils.fonts import checked_font
from ultralytics.utils.log import LOGGER
from ultralytics.utils.output_path import target_file
from ultralytics.utils.plotting import plot_images
from ultralytics.utils.text import counted
from ultralytics.utils.types import Batch, Sample, SampleKey

MOST = 64  # pairs of images on a sheet
SHEET = 2560  # longest side, pixels
AUGMENTED = "augmented"  # what is written below a training sample
AUGMENTATION = tuple(k for k, f in KNOBS.items() if f.group == "augmentation")


def show(
    data: str | Path,
    split: str = "train",
    n: int = 16,
    seed: int = 0,
    imgsz: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    overrides: Mapping[str, Any] | None = None,
    source: str = "argument",
    font: str | None = None,
    task: str | None = None,
) -> Path:
    """Draw pairs of images of a split with what is labelled: letterboxed, and as a training sample.

    The samples are those of a training run's first epoch with this seed and these settings, made by the same code.
    Which images are drawn depends on the seed and their names. Of a large split only 512 images are read, from which
    mosaics take their partners. Labels are read as for `task`, or as the YAML or their rows say. With `tiles` among the
    overrides the samples are tiles, and whole images as a training has them. Of class folders the middle of each image
    is drawn, as a validation sees it, and a training sample. The options are those of the command `show`, its keys of
    the augmentation and of tiles `overrides`, and `source` is what to call their origin.

    Returns:
        The image's file.

    Raises:
        ConfigError: a key that is not possible.
        DatasetError: no such split, or nothing usable in it.
        UserError: the image cannot be written.
    """
    _check_keys(n, seed, overwrite, overrides or {})
    font = checked_font(font)
    size = {} if imgsz is None else {"imgsz": imgsz}
    cfg = get_cfg(overrides={**(overrides or {}), **size, "seed": seed, "mask_ratio": 1}, source=source)
    given = None if out is None else _checked_place(out, overwrite)
    sheet = (_of_classes if is_class_dataset(data, task) else _of_objects)(cfg, data, split, n, task)
    count = len(sheet.captions) // 2
    if count < n:
        LOGGER.info("%s wanted, and %d can be shown", counted(n, "image"), count)
    shape: dict[str, Any] = {"columns": 2 * math.ceil(math.sqrt(count)), "captions": sheet.captions, "group": 2}
    file = given or _new_file(f"{sheet.name}-{split}")
    try:
        plot_images(sheet.batch, file, sheet.names, 2 * count, SHEET, font=font, **shape)
    except UserError as e:
        if given is None:
            file.unlink(missing_ok=True)
        raise UserError(e.what, e.where, "free some space or choose another out=") from None
    what = counted(count, sheet.of)
    LOGGER.info("%s of %s%s before and after augmentation: %s", what, split, ", each" * (count > 1), file)
    return file


class _Sheet(NamedTuple):
    """Pairs of images, those of a pair one behind the other, and what is written below each."""

    name: str  # of the dataset
    names: Mapping[int, str]  # of its classes
    batch: Any
    captions: list[str]
    of: str  # what a pair shows: image or sample


def _of_objects(cfg: Config, data: str | Path, split: str, n: int, task: str | None) -> _Sheet:
    """Draw a split of images and label files."""
    settle_tiles(cfg)
    spec = load_dataset(data, needs=[split])
    names = relative_names(spec.split(split))
    annotations = form_of(spec, sorted(names), task, 1).annotations
    after = _training_set(cfg, spec, split, names, max(WHOLE_SPLIT, n), cfg.seed, annotations)
    shown = _name_samples(after, names)
    chosen = sorted(range(len(after)), key=lambda i: rank(cfg.seed, shown[i]))[:n]
    captions = [text for i in chosen for text in (shown[i], AUGMENTED)]
    of = "image" if after.tiles is None else "sample"
    return _Sheet(_name_of(spec), spec.names, _load_pairs(after, chosen, cfg.seed), captions, of)


def _of_classes(cfg: Config, data: str | Path, split: str, n: int, _: str | None) -> _Sheet:
    """Draw a split of class folders: the middle of each image, as a validation sees it, and a training sample."""
    if cfg.tiles is not None:
        raise ConfigError(f"tiles={cfg.tiles} is for boxes, and class folders have none", hint="leave it out")
    settle_size(cfg)
    warn_idle(cfg)
    spec = load_class_dataset(data, [split])
    paths = spec.split(split)
    classes = list_classes(paths, spec.names).classes()
    names = image_names(paths, classes, spec.names)
    listed = sorted(classes.items(), key=lambda image: rank(cfg.seed, names[image[0]]))
    labels = first_usable(listed, n, spec.names)
    before, after = (ClassificationDataset(labels, cfg, augment) for augment in (False, True))
    keys = [SampleKey(i, (cfg.seed, 0, i), ()) for i in range(len(labels))]
    batch = ClassificationDataset.collate_fn([sample for key in keys for sample in (before[key], after[key])])
    boxes = {"batch_idx": torch.zeros(0), "cls": torch.zeros(0), "bboxes": torch.zeros(0, 4)}
    captions = [text for file in labels.im_files for text in (names[file], AUGMENTED)]
    return _Sheet(_name_of(spec), spec.names, {**batch, **boxes}, captions, "image")


def _name_of(spec: DatasetSpec) -> str:
    """Return what a dataset is called: its YAML or, of data.yaml, the folder."""
    return spec.yaml_file.stem if spec.yaml_file.stem != "data" else spec.yaml_file.parent.name


def _check_keys(n: int, seed: int, overwrite: bool, overrides: Mapping[str, Any]) -> None:
    check_switches({"overwrite": overwrite})
    check_whole({"n": n}, 1, MOST)
    check_whole({"seed": seed}, 0, 2**63 - 1)
    for key, value in overrides.items():
        if key not in KNOBS:
            raise unknown_key(key)
        if key not in (*AUGMENTATION, *TILE_KEYS):
            raise ConfigError(f"{key} is not an augmentation key", hint=f"those are {', '.join(AUGMENTATION)}")
        if key == "scale" and isinstance(value, str):
            raise ConfigError(f"scale={value} must be a number", hint="a letter is the scale of a model")


def _name_samples(after: YOLODataset, names: Mapping[str, str]) -> list[str]:
    """Name each sample by its image and, of a tile, its place in it."""
    shown = [names[file] for file in after.im_files]
    if after.tiles is not None:
        for i in after.tiles.is_part.nonzero()[0].tolist():
            left, top = after.tiles.places[i, :2].tolist()
            shown[i] += f" at {left},{top}"
    return shown


def _load_pairs(after: YOLODataset, chosen: Sequence[int], seed: int) -> Batch:
    """Make a batch of each image as it is and as a training sample, in turn."""
    before = copy.copy(after)
    before.augmentation = None
    partners = tuple(range(len(after))) if after.uses_partners else ()
    samples: list[Sample] = []
    for position, i in enumerate(chosen):
        samples += [before[i], after[SampleKey(i, (seed, 0, position), partners)]]
    return YOLODataset.collate_fn(samples)


def _training_set(
    cfg: Config, spec: DatasetSpec, split: str, names: Mapping[str, str], most: int, seed: int, kind: str
) -> YOLODataset:
    """Build the dataset of a split as a training does, of `most` of its images."""
    if len(names) <= most:
        return build_yolo_dataset(cfg, spec.split(split), 1, spec, prefix=split, annotations=kind)
    listed = sorted(filter(listable, names), key=lambda f: rank(seed, names[f]))[:most]
    with TemporaryDirectory() as folder:  # what the scan remembers of so odd a list goes with it
        file = Path(folder) / "images.txt"
        file.write_text("\n".join(listed), encoding="utf-8")
        return build_yolo_dataset(cfg, [file], 1, spec, prefix=split, annotations=kind)


def _new_file(name: str) -> Path:
    """Make a new, empty file in runs/show, which is this process's: others that run meanwhile take another."""
    folder = Path("runs") / "show"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(1, 100_000):
            file = folder / f"{name}{'' if i == 1 else i}.jpg"
            with contextlib.suppress(FileExistsError), open(file, "xb"):
                return file
    except OSError as e:
        raise UserError(f"could not be written: {e.strerror or e}", str(folder), "choose another out=") from None
    raise UserError("the disk is full", str(folder), "choose another out=")


def _checked_place(out: str | Path, overwrite: bool) -> Path:
    """Return the file to write, when it may be."""
    file = user_path(out)
    if file.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise ConfigError(
            "out is an image, and its name must end in .jpg or .png", str(file), f"out={file.with_suffix('.jpg')}"
        )
    return target_file(file, overwrite, "an image", needs_folder=False)
