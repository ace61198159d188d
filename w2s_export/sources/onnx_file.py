"""ONNX files that this tool wrote (`graph.rrdbnet`).

Initialisers are named as our tensors, with kernels (out, in, height, width); the constants of the
other nodes tell what no tensor shows. The graph is read, never run. An ONNX file of another tool
is refused: that it computes what its weights suggest could only be shown by running it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_export.errors import CheckpointError, CheckpointMismatchError
from w2s_export.foreign_text import shown
from w2s_export.graph.guard import check_alone, parse
from w2s_export.sources.architecture import NOTHING_KNOWN, settle
from w2s_export.sources.assemble import by_name
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.stored_tensor import Stored, check_size
from w2s_export.sources.wiring import check_wiring, holds_setting

if TYPE_CHECKING:
    import onnx

_PRODUCER = "w2s-export"
_NAME = "rrdbnet"


def read(path: Path, known: Mapping[str, Any] = NOTHING_KNOWN) -> Checkpoint:
    """Read an `.onnx` file of ours.

    Raises:
        CheckpointError: truncated, damaged, or made by another tool.
        CheckpointMismatchError: its tensors are not an RRDBNet's.
    """
    check_size(path.stat().st_size, "its bytes")
    return from_model(parse(path.read_bytes()), known)


def from_model(model: onnx.ModelProto, known: Mapping[str, Any] = NOTHING_KNOWN) -> Checkpoint:
    """Read the parsed content of an `.onnx` file of ours; errors as `read`."""
    from w2s_export.graph.rrdbnet import write_rrdbnet

    if model.producer_name != _PRODUCER or model.graph.name != _NAME:
        raise CheckpointError(
            f"is an ONNX file made by '{shown(model.producer_name) or 'an unknown tool'}'; only "
            "RRDBNets that w2s-export wrote are taken apart: give the weights it was made from"
        )
    settled = settle(known, _stated(model.graph))
    checkpoint = by_name(list(_weights(model.graph)), "onnx", settled)
    check_alone(model)
    check_wiring(model.graph, write_rrdbnet(checkpoint.config, checkpoint.weights).graph)
    return checkpoint


def _weights(graph: onnx.GraphProto) -> Iterator[Stored]:
    """Everything the convolutions use, and anything that no node uses."""
    constants = {name for node in graph.node if holds_setting(node) for name in node.input}
    for tensor in graph.initializer:
        if tensor.name not in constants:
            yield _stored(tensor)


def _stored(tensor: onnx.TensorProto) -> Stored:
    import onnx
    from onnx import numpy_helper

    kind = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
    return Stored(
        key=tensor.name,
        shape=tuple(tensor.dims),
        dtype={"float": "float32", "double": "float64"}.get(kind, kind),
        read=lambda: numpy_helper.to_array(tensor),
        axes="OIHW",
    )


def _stated(graph: onnx.GraphProto) -> dict[str, Any]:
    """Fields of `GeneratorConfig` that the nodes' constants tell."""
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    slopes, residuals, unshuffles = set(), set(), set()
    factor = 1.0
    for node in graph.node:
        values = [
            numpy_helper.to_array(constants[name])
            for name in node.input
            if holds_setting(node) and name in constants
        ]
        settings = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        if node.op_type == "LeakyRelu":
            slopes.add(_decimal(settings.get("alpha", 0.01)))
        elif node.op_type == "SpaceToDepth":
            unshuffles.add(int(settings["blocksize"]))
        elif node.op_type == "Resize" and values:
            factor *= float(values[-1][-1])
        else:  # of a product, or of a convolution that stands for one
            residuals |= {_decimal(factor) for value in values for factor in set(value.flat)}
    for name, found in (("slopes", slopes), ("residual factors", residuals)):
        if len(found) != 1:
            raise CheckpointMismatchError(
                f"has {len(found)} {name}, {shown(sorted(found))}; an RRDBNet has one"
            )
    unshuffle = math.prod(unshuffles)
    return {
        "scale": int(factor) // unshuffle,
        "pixel_unshuffle": unshuffle,
        "residual_scale": residuals.pop(),
        "negative_slope": slopes.pop(),
    }


def _decimal(value: float) -> float:
    """The shortest decimal that is this float32: 0.2, not 0.20000000298."""
    import numpy as np

    return float(str(np.float32(value)))
