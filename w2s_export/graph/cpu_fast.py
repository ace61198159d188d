"""Converts a generator to a second ONNX file: the same network in fewer multiplications.

ONNX Runtime already multiplies nearly as fast as a processor can, so only Winograd's convolutions
(`graph.winograd`) are faster: with AVX2 and 64 features 1.2 to 1.4 times (ONNX Runtime 1.32.0;
docs/explanation/fast-graph.md). Networks of 32 features lose: what the transforms cost grows with
the channels, what they save with their square.
Standard operators of opset 17 alone. Each feature map is kept in two forms: the rows of
`graph.tile_rows`, and the frequencies of its windows, computed once for all convolutions that
read it. A convolution of several maps is a sum of matrix products, never one of a wide
concatenation.

Sums are rounded otherwise than in the direct graph: a trained network of 6 blocks (ESRGAN ×4)
differs by at most 8.5e-6 of the output's range, its blocks repeated to 23 by 3.8e-6. So the direct
file stays the reference, and this one serves restoration alone. It takes one image at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import checker

from w2s_export.config import GeneratorConfig
from w2s_export.errors import ConversionError
from w2s_export.graph.model import INPUT_ID, OUTPUT_ID
from w2s_export.graph.rrdbnet import Weights, rrdbnet_model
from w2s_export.graph.tile_rows import (
    BLOCK,
    ROWS,
    finer_grid,
    image_from_rows,
    image_grid,
    image_rows,
    tile_grid,
    windows,
)
from w2s_export.graph.winograd import (
    WINDOW,
    input_matrix,
    kernel_matrix,
    output_matrix,
    phase_kernels,
)
from w2s_export.graph.writer import GraphWriter, integers
from w2s_export.networks.layout import check_weights, conv_name, upsampling_steps


def write_cpu_fast(config: GeneratorConfig, weights: Weights) -> onnx.ModelProto:
    """The network as an ONNX model for fast inference on a CPU. The same weights, the same bytes.

    Raises:
        CheckpointMismatchError: the weights do not fit, or hold NaN or infinity.
        ConversionError: the ONNX checker refuses the graph.
    """
    check_weights(config, weights)
    writer = GraphWriter()
    _write_network(_Layers(writer, config, weights))
    model = rrdbnet_model(writer, config, batch=1)
    try:
        checker.check_model(model, full_check=True)
    except Exception as error:
        raise ConversionError(f"the ONNX checker refuses the fast graph: {error}") from error
    return model


@dataclass(frozen=True, slots=True)
class _Frequencies:
    """The windows of a feature map, transformed: (blocks, 36, 128, C)."""

    name: str
    channels: int


class _Layers:
    """Writes one layer at a time. Feature maps go by the names of their rows."""

    def __init__(self, writer: GraphWriter, config: GeneratorConfig, weights: Weights) -> None:
        self.writer, self.config, self._weights = writer, config, weights
        self._to_frequencies, self._to_rows = input_matrix(), output_matrix()
        self._kernel_to_frequencies = kernel_matrix()

    def seen(self, rows: str, channels: int, where: str) -> _Frequencies:
        """A feature map as convolutions read it; `where` holds the places of its windows."""
        node = self.writer.node
        pixels = node("Gather", node("Reshape", rows, integers(-1, channels)), where)
        flat = node("Reshape", pixels, integers(-1, WINDOW**2, BLOCK * channels))
        product = node("MatMul", self._to_frequencies, flat)
        whole = node("Reshape", product, integers(-1, WINDOW**2, BLOCK, channels))
        return _Frequencies(whole, channels)

    def beside(self, first: _Frequencies, second: _Frequencies) -> _Frequencies:
        """Two feature maps as one: a matrix product twice as wide."""
        name = self.writer.node("Concat", first.name, second.name, axis=3)
        return _Frequencies(name, first.channels + second.channels)

    def convolve(
        self,
        sources: Sequence[_Frequencies],
        name: str,
        *,
        activate: bool = True,
        factor: float = 1.0,
        upsampling: int = 1,
    ) -> str:
        """Rows of the layer `name` of the network, (blocks, 17, 128, C).

        Args:
            sources: what it reads, in the order of its kernel's inputs.
            name: of the layer.
            activate: LeakyReLU follows.
            factor: of the result, folded into the weights.
            upsampling: by nearest neighbours, before the layer. The result's channels are then
                the phases of a finer grid.
        """
        node = self.writer.node
        kernel = self._weights[f"{name}/kernel"] * np.float32(factor)
        bias = self._weights[f"{name}/bias"] * np.float32(factor)
        if upsampling > 1:
            kernel = phase_kernels(kernel, upsampling)
            bias = np.tile(bias, upsampling**2)
        total, first = "", 0
        for source in sources:
            part = kernel[:, :, first : first + source.channels].reshape(9, -1)
            first += source.channels
            transformed = node("MatMul", self._kernel_to_frequencies, part)
            shape = integers(WINDOW**2, source.channels, len(bias))
            product = node("MatMul", source.name, node("Reshape", transformed, shape))
            total = node("Add", total, product) if total else product
        flat = node("Reshape", total, integers(-1, WINDOW**2, BLOCK * len(bias)))
        rows = node("MatMul", self._to_rows, flat)
        rows = node("Reshape", rows, integers(-1, ROWS, BLOCK, len(bias)))
        shift = np.zeros((ROWS, 1, len(bias)), np.float32)  # the row of zeros stays so
        shift[:-1] = bias
        return self.leaky(node("Add", rows, shift)) if activate else node("Add", rows, shift)

    def convolve_image(self, image: str, name: str, output: str | None = None) -> str:
        """The layer `name` as a plain convolution of an image."""
        kernel, bias = (self._weights[f"{name}/{part}"] for part in ("kernel", "bias"))
        kernel = kernel.transpose(3, 2, 0, 1)
        return self.writer.node("Conv", image, kernel, bias, output=output, pads=[1, 1, 1, 1])

    def leaky(self, x: str) -> str:
        """LeakyReLU."""
        return self.writer.node("LeakyRelu", x, alpha=self.config.negative_slope)


def _write_network(layers: _Layers) -> None:
    writer, config = layers.writer, layers.config
    image, channels = INPUT_ID, config.in_nc
    if config.pixel_unshuffle > 1:
        image = writer.node("SpaceToDepth", image, blocksize=config.pixel_unshuffle)
        channels *= config.pixel_unshuffle**2
    pixels = image_grid(writer, image)
    seen = layers.seen(image_rows(writer, image, channels), channels, windows(writer, pixels))
    shallow = x = layers.convolve([seen], "conv_first", activate=False)
    grid = tile_grid(writer, pixels)
    where = windows(writer, grid)
    scale = np.array(config.residual_scale, np.float32)
    for block in range(config.nb):
        before = x
        for dense in (1, 2, 3):
            x = writer.node("Add", x, _dense_block(layers, x, block, dense, where))
        x = writer.node("Add", before, writer.node("Mul", x, scale))
    x = layers.convolve([layers.seen(x, config.nf, where)], "conv_body", activate=False)
    x = writer.node("Add", shallow, x)

    if config.upsampling == "conv":
        enlarging = [(f"conv_up{step}", 2) for step in range(1, upsampling_steps(config) + 1)]
    else:
        enlarging = [("conv_hr", config.upsampling_factor)]
        if config.upsampling_factor > 1:
            x = layers.leaky(x)
    for name, factor in enlarging:
        seen = layers.seen(x, config.nf, windows(writer, grid))
        x = layers.convolve([seen], name, upsampling=factor)
        grid = tile_grid(writer, grid)
        grid = finer_grid(writer, grid, factor) if factor > 1 else grid
    image = image_from_rows(writer, x, grid, config.nf)
    if config.upsampling == "conv":  # at this size the frequencies would take twice the memory
        image = layers.leaky(layers.convolve_image(image, "conv_hr"))
    layers.convolve_image(image, "conv_last", OUTPUT_ID)


def _dense_block(layers: _Layers, rows: str, block: int, dense: int, where: str) -> str:
    """What the dense block adds to its input."""
    config = layers.config
    names = [conv_name(block, dense, index) for index in range(1, 6)]

    def grown(sources: list[_Frequencies], name: str) -> _Frequencies:
        return layers.seen(layers.convolve(sources, name), config.gc, where)

    x = layers.seen(rows, config.nf, where)
    first = grown([x], names[0])
    second = grown([x, first], names[1])
    half = layers.beside(first, second)
    third = grown([x, half], names[2])
    fourth = grown([x, half, third], names[3])
    rest = layers.beside(third, fourth)
    scale = config.residual_scale
    return layers.convolve([x, half, rest], names[4], activate=False, factor=scale)
