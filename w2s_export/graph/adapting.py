"""Changes a network at its two ends: grey images for a colour network, results in counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

_INPUT, _OUTPUT = "input", "output"


Numbers = float | tuple[float, ...]
"""One for all channels, or one per channel."""


def per_channel(numbers: Numbers) -> NDArray[np.float32]:
    """As an array that is broadcast over (N, C, H, W)."""
    values = np.array(numbers, np.float32)
    return values.reshape(1, -1, 1, 1) if values.ndim else values


def scaled_input(
    model: onnx.ModelProto, mean: Numbers, std: Numbers, clip: tuple[float, float] | None
) -> onnx.ModelProto:
    """The network with `(x − mean) / std` before it, cut to a range if there is one."""
    made = _copy(model)
    _rename_input(made, "normalised")
    nodes = [*made.graph.node]
    del made.graph.node[:]
    _append(made, "Sub", [_INPUT, _store(made, "input_mean", per_channel(mean))], "centred")
    divided = "normalised" if clip is None else "uncut"
    _append(made, "Div", ["centred", _store(made, "input_std", per_channel(std))], divided)
    if clip is not None:
        names = ("input_lowest", "input_highest")
        bounds = [
            _store(made, n, np.array(v, np.float32)) for n, v in zip(names, clip, strict=True)
        ]
        _append(made, "Clip", ["uncut", *bounds], "normalised")
    made.graph.node.extend(nodes)
    return made


def scaled_output(model: onnx.ModelProto, gain: Numbers, offset: Numbers) -> onnx.ModelProto:
    """The network with `gain · y + offset` behind it."""
    made = _copy(model)
    place = len(made.graph.node)  # it may be scaled already
    before, between = f"unscaled_{place}", f"scaled_{place}"
    _rename_output(made, before)
    factor = _store(made, f"output_gain_{place}", per_channel(gain))
    addend = _store(made, f"output_offset_{place}", per_channel(offset))
    _append(made, "Mul", [before, factor], between)
    _append(made, "Add", [between, addend], _OUTPUT)
    return made


def ended_by(model: onnx.ModelProto, kind: str, *constants: float) -> onnx.ModelProto:
    """The network with one more operation of single numbers behind it."""
    made = _copy(model)
    before = f"before_{kind.lower()}_{len(made.graph.node)}"
    _rename_output(made, before)
    stored = [
        _store(made, f"{before}_{place}", np.array(value, np.float32))
        for place, value in enumerate(constants)
    ]
    _append(made, kind, [before, *stored], _OUTPUT)
    return made


def transposed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network on images whose rows were its columns."""
    made = _copy(model)
    _rename_input(made, "turned")
    _rename_output(made, "unturned")
    nodes = [*made.graph.node]
    del made.graph.node[:]
    _append(made, "Transpose", [_INPUT], "turned", perm=[0, 1, 3, 2])
    made.graph.node.extend(nodes)
    _append(made, "Transpose", ["unturned"], _OUTPUT, perm=[0, 1, 3, 2])
    for tensor in (made.graph.input[0], made.graph.output[0]):
        rows, columns = tensor.type.tensor_type.shape.dim[2:4]
        kept = type(rows)()
        kept.CopyFrom(rows)
        if rows.HasField("dim_value"):
            rows.CopyFrom(columns)
            columns.CopyFrom(kept)
    return made


def grey(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network on a grey image given to each of its channels, its results averaged.

    Both are convolutions of single pixels. A first convolution takes the sum of its kernels
    instead, and a last one their mean.
    """
    made = _copy(model)
    graph = made.graph
    channels_in = graph.input[0].type.tensor_type.shape.dim[1]
    channels_out = graph.output[0].type.tensor_type.shape.dim[1]
    count_in, count_out = channels_in.dim_value, channels_out.dim_value
    users = [node for node in graph.node if _INPUT in node.input]
    if count_in > 1 and not _sum_first(made, users):
        _rename_input(made, "colours")
        kernel = _store(made, "to_colours", np.ones((count_in, 1, 1, 1), np.float32))
        nodes = [*graph.node]
        del graph.node[:]
        _append(made, "Conv", [_INPUT, kernel], "colours", kernel_shape=[1, 1])
        graph.node.extend(nodes)
    if count_out > 1 and not _average_last(made):
        _rename_output(made, "in_colours")
        mean = np.full((1, count_out, 1, 1), 1 / count_out, np.float32)
        _append(
            made, "Conv", ["in_colours", _store(made, "to_grey", mean)], _OUTPUT,
            kernel_shape=[1, 1],
        )  # fmt: skip
    channels_in.dim_value = channels_out.dim_value = 1
    return made


def _sum_first(model: onnx.ModelProto, users: list[onnx.NodeProto]) -> bool:
    """Let every convolution of the input take its one channel, where nothing else uses it."""
    weights = [_weights(model, node) for node in users]
    if any(found is None for found in weights) or any(_group(node) != 1 for node in users):
        return False
    for found in weights:
        if found is not None:
            _replace(found, _values(found).sum(1, keepdims=True))
    return True


def _average_last(model: onnx.ModelProto) -> bool:
    """Let the last convolution make the mean of its channels."""
    producer = next(node for node in model.graph.node if _OUTPUT in node.output)
    found = _weights(model, producer)
    if found is None or _group(producer) != 1:
        return False
    bias = _constant(model, producer.input[2]) if len(producer.input) > 2 else None
    if len(producer.input) > 2 and bias is None:
        return False
    _replace(found, _values(found).mean(0, keepdims=True))
    if bias is not None:
        _replace(bias, _values(bias).mean(0, keepdims=True))
    return True


def _weights(model: onnx.ModelProto, node: onnx.NodeProto) -> onnx.TensorProto | None:
    """A convolution's kernel, None if another node uses it too."""
    if node.op_type != "Conv" or _OUTPUT in node.input:
        return None
    uses = sum(list(other.input).count(node.input[1]) for other in model.graph.node)
    return _constant(model, node.input[1]) if uses == 1 else None


def _constant(model: onnx.ModelProto, name: str) -> onnx.TensorProto | None:
    return next((tensor for tensor in model.graph.initializer if tensor.name == name), None)


def _group(node: onnx.NodeProto) -> int:
    return next((item.i for item in node.attribute if item.name == "group"), 1)


def _values(tensor: onnx.TensorProto) -> NDArray[Any]:
    from onnx import numpy_helper

    values: NDArray[Any] = numpy_helper.to_array(tensor).astype(np.float64)
    return values


def _replace(tensor: onnx.TensorProto, values: NDArray[Any]) -> None:
    from onnx import numpy_helper

    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.graph.name = "network"
    del made.graph.value_info[:]
    return made


def _rename_input(model: onnx.ModelProto, name: str) -> None:
    for node in model.graph.node:
        for place, old in enumerate(node.input):
            if old == _INPUT:
                node.input[place] = name


def _rename_output(model: onnx.ModelProto, name: str) -> None:
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, old in enumerate(names):
                if old == _OUTPUT:
                    names[place] = name


def _store(model: onnx.ModelProto, name: str, values: NDArray[np.float32]) -> str:
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(values, name))
    return name


def _append(
    model: onnx.ModelProto, kind: str, inputs: list[str], output: str, **settings: Any
) -> None:
    from onnx import helper

    name = f"{kind.lower()}_to_{output}_{len(model.graph.node)}"
    model.graph.node.append(helper.make_node(kind, inputs, [output], name=name, **settings))
