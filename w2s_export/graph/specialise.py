"""Finds out what of a graph's arithmetic on sizes is constant, by following it for several sizes.

Converters write sizes as programs: Shape, Slice, Mul, Concat around one Reshape. Followed for an
image of one size, all of that becomes numbers; what is the same number for every size, or the same
part of the tensor's own size, can be written down as such and the program dropped. Nothing of the
network is computed: only shapes, and integers that come from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import defs, helper, numpy_helper, shape_inference

from w2s_export.graph.editing import Editable, attributes_of, evaluate, make

_LONGEST = 64
"""Numbers in a vector of sizes; whatever is longer is data."""
_END = np.iinfo(np.int64).max

Shape = tuple[int, ...]


@dataclass(slots=True)
class Followed:
    """A graph followed for one size of image."""

    shapes: dict[str, Shape] = field(default_factory=dict)
    types: dict[str, onnx.TypeProto] = field(default_factory=dict)
    values: dict[str, NDArray[Any]] = field(default_factory=dict)
    """Integers that follow from the size alone."""


def follow(graph: Editable, shape: Shape) -> Followed | None:
    """Shapes and integers for an input of this shape; None where the graph cannot take it."""
    seen = Followed()
    for name, value in graph.constants.items():
        _note(seen, name, value)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(np.float32))
    seen.types[graph.input] = helper.make_tensor_type_proto(kind, shape)
    seen.shapes[graph.input] = shape
    try:
        for node in graph.nodes:
            _step(seen, node)
    except Exception:  # ONNX's own checks of shapes raise errors of several classes
        return None
    return seen


def _note(seen: Followed, name: str, value: NDArray[Any]) -> None:
    seen.shapes[name] = value.shape
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    seen.types[name] = helper.make_tensor_type_proto(kind, value.shape)
    if value.size <= _LONGEST:
        seen.values[name] = value


def _step(seen: Followed, node: onnx.NodeProto) -> None:
    names = [name for name in node.input if name]
    if node.op_type in ("Shape", "Size"):
        if names[0] in seen.shapes:
            whole = np.array(seen.shapes[names[0]], np.int64)
            start, end = (attributes_of(node).get(key) for key in ("start", "end"))
            sizes = whole[slice(start or 0, end)]
            value = np.array(whole.prod(), np.int64) if node.op_type == "Size" else sizes
            _note(seen, node.output[0], value)
        return
    if names and all(name in seen.values for name in names):
        values = evaluate(node, seen.values)
        for name, value in zip([name for name in node.output if name], values, strict=True):
            _note(seen, name, value)
        return
    types = {name: seen.types[name] for name in names if name in seen.types}
    if len(types) < len(set(names)):
        return
    data = {n: numpy_helper.from_array(seen.values[n], n) for n in names if n in seen.values}
    found = shape_inference.infer_node_outputs(
        defs.get_schema(node.op_type, 17),
        node,
        types,
        data or None,
        None,
        [helper.make_opsetid("", 17)],
        8,
    )
    for name, kind in found.items():
        seen.types[name] = kind
        sizes = kind.tensor_type.shape.dim
        if kind.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in sizes):
            seen.shapes[name] = tuple(d.dim_value for d in sizes)


def settle_sizes(graph: Editable, seen: Sequence[Followed]) -> None:
    """Replace arithmetic on sizes by what it comes to for every size, in place.

    The graph was followed for sizes that differ in all dynamic axes.
    """
    for node in list(graph.nodes):
        for place, name in enumerate(node.input):
            if not name or name in graph.constants or node.op_type in ("Shape", "Size"):
                continue
            values = [one.values.get(name) for one in seen]
            if any(value is None for value in values):
                continue
            known = [value for value in values if value is not None]
            if _same(known):
                node.input[place] = graph.constant(known[0])
            elif (general := _general(node, place, known, seen)) is not None:
                node.input[place] = graph.constant(general)
        if node.op_type == "Resize":
            _settle_resize(graph, node, seen)


def _same(values: Sequence[NDArray[Any]]) -> bool:
    first = values[0]
    return all(v.shape == first.shape and np.array_equal(v, first) for v in values)


def _general(
    node: onnx.NodeProto, place: int, values: Sequence[NDArray[Any]], seen: Sequence[Followed]
) -> NDArray[Any] | None:
    """What a varying vector of sizes is, in terms of the shape of the node's own input."""
    sizes = [one.shapes.get(node.input[0]) for one in seen]
    if any(size is None for size in sizes) or len({v.shape for v in values}) > 1:
        return None
    shapes = [size for size in sizes if size is not None]
    if node.op_type == "Reshape" and place == 1 and not attributes_of(node).get("allowzero"):
        return _reshape_target(values, shapes)
    if node.op_type == "Expand" and place == 1:
        return _expand_target(values, shapes)
    if node.op_type == "Slice" and place == 2:
        return _slice_ends(node, values, shapes, seen)
    return None


def _reshape_target(
    values: Sequence[NDArray[Any]], shapes: Sequence[Shape]
) -> NDArray[np.int64] | None:
    """Each size as it is, 0 for the input's own, -1 for at most one other."""
    target: list[int] = []
    for axis in range(values[0].size):
        found = [int(value[axis]) for value in values]
        own = [shape[axis] if axis < len(shape) else None for shape in shapes]
        target.append(found[0] if len(set(found)) == 1 else 0 if found == own else -1)
    return np.array(target, np.int64) if target.count(-1) <= 1 else None


def _expand_target(
    values: Sequence[NDArray[Any]], shapes: Sequence[Shape]
) -> NDArray[np.int64] | None:
    """Sizes that the input has already need not be asked for."""
    target: list[int] = []
    for axis in range(-values[0].size, 0):
        found = [int(value[axis]) for value in values]
        own = [shape[axis] if -axis <= len(shape) else None for shape in shapes]
        if len(set(found)) > 1 and found != own:
            return None
        target.append(1 if found == own else found[0])
    return np.array(target, np.int64)


def _slice_ends(
    node: onnx.NodeProto,
    values: Sequence[NDArray[Any]],
    shapes: Sequence[Shape],
    seen: Sequence[Followed],
) -> NDArray[np.int64] | None:
    """An end as it is, to the end of the axis, or so many before it."""
    rank = len(shapes[0])
    axes = seen[0].values.get(node.input[3]) if len(node.input) > 3 else np.arange(rank)
    if axes is None:
        return None
    ends: list[int] = []
    for place, axis in enumerate(axes):
        found = [int(value[place]) for value in values]
        behind = [end - shape[int(axis)] for end, shape in zip(found, shapes, strict=True)]
        if len(set(found)) == 1:
            ends.append(found[0])
        elif min(behind) >= 0:
            ends.append(_END)
        elif len(set(behind)) == 1 and min(found) >= 0:
            ends.append(behind[0])
        else:
            return None
    return np.array(ends, np.int64)


def _settle_resize(graph: Editable, node: onnx.NodeProto, seen: Sequence[Followed]) -> None:
    """Factors instead of sizes, where they are the same for every size."""
    if len(node.input) < 4 or not node.input[3]:
        return
    factors = []
    for one in seen:
        before, after = one.shapes.get(node.input[0]), one.values.get(node.input[3])
        if before is None or after is None or after.size != len(before):
            return
        factors.append(after / np.array(before))
    if _same(factors):
        del node.input[2:]
        node.input.append(graph.constant(factors[0].astype(np.float32)))


def drop_what_does_nothing(graph: Editable, seen: Sequence[Followed]) -> None:
    """Remove nodes that give back what they take, for every size; cut transposed convolutions."""
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        source = node.input[0] if node.input else ""
        if not source or not node.output:
            continue
        made = node.output[0]
        kind, settings = node.op_type, attributes_of(node)
        shapes = [(one.shapes.get(source), one.shapes.get(made)) for one in seen]
        same = bool(seen) and all(a is not None and a == b for a, b in shapes)
        constants = [graph.constants.get(name) for name in node.input[1:]]
        if kind == "Cast":
            types = [one.types.get(source) for one in seen]
            same = bool(seen) and all(
                t is not None and t.tensor_type.elem_type == settings["to"] for t in types
            )
        elif kind in ("Identity", "Dropout"):
            same = True
        elif kind == "Concat":
            same = len(node.input) == 1
        elif kind == "Transpose":
            same = list(settings.get("perm", [1])) == list(range(len(settings.get("perm", [1]))))
        elif kind == "Slice":
            steps = constants[3] if len(constants) > 3 else np.ones(1)
            same = same and steps is not None and bool((np.asarray(steps) == 1).all())
        elif kind == "Pad":
            same = constants[0] is not None and not constants[0].any()
        elif kind == "Resize":
            scales = constants[1] if len(constants) > 1 else None
            same = same and scales is not None and bool((scales == 1).all())
        elif kind not in ("Reshape", "Expand", "Tile", "Squeeze", "Unsqueeze", "Flatten"):
            same = False
        if same:
            renamed[made] = source
    graph.nodes = [node for node in graph.nodes if not (node.output and node.output[0] in renamed)]
    graph.replace(renamed)
    _cut_transposed_convolutions(graph, helper)


def _cut_transposed_convolutions(graph: Editable, helper: Any) -> None:
    """A cropped transposed convolution is one with as much padding."""
    uses, producers = graph.uses(), graph.producers()
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        before = producers.get(node.input[0]) if node.op_type == "Slice" else None
        if before is None or before.op_type != "ConvTranspose" or uses[node.input[0]] > 1:
            continue
        settings = attributes_of(before)
        parts = [graph.constants.get(name) for name in node.input[1:4]]
        if any(part is None for part in parts) or settings.get("auto_pad", "NOTSET") != "NOTSET":
            continue
        starts, ends, axes = (np.asarray(part) for part in parts)
        cuts = np.zeros((2, 4), np.int64)
        cuts[0, axes] = starts
        cuts[1, axes] = np.where(ends == _END, 0, -ends)
        if (cuts < 0).any() or cuts[:, :2].any() or "output_shape" in settings:
            continue
        pads = np.array(settings.get("pads", [0] * 4)) + cuts[:, 2:].reshape(-1)
        for item in [item for item in before.attribute if item.name == "pads"]:
            before.attribute.remove(item)
        before.attribute.append(helper.make_attribute("pads", [int(pad) for pad in pads]))
        renamed[node.output[0]] = node.input[0]
    graph.nodes = [node for node in graph.nodes if node.output[0] not in renamed]
    graph.replace(renamed)


_MOVES = {"Reshape", "Transpose", "Tile", "Unsqueeze", "Squeeze", "Expand", "Identity"}
_MOST_ELEMENTS = 1 << 23


def name_moves(graph: Editable, seen: Sequence[Followed]) -> None:
    """Replace chains of Tile, Reshape and others by the one Transpose and Resize they come to.

    What a chain does is not guessed: it only moves and repeats elements, so it is run on their
    numbers, for every size that was followed.
    """
    producers, uses = graph.producers(), graph.uses()
    done: set[str] = set()
    for node in reversed(graph.nodes):
        if node.op_type not in _MOVES or node.output[0] in done:
            continue
        chain = [node]
        while (before := producers.get(chain[0].input[0])) and before.op_type in _MOVES:
            if uses[before.output[0]] > 1 and not _only_shapes(graph, before.output[0]):
                break
            chain.insert(0, before)
        if all(link.op_type == "Transpose" for link in chain):
            continue
        for first in range(len(chain)):
            found = _move(graph, chain[first:], seen)
            if found is not None:
                place = graph.nodes.index(chain[-1])
                source, made = chain[first].input[0], chain[-1].output[0]
                graph.nodes[place : place + 1] = _moved(graph, source, made, *found)
                done.update(name for link in chain for name in link.output)
                break


def _moved(
    graph: Editable, source: str, made: str, perm: Shape, factor: Shape
) -> list[onnx.NodeProto]:
    turned = made if max(factor) == 1 else graph.new_name("turned")
    nodes = [make("Transpose", [source], turned, perm=perm)]
    if max(factor) > 1:
        scales = graph.constant(np.array(factor, np.float32))
        nodes.append(
            make(
                "Resize", [turned, "", scales], made, mode="nearest",
                coordinate_transformation_mode="asymmetric", nearest_mode="floor",
            )
        )  # fmt: skip
    return nodes


def _only_shapes(graph: Editable, name: str) -> bool:
    """Whether one node uses the elements of a tensor, and the others ask for its shape."""
    users = [node.op_type for node in graph.nodes if name in node.input]
    return sum(kind != "Shape" for kind in users) == 1 and name != graph.output


def _move(
    graph: Editable, chain: Sequence[onnx.NodeProto], seen: Sequence[Followed]
) -> tuple[Shape, Shape] | None:
    """Order of axes and factors along them that give what the chain gives; None if none do."""
    source, made = chain[0].input[0], chain[-1].output[0]
    fits: set[tuple[Shape, Shape]] | None = None
    for one in seen:
        before, after = one.shapes.get(source), one.shapes.get(made)
        if before is None or after is None or len(before) != 4 or len(after) != 4:
            return None
        here = set()
        for perm in permutations(range(4)):
            turned = [before[axis] for axis in perm]
            if all(b and a % b == 0 for a, b in zip(after, turned, strict=True)):
                factor = tuple(a // b for a, b in zip(after, turned, strict=True))
                here.add((perm, factor))
        fits = here if fits is None else fits & here
    for perm, factor in sorted(fits or ()):
        if all(_gives(graph, chain, one, perm, factor) for one in seen):
            return perm, factor
    return None


def _gives(
    graph: Editable, chain: Sequence[onnx.NodeProto], one: Followed, perm: Shape, factor: Shape
) -> bool:
    before = one.shapes[chain[0].input[0]]
    if int(np.prod(before)) * int(np.prod(factor)) > _MOST_ELEMENTS:
        return False
    numbers = np.arange(int(np.prod(before)), dtype=np.int32).reshape(before)
    values: Mapping[str, NDArray[Any]] = {chain[0].input[0]: numbers}
    for link in chain:
        needed = {
            name: graph.constants.get(name, one.values.get(name)) for name in link.input[1:] if name
        }
        if any(value is None for value in needed.values()):
            return False
        inputs = {n: v for n, v in needed.items() if v is not None}
        (result,) = evaluate(link, {**inputs, link.input[0]: values[link.input[0]]})
        values = {link.output[0]: result}
    expected = numbers.transpose(perm)
    for axis, times in enumerate(factor):
        expected = expected.repeat(times, axis)
    return np.array_equal(values[chain[-1].output[0]], expected)
