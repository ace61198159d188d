"""The generator: an RRDBNet as a functional Keras 3 model with named layers.

Input (N, H, W, in_nc), output (N, scale·H, scale·W, out_nc), float32, every axis but the channels
dynamic. Source: ESRGAN, https://arxiv.org/abs/1809.00219; the W2S report drops the convolution
after upsampling and keeps one channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from w2s_export.config import GeneratorConfig
from w2s_export.networks.layout import check_weights, convolutions, upsampling_steps

if TYPE_CHECKING:
    import keras


def build_generator(config: GeneratorConfig, seed: int = 0) -> keras.Model:
    """Build the network of `config` with freshly initialised weights (the same for a seed)."""
    import keras

    from w2s_export.networks.blocks import (
        NearestUpsampling,
        PixelUnshuffle,
        conv3x3,
        leaky,
        rrdb,
    )

    seeds = iter(range(1000 * seed, 1000 * seed + 10**9, 100))
    image = keras.Input((None, None, config.in_nc), name="image")
    x: Any = image
    if config.pixel_unshuffle > 1:
        x = PixelUnshuffle(config.pixel_unshuffle, name="pixel_unshuffle")(x)
    shallow = conv3x3(x, config.nf, "conv_first", next(seeds))
    x = shallow
    for block in range(config.nb):
        x = rrdb(x, config, block, next(seeds))
    x = conv3x3(x, config.nf, "conv_body", next(seeds))
    x = keras.layers.Add(name="body_add")([shallow, x])
    if config.upsampling == "conv":
        for step in range(1, upsampling_steps(config) + 1):
            x = NearestUpsampling(2, name=f"upsample{step}")(x)
            x = leaky(conv3x3(x, config.nf, f"conv_up{step}", next(seeds)), config, f"up{step}")
    elif config.upsampling_factor > 1:
        # W2S activates after upsampling; on nearest neighbours both orders are the same image.
        x = leaky(x, config, "upsample_lrelu")
        x = NearestUpsampling(config.upsampling_factor, name="upsample")(x)
    x = leaky(conv3x3(x, config.nf, "conv_hr", next(seeds)), config, "conv_hr_lrelu")
    x = conv3x3(x, config.out_nc, "conv_last", next(seeds))
    return keras.Model(image, x, name="rrdbnet")


def get_weights(model: keras.Model, config: GeneratorConfig) -> dict[str, np.ndarray]:
    """Weights of a generator by name, as `layout.tensor_shapes` names them, float32."""
    weights: dict[str, np.ndarray] = {}
    layers = {layer.name: layer for layer in model.layers}
    for conv in convolutions(config):
        kernel, bias = layers[conv.name].get_weights()
        weights[f"{conv.name}/kernel"] = kernel
        weights[f"{conv.name}/bias"] = bias
    return weights


def set_weights(
    model: keras.Model, config: GeneratorConfig, weights: Mapping[str, np.ndarray]
) -> None:
    """Fill a generator from named tensors.

    Raises:
        CheckpointMismatchError: a tensor without layer, a layer without tensor, or a shape that
            does not fit.
    """
    check_weights(config, weights)
    layers = {layer.name: layer for layer in model.layers}
    for conv in convolutions(config):
        layers[conv.name].set_weights(
            [weights[f"{conv.name}/kernel"], weights[f"{conv.name}/bias"]]
        )
