"""INT8 by the runtimes' own quantisers: ONNX Runtime's static one, and NNCF for OpenVINO.

Convolutions, and the maps between them, become whole numbers. What comes behind the last convolutions stays in floating
point: a tensor that holds pixels and scores in 0..1 has one scale, in which scores are all 0 or 1. So does whatever is
not made of maps of convolutions alone: norms, softmax, divisions and products of an attention. ONNX Runtime, which does
not correct what rounding shifts, leaves the first convolutions and the last ones in floating point too: docs/export.md
has the figures.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt
from torch import Tensor

from ultralytics.engine.formats.format import INPUT, Job

MOST = 100_000  # batches of images: the job says which
FIRST = 2  # convolutions whose maps have by far the widest ranges
# Names of operations, ONNX's and OpenVINO's.
CONVOLUTIONS = {
    *("Conv", "ConvTranspose"),
    *("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData"),
}
SHAPES = {"Shape", "ShapeOf"}  # of what they read, only the size matters
MAPS = {  # what takes maps of whole numbers and gives such maps
    *(
        "Sigmoid",
        "Relu",
        "LeakyRelu",
        "Clip",
        "Mul",
        "Add",
        "Concat",
        "Split",
        "MaxPool",
        "GlobalAveragePool",
        "Resize",
    ),
    *("Swish", "Clamp", "Multiply", "VariadicSplit", "Interpolate"),
}


class Node(NamedTuple):
    """An operation of a graph."""

    name: str
    kind: str
    inputs: tuple[str, ...]  # names of the nodes it reads; constants are left out


def in_float(nodes: Sequence[Node], ends: Iterable[str], first: int = 0, last: bool = False) -> set[str]:
    """Name the nodes that stay in floating point.

    Args:
        nodes: of a graph, each behind what it reads.
        ends: those that give its outputs.
        first: so many convolutions on the way from the input, too.
        last: the last convolutions, too.
    """
    by_name = {node.name: node for node in nodes}
    behind: set[str] = set()  # the last convolutions
    ahead = list(ends)
    while ahead:
        node = by_name.get(ahead.pop())
        if node is None or node.name in behind:
            continue
        if node.kind not in CONVOLUTIONS:
            ahead += () if node.kind in SHAPES else node.inputs
        elif not last:
            continue
        behind.add(node.name)
    whole: set[str] = set()
    passed: dict[str, int] = {}  # convolutions on the longest way from the input
    for node in nodes:
        before = max((passed.get(name, 0) for name in node.inputs), default=0)
        convolution = node.kind in CONVOLUTIONS
        passed[node.name] = before + convolution
        maps = node.kind in MAPS and bool(node.inputs) and whole.issuperset(node.inputs)
        if node.name not in behind and (maps or (convolution and before >= first)):
            whole.add(node.name)
    return by_name.keys() - whole


class _Images:
    """The images of a job as arrays, as often as they are asked for."""

    def __init__(self, job: Job) -> None:
        assert job.calibration is not None  # the exporter has checked it
        self.give: Callable[[], Iterable[Tensor]] = job.calibration

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        return (images.numpy() for images in self.give())


def quantised_onnx(model: Any, job: Job, folder: Path) -> Any:
    """Return an onnx.ModelProto with pairs of QuantizeLinear and DequantizeLinear around what may be in whole numbers.

    Weights are signed, by channel; maps unsigned with a zero point, between the smallest and largest value seen.

    Args:
        model: in fp32.
        job: its `calibration` says the ranges.
        folder: for files on the way.
    """
    import onnx  # an optional extra
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # the package has no types
        def __init__(self) -> None:
            self.images = iter(_Images(job))

        def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
            images = next(self.images, None)
            return None if images is None else {INPUT: images}

    floating = in_float(*_onnx_nodes(model.graph), FIRST, last=True)
    kinds = {node.op_type for node in model.graph.node if node.name not in floating}
    producer = model.producer_name
    with tempfile.TemporaryDirectory(dir=folder) as place:
        file = Path(place, "int8.onnx")
        quantization.quantize_static(
            model,
            str(file),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=sorted(kinds),
            nodes_to_exclude=sorted(floating),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
        model = onnx.load(str(file))
    model.producer_name = producer
    return model


def _onnx_nodes(graph: Any) -> tuple[list[Node], list[str]]:
    """Return the nodes of an ONNX graph, and those that give its outputs; nodes without a name get one."""
    constant = {tensor.name for tensor in graph.initializer}
    constant |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    makers, nodes = dict[str, str](), list[Node]()
    for i, node in enumerate(graph.node):
        node.name = node.name or f"{node.op_type}_unnamed_{i}"
        makers |= dict.fromkeys(node.output, node.name)
        inputs = tuple(makers.get(name, "") for name in node.input if name and name not in constant)
        nodes.append(Node(node.name, node.op_type, inputs))
    return nodes, [makers[output.name] for output in graph.output if output.name in makers]


def quantised_openvino(model: Any, job: Job) -> Any:
    """Return an openvino.Model quantised by NNCF after training: weights symmetric by channel, maps with a zero point;
    see `quantised_onnx`."""
    import nncf  # an optional extra

    floating = sorted(in_float(*_openvino_nodes(model)))
    return nncf.quantize(
        model,
        nncf.Dataset(_Images(job)),
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(names=floating, validate=False),
        subset_size=MOST,
    )


def _openvino_nodes(model: Any) -> tuple[list[Node], list[str]]:
    """Return the nodes of an OpenVINO graph, and those that give its outputs."""
    constant, nodes, ends = set[str](), list[Node](), list[str]()
    for op in model.get_ordered_ops():
        name, kind = op.get_friendly_name(), op.get_type_name()
        read = [each.get_source_output().get_node().get_friendly_name() for each in op.inputs()]
        inputs = tuple(each for each in read if each not in constant)
        if kind == "Constant" or (kind in ("Convert", "Reshape") and read and not inputs):
            constant.add(name)
        elif kind == "Result":
            ends += inputs
        else:
            nodes.append(Node(name, kind, inputs))
    return nodes, ends
