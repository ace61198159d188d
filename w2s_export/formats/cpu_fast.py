"""The fast CPU graph: a second ONNX file of an RRDBNet, an attachment and never the weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_export.errors import ConfigError
from w2s_export.formats.artifact import Artifact, write_artifact

if TYPE_CHECKING:
    from w2s_export.network import Network
    from w2s_export.runtime.protocol import Runtime

KEY = "cpu_fast"
FILE = "cpu_fast.onnx"
TITLE = "fast CPU graph"


def write(network: Network, path: Path) -> Artifact:
    """Write the network with Winograd's convolutions. The same weights give the same bytes.

    Raises:
        ConfigError: not an RRDBNet, the only family that it is written for.
        OutputError: the file cannot be written.
    """
    from w2s_export.graph.cpu_fast import write_cpu_fast

    if network.checkpoint is None:
        raise ConfigError(
            f"the fast CPU graph is written for RRDBNet alone, not for {network.architecture}; "
            "leave out --cpu-fast"
        )
    graph = write_cpu_fast(network.checkpoint.config, network.checkpoint.weights)
    return write_artifact(KEY, path, graph.SerializeToString(deterministic=True))


def rdf_entry(format_version: str) -> dict[str, Any]:
    """Nothing: it stands among the attachments."""
    return {}


def load(path: Path) -> Runtime:
    """The file in ONNX Runtime, one image at a time."""
    from w2s_export.runtime.onnx_runtime import OnnxRuntime

    return OnnxRuntime(path)
