"""tf2onnx, as every source of TensorFlow uses it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from w2s_export.errors import CheckpointError
from w2s_export.foreign_text import shown
from w2s_export.runtime.protocol import first_line

if TYPE_CHECKING:
    import onnx


def convert(converter: Callable[[], Any]) -> onnx.ModelProto:
    """What a converter of tf2onnx makes.

    Its reshape optimizer is left out: of networks with one channel it loses the last Squeeze in
    some runs (1.17), and what it simplifies, lowering folds too.

    Raises:
        CheckpointError: an operation that tf2onnx cannot convert, by name.
    """
    import tf2onnx
    from tf2onnx import optimizer

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    optimizer._optimizers.pop("reshape_optimizer", None)
    try:
        model: onnx.ModelProto = converter()[0]
    except Exception as error:  # tf2onnx raises errors of any class
        raise CheckpointError(
            f"tf2onnx {tf2onnx.__version__} cannot convert it: {shown(first_line(error))}"
        ) from None
    _write_out_erfc(model)
    unknown = sorted({node.op_type for node in model.graph.node if not _is_known(node)})
    if unknown:
        raise CheckpointError(
            f"tf2onnx {tf2onnx.__version__} cannot convert {shown(', '.join(unknown))}; "
            "build the network without it"
        )
    return model


def _write_out_erfc(model: onnx.ModelProto) -> None:
    """Write `1 - Erf(x)` for Erfc, which Keras's GELU has and tf2onnx does not convert."""
    import numpy as np
    from onnx import helper, numpy_helper

    nodes = list(model.graph.node)
    if not any(node.op_type == "Erfc" for node in nodes):
        return
    one = "erfc_one"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1), one))
    del model.graph.node[:]
    for node in nodes:
        if node.op_type != "Erfc":
            model.graph.node.append(node)
            continue
        (source,), (result,) = node.input, node.output
        erf = f"{result}_erf"
        model.graph.node.append(helper.make_node("Erf", [source], [erf]))
        model.graph.node.append(helper.make_node("Sub", [one, erf], [result]))


def _is_known(node: onnx.NodeProto) -> bool:
    import onnx

    return bool(node.domain) or bool(onnx.defs.has(node.op_type))
