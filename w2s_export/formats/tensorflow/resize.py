"""Resize: by TensorFlow's own operation where it does the same, else by gathered rows."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import tensorflow as tf

from w2s_export.counting import counted
from w2s_export.formats.tensorflow.values import Operation, Rule, Value, made, size_of
from w2s_export.graph.resizing import resized, taps

_EXACT = (1, 2, 3, 4, 8)
"""Factors at which TensorFlow's float32 arithmetic finds the pixels that ONNX's finds."""


def _resize(operation: Operation) -> Value:
    if operation.first.rank != 4:
        operation.refuse(f"on {counted(operation.first.rank, 'axis', 'axes')}")
    if operation.attributes.get("exclude_outside") or operation.attributes.get("antialias"):
        operation.refuse("that leaves out what is outside")
    factors, sizes = _target(operation)
    if factors is not None:
        return _by_factors(operation, factors)
    return _to_size(operation, sizes)


def _target(operation: Operation) -> tuple[tuple[Fraction, Fraction] | None, Any]:
    """How much rows and columns grow where that is constant, else their int32 sizes."""
    index = 1 if operation.kind == "Upsample" else 2
    given = operation.optional(index)
    if given is not None and given.array is not None and given.array.size:
        fractions = [Fraction(float(f)).limit_denominator(1000) for f in given.array]
        if fractions[0] != 1 or fractions[1] != 1:
            operation.refuse("of the channels")
        return (fractions[2], fractions[3]), None
    sizes = operation.optional(3)
    if sizes is not None:
        return None, tf.cast(sizes.natural()[2:], tf.int32)
    if given is None or given.array is not None:
        operation.refuse("without a size")
    whole = tf.cast([size_of(operation.first, 2), size_of(operation.first, 3)], tf.float32)
    return None, tf.cast(tf.floor(whole * given.natural()[2:]), tf.int32)


def _by_factors(operation: Operation, factors: tuple[Fraction, Fraction]) -> Value:
    x = operation.first.channels_last()
    get = operation.attributes.get
    mode = get("mode", "nearest")
    place = get("coordinate_transformation_mode", "half_pixel")
    place = "asymmetric" if operation.kind == "Upsample" else place
    plain = all(factor in _EXACT for factor in factors)
    if mode == "nearest" and plain and _repeats(operation, factors):
        size = tf.shape(x)[1:3] * np.array([int(factor) for factor in factors], np.int32)
        y = tf.raw_ops.ResizeNearestNeighbor(images=x, size=size, name=operation.label)
        return made(operation, y, last=True)
    if mode == "linear" and (plain or place == "align_corners"):
        pairs = zip(factors, (2, 3), strict=True)
        size = [size_of(operation.first, axis) * f.numerator // f.denominator for f, axis in pairs]
        return _to_size(operation, tf.cast(tf.stack(size), tf.int32))
    for axis, factor in ((1, factors[0]), (2, factors[1])):
        if factor != 1:
            x = _gathered(operation, x, axis, factor)
    return made(operation, x, last=True)


def _repeats(operation: Operation, factors: tuple[Fraction, Fraction]) -> bool:
    """Whether output pixel i is input pixel floor(i / factor)."""
    for factor in factors:
        sources = resized(operation.kind, operation.attributes, factor)
        whole = int(factor)
        if sources is None or any(sources(i) != [i // whole] for i in range(whole)):
            return False
    return True


def _gathered(operation: Operation, x: tf.Tensor, axis: int, factor: Fraction) -> tf.Tensor:
    """Along one axis: every output pixel is a weighted sum of a few input pixels.

    Which, and with what weights, repeats itself every `factor.numerator` output pixels.
    """
    found = taps(operation.kind, operation.attributes, factor)
    if found is None:
        operation.refuse("of this kind")
    places = np.array([[pixel for pixel, _ in read] for read in found], np.int32)
    weights = np.array([[weight for _, weight in read] for read in found], np.float32)
    size = tf.shape(x)[axis]
    phases, stride = factor.numerator, factor.denominator
    pixel = tf.range(size * phases // stride)
    base, phase = pixel // phases * stride, pixel % phases
    total: Any = None
    for tap in range(places.shape[1]):
        where = base + tf.gather(places[:, tap], phase)
        where = tf.minimum(tf.maximum(where, 0), size - 1)
        part = tf.gather(x, where, axis=axis)
        if places.shape[1] > 1:
            weight = tf.gather(weights[:, tap], phase)
            weight = tf.reshape(weight, (-1, 1, 1) if axis == 1 else (-1, 1))
            part = part * weight
        total = part if total is None else total + part
    return total


def _to_size(operation: Operation, size: tf.Tensor) -> Value:
    """To a size that the graph computes, by TensorFlow's own operation."""
    x, get = operation.first.channels_last(), operation.attributes.get
    mode, rounding = get("mode", "nearest"), get("nearest_mode", "round_prefer_floor")
    place = get("coordinate_transformation_mode", "half_pixel")
    if mode == "nearest" and (place, rounding) == ("asymmetric", "floor"):
        y = tf.raw_ops.ResizeNearestNeighbor(images=x, size=size)
    elif mode == "linear" and place in (
        "half_pixel",
        "pytorch_half_pixel",
        "asymmetric",
        "align_corners",
    ):
        y = tf.raw_ops.ResizeBilinear(
            images=x, size=size, align_corners=place == "align_corners",
            half_pixel_centers=place.endswith("half_pixel"),
        )  # fmt: skip
    else:
        operation.refuse(f"to a computed size in mode '{mode}', {place}, {rounding}")
    return made(operation, y, last=True)


RESIZING: Mapping[str, Rule] = {"Resize": _resize, "Upsample": _resize}
