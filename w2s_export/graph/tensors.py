"""What is known of a tensor that is not computed: its shape, and where the image went."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import lcm, prod

from w2s_export.graph.reach import Reach, coarser, finer, joined, whole

CONSTANT = -1
"""Mark of a part that does not grow with the image: channels, heads, pixels of a window."""
_LARGEST_WINDOW = 1024
"""A part of an axis that is larger is no window but grows with the image."""

Part = tuple[int, int]
"""Size, and what it counts: 0 rows of the image, 1 columns, or CONSTANT."""
Axis = tuple[Part, ...]
"""Parts that are numbered together, the slowest first; an axis of one element has none."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Shape and origin of a tensor. `reach` is of the image's rows and columns; None sees none.

    An image axis that is marked nowhere in `axes` and is seen nevertheless is seen as a whole.
    """

    axes: tuple[Axis, ...]
    reach: tuple[Reach | None, Reach | None] = (None, None)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes at the size of image that is looked at."""
        return tuple(map(length, self.axes))

    @property
    def elements(self) -> int:
        """Number of elements at that size."""
        return prod(size for axis in self.axes for size, _ in axis)

    def marks(self) -> list[int]:
        """Image axes that lie along the tensor's."""
        return [mark for axis in self.axes for _, mark in axis if mark != CONSTANT]

    def with_axes(self, axes: Iterable[Axis]) -> Tensor:
        """Other axes; an image axis that these no longer mark is seen as a whole."""
        axes = tuple(axes)
        if axes == self.axes:
            return self
        kept = {mark for axis in axes for _, mark in axis}
        rows, columns = (
            reach if reach is None or image in kept else whole(reach.step)
            for image, reach in enumerate(self.reach)
        )
        return Tensor(axes, (rows, columns))

    def seeing_all(self, images: Iterable[int]) -> Tensor:
        """The same, every element seeing the whole of these image axes."""
        reach = list(self.reach)
        for image in images:
            found = reach[image]
            reach[image] = whole() if found is None else found.unbounded()
        return replace(self, reach=(reach[0], reach[1]))

    def with_reach(self, image: int, reach: Reach) -> Tensor:
        """The same, with this reach along one image axis."""
        both = (reach, self.reach[1]) if image == 0 else (self.reach[0], reach)
        return Tensor(self.axes, both)


def constant(shape: Iterable[int]) -> Tensor:
    """A tensor that depends on no pixel."""
    return Tensor(tuple(plain(size) for size in shape))


def plain(size: int) -> Axis:
    """An axis that does not grow with the image."""
    return ((size, CONSTANT),) if size != 1 else ()


def length(axis: Axis) -> int:
    """Elements of an axis."""
    return prod(size for size, _ in axis)


def marked(axes: Iterable[Axis]) -> set[int]:
    """Image axes that lie along these axes."""
    return {mark for axis in axes for _, mark in axis if mark != CONSTANT}


def seen_of(tensors: Iterable[Tensor]) -> set[int]:
    """Image axes that any of the tensors depends on."""
    return {i for tensor in tensors for i in (0, 1) if tensor.reach[i] is not None}


def combined(tensors: Sequence[Tensor], axes: Sequence[Axis] | None = None) -> Tensor:
    """Element by element of several, broadcast; or of these axes, where they are known."""
    if axes is None:
        rank = max(len(tensor.axes) for tensor in tensors)
        padded = [((),) * (rank - len(tensor.axes)) + tensor.axes for tensor in tensors]
        choice = [_broadcast(column) for column in zip(*padded, strict=True)]
        axes, conflicts = [axis for axis, _ in choice], {i for _, lost in choice for i in lost}
    else:
        conflicts = set()
    kept: set[int] = set()
    result = []
    for axis in axes:  # rows beside rows: attention between all pixels
        twice = marked([axis]) & kept
        conflicts |= twice
        kept |= marked([axis])
        result.append(axis if not twice else plain(length(axis)))
    rows, columns = (_joint_reach(tensors, image, image in kept, conflicts) for image in (0, 1))
    return Tensor(tuple(result), (rows, columns))


def _joint_reach(
    tensors: Sequence[Tensor], image: int, kept: bool, conflicts: set[int]
) -> Reach | None:
    placed: Reach | None = None
    lost: Reach | None = None
    for tensor in tensors:
        if kept and image in marked(tensor.axes):
            placed = joined(placed, tensor.reach[image])
        else:
            lost = joined(lost, tensor.reach[image])
    if placed is None:
        return lost and whole(lost.step)
    if lost is None and image not in conflicts:
        return placed
    return replace(placed, step=lcm(placed.step, lost.step if lost else 1)).unbounded()


def _broadcast(axes: Sequence[Axis]) -> tuple[Axis, set[int]]:
    """The axis that results, and image axes of which the inputs disagree where they lie."""
    first = axes[0]
    if all(axis == first for axis in axes):
        return first, set()
    candidates = [axis for axis in axes if axis]
    chosen = max(candidates, key=lambda axis: len(marked([axis])))
    wanted = marked([chosen])
    others = [axis for axis in candidates if axis != chosen]
    return chosen, {image for axis in others for image in wanted | marked([axis])}


def reshaped(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The same elements in another shape; rows and columns are followed where they stay whole.

    Windows keep the place of the window (all its pixels are taken to see what any of them sees),
    and pixels made of channels see what their channel saw.
    """
    if tensor.elements == 0:
        return constant(shape)
    rest = [part for axis in tensor.axes for part in axis][::-1]
    reach: list[Reach | None] = list(tensor.reach)
    axes: list[Axis] = []
    for size in shape:
        axis: list[Part] = []
        while size > 1 and rest:
            part, mark = rest.pop()
            if size % part == 0:
                size //= part
                axis.append((part, mark))
                continue
            inner = part // size
            if part % size or (mark != CONSTANT and inner > _LARGEST_WINDOW):
                return tensor.with_axes(map(plain, shape))
            found = reach[mark] if mark != CONSTANT else None
            if found is not None:
                reach[mark] = coarser(found, inner)
            axis.append((size, mark))
            rest.append((inner, CONSTANT))
            size = 1
        if size > 1:
            return tensor.with_axes(map(plain, shape))
        axes.append(_merged(axis, reach))
    return Tensor(tuple(axes), (reach[0], reach[1]))


def _merged(axis: Sequence[Part], reach: list[Reach | None]) -> Axis:
    """Constants behind a part become one with it; `reach` is updated."""
    merged: list[Part] = []
    for size, mark in axis:
        if merged and mark == CONSTANT:
            before, kind = merged[-1]
            found = reach[kind] if kind != CONSTANT else None
            if found is not None:
                reach[kind] = finer(found, size)
            merged[-1] = before * size, kind
        else:
            merged.append((size, mark))
    return tuple(merged)
