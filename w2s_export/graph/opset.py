"""Brings a foreign ONNX model to opset 17: up by ONNX's converter, down by rules of our own.

ONNX's converter has few rules downward, and most operators of later opsets differ from those of 17
in nothing but further types or attributes. So an operator is taken over where opset 17 has one of
that name which knows all of its attributes and inputs, rewritten where a rule says how, and
refused by name elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import defs, helper, version_converter

from w2s_export.counting import counted
from w2s_export.errors import CheckpointError
from w2s_export.graph.editing import Editable, attributes_of, make
from w2s_export.graph.model import OPSET

_COORDINATES = 11
"""The opset from which on a Resize says where its pixels lie."""
# Attributes that say no more than what opset 17 does anyway; `antialias` is absent on purpose.
_HARMLESS: dict[str, dict[str, Any]] = {
    "Resize": {"antialias": 0, "keep_aspect_ratio_policy": "stretch"},
    "Cast": {"saturate": None, "round_mode": None},
    "Reshape": {"allowzero": 0},
    "DepthToSpace": {},
    "AveragePool": {"dilations": [1, 1]},
    "ScatterND": {"reduction": "none"},
    "ScatterElements": {"reduction": "none"},
}


def upgrade(model: onnx.ModelProto) -> onnx.ModelProto:
    """Bring a model of an opset below 17 up to it.

    Raises:
        CheckpointError: ONNX's converter has no rule for an operator, and says which.
    """
    before = _version(model)
    try:
        made = version_converter.convert_version(model, OPSET)
    except Exception as error:  # the converter raises RuntimeError, ConvertError and others
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"is of ONNX opset {_version(model)}, which cannot be brought to {OPSET} ({reason}); "
            "export the network again with a newer opset"
        ) from None
    if before < _COORDINATES:
        for node in made.graph.node:
            if node.op_type == "Resize":
                _from_the_corner(node)
    return made


def _from_the_corner(node: onnx.NodeProto) -> None:
    """Say where a resized pixel lies, as before it could be said; the converter leaves that out."""
    stated = {"coordinate_transformation_mode": "asymmetric"}
    if attributes_of(node).get("mode", "nearest") == "nearest":
        stated["nearest_mode"] = "floor"
    kept = [item for item in node.attribute if item.name not in stated]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(*item) for item in stated.items())])


def downgrade(graph: Editable, version: int) -> None:
    """Rewrite operators of an opset above 17 by those of 17, in place.

    Raises:
        CheckpointError: an operator that has no counterpart.
    """
    graph.nodes = list(_rewritten(graph, graph.nodes, version, 0))


def _rewritten(
    graph: Editable, nodes: Iterable[onnx.NodeProto], version: int, depth: int
) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        rule = _RULES.get(node.op_type) if depth == 0 else None
        if rule is not None and _since(node.op_type, version) > OPSET:
            yield from _rewritten(graph, rule(graph, node), version, 1)
        else:
            _adapt(node, version)
            yield node


def _adapt(node: onnx.NodeProto, version: int) -> None:
    """Check that opset 17 knows the node as it is; take away what says nothing."""
    kind = node.op_type
    if kind == "Constant" or _since(kind, version) <= OPSET:
        return
    try:
        schema = defs.get_schema(kind, OPSET)
    except defs.SchemaError:
        raise _refusal(f"operator {kind}", version) from None
    harmless = _HARMLESS.get(kind, {})
    for item in list(node.attribute):
        if item.name in schema.attributes:
            continue
        value = attributes_of(node)[item.name]
        if item.name in harmless and harmless[item.name] in (None, value):
            node.attribute.remove(item)
            continue
        raise _refusal(f"operator {kind} with {item.name}", version)
    if len(node.input) > schema.max_input:
        raise _refusal(f"operator {kind} with {counted(len(node.input), 'input')}", version)


def _refusal(what: str, version: int) -> CheckpointError:
    return CheckpointError(
        f"is of ONNX opset {version} and uses the {what}, which opset {OPSET} (the newest that "
        f"DeepImageJ runs) does not have; export the network again with opset {OPSET}"
    )


def _since(kind: str, version: int) -> int:
    try:
        return int(defs.get_schema(kind, version).since_version)
    except defs.SchemaError:
        raise CheckpointError(f"uses {kind}, which is no operator of ONNX {version}") from None


def _version(model: onnx.ModelProto) -> int:
    return next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 1)


def _reduce(graph: Editable, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Axes are an input from 18 on, an attribute before."""
    settings = attributes_of(node)
    nothing = settings.pop("noop_with_empty_axes", 0)
    if len(node.input) > 1 and node.input[1]:
        axes = graph.constants.get(node.input[1])
        if axes is None:
            raise CheckpointError(f"has a {node.op_type} whose axes depend on the image")
        if axes.size:
            settings["axes"] = [int(axis) for axis in axes]
    if nothing and "axes" not in settings:  # what it does to each number remains
        each = {"L1": "Abs", "L2": "Abs", "LogSum": "Log", "SumSquare": "Mul"}
        kind = each.get(node.op_type.removeprefix("Reduce"), "Identity")
        inputs = [node.input[0]] * (2 if kind == "Mul" else 1)
        yield make(kind, inputs, node.output[0])
        return
    yield make(node.op_type, node.input[:1], node.output[0], **settings)


def _split(graph: Editable, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """`num_outputs` stands for parts of equal size, rounded up; the last gets what is left."""
    settings = attributes_of(node)
    count = settings.get("num_outputs")
    if count is None:
        yield node
        return
    shape, size, more, part, others, last, parts = (graph.new_name("split") for _ in range(7))

    def whole(*values: int) -> str:
        return graph.constant(np.array(values, np.int64))

    yield make("Shape", [node.input[0]], shape)
    yield make("Gather", [shape, whole(settings.get("axis", 0))], size, axis=0)
    yield make("Add", [size, whole(count - 1)], more)
    yield make("Div", [more, whole(count)], part)
    yield make("Mul", [part, whole(count - 1)], others)
    yield make("Sub", [size, others], last)
    yield make("Concat", [*[part] * (count - 1), last], parts, axis=0)
    for item in [item for item in node.attribute if item.name == "num_outputs"]:
        node.attribute.remove(item)
    node.input.append(parts)
    yield node


def _scalar(graph: Editable, value: float) -> str:
    return graph.constant(np.array(value, np.float32))


def _gelu(graph: Editable, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """`x/2 · (1 + erf(x/√2))`, or its approximation by tanh."""
    x, names = node.input[0], [graph.new_name("gelu") for _ in range(7)]
    if attributes_of(node).get("approximate", "none") == "tanh":
        yield make("Mul", [x, x], names[0])
        yield make("Mul", [names[0], x], names[1])
        yield make("Mul", [names[1], _scalar(graph, 0.044715)], names[2])
        yield make("Add", [x, names[2]], names[3])
        yield make("Mul", [names[3], _scalar(graph, np.sqrt(2 / np.pi))], names[4])
        yield make("Tanh", [names[4]], names[5])
    else:
        yield make("Mul", [x, _scalar(graph, np.sqrt(0.5))], names[4])
        yield make("Erf", [names[4]], names[5])
    yield make("Add", [names[5], _scalar(graph, 1.0)], names[6])
    half = graph.new_name("gelu")
    yield make("Mul", [x, _scalar(graph, 0.5)], half)
    yield make("Mul", [half, names[6]], node.output[0])


def _mish(graph: Editable, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    soft, squashed = graph.new_name("mish"), graph.new_name("mish")
    yield make("Softplus", node.input, soft)
    yield make("Tanh", [soft], squashed)
    yield make("Mul", [node.input[0], squashed], node.output[0])


def _swish(graph: Editable, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    inner, gate = node.input[0], graph.new_name("swish")
    alpha = attributes_of(node).get("alpha", 1.0)
    if alpha != 1.0:
        inner = graph.new_name("swish")
        yield make("Mul", [node.input[0], graph.constant(np.array(alpha, np.float32))], inner)
    yield make("Sigmoid", [inner], gate)
    yield make("Mul", [node.input[0], gate], node.output[0])


def _group_norm(graph: Editable, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Instance normalisation of groups of channels, then a factor and an addend per channel."""
    settings = attributes_of(node)
    groups = int(settings["num_groups"])
    scale, bias = (graph.constants.get(name) for name in node.input[1:3])
    if scale is None or bias is None:
        raise CheckpointError("has a GroupNormalization whose weights depend on the image")
    per_group = scale.size == groups  # as opset 18 has it; from 21 on there is one per channel
    first, second = (scale, bias) if per_group else (np.ones(groups), np.zeros(groups))
    rows, normal, sizes, scaled = (graph.new_name("group") for _ in range(4))
    back = node.output[0] if per_group else graph.new_name("group")
    shape = graph.constant(np.array([0, groups, -1], np.int64))
    weights = [graph.constant(np.asarray(values, np.float32)) for values in (first, second)]
    yield make("Reshape", [node.input[0], shape], rows)
    yield make(
        "InstanceNormalization", [rows, *weights], normal, epsilon=settings.get("epsilon", 1e-5)
    )
    yield make("Shape", [node.input[0]], sizes)
    yield make("Reshape", [normal, sizes], back)
    if not per_group:
        yield make("Mul", [back, graph.constant(scale.reshape(-1, 1, 1))], scaled)
        yield make("Add", [scaled, graph.constant(bias.reshape(-1, 1, 1))], node.output[0])


def _rms_norm(graph: Editable, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    settings = attributes_of(node)
    axis = int(settings.get("axis", -1))
    if axis != -1:
        raise CheckpointError(f"has an RMSNormalization over axis {axis}; only the last is known")
    square, mean, shifted, root, plain = (graph.new_name("rms") for _ in range(5))
    epsilon = graph.constant(np.array(settings.get("epsilon", 1e-5), np.float32))
    yield make("Mul", [node.input[0], node.input[0]], square)
    yield make("ReduceMean", [square], mean, axes=[-1], keepdims=1)
    yield make("Add", [mean, epsilon], shifted)
    yield make("Sqrt", [shifted], root)
    yield make("Div", [node.input[0], root], plain)
    yield make("Mul", [plain, node.input[1]], node.output[0])


def _pad(graph: Editable, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """`axes` name which axes are padded; before 18 there are values for all of them."""
    if len(node.input) > 3 and node.input[3]:
        axes, pads = (graph.constants.get(node.input[place]) for place in (3, 1))
        if axes is None or pads is None:
            raise CheckpointError("has a Pad whose axes depend on the image")
        whole = np.zeros((2, 4), np.int64)  # images have four axes
        whole[:, [int(axis) % 4 for axis in axes]] = pads.reshape(2, -1)
        node.input[1] = graph.constant(whole.reshape(-1))
        del node.input[3:]
    yield node


def _resize(graph: Editable, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """`axes` name which axes are resized; before 18 there are values for all of them."""
    axes = attributes_of(node).get("axes")
    if axes is not None:
        for item in [item for item in node.attribute if item.name == "axes"]:
            node.attribute.remove(item)
        scales = graph.constants.get(node.input[2]) if len(node.input) > 2 else None
        if scales is None:
            raise CheckpointError("has a Resize of named axes without constant scales")
        whole = np.ones(4, np.float32)
        whole[[int(axis) % 4 for axis in axes]] = scales
        node.input[2] = graph.constant(whole)
    yield node


_Rule = Callable[[Editable, "onnx.NodeProto"], Iterator["onnx.NodeProto"]]
_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
_RULES: dict[str, _Rule] = {
    **{f"Reduce{name}": _reduce for name in _REDUCTIONS},
    "Split": _split,
    "Gelu": _gelu,
    "Mish": _mish,
    "Swish": _swish,
    "GroupNormalization": _group_norm,
    "RMSNormalization": _rms_norm,
    "Pad": _pad,
    "Resize": _resize,
}
