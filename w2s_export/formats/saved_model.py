"""Writes the network's graph as a TensorFlow SavedModel that TensorFlow 1.15 to today's loads.

A version-1 MetaGraph of constants: tag `serve`, signature `serving_default`, one input and one
output, float32 NCHW (the transposes are inside), from a list of operations that image networks use;
a graph with any other gets no SavedModel. Keras's own export is refused by the clients: its
endpoint returns a bare tensor, and TensorFlow 2.7 and 1.15 know neither `DisableCopyOnRead` nor
the attribute `debug_name`.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from w2s_export.errors import ConfigError, ConversionError
from w2s_export.formats.artifact import Artifact, write_artifact
from w2s_export.graph.model import INPUT_ID, OUTPUT_ID
from w2s_export.runtime.saved_model import GRAPH_FILE, OPERATIONS, SIGNATURE

if TYPE_CHECKING:
    import onnx
    import tensorflow as tf
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

    from w2s_export.network import Network
    from w2s_export.runtime.protocol import Runtime

KEY = "tensorflow_saved_model_bundle"
FILE = "tensorflow_saved_model_bundle.zip"
TITLE = "TensorFlow SavedModel"

MOST_BYTES = (2 << 30) - (64 << 20)
"""A protocol buffer ends at 2 GiB; what is not weights stays far below 64 MiB."""
_STATED_VERSION = {
    # DeepImageJ 3.1's newest engine; JDLL drops a model whose TensorFlow weights state no version.
    "0.4": "2.7.0",
    # What conda-forge has and the zoo tests with; the file itself loads from TensorFlow 1.15 on.
    "0.5": "2.16.1",
}


def write(network: Network, path: Path) -> Artifact:
    """Write the network as a zipped SavedModel. The same network gives the same bytes.

    Raises:
        UnsupportedOperationError: the graph holds an operation that is not written.
        ConfigError: the network is too large for a single file.
        OutputError: the file cannot be written.
        ConversionError: a bug of ours: an operation that TensorFlow 1.15 may not know.
    """
    return write_artifact(KEY, path, saved_model(network.graph))


def rdf_entry(format_version: str) -> dict[str, Any]:
    """What an rdf's `weights` says of it beside source and hash."""
    return {"tensorflow_version": _STATED_VERSION[format_version]}


def load(path: Path) -> Runtime:
    """The file in TensorFlow, as DeepImageJ's Java client loads it."""
    from w2s_export.runtime.saved_model import SavedModelRuntime

    return SavedModelRuntime(path)


def saved_model(model: onnx.ModelProto) -> bytes:
    """The zipped SavedModel of an ONNX graph of opset 17; raises as `write` does."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    from w2s_export.formats.tensorflow.graph import translated

    if (size := model.ByteSize()) > MOST_BYTES:
        raise ConfigError(f"the network takes {size:,} bytes; one file holds {MOST_BYTES:,}")
    meta = _meta_graph(translated(model))
    proto = SavedModel(saved_model_schema_version=1, meta_graphs=[meta])
    return _zipped(proto.SerializeToString(deterministic=True))


def _meta_graph(graph: tf.Graph) -> MetaGraphDef:
    """What lies between the placeholder and the output, with the signature."""
    import tensorflow as tf

    v1 = tf.compat.v1
    needed = _needed(graph.as_graph_def())
    if extra := {node.op for node in needed.node} - OPERATIONS:
        raise ConversionError(f"operations {sorted(extra)} may be unknown to TensorFlow 1.15")
    meta = v1.train.export_meta_graph(graph_def=needed, graph=tf.Graph(), strip_default_attrs=True)
    meta.meta_info_def.tags.append(v1.saved_model.tag_constants.SERVING)
    signature = meta.signature_def[SIGNATURE]
    signature.method_name = v1.saved_model.signature_constants.PREDICT_METHOD_NAME
    for infos, name in ((signature.inputs, INPUT_ID), (signature.outputs, OUTPUT_ID)):
        tensor = graph.get_tensor_by_name(f"{name}:0")
        infos[name].name = tensor.name
        infos[name].dtype = tensor.dtype.as_datatype_enum
        infos[name].tensor_shape.CopyFrom(tensor.shape.as_proto())
    return meta


def _needed(graph: GraphDef) -> GraphDef:
    """Without operations that nothing reads; constants that were computed leave some behind."""
    nodes = {node.name: node for node in graph.node}
    wanted, found = [OUTPUT_ID], {OUTPUT_ID, INPUT_ID}
    while wanted:
        names = {item.lstrip("^").partition(":")[0] for item in nodes[wanted.pop()].input}
        wanted.extend(names - found)
        found |= names
    return type(graph)(
        node=[node for node in graph.node if node.name in found], versions=graph.versions
    )


def _zipped(graph: bytes) -> bytes:
    """The layout clients unzip: the graph and a folder of (no) variables, at the root."""
    buffer = BytesIO()
    with ZipFile(buffer, "w", ZIP_STORED) as archive:  # float weights do not deflate
        for name, content in ((GRAPH_FILE, graph), ("variables/", b"")):
            member = ZipInfo(name)  # dated 1980, whatever the clock says
            member.create_system = 3
            member.external_attr = (0o40755 << 16 | 0x10) if name.endswith("/") else 0o100644 << 16
            archive.writestr(member, content)
    return buffer.getvalue()
