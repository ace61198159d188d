"""Operations that name axes: joining, reducing, reshaping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from w2s_export.formats.tensorflow.values import (
    TO_LAST,
    TO_SECOND,
    Operation,
    Rule,
    Value,
    kept,
    made,
    size_of,
    sizes_of,
    stored_axis,
)

if TYPE_CHECKING:
    pass


def _concat(operation: Operation) -> Value:
    values = operation.given()
    last = any(value.last for value in values)
    axis = operation.attributes["axis"]
    if last:
        tensors, axis = [v.channels_last() for v in values], TO_LAST.index(axis % 4)
    else:
        tensors, axis = [v.natural() for v in values], axis % values[0].rank
    return made(operation, tf.concat(tensors, axis, name=operation.label), last=last)


def _reduce(kind: str, *, before: str = "", after: str = "", pixels: bool = False) -> Rule:
    """A reduction by the TensorFlow operation `kind`, elements changed before and after.

    Of the named axes, or of all `pixels` as global pooling does.
    """

    def rule(operation: Operation) -> Value:
        x, raw = operation.first, tf.raw_ops
        axes = list(range(2, x.rank)) if pixels else operation.integers("axes", 1)
        if not axes:
            if operation.attributes.get("noop_with_empty_axes"):
                return x
            axes = list(range(x.rank))
        keep = bool(operation.attributes.get("keepdims", 1))
        places = [axis % x.rank for axis in axes]
        last = x.last and keep
        # Without its axes an image keeps ONNX's order if all of H and W go, or the channels alone.
        ordered = last or (x.last and ({2, 3} <= set(places) or set(places) == {1}))
        tensor = x.tensor if ordered else x.natural()
        if ordered:
            places = [stored_axis(x, axis) for axis in places]
        tensor = getattr(raw, before)(x=tensor) if before else tensor
        tensor = getattr(raw, kind)(
            input=tensor, axis=np.array(sorted(places), np.int32), keep_dims=keep
        )
        return made(operation, getattr(raw, after)(x=tensor) if after else tensor, last=last)

    return rule


def _softmax(kind: str) -> Rule:
    def rule(operation: Operation) -> Value:
        x = operation.first
        axis = stored_axis(x, operation.attributes.get("axis", -1))
        tensor, rank = kept(x), x.rank
        order = [i for i in range(rank) if i != axis] + [axis]
        write = getattr(tf.raw_ops, kind)
        if axis == rank - 1:
            return made(operation, write(logits=tensor), last=x.last)
        turned = write(logits=tf.transpose(tensor, order))
        return made(operation, tf.transpose(turned, np.argsort(order)), last=x.last)

    return rule


def _transpose(operation: Operation) -> Value:
    """Transpose; to and from the channels last it costs nothing where an image is kept so."""
    x = operation.first
    order = list(operation.attributes.get("perm") or range(x.rank)[::-1])
    places = [stored_axis(x, axis) for axis in order]
    if places == list(range(x.rank)):
        return Value(operation.name, x.tensor)
    if not x.last and tuple(order) == TO_SECOND:
        return Value(operation.name, x.natural(), last=True)
    return made(operation, tf.transpose(kept(x), places, name=operation.label))


def _reshape(operation: Operation) -> Value:
    x, wanted = operation.first, operation.input(1)
    if wanted.array is None:
        return made(operation, tf.reshape(x.natural(), wanted.natural()))
    sizes = [int(size) for size in wanted.array]
    if 0 not in sizes or operation.attributes.get("allowzero"):
        return made(operation, tf.reshape(x.natural(), sizes))
    known = x.sizes
    filled = [known[i] if size == 0 else size for i, size in enumerate(sizes)]
    if filled.count(None) == 1 and -1 not in filled:
        filled[filled.index(None)] = -1
    if None not in filled:
        return made(operation, tf.reshape(x.natural(), filled))
    shape = tf.stack([size_of(x, i) if s is None else np.int64(s) for i, s in enumerate(filled)])
    return made(operation, tf.reshape(x.natural(), shape))


def _flatten(operation: Operation) -> Value:
    x, axis = operation.first, operation.attributes.get("axis", 1)
    shape = sizes_of(x)
    front = tf.reduce_prod(shape[: axis % x.rank if axis < 0 else axis])
    return made(operation, tf.reshape(x.natural(), tf.stack([front, np.int64(-1)])))


def _squeeze(operation: Operation) -> Value:
    x = operation.first
    axes = operation.integers("axes", 1)
    if axes is None:
        if None in x.sizes:
            operation.refuse("of unknown axes")
        axes = [i for i, size in enumerate(x.sizes) if size == 1]
    return made(operation, tf.squeeze(x.natural(), [axis % x.rank for axis in axes]))


def _unsqueeze(operation: Operation) -> Value:
    axes = operation.integers("axes", 1) or []
    tensor = operation.first.natural()
    rank = operation.first.rank + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        tensor = tf.expand_dims(tensor, axis)
    return made(operation, tensor)


def _expand(operation: Operation) -> Value:
    x, wanted = operation.first, operation.input(1)
    rank, given = x.rank, wanted.sizes[0]
    if given is None:
        operation.refuse("to an unknown number of axes")
    longest = max(rank, given)
    here = tf.concat([np.ones(longest - rank, np.int64), sizes_of(x)], 0)
    there = tf.concat([np.ones(longest - given, np.int64), wanted.natural()], 0)
    shape = tf.where(tf.equal(there, np.int64(1)), here, there)
    tensor = x.natural() if rank == longest else tf.reshape(x.natural(), here)
    return made(operation, tf.raw_ops.BroadcastTo(input=tensor, shape=shape))


def _tile(operation: Operation) -> Value:
    return made(operation, tf.tile(operation.first.natural(), operation.input(1).natural()))


def _constant_of_shape(operation: Operation) -> Value:
    value = operation.attributes.get("value", np.zeros(1, np.float32))
    return made(operation, tf.fill(operation.first.natural(), value.reshape(())))


def _range(operation: Operation) -> Value:
    start, limit, delta = (value.natural() for value in operation.given())
    return made(operation, tf.range(start, limit, delta))


def _shape(operation: Operation) -> Value:
    sizes = operation.first.sizes
    get = operation.attributes.get
    wanted = sizes[get("start", 0) : get("end")]
    if None not in wanted:
        return Value(operation.name, array=np.array(wanted, np.int64))
    return made(operation, sizes_of(operation.first)[get("start", 0) : get("end")])


def _size(operation: Operation) -> Value:
    return made(operation, tf.reduce_prod(sizes_of(operation.first)))


def _cumulative(operation: Operation) -> Value:
    get = operation.attributes.get
    axis = operation.integers("axis", 1) or [0]
    total = tf.cumsum(
        operation.first.natural(), axis[0], bool(get("exclusive")), bool(get("reverse"))
    )
    return made(operation, total)


AXES: Mapping[str, Rule] = {
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "CumSum": _cumulative,
    "Expand": _expand,
    "Flatten": _flatten,
    "GlobalAveragePool": _reduce("Mean", pixels=True),
    "GlobalMaxPool": _reduce("Max", pixels=True),
    "LogSoftmax": _softmax("LogSoftmax"),
    "Range": _range,
    "ReduceL1": _reduce("Sum", before="Abs"),
    "ReduceL2": _reduce("Sum", before="Square", after="Sqrt"),
    "ReduceMax": _reduce("Max"),
    "ReduceMean": _reduce("Mean"),
    "ReduceMin": _reduce("Min"),
    "ReduceProd": _reduce("Prod"),
    "ReduceSum": _reduce("Sum"),
    "ReduceSumSquare": _reduce("Sum", before="Square"),
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Softmax": _softmax("Softmax"),
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
