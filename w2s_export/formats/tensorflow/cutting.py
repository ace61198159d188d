"""Operations that take parts of a tensor, or put something around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from w2s_export.formats.tensorflow.values import (
    TO_LAST,
    Operation,
    Rule,
    Value,
    kept,
    made,
    size_of,
    stored_axis,
)


def _split(operation: Operation) -> list[Value]:
    x = operation.first
    axis = operation.attributes.get("axis", 0)
    size = x.sizes[axis % x.rank]
    parts = operation.integers("split", 1)
    if parts is None:
        if size is None:
            operation.refuse("along an axis of unknown size")
        each = -(-size // operation.outputs)
        parts = [min(each, size - i * each) for i in range(operation.outputs)]
    pieces = tf.raw_ops.SplitV(
        value=kept(x),
        size_splits=np.array(parts, np.int32),
        axis=stored_axis(x, axis),
        num_split=len(parts),
    )
    return [made(operation, piece, last=x.last) for piece in pieces]


def _slice(operation: Operation) -> Value:
    """Slice, with bounds the graph may compute."""
    x = operation.first
    starts, ends = operation.input(1), operation.input(2)
    count = starts.sizes[0]
    axes = operation.integers("axes", 3) or list(range(count or 0))
    steps = operation.integers("steps", 4) or [1] * len(axes)
    index: list[Any] = [slice(None)] * x.rank
    for i, (axis, step) in enumerate(zip(axes, steps, strict=True)):
        start, end = _bound(starts, i), _bound(ends, i)
        if step < 0 and isinstance(end, int) and end < -(1 << 30):
            end = None  # before the first element
        index[stored_axis(x, axis)] = slice(start, end, step)
    return made(operation, kept(x)[tuple(index)], last=x.last)


def _bound(value: Value, index: int) -> Any:
    limit = (1 << 31) - 1
    if value.array is None:
        lowest, highest = np.int64(-limit), np.int64(limit)
        bounded = tf.minimum(tf.maximum(value.natural()[index], lowest), highest)
        return tf.cast(bounded, tf.int32)
    return int(np.clip(value.array[index], -limit, limit))


def _gather(operation: Operation) -> Value:
    x, indices = operation.first, operation.input(1)
    axis = operation.attributes.get("axis", 0) % x.rank
    if indices.array is not None and (indices.array < 0).any():
        size = x.sizes[axis]
        if size is None:
            places: Any = indices.natural()
            places = tf.where(places < 0, places + tf.cast(size_of(x, axis), places.dtype), places)
        else:
            places = np.where(indices.array < 0, indices.array + size, indices.array)
    else:
        places = indices.natural()
    if indices.rank == 1 and x.last:
        gathered = tf.gather(x.tensor, places, axis=stored_axis(x, axis))
        return made(operation, gathered, last=True)
    return made(operation, tf.gather(x.natural(), places, axis=axis))


def _gather_nd(operation: Operation) -> Value:
    if operation.attributes.get("batch_dims"):
        operation.refuse("with batch axes")
    params, indices = (value.natural() for value in operation.given())
    return made(operation, tf.raw_ops.GatherNd(params=params, indices=indices))


def _scatter(operation: Operation) -> Value:
    if operation.attributes.get("reduction", "none") != "none":
        operation.refuse("with a reduction")
    data, indices, updates = (value.natural() for value in operation.given())
    return made(
        operation, tf.raw_ops.TensorScatterUpdate(tensor=data, indices=indices, updates=updates)
    )


def _pad(operation: Operation) -> Value:
    """Pad; a negative number cuts off."""
    x = operation.first
    mode = operation.attributes.get("mode", "constant")
    given = operation.optional(1)
    if given is not None and given.array is None:
        if operation.optional(3) is not None:
            operation.refuse("of chosen axes by computed numbers")
        pairs = tf.transpose(tf.reshape(given.natural(), (2, x.rank)))
        pairs = tf.gather(pairs, np.array(TO_LAST)) if x.last else pairs
        return made(operation, _padded(operation, kept(x), pairs, mode), last=x.last)
    pads = operation.integers("pads", 1) or []
    axes = operation.integers("axes", 3) or list(range(x.rank))
    widths = np.zeros((x.rank, 2), np.int32)
    for i, axis in enumerate(axes):
        widths[stored_axis(x, axis)] = pads[i], pads[i + len(axes)]
    tensor = kept(x)
    if (widths < 0).any():
        cut = tuple(slice(max(-a, 0), min(b, 0) or None) for a, b in widths.tolist())
        tensor = tensor[cut]
    widths = np.maximum(widths, 0)
    if mode == "edge":
        return made(operation, _edges(tensor, widths), last=x.last)
    return made(operation, _padded(operation, tensor, widths, mode), last=x.last)


def _padded(operation: Operation, tensor: tf.Tensor, widths: Any, mode: str) -> tf.Tensor:
    if mode == "reflect":
        return tf.raw_ops.MirrorPad(input=tensor, paddings=widths, mode="REFLECT")
    if mode != "constant":
        operation.refuse(f"in mode '{mode}' by computed numbers")
    value = operation.array(2)
    if value is None or not value.size or not np.any(value):
        return tf.raw_ops.Pad(input=tensor, paddings=widths)
    filled = np.array(value.reshape(()), tensor.dtype.as_numpy_dtype)
    return tf.raw_ops.PadV2(input=tensor, paddings=widths, constant_values=filled)


def _edges(tensor: tf.Tensor, widths: Any) -> tf.Tensor:
    """The outermost elements, again and again."""
    for axis, (before, after) in enumerate(widths.tolist()):
        if before or after:
            size = tf.shape(tensor)[axis]
            places = tf.range(-before, size + after)
            places = tf.minimum(tf.maximum(places, 0), size - 1)
            tensor = tf.gather(tensor, places, axis=axis)
    return tensor


CUTTING: Mapping[str, Rule] = {
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Pad": _pad,
    "ScatterND": _scatter,
    "Slice": _slice,
    "Split": _split,
}
