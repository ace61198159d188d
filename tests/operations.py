"""Small ONNX graphs, one or a few operations each: what is written as TensorFlow operations.

Every graph reads `input` (N, C, H, W) and gives `output`; attributes and weights are random, from a
seed that is the case's name. Tests run them in ONNX Runtime and, as SavedModels, in TensorFlow.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from w2s_export.graph.writer import GraphWriter, integers

CHANNELS = 6
FLOAT = np.float32


@dataclass(frozen=True)
class Case:
    """A graph and the sizes it is run at."""

    name: str
    graph: Any
    sizes: tuple[tuple[int, int], ...] = ((9, 14), (16, 7))

    def batches(self) -> list[np.ndarray]:
        """Inputs with values below and above 0, and two images in the first."""
        random = np.random.default_rng(zlib.crc32(self.name.encode()))
        return [
            random.normal(0, 2, (2 - i, CHANNELS, *size)).astype(FLOAT)
            for i, size in enumerate(self.sizes)
        ]


Write = Callable[[GraphWriter, np.random.Generator], Any]


def case(name: str, write: Write, *sizes: tuple[int, int]) -> Case:
    """The graph that `write` writes, from `input` to its last node."""
    from onnx import TensorProto, helper

    writer = GraphWriter()
    write(writer, np.random.default_rng(zlib.crc32(name.encode())))
    last = writer.nodes[-1]
    last.output[0] = "output"
    last.name = "end"
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, CHANNELS, None, None])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
    graph = helper.make_graph(writer.nodes, name, [image], [output], writer.constants)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return Case(name, model, sizes) if sizes else Case(name, model)


def cases() -> Iterator[Case]:
    """Every operation, in each way that it is written."""
    yield from elementwise()
    yield from convolutions()
    yield from transposed_convolutions()
    yield from pooling()
    yield from resizing()
    yield from rearranging()
    yield from reducing()
    yield from cutting()
    yield from computed_sizes()


def one(kind: str, *constants: Any, **attributes: Any) -> Write:
    """A single operation on the image, and these constants."""
    return lambda writer, _: writer.node(kind, "input", *constants, **attributes)


def behind(write: Write) -> Write:
    """The same behind a convolution: TensorFlow then has the channels last."""

    def both(writer: GraphWriter, random: np.random.Generator) -> Any:
        kernel = random.normal(0, 0.3, (CHANNELS, CHANNELS, 1, 1)).astype(FLOAT)
        before = writer.node("Conv", "input", kernel)
        first = len(writer.nodes)
        write(writer, random)
        for node in writer.nodes[first:]:
            for i, name in enumerate(node.input):
                if name == "input":
                    node.input[i] = before

    return both


def both(name: str, write: Write, *sizes: tuple[int, int]) -> Iterator[Case]:
    """On the image itself, and behind a convolution."""
    yield case(name, write, *sizes)
    yield case(f"{name}, channels last", behind(write), *sizes)


_UNARY = """
    Abs Ceil Cos Dropout Elu Erf Exp Floor HardSigmoid HardSwish Identity LeakyRelu Neg Reciprocal
    Relu Round Selu Sigmoid Sign Sin Softplus Softsign Tanh
"""


def elementwise() -> Iterator[Case]:
    for kind in _UNARY.split():
        yield case(kind, one(kind))
    yield case("Elu 0.3", one("Elu", alpha=0.3))
    yield case("LeakyRelu 0.2", one("LeakyRelu", alpha=0.2))
    yield case("HardSigmoid, other line", one("HardSigmoid", alpha=0.4, beta=0.1))
    yield case("Clip", one("Clip", FLOAT(-0.5), FLOAT(1)))
    yield case("Clip above", one("Clip", "", FLOAT(1)))
    yield case("Log of Abs", lambda w, _: w.node("Log", w.node("Abs", "input")))
    yield case("Sqrt of Abs", lambda w, _: w.node("Sqrt", w.node("Abs", "input")))
    yield case("Pow", lambda w, _: w.node("Pow", w.node("Abs", "input"), FLOAT(1.7)))
    yield case("Pow 2", one("Pow", FLOAT(2)))
    yield case("Pow, whole", one("Pow", np.int64(3)))
    per_channel = np.linspace(0.1, 2, CHANNELS, dtype=FLOAT).reshape(CHANNELS, 1, 1)
    for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu"):
        yield from both(f"{kind} per channel", one(kind, per_channel))
    for kind in ("Add", "Mul"):
        yield from both(f"{kind} scalar", one(kind, FLOAT(0.7)))
        yield from both(f"{kind} one element", one(kind, np.full((1, 1, 1, 1), 0.7, FLOAT)))
    for kind in ("Sum", "Mean", "Max", "Min"):
        yield from both(f"{kind} of three", one(kind, "input", per_channel))
    for kind in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"):
        yield from both(
            f"Where {kind}",
            lambda w, _, kind=kind: w.node(
                "Where", w.node(kind, w.node("Round", "input"), per_channel), "input", FLOAT(3)
            ),
        )
    yield case("And, Or, Not", _logic)
    yield case("Mod", one("Mod", FLOAT(0.7), fmod=1))
    yield case("Cast and back", lambda w, _: w.node("Cast", w.node("Cast", "input", to=7), to=1))
    yield case("Div of integers", _whole_division)


def _logic(writer: GraphWriter, _: Any) -> None:
    above, below = writer.node("Greater", "input", FLOAT(1)), writer.node("Less", "input", FLOAT(0))
    either = writer.node("Or", above, writer.node("Not", below))
    writer.node("Cast", writer.node("And", either, above), to=1)


def _whole_division(writer: GraphWriter, _: Any) -> None:
    whole = writer.node("Cast", writer.node("Mul", "input", FLOAT(9)), to=7)
    divided = writer.node("Div", whole, integers(4))
    writer.node("Cast", writer.node("Add", divided, writer.node("Mod", whole, integers(5))), to=1)


def _conv(group: int, kernel: tuple[int, int], bias: bool = True, **attributes: Any) -> Write:
    def write(writer: GraphWriter, random: np.random.Generator) -> Any:
        shape = (2 * CHANNELS if group != 3 else 9, CHANNELS // group, *kernel)
        weight = random.normal(0, 0.3, shape).astype(FLOAT)
        shift = [random.normal(0, 1, shape[0]).astype(FLOAT)] if bias else []
        return writer.node("Conv", "input", weight, *shift, group=group, **attributes)

    return write


def convolutions() -> Iterator[Case]:
    ways: dict[str, dict[str, Any]] = {
        "no padding": {},
        "same": {"pads": [1, 1, 1, 1]},
        "asymmetric": {"pads": [2, 0, 1, 3]},
        "stride": {"pads": [1, 1, 1, 1], "strides": [2, 2]},
        "stride, uneven": {"pads": [0, 1, 2, 1], "strides": [3, 2]},
        "dilation": {"pads": [2, 2, 2, 2], "dilations": [2, 2]},
        "dilation, uneven": {"pads": [1, 2, 1, 2], "dilations": [1, 2]},
        "SAME_UPPER": {"auto_pad": "SAME_UPPER"},
        "SAME_LOWER": {"auto_pad": "SAME_LOWER"},
        "SAME_UPPER, stride": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        "SAME_LOWER, stride": {"auto_pad": "SAME_LOWER", "strides": [2, 3]},
        "VALID": {"auto_pad": "VALID", "strides": [2, 2]},
    }
    for name, way in ways.items():
        for group in (1, 3, CHANNELS):
            yield case(f"Conv {group}, {name}", _conv(group, (3, 3), **way))
    for kernel in ((1, 1), (2, 2), (5, 3), (4, 4)):
        yield case(f"Conv {kernel}", _conv(1, kernel, bias=False, pads=[1, 1, 1, 1]))
    for name, factors in (("equal", np.full(6, 0.2)), ("own", np.linspace(0.1, 2, 6))):
        kernel = factors.reshape(6, 1, 1, 1).astype(FLOAT)
        yield case(f"Conv as factors, {name}", one("Conv", kernel, group=6))
    kernel = np.random.default_rng(0).normal(0, 1, (CHANNELS, 1, 3, 3)).astype(FLOAT)
    yield case(
        "Conv per channel, dilated",
        one("Conv", kernel, group=6, dilations=[2, 3], pads=[2, 3, 2, 3], strides=[1, 2]),
    )


def transposed_convolutions() -> Iterator[Case]:
    ways: dict[str, dict[str, Any]] = {
        "plain": {},
        "doubling": {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        "cut": {"strides": [2, 2], "pads": [1, 0, 0, 1]},
        "uneven": {"strides": [3, 2], "pads": [0, 1, 1, 0], "output_padding": [2, 0]},
        "dilation": {"dilations": [2, 1], "pads": [2, 1, 2, 1]},
        "SAME_UPPER": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        "SAME_LOWER": {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    }
    for name, way in ways.items():
        for group in (1, 3):

            def write(
                writer: GraphWriter,
                random: np.random.Generator,
                way: Any = way,
                group: int = group,
            ) -> Any:
                weight = random.normal(0, 0.3, (CHANNELS, 4, 3, 3)).astype(FLOAT)
                shift = random.normal(0, 1, 4 * group).astype(FLOAT)
                return writer.node("ConvTranspose", "input", weight, shift, group=group, **way)

            yield case(f"ConvTranspose {group}, {name}", write)
    kernel = np.random.default_rng(0).normal(0, 1, (CHANNELS, 3, 2, 2)).astype(FLOAT)
    yield case("ConvTranspose of a U-Net", one("ConvTranspose", kernel, strides=[2, 2]))


def pooling() -> Iterator[Case]:
    for kind in ("MaxPool", "AveragePool"):
        for name, way in {
            "2": {"kernel_shape": [2, 2], "strides": [2, 2]},
            "3, padded": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
            "uneven": {"kernel_shape": [3, 2], "strides": [1, 2], "pads": [1, 0, 0, 1]},
            "rounded up": {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
            "3, rounded up": {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
            "rounded up, padded": {
                "kernel_shape": [3, 3], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1,
            },
            "SAME_UPPER": {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
            "SAME_LOWER": {"kernel_shape": [2, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
        }.items():  # fmt: skip
            yield case(f"{kind} {name}", one(kind, **way))
    yield case(
        "AveragePool with its padding",
        one("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    )
    for kind in ("GlobalAveragePool", "GlobalMaxPool"):
        yield from both(kind, lambda w, _, kind=kind: w.node("Mul", "input", w.node(kind, "input")))


def resizing() -> Iterator[Case]:
    places = ("asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners")
    roundings = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
    for factor in (2, 3, 5, 1.5, 0.5):
        scales = np.array([1, 1, factor, factor], FLOAT)
        for place in places[:2]:
            for rounding in roundings:
                yield case(
                    f"Resize nearest {factor}, {place}, {rounding}",
                    one("Resize", "", scales, mode="nearest", nearest_mode=rounding,
                        coordinate_transformation_mode=place),
                )  # fmt: skip
        for mode in ("linear", "cubic"):
            for place in places:
                if (mode, place) != ("cubic", "align_corners"):
                    yield case(
                        f"Resize {mode} {factor}, {place}",
                        one("Resize", "", scales, mode=mode, coordinate_transformation_mode=place),
                        (8, 14), (16, 6),
                    )  # fmt: skip
    scales = np.array([1, 1, 2, 3], FLOAT)
    yield case("Resize uneven", one("Resize", "", scales, mode="linear"))
    for mode, place in (
        ("nearest", "asymmetric"), ("linear", "half_pixel"), ("linear", "align_corners"),
    ):  # fmt: skip
        yield case(f"Resize back, {mode}, {place}", _there_and_back(mode, place))


def _there_and_back(mode: str, place: str) -> Write:
    def write(writer: GraphWriter, _: Any) -> None:
        small = writer.node("MaxPool", "input", kernel_shape=[2, 2], strides=[2, 2])
        shape = writer.node("Shape", "input")
        first = writer.node("Slice", writer.node("Shape", small), integers(0), integers(2))
        size = writer.node("Slice", shape, integers(2), integers(4))
        wanted = writer.node("Concat", first, size, axis=0)
        large = writer.node(
            "Resize", small, "", "", wanted,
            mode=mode, coordinate_transformation_mode=place, nearest_mode="floor",
        )  # fmt: skip
        writer.node("Concat", "input", large, axis=1)

    return write


def rearranging() -> Iterator[Case]:
    even = ((8, 12), (4, 6))
    yield from both("SpaceToDepth", one("SpaceToDepth", blocksize=2), *even)
    for mode in ("DCR", "CRD"):

        def shuffle(writer: GraphWriter, random: np.random.Generator, mode: str = mode) -> Any:
            more = writer.node(
                "Conv", "input", random.normal(0, 1, (18, CHANNELS, 1, 1)).astype(FLOAT)
            )
            return writer.node("DepthToSpace", more, blocksize=3, mode=mode)

        yield case(f"DepthToSpace {mode}", shuffle)
    for order in ([0, 2, 3, 1], [0, 3, 1, 2], [0, 1, 3, 2], [1, 0, 2, 3]):
        yield from both(f"Transpose {order}", one("Transpose", perm=order))
    yield from both("Transpose, reversed", one("Transpose"))
    yield from both("There and back again", _there_and_back_again)
    yield from both("Reshape to tokens", one("Reshape", integers(0, 0, -1)))
    yield from both("Reshape of channels", one("Reshape", integers(0, 2, 3, 0, -1)))
    yield from both("Flatten", one("Flatten", axis=2))
    yield from both("Unsqueeze, Squeeze", lambda w, _: w.node(
        "Squeeze", w.node("Unsqueeze", "input", integers(1, -1)), integers(1)
    ))  # fmt: skip
    yield from both("Windows", _windows, (8, 12), (4, 4))
    yield from both("Attention of channels", _attention)


def _there_and_back_again(writer: GraphWriter, random: np.random.Generator) -> None:
    last = writer.node("Transpose", "input", perm=[0, 2, 3, 1])
    scale, shift = random.normal(0, 1, (2, CHANNELS)).astype(FLOAT)
    normal = writer.node("LayerNormalization", last, scale, shift, axis=-1, epsilon=1e-4)
    wide = writer.node("MatMul", normal, random.normal(0, 1, (CHANNELS, 8)).astype(FLOAT))
    narrow = writer.node("Softmax", writer.node("Relu", wide), axis=-1)
    back = writer.node("MatMul", narrow, random.normal(0, 1, (8, CHANNELS)).astype(FLOAT))
    writer.node("Add", "input", writer.node("Transpose", back, perm=[0, 3, 1, 2]))


def _windows(writer: GraphWriter, _: Any) -> None:
    shape = writer.node("Shape", "input")
    height, width = (
        writer.node("Div", writer.node("Gather", shape, integers(axis)), integers(4))
        for axis in (2, 3)
    )
    split = writer.node(
        "Concat", integers(-1, CHANNELS), height, integers(4), width, integers(4), axis=0
    )
    tiles = writer.node("Reshape", "input", split)
    tiles = writer.node("Transpose", tiles, perm=[0, 2, 4, 3, 5, 1])
    tokens = writer.node("Reshape", tiles, integers(-1, 16, CHANNELS))
    pairs = writer.node("MatMul", tokens, writer.node("Transpose", tokens, perm=[0, 2, 1]))
    mixed = writer.node("MatMul", writer.node("Softmax", pairs, axis=-1), tokens)
    whole = writer.node("Concat", integers(-1), height, width, integers(4, 4, CHANNELS), axis=0)
    tiles = writer.node("Transpose", writer.node("Reshape", mixed, whole), perm=[0, 5, 1, 3, 2, 4])
    writer.node("Add", "input", writer.node("Reshape", tiles, shape))


def _attention(writer: GraphWriter, _: Any) -> None:
    flat = writer.node("Reshape", "input", integers(0, 2, 3, -1))
    norm = writer.node("ReduceL2", flat, axes=[-1], keepdims=1)
    flat = writer.node("Div", flat, writer.node("Expand", norm, writer.node("Shape", flat)))
    pairs = writer.node("MatMul", flat, writer.node("Transpose", flat, perm=[0, 1, 3, 2]))
    mixed = writer.node("MatMul", writer.node("Softmax", pairs, axis=-1), flat)
    writer.node("Reshape", mixed, writer.node("Shape", "input"))


def reducing() -> Iterator[Case]:
    for axes in ([1], [2, 3], [-1], [0, 2], [1, 2, 3]):
        for keep in (0, 1):
            yield from both(
                f"ReduceMean {axes}, {keep}", one("ReduceMean", axes=axes, keepdims=keep)
            )
    for kind in ("ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceProd"):
        yield from both(kind, one(kind, axes=[1]))
    yield from both("ReduceSum", one("ReduceSum", integers(2), keepdims=0))
    yield from both("ReduceMean of all", one("ReduceMean"))
    for axis in (1, 2, -1):
        yield from both(f"Softmax {axis}", one("Softmax", axis=axis))
    yield from both("LogSoftmax", one("LogSoftmax", axis=1))
    yield case("CumSum", one("CumSum", np.int64(2)))
    statistics = [np.linspace(0.5, 2, CHANNELS, dtype=FLOAT) * sign for sign in (1, -1, 0.3, 1)]
    yield from both("BatchNormalization", one("BatchNormalization", *statistics, epsilon=1e-3))
    yield from both("InstanceNormalization", one("InstanceNormalization", *statistics[:2]))

    def groups(writer: GraphWriter, _: Any) -> Any:
        shape = writer.node("Shape", "input")
        grouped = writer.node("Reshape", "input", integers(0, 2, -1))
        ones, zeros = np.ones(2, FLOAT), np.zeros(2, FLOAT)
        normal = writer.node("InstanceNormalization", grouped, ones, zeros)
        return writer.node("Reshape", normal, shape)

    yield from both("GroupNormalization as exported", groups)

    def gemm(writer: GraphWriter, random: np.random.Generator) -> Any:
        pooled = writer.node("Flatten", writer.node("GlobalAveragePool", "input"))
        weight, shift = random.normal(0, 1, (4, CHANNELS)), random.normal(0, 1, 4)
        small = writer.node(
            "Gemm", pooled, weight.astype(FLOAT), shift.astype(FLOAT),
            transB=1, alpha=0.5, beta=2.0,
        )  # fmt: skip
        gate = writer.node("MatMul", small, random.normal(0, 1, (4, CHANNELS)).astype(FLOAT))
        gate = writer.node("Unsqueeze", writer.node("Sigmoid", gate), integers(2, 3))
        return writer.node("Mul", "input", gate)

    for equation in ("nchw,ndhw->ncd", "nchw,nchv->nhvw", "nchw,nchw->wnc", "nchw,nchw->nwhc"):
        yield from both(f"Einsum {equation}", one("Einsum", "input", equation=equation))
    weight = np.linspace(-1, 1, 24, dtype=FLOAT).reshape(CHANNELS, 4)
    yield from both("Einsum with weights", one("Einsum", weight, equation="nchw,cd->ndhw"))
    yield from both("Gemm: squeeze and excite", gemm)


def cutting() -> Iterator[Case]:
    yield from both("Concat of channels", one("Concat", "input", axis=1))
    yield from both("Concat of rows", one("Concat", "input", axis=-2))
    yield case("Concat of one", one("Concat", axis=1))
    for axis, parts in ((1, (2, 4)), (-3, (1, 5))):
        yield from both(
            f"Split {axis}",
            lambda w, _, axis=axis, parts=parts: _split(w, axis, integers(*parts)),
        )
    yield from both("Split evenly", lambda w, _: _split(w, 1))
    far = (1 << 63) - 1
    for name, bounds in {
        "channels": (integers(1), integers(4), integers(1)),
        "margin": (integers(2, 1), integers(-1, far), integers(2, 3)),
        "every second": (integers(0, 1), integers(far, far), integers(2, 3), integers(2, 3)),
        "flipped": (integers(-1), integers(-far), integers(3), integers(-1)),
        "no axes": (integers(0, 2), integers(1, 5)),
    }.items():
        yield from both(f"Slice {name}", one("Slice", *bounds))
    yield from both("Roll", _roll)
    yield from both("Gather channels", one("Gather", integers(3, 0, -1, 3), axis=1))
    yield from both("Gather one", one("Gather", np.int64(-2), axis=1))
    yield from both("Gather rows", one("Gather", integers(-1, 0), axis=2))
    pads = integers(0, 0, 2, 1, 0, 0, 3, 0)
    for mode in ("constant", "reflect", "edge"):
        yield from both(f"Pad {mode}", one("Pad", pads, mode=mode))
    yield from both("Pad with a value", one("Pad", integers(0, 1, 2, 0, 0, 2, 0, 1), FLOAT(-1.5)))
    yield from both("Pad, negative", one("Pad", integers(0, 0, -1, 2, 0, 0, 2, -3)))
    yield from both("Tile", one("Tile", integers(1, 2, 1, 3)))
    yield from both("Expand", lambda w, _: w.node(
        "Expand", w.node("ReduceMean", "input", axes=[1, 3]), integers(1, 4, 1, 5)
    ))  # fmt: skip


def _split(writer: GraphWriter, axis: int, *sizes: Any) -> Any:
    from onnx import helper

    inputs = ["input", *(writer.weight("sizes", size) for size in sizes)]
    writer.nodes.append(helper.make_node("Split", inputs, ["a", "b"], axis=axis))
    gated = [writer.node("ReduceSum", name, integers(1), keepdims=1) for name in ("a", "b")]
    return writer.node("Mul", *gated)


def _roll(writer: GraphWriter, _: Any) -> None:
    first = writer.node("Slice", "input", integers(3), integers(1 << 62), integers(2))
    rest = writer.node("Slice", "input", integers(0), integers(3), integers(2))
    writer.node("Concat", first, rest, axis=2)


def computed_sizes() -> Iterator[Case]:
    yield from both("Padded to multiples of 4, then cut", _padded_to_multiples)
    yield from both("A mask of the image's size", _mask)
    yield case("Scatter and gather", _scatter)


def _padded_to_multiples(writer: GraphWriter, _: Any) -> None:
    """As networks do that read windows: reflect, compute, cut to the size of before."""
    shape = writer.node("Shape", "input")
    sizes = [writer.node("Gather", shape, integers(axis)) for axis in (2, 3)]
    short = [
        writer.node("Mod", writer.node("Sub", integers(4), writer.node("Mod", size, integers(4))),
                    integers(4))
        for size in sizes
    ]  # fmt: skip
    pads = writer.node("Concat", integers(0, 0, 0, 0, 0, 0), *short, axis=0)
    padded = writer.node("Pad", "input", pads, mode="reflect")
    pooled = writer.node("AveragePool", padded, kernel_shape=[4, 4], strides=[4, 4])
    large = writer.node("Resize", pooled, "", np.array([1, 1, 4, 4], FLOAT), mode="nearest")
    ends = writer.node("Concat", *sizes, axis=0)
    writer.node("Slice", large, integers(0, 0), ends, integers(2, 3))


def _mask(writer: GraphWriter, _: Any) -> None:
    shape = writer.node("Shape", "input")
    size = writer.node("Slice", shape, integers(2), integers(4))
    zeros = writer.node("ConstantOfShape", size)
    height = writer.node("Gather", shape, np.int64(2))
    rows = writer.node("Cast", writer.node("Range", np.int64(0), height, np.int64(1)), to=1)
    plane = writer.node("Add", zeros, writer.node("Unsqueeze", rows, integers(1)))
    writer.node("Mul", "input", plane)


def _scatter(writer: GraphWriter, _: Any) -> None:
    places = np.array([[0, 1, 2], [0, 3, 0]], np.int64)
    rows = writer.node("GatherND", "input", places)
    count = writer.node("Cast", writer.node("Size", "input"), to=1)
    scaled = writer.node("Div", writer.node("Neg", rows), count)
    writer.node("ScatterND", "input", places[::-1].copy(), scaled)
