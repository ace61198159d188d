"""Converts a generator to ONNX.

One file, opset 17, IR 8 (the newest that DeepImageJ's ONNX Runtime 1.12.1 reads), float32 NCHW,
every axis but the channels dynamic. One node a layer, named after it, of seven kinds at most.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import GeneratorConfig
from w2s_export.formats.artifact import INPUT_ID, OUTPUT_ID, ConversionError, OnnxArtifact
from w2s_export.formats.layers import Operations, finite_weights, follow
from w2s_export.graph.writer import GraphWriter
from w2s_export.io.files import sha256_of, write_atomically
from w2s_export.networks.layout import tensor_shapes

if TYPE_CHECKING:
    import keras
    import onnx

OPSET = 17
IR_VERSION = 8
NODE_TYPES = frozenset({"Add", "Concat", "Conv", "LeakyRelu", "Mul", "Resize", "SpaceToDepth"})

_log = logging.getLogger(__name__)


def to_onnx(model: keras.Model, config: GeneratorConfig, path: Path) -> OnnxArtifact:
    """Write the generator as ONNX. The same model gives the same bytes.

    Args:
        model: a generator of `networks.build_generator(config)`.
        config: its architecture.
        path: file to write, `.onnx`.

    Raises:
        CheckpointMismatchError: the weights hold NaN or infinity.
        ConfigError: the network is too large for a single file.
        OutputError: the file cannot be written.
        ConversionError: the file would not be what this module promises.
    """
    writer = GraphWriter()
    follow(model, INPUT_ID, _operations(writer, config, finite_weights(model, config)))
    writer.nodes[-1].output[0] = OUTPUT_ID
    proto = described(writer, config)
    check_promises(proto, config)
    write_atomically(path, proto.SerializeToString(deterministic=True))
    _log.info("wrote %s: %d nodes, opset %d", path, len(proto.graph.node), OPSET)
    return OnnxArtifact(path, sha256_of(path), OPSET, IR_VERSION)


def _operations(
    writer: GraphWriter, config: GeneratorConfig, weights: dict[str, NDArray[np.float32]]
) -> Operations[str]:
    """Add a node for a layer and return its output's name, which is the layer's."""
    import keras

    from w2s_export.networks.blocks import NearestUpsampling, PixelUnshuffle, Scale

    def node(kind: str, layer: Any, *inputs: str, **attributes: Any) -> str:
        return writer.node(kind, *inputs, output=layer.name, **attributes)

    def convolve(layer: Any, x: str) -> str:
        kernel, bias = f"{layer.name}/kernel", f"{layer.name}/bias"
        writer.weight(kernel, weights[kernel].transpose(3, 2, 0, 1))
        writer.weight(bias, weights[bias])
        return node("Conv", layer, x, kernel, bias, **_window(side=3))

    def scale(layer: Any, x: str) -> str:
        """A product, or the same as a convolution of single pixels, channel by channel.

        ONNX Runtime keeps feature maps in blocks of 8 or 16 channels from one convolution to the
        next, and leaves that layout at a product with a constant: all blocks but the first then
        reordered their features at every concatenation. Measured with 1.32, two threads: the
        default model 7 to 10 % faster by convolutions, 64 features 3 %; 1.12.1 neither gains nor
        loses. A product right behind a convolution stays one: runtimes fold it into the weights.
        """
        factor = np.array(layer.factor, np.float32)
        if f"{x}/kernel" in weights:
            return node("Mul", layer, x, writer.weight(f"{layer.name}/factor", factor))
        kernel = np.full((config.nf, 1, 1, 1), factor)
        name = writer.weight(f"{layer.name}/kernel", kernel)
        return node("Conv", layer, x, name, **_window(side=1, group=config.nf))

    def upsample(layer: Any, x: str) -> str:
        factors = np.array([1, 1, layer.factor, layer.factor], np.float32)
        return node(
            "Resize", layer, x, "", writer.weight(f"{layer.name}/factors", factors),
            mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip

    return {
        keras.layers.Conv2D: convolve,
        keras.layers.LeakyReLU: lambda layer, x: node(
            "LeakyRelu", layer, x, alpha=float(layer.negative_slope)
        ),
        keras.layers.Concatenate: lambda layer, *xs: node("Concat", layer, *xs, axis=1),
        keras.layers.Add: lambda layer, x, y: node("Add", layer, x, y),
        Scale: scale,
        PixelUnshuffle: lambda layer, x: node("SpaceToDepth", layer, x, blocksize=layer.factor),
        NearestUpsampling: upsample,
    }


def _window(side: int, group: int = 1) -> dict[str, Any]:
    """Attributes of a convolution that keeps the size; explicit, because readers' defaults vary."""
    return {
        "dilations": [1, 1],
        "group": group,
        "kernel_shape": [side, side],
        "pads": [side // 2] * 4,
        "strides": [1, 1],
    }


def described(
    writer: GraphWriter, config: GeneratorConfig, batch: str | int = "batch"
) -> onnx.ModelProto:
    """The graph with readable axes, and what the file is; `batch` is that axis, named or fixed."""
    from onnx import TensorProto, helper

    from w2s_export import __version__

    size_in, size_out = axis_names(config)
    floats = TensorProto.FLOAT
    image_in = helper.make_tensor_value_info(INPUT_ID, floats, [batch, config.in_nc, *size_in])
    image_out = helper.make_tensor_value_info(OUTPUT_ID, floats, [batch, config.out_nc, *size_out])
    return helper.make_model(
        helper.make_graph(writer.nodes, "rrdbnet", [image_in], [image_out], writer.constants),
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="w2s-export",
        producer_version=__version__,
        doc_string=(
            f"RRDBNet, {config.nb} blocks of {config.nf} features, ×{config.scale}; "
            "normalised float32 NCHW in and out"
        ),
    )


def axis_names(config: GeneratorConfig) -> tuple[list[str], list[str]]:
    """Names of the height and width, before and after."""
    if config.scale == 1:
        return ["y", "x"], ["y", "x"]
    return ["y", "x"], [f"{config.scale}*y", f"{config.scale}*x"]


def check_promises(proto: onnx.ModelProto, config: GeneratorConfig) -> None:
    """Assert that the model is what this module's docstring says.

    Raises:
        ConversionError: names the first promise that does not hold.
    """
    from onnx import checker, numpy_helper

    try:
        checker.check_model(proto, full_check=True)
    except Exception as error:
        raise ConversionError(f"the ONNX checker refuses the model: {error}") from error
    graph = proto.graph
    opsets = {item.domain: item.version for item in proto.opset_import}
    if opsets != {"": OPSET} or proto.ir_version != IR_VERSION:
        raise ConversionError(f"got opsets {opsets} and IR {proto.ir_version}")
    if extra := {node.op_type for node in graph.node} - NODE_TYPES:
        raise ConversionError(f"nodes of types {sorted(extra)} are left over")
    for tensors, name, channels, size in (
        (graph.input, INPUT_ID, config.in_nc, axis_names(config)[0]),
        (graph.output, OUTPUT_ID, config.out_nc, axis_names(config)[1]),
    ):
        axes = [
            [axis.dim_param or axis.dim_value for axis in t.type.tensor_type.shape.dim]
            for t in tensors
        ]
        if [t.name for t in tensors] != [name] or axes != [["batch", channels, *size]]:
            raise ConversionError(f"'{name}' is {[t.name for t in tensors]} with axes {axes}")
    weights = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    for name, shape in tensor_shapes(config).items():
        expected = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape
        if name not in weights or weights[name].shape != expected:
            raise ConversionError(f"weight '{name}' is missing or misshapen")
    if bad := [name for name, value in weights.items() if not np.isfinite(value).all()]:
        raise ConversionError(f"weights {bad} are not finite")
    for node in graph.node:
        attributes = {item.name: item for item in node.attribute}
        pads = [int(len(node.input) == 3)] * 4  # a factor has no bias
        if node.op_type == "Conv" and list(attributes["pads"].ints) != pads:
            raise ConversionError(f"convolution '{node.name}' pads {attributes['pads'].ints}")
