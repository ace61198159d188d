from __future__ import annotations

import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2s_export.verify.protobuf import WireError, read_onnx, read_saved_model


def test_onnx_header_is_what_the_library_reads(good):
    import onnx

    path = good.description.artifact("onnx").path
    model = onnx.load(path)
    header = read_onnx(path.read_bytes())
    assert header.ir_version == model.ir_version
    assert header.opset == model.opset_import[0].version
    for found, values in (
        (header.inputs, model.graph.input),
        (header.outputs, model.graph.output),
    ):
        assert found == {
            value.name: tuple(
                dim.dim_value if dim.HasField("dim_value") else None
                for dim in value.type.tensor_type.shape.dim
            )
            for value in values
        }


def test_onnx_weights_are_no_inputs():
    from onnx import TensorProto, helper

    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xwy"]
    node = helper.make_node("Add", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", values[:2], values[2:], [tensor])
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 30)]
    header = read_onnx(helper.make_model(graph, opset_imports=opsets).SerializeToString())
    assert header.inputs == {"x": (1,)}
    assert header.opset == 15


def test_saved_model_header_is_what_tensorflow_reads(good):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    with zipfile.ZipFile(
        good.description.artifact("tensorflow_saved_model_bundle").path
    ) as archive:
        data = archive.read("saved_model.pb")
    (graph,) = SavedModel.FromString(data).meta_graphs
    header = read_saved_model(data)
    assert header.tags == set(graph.meta_info_def.tags)
    assert header.operations == {node.op for node in graph.graph_def.node}
    assert header.attributes == {key for node in graph.graph_def.node for key in node.attr}
    assert header.signatures == {
        name: (tuple(sorted(signature.inputs)), tuple(sorted(signature.outputs)))
        for name, signature in graph.signature_def.items()
    }


def test_operations_inside_functions_are_seen(tmp_path):
    import tensorflow as tf
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    model = SavedModel()
    graph = model.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    graph.graph_def.node.add(name="call", op="PartitionedCall")
    function = graph.graph_def.library.function.add()
    function.node_def.add(name="inner", op="DisableCopyOnRead")
    assert isinstance(graph.graph_def, tf.compat.v1.GraphDef)
    header = read_saved_model(model.SerializeToString())
    assert header.operations == {"PartitionedCall", "DisableCopyOnRead"}


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\xff" * 20, b"\x0a\x05abc", b"\x00\x00"])
@pytest.mark.parametrize("read", [read_onnx, read_saved_model])
def test_what_is_no_model_is_refused(read, data):
    with pytest.raises(WireError):
        read(data)


@given(st.binary(max_size=200))
def test_no_bytes_make_it_stumble(data):
    for read in (read_onnx, read_saved_model):
        try:
            read(data)
        except WireError:
            continue


def test_a_truncated_file_is_refused(good):
    data = good.description.artifact("onnx").path.read_bytes()
    with pytest.raises(WireError, match="truncated"):
        read_onnx(data[: len(data) // 2])
