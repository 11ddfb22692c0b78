"""Suppression in an exported file: what `predict` does with a detector's output, in the operations of the file.

Such a file gives (B, max_det, 6): corners in input pixels, score, class; best first, then zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import Tensor, nn

from ultralytics.utils.boxes import xywh2xyxy
from ultralytics.utils.nms import greedy_nms

MOST = 30_000  # candidates of an image in TorchScript, as in `non_max_suppression`; ONNX's operator takes all

# A box is considered under its best class alone: its score there, and 0 under the others. What is kept is written to
# its anchor's place, so that TopK finds the best of all images at once; it needs max_det places, so zeros follow.
# The sum is finite where all numbers are; a maximum may pass over NaN.
GRAPH = """
<ir_version: 8, opset_import: ["" : 18]>
suppression (float[batch, channels, anchors] y) => (float[{batch}, {max_det}, 6] result)
<float[1] conf = {{{conf}}}, float[1] iou = {{{iou}}}, int64[1] most = {{{max_det}}}, int64[3] parts = {{2, 2, {nc}}},
 int64[1, {nc}, 1] classes = {{{classes}}}, int64[4] padding = {{0, 0, 0, {max_det}}}, int64[2] ends = {{0, 2}},
 int64[1] one = {{1}}, int64[1] last = {{-1}},
 float[1] half = {{0.5}}, float[1] zero = {{0}}, float[1] largest = {{3e38}}>
{{
  centre, size, scores = Split <axis: int = 1> (y, parts)
  halves = Mul (size, half)
  low = Sub (centre, halves)
  high = Add (centre, halves)
  best = ReduceMax (scores, one)
  label = ArgMax <axis: int = 1> (scores)
  sum = ReduceSum (y, one)
  magnitude = Abs (sum)
  finite = LessOrEqual (magnitude, largest)
  above = Greater (best, conf)
  candidate = And (finite, above)
  same = Equal (label, classes)
  considered = {considered}
  score = Where (considered, best, zero)
  corners = Concat <axis: int = 1> (low, high)
  boxes = Transpose <perm: ints = [0, 2, 1]> (corners)
  found = NonMaxSuppression (boxes, score, most, iou, zero)
  places = Gather <axis: int = 1> (found, ends)
  flat = Squeeze (best, one)
  values = GatherND (flat, places)
  shape = Shape (flat)
  nothing = ConstantOfShape (shape)
  kept = ScatterND (nothing, places, values)
  padded = Pad (kept, padding)
  ranked, place = TopK (padded, most)
  anchors = Shape <start: int = 1, end: int = 2> (flat)
  end = Sub (anchors, one)
  inside = Min (place, end)
  index = Unsqueeze (inside, last)
  class = Cast <to: int = 1> (label)
  columns = Concat <axis: int = 1> (low, high, best, class)
  rows = Transpose <perm: ints = [0, 2, 1]> (columns)
  chosen = GatherND <batch_dims: int = 1> (rows, index)
  positive = Greater (ranked, zero)
  there = Unsqueeze (positive, last)
  result = Where (there, chosen, zero)
}}
"""


@dataclass(frozen=True)
class Suppression:
    """Non-maximum suppression behind a detector: a `Finish` of an exported file.

    Attributes:
        nc: classes.
        conf: scores above it count.
        iou: overlap above which the worse of two boxes is dropped.
        max_det: most boxes per image.
        agnostic: suppress across classes.
    """

    nc: int
    conf: float
    iou: float
    max_det: int
    agnostic: bool = False

    def extend(self, model: Any, output: str, inclusive: bool = False) -> None:
        """Append it to an onnx.ModelProto; see `Finish`. The inputs are `conf` and `iou`, of one number each."""
        import onnx  # an optional package

        head = model.graph.output[0]
        batch = head.type.tensor_type.shape.dim[0]
        iou = torch.tensor(self.iou)
        part = onnx.parser.parse_model(
            GRAPH.format(
                batch=batch.dim_param or batch.dim_value,
                conf=self.conf,
                iou=float(iou.nextafter(iou + 1) if inclusive else iou),
                max_det=self.max_det,
                nc=self.nc,
                classes=", ".join(map(str, range(self.nc))),
                considered="Identity (candidate)" if self.agnostic else "And (candidate, same)",
            )
        ).graph
        known = {"y": head.name, "result": output, "conf": "conf", "iou": "iou"}
        named = [*part.initializer, *part.output]
        for node in part.node:
            node.name = f"nms_{node.output[0]}"
            for names in (node.input, node.output):
                names[:] = [known.get(name, f"nms_{name}") for name in names]
        for value in named:
            value.name = known.get(value.name, f"nms_{value.name}")
        model.graph.node.extend(part.node)
        model.graph.initializer.extend(part.initializer)
        model.graph.output[0].CopyFrom(part.output[0])
        for name in ("conf", "iou"):
            model.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]))

    def scripted(self, network: nn.Module, images: Tensor) -> Any:
        """Return a network with it behind, for TorchScript; see `Finish`."""
        traced: Any = torch.jit.trace(  # type: ignore[no-untyped-call]  # torch's own
            _Candidates(network), images, check_trace=False
        )
        return torch.jit.script(_Suppressed(traced, self))


class _Candidates(nn.Module):
    """Images → (B, A, 6): boxes as corners, the best class's score and id; boxes that are not finite have score 0."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        y = self.network(images).transpose(1, 2)
        boxes = xywh2xyxy(y[..., :4])
        score, label = y[..., 4:].max(-1, keepdim=True)
        score = torch.where(torch.isfinite(boxes).all(-1, keepdim=True), score, 0)
        return torch.cat((boxes, score, label.to(boxes.dtype)), -1)


class _Suppressed(nn.Module):
    """Suppression of candidates, as torch.jit.script reads it."""

    def __init__(self, candidates: nn.Module, how: Suppression) -> None:
        super().__init__()
        self.candidates = candidates
        self.conf, self.iou = how.conf, how.iou
        self.max_det, self.agnostic, self.most = how.max_det, how.agnostic, MOST

    def forward(
        self,
        images: Tensor,
        conf: Optional[float] = None,  # noqa: UP045  # torch.jit.script of earlier versions reads no `float | None`
        iou: Optional[float] = None,  # noqa: UP045  # likewise
    ) -> Tensor:
        least = self.conf if conf is None else conf
        limit = self.iou if iou is None else iou
        candidates = self.candidates(images)
        found: Tensor = candidates.new_zeros((len(candidates), self.max_det, 6))
        for i in range(len(candidates)):
            rows = candidates[i]
            rows = rows[rows[:, 4] > least]
            rows = rows[rows[:, 4].argsort(descending=True, stable=True)[: self.most]]
            labels = None if self.agnostic else rows[:, 5]
            rows = rows[greedy_nms(rows[:, :4], rows[:, 4], limit, self.max_det, labels)]
            found[i, : len(rows)] = rows
        return found
