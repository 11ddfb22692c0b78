"""Files of rotated detections: predictions.json, and those that DOTA's evaluation reads."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ultralytics.data.whole import place_of
from ultralytics.engine.outputs import distinct
from ultralytics.utils.boxes import xywhr2xyxyxyxy
from ultralytics.utils.coco import Seen, image_id
from ultralytics.utils.files import write_json, write_text
from ultralytics.utils.log import LOGGER
from ultralytics.utils.nms import greedy_nms
from ultralytics.utils.output_path import make_folder
from ultralytics.utils.text import counted, safe_name

MERGED_IOU = 0.3  # overlap above which one of two detections from neighbouring tiles goes, the reference's


def rotated(detected: Tensor) -> Tensor:
    """Return the boxes (n, 5) of detections (n, 7): centre, size, angle."""
    return torch.cat([detected[:, :4], detected[:, 6:7]], 1)


def write_rotated(seen: Sequence[Seen], names: Mapping[int, str], folder: Path) -> None:
    """Write predictions.json and a file predictions_txt/Task1_CLASS.txt of each class, whose lines are an image, a
    score and four corners. Where images are tiles, predictions_merged_txt/ holds the same of the whole images. These
    files know an image by its name without folder and suffix; several of one name are a warning."""
    found = [(os.path.splitext(image.file)[0], torch.from_numpy(image.found)) for image in seen]
    stem, count = Counter(os.path.basename(path) for path, _ in found).most_common(1)[0] if found else ("", 0)
    if count > 1:
        what = "%s are called %s, and Task1 files cannot tell the detections of such images apart"
        LOGGER.warning(what, counted(count, "image"), stem)
    write_json(folder / "predictions.json", [row for image in seen for row in _rows_of(image)])
    _write_task1(folder / "predictions_txt", found, names)
    if any(place_of(path)[0] != path for path, _ in found):
        _write_task1(folder / "predictions_merged_txt", merged(found).items(), names)


def merged(found: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Return the detections (n, 7) of whole images from those of their tiles: of one object that several tiles show,
    the surest is kept.

    Args:
        found: path without suffix, and detections in pixels of the tile; what is no tile counts as a whole image. Of
            one path, as those of x.jpg and x.png, all are of one image.
    """
    parts: dict[str, list[Tensor]] = {}
    for path, detected in found:
        image, x, y = place_of(path)
        shift = detected.new_tensor([x, y, 0, 0, 0, 0, 0])
        parts.setdefault(image, []).append(detected + shift)
    whole = {}
    for image, several in parts.items():
        detected = torch.cat(several)
        if len(several) > 1:
            detected = detected[greedy_nms(rotated(detected), detected[:, 4], MERGED_IOU, labels=detected[:, 5])]
        whole[image] = detected
    return whole


def _rows_of(image: Seen) -> list[dict[str, Any]]:
    """Return an image's detections as predictions.json has them."""
    found = torch.from_numpy(image.found)
    rows = []
    for (x, y, w, h, score, cls, angle), corner in zip(found.tolist(), _corners_of_all(found), strict=True):
        box, poly = ([round(v, 3) for v in values] for values in ((x, y, w, h, angle), corner))
        row = {"image_id": image_id(image.file), "category_id": int(cls), "score": round(score, 5)}
        rows.append(row | {"rbox": box, "poly": poly})
    return rows


def _corners_of_all(found: Tensor) -> list[list[float]]:
    corners: list[list[float]] = xywhr2xyxyxyxy(rotated(found)).reshape(-1, 8).tolist()
    return corners


def _write_task1(folder: Path, found: Iterable[tuple[str, Tensor]], names: Mapping[int, str]) -> None:
    lines: dict[int, list[str]] = {number: [] for number in names}
    for path, detected in found:
        stem = os.path.basename(path)
        for row, corner in zip(detected.tolist(), _corners_of_all(detected), strict=True):
            lines[int(row[5])].append(" ".join([stem, f"{row[4]:.5f}", *(f"{v:.3f}" for v in corner)]) + "\n")
    stems = distinct(safe_name(name.replace(" ", "-")) for name in names.values())
    make_folder(folder, "project")
    for number, stem in zip(names, stems, strict=True):
        write_text(folder / f"Task1_{stem}.txt", "".join(lines[number]))
