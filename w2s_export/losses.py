"""Pixel losses of the generator, as pure functions on tensors (N, H, W, C) → scalar."""

from __future__ import annotations

from typing import Any

PIXEL_LOSSES = ("l1", "l2")


def pixel_loss(target: Any, output: Any, kind: str) -> Any:
    """Mean absolute (`l1`) or mean squared (`l2`) difference over all pixels.

    Raises:
        ValueError: an unknown kind.
    """
    import tensorflow as tf

    if kind == "l1":
        return tf.reduce_mean(tf.abs(target - output))
    if kind == "l2":
        return tf.reduce_mean(tf.square(target - output))
    raise ValueError(f"unknown pixel loss {kind!r}; known are {', '.join(PIXEL_LOSSES)}")
