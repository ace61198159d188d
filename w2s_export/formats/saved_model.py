"""Converts a generator to a TensorFlow SavedModel that TensorFlow 1.15 to today's loads.

A version-1 MetaGraph of constants: tag `serve`, signature `serving_default`, one input and one
output, float32 NCHW (the transposes are inside). Keras's own export is refused by the clients: its
endpoint returns a bare tensor, and TensorFlow 2.7 and 1.15 know neither `DisableCopyOnRead` nor
the attribute `debug_name`.
"""

from __future__ import annotations

import logging
import tempfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from w2s_export.config import GeneratorConfig
from w2s_export.formats.artifact import INPUT_ID, OUTPUT_ID, ConversionError, SavedModelArtifact
from w2s_export.formats.tf_graph import write_graph
from w2s_export.io.files import sha256_of, write_atomically
from w2s_export.runtime.saved_model import GRAPH_FILE, OPERATIONS, SIGNATURE

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_log = logging.getLogger(__name__)


def to_saved_model(model: keras.Model, config: GeneratorConfig, path: Path) -> SavedModelArtifact:
    """Write the generator as a zipped SavedModel. The same model gives the same bytes.

    Args:
        model: a generator of `networks.build_generator(config)`.
        config: its architecture.
        path: file to write, `.zip`.

    Raises:
        CheckpointMismatchError: the weights hold NaN or infinity.
        ConfigError: the network is too large for a single file.
        OutputError: the file cannot be written.
        ConversionError: the graph holds an operation that TensorFlow 1.15 may not know.
    """
    import tensorflow as tf

    graph = write_graph(model, config)
    if extra := {operation.type for operation in graph.get_operations()} - OPERATIONS:
        raise ConversionError(f"operations {sorted(extra)} may be unknown to TensorFlow 1.15")
    write_atomically(path, _zipped(_serialised(graph)))
    _log.info("wrote %s: TensorFlow %s", path, tf.__version__)
    return SavedModelArtifact(path, sha256_of(path), tf.__version__)


def _serialised(graph: tf.Graph) -> bytes:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tempfile.TemporaryDirectory() as folder, v1.Session(graph=graph) as session:
        builder = v1.saved_model.Builder(str(Path(folder) / "model"))
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
