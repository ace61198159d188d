"""Follows an image through an ONNX graph without running it: one function per kind of operation.

Every size is computed for one very large image, whose height and width are multiples of all small
numbers. Sizes that the graph computes are then plain numbers, and nothing is ever rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import W2SExportError
from w2s_export.graph.reach import shifted
from w2s_export.graph.tensors import (
    Axis,
    Tensor,
    combined,
    constant,
    length,
    marked,
    plain,
    reshaped,
    seen_of,
)

_EDGE = 4096
"""A slice that leaves out more at an end than this does not keep the image."""


class GraphError(W2SExportError):
    """A graph that is no image-to-image network this tool can follow."""


@dataclass(frozen=True, slots=True)
class Node:
    """An operation with its attributes read, and what goes in. Inputs left out are None."""

    kind: str
    name: str
    attributes: Mapping[str, Any]
    inputs: tuple[Tensor | None, ...]
    constants: tuple[NDArray[Any] | None, ...]
    """Values of small inputs, where they depend on nothing but the image's size."""
    outputs: int

    @property
    def first(self) -> Tensor:
        """The input that most operations have alone."""
        return self.input(0)

    def input(self, index: int) -> Tensor:
        """An input that must be there."""
        if index < len(self.inputs) and (tensor := self.inputs[index]) is not None:
            return tensor
        raise GraphError(f"operation '{self.name}' ({self.kind}) lacks its input {index + 1}")

    def given(self) -> list[Tensor]:
        """Inputs that are not left out."""
        return [tensor for tensor in self.inputs if tensor is not None]

    def integers(self, attribute: str, index: int) -> list[int] | None:
        """Axes, sizes and the like: an attribute, an input in newer versions, or left out."""
        if attribute in self.attributes:
            return [int(item) for item in np.ravel(self.attributes[attribute])]
        if index >= len(self.inputs) or self.inputs[index] is None:
            return None
        value = self.constants[index]
        if value is None:
            raise GraphError(f"operation '{self.name}' ({self.kind}): its {attribute} are computed")
        return [int(item) for item in value.ravel()]


Sources = Callable[[int], Sequence[int]]
"""Elements of an axis that an element of the next tensor reads."""
Rule = Callable[[Node], Tensor | list[Tensor]]


def elementwise(node: Node) -> Tensor:
    """Every element from the elements beside it, broadcast."""
    return combined(node.given())


def first_input(node: Node) -> Tensor:
    """Element by element of the first input; the others are parameters."""
    return node.first


def along(x: Tensor, axis: int, size: int, ratio: Fraction, sources: Sources) -> Tensor:
    """One axis read anew: see `Reach.read`. An axis of mixed origin is seen as a whole."""
    parts = x.axes[axis]
    images = marked([parts])
    if len(parts) == 1 and images:
        (image,) = images
        if (reach := x.reach[image]) is not None:
            x = x.with_reach(image, reach.read(ratio, sources))
        new: Axis = ((size, image),)
        return Tensor((*x.axes[:axis], new, *x.axes[axis + 1 :]), x.reach)
    return x.with_axes((*x.axes[:axis], plain(size), *x.axes[axis + 1 :]))


def pad(node: Node) -> Tensor:
    """Pad: pixels added or, where negative, cut off."""
    x = node.first
    pads = node.integers("pads", 1)
    axes = node.integers("axes", 3) or list(range(len(x.axes)))
    if pads is None:
        raise GraphError(f"operation '{node.name}' (Pad) has no pads")
    for i, axis in enumerate(axes):
        before, after = pads[i], pads[i + len(axes)]
        if before or after:
            size = length(x.axes[axis]) + before + after
            x = along(x, axis, size, Fraction(1), _moved(before))
    return x


def _moved(by: int) -> Sources:
    return lambda i: (i - by,)


def slices(node: Node) -> Tensor:
    """Slice: a margin cut off keeps the image's place; anything else does not."""
    x = node.first
    starts, ends = node.integers("starts", 1), node.integers("ends", 2)
    axes = node.integers("axes", 3) or list(range(len(starts or ())))
    steps = node.integers("steps", 4) or [1] * len(axes)
    for start, end, axis, step in zip(starts or (), ends or (), axes, steps, strict=True):
        size = length(x.axes[axis])
        taken = range(size)[slice(start, end if end >= -size else None, step)]
        x = _cut(x, axis % len(x.axes), taken)
    return x


def _cut(x: Tensor, axis: int, taken: range) -> Tensor:
    parts = x.axes[axis]
    size = length(parts)
    if taken == range(size):
        return x
    edges = taken.step > 0 and taken.start <= _EDGE and size - taken.stop <= _EDGE
    if len(parts) == 1 and marked([parts]) and edges and size > 2 * _EDGE:
        ((_, image),) = parts
        if (reach := x.reach[image]) is not None:
            x = x.with_reach(image, shifted(reach, taken.start, taken.step))
        return Tensor((*x.axes[:axis], ((len(taken), image),), *x.axes[axis + 1 :]), x.reach)
    return x.with_axes((*x.axes[:axis], plain(len(taken)), *x.axes[axis + 1 :]))


def split(node: Node) -> list[Tensor]:
    """Split along one axis."""
    x, axis = node.first, node.attributes.get("axis", 0)
    size, axis = length(x.axes[axis]), axis % len(x.axes)
    each = -(-size // node.outputs)
    sizes = node.integers("split", 1) or [min(each, size - i * each) for i in range(node.outputs)]
    starts = np.cumsum([0, *sizes]).tolist()
    return [_cut(x, axis, range(a, b)) for a, b in pairwise(starts)]


def concat(node: Node) -> Tensor:
    """Concat: pieces of the image put together in another order are no longer followed."""
    tensors = node.given()
    axis = node.attributes["axis"] % len(tensors[0].axes)
    total = sum(length(tensor.axes[axis]) for tensor in tensors)
    if len(tensors) == 1:
        return tensors[0]

    def with_axis(tensor: Tensor, new: Axis) -> Tensor:
        return tensor.with_axes((*tensor.axes[:axis], new, *tensor.axes[axis + 1 :]))

    return with_axis(combined([with_axis(tensor, ()) for tensor in tensors]), plain(total))


def gather(node: Node) -> Tensor:
    """Gather along one axis."""
    x, indices = node.first, node.input(1)
    axis = node.attributes.get("axis", 0) % len(x.axes)
    result = x.with_axes((*x.axes[:axis], *indices.axes, *x.axes[axis + 1 :]))
    return result.seeing_all(seen_of([indices]))


def scattered(node: Node) -> Tensor:
    """ScatterND, ScatterElements: values written at places that are not followed."""
    together = combined(node.given(), node.first.axes)
    return together.seeing_all(seen_of(node.given()))


def gathered_elements(node: Node) -> Tensor:
    """GatherElements: the shape of its indices, from anywhere."""
    return combined(node.given(), [plain(size) for size in node.input(1).shape])


def grid_sample(node: Node) -> Tensor:
    """GridSample: (N, C) of the image, rows and columns of the grid, from anywhere."""
    shape = (*node.first.shape[:2], *node.input(1).shape[1:-1])
    return combined(node.given(), [plain(size) for size in shape])


def reduction(node: Node) -> Tensor:
    """ReduceMean and its like: all of these axes become one element."""
    x = node.first
    axes = node.integers("axes", 1)
    if axes is None:
        if node.attributes.get("noop_with_empty_axes"):
            return x
        axes = [node.attributes["axis"]] if "axis" in node.attributes else []
    gone = {axis % len(x.axes) for axis in axes or range(len(x.axes))}
    if node.attributes.get("keepdims", 1):
        return x.with_axes(() if i in gone else axis for i, axis in enumerate(x.axes))
    return x.with_axes(axis for i, axis in enumerate(x.axes) if i not in gone)


def global_pooling(node: Node) -> Tensor:
    """One element per channel."""
    return node.first.with_axes(axis if i < 2 else () for i, axis in enumerate(node.first.axes))


def over_axes(start: int, *, to_end: bool) -> Rule:
    """Softmax, LayerNormalization and the like: elements of these axes depend on each other."""

    def rule(node: Node) -> Tensor:
        x = node.first
        axis = node.attributes.get("axis", start) % len(x.axes)
        together = x.axes[axis:] if to_end else x.axes[axis : axis + 1]
        return x.seeing_all(marked(together))

    return rule


def transpose(node: Node) -> Tensor:
    """Transpose."""
    x = node.first
    order = node.attributes.get("perm") or range(len(x.axes))[::-1]
    return Tensor(tuple(x.axes[i] for i in order), x.reach)


def reshape(node: Node) -> Tensor:
    """Reshape, to sizes that the graph may compute."""
    x, wanted = node.first, node.integers("shape", 1) or []
    keep = not node.attributes.get("allowzero")
    sizes = [x.shape[i] if size == 0 and keep else size for i, size in enumerate(wanted)]
    if -1 in sizes:
        sizes[sizes.index(-1)] = x.elements // prod(size for size in sizes if size != -1)
    return reshaped(x, sizes)


def flatten(node: Node) -> Tensor:
    """Flatten to two axes."""
    shape, axis = node.first.shape, node.attributes.get("axis", 1)
    axis = axis % len(shape) if axis < 0 else axis
    return reshaped(node.first, [prod(shape[:axis]), prod(shape[axis:])])


def squeeze(node: Node) -> Tensor:
    """Axes of one element left out."""
    x = node.first
    axes = node.integers("axes", 1)
    gone = (
        {axis % len(x.axes) for axis in axes}
        if axes
        else {i for i, axis in enumerate(x.axes) if not axis}
    )
    return Tensor(tuple(axis for i, axis in enumerate(x.axes) if i not in gone), x.reach)


def unsqueeze(node: Node) -> Tensor:
    """Axes of one element put in."""
    new = node.integers("axes", 1) or []
    rank = len(node.first.axes) + len(new)
    places, axes = {axis % rank for axis in new}, iter(node.first.axes)
    return Tensor(tuple(() if i in places else next(axes) for i in range(rank)), node.first.reach)


def expand(node: Node) -> Tensor:
    """Expand to a shape, or a constant of a shape."""
    shape = node.integers("shape", 0 if node.kind == "ConstantOfShape" else 1) or []
    if node.kind == "ConstantOfShape":
        return constant(shape)
    x = node.first
    axes = ((),) * (len(shape) - len(x.axes)) + x.axes
    ones = (1,) * (len(axes) - len(shape)) + tuple(shape)
    return Tensor(
        tuple(axis or plain(size) for axis, size in zip(axes, ones, strict=True)), x.reach
    )


def tile(node: Node) -> Tensor:
    """Tile: repeats."""
    x, repeats = node.first, node.integers("repeats", 1) or []
    return x.with_axes(
        axis if times == 1 else plain(length(axis) * times)
        for axis, times in zip(x.axes, repeats, strict=True)
    )


def arange(node: Node) -> Tensor:
    """Range between numbers that the graph computes."""
    bounds = [float(value) for value in node.constants if value is not None]
    if len(bounds) != 3:
        raise GraphError(f"operation '{node.name}' (Range): its length is unknown")
    start, limit, delta = bounds
    return constant([max(int(-((start - limit) // delta)), 0)])


def einsum(node: Node) -> Tensor:
    """Einsum: products of every axis named alike, summed over those that the result lacks."""
    terms, _, result = node.attributes["equation"].replace(" ", "").partition("->")
    names = terms.split(",")
    if not result or "." in terms:
        raise GraphError(f"operation '{node.name}' (Einsum): '{terms}' is not followed")
    aligned = []
    for letters, tensor in zip(names, node.given(), strict=True):
        axes = dict(zip(letters, tensor.axes, strict=True))
        aligned.append(tensor.with_axes(axes.get(letter, ()) for letter in result))
    return combined(aligned)


def matrix_product(node: Node) -> Tensor:
    """MatMul, Gemm: rows of the first by columns of the second, all of the axis between."""
    first, second = node.first, node.input(1)
    if node.attributes.get("transA"):
        first = Tensor(first.axes[::-1], first.reach)
    if node.attributes.get("transB"):
        second = Tensor(second.axes[::-1], second.reach)
    if len(first.axes) < 2 or len(second.axes) < 2:
        raise GraphError(f"operation '{node.name}' ({node.kind}) multiplies vectors")
    left = first.with_axes((*first.axes[:-1], ()))
    right = second.with_axes((*second.axes[:-2], (), second.axes[-1]))
    return combined([left, right])
