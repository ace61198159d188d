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

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    optimizer._optimizers.pop("reshape_optimizer", None)
    try:
        model: onnx.ModelProto = converter()[0]
    except Exception as error:  # tf2onnx raises errors of any class
        raise CheckpointError(
            f"tf2onnx {tf2onnx.__version__} cannot convert it: {shown(first_line(error))}"
        ) from None
    return model
