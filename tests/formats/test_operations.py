"""Every operation that is written for TensorFlow, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.operations import Case, Write, case, cases
from w2s_export.errors import UnsupportedOperationError
from w2s_export.formats.tensorflow.graph import RULES, translated
from w2s_export.graph.writer import GraphWriter, integers
from w2s_export.runtime.saved_model import OPERATIONS

CASES = list(cases())
# Float32 rounding in another order: 2e-6 of the range measured at most.
TOLERANCE = 1e-5


@pytest.mark.parametrize("tried", CASES, ids=lambda tried: tried.name)
def test_gives_what_onnx_runtime_gives(tried: Case) -> None:
    import onnxruntime
    import tensorflow as tf

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        tried.graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    graph = translated(tried.graph)
    assert {operation.type for operation in graph.get_operations()} <= OPERATIONS
    with tf.compat.v1.Session(graph=graph) as tensorflow:
        for batch in tried.batches():
            expected = session.run(None, {"input": batch})[0]
            actual = tensorflow.run("output:0", {"input:0": batch})
            assert actual.shape == expected.shape
            assert np.abs(actual - expected).max() <= TOLERANCE * max(np.ptp(expected), 1)


def test_every_operation_is_among_them() -> None:
    kinds = {node.op_type for tried in CASES for node in tried.graph.graph.node}
    assert set(RULES) - kinds == {"Upsample"}  # gone since opset 10, where foreign graphs have it


def _einsum(writer: GraphWriter, _: Any) -> None:
    writer.node("Einsum", "input", "input", equation="...w,...w->...")


def _unknown(writer: GraphWriter, _: Any) -> None:
    writer.node("Gather", "input", writer.node("NonZero", "input"))


def _computed_kernel(writer: GraphWriter, _: Any) -> None:
    writer.node("Conv", "input", writer.node("ReduceMean", "input", axes=[0]))


def _cubic_to_a_computed_size(writer: GraphWriter, _: Any) -> None:
    shape = writer.node("Shape", writer.node("MaxPool", "input", kernel_shape=[2, 2]))
    writer.node("Resize", "input", "", "", shape, mode="cubic")


def _one_axis(writer: GraphWriter, _: Any) -> None:
    rows = writer.node("Reshape", "input", integers(0, 6, -1))
    writer.node("Conv", rows, np.ones((6, 6, 3), np.float32))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_unknown, "NonZero"),
        (_einsum, "Einsum of"),
        (_computed_kernel, "Conv with computed input 2"),
        (_cubic_to_a_computed_size, "Resize .*cubic"),
        (_one_axis, "Conv on 3 axes"),
    ],
)
def test_what_is_not_written_is_named(write: Write, message: str) -> None:
    with pytest.raises(UnsupportedOperationError, match=message):
        translated(case("refused", write).graph)


def test_an_image_is_transposed_at_its_ends_alone() -> None:
    """Convolutions, pools, resizes, sums and channel norms leave the channels where they are."""

    def write(writer: GraphWriter, random: np.random.Generator) -> None:
        x = writer.node("Conv", "input", random.normal(0, 1, (8, 6, 3, 3)).astype(np.float32))
        small = writer.node("MaxPool", writer.node("Relu", x), kernel_shape=[3, 3], pads=[1] * 4)
        scale = np.linspace(0, 1, 8, dtype=np.float32).reshape(8, 1, 1)
        joint = writer.node("Concat", writer.node("PRelu", small, scale), x, axis=1)
        gate = writer.node("Softmax", writer.node("ReduceMean", joint, axes=[2, 3]), axis=1)
        writer.node("Slice", writer.node("Mul", joint, gate), integers(3), integers(9), integers(1))

    graph = translated(case("one way", write).graph)
    kinds = [operation.type for operation in graph.get_operations()]
    assert kinds.count("Transpose") == 2
