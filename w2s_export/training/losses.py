"""Losses of both networks, as pure functions on tensors → scalar.

Images and feature maps are (N, H, W, C), logits (N, 1); every loss is a mean over the batch, whose
size does not matter. Sources: perceptual and relativistic average adversarial losses, ESRGAN,
https://arxiv.org/abs/1809.00219; the latter first, https://arxiv.org/abs/1807.00734; Gram matrices,
https://arxiv.org/abs/1508.06576.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PIXEL_LOSSES = ("l1", "l2")
Mean = Callable[[Any], Any]


def pixel_loss(target: Any, output: Any, kind: str) -> Any:
    """Mean absolute (`l1`) or mean squared (`l2`) difference over all elements.

    Raises:
        ValueError: an unknown kind.
    """
    import tensorflow as tf

    if kind == "l1":
        return tf.reduce_mean(tf.abs(target - output))
    if kind == "l2":
        return tf.reduce_mean(tf.square(target - output))
    raise ValueError(f"unknown pixel loss {kind!r}; known are {', '.join(PIXEL_LOSSES)}")


def perceptual_loss(target: Any, output: Any, kind: str) -> Any:
    """Distance of two images' features, (N, h, w, C) each: `networks.features` makes them.

    Before the activation, as ESRGAN argues: behind it most features are 0 and teach nothing.

    Raises:
        ValueError: an unknown kind.
    """
    return pixel_loss(target, output, kind)


def texture_loss(target: Any, output: Any, kind: str) -> Any:
    """Distance of the channel Gram matrices of two images' features, (N, h, w, C) each.

    Raises:
        ValueError: an unknown kind.
    """
    return pixel_loss(gram(target), gram(output), kind)


def gram(features: Any) -> Any:
    """Which channels are active together, wherever it is: (N, h, w, C) → (N, C, C).

    `G[n, c, d] = Σ_yx F[n, y, x, c] · F[n, y, x, d] / (h · w · C)`. Where a texture is
    leaves no trace in it.
    """
    import tensorflow as tf

    shape = tf.shape(features)
    flat = tf.reshape(features, (shape[0], shape[1] * shape[2], shape[3]))
    size = tf.cast(shape[1] * shape[2] * shape[3], features.dtype)
    return tf.matmul(flat, flat, transpose_a=True) / size


def generator_adversarial_loss(real: Any, fake: Any, mean: Mean | None = None) -> Any:
    """Relativistic average loss of the generator: restored images should look the more real.

    `bce(0, C(xr) − E[C(xf)]) + bce(1, C(xf) − E[C(xr)])`, from logits.

    Args:
        real: the discriminator's logits on targets, (N, 1).
        fake: its logits on restored images, (N, 1).
        mean: E; over all replicas where the batch is spread over several.
    """
    real_excess, fake_excess = _relative(real, fake, mean)
    return _cross_entropy(0.0, real_excess) + _cross_entropy(1.0, fake_excess)


def discriminator_loss(real: Any, fake: Any, mean: Mean | None = None) -> Any:
    """Relativistic average loss of the discriminator: the generator's with the labels swapped.

    `bce(1, C(xr) − E[C(xf)]) + bce(0, C(xf) − E[C(xr)])`, from logits. Arguments as above.
    """
    real_excess, fake_excess = _relative(real, fake, mean)
    return _cross_entropy(1.0, real_excess) + _cross_entropy(0.0, fake_excess)


def _relative(real: Any, fake: Any, mean: Mean | None) -> tuple[Any, Any]:
    import tensorflow as tf

    mean = mean or tf.reduce_mean
    return real - mean(fake), fake - mean(real)


def _cross_entropy(label: float, logits: Any) -> Any:
    """Of a label with the sigmoid of logits; finite for logits of any size."""
    import tensorflow as tf

    labels = tf.fill(tf.shape(logits), tf.cast(label, logits.dtype))
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits))
