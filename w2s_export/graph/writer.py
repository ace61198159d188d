"""Writes an ONNX graph node by node, where no framework could have been traced."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Tensor = str | NDArray[Any]
"""Name of a tensor of the graph, or a constant."""


def integers(*values: int) -> NDArray[np.int64]:
    """A vector of sizes, axes or indices."""
    return np.array(values, np.int64)


class GraphWriter:
    """Collects nodes and constants; names are numbered, so the same calls give the same bytes."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._stored: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def node(self, kind: str, *inputs: Tensor, output: str | None = None, **attributes: Any) -> str:
        """Add a node of one output; returns that output's name, numbered if none is given."""
        names = [item if isinstance(item, str) else self._constant(item) for item in inputs]
        made = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [made], name=made, **attributes))
        return made

    def weight(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant of this name; returns the name."""
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def _constant(self, values: NDArray[Any]) -> str:
        """Name of a constant; equal ones are stored once."""
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self._stored:
            self._stored[key] = self.weight(f"constant_{len(self._stored)}", values)
        return self._stored[key]
