"""One training on many devices: who takes part, and which share of a batch is whose.

Synchronous data parallelism by `tf.distribute`: every replica holds all weights, takes an equal
share of each batch, and gradients are summed before anyone steps.
"""

from __future__ import annotations

import json
import os
from typing import Any

from numpy.typing import NDArray

from w2s_export.errors import ConfigError


def choose_strategy() -> Any:
    """The `tf.distribute.Strategy` for the machines at hand.

    Several workers in `TF_CONFIG` (https://www.tensorflow.org/guide/distributed_training): one
    worker a process, over the network. Else several GPUs (where no GPU is, several logical CPUs):
    one replica each. Else a single replica. Call it before anything else of TensorFlow runs.

    Raises:
        ConfigError: `TF_CONFIG` is not what TensorFlow reads.
    """
    import tensorflow as tf

    if workers() > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    for kind in ("GPU", "CPU"):
        devices = [device.name for device in tf.config.list_logical_devices(kind)]
        if len(devices) > 1:
            return tf.distribute.MirroredStrategy(devices)
        if devices:
            break
    return tf.distribute.get_strategy()


def workers() -> int:
    """Processes that train together, by `TF_CONFIG`; 1 without it."""
    return max(1, len(_tf_config().get("cluster", {}).get("worker", [])))


def is_chief() -> bool:
    """Whether this process writes the files: the first worker does."""
    return workers() == 1 or _tf_config()["task"]["index"] == 0


def share(batch: NDArray[Any], replica: int, replicas: int) -> NDArray[Any]:
    """What one replica takes of a batch (N, …): N / replicas in a row."""
    size = len(batch) // replicas
    return batch[replica * size : (replica + 1) * size]


def wait_for_all(strategy: Any) -> None:
    """Return when every worker has come here: what the first one wrote is there to be read."""
    import tensorflow as tf

    def arrive() -> Any:
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(1.0))

    if workers() > 1:
        tf.function(lambda: strategy.run(arrive), autograph=False)()


def _tf_config() -> dict[str, Any]:
    text = os.environ.get("TF_CONFIG") or "{}"
    try:
        values = json.loads(text)
        if len(values.get("cluster", {}).get("worker", [])) > 1:
            index = values["task"]["index"]
            if values["task"]["type"] != "worker" or not isinstance(index, int):
                raise ValueError("task must be a worker with a number")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"TF_CONFIG cannot be used ({error!r}), got {text[:200]}; give "
            '{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}'
        ) from None
    return dict(values)
