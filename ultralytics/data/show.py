"""A contact sheet of a split: what is labelled, and what training makes of it."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ultralytics.cfg.config import KNOBS, Config, get_cfg, unknown_key
from ultralytics.cfg.dataset import DatasetSpec, load_dataset
from ultralytics.cfg.keys import TILE_KEYS
from ultralytics.cfg.knob import check_switches, check_whole
from ultralytics.data.build import WHOLE_SPLIT, build_yolo_dataset
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
    overrides the samples are tiles, and whole images as a training has them. The options are those of the command
    `show`, its keys of the augmentation and of tiles `overrides`, and `source` is what to call their origin.

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
    settle_tiles(cfg)
    spec = load_dataset(data, needs=[split])
    name = spec.yaml_file.stem if spec.yaml_file.stem != "data" else spec.yaml_file.parent.name
    given = None if out is None else _checked_place(out, overwrite)
    names = relative_names(spec.split(split))
    annotations = form_of(spec, sorted(names), task, 1).annotations
    after = _training_set(cfg, spec, split, names, max(WHOLE_SPLIT, n), seed, annotations)
    shown = _name_samples(after, names)
    chosen = sorted(range(len(after)), key=lambda i: rank(seed, shown[i]))[:n]
    if len(chosen) < n:
        LOGGER.info("%s wanted, and %d can be shown", counted(n, "image"), len(chosen))
    batch = _load_pairs(after, chosen, seed)
    captions = [text for i in chosen for text in (shown[i], "augmented")]
    shape: dict[str, Any] = {"columns": 2 * math.ceil(math.sqrt(len(chosen))), "captions": captions, "group": 2}
    file = given or _new_file(f"{name}-{split}")
    try:
        plot_images(batch, file, spec.names, len(captions), SHEET, font=font, **shape)
    except UserError as e:
        if given is None:
            file.unlink(missing_ok=True)
        raise UserError(e.what, e.where, "free some space or choose another out=") from None
    what = counted(len(chosen), "image" if after.tiles is None else "sample")
    LOGGER.info("%s of %s%s before and after augmentation: %s", what, split, ", each" * (len(chosen) > 1), file)
    return file


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
