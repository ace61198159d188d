"""Phase two's judges of a restored image: pixels, a feature network, and the discriminator."""

from __future__ import annotations

from typing import Any

from w2s_export.networks.discriminator import build_discriminator
from w2s_export.networks.features import FeatureNetwork
from w2s_export.training import losses
from w2s_export.training.config import AdversarialPhase

PIXEL, ADVERSARIAL, DISCRIMINATOR = "pixel", "adversarial", "discriminator"


class Judge:
    """Measures the losses of both networks; `critic` is the discriminator, which learns too."""

    def __init__(
        self, phase: AdversarialPhase, features: FeatureNetwork, channels: int, seed: int
    ) -> None:
        self._phase, self._features = phase, features
        self.critic = build_discriminator(phase.discriminator, channels, seed)

    def __call__(self, target: Any, restored: Any) -> dict[str, Any]:
        """Losses by name, from images (N, H, W, C).

        One pass of the discriminator serves both networks. That is what stepping them one after the
        other on the same images computes, too: the generator's step changes neither the images it
        has made nor the discriminator.
        """
        import tensorflow as tf

        from w2s_export.networks.batch_statistics import joint_mean

        phase = self._phase
        measure = losses.texture_loss if phase.features == "texture" else losses.perceptual_loss
        real = self.critic(target, training=True)
        fake = self.critic(restored, training=True)

        def mean(logits: Any) -> Any:
            return joint_mean(tf.reduce_mean(logits))

        seen = self._features(target), self._features(restored)
        return {
            PIXEL: losses.pixel_loss(target, restored, phase.loss),
            phase.features: measure(*seen, phase.loss),
            ADVERSARIAL: losses.generator_adversarial_loss(real, fake, mean),
            DISCRIMINATOR: losses.discriminator_loss(real, fake, mean),
        }

    def weigh(self, terms: dict[str, Any]) -> Any:
        """What the generator minimises."""
        phase = self._phase
        return (
            phase.pixel_weight * terms[PIXEL]
            + phase.feature_weight * terms[phase.features]
            + phase.adversarial_weight * terms[ADVERSARIAL]
        )
