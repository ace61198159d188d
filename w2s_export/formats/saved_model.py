"""Converts a generator to a TensorFlow SavedModel that TensorFlow 1.15 to today's loads.

A version-1 MetaGraph of constants: tag `serve`, signature `serving_default`, one input and one
output, float32 NCHW (the transposes are inside). Keras's own export is refused by the clients: its
endpoint returns a bare tensor, and TensorFlow 2.7 and 1.15 know neither `DisableCopyOnRead` nor
the attribute `debug_name`.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from w2s_export.errors import ConversionError
from w2s_export.formats.artifact import Artifact, write_artifact
from w2s_export.formats.tf_graph import write_graph
from w2s_export.graph.model import INPUT_ID, OUTPUT_ID
from w2s_export.io.temporary import temporary_folder
from w2s_export.runtime.saved_model import GRAPH_FILE, OPERATIONS, SIGNATURE

if TYPE_CHECKING:
    import tensorflow as tf

    from w2s_export.network import Network
    from w2s_export.runtime.protocol import Runtime

KEY = "tensorflow_saved_model_bundle"
FILE = "tensorflow_saved_model_bundle.zip"
TITLE = "TensorFlow SavedModel"

_STATED_VERSION = {
    # DeepImageJ 3.1's newest engine; JDLL drops a model whose TensorFlow weights state no version.
    "0.4": "2.7.0",
    # What conda-forge has and the zoo tests with; the file itself loads from TensorFlow 1.15 on.
    "0.5": "2.16.1",
}


def write(network: Network, path: Path) -> Artifact:
    """Write the network as a zipped SavedModel. The same network gives the same bytes.

    Raises:
        OutputError: the file cannot be written.
        ConversionError: the graph holds an operation that TensorFlow 1.15 may not know.
    """
    from w2s_export.networks.rrdbnet import build_generator, set_weights

    checkpoint = network.checkpoint
    assert checkpoint is not None  # noqa: S101 - until the graph itself is written down
    model = build_generator(checkpoint.config)
    set_weights(model, checkpoint.config, checkpoint.weights)
    graph = write_graph(model, checkpoint.config)
    if extra := {operation.type for operation in graph.get_operations()} - OPERATIONS:
        raise ConversionError(f"operations {sorted(extra)} may be unknown to TensorFlow 1.15")
    return write_artifact(KEY, path, _zipped(_serialised(graph)))


def rdf_entry(format_version: str) -> dict[str, Any]:
    """What an rdf's `weights` says of it beside source and hash."""
    return {"tensorflow_version": _STATED_VERSION[format_version]}


def load(path: Path) -> Runtime:
    """The file in TensorFlow, as DeepImageJ's Java client loads it."""
    from w2s_export.runtime.saved_model import SavedModelRuntime

    return SavedModelRuntime(path)


def _serialised(graph: tf.Graph) -> bytes:
    import tensorflow as tf

    v1 = tf.compat.v1
    with temporary_folder() as folder, v1.Session(graph=graph) as session:
        builder = v1.saved_model.Builder(str(folder / "model"))
        signature = v1.saved_model.predict_signature_def(
            {INPUT_ID: graph.get_tensor_by_name(f"{INPUT_ID}:0")},
            {OUTPUT_ID: graph.get_tensor_by_name(f"{OUTPUT_ID}:0")},
        )
        builder.add_meta_graph_and_variables(
            session,
            [v1.saved_model.tag_constants.SERVING],
            signature_def_map={SIGNATURE: signature},
            strip_default_attrs=True,
        )
        return Path(builder.save().decode()).read_bytes()


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
