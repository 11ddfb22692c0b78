"""Join boxes that several networks, passes or tiles have found in one image.

Boxes are rows (n, 6): corners, score, class, all in pixels of one image.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ultralytics.utils.nms import greedy_nms
from ultralytics.utils.types import BoolArray, Float64Array, Int64Array

# Overlaps from which boxes are of one object, where the user says none: SAHI's for nmm, the paper's for wbf.
NMM_OVERLAP, WBF_IOU = 0.5, 0.55
# Of `join_parts`: the share of the smaller box that makes two boxes one object where one is cut, and the score of a
# part beside the best one's that counts. Lower shares join neighbours; without a lowest score noise moves sure boxes.
PART, SURE = 0.5, 0.25


def weighted_boxes_fusion(found: Float64Array, iou: float, members: int, agnostic: bool = False) -> Float64Array:
    """Return the averages of boxes that overlap, best first: weighted boxes fusion (Solovyev, Wang and Gabruseva, 2021,
    section 3).

    Going down the scores, a box joins the cluster whose average overlaps it most and by more than `iou`, or begins one.
    With T boxes C_i in a cluster the average is Σ C_i·box_i / Σ C_i (equations 2 and 3), and its score
    Σ C_i / T · min(T, N) / N (equations 1 and 5).

    Args:
        found: (n, 6) boxes of all members.
        iou: overlap, 0..1.
        members: N, how many could have found an object.
        agnostic: boxes of different classes join; the best one's counts.
    """
    found = found[np.argsort(-found[:, 4], kind="stable")]
    score, weighted, first = np.zeros(len(found)), np.zeros((len(found), 4)), np.zeros(len(found), np.int64)
    average, size, count = np.zeros((len(found), 4)), np.zeros(len(found), np.int64), 0
    for i, row in enumerate(found):
        overlap = pair_iou(average[:count], row[:4])
        if not agnostic:
            overlap[found[first[:count], 5] != row[5]] = -1
        place = int(overlap.argmax()) if count else -1
        if place < 0 or overlap[place] <= iou:
            place, count = count, count + 1
            first[place] = i
        score[place] += row[4]
        weighted[place] += row[4] * row[:4]
        size[place] += 1
        average[place] = weighted[place] / score[place] if score[place] > 0 else found[first[place], :4]
    score = score[:count] / size[:count] * np.minimum(size[:count], members) / members
    joined = np.column_stack([average[:count], score, found[first[:count], 5]])
    return joined[np.argsort(-score, kind="stable")]


def greedy_merging(found: Float64Array, overlap: float, agnostic: bool = False) -> Float64Array:
    """Return boxes made of those that lie in each other, best first: GREEDYNMM of SAHI with its metric IOS (Akyon,
    Altinuc and Temizel, 2022).

    Going down the scores, a box takes in every box left that it shares more than `overlap` of the smaller one's area
    with, as long as that also holds for what it has grown to; it becomes the smallest one around both.

    Args:
        found: (n, 6) boxes.
        overlap: part of the smaller box, 0..1.
        agnostic: boxes of different classes join; the best one's counts.
    """
    left = found[np.argsort(-found[:, 4], kind="stable")]
    joined = []
    while len(left):
        best, left = left[0].copy(), left[1:]
        near = pair_ios(left[:, :4], best[:4]) > overlap
        if not agnostic:
            near &= left[:, 5] == best[5]
        for row in left[near]:
            if pair_ios(row[None, :4], best[:4])[0] > overlap:
                best[:2], best[2:4] = np.minimum(best[:2], row[:2]), np.maximum(best[2:4], row[2:4])
        joined.append(best)
        left = left[~near]
    return np.stack(joined) if joined else found


def join_parts(
    found: Float64Array, tile: Int64Array, cut: BoolArray, iou: float, agnostic: bool = False
) -> Float64Array:
    """Return the boxes of all tiles of an image, each object once and whole, best first.

    Going down the scores, a box drops those left that it overlaps by more than `iou`. Where one of two is cut by a
    border of its tile, and they are of different tiles, they are of one object if they share more than PART of the
    smaller one's area. So a cut box is replaced: by the whole box of its object that overlaps it most, or, if all are
    cut, by the smallest box around it and them; boxes below SURE times its score do not count. Then it drops what is
    left of its object. Further whole boxes that a cut one lies in are of other objects, and stay.

    Args:
        found: (n, 6) boxes.
        tile: (n,) numbers of their tiles.
        cut: (n,) which end at a border that lies within the image.
        iou: overlap, 0..1.
        agnostic: boxes of different classes join; the best one's counts.
    """
    order = np.argsort(-found[:, 4], kind="stable")
    found, tile, cut = found[order], tile[order], cut[order]
    groups = [np.arange(len(found))] if agnostic else [np.flatnonzero(found[:, 5] == c) for c in np.unique(found[:, 5])]
    joined, places = [], []
    for left in groups:
        while len(left):
            first, left = left[0], left[1:]
            box, place, others, drop = found[first], tile[first], found[left], np.zeros(len(left), bool)
            if cut[first]:
                near = (tile[left] != place) & (pair_ios(others[:, :4], box[:4]) > PART)
                sure = near & (others[:, 4] >= SURE * box[4])
                drop = near & (cut[left] | ~sure)
                whole = left[sure & ~cut[left]]
                if len(whole):
                    best = whole[pair_iou(found[whole, :4], box[:4]).argmax()]
                    box, place = np.concatenate((found[best, :4], box[4:])), tile[best]
                else:
                    around = np.vstack((box[None], others[sure]))
                    box = np.concatenate((around[:, :2].min(0), around[:, 2:4].max(0), box[4:]))
            drop |= pair_iou(others[:, :4], box[:4]) > iou
            drop |= cut[left] & (tile[left] != place) & (pair_ios(others[:, :4], box[:4]) > PART)
            joined.append(box)
            places.append(first)
            left = left[~drop]
    return np.stack(joined)[np.argsort(places)] if joined else found


def _shared(boxes: Float64Array, box: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return the areas (n,) that boxes (n, 4) share with one (4,), their own, and its."""
    size = np.maximum(np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2]), 0)
    return size[:, 0] * size[:, 1], (boxes[:, 2:] - boxes[:, :2]).prod(1), (box[2:] - box[:2]).prod()


def pair_iou(boxes: Float64Array, box: Float64Array) -> Float64Array:
    """Return the IoU (n,) of boxes (n, 4) with one (4,): 0 where both are empty."""
    inter, areas, area = _shared(boxes, box)
    union = areas + area - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def pair_ios(boxes: Float64Array, box: Float64Array) -> Float64Array:
    """Return the part (n,) of the smaller of boxes (n, 4) and one (4,) that they share: 0 where one is empty."""
    inter, areas, area = _shared(boxes, box)
    smaller = np.minimum(areas, area)
    return np.divide(inter, smaller, out=np.zeros_like(inter), where=smaller > 0)


def join(found: Tensor, how: str, overlap: float, members: int = 1, agnostic: bool = False) -> Tensor:
    """Return the boxes of one image, joined, best first.

    Args:
        found: (n, 6) of all networks, passes or tiles.
        how: nms drops all but the best; nmm, see `greedy_merging`; wbf, see `weighted_boxes_fusion`.
        overlap: from which boxes are of one object: IoU, of nmm the part of the smaller box.
        members: networks or passes that could have found an object; of tiles 1.
        agnostic: join across classes.
    """
    if how == "nms":
        kept = greedy_nms(found[:, :4], found[:, 4], overlap, labels=None if agnostic else found[:, 5])
        return found[kept]
    rows = found.double().cpu().numpy()
    if how == "wbf":
        joined = weighted_boxes_fusion(rows, overlap, members, agnostic)
    else:
        joined = greedy_merging(rows, overlap, agnostic)
    return torch.from_numpy(joined).to(found.device, found.dtype)
