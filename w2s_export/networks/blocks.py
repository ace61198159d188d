"""Building blocks of the generator, as functions on Keras tensors (NHWC).

Sources: residual-in-residual dense block, ESRGAN, https://arxiv.org/abs/1809.00219, section 3.1;
dense connections, https://arxiv.org/abs/1608.06993; initialisation, He et al.,
https://arxiv.org/abs/1502.01852, scaled by 0.1 as ESRGAN does.
"""

from __future__ import annotations

from typing import Any

import keras  # noqa: TID253 - this module is only imported to build a network

from w2s_export.config import GeneratorConfig
from w2s_export.networks.layout import conv_name

INITIAL_SCALE = 0.1


class NearestUpsampling(keras.layers.Layer):  # type: ignore[misc]
    """Repeats every pixel `factor` times along both axes: (N, H, W, C) → (N, f·H, f·W, C).

    One resize operation, where Keras's own `UpSampling2D` emits reshapes and tiles that slow down
    inference and that some ONNX readers handle badly.
    """

    def __init__(self, factor: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x: Any) -> Any:
        """Resize by the factor, whatever the height and width turn out to be."""
        import tensorflow as tf

        # Not `keras.ops.image.resize`: inside a tf.function it refuses a size known at run time.
        return tf.image.resize(x, tf.shape(x)[1:3] * self.factor, method="nearest")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the output, None where the input's is None."""
        batch, height, width, channels = input_shape
        return (
            batch,
            None if height is None else height * self.factor,
            None if width is None else width * self.factor,
            channels,
        )

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for Keras."""
        return {**super().get_config(), "factor": self.factor}


class PixelUnshuffle(keras.layers.Layer):  # type: ignore[misc]
    """Space to depth: (N, f·H, f·W, C) → (N, H, W, f²·C), channels ordered (row, column, channel).

    This is TensorFlow's and ONNX's order; PyTorch's `pixel_unshuffle` orders (channel, row,
    column), so its loaders permute the first kernel.
    """

    def __init__(self, factor: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x: Any) -> Any:
        """Move blocks of factor × factor pixels into channels."""
        import tensorflow as tf

        return tf.nn.space_to_depth(x, self.factor)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the output, None where the input's is None."""
        batch, height, width, channels = input_shape
        return (
            batch,
            None if height is None else height // self.factor,
            None if width is None else width // self.factor,
            channels * self.factor**2,
        )

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for Keras."""
        return {**super().get_config(), "factor": self.factor}


class Scale(keras.layers.Layer):  # type: ignore[misc]
    """Multiplies by a constant: the residual factor."""

    def __init__(self, factor: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x: Any) -> Any:
        """Multiply."""
        return x * self.factor

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for Keras."""
        return {**super().get_config(), "factor": self.factor}


def conv3x3(x: Any, filters: int, name: str, seed: int) -> Any:
    """3×3 convolution with bias, zero padded."""
    # He's variance is 2/fan_in; kernels multiplied by 0.1 have a hundredth of it.
    start = keras.initializers.VarianceScaling(2 * INITIAL_SCALE**2, "fan_in", seed=seed)
    layer = keras.layers.Conv2D(filters, 3, padding="same", kernel_initializer=start, name=name)
    return layer(x)


def leaky(x: Any, config: GeneratorConfig, name: str) -> Any:
    """LeakyReLU with the configuration's slope."""
    return keras.layers.LeakyReLU(negative_slope=config.negative_slope, name=name)(x)


def residual(x: Any, branch: Any, config: GeneratorConfig, name: str) -> Any:
    """`x + residual_scale · branch`."""
    scaled = Scale(config.residual_scale, name=f"{name}_scale")(branch)
    return keras.layers.Add(name=f"{name}_add")([x, scaled])


def dense_block(x: Any, config: GeneratorConfig, block: int, dense: int, seed: int) -> Any:
    """Five convolutions, each fed by everything before it; the fifth closes a scaled residual."""
    features = [x]
    for index in range(1, 6):
        name = conv_name(block, dense, index)
        stack = x
        if index > 1:
            stack = keras.layers.Concatenate(name=f"{name}_concat")(features)
        filters = config.nf if index == 5 else config.gc
        y = conv3x3(stack, filters, name, seed + index)
        if index == 5:
            return residual(x, y, config, f"body_{block}_rdb{dense}")
        features.append(leaky(y, config, f"{name}_lrelu"))
    raise AssertionError("unreachable")


def rrdb(x: Any, config: GeneratorConfig, block: int, seed: int) -> Any:
    """Residual-in-residual dense block: three dense blocks inside a scaled residual."""
    y = x
    for dense in (1, 2, 3):
        y = dense_block(y, config, block, dense, seed + 10 * dense)
    return residual(x, y, config, f"body_{block}")
