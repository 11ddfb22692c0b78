"""Non-maximum suppression."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.jit import is_scripting  # type: ignore[attr-defined]  # torch does not list it

from ultralytics.utils.boxes import batch_probiou, xywh2xyxy

CHUNK = 1024  # candidates compared with each other at a time
PAIRS = 2**26  # of all images that a GPU compares at a time


def greedy_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    max_keep: int | None = None,
    labels: Tensor | None = None,
    chunk: int = CHUNK,
) -> Tensor:
    """Indices of the boxes that greedy suppression keeps, best first, equal to torchvision's.

    Going down the scores, a box is dropped when its overlap with a kept one exceeds the threshold. torch.jit.script
    compiles it, and what it calls: exported files hold it.

    Args:
        boxes: (n, 4) corners; or (n, 5) rotated ones, which overlap by `boxes.probiou` (exported files cannot).
        scores: (n,).
        max_keep: stop after so many.
        labels: (n,) class ids; only boxes of one class suppress each other. None: all do.
        chunk: candidates compared with each other at a time.
    """
    boxes = boxes.detach()  # indices have no gradient, and what is written in place below could not pass one on
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order]
    if boxes.dtype not in (torch.float32, torch.float64):
        boxes = boxes.float()
    if labels is not None:
        labels = labels[order]
    kept: list[Tensor] = []
    count = 0
    for start in range(0, len(boxes), chunk):
        index = torch.arange(start, min(start + chunk, len(boxes)), device=boxes.device)
        if count:
            # A box met by an earlier chunk's kept box is gone.
            index = index[~_meet(boxes, labels, torch.cat(kept), index, iou_threshold).any(0)]
        suppresses = _meet(boxes, labels, index, index, iou_threshold).triu_(1).to(torch.float32)
        alive = torch.ones(len(index), device=boxes.device)
        # A box lives when no living better one suppresses it. Applying that rule to all at once settles the k-th link
        # of every chain in k rounds, and stops where greedy suppression does.
        settled = ((alive @ suppresses) == 0).to(torch.float32)
        while not torch.equal(settled, alive):
            alive = settled
            settled = ((alive @ suppresses) == 0).to(torch.float32)
        index = index[alive > 0]
        kept.append(index)
        count += len(index)
        if max_keep is not None and count >= max_keep:
            break
    chosen = torch.cat(kept) if kept else torch.zeros(0, dtype=torch.long, device=boxes.device)
    return order[chosen[:max_keep]]


def _meet(boxes: Tensor, labels: Tensor | None, a: Tensor, b: Tensor, iou_threshold: float) -> Tensor:
    """(len(a), len(b)) which pairs overlap by more than the threshold and are of one class."""
    if is_scripting():  # an exported file, which has upright boxes alone
        overlap = _overlap(boxes[a], boxes[b])
    else:
        overlap = (batch_probiou if boxes.shape[-1] == 5 else _overlap)(boxes[a], boxes[b])
    met = overlap > iou_threshold
    return met if labels is None else torch.logical_and(met, labels[a, None] == labels[b], out=met)


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    """(…, n, m) IoU of each of (…, n, 4) with each of (…, m, 4) in torchvision's arithmetic: no epsilon, so that equal
    results are equal to the last bit."""
    left_a, top_a, right_a, bottom_a = a.unsqueeze(-2).movedim(-1, 0).contiguous().unbind(0)
    left_b, top_b, right_b, bottom_b = b.unsqueeze(-3).movedim(-1, 0).contiguous().unbind(0)
    area_a, area_b = (right_a - left_a) * (bottom_a - top_a), (right_b - left_b) * (bottom_b - top_b)
    width = right_a.minimum(right_b).sub_(left_a.maximum(left_b)).clamp_(min=0)
    height = bottom_a.minimum(bottom_b).sub_(top_a.maximum(top_b)).clamp_(min=0)
    inter = width.mul_(height)
    union: Tensor = area_a + area_b - inter
    return torch.div(inter, union, out=inter)


def nms_rotated(boxes: Tensor, scores: Tensor, threshold: float = 0.45) -> Tensor:
    """Indices of the rotated boxes that the reference's suppression keeps, best first: a box goes if any better one
    overlaps it by the threshold or more, even one that is gone itself. Predictions are suppressed greedily instead.

    Args:
        boxes: (n, 5); scores: (n,).
    """
    order = scores.argsort(descending=True, stable=True)
    if not len(order):
        return order
    met = batch_probiou(boxes[order], boxes[order]).triu(1)
    return order[met.amax(0) < threshold]


def greedy_nms_of_all(
    boxes: Tensor, there: Tensor, iou_threshold: float, max_keep: int, labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`greedy_nms` of the candidates of several images at once, for a device that the host should seldom wait for.

    Args:
        boxes: (B, n, 4) corners, best first.
        there: (B, n) which of them are candidates, and not padding.
        max_keep: K, the most that are kept of an image.
        labels: (B, n) class ids; only boxes of one class suppress each other. None: all do.

    Returns:
        (B, K) places of those kept, best first, and (B,) how many of them count.
    """
    boxes = boxes.detach()
    images, device = len(boxes), boxes.device
    kept = torch.zeros((images, max_keep + 1), dtype=torch.long, device=device)  # in the last column lies what is over
    count = torch.zeros((images, 1), dtype=torch.long, device=device)
    rank = torch.arange(max_keep, device=device)

    def meet(of: Tensor, some: slice) -> Tensor:
        """(B, m, n) which boxes of these places overlap which of some by more than the threshold, class by class."""
        met = _overlap(boxes.gather(1, of.unsqueeze(-1).expand(-1, -1, 4)), boxes[:, some]) > iou_threshold
        return met if labels is None else met & (labels.gather(1, of).unsqueeze(-1) == labels[:, None, some])

    size = max(min(CHUNK, math.isqrt(PAIRS // max(images, 1))), 1)
    for start in range(0, boxes.shape[1], size):
        some = slice(start, start + size)
        places = torch.arange(start, min(start + size, boxes.shape[1]), device=device).expand(images, -1)
        free = there[:, some]
        if start:  # a box met by one kept earlier is gone
            free = free & ~(meet(kept[:, :-1], some) & (rank < count).unsqueeze(-1)).any(1)
        suppresses = (meet(places, some).triu(1) & free.unsqueeze(-1)).to(torch.float32)
        alive = free.to(torch.float32)
        while True:  # as in `greedy_nms`
            settled = ((alive.unsqueeze(1) @ suppresses).squeeze(1) == 0).logical_and(free).to(torch.float32)
            if torch.equal(settled, alive):
                break
            alive = settled
        slot = (count + (alive > 0).cumsum(1) - 1).clamp(max=max_keep)  # of whole numbers: deterministic everywhere
        kept.scatter_(1, torch.where(alive > 0, slot, max_keep), places)
        count = (count + alive.sum(1, keepdim=True).long()).clamp(max=max_keep)
        if bool((count == max_keep).all()):
            break
    return kept[:, :-1], count.squeeze(1)


def non_max_suppression(  # size: the reference's arguments, each explained
    prediction: Tensor | Sequence[Any],
    conf_thres: float = 0.25,
    iou_thres: float = 0.45,
    classes: int | Sequence[int] | None = None,
    agnostic: bool = False,
    multi_label: bool = False,
    labels: Sequence[Any] = (),
    max_det: int = 300,
    nc: int = 0,
    max_time_img: float = 0.05,
    max_nms: int = 30000,
    max_wh: float = 7680,
    in_place: bool = True,
    rotated: bool = False,
    extras: int = 0,
) -> list[Tensor]:
    """Return the detections of each image in a model's evaluation output; the arguments stand in the reference's order.

    There is no time limit. Boxes are compared as they are, never shifted by their class, so nothing depends on the
    number of classes, the size of the image or half precision.

    Args:
        prediction: (B, 4 + nc, A), boxes as centre, width, height; of an end-to-end head, with `nc` given,
            (B, n, 6), which is filtered alone; or the model's (y, raw).
        conf_thres: lowest score kept; iou_thres: overlap above which the worse box is dropped.
        classes: class ids to keep; agnostic: suppress across classes.
        multi_label: a box may carry every class above the threshold, instead of its best.
        max_det: most detections per image; max_nms: most candidates considered.
        nc: classes, all behind the boxes when 0.
        rotated: boxes have an angle in radians, the first row behind the scores.
        max_time_img, max_wh, in_place: of the reference, without effect: nothing is cut short, no box is shifted, and
            the input never changes.
        labels: of the reference, not offered.
        extras: rows of the prediction behind the scores, where that is known: an output for exactly six anchors then is
            not mistaken for an end-to-end head's.

    Returns:
        For each image (n, 6 + extras): corners, score, class, and what lies behind the scores: coefficients of masks,
        keypoints; with `rotated` centre, width, height, score, class, angle. Best first; float32 at least, as half
        precision holds no class ids over 256 (bf16) or 2048 (fp16).
    """
    if not (0 <= conf_thres <= 1 and 0 <= iou_thres <= 1):
        raise ValueError(f"thresholds must lie in 0..1: conf {conf_thres}, iou {iou_thres}")
    if len(labels):
        raise ValueError("labels to mix in (autolabelling) are not offered")
    y: Tensor = prediction if isinstance(prediction, Tensor) else prediction[0]
    ids = [classes] if isinstance(classes, int) else classes
    wanted = None if ids is None else torch.tensor(list(ids), device=y.device)
    both = not isinstance(prediction, Tensor) and len(prediction) > 1 and isinstance(prediction[1], Mapping)
    if y.shape[-1] == 6 and (both or (nc and y.shape[1] != 4 + nc + extras)):
        return [_filter_final(image.float(), conf_thres, wanted)[:max_det] for image in y]
    nc = nc or y.shape[1] - 4 - max(extras, int(rotated))
    several = multi_label and nc > 1
    if y.device.type != "cpu" and not rotated:
        return _of_all(y, nc, conf_thres, iou_thres, wanted, agnostic, several, max_det, max_nms)
    # Anchors that may matter, before anything is copied; NaN is not above any threshold.
    candidate, output = y[:, 4 : 4 + nc].amax(1) > conf_thres, []
    for image, mask in zip(y, candidate, strict=True):
        rows = image[: 4 + nc, mask].t()
        rows = rows.float() if rows.dtype.itemsize < 4 else rows
        boxes = xywh2xyxy(rows[:, :4])
        if rotated:
            boxes = torch.cat((rows[:, :4], image[4 + nc : 5 + nc, mask].t().to(rows.dtype)), 1)
        found = _above_threshold(boxes, rows[:, 4:], conf_thres, wanted, several)
        order = found[1].argsort(descending=True, stable=True)[:max_nms]
        boxes, score, label, anchor = (part[order] for part in found)
        index = greedy_nms(boxes, score, iou_thres, max_det, None if agnostic else label)
        kept = [boxes[index, :4], score[index, None], label[index, None].to(boxes.dtype)]
        if len(image) > 4 + nc:  # of those that are kept alone
            kept.append(image[4 + nc :, mask.nonzero()[anchor[index], 0]].t().to(boxes.dtype))
        output.append(torch.cat(kept, 1))
    return output


def _above_threshold(
    boxes: Tensor, scores: Tensor, conf_thres: float, wanted: Tensor | None, multi_label: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Turn boxes (n, 4 or 5) and scores (n, nc) of an image into the boxes (m, 4 or 5), scores, classes and places (m,)
    of what is above the threshold."""
    anchor = torch.arange(len(boxes), device=boxes.device)
    if multi_label:
        anchor, label = (scores > conf_thres).nonzero(as_tuple=True)
        boxes, score = boxes[anchor], scores[anchor, label]
    elif len(boxes):
        score, label = scores.max(1)
    else:
        score, label = scores.new_zeros(0), torch.zeros(0, dtype=torch.long, device=boxes.device)
    keep = torch.isfinite(boxes).all(1) & (score > conf_thres)
    if wanted is not None:
        keep &= torch.isin(label, wanted)
    found = boxes, score, label, anchor
    return found if bool(keep.all()) else (boxes[keep], score[keep], label[keep], anchor[keep])


def _of_all(
    y: Tensor,
    nc: int,
    conf_thres: float,
    iou_thres: float,
    wanted: Tensor | None,
    agnostic: bool,
    multi_label: bool,
    max_det: int,
    max_nms: int,
) -> list[Tensor]:
    """Return what `non_max_suppression` does, of all images at once: the host waits a few times per batch, not for each
    image."""
    rows = y[:, : 4 + nc].transpose(1, 2).to(torch.promote_types(y.dtype, torch.float32))
    boxes, scores = xywh2xyxy(rows[..., :4]), rows[..., 4:]
    sound = torch.isfinite(boxes).all(-1) & (scores.amax(-1) > conf_thres)  # NaN is not above any threshold
    classes = torch.arange(scores.shape[-1], device=y.device)
    if multi_label:
        candidate = (scores > conf_thres) & sound.unsqueeze(-1)
        if wanted is not None:
            candidate &= torch.isin(classes, wanted)
        image, anchor, label = candidate.nonzero(as_tuple=True)
    else:
        labels = scores.argmax(-1)
        candidate = sound if wanted is None else sound & torch.isin(labels, wanted)
        image, anchor = candidate.nonzero(as_tuple=True)
        label = labels[image, anchor]
    score = scores[image, anchor, label]
    if not len(image):
        return [rows.new_zeros((0, 2 + y.shape[1] - nc)) for _ in rows]
    order = score.argsort(descending=True, stable=True)
    order = order[image[order].argsort(stable=True)]  # image by image, best first
    bounds = torch.searchsorted(image, torch.arange(len(rows) + 1, device=y.device))
    first, counts = bounds[:-1, None], bounds.diff()
    place = torch.arange(min(int(counts.max()), max_nms), device=y.device)
    source = order[(first + place).clamp(max=len(image) - 1)]
    found = torch.cat((boxes[image, anchor], score.unsqueeze(-1), label.unsqueeze(-1).to(boxes.dtype)), -1)[source]
    there, classes = place < counts.unsqueeze(-1), label[source]
    kept, count = greedy_nms_of_all(found[..., :4], there, iou_thres, max_det, None if agnostic else classes)
    chosen = found.gather(1, kept.unsqueeze(-1).expand(-1, -1, 6))
    if y.shape[1] > 4 + nc:
        behind, place = y[:, 4 + nc :].transpose(1, 2), anchor[source].gather(1, kept).unsqueeze(-1)
        extras = behind.gather(1, place.expand(-1, -1, behind.shape[-1]))
        chosen = torch.cat((chosen, extras.to(chosen.dtype)), -1)
    return [one[:n] for one, n in zip(chosen, count.tolist(), strict=True)]


def _filter_final(found: Tensor, conf_thres: float, wanted: Tensor | None) -> Tensor:
    """Return those of an end-to-end head's detections (n, 6), best first, that are above the threshold."""
    keep = torch.isfinite(found).all(1) & (found[:, 4] > conf_thres)
    if wanted is not None:
        keep &= torch.isin(found[:, 5].long(), wanted)
    return found[keep]
