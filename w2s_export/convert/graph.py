"""Writes a generator down as a TensorFlow graph of constants and a dozen plain operations.

Both formats start here. Layer by layer, each Keras layer becomes the one TensorFlow operation it
stands for, with its weights as constants and its name as the operation's name. What costs a naive
export its time is thus never done. Measured for 23 blocks, in seconds of CPU: `model.export` 40
(it traces twice and copies the graph function by function), `tf2onnx.convert.from_keras` 53 (16
to trace and freeze, 19 to copy the graph before each of 36 passes of its optimisers, 14 for the
passes, of which 6 move transposes); this graph and both files, 13.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from w2s_export.config import GeneratorConfig
from w2s_export.convert.artifact import INPUT_ID, OUTPUT_ID, ConversionError
from w2s_export.errors import ConfigError
from w2s_export.networks.generator import check_weights, get_weights
from w2s_export.networks.layout import parameter_count

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Layout = Literal["NCHW", "NHWC"]

TO_NHWC = (0, 2, 3, 1)
TO_NCHW = (0, 3, 1, 2)

# Both formats are protocol buffers, which end at 2 GiB; the rest of the graph is far below 64 MiB.
MOST_PARAMETERS = ((2 << 30) - (64 << 20)) // 4


def write_graph(model: keras.Model, config: GeneratorConfig, layout: Layout) -> tf.Graph:
    """Write the generator down as a graph of constants.

    Args:
        model: a generator of `networks.build_generator(config)`.
        config: its architecture.
        layout: of the tensors inside. The input and the output are NCHW either way, so `NHWC`
            (all that TensorFlow runs on a CPU) transposes once at each end.

    Returns:
        A graph with one placeholder `INPUT_ID`, (None, in_nc, None, None) float32, and one
        output `OUTPUT_ID`.

    Raises:
        CheckpointMismatchError: the weights hold NaN or infinity.
        ConfigError: the network is too large for a single file.
        ConversionError: the model holds a layer the family does not have.
    """
    import tensorflow as tf

    if (count := parameter_count(config)) > MOST_PARAMETERS:
        raise ConfigError(
            f"the network has {count:,} parameters; one ONNX or SavedModel file holds at most "
            f"{MOST_PARAMETERS:,}: lower nf, gc or nb"
        )
    weights = get_weights(model, config)
    check_weights(config, weights)
    operations = _operations(weights, layout)
    graph = tf.Graph()
    with graph.as_default():
        image = tf.compat.v1.placeholder(tf.float32, (None, config.in_nc, None, None), INPUT_ID)
        x = image if layout == "NCHW" else tf.transpose(image, TO_NHWC, name="nhwc")
        tensors = {id(model.inputs[0]): x}
        for layer in model.layers:
            if id(layer.output) in tensors:
                continue
            kind = type(layer)
            if kind not in operations:
                raise ConversionError(
                    f"layer '{layer.name}' is a {kind.__name__}, not of the family"
                )
            sources = layer.input if isinstance(layer.input, list) else [layer.input]
            arguments = [tensors[id(source)] for source in sources]
            tensors[id(layer.output)] = operations[kind](layer, *arguments)
        y = tensors[id(model.outputs[0])]
        y = y if layout == "NCHW" else tf.transpose(y, TO_NCHW, name="nchw")
        tf.identity(y, name=OUTPUT_ID)
    return graph


def _operations(
    weights: dict[str, np.ndarray], layout: Layout
) -> dict[type, Callable[..., tf.Tensor]]:
    """What each kind of layer does: a function of the layer and its input tensors."""
    import keras
    import tensorflow as tf

    from w2s_export.networks.blocks import NearestUpsampling, PixelUnshuffle, Scale

    # Explicit, because the ONNX converter leaves `SAME` to the reader where the size is unknown.
    padding: Any = [[0, 0], [0, 0], [1, 1], [1, 1]] if layout == "NCHW" else "SAME"

    def convolve(layer: Any, x: tf.Tensor) -> tf.Tensor:
        name = layer.name
        kernel = tf.constant(weights[f"{name}/kernel"], name=f"{name}/kernel")
        bias = tf.constant(weights[f"{name}/bias"], name=f"{name}/bias")
        y = tf.nn.conv2d(x, kernel, 1, padding, data_format=layout, name=f"{name}/convolution")
        return tf.nn.bias_add(y, bias, data_format=layout, name=name)

    def leaky(layer: Any, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.leaky_relu(x, layer.negative_slope, name=layer.name)

    def concatenate(layer: Any, *xs: tf.Tensor) -> tf.Tensor:
        return tf.concat(xs, layout.index("C"), name=layer.name)

    def add(layer: Any, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return tf.add(x, y, name=layer.name)

    def scale(layer: Any, x: tf.Tensor) -> tf.Tensor:
        return tf.multiply(x, np.float32(layer.factor), name=layer.name)

    def unshuffle(layer: Any, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.space_to_depth(x, layer.factor, layout, name=layer.name)

    def upsample(layer: Any, x: tf.Tensor) -> tf.Tensor:
        name = layer.name
        # TensorFlow resizes NHWC alone; `to_onnx` drops the transposes around it.
        x = x if layout == "NHWC" else tf.transpose(x, TO_NHWC, name=f"{name}/nhwc")
        size = tf.multiply(tf.shape(x)[1:3], layer.factor, name=f"{name}/size")
        # The raw operation, with its defaults: output pixel i is input pixel floor(i / factor).
        y = tf.raw_ops.ResizeNearestNeighbor(images=x, size=size, name=name)
        return y if layout == "NHWC" else tf.transpose(y, TO_NCHW, name=f"{name}/nchw")

    return {
        keras.layers.Conv2D: convolve,
        keras.layers.LeakyReLU: leaky,
        keras.layers.Concatenate: concatenate,
        keras.layers.Add: add,
        Scale: scale,
        PixelUnshuffle: unshuffle,
        NearestUpsampling: upsample,
    }
