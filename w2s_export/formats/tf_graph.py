"""Writes a generator down as a TensorFlow graph of constants and a dozen plain operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import GeneratorConfig
from w2s_export.formats.layers import Operations, finite_weights, follow
from w2s_export.graph.model import INPUT_ID, OUTPUT_ID

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

TO_NHWC = (0, 2, 3, 1)
TO_NCHW = (0, 3, 1, 2)


def write_graph(model: keras.Model, config: GeneratorConfig) -> tf.Graph:
    """Write the generator down as a graph of constants.

    NHWC inside, all that TensorFlow runs on a CPU; it transposes once at each end.

    Args:
        model: a generator of `networks.build_generator(config)`.
        config: its architecture.

    Returns:
        A graph with one placeholder `INPUT_ID`, (None, in_nc, None, None) float32, and one
        output `OUTPUT_ID`.

    Raises:
        CheckpointMismatchError: the weights hold NaN or infinity.
        ConfigError: the network is too large for a single file.
        ConversionError: the model holds a layer the family does not have.
    """
    import tensorflow as tf

    operations = _operations(finite_weights(model, config))
    graph = tf.Graph()
    with graph.as_default():
        image = tf.compat.v1.placeholder(tf.float32, (None, config.in_nc, None, None), INPUT_ID)
        y = follow(model, tf.transpose(image, TO_NHWC, name="nhwc"), operations)
        tf.identity(tf.transpose(y, TO_NCHW, name="nchw"), name=OUTPUT_ID)
    return graph


def _operations(weights: dict[str, NDArray[np.float32]]) -> Operations[tf.Tensor]:
    import keras
    import tensorflow as tf

    from w2s_export.networks.blocks import NearestUpsampling, PixelUnshuffle, Scale

    def convolve(layer: Any, x: tf.Tensor) -> tf.Tensor:
        name = layer.name
        kernel = tf.constant(weights[f"{name}/kernel"], name=f"{name}/kernel")
        bias = tf.constant(weights[f"{name}/bias"], name=f"{name}/bias")
        y = tf.nn.conv2d(x, kernel, 1, "SAME", name=f"{name}/convolution")
        return tf.nn.bias_add(y, bias, name=name)

    def leaky(layer: Any, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.leaky_relu(x, layer.negative_slope, name=layer.name)

    def concatenate(layer: Any, *xs: tf.Tensor) -> tf.Tensor:
        return tf.concat(xs, 3, name=layer.name)

    def add(layer: Any, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return tf.add(x, y, name=layer.name)

    def scale(layer: Any, x: tf.Tensor) -> tf.Tensor:
        return tf.multiply(x, np.float32(layer.factor), name=layer.name)

    def unshuffle(layer: Any, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.space_to_depth(x, layer.factor, name=layer.name)

    def upsample(layer: Any, x: tf.Tensor) -> tf.Tensor:
        size = tf.multiply(tf.shape(x)[1:3], layer.factor, name=f"{layer.name}/size")
        # The raw operation, with its defaults: output pixel i is input pixel floor(i / factor).
        return tf.raw_ops.ResizeNearestNeighbor(images=x, size=size, name=layer.name)

    return {
        keras.layers.Conv2D: convolve,
        keras.layers.LeakyReLU: leaky,
        keras.layers.Concatenate: concatenate,
        keras.layers.Add: add,
        Scale: scale,
        PixelUnshuffle: unshuffle,
        NearestUpsampling: upsample,
    }
