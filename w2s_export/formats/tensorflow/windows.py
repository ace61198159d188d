"""Operations that read an image by windows, all with the channels last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from w2s_export.counting import counted
from w2s_export.formats.tensorflow.values import (
    Operation,
    Rule,
    Value,
    made,
    size_of,
    tensorflow_name,
)

_MOST_GROUPS = 64
"""Convolutions in more groups, which are neither plain nor one per channel, are not written."""
_LOWEST = np.finfo(np.float32).min


def _image(operation: Operation) -> tf.Tensor:
    if operation.first.rank != 4:
        operation.refuse(f"on {counted(operation.first.rank, 'axis', 'axes')}")
    return operation.first.channels_last()


def _pair(operation: Operation, attribute: str) -> list[int]:
    return [int(item) for item in operation.attributes.get(attribute) or (1, 1)]


def _pads(operation: Operation, kernel: Sequence[int]) -> tuple[Any, bool]:
    """((top, bottom), (left, right)), and whether TensorFlow's SAME is exactly that.

    SAME_UPPER of a stride depends on the size; TensorFlow's SAME is defined alike.
    """
    strides, dilations = _pair(operation, "strides"), _pair(operation, "dilations")
    extents = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    auto = operation.attributes.get("auto_pad", "NOTSET")
    pads = operation.attributes.get("pads") or [0] * 4
    if auto == "SAME_UPPER":
        return None, True
    if auto == "SAME_LOWER":
        return _same_lower(operation, extents, strides), False
    if auto == "VALID" or not any(pads):
        return None, all(extent == 1 for extent in extents) and strides == [1, 1]
    around = [(pads[i], pads[2 + i]) for i in (0, 1)]
    same = [((extent - 1) // 2, extent // 2) for extent in extents]
    return around, around == same and strides == [1, 1]


def _same_lower(operation: Operation, extents: Sequence[int], strides: Sequence[int]) -> Any:
    pairs = []
    for axis, extent, stride in zip((2, 3), extents, strides, strict=True):
        total: Any = extent - 1
        if stride > 1:
            size = size_of(operation.first, axis)
            total = (-(-size // stride) - 1) * stride + extent - size
            total = tf.maximum(total, np.int64(0))
        pairs.append((total - total // 2, total // 2))
    return pairs


def _has(around: Any) -> bool:
    """Whether there is padding, as far as is known."""
    numbers = [number for pair in around or () for number in pair]
    return any(isinstance(number, tf.Tensor) or number for number in numbers)


def _surrounded(x: tf.Tensor, around: Any, filled: float = 0) -> tf.Tensor:
    if not _has(around):
        return x
    if any(isinstance(number, tf.Tensor) for pair in around for number in pair):
        zero = np.int64(0)
        rows, columns = ([tf.cast(number, tf.int64) for number in pair] for pair in around)
        paddings: Any = tf.stack([[zero, zero], rows, columns, [zero, zero]])
    else:
        paddings = np.array([(0, 0), *around, (0, 0)], np.int32)
    if filled:
        value = np.float32(filled)
        return tf.raw_ops.PadV2(input=x, paddings=paddings, constant_values=value)
    return tf.raw_ops.Pad(input=x, paddings=paddings)


def _convolution(operation: Operation) -> Value:
    """Conv: plain, one kernel per channel, or in a few groups."""
    x, weights = _image(operation), operation.array(1)
    if weights is None or weights.ndim != 4:
        operation.refuse("without a constant kernel")
    group = int(operation.attributes.get("group", 1))
    outputs, inputs, *kernel = weights.shape
    around, same = _pads(operation, kernel)
    if not same:
        x = _surrounded(x, around)
    strides, dilations = _pair(operation, "strides"), _pair(operation, "dilations")
    padding = "SAME" if same else "VALID"
    label = operation.label if operation.optional(2) is None else f"{operation.label}/convolution"
    turned = weights.transpose(2, 3, 1, 0)
    if group == 1:
        y = _convolved(x, turned, strides, dilations, padding, operation, label)
    elif inputs == 1 and kernel == [1, 1] and strides == [1, 1] and outputs == group:
        factors = weights.reshape(-1)
        factor = factors[0] if (factors == factors[0]).all() else factors
        y = tf.raw_ops.Mul(x=x, y=factor, name=label)
    elif inputs == 1 and dilations == [1, 1] and strides[0] == strides[1]:
        filters = weights.reshape(group, -1, *kernel).transpose(2, 3, 0, 1)
        y = tf.raw_ops.DepthwiseConv2dNative(
            input=x, filter=_weight(filters, operation), strides=[1, *strides, 1],
            padding=padding, name=label,
        )  # fmt: skip
    elif group <= _MOST_GROUPS:
        parts = tf.split(x, group, axis=3)
        kernels = np.split(turned, group, axis=3)
        y = tf.concat(
            [
                _convolved(part, k, strides, dilations, padding, operation)
                for part, k in zip(parts, kernels, strict=True)
            ],
            3,
            name=label,
        )
    elif inputs == 1:
        y = _shifted_products(operation, x, weights, around if same else None)
    else:
        operation.refuse(f"in {group} groups")
    return made(operation, _biased(operation, y), last=True)


def _weight(array: NDArray[Any], operation: Operation) -> tf.Tensor:
    value = operation.input(1)
    return tf.constant(np.ascontiguousarray(array), name=tensorflow_name(value.name))


def _convolved(
    x: tf.Tensor, kernel: NDArray[Any], strides: Sequence[int], dilations: Sequence[int],
    padding: str, operation: Operation, label: str | None = None,
) -> tf.Tensor:  # fmt: skip
    return tf.raw_ops.Conv2D(
        input=x, filter=_weight(kernel, operation), strides=[1, *strides, 1],
        dilations=[1, *dilations, 1], padding=padding, name=label,
    )  # fmt: skip


def _biased(operation: Operation, y: tf.Tensor) -> tf.Tensor:
    bias = operation.optional(2)
    if bias is None:
        return y
    return tf.raw_ops.BiasAdd(value=y, bias=bias.natural(), name=operation.label)


def _shifted_products(
    operation: Operation, x: tf.Tensor, weights: NDArray[Any], around: Any
) -> tf.Tensor:
    """One dilated kernel per channel: TensorFlow's own does not dilate on a CPU."""
    group = int(operation.attributes.get("group", 1))
    if len(weights) != group:
        operation.refuse("with several dilated kernels per channel")
    strides, dilations = _pair(operation, "strides"), _pair(operation, "dilations")
    x = _surrounded(x, around)
    kernel = weights.shape[2:]
    extents = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
    total: Any = None
    for row, column in np.ndindex(*kernel):
        index = [
            slice(tap * d, (tap * d - extent) or None, stride)
            for tap, d, extent, stride in zip(
                (row, column), dilations, extents, strides, strict=True
            )
        ]
        part = tf.raw_ops.Mul(x=x[:, index[0], index[1]], y=weights[:, 0, row, column])
        total = part if total is None else tf.raw_ops.AddV2(x=total, y=part)
    return total


def _transposed_convolution(operation: Operation) -> Value:
    """ConvTranspose: the gradient of a convolution, whole, then cut."""
    x, weights = _image(operation), operation.array(1)
    if weights is None or weights.ndim != 4:
        operation.refuse("without a constant kernel")
    strides, dilations = _pair(operation, "strides"), _pair(operation, "dilations")
    group = int(operation.attributes.get("group", 1))
    if group > _MOST_GROUPS:
        operation.refuse(f"in {group} groups")
    kernel = _dilated(weights.transpose(2, 3, 1, 0), dilations)
    extra = list(operation.attributes.get("output_padding") or (0, 0))
    full = [
        size_of(operation.first, axis) * stride + (extent - stride + more)
        for axis, stride, extent, more in zip((2, 3), strides, kernel.shape, extra, strict=False)
    ]
    parts = tf.split(x, group, axis=3) if group > 1 else [x]
    kernels = np.split(kernel, group, axis=3)
    batch = size_of(operation.first, 0)
    sizes = tf.cast(tf.stack([batch, *full, np.int64(kernel.shape[2])]), tf.int32)
    pieces = [
        tf.raw_ops.Conv2DBackpropInput(
            input_sizes=sizes, filter=_weight(k, operation), out_backprop=part,
            strides=[1, *strides, 1], padding="VALID",
        )
        for part, k in zip(parts, kernels, strict=True)
    ]  # fmt: skip
    y = tf.concat(pieces, 3) if group > 1 else pieces[0]
    y = _cut(operation, y, full, strides)
    y.set_shape([None, None, None, kernel.shape[2] * group])
    return made(operation, _biased(operation, y), last=True)


def _dilated(kernel: NDArray[Any], dilations: Sequence[int]) -> NDArray[Any]:
    """With zeros between its taps."""
    if tuple(dilations) == (1, 1):
        return kernel
    sizes = [d * (k - 1) + 1 for d, k in zip(dilations, kernel.shape, strict=False)]
    spread = np.zeros((*sizes, *kernel.shape[2:]), kernel.dtype)
    spread[:: dilations[0], :: dilations[1]] = kernel
    return spread


def _cut(
    operation: Operation, y: tf.Tensor, full: Sequence[Any], strides: Sequence[int]
) -> tf.Tensor:
    get = operation.attributes.get
    auto, wanted, pads = get("auto_pad", "NOTSET"), get("output_shape"), get("pads") or [0] * 4
    index = []
    for axis in (0, 1):
        if wanted or auto.startswith("SAME"):
            target = (
                wanted[-2:][axis] if wanted else size_of(operation.first, 2 + axis) * strides[axis]
            )
            total = full[axis] - target
            before = total // 2 if auto == "SAME_UPPER" else total - total // 2
            after = total - before
            index.append(slice(before, full[axis] - after))
        else:
            index.append(slice(pads[axis], -pads[2 + axis] or None))
    return y if all(i == slice(0, None) for i in index) else y[:, index[0], index[1]]


def _pooling(kind: str) -> Rule:
    def rule(operation: Operation) -> Value:
        if operation.outputs > 1 or _pair(operation, "dilations") != [1, 1]:
            operation.refuse("with dilation or positions")
        x, kernel = _image(operation), list(operation.attributes["kernel_shape"])
        strides, ceil = _pair(operation, "strides"), bool(operation.attributes.get("ceil_mode"))
        around, same = _pads(operation, kernel)
        include = _has(around) and bool(operation.attributes.get("count_include_pad"))
        if include and (ceil or around is None):
            operation.refuse("that counts its padding, of a rounded size")
        same = same and not include
        if ceil and not same:
            pairs = around or ((0, 0), (0, 0))
            around = [_rounded_up(operation, i, pairs[i], kernel, strides) for i in (0, 1)]

        def pooled(image: tf.Tensor, filled: float = 0) -> tf.Tensor:
            image = image if same else _surrounded(image, around, filled)
            argument = {"value" if kind == "AvgPool" else "input": image}
            return getattr(tf.raw_ops, kind)(
                ksize=[1, *kernel, 1], strides=[1, *strides, 1],
                padding="SAME" if same else "VALID", **argument,
            )  # fmt: skip

        y = pooled(x, _LOWEST if kind == "MaxPool" else 0)
        if kind == "AvgPool" and _has(around) and not same and not include:
            y = tf.raw_ops.RealDiv(x=y, y=pooled(tf.ones_like(x[:1, :, :, :1])))
        return made(operation, y, last=True)

    return rule


def _rounded_up(
    operation: Operation, i: int, pair: Any, kernel: Sequence[int], strides: Sequence[int]
) -> tuple[int, Any]:
    """Padding with which a window more fits in where elements are left over.

    Not where that window would begin in the padding behind the image.
    """
    before, after = pair
    stride, extent = strides[i], kernel[i]
    size = size_of(operation.first, 2 + i)
    count = -(-(size + (before + after - extent)) // stride) + 1
    count = tf.where((count - 1) * stride >= size + before, count - 1, count)
    return before, (count - 1) * stride + (extent - before) - size


def _depth_to_space(operation: Operation) -> Value:
    """Channels to pixels: TensorFlow's order is ONNX's DCR; CRD has the channel slowest."""
    x, block = _image(operation), operation.attributes["blocksize"]
    if operation.attributes.get("mode", "DCR") == "CRD":
        channels = operation.first.sizes[1]
        if channels is None:
            operation.refuse("of an unknown number of channels")
        order = np.arange(channels).reshape(-1, block**2).T.reshape(-1)
        x = tf.gather(x, order, axis=3)
    y = tf.raw_ops.DepthToSpace(input=x, block_size=block, name=operation.label)
    return made(operation, y, last=True)


def _space_to_depth(operation: Operation) -> Value:
    block = operation.attributes["blocksize"]
    y = tf.raw_ops.SpaceToDepth(input=_image(operation), block_size=block, name=operation.label)
    return made(operation, y, last=True)


WINDOWS: Mapping[str, Rule] = {
    "AveragePool": _pooling("AvgPool"),
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "DepthToSpace": _depth_to_space,
    "MaxPool": _pooling("MaxPool"),
    "SpaceToDepth": _space_to_depth,
}
