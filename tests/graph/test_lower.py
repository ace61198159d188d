"""Anybody's ONNX network in the house's form: the same pixels, by ONNX Runtime on the original."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from w2s_export.errors import CheckpointError
from w2s_export.graph.lower import Lowered, lower

RNG = np.random.default_rng(3)
Node = onnx.NodeProto
Weights = dict[str, NDArray[Any]]


def n(kind: str, inputs: str, output: str, **attributes: Any) -> Node:
    return helper.make_node(kind, inputs.split(" "), output.split(" "), **attributes)


def kernel(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(0, 0.3, shape).astype(np.float32)


def model(
    nodes: Sequence[Node],
    weights: Weights,
    *,
    size: Sequence[Any] = ("n", 1, "h", "w"),
    made: Sequence[Any] | None = ("n", 1, "h", "w"),
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", kind, size)],
        [helper.make_tensor_value_info("y", kind, made)],
        stored,
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def run(proto: onnx.ModelProto, image: NDArray[Any]) -> NDArray[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    result: NDArray[Any] = session.run(None, {session.get_inputs()[0].name: image})[0]
    return result


def same(
    proto: onnx.ModelProto,
    sizes: Sequence[tuple[int, int, int]] = ((1, 64, 32), (3, 16, 64)),
    tolerance: float = 1e-6,
    **settings: bool,
) -> Lowered:
    """The lowered network computes what the original does."""
    original = onnx.ModelProto()
    original.CopyFrom(proto)
    lowered = lower(proto, **settings)
    assert proto == original, "the caller's model is left as it was"
    opsets = [(item.domain, item.version) for item in lowered.graph.opset_import]
    assert (opsets, lowered.graph.ir_version) == ([("", 17)], 8)
    for count, height, width in sizes:
        image = RNG.random((count, lowered.channels_in, height, width)).astype(np.float32)
        given = image.transpose(0, 2, 3, 1) if lowered.channels_last else image
        if proto.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT16:
            given = given.astype(np.float16)
        expected = run(proto, given)
        if lowered.channels_last_out:
            expected = expected.transpose(0, 3, 1, 2)
        result = run(lowered.graph, image)
        assert result.shape == expected.shape
        assert np.abs(result - expected.astype(np.float32)).max() <= tolerance * np.ptp(expected)
    return lowered


CONV = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
PLAIN = [n("Conv", "x k b", "a", **CONV), n("Relu", "a", "c"), n("Conv", "c l", "y", **CONV)]


def plain(channels: int = 1) -> Weights:
    return {"k": kernel(4, channels, 3, 3), "b": kernel(4), "l": kernel(channels, 4, 3, 3)}


def kinds(lowered: Lowered) -> list[str]:
    return [node.op_type for node in lowered.graph.graph.node]


def test_a_plain_network_stays_as_it_is() -> None:
    lowered = same(model(PLAIN, plain()))
    assert kinds(lowered) == ["Conv", "Relu", "Conv"]
    assert (lowered.channels_in, lowered.channels_out, lowered.scale) == (1, 1, 1)
    assert (lowered.fixed, lowered.channels_last) == (None, False)


def test_channels_last_become_first_without_a_transpose() -> None:
    nodes = [
        n("Transpose", "x", "t", perm=[0, 3, 1, 2]),
        n("Conv", "t k b", "a", **CONV),
        n("Transpose", "a", "u", perm=[0, 2, 3, 1]),
        n("Mul", "u m", "v"),  # a factor for each channel, the last axis
        n("Relu", "v", "r"),
        n("Transpose", "r", "s", perm=[0, 3, 1, 2]),
        n("Conv", "s l", "c", **CONV),
        n("Transpose", "c", "y", perm=[0, 2, 3, 1]),
    ]
    size = ("n", "h", "w", 3)
    lowered = same(model(nodes, {**plain(3), "m": kernel(4)}, size=size, made=size))
    assert kinds(lowered) == ["Conv", "Mul", "Relu", "Conv"]
    assert lowered.channels_last


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 16])
def test_older_opsets_are_brought_up(opset: int, mode: str) -> None:
    nodes = [n("Conv", "x k b", "a", **CONV), n("LeakyRelu", "a", "c", alpha=0.2)]
    weights = plain()
    if opset == 7:
        nodes.append(n("Upsample", "c", "u", mode=mode, scales=[1.0, 1.0, 2.0, 2.0]))
    elif opset == 9:
        nodes.append(n("Upsample", "c s", "u", mode=mode))
    elif opset == 10:
        nodes.append(n("Resize", "c s", "u", mode=mode))
    else:
        settings = {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        nodes.append(n("Resize", "c roi s", "u", mode=mode, **settings))
        weights["roi"] = np.zeros(0, np.float32)
    if opset > 7:
        weights["s"] = np.array([1, 1, 2, 2], np.float32)
    nodes.append(n("Conv", "u l", "y", **CONV))
    lowered = same(model(nodes, weights, made=("n", 1, "H", "W"), opset=opset))
    assert lowered.scale == 2


@pytest.mark.parametrize("factor", [2, 3])
def test_a_resize_that_onnx_gave_up_is_written_otherwise(factor: int) -> None:
    settings = {"nearest_mode": "floor", "coordinate_transformation_mode": "tf_half_pixel_for_nn"}
    nodes = [
        n("Conv", "x k b", "a", **CONV),
        n("Resize", "a roi s", "u", mode="nearest", **settings),  # as tf2onnx writes it
        n("Conv", "u l", "y", **CONV),
    ]
    scales = np.array([1, 1, factor, factor], np.float32)
    weights = {**plain(), "roi": np.zeros(0, np.float32), "s": scales}
    lowered = same(model(nodes, weights, made=("n", 1, "H", "W"), opset=11))
    (resize,) = (node for node in lowered.graph.graph.node if node.op_type == "Resize")
    written = {item.name: item.s for item in resize.attribute}
    assert written["coordinate_transformation_mode"] == b"asymmetric"


@pytest.mark.parametrize("opset", [18, 20, 22])
def test_newer_opsets_are_brought_down(opset: int) -> None:
    nodes = [
        n("Conv", "x k b", "a", **CONV),
        n("ReduceMean", "a axes", "m", keepdims=1),
        n("Sub", "a m", "c"),
        n("Split", "c", "d e", axis=1, num_outputs=2),
        n("Concat", "e d", "f", axis=1),
        n("Pad", "f pads", "p", mode="reflect"),
        n("Conv", "p l", "q", kernel_shape=[3, 3]),
        n("Resize", "q  scales", "y", mode="linear", antialias=0),
    ]
    if opset >= 20:
        nodes[2:2] = [n("Gelu", "a", "g")]
        nodes[3] = n("Sub", "g m", "c")
    weights = {
        **plain(),
        "axes": np.array([2, 3]),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "scales": np.array([1, 1, 3, 3], np.float32),
    }
    lowered = same(model(nodes, weights, made=("n", 1, "H", "W"), opset=opset))
    assert lowered.scale == 3
    assert "Gelu" not in kinds(lowered)


LATER: dict[str, tuple[int, list[Node], Weights]] = {
    "Mish": (18, [n("Mish", "a", "c")], {}),
    "Gelu by tanh": (20, [n("Gelu", "a", "c", approximate="tanh")], {}),
    "Swish": (24, [n("Swish", "a", "c", alpha=1.7)], {}),
    "groups with a factor each": (
        18,
        [n("GroupNormalization", "a gain shift", "c", num_groups=2, epsilon=1e-3)],
        {"gain": kernel(2), "shift": kernel(2)},
    ),
    "groups with a factor per channel": (
        21,
        [n("GroupNormalization", "a gain shift", "c", num_groups=2, epsilon=1e-3)],
        {"gain": kernel(4), "shift": kernel(4)},
    ),
    "RMSNormalization": (
        23,
        [
            n("Transpose", "a", "t", perm=[0, 2, 3, 1]),
            n("RMSNormalization", "t gain", "r", epsilon=1e-3),
            n("Transpose", "r", "c", perm=[0, 3, 1, 2]),
        ],
        {"gain": kernel(4)},
    ),
    "parts of unequal size": (
        18,
        [
            n("Concat", "a a", "double", axis=1),
            n("Split", "double", "d e f", axis=-3, num_outputs=3),  # 3, 3 and 2 of 8 channels
            n("Concat", "f d e", "turned", axis=1),
            n("Conv", "turned m", "c", **CONV),
        ],
        {"m": kernel(4, 8, 3, 3)},
    ),
    "parts of the rows": (
        18,
        [n("Split", "a", "d e", axis=2, num_outputs=2), n("Concat", "e d", "c", axis=2)],
        {},
    ),
    "padding of named axes": (
        18,
        [n("Pad", "a ends  named", "p"), n("Conv", "p m", "c", kernel_shape=[3, 3])],
        {"ends": np.array([1, 2, 1, 0]), "named": np.array([-1, 2]), "m": kernel(4, 4, 3, 3)},
    ),
    "resizing of named axes": (
        18,
        [n("Resize", "a  scales", "c", axes=[3, 2], mode="linear")],
        {"scales": np.array([2, 2], np.float32)},
    ),
    "a maximum over named axes": (
        18,
        [n("ReduceMax", "a named", "m", keepdims=1), n("Sub", "a m", "c")],
        {"named": np.array([1])},
    ),
    **{
        f"{kind} of nothing": (18, [n(kind, "a", "c", noop_with_empty_axes=1)], {})
        for kind in ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceMean")
    },
    "a reduction of no named axes": (
        18,
        [n("ReduceL2", "a none", "c", noop_with_empty_axes=1)],
        {"none": np.zeros(0, np.int64)},
    ),
    "all axes": (
        18,
        [n("ReduceMean", "a none", "m", keepdims=1), n("Sub", "a m", "c")],
        {"none": np.zeros(0, np.int64)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LATER)
def test_operators_of_later_opsets_become_those_of_17(name: str) -> None:
    opset, nodes, weights = LATER[name]
    chain = [n("Conv", "x k b", "a", **CONV), *nodes, n("Conv", "c l", "y", **CONV)]
    lowered = same(model(chain, plain() | weights, made=None, opset=opset))
    assert not {"Mish", "Gelu", "Swish", "GroupNormalization"} & set(kinds(lowered))


def test_what_17_cannot_say_is_refused_by_name() -> None:
    resize = n("Resize", "x  s", "y", mode="linear", antialias=1)
    proto = model([resize], {"s": np.array([1, 1, 2, 2], np.float32)}, opset=18, made=None)
    with pytest.raises(CheckpointError, match="opset 18 and uses the operator Resize with antial"):
        lower(proto)


def test_half_precision_becomes_single() -> None:
    weights = {name: value.astype(np.float16) for name, value in plain().items()}
    proto = model(PLAIN, weights, kind=TensorProto.FLOAT16)
    lowered = same(proto, tolerance=2e-3)
    assert {t.data_type for t in lowered.graph.graph.initializer} == {TensorProto.FLOAT}


def test_repeating_pixels_is_named() -> None:
    # What tf2onnx makes of Keras's UpSampling2D, for height alone and then for width.
    nodes = [
        n("Conv", "x k b", "c", **CONV),
        n("Shape", "c", "s"),
        n("Gather", "s i2", "h"),
        n("Gather", "s i3", "w"),
        n("Mul", "h two", "hh"),
        n("Mul", "w two", "ww"),
        n("Gather", "s i0", "nn"),
        n("Unsqueeze", "c a3", "e"),
        n("Tile", "e t3", "f"),
        n("Concat", "nn four hh w", "s1", axis=0),
        n("Reshape", "f s1", "g"),
        n("Unsqueeze", "g a4", "p"),
        n("Tile", "p t4", "q"),
        n("Concat", "nn four hh ww", "s2", axis=0),
        n("Reshape", "q s2", "r"),
        n("Conv", "r l", "y", **CONV),
    ]
    weights = {
        **plain(),
        **{f"i{axis}": np.array([axis]) for axis in (0, 2, 3)},
        **{"two": np.array([2]), "four": np.array([4]), "a3": np.array([3]), "a4": np.array([4])},
        "t3": np.array([1, 1, 1, 2, 1]),
        "t4": np.array([1, 1, 1, 1, 2]),
    }
    lowered = same(model(nodes, weights, made=("n", 1, "H", "W")))
    assert kinds(lowered) == ["Conv", "Resize", "Conv"]


def test_a_batch_of_one_that_was_traced_is_freed() -> None:
    # Windows of 4 × 4 taken apart and put together again, as tracing an attention layer writes it.
    nodes = [
        n("Conv", "x k b", "c", **CONV),
        n("Shape", "c", "s"),
        n("Slice", "s two four", "hw"),
        n("Div", "hw fourth", "cells"),
        n("Split", "cells", "rows columns", axis=0),
        n("Concat", "one four rows fourth columns fourth", "s1", axis=0),
        n("Reshape", "c s1", "d"),
        n("Transpose", "d", "e", perm=[0, 2, 4, 3, 5, 1]),
        n("Reshape", "e flat", "f"),  # (windows of all images, 16, 4)
        n("Mul", "f factor", "g"),
        n("Concat", "one rows columns fourth fourth minus", "s2", axis=0),
        n("Reshape", "g s2", "h"),
        n("Transpose", "h", "i", perm=[0, 5, 1, 3, 2, 4]),
        n("Concat", "one four hw", "s3", axis=0),
        n("Reshape", "i s3", "j"),
        n("Conv", "j l", "y", **CONV),
    ]
    weights: Weights = {
        **plain(),
        **{"one": np.array([1]), "two": np.array([2]), "four": np.array([4])},
        **{"fourth": np.array([4]), "minus": np.array([-1]), "flat": np.array([-1, 16, 4])},
        "factor": kernel(1, 16, 4),
    }
    proto = model(nodes, weights)
    lowered = lower(proto, one_image=True)
    images = RNG.random((2, 1, 16, 24)).astype(np.float32)
    expected = np.concatenate([run(proto, image[np.newaxis]) for image in images])
    assert np.abs(run(lowered.graph, images) - expected).max() < 1e-6


def test_a_map_made_for_one_image_is_given_to_each() -> None:
    level = numpy_helper.from_array(np.array([0.06], np.float32))
    nodes = [  # as DRUNet's noise level is traced
        n("Shape", "x", "hw", start=2),
        n("Concat", "ones hw", "s", axis=0),
        n("ConstantOfShape", "s", "noise", value=level),
        n("Concat", "x noise", "z", axis=1),
        n("Conv", "z k", "y", **CONV),
    ]
    proto = model(nodes, {"ones": np.array([1, 1]), "k": kernel(1, 2, 3, 3)})
    lowered = lower(proto, one_image=True)
    images = RNG.random((2, 1, 16, 24)).astype(np.float32)
    expected = np.concatenate([run(proto, image[np.newaxis]) for image in images])
    assert np.abs(run(lowered.graph, images) - expected).max() < 1e-6


def test_fixed_sizes_are_stated_or_let_go() -> None:
    proto = model(PLAIN, plain(), size=(1, 1, 64, 48), made=(1, 1, 64, 48))
    assert lower(proto).fixed == (64, 48)
    assert same_free(proto).fixed is None


def same_free(proto: onnx.ModelProto) -> Lowered:
    lowered = lower(proto, dynamic=True)
    image = RNG.random((1, 1, 64, 48)).astype(np.float32)
    assert np.allclose(run(lowered.graph, image), run(proto, image), atol=1e-6)
    assert run(lowered.graph, image[..., :40]).shape == (1, 1, 64, 40)
    return lowered


def two_outputs() -> onnx.ModelProto:
    proto = model(PLAIN, plain())
    proto.graph.output.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, None))
    return proto


def two_inputs() -> onnx.ModelProto:
    proto = model([n("Add", "x z", "y")], {})
    proto.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    return proto


def volume() -> onnx.ModelProto:
    weights = {"k": kernel(4, 1, 3, 3, 3)}
    return model(
        [n("Conv", "x k", "y", kernel_shape=[3, 3, 3])], weights, size=("n", 1, "d", "h", "w"),
        made=None,
    )  # fmt: skip


def classifier() -> onnx.ModelProto:
    nodes = [
        n("Conv", "x k b", "a", **CONV),
        n("GlobalAveragePool", "a", "p"),
        n("Flatten", "p", "y"),
    ]
    return model(nodes, plain(), made=("n", 4))


def one(kind: str, domain: str = "") -> onnx.ModelProto:
    node = n(kind, "x", "y")
    node.domain = domain
    return model([node], {}, domains=[domain] if domain else [], made=None)


def valid_convolutions() -> onnx.ModelProto:
    nodes = [n("Conv", "x k b", "a", kernel_shape=[3, 3]), n("Conv", "a l", "y")]
    return model(nodes, plain(), made=("n", 1, "H", "W"))


def diverged() -> onnx.ModelProto:
    return model([n("Conv", "x k", "y", **CONV)], {"k": np.full((1, 1, 3, 3), np.nan, np.float32)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (diverged, "NaN in 1 tensor, first 'k'; the training diverged"),
        (two_outputs, r"has 2 outputs \(y, c\)"),
        (two_inputs, r"has 2 inputs \(x, z\)"),
        (volume, "takes a tensor of 5 axes .*3-D networks are not exported"),
        (classifier, "makes 2×4 numbers of an image, not an image"),
        (lambda: one("Loop"), "repeats steps as often as the data say .operator Loop"),
        (lambda: one("If"), "branches on what it computes .operator If"),
        (lambda: one("NonZero"), "size depends on the data .operator NonZero"),
        (lambda: one("LSTM"), "keeps a state .*operator LSTM"),
        (lambda: one("FusedConv", "com.microsoft"), "outside the ONNX standard .com.microsoft.Fus"),
        (lambda: one("DequantizeLinear"), "is quantised .operator DequantizeLinear"),
        (lambda: one("RandomUniformLike"), "draws random numbers"),
        (valid_convolutions, "makes 2×1×60×124 of an image of 64×128: sizes change otherwise"),
    ],
)
def test_refusals_say_why(make: Callable[[], onnx.ModelProto], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        lower(make())


def test_a_size_that_its_graph_fixes_cannot_be_let_go_of() -> None:
    nodes = [n("Conv", "x k", "a", **CONV), n("Reshape", "a size", "y")]
    weights = {"k": kernel(1, 1, 3, 3), "size": np.array([-1, 1, 8, 8])}
    proto = model(nodes, weights, size=("n", 1, 8, 8), made=("n", 1, 8, 8))
    assert lower(proto).fixed == (8, 8)
    with pytest.raises(CheckpointError, match="results of 2 images.*leave out --dynamic"):
        lower(proto, dynamic=True)


@pytest.mark.parametrize(
    ("size", "reason"),
    [(("h", "w", 1), "without the axis of a batch"), (("n", 1, "d", "h", "w"), "3-D networks")],
)
def test_what_is_no_batch_of_images_is_told(size: tuple[Any, ...], reason: str) -> None:
    proto = model([n("Relu", "x", "y")], {}, size=size, made=None)
    with pytest.raises(CheckpointError, match=rf"tensor of {len(size)} axes \(.*{reason}"):
        lower(proto)
