"""Turns anybody's ONNX image network into the one form of this house.

Opset 17, IR 8, float32; input `input` and output `output`, NCHW with dynamic batch, height and
width. What is not one image in and one image out is refused, with the reason. The graph is never
run here.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, checker, helper, inliner, numpy_helper

from w2s_export.counting import counted
from w2s_export.errors import CheckpointError
from w2s_export.graph.batch import free_batch
from w2s_export.graph.editing import Editable, attributes_of, evaluate, make
from w2s_export.graph.folding import constant_of
from w2s_export.graph.layout import NCHW_TO_NHWC, NHWC_TO_NCHW, channel_axis, sink_transposes
from w2s_export.graph.model import INPUT_ID, IR_VERSION, OPSET, OUTPUT_ID, make_model
from w2s_export.graph.opset import downgrade, upgrade
from w2s_export.graph.refusals import (
    FLOATS,
    check_ends,
    check_no_nan,
    check_operators,
    declared_sizes,
)
from w2s_export.graph.resizing import taps
from w2s_export.graph.specialise import (
    Followed,
    drop_what_does_nothing,
    follow,
    name_moves,
    settle_sizes,
)

SCALES = (1, 2, 3, 4, 8)

_MOST_FOLDED = 1 << 26  # elements of one constant
_GRID = (64, 192, 320, 448, 240)
"""Sizes whose multiples a network is followed for, the first that it takes."""


@dataclass(frozen=True, slots=True)
class Lowered:
    """A network in the house's form, and what its shapes say."""

    graph: onnx.ModelProto
    channels_in: int
    channels_out: int
    scale: int
    fixed: tuple[int, int] | None
    """Height and width, where the file states them and `dynamic` was not asked for."""
    channels_last: bool
    """Whether the original takes its image as NHWC."""
    channels_last_out: bool


def lower(model: onnx.ModelProto, *, dynamic: bool = False, one_image: bool = False) -> Lowered:
    """Bring a network into the house's form.

    Args:
        model: with all its weights in it.
        dynamic: let go of a height and width that the file fixes.
        one_image: the graph was traced for one image and has that written into it; free it.

    Raises:
        CheckpointError: no image-to-image network that can be lowered; says why.
    """
    model = inlined(model)
    check_operators(model)
    source, result = check_ends(model)
    to_float32(model)
    version = next(i.version for i in model.opset_import if i.domain in ("", "ai.onnx"))
    del model.opset_import[:]
    model.opset_import.add(domain="", version=version)
    if version < OPSET:
        model = upgrade(_tidy(model))
    graph = taken_apart(model, source.name, result.name)
    check_no_nan(graph.constants)
    if version > OPSET:
        downgrade(graph, version)
    _fold(graph)
    graph.merge_equal()
    declared = declared_sizes(source)
    last, channels = _layout(graph, declared)
    if last:
        _put_before(graph, NCHW_TO_NHWC)
    fixed = _fixed(declared, last)
    kept = None if dynamic else fixed
    if one_image:
        free_batch(graph, _follow(graph, channels, kept, one_image=True))
    followed = _follow(graph, channels, kept)
    scale, channels_out, last_out = _output(graph, followed, dynamic)
    for _ in range(2):
        settle_sizes(graph, followed)
        name_moves(graph, followed)
        _fold(graph)
        drop_what_does_nothing(graph, followed)
        graph.merge_equal()
        followed = _follow(graph, channels, kept)
    if last_out:
        made = graph.new_name("output")
        graph.nodes.append(make("Transpose", [graph.output], made, perm=NHWC_TO_NCHW))
        graph.output = made
    sink_transposes(graph)
    _fold(graph)
    _explicit_padding(graph)
    _plain_repetition(graph)
    written = _written(graph, (channels, channels_out), scale, kept)
    return Lowered(written, channels, channels_out, scale, kept, last, last_out)


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Functions that the file brings along, written out where they are called."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return inliner.inline_local_functions(copy) if copy.functions else copy


def to_float32(model: onnx.ModelProto) -> None:
    """Half and double precision become single, in place."""

    def single(tensor: onnx.TensorProto) -> None:
        if tensor.data_type in FLOATS - {TensorProto.FLOAT}:
            with np.errstate(over="ignore"):
                values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    for tensor in model.graph.initializer:
        single(tensor)
    for node in model.graph.node:
        for item in node.attribute:
            if item.HasField("t"):
                single(item.t)
            if item.name in ("to", "dtype") and item.i in FLOATS:
                item.i = TensorProto.FLOAT
    for info in (*model.graph.input, *model.graph.output):
        if info.type.tensor_type.elem_type in FLOATS:
            info.type.tensor_type.elem_type = TensorProto.FLOAT
    del model.graph.value_info[:]


def _tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """What ONNX's converter asks for: a recent IR, and constants that are no inputs."""
    stored = {tensor.name for tensor in model.graph.initializer}
    kept = [tensor for tensor in model.graph.input if tensor.name not in stored]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = IR_VERSION
    return model


def taken_apart(model: onnx.ModelProto, source: str, result: str) -> Editable:
    """A model's graph for editing, from its input of one name to its output of another.

    Raises:
        CheckpointError: the output does not depend on the input.
    """
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        node.ClearField("domain")
        if node.op_type == "Constant":
            constants[node.output[0]] = _constant(node)
        else:
            nodes.append(node)
    graph = Editable(nodes, constants, source, result)
    graph.drop_unused()
    if not graph.nodes or source not in {name for node in graph.nodes for name in node.input}:
        raise CheckpointError("computes nothing from its input")
    return graph


def _constant(node: onnx.NodeProto) -> Any:
    settings = attributes_of(node)
    (name,) = settings
    if name != "value" and not name.startswith(("value_float", "value_int")):
        raise CheckpointError(f"has a constant that is no plain tensor ({name})")
    return constant_of(settings)


def _fold(graph: Editable) -> None:
    """Compute what follows from constants alone."""
    kept = []
    for node in graph.nodes:
        names = [name for name in node.input if name]
        known = {name: graph.constants[name] for name in names if name in graph.constants}
        if len(known) < len(set(names)) or not _small(node, known):
            kept.append(node)
            continue
        values = evaluate(node, known)
        for name, value in zip([n for n in node.output if n], values, strict=True):
            graph.constants[name] = value
    graph.nodes = kept
    graph.drop_unused()


def _small(node: onnx.NodeProto, known: dict[str, Any]) -> bool:
    """Whether the result can be kept; some operators make much of little."""
    if node.op_type in ("ConstantOfShape", "Expand"):
        shape = known[node.input[-1]]
        return bool(np.prod(np.maximum(shape, 1).astype(np.float64)) < _MOST_FOLDED)
    if node.op_type == "Range":
        start, limit, delta = (float(known[name]) for name in node.input)
        return delta != 0 and abs((limit - start) / delta) < _MOST_FOLDED
    if node.op_type in ("Tile", "Pad", "Resize", "OneHot"):
        return sum(float(np.abs(value).sum()) for value in known.values()) < _MOST_FOLDED
    return True


def _layout(graph: Editable, declared: list[int | None] | None) -> tuple[bool, int]:
    """Whether the channels are the last axis, and how many there are."""
    sizes = declared or [None] * 4
    stated = [axis for axis in (1, 3) if sizes[axis] is not None]
    found = None if len(stated) == 1 else channel_axis(graph)
    if found is not None and found[0] in (1, 3):
        axis, count = found[0], sizes[found[0]] or found[1]
    elif stated:
        axis = min(stated, key=lambda axis: sizes[axis] or 0)
        count = sizes[axis]
    else:
        raise CheckpointError(
            "does not state how many channels its image has; export it with a fixed number"
        )
    if count is None or not 0 < count <= 64:
        raise CheckpointError(
            f"takes {count or 'an unknown number of'} channels; images have 1 to 64"
        )
    return axis == 3, count


def _fixed(declared: list[int | None] | None, last: bool) -> tuple[int, int] | None:
    if declared is None:
        return None
    height, width = declared[1:3] if last else declared[2:4]
    if height is None and width is None:
        return None
    if height is None or width is None:
        raise CheckpointError(
            f"fixes one of height and width ({height or 'free'} × {width or 'free'}); export it "
            "with both free, or both fixed"
        )
    return height, width


def _put_before(graph: Editable, perm: tuple[int, ...]) -> None:
    """Let the graph take its image in another order of axes."""
    old, new = graph.input, graph.new_name("input")
    graph.nodes.insert(0, make("Transpose", [new], old, perm=perm))
    graph.input = new


def _follow(
    graph: Editable, channels: int, fixed: tuple[int, int] | None, *, one_image: bool = False
) -> list[Followed]:
    """The graph followed for several sizes."""
    batches = (1, 1, 1, 1, 1) if one_image else (2, 3, 1, 5, 4)
    if fixed is not None:
        seen = [follow(graph, (n, channels, *fixed)) for n in batches[:2]]
    for grid in () if fixed is not None else _GRID:
        sizes = zip(batches, ((1, 2), (2, 1), (1, 3)), strict=False)
        seen = [follow(graph, (n, channels, grid * h, grid * w)) for n, (h, w) in sizes]
        if all(one is not None and graph.output in one.shapes for one in seen):
            for n, size in zip(
                batches[3:], ((grid + 1, grid + 3), (grid + 7, grid - 5)), strict=True
            ):
                other = follow(graph, (n, channels, *size))
                if other is not None and graph.output in other.shapes:
                    seen.append(other)
            break
    known = [one for one in seen if one is not None and graph.output in one.shapes]
    if len(known) == len(seen):
        return known
    raise CheckpointError(
        "cannot be followed for images of other sizes than the file was written for: its graph "
        "fixes them, or its result's size depends on the image; export it with dynamic axes"
    )


def _output(graph: Editable, seen: list[Followed], dynamic: bool) -> tuple[int, int, bool]:
    """Scale, channels of the result, and whether these are its last axis.

    Raises:
        CheckpointError: the result is no image of `scale` times the size; gives the numbers.
    """
    pairs = [(one.shapes[graph.input], one.shapes[graph.output]) for one in seen]
    shape_in, shape_out = pairs[0]
    size = "×".join(map(str, shape_in[2:]))
    made = "×".join(map(str, shape_out))
    if len(shape_out) in (0, 1, 2):
        raise CheckpointError(
            f"makes {made or 'one'} numbers of an image, not an image: classification networks "
            "are not exported"
        )
    if len(shape_out) != 4:
        raise CheckpointError(
            f"makes a tensor of {counted(len(shape_out), 'axis', 'axes')} ({made}), not an image"
        )
    if shape_out[0] != shape_in[0]:
        freed = "; its graph fixes its size, leave out --dynamic" if dynamic else ""
        raise CheckpointError(
            f"makes {counted(shape_out[0], 'result')} of {counted(shape_in[0], 'image')}{freed}"
        )
    for last in (False, True):
        _, c, h, w = (shape_out[axis] for axis in (NHWC_TO_NCHW if last else (0, 1, 2, 3)))
        for scale in SCALES:
            if (h, w) == (scale * shape_in[2], scale * shape_in[3]):
                return scale, c, last
    raise CheckpointError(
        f"makes {made} of an image of {size}: sizes change otherwise than by a factor of "
        f"{', '.join(map(str, SCALES[:-1]))} or {SCALES[-1]}, as with convolutions without padding"
    )


def _explicit_padding(graph: Editable) -> None:
    """`SAME` means fixed numbers where a window moves by one pixel: write them down."""
    for node in graph.nodes:
        settings = attributes_of(node)
        mode = settings.get("auto_pad", "NOTSET")
        weights = graph.constants.get(node.input[1]) if len(node.input) > 1 else None
        side = settings.get("kernel_shape") or (
            list(weights.shape[2:]) if weights is not None else None
        )
        if node.op_type not in ("Conv", "MaxPool", "AveragePool") or mode == "NOTSET" or not side:
            continue
        if any(stride != 1 for stride in settings.get("strides", [1, 1])):
            continue
        dilations = settings.get("dilations", [1] * len(side))
        total = [d * (k - 1) for d, k in zip(dilations, side, strict=True)]
        if mode == "VALID":
            total = [0] * len(side)
        less, more = [t // 2 for t in total], [t - t // 2 for t in total]
        begin, end = (more, less) if mode == "SAME_LOWER" else (less, more)
        kept = [item for item in node.attribute if item.name not in ("auto_pad", "pads")]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("pads", [*begin, *end])])


def _plain_repetition(graph: Editable) -> None:
    """Write `tf_half_pixel_for_nn`, which tf2onnx uses, otherwise where it repeats pixels.

    ONNX gave it up with opset 13, and ONNX Runtime warns of it on standard error.
    """
    for node in graph.nodes:
        settings = attributes_of(node)
        if settings.get("coordinate_transformation_mode") != "tf_half_pixel_for_nn":
            continue
        scales = graph.constants.get(node.input[2]) if len(node.input) > 2 else None
        if scales is None or not scales.size or (scales != np.round(scales)).any():
            continue
        read = [taps(node.op_type, settings, Fraction(int(scale))) for scale in scales]
        if all(one == [[(0, 1.0)]] * int(scale) for one, scale in zip(read, scales, strict=True)):
            settings |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            del node.attribute[:]
            node.attribute.extend(helper.make_attribute(*item) for item in settings.items())


def _written(
    graph: Editable, channels: tuple[int, int], scale: int, fixed: tuple[int, int] | None
) -> onnx.ModelProto:
    """The graph as a file: names of tensors numbered, what it is stated."""
    graph.drop_unused()
    names = {graph.input: INPUT_ID, graph.output: OUTPUT_ID}
    for node in graph.nodes:
        for name in (*node.input, *node.output):
            if name and name not in names:
                stem = "w" if name in graph.constants else node.op_type.lower()
                names[name] = f"{stem}_{len(names)}"
    for index, node in enumerate(graph.nodes):
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, "")
        for place, name in enumerate(node.output):
            node.output[place] = names.get(name, "")
        node.name = f"{node.op_type.lower()}_{index}"
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    stored = [numpy_helper.from_array(v, names[n]) for n, v in graph.constants.items()]
    model = make_model(
        graph.nodes,
        stored,
        name="network",
        channels=channels,
        scale=scale,
        text="",
        axes=("batch", *(fixed or ("y", "x"))),
    )
    try:
        checker.check_model(model, full_check=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"does not pass ONNX's checker once lowered: {reason}") from None
    return model
