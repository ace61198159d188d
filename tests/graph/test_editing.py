"""Constants are folded as ONNX Runtime computes them."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper

from w2s_export.graph.editing import evaluate

SIZES = np.array([3, 5, 7], np.int64)
IMAGE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
ROWS = np.array([[1, -1], [0, 2]], np.int64)
CASES: dict[str, tuple[onnx.NodeProto, list[NDArray[np.generic]]]] = {
    "add": (helper.make_node("Add", ["a", "b"], ["y"]), [SIZES, SIZES[:1]]),
    "subtract": (helper.make_node("Sub", ["a", "b"], ["y"]), [SIZES, SIZES[:1]]),
    "multiply": (helper.make_node("Mul", ["a", "b"], ["y"]), [SIZES, SIZES[:1]]),
    "gather": (helper.make_node("Gather", ["a", "b"], ["y"], axis=1), [IMAGE, ROWS]),
    "join": (helper.make_node("Concat", ["a", "b"], ["y"], axis=0), [SIZES, SIZES]),
    "unsqueeze": (helper.make_node("Unsqueeze", ["a", "b"], ["y"]), [SIZES, np.array([0, 2])]),
    "scatter rows": (
        helper.make_node("ScatterND", ["a", "b", "c"], ["y"]),
        [IMAGE, ROWS, -IMAGE.reshape(6, 4)[:2]],
    ),
    "scatter numbers": (
        helper.make_node("ScatterND", ["a", "b", "c"], ["y"]),
        [SIZES, np.array([[2], [0]], np.int64), np.array([8, 9], np.int64)],
    ),
    "add scattered numbers": (
        helper.make_node("ScatterND", ["a", "b", "c"], ["y"], reduction="add"),
        [IMAGE.reshape(-1), np.array([[2], [2]], np.int64), np.array([8, 9], np.float32)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_node_makes_of_constants(name: str) -> None:
    node, arrays = CASES[name]
    inputs = dict(zip("abc", arrays, strict=False))
    infos = [
        helper.make_tensor_value_info(
            key, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        for key, value in inputs.items()
    ]
    out = helper.make_tensor_value_info("y", infos[0].type.tensor_type.elem_type, None)
    graph = helper.make_graph([node], "g", infos, [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)
    (made,) = evaluate(node, inputs)
    assert made.dtype == expected.dtype
    np.testing.assert_array_equal(made, expected)
