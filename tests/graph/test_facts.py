"""Facts read off a graph, against running it and against arithmetic by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import factories
from w2s_export.config import GeneratorConfig
from w2s_export.graph.facts import Facts, facts_of_any, read_facts
from w2s_export.graph.tracing import GraphError
from w2s_export.graph.writer import GraphWriter, integers


def model(writer: GraphWriter, channels: int = 1, output: str | None = None) -> Any:
    """The nodes written so far, from `input` on."""
    from onnx import TensorProto, helper

    def image(name: str, channels: int | None) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, channels, None, None])

    name = output or writer.nodes[-1].output[0]
    graph = helper.make_graph(
        writer.nodes, "net", [image("input", channels)], [image(name, None)], writer.constants
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


class Builder:
    """Random layers, all of positive weights: whatever is seen shows in the result."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.writer = GraphWriter()
        self.channels = {"input": 1}

    def node(self, kind: str, *inputs: Any, channels: int, **attributes: Any) -> str:
        name = self.writer.node(kind, *inputs, **attributes)
        self.channels[name] = channels
        return name

    def weight(self, *shape: int) -> Any:
        return self.random.uniform(0.5, 1.5, shape).astype(np.float32)

    def conv(self, x: str, channels: int = 4, stride: int = 1) -> str:
        kernel, dilation = int(self.random.choice([1, 2, 3, 5])), int(self.random.choice([1, 1, 2]))
        extent = dilation * (kernel - 1) + 1
        total = max(extent - stride, 0)  # sizes that are multiples of the stride stay so
        if self.random.random() < 0.2:
            before = int(self.random.integers(0, total + 1))
        else:
            before = total // 2
        pads = [before, before, total - before, total - before]
        given: dict[str, Any] = {"pads": pads}
        if self.random.random() < 0.2 and before == total // 2 and dilation == 1:
            given = {"auto_pad": "SAME_UPPER"}
        elif self.random.random() < 0.2:
            padding = integers(0, 0, before, before, 0, 0, total - before, total - before)
            mode = str(self.random.choice(["constant", "edge"]))
            x = self.node("Pad", x, padding, channels=self.channels[x], mode=mode)
            given = {"auto_pad": "VALID"} if extent >= stride else {}
        weight = self.weight(channels, self.channels[x], kernel, kernel)
        return self.node(
            "Conv", x, weight, channels=channels,
            strides=[stride] * 2, dilations=[dilation] * 2, **given,
        )  # fmt: skip

    def down(self, x: str) -> str:
        channels = self.channels[x]
        kind = self.random.choice(["Conv", "MaxPool", "AveragePool", "SpaceToDepth", "Slice"])
        if kind == "Conv":
            return self.conv(x, stride=2)
        if kind == "SpaceToDepth":
            return self.node(kind, x, channels=4 * channels, blocksize=2)
        if kind == "Slice":
            bounds = integers(0, 1), integers(1 << 60, 1 << 60), integers(2, 3), integers(2, 2)
            return self.node("Slice", x, *bounds, channels=channels)
        side = int(self.random.choice([2, 3]))
        pads = [side - 2] * 2 + [0, 0]
        return self.node(
            kind, x, channels=channels, kernel_shape=[side] * 2, strides=[2, 2], pads=pads
        )

    def up(self, x: str, factor: int = 2) -> str:
        channels = self.channels[x]
        kind = self.random.choice(["ConvTranspose", "nearest", "linear", "DepthToSpace", "shuffle"])
        if kind == "ConvTranspose":
            kernel = int(self.random.choice([factor, factor + 1, 2 * factor]))
            pads = [(kernel - factor) // 2] * 2 + [kernel - factor - (kernel - factor) // 2] * 2
            weight = self.weight(channels, 4, kernel, kernel)
            return self.node(
                kind, x, weight, channels=4, strides=[factor] * 2, pads=pads
            )  # fmt: skip
        if kind in ("nearest", "linear"):
            place = str(self.random.choice(["asymmetric", "half_pixel"]))
            scales = np.array([1, 1, factor, factor], np.float32)
            return self.node(
                "Resize", x, "", scales, channels=channels,
                mode=str(kind), coordinate_transformation_mode=place, nearest_mode="floor",
            )  # fmt: skip
        x = self.conv(x, channels=4 * factor**2)
        if kind == "DepthToSpace":
            return self.node(kind, x, channels=4, blocksize=factor)
        shape = self.writer.node("Shape", x)
        height, width = (self.writer.node("Gather", shape, integers(axis)) for axis in (2, 3))
        split = self.writer.node("Concat", integers(-1, 4, factor, factor), height, width, axis=0)
        x = self.writer.node("Reshape", x, split)
        x = self.writer.node("Transpose", x, perm=[0, 1, 4, 2, 5, 3])
        large = [self.writer.node("Mul", size, integers(factor)) for size in (height, width)]
        merged = self.writer.node("Concat", integers(-1, 4), *large, axis=0)
        return self.node("Reshape", x, merged, channels=4)

    def body(self, x: str, depth: int) -> str:
        """Layers that keep the size, with branches at half of it."""
        for _ in range(int(self.random.integers(1, 3))):
            if depth and self.random.random() < 0.6:
                small = self.up(self.body(self.down(x), depth - 1))
                same = [self.conv(y) for y in (x, small)]
                if self.random.random() < 0.5:
                    x = self.node("Add", *same, channels=4)
                else:
                    x = self.node("Concat", *same, channels=8, axis=1)
            else:
                x = self.node("LeakyRelu", self.conv(x), channels=4, alpha=0.1)
        return x


def seen(graph: Any, facts: Facts, size: int) -> int:
    """The radius by probing: one input pixel at a time, all others 0."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    step, farthest = facts.step, 0
    middle = size // 2 // step * step
    for y, x in np.ndindex(step, step):
        y, x = middle + y, middle + x
        batch = np.zeros((1, 1, size, size), np.float32)
        batch[0, 0, y, x] = 1
        output = session.run(None, {"input": batch})[0]
        assert output.shape[2:] == (facts.scale * size, facts.scale * size)
        changed = np.abs(output[0]).max(0)
        for axis, pixel in ((0, y), (1, x)):
            cells = np.flatnonzero(changed.max(1 - axis)) // facts.scale // step * step
            if not len(cells):  # a slice left this pixel out
                continue
            assert cells.min() > 0  # no edge comes into it
            assert cells.max() < size - step
            farthest = max(farthest, (cells - pixel).max(), (pixel - cells - step + 1).max())
    return int(farthest)


@pytest.mark.parametrize("seed", range(30))
def test_radius_scale_and_step_are_what_probing_shows(seed: int) -> None:
    builder = Builder(seed)
    x = builder.body("input", depth=2)
    if seed % 3:
        x = builder.up(x, factor=2 + seed % 2)
    builder.conv(x, channels=1)
    graph = model(builder.writer)
    facts = read_facts(graph)
    assert facts.receptive_radius is not None
    size = -(-(2 * facts.receptive_radius + 8 * facts.step) // facts.step) * facts.step
    assert seen(graph, facts, size) == facts.receptive_radius


SMALL = {"nf": 8, "gc": 4}
# Five convolutions in three dense blocks a block, conv_first and conv_body; conv_hr and conv_last
# at the output's resolution, conv_up between; 9·in·out multiplications a convolution and pixel.
FAMILY = [
    (GeneratorConfig(**SMALL, nb=1), 15 + 2 + 1),
    (GeneratorConfig(**SMALL, nb=2, scale=1), 30 + 2 + 2),
    (GeneratorConfig(**SMALL, nb=1, scale=4), 15 + 2 + 1),
    (GeneratorConfig(**SMALL, nb=1, scale=4, upsampling="conv", in_nc=3, out_nc=3), 15 + 2 + 2),
    (GeneratorConfig(**SMALL, nb=3, upsampling="conv", pixel_unshuffle=2), 2 * (45 + 2 + 2)),
    (GeneratorConfig(), 348),
]


@pytest.mark.parametrize(("config", "radius"), FAMILY, ids=str)
def test_the_family(config: GeneratorConfig, radius: int) -> None:
    from w2s_export.networks.layout import multiplications

    facts = factories.network(config).facts
    assert (facts.scale, facts.step) == (config.scale, config.pixel_unshuffle)
    assert facts.receptive_radius == radius
    assert facts.multiplications == multiplications(config)


# Bytes per pixel that ONNX Runtime 1.32.0 took, its memory pattern off; see `working_memory`.
MEASURED = [
    (GeneratorConfig(nf=32, gc=16, nb=3), 2146),
    (GeneratorConfig(nb=2), 4329),
    (GeneratorConfig(nf=32, gc=16, nb=3, scale=4), 8563),
    (GeneratorConfig(nf=32, gc=16, nb=3, upsampling="conv", pixel_unshuffle=2), 2148),
]


@pytest.mark.parametrize(("config", "measured"), MEASURED, ids=str)
def test_working_memory_is_what_was_measured_or_more(
    config: GeneratorConfig, measured: int, tmp_path: Path
) -> None:
    assert 1 <= factories.network(config).facts.bytes_per_pixel / measured <= 1.4


def _squeeze_and_excite(writer: GraphWriter) -> None:
    pooled = writer.node("GlobalAveragePool", "input")
    writer.node("Mul", "input", writer.node("Sigmoid", pooled))


def _mean_of_rows(writer: GraphWriter) -> None:
    writer.node("Sub", "input", writer.node("ReduceMean", "input", axes=[2]))


def _instance_normalisation(writer: GraphWriter) -> None:
    one = np.ones(1, np.float32)
    writer.node("InstanceNormalization", "input", one, one)


def _softmax_of_columns(writer: GraphWriter) -> None:
    writer.node("Softmax", "input", axis=3)


def _attention(writer: GraphWriter) -> None:
    tokens = writer.node("Reshape", "input", integers(1, 1, -1))
    pairs = writer.node("MatMul", writer.node("Transpose", tokens, perm=[0, 2, 1]), tokens)
    mixed = writer.node("MatMul", tokens, writer.node("Softmax", pairs, axis=-1))
    writer.node("Reshape", mixed, writer.node("Shape", "input"))


def _rolled(writer: GraphWriter) -> None:
    first = writer.node("Slice", "input", integers(4), integers(1 << 60), integers(2))
    rest = writer.node("Slice", "input", integers(0), integers(4), integers(2))
    writer.node("Concat", first, rest, axis=2)


def _corners(writer: GraphWriter) -> None:
    writer.node(
        "Resize", "input", "", np.array([1, 1, 2, 2], np.float32),
        mode="linear", coordinate_transformation_mode="align_corners",
    )  # fmt: skip


def _flipped(writer: GraphWriter) -> None:
    writer.node("Slice", "input", integers(-1), integers(-(1 << 60)), integers(3), integers(-1))


@pytest.mark.parametrize(
    "write",
    [
        _squeeze_and_excite,
        _mean_of_rows,
        _instance_normalisation,
        _softmax_of_columns,
        _attention,
        _rolled,
        _corners,
        _flipped,
    ],
)
def test_what_sees_the_whole_image_has_no_radius(write: Callable[[GraphWriter], None]) -> None:
    writer = GraphWriter()
    write(writer)
    facts = read_facts(model(writer))
    assert facts.receptive_radius is None
    assert facts.step == 1


def test_attention_between_all_pixels_costs_what_an_image_of_256_pixels_costs() -> None:
    writer = GraphWriter()
    _attention(writer)
    facts = read_facts(model(writer))
    pixels = 256**2
    assert facts.multiplications == 2 * pixels  # each pixel with each, and weights with values
    assert 2 * 4 * pixels < facts.bytes_per_pixel < 5 * 4 * pixels  # scores, and their softmax


@pytest.mark.parametrize("masked", [False, True])
def test_windows_of_a_reshape_are_the_step(masked: bool) -> None:
    """With a mask as SwinIR writes one, which knows where a pixel lies, there is no radius."""
    writer = GraphWriter()
    shape = writer.node("Shape", "input")
    image = "input"
    if masked:
        zeros = writer.node("ConstantOfShape", shape)
        corner = np.zeros((1, 1, 1, 1, 4), np.int64)
        one = np.ones((1, 1, 1, 1), np.float32)
        image = writer.node("Add", image, writer.node("ScatterND", zeros, corner, one))
    height, width = (
        writer.node("Div", writer.node("Gather", shape, integers(axis)), integers(8))
        for axis in (2, 3)
    )
    split = writer.node("Concat", integers(1, 1), height, integers(8), width, integers(8), axis=0)
    windows = writer.node("Reshape", image, split)
    windows = writer.node("Transpose", windows, perm=[0, 2, 4, 3, 5, 1])
    tokens = writer.node("Reshape", windows, integers(-1, 64))
    mixed = writer.node("MatMul", tokens, np.ones((64, 64), np.float32))
    whole = writer.node("Concat", integers(1), height, width, integers(8, 8, 1), axis=0)
    windows = writer.node(
        "Transpose", writer.node("Reshape", mixed, whole), perm=[0, 5, 1, 3, 2, 4]
    )
    writer.node("Reshape", windows, shape)
    facts = read_facts(model(writer))
    radius = None if masked else 0
    assert (facts.step, facts.receptive_radius, facts.multiplications) == (8, radius, 64)
    kinds = {"Shape", "Gather", "Div", "Concat", "Reshape", "Transpose", "MatMul"}
    assert facts.operators == kinds | ({"Add", "ConstantOfShape", "ScatterND"} if masked else set())


def _half_the_size(writer: GraphWriter) -> None:
    writer.node("MaxPool", "input", kernel_shape=[2, 2], strides=[2, 2])


def _unpadded(writer: GraphWriter) -> None:
    writer.node("Conv", "input", np.ones((1, 1, 3, 3), np.float32))


def _wider_than_high(writer: GraphWriter) -> None:
    writer.node("Resize", "input", "", np.array([1, 1, 1, 2], np.float32))


def _a_vector(writer: GraphWriter) -> None:
    writer.node("ReduceMean", "input", axes=[2, 3], keepdims=0)


def _computed_by_pixels(writer: GraphWriter) -> None:
    writer.node("Expand", "input", writer.node("Cast", "input", to=7))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_half_the_size, "0.5 times"),
        (_unpadded, "-2 pixels"),
        (_wider_than_high, "2 times as wide"),
        (_a_vector, "2 axes"),
        (_computed_by_pixels, "Expand"),
    ],
)
def test_other_graphs_are_refused(write: Callable[[GraphWriter], None], message: str) -> None:
    writer = GraphWriter()
    write(writer)
    with pytest.raises(GraphError, match=message):
        read_facts(model(writer))


def test_what_is_not_followed_is_guessed_and_said(caplog: pytest.LogCaptureFixture) -> None:
    writer = GraphWriter()
    image = writer.node("Conv", "input", np.ones((3, 1, 1, 1), np.float32))
    places = writer.node("NonZero", image)  # as many as there are: no size follows from it
    count = writer.node("Shape", places)
    total = writer.node("ReduceSum", writer.node("Cast", count, to=1), keepdims=0)
    writer.node("Mul", image, total)
    graph = model(writer)
    with pytest.raises(GraphError, match="NonZero"):
        read_facts(graph)
    caplog.set_level("INFO")
    facts = facts_of_any(graph, scale=2, step=8)
    assert (facts.scale, facts.step, facts.receptive_radius) == (2, 8, None)
    assert facts.multiplications == 3
    assert facts.operators == {"Conv", "NonZero", "Shape", "Cast", "ReduceSum", "Mul"}
    assert "NonZero" in caplog.text
