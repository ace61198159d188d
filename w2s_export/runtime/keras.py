"""A Keras model as a runtime: the source of what this project trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras


class KerasRuntime:
    """The Keras model itself, compiled once for every size."""

    def __init__(self, model: keras.Model) -> None:
        import keras
        import tensorflow as tf

        self.name = f"Keras {keras.__version__}"
        # A graph frees each tensor after its last use; an eager call holds all of them. Autograph,
        # which nothing here needs, leaves a temporary file behind where the process is killed.
        self._call = tf.function(
            lambda batch: model(batch, training=False),
            autograph=False,
            input_signature=[tf.TensorSpec((None, None, None, model.inputs[0].shape[-1]))],
        )

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Restore: (N, C, H, W) → (N, C', scale·H, scale·W)."""
        output = self._call(batch.transpose(0, 2, 3, 1)).numpy()
        return np.ascontiguousarray(output.transpose(0, 3, 1, 2))
