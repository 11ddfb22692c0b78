"""What is measured of masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ultralytics.data.polygons import Polygons
from ultralytics.models.yolo.detect.evaluate import Pair
from ultralytics.utils.masks import Part, filled_part, process_mask
from ultralytics.utils.metrics import mask_iou
from ultralytics.utils.types import ANY_CLASS

MARGIN = 2  # pixels of the masks by which a label's mask may leave its box: it was drawn smaller than the image


def label_masks(masks: Tensor, mine: Tensor, i: int, overlap: bool) -> Tensor:
    """Return the masks (m, h, w) of an image's objects, of 0 and 1.

    Args:
        masks: of the batch; with `overlap` index maps (B, h, w), else a mask of each object (M, h, w).
        mine: (M,) which objects are the image's; i: its number.
    """
    if not overlap:
        return masks[mine.to(masks.device)].float()
    numbers = torch.arange(1, int(mine.sum()) + 1, device=masks.device)
    return (masks[i][None] == numbers[:, None, None]).float()


def overlap_of(
    found: Tensor, protos: Tensor, frame: Sequence[int], made: Pair, boxes: Tensor, labels: Tensor
) -> Tensor:
    """Return the overlaps (m, n) of an image's masks, at the size of the prototypes.

    The mask of a detection is computed where the overlap can count: where there is an object of its class whose box
    its own box meets. The overlaps of others are given as 0.

    Args:
        found: (n, 6 + k) detections; protos: (k, h, w); frame: (H, W), in whose pixels boxes are.
        made: the pair of the image, for the classes.
        boxes: (m, 4) of the objects, centre and size in 0..1; labels: (m, h, w) their masks.
    """
    overlap = torch.zeros((len(labels), len(found)), device=protos.device)
    meeting = contested(found[:, :4].cpu(), made.detected[:, 5], _corners_of(boxes, frame, protos), made.classes)
    wanted = meeting.nonzero().view(-1).to(protos.device)
    if not len(wanted):
        return overlap
    masks = process_mask(protos, found[wanted, 6:], found[wanted, :4], frame)
    if labels.shape[1:] != masks.shape[1:]:
        size = (int(masks.shape[1]), int(masks.shape[2]))
        labels = torch.nn.functional.interpolate(labels[None], size, mode="bilinear", align_corners=False)[0].gt(0.5)
    overlap[:, wanted] = mask_iou(labels.reshape(len(labels), -1), masks.view(len(masks), -1))
    return overlap


def _corners_of(boxes: Tensor, frame: Sequence[int], protos: Tensor) -> Tensor:
    """Return the corners of labelled boxes in pixels of the frame, with a margin."""
    height, width = frame
    size = torch.tensor([width, height], dtype=torch.float32)
    margin = MARGIN * size / torch.tensor([protos.shape[2], protos.shape[1]])
    centre, half = boxes[:, :2].cpu() * size, boxes[:, 2:4].cpu() * size / 2 + margin
    return torch.cat([centre - half, centre + half], 1)


def contested(found: Tensor, predicted: Tensor, targets: Tensor, classes: Tensor) -> Tensor:
    """Return which detections (n,) meet an object of their class: corners (n, 4), (m, 4) and classes of both, those of
    the objects perhaps ANY_CLASS."""
    low = torch.max(targets[:, None, :2], found[None, :, :2])
    high = torch.min(targets[:, None, 2:], found[None, :, 2:])
    meet = (high > low).all(2) & ((classes[:, None] == predicted[None]) | (classes[:, None] == ANY_CLASS))
    return meet.any(0)


def region_masks(outlines: Polygons | None, shape: tuple[int, int]) -> list[dict[str, Any] | None]:
    """Return the masks of an image's ignored regions as COCO's run lengths; None for one that is a box.

    Args:
        outlines: of the regions, in 0..1; None where none was read.
        shape: (height, width) of the image.
    """
    if outlines is None:
        return []
    height, width = shape
    size = np.array([width, height], np.float64)
    parts = [filled_part(outlines.one(i) * size, height, width) for i in range(len(outlines))]
    return [encoded([part], height, width)[0] if part[2].any() else None for part in parts]


def encoded(masks: Iterable[Part], height: int, width: int) -> list[dict[str, Any]]:
    """Return masks of an image's size as COCO's run lengths.

    Raises:
        ImportError: hotcoco is not installed.
    """
    from hotcoco.mask import encode  # a quarter of a second: only where it is asked for

    found = []
    for left, top, part in masks:
        columns = np.zeros((width, height), np.uint8)  # COCO counts down the columns
        columns[left : left + part.shape[1], top : top + part.shape[0]] = part.T
        found.append(encode(columns.T))
    return found
