"""The criterion of YOLOv8 detection: classification, CIoU and distribution focal losses. Those of the other tasks add
their parts to it: `utils/task_loss.py`.

Shapes: B images, A anchors of all levels, C classes, G boxes per image (padded), R bins per side (`reg_max`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name
from torch import Tensor, nn

from ultralytics.utils.boxes import bbox_iou, xywh2xyxy
from ultralytics.utils.lazy import later
from ultralytics.utils.tal import TaskAlignedAssigner, bbox2dist, dist2bbox, make_anchors, masked
from ultralytics.utils.types import Batch


def known_most(batch: Batch) -> int | None:
    """Return the boxes of a batch's fullest image as its loader has counted them, where they are still the same."""
    count, counted_of = batch.get("most") or (None, None)
    return count if counted_of is batch["batch_idx"] else None


def slots(batch_idx: Tensor, B: int, device: torch.device, most: int | None = None) -> tuple[Tensor, Tensor]:
    """Number the objects of each image from 0: the row of the batch of each, (B, G), and which there are, (B, G, 1).

    Args:
        batch_idx: (M,) image of each row.
        most: G, the objects of the fullest image or more, where it is known: to find it the host waits for a GPU.
    """
    image = batch_idx.to(device).view(-1).long()
    if not len(image):
        none = torch.zeros((B, 0), dtype=torch.long, device=device)
        return none, none.unsqueeze(-1) > 0
    image, order = image.sort(stable=True)
    bounds = torch.searchsorted(image, torch.arange(B + 1, device=device))
    first, counts = bounds[:-1, None], bounds.diff()[:, None]
    G = int(counts.max()) if most is None else most
    slot = torch.arange(G, device=device)
    return order[(first + slot).clamp(max=len(image) - 1)], (slot < counts).unsqueeze(-1)


class Matched(NamedTuple):
    """Which object each anchor has got, for the parts of a loss that follow.

    Attributes:
        anchors: (A, 2) in grid units; strides: (A, 1).
        scale: (4,) width, height, width, height of the image, pixels.
        boxes: (B, A, 4), or (B, A, 5), of the anchor's object, pixels.
        object: (B, A) its number among those of its image; rows: (B, G) the row of the batch of each.
        foreground: (B, A) bool; there is none on other anchors.
        positives: anchors in the foreground, of all processes; 1 or more.
    """

    anchors: Tensor
    strides: Tensor
    scale: Tensor
    boxes: Tensor
    object: Tensor
    rows: Tensor
    foreground: Tensor
    positives: Tensor


class DFLoss(nn.Module):
    """Distribution focal loss (Generalized Focal Loss, eq. 6): cross entropy with the two bins around the target."""

    def __init__(self, reg_max: int = 16) -> None:
        super().__init__()
        self.reg_max = reg_max

    def forward(self, pred_dist: Tensor, target: Tensor) -> Tensor:
        """Logits (n·4, R) and target distances (n, 4) in bins → (n, 1), the mean of the four sides."""
        target = target.clamp(0, self.reg_max - 1 - 0.01)
        left = target.long()
        weight_right = target - left
        nll = -pred_dist.float().log_softmax(-1)
        at_left = nll.gather(1, left.view(-1, 1)).view(left.shape)
        at_right = nll.gather(1, left.view(-1, 1) + 1).view(left.shape)
        return (at_left * (1 - weight_right) + at_right * weight_right).mean(-1, keepdim=True)

    def spread(self, pred_dist: Tensor, target: Tensor) -> Tensor:
        """The same of logits (…, 4, R) and target distances (…, 4) → (…, 1), as a product with the weights of all bins:
        nothing is gathered, so the gradient is not scattered, which deterministic kernels sort for."""
        target = target.clamp(0, self.reg_max - 1 - 0.01).unsqueeze(-1)
        bins = torch.arange(self.reg_max, dtype=target.dtype, device=target.device)
        weights = (1 - (bins - target).abs()).clamp_(min=0)
        return -(pred_dist.float().log_softmax(-1) * weights).sum(-1).mean(-1, keepdim=True)


class BboxLoss(nn.Module):
    """CIoU loss and, with more than one bin, distribution focal loss of the foreground anchors."""

    def __init__(self, reg_max: int = 16) -> None:
        super().__init__()
        self.dfl_loss = DFLoss(reg_max) if reg_max > 1 else None

    def forward(
        self,
        pred_dist: Tensor,
        pred_bboxes: Tensor,
        anchor_points: Tensor,
        target_bboxes: Tensor,
        target_scores: Tensor,
        target_scores_sum: Tensor,
        fg_mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Both losses, weighted by the target scores and divided by their sum.

        Args:
            pred_dist: (B, A, 4·R) logits; pred_bboxes, target_bboxes: (B, A, 4) xyxy in grid units.
            anchor_points: (A, 2) in grid units; target_scores: (B, A, C); fg_mask: (B, A) bool.
        """
        if masked(fg_mask.device):
            return self.of_all(
                pred_dist, pred_bboxes, anchor_points, target_bboxes, target_scores, target_scores_sum, fg_mask
            )
        image, anchor = fg_mask.nonzero(as_tuple=True)
        weight = target_scores[image, anchor].sum(-1, keepdim=True)
        target = target_bboxes[image, anchor]
        overlap = self.overlap(pred_bboxes[image, anchor], target)
        loss_iou = ((1.0 - overlap) * weight).sum() / target_scores_sum
        if self.dfl_loss is None:
            return loss_iou, torch.zeros_like(loss_iou)
        reg_max = self.dfl_loss.reg_max
        distance = bbox2dist(anchor_points[anchor], self.corners(target), reg_max - 1)
        loss_dfl = self.dfl_loss(pred_dist[image, anchor].view(-1, reg_max), distance) * weight
        return loss_iou, loss_dfl.sum() / target_scores_sum

    def overlap(self, pred: Tensor, target: Tensor) -> Tensor:
        """Overlap (…, 1) of predicted and target boxes."""
        return bbox_iou(pred, target, xywh=False, CIoU=True)

    def corners(self, boxes: Tensor) -> Tensor:
        """The upright boxes (…, 4) xyxy whose sides the distances are to."""
        return boxes

    def of_all(
        self,
        pred_dist: Tensor,
        pred_bboxes: Tensor,
        anchor_points: Tensor,
        target_bboxes: Tensor,
        target_scores: Tensor,
        target_scores_sum: Tensor,
        fg_mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The same, computed at every anchor: the host need not know which count. Background stands for its own cell,
        in prediction and target, so it has neither loss nor gradient."""
        chosen = fg_mask.unsqueeze(-1)
        weight = target_scores.sum(-1, keepdim=True) * chosen
        cell = torch.cat((anchor_points, anchor_points + 1, torch.zeros_like(anchor_points)), -1)
        cell = cell[:, : target_bboxes.shape[-1]]
        target = torch.where(chosen, target_bboxes, cell)
        overlap = self.overlap(torch.where(chosen, pred_bboxes, cell), target)
        loss_iou = ((1.0 - overlap) * weight).sum() / target_scores_sum
        if self.dfl_loss is None:
            return loss_iou, torch.zeros_like(loss_iou)
        reg_max = self.dfl_loss.reg_max
        distance = bbox2dist(anchor_points, self.corners(target), reg_max - 1)
        loss_dfl = self.dfl_loss.spread(pred_dist.view(*fg_mask.shape, 4, reg_max), distance) * weight
        return loss_iou, loss_dfl.sum() / target_scores_sum


class v8DetectionLoss:  # size: half of the attributes are what losses written for the reference read
    """Loss of YOLOv8's raw maps against a batch of boxes.

    Args:
        nc: classes; or a detector, from which classes, strides, bins and, of its `args`, the gains are taken, as of the
            reference's `v8DetectionLoss(model)`.
        strides: stride of each level, pixels.
        reg_max: bins per side.
        box, cls, dfl: gains of the three parts.
        tal_topk: anchors per ground-truth box.
        reduce: a tensor's sum over all processes that share a batch. Each calls with its own images, and the sum of
            the losses to differentiate is that of the whole batch; the parts are the whole batch's everywhere.

    Attributes:
        parts: names of the parts, in their order.
    """

    parts: ClassVar[tuple[str, ...]] = ("box", "cls", "dfl")
    defaults: ClassVar[dict[str, Any]] = {}  # of the keys of a run that a task's own parts read
    assigns: ClassVar[type[TaskAlignedAssigner]] = TaskAlignedAssigner
    compares: ClassVar[type[BboxLoss]] = BboxLoss

    def __init__(
        self,
        nc: int | nn.Module,
        strides: Sequence[float] | Tensor = (),
        reg_max: int = 16,
        box: float = 7.5,
        cls: float = 0.5,
        dfl: float = 1.5,
        tal_topk: int = 10,
        reduce: Callable[[Tensor], Tensor] = lambda t: t,
    ) -> None:
        if isinstance(nc, nn.Module):
            model: Any = nc
            head, given = model.model[-1], model.args
            given = given if isinstance(given, Mapping) else vars(given)
            args = SimpleNamespace(**{"box": box, "cls": cls, "dfl": dfl, **self.defaults, **given})
            strides, reg_max = head.stride, head.reg_max
            box, cls, dfl = args.box, args.cls, args.dfl
            classes, self.device = head.nc, next(nc.parameters()).device
        else:
            args = SimpleNamespace(box=box, cls=cls, dfl=dfl, **self.defaults)
            classes, self.device = nc, torch.device("cpu")
        self.reduce = reduce
        self.nc, self.reg_max = classes, reg_max
        self.strides = [float(s) for s in strides]
        self.gains = {"box": box, "cls": cls, "dfl": dfl}
        self.assigner = self.assigns(topk=tal_topk, num_classes=classes, alpha=0.5, beta=6.0)
        self.bbox_loss = self.compares(reg_max)
        self.assigner_of_one = self.assigns(topk=1, num_classes=self.nc, alpha=0.5, beta=6.0)
        # What a `__call__` of one's own that was written for the reference reads, besides.
        self.hyp, self.bce = args, nn.BCEWithLogitsLoss(reduction="none")
        self.no, self.use_dfl = classes + 4 * reg_max, reg_max > 1
        self._last_grid: tuple[Any, tuple[Tensor, Tensor, Tensor]] | None = None
        self.stride = torch.tensor(self.strides, device=self.device)
        self.proj = torch.arange(reg_max, dtype=torch.float, device=self.device)

    def __call__(self, preds: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss to differentiate (its parts' sum × B) and its `parts`, detached, after the gains.

        Args:
            preds: raw maps, a list of (B, 4·R + C, h, w); those of both branches of an end-to-end head, which are
                `{"one2many": raw, "one2one": raw}`; `(raw, …)` of a head that gives more (`AnchorHead`); or the
                model's evaluation output (y, any of these).
            batch: `batch_idx` (M,), `cls` (M,) or (M, 1), `bboxes` (M, 4) xywh 0..1, and what the task learns from.

        Raises:
            DatasetError: the batch lacks what the task learns from.
        """
        preds = preds[1] if isinstance(preds, tuple) and isinstance(preds[0], Tensor) else preds
        if not isinstance(preds, Mapping):
            maps, more = (preds[0], preds[1:]) if isinstance(preds, tuple) else (preds, ())
            return self._loss(maps, batch, self.assigner, more)
        many = self._loss(preds["one2many"], batch, self.assigner)
        one = self._loss(preds["one2one"], batch, self.assigner_of_one)
        return many[0] + one[0], many[1] + one[1]

    def _loss(
        self, feats: Sequence[Tensor], batch: Batch, assigner: TaskAlignedAssigner, more: Sequence[Tensor] = ()
    ) -> tuple[Tensor, Tensor]:
        """Compute the loss of one branch; `more` is what the head gives besides its maps."""
        B = feats[0].shape[0]
        turns = self.turns(more)
        device = feats[0].device
        # A copy in (B, A, channel) order, so that everything behind it reads memory in a row.
        flat = torch.cat([f.flatten(2).transpose(1, 2) for f in feats], 1)
        pred_dist, pred_logits = flat.tensor_split([4 * self.reg_max], -1)
        pred_dist, pred_logits = pred_dist.float(), pred_logits.float()
        anchors, strides, scale = self._grid([(int(f.shape[2]), int(f.shape[3])) for f in feats], device)
        rows, taken = slots(batch["batch_idx"], B, device, known_most(batch))
        gt_labels, gt_bboxes, mask_gt = self.filled(rows, taken, batch["cls"], self.in_pixels(batch, scale))
        every = masked(device)
        with torch.set_grad_enabled(every and torch.is_grad_enabled()):
            pred_bboxes = self.decode(anchors, pred_dist, *turns)
        units = self.units(strides)
        _, target_bboxes, target_scores, fg_mask, objects = assigner(
            pred_logits.detach().sigmoid(),
            pred_bboxes.detach() * units,
            anchors * strides,
            gt_labels,
            gt_bboxes,
            mask_gt,
        )
        totals = [target_scores.sum(), target_scores.new_full((), float(B)), fg_mask.sum(dtype=target_scores.dtype)]
        score_sum, images, count = self.reduce(torch.stack(totals))
        score_sum = score_sum.clamp(min=1)
        if not every:  # only foreground boxes have a gradient, so only they are decoded with one
            image, anchor = fg_mask.nonzero(as_tuple=True)
            chosen = (t[image, anchor] for t in (pred_dist, *turns))
            pred_bboxes = pred_bboxes.index_put((image, anchor), self.decode(anchors[anchor], *chosen))

        loss_cls = F.binary_cross_entropy_with_logits(pred_logits, target_scores, reduction="sum") / score_sum
        loss_box, loss_dfl = self.bbox_loss(
            pred_dist, pred_bboxes, anchors, target_bboxes / units, target_scores, score_sum, fg_mask
        )
        matched = Matched(anchors, strides, scale, target_bboxes, objects, rows, fg_mask, count.clamp(min=1))
        found = {"box": loss_box, "cls": loss_cls, "dfl": loss_dfl, **self.others(matched, more, batch)}
        parts = torch.stack([found[name] * self.gains[name] for name in self.parts])
        return parts.sum() * images, self.reduce(parts.detach())

    # What the criteria of other tasks do otherwise

    def others(self, matched: Matched, more: Sequence[Tensor], batch: Batch) -> dict[str, Tensor]:
        """The parts besides those of boxes, before the gains."""
        return {}

    def turns(self, more: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return what `decode` takes of each anchor besides the distances, (B, A, n)."""
        return ()

    def units(self, strides: Tensor) -> Tensor:
        """Grid units → pixels, for each number of a box: (A, 1) or (A, n)."""
        return strides

    def in_pixels(self, batch: Batch, scale: Tensor) -> Tensor:
        """The batch's boxes as the assigner takes them, (M, 4) xyxy pixels."""
        return xywh2xyxy(batch["bboxes"].to(scale.device, torch.float32).view(-1, 4) * scale)

    def _grid(self, sizes: list[tuple[int, int]], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Anchors (A, 2) and strides (A, 1) of maps of these sizes, and width, height, width, height of the image, (4,)
        pixels. Those of the last sizes are kept."""
        key = sizes, device, torch.is_inference_mode_enabled()  # what is made there, autograd cannot take
        if self._last_grid is None or self._last_grid[0] != key:
            maps = [torch.empty((0, 0, *size), device=device) for size in sizes]
            height, width = (torch.full((), n * self.strides[0], device=device) for n in sizes[0])
            self._last_grid = key, (*make_anchors(maps, self.strides), torch.stack([width, height, width, height]))
        return self._last_grid[1]

    @staticmethod
    def targets(
        batch_idx: Tensor, cls: Tensor, bboxes: Tensor, batch_size: int, scale: Tensor, most: int | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pad the boxes of each image to the longest: labels (B, G, 1), boxes (B, G, 4) xyxy pixels, mask (B, G, 1).

        Args:
            batch_idx: (M,) image of each box; cls: (M,) or (M, 1); bboxes: (M, 4) xywh 0..1.
            batch_size: B; scale: (4,) width, height, width, height, pixels.
            most: G, the boxes of the fullest image or more, where it is known: to find it the host waits for a GPU.
        """
        boxes = xywh2xyxy(bboxes.to(scale.device, torch.float32).view(-1, 4) * scale)
        return v8DetectionLoss.filled(*slots(batch_idx, batch_size, scale.device, most), cls, boxes)

    @staticmethod
    def filled(rows: Tensor, taken: Tensor, cls: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Labels (B, G, 1), boxes (B, G, n) and mask (B, G, 1) of the `slots` of a batch's classes and boxes (M, n)."""
        device, B = boxes.device, len(rows)
        if not rows.numel():
            none = torch.zeros((B, 0, boxes.shape[1]), device=device)
            return none[..., :1], none, none[..., :1] > 0
        labels = cls.to(device).view(-1).float()
        gt_bboxes = torch.where(taken, boxes[rows], 0)
        gt_labels = torch.where(taken, labels[rows].unsqueeze(-1), 0)
        return gt_labels, gt_bboxes, gt_bboxes.sum(-1, keepdim=True) > 0

    def preprocess(self, targets: Tensor, batch_size: int, scale_tensor: Tensor) -> Tensor:
        """Pad rows (M, 6) of image, class, xywh 0..1 as `targets`: (B, G, 5) class, xyxy pixels; as the reference."""
        padded = self.targets(targets[:, 0], targets[:, 1], targets[:, 2:], batch_size, scale_tensor)
        return torch.cat(padded[:2], 2)

    def bbox_decode(self, anchor_points: Tensor, pred_dist: Tensor) -> Tensor:
        """Decode, under the reference's name."""
        return self.decode(anchor_points, pred_dist)

    def decode(self, anchors: Tensor, pred_dist: Tensor, *turns: Tensor) -> Tensor:
        """Logits (…, 4·R) at anchors (…, 2) → boxes (…, 4) xyxy in grid units; `turns`: see `turns`."""
        return dist2bbox(self.distances(pred_dist), anchors, xywh=False)

    def distances(self, pred_dist: Tensor) -> Tensor:
        """Logits (…, 4·R) → distances (…, 4) in grid units."""
        if self.reg_max > 1:
            bins = torch.arange(self.reg_max, dtype=pred_dist.dtype, device=pred_dist.device)
            pred_dist = pred_dist.view(*pred_dist.shape[:-1], 4, self.reg_max).softmax(-1).matmul(bins)
        return pred_dist


class VarifocalLoss(nn.Module):
    """Varifocal loss (VarifocalNet, CVPR 2021, eq. 2): positives weigh their target score, negatives α·p^γ."""

    def forward(
        self, pred_score: Tensor, gt_score: Tensor, label: Tensor, alpha: float = 0.75, gamma: float = 2.0
    ) -> Tensor:
        """Logits, target scores and labels (n, C) → the mean over the classes, summed."""
        weight = alpha * pred_score.sigmoid().pow(gamma) * (1 - label) + gt_score * label
        with torch.autocast(pred_score.device.type, enabled=False):
            loss = F.binary_cross_entropy_with_logits(pred_score.float(), gt_score.float(), reduction="none")
            return (loss * weight).mean(1).sum()


class FocalLoss(nn.Module):
    """Focal loss (ICCV 2017, eq. 5)."""

    @staticmethod
    def forward(pred: Tensor, label: Tensor, gamma: float = 1.5, alpha: float = 0.25) -> Tensor:
        """Logits and labels (n, C) → the mean over the classes, summed; alpha=0 weighs both sides alike."""
        loss = F.binary_cross_entropy_with_logits(pred, label, reduction="none")
        p = pred.sigmoid()
        loss = loss * (1 - (label * p + (1 - label) * (1 - p))).pow(gamma)
        if alpha > 0:
            loss = loss * (label * alpha + (1 - label) * (1 - alpha))
        return loss.mean(1).sum()


_TASKS = "KeypointLoss RotatedBboxLoss v8OBBLoss v8PoseLoss v8SegmentationLoss"
_TWO_BRANCHES = "v10Detect trains both branches by v8DetectionLoss"
__getattr__ = later(
    __name__,
    {
        **{name: f"ultralytics.utils.task_loss:{name}" for name in _TASKS.split()},
        "OKS_SIGMA": "ultralytics.utils.matching:OKS_SIGMA",
        "v8ClassificationLoss": "ultralytics.utils.classification:v8ClassificationLoss",
    },
    dict.fromkeys(("E2EDetectLoss",), _TWO_BRANCHES),
)
