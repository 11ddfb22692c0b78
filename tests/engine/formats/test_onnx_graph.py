"""Edits of ONNX graphs leave the values as they are."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402  # after the skip

from ultralytics.engine.formats.onnx_graph import quicken  # noqa: E402  # after the skip

RNG = np.random.default_rng(0)


def model(nodes, weights, outputs):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in outputs]
    images = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 16, 5])
    made = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", [images], values, made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(proto):
    onnx.checker.check_model(proto)
    session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.random.default_rng(1).random((1, 4, 16, 5), np.float32)})


def c2f(split, outputs=("a", "b"), extra=()):
    """A 1×1 convolution with SiLU whose channels are split."""
    weights = {
        "w": RNG.normal(size=(8, 4, 1, 1)).astype(np.float32),
        "bias": RNG.normal(size=8).astype(np.float32),
        "sizes": np.array([2, 6]),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "bias"], ["c"], name="conv", kernel_shape=[1, 1]),
        helper.make_node("Sigmoid", ["c"], ["s"], name="sigmoid"),
        helper.make_node("Mul", ["c", "s"], ["m"], name="mul"),
        split,
    ]
    return model(nodes, weights, [*outputs, *extra])


HALVES = helper.make_node("Split", ["m"], ["a", "b"], axis=1, num_outputs=2)
PARTS = helper.make_node("Split", ["m", "sizes"], ["a", "b"], axis=1)


@pytest.mark.parametrize("split", [HALVES, PARTS], ids=["halves", "sizes"])
def test_a_split_convolution_is_one_for_each_part(split):
    proto = c2f(split)
    before = run(proto)
    quicken(proto)
    kinds = [node.op_type for node in proto.graph.node]
    assert "Split" not in kinds
    assert kinds.count("Conv") == 2
    for a, b in zip(before, run(proto), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_map_that_is_used_whole_stays_whole():
    for name in ("m", "c"):
        proto = c2f(HALVES, extra=(name,))
        quicken(proto)
        assert [node.op_type for node in proto.graph.node] == ["Conv", "Sigmoid", "Mul", "Split"]
    other = helper.make_node("Split", ["m"], ["a", "b"], axis=2, num_outputs=2)
    proto = c2f(other)
    quicken(proto)
    assert "Split" in [node.op_type for node in proto.graph.node]


@pytest.mark.parametrize(("equation", "edited"), [("bkca,c->bka", True), ("bkca,a->bkc", False)])
def test_a_sum_with_weights_is_a_product_of_matrices(equation, edited):
    size = 16 if edited else 5
    node = helper.make_node("Einsum", ["x", "w"], ["y"], name="sum", equation=equation)
    proto = model([node], {"w": np.arange(size, dtype=np.float32)}, ["y"])
    before = run(proto)
    quicken(proto)
    assert ("Einsum" not in [n.op_type for n in proto.graph.node]) == edited
    np.testing.assert_allclose(before[0], run(proto)[0], rtol=1e-5)
