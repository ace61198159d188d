"""Operations on elements that lie at one place: arithmetic, activations, comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np
import tensorflow as tf
from onnx import helper

from w2s_export.formats.tensorflow.values import Operation, Rule, Value, kept, made, together


def _unary(write: Callable[[Any, tf.Tensor, Operation], tf.Tensor]) -> Rule:
    """One tensor in, one of the same shape out; `write` gets `tf.raw_ops` too."""

    def rule(operation: Operation) -> Value:
        x = operation.first
        tensor = kept(x)
        return made(operation, write(tf.raw_ops, tensor, operation), last=x.last)

    return rule


def _raw(kind: str, argument: str = "x") -> Rule:
    """The TensorFlow operation of this name."""
    return _unary(
        lambda raw, x, operation: getattr(raw, kind)(**{argument: x, "name": operation.label})
    )


def _several(kind: str) -> Rule:
    """Two tensors or more, broadcast, by the TensorFlow operation of this name."""

    def rule(operation: Operation) -> Value:
        tensors, last = together(operation.given())
        write = getattr(tf.raw_ops, kind)
        *rest, final = tensors[1:] or [None]
        if final is None:
            return made(operation, tensors[0], last=last)
        total = reduce(lambda x, y: write(x=x, y=y), rest, tensors[0])
        return made(operation, write(x=total, y=final, name=operation.label), last=last)

    return rule


def _by_kind(whole: str, real: str) -> Rule:
    """Division, which ONNX defines otherwise for integers."""

    def rule(operation: Operation) -> Value:
        (x, y), last = together(operation.given())
        write = getattr(tf.raw_ops, whole if x.dtype.is_integer else real)
        return made(operation, write(x=x, y=y, name=operation.label), last=last)

    return rule


def _mean(operation: Operation) -> Value:
    total = _several("AddV2")(operation)
    count = np.float32(len(operation.given()))
    return made(operation, tf.raw_ops.RealDiv(x=total.tensor, y=count), last=total.last)


def _remainder(operation: Operation) -> Value:
    kind = "TruncateMod" if operation.attributes.get("fmod") else "FloorMod"
    remainder: Value = _several(kind)(operation)
    return remainder


def _power(operation: Operation) -> Value:
    (x, y), last = together(operation.given())
    exponent = operation.inputs[1]
    if exponent is not None and exponent.array is not None and np.all(exponent.array == 2):
        return made(operation, tf.raw_ops.Square(x=x, name=operation.label), last=last)
    y = tf.cast(y, x.dtype)
    return made(operation, tf.raw_ops.Pow(x=x, y=y, name=operation.label), last=last)


def _clip(operation: Operation) -> Value:
    x = operation.first
    tensor = kept(x)
    for index, key, write in (
        (1, "min", tf.raw_ops.Maximum),
        (2, "max", tf.raw_ops.Minimum),
    ):
        limit = operation.attributes.get(key)
        if (given := operation.optional(index)) is not None:
            limit = given.natural()
        if limit is not None:
            tensor = write(x=tensor, y=tf.cast(limit, tensor.dtype))
    return made(operation, tensor, last=x.last)


def _prelu(operation: Operation) -> Value:
    (x, slope), last = together(operation.given())
    raw = tf.raw_ops
    below = raw.Mul(x=slope, y=raw.Minimum(x=x, y=np.float32(0)))
    return made(
        operation,
        raw.AddV2(x=raw.Relu(features=x), y=below, name=operation.label),
        last=last,
    )


def _elu(alpha: float, gamma: float) -> Rule:
    def write(raw: Any, x: tf.Tensor, operation: Operation) -> tf.Tensor:
        a = np.float32(operation.attributes.get("alpha", alpha))
        g = np.float32(operation.attributes.get("gamma", gamma))
        below = raw.Mul(x=a, y=raw.Elu(features=raw.Minimum(x=x, y=np.float32(0))))
        total = raw.AddV2(x=raw.Relu(features=x), y=below)
        return total if g == 1 else raw.Mul(x=g, y=total)

    return _unary(write)


def _hard_sigmoid(alpha: float, beta: float, *, swish: bool = False) -> Rule:
    def write(raw: Any, x: tf.Tensor, operation: Operation) -> tf.Tensor:
        a = np.float32(operation.attributes.get("alpha", alpha))
        b = np.float32(operation.attributes.get("beta", beta))
        line = raw.AddV2(x=raw.Mul(x=x, y=a), y=b)
        gate = raw.Minimum(x=raw.Maximum(x=line, y=np.float32(0)), y=np.float32(1))
        return raw.Mul(x=x, y=gate) if swish else gate

    return _unary(write)


def _cast(operation: Operation) -> Value:
    x = operation.first
    wanted = tf.as_dtype(helper.tensor_dtype_to_np_dtype(operation.attributes["to"]))
    tensor = kept(x)
    return made(operation, tf.cast(tensor, wanted), last=x.last)


def _where(operation: Operation) -> Value:
    (condition, x, y), last = together(operation.given())
    select = tf.raw_ops.SelectV2(condition=condition, t=x, e=y, name=operation.label)
    return made(operation, select, last=last)


def _same(operation: Operation) -> Value:
    x = operation.first
    return Value(operation.name, x.tensor, x.array, last=x.last)


ELEMENTS: Mapping[str, Rule] = {
    "Abs": _raw("Abs"),
    "Add": _several("AddV2"),
    "And": _several("LogicalAnd"),
    "Cast": _cast,
    "Ceil": _raw("Ceil"),
    "Clip": _clip,
    "Cos": _raw("Cos"),
    "Div": _by_kind("TruncateDiv", "RealDiv"),
    "Dropout": _same,
    "Elu": _elu(1.0, 1.0),
    "Equal": _several("Equal"),
    "Erf": _raw("Erf"),
    "Exp": _raw("Exp"),
    "Floor": _raw("Floor"),
    "Greater": _several("Greater"),
    "GreaterOrEqual": _several("GreaterEqual"),
    "HardSigmoid": _hard_sigmoid(0.2, 0.5),
    "HardSwish": _hard_sigmoid(1 / 6, 0.5, swish=True),
    "Identity": _same,
    "LeakyRelu": _unary(
        lambda raw, x, operation: raw.LeakyRelu(
            features=x,
            alpha=operation.attributes.get("alpha", 0.01),
            name=operation.label,
        )
    ),
    "Less": _several("Less"),
    "LessOrEqual": _several("LessEqual"),
    "Log": _raw("Log"),
    "Max": _several("Maximum"),
    "Mean": _mean,
    "Min": _several("Minimum"),
    "Mod": _remainder,
    "Mul": _several("Mul"),
    "Neg": _raw("Neg"),
    "Not": _raw("LogicalNot"),
    "Or": _several("LogicalOr"),
    "PRelu": _prelu,
    "Pow": _power,
    "Reciprocal": _unary(lambda raw, x, _: raw.RealDiv(x=np.float32(1), y=x)),
    "Relu": _raw("Relu", "features"),
    "Round": _raw("Round"),
    "Selu": _elu(1.67326319217681884765625, 1.05070102214813232421875),
    "Sigmoid": _raw("Sigmoid"),
    "Sign": _raw("Sign"),
    "Sin": _raw("Sin"),
    "Softplus": _raw("Softplus", "features"),
    "Softsign": _raw("Softsign", "features"),
    "Sqrt": _raw("Sqrt"),
    "Sub": _several("Sub"),
    "Sum": _several("AddV2"),
    "Tanh": _raw("Tanh"),
    "Where": _where,
}
