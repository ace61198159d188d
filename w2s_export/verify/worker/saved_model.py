"""What must hold of a SavedModel before TensorFlow's own loader takes it as a whole."""

from __future__ import annotations

from pathlib import Path

from w2s_export.errors import PackageError, WithheldError
from w2s_export.runtime.saved_model import GRAPH_FILE, saved_model_folder
from w2s_export.runtime.saved_model_graph import COMPUTING

SAVING = frozenset(
    ("MergeV2Checkpoints", "SaveV2", "ShardedFilename", "StaticRegexFullMatch", "StringJoin")
)
"""What every SavedModel of Keras holds besides, to be saved again; nothing calls it."""


def check_whole(path: Path) -> None:
    """Every operation of a zipped SavedModel is on the lists, wherever it stands.

    bioimageio.core loads it so: what is listed as an initialiser runs.

    Raises:
        PackageError: no SavedModel.
        WithheldError: another operation.
    """
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    with saved_model_folder(path) as folder:
        try:
            proto = SavedModel.FromString((folder / GRAPH_FILE).read_bytes())
        except Exception:  # protobuf's DecodeError, by whichever implementation is installed
            raise PackageError(f"its {GRAPH_FILE} is missing or damaged") from None
    operations: set[str] = set()
    own: set[str] = set()
    for graph in (meta.graph_def for meta in proto.meta_graphs):
        own |= {function.signature.name for function in graph.library.function}
        operations |= {node.op for node in graph.node}
        for function in graph.library.function:
            operations |= {node.op for node in function.node_def}
    if others := sorted(operations - COMPUTING - SAVING - own):
        raise WithheldError(f"its graph holds {', '.join(others)[:200]}, which are not run")
