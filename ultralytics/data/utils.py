"""Helpers around datasets under the reference's names."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import ExifTags, Image

from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.images import Unusable, judge_image
from ultralytics.data.labels import judge_labels, label_file
from ultralytics.utils.errors import DatasetError, MissingFileError
from ultralytics.utils.files import read_bytes
from ultralytics.utils.images import IMAGE_SUFFIXES, VIDEO_SUFFIXES, imread, imwrite
from ultralytics.utils.lazy import later
from ultralytics.utils.log import LOGGER

IMG_FORMATS = {suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES}
VID_FORMATS = {suffix.removeprefix(".") for suffix in VIDEO_SUFFIXES}
FORMATS_HELP_MSG = f"kinds of images: {', '.join(sorted(IMG_FORMATS))}; of videos: {', '.join(sorted(VID_FORMATS))}"
HELP_URL = "docs/datasets.md says how a dataset looks"
PIN_MEMORY = True
_POLYGONS = "YOLODataset draws the masks of polygons"
__getattr__ = later(
    __name__,
    {},
    {
        "HUBDatasetStats": "`check-data` counts what a dataset holds",
        "check_cls_dataset": "cfg.class_folders.load_class_dataset reads class folders",
        "load_dataset_cache_file": "what a scan remembers is read by the scan alone",
        "save_dataset_cache_file": "what a scan remembers is written by the scan alone",
        **dict.fromkeys(("polygon2mask", "polygons2masks", "polygons2masks_overlap"), _POLYGONS),
    },
)


def img2label_paths(img_paths: Sequence[str]) -> list[str]:
    """Return where the labels of images are: the last folder named images becomes labels, the suffix .txt."""
    return [label_file(str(path)) for path in img_paths]


def check_det_dataset(dataset: str | Path, autodownload: bool = True) -> dict[str, Any]:
    """Read a dataset's YAML as a mapping, with paths that are there: path, train, val, test, names, nc, yaml_file.

    Args:
        autodownload: of the reference; nothing is fetched, and the line says how to make the dataset.

    Raises:
        MissingFileError, DatasetError: what is wrong in it, or missing.
    """
    spec = load_dataset(dataset)
    for name in spec.splits:
        spec.split(name)
    return spec.to_dict()


def find_dataset_yaml(path: str | Path) -> Path:
    """Find the YAML of a dataset's folder.

    Raises:
        DatasetError: there is none, or several without one of the folder's name.
    """
    folder = Path(path)
    found = sorted(folder.glob("*.yaml")) or sorted(folder.rglob("*.yaml"))
    if len(found) > 1:
        found = [file for file in found if file.stem == folder.stem]
    if len(found) != 1:
        raise DatasetError("there is not one YAML in it", str(folder.absolute()), "give the file in it")
    return found[0]


def get_hash(paths: Sequence[str]) -> str:
    """Return a digest of paths and the sum of their sizes."""
    size = sum(os.path.getsize(p) for p in paths if os.path.exists(p))
    return hashlib.sha256(str(size).encode() + "".join(paths).encode()).hexdigest()


def exif_size(img: Image.Image) -> tuple[int, int]:
    """Return (width, height) of an image as it is shown: its EXIF orientation may turn it."""
    turned = img.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8) if img.format == "JPEG" else False
    return (img.height, img.width) if turned else (img.width, img.height)


def verify_image(args: tuple[tuple[str, Any], str]) -> tuple[tuple[str, Any], int, int, str]:
    """Check that an image can be used: ((file, class), prefix) → (file, class), 1 or 0 usable, 0 or 1 not, message."""
    (file, cls), prefix = args
    judged = _decoded(file)
    if isinstance(judged, Unusable):
        return (file, cls), 0, 1, f"{prefix}{file}: {judged.what}"
    return (file, cls), 1, 0, ""


def verify_image_label(args: Sequence[Any]) -> list[Any]:
    """Read an image and its label file.

    Args:
        args: image file, label file, prefix of messages, key points or not, classes, points of a pose, numbers of each.

    Returns:
        Image file, rows (n, 5), (h, w), [] for segments, None for key points; then 0 or 1 for: no label file, one, an
        empty one, a pair that cannot be used; the message. Of a pair that cannot be used file to key points are None.
    """
    image, label, prefix, _, classes, points, numbers = args
    judged = _decoded(image)
    labels = judge_labels(label, points * numbers)
    rows, found = labels.rows.astype(np.float32), labels.text is not None
    fatal = [problem.what for problem in labels.problems if problem.fatal]
    what = judged.what if isinstance(judged, Unusable) else fatal[0] if fatal else ""
    if not what and len(rows) and rows[:, 0].max() >= classes:
        what = f"class {int(rows[:, 0].max())} of {classes}, which are numbered from 0"
    if what:
        return [None, None, None, None, None, 0, 1 if found else 0, 0, 1, f"{prefix}{image}: {what}"]
    assert not isinstance(judged, Unusable)
    empty = found and not len(rows)
    return [image, rows, judged.shape[:2], [], None, int(not found), int(found), int(empty), 0, ""]


def _decoded(file: str) -> Any:
    """Decode an image, or say why it cannot be used."""
    return judge_image(np.frombuffer(read_bytes(file), np.uint8))


def autosplit(
    path: str | Path = "images", weights: Sequence[float] = (0.9, 0.1, 0.0), annotated_only: bool = False
) -> None:
    """Write autosplit_train.txt, _val.txt and _test.txt beside a folder of images, drawn with these weights.

    Raises:
        MissingFileError: no such folder.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise MissingFileError("there is no such folder of images", str(folder.absolute()))
    files = sorted(f for f in folder.rglob("*.*") if f.suffix[1:].lower() in IMG_FORMATS)
    drawn = random.Random(0).choices((0, 1, 2), weights=weights, k=len(files))
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for which, file in zip(drawn, files, strict=True):
        if not annotated_only or Path(label_file(str(file))).exists():
            lists[("train", "val", "test")[which]].append(f"./{file.relative_to(folder.parent).as_posix()}\n")
    for split, lines in lists.items():
        target = folder.parent / f"autosplit_{split}.txt"
        target.unlink(missing_ok=True)
        if lines:
            target.write_text("".join(lines), encoding="utf-8")
    LOGGER.info("written: %s", ", ".join(f"autosplit_{split}.txt" for split, lines in lists.items() if lines))


def compress_one_image(f: str | Path, f_new: str | Path | None = None, max_dim: int = 1920, quality: int = 50) -> None:
    """Write an image as a JPEG whose longer side is at most `max_dim` pixels, over itself without `f_new`.

    Raises:
        DatasetError: the image cannot be decoded.
    """
    image = imread(f)
    if image is None:
        raise DatasetError("the image cannot be decoded", str(f))
    r = max_dim / max(image.shape[:2])
    if r < 1:
        size = int(image.shape[1] * r), int(image.shape[0] * r)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]  # uint8 stays uint8
    imwrite(f_new or f, image, quality)
