"""What learns in a phase: generator, its average, discriminator and optimizers; one step of them.

One graph serves one device and many. On several, each replica computes on its share of the batch,
means over the batch (relativistic logits, batch statistics) are joint, gradients are summed: the
losses are those of one device with the whole batch, up to rounding.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from w2s_export.data.patches import Batch
from w2s_export.networks.features import FeatureNetwork
from w2s_export.networks.rrdbnet import build_generator, get_weights, set_weights
from w2s_export.training.config import TrainingConfig
from w2s_export.training.distribution import share
from w2s_export.training.judge import DISCRIMINATOR, PIXEL, Judge
from w2s_export.training.losses import pixel_loss
from w2s_export.training.phases import Phase
from w2s_export.training.state import Arrays

TOTAL = "loss"
"""Name of what the generator minimises."""
_ARITHMETIC = "arithmetic_optimization"


@dataclass(frozen=True, slots=True)
class _Trainee:
    """A network and what steps it."""

    model: Any
    optimizer: Any

    @property
    def values(self) -> list[Any]:
        """The variables gradients are taken of."""
        return [variable.value for variable in self.model.trainable_variables]


@contextmanager
def reproducible() -> Iterator[None]:
    """Have TensorFlow give the same bits for the same step; afterwards all switches are as before.

    Its determinism leaves one hole on CPUs: a sum of three or more tensors (`AddN`) begins with
    whichever memory is free first, so the last bit depends on how busy the machine is. The
    arithmetic optimizer makes such sums out of pairs. (Several replicas repeat to rounding only.)
    """
    import tensorflow as tf
    from tensorflow.python.framework import config as switches  # only there can it be disabled

    deterministic = switches.is_op_determinism_enabled()
    arithmetic = tf.config.optimizer.get_experimental_options().get(_ARITHMETIC, True)
    drawn = random.getstate(), np.random.get_state()
    try:
        tf.config.experimental.enable_op_determinism()
        tf.config.optimizer.set_experimental_options({_ARITHMETIC: False})
        yield
    finally:
        if not deterministic:
            switches.disable_op_determinism()
        tf.config.optimizer.set_experimental_options({_ARITHMETIC: arithmetic})
        random.setstate(drawn[0])
        np.random.set_state(drawn[1])


class Learner:
    """A phase's variables, freshly initialised; `start` or `restore` give them other values."""

    def __init__(
        self,
        config: TrainingConfig,
        phase: Phase,
        features: FeatureNetwork | None,
        strategy: Any,
    ) -> None:
        """Build the networks.

        Args:
            config: their sizes, and how they are stepped.
            phase: which losses.
            features: the judge's, for a phase with a discriminator.
            strategy: the replicas.
        """
        import keras
        import tensorflow as tf

        self._config, self._phase, self._strategy = config, phase, strategy
        self._judge: Judge | None = None
        self._critic: _Trainee | None = None
        with strategy.scope():
            self._average = build_generator(config.generator, config.seed)
            before = keras.config.dtype_policy()
            keras.config.set_dtype_policy(config.precision)
            try:
                self._generator = self._trainee(build_generator(config.generator, config.seed))
                if phase.adversarial and features:
                    channels = config.generator.out_nc
                    self._judge = Judge(phase.adversarial, features, channels, config.seed)
                    self._critic = self._trainee(self._judge.critic)
            finally:
                keras.config.set_dtype_policy(before)
        # Autograph, which nothing here needs, leaves temporary files of a killed run.
        self._learn = tf.function(self._joint_step, reduce_retracing=True, autograph=False)
        self._infer = tf.function(
            lambda x: self._average(x), reduce_retracing=True, autograph=False
        )

    def _trainee(self, model: Any) -> _Trainee:
        import keras

        config = self._config
        optimizer: Any = keras.optimizers.Adam(
            self._phase.schedule.initial, config.beta_1, config.beta_2, amsgrad=True
        )
        if config.precision == "mixed_float16":  # small gradients would vanish
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        optimizer.build(model.trainable_variables)
        return _Trainee(model, optimizer)

    def _joint_step(self, low: Any, high: Any) -> dict[str, Any]:
        import tensorflow as tf

        each = self._strategy.run(self._replica_step, args=(low, high))
        decay = self._config.ema
        averages = [variable.value for variable in self._average.trainable_variables]
        for average, value in zip(averages, self._generator.values, strict=True):
            self._strategy.extended.update(
                average, lambda a, v: a.assign(decay * a + (1 - decay) * v), args=(value,)
            )
        mean = tf.distribute.ReduceOp.MEAN
        return {name: self._strategy.reduce(mean, each[name], axis=None) for name in each}

    def _replica_step(self, low: Any, high: Any) -> dict[str, Any]:
        import tensorflow as tf

        generator, critic = self._generator, self._critic
        with tf.GradientTape(persistent=True) as tape:
            restored = tf.cast(generator.model(low, training=True), tf.float32)
            if self._judge:
                terms = self._judge(high, restored)
                total = self._judge.weigh(terms)
            else:
                terms = {PIXEL: pixel_loss(high, restored, self._phase.loss)}
                total = terms[PIXEL]
            own = self._own(total, generator)
            critics_own = self._own(terms[DISCRIMINATOR], critic) if critic else None
        gradients = self._gradients(own, generator, tape)
        critics = self._gradients(critics_own, critic, tape) if critic else []
        self._step(generator, gradients)
        if critic:
            self._step(critic, critics)
        return {TOTAL: total, **terms}

    def _own(self, loss: Any, trainee: _Trainee) -> Any:
        """This replica's part of the joint loss, scaled where float16 asks for it."""
        return trainee.optimizer.scale_loss(loss / self._strategy.num_replicas_in_sync)

    def _gradients(self, loss: Any, trainee: _Trainee, tape: Any) -> Any:
        import tensorflow as tf

        if self._strategy.num_replicas_in_sync > 1:  # `tf.gradients` loses the replica's device
            return tape.gradient(loss, trainee.values)
        # Pair by pair: the order in which a sum of three or more is taken is not fixed.
        pairs = tf.AggregationMethod.EXPERIMENTAL_TREE
        return tf.gradients(loss, trainee.values, aggregation_method=pairs)

    def _step(self, trainee: _Trainee, gradients: list[Any]) -> None:
        """Sum the gradients over replicas (the optimizer does), clip the sum, step."""
        import tensorflow as tf

        if self._config.clip_norm:
            # A norm is known only of the sum. The optimizer sums again: each gives a part.
            context = tf.distribute.get_replica_context()
            joint = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            limit = trainee.optimizer.scale_loss(tf.constant(self._config.clip_norm))
            clipped, _ = tf.clip_by_global_norm(joint, limit)
            gradients = [gradient / self._strategy.num_replicas_in_sync for gradient in clipped]
        variables = trainee.model.trainable_variables
        trainee.optimizer.apply_gradients(zip(gradients, variables, strict=True))

    def learn(self, batch: Batch, rate: float) -> dict[str, float]:
        """One step on a joint batch; returns the losses by name, `TOTAL` first."""
        for trainee in (self._generator, self._critic):
            if trainee:
                # float16's wrapper holds the optimizer that has the rate.
                inner = getattr(trainee.optimizer, "inner_optimizer", trainee.optimizer)
                inner.learning_rate.assign(rate)
        result = self._learn(self._spread(batch.low), self._spread(batch.high))
        return {name: float(result[name]) for name in (TOTAL, *result)}

    def _spread(self, images: Any) -> Any:
        """Every replica its share of the images."""
        import tensorflow as tf

        if self._strategy.num_replicas_in_sync == 1:
            return tf.constant(images)
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                share(images, context.replica_id_in_sync_group, context.num_replicas_in_sync)
            )
        )

    def restored(self, low: Any) -> Any:
        """The averaged generator on (N, H, W, C)."""
        import tensorflow as tf

        return self._infer(tf.constant(low)).numpy()

    def weights(self) -> dict[str, np.ndarray]:
        """Of the averaged generator, by name."""
        return get_weights(self._average, self._config.generator)

    def start(self, weights: Mapping[str, np.ndarray]) -> None:
        """Begin with these weights of the generator, by name."""
        for model in (self._generator.model, self._average):
            set_weights(model, self._config.generator, weights)

    def state(self) -> dict[str, Arrays]:
        """Every variable, by group."""
        return {
            name: [np.asarray(variable.numpy()) for variable in variables]
            for name, variables in self._groups().items()
        }

    def restore(self, state: Mapping[str, Arrays]) -> None:
        """Set every variable to the value that `state` gave."""
        for name, variables in self._groups().items():
            for variable, value in zip(variables, state[name], strict=True):
                variable.assign(value)

    def _groups(self) -> dict[str, list[Any]]:
        groups = {
            "weights": self._generator.model.variables,
            "average": self._average.variables,
            "optimizer": self._generator.optimizer.variables,
        }
        if self._critic:
            groups["critic"] = self._critic.model.variables
            groups["critic_optimizer"] = self._critic.optimizer.variables
        return groups
