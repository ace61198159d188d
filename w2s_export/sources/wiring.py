"""Whether an ONNX graph computes what its weights suggest.

The graph is followed from its input to its output, and so is the RRDBNet of the same
configuration; each tensor on the way is known by a hash of all that it is computed from. The
output's hash then speaks for the whole graph, whatever its tensors are called and however its
nodes are sorted. Nothing is run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from w2s_export.config import GeneratorConfig
from w2s_export.errors import RRDBNetMismatchError
from w2s_export.networks.layout import conv_name, upsampling_steps

if TYPE_CHECKING:
    import onnx

_INPUT = "input"
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "Conv": {
        "dilations": [1, 1],
        "group": 1,
        "kernel_shape": [3, 3],
        "pads": [1, 1, 1, 1],
        "strides": [1, 1],
    },
    "factor": {
        "dilations": [1, 1],
        "group": None,
        "kernel_shape": [1, 1],
        "pads": [0, 0, 0, 0],
        "strides": [1, 1],
    },
    "Concat": {"axis": 1},
    "Resize": {
        "coordinate_transformation_mode": b"asymmetric",
        "mode": b"nearest",
        "nearest_mode": b"floor",
    },
    "Add": {},
    "LeakyRelu": {"alpha": None},
    "Mul": {},
    "SpaceToDepth": {"blocksize": None},
}
"""Attributes of every kind of node; None where `onnx_file` reads the value, or the shape of the
constant tells it. A `factor` is a convolution that stands for a `Mul` (see `convert.onnx`)."""


def holds_setting(node: onnx.NodeProto) -> bool:
    """Whether the node's last input is a setting of the network, not a layer's weight."""
    return node.op_type in ("Mul", "Resize") or _is_factor(node)


def _is_factor(node: onnx.NodeProto) -> bool:
    return node.op_type == "Conv" and len(node.input) == 2  # every layer has a bias


def check_wiring(graph: onnx.GraphProto, config: GeneratorConfig) -> None:
    """Follow the graph and compare it with the configuration's.

    Raises:
        RRDBNetMismatchError: a node of another kind or setting, one that is not connected as in
            an RRDBNet, or one too many.
    """
    count = 0

    def counted(kind: str, *sources: str) -> str:
        nonlocal count
        count += 1
        return _hash(kind, *sources)

    expected = _follow_network(config, counted)
    if len(graph.input) != 1 or len(graph.output) != 1:
        raise RRDBNetMismatchError(
            f"has {len(graph.input)} inputs and {len(graph.output)} outputs; an RRDBNet has one "
            "of each"
        )
    # Followed first, because it names the node; not where there are many more than can be right.
    found = _follow_graph(graph) if len(graph.node) <= 2 * count else {}
    if len(graph.node) != count:
        raise RRDBNetMismatchError(
            f"has {len(graph.node)} nodes where this RRDBNet has {count}: the graph was edited "
            "after the export; give the weights it was made from"
        )
    if found.get(graph.output[0].name) != expected:
        raise RRDBNetMismatchError(
            "connects its layers in another way than an RRDBNet: the graph was edited after the "
            "export; give the weights it was made from"
        )


def _hash(kind: str, *sources: str) -> str:
    ordered = sorted(sources) if kind == "Add" else sources
    return hashlib.sha256("\n".join((kind, *ordered)).encode()).hexdigest()


def _follow_network(config: GeneratorConfig, node: Callable[..., str]) -> str:
    """The hash of the output of the configuration's network."""

    def conv(name: str, x: str) -> str:
        return node("Conv", x, f"{name}/kernel", f"{name}/bias")

    x = _INPUT
    if config.pixel_unshuffle > 1:
        x = node("SpaceToDepth", x)
    first = x = conv("conv_first", x)
    for block in range(config.nb):
        outer = x
        for dense in (1, 2, 3):
            features = [x]
            for index in range(1, 5):
                source = node("Concat", *features) if index > 1 else x
                y = conv(conv_name(block, dense, index), source)
                features.append(node("LeakyRelu", y))
            y = conv(conv_name(block, dense, 5), node("Concat", *features))
            x = node("Add", x, node("Mul", y))
        x = node("Add", outer, node("Mul", x))
    x = node("Add", first, conv("conv_body", x))
    if config.upsampling == "conv":
        for step in range(1, upsampling_steps(config) + 1):
            x = node("LeakyRelu", conv(f"conv_up{step}", node(_resize(2), x)))
    elif (factor := config.upsampling_factor) > 1:
        x = node(_resize(factor), node("LeakyRelu", x))
    return conv("conv_last", node("LeakyRelu", conv("conv_hr", x)))


def _resize(factor: int) -> str:
    return f"Resize {[1.0, 1.0, float(factor), float(factor)]}"


def _follow_graph(graph: onnx.GraphProto) -> dict[str, str]:
    """The hash of every tensor that the graph's nodes compute."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    known = {name: name for name in constants} | {tensor.name: _INPUT for tensor in graph.input}
    for node in graph.node:
        kind, sources = node.op_type, [name for name in node.input if name]
        _check_settings(node)
        if missing := [name for name in sources if name not in known]:
            raise RRDBNetMismatchError(
                f"has a node '{node.name}' before what it needs, '{missing[0]}'"
            )
        if holds_setting(node):
            if len(sources) != 2 or sources[1] not in constants:
                raise RRDBNetMismatchError(f"has a {kind} node '{node.name}' without a constant")
            constant = numpy_helper.to_array(constants[sources.pop()])
            if _is_factor(node) and constant.shape[1:] != (1, 1, 1):
                raise RRDBNetMismatchError(f"has a convolution '{node.name}' without a bias")
            kind = f"Resize {constant.tolist()}" if kind == "Resize" else "Mul"
        known[node.output[0]] = _hash(kind, *(known[name] for name in sources))
    return known


def _check_settings(node: onnx.NodeProto) -> None:
    from onnx import helper

    kind = node.op_type
    settings = _SETTINGS.get("factor" if _is_factor(node) else kind)
    if settings is None or node.domain not in ("", "ai.onnx") or len(node.output) != 1:
        raise RRDBNetMismatchError(
            f"has a node '{node.name}' of type {kind}, which an RRDBNet does not have"
        )
    found = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    for name in sorted(found.keys() | settings.keys()):
        value, wanted = found.get(name), settings.get(name)
        if name not in settings or (wanted is not None and value != wanted):
            raise RRDBNetMismatchError(
                f"has a {kind} node '{node.name}' with {name} {value!r:.40}, which an RRDBNet "
                "does not have"
            )
