"""Tensors on their way from ONNX to TensorFlow, and the operation that is being written.

TensorFlow convolves with the channels last on a CPU, ONNX with the channels second. An image is
kept as its last operation left it, and transposed only where the next one needs it otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from w2s_export.errors import UnsupportedOperationError

TO_LAST = (0, 2, 3, 1)
TO_SECOND = (0, 3, 1, 2)


@dataclass(slots=True)
class Value:
    """A tensor of the ONNX graph: computed, or constant."""

    name: str
    tensor: Any = None
    """The TensorFlow tensor; None for a constant until something reads it."""
    array: NDArray[Any] | None = None
    last: bool = False
    """The tensor is (N, H, W, C) where ONNX has (N, C, H, W)."""
    _other: Any = field(default=None, repr=False)

    @property
    def rank(self) -> int:
        """Number of axes."""
        if self.array is not None:
            return self.array.ndim
        rank = self.tensor.shape.rank
        if rank is None:
            raise UnsupportedOperationError(f"'{self.name}' has an unknown number of axes")
        return int(rank)

    @property
    def sizes(self) -> list[int | None]:
        """Sizes in ONNX's order; None where they follow from the image."""
        if self.array is not None:
            return list(self.array.shape)
        sizes = [self.tensor.shape[i] for i in range(self.rank)]
        return [sizes[i] for i in TO_SECOND] if self.last else sizes

    def natural(self) -> tf.Tensor:
        """In ONNX's order of axes."""
        if self.tensor is None:
            self.tensor = tf.constant(self.array, name=tensorflow_name(self.name))
        if not self.last:
            return self.tensor
        if self._other is None:
            self._other = tf.transpose(self.tensor, TO_SECOND)
        return self._other

    def channels_last(self) -> tf.Tensor:
        """(N, H, W, C), with axes of one element in front where there are fewer than four."""
        if self.last:
            return self.tensor
        if self._other is None:
            missing = 4 - self.rank
            if self.array is not None:
                array = self.array
                if array.size == 1:
                    array = array.reshape(())
                elif missing or array.ndim:
                    array = array.reshape((1,) * missing + array.shape).transpose(TO_LAST)
                self._other = tf.constant(array, name=tensorflow_name(self.name))
            else:
                tensor = self.tensor
                for _ in range(missing):
                    tensor = tf.expand_dims(tensor, 0)
                self._other = tf.transpose(tensor, TO_LAST)
        return self._other


@dataclass(frozen=True, slots=True)
class Operation:
    """An ONNX operation that is being written."""

    kind: str
    name: str
    attributes: Mapping[str, Any]
    inputs: Sequence[Value | None]
    outputs: int

    @property
    def label(self) -> str:
        """Name of the TensorFlow operation that gives the result."""
        return tensorflow_name(self.name)

    @property
    def first(self) -> Value:
        """The input that most operations have alone."""
        return self.input(0)

    def input(self, index: int) -> Value:
        """An input that must be there."""
        value = self.optional(index)
        return value if value is not None else self.refuse(f"without input {index + 1}")

    def optional(self, index: int) -> Value | None:
        """An input, or None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def given(self) -> list[Value]:
        """Inputs that are not left out."""
        return [value for value in self.inputs if value is not None]

    def array(self, index: int) -> NDArray[Any] | None:
        """A constant input; None where it is left out."""
        value = self.optional(index)
        if value is None:
            return None
        if value.array is None:
            return self.refuse(f"with computed input {index + 1}")
        return value.array

    def integers(self, attribute: str, index: int) -> list[int] | None:
        """Axes and the like: an attribute, a constant input in newer versions, or left out."""
        if attribute in self.attributes:
            return [int(item) for item in np.ravel(self.attributes[attribute])]
        array = self.array(index)
        return None if array is None else [int(item) for item in array.ravel()]

    def refuse(self, why: str) -> NoReturn:
        """Say that this operation is not written."""
        raise UnsupportedOperationError(
            f"{self.kind} {why} ('{self.name}') is not written for TensorFlow 1.15"
        )


Rule = Callable[[Operation], Any]
"""Writes an operation: gives a `Value`, or one for each output."""


def made(operation: Operation, tensor: tf.Tensor, *, last: bool = False) -> Value:
    """What an operation gives."""
    return Value(operation.name, tensor, last=last)


def tensorflow_name(name: str) -> str:
    """A name that TensorFlow allows, as near to ONNX's as can be."""
    plain = re.sub(r"[^A-Za-z0-9_./-]", "_", name)
    return plain if re.match("[A-Za-z0-9.]", plain) else f"n{plain}"


def kept(x: Value) -> Any:
    """The tensor in the order of axes it is kept in."""
    return x.tensor if x.last else x.natural()


def together(values: Sequence[Value]) -> tuple[list[tf.Tensor], bool]:
    """Tensors to be combined element by element, and whether their channels are last."""
    if any(value.last for value in values) and all(value.rank <= 4 for value in values):
        return [value.channels_last() for value in values], True
    return [value.natural() for value in values], False


def stored_axis(value: Value, axis: int) -> int:
    """Where an axis of ONNX lies in the tensor as it is kept."""
    axis %= value.rank
    return TO_LAST.index(axis) if value.last else axis


def sizes_of(value: Value) -> tf.Tensor:
    """The shape in ONNX's order, int64, constant where it is known."""
    sizes = value.sizes
    if all(size is not None for size in sizes):
        return tf.constant(np.array(sizes, np.int64))
    shape = tf.raw_ops.Shape(input=value.tensor, out_type=tf.int64)
    return tf.gather(shape, np.array(TO_SECOND)) if value.last else shape


def size_of(value: Value, axis: int) -> tf.Tensor:
    """The size of one axis of ONNX, an int64 scalar."""
    known = value.sizes[axis]
    if known is not None:
        return tf.constant(known, tf.int64)
    shape = tf.raw_ops.Shape(input=value.tensor, out_type=tf.int64)
    return shape[stored_axis(value, axis)]
