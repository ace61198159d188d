"""Normalisation by stored statistics, or by those of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from w2s_export.formats.tensorflow.values import Operation, Rule, Value, made


def _batch_normalisation(operation: Operation) -> Value:
    """A factor and a shift per channel, from the statistics of training."""
    parameters = [operation.array(i) for i in (1, 2, 3, 4)]
    if any(array is None for array in parameters) or operation.attributes.get("training_mode"):
        operation.refuse("in training")
    scale, shift, mean, variance = (np.asarray(a, np.float64) for a in parameters)
    factor = scale / np.sqrt(variance + operation.attributes.get("epsilon", 1e-5))
    shift = shift - mean * factor
    x = operation.first
    last = x.rank == 4
    tensor = x.channels_last() if last else x.natural()
    shape = (-1,) if last else (-1,) + (1,) * (x.rank - 2)
    f, s = (array.astype(np.float32).reshape(shape) for array in (factor, shift))
    y = tf.raw_ops.AddV2(x=tf.raw_ops.Mul(x=tensor, y=f), y=s, name=operation.label)
    return made(operation, y, last=last)


def _normalised(
    x: tf.Tensor, axes: Sequence[int], epsilon: float, scale: Any, shift: Any
) -> tf.Tensor:
    raw, places = tf.raw_ops, np.array(axes, np.int32)
    mean = raw.Mean(input=x, axis=places, keep_dims=True)
    apart = raw.Sub(x=x, y=mean)
    variance = raw.Mean(input=raw.Square(x=apart), axis=places, keep_dims=True)
    spread = raw.Sqrt(x=raw.AddV2(x=variance, y=np.float32(epsilon)))
    y = raw.Mul(x=raw.RealDiv(x=apart, y=spread), y=scale)
    return y if shift is None else raw.AddV2(x=y, y=shift)


def _instance_normalisation(operation: Operation) -> Value:
    x = operation.first
    scale, shift = operation.array(1), operation.array(2)
    epsilon = operation.attributes.get("epsilon", 1e-5)
    if scale is None or shift is None:
        operation.refuse("without constant parameters")
    if x.rank == 4:
        y = _normalised(x.channels_last(), (1, 2), epsilon, scale, shift)
        return made(operation, y, last=True)
    shape = (-1,) + (1,) * (x.rank - 2)
    axes = range(2, x.rank)
    y = _normalised(x.natural(), axes, epsilon, scale.reshape(shape), shift.reshape(shape))
    return made(operation, y)


def _layer_normalisation(operation: Operation) -> Value:
    if operation.outputs > 1:
        operation.refuse("with its statistics")
    x, epsilon = operation.first, operation.attributes.get("epsilon", 1e-5)
    axis = operation.attributes.get("axis", -1) % x.rank
    scale, shift = operation.input(1).natural(), operation.optional(2)
    y = _normalised(x.natural(), range(axis, x.rank), epsilon, scale, shift and shift.natural())
    return made(operation, y)


NORMALISING: Mapping[str, Rule] = {
    "BatchNormalization": _batch_normalisation,
    "InstanceNormalization": _instance_normalisation,
    "LayerNormalization": _layer_normalisation,
}
