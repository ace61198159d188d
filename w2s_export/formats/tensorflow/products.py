"""Matrix products, and the sums of products that Einsum writes with letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from w2s_export.formats.tensorflow.values import Operation, Rule, Value, made, size_of


def _matrix_product(operation: Operation) -> Value:
    x, y = operation.first, operation.input(1)
    if x.rank < 2 or y.rank < 2:
        operation.refuse("of vectors")
    if x.rank == y.rank == 2:
        return made(
            operation, tf.raw_ops.MatMul(a=x.natural(), b=y.natural(), name=operation.label)
        )
    return made(
        operation, tf.raw_ops.BatchMatMulV2(x=x.natural(), y=y.natural(), name=operation.label)
    )


def _gemm(operation: Operation) -> Value:
    get, raw = operation.attributes.get, tf.raw_ops
    x, y = operation.first.natural(), operation.input(1).natural()
    product = raw.MatMul(
        a=x, b=y, transpose_a=bool(get("transA", 0)), transpose_b=bool(get("transB", 0))
    )
    if get("alpha", 1.0) != 1:
        product = raw.Mul(x=product, y=np.float32(get("alpha")))
    bias = operation.optional(2)
    if bias is None:
        return made(operation, product)
    shift = bias.natural()
    if get("beta", 1.0) != 1:
        shift = raw.Mul(x=shift, y=np.float32(get("beta")))
    return made(operation, raw.AddV2(x=product, y=shift))


def _einsum(operation: Operation) -> Value:
    """Two tensors as one product of stacks of matrices; TensorFlow 1.15 has no Einsum."""
    terms, arrow, result = operation.attributes["equation"].replace(" ", "").partition("->")
    letters = terms.split(",")
    plain = arrow and "." not in terms and all(len(set(term)) == len(term) for term in letters)
    if len(letters) != 2 or not plain:
        operation.refuse(f"of '{terms}'")
    first, second = letters
    only = (set(first) ^ set(second)) - set(result)
    shared = [letter for letter in first if letter in second]
    stack = [letter for letter in shared if letter in result]
    summed = [letter for letter in shared if letter not in result]
    rows = [letter for letter in first if letter in result and letter not in second]
    columns = [letter for letter in second if letter in result and letter not in first]
    sizes = {}
    for term, value in zip(letters, operation.given(), strict=True):
        sizes.update({letter: size_of(value, i) for i, letter in enumerate(term)})
    matrices = [
        _matrices(value.natural(), term, only, (stack, *parts), sizes)
        for value, term, parts in zip(
            operation.given(), letters, ((rows, summed), (summed, columns)), strict=True
        )
    ]
    product = tf.raw_ops.BatchMatMulV2(x=matrices[0], y=matrices[1])
    order = [*stack, *rows, *columns]
    whole = tf.reshape(product, tf.stack([sizes[letter] for letter in order]))
    return made(operation, tf.transpose(whole, [order.index(letter) for letter in result]))


def _matrices(
    tensor: tf.Tensor,
    letters: str,
    only: set[str],
    groups: Sequence[Sequence[str]],
    sizes: Mapping[str, tf.Tensor],
) -> tf.Tensor:
    """Axes in the order of three groups, each made one; those that nothing else has are summed."""
    gone = [i for i, letter in enumerate(letters) if letter in only]
    if gone:
        tensor = tf.raw_ops.Sum(input=tensor, axis=np.array(gone, np.int32))
        letters = "".join(letter for letter in letters if letter not in only)
    order = [letters.index(letter) for group in groups for letter in group]
    one = tf.constant(1, tf.int64)
    shape = [tf.reduce_prod(tf.stack([one, *(sizes[k] for k in group)])) for group in groups]
    return tf.reshape(tf.transpose(tensor, order), tf.stack(shape))


PRODUCTS: Mapping[str, Rule] = {
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": _matrix_product,
}
