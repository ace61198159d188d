"""What learns in a phase: generator, its average, discriminator and optimizers; one step of them.

One graph serves one device and many. On several, each replica computes on its share of the batch,
means over the batch (relativistic logits, batch statistics) are joint, gradients are summed: the
losses are those of one device with the whole batch, up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from w2s_export import losses
from w2s_export.data.patches import Batch
from w2s_export.networks.discriminator import build_discriminator
from w2s_export.networks.features import FeatureNetwork
from w2s_export.networks.generator import build_generator, get_weights, set_weights
from w2s_export.training.config import TrainingConfig
from w2s_export.training.distribution import share
from w2s_export.training.phases import Phase
from w2s_export.training.state import Arrays

TOTAL = "loss"
"""Name of the weighted sum of the generator's losses."""


class Learner:
    """The variables of a phase, freshly initialised; `restore` or `start` give them other values."""

    def __init__(
        self,
        config: TrainingConfig,
        phase: Phase,
        features: FeatureNetwork | None,
        strategy: Any,
    ) -> None:
        import keras
        import tensorflow as tf

        keras.utils.set_random_seed(config.seed)
        self._config, self._phase, self._features = config, phase, features
        self._strategy = strategy
        with strategy.scope():
            before = keras.config.dtype_policy()
            keras.config.set_dtype_policy(config.precision)
            try:
                self._model = build_generator(config.generator, config.seed)
                self._critic = None
                if phase.adversarial:
                    self._critic = build_discriminator(
                        phase.adversarial.discriminator, config.generator.out_nc, config.seed
                    )
            finally:
                keras.config.set_dtype_policy(before)
            self._average = build_generator(config.generator, config.seed)
            self._optimizer = self._adam(self._model)
            self._critic_optimizer = self._adam(self._critic) if self._critic else None
        self._learn = tf.function(self._graph, reduce_retracing=True)
        self._infer = tf.function(lambda x: self._average(x), reduce_retracing=True)

    def _adam(self, model: Any) -> Any:
        import keras

        config = self._config
        optimizer: Any = keras.optimizers.Adam(
            self._phase.schedule.initial, config.beta_1, config.beta_2, amsgrad=True
        )
        if config.precision == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        optimizer.build(model.trainable_variables)
        return optimizer

    def _graph(self, low: Any, high: Any) -> dict[str, Any]:
        import tensorflow as tf

        each = self._strategy.run(self._replica_step, args=(low, high))
        decay = self._config.ema
        for mean, value in zip(
            self._average.trainable_variables, self._model.trainable_variables, strict=True
        ):
            self._strategy.extended.update(
                mean.value,
                lambda mean, value: mean.assign(decay * mean + (1 - decay) * value),
                args=(value.value,),
            )
        return {
            name: self._strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)
            for name, value in each.items()
        }

    def _replica_step(self, low: Any, high: Any) -> dict[str, Any]:
        import tensorflow as tf

        with tf.GradientTape() as tape, tf.GradientTape() as critic_tape:
            restored = tf.cast(self._model(low, training=True), tf.float32)
            terms = {"pixel": losses.pixel_loss(high, restored, self._phase.loss)}
            total = terms["pixel"]
            if self._phase.adversarial:
                terms |= self._judge(high, restored)
                total = self._weigh(terms)
            scaled = self._share_of(total, self._optimizer)
            if self._critic:
                critic_scaled = self._share_of(terms["discriminator"], self._critic_optimizer)
        self._step(self._optimizer, self._model, tape.gradient(scaled, self._variables(self._model)))
        if self._critic:
            gradients = critic_tape.gradient(critic_scaled, self._variables(self._critic))
            self._step(self._critic_optimizer, self._critic, gradients)
        return {TOTAL: total, **terms}

    def _judge(self, target: Any, restored: Any) -> dict[str, Any]:
        """Feature and adversarial losses. Both networks are judged on one pass of the discriminator.

        That is what stepping them one after the other on the same images computes: the generator's
        step changes neither the images it made nor the discriminator.
        """
        import tensorflow as tf

        from w2s_export.networks.batch_statistics import joint_mean

        two, kind = self._phase.adversarial, self._phase.loss
        assert two and self._features and self._critic  # noqa: S101 - for the type checker
        measure = losses.texture_loss if two.features == "texture" else losses.perceptual_loss
        real = self._critic(target, training=True)
        fake = self._critic(restored, training=True)

        def mean(logits: Any) -> Any:
            return joint_mean(tf.reduce_mean(logits))

        return {
            two.features: measure(self._features(target), self._features(restored), kind),
            "adversarial": losses.generator_adversarial_loss(real, fake, mean),
            "discriminator": losses.discriminator_loss(real, fake, mean),
        }

    def _weigh(self, terms: dict[str, Any]) -> Any:
        two = self._phase.adversarial
        assert two  # noqa: S101 - for the type checker
        return (
            two.pixel_weight * terms["pixel"]
            + two.feature_weight * terms[two.features]
            + two.adversarial_weight * terms["adversarial"]
        )

    def _share_of(self, loss: Any, optimizer: Any) -> Any:
        """This replica's part of the joint loss, scaled where float16 asks for it."""
        return optimizer.scale_loss(loss / self._strategy.num_replicas_in_sync)

    def _step(self, optimizer: Any, model: Any, gradients: Sequence[Any]) -> None:
        """Sum the gradients over replicas, clip the sum, step. The optimizer does the summing."""
        import tensorflow as tf

        if self._config.clip_norm:
            replicas = self._strategy.num_replicas_in_sync
            context = tf.distribute.get_replica_context()
            joint = context.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
            limit = optimizer.scale_loss(tf.constant(self._config.clip_norm))
            clipped, _ = tf.clip_by_global_norm(joint, limit)
            gradients = [gradient / replicas for gradient in clipped]
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    @staticmethod
    def _variables(model: Any) -> list[Any]:
        return [variable.value for variable in model.trainable_variables]

    def learn(self, batch: Batch, rate: float) -> dict[str, float]:
        """One step on a joint batch; returns the losses by name, `TOTAL` first."""
        import tensorflow as tf

        for optimizer in (self._optimizer, self._critic_optimizer):
            if optimizer:
                # The loss-scaling wrapper hands the rate to the optimizer inside.
                getattr(optimizer, "inner_optimizer", optimizer).learning_rate.assign(rate)
        if self._strategy.num_replicas_in_sync == 1:
            images: tuple[Any, ...] = (tf.constant(batch.low), tf.constant(batch.high))
        else:
            images = tuple(self._spread(image) for image in (batch.low, batch.high))
        return {name: float(value) for name, value in self._learn(*images).items()}

    def _spread(self, images: Any) -> Any:
        import tensorflow as tf

        def of(context: Any) -> Any:
            replica = context.replica_id_in_sync_group
            return tf.constant(share(images, replica, context.num_replicas_in_sync))

        return self._strategy.experimental_distribute_values_from_function(of)

    def restored(self, low: Any) -> Any:
        """The averaged generator on (N, H, W, C)."""
        import tensorflow as tf

        return self._infer(tf.constant(low)).numpy()

    def weights(self) -> dict[str, Any]:
        """Of the averaged generator, by name."""
        return get_weights(self._average, self._config.generator)

    def start(self, weights: Any) -> None:
        """Begin with these weights of the generator, by name."""
        for model in (self._model, self._average):
            set_weights(model, self._config.generator, weights)

    def state(self) -> dict[str, Arrays]:
        """Every variable, by group."""
        return {
            name: [np.asarray(variable.numpy()) for variable in variables]
            for name, variables in self._groups().items()
        }

    def restore(self, state: dict[str, Arrays]) -> None:
        """Set every variable to a value that `state` gave."""
        for name, variables in self._groups().items():
            for variable, value in zip(variables, state[name], strict=True):
                variable.assign(value)

    def _groups(self) -> dict[str, list[Any]]:
        groups = {
            "weights": self._model.variables,
            "average": self._average.variables,
            "optimizer": self._optimizer.variables,
        }
        if self._critic:
            groups["critic"] = self._critic.variables
            groups["judging"] = self._critic_optimizer.variables
        return groups
