"""Translates an ONNX graph into a TensorFlow graph of constants, operation by operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from numpy.typing import NDArray
from onnx import numpy_helper

from w2s_export.errors import UnsupportedOperationError
from w2s_export.formats.tensorflow.axes import AXES
from w2s_export.formats.tensorflow.cutting import CUTTING
from w2s_export.formats.tensorflow.elements import ELEMENTS
from w2s_export.formats.tensorflow.normalising import NORMALISING
from w2s_export.formats.tensorflow.products import PRODUCTS
from w2s_export.formats.tensorflow.resize import RESIZING
from w2s_export.formats.tensorflow.values import Operation, Rule, Value
from w2s_export.formats.tensorflow.windows import WINDOWS
from w2s_export.graph.editing import attributes_of
from w2s_export.graph.folding import constant_of, folded
from w2s_export.graph.model import INPUT_ID, OUTPUT_ID

RULES: Mapping[str, Rule] = {
    **AXES,
    **CUTTING,
    **ELEMENTS,
    **NORMALISING,
    **PRODUCTS,
    **RESIZING,
    **WINDOWS,
}
"""How each ONNX operation is written; a graph with any other is not."""


def translated(model: onnx.ModelProto) -> tf.Graph:
    """The graph of constants, from the placeholder `INPUT_ID` to `OUTPUT_ID`.

    Args:
        model: opset 13 to 17, one float32 input (N, C, H, W) and one output.

    Raises:
        UnsupportedOperationError: names the operations that are not written.
    """
    if unknown := sorted({_kind(node) for node in model.graph.node} - {*RULES, "Constant"}):
        raise UnsupportedOperationError(
            f"{', '.join(unknown)}: not among the operations that are written for TensorFlow 1.15"
        )
    values = {
        item.name: Value(item.name, array=numpy_helper.to_array(item))
        for item in model.graph.initializer
    }
    ((source, channels),) = (
        (item.name, item.type.tensor_type.shape.dim[1].dim_value or None)
        for item in model.graph.input
        if item.name not in values
    )
    (target,) = (item.name for item in model.graph.output)
    graph = tf.Graph()
    with graph.as_default():
        shape = (None, channels, None, None)
        image = tf.compat.v1.placeholder(tf.float32, shape, INPUT_ID)
        values[source] = Value(source, image)
        for node in model.graph.node:
            _write(node, values)
        tf.identity(values[target].natural(), name=OUTPUT_ID)
    return graph


def _kind(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _write(node: onnx.NodeProto, values: dict[str, Value]) -> None:
    """Write one operation, or compute it where it works on small constants alone."""
    attributes = attributes_of(node)
    inputs = [values[name] if name else None for name in node.input]
    if node.op_type == "Constant":
        arrays: list[NDArray[Any]] | None = [constant_of(attributes)]
    else:
        arrays = folded(node, [value.array if value else None for value in inputs])
    if arrays is not None:
        for name, array in zip(node.output, arrays, strict=True):
            values[name] = Value(name, array=np.asarray(array))
        return
    label = node.name or node.output[0]
    label = label if label not in (INPUT_ID, OUTPUT_ID) else f"{node.op_type}_{label}"
    outputs = sum(map(bool, node.output))
    written = RULES[node.op_type](Operation(node.op_type, label, attributes, inputs, outputs))
    for name, value in zip(
        node.output, written if isinstance(written, list) else [written], strict=False
    ):
        values[name] = value
