"""Follows a generator layer by layer: how both formats are written down.

Each Keras layer becomes the one operation that a format has for it, with its weights as constants
and its name as the operation's. Nothing is traced, so what costs a naive export its time is never
done. Measured for 23 blocks, in seconds of CPU: `model.export` 40 (it traces twice and copies the
graph function by function), `tf2onnx.convert.from_keras` 53 (16 to trace and freeze, 19 to copy the
graph before each of 36 passes of its optimisers, 14 for the passes); both files written so, 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import GeneratorConfig
from w2s_export.errors import ConfigError, ConversionError
from w2s_export.networks.layout import check_weights, parameter_count
from w2s_export.networks.rrdbnet import get_weights

if TYPE_CHECKING:
    import keras

Tensor = TypeVar("Tensor")
Operations = Mapping[type, Callable[..., Tensor]]
"""What each kind of layer does: a function of the layer and its input tensors."""

# Both formats are protocol buffers, which end at 2 GiB; the rest of the graph is far below 64 MiB.
MOST_PARAMETERS = ((2 << 30) - (64 << 20)) // 4


def finite_weights(model: keras.Model, config: GeneratorConfig) -> dict[str, NDArray[np.float32]]:
    """The weights by name, if one file of either format can hold them.

    Raises:
        CheckpointMismatchError: the weights hold NaN or infinity.
        ConfigError: the network is too large for a single file.
    """
    if (count := parameter_count(config)) > MOST_PARAMETERS:
        raise ConfigError(
            f"the network has {count:,} parameters; one ONNX or SavedModel file holds at most "
            f"{MOST_PARAMETERS:,}: lower nf, gc or nb"
        )
    weights = get_weights(model, config)
    check_weights(config, weights)
    return weights


def follow(model: keras.Model, image: Tensor, operations: Operations[Tensor]) -> Tensor:
    """The generator's output, computed from the image by a format's operations.

    Raises:
        ConversionError: the model holds a layer the family does not have.
    """
    tensors = {id(model.inputs[0]): image}
    for layer in model.layers:
        if id(layer.output) in tensors:
            continue
        if type(layer) not in operations:
            raise ConversionError(
                f"layer '{layer.name}' is a {type(layer).__name__}, not of the family"
            )
        sources = layer.input if isinstance(layer.input, list) else [layer.input]
        arguments = [tensors[id(source)] for source in sources]
        tensors[id(layer.output)] = operations[type(layer)](layer, *arguments)
    return tensors[id(model.outputs[0])]
