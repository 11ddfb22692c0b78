"""The heads. B images, A anchors of all levels, R = reg_max bins per side."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name
from torch import Tensor, nn

from ultralytics.nn.modules.classify import Classify as Classify  # where scripts and weights files look for it
from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.modules.csp import DFL, Proto
from ultralytics.nn.registry import anchor_head, detect_head, prototype_head, register
from ultralytics.utils.errors import ModelError
from ultralytics.utils.tal import dist2bbox, dist2rbox, make_anchors

Classify.__module__ = __name__  # the path by which logs and files of either project name a head


def is_head(module: nn.Module) -> bool:
    """Return True for a head: it has `nc` classes, a `stride` per level and, unless it is of the whole image, `reg_max`
    bins per side."""
    whole = getattr(module, "whole_image", False)
    return all(hasattr(module, name) for name in (("nc", "stride") if whole else ("nc", "reg_max", "stride")))


@register(detect_head)
class Detect(nn.Module):
    """YOLOv8's anchor-free, decoupled head.

    In training it returns the raw maps, a list of (B, 4·R + nc, h, w); in evaluation `(y, raw)` with y (B, 4 + nc, A):
    boxes as centre, width and height in input pixels, then class scores 0..1. With `export` only y.

    Heads written for the reference as subclasses find what they call there: `decode_bboxes`, `bias_init`, and
    `shape`, `anchors`, `strides` and `dynamic` for grids that are kept from one pass to the next.

    Args:
        nc: classes.
        ch: channels of each source map, finest first.
    """

    dynamic = False  # a subclass's: grids are made anew in every pass
    export = False
    format: ClassVar[str | None] = None  # a subclass's: of an export, none here
    end2end = False  # one prediction per object: nothing is left to suppress
    max_det = 300
    shape: Any = None
    anchors = torch.empty(0)
    strides = torch.empty(0)
    class_branch: ClassVar[tuple[str, ...]] = ("cv3",)  # its tensors' shapes follow nc
    extra = 0  # numbers behind an anchor's scores
    steps: tuple[float, ...] = ()  # the strides as numbers: read from a tensor, they would end a compiled graph

    @property
    def stride(self) -> Tensor:
        """Return input pixels per cell of each source map, (levels,)."""
        return torch.tensor(self.steps)

    @stride.setter
    def stride(self, strides: Tensor | Sequence[float]) -> None:
        unknown = isinstance(strides, Tensor) and strides.is_meta  # of a network that is built without its numbers
        self.steps = (0.0,) * len(strides) if unknown else tuple(map(float, strides))

    def __init__(self, nc: int = 80, ch: Sequence[int] = ()) -> None:
        super().__init__()
        self.nc = nc
        self.nl = len(ch)
        self.reg_max = 16
        self.no = nc + 4 * self.reg_max
        self.stride = torch.zeros(self.nl)
        c2 = max(16, ch[0] // 4, 4 * self.reg_max)
        c3 = max(ch[0], min(nc, 100))
        self.cv2 = nn.ModuleList(
            nn.Sequential(Conv(c, c2, 3), Conv(c2, c2, 3), nn.Conv2d(c2, 4 * self.reg_max, 1)) for c in ch
        )
        self.cv3 = nn.ModuleList(nn.Sequential(Conv(c, c3, 3), Conv(c3, c3, 3), nn.Conv2d(c3, nc, 1)) for c in ch)
        self.dfl = DFL(self.reg_max)

    def forward(self, x: list[Tensor]) -> Any:
        own = type(self)
        if self.export and not self.training and (own.raw, own.decode) == (Detect.raw, Detect.decode):
            return self._joined(*self._apart(x))
        raw = self.raw(x, self.cv2, self.cv3)
        if self.training:
            return raw
        y = self.decode(raw)
        return y if self.export else (y, raw)

    @staticmethod
    def raw(x: Sequence[Tensor], boxes: nn.ModuleList, scores: nn.ModuleList) -> list[Tensor]:
        """Raw maps of two branches."""
        return [torch.cat((box(m), score(m)), 1) for m, box, score in zip(x, boxes, scores, strict=True)]

    def decode(self, raw: list[Tensor]) -> Tensor:
        """Raw maps → (B, 4 + nc, A), in fp32 at least: half types cannot hold a pixel position in a large image."""
        return self._joined(*self._split(raw))

    def _split(self, raw: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Raw maps → the numbers of boxes (B, 4·R, A) and of classes (B, nc, A), and maps of the levels' sizes."""
        box, score = _flat(raw).tensor_split([4 * self.reg_max], 1)
        return box, score, raw

    def _apart(self, x: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """As `_split`, of source maps. Boxes and scores are never put together only to be taken apart: runtimes copy
        the maps for both."""
        boxes, scores = ([conv(m) for m, conv in zip(x, c, strict=True)] for c in (self.cv2, self.cv3))
        return _flat(boxes), _flat(scores), boxes

    def _joined(self, box: Tensor, score: Tensor, maps: list[Tensor]) -> Tensor:
        """Decode (B, 4·R, A) and (B, nc, A), of maps of these sizes."""
        anchors, strides = make_anchors([m.to(box.dtype) for m in maps], self.steps)
        boxes = self.decode_bboxes(self.dfl(box), anchors.t().unsqueeze(0)) * strides.t()
        return torch.cat((boxes, score.sigmoid()), 1)

    def _inference(self, x: list[Tensor]) -> Tensor:
        """As `decode`, under the reference's name."""
        return self.decode(x)

    def decode_bboxes(self, bboxes: Tensor, anchors: Tensor) -> Tensor:
        """Distances (B, 4, A) from anchors (…, 2, A) → boxes (B, 4, A): centre, width, height, or corners of an
        end-to-end head."""
        return dist2bbox(bboxes, anchors, xywh=not self.end2end, dim=1)

    @torch.no_grad()
    def bias_init(self) -> None:
        """Start the class scores at the odds of 5 objects in a 640-pixel image. Needs the strides."""
        self._bias_init(self.cv2, self.cv3)

    def _bias_init(self, boxes: nn.ModuleList, scores: nn.ModuleList) -> None:
        for box, score, stride in zip(boxes, scores, self.stride.tolist(), strict=True):
            box[-1].bias.fill_(1.0)  # type: ignore[index]  # a convolution, by construction
            score[-1].bias[: self.nc] = math.log(5 / self.nc / (640 / stride) ** 2)  # type: ignore[index]  # a convolution, by construction


def _flat(maps: Sequence[Tensor]) -> Tensor:
    """Put maps (B, C, h, w) of all levels one behind the other: (B, C, A), fp32 at least."""
    flat = torch.cat([m.flatten(2) for m in maps], 2)
    return flat.to(torch.promote_types(flat.dtype, torch.float32))


@register(detect_head)
class v10Detect(Detect):  # noqa: N801  # the reference's name
    """YOLOv10's head: beside the branches that learn from several anchors per object, branches that learn from one
    (Wang et al. 2024, §3.1), which predict without suppression.

    In training it returns `{"one2many": raw, "one2one": raw}`, raw as Detect's; in evaluation `(y, that)` with y
    (B, n, 6), the best n ≤ `max_det` predictions: corners in input pixels, score, class. With `export` only y, which
    then has `max_det` rows at any size: where there are fewer anchors, zeros follow.

    Args: as `Detect`.
    """

    end2end = True
    class_branch: ClassVar[tuple[str, ...]] = ("cv3", "one2one_cv3")

    def __init__(self, nc: int = 80, ch: Sequence[int] = ()) -> None:
        super().__init__(nc, ch)
        c3 = max(ch[0], min(nc, 100))
        self.cv3 = nn.ModuleList(
            nn.Sequential(
                nn.Sequential(Conv(c, c, 3, g=c), Conv(c, c3, 1)),
                nn.Sequential(Conv(c3, c3, 3, g=c3), Conv(c3, c3, 1)),
                nn.Conv2d(c3, nc, 1),
            )
            for c in ch
        )
        self.one2one_cv2 = copy.deepcopy(self.cv2)
        self.one2one_cv3 = copy.deepcopy(self.cv3)

    def forward(self, x: list[Tensor]) -> Any:
        # What learns from one anchor alone does not move the network; where nothing learns, gradients are for a reader.
        apart = [m.detach() for m in x] if self.training else x
        raw = {
            "one2many": self.raw(x, self.cv2, self.cv3),
            "one2one": self.raw(apart, self.one2one_cv2, self.one2one_cv3),
        }
        if self.training:
            return raw
        preds = self.decode(raw["one2one"]).transpose(1, 2)
        anchors = preds.shape[1]  # a number, unless the size is to stay free
        if not self.export:
            return self.postprocess(preds, self.max_det, self.nc), raw
        if isinstance(anchors, int) and anchors >= self.max_det:
            return self.postprocess(preds, self.max_det, self.nc)
        more = (0, 0, 0, self.max_det)
        there = F.pad(torch.ones_like(preds[..., :1]), more)[:, : self.max_det]  # rows for which there are anchors
        return self.postprocess(F.pad(preds, more), self.max_det, self.nc) * there

    @staticmethod
    def postprocess(preds: Tensor, max_det: int, nc: int = 80) -> Tensor:
        """Return the best predictions: (B, A, 4 + nc) → (B, min(max_det, A), 6) boxes, score, class.

        Anchors are chosen by their best class, then pairs of anchor and class by their score.
        """
        # No slices: OpenVINO takes one that a gather reads for needless, and then fails on its own graph.
        boxes, scores = preds.split_with_sizes((4, nc), -1)
        n = min(max_det, preds.shape[1])
        anchor = scores.amax(-1).topk(n)[1].unsqueeze(-1)
        boxes, scores = boxes.gather(1, anchor.expand(-1, -1, 4)), scores.gather(1, anchor.expand(-1, -1, nc))
        score, pair = scores.flatten(1).topk(n)
        boxes = boxes.gather(1, (pair // nc).unsqueeze(-1).expand(-1, -1, 4))
        return torch.cat((boxes, score.unsqueeze(-1), (pair % nc).unsqueeze(-1).to(boxes.dtype)), -1)

    @torch.no_grad()
    def bias_init(self) -> None:
        """As Detect's, for both kinds of branches."""
        super().bias_init()
        self._bias_init(self.one2one_cv2, self.one2one_cv3)


class AnchorHead(Detect):
    """Detect with a third branch, `cv4`, whose numbers at each anchor belong to the box found there.

    In training it returns `(raw, numbers, …)`: raw as Detect's, numbers (B, n, A) as the loss reads them, and what
    `shared` gives. In evaluation `(y, that)`, with y (B, 4 + nc + n, A): boxes, scores, and the numbers as `placed`
    gives them. With `export` y and what `shared` gives, or y alone.

    Args:
        nc: classes.
        n: numbers at each anchor.
        ch: channels of each source map, finest first.
    """

    def __init__(self, nc: int, n: int, ch: Sequence[int]) -> None:
        super().__init__(nc, ch)
        self.extra = n
        c4 = max(ch[0] // 4, n)
        self.cv4 = nn.ModuleList(nn.Sequential(Conv(c, c4, 3), Conv(c4, c4, 3), nn.Conv2d(c4, n, 1)) for c in ch)

    def forward(self, x: list[Tensor]) -> Any:
        shared = self.shared(x)
        numbers = self.activated(_flat([conv(m) for m, conv in zip(x, self.cv4, strict=True)]))
        if self.training:
            return (self.raw(x, self.cv2, self.cv3), numbers, *shared)
        if self.export:
            y = self._with_numbers(*self._apart(x), numbers)
            return (y, *shared) if shared else y
        raw = self.raw(x, self.cv2, self.cv3)
        return self._with_numbers(*self._split(raw), numbers), (raw, numbers, *shared)

    def shared(self, x: list[Tensor]) -> tuple[Tensor, ...]:
        """Return what all anchors of an image share, of its source maps."""
        return ()

    def activated(self, numbers: Tensor) -> Tensor:
        """The branch's output (B, n, A), fp32 at least → as the loss reads it."""
        return numbers

    def placed(self, numbers: Tensor, anchors: Tensor, strides: Tensor) -> Tensor:
        """The activated numbers (B, n, A) at anchors (2, A) in grid units, of strides (1, A), as y holds them."""
        return numbers

    def boxes(self, distances: Tensor, numbers: Tensor, anchors: Tensor) -> Tensor:
        """Distances (B, 4, A) → boxes (B, 4, A) in grid units: centre, width, height."""
        return self.decode_bboxes(distances, anchors)

    def _with_numbers(self, box: Tensor, score: Tensor, maps: list[Tensor], numbers: Tensor) -> Tensor:
        points, steps = make_anchors([m.to(box.dtype) for m in maps], self.steps)
        anchors, strides = points.t(), steps.t()
        boxes = self.boxes(self.dfl(box), numbers, anchors.unsqueeze(0)) * strides
        return torch.cat((boxes, score.sigmoid(), self.placed(numbers, anchors, strides)), 1)


@register(prototype_head)
class Segment(AnchorHead):
    """YOLOv8's head for instance masks: prototypes of the whole image, and for each box the coefficients of their sum
    (YOLACT, Bolya et al. 2019). A mask's logits are coefficients · prototypes within the box.

    In training `(raw, coefficients (B, nm, A), prototypes (B, nm, h, w))` at half the finest stride; in evaluation and
    with `export` as `AnchorHead`.

    Args:
        nc: classes.
        nm: prototypes.
        npr: channels of the layers that make them.
        ch: channels of each source map, finest first.
    """

    def __init__(self, nc: int = 80, nm: int = 32, npr: int = 256, ch: Sequence[int] = ()) -> None:
        super().__init__(nc, nm, ch)
        self.nm, self.npr = nm, npr
        self.proto = Proto(ch[0], npr, nm)

    def shared(self, x: list[Tensor]) -> tuple[Tensor, ...]:
        """The prototypes, (B, nm, h, w)."""
        return (self.proto(x[0]),)


@register(anchor_head)
class Pose(AnchorHead):
    """YOLOv8's head for keypoints.

    In training `(raw, points (B, nk, A))`: x, y and, with three numbers a point, the logit of its visibility, point
    after point; in evaluation x and y are input pixels and the visibility is 0..1, see `AnchorHead`.

    Args:
        nc: classes.
        kpt_shape: keypoints of an object and numbers of each: 2 (x, y) or 3 (and visibility).
        ch: channels of each source map, finest first.
    """

    def __init__(self, nc: int = 80, kpt_shape: Sequence[int] = (17, 3), ch: Sequence[int] = ()) -> None:
        count, numbers = (*kpt_shape, 0, 0)[:2]
        if len(kpt_shape) != 2 or count < 1 or numbers not in (2, 3):
            wanted = "[points, 2] for x and y, or [points, 3] for x, y and visibility"
            raise ModelError(f"kpt_shape={list(kpt_shape)} is not {wanted}")
        super().__init__(nc, count * numbers, ch)
        self.kpt_shape, self.nk = [count, numbers], count * numbers

    def placed(self, numbers: Tensor, anchors: Tensor, strides: Tensor) -> Tensor:
        """Points (B, nk, A) → pixels and visibilities 0..1, likewise."""
        points = numbers.view(-1, *self.kpt_shape, numbers.shape[-1])  # (B, K, 2 or 3, A)
        xy, seen = points.tensor_split([2], 2)
        # A point lies relative to its cell's first corner, in steps of two cells.
        xy = (2 * xy + (anchors - 0.5)) * strides
        return torch.cat((xy, seen.sigmoid()) if self.kpt_shape[1] == 3 else (xy,), 2).flatten(1, 2)


@register(anchor_head)
class OBB(AnchorHead):
    """YOLOv8's head for rotated boxes.

    In training `(raw, angle (B, 1, A))`, radians in (−π/4, 3π/4); in evaluation boxes are centre, width and height in
    input pixels, turned by the angle, which is the last row: see `AnchorHead`.

    Args:
        nc: classes.
        ne: numbers at each anchor, of which the first is the angle.
        ch: channels of each source map, finest first.
    """

    def __init__(self, nc: int = 80, ne: int = 1, ch: Sequence[int] = ()) -> None:
        super().__init__(nc, ne, ch)
        self.ne = ne

    def activated(self, numbers: Tensor) -> Tensor:
        """Logits → radians."""
        return (numbers.sigmoid() - 0.25) * math.pi

    def boxes(self, distances: Tensor, numbers: Tensor, anchors: Tensor) -> Tensor:
        """Distances (B, 4, A) along the sides of a box turned by the angles → centre, width, height."""
        return dist2rbox(distances, numbers[:, :1], anchors, dim=1)


def raw_maps(out: Any) -> list[list[Tensor]]:
    """Return the raw maps of a head's output in training or evaluation: one list, or one of each kind of an end-to-end
    head. What else a head gives is left out."""
    if isinstance(out, tuple) and not all(isinstance(part, Tensor) for part in out):
        # In evaluation the output comes first, (y, what training gives); in training the maps.
        return raw_maps(out[1] if isinstance(out[0], Tensor) else out[0])
    return list(out.values()) if isinstance(out, Mapping) else [out]
