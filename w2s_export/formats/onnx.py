"""ONNX: the network's own graph in a single file, which every other format is written from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_export.formats.artifact import Artifact, write_artifact
from w2s_export.graph.model import OPSET, check_model

if TYPE_CHECKING:
    from w2s_export.network import Network
    from w2s_export.runtime.protocol import Runtime

KEY = "onnx"
FILE = "weights.onnx"
TITLE = "ONNX"


def write(network: Network, path: Path) -> Artifact:
    """Write the graph. The same network gives the same bytes.

    Raises:
        OutputError: the file cannot be written.
        ConversionError: the graph is not what `graph.model` promises.
    """
    check_model(network.graph)
    return write_artifact(KEY, path, network.graph.SerializeToString(deterministic=True))


def rdf_entry(format_version: str) -> dict[str, Any]:
    """What an rdf's `weights` says of it beside source and hash."""
    return {"opset_version": OPSET}


def load(path: Path) -> Runtime:
    """The file in ONNX Runtime."""
    from w2s_export.runtime.onnx_runtime import OnnxRuntime

    return OnnxRuntime(path)
