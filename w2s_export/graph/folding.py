"""Computes ONNX operations that work on small constants alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from w2s_export.graph.editing import evaluate

MOST_ELEMENTS = 4096
"""Constants of at most so many elements are computed: sizes, axes and factors."""
_LONGEST = 64
"""Constants are not filled in along axes that are longer."""
_OF_SIZES = """
    Abs Add And Cast Ceil Concat ConstantOfShape Div Equal Expand Flatten Floor Gather Greater
    GreaterOrEqual Identity Less LessOrEqual Max Min Mod Mul Neg Not Or Pow Range ReduceMax
    ReduceMin ReduceProd ReduceSum Reshape Round ScatterND Slice Sqrt Squeeze Sub Transpose
    Unsqueeze Where
"""
_FOLDED = frozenset(_OF_SIZES.split())
"""Operations that are computed: what graphs do with sizes."""


def constant_of(attributes: Mapping[str, Any]) -> NDArray[Any]:
    """What an operation Constant gives."""
    ((kind, value),) = attributes.items()
    types = {"value_int": np.int64, "value_float": np.float32}
    return np.asarray(value, types.get(kind.rstrip("s")))


def folded(
    node: onnx.NodeProto, inputs: Sequence[NDArray[Any] | None]
) -> list[NDArray[Any]] | None:
    """What an operation gives whose inputs are all small constants; None for any other."""
    if node.op_type not in _FOLDED or not node.input:
        return None
    feeds = {}
    for name, value in zip(node.input, inputs, strict=True):
        if name and (value is None or value.size > MOST_ELEMENTS):
            return None
        if value is not None:
            feeds[name] = value
    if node.op_type in ("ConstantOfShape", "Expand", "Range") and any(
        np.max(value, initial=0) > _LONGEST for value in feeds.values()
    ):
        return None
    return evaluate(node, feeds)
