"""Batch normalisation for a network that is only ever trained."""

from __future__ import annotations

from typing import Any

import keras  # noqa: TID253 - this module is only imported to build a network

EPSILON = 1e-5


class BatchStatisticsNormalisation(keras.layers.Layer):  # type: ignore[misc]
    """`gamma · (x − mean) / √(variance + ε) + beta` a channel, statistics of the batch at hand.

    https://arxiv.org/abs/1502.03167. A discriminator is never asked about a single image, so the
    moving averages of Keras's layer would be state that nothing reads. Where the batch is spread
    over replicas, the statistics are those of the whole batch: the result does not depend on the
    number of devices.
    """

    def build(self, input_shape: Any) -> None:
        """Create gamma and beta, (C,) each."""
        channels = (input_shape[-1],)
        self.gamma = self.add_weight(shape=channels, initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=channels, initializer="zeros", name="beta")

    def call(self, x: Any) -> Any:
        """Normalise (N, H, W, C), in float32 whatever the layer computes in."""
        import tensorflow as tf

        values = tf.cast(x, tf.float32)
        mean = joint_mean(tf.reduce_mean(values, (0, 1, 2)))
        centred = values - mean
        variance = joint_mean(tf.reduce_mean(tf.square(centred), (0, 1, 2)))
        scale = tf.cast(self.gamma, tf.float32) * tf.math.rsqrt(variance + EPSILON)
        return tf.cast(centred * scale + tf.cast(self.beta, tf.float32), x.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's."""
        return input_shape


def joint_mean(value: Any) -> Any:
    """Mean of a tensor over the replicas of the strategy at work, each with an equal share."""
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, value)
