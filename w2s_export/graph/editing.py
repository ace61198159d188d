"""An ONNX graph taken apart for editing: nodes in order, constants as arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


class Editable:
    """Nodes (sorted so that each stands behind what it needs), constants, one input, one output."""

    def __init__(
        self,
        nodes: Iterable[onnx.NodeProto],
        constants: Mapping[str, NDArray[Any]],
        source: str,
        result: str,
    ) -> None:
        self.nodes = list(nodes)
        self.constants = dict(constants)
        self.input, self.output = source, result
        self._made = 0

    def new_name(self, kind: str) -> str:
        """A name no tensor has: foreign names never begin with a blank."""
        self._made += 1
        return f" {kind}{self._made}"

    def constant(self, values: NDArray[Any]) -> str:
        """Add a constant; returns its name."""
        name = self.new_name("constant")
        self.constants[name] = values
        return name

    def producers(self) -> dict[str, onnx.NodeProto]:
        """The node that makes each tensor."""
        return {name: node for node in self.nodes for name in node.output if name}

    def uses(self) -> dict[str, int]:
        """How often each tensor is used; the graph's output counts as a use."""
        counts = {self.output: 1}
        for node in self.nodes:
            for name in node.input:
                counts[name] = counts.get(name, 0) + 1
        return counts

    def replace(self, renamed: Mapping[str, str]) -> None:
        """Let everybody who uses a tensor use another one; chains of renamings are followed."""

        def last(name: str) -> str:
            while name in renamed:
                name = renamed[name]
            return name

        for node in self.nodes:
            for place, name in enumerate(node.input):
                if name in renamed:
                    node.input[place] = last(name)
        self.output = last(self.output)

    def merge_equal(self) -> None:
        """Compute once what several nodes compute alike."""
        seen: dict[tuple[object, ...], str] = {}
        renamed: dict[str, str] = {}
        for name, value in self.constants.items():
            if value.size <= 64:
                key: tuple[object, ...] = (value.dtype.str, value.shape, value.tobytes())
                if (first := seen.setdefault(key, name)) != name:
                    renamed[name] = first
        self.replace(renamed)
        kept = []
        for node in self.nodes:
            for place, name in enumerate(node.input):
                node.input[place] = renamed.get(name, name)
            settings = tuple(sorted(item.SerializeToString() for item in node.attribute))
            key = (node.op_type, tuple(node.input), settings, len(node.output))
            first = seen.setdefault(key, node.output[0])
            if first != node.output[0] and len(node.output) == 1:
                renamed[node.output[0]] = first
            else:
                kept.append(node)
        self.nodes = kept
        self.output = renamed.get(self.output, self.output)
        self.drop_unused()

    def drop_unused(self) -> None:
        """Remove nodes and constants that the output does not depend on."""
        needed, kept = {self.output}, []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        self.nodes = kept[::-1]
        self.constants = {n: v for n, v in self.constants.items() if n in needed}


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Attributes by name; texts decoded, tensors as arrays."""
    return {item.name: _value(item) for item in node.attribute}


def _value(item: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(item)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return numpy_helper.to_array(value) if item.type == item.TENSOR else value


def make(kind: str, inputs: Iterable[str], output: str, **settings: Any) -> onnx.NodeProto:
    """A node of one output."""
    return helper.make_node(kind, list(inputs), [output], **settings)


def evaluate(node: onnx.NodeProto, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """What a node makes of known inputs, by ONNX's reference implementation."""
    if (quick := _QUICK.get(node.op_type)) is not None and all(node.input):
        settings = attributes_of(node)
        if settings.get("reduction", "none") == "none":
            return [np.asarray(quick(settings, *(inputs[name] for name in node.input)))]
    names = list(dict.fromkeys(name for name in node.input if name))
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(inputs[n].dtype), None)
        for n in names
    ]
    from onnx.reference import ReferenceEvaluator  # takes long, and few graphs need it

    outputs = [helper.make_value_info(name, onnx.TypeProto()) for name in node.output if name]
    graph = helper.make_graph([node], "one", infos, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    results = ReferenceEvaluator(model).run(None, {name: inputs[name] for name in names})
    return [np.asarray(value) for value in results]


def _unsqueeze(_: Any, x: NDArray[Any], axes: NDArray[Any]) -> NDArray[Any]:
    return np.expand_dims(x, tuple(int(axis) for axis in axes.reshape(-1)))


def _scatter(_: Any, x: NDArray[Any], places: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    made: NDArray[Any] = x.copy()
    made[tuple(np.moveaxis(places, -1, 0))] = values
    return made


_QUICK: dict[str, Callable[..., Any]] = {
    "Add": lambda _, a, b: a + b,
    "Sub": lambda _, a, b: a - b,
    "Mul": lambda _, a, b: a * b,
    "Gather": lambda settings, x, index: np.take(x, index, settings.get("axis", 0)),
    "Concat": lambda settings, *parts: np.concatenate(parts, settings["axis"]),
    "ScatterND": _scatter,
    "Unsqueeze": _unsqueeze,
}
"""The commonest arithmetic on sizes, for which the reference implementation is longer set up than
run, and what that does number by number."""
