"""Edits of an ONNX graph after which CPU runtimes compute the same in less time: values change by rounding at most."""

from __future__ import annotations

import copy
import re
from collections import Counter
from typing import Any

import numpy as np

_SUM = re.compile(r"(\w)(\w)(\w)(\w),\3->\1\2\4")  # over the third axis, with weights: the DFL's


def quicken(model: Any) -> None:
    """Edit an onnx.ModelProto in place: see `_Edit`."""
    edit = _Edit(model.graph)
    nodes = edit.nodes
    for node in nodes:
        if node.op_type == "Split":
            edit.split_convolution(node)
        elif node.op_type == "Einsum":
            edit.sum_by_product(node)
    del model.graph.node[:]
    model.graph.node.extend(new for node in nodes for new in edit.instead.get(id(node), [node]))


class _Edit:
    """Replacements of a graph's nodes.

    Attributes:
        instead: id of a node → what takes its place.
    """

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.nodes = [copy.deepcopy(n) for n in graph.node]
        self.weights = {w.name: w for w in graph.initializer}
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.uses = Counter([*(name for n in self.nodes for name in n.input), *(o.name for o in graph.output)])
        self.instead: dict[int, list[Any]] = {}

    def split_convolution(self, split: Any) -> None:
        """Make a convolution with SiLU whose channels are split, as a C2f's, a convolution for each part.

        ONNX Runtime keeps maps in blocks of channels, which a Split takes apart and what follows puts together again.
        """
        product = self.makers.get(split.input[0])
        if _attribute(split, "axis", 0) != 1 or product is None or product.op_type != "Mul":
            return
        pair = {n.op_type: n for n in map(self.makers.get, product.input) if n is not None}
        convolution, sigmoid = pair.get("Conv"), pair.get("Sigmoid")
        if convolution is None or sigmoid is None or sigmoid.input[0] != convolution.output[0]:
            return
        weights = [self._array(name) for name in convolution.input[1:]]
        uses = [self.uses[n.output[0]] for n in (convolution, sigmoid, product)]
        if _attribute(convolution, "group", 1) != 1 or uses != [2, 1, 1] or any(w is None for w in weights):
            return
        parts = [p for p in (self._split(w, split) for w in weights) if p is not None]
        if len(parts) < len(weights):
            return
        new = []
        for k, output in enumerate(split.output):
            one, gate, act = (copy.deepcopy(n) for n in (convolution, sigmoid, product))
            for node in (one, gate, act):
                node.name, node.output[0] = f"{node.name}_{k}", f"{node.output[0]}_{k}"
            one.input[1:] = [self._add(f"{name}_{k}", p[k]) for name, p in zip(one.input[1:], parts, strict=True)]
            gate.input[0] = one.output[0]
            act.input[:] = [one.output[0], gate.output[0]]
            act.output[0] = output
            new += [one, gate, act]
        self.instead |= {id(convolution): new, **{id(n): [] for n in (sigmoid, product, split)}}

    def sum_by_product(self, einsum: Any) -> None:
        """Make a sum with weights a product of matrices: runtimes transpose the whole map for an Einsum."""
        equation = _attribute(einsum, "equation", b"").decode().replace(" ", "")
        weights = self._array(einsum.input[1]) if _SUM.fullmatch(equation) else None
        if weights is None:
            return
        from onnx import helper  # an optional package

        name = einsum.output[0]
        row = self._add(f"{name}_weights", weights[None])
        axis = self._add(f"{name}_axis", np.array([2]))
        product = helper.make_node("MatMul", [row, einsum.input[0]], [f"{name}_product"], name=f"{einsum.name}_product")
        squeeze = helper.make_node("Squeeze", [f"{name}_product", axis], [name], name=einsum.name)
        self.instead[id(einsum)] = [product, squeeze]

    def _array(self, name: str) -> Any:
        """Return a weight, None if a value is none."""
        from onnx import numpy_helper  # an optional package

        return numpy_helper.to_array(self.weights[name]) if name in self.weights else None

    def _add(self, name: str, array: Any) -> str:
        """Add a weight; returns its name."""
        from onnx import numpy_helper  # an optional package

        if name not in self.weights:
            made = numpy_helper.from_array(np.ascontiguousarray(array), name)
            self.graph.initializer.append(made)
            self.weights[name] = made
        return name

    def _split(self, weight: Any, split: Any) -> list[Any] | None:
        """Split a weight as a node splits the channels it makes; None where the file does not say how."""
        if len(split.input) < 2:
            return list(np.array_split(weight, len(split.output)))
        sizes = self._array(split.input[1])
        return None if sizes is None else np.split(weight, np.cumsum(sizes)[:-1])


def _attribute(node: Any, name: str, default: Any) -> Any:
    from onnx import helper  # an optional package

    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)
