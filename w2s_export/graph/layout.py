"""The layout of a foreign graph: which axis of its image holds the channels, and transposes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from w2s_export.graph.editing import Editable, attributes_of, make

NHWC_TO_NCHW = (0, 3, 1, 2)
NCHW_TO_NHWC = (0, 2, 3, 1)

_CHANNELS_SECOND = {
    "Conv", "ConvTranspose", "SpaceToDepth", "InstanceNormalization", "BatchNormalization",
    "MaxPool", "AveragePool", "DepthToSpace",
}  # fmt: skip
_UNARY = {
    "Abs", "Cast", "Ceil", "Clip", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "HardSwish",
    "LeakyRelu", "Log", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sin", "Cos",
    "Softplus", "Softsign", "Sqrt", "Tanh", "Identity", "ThresholdedRelu", "Sign", "Celu",
}  # fmt: skip
_BINARY = {"Add", "Sub", "Mul", "Div", "PRelu", "Pow", "Max", "Min", "Where"}


def channel_axis(graph: Editable) -> tuple[int, int | None] | None:
    """Axis of the input that its first layer takes as channels, and how many that layer takes.

    None where no layer with a fixed layout follows the input directly.
    """
    orders: dict[str, tuple[int, ...]] = {graph.input: (0, 1, 2, 3)}
    for node in graph.nodes:
        order = next((orders[name] for name in node.input if name in orders), None)
        if order is None:
            continue
        kind = node.op_type
        if kind in _CHANNELS_SECOND:
            weights = [graph.constants.get(name) for name in node.input[1:2]]
            count = None
            if weights and weights[0] is not None:
                group = int(attributes_of(node).get("group", 1))
                if kind == "Conv":
                    count = weights[0].shape[1] * group
                elif kind in ("ConvTranspose", "BatchNormalization", "InstanceNormalization"):
                    count = weights[0].shape[0]
            return order[1], count
        if kind == "Transpose":
            perm = attributes_of(node).get("perm", (3, 2, 1, 0))
            orders[node.output[0]] = tuple(order[axis] for axis in perm)
        elif kind in _UNARY or kind in _BINARY or kind in ("Pad", "Resize"):
            orders[node.output[0]] = order
    return None


def sink_transposes(graph: Editable) -> None:
    """Move transposes towards the output, past what treats every element alike; pairs cancel."""
    changed = True
    while changed:
        changed = False
        producers = graph.producers()
        for index, node in enumerate(graph.nodes):
            perms = [_transposed(producers.get(name)) for name in node.input]
            perm = next((found for found in perms if found is not None), None)
            if perm is None:
                continue
            if node.op_type == "Transpose":
                total = [perm[axis] for axis in attributes_of(node)["perm"]]
                first = producers[node.input[0]].input[0]
                replaced = make("Transpose", [first], node.output[0], perm=total)
                if total == list(range(len(total))):
                    replaced = make("Identity", [first], node.output[0])
                graph.nodes[index] = replaced
            else:
                moved = _past(graph, node, perm, perms, producers)
                if moved is None:
                    continue
                graph.nodes[index : index + 1] = moved
            changed = True
            break
    renamed = {n.output[0]: n.input[0] for n in graph.nodes if n.op_type == "Identity"}
    graph.nodes = [node for node in graph.nodes if node.op_type != "Identity"]
    graph.replace(renamed)
    graph.drop_unused()


def _transposed(node: onnx.NodeProto | None) -> tuple[int, ...] | None:
    if node is None or node.op_type != "Transpose":
        return None
    perm = attributes_of(node).get("perm")
    return None if perm is None else tuple(perm)


def _past(
    graph: Editable,
    node: onnx.NodeProto,
    perm: tuple[int, ...],
    perms: Sequence[tuple[int, ...] | None],
    producers: dict[str, Any],
) -> list[onnx.NodeProto] | None:
    """The node on what was transposed, and the transpose behind it; None where it is not alike."""
    inverse = [int(axis) for axis in np.argsort(perm)]
    inputs, kind = list(node.input), node.op_type
    data = range(len(inputs)) if kind in _BINARY or kind == "Concat" else range(1)
    if kind not in _UNARY and kind not in _BINARY and kind not in ("Concat", "Resize", "Pad"):
        return None
    for place in data:
        name = inputs[place]
        if perms[place] == perm:
            inputs[place] = producers[name].input[0]
        elif name in graph.constants and graph.constants[name].size == 1:
            continue
        elif name in graph.constants and kind != "Concat":
            value = graph.constants[name]
            value = value.reshape((1,) * (len(perm) - value.ndim) + value.shape)
            inputs[place] = graph.constant(value.transpose(inverse))
        else:
            return None
    made = graph.new_name("moved")
    settings = attributes_of(node)
    if kind == "Concat":
        settings["axis"] = perm[settings["axis"] % len(perm)]
    if kind == "Resize":
        scales = graph.constants.get(inputs[2]) if len(inputs) == 3 else None
        if scales is None:
            return None
        inputs[2] = graph.constant(scales[inverse])
    if kind == "Pad":
        pads = graph.constants.get(inputs[1])
        if pads is None:
            return None
        inputs[1] = graph.constant(pads.reshape(2, -1)[:, inverse].reshape(-1))
    return [
        make(kind, inputs, made, **settings),
        make("Transpose", [made], node.output[0], perm=list(perm)),
    ]
