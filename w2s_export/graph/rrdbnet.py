"""Writes an RRDBNet as an ONNX graph, from its configuration and weights alone.

The Keras model of `networks.rrdbnet` is written independently; every export compares the two. One
node for each layer, named after it, of seven kinds at most: opset 17, IR 8 (the newest that
DeepImageJ's ONNX Runtime 1.12.1 reads), float32 NCHW, every axis but the channels dynamic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from w2s_export.config import GeneratorConfig
from w2s_export.counting import counted
from w2s_export.errors import ConfigError
from w2s_export.graph.model import INPUT_ID, OUTPUT_ID, make_model
from w2s_export.graph.writer import GraphWriter
from w2s_export.networks.layout import (
    check_weights,
    conv_name,
    parameter_count,
    upsampling_steps,
)

# A protocol buffer ends at 2 GiB; the rest of the graph is far below 64 MiB.
MOST_PARAMETERS = ((2 << 30) - (64 << 20)) // 4

Weights = Mapping[str, NDArray[np.float32]]


def write_rrdbnet(config: GeneratorConfig, weights: Weights) -> onnx.ModelProto:
    """The network as an ONNX model. The same weights give the same bytes.

    Weights are named as in `networks.layout.tensor_shapes`; kernels HWIO.

    Raises:
        CheckpointMismatchError: the weights do not fit, or hold NaN or infinity.
        ConfigError: the network is too large for a single file.
    """
    if (count := parameter_count(config)) > MOST_PARAMETERS:
        raise ConfigError(
            f"the network has {count:,} parameters; one ONNX or SavedModel file holds at most "
            f"{MOST_PARAMETERS:,}: lower nf, gc or nb"
        )
    check_weights(config, weights)
    layers = _Layers(config, weights)
    x = INPUT_ID
    if config.pixel_unshuffle > 1:
        x = layers.node("SpaceToDepth", "pixel_unshuffle", x, blocksize=config.pixel_unshuffle)
    x = shallow = layers.convolve("conv_first", x)
    for block in range(config.nb):
        x = _rrdb(layers, x, block)
    x = layers.add("body_add", shallow, layers.convolve("conv_body", x))
    if config.upsampling == "conv":
        for step in range(1, upsampling_steps(config) + 1):
            x = layers.convolve(f"conv_up{step}", layers.upsample(f"upsample{step}", x, 2))
            x = layers.leaky(f"up{step}", x)
    elif config.upsampling_factor > 1:
        # On nearest neighbours both orders of activation and enlargement are the same image.
        x = layers.leaky("upsample_lrelu", x)
        x = layers.upsample("upsample", x, config.upsampling_factor)
    x = layers.leaky("conv_hr_lrelu", layers.convolve("conv_hr", x))
    layers.convolve("conv_last", x)
    layers.writer.nodes[-1].output[0] = OUTPUT_ID
    return rrdbnet_model(layers.writer, config)


def rrdbnet_model(
    writer: GraphWriter, config: GeneratorConfig, batch: str | int = "batch"
) -> onnx.ModelProto:
    """The graph with readable axes, and what the file is; `batch` is that axis, named or fixed."""
    return make_model(
        writer.nodes,
        writer.constants,
        name="rrdbnet",
        channels=(config.in_nc, config.out_nc),
        scale=config.scale,
        axes=(batch, "y", "x"),
        text=f"RRDBNet, {counted(config.nb, 'block')} of {counted(config.nf, 'feature')}, "
        f"×{config.scale}; normalised float32 NCHW in and out",
    )


def _rrdb(layers: _Layers, x: str, block: int) -> str:
    """Three dense blocks inside a scaled residual."""
    y = x
    for dense in (1, 2, 3):
        features = [y]
        for index in range(1, 6):
            name = conv_name(block, dense, index)
            grown = layers.convolve(name, layers.concatenate(f"{name}_concat", features))
            if index < 5:
                features.append(layers.leaky(f"{name}_lrelu", grown))
        y = layers.residual(f"body_{block}_rdb{dense}", y, grown)
    return layers.residual(f"body_{block}", x, y)


class _Layers:
    """Adds the nodes of one layer and returns its output's name, which is the layer's."""

    def __init__(self, config: GeneratorConfig, weights: Weights) -> None:
        self.writer, self._config, self._weights = GraphWriter(), config, weights

    def node(self, kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        return self.writer.node(kind, *inputs, output=name, **attributes)

    def convolve(self, name: str, x: str) -> str:
        kernel = self.writer.weight(
            f"{name}/kernel", self._weights[f"{name}/kernel"].transpose(3, 2, 0, 1)
        )
        bias = self.writer.weight(f"{name}/bias", self._weights[f"{name}/bias"])
        return self.node("Conv", name, x, kernel, bias, **_window(side=3))

    def leaky(self, name: str, x: str) -> str:
        return self.node("LeakyRelu", name, x, alpha=self._config.negative_slope)

    def add(self, name: str, x: str, y: str) -> str:
        return self.node("Add", name, x, y)

    def concatenate(self, name: str, features: list[str]) -> str:
        return self.node("Concat", name, *features, axis=1) if len(features) > 1 else features[0]

    def residual(self, name: str, x: str, branch: str) -> str:
        """`x + residual_scale · branch`.

        The product is a product, or the same as a convolution of single pixels, channel by channel:
        ONNX Runtime keeps feature maps in blocks of 8 or 16 channels from one convolution to the
        next, and leaves that layout at a product with a constant: all blocks but the first then
        reordered their features at every concatenation. Measured with 1.32, two threads: the
        default model 7 to 10 % faster by convolutions, 64 features 3 %; 1.12.1 neither gains nor
        loses. A product right behind a convolution stays one: runtimes fold it into the weights.
        """
        factor, scaled = np.array(self._config.residual_scale, np.float32), f"{name}_scale"
        if f"{branch}/kernel" in self._weights:
            constant = self.writer.weight(f"{scaled}/factor", factor)
            product = self.node("Mul", scaled, branch, constant)
        else:
            kernel = np.full((self._config.nf, 1, 1, 1), factor)
            constant = self.writer.weight(f"{scaled}/kernel", kernel)
            window = _window(side=1, group=self._config.nf)
            product = self.node("Conv", scaled, branch, constant, **window)
        return self.add(f"{name}_add", x, product)

    def upsample(self, name: str, x: str, factor: int) -> str:
        """Output pixel i is input pixel floor(i / factor)."""
        factors = self.writer.weight(
            f"{name}/factors", np.array([1, 1, factor, factor], np.float32)
        )
        return self.node(
            "Resize", name, x, "", factors,
            mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip


def _window(side: int, group: int = 1) -> dict[str, Any]:
    """Attributes of a convolution that keeps the size; explicit, because readers' defaults vary."""
    return {
        "dilations": [1, 1],
        "group": group,
        "kernel_shape": [side, side],
        "pads": [side // 2] * 4,
        "strides": [1, 1],
    }
