"""INT8: what becomes whole numbers and what does not, and that the file says what it costs."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from tests.conftest import write_tiny, write_toy
from tests.helpers.networks import settled
from ultralytics import YOLO
from ultralytics.engine.formats.int8 import Node, in_float
from ultralytics.engine.formats.table import format_named, open_exported
from ultralytics.nn.backend import TorchBackend
from ultralytics.utils.errors import ConfigError

QUIET = {"workers": 0, "plots": False, "verbose": False}
HEAD = [
    Node("box", "Conv", ("silu",)),
    Node("cls", "Conv", ("silu",)),
    Node("bias", "Add", ("cls",)),
    Node("cat", "Concat", ("box", "bias")),
    Node("softmax", "Softmax", ("cat",)),
    Node("out", "Concat", ("softmax", "cat")),
]
BODY = [
    Node("conv", "Conv", ("",)),
    Node("sigmoid", "Sigmoid", ("conv",)),
    Node("silu", "Mul", ("conv", "sigmoid")),
]


def test_what_is_behind_the_last_convolutions_stays_in_float():
    """The sum of a convolution and its bias too, which some graphs write as two nodes."""
    assert in_float([*BODY, *HEAD], ["out"]) == {"bias", "cat", "softmax", "out"}
    grid = [Node("shape", "Shape", ("silu",)), Node("grid", "Range", ("shape",)), Node("moved", "Add", ("out", "grid"))]
    found = in_float([*BODY, *HEAD, *grid], ["moved"], last=True)
    assert found == {"box", "cls", "bias", "cat", "softmax", "out", "shape", "grid", "moved"}


def test_the_first_convolutions_and_the_last_may_stay_too():
    second = [Node("second", "Conv", ("silu",)), Node("third", "Conv", ("second",))]
    second += [Node("sum", "Add", ("third", "third"))]
    graph = [*BODY, *second, *HEAD]
    assert in_float(graph, ["out"], first=2) >= {"conv", "sigmoid", "silu", "second", "cat"}
    assert in_float(graph, ["out"], first=2).isdisjoint({"third", "sum"})
    assert in_float(graph, ["out"], last=True) == {"box", "cls", "bias", "cat", "softmax", "out"}


def test_what_is_not_made_of_maps_alone_stays_in_float():
    attention = [
        Node("scaled", "Mul", ("",)),  # of the input
        Node("norm", "LayerNormalization", ("silu",)),
        Node("product", "MatMul", ("norm",)),
        Node("shift", "Add", ("product",)),
        Node("branch", "Conv", ("product",)),
        Node("gated", "Mul", ("branch", "shift")),
        Node("joined", "Add", ("silu", "gated")),
        Node("pooled", "MaxPool", ("silu",)),
        Node("sum", "Add", ("silu", "pooled")),
    ]
    found = in_float([*BODY, *attention, *HEAD], ["out", "sum"])
    assert found == {"scaled", "norm", "product", "shift", "gated", "joined", "sum", "pooled", "silu", "sigmoid"} | {
        *("bias", "cat", "softmax", "out")
    }
    assert {"pooled", "sum"}.isdisjoint(in_float([*BODY, *attention, *HEAD], ["out"]))


def exported(folder, name):
    """Write the tiny network with attention in int8, measured on the toy set."""
    for package in (*format_named(name).packages, *(["nncf"] if name == "openvino" else [])):
        pytest.importorskip(package)
    torch.manual_seed(0)
    yolo = YOLO(str(write_tiny(folder)), nc=3)
    settled(yolo.model)
    yolo.save(folder / "best.pt")
    yolo = YOLO(str(folder / "best.pt"))
    (folder / "best.onnx").write_bytes(b"an earlier file in fp32")
    return yolo, yolo.export(format=name, imgsz=64, dynamic=True, int8=True, data=str(write_toy(folder))), folder


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("int8"), "onnx")


def compared(net, file, folder):
    """The mean differences of boxes in pixels and of scores, at a size the file was not written at.

    On images of the set whose ranges were measured: of noise a random network makes values far beyond them.
    """
    files = sorted((folder / "toy" / "images" / "val").iterdir())[:2]
    stack = np.stack([cv2.resize(cv2.imread(str(f)), (64, 96))[..., ::-1] for f in files])
    images = torch.from_numpy(np.ascontiguousarray(stack.transpose(0, 3, 1, 2))).float() / 255
    with torch.inference_mode():
        ours, theirs = TorchBackend(net)(images)[0], file(images)[0]
    assert ours.shape == theirs.shape
    far = (ours - theirs).abs()
    return float(far[:, :4].mean()), float(far[:, 4:].mean())


@pytest.mark.slow
def test_an_onnx_file_in_int8_is_beside_the_one_in_fp32_and_says_what_it_costs(onnx_file):
    yolo, path, folder = onnx_file
    assert path == str(folder / "best_int8.onnx")
    assert (folder / "best.onnx").read_bytes() == b"an earlier file in fp32"
    file = open_exported(path)
    figures = file.metadata.args["accuracy"]
    assert figures["data"] == "toy.yaml"
    assert set(figures["fp32"]) == set(figures["int8"]) == {"mAP50", "mAP50-95"}
    found = YOLO(path).val(data=str(folder / "toy" / "toy.yaml"), imgsz=64, batch=8, **QUIET, project=str(folder))
    assert found.results_dict["metrics/mAP50(B)"] == pytest.approx(figures["int8"]["mAP50"], abs=1e-9)
    boxes, scores = compared(yolo.model, file, folder)
    assert 0 < boxes < 8  # a cell of the finest map
    assert 0 < scores < 0.05


@pytest.mark.slow
def test_the_attention_and_the_decoding_of_an_onnx_file_are_in_float(onnx_file):
    import onnx

    graph = onnx.load(onnx_file[1]).graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    whole = [node.op_type for node in graph.node if any(makers.get(i) == "DequantizeLinear" for i in node.input)]
    assert whole.count("Conv") > 30
    assert set(whole) >= {"Conv", "Sigmoid", "Mul", "Concat", "MaxPool"}
    assert {"ReduceL2", "Softmax", "Div", "MatMul"} <= {node.op_type for node in graph.node}
    assert {"ReduceL2", "Softmax", "Div", "MatMul", "Einsum", "ReduceSum"}.isdisjoint(whole)
    (last,) = (node for node in graph.node if "output0" in node.output)
    assert not any(makers.get(i) in ("DequantizeLinear", "QuantizeLinear") for i in last.input)
    weights = [t for t in graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4]
    assert len(weights) > 30
    scales = {t.name: list(t.dims) for t in graph.initializer}
    per_channel = [n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in {t.name for t in weights}]
    assert all(scales[n.input[1]] == [scales[n.input[0]][0]] for n in per_channel)


@pytest.mark.slow
def test_an_openvino_folder_in_int8(tmp_path):
    yolo, path, folder = exported(tmp_path, "openvino")
    assert path == str(folder / "best_int8_openvino_model")
    file = open_exported(path)
    text = next((folder / "best_int8_openvino_model").glob("*.xml")).read_text(encoding="utf-8")
    assert text.count('type="FakeQuantize"') > 30
    assert set(json.loads((folder / "best_int8_openvino_model" / "metadata.yaml").read_text())["args"]["accuracy"]) == {
        *("data", "fp32", "int8")
    }
    boxes, scores = compared(yolo.model, file, folder)
    assert 0 < boxes < 8  # a cell of the finest map
    assert 0 < scores < 0.05


def test_without_images_int8_is_one_line(tiny):
    pytest.importorskip("onnx")
    yolo = YOLO(str(tiny))
    with pytest.raises(ConfigError, match=r"int8=True needs images.*\(data=DATASET.yaml\)"):
        yolo.export(format="onnx", imgsz=64, int8=True)
    yolo.overrides["data"] = "gone.yaml"
    with pytest.raises(ConfigError, match=r"gone\.yaml"):
        yolo.export(format="onnx", imgsz=64, int8=True)


@pytest.mark.slow
def test_the_packages_report_nothing_to_their_makers():
    for package in ("openvino", "nncf"):
        pytest.importorskip(package)
    code = (
        "import sys, ultralytics.engine.formats.table, openvino, nncf, openvino.tools.ovc.telemetry_utils as u\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
        "assert u.tm.__name__.endswith('telemetry_stub'), u.tm\n"
        "assert isinstance(nncf.telemetry.telemetry, nncf.telemetry.wrapper.NNCFTelemetryStub)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
