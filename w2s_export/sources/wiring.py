"""Whether an ONNX graph computes what its weights suggest.

The graph is followed from its input to its output, and so is the one that is written of the same
weights; each tensor on the way is known by a hash of all that it is computed from. The output's
hash then speaks for the whole graph, whatever its tensors are called and however its nodes are
sorted. Nothing is run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from w2s_export.counting import counted
from w2s_export.errors import RRDBNetMismatchError

if TYPE_CHECKING:
    import onnx

Kinds = Mapping[str, Mapping[str, Any]]
"""Attributes of every kind of node that the network has."""


def holds_setting(node: onnx.NodeProto) -> bool:
    """Whether the node's last input is a setting of the network, not a layer's weight."""
    return node.op_type in ("Mul", "Resize") or _is_factor(node)


def _is_factor(node: onnx.NodeProto) -> bool:
    """Whether a convolution stands for a product (`graph.rrdbnet`): every layer has a bias."""
    return node.op_type == "Conv" and len(node.input) == 2


def _kind(node: onnx.NodeProto) -> str:
    return "factor" if _is_factor(node) else node.op_type


def check_wiring(graph: onnx.GraphProto, written: onnx.GraphProto) -> None:
    """Follow the graph and compare it with what is written of the same weights.

    Raises:
        RRDBNetMismatchError: a node of another kind or setting, one that is not connected as in
            an RRDBNet, or one too many.
    """
    if len(graph.input) != 1 or len(graph.output) != 1:
        raise RRDBNetMismatchError(
            f"has {counted(len(graph.input), 'input')} and "
            f"{counted(len(graph.output), 'output')}; an RRDBNet has one of each"
        )
    kinds = {_kind(node): _settings(node) for node in written.node}
    # Followed first, because it names the node; not where there are many more than can be right.
    found = _follow(graph, kinds) if len(graph.node) <= 2 * len(written.node) else {}
    if len(graph.node) != len(written.node):
        raise RRDBNetMismatchError(
            f"has {counted(len(graph.node), 'node')} where this RRDBNet has {len(written.node)}: "
            "the graph was edited after the export; give the weights it was made from"
        )
    if found.get(graph.output[0].name) != _follow(written, kinds)[written.output[0].name]:
        raise RRDBNetMismatchError(
            "connects its layers in another way than an RRDBNet: the graph was edited after the "
            "export; give the weights it was made from"
        )


def _follow(graph: onnx.GraphProto, kinds: Kinds) -> dict[str, str]:
    """The hash of every tensor that the graph's nodes compute."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    known = {name: name for name in constants} | {tensor.name: "input" for tensor in graph.input}
    for node in graph.node:
        kind, sources = node.op_type, [name for name in node.input if name]
        _check_settings(node, kinds)
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
        hashes = [known[name] for name in sources]
        text = "\n".join((kind, *(sorted(hashes) if kind == "Add" else hashes)))
        known[node.output[0]] = hashlib.sha256(text.encode()).hexdigest()
    return known


def _settings(node: onnx.NodeProto) -> dict[str, Any]:
    from onnx import helper

    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def _check_settings(node: onnx.NodeProto, kinds: Kinds) -> None:
    settings, found = kinds.get(_kind(node)), _settings(node)
    if settings is None or node.domain not in ("", "ai.onnx") or len(node.output) != 1:
        raise RRDBNetMismatchError(
            f"has a node '{node.name}' of type {node.op_type}, which an RRDBNet does not have"
        )
    for name in sorted(found.keys() | settings.keys()):
        if found.get(name) != settings.get(name):
            raise RRDBNetMismatchError(
                f"has a {node.op_type} node '{node.name}' with {name} {found.get(name)!r:.40}, "
                "which an RRDBNet does not have"
            )
