"""A package that is right, to tell a broken environment from a broken package."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

_RDF = """\
format_version: 0.5.4
type: model
name: control
description: Gives its input back.
authors: [{name: w2s-export}]
cite: [{text: none, url: "https://bioimage.io"}]
license: MIT
documentation: README.md
inputs:
- id: input
  axes:
  - {type: batch}
  - {type: channel, channel_names: [signal]}
  - {type: space, id: y, size: {min: 8, step: 1}}
  - {type: space, id: x, size: {min: 8, step: 1}}
  test_tensor: {source: test.npy}
outputs:
- id: output
  axes:
  - {type: batch}
  - {type: channel, channel_names: [signal]}
  - {type: space, id: y, size: {tensor_id: input, axis_id: y}}
  - {type: space, id: x, size: {tensor_id: input, axis_id: x}}
  test_tensor: {source: test.npy}
weights: {onnx: {source: weights.onnx, opset_version: 17}}
"""


def write_control(folder: Path) -> Path:
    """Write `control.zip`: format 0.5, ONNX, one identity."""
    from onnx import TensorProto, helper

    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 1, "y", "x"])
        for name in ("input", "output")
    ]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["input"], ["output"])], "control", values[:1], values[1:]
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    path = folder / "control.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rdf.yaml", _RDF)
        archive.writestr("README.md", "# Validation\n")
        archive.writestr("weights.onnx", model.SerializeToString())
        with archive.open("test.npy", "w") as stream:
            image = np.linspace(0, 1, 96, dtype=np.float32).reshape(1, 1, 8, 12)
            np.lib.format.write_array(stream, image)
    return path
