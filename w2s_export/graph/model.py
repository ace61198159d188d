"""What every ONNX model of this tool is: opset 17, IR 8, float32 NCHW, sizes dynamic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from w2s_export.errors import ConversionError

if TYPE_CHECKING:
    import onnx

INPUT_ID = "input"
"""Name of the input tensor in the ONNX file, the SavedModel's signature and the rdf."""
OUTPUT_ID = "output"
"""Name of the output tensor in the ONNX file, the SavedModel's signature and the rdf."""
OPSET = 17
IR_VERSION = 8
"""The newest that DeepImageJ's ONNX Runtime 1.12.1 reads."""


def make_model(
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto],
    *,
    name: str,
    channels: tuple[int, int],
    scale: int,
    text: str,
    axes: tuple[str | int, str | int, str | int] = ("batch", "y", "x"),
) -> onnx.ModelProto:
    """A model of these nodes, with readable axes.

    Args:
        nodes: from `INPUT_ID` to `OUTPUT_ID`.
        constants: that they read.
        name: of the graph.
        channels: of the input and of the output.
        scale: output pixels per input pixel, along each axis.
        text: what the file is, for people.
        axes: batch, height and width of the input: a name, or a number where it is fixed.
    """
    from onnx import TensorProto, helper

    from w2s_export import __version__

    batch, *size = axes
    enlarged = [
        side * scale if isinstance(side, int) else side if scale == 1 else f"{scale}*{side}"
        for side in size
    ]
    image_in, image_out = (
        helper.make_tensor_value_info(tensor, TensorProto.FLOAT, [batch, count, *sides])
        for tensor, count, sides in zip(
            (INPUT_ID, OUTPUT_ID), channels, (size, enlarged), strict=True
        )
    )
    return helper.make_model(
        helper.make_graph(nodes, name, [image_in], [image_out], constants),
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="w2s-export",
        producer_version=__version__,
        doc_string=text,
    )


def check_model(model: onnx.ModelProto) -> None:
    """Assert what this module's docstring says.

    Raises:
        ConversionError: names the first promise that does not hold: a bug of ours or of a
            converter, not of the user.
    """
    import numpy as np
    from onnx import TensorProto, checker, numpy_helper

    try:
        checker.check_model(model, full_check=True)
    except Exception as error:  # onnx raises several kinds
        raise ConversionError(f"the ONNX checker refuses the model: {error}") from error
    opsets = {item.domain: item.version for item in model.opset_import}
    if opsets != {"": OPSET} or model.ir_version != IR_VERSION:
        raise ConversionError(f"got opsets {opsets} and IR {model.ir_version}")
    for tensors, name in ((model.graph.input, INPUT_ID), (model.graph.output, OUTPUT_ID)):
        shapes = [tensor.type.tensor_type for tensor in tensors]
        if (found := [tensor.name for tensor in tensors]) != [name]:
            raise ConversionError(f"has the tensors {found}, needs '{name}' alone")
        if shapes[0].elem_type != TensorProto.FLOAT or len(shapes[0].shape.dim) != 4:
            raise ConversionError(f"'{name}' is no float32 image (N, C, H, W)")
    for tensor in model.graph.initializer:
        floats = tensor.data_type == TensorProto.FLOAT
        if floats and not np.isfinite(numpy_helper.to_array(tensor)).all():
            raise ConversionError(f"'{tensor.name}' is not finite")
