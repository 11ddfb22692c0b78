"""Anchor geometry and the task-aligned assigner (TOOD, ICCV 2021).

Shapes: B images, G ground-truth boxes (padded), A anchors of all levels, C classes. Boxes are xyxy; rotated ones have
five numbers, see `utils/boxes.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ultralytics.utils.boxes import bbox_iou, probiou

TORCH_1_10 = True
PAIRS = 2**24  # of boxes and anchors that a GPU compares at a time, 64 MB a number


def masked(device: torch.device) -> bool:
    """Return True where assigner and loss compute with every pair and every anchor, and mask what does not count.

    On a GPU: to pick out what counts, the host would have to wait for how much it is. A CPU takes what counts alone.
    """
    return device.type != "cpu"


def make_anchors(
    feats: Sequence[Tensor], strides: Tensor | Sequence[float], grid_cell_offset: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Cell centres of every level in grid units, (A, 2) as x, y, and their strides, (A, 1);
    row-major, level after level."""
    points, steps = [], []
    if isinstance(strides, Tensor) and not torch.compiler.is_compiling():
        strides = strides.tolist()
    for feat, stride in zip(feats, strides, strict=True):
        h, w = feat.shape[2:]
        x = torch.arange(w, device=feat.device, dtype=feat.dtype) + grid_cell_offset
        y = torch.arange(h, device=feat.device, dtype=feat.dtype) + grid_cell_offset
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        points.append(torch.stack((grid_x, grid_y), -1).view(-1, 2))
        if isinstance(stride, Tensor):  # its value would end the graph
            steps.append(stride.to(feat.device, feat.dtype).expand(h * w, 1))
        else:
            steps.append(torch.full((h * w, 1), float(stride), dtype=feat.dtype, device=feat.device))
    return torch.cat(points), torch.cat(steps)


def dist2bbox(distance: Tensor, anchor_points: Tensor, xywh: bool = True, dim: int = -1) -> Tensor:
    """Distances left, top, right, bottom from the anchor points → boxes, xywh (centre) or xyxy, along `dim`."""
    lt, rb = distance.chunk(2, dim)
    x1y1, x2y2 = anchor_points - lt, anchor_points + rb
    return torch.cat(((x1y1 + x2y2) / 2, x2y2 - x1y1) if xywh else (x1y1, x2y2), dim)


def dist2rbox(pred_dist: Tensor, pred_angle: Tensor, anchor_points: Tensor, dim: int = -1) -> Tensor:
    """Distances left, top, right, bottom from the anchor points, along the sides of boxes turned by an angle (radians)
    → centre, width, height, along `dim`."""
    lt, rb = pred_dist.chunk(2, dim)
    x, y = ((rb - lt) / 2).chunk(2, dim)  # of the centre, in the box's own directions
    cos, sin = pred_angle.cos(), pred_angle.sin()
    centre = torch.cat((x * cos - y * sin, x * sin + y * cos), dim) + anchor_points
    return torch.cat((centre, lt + rb), dim)


def bbox2dist(anchor_points: Tensor, bbox: Tensor, reg_max: float) -> Tensor:
    """Boxes xyxy → distances left, top, right, bottom, limited to [0,
    reg_max − 0.01] so that both neighbouring bins exist."""
    x1y1, x2y2 = bbox.chunk(2, -1)
    return torch.cat((anchor_points - x1y1, x2y2 - anchor_points), -1).clamp(0, reg_max - 0.01)


class TaskAlignedAssigner(nn.Module):
    """Give each anchor at most one ground-truth box, by classification score and overlap together.

    The alignment of an anchor with a box is score^alpha · CIoU^beta (TOOD, eq. 1); each box takes the `topk` best
    anchors whose centre lies inside it, and an anchor wanted by several boxes goes to the one it overlaps most.

    Args:
        topk: anchors per box.
        num_classes: classes, C; also the label given to background anchors.
        alpha, beta: exponents of score and overlap.
        eps: guards divisions, and the least distance (pixels) of a centre from a box's sides.
    """

    def __init__(
        self, topk: int = 13, num_classes: int = 80, alpha: float = 1.0, beta: float = 6.0, eps: float = 1e-9
    ) -> None:
        super().__init__()
        self.topk, self.num_classes, self.alpha, self.beta, self.eps = topk, num_classes, alpha, beta, eps

    @torch.no_grad()
    def forward(
        self,
        pd_scores: Tensor,
        pd_bboxes: Tensor,
        anc_points: Tensor,
        gt_labels: Tensor,
        gt_bboxes: Tensor,
        mask_gt: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Assign.

        Args:
            pd_scores: (B, A, C) scores 0..1.
            pd_bboxes: (B, A, 4) predicted boxes, pixels.
            anc_points: (A, 2) anchor centres, pixels.
            gt_labels: (B, G, 1); gt_bboxes: (B, G, 4) pixels; mask_gt: (B, G, 1), false on padding.

        Returns:
            target_labels (B, A), target_bboxes (B, A, 4), target_scores (B, A, C), fg_mask (B, A) bool, target_gt_idx
            (B, A).
        """
        B, A, C = pd_scores.shape
        G = gt_bboxes.shape[1]
        if G == 0:
            return (
                torch.full((B, A), self.num_classes, dtype=torch.long, device=pd_scores.device),
                torch.zeros_like(pd_bboxes),
                torch.zeros_like(pd_scores),
                torch.zeros((B, A), dtype=torch.bool, device=pd_scores.device),
                torch.zeros((B, A), dtype=torch.long, device=pd_scores.device),
            )
        labels = gt_labels.long().squeeze(-1).clamp_(min=0)
        whole = masked(pd_scores.device)
        pairs = self.all_pairs if whole else self.inner_pairs
        valid, overlap, align = pairs(pd_scores, pd_bboxes, anc_points, labels, gt_bboxes, mask_gt.bool())
        positive = self.select_topk(align, mask_gt.bool()) & valid
        positive, target_gt_idx, fg_mask = self.resolve(positive, overlap)

        flat_idx = target_gt_idx + torch.arange(B, device=labels.device).unsqueeze(1) * G
        target_labels = labels.flatten()[flat_idx]
        target_bboxes = gt_bboxes.flatten(0, 1)[flat_idx]

        # Scores: the alignment, rescaled so that each box's best anchor gets the box's best overlap.
        align = align * positive
        best_align = align.amax(-1, keepdim=True)
        best_overlap = (overlap * positive).amax(-1, keepdim=True)
        weight = (align * best_overlap / (best_align + self.eps)).amax(1).unsqueeze(-1) * fg_mask.unsqueeze(-1)
        if whole:  # deterministic scattering sorts
            classes = torch.arange(C, device=labels.device)
            target_scores = torch.where(target_labels.unsqueeze(-1) == classes, weight, 0)
        else:
            target_scores = torch.zeros((B, A, C), dtype=weight.dtype, device=weight.device)
            target_scores.scatter_(2, target_labels.unsqueeze(-1), weight)
        return target_labels, target_bboxes, target_scores, fg_mask, target_gt_idx

    def inside(self, anc_points: Tensor, gt_bboxes: Tensor) -> Tensor:
        """(B, G, A) bool: the anchor's centre lies inside the box."""
        lt, rb = gt_bboxes.unsqueeze(2).chunk(2, -1)  # (B, G, 1, 2)
        return ((anc_points - lt) > self.eps).all(-1) & ((rb - anc_points) > self.eps).all(-1)

    def inner_pairs(
        self,
        pd_scores: Tensor,
        pd_bboxes: Tensor,
        anc_points: Tensor,
        labels: Tensor,
        gt_bboxes: Tensor,
        mask_gt: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(B, G, A) which anchors lie inside which boxes, and, zero elsewhere, their overlap and alignment."""
        valid = mask_gt & self.inside(anc_points, gt_bboxes)
        overlap = torch.zeros(valid.shape, dtype=gt_bboxes.dtype, device=gt_bboxes.device)
        align = torch.zeros(valid.shape, dtype=pd_scores.dtype, device=pd_scores.device)
        b, g, a = valid.nonzero(as_tuple=True)
        score = pd_scores[b, a, labels[b, g]]
        overlap[b, g, a], align[b, g, a] = self.alignment(score, gt_bboxes[b, g], pd_bboxes[b, a])
        return valid, overlap, align

    def all_pairs(
        self,
        pd_scores: Tensor,
        pd_bboxes: Tensor,
        anc_points: Tensor,
        labels: Tensor,
        gt_bboxes: Tensor,
        mask_gt: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same as `inner_pairs`, of all pairs: the host waits for nothing. At most PAIRS are compared at a time."""
        B, A, _ = pd_scores.shape
        found = []
        count = max(PAIRS // (B * A), 1)
        for first in range(0, labels.shape[1], count):
            some = slice(first, first + count)
            boxes = gt_bboxes[:, some]
            valid = mask_gt[:, some] & self.inside(anc_points, boxes)
            score = pd_scores.gather(2, labels[:, None, some].expand(-1, A, -1)).transpose(1, 2)
            overlap, align = self.alignment(score, boxes.unsqueeze(2), pd_bboxes.unsqueeze(1))
            found.append((valid, torch.where(valid, overlap, 0), torch.where(valid, align, 0)))
        valid, overlap, align = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        return valid, overlap, align

    def alignment(self, score: Tensor, gt_bboxes: Tensor, pd_bboxes: Tensor) -> tuple[Tensor, Tensor]:
        """Overlap and alignment (…) of pairs: scores (…) for the box's class, boxes (…, 4)."""
        iou = bbox_iou(gt_bboxes, pd_bboxes, xywh=False, CIoU=True).squeeze(-1).clamp_(0).to(gt_bboxes.dtype)
        return iou, score.pow(self.alpha) * iou.pow(self.beta).to(score.dtype)

    def select_topk(self, align: Tensor, mask_gt: Tensor) -> Tensor:
        """(B, G, A) bool: the anchor is among the box's best `topk`; nothing is chosen for padding."""
        chosen = torch.zeros(align.shape, dtype=torch.bool, device=align.device)
        index = align.topk(min(self.topk, align.shape[-1]), dim=-1).indices
        return chosen.scatter_(-1, index, mask_gt.expand_as(index))

    @staticmethod
    def resolve(positive: Tensor, overlap: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Leave each anchor one box, the one it overlaps most of all;
        returns positives (B, G, A), box index and mask (B, A)."""
        contested = (positive.sum(1) > 1).unsqueeze(1)  # (B, 1, A)
        boxes = torch.arange(positive.shape[1], device=positive.device).view(-1, 1)
        best = overlap.argmax(1, keepdim=True) == boxes
        positive = torch.where(contested, best, positive)
        return positive, positive.float().argmax(1), positive.any(1)


class RotatedTaskAlignedAssigner(TaskAlignedAssigner):
    """The same for rotated boxes, (…, 5): an anchor lies within a box's turned sides, and overlap is `probiou`."""

    def inside(self, anc_points: Tensor, gt_bboxes: Tensor) -> Tensor:
        """(B, G, A) bool: the anchor's centre lies inside the box, or on a side."""
        x, y, w, h, angle = gt_bboxes.unsqueeze(2).unbind(-1)  # (B, G, 1)
        dx, dy = anc_points[:, 0] - x, anc_points[:, 1] - y
        cos, sin = angle.cos(), angle.sin()
        return ((dx * cos + dy * sin).abs() <= w / 2) & ((dy * cos - dx * sin).abs() <= h / 2)

    def alignment(self, score: Tensor, gt_bboxes: Tensor, pd_bboxes: Tensor) -> tuple[Tensor, Tensor]:
        """Overlap and alignment (…) of pairs: scores (…) for the box's class, boxes (…, 5)."""
        iou = probiou(gt_bboxes, pd_bboxes).squeeze(-1).clamp_(0).to(gt_bboxes.dtype)
        return iou, score.pow(self.alpha) * iou.pow(self.beta).to(score.dtype)
