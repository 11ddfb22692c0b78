"""The criteria of masks, keypoints and rotated boxes: detection's, and the parts that a task adds to it.

Shapes: B images, A anchors of all levels, M objects of the batch, K keypoints, P prototypes of h×w, n foreground
anchors.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name
from torch import Tensor, nn

from ultralytics.utils.boxes import probiou, xywh2xyxy
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.loss import BboxLoss, Matched, v8DetectionLoss
from ultralytics.utils.matching import sigmas_of
from ultralytics.utils.tal import RotatedTaskAlignedAssigner, dist2rbox, masked
from ultralytics.utils.types import Batch

COCO_KEYPOINTS = (17, 3)
PIXELS = 2**26  # of masks that a GPU compares at a time, 256 MB a number
SMALLEST_SIDE = 2  # pixels: a rotated box with a shorter side is not learned from


def labels_of(batch: Batch, key: str, count: int, kind: str, wanted: str) -> Tensor:
    """Return the batch's labels under a key, one row for each of so many things.

    Raises:
        DatasetError: there are none, or another number.
    """
    found: Any = batch.get(key)
    if found is None:
        raise DatasetError(
            f"the batch has no {key}: the dataset is of boxes, and this network learns {kind}", "", wanted
        )
    if len(found) != count:
        raise DatasetError(f"the batch has {len(found)} {key} for {count} labels of {kind}", "", wanted)
    return found  # type: ignore[no-any-return]  # a tensor, by the batch's contract


# Masks


class MaskWork(NamedTuple):
    """What the loss of masks compares, an entry or row for each foreground anchor: (n,) of them sorted by image and
    object or, where every image is padded to the most, (B, m).

    Attributes:
        image, object: whose mask it is to find: the object's number in its image; image (B, 1) where padded.
        row: the row of the batch that it is.
        crop: (…, 4) first and last column and row + 1 of the prototypes' pixels within the object's box: x, y, x, y.
        weight: of the sum over these pixels; 0 of what is padded.
        masks: index maps (B, h, w) or, without `overlap`, a mask for each object (M, h, w).
    """

    image: Tensor
    object: Tensor
    row: Tensor
    crop: Tensor
    weight: Tensor
    masks: Tensor
    overlap: bool


class MaskLoss(torch.autograd.Function):
    """Binary cross entropy of masks within their objects' boxes, weighed and added up.

    The logits of a mask at all pixels would be n·h·w numbers, several times, for the backward pass. They are computed
    within the boxes alone, where both passes are done at once, and nothing but the two gradients is kept.
    """

    @staticmethod
    def forward(ctx: Any, coefficients: Tensor, prototypes: Tensor, work: MaskWork, learns: bool) -> Tensor:
        """Coefficients (n, P) or, padded, (B, m, P) fp32, prototypes (B, P, h, w) → the sum, a scalar; `learns`: a
        backward pass follows."""
        with torch.autocast(coefficients.device.type, enabled=False):
            form = _of_images if coefficients.dim() == 3 else _of_boxes
            loss, *gradients = form(coefficients, prototypes, work, learns)
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, scale: Tensor) -> Any:
        """Scale the gradients."""
        of_coefficients, of_prototypes = ctx.saved_tensors
        return of_coefficients * scale, of_prototypes * scale.to(of_prototypes.dtype), None, None


def _of_boxes(coefficients: Tensor, prototypes: Tensor, work: MaskWork, learns: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The loss and both gradients, object after object: all anchors of one look for the same mask in the same box."""
    loss = coefficients.new_zeros(())
    of_coefficients = torch.zeros_like(coefficients)
    of_prototypes = torch.zeros_like(prototypes, dtype=torch.float32)
    if not len(coefficients):
        return loss, of_coefficients, of_prototypes.to(prototypes.dtype)
    starts = [0, *(work.row.diff().nonzero().flatten() + 1).tolist(), len(work.row)]
    first = torch.tensor(starts[:-1])
    images, objects, rows, crops, weights = (
        t[first].tolist() for t in (work.image, work.object, work.row, work.crop, work.weight)
    )
    for i, (start, end) in enumerate(pairwise(starts)):
        x1, y1, x2, y2 = crops[i]
        if x1 >= x2 or y1 >= y2:
            continue
        at = (images[i], slice(None), slice(y1, y2), slice(x1, x2))
        shown = prototypes[at].flatten(1).float()  # (P, pixels)
        target = work.masks[images[i] if work.overlap else rows[i], y1:y2, x1:x2].flatten()
        target = (target == objects[i] + 1 if work.overlap else target).float()
        mine = coefficients[start:end]
        logits = mine @ shown
        wanted = target.expand_as(logits)
        loss += weights[i] * F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
        if learns:
            error = logits.sigmoid().sub_(wanted).mul_(weights[i])
            torch.mm(error, shown.t(), out=of_coefficients[start:end])
            of_prototypes[at] += (mine.t() @ error).view(-1, y2 - y1, x2 - x1)
    return loss, of_coefficients, of_prototypes.to(prototypes.dtype)


def _of_images(coefficients: Tensor, prototypes: Tensor, work: MaskWork, learns: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The same, all images at once: their anchors are padded to the most, and PIXELS of masks compared at a time."""
    B, P, h, w = prototypes.shape
    device = prototypes.device
    shown = prototypes.flatten(2).float()
    x, y = torch.arange(w, device=device), torch.arange(h, device=device).view(h, 1)
    loss, of_mine, of_shown = coefficients.new_zeros(()), [coefficients[:, :0]], torch.zeros_like(shown)
    step = max(PIXELS // (B * h * w), 1)
    for first in range(0, coefficients.shape[1], step):
        some = slice(first, first + step)
        mine = coefficients[:, some]
        left, top, right, bottom = work.crop[:, some, :, None, None].unbind(2)
        within = ((x >= left) & (x < right) & (y >= top) & (y < bottom)).flatten(2) * work.weight[:, some, None]
        if work.overlap:
            target = work.masks.flatten(1).unsqueeze(1) == (work.object[:, some] + 1).unsqueeze(2)
        else:
            target = work.masks[work.row[:, some]].flatten(2)
        wanted = target.float()
        logits = torch.bmm(mine, shown)
        loss += (F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * within).sum()
        if learns:
            error = logits.sigmoid_().sub_(wanted).mul_(within)
            of_mine.append(torch.bmm(error, shown.transpose(1, 2)))
            of_shown.baddbmm_(mine.transpose(1, 2), error)
    found = torch.cat(of_mine, 1) if learns else torch.zeros_like(coefficients)
    return loss, found, of_shown.view(B, P, h, w).to(prototypes.dtype)


def most_of(foreground: Tensor) -> int:
    """Return the anchors of the image that has the most of a foreground (B, A): the host waits for it. To do without,
    each image would have to be padded to ten anchors an object of the fullest one, which costs more than the wait."""
    return int(foreground.sum(1).max())


class v8SegmentationLoss(v8DetectionLoss):  # noqa: N801  # the reference's name
    """Loss of `Segment`: detection's, and of every foreground anchor the binary cross entropy of its object's mask
    within the object's box, averaged over the map and divided by the box's share of the image (YOLACT, §3.1).

    The head gives coefficients (B, P, A) and prototypes (B, P, h, w), the batch `masks`: with `overlap_mask` index maps
    (B, h', w'), 0 for nothing and i + 1 for the i-th object of the image, without it masks (M, h', w') of 0 and 1.

    Args: as `v8DetectionLoss`.
    """

    parts: ClassVar[tuple[str, ...]] = ("box", "seg", "cls", "dfl")
    defaults: ClassVar[dict[str, Any]] = {"overlap_mask": True}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        args_of_run = self.hyp
        self.overlap = bool(args_of_run.overlap_mask)
        self.gains["seg"] = self.gains["box"]

    def others(self, matched: Matched, more: Sequence[Tensor], batch: Batch) -> dict[str, Tensor]:
        """The part of the masks."""
        coefficients, prototypes = more
        foreground = matched.foreground
        if masked(foreground.device):
            image = torch.arange(len(foreground), device=foreground.device)[:, None]
            anchor = foreground.byte().argsort(dim=1, descending=True, stable=True)[:, : most_of(foreground)]
            number = matched.object[image, anchor]
        else:
            image, anchor = foreground.nonzero(as_tuple=True)
            number = matched.object[image, anchor]
            order = (image * max(matched.rows.shape[1], 1) + number).argsort(stable=True)
            image, anchor, number = image[order], anchor[order], number[order]
        work = self.work(matched, image, anchor, number, batch, prototypes)
        mine = coefficients[image, :, anchor].float()
        if mine.dim() == 3:  # nothing of what is padded may reach the sums, be it infinite
            mine = mine.where(foreground[image, anchor, None], 0)
        learns = torch.is_grad_enabled() and (mine.requires_grad or prototypes.requires_grad)
        total: Tensor = MaskLoss.apply(mine, prototypes, work, learns)  # type: ignore[no-untyped-call]  # torch's own
        return {"seg": total / matched.positives}

    def work(
        self, matched: Matched, image: Tensor, anchor: Tensor, number: Tensor, batch: Batch, prototypes: Tensor
    ) -> MaskWork:
        """Return what is to be compared for the foreground anchors, sorted or padded."""
        B, _, h, w = prototypes.shape
        size = torch.stack([matched.scale.new_full((), n) for n in (w, h, w, h)])
        boxes = matched.boxes[image, anchor] / matched.scale  # 0..1
        share = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
        crop = (boxes * size).ceil().clamp(min=0).minimum(size).long()  # the pixels whose first edge lies in the box
        if not len(batch["batch_idx"]) and batch.get("masks") is None:
            masks = image.new_zeros((B if self.overlap else 0, h, w))
        else:
            count = B if self.overlap else len(batch["batch_idx"])
            hint = "train on a dataset of polygons, task=segment; task=detect learns boxes"
            masks = labels_of(batch, "masks", count, "masks", hint).to(image.device)
        if len(masks) and masks.shape[1:] != (h, w):
            masks = F.interpolate(masks[None].float(), (h, w), mode="nearest")[0]
        row = matched.rows[image, number]
        weight = (1 / (share * (h * w))).where(matched.foreground[image, anchor], 0)
        return MaskWork(image, number, row, crop, weight, masks, self.overlap)


# Keypoints


class KeypointLoss(nn.Module):
    """1 − exp(−e) of keypoints, e as in COCO's object keypoint similarity, averaged over an object's labelled points.

    Args:
        sigmas: (K,) standard deviations of the points relative to the object's size.
    """

    def __init__(self, sigmas: Tensor | Sequence[float]) -> None:
        super().__init__()
        self.sigmas = torch.as_tensor(sigmas, dtype=torch.float32)

    def forward(self, pred_kpts: Tensor, gt_kpts: Tensor, kpt_mask: Tensor, area: Tensor) -> Tensor:
        """The mean over points: predicted (n, K, 2 or 3) and true (n, K, 2 or 3), x and y, which are labelled (n, K),
        and the objects' areas (n, 1), in the same unit. Of nothing 0."""
        return self.each(pred_kpts, gt_kpts, kpt_mask, area).sum() / max(kpt_mask.numel(), 1)

    def each(self, pred_kpts: Tensor, gt_kpts: Tensor, kpt_mask: Tensor, area: Tensor) -> Tensor:
        """The same of each point, (…, K), so weighed that an object counts as much whatever part of it is labelled."""
        distance = (pred_kpts[..., :2] - gt_kpts[..., :2]).square().sum(-1)
        spread = (2 * self.sigmas.to(distance.device)).square() * (area + 1e-9) * 2
        labelled = kpt_mask.to(distance.dtype)
        weight = labelled.shape[-1] / (labelled.sum(-1, keepdim=True) + 1e-9)
        return weight * (1 - (-distance / spread).exp()) * labelled


class v8PoseLoss(v8DetectionLoss):  # noqa: N801  # the reference's name
    """Loss of `Pose`: detection's, and of every foreground anchor that of the keypoints' places and, with three numbers
    a point, the binary cross entropy of whether they are labelled.

    The head gives points (B, nk, A), the batch `keypoints` (M, K, 3): x and y in 0..1, visibility 0, 1 or 2.

    Args:
        kpt_shape: (K, 2 or 3); a detector's own where one is given. Otherwise as `v8DetectionLoss`.
    """

    parts: ClassVar[tuple[str, ...]] = ("box", "pose", "kobj", "cls", "dfl")
    defaults: ClassVar[dict[str, Any]] = {"pose": 12.0, "kobj": 1.0}

    def __init__(self, *args: Any, kpt_shape: Sequence[int] = COCO_KEYPOINTS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        hyp = self.hyp
        self.gains |= {"pose": hyp.pose, "kobj": hyp.kobj}
        network: Any = args[0] if args and isinstance(args[0], nn.Module) else None
        points, numbers = kpt_shape if network is None else network.model[-1].kpt_shape
        self.kpt_shape = (int(points), int(numbers))
        self.keypoint_loss = KeypointLoss(torch.from_numpy(sigmas_of(self.kpt_shape)))

    def others(self, matched: Matched, more: Sequence[Tensor], batch: Batch) -> dict[str, Tensor]:
        """The parts of the places and of the visibility."""
        K = self.kpt_shape[0]
        points = more[0].float().transpose(1, 2)
        points = points.reshape(*points.shape[:2], *self.kpt_shape)  # (B, A, K, 2 or 3)
        every = masked(points.device)
        objects = len(batch["batch_idx"])
        if not objects and every:  # nothing to look up, on a GPU; the head still takes part in the backward pass
            return dict.fromkeys(("pose", "kobj"), points.new_zeros(()) + points[:0].sum())
        hint = "train on a dataset with kpt_shape, task=pose; task=detect learns boxes"
        labels: Any = (
            batch.get("keypoints") if not objects else labels_of(batch, "keypoints", objects, "keypoints", hint)
        )
        if objects and labels.shape[1] != K:
            raise DatasetError(f"the batch has {labels.shape[1]} keypoints an object, and the network {K}", "", hint)
        if every:
            image = torch.arange(len(points), device=points.device)[:, None]
            row, at, chosen = matched.rows[image, matched.object], matched.anchors, matched.foreground
            boxes, strides = matched.boxes, matched.strides
        else:
            image, anchor = matched.foreground.nonzero(as_tuple=True)
            row, at, chosen = matched.rows[image, matched.object[image, anchor]], matched.anchors[anchor], None
            boxes, strides, points = matched.boxes[image, anchor], matched.strides[anchor], points[image, anchor]
        if not objects:
            return dict.fromkeys(("pose", "kobj"), points.sum())  # of no anchor
        truth = labels.to(points.device, torch.float32)[row]  # (…, K, 2 or 3)
        labelled = truth[..., 2] != 0 if truth.shape[-1] == 3 else torch.ones_like(truth[..., 0], dtype=torch.bool)
        sides = (boxes[..., 2:] - boxes[..., :2]) / strides
        area = sides.prod(-1, keepdim=True)
        xy = 2 * points[..., :2] + (at - 0.5).unsqueeze(-2)
        wanted = truth[..., :2] * matched.scale[:2] / strides.unsqueeze(-1)
        if chosen is not None:  # what is background has neither loss nor gradient
            labelled = labelled & chosen.unsqueeze(-1)
            area = torch.where(chosen.unsqueeze(-1), area, 1)
            xy = torch.where(chosen[..., None, None], xy, wanted)
        count = matched.positives * K
        pose = self.keypoint_loss.each(xy, wanted, labelled, area).sum() / count
        if self.kpt_shape[1] == 2:
            return {"pose": pose, "kobj": torch.zeros_like(pose)}
        entropy = F.binary_cross_entropy_with_logits(points[..., 2], labelled.float(), reduction="none")
        if chosen is not None:
            entropy = entropy * chosen.unsqueeze(-1)
        return {"pose": pose, "kobj": entropy.sum() / count}


# Rotated boxes


class RotatedBboxLoss(BboxLoss):
    """`BboxLoss` of rotated boxes (…, 5): overlap is `probiou`, and the distances are those to the sides of the box as
    it lies before it is turned, as the published networks were trained."""

    def overlap(self, pred: Tensor, target: Tensor) -> Tensor:
        """Overlap (…, 1) of predicted and target boxes."""
        return probiou(pred, target)

    def corners(self, boxes: Tensor) -> Tensor:
        """The boxes before they are turned, xyxy."""
        return xywh2xyxy(boxes[..., :4])


class v8OBBLoss(v8DetectionLoss):  # noqa: N801  # the reference's name
    """Loss of `OBB`: detection's, with rotated boxes.

    The head gives angles (B, 1, A), the batch `bboxes` (M, 5): centre and size in 0..1, and radians. A box with a side
    below `SMALLEST_SIDE` is left out.

    Args: as `v8DetectionLoss`.
    """

    assigns: ClassVar[type[RotatedTaskAlignedAssigner]] = RotatedTaskAlignedAssigner
    compares: ClassVar[type[RotatedBboxLoss]] = RotatedBboxLoss

    def turns(self, more: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The angles, (B, A, 1)."""
        return (more[0].float().transpose(1, 2)[..., :1],)

    def units(self, strides: Tensor) -> Tensor:
        """The stride for places and sides, 1 for the angle: (A, 5)."""
        return torch.cat((strides.expand(-1, 4), torch.ones_like(strides)), 1)

    def in_pixels(self, batch: Batch, scale: Tensor) -> Tensor:
        """The batch's boxes in pixels, (M, 5); zeros in place of those that are too small."""
        found = batch["bboxes"]
        if len(found) and found.shape[-1] != 5:
            wanted = (
                "train on a dataset of rotated boxes (four corners a row), task=obb; task=detect learns upright ones"
            )
            raise DatasetError("the batch has upright boxes, and this network learns rotated ones", "", wanted)
        boxes = found.to(scale.device, torch.float32).reshape(-1, 5) * torch.cat((scale, scale.new_ones(1)))
        return boxes * (boxes[:, 2:4] >= SMALLEST_SIDE).all(1, keepdim=True)

    def decode(self, anchors: Tensor, pred_dist: Tensor, *turns: Tensor) -> Tensor:
        """Logits (…, 4·R) at anchors (…, 2), and angles (…, 1) → boxes (…, 5) in grid units."""
        sides = self.distances(pred_dist)
        return torch.cat((dist2rbox(sides, turns[0], anchors), turns[0]), -1)
