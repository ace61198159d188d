"""Networks of anybody's: opened in a worker by their own framework, which stays as the witness."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_export.errors import CheckpointError
from w2s_export.graph.guard import parse
from w2s_export.io.worker import memory_limit
from w2s_export.runtime.in_worker import Served

if TYPE_CHECKING:
    import onnx


class Witness(Served):
    """The framework the weights came from, running them in its worker: float32 NCHW in and out."""

    def __init__(self, kind: str, path: Path, options: dict[str, Any]) -> None:
        """Open a file in its framework, and bring its network into the house's form.

        Args:
            kind: module of this package that opens it: `onnx_network`, `keras_network`,
                `saved_model_network` or `torch_network`.
            path: the file or folder.
            options: `dynamic`, let go of sizes that the file fixes; `signature` of a SavedModel.

        Raises:
            CheckpointError: no image-to-image network that can be exported; says why.
            MissingExtraError: its framework is not installed.
        """
        beside = path.parent if kind == "onnx_network" else path
        arguments = [kind, str(path.absolute()), json.dumps(options)]
        program = f"{__package__}.foreign_program"
        super().__init__(program, arguments, [beside], memory_limit(), CheckpointError)

    def graph(self) -> onnx.ModelProto:
        """The lowered network."""
        return parse((self.folder / "network.onnx").read_bytes())
