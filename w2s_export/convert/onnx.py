"""Converts a generator to ONNX, through tf2onnx.

One file, opset 17, IR 8 (the newest that DeepImageJ's ONNX Runtime 1.12.1 reads), float32 NCHW,
every axis but the channels dynamic. One node a layer, named after it, of seven kinds at most.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from w2s_export.config import GeneratorConfig
from w2s_export.convert.artifact import (
    INPUT_ID,
    OUTPUT_ID,
    ConversionError,
    OnnxArtifact,
    sha256_of,
    write_atomically,
)
from w2s_export.convert.graph import TO_NCHW, TO_NHWC, write_graph
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
    proto = _convert(model, config)
    _scale_by_convolution(proto.graph, config)
    _describe(proto, config)
    check_promises(proto, config)
    write_atomically(path, proto.SerializeToString(deterministic=True))
    _log.info("wrote %s: %d nodes, opset %d", path, len(proto.graph.node), OPSET)
    return OnnxArtifact(path, sha256_of(path), OPSET, IR_VERSION)


def _convert(model: keras.Model, config: GeneratorConfig) -> onnx.ModelProto:
    from tf2onnx.optimizer import optimize_graph
    from tf2onnx.optimizer.back_to_back_optimizer import BackToBackOptimizer
    from tf2onnx.optimizer.identity_optimizer import IdentityOptimizer
    from tf2onnx.tfonnx import process_tf_graph

    graph = write_graph(model, config, "NCHW")
    with graph.as_default():
        converted = process_tf_graph(
            graph,
            opset=OPSET,
            input_names=[f"{INPUT_ID}:0"],
            output_names=[f"{OUTPUT_ID}:0"],
            custom_op_handlers={"ResizeNearestNeighbor": (_resize, [])},
        )
    # Of tf2onnx's optimisers only these two have work to do here: drop the transposes around the
    # resize, and the identity at the end. The others take ten seconds to find nothing, and the
    # merger of equal constants would name a layer's zero bias after another layer.
    optimizers = {"transposes": BackToBackOptimizer, "identities": IdentityOptimizer}
    optimised = optimize_graph(converted, catch_errors=False, optimizers=optimizers)
    return optimised.make_model("rrdbnet")


def _resize(graph: Any, node: Any, name: str, _: Any) -> None:
    """TensorFlow's NHWC resize as ONNX's NCHW one, by a constant factor.

    tf2onnx's own handler computes the size at run time, from Shape, Slice, Cast and Concat nodes.
    """
    factor = float(node.inputs[1].inputs[1].get_tensor_value())  # the size is shape · factor
    source, (target,) = node.input[0], node.output
    shapes, dtypes = [graph.get_shape(target)], [graph.get_dtype(target)]
    graph.remove_node(name)
    scales = graph.make_const(f"{name}/scales", np.array([1, 1, factor, factor], np.float32))
    nchw = graph.make_node("Transpose", [source], {"perm": TO_NCHW}, name=f"{name}/before")
    resized = graph.make_node(
        "Resize",
        [nchw.output[0], "", scales.output[0]],
        {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        },
        name=name,
        outputs=[f"{name}/resized"],
    )
    graph.make_node(
        "Transpose",
        resized.output,
        {"perm": TO_NHWC},
        name=f"{name}/after",
        outputs=[target],
        shapes=shapes,
        dtypes=dtypes,
    )


def _scale_by_convolution(graph: onnx.GraphProto, config: GeneratorConfig) -> None:
    """Make the factor of each block a convolution of single pixels, channel by channel.

    ONNX Runtime keeps feature maps in blocks of 8 or 16 channels from one convolution to the next,
    and leaves that layout at a product with a constant; all blocks but the first then reorder
    their features at every concatenation. So written, the whole trunk stays in it. Measured with
    1.32, two threads: the default model 7 to 10 % faster, 64 features 3 %; 1.12.1 neither gains nor
    loses. Factors right behind a convolution are left alone: runtimes fold those into the weights.
    """
    from onnx import helper, numpy_helper

    kinds = {node.output[0]: node.op_type for node in graph.node}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Mul" or kinds[node.input[0]] == "Conv":
            continue
        factor = constants[node.input[1]]
        kernel = np.full((config.nf, 1, 1, 1), numpy_helper.to_array(factor))
        factor.CopyFrom(numpy_helper.from_array(kernel, f"{node.name}/kernel"))
        scaling = helper.make_node(
            "Conv", [node.input[0], factor.name], node.output, node.name, group=config.nf,
            kernel_shape=[1, 1], pads=[0, 0, 0, 0], strides=[1, 1], dilations=[1, 1],
        )  # fmt: skip
        node.CopyFrom(scaling)


def _describe(proto: onnx.ModelProto, config: GeneratorConfig) -> None:
    """Give tensors and axes readable names; say what the file is; order the weights by use."""
    from onnx import helper

    from w2s_export import __version__

    graph = proto.graph
    for node in graph.node:
        node.input[:] = [name.removesuffix(":0") for name in node.input]
        node.output[:] = [name.removesuffix(":0") for name in node.output]
    weights = {weight.name.removesuffix(":0"): weight for weight in graph.initializer}
    for name, weight in weights.items():
        weight.name = name
    used = [name for node in graph.node for name in node.input if name in weights]
    ordered = [weights[name] for name in dict.fromkeys(used)]
    del graph.initializer[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.initializer.extend(ordered)
    floats = helper.np_dtype_to_tensor_dtype(np.dtype(np.float32))
    size_in, size_out = axis_names(config)
    graph.input.append(
        helper.make_tensor_value_info(INPUT_ID, floats, ["batch", config.in_nc, *size_in])
    )
    graph.output.append(
        helper.make_tensor_value_info(OUTPUT_ID, floats, ["batch", config.out_nc, *size_out])
    )
    graph.name = "rrdbnet"
    graph.doc_string = ""
    proto.ir_version = IR_VERSION
    del proto.opset_import[:]
    proto.opset_import.append(helper.make_opsetid("", OPSET))
    proto.producer_name = "w2s-export"
    proto.producer_version = __version__
    proto.doc_string = (
        f"RRDBNet, {config.nb} blocks of {config.nf} features, ×{config.scale}; "
        "normalised float32 NCHW in and out"
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
