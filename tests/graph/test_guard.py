"""ONNX files of anybody's making: bounded before they are parsed, closed in themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from w2s_export.errors import CheckpointError
from w2s_export.graph import guard


def model() -> onnx.ModelProto:
    kernel = numpy_helper.from_array(np.ones((1, 1, 3, 3), np.float32), "kernel")
    node = helper.make_node("Conv", ["input", "kernel"], ["output"], pads=[1, 1, 1, 1])
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1, None, None])
        for name in ("input", "output")
    ]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [kernel])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def external() -> onnx.TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret.bin")
    return tensor


def _initializer(m: onnx.ModelProto) -> None:
    m.graph.initializer.append(external())


def _attribute(m: onnx.ModelProto) -> None:
    m.graph.node.append(helper.make_node("Constant", [], ["c"], value=external()))


def _list_attribute(m: onnx.ModelProto) -> None:
    m.graph.node[0].attribute.append(onnx.AttributeProto(name="x", tensors=[external()]))


def _sparse(m: onnx.ModelProto) -> None:
    m.graph.sparse_initializer.append(onnx.SparseTensorProto(values=external(), dims=[4]))


def _branch(m: onnx.ModelProto) -> None:
    branch = helper.make_graph([], "b", [], [], [external()])
    m.graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=branch))


def _function(m: onnx.ModelProto) -> None:
    inside = helper.make_node("Constant", [], ["c"], value=external())
    m.functions.append(helper.make_function("", "F", [], ["c"], [inside], m.opset_import))


def _location_alone(m: onnx.ModelProto) -> None:
    m.graph.initializer[0].external_data.add(key="location", value="secret.bin")


@pytest.mark.parametrize(
    "hide",
    [_initializer, _attribute, _list_attribute, _sparse, _branch, _function, _location_alone],
)
def test_no_tensor_lies_in_another_file(hide: Callable[[onnx.ModelProto], None]) -> None:
    whole = model()
    guard.parse(whole.SerializeToString())
    hide(whole)
    with pytest.raises(CheckpointError, match="lies in another file"):
        guard.parse(whole.SerializeToString())


def test_of_a_field_stated_twice_the_last_counts(tmp_path: Path) -> None:
    """As for every reader of protobuf; a guard that takes the first sees another file."""
    tensor = external().SerializeToString()
    # data_location is field 14: stated as DEFAULT first, and as 2**32 + 1, which is EXTERNAL.
    twice = b"\x70\x00" + tensor.replace(b"\x70\x01", b"\x70\x81\x80\x80\x80\x10")
    graph = b"\x2a" + bytes([len(twice)]) + twice
    data = model().SerializeToString() + b"\x3a" + bytes([len(graph)]) + graph
    with pytest.raises(CheckpointError, match="lies in another file"):
        guard.parse(data)


_LOCATION = {
    "stated twice": b"\x70\x01\x70\x00",
    "above 32 bits": b"\x70\x81\x80\x80\x80\x10",
    "negative": b"\x70" + b"\xff" * 9 + b"\x01",
    "of an overlong tag": b"\xf0\x80\x00\x01",
    "of a tag above 32 bits": b"\xf0\x80\x80\x80\x80\x01\x01",
    "of an overlong value": b"\x70\x81\x80\x80\x80\x80\x80\x80\x80\x80\x00",
    "of eleven bytes": b"\x70\x81\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00",
    "of another wire type": b"\x75\x01\x00\x00\x00",
    "in a group": b"\x9b\x06\x70\x01\x9c\x06",
}


@pytest.mark.parametrize("how", _LOCATION)
def test_a_location_that_parsers_may_take_otherwise_is_refused(how: str) -> None:
    tensor = external().SerializeToString().replace(b"\x70\x01", b"") + _LOCATION[how]
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    with pytest.raises(CheckpointError):
        guard.parse(model().SerializeToString() + b"\x3a" + bytes([len(graph)]) + graph)


def test_fields_that_no_schema_knows_are_not_handed_on() -> None:
    unknown = b"\xda\x3e\x03abc"  # field 1003
    whole = model().SerializeToString()
    assert guard.parse(whole + unknown).SerializeToString() == whole


@pytest.mark.parametrize("where", ["node", "import", "function"])
def test_no_operators_but_the_standard_ones(where: str) -> None:
    whole = model()
    if where == "node":
        whole.graph.node[0].domain = "com.microsoft"
    elif where == "import":
        whole.opset_import.append(helper.make_opsetid("com.example", 1))
    else:
        inside = helper.make_node("Evil", [], ["c"], domain="com.microsoft")
        whole.functions.append(
            helper.make_function("", "F", [], ["c"], [inside], whole.opset_import)
        )
    with pytest.raises(CheckpointError, match=r"uses operators of 'com\."):
        guard.parse(whole.SerializeToString())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x3a\x84\x89\x7a" + b"\x0a\x00" * 1_000_002, "more than 1000000 parts"),
        (b"\x3a\x7f\x0a", "ends beyond"),
        (b"\x3b\x3c", "a field of the kind 3"),
        (b"\x08" + b"\xff" * 20, "more than 64 bits"),
        (b"\x08\x08\x3a", "is no ONNX file"),
        (b"", None),
    ],
)
def test_what_is_no_network_is_refused_before_it_is_built(data: bytes, message: str | None) -> None:
    if message is None:
        assert not guard.parse(data).graph.node
    else:
        with pytest.raises(CheckpointError, match=message):
            guard.parse(data)


def test_graphs_in_graphs() -> None:
    graph = b""
    for _ in range(60):  # attribute g of a node of a graph
        for key in (b"\x32", b"\x2a", b"\x0a"):
            size, length = len(graph), b""
            while True:
                length += bytes([size & 127 | (128 if size > 127 else 0)])
                size >>= 7
                if not size:
                    break
            graph = key + length + graph
    with pytest.raises(CheckpointError, match=r"nests|is no ONNX file"):
        guard.parse(b"\x3a" + bytes([len(graph) & 127 | 128, len(graph) >> 7]) + graph)
